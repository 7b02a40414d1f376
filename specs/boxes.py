"""Exact input sets: which binary32 points a box of rationals means, and whether a point belongs to it.

In float modes the input set of an interval is its binary32 points:
  - lower < upper: both ends move inward to the grid; when no finite grid point is left, the set is empty and a verdict
    about it would be about nothing (`unknown`, reason incomplete, never a vacuous `unsat`);
  - lower = upper: the point itself; when it is no binary32 number, its nearest binary32 value (ties to even), which is
    what every runtime reads.  Such coordinates are counted, and the verdict reports the count.
Infinities are no grid points, and -0 and 0 are one number; boxes say 0.

Everything is computed in integers: with 2^e <= |q| < 2^(e+1), binary32 has the spacing 2^k, k = max(e - 23, -149),
around q, so |q| 2^-k is cut to an integer and the remainder decides.  An integer up to 2^24 times 2^k is exact in
binary64, so the results leave as floats.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from farkas.specs.query import Case, Semantics

Vector32 = NDArray[np.float32]

LARGEST = float(2**128 - 2**104)  # the largest finite binary32 number


def down32(q: Fraction) -> float | None:
    """The largest finite binary32 number <= q; None when q lies below all of them."""
    return _directed(q, upward=False)


def up32(q: Fraction) -> float | None:
    """The smallest finite binary32 number >= q; None when q lies above all of them."""
    return _directed(q, upward=True)


def nearest32(q: Fraction) -> float | None:
    """The nearest binary32 number, ties to even; None when rounding overflows (|q| >= 2^128 - 2^103)."""
    units, rest, whole, exponent = _cut(abs(q))
    up = 2 * rest > whole or (2 * rest == whole and units & 1 == 1)
    value = _scaled(units + up, exponent)
    return None if value is None else _signed(value, q)


def _directed(q: Fraction, *, upward: bool) -> float | None:
    """The neighbour of q on one side, q itself when it is on the grid."""
    units, rest, _, exponent = _cut(abs(q))
    away = (q > 0) == upward
    value = _scaled(units + (rest > 0 and away), exponent)
    if value is None:
        return None if away else _signed(LARGEST, q)
    return _signed(value, q)


def _signed(value: float, q: Fraction) -> float:
    """A magnitude with the sign of q; zero has none."""
    return -value if q < 0 and value else value


def _cut(q: Fraction) -> tuple[int, int, int, int]:
    """q >= 0 as (units + rest / whole) 2^exponent with 0 <= rest < whole; 2^exponent: spacing of binary32 around q."""
    n, d = q.numerator, q.denominator
    e = n.bit_length() - d.bit_length()  # 2^(e-1) < q < 2^(e+1), for q > 0
    if (n if e >= 0 else n << -e) < (d << e if e >= 0 else d):
        e -= 1
    exponent = max(e - 23, -149)
    if exponent < 0:
        n <<= -exponent
    else:
        d <<= exponent
    units, rest = divmod(n, d)
    return units, rest, d, exponent


def _scaled(units: int, exponent: int) -> float | None:
    """units 2^exponent, exact for units <= 2^24; None beyond the binary32 range."""
    if exponent > 104:
        return None
    value = math.ldexp(units, exponent)
    return value if value <= LARGEST else None


@dataclass(frozen=True)
class Box32:
    """The binary32 points of a box: those between lower and upper, componentwise.

    lower, upper: (n,) float32, finite; meaningless when empty.
    off_grid: coordinates with lower = upper in the property that are no binary32 number.
    empty: some coordinate has no binary32 point.
    """

    lower: Vector32
    upper: Vector32
    off_grid: int
    empty: bool


@dataclass(frozen=True)
class _Interval:
    """The binary32 points of one interval; `points` is None when there are none."""

    ends: tuple[Fraction, Fraction]  # kept so that the identities that key the memo stay taken
    points: tuple[float, float] | None
    off_grid: bool


class Grid:
    """Rounds boxes to the binary32 grid and remembers intervals, by the identity of their ends.

    A property of many cases shares its numbers between them; one Grid for all its cases rounds each interval once.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], _Interval] = {}

    def box(self, lower: Sequence[Fraction], upper: Sequence[Fraction]) -> Box32:
        """The binary32 points of a box; lower <= upper componentwise."""
        intervals = [self._interval(low, high) for low, high in zip(lower, upper, strict=True)]
        points = [interval.points for interval in intervals]
        ends = np.array([(math.nan, math.nan) if p is None else p for p in points], dtype=np.float32).reshape(-1, 2)
        off_grid = sum(interval.off_grid for interval in intervals)
        return Box32(ends[:, 0].copy(), ends[:, 1].copy(), off_grid, None in points)

    def _interval(self, low: Fraction, high: Fraction) -> _Interval:
        key = id(low), id(high)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _interval(low, high)
        return known


def _interval(low: Fraction, high: Fraction) -> _Interval:
    """The binary32 points of [low, high]."""
    if low == high:
        point = nearest32(low)
        if point is None:
            return _Interval((low, high), None, off_grid=False)
        return _Interval((low, high), (point, point), off_grid=point != low)
    first, last = up32(low), down32(high)
    if first is None or last is None or first > last:
        return _Interval((low, high), None, off_grid=False)
    return _Interval((low, high), (first, last), off_grid=False)


def binary32_box(lower: Sequence[Fraction], upper: Sequence[Fraction]) -> Box32:
    """The binary32 points of one box; for the many boxes of one property use one `Grid`."""
    return Grid().box(lower, upper)


def contains(case: Case, point: Sequence[Fraction], semantics: Semantics) -> bool:
    """Whether an input point belongs to the input set of a case, exactly as the mode defines the set.

    REAL: every rational point of the box.  All others: its binary32 points; a point off the grid means its nearest one.
    """
    if semantics is Semantics.REAL:
        return case.contains(point)
    return all(_on_grid(*triple) for triple in zip(case.lower, point, case.upper, strict=True))


def _on_grid(low: Fraction, value: Fraction, high: Fraction) -> bool:
    """Whether a value is one of the binary32 points that [low, high] means."""
    nearest = nearest32(value)
    if nearest is None or nearest != value:
        return False
    if low == high:
        return nearest == nearest32(low)
    return low <= value <= high
