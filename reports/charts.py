"""The charts over many instances: how many are decided within how long, and each one's time beside another run's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

from farkas.batch.records import DECIDED
from farkas.reports import plots
from farkas.reports.facts import Entry, Report
from farkas.reports.markup import Markup, el, join

WIDTH, HEIGHT = 460, 300
FLOOR_S = 0.01  # times below are drawn as this
LINES = 7  # categories with a line of their own


def cactus(report: Report) -> Markup:
    """Instances decided against the time for each: the line of all, of the largest categories, and of the other."""
    lines: list[tuple[str, list[float]]] = [("all", _times(report.entries))]
    groups = sorted(report.categories.items(), key=lambda item: -len(_times(item[1])))
    if len(groups) > 1:
        lines += [(name, _times(group)) for name, group in groups[:LINES]]
    if report.against is not None:
        theirs = [e.other.time_s for e in report.entries if e.other is not None and e.other.verdict in DECIDED]
        lines.append((report.against.name, sorted(time for time in theirs if time is not None)))
    lines = [(name, times) for name, times in lines if times]
    if not lines:
        return plots.nothing("Nothing is decided, so there is no time to draw.")
    x = plots.across(0, max(len(times) for _, times in lines), WIDTH, "instances decided")
    y = plots.upward(
        FLOOR_S, 1.5 * max(1.0, *(times[-1] for _, times in lines)), HEIGHT, "seconds, each at most", log=True
    )
    drawn = []
    for (name, times), style in zip(lines, cycle(range(9)), strict=False):
        points = [(x.at(k), y.at(max(time, FLOOR_S))) for k, time in enumerate(times, 1)]
        drawn.append(el("g", el("title", f"{name}: {len(times)} decided"), plots.line(points, f"line l{style}")))
    largest = lines[0][1]
    told = (
        f"{len(largest)} instances are decided; half of them within {_half(largest)}, all within {largest[-1]:.2f} s."
    )
    names = [(f"line l{k % 9}", f"{name} ({len(times)})") for k, (name, times) in enumerate(lines)]
    return join(plots.figure("cactus", WIDTH, HEIGHT, "Instances decided over time", told, plots.axes(x, y), *drawn),
                plots.legend(*names))  # fmt: skip


def scatter(report: Report) -> Markup:
    """Every instance that both sides know, by its two times; what one side leaves open stands at its edge."""
    assert report.against is not None, "there is nothing to compare with"
    pairs = [entry for entry in report.entries if entry.other is not None and entry.row is not None]
    if not pairs:
        return plots.nothing("No instance of this run is among the answers that it is compared with.")
    drawn = [(entry, here, there) for entry in pairs for here, there in [_times_of(entry)] if here or there]
    times = [time for _, here, there in drawn for time in (here, there) if time is not None]
    top = 2 * max(1.0, *times)
    size = 340
    x = plots.across(FLOOR_S, top, size + plots.LEFT + plots.RIGHT, f"seconds, {report.against.name}", log=True)
    y = plots.upward(FLOOR_S, top, size + plots.TOP + plots.BOTTOM, "seconds, this run", log=True)
    diagonal = plots.line([(x.at(FLOOR_S), y.at(FLOOR_S)), (x.at(top), y.at(top))], "grid")
    marks = [_scattered(entry, x.at(_place(there, top)), y.at(_place(here, top))) for entry, here, there in drawn]
    told = _comparison(pairs)
    page = plots.figure("scatter", size + plots.LEFT + plots.RIGHT, size + plots.TOP + plots.BOTTOM,
                        "Times side by side", told, plots.axes(x, y), diagonal, *marks)  # fmt: skip
    shown = [(shape, f"mark {class_}", words) for shape, class_, words in _SHAPES]
    items = [
        el("li", el("svg", plots.mark(6, 6, shape, words, class_), width=12, height=12, aria_hidden="true"), " ", words)
        for shape, class_, words in shown
    ]
    return join(page, el("ul", *items, class_="legend"), el("p", told))


_SHAPES = (
    ("circle", "proved", "proved"), ("diamond", "violated", "violated"), ("square", "open", "not decided here"),
    ("cross", "wrong", "the two contradict each other"),
)  # fmt: skip


def _scattered(entry: Entry, x: float, y: float) -> Markup:
    assert entry.row is not None and entry.other is not None, "only pairs are drawn"
    kind = 3 if entry.disagreement else {"unsat": 0, "sat": 1}.get(entry.row.verdict, 2)
    shape, class_, _ = _SHAPES[kind]
    there = f"{entry.other.verdict} {_seconds(entry.other.time_s)}"
    label = f"{entry.network} {entry.query}: {entry.row.verdict} {_seconds(entry.row.wall_s)}; there {there}"
    return plots.mark(x, y, shape, label, f"mark {class_}")


def _comparison(pairs: Sequence[Entry]) -> str:
    here = sum(entry.is_decided and not _is_decided_there(entry) for entry in pairs)
    there = sum(_is_decided_there(entry) and not entry.is_decided for entry in pairs)
    both = [entry for entry in pairs if entry.is_decided and _is_decided_there(entry)]
    timed = [(a, b) for a, b in map(_times_of, both) if a is not None and b is not None]
    faster = sum(a < b for a, b in timed)
    return (f"{len(pairs)} instances on both sides: {len(both)} decided by both ({len(timed)} with times, {faster} of "
            f"them faster here), {here} here only, {there} there only; what a side leaves open, or has no time for, "
            "stands at its far edge.")  # fmt: skip


def _times_of(entry: Entry) -> tuple[float | None, float | None]:
    """Seconds of the two answers, None for one that is not decided."""
    assert entry.row is not None and entry.other is not None, "only pairs are compared"
    here = entry.row.wall_s if entry.is_decided else None
    return here, entry.other.time_s if _is_decided_there(entry) else None


def _is_decided_there(entry: Entry) -> bool:
    return entry.other is not None and entry.other.verdict in DECIDED


def _place(time: float | None, top: float) -> float:
    return top if time is None else max(time, FLOOR_S)


def _times(entries: Sequence[Entry]) -> list[float]:
    """Seconds of the decided instances about which nothing is wrong, ascending."""
    return sorted(e.row.wall_s for e in entries if e.row is not None and e.is_decided and not e.complaints)


def _half(times: Sequence[float]) -> str:
    return f"{times[(len(times) - 1) // 2]:.2f} s"


def _seconds(time: float | None) -> str:
    return "no time" if time is None else f"{time:.2f} s"
