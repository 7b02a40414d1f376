"""BINARY32 in any order: how far a summation group's float value may be from its real value.

For a group z = sum_k w_k a_k + sum_j b_j of n = `count` products and addends, with U >= |a| for the float values a that
enter it, M = sum |w_k| U_k + sum |b_j|, and (n+2) u <= 1/4:

    |z_float - z| <= gamma_{n+2} M + 4 (n+2) 2^-126 (1 + sum |w_k| + sum U_k),    gamma_k = k u / (1 - k u),  u = 2^-24

for every summation tree, permutation, splitting of K, mix of fma with multiplication and addition, up to two roundings
more on each path (a wider accumulator narrowed, a scaling by a rounded factor), and with subnormals kept or flushed at
any operand and result.  docs/semantics.md proves it; the tests try to break it.  gamma is the classical bound (Higham,
Accuracy and Stability of Numerical Algorithms, 2002, section 3.1).  Jeannerod and Rump's n u without the denominator
would be tighter by less than 0.01 % here and is not proved for a tree with fma; the fixed constant 4 costs nothing,
for 2^-126 is far below every margin.

`relative` is how far the coefficients themselves may be off (Rounding.relative): then the true coefficients' magnitude
is at most (1 + relative) times the stored one's.

The array functions take and return float64 arrays of NumPy or CuPy and use operators only; every result is rounded up.
A NaN or an infinity in a magnitude gives NaN or infinity in the bound and False in `within_range`: never a proof.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from farkas.ir.errors import FarkasError

UNIT = Fraction(1, 2**24)  # u: half the distance from 1 to the next binary32 number
SMALLEST_NORMAL = Fraction(1, 2**126)
OVERFLOW = Fraction(2**128 - 2**104)  # 2^128 (1 - 2^-24), the largest binary32 number
LARGEST_COUNT = 2**22 - 2  # (n+2) u <= 1/4

# Five float64 roundings of relative size 2^-53 each: (1 - 2^-53)^5 (1 + 2^-50) > 1.
_PAD = 1.0 + 2.0**-50


def gamma(k: int) -> Fraction:
    """k u / (1 - k u): k roundings change a product of k factors 1 + delta by at most this; wants k u < 1."""
    assert 0 <= k < 2**24, f"gamma is defined for 0 <= k < 2^24, not for {k}"
    return Fraction(k, 2**24 - k)


def check_count(count: int, name: str) -> None:
    """Raises FarkasError if the group `name` has more products and addends than the error bound covers."""
    if count > LARGEST_COUNT:
        raise FarkasError(
            f"node '{name}' sums {count} products and addends; the bound of binary32 rounding errors covers up to "
            f"{LARGEST_COUNT}; use semantics `real`"
        )


def error_bound(
    count: int, magnitude: Fraction, abs_weight_sum: Fraction, u_sum: Fraction, relative: Fraction = Fraction(0)
) -> Fraction:
    """The bound on |z_float - z| of one row, exactly.

    count: n of the group, 0 for what is computed without rounding (data movement, Relu, Max, Abs, Neg); magnitude: M;
    abs_weight_sum: sum |w_k|; u_sum: sum U_k, over all operands of the row.
    """
    off = relative * magnitude
    if count == 0:
        return off
    assert count <= LARGEST_COUNT, f"a group of {count} products and addends needs check_count first"
    underflow = 4 * (count + 2) * SMALLEST_NORMAL * (1 + abs_weight_sum + u_sum)
    return off + (1 + relative) * (gamma(count + 2) * magnitude + underflow)


def stays_finite(
    count: int,
    magnitude: Fraction,
    abs_weight_sum: Fraction,
    u_sum: Fraction,
    relative: Fraction = Fraction(0),
    peak: Fraction = Fraction(0),
) -> bool:
    """The overflow obligation of one row, exactly: no partial result of any execution overflows (Rounding.peak)."""
    reach = magnitude + peak * (1 + u_sum)
    return reach + error_bound(count, reach, abs_weight_sum, u_sum, relative) < OVERFLOW


def rounding_error(count: int, magnitude: Any, abs_weight_sum: Any, u_sum: Any, relative: float = 0.0) -> Any:
    """`error_bound` of many rows in float64, rounded up; the arrays broadcast, and each may be rounded up already.

    Rigorous: all terms are nonnegative, so the five roundings lose at most a factor (1 - 2^-53)^5, and what underflow
    loses of gamma M (2^-1075) is less than the padding of the second term (2^-172).
    """
    if count == 0:
        return relative_error(relative, magnitude)
    assert count <= LARGEST_COUNT, f"a group of {count} products and addends needs check_count first"
    scale = 1 + Fraction(relative)
    factor = _up(scale * gamma(count + 2) + Fraction(relative))
    floor = _up(scale * 4 * (count + 2) * SMALLEST_NORMAL)
    return (magnitude * factor + (abs_weight_sum + u_sum + 1.0) * floor) * _PAD


def relative_error(relative: float, magnitude: Any) -> Any:
    """relative * magnitude, rounded up: what inexact coefficients cost, in `real` too."""
    if relative == 0.0:
        return magnitude * 0.0
    return magnitude * relative * _PAD + 2.0**-1000


def within_range(
    count: int, magnitude: Any, abs_weight_sum: Any, u_sum: Any, relative: float = 0.0, peak: float = 0.0
) -> Any:
    """Mask of rows for which the overflow obligation is proved; False for NaN and infinities."""
    reach = magnitude if peak == 0.0 else (magnitude + (u_sum + 1.0) * peak) * _PAD
    return (reach + rounding_error(count, reach, abs_weight_sum, u_sum, relative)) * _PAD < float(OVERFLOW)


def _up(value: Fraction) -> float:
    """The smallest float64 at or above a positive rational."""
    nearest = float(value)
    return nearest if Fraction(nearest) >= value else math.nextafter(nearest, math.inf)
