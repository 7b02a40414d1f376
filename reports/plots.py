"""Axes and lines of a chart, as inline SVG whose colours come from the page's style sheet.

A picture says in its title what it shows, and in its description what is read off it; figures stand in a table beside
it wherever they matter.  No number is only a colour: lines have their own dashes, marks their own shapes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from farkas.reports.markup import Child, Markup, el, join

LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 40
Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """From numbers to places of the picture; logarithmic where `log`."""

    low: float
    high: float
    start: float
    end: float
    label: str
    log: bool = False

    def at(self, value: float) -> float:
        low, high, found = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, found = math.log10(low), math.log10(high), math.log10(found)
        return self.start + (self.end - self.start) * (found - low) / ((high - low) or 1.0)

    @property
    def ticks(self) -> list[float]:
        return decades(self.low, self.high) if self.log else even(self.low, self.high)


def even(low: float, high: float, most: int = 6) -> list[float]:
    """At most about so many round numbers between two ends."""
    span = high - low
    if not span > 0:
        return [low]
    rough = span / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * k for k in (1, 2, 5, 10) if size * k >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Round numbers between two positive ends: the powers of ten, with their halves or fifths where these are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = 1 if last - first <= 8 else 2 + (last - first) // 16
    for steps_ in ((1,), (1, 3), (1, 2, 5)):
        found = [step * 10.0**k for k in range(first, last + 1, every) for step in steps_]
        found = [value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
        if len(found) >= 3:
            return found
    return found if len(found) > 1 else [low, high]


def number(value: float) -> str:
    """A number as an axis or a table shows it."""
    if 1000 <= abs(value) < 1e6 and value == round(value):
        return f"{value:,.0f}"
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e+")


def figure(name: str, width: int, height: int, title: str, text: str, *children: Child) -> Markup:
    """A picture with a name and a description that are read aloud; name: unique on the page."""
    return el(
        "svg", el("title", title, id=f"{name}-t"), el("desc", text, id=f"{name}-d"), *children,
        viewBox=f"0 0 {width} {height}", width=width, height=height, role="img", class_="plot",
        aria_labelledby=f"{name}-t {name}-d",
    )  # fmt: skip


def across(low: float, high: float, width: int, label: str, *, log: bool = False) -> Axis:
    return Axis(low, high, LEFT, width - RIGHT, label, log)


def upward(low: float, high: float, height: int, label: str, *, log: bool = False) -> Axis:
    return Axis(low, high, height - BOTTOM, TOP, label, log)


def axes(x: Axis, y: Axis) -> Markup:
    """Grid lines, numbers and names of both."""
    parts: list[Markup] = []
    for value in x.ticks:
        place = x.at(value)
        parts.append(el("line", x1=place, x2=place, y1=y.start, y2=y.end, class_="grid"))
        parts.append(text(place, y.start + 14, number(value), "middle"))
    for value in y.ticks:
        place = y.at(value)
        parts.append(el("line", x1=x.start, x2=x.end, y1=place, y2=place, class_="grid"))
        parts.append(text(x.start - 6, place + 3.5, number(value), "end"))
    parts.append(text((x.start + x.end) / 2, y.start + 32, x.label, "middle", "name"))
    middle = (y.start + y.end) / 2
    parts.append(el("text", y.label, x=12, y=middle, text_anchor="middle", class_="name",
                    transform=f"rotate(-90 12 {middle:.5g})"))  # fmt: skip
    return el("g", *parts, aria_hidden="true")


def text(x: float, y: float, words: str, anchor: str = "start", class_: str = "tick") -> Markup:
    return el("text", words, x=x, y=y, text_anchor=anchor, class_=class_)


def line(points: Sequence[Point], class_: str) -> Markup:
    return el("polyline", points=" ".join(f"{x:.5g},{y:.5g}" for x, y in points), class_=class_)


def steps(points: Sequence[Point]) -> list[Point]:
    """The corners of a line that keeps its height until the next point."""
    found = list(points[:1])
    for x, y in points[1:]:
        found += [(x, found[-1][1]), (x, y)]
    return found


SHAPES = {
    "circle": "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z", "square": "M-3 -3h6v6h-6z",
    "cross": "M-3.5 -3.5l7 7M-3.5 3.5l7 -7", "diamond": "M0 -4.2l4.2 4.2l-4.2 4.2l-4.2 -4.2z",
}  # fmt: skip


def mark(x: float, y: float, shape: str, label: str, class_: str) -> Markup:
    """A mark of one of the SHAPES, with a name that a pointer shows."""
    drawn = el("path", d=SHAPES[shape], transform=f"translate({x:.5g} {y:.5g})", class_=class_)
    return el("g", el("title", label), drawn)


def legend(*entries: tuple[str, str]) -> Markup:
    """Samples of lines or marks, by their class, with what they mean."""
    items = [
        el("li", el("svg", el("path", d="M1 6h22", class_=class_), width=24, height=12, aria_hidden="true"), " ", words)
        for class_, words in entries
    ]
    return el("ul", *items, class_="legend")


def nothing(words: str) -> Markup:
    """What stands in the place of a chart that has nothing to show."""
    return el("p", join(words), class_="none")
