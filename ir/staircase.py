"""Staircases as linear inequalities: y = f(t) for a monotone integer function f, in as few constraints as are exact.

A requantisation takes an accumulator t of millions of values to a code y of a few hundred.  Step i of f is the longest
interval first_i..last_i on which it has the value v_i.

The idea.  For integers N > 0 and D let

    m = min_i (N first_i - D v_i),      M = max_i (N last_i - D v_i).

Every point of the graph of f satisfies  m <= N t - D y <= M, and when M - m < |D| two different y cannot both satisfy
it for one t.  So the double inequality then *is* y = f(t): two rows instead of hundreds of booleans, and the tightest
of their slope.  Nothing has to be proved about how N and D were found; the two facts are checked in exact integers.

Which slope.  M - m < |D| for s = D / N means  last_i - first_j < s (1 + v_i - v_j)  for all steps i, j (values in
ascending order; a descending f is the same with -y).  Each pair bounds s from one side, so s ranges over an open
interval, and the simplest fraction in it has the smallest N: for a requantisation by c its numbers are about those
of the shortest fraction near c.

Ties.  Rounding ties to even breaks lines when c is a short binary fraction (c = 1/4 has steps of length 5, 3, 5, 3,
...): even codes take both ties, odd ones none.  With a band for even and one for odd values, m_e..M_e and m_o..M_o,
two y for one t would need a - b to be an odd multiple of D with a and b in the two bands, and there is none when
M_e - m_o < |D| and M_o - m_e < |D|.  The price is one boolean, the parity of y.

What neither catches keeps the plain band as a relaxation and gets one boolean a step: factors above 1, whose last step
is cut off by the clamp, and one requantisation in a hundred, where a float32 product falls on the other side of a tie.

What is cut off first.  The ends of f are clamped as a rule (saturation, Relu), and a line has no ends.  So the line is
that of the core, from the last point of the first step to the first point of the last one, and reaches as far into
these two steps as its band does (`extent`): to their ends where nothing is clamped.  The caller takes
t = min(max(acc, a), b) for that extent a..b.

A function of one product in exact arithmetic, floor((N t + R) / D), is a digital line, and recognising one is classic
(Debled-Rennesson and Reveilles, 1995); all pairs are compared here, as there are at most some hundred steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from farkas.ir.integer import thresholds
from farkas.ir.integer_unary import Integers, Unary

MOST_STEPS = 2048  # compared pair by pair: 4 million pairs; beyond, the mean slope serves
LARGEST = 2**60  # of N t and of D y: their difference then stays within int64, as does what a solver adds to it


@dataclass(frozen=True)
class Staircase:
    """Step i has the value values[i] from starts[i] on, the last one to `end`; values are strictly monotone."""

    starts: tuple[int, ...]
    values: tuple[int, ...]
    end: int

    @property
    def lasts(self) -> tuple[int, ...]:
        return (*(start - 1 for start in self.starts[1:]), self.end)

    @property
    def low(self) -> int:
        return min(self.values[0], self.values[-1])

    @property
    def high(self) -> int:
        return max(self.values[0], self.values[-1])

    def core(self) -> Staircase:
        """Between the last point of the first step and the first point of the last one; at least two steps."""
        return Staircase((self.starts[1] - 1, *self.starts[1:]), self.values, self.starts[-1])


Band = tuple[int, int]


@dataclass(frozen=True)
class Line:
    """N t - D y lies in `even` or `odd`, by the parity of y, for every point of a staircase."""

    N: int
    D: int
    even: Band
    odd: Band

    def band_of(self, y: int) -> Band:
        return self.odd if y % 2 else self.even

    @property
    def band(self) -> Band:
        """Where N t - D y lies whatever y is."""
        return min(self.even[0], self.odd[0]), max(self.even[1], self.odd[1])

    @property
    def is_exact(self) -> bool:
        """Whether the band admits one y only for every t."""
        low, high = self.band
        return high - low < abs(self.D)

    @property
    def is_exact_by_parity(self) -> bool:
        """Whether the two bands together admit one y only for every t."""
        return max(self.even[1] - self.odd[0], self.odd[1] - self.even[0]) < abs(self.D)


def staircase(function: Unary, component: int, low: int, high: int) -> Staircase:
    """One component of a function over low..high."""
    steps = thresholds(function, component, low, high)
    return Staircase(tuple(start for start, _ in steps), tuple(value for _, value in steps), high)


def line(stairs: Staircase) -> Line | None:
    """Parallel lines around a staircase of at least two steps, exact where one slope makes them so.

    None: its numbers would be too large for a solver.
    """
    sign = 1 if stairs.values[-1] > stairs.values[0] else -1
    slope = _slope(stairs, sign) if len(stairs.values) <= MOST_STEPS else _mean(stairs)
    N, D = slope.denominator, sign * slope.numerator
    reach = N * max(abs(stairs.starts[0]), abs(stairs.end)), abs(D) * max(abs(v) for v in stairs.values)
    if max(reach) > LARGEST:
        return None
    points = list(zip(stairs.starts, stairs.lasts, stairs.values, strict=True))
    even, odd = (
        (
            min(N * first - D * v for first, _, v in points if v % 2 == parity),
            max(N * last - D * v for _, last, v in points if v % 2 == parity),
        )
        if any(v % 2 == parity for _, _, v in points)
        else None
        for parity in (0, 1)
    )
    known = even or odd
    assert known is not None, "a staircase has steps"
    return Line(N, D, even or known, odd or known)


def extent(stairs: Staircase, found: Line) -> tuple[int, int]:
    """How far the points of a staircase stay in the bands of its core's line: a..b, the whole range or less."""
    first, last = stairs.values[0], stairs.values[-1]
    low, high = found.band_of(first)[0], found.band_of(last)[1]
    start = -((-low - found.D * first) // found.N)  # the least t with N t - D first >= low
    return max(stairs.starts[0], start), min(stairs.end, (high + found.D * last) // found.N)


def _slope(stairs: Staircase, sign: int) -> Fraction:
    """Inputs a value: such that the line is exact where one is, else about the mean slope."""
    first, last = np.array(stairs.starts, dtype=np.int64), np.array(stairs.lasts, dtype=np.int64)
    value = sign * np.array(stairs.values, dtype=np.int64)
    length, gain = last[:, None] - first[None, :], 1 + value[:, None] - value[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = length / gain
    below = _fraction(length, gain, np.where(gain > 0, ratio, -np.inf).argmax())
    above = _fraction(length, gain, np.where(gain < 0, ratio, np.inf).argmin()) if (gain < 0).any() else None
    if above is None or below < above:
        return simplest(below, above)
    # No slope is exact; one between the two is nearly so.
    return max(Fraction(1, 1024), above if above == below else simplest(above, below))


def _mean(stairs: Staircase) -> Fraction:
    mean = Fraction(stairs.end - stairs.starts[0], stairs.high - stairs.low)
    return max(Fraction(1, 1024), mean.limit_denominator(1024))


def _fraction(top: Integers, bottom: Integers, place: np.intp) -> Fraction:
    return Fraction(int(top.flat[place]), int(bottom.flat[place]))


def simplest(below: Fraction, above: Fraction | None) -> Fraction:
    """The fraction of least denominator strictly between below >= 0 and above (None: infinity)."""
    whole = below.numerator // below.denominator
    if above is None or whole + 1 < above:
        return Fraction(whole + 1)
    # below < above <= whole + 1: both are whole + something, and simplest fractions keep under inversion.
    rest = above - whole
    return whole + 1 / simplest(1 / rest, None if below == whole else 1 / (below - whole))
