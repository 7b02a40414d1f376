"""The triangle of a Relu: by hand, in exact rationals, and beside the floats that bounds are propagated with."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from farkas.ir.relaxation import upper_line
from farkas.runtime_cuda.crown import ADAPTIVE, lines

ends = st.fractions(-8, 8, max_denominator=1000)
bounds = st.lists(st.tuples(ends, ends).map(sorted), min_size=1, max_size=6)


def exactly(pairs: list[list[Fraction]]) -> tuple[Any, Any]:
    array = np.array(pairs, dtype=object)
    return array[:, 0], array[:, 1]


def test_a_chord_that_a_byte_holds_is_the_upper_line() -> None:
    line = upper_line(np, np.array([-1.0, -3.0]), np.array([3.0, 1.0]))
    assert line.slope.tolist() == [0.75, 0.25]
    assert line.intercept.tolist() == [0.75, 0.75]


def test_stable_neurons_are_themselves_or_zero() -> None:
    line = upper_line(np, np.array([0.0, -2.0, 1.0, 0.0]), np.array([2.0, 0.0, 4.0, 0.0]))
    assert line.slope.tolist() == [1.0, 0.0, 1.0, 1.0]
    assert not line.intercept.any() and not line.unstable.any()


@given(bounds)
def test_the_line_lies_above_relu_and_touches_it_where_a_byte_allows(pairs: list[list[Fraction]]) -> None:
    l, u = exactly(pairs)
    line = upper_line(np, l, u)
    for a, b, s, t, unstable in zip(l, u, line.slope, line.intercept, line.unstable, strict=True):
        excess = [s * z + t - max(z, Fraction(0)) for z in (a, b)]
        assert not {float, np.float64} & {type(s), type(t)}  # no float on the way
        assert (s * 256) % 1 == 0
        assert min(excess) == 0  # at a corner; a convex function below both corners is below between them
        if unstable:
            assert abs(s - b / (b - a)) <= Fraction(1, 512)


@given(bounds)
def test_floats_have_the_slopes_of_bound_propagation_and_at_most_its_intercepts(pairs: list[list[Fraction]]) -> None:
    l, u = (side.astype(np.float64) for side in exactly(pairs))
    line, made = upper_line(np, l, u), lines(np, l[None], u[None], (ADAPTIVE,), 4)
    assert np.array_equal(line.slope, made.upper[0])
    assert (line.intercept <= made.intercept[0]).all()
    assert np.allclose(line.intercept, made.intercept[0], rtol=1e-12, atol=1e-14)
