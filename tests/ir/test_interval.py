"""Intervals contain the exact values, in plain rationals."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.ir.algebra import Rational, exact
from farkas.ir.errors import UnsupportedOperator
from farkas.ir.graph import Graph, Node
from farkas.ir.interval import Interval, enclose
from farkas.ir.ops.activation import Relu
from farkas.ir.ops.affine import Linear

floats = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-4, 4) | st.integers(-3, 3).map(float)
pairs = st.tuples(floats, floats).map(lambda p: (min(p), max(p)))
fractions_in = st.fractions(0, 1, max_denominator=50)


def inside(pair: tuple[float, float], share: Fraction) -> Fraction:
    lo, hi = Fraction(pair[0]), Fraction(pair[1])
    return lo + share * (hi - lo)


def contains(interval: Any, value: Fraction) -> bool:
    lo, hi = float(interval["lo"][0]), float(interval["hi"][0])
    assert not np.isnan(lo) and not np.isnan(hi)
    return (lo == -np.inf or Fraction(lo) <= value) and (hi == np.inf or value <= Fraction(hi))


def one(pair: tuple[float, float]) -> Any:
    return enclose([pair[0]], [pair[1]])


@given(pairs, pairs, fractions_in, fractions_in)
@settings(max_examples=500)
def test_every_operation_contains_its_exact_results(
    a: tuple[float, float], b: tuple[float, float], s: Fraction, t: Fraction
) -> None:
    alg, x, y = Interval(), inside(a, s), inside(b, t)
    p, q = one(a), one(b)
    assert contains(alg.add(p, q), x + y)
    assert contains(alg.sub(p, q), x - y)
    assert contains(alg.mul(p, q), x * y)
    assert contains(alg.neg(p), -x)
    assert contains(alg.absolute(p), abs(x))
    assert contains(alg.maximum(p, q), max(x, y))
    assert contains(alg.minimum(p, q), min(x, y))
    if y != 0:
        assert contains(alg.div(p, q), x / y)
    if a[0] >= 0:
        root = alg.sqrt(p)
        assert Fraction(float(root["lo"][0])) ** 2 <= x <= Fraction(float(root["hi"][0])) ** 2


@given(st.lists(st.tuples(floats, pairs, fractions_in), min_size=1, max_size=8), st.none() | floats)
@settings(max_examples=300)
def test_sums_of_products_contain_their_exact_values(
    terms: list[tuple[float, tuple[float, float], Fraction]], bias: float | None
) -> None:
    w = np.array([[t[0] for t in terms]])
    x = enclose([t[1][0] for t in terms], [t[1][1] for t in terms])
    total = sum((Fraction(v) * inside(p, s) for v, p, s in terms), Fraction(bias or 0))
    assert contains(Interval().contract(w, x, None if bias is None else np.array([bias])), total)


def test_results_are_tight() -> None:
    third = Interval().div(one((1.0, 1.0)), one((3.0, 3.0)))
    width = Fraction(float(third["hi"][0])) - Fraction(float(third["lo"][0]))
    assert 0 < width <= Fraction(1, 2**53)
    row = Interval().contract(np.ones((1, 10)), enclose(np.ones(10), 2 * np.ones(10)), None)
    assert 10 - 1e-12 < float(row["lo"][0]) <= 10 and 20 <= float(row["hi"][0]) < 20 + 1e-12


def test_a_divisor_that_may_be_zero_gives_the_whole_line() -> None:
    quotient = Interval().div(one((1.0, 2.0)), one((0.0, 1.0)))
    assert float(quotient["lo"][0]) == -np.inf and float(quotient["hi"][0]) == np.inf


def test_roots_below_zero_are_refused() -> None:
    with pytest.raises(UnsupportedOperator, match="below 0"):
        Interval().sqrt(one((-1.0, 4.0)))


@given(st.integers(0, 2**32))
def test_a_network_over_a_box_contains_its_exact_outputs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    w0, b0, w1 = rng.standard_normal((4, 3)), rng.standard_normal(4), rng.standard_normal((2, 4))
    nodes = (Node("z", Linear(w0, b0), ("x",)), Node("a", Relu(), ("z",)), Node("y", Linear(w1, None), ("a",)))
    graph = Graph.build((("x", (1, 3)),), nodes, ("y",))
    lo = rng.standard_normal(3)
    hi = lo + rng.random(3)
    box = graph.evaluate(Interval(), {"x": enclose(lo, hi)})["y"]
    for corner in np.stack(np.meshgrid(*zip(lo, hi, strict=True)), -1).reshape(-1, 3):
        y = graph.evaluate(Rational(), {"x": exact(corner)})["y"]
        for j in range(2):
            assert contains(box[0, j : j + 1], y[0, j])
