"""Floating-point error of the engine's own bounds, and of the binary32 execution that they bound.

Both are a-priori terms of the same form.  A row of |W| a + b, computed in float64 in any order, is off by at most
gamma64 (|W| U + |b|); a binary32 execution of it, in any order, by gamma32 (|W| U + |b|) and an underflow term.  So
each Affine node gets one vector E that covers its rounding under the chosen semantics *and* the rounding of every
engine computation that goes through it, and the backward pass subtracts |Lambda| E.  Sound for any summation order,
thread count, fused multiply-add, and for cuBLAS in fp64; measured elsewhere at 1.4 times careless BLAS, where directed
rounding modes cost 2.6 to 6.6 and exact integers 5 to 38 times.

Why one term is enough for the engine: with Lambda given as computed, the product A = fl(Lambda W) satisfies
|A - Lambda W| <= gamma64 |Lambda| |W|, hence Lambda (W a + b) >= A a + Lambda b - gamma64 |Lambda| (|W| U + |b|) for
every a with |a| <= U.  The constants Lambda b, and the partial sums in which all constants are collected, are covered
by the same magnitude with a larger count.

Rump, Fast interval matrix multiplication, 2012; Higham, Accuracy and Stability of Numerical Algorithms, ch. 3.
"""

from __future__ import annotations

from typing import Any

U64 = 2.0**-53


def engine_gamma(count: int) -> float:
    """A factor above gamma64 for `count` operations, with 256 more for the constants collected along a pass."""
    return (count + 256) * U64 * 1.0625


def up(values: Any, count: int = 8) -> Any:
    """Nonnegative computed values, raised above the exact ones that took at most `count` roundings."""
    return values * (1.0 + 2.0 * (count + 8) * U64)
