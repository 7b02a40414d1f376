"""The table of all instances, and the environment that they were decided in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from farkas.batch.records import DECIDED
from farkas.reports.facts import Entry, Report, Standing
from farkas.reports.markup import Child, Markup, el, join
from farkas.reports.sections import anchor, badge, cell, numeric, rowhead, section, table, th
from farkas.reports.words import is_independent


def instances(report: Report, shown: Collection[int]) -> Markup:
    """A row for every instance; shown: numbers of those that have a place of their own further down."""
    head: list[Child] = [
        th("#", "num"), "category", "network", "property", "answer", "evidence or reason", th("seconds", "num"),
        th("leaves", "num"), th("peak MB", "num"),
    ]  # fmt: skip
    has_expected = any(entry.stored.row.expected for entry in report.entries)
    if has_expected:
        head.append("expected")
    if report.against is not None:
        head += ["there", th("s there", "num")]
    rows = [
        list(_row(entry, report, anchor(entry) if entry.number in shown else "", has_expected))
        for entry in report.entries
    ]
    found = table("All instances, in the order of the suite", head, rows, class_="sortable", id="all")
    there = None if report.against is None else f"There: {report.against.name}."
    return section("instances", "Instances", _controls(), found, intro=there)


def _controls() -> Markup:
    """What the script makes work; hidden without it."""
    options = [el("option", "any answer", value="")]
    options += [el("option", standing.value, value=standing.value) for standing in Standing]
    return el(
        "form", el("label", "Show instances with ", el("input", type="search", id="words", autocomplete="off")),
        el("label", " and ", el("select", *options, id="standing")),
        el("output", id="count", for_="words standing"), class_="controls", hidden=True, role="search",
    )  # fmt: skip


def _row(entry: Entry, report: Report, place: str, has_expected: bool) -> Iterator[Markup]:
    row = entry.row
    yield cell(str(entry.number + 1), "num", data_v=entry.number)
    yield cell(entry.category)
    yield cell(entry.network)
    yield rowhead(el("a", entry.query, href=f"#{place}") if place else entry.query)
    yield cell(badge(entry.standing))
    yield cell(_basis(entry), "bad" if entry.complaints else None)
    yield numeric(None if row is None else row.wall_s, None if row is None else f"{row.wall_s:.2f}")
    yield numeric(None if row is None or row.leaves is None else row.leaves,
                  None if row is None else f"{row.leaves}")  # fmt: skip
    yield numeric(None if row is None else row.peak_mb, None if row is None else f"{row.peak_mb:.0f}")
    if has_expected:
        wrong = entry.is_decided and row is not None and row.expected in DECIDED and row.expected != row.verdict
        yield cell(entry.stored.row.expected or "–", "bad" if wrong else None)
    if report.against is not None:
        other = entry.other
        yield cell("–" if other is None else other.verdict, "bad" if entry.disagreement else None)
        time = None if other is None else other.time_s
        yield numeric(time, None if time is None else f"{time:.2f}")


def _basis(entry: Entry) -> Child:
    """Evidence of an answer, else why there is none; with what is wrong about it."""
    row = entry.row
    known = [" (known before)"] if entry.stored.reused else []
    if row is None:
        return "not run"
    if entry.complaints:
        return "; ".join(entry.complaints)
    if entry.is_decided:
        return [row.evidence, ", checked" if is_independent(entry) else "", *known]
    said = f": {entry.message[:120]}" if entry.message else ""
    return [entry.reason, said, *known]


def environment(report: Report, place: str) -> Markup:
    """What it ran on, what was asked by content, and how to look at a proof without this program's word; place: of the
    store's files."""
    values = report.run.environment
    facts = list(_facts(report, values))
    packages = ", ".join(f"{name} {version}" for name, version in sorted(values.get("packages", {}).items()))
    facts.append(("Packages", packages or "unknown"))
    listed = el("dl", *(join(el("dt", name), el("dd", told)) for name, told in facts), class_="facts")
    check = el("p", "A certificate is checked without the engine that found it by ",
               el("code", "farkas check CERTIFICATE --network NET.onnx --property QUERY.vnnlib"),
               f"; files lie beside the store, in {place}, under the digests below: ab/abcd... .")  # fmt: skip
    return section("environment", "Environment and digests", listed, check, _digests(report))


def _facts(report: Report, values: Mapping[str, Any]) -> Iterator[tuple[str, Child]]:
    run = report.run
    memory = values.get("memory_bytes")
    yield "Run", [el("code", run.id), f", {run.state}"]
    yield "Suite", el("code", run.suite)
    yield "Began, ended", f"{moment(run.started)}, {moment(run.ended) if run.ended else 'not ended'}"
    yield "Program", [f"Farkas {values.get('farkas', '?')}, digest of its files ", el("code", values.get("code", "?"))]
    yield "Python", str(values.get("python", "?"))
    yield "System", f"{values.get('system', '?')}, {values.get('machine', '?')}"
    yield "Processor", f"{values.get('processor', '?')}, {values.get('cores', '?')} cores"
    yield "Memory", "unknown" if memory is None else f"{memory / 2**30:.1f} GiB"


def moment(seconds: float) -> str:
    """A time of day, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _digests(report: Report) -> Markup:
    rows = (
        (cell(str(e.number + 1), "num"), rowhead(f"{e.network} {e.query}"), cell(_code(e.stored.question)),
         cell(_code(e.file("certificate"))), cell(_code(e.file("witness"))))
        for e in report.entries
    )  # fmt: skip
    names = [th("#", "num"), "instance", "question", "certificate", "witness"]
    caption = "SHA-256 of each question (networks, property, semantics, options), certificate and witness"
    return el("details", el("summary", "Digests of all instances"), table(caption, names, rows))


def _code(sha256: str | None) -> Child:
    return "–" if sha256 is None else el("code", sha256)
