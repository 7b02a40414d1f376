"""The binary32 run against plain rationals: fma, every order, every operation, at the edges of the format."""

from __future__ import annotations

import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.ir.binary32 import ORDERS, Binary32, Order, fma, parse_order, same_bits, subnormals_are_kept
from farkas.ir.errors import FarkasError, UnsupportedOperator
from tests.ir.exact32 import Overflowed, dot, fma32, from_bits, round32

orders = st.sampled_from(ORDERS)
signs = st.sampled_from((1.0, -1.0))
any_finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
# Half of the numbers near a power of two and few bits long: products and sums then fall on midpoints often.
short = st.builds(
    lambda sign, bits, exponent: sign * float(bits) * 2.0**exponent,
    signs,
    st.integers(0, 2**13 + 1),
    st.integers(-149, 100),
)
near_power = st.builds(
    lambda exponent, offset: from_bits(max(0, (exponent << 23) + offset)), st.integers(0, 253), st.integers(-3, 3)
)
numbers = st.one_of(any_finite, short, near_power)


def f32(*values: float) -> Any:
    return np.array(values, dtype=np.float32)


def check_fma(a: float, b: float, c: float) -> None:
    got = float(fma(f32(a), f32(b), f32(c))[0])
    try:
        wanted = fma32(Fraction(a), Fraction(b), Fraction(c))
    except Overflowed:
        assert got == (np.inf if Fraction(a) * Fraction(b) + Fraction(c) > 0 else -np.inf)
        return
    assert np.isfinite(got)
    assert Fraction(got) == wanted


@given(numbers, numbers, numbers)
@settings(max_examples=1500)
def test_fma_is_the_exact_value_rounded_once(a: float, b: float, c: float) -> None:
    check_fma(a, b, c)


@given(st.integers(0, 2**11), st.integers(0, 2**11), st.integers(-40, 40), signs, st.integers(40, 110))
@settings(max_examples=1500)
def test_fma_is_right_next_to_midpoints(i: int, j: int, shift: int, sign: float, exponent: int) -> None:
    # (2^12 + i)(2^12 + j) has up to 26 bits, so it lies on or near midpoints; the addend breaks the tie far below.
    a, b = float(4096 + i) * 2.0 ** (exponent - 64), float(4096 + j) * 2.0 ** (exponent - 64)
    c = sign * float(np.float32(a * b)) * 2.0 ** (shift - 40)
    check_fma(a, b, c)


@given(st.integers(1, 2**24), st.integers(1, 2**24), st.integers(-149, -140), st.integers(-4, 4))
@settings(max_examples=1500)
def test_fma_rounds_once_below_the_normal_range(i: int, j: int, exponent: int, ulps: int) -> None:
    check_fma(i * 2.0**-24, j * 2.0**exponent, ulps * 2.0**-149)


@pytest.mark.parametrize(
    ("a", "b", "c", "wanted"),
    [
        # 1 + 2^-24 is a midpoint, and 1 is even.
        (1.0, 1.0 + 2.0**-23, -(2.0**-24), 1.0),
        (2.0**-12, 2.0**-12, 1.0, 1.0),
        (1.0, 2.0**-100, 2.0**-149, 2.0**-100),
        # (1 + 2^-12)^2 = 1 + 2^-11 + 2^-24: a midpoint, to even is down; a tiny addend decides it upward.
        (1 + 2.0**-12, 1 + 2.0**-12, 0.0, 1 + 2.0**-11),
        (1 + 2.0**-12, 1 + 2.0**-12, 2.0**-120, 1 + 2.0**-11 + 2.0**-23),
        (1 + 2.0**-12, 1 + 2.0**-12, -(2.0**-120), 1 + 2.0**-11),
        # 3 * 2^-150: between 2^-149 and 2^-148, a tie to even; the addend is below binary64's reach too.
        (3.0 * 2.0**-75, 2.0**-75, 0.0, 2.0**-148),
        (2.0**-75, 2.0**-75, 0.0, 0.0),
        (2.0**-75, 1.5 * 2.0**-75, 0.0, 2.0**-149),
        # Largest finite: (2^12)(2^116 - 2^92) = 2^128 - 2^104; half an ulp more overflows, less does not.
        (2.0**12, 2.0**116 - 2.0**92, 2.0**103, np.inf),
        (2.0**12, 2.0**116 - 2.0**92, 2.0**103 - 2.0**79, 2.0**128 - 2.0**104),
        (2.0**100, 2.0**100, -(2.0**127), np.inf),
    ],
)
def test_fma_at_ties_subnormals_and_overflow(a: float, b: float, c: float, wanted: float) -> None:
    assert float(fma(f32(a), f32(b), f32(c))[0]) == wanted


def test_double_rounding_would_be_wrong_where_fma_is_right() -> None:
    # The naive emulation RN32(RN64(a b + c)) fails exactly here; the test shows that the case is a real one.
    a, c = np.float64(1 + 2.0**-12), np.float64(2.0**-120)
    assert np.float32(a * a + c) == np.float32(1 + 2.0**-11)
    assert fma(f32(a), f32(a), f32(c))[0] == np.float32(1 + 2.0**-11 + 2.0**-23)


def test_fma_treats_infinities_nan_and_zeros_as_the_standard_does() -> None:
    inf, nan = np.inf, np.nan
    got = fma(f32(inf, inf, 0, nan, 1, -0.0, 0.0), f32(1, 1, inf, 1, 1, 1, 1), f32(1, -inf, 1, 1, -inf, -0.0, -0.0))
    assert same_bits(got, f32(inf, nan, nan, nan, -inf, 0, 0)).all()
    assert np.signbit(got[5]) and not np.signbit(got[6])


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=9), st.none() | numbers, orders)
@settings(max_examples=400)
def test_a_row_is_summed_in_its_order(terms: list[tuple[float, float]], bias: float | None, order: Order) -> None:
    w, x = [Fraction(t[0]) for t in terms], [Fraction(t[1]) for t in terms]
    try:
        wanted = dot(order, w, x, None if bias is None else Fraction(bias))
    except Overflowed:
        return
    row, point = f32(*(t[0] for t in terms))[None, :], f32(*(t[1] for t in terms))
    got = Binary32(order).contract(row, point, None if bias is None else f32(bias))
    assert got.shape == (1,)
    assert Fraction(float(got[0])) == wanted


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("length", [1, 255, 256, 257, 512, 600])
def test_long_rows_are_summed_in_their_declared_order(order: Order, length: int) -> None:
    rng = np.random.default_rng(length)
    w = rng.standard_normal((2, length)).astype(np.float32)
    x = rng.standard_normal((3, length)).astype(np.float32)
    b = rng.standard_normal(2).astype(np.float32)
    got = Binary32(order).contract(w, x, b)
    for i in range(3):
        for j in range(2):
            row, point = [Fraction(float(v)) for v in w[j]], [Fraction(float(v)) for v in x[i]]
            assert Fraction(float(got[i, j])) == dot(order, row, point, Fraction(float(b[j])))


def test_the_orders_differ_where_they_must() -> None:
    # 2^24 + 1 - 2^24 rounds to 0 from the left; bias first or last decides 2^24 + (1 + 1) and (2^24 + 1) + 1.
    w, ones = f32(2.0**24, 1.0, -(2.0**24))[None, :], f32(1, 1, 1)
    assert [float(Binary32(o).contract(w, ones, None)[0]) for o in ORDERS] == [0.0, 0.0, 0.0]
    # (1 + 2^-12)^2 - (1 + 2^-11) = 2^-24: lost when the product is rounded first, kept by fma with it last.
    w, x = f32(-1.0, 1 + 2.0**-12)[None, :], f32(1 + 2.0**-11, 1 + 2.0**-12)
    assert [float(Binary32(o).contract(w, x, None)[0]) for o in ORDERS] == [0.0, 2.0**-24, 2.0**-24]
    # 256 products of 2^-8 make 1 before they meet the bias 2^24; then 2^24 + 1 + 1 by blocks stays, 2 at once does not.
    w, x, b = np.full((1, 512), 2.0**-8, dtype=np.float32), np.ones(512, dtype=np.float32), f32(2.0**24)
    assert [float(Binary32(o).contract(w, x, b)[0]) for o in ORDERS] == [2.0**24 + 2, 2.0**24 + 2, 2.0**24]


@pytest.mark.parametrize("order", ORDERS)
def test_a_point_has_the_same_bits_alone_and_in_a_batch(order: Order) -> None:
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((300, 40)).astype(np.float32), rng.standard_normal(300).astype(np.float32)
    x = rng.standard_normal((4, 60, 40)).astype(np.float32)
    alg = Binary32(order)
    batch = alg.contract(w, x, b)
    assert batch.shape == (4, 60, 300)
    for i, j in ((0, 0), (1, 59), (3, 30)):
        assert np.array_equal(batch[i, j], alg.contract(w, x[i, j], b))


@given(numbers, numbers)
@settings(max_examples=400)
def test_each_operation_rounds_correctly(a: float, b: float) -> None:
    alg, x, y, p, q = Binary32("seq-fma"), f32(a), f32(b), Fraction(a), Fraction(b)
    cases = [(alg.add, p + q), (alg.sub, p - q), (alg.mul, p * q), (alg.maximum, max(p, q)), (alg.minimum, min(p, q))]
    if q != 0:
        cases.append((alg.div, p / q))
    for operation, value in cases:
        try:
            wanted = round32(value)
        except Overflowed:
            continue
        assert Fraction(float(operation(x, y)[0])) == wanted, operation
    assert Fraction(float(alg.neg(x)[0])) == -p
    assert Fraction(float(alg.absolute(x)[0])) == abs(p)


@given(numbers.map(abs))
def test_square_roots_round_correctly(a: float) -> None:
    root = Fraction(float(Binary32("seq-fma").sqrt(f32(a))[0]))
    ulp = Fraction(float(np.spacing(np.float32(root))))
    low, high = root - ulp / 2, root + ulp / 2
    assert (low <= 0 or low * low <= Fraction(a)) and Fraction(a) <= high * high


def test_a_constant_that_binary32_has_not_is_refused() -> None:
    alg = Binary32("seq-fma")
    assert alg.constant(np.array([0.5, -3.0])).dtype == np.float32
    with pytest.raises(UnsupportedOperator, match=r"0\.1.* is no binary32 number"):
        alg.constant(np.array([0.5, 0.1]))
    with pytest.raises(UnsupportedOperator, match="no binary32 number"):
        alg.contract(np.array([[1e300]]), f32(1), None)


def test_an_unknown_order_is_refused_by_name() -> None:
    with pytest.raises(FarkasError, match="'fastest' is no accumulation order; known are seq-muladd"):
        parse_order("fastest")


def test_this_process_keeps_subnormals() -> None:
    assert subnormals_are_kept()


def test_a_layer_of_784_by_256_takes_well_under_a_second_for_64_inputs() -> None:
    rng = np.random.default_rng(1)
    w, x = rng.standard_normal((256, 784)).astype(np.float32), rng.standard_normal((64, 784)).astype(np.float32)
    for order in ORDERS:
        started = time.process_time()
        Binary32(order).contract(w, x, None)
        assert time.process_time() - started < 1.0, order
