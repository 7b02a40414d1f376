"""Lines and bounds of products against the products themselves, in exact rationals."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.engine.branching import sensitivity
from farkas.ir.core import Program, Relu
from farkas.ir.products import with_monomials
from farkas.runtime_cuda.attack import output_and_gradient
from farkas.runtime_cuda.backend import Backend
from farkas.runtime_cuda.crown import ADAPTIVE, PARALLEL, ZERO
from farkas.runtime_cuda.products import Plane, ProductLines, interval, product_lines
from tests.nets import Box, boxes, dense, random_layers, seeds
from tests.runtime_cuda.bounding import bounded
from tests.runtime_cuda.executions import Exact, at_most, outside, points

RULES = (ADAPTIVE, ZERO, PARALLEL)
MONOMIALS = [(0, 0), (0, 1), (1, 2), (2, 3), (3, 3), (0, 0, 3), (2, 2, 2), (0, 1, 2, 3)]
Pair = tuple[float, float]
small_eighths = st.integers(-8, 8).map(lambda n: Fraction(n, 8))
shares = st.lists(st.fractions(0, 1, max_denominator=64), min_size=3, max_size=3)


def ends() -> st.SearchStrategy[Pair]:
    number = st.floats(-1e3, 1e3) | st.sampled_from((0.0, 1.0, -1.0, 2.0**-40, -(2.0**-40)))
    return st.tuples(number, number).map(lambda pair: (min(pair), max(pair)))


def at(plane: Plane, rule: int, x: Fraction, y: Fraction) -> Fraction:
    left, right, const = (Fraction(float(part[rule, 0, 0])) for part in (plane.left, plane.right, plane.const))
    return left * x + right * y + const


def made(x: Pair, y: Pair, *, square: bool) -> tuple[ProductLines, Fraction, Fraction]:
    (l, u), (m, v) = ((np.array([[low]]), np.array([[high]])) for low, high in (x, y))
    low, high = interval(np, (l, u), (m, v), square=square)
    found = product_lines(np, (l, u), (m, v), RULES, 100, square=square)
    return found, Fraction(float(low[0, 0])), Fraction(float(high[0, 0]))


@given(ends(), ends(), shares, shares)
def test_lines_and_interval_contain_the_product_on_corners_and_inside(
    x: Pair, y: Pair, along: list[Fraction], across: list[Fraction]
) -> None:
    found, low, high = made(x, y, square=False)
    xs, ys = ([*map(Fraction, pair), *inner(pair, s)] for pair, s in ((x, along), (y, across)))
    for a, b in product(xs, ys):
        assert low <= a * b <= high
        for rule in RULES:
            assert at(found.below, rule, a, b) <= a * b <= at(found.above, rule, a, b)


@given(ends(), shares)
def test_lines_and_interval_contain_the_square_on_ends_and_inside(x: Pair, along: list[Fraction]) -> None:
    found, low, high = made(x, x, square=True)
    assert low >= 0
    for a in [*map(Fraction, x), *inner(x, along)]:
        assert low <= a * a <= high
        for rule in RULES:
            assert at(found.below, rule, a, a) <= a * a <= at(found.above, rule, a, a)


def inner(pair: Pair, along: list[Fraction]) -> list[Fraction]:
    low, high = map(Fraction, pair)
    return [low + (high - low) * share for share in along]


@given(st.integers(-9, 9), st.integers(1, 9), st.integers(-9, 9), st.integers(1, 9))
def test_lines_are_as_near_as_mccormick_says(l: int, width: int, m: int, height: int) -> None:
    """The farthest that a line of McCormick is from the product is (u - l)(v - m); of the mean of two, half of it."""
    x, y = (float(l), float(l + width)), (float(m), float(m + height))
    found, _, _ = made(x, y, square=False)
    corners = list(product(map(Fraction, x), map(Fraction, y)))
    for rule, far in ((ADAPTIVE, Fraction(1)), (PARALLEL, Fraction(1, 2))):
        for plane in (found.below, found.above):
            gaps = [abs(a * b - at(plane, rule, a, b)) for a, b in corners]
            assert abs(max(gaps) - far * width * height) < Fraction(1, 10**9)
            assert min(gaps) < Fraction(1, 10**9)
    square, _, _ = made(x, x, square=True)
    middle = Fraction(l) + Fraction(width, 2)
    assert abs(middle**2 - at(square.below, ADAPTIVE, middle, middle)) < Fraction(1, 10**9)
    assert abs(at(square.above, ADAPTIVE, middle, middle) - middle**2 - Fraction(width, 2) ** 2) < Fraction(1, 10**9)


@pytest.mark.parametrize("square", [False, True])
def test_unknown_factors_make_lines_that_say_nothing(square: bool) -> None:
    inf = float("inf")
    unknown = np.array([[-inf]]), np.array([[inf]])
    with np.errstate(all="ignore"):
        found = product_lines(np, unknown, unknown, RULES, 10, square=square)
        low, high = interval(np, unknown, unknown, square=square)
    assert (found.below.const == -inf).all() and (found.above.const == inf).all()
    assert not low > 0 and not high < inf


def polynomial(seed: int, *, eighths: bool = True) -> Program:
    layers = random_layers(np.random.default_rng(seed), (2, 3, 2), eighths=eighths)
    return with_monomials(dense(layers).program, MONOMIALS)


@given(seeds, boxes(2), st.sampled_from(RULES))
def test_bounds_of_programs_with_products_contain_every_execution(seed: int, box: Box, rule: int) -> None:
    program = polynomial(seed)
    found = bounded(program, box, rules=(rule,))
    rng = np.random.default_rng(seed)
    rows: Any = rng.integers(-3, 4, (5, program.output_size)).astype(float)
    lows = found.rows(rows, rules=RULES)[0]
    exact = Exact(program)
    for x in points(*box, random.Random(seed), 4):
        values = exact.run(x)
        for v in range(len(program.nodes)):
            assert not outside(*found.node(v), values[v])
        for row, r in product(range(5), range(len(RULES))):
            total = sum((Fraction(b) * v for b, v in zip(rows[row], values[program.output], strict=True)), Fraction(0))
            assert at_most(float(lows[r, row]), total)


@given(seeds, boxes(2))
def test_bounds_contain_the_exact_products_of_any_binary32_execution(seed: int, box: Box) -> None:
    program = polynomial(seed, eighths=False)
    found = bounded(program, box, binary32=True)
    exact, rng = Exact(program), random.Random(seed)
    for x in points(*box, rng, 3):
        values = exact.run_in_some_order(tuple(Fraction(float(np.float32(v))) for v in x), rng)
        for v in range(len(program.nodes)):
            assert not outside(*found.node(v), values[v])


@given(seeds, boxes(2))
def test_at_a_point_bounds_are_the_value(seed: int, box: Box) -> None:
    program = polynomial(seed)
    point = box[0], box[0]
    values = [float(v) for v in Exact(program).run(box[0])[program.output]]
    both = np.concatenate([np.eye(program.output_size), -np.eye(program.output_size)])
    lows = bounded(program, point).rows(both, rules=RULES)[0].max(axis=0)
    scale = 1 + np.abs(values).max()
    assert np.allclose(lows, [*values, *(-v for v in values)], rtol=0, atol=1e-9 * scale)


@given(seeds, st.tuples(small_eighths, small_eighths))
def test_gradients_are_those_of_the_polynomials(seed: int, point: tuple[Fraction, Fraction]) -> None:
    """Against central differences, where the point is not next to a kink: their error is of order h^2."""
    program = polynomial(seed)
    exact, h = Exact(program), Fraction(1, 2**16)
    hidden = [v for v, node in enumerate(program.nodes) if isinstance(node, Relu)]
    if any(abs(z) <= 8 * h for v in hidden for z in exact.run(point)[v - 1]):
        return
    weights = np.random.default_rng(seed).integers(-3, 4, (1, program.output_size)).astype(float)
    x = np.array([[float(v) for v in point]])
    y, gradient = output_and_gradient(program, x, lambda y: weights + 0 * y)
    values = exact.run(point)[program.output]
    assert np.allclose(y[0], [float(v) for v in values], rtol=1e-12, atol=1e-9)
    for i in range(2):
        sides = []
        for side in (-h, h):
            moved = list(point)
            moved[i] += side
            ys = exact.run(moved)[program.output]
            sides.append(sum((Fraction(w) * v for w, v in zip(weights[0].tolist(), ys, strict=True)), Fraction(0)))
        slope = float((sides[1] - sides[0]) / (2 * h))
        assert abs(gradient[0, i] - slope) <= 1e-6 * (1 + abs(slope) + max(abs(float(v)) for v in values))


def test_every_halving_of_a_box_brings_the_lines_four_times_nearer(backend: Backend) -> None:
    """Of a square and of a product at the centre, where x^2 = 1/4 and x y = 1/8."""
    program = with_monomials(dense([(np.eye(2), [0.0, 0.0])]).program, [(0, 0), (0, 1)])
    rows = np.array([[0.0, 0, 1, 0], [0.0, 0, 0, 1]])
    centre = Fraction(1, 2), Fraction(1, 4)
    shift = np.array([[-1.0, 0.0], [-0.25, -0.5]])  # minus the gradient
    missing = []
    for k in range(4):
        r = Fraction(1, 2**k)
        box = tuple(c - r for c in centre), tuple(c + r for c in centre)
        found = bounded(program, box, backend=backend)
        lows = found.rows(rows, shift, RULES)[0]
        missing.append(np.array([-0.25, -0.125]) - lows.max(axis=0))
    assert np.allclose(np.array(missing[:-1]), 4 * np.array(missing[1:]), atol=1e-9)
    # By hand: x^2 less its tangent is at least 0, and (x - 1/2)(y - 1/4) at least -r^2.
    assert np.allclose(missing[0], [0.0, 1.0], atol=1e-9)


def test_the_input_of_a_square_is_bisected_and_not_its_wide_neighbour() -> None:
    program = with_monomials(dense([([[0.0, 1.0]], [0.0])]).program, [(0, 0)])
    found = bounded(program, ((Fraction(-1), Fraction(-2)), (Fraction(1), Fraction(2))))
    rows = found.worker.bound(found.refined.boxes, np.array([[0.0, -1.0]]), None, RULES)
    score = sensitivity(found.net, found.refined, rows, np.ones((1, 1)))[0]
    assert score[0] > 0 == score[1]
