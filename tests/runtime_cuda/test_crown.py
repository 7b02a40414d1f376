"""Bounds against exact runs, binary32 runs in random orders, exact minima, and each other."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farkas.ir.algebra import Rational
from farkas.ir.core import Affine, Input, Program, Relu, run_exact
from farkas.ir.linear import Dense, Vector
from farkas.runtime_cuda import crown
from farkas.runtime_cuda.backend import Backend, numpy_backend
from farkas.runtime_cuda.crown import ADAPTIVE, PARALLEL, ZERO, lines
from tests.engine.pieces import minimum
from tests.ir.exact32 import Overflowed
from tests.nets import SHAPES, Box, affine, boxes, dense, random_layers, seeds, varied
from tests.runtime_cuda.bounding import Bounded, bounded
from tests.runtime_cuda.executions import Exact, at_most, binary32, outside, points

RULES = (ADAPTIVE, ZERO, PARALLEL)
ROWS = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0], [-2.0, 3.0], [0.0, 0.0]])
shapes = st.sampled_from(SHAPES)
rules = st.sampled_from(RULES)
# The backend is made once for all examples of a property, which is what these tests want.
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def violations(found: Bounded, program: Program, values: list[list[Fraction]]) -> list[object]:
    """Every neuron of every node, and every row of the output, that lies outside its bounds."""
    bad: list[object] = []
    for v in range(len(program.nodes)):
        bad += outside(*found.node(v), values[v])
    y = values[program.output]
    lows = found.rows(ROWS, rules=RULES)[0]
    for rule, row in product(range(len(RULES)), range(len(ROWS))):
        total = sum((Fraction(b) * v for b, v in zip(ROWS[row], y, strict=True)), Fraction(0))
        if not at_most(float(lows[rule, row]), total):
            bad.append((rule, row, float(lows[rule, row]), total))
    return bad


@shared
@given(seeds, shapes, boxes(2), rules, st.booleans())
def test_bounds_contain_every_real_execution(
    backend: Backend, seed: int, shape: str, box: Box, rule: int, short: bool
) -> None:
    net = varied(np.random.default_rng(seed), shape, eighths=short)
    found = bounded(net.program, box, rules=(rule,), backend=backend)
    assert not found.empty.any()
    exact = Exact(net.program)
    for x in points(*box, random.Random(seed), 4):
        assert not violations(found, net.program, exact.run(x))


@given(seeds, boxes(2))
def test_bounds_contain_means_whose_coefficients_are_no_binary_fractions(seed: int, box: Box) -> None:
    """Thirds are stored rounded; the meaning is that of the operators, in rationals."""
    net = varied(np.random.default_rng(seed), "mean")
    found = bounded(net.program, box)
    for x in points(*box, random.Random(seed), 2):
        values = net.graph.evaluate(Rational(), {"x": np.array(x, dtype=object)})
        assert not outside(*found.node(net.program.output), list(values["y"].ravel()))


def test_a_third_of_one_lies_strictly_between_its_bounds() -> None:
    """1/3 is no float64 number, so bounds that are both 1/3 rounded, without its radius, could not hold it."""
    net = varied(np.random.default_rng(0), "mean")
    pooled = net.graph.nodes[[node.name for node in net.graph.nodes].index("j")]
    assert pooled.op.onnx == "AveragePool"
    v = net.program.names.index("j")
    found = bounded(net.program, ((Fraction(1), Fraction(1)), (Fraction(1), Fraction(1))))
    lower, upper = found.node(v)
    assert np.all(lower < upper)


@shared
@given(seeds, st.sampled_from([s for s in SHAPES if s != "mean"]), boxes(2), rules, st.sampled_from([1, -30, -120, 40]))
def test_bounds_contain_binary32_executions_in_every_order(
    backend: Backend, seed: int, shape: str, box: Box, rule: int, power: int
) -> None:
    """Weights of full length; the inputs scaled down into the subnormals, or up."""
    net = varied(np.random.default_rng(seed), shape, eighths=False)
    scale = Fraction(2) ** power
    box = tuple(v * scale for v in box[0]), tuple(v * scale for v in box[1])
    found = bounded(net.program, box, binary32=True, rules=(rule,), backend=backend)
    rng = random.Random(seed)
    exact = Exact(net.program)
    for x in points(*box, rng, 2):
        for _ in range(2):
            assert not violations(found, net.program, exact.run_in_some_order(binary32(x), rng))


def test_the_band_of_binary32_holds_what_cancellation_leaves() -> None:
    """2^24 + 1 - 2^24 is 1 over the reals and 0 or 1 in binary32, as the order has it."""
    net = affine([[2.0**24, 1.0, -(2.0**24)]])
    box = ((Fraction(1),) * 3, (Fraction(1),) * 3)
    lower, upper = bounded(net.program, box, binary32=True).node(net.program.output)
    assert lower[0] <= 0 and upper[0] >= 1
    lower, upper = bounded(net.program, box).node(net.program.output)
    assert abs(lower[0] - 1) < 1e-3 and abs(upper[0] - 1) < 1e-3


@shared
@given(seeds, st.sampled_from(["plain", "residual", "leaky", "abs", "max", "clip"]), boxes(2))
def test_interval_and_crown_and_minimum_and_samples_stand_in_order(
    backend: Backend, seed: int, shape: str, box: Box
) -> None:
    """interval <= CROWN for neurons (their bounds are intersected); CROWN <= minimum <= samples for rows."""
    program = varied(np.random.default_rng(seed), shape).program
    found = bounded(program, box, backend=backend)
    for v, (low, high) in enumerate(intervals(program, box)):
        got_low, got_high = found.node(v)
        slack = 1e-9 * (1 + np.abs(low) + np.abs(high))
        assert np.all(got_low >= low - slack) and np.all(got_high <= high + slack)
    row = ROWS[3]
    least = minimum(program, *box, [Fraction(v) for v in row], ())
    assert all(at_most(float(v), least) for v in found.rows(row[None], rules=RULES)[0, :, 0])
    for x in points(*box, random.Random(seed), 3):
        y = run_exact(program, x)
        assert least <= sum((Fraction(b) * v for b, v in zip(row, y, strict=True)), Fraction(0))


def intervals(program: Program, box: Box) -> list[tuple[Vector, Vector]]:
    """Interval bounds of every node, in plain float64."""
    found: list[tuple[Vector, Vector]] = []
    for node in program.nodes:
        if isinstance(node, Input):
            found.append((np.array([float(v) for v in box[0]]), np.array([float(v) for v in box[1]])))
        elif isinstance(node, Affine):
            low = high = node.bias
            for term in node.terms:
                matrix = term.map.dense()
                l, u = found[term.source]
                low = low + np.maximum(matrix, 0) @ l + np.minimum(matrix, 0) @ u
                high = high + np.maximum(matrix, 0) @ u + np.minimum(matrix, 0) @ l
            found.append((low, high))
        else:
            assert isinstance(node, Relu)
            l, u = found[node.source]
            found.append((np.maximum(l, 0), np.maximum(u, 0)))
    return found


@given(seeds, rules)
def test_bounds_are_exact_where_no_neuron_is_unstable(seed: int, rule: int) -> None:
    """Biases of +-40 settle every neuron, so that the network is one affine map and its bound is its minimum."""
    rng = np.random.default_rng(seed)
    layers = random_layers(rng, (2, 5, 4, 2))
    shifted = [(w, b + 40 * rng.choice([-1, 1], len(b))) for w, b in layers[:1]]
    shifted += [(w, b + 4000 * rng.choice([-1, 1], len(b))) for w, b in layers[1:2]] + layers[2:]
    program = dense(shifted).program
    box = ((Fraction(-1), Fraction(0)), (Fraction(1), Fraction(2)))
    got = bounded(program, box).rows(ROWS, rules=(rule,))[0, 0]
    wanted = np.array([float(minimum(program, *box, [Fraction(float(v)) for v in row], ())) for row in ROWS])
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-7)


def test_one_unstable_neuron_has_the_bounds_of_its_triangle() -> None:
    """relu(x) on [-1, 3]: lower line x (adaptive: u > -l) or 0, upper line 3/4 (x + 1); -relu(x) >= -3 at x = 3."""
    program = dense([([[1.0]], [0.0]), ([[1.0]], [0.0])]).program
    rows = bounded(program, ((Fraction(-1),), (Fraction(3),))).rows(np.array([[1.0], [-1.0]]), rules=RULES)[0]
    np.testing.assert_allclose(rows, np.array([[-1.0, -3.0], [0.0, -3.0], [-0.75, -3.0]]), atol=1e-9)


# Inheritance, packing, batches ---------------------------------------------------------------------------------------


@shared
@given(seeds, shapes, boxes(2))
def test_refinement_never_loosens_inherited_bounds_and_stays_sound(
    backend: Backend, seed: int, shape: str, box: Box
) -> None:
    program = varied(np.random.default_rng(seed), shape).program
    parent = bounded(program, box, backend=backend)
    middle = (box[0][0] + box[1][0]) / 2
    child = (box[0], (middle, box[1][1]))
    found = bounded(program, child, backend=backend, inherited=parent.flat())
    assert np.all(found.flat()[0] >= parent.flat()[0]) and np.all(found.flat()[1] <= parent.flat()[1])
    assert not found.empty.any()
    exact = Exact(program)
    for x in points(*child, random.Random(seed), 2):
        assert not violations(found, program, exact.run(x))


def test_contradictory_inherited_bounds_make_a_box_empty_and_no_other() -> None:
    program = dense(random_layers(np.random.default_rng(3), (2, 4, 1))).program
    box = ((Fraction(0), Fraction(0)), (Fraction(1), Fraction(1)))
    lower, upper = bounded(program, box, box).flat()
    lower[1, 2] = upper[1, 2] + 1
    assert bounded(program, box, box, inherited=(lower, upper)).empty.tolist() == [False, True]


@shared
@given(seeds, boxes(2), st.booleans())
def test_packing_inactive_neurons_away_changes_no_bound(backend: Backend, seed: int, box: Box, rounded: bool) -> None:
    rng = np.random.default_rng(seed)
    program = dense(random_layers(rng, (2, 6, 6, 2), eighths=not rounded)).program
    whole = bounded(program, box, binary32=rounded, backend=backend)
    assert len(whole.net.packable) == 2
    alive = whole.flat()[1][0] > 0
    packed = whole.net.pack(alive)
    assert packed.width == alive.sum() and np.array_equal(np.flatnonzero(alive), packed.kept)
    part = bounded(program, box, net=packed, inherited=tuple(side[:, packed.kept] for side in whole.flat()))
    again = bounded(program, box, net=whole.net, inherited=whole.flat())
    np.testing.assert_allclose(part.flat()[0], again.flat()[0][:, packed.kept], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(part.rows(ROWS, rules=RULES), again.rows(ROWS, rules=RULES), rtol=1e-9, atol=1e-9)
    exact = Exact(program)
    numbers = random.Random(seed)
    for x in points(*box, numbers, 3):
        values = exact.run_in_some_order(binary32(x), numbers) if rounded else exact.run(x)
        y = values[program.output]
        for row, low in zip(ROWS, part.rows(ROWS)[0, 0], strict=True):
            assert at_most(float(low), sum((Fraction(b) * v for b, v in zip(row, y, strict=True)), Fraction(0)))


@shared
@given(seeds, shapes, st.lists(boxes(2), min_size=2, max_size=5))
def test_a_batch_gives_what_its_boxes_give_alone(backend: Backend, seed: int, shape: str, several: list[Box]) -> None:
    """Up to the neurons that only another box of the batch asked for, whose bounds are tightened as well."""
    program = varied(np.random.default_rng(seed), shape).program
    root = bounded(program, *several, backend=backend)
    for i, box in enumerate(several):
        single = bounded(program, box, backend=backend)
        np.testing.assert_allclose(root.flat()[0][i], single.flat()[0][0], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(root.rows(ROWS, rules=RULES)[i], single.rows(ROWS, rules=RULES)[0], atol=1e-9)
    exact = Exact(program)
    for i, box in enumerate(several):
        for x in points(*box, random.Random(seed), 1):
            values = exact.run(x)
            assert not [bad for v in range(len(values)) for bad in outside(*root.node(v, i), values[v])]


def test_passes_in_small_chunks_give_the_same_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    program = dense(random_layers(np.random.default_rng(5), (3, 9, 9, 2))).program
    box = ((Fraction(-1),) * 3, (Fraction(1),) * 3)
    whole = bounded(program, box, box)
    monkeypatch.setattr(crown, "CHUNK", 4 * 9)
    parts = bounded(program, box, box)
    for one, other in zip(whole.flat(), parts.flat(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    influence, other_influence = whole.refined.influence, parts.refined.influence
    assert influence.keys() == other_influence.keys() and len(influence) == 2
    for v, found in influence.items():
        for one, other in zip(found, other_influence[v], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)


# Rows ----------------------------------------------------------------------------------------------------------------


@shared
@given(seeds, shapes, boxes(2), st.lists(st.integers(-8, 8), min_size=4, max_size=4))
def test_rows_over_inputs_and_outputs_are_bounded_together(
    backend: Backend,
    seed: int,
    shape: str,
    box: Box,
    coefficients: list[int],
) -> None:
    program = varied(np.random.default_rng(seed), shape).program
    y, x = np.array([coefficients[:2]]) / 4, np.array([coefficients[2:]]) / 4
    low = bounded(program, box, backend=backend).rows(y, x, RULES)[0, :, 0]
    exact = Exact(program)
    for point in points(*box, random.Random(seed), 3):
        out = exact.run(point)[program.output]
        total = sum((Fraction(c) * v for c, v in zip([*y[0], *x[0]], [*out, *point], strict=True)), Fraction(0))
        assert all(at_most(float(v), total) for v in low)


def test_what_inputs_and_outputs_share_cancels() -> None:
    """y - 2 x for y = 2 x + 1 is 1, however wide the box."""
    program = affine([[2.0]], [1.0]).program
    low = bounded(program, ((Fraction(-1000),), (Fraction(1000),))).rows(np.array([[1.0]]), np.array([[-2.0]]))
    assert 1 - 1e-9 < low[0, 0, 0] <= 1


def test_rows_of_each_box_may_differ() -> None:
    program = affine([[1.0], [2.0]]).program
    box = ((Fraction(1),), (Fraction(2),))
    rows = np.array([[[1.0, 0.0]], [[0.0, -1.0]]])
    np.testing.assert_allclose(bounded(program, box, box).rows(rows)[:, 0, 0], [1.0, -4.0], atol=1e-9)


# Relaxations ---------------------------------------------------------------------------------------------------------

ends = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")
@given(ends, ends, rules, st.floats(-4, 4))
def test_relaxation_lines_enclose_relu(a: float, b: float, rule: int, coefficient: float) -> None:
    """At both ends and at 0, which is enough: between them relu is linear.  The slope is a multiple of 1/256."""
    low, high = min(a, b), max(a, b)
    made = lines(np, np.array([[low]]), np.array([[high]]), (rule,), 64)
    a_lower, s, t = float(made.lower[0, 0, 0]), float(made.upper[0, 0]), float(made.intercept[0, 0])
    if not (np.isfinite(s) and np.isfinite(t)):
        return  # an infinite line proves nothing
    assert s * 256 == int(s * 256) and 0 <= s <= 1 and 0 <= a_lower <= 1
    for z in (Fraction(low), Fraction(high), *([Fraction(0)] if low < 0 < high else [])):
        relu = max(z, Fraction(0))
        assert Fraction(a_lower) * z <= relu <= Fraction(s) * z + Fraction(t)
        # The product of coefficient and slope is rounded once more on the way.
        if coefficient < 0:
            down = Fraction(coefficient * s) * z + Fraction(coefficient) * Fraction(t)
            assert down <= Fraction(coefficient) * relu + abs(z) * Fraction(2) ** -1070


@given(ends, ends)
def test_the_upper_line_is_not_far_above_the_chord(a: float, b: float) -> None:
    """The slope is within 1/512 of u / (u - l), which costs at most that share of the width."""
    low, high = -abs(a) % 1e6, abs(b) % 1e6
    low = -low
    if not low < 0 < high:
        return
    made = lines(np, np.array([[low]]), np.array([[high]]), (ADAPTIVE,), 64)
    top = float(made.upper[0, 0]) * high + float(made.intercept[0, 0])
    assert top <= high + (high - low) / 500 + 1e-12


# Extremes ------------------------------------------------------------------------------------------------------------


@given(
    seeds,
    st.lists(st.sampled_from([-40, -38, -30, -1, 0, 1, 30, 38]), min_size=2, max_size=12),
    st.booleans(),
    st.sampled_from([0, 1, 4]),
)
@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")
def test_huge_and_tiny_weights_never_give_a_finite_wrong_bound(
    seed: int, powers: list[int], rounded: bool, hidden: int
) -> None:
    """Ten layers of 1e38 leave float64's range; then bounds may say nothing, but nothing false."""
    rng = np.random.default_rng(seed)
    sizes = (1, *(1 + hidden,) * len(powers), 1)
    layers = [
        (np.float32(w * 10.0**power), b) for (w, b), power in zip(random_layers(rng, sizes), [*powers, 0], strict=True)
    ]
    program = dense(layers).program
    box = ((Fraction(-1),), (Fraction(2),))
    found = bounded(program, box, binary32=rounded)
    low, high = (float(found.rows(np.array([[sign]]))[0, 0, 0]) for sign in (1.0, -1.0))
    numbers = random.Random(seed)
    exact = Exact(program)
    for x in points(*box, numbers, 3):
        try:
            values = exact.run_in_some_order(binary32(x), numbers) if rounded else exact.run(x)
        except Overflowed:
            continue
        y = values[program.output][0]
        assert np.isnan(low) or at_most(low, y)
        assert np.isnan(high) or at_most(high, -y)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_prove_nothing(bad: float) -> None:
    """Made in Python, for the reader of files refuses them; every row that sees the neuron is not a number or -inf."""
    program = dense([([[1.0], [1.0]], [0.0, 0.0]), ([[1.0, 1.0]], [0.0])]).program
    first = program.nodes[1]
    assert isinstance(first, Affine)
    matrix = first.terms[0].map
    assert isinstance(matrix, Dense)
    matrix.matrix[1, 0] = bad
    net = bounded(program, ((Fraction(1),), (Fraction(2),)))
    for row in ([[1.0]], [[-1.0]]):
        value = net.rows(np.array(row))[0, 0, 0]
        assert not np.isfinite(value) and not value > 0


def test_bounds_abandon_the_batch_when_the_tick_raises() -> None:
    from farkas.runtime_cuda.crown import Propagator
    from farkas.runtime_cuda.prepared import prepare

    class Stop(Exception):
        pass

    def tick() -> None:
        raise Stop

    program = dense(random_layers(np.random.default_rng(5), (3, 9, 2))).program
    net = prepare(program, binary32=False, backend=numpy_backend())
    top = np.full((1, net.width), np.inf)
    with pytest.raises(Stop):
        Propagator(net, tick=tick).refine(np.zeros((1, 3)), np.ones((1, 3)), -top, top)
