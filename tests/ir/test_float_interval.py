"""Float-exact intervals against runs in the same order at points of the box, and against exact rationals."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.ir.binary32 import ORDERS, Binary32, Order, fma
from farkas.ir.errors import UnsupportedOperator
from farkas.ir.execute import execute
from farkas.ir.float_interval import FloatIntervals, float_bounds, pairs
from tests.ir.exact32 import dot
from tests.nets import SHAPES, affine, seeds, varied

orders = st.sampled_from(ORDERS)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.floats(-4, 4, width=32)
ends = st.tuples(floats, floats).map(lambda p: (min(p), max(p)))
shares = st.floats(0, 1)


def f32(*values: float) -> Any:
    return np.array(values, dtype=np.float32)


def inside(pair: tuple[float, float], share: float) -> Any:
    lo, hi = f32(pair[0]), f32(pair[1])
    with np.errstate(over="ignore", invalid="ignore"):
        return np.clip((lo * (1 - share) + hi * share).astype(np.float32), lo, hi)


def contains(interval: Any, value: Any) -> bool:
    """Nothing is claimed about an unknown interval; a known one contains a number."""
    return bool(np.isnan(interval["lo"]).all() or ((interval["lo"] <= value) & (value <= interval["hi"])).all())


@given(ends, ends, ends, shares, shares, shares)
@settings(max_examples=600)
def test_every_operation_contains_its_rounded_results(
    a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], s: float, t: float, r: float
) -> None:
    alg, run = FloatIntervals("seq-fma"), Binary32("seq-fma")
    p, q, o = (pairs(*(f32(end) for end in pair)) for pair in (a, b, c))
    x, y, z = inside(a, s), inside(b, t), inside(c, r)
    assert contains(alg.add(p, q), run.add(x, y))
    assert contains(alg.sub(p, q), run.sub(x, y))
    assert contains(alg.mul(p, q), run.mul(x, y))
    assert contains(alg.div(p, q), run.div(x, y))
    assert contains(alg.fma(p, q, o), fma(x, y, z))
    assert contains(alg.neg(p), run.neg(x))
    assert contains(alg.absolute(p), run.absolute(x))
    assert contains(alg.maximum(p, q), run.maximum(x, y))
    assert contains(alg.minimum(p, q), run.minimum(x, y))
    assert contains(alg.sqrt(p), run.sqrt(x))


def _sample(rng: np.random.Generator, lower: Any, upper: Any) -> Any:
    """Corners and inner points of a box, (8, n)."""
    inner = rng.uniform(lower, upper, (4, lower.size)).astype(np.float32)
    corners = np.where(rng.integers(0, 2, (4, lower.size)) == 1, upper, lower)
    return np.clip(np.concatenate([inner, corners]), lower, upper)


@given(seeds, st.sampled_from(SHAPES), orders)
@settings(max_examples=150, deadline=None)
def test_networks_run_inside_their_bounds(seed: int, shape: str, order: Order) -> None:
    rng = np.random.default_rng(seed)
    net = varied(rng, shape, eighths=False)
    lower = rng.uniform(-2, 2, 2).astype(np.float32)
    upper = (lower + rng.choice(np.array([0, 2.0**-22, 2.0**-8, 1.0]), 2)).astype(np.float32)
    try:
        low, high = float_bounds(net.graph, lower, upper, order)
    except UnsupportedOperator:
        assert order == "mlas-k256-fma" and shape in ("conv", "mean")
        return
    outputs = execute(net.graph, _sample(rng, lower, upper), order)
    assert ((low <= outputs) & (outputs <= high)).all()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("length", [1, 3, 256, 257, 600])
def test_ends_of_one_sum_are_its_values_at_two_corners(order: Order, length: int) -> None:
    # The corner that takes lo where w > 0 and hi elsewhere is a point of the box, so the end is attained there; its
    # value comes from exact rationals, rounded step by step.
    rng = np.random.default_rng(length)
    w = rng.normal(size=(1, length)).astype(np.float32)
    bias, lo = f32(0.3), rng.normal(size=length).astype(np.float32)
    hi = (lo + rng.uniform(0, 1, length)).astype(np.float32)
    got = FloatIntervals(order).contract(w, pairs(lo, hi), bias)[0]
    for end, corner in (("lo", np.where(w[0] > 0, lo, hi)), ("hi", np.where(w[0] > 0, hi, lo))):
        weights, point = ([Fraction(float(v)) for v in values] for values in (w[0], corner))
        assert Fraction(float(got[end])) == dot(order, weights, point, Fraction(float(bias[0])))


def test_bounds_speak_about_one_order() -> None:
    # 2^24 x1 + x2 - 2^24 x3 at (1, 1, 1): from left to right 2^24 + 1 rounds to 2^24, so the sum is 0, though it is 1.
    one = np.ones(3, dtype=np.float32)
    low, high = float_bounds(affine([[2.0**24, 1.0, -(2.0**24)]]).graph, one, one, "seq-muladd")
    assert (low, high) == (0, 0)
    # (1 + 2^-12)(1 + 2^-12) - (1 + 2^-11): the product rounds to 1 + 2^-11; with fma last, 2^-24 is left.
    net, point = affine([[-1.0, 1 + 2.0**-12]]), f32(1 + 2.0**-11, 1 + 2.0**-12)
    assert float_bounds(net.graph, point, point, "seq-muladd") == (0, 0)
    assert float_bounds(net.graph, point, point, "seq-fma") == (2.0**-24, 2.0**-24)


def test_what_may_not_be_a_number_stays_unknown_through_minimum_and_maximum() -> None:
    alg = FloatIntervals("seq-fma")
    huge = alg.mul(pairs(f32(-(2.0**100)), f32(2.0**100)), pairs(f32(2.0**100), f32(2.0**100)))
    clipped = alg.minimum(alg.maximum(huge, pairs(f32(0), f32(0))), pairs(f32(1), f32(1)))
    assert np.isnan(clipped["lo"]).all() and np.isnan(clipped["hi"]).all()
    assert np.isnan(alg.div(pairs(f32(1), f32(1)), pairs(f32(0), f32(1)))["hi"]).all()
    assert np.isnan(alg.sqrt(pairs(f32(-1), f32(1)))["hi"]).all()
