"""Single searches: how what was missing shrank over time, and the tree that a proof came to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from farkas.batch.store import BadStore, Store
from farkas.reports import plots
from farkas.reports.facts import Entry, Report, Standing
from farkas.reports.markup import Markup, el
from farkas.reports.sections import anchor, badge, section
from farkas.reports.sources import Sources, Unreadable, input_labels
from farkas.reports.trees import CUTS, Band, Trees, bands, read_trees
from farkas.specs.query import Semantics
from farkas.specs.ties import reduced

MOST = 24  # searches that are shown
WIDTH, HEIGHT, WIDE = 460, 210, 940
NARROWEST = 1.2  # of a node that is drawn by itself
Sample = tuple[float, float | None, int, int, int]  # seconds, bound, boxes, leaves, open


def candidates(report: Report) -> list[Entry]:
    """The searches that are shown: the longest of those that have something to show."""
    found = [entry for entry in report.entries if entry.attempt is not None and _has_search(entry)]
    found.sort(key=lambda entry: -(0.0 if entry.row is None else entry.row.wall_s))
    return sorted(found[:MOST], key=lambda entry: entry.number)


def _has_search(entry: Entry) -> bool:
    assert entry.attempt is not None and entry.row is not None, "only answers are looked at"
    has_tree = entry.standing is Standing.PROVED and entry.file("certificate") is not None
    return len(entry.attempt.bounds) > 2 or (has_tree and (entry.row.leaves or 0) > 2)


def searches(report: Report, store: Store, sources: Sources, entries: Sequence[Entry]) -> Markup | None:
    """The section; None where there is nothing to show."""
    parts = [_one(entry, store, sources) for entry in entries]
    if not parts:
        return None
    intro = (
        f"The {len(parts)} longest searches, in the order of the suite. A search is finished when nothing is missing "
        "and no piece is open. Several ways of deciding take turns, each with its own pieces, so that lines may jump."
    )
    return section("searches", "Single searches", *parts, intro=intro)


def _one(entry: Entry, store: Store, sources: Sources) -> Markup:
    assert entry.attempt is not None and entry.row is not None, "only answers are looked at"
    title = el("h3", f"{entry.network} {entry.query}", el("span", f" {entry.category}", class_="small"))
    samples: list[Sample] = [tuple(row) for row in entry.attempt.bounds]  # type: ignore[misc]
    statistics = entry.attempt.details.get("statistics") or {}
    charts = [_missing(entry, samples), _pieces(entry, samples)] if len(samples) > 2 else []
    tree = _tree(entry, store, sources)
    told = [entry.reason, f"{entry.row.wall_s:.2f} s", *_work(statistics)]
    name = f"s{entry.number}" if entry.standing is Standing.VIOLATED else anchor(entry)
    return el(
        "article", title, el("p", badge(entry.standing), el("span", f" {'; '.join(filter(None, told))}.",
                                                            class_="small")),
        el("div", *charts, class_="figures") if charts else None, tree, class_="one", id=name,
    )  # fmt: skip


def _work(statistics: dict[str, Any]) -> list[str]:
    """By which ways the time was spent."""
    arms = [
        f"{arm['name']} {arm['time_s']:.2f} s" for arm in statistics.get("arms") or () if arm.get("time_s", 0) >= 0.005
    ]
    if (statistics.get("attack_s") or 0) >= 0.005:
        arms.append(f"attack {statistics['attack_s']:.2f} s")
    counts = [(statistics.get("boxes"), "boxes"), (statistics.get("leaves"), "leaves"),
              (statistics.get("programs"), "linear programs")]  # fmt: skip
    return [*arms, *(f"{count} {what}" for count, what in counts if count)]


def _missing(entry: Entry, samples: Sequence[Sample]) -> Markup:
    """What the worst open piece lacks to be closed, over time."""
    values = [(time, -bound) for time, bound, *_ in samples if bound is not None and bound < 0]
    if len(values) < 2:
        return plots.nothing("No bound of an open piece was recorded often enough for a curve.")
    x = plots.across(0, max(samples[-1][0], entry.row.wall_s if entry.row else 0.0), WIDTH, "seconds")
    sizes = [value for _, value in values]
    spread = max(1.5, (10 * min(sizes) / max(sizes)) ** 0.5)  # at least a power of ten is shown: noise is no progress
    y = plots.upward(min(sizes) / spread, max(sizes) * spread, HEIGHT, "missing margin", log=True)
    line = plots.line(plots.steps([(x.at(time), y.at(value)) for time, value in values]), "line l1")
    told = f"From {plots.number(sizes[0])} to {plots.number(sizes[-1])} within {values[-1][0]:.1f} s."
    title = f"What the worst open piece of {entry.query} lacks"
    return el("figure", el("figcaption", "margin that the worst open piece lacks to be closed"),
              plots.figure(f"m{entry.number}", WIDTH, HEIGHT, title, told, plots.axes(x, y), line))  # fmt: skip


def _pieces(entry: Entry, samples: Sequence[Sample]) -> Markup:
    """Open and closed pieces over time."""
    top = max(1, *(max(leaves, open_) for *_, leaves, open_ in samples))
    x = plots.across(0, max(samples[-1][0], entry.row.wall_s if entry.row else 0.0), WIDTH, "seconds")
    y = plots.upward(0, top, HEIGHT, "pieces")
    closed = [(x.at(time), y.at(leaves)) for time, _, _, leaves, _ in samples]
    left = [(x.at(time), y.at(open_)) for time, _, _, _, open_ in samples]
    told = f"At {samples[-1][0]:.1f} s {samples[-1][3]} pieces are closed and {samples[-1][4]} open."
    drawn = plots.line(plots.steps(closed), "line l1"), plots.line(plots.steps(left), "line l2")
    title = f"Pieces of the search about {entry.query}"
    return el("figure", el("figcaption", "pieces of the search"),
              plots.figure(f"p{entry.number}", WIDTH, HEIGHT, title, told, plots.axes(x, y), *drawn),
              plots.legend(("line l1", "closed"), ("line l2", "open")))  # fmt: skip


def _tree(entry: Entry, store: Store, sources: Sources) -> Markup | None:
    """The proof by cases, from the certificate."""
    sha256 = entry.file("certificate")
    if sha256 is None or entry.row is None or entry.standing is not Standing.PROVED:
        return None
    try:
        data = store.read_file(sha256)
    except BadStore as error:
        return el("p", str(error), class_="small")
    labels: Sequence[str] = ()
    inputs = None
    try:
        question = sources.question(entry)
        inputs = reduced(question.property, Semantics(entry.row.semantics)).property.inputs
        labels = input_labels(question) if inputs == question.property.inputs else ()
    except Unreadable:
        pass
    trees = read_trees(data, inputs)
    return None if trees is None or trees.leaves < 2 else _pictured(entry, trees, labels)


def _pictured(entry: Entry, trees: Trees, labels: Sequence[str]) -> Markup:
    row = min(18.0, max(6.0, 240.0 / (trees.depth + 1)))
    height = round(row * (trees.depth + 1)) + 2
    paths: dict[str, list[str]] = {}
    words: list[Markup] = []
    for band in bands(trees, WIDE, NARROWEST):
        kind = _class(band)
        top = band.level * row
        paths.setdefault(kind, []).append(f"M{band.left:.1f} {top:.1f}h{band.width:.1f}v{row:.1f}h-{band.width:.1f}z")
        label = "" if band.node is None else _label(band.node.kind, band.node.which, labels)
        if row >= 11 and band.width > 7 * len(label) and label:
            class_ = "leaf" if kind == "leaf" else "on"
            words.append(plots.text(band.left + band.width / 2, top + row - 4, label, "middle", class_))
    drawn = [el("path", d="".join(cells), class_=f"band {kind}") for kind, cells in paths.items()]
    told = _told(trees, labels)
    chart = plots.figure(f"t{entry.number}", WIDE, height, f"Proof tree of {entry.query}", told, *drawn, *words)
    names = {"input": "an input's interval is halved", "neuron": "a neuron's sign is decided", "cut": "a cut",
             "fork": "the goals are shared out", "leaf": "closed", "many": "too many to tell apart"}  # fmt: skip
    legend = [
        el("li", el("svg", el("rect", width=12, height=12, class_=f"band {kind}"), width=12, height=12,
                    aria_hidden="true"), " ", words_)
        for kind, words_ in names.items() if kind in paths
    ]  # fmt: skip
    caption = "proof by cases: a row for every level, each piece as wide as the closed pieces below it"
    return el("figure", el("figcaption", caption), chart, el("ul", *legend, class_="legend"),
              el("p", told, class_="small"))  # fmt: skip


def _class(band: Band) -> str:
    if band.node is None:
        return "many"
    return band.node.kind if band.node.kind in CUTS else "leaf"


def _label(kind: str, which: int | None, labels: Sequence[str]) -> str:
    if kind == "input" and which is not None:
        return labels[which] if which < len(labels) else f"input {which}"
    return kind if which is None else f"{kind} {which}"


def _told(trees: Trees, labels: Sequence[str]) -> str:
    """The tree in words: what a picture cannot say to everybody."""
    found = "1 tree" if trees.trees == 1 else f"{trees.trees} trees (one for every case)"
    often = [f"{_label(kind, which, labels)} {count}" for (kind, which), count in trees.cuts.most_common(6)]
    closed = ", ".join(f"{kind} {count}" for kind, count in trees.closings.most_common())
    rest = len(trees.cuts) - len(often)
    cuts = f"; most often cut: {', '.join(often)}{f' and {rest} others' if rest > 0 else ''}" if often else ""
    return f"{found}, {trees.leaves} leaves, {trees.depth} levels deep{cuts}; leaves closed by: {closed}."
