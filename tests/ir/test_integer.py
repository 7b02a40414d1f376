"""Integer programs: the reference run, ranges and thresholds, against values worked out by hand and in rationals."""

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.ir.core import Term
from farkas.ir.integer import (
    Codes,
    Greatest,
    IntegerProgram,
    Rounded,
    Sum,
    code_ranges,
    run_codes,
    run_integer,
    thresholds,
)
from farkas.ir.integer_unary import Arithmetic, Chain, Nearest, Shift, ToFloat
from farkas.ir.linear import Dense, Selection


def f32(*values: float) -> Any:
    return np.array(values, dtype=np.float32)


def scalar(value: float) -> Any:
    return np.array(value, dtype=np.float32)


def zero(value: int = 0) -> Any:
    return np.array(value, dtype=np.int64)


def requantise(size: int, scale: float, zero_point: int, low: int = 0, high: int = 255) -> Chain:
    return Chain((ToFloat(), Arithmetic("multiply", scalar(scale)), Nearest(zero(zero_point), low, high)), size)


def small() -> IntegerProgram:
    """Two inputs of scale 1/4, one uint8 layer of three neurons with scale 1/8, one output of scale 1/2.

    codes q = clamp(round(4 x) + 128); a = W (q - 128) + b; h = clamp(round(a / 8)); y = (v h - 5) / 2.
    """
    encode = Chain((Arithmetic("divide", scalar(0.25)), Nearest(zero(128), 0, 255)), 2)
    weight = np.array([[1.0, -2.0], [3.0, 0.0], [-4.0, 5.0]])
    first = Sum((Term(Dense(weight), 0),), np.array([3, -4, 0]) - 128 * np.array([-1, 3, 1]))
    hidden = Rounded(1, requantise(3, 0.125, 0), 0, 255)
    last = Sum((Term(Dense(np.array([[2.0, -1.0, 1.0]])), 2),), np.array([-5]))
    decode = Chain((ToFloat(), Arithmetic("multiply", scalar(0.5))), 1)
    nodes = (Codes(2, 0, 255), first, hidden, last)
    return IntegerProgram(encode, nodes, (2, 3, 3, 1), 3, decode, ("x", "a", "h", "y"), "fused")


def test_a_network_worked_out_by_hand() -> None:
    # x = (1.125, -0.375): 4 x = 4.5, -1.5 -> 4, -2 (ties to even).  a = 4 + 4 + 3, 12 - 4, -16 - 10 = 11, 8, -26.
    # a / 8 = 1.375, 1, -3.25 -> 1, 1, 0 (clamped).  y = (2 - 1 + 0 - 5) / 2 = -2.
    np.testing.assert_array_equal(run_integer(small(), f32(1.125, -0.375)), f32(-2.0))
    values = run_codes(small(), np.array([132, 126]))
    assert [v.tolist() for v in values] == [[132, 126], [11, 8, -26], [1, 1, 0], [-4]]


def test_infinite_quotients_are_clamped() -> None:
    values = small().encode
    assert values is not None
    np.testing.assert_array_equal(values(f32(3e38, -3e38)), [255, 0])


def test_integers_in_and_out_need_no_ends() -> None:
    program = small()
    plain = IntegerProgram(None, program.nodes, program.sizes, 3, None, program.names, "fused")
    np.testing.assert_array_equal(run_integer(plain, np.array([[132, 126]], dtype=np.uint8)), [[-4]])


def test_a_code_outside_its_type_is_refused() -> None:
    with pytest.raises(AssertionError, match="leaves"):
        run_codes(small(), np.array([256, 0]))


@given(st.lists(st.integers(0, 255), min_size=4, max_size=4))
def test_ranges_hold_what_they_are_ranges_of(ends: list[int]) -> None:
    program = small()
    low, high = np.minimum(ends[:2], ends[2:]), np.maximum(ends[:2], ends[2:])
    corners = np.array([[low[0], low[1]], [low[0], high[1]], [high[0], low[1]], [high[0], high[1]]])
    for (l, u), values in zip(code_ranges(program, low, high)[:3], run_codes(program, corners), strict=False):
        # Every component of the first layers is monotone in each code, so corners attain the range.
        np.testing.assert_array_equal(l, values.min(axis=0))
        np.testing.assert_array_equal(u, values.max(axis=0))


def test_greatest_takes_the_largest_of_each_group() -> None:
    picked = Sum((Term(Selection(np.array([2, 0, 1, 1]), 3), 0),), np.zeros(4, dtype=np.int64))
    nodes = (Codes(3, -128, 127), picked, Greatest(np.array([[0, 1], [2, 3]]), 1))
    program = IntegerProgram(None, nodes, (3, 4, 2), 2, None, ("x", "p", "y"), "fused")
    np.testing.assert_array_equal(run_integer(program, np.array([-5, 7, -9], dtype=np.int8)), [-5, 7])
    l, u = code_ranges(program, np.array([0, 1, 2]), np.array([3, 1, 9]))[2]
    assert (l.tolist(), u.tolist()) == ([2, 1], [9, 1])


@given(
    st.fractions(Fraction(-4), Fraction(4), max_denominator=64), st.integers(-40, 40), st.integers(-128, 127),
    st.tuples(st.integers(-500, 500), st.integers(-500, 500)),
)  # fmt: skip
def test_thresholds_are_the_steps_of_the_function(
    scale: Fraction, bias: int, zero_point: int, ends: tuple[int, int]
) -> None:
    # Steps in rationals: the scales are dyadic or not, the products of small integers with float32 numbers exact or
    # rounded once, which `float32` of the exact product is too.
    factor = np.float32(float(scale))
    chain = Chain(
        (Shift(zero(bias)), ToFloat(), Arithmetic("multiply", np.array([1.0, factor], np.float32)),
         Nearest(zero(zero_point), -128, 127)), 2,
    )  # fmt: skip
    lo, hi = min(ends), max(ends)
    steps = thresholds(chain, 1, lo, hi)
    assert steps[0][0] == lo
    assert all(a < b and v != w for (a, v), (b, w) in itertools.pairwise(steps))
    for value in range(lo, hi + 1):
        product = np.float32(float(Fraction(float(factor)) * (value - bias)))
        expected = min(127, max(-128, round(Fraction(float(product))) + zero_point))
        assert [v for first, v in steps if first <= value][-1] == expected
    assert chain.direction.tolist() == [1, -1 if factor < 0 else 1]


def test_a_chain_of_chosen_components_is_those_of_the_chain() -> None:
    chain = Chain((ToFloat(), Arithmetic("subtract from", f32(1.0, 2.0, 3.0)), Nearest(zero(), -9, 9)), 3)
    values = np.array([[5, 6, 7]])
    np.testing.assert_array_equal(chain.take(np.array([2, 0]))(values[:, [2, 0]]), chain(values)[:, [2, 0]])
    assert chain.direction.tolist() == [-1, -1, -1]
    assert thresholds(chain, 2, 0, 2) == [(0, 3), (1, 2), (2, 1)]
