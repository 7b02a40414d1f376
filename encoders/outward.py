"""Rationals as float64 numbers on the safe side."""

from __future__ import annotations

from fractions import Fraction
from math import inf, nextafter


def float_up(q: Fraction) -> float:
    """The smallest float64 number >= q; infinite beyond the range."""
    if abs(q) >= 2**1023:
        return inf if q > 0 else -(2.0**1023)
    nearest = float(q)
    return nearest if Fraction(nearest) >= q else nextafter(nearest, inf)


def float_down(q: Fraction) -> float:
    """The largest float64 number <= q; infinite beyond the range."""
    return 0.0 - float_up(-q)


def power_below(q: Fraction) -> Fraction:
    """The power of two 2^k with 2^k <= q < 2^(k+1), for q > 0; 1 for q = 0."""
    if q == 0:
        return Fraction(1)
    k = q.numerator.bit_length() - q.denominator.bit_length()
    power = Fraction(2) ** k
    return power if power <= q else power / 2
