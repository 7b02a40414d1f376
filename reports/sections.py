"""The first page of a report: what was asked, what was decided and on what evidence, what is open and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from farkas.reports.facts import Entry, Report, Standing
from farkas.reports.figures import Figures, by_evidence, by_reason, correctness, counted, figures, headline
from farkas.reports.markup import Child, Markup, el, join
from farkas.reports.plots import number
from farkas.reports.words import EVIDENCE, SIGN, STANDING, arithmetic, meaning

MOST_WARNINGS = 12
CLASS = {standing: standing.value.replace(" ", "-") for standing in Standing}


def section(name: str, title: str, *children: Child, intro: Child = None) -> Markup:
    """A part of the page with a heading that names it."""
    lead = None if intro is None else el("p", intro, class_="intro")
    return el("section", el("h2", title, id=f"{name}-h"), lead, *children, id=name, aria_labelledby=f"{name}-h")


def table(caption: str, head: Sequence[Child], rows: Iterable[Sequence[Markup]], **attributes: object) -> Markup:
    """A table whose cells are made by `cell` and `th`; class_: `narrow` or `plain` for one that need not scroll."""
    columns = [name if isinstance(name, Markup) and name.startswith("<th") else th(name) for name in head]
    body = el("tbody", *(el("tr", *row) for row in rows))
    found = el("table", el("caption", caption), el("thead", el("tr", *columns)), body, **attributes)
    if attributes.get("class_") in ("narrow", "plain"):
        return el("div", found, class_="wide")
    return el("div", found, class_="wide", tabindex="0", role="region", aria_label=caption)  # scrolls: by keys as well


def th(name: Child, class_: str | None = None, **attributes: object) -> Markup:
    return el("th", name, scope="col", class_=class_, **attributes)


def rowhead(name: Child) -> Markup:
    return el("th", name, scope="row")


def cell(content: Child, class_: str | None = None, **attributes: object) -> Markup:
    return el("td", content, class_=class_, **attributes)


def numeric(value: float | None, shown: str | None = None) -> Markup:
    """A cell with a number; zero is quiet."""
    if value is None:
        return el("td", "–", class_="num quiet", data_v="")
    words = number(value) if shown is None else shown
    return el("td", words, class_="num quiet" if value == 0 else "num", data_v=f"{value:g}")


def badge(standing: Standing) -> Markup:
    """A standing by sign, word and colour."""
    sign = el("span", SIGN[standing], aria_hidden="true", class_="sign")
    return el("span", sign, " ", standing.value, class_=f"badge {CLASS[standing]}")


def bar(one: Figures, label: str) -> Markup:
    """Shares of a whole as one line, in the order of Standing."""
    parts, at = [], 0.0
    for standing, count in zip(Standing, one.standings, strict=True):
        width = 100.0 * count / max(1, one.total)
        if count:
            parts.append(el("rect", x=at, y=0, width=width, height=8, class_=f"fill {CLASS[standing]}"))
        at += width
    told = ", ".join(f"{count} {s.value}" for s, count in zip(Standing, one.standings, strict=True) if count)
    return el("svg", *parts, viewBox="0 0 100 8", preserveAspectRatio="none", role="img", class_="bar",
              aria_label=f"{label}: {told}")  # fmt: skip


def verdict(report: Report) -> Markup:
    """The run in numbers, and whether anything is wrong."""
    all_ = figures("all", report.entries)
    tiles = [
        el("li", el("span", str(count), class_="big"), badge(standing), el("span", STANDING[standing], class_="small"))
        for standing, count in zip(Standing, all_.standings, strict=True)
        if count or standing in (Standing.PROVED, Standing.VIOLATED, Standing.OPEN)
    ]
    wrong = [
        el("li", el("strong", f"{e.category}: {e.network} {e.query}"), " ", "; ".join(e.complaints))
        for e in report.wrong
    ]
    wrong += [
        el("li", el("strong", f"{e.category}: {e.network} {e.query}"), f" {e.disagreement}") for e in report.disputed
    ]
    note = el("div", el("p", correctness(report)), el("ul", *wrong) if wrong else None,
              class_="note bad" if wrong else "note", role="status")  # fmt: skip
    return section("result", "Result", el("p", headline(report), class_="headline"), el("ul", *tiles, class_="tiles"),
                   bar(all_, "all instances"), note)  # fmt: skip


def evidence(report: Report) -> Markup:
    """The three questions of a reader who has to rely on the answers."""
    return section("evidence", "What was asked, decided, and left open", el(
        "div", _asked(report), _decided(report), _open(report), class_="three"))  # fmt: skip


def _asked(report: Report) -> Markup:
    entries = report.entries
    modes = Counter(e.row.semantics for e in entries if e.row is not None and e.row.semantics)
    timeouts = sorted({e.row.timeout_s if e.row is not None else e.stored.row.timeout_s for e in entries})
    networks, properties = len({e.network for e in entries}), len({e.stored.row.vnnlib for e in entries})
    ends = " to ".join(f"{limit:g}" for limit in dict.fromkeys((*timeouts[:1], *timeouts[-1:])))
    facts: list[tuple[str, Child]] = [
        ("Question", "Does some input of the set drive the network into the region that the property calls unsafe?"),
        ("Instances", f"{len(entries)}: {counted(networks, 'network', 'networks')}, "
                      f"{counted(properties, 'property', 'properties')}, "
                      f"{counted(len(report.categories), 'category', 'categories')}"),
        ("Arithmetic", [el("span", el("b", mode), f" ({count}): {arithmetic(mode)}. ") for mode, count in sorted(
            modes.items())] or "none was asked"),
        ("Time limit", f"{ends} s each" if timeouts else "none"),
        ("Certificates", "asked for" if report.run.options.get("certify") else "not asked for (--certify)"),
        ("Options", ", ".join(f"{k}={v}" for k, v in sorted(report.run.options.get("options", {}).items())) or "none"),
    ]  # fmt: skip
    items = [join(el("dt", name), el("dd", told)) for name, told in facts]
    return el("div", el("h3", "Asked"), el("dl", *items))


def _decided(report: Report) -> Markup:
    rows = []
    for standing, kind, count, checked in by_evidence(report):
        what = EVIDENCE.get(kind, kind)
        extra = f"; {checked} of these certificates were accepted by a separate process" if checked else ""
        rows.append((rowhead(badge(standing)), cell([el("b", kind), f": {what}{extra}"]), numeric(count, str(count))))
    if not rows:
        return el("div", el("h3", "Decided"), el("p", "Nothing.", class_="none"))
    head = ["answer", "evidence", th("n", "num")]
    shown = table("Evidence of the answers", head, rows, class_="plain")
    return el("div", el("h3", "Decided, and on what evidence"), shown, _warnings(report))


def _warnings(report: Report) -> Markup | None:
    """What was said beside answers, each with how often and where first."""
    places: dict[str, list[Entry]] = {}
    for entry in report.entries:
        for warning in entry.warnings if entry.is_decided else ():
            places.setdefault(warning, []).append(entry)
    if not places:
        return None
    items = []
    for warning, entries in sorted(places.items(), key=lambda item: -len(item[1]))[:MOST_WARNINGS]:
        first = f"{entries[0].network} {entries[0].query}"
        where = first if len(entries) == 1 else f"{len(entries)} answers, {first} first"
        items.append(el("li", warning, el("span", f" ({where})", class_="small")))
    more = len(places) - len(items)
    rest = el("p", f"and {more} more, in report.json", class_="small") if more > 0 else None
    return el("div", el("h4", "Said beside these answers"), el("ul", *items, class_="said"), rest)


def _open(report: Report) -> Markup:
    rows = []
    for reason, count in by_reason(report):
        what, help_ = meaning(reason)
        told: Child = [what, el("span", f" What would help: {help_}.", class_="small")] if help_ else what
        rows.append((rowhead(el("a", reason, href="#instances", data_filter=reason)), cell(told),
                     numeric(count, str(count))))  # fmt: skip
    if not rows:
        return el("div", el("h3", "Open"), el("p", "Nothing: every instance is decided.", class_="none"))
    head = ["reason", "meaning", th("n", "num")]
    shown = table("Why instances are not decided", head, rows, class_="plain")
    return el("div", el("h3", "Open, and why"), shown, _failures(report))


def _failures(report: Report) -> Markup | None:
    """What was said where files or forms are not handled, each with how often."""
    kinds = (Standing.UNSUPPORTED, Standing.ERROR)
    found = Counter(_gist(entry.message) for entry in report.entries if entry.standing in kinds and entry.message)
    if not found:
        return None
    items = [
        el("li", gist, el("span", f" ({count})", class_="small")) for gist, count in found.most_common(MOST_WARNINGS)
    ]
    return el("div", el("h4", "Said about these"), el("ul", *items, class_="said"))


def _gist(message: str) -> str:
    """The first sentence, without the name of a node: what instances have in common."""
    return re.sub(r" \(node '[^']*'\)", "", message).split(". ")[0][:160]


def categories(report: Report) -> Markup:
    """One line a category, and the sum."""
    groups = [figures(name, group) for name, group in report.categories.items()]
    rows = [_category(one) for one in groups]
    if len(groups) > 1:
        rows.append(_category(figures("all", report.entries)))
    head = [
        "category", th("n", "num"), "shares", *(th(s.value, "num") for s in Standing if s is not Standing.MISSING),
        th("wrong", "num"), th("checked", "num"), th("median s", "num"), th("longest s", "num"), th("CPU s", "num"),
        th("PAR-2 s", "num"), th("peak MB", "num"),
    ]  # fmt: skip
    intro = ("Times are of decided instances; PAR-2 counts what is not decided with twice its time limit. "
             "Checked: certificates that a separate process of the checker accepted.")  # fmt: skip
    return section("categories", "By category", table("Results by category", head, rows), intro=intro)


def _category(one: Figures) -> Sequence[Markup]:
    counts = [one.count(standing) for standing in Standing if standing is not Standing.MISSING]
    wrong = cell(str(one.wrong), "num bad") if one.wrong else numeric(0)
    return (
        rowhead(one.name), numeric(one.total, str(one.total)), cell(bar(one, one.name)),
        *(numeric(count, str(count)) for count in counts), wrong, numeric(one.checked, str(one.checked)),
        numeric(one.median_s, _s(one.median_s)), numeric(one.longest_s, _s(one.longest_s)),
        numeric(one.cpu_s, f"{one.cpu_s:.1f}"), numeric(one.par2_s, f"{one.par2_s:.1f}"),
        numeric(one.peak_mb, f"{one.peak_mb:.0f}"),
    )  # fmt: skip


def _s(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


def anchor(entry: Entry) -> str:
    """The place on the page where an instance is shown."""
    return f"i{entry.number}"
