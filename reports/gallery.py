"""Witnesses as people look at them: images as pictures, vectors as labelled bars, each beside the middle of its set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from farkas.batch.store import Store
from farkas.reports import pictures, plots
from farkas.reports.facts import Entry, Report, Standing
from farkas.reports.markup import Child, Markup, el, join
from farkas.reports.sections import anchor, cell, numeric, rowhead, section, table, th
from farkas.reports.sources import Sources
from farkas.reports.witnesses import Shown, shown
from farkas.specs.witness import literal

MOST = 24  # witnesses that are shown
MOST_COLUMNS = 4000  # of the picture of a long vector
BARS = 40  # entries that have a bar of their own
WIDTH, ROW, NAME, VALUE = 430, 17, 92, 88
Values = Sequence[Fraction]


def chosen(report: Report) -> list[Entry]:
    """The witnesses that are shown: of each category in turn, so that every kind is there."""
    turns: dict[str, list[Entry]] = {}
    for entry in report.entries:
        if entry.standing is Standing.VIOLATED and entry.file("witness") is not None:
            turns.setdefault(entry.category, []).append(entry)
    queues = list(turns.values())
    found: list[Entry] = []
    while queues and len(found) < MOST:
        found += [queue.pop(0) for queue in queues][: MOST - len(found)]
        queues = [queue for queue in queues if queue]
    return sorted(found, key=lambda entry: entry.number)


def gallery(report: Report, store: Store, sources: Sources, entries: Sequence[Entry]) -> Markup | None:
    """The section; None where no witness can be shown."""
    made = [_one(found) for entry in entries if (found := shown(entry, store, sources)) is not None]
    if not made:
        return None
    total = report.standings[Standing.VIOLATED]
    intro = (
        f"{len(made)} of {total} violations, in the order of the suite. Each input lies in the set that was asked "
        "about and was executed; clean is the middle of that set, for comparison. Conditions are evaluated once more, "
        "in exact rational numbers, at the values as they are printed: all of them are met."
    )
    return section("witnesses", "Witnesses", *made, intro=intro)


def _one(found: Shown) -> Markup:
    entry, row = found.entry, found.entry.row
    assert row is not None, "a witness belongs to an answer"
    statistics = entry.attempt.details.get("statistics") or {} if entry.attempt is not None else {}
    told = [f"{row.semantics}, {row.evidence}"]
    if statistics.get("executor"):
        told.append(f"executor {statistics['executor']}")
    if statistics.get("runtime"):
        told.append(str(statistics["runtime"]).split(",")[0])
    if statistics.get("any_order"):
        told.append("violates in every admissible order")
    title = el("h3", f"{entry.network} {entry.query}", el("span", f" {entry.category}", class_="small"))
    return el(
        "article", title, el("p", "; ".join(told) + ".", class_="small"),
        el("p", found.note, class_="small") if found.note else None,
        None if not found.inputs else
        el("div", el("div", _conditions(found), _printed(found)), _inputs(found), _outputs(found), class_="trio"),
        class_="one", id=anchor(entry),
    )  # fmt: skip


def _conditions(found: Shown) -> Markup | None:
    if not found.conditions:
        return None
    has_clean = found.conditions[0].clean is not None
    head: list[Child] = ["unsafe", th("at the witness", "num")]
    rows = []
    for one in found.conditions[:12]:
        row = [rowhead(el("code", one.text)), numeric(float(one.value))]
        rows.append([*row, numeric(None if one.clean is None else float(one.clean))] if has_clean else row)
    more = len(found.conditions) - 12
    after = el("p", f"and {more} more, all met", class_="small") if more > 0 else None
    return join(table(f"Conditions that {found.entry.query} meets: left-hand sides",
                      [*head, th("clean", "num")] if has_clean else head, rows, class_="narrow"), after)  # fmt: skip


def _inputs(found: Shown) -> Markup:
    size = pictures.image_shape(found.shape, len(found.inputs)) if found.clean else None
    if size is not None:
        return _images(found, size)
    if len(found.inputs) > BARS:
        return _strip(found)
    return el("figure", el("figcaption", "inputs: witness ◆ and clean | within the set"), _ranges(found))


def _images(found: Shown, size: tuple[int, int, int]) -> Markup:
    clean, witness = (np.array([float(v) for v in values]) for values in (found.clean, found.inputs))
    low, high = float(min(clean.min(), witness.min())), float(max(clean.max(), witness.max()))
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    change = witness - clean
    most = float(np.abs(change).max())
    drawn = [
        ("clean", pictures.grey(pictures.arranged(clean, found.shape, size), low, high)),
        ("violating", pictures.grey(pictures.arranged(witness, found.shape, size), low, high)),
        (f"change, at most {plots.number(most)}", pictures.difference(
            pictures.arranged(change, found.shape, size), most)),
    ]  # fmt: skip
    name = f"{found.entry.network} {found.entry.query}"
    images = [
        el("figure", el("img", src=pictures.png(pixels), alt=f"{name}: {words}", width=120, height=round(
            120 * size[0] / size[1])), el("figcaption", words))
        for words, pixels in drawn
    ]  # fmt: skip
    what = f"{size[0]} × {size[1]} pixels, values from {plots.number(low)} to {plots.number(high)}"
    return el("figure", el("figcaption", f"input: {what}; orange is more, blue is less"),
              el("div", *images, class_="images"))  # fmt: skip


def _ranges(found: Shown) -> Markup:
    """A bar for every input: its interval, the clean value, the witness."""
    count = len(found.inputs)
    parts: list[Markup] = []
    for k, value in enumerate(found.inputs):
        y = ROW * k + ROW / 2
        parts.append(plots.text(NAME - 8, y + 4, _short(found.input_labels[k]), "end", "in"))
        if found.lower:
            low, high = found.lower[k], found.upper[k]
            width = WIDTH - NAME - VALUE
            parts.append(el("rect", x=NAME, y=y - 3, width=width, height=6, class_="track"))
            for number, shape, what in ((found.clean[k], "", "clean"), (value, "diamond", "witness")):
                x = NAME + width * float((number - low) / ((high - low) or 1)) if low < high else NAME + width / 2
                label = f"{found.input_labels[k]} {what}: {plots.number(float(number))}"
                if shape:
                    parts.append(plots.mark(x, y, shape, label, "dot"))
                else:
                    parts.append(el("line", x1=x, x2=x, y1=y - 6, y2=y + 6, class_="tickmark"))
        parts.append(plots.text(WIDTH - VALUE + 10, y + 4, f"{float(value):.6g}", "start", "in"))
    pairs = zip(found.input_labels, found.inputs, strict=True)
    told = ", ".join(f"{name} {float(value):.6g}" for name, value in pairs)
    name = f"x{found.entry.number}"
    return plots.figure(name, WIDTH, ROW * count, f"Inputs of {found.entry.query}", told, *parts)


def _strip(found: Shown) -> Markup:
    """Where each of many inputs lies within its interval, as thin columns; and the most changed ones."""
    if not found.clean or len(found.inputs) > MOST_COLUMNS:
        return el("p", f"{len(found.inputs)} input values; they lie in the store.", class_="none")
    count, height = len(found.inputs), 60
    half = [max(u - c, c - l) for l, c, u in zip(found.lower, found.clean, found.upper, strict=True)]
    shares = [float((v - c) / h) if h else 0.0 for v, c, h in zip(found.inputs, found.clean, half, strict=True)]
    step = (WIDTH - 2) / count
    bars = "".join(f"M{1 + k * step:.2f} {height / 2}v{-height / 2 * s:.2f}" for k, s in enumerate(shares) if s)
    axis = el("line", x1=0, x2=WIDTH, y1=height / 2, y2=height / 2, class_="grid")
    drawn = el("path", d=bars or "M0 0", class_="thin", stroke_width=max(0.6, 0.8 * step))
    told = f"{sum(s != 0 for s in shares)} of {count} inputs are off the middle of their interval."
    chart = plots.figure(f"x{found.entry.number}", WIDTH, height, f"Inputs of {found.entry.query}", told, axis, drawn)
    return el("figure", el("figcaption", f"{count} inputs, each from the middle of its interval to an end"), chart,
              el("p", told, class_="small"))  # fmt: skip


def _outputs(found: Shown) -> Markup | None:
    """Bars of the outputs on one scale, clean and violating."""
    if not found.outputs:
        return None
    kept = range(min(len(found.outputs), 24))
    every = [float(v) for v in (*(found.outputs[k] for k in kept), *(found.clean_outputs[k] for k in kept
                                                                    if found.clean_outputs))]  # fmt: skip
    low, high = min(0.0, *every), max(0.0, *every)
    width = WIDTH - NAME - VALUE
    scale = width / ((high - low) or 1.0)
    zero = NAME - low * scale
    row = ROW + (9 if found.clean_outputs else 0)
    parts: list[Markup] = []
    for k in kept:
        top = row * k + 2
        parts.append(plots.text(NAME - 8, top + row / 2 + 2, _short(found.output_labels[k]), "end", "in"))
        if found.clean_outputs:
            parts += _bar(zero, top, float(found.clean_outputs[k]), scale, "bar-clean", "clean")
        after = top + (11 if found.clean_outputs else 0)
        parts += _bar(zero, after, float(found.outputs[k]), scale, "bar-violating", "violating")
    parts.append(el("line", x1=zero, x2=zero, y1=0, y2=row * len(kept), class_="tickmark"))
    told = ", ".join(f"{found.output_labels[k]} {_pair(found, k)}" for k in kept)
    title = f"Outputs of {found.entry.query}"
    chart = plots.figure(f"y{found.entry.number}", WIDTH, row * len(kept), title, told, *parts)
    more = f", the first {len(kept)} of {len(found.outputs)}" if len(kept) < len(found.outputs) else ""
    words = "outputs: clean (outline) and violating (filled)" if found.clean_outputs else "outputs at the witness"
    return el("figure", el("figcaption", words + more), chart)


def _pair(found: Shown, k: int) -> str:
    value = f"{float(found.outputs[k]):.5g}"
    return f"{float(found.clean_outputs[k]):.5g} clean, {value} violating" if found.clean_outputs else value


def _bar(zero: float, top: float, value: float, scale: float, class_: str, what: str) -> Iterator[Markup]:
    left = zero + min(0.0, value * scale)
    yield el("rect", x=left, y=top, width=max(0.5, abs(value) * scale), height=9, class_=class_)
    yield plots.text(WIDTH - VALUE + 10, top + 8, f"{value:.6g}", "start", "in" if what == "violating" else "tick")


def _short(label: str) -> str:
    return label if len(label) <= 13 else label[:6] + "…" + label[-6:]


def _printed(found: Shown) -> Markup | None:
    """The values as they are stored, where there are few."""
    if not 0 < len(found.inputs) + len(found.outputs) <= 64:
        return None
    names = [*found.input_labels, *found.output_labels]
    rows = [
        (rowhead(name), cell(el("code", literal(value))))
        for name, value in zip(names, (*found.inputs, *found.outputs), strict=True)
    ]
    head = ["entry", "exact value"]
    return el("details", el("summary", "Exact values"), table(f"Exact values of {found.entry.query}", head, rows,
                                                             class_="narrow"))  # fmt: skip
