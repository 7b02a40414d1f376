"""Exact integer arithmetic in float64: sums and products of limbs, every partial sum below 2^53.

A float64 holds every integer up to 2^53, and its sums and products are exact as long as they stay there, in whatever
order BLAS adds.  A number that is too large for a product is cut in limbs, x = sum_k x_k 2^(base k), toward zero: the
limbs of x have the sign of x, so no limb and no partial sum of limbs is larger than x itself.  A product of limbs with
integer weights is a sum of *terms* (exponent, array), and only its floor at some shift is ever needed:

    floor((D_1 2^b + D_0) / 2^s) = floor((D_1 + floor(D_0 2^-b)) 2^(b - s))            for b <= s
                                 = D_1 2^(b - s) + floor(D_0 2^-s)                     for b >= s

Multiplication by a power of two is exact, so nothing is ever rounded.  What must be bounded a priori is stated with
each function; `Budget` turns the mantissa's width into the limits (a test hands in a narrow one, so that small networks
split and fall back).  The limits are compared with products that are themselves rounded to nearest, a relative error
of 2^-50: every limit leaves a factor of two.  A sum of nonnegative integers needs no bound a priori: rounding is
monotone, so that a computed sum below 2^53 is the sum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Term = tuple[int, Floats]
"""(exponent, integers): integers 2^exponent."""

WORD = 2.0**62
"""Limit for what is held in int64."""


@dataclass(frozen=True)
class Budget:
    """How large integers may become.  bits: of the mantissa."""

    bits: int

    @property
    def value(self) -> float:
        """For numbers that are kept: sums of four of them are exact."""
        return 2.0 ** (self.bits - 3)

    @property
    def coefficient(self) -> float:
        """For coefficients before they are multiplied by an 8-bit slope."""
        return 2.0 ** (self.bits - 12)

    def room(self, gain: int, terms: int = 1) -> int:
        """Width of limbs x with |x| gain <= 2^(bits - 2 - bit_length(terms)): 2 `terms` such products may be added."""
        return self.bits - 2 - terms.bit_length() - max(gain, 1).bit_length()


def limbs_of(bound: float, base: int) -> int:
    """How many limbs of `base` bits hold every integer up to `bound`."""
    return max(1, -(-int(bound).bit_length() // base))


def split(x: Floats, base: int, count: int) -> Floats:
    """(count, *x.shape): the limbs of x, lowest first, each below 2^base in magnitude if |x| < 2^(base count)."""
    if count == 1:
        return x[None]
    limbs = np.empty((count, *x.shape))
    rest = x
    for k in range(count - 1, 0, -1):
        np.multiply(rest, 2.0 ** (-base * k), out=limbs[k])
        np.trunc(limbs[k], out=limbs[k])
        rest = np.subtract(rest, limbs[k] * 2.0 ** (base * k), out=limbs[0])
    return limbs


def floor_sum(terms: Iterable[Term], shift: int) -> Floats:
    """floor of the sum of the terms, at 2^shift; overwrites the arrays.  Some exponent is <= shift.

    Exact when at every exponent <= shift the sum of terms plus a carry is below 2^53, and so is every partial sum of
    the quotient.
    """
    ordered = sorted(terms, key=lambda term: term[0])
    exponent, total = ordered[0]
    at = 1
    while at < len(ordered) and ordered[at][0] <= shift:
        higher, values = ordered[at]
        floor_scale(total, higher - exponent)
        total += values
        exponent = higher
        at += 1
    floor_scale(total, shift - exponent)
    for higher, values in ordered[at:]:
        values *= 2.0 ** (higher - shift)
        total += values
    return total


def floor_scale(x: Floats, shift: int) -> Floats:
    """floor(x 2^-shift), in place."""
    if shift:
        x *= 2.0**-shift
        np.floor(x, out=x)
    return x


def floor_sum_words(terms: Iterable[Term], shift: int) -> Ints:
    """`floor_sum` for results below 2^62; exponents start at or below the shift.

    What is added above the shift may wrap around modulo 2^64: only the total matters.
    """
    ordered = sorted(terms, key=lambda term: term[0])
    exponent = ordered[0][0]
    total = ordered[0][1].astype(np.int64)
    at = 1
    while at < len(ordered) and ordered[at][0] <= shift:
        higher, values = ordered[at]
        total = (total >> (higher - exponent)) + values.astype(np.int64)
        exponent = higher
        at += 1
    total >>= shift - exponent
    for higher, values in ordered[at:]:
        total += values.astype(np.int64) << (higher - shift)
    return total


def floor_dot(x: Floats, bound: Floats, y: Floats, shift: int, budget: Budget) -> tuple[Ints, Floats]:
    """(floor of sum_j x_brj y_bj at 2^shift, (B, R);  what bounds its magnitude per b).

    x: (B, R, n) with |x_b| <= bound_b (B,); y: (B, n), or (1, n) for all.  The sum is exact whatever the sizes; the
    floor is exact for those b whose magnitude is below WORD (the caller discards the others).
    """
    shape = x.shape[:2]
    if len(y) == 1:
        x = x.reshape(1, -1, x.shape[2])
    magnitude = np.abs(y)
    reach = bound * (magnitude.sum(axis=1) + 1.0) * 2.0 ** (1 - shift) + 2.0
    terms = dot_terms(x, float(bound.max()), y, float(magnitude.max()), budget)
    return floor_sum_words(terms, shift).reshape(shape), reach


def dot_terms(x: Floats, bound: float, y: Floats, largest: float, budget: Budget) -> list[Term]:
    """The terms of sum_j x_brj y_bj."""
    width, need = budget.room(y.shape[1]), int(bound).bit_length()
    if width - need >= min(8, width // 2):
        cut, pieces = need, x[None]
    else:
        cut = width // 2
        pieces = split(x, cut, limbs_of(bound, cut))
    base = width - cut
    count = limbs_of(largest, base)
    columns = np.ascontiguousarray(np.moveaxis(split(y, base, count), 0, 2))
    terms: list[Term] = []
    for i, piece in enumerate(pieces):
        products = np.matmul(piece, columns)
        terms += [(cut * i + base * k, products[..., k]) for k in range(count)]
    return terms
