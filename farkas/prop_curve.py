"""Certified accuracy over a parameter, as numbers and as a picture.

Two lines: below, the share of points for which the specification was proved; above, the share that was neither violated
nor misclassified.  The accuracy under the specification lies between them.  Both are steps, drawn to the side that
claims less: between two values of the parameter what was proved is that of the next one, and what was not refuted that
of the one before.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from html import escape
from itertools import pairwise
from pathlib import Path

from farkas.api import FilePath, write_bytes
from farkas.ir.errors import FarkasError
from farkas.prop_results import Outcome, Results
from farkas.specs.language_numbers import exact

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 480, 300, 56, 16, 28, 44
INK, PROVED, LEFT_OPEN = "#444444", "#1b6ca8", "#b3cde3"


@dataclass(frozen=True)
class CurvePoint:
    """A value of the parameter, and how many of the points have which outcome."""

    value: str
    holds: int
    refuted: int
    points: int

    @property
    def certified(self) -> float:
        """The share of points for which it was proved."""
        return self.holds / self.points

    @property
    def possible(self) -> float:
        """The share of points that were neither violated nor misclassified."""
        return 1 - self.refuted / self.points


@dataclass(frozen=True, repr=False)
class Curve:
    """Certified accuracy over the values of one parameter, ascending."""

    name: str
    param: str
    points: tuple[CurvePoint, ...]

    def to_csv(self, path: FilePath) -> None:
        """Writes the curve as CSV: the value, the two shares, and how many points they are of."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([self.param, "certified", "possible", "points"])
        writer.writerows([p.value, p.certified, p.possible, p.points] for p in self.points)
        write_bytes(Path(path), text.getvalue().encode())

    def to_svg(self, path: FilePath) -> None:
        """Writes the picture."""
        write_bytes(Path(path), self.svg().encode())

    def svg(self) -> str:
        """The picture, as an SVG image of its own."""
        numbers = [float(exact(p.value)) for p in self.points]
        low, high = min(0.0, *numbers), max(numbers)
        across = [LEFT + (WIDTH - LEFT - RIGHT) * ((x - low) / ((high - low) or 1.0)) for x in numbers]
        below = [(x, _down(p.certified)) for x, p in zip(across, self.points, strict=True)]
        above = [(x, _down(p.possible)) for x, p in zip(across, self.points, strict=True)]
        lower, upper = _steps(below, at_once=True), _steps(above, at_once=False)
        parts = [
            f'<polygon points="{_path([*upper, *reversed(lower)])}" fill="{LEFT_OPEN}" fill-opacity="0.5"/>',
            f'<polyline points="{_path(upper)}" fill="none" stroke="{LEFT_OPEN}" stroke-width="2"/>',
            f'<polyline points="{_path(lower)}" fill="none" stroke="{PROVED}" stroke-width="2"/>',
            *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{PROVED}"/>' for x, y in below),
            *_axes(self.param, [(x, p.value) for x, p in zip(across, self.points, strict=True)]),
            _text(LEFT, TOP - 12, f"{self.name}: proved (line), not refuted (shade)", "start"),
        ]
        size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
        ground = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
        return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{ground}{"".join(parts)}</svg>'

    def __repr__(self) -> str:
        lines = [f"{p.value:>12}  {p.certified:7.1%}  {p.possible:7.1%}" for p in self.points]
        return "\n".join([f"{self.name}, of {self.points[0].points} points", _head(self.param), *lines])

    def _repr_html_(self) -> str:
        return self.svg()


def _head(param: str) -> str:
    return f"{param:>12}   proved  not refuted"


def curve(results: Results, param: str | None) -> Curve:
    """The curve over a parameter; all other parameters have one value.  Raises FarkasError."""
    name = results.params[0] if param is None and len(results.params) == 1 else param
    if name is None or name not in results.params:
        raise FarkasError(f"a curve is over one parameter; choose it from {', '.join(results.params) or 'none'}")
    others = {tuple(row.params[other] for other in results.params if other != name) for row in results.rows}
    if len(others) != 1:
        raise FarkasError(f"the other parameters have {len(others)} choices of values; name one: curve('{name}', ...)")
    column = results.params.index(name)
    groups = {values[column]: group for values, group in results.groups().items()}
    return Curve(results.name, name, tuple(_point(value, groups[value]) for value in sorted(groups, key=_number)))


def _point(value: str, group: Results) -> CurvePoint:
    counts = group.counts
    refuted = counts[Outcome.VIOLATED] + counts[Outcome.MISCLASSIFIED]
    return CurvePoint(value, counts[Outcome.HOLDS], refuted, len(group.rows))


def _number(value: str) -> Fraction:
    return exact(value)


def _down(share: float) -> float:
    """How far down the picture a share is drawn."""
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)


def _steps(points: Sequence[tuple[float, float]], at_once: bool) -> list[tuple[float, float]]:
    """The corners of steps through the points, to the next height at once or at the end."""
    found = list(points[:1])
    for (x, y), (across, down) in pairwise(points):
        found += [(x, down) if at_once else (across, y), (across, down)]
    return found


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _axes(param: str, ticks: Sequence[tuple[float, str]]) -> list[str]:
    """Lines at quarters, the values of the parameter below, and its name."""
    found = []
    for quarter in range(5):
        y = _down(quarter / 4)
        found.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="{INK}" opacity="0.2"/>')
        found.append(_text(LEFT - 6, y + 4, f"{quarter * 25} %", "end"))
    shown = ticks[:: len(ticks) // 8 + 1]
    found += [_text(x, HEIGHT - BOTTOM + 16, value, "middle") for x, value in shown]
    return [*found, _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, param, "middle")]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    font = 'font-family="sans-serif" font-size="12"'
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {font} fill="{INK}">{escape(text)}</text>'
