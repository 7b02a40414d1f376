"""Results as rows of a table: the columns of every export, one line for people, and what many rows add up to."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from farkas.batch.records import DECIDED
from farkas.batch.records import Result as Stored
from farkas.batch.suites import pairs_of

HEADER = (
    "category", "n", "unsat", "sat", "open", "unsupp", "error", "wrong", "wall md", "wall max", "cpu", "check cpu",
    "peak MB",
)  # fmt: skip
WORK = ("category", "leaves", "by rule", "arms (seconds)", "LPs", "attack s", "bytes/leaf")


@dataclass(frozen=True)
class Result:
    """One row of the results.

    verdict: sat, unsat, unknown, timed-out, unsupported, or error; witness: the validator's word, `unread` where it
    does not read the query (the checker has to accept a certificate of it then), "" where none looked; check: accepted
    or rejected; tree_bytes: of the TREE payload before compression; message: the first line of what went wrong; rules:
    leaves by what closes them, arms: seconds by way of deciding, both as `name=number, ...`; programs:
    linear programs solved; attack_s: spent looking for witnesses.
    """

    category: str
    onnx: str
    vnnlib: str
    timeout_s: float
    expected: str
    verdict: str
    reason: str = ""
    evidence: str = ""
    semantics: str = ""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_mb: float = 0.0
    boxes: int | None = None
    leaves: int | None = None
    rules: str = ""
    arms: str = ""
    programs: int | None = None
    attack_s: float | None = None
    certificate_bytes: int | None = None
    tree_bytes: int | None = None
    check: str = ""
    check_wall_s: float | None = None
    check_cpu_s: float | None = None
    witness: str = ""
    message: str = ""

    @property
    def complaints(self) -> list[str]:
        """What is wrong about the answer; nothing may be."""
        found = []
        if self.verdict in DECIDED and self.expected in DECIDED and self.verdict != self.expected:
            found.append(f"WRONG: {self.verdict}, expected {self.expected}")
        if self.verdict == "sat" and self.witness and not self._is_witnessed:
            found.append(f"INVALID WITNESS: {self.witness}")
        if self.check not in ("", "accepted"):
            found.append(f"CERTIFICATE: {self.check}")
        return found

    @property
    def _is_witnessed(self) -> bool:
        """The validator confirms it; where it cannot read the query, the checker ran it from the certificate."""
        if self.witness.startswith("unread"):
            return self.check == "accepted"
        return self.witness.startswith("valid")

    @property
    def is_solved(self) -> bool:
        return self.verdict in DECIDED and not self.complaints


def row_of(result: Stored) -> Result | None:
    """The row of an instance; None while it has no answer."""
    attempt, row = result.attempt, result.row
    if attempt is None:
        return None
    details = attempt.details
    numbers = details.get("statistics") or {}
    sizes = {file.kind: file.bytes for file in attempt.files}
    return Result(
        category=row.category, onnx=row.onnx, vnnlib=row.vnnlib, timeout_s=attempt.timeout_s, expected=row.expected,
        verdict=attempt.verdict, reason=attempt.reason, evidence=attempt.evidence, semantics=attempt.semantics,
        wall_s=attempt.wall_s, cpu_s=attempt.cpu_s, peak_mb=attempt.peak_bytes / 2**20, boxes=numbers.get("boxes"),
        leaves=numbers.get("leaves"), rules=tallied(numbers.get("rules") or {}),
        arms=tallied({arm["name"]: round(arm["time_s"], 3) for arm in numbers.get("arms") or ()}),
        programs=numbers.get("programs"), attack_s=numbers.get("attack_s"), certificate_bytes=sizes.get("certificate"),
        tree_bytes=details.get("tree_bytes"), check=details.get("check", ""), check_wall_s=details.get("check_wall_s"),
        check_cpu_s=details.get("check_cpu_s"), witness=details.get("witness", ""), message=attempt.message,
    )  # fmt: skip


def line(result: Result) -> str:
    """One result for people."""
    failed = result.verdict in ("error", "unsupported")
    mark = "!!" if result.complaints else "  "
    note = ("; ".join(result.complaints) or (result.message if failed else result.reason) or result.message)[:100]
    name = named(result)
    return f"{mark} {result.verdict:11} {result.wall_s:7.2f} s {result.peak_mb:6.0f} MB  {name}  {note}".rstrip()


def named(result: Result) -> str:
    """An instance for people: category and names of files."""
    files = "+".join(Path(path).name for _, path in pairs_of(result.onnx))
    return f"{result.category}: {files} {Path(result.vnnlib).name}"


def summary(results: Sequence[Result]) -> Iterator[str]:
    """Complaints first, then one line a category, then the total."""
    wrong = [result for result in results if result.complaints]
    for result in wrong:
        for complaint in result.complaints:
            yield f"!! {named(result)}: {complaint}"
    yield f"{len(wrong)} wrong answers" if wrong else "no wrong answer"
    categories = sorted({result.category for result in results})
    groups = [(name, [r for r in results if r.category == name]) for name in categories]
    if len(groups) > 1:
        groups.append(("all", list(results)))
    yield from aligned([HEADER, *(_summary_row(name, group) for name, group in groups)])
    if any(result.rules or result.arms for result in results):
        yield from aligned([WORK, *(_work_row(name, group) for name, group in groups)])
    par2 = sum(r.wall_s if r.is_solved else 2 * r.timeout_s for r in results)
    solved = sum(r.is_solved for r in results)
    yield f"solved {solved} of {len(results)}, PAR-2 {par2:.1f} s; wall medians and maxima over solved instances"


def aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """The cells of a table under each other, the first column to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])


def tallied(counts: Mapping[str, float]) -> str:
    """`name=number` by name, separated by `, `; what is zero is left out."""
    return ", ".join(f"{name}={number:g}" for name, number in sorted(counts.items()) if number)


def _added(texts: Iterable[str]) -> str:
    """The sum of such texts."""
    total: dict[str, float] = {}
    for entry in (entry for text in texts for entry in text.split(", ") if entry):
        name, _, number = entry.rpartition("=")
        total[name] = total.get(name, 0.0) + float(number)
    return tallied({name: round(number, 1) for name, number in total.items()})


def _work_row(name: str, group: Sequence[Result]) -> tuple[str, ...]:
    """What decided a category: leaves by rule, seconds by arm, linear programs, attack, certificate bytes a leaf."""
    certified = [r for r in group if r.certificate_bytes and r.leaves and r.verdict == "unsat"]
    leaves = sum(r.leaves or 0 for r in certified)
    size = f"{sum(r.certificate_bytes or 0 for r in certified) / leaves:.1f}" if leaves else "-"
    return (
        name, str(sum(r.leaves or 0 for r in group)), _added(r.rules for r in group) or "-",
        _added(r.arms for r in group) or "-", str(sum(r.programs or 0 for r in group)),
        f"{sum(r.attack_s or 0.0 for r in group):.1f}", size,
    )  # fmt: skip


def _summary_row(name: str, group: Sequence[Result]) -> tuple[str, ...]:
    counts = Counter(result.verdict for result in group)
    walls = [result.wall_s for result in group if result.is_solved] or [0.0]
    return (
        name, str(len(group)), str(counts["unsat"]), str(counts["sat"]), str(counts["unknown"] + counts["timed-out"]),
        str(counts["unsupported"]), str(counts["error"]), str(sum(bool(r.complaints) for r in group)),
        f"{statistics.median(walls):.2f}", f"{max(walls):.2f}", f"{sum(r.cpu_s for r in group):.1f}",
        f"{sum(r.check_cpu_s or 0.0 for r in group):.1f}", f"{max(r.peak_mb for r in group):.0f}",
    )  # fmt: skip
