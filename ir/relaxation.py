"""The linear relaxation of a Relu from bounds of its argument, stated once, for floats and for exact rationals.

For z in [l, u] with l < 0 < u:   max(0, z) >= a z   for every a in [0, 1],   and   max(0, z) <= s z + t   for every s
with t = max(-s l, (1 - s) u): the line lies above both corners, and max(0, .) is convex.  The best s is u / (u - l),
the chord's; here it is rounded to a multiple of 1/256 first and t follows from the rounded one, so that the line is
short to write down and the certificate's checker derives the very same one.  Rounding costs the area between the
chord and the line, at most 1/512 of max(-l, u).  A neuron that cannot be negative is z itself (s = a = 1, t = 0), one
that cannot be positive is 0.

The function uses operators, `xp.where` and `xp.maximum` only: arrays of float64 on NumPy or CuPy give the
relaxation up to float rounding (who needs it outward raises t), NumPy arrays of Fraction give it exactly.

Ehlers, Formal Verification of Piece-Wise Linear Feed-Forward Neural Networks, ATVA 2017 (the triangle).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SLOPE_DENOMINATOR = 256


@dataclass(frozen=True, eq=False)
class UpperLine:
    """max(0, z) <= slope z + intercept on [l, u], elementwise; unstable: where neither phase is excluded."""

    slope: Any
    intercept: Any
    unstable: Any


def upper_line(xp: Any, l: Any, u: Any) -> UpperLine:
    """The upper line of each neuron from its bounds l <= u; slopes are multiples of 1/256 in [0, 1]."""
    active = l >= 0
    unstable = ~(active | (u <= 0))
    # Twice the numbers and half the sum, and a remainder for a floor: so a Fraction stays one.
    steps = (2 * SLOPE_DENOMINATOR * u / xp.where(unstable, u - l, 1) + 1) / 2
    slope = xp.where(unstable, (steps - steps % 1) / SLOPE_DENOMINATOR, active * 1)
    intercept = xp.where(unstable, xp.maximum(-slope * l, (1 - slope) * u), 0)
    return UpperLine(slope, intercept, unstable)
