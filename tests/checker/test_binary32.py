"""Correct rounding, against NumPy where it has the operation and against exact neighbours everywhere."""

from __future__ import annotations

import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from farkas.checker import binary32 as b

LIMIT = Fraction(2**128) - Fraction(2**104)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
fractions = st.fractions() | st.builds(
    lambda m, e: Fraction(m) * Fraction(2) ** e, st.integers(-(2**60), 2**60), st.integers(-220, 75)
)


def ticks(x: float) -> int:
    return b.from_bits(struct.unpack("<I", struct.pack("<f", x))[0])


def neighbours(t: int) -> tuple[Fraction, Fraction]:
    """The numbers beside t, as if the exponents went on beyond the largest."""
    x = np.float32(float(b.value(t)))
    ends = [Fraction(0), Fraction(0)]
    for side, sign in enumerate((-1, 1)):
        outermost = abs(t) == b.LARGEST and (t > 0) == (sign > 0)
        ends[side] = (
            Fraction(sign * 2**128) if outermost else Fraction(float(np.nextafter(x, np.float32(sign * np.inf))))
        )
    return ends[0], ends[1]


def is_nearest(exact: Fraction, t: int) -> bool:
    """Whether binary32 number t is the one nearest to `exact`, ties to the even significand."""
    below, above = neighbours(t)
    distance = abs(exact - b.value(t))
    even = struct.unpack("<I", struct.pack("<f", float(b.value(t))))[0] % 2 == 0
    others = min(abs(exact - below), abs(exact - above))
    return distance < others or (distance == others and even)


@given(floats)
def test_bits_and_values_agree_with_the_machine(x: float) -> None:
    assert b.value(ticks(x)) == Fraction(x)
    assert b.is_binary32(Fraction(x))


@given(fractions)
def test_directed_roundings_are_the_neighbouring_numbers(x: Fraction) -> None:
    assume(abs(x) < LIMIT)
    low, high = b.floor32(x), b.ceil32(x)
    assert low is not None and high is not None
    assert b.value(low) <= x <= b.value(high)
    assert (low == high) == b.is_binary32(x)
    if low != high:
        assert neighbours(low)[1] == b.value(high)
        assert b.above32(low) == high


@given(fractions)
def test_nearest_is_nearest_with_ties_to_even(x: Fraction) -> None:
    assume(abs(x) < LIMIT)
    assert is_nearest(x, b.nearest32(x))


@given(floats, floats)
def test_sum_product_and_quotient_are_those_of_numpy(x: float, y: float) -> None:
    with np.errstate(all="ignore"):
        cases = [
            (b.add32, np.float32(x) + np.float32(y)),
            (b.multiply32, np.float32(x) * np.float32(y)),
            (b.divide32, np.float32(x) / np.float32(y) if y else None),
        ]
    for operation, expected in cases:
        if expected is None:
            continue
        if np.isfinite(expected):
            assert b.value(operation(ticks(x), ticks(y))) == Fraction(float(expected))
        else:
            with pytest.raises(b.NonFinite):
                operation(ticks(x), ticks(y))


@given(floats, floats, floats)
def test_fma_rounds_once(x: float, y: float, z: float) -> None:
    exact = Fraction(x) * Fraction(y) + Fraction(z)
    assume(abs(exact) < LIMIT)
    assert is_nearest(exact, b.fma32(ticks(x), ticks(y), ticks(z)))


def test_fma_differs_from_two_roundings_where_the_product_cancels() -> None:
    x = 1 + 2.0**-23  # (1 + u)^2 - (1 + 2 u) = u^2 exactly, which the rounded product has lost
    square = ticks(1 + 2.0**-22)
    assert b.value(b.fma32(ticks(x), ticks(x), -square)) == Fraction(1, 2**46)
    assert b.add32(b.multiply32(ticks(x), ticks(x)), -square) == 0


def test_the_last_number_below_overflow_is_kept_and_the_next_is_not() -> None:
    half_ulp = 1 << (127 - 24 + b.TICK)
    assert b.add32(b.LARGEST, half_ulp - 1) == b.LARGEST
    with pytest.raises(b.NonFinite):
        b.add32(b.LARGEST, half_ulp)
    assert b.floor32(Fraction(2) ** 200) == b.LARGEST
    assert b.ceil32(Fraction(2) ** 200) is None
    assert b.above32(b.LARGEST) is None


@pytest.mark.parametrize("bits", [0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001])
def test_infinities_and_nan_are_refused(bits: int) -> None:
    with pytest.raises(b.NonFinite):
        b.from_bits(bits)
