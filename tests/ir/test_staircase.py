"""Staircases as lines, against their own points."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from farkas.ir.integer_unary import Arithmetic, Chain, Nearest, ToFloat
from farkas.ir.staircase import Staircase, extent, line, simplest, staircase

fractions = st.fractions(min_value=0, max_value=50, max_denominator=40)


@st.composite
def staircases(draw: st.DrawFn) -> Staircase:
    """Two to eight steps of lengths 1 to 6, up or down by 1 to 3."""
    steps = draw(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 3)), min_size=2, max_size=8))
    sign = draw(st.sampled_from([-1, 1]))
    starts, values = [draw(st.integers(-20, 20))], [draw(st.integers(-9, 9))]
    for length, rise in steps[:-1]:
        starts.append(starts[-1] + length)
        values.append(values[-1] + sign * rise)
    return Staircase(tuple(starts), tuple(values), starts[-1] + steps[-1][0] - 1)


def points(stairs: Staircase) -> dict[int, int]:
    found = {}
    for first, last, value in zip(stairs.starts, stairs.lasts, stairs.values, strict=True):
        found |= dict.fromkeys(range(first, last + 1), value)
    return found


@given(staircases())
def test_every_point_lies_in_its_bands_and_exact_ones_hold_nothing_else(stairs: Staircase) -> None:
    found = line(stairs)
    assert found is not None
    for t, v in points(stairs).items():
        for y in range(stairs.low - 3, stairs.high + 4):
            w = found.N * t - found.D * y
            own = found.odd if y % 2 else found.even
            if y == v:
                assert found.band[0] <= own[0] <= w <= own[1] <= found.band[1]
                continue
            assert not (found.is_exact and found.band[0] <= w <= found.band[1])
            assert not (found.is_exact_by_parity and own[0] <= w <= own[1])


@given(staircases())
def test_the_line_of_the_core_reaches_as_far_as_its_bands_do(stairs: Staircase) -> None:
    found = line(stairs.core())
    assert found is not None
    low, high = extent(stairs, found)
    core = stairs.core()
    assert stairs.starts[0] <= low <= core.starts[0] <= core.end <= high <= stairs.end
    for t, v in points(stairs).items():
        own = found.band_of(v)
        assert (own[0] <= found.N * t - found.D * v <= own[1]) == (low <= t <= high)


@given(fractions, fractions)
def test_the_simplest_fraction_has_the_least_denominator(a: Fraction, b: Fraction) -> None:
    assume(a != b)
    below, above = min(a, b), max(a, b)
    found = simplest(below, above)
    assert below < found < above
    for smaller in range(1, found.denominator):
        assert not below < Fraction(below * smaller // 1 + 1, smaller) < above


def requantisation(factor: float, zero: int, reach: int) -> Staircase:
    steps = (ToFloat(), Arithmetic("multiply", np.array(factor, dtype=np.float32)), Nearest(np.array(zero), 0, 255))
    return staircase(Chain(steps, 1), 0, -reach, reach)


@pytest.mark.parametrize("factor", [0.0123, 0.00071, 0.3141, 1 / 3, 0.7731871])
def test_a_requantisation_is_one_line_between_its_ends(factor: float) -> None:
    stairs = requantisation(factor, 77, 100_000)
    found = line(stairs.core())
    assert found is not None and found.is_exact
    # The slope is the factor, up to what one step in 255 cannot tell.
    assert abs(found.N / found.D - factor) < 0.01 * factor


@pytest.mark.parametrize("factor", [Fraction(1, 2), Fraction(1, 4), Fraction(1, 32)])
def test_ties_to_even_take_two_bands(factor: Fraction) -> None:
    found = line(requantisation(float(factor), 10, 100_000).core())
    assert found is not None and not found.is_exact and found.is_exact_by_parity
    assert Fraction(found.N, found.D) == factor


def test_a_requantisation_cuts_its_ends_off() -> None:
    # 0.5 t + 10 in 0..255, ties to even: 0 up to t = -19 (-9.5 -> -10), 255 from t = 490 on (489: 244.5 -> 244).
    core = requantisation(0.5, 10, 1000).core()
    assert (core.starts[0], core.end) == (-19, 490)


def test_a_constant_function_is_one_step() -> None:
    assert requantisation(1e-9, 3, 1000) == Staircase((-1000,), (3,), 1000)
