"""The compiled kernel against NumPy's bounds, exact runs and binary32 runs; what it declines; what it never proves."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.engine.branching import sensitivity
from farkas.engine.options import Options
from farkas.engine.problem import bisect
from farkas.engine.refutations import RATIOS, best_pair, select
from farkas.engine.verdict import Holds
from farkas.engine.verify import verify
from farkas.ir.core import Affine, Input, Program, Relu, dense_affine, run_float
from farkas.ir.linear import Vector
from farkas.runtime_cuda import native
from farkas.runtime_cuda.backend import numpy_backend
from farkas.runtime_cuda.crown import ADAPTIVE, PARALLEL, ZERO, Propagator, Refined, Rows
from farkas.runtime_cuda.native import NativePropagator, kernel
from farkas.runtime_cuda.prepared import Prepared, prepare
from farkas.specs.query import Semantics
from tests.nets import Box, atom, boxes, case, dense, random_layers, seeds, varied
from tests.runtime_cuda.executions import Exact, at_most, binary32, outside, points

RULES = (ADAPTIVE, ZERO, PARALLEL)
CLOSE = 1e-9  # far above what the order of sums changes, far below what another slope or a lost term would
lanes = st.sampled_from([8, 4, 2])
sizes = st.lists(st.integers(1, 20), min_size=2, max_size=6)
built = pytest.mark.skipif(not native.available(), reason="the compiled kernel is not built, or FARKAS_NATIVE=0")


def network(rng: np.random.Generator, widths: list[int]) -> Program:
    """Layers of random numbers of full length: no two bounds tie, so that no slope hangs on the last bit."""
    return dense(random_layers(rng, widths, eighths=False)).program


def random_boxes(rng: np.random.Generator, count: int, inputs: int, width: float) -> tuple[Vector, Vector]:
    centre, radius = rng.uniform(-1, 1, (count, inputs)), rng.uniform(0, width, (count, inputs))
    return centre - radius, centre + radius


def made(net: Prepared, most: int = native.LANES) -> tuple[Propagator, NativePropagator]:
    """Bounds by NumPy and by the kernel."""
    compiled = kernel(net, most)
    assert compiled is not None, "the kernel takes this program"
    return Propagator(net), NativePropagator(compiled, lambda: None)


def unknown(net: Prepared, count: int) -> tuple[Vector, Vector]:
    top = np.full((count, net.width), np.inf)
    return -top, top


def assert_close(found: Any, wanted: Any) -> None:
    """Equal but for the order of sums, infinities in the same places."""
    assert np.array_equal(np.isfinite(found), np.isfinite(wanted))
    np.testing.assert_allclose(found, wanted, rtol=CLOSE, atol=CLOSE)


def assert_agree(net: Prepared, numpy: tuple[Refined, Rows], compiled: tuple[Refined, Rows]) -> None:
    """The same bounds, errors and rows, where no box is empty; neurons that are off may keep looser upper bounds."""
    (wanted, rows), (found, own) = numpy, compiled
    assert not wanted.empty.any() and not found.empty.any()
    off = wanted.upper <= 0
    assert np.array_equal(off, found.upper <= 0)
    assert_close(np.where(off, 0.0, found.lower), np.where(off, 0.0, wanted.lower))
    assert_close(np.where(off, 0.0, found.upper), np.where(off, 0.0, wanted.upper))
    for name in ("value", "const", "inputs"):  # without a Relu all rules are one to NumPy
        mine = getattr(own, name)
        assert_close(mine, np.broadcast_to(getattr(rows, name), mine.shape))
    output = net.program.output
    assert_close(found.boxes.error[output][:, :-1], wanted.boxes.error[output])


# Agreement with NumPy -------------------------------------------------------------------------------------------------


@built
@given(seeds, sizes, st.booleans(), st.sampled_from([0.0, 2.0**-24]), st.sampled_from([0.01, 0.3, 2.0]), lanes)
def test_the_kernel_gives_the_bounds_of_numpy(
    seed: int, widths: list[int], rounded: bool, resolution: float, width: float, most: int
) -> None:
    rng = np.random.default_rng(seed)
    program = network(rng, widths)
    net = prepare(program, binary32=rounded, backend=numpy_backend(), resolution=resolution)
    numpy, compiled = made(net, most)
    box = random_boxes(rng, 3, widths[0], width)
    rows, x_rows = rng.normal(size=(4, widths[-1])), rng.normal(size=(4, widths[0]))
    refined = numpy.refine(*box, *unknown(net, 3), influence=True)
    bounds = numpy.bound(refined.boxes, rows, x_rows, RULES)
    found, own, scores = compiled.examine(*box, *unknown(net, 3), rows, x_rows, RULES)
    assert_agree(net, (refined, bounds), (found, own))
    weights = rng.integers(0, 2, (3, 4)).astype(float)
    half = 0.5 * (box[1] - box[0])
    assert_close((weights[:, None] @ scores)[:, 0] * half, sensitivity(net, refined, bounds, weights))
    alone = compiled.refine(*box, *unknown(net, 3))
    assert np.array_equal(alone.lower, found.lower) and np.array_equal(alone.upper, found.upper)


@built
@given(seeds, st.sampled_from(["plain", "scaled", "conv"]), st.booleans(), lanes)
def test_layers_without_relu_and_maps_that_are_no_matrices_are_taken_as_well(
    seed: int, shape: str, rounded: bool, most: int
) -> None:
    rng = np.random.default_rng(seed)
    net = prepare(varied(rng, shape, eighths=False).program, binary32=rounded, backend=numpy_backend())
    numpy, compiled = made(net, most)
    box = random_boxes(rng, 2, 2, 0.5)
    rows = rng.normal(size=(3, 2))
    refined = numpy.refine(*box, *unknown(net, 2))
    found, own, _ = compiled.examine(*box, *unknown(net, 2), rows, None, RULES)
    assert_agree(net, (refined, numpy.bound(refined.boxes, rows, None, RULES)), (found, own))


@built
@pytest.mark.parametrize("most", [8, 4, 2])
def test_the_boxes_of_a_deep_tree_get_the_bounds_of_numpy_packed_or_not(most: int) -> None:
    """Fifteen bisections along random inputs, the halves chosen at random, each with its parent's bounds."""
    rng = np.random.default_rng(7)
    net = prepare(network(rng, [4, 30, 40, 25, 3]), binary32=True, backend=numpy_backend(), resolution=2.0**-24)
    _, compiled = made(net, most)
    x_lower, x_upper = random_boxes(rng, 16, 4, 0.5)
    rows, every = rng.normal(size=(2, 3)), np.arange(16)
    parents = [unknown(net, 16)] * 2
    packed = 0
    for _ in range(15):
        alive = ~(parents[0][1] <= 0).all(axis=0)
        small = net.pack(alive)
        packed += int(not alive.all())
        worker = Propagator(small)
        refined = worker.refine(x_lower, x_upper, *(bounds[:, small.kept] for bounds in parents[0]))
        lower, upper = (np.array(bounds) for bounds in parents[0])
        lower[:, small.kept], upper[:, small.kept] = refined.lower, refined.upper
        bounds = worker.bound(refined.boxes, rows, None, RULES)
        found, own, _ = compiled.examine(x_lower, x_upper, *parents[1], rows, None, RULES)
        whole = Refined(refined.boxes, lower, upper, refined.empty, {})
        assert_agree(net, (whole, bounds), (found, own))
        parents = [(lower, upper), (found.lower, found.upper)]
        d = rng.integers(0, 4, 16)
        first, second = bisect(x_lower, x_upper, False)
        left = rng.integers(0, 2, 16).astype(bool)
        x_lower, x_upper = x_lower.copy(), x_upper.copy()
        x_upper[every[left], d[left]] = first[every[left], d[left]]
        x_lower[every[~left], d[~left]] = second[every[~left], d[~left]]
    assert packed > 5 and (parents[1][1] <= 0).mean() > 0.3  # the tree was deep enough for neurons to go


@built
@given(seeds, sizes, st.integers(1, 70))
def test_rows_of_each_box_and_of_some_boxes_may_be_asked_for_later(seed: int, widths: list[int], count: int) -> None:
    rng = np.random.default_rng(seed)
    net = prepare(network(rng, widths), binary32=True, backend=numpy_backend())
    _, compiled = made(net)
    box = random_boxes(rng, 3, widths[0], 0.3)
    rows, x_rows = rng.normal(size=(3, count, widths[-1])), rng.normal(size=(3, count, widths[0]))
    found, own, _ = compiled.examine(*box, *unknown(net, 3), rows, x_rows, RULES)
    again = compiled.bound(found.boxes, rows, x_rows, RULES)
    assert np.array_equal(again.value, own.value) and np.array_equal(again.inputs, own.inputs)
    some = np.array([2, 0])
    part = compiled.bound(select(found.boxes, some), rows[some], x_rows[some], RULES[::-1])
    assert np.array_equal(part.value, own.value[some][:, ::-1])


@built
@given(seeds, st.integers(2, 5), st.integers(1, 9))
def test_the_best_pair_is_that_of_numpy(seed: int, rows: int, inputs: int) -> None:
    rng = np.random.default_rng(seed)
    _, compiled = made(prepare(network(rng, [inputs, 2]), binary32=True, backend=numpy_backend()))
    coef, const = rng.normal(size=(6, 3, rows, inputs)), rng.normal(size=(6, 3, rows))
    box = random_boxes(rng, 6, inputs, 1.0)
    value, rule, pair, ratio = compiled.best_pair(coef, const, *box, RATIOS)
    wanted, *choice = best_pair(coef, const, *box)
    assert_close(value, wanted)
    assert np.array_equal(pair, choice[-2]) and np.array_equal(ratio, choice[-1])
    first, second = np.triu_indices(rows, 1)
    for b in range(6):
        w = ratio[b] / RATIOS
        a, c = ((1 - w) * v[b, rule[b], second[pair[b]]] + w * v[b, rule[b], first[pair[b]]] for v in (coef, const))
        assert_close(value[b], c + np.where(a > 0, a * box[0][b], a * box[1][b]).sum())


# Soundness ------------------------------------------------------------------------------------------------------------


@built
@given(seeds, st.sampled_from(["plain", "scaled", "conv"]), boxes(2), st.booleans(), lanes)
def test_bounds_contain_every_execution(seed: int, shape: str, box: Box, rounded: bool, most: int) -> None:
    """Exact runs over the reals, or binary32 runs in random orders, at corners and inside."""
    program = varied(np.random.default_rng(seed), shape, eighths=False).program
    net = prepare(program, binary32=rounded, backend=numpy_backend())
    _, compiled = made(net, most)
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [-2.0, 3.0]])
    low, high = (np.array([[float(v) for v in end]]) for end in box)
    found, bounds, _ = compiled.examine(low, high, *unknown(net, 1), rows, None, RULES)
    assert not found.empty.any()
    exact, rng = Exact(program), random.Random(seed)
    for x in points(*box, rng, 3):
        values = exact.run_in_some_order(binary32(x), rng) if rounded else exact.run(x)
        for v in net.slots:
            assert not outside(found.boxes.lower[v][0], found.boxes.upper[v][0], values[v])
        for (r, row), rule in product(enumerate(rows), range(len(RULES))):
            total = sum((Fraction(a) * y for a, y in zip(row, values[program.output], strict=True)), Fraction(0))
            assert at_most(float(bounds.value[0, rule, r]), total)


@built
@given(seeds, lanes)
def test_bounds_of_wide_and_cancelling_layers_contain_the_exact_value(seed: int, most: int) -> None:
    """A point, so that nothing but rounding is between the bounds; 1 000 terms that cancel to almost nothing."""
    rng = np.random.default_rng(seed)
    half = rng.normal(size=500)
    wide = np.concatenate([half, -half])[None] * (1 + 1e-12 * rng.normal(size=1000))
    first = rng.normal(size=(1000, 1))
    nodes = (Input(1), dense_affine(first, abs(first[:, 0]), 0, 2), Relu(1), dense_affine(wide, np.zeros(1), 2, 1001))
    program = Program(nodes, (1, 1000, 1000, 1), 3, ("x", "z", "a", "y"))
    net = prepare(program, binary32=False, backend=numpy_backend())
    _, compiled = made(net, most)
    x = np.array([[0.3]])
    _, bounds, _ = compiled.examine(x, x, *unknown(net, 1), np.array([[1.0], [-1.0]]), None, (ADAPTIVE,))
    (y,) = Exact(program).run([Fraction(0.3)])[3]
    low, high = float(bounds.value[0, 0, 0]), -float(bounds.value[0, 0, 1])
    assert at_most(low, y) and at_most(-high, -y)
    assert high - low < 1e-9


# What proves nothing --------------------------------------------------------------------------------------------------


@built
@given(seeds)
def test_contradictory_inherited_bounds_make_a_box_empty_and_no_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = prepare(network(rng, [2, 9, 7, 3]), binary32=True, backend=numpy_backend())
    _, compiled = made(net)
    box = random_boxes(rng, 3, 2, 0.5)
    rows = rng.normal(size=(2, 3))
    free, own, _ = compiled.examine(*box, *unknown(net, 3), rows, None, RULES)
    lower, upper = unknown(net, 3)
    neuron = int(rng.integers(net.width))
    lower[1, neuron], upper[1, neuron] = 1000.0, 2000.0  # above 9 * 2 * (2 * 2 * 1.5 + 1) + 1, the largest value
    found, bounds, _ = compiled.examine(*box, lower, upper, rows, None, RULES)
    others = [0, 2]
    assert found.empty.tolist() == [False, True, False]
    assert np.all(bounds.value[1] == -np.inf)
    assert np.array_equal(bounds.value[others], own.value[others])
    assert np.array_equal(found.lower[others], free.lower[others])


@built
@pytest.mark.parametrize("most", [8, 4, 2])
@pytest.mark.parametrize("place", ["weight", "bias", "box", "row"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_proves_nothing(bad: float, place: str, most: int) -> None:
    rng = np.random.default_rng(3)
    weights = [rng.normal(size=shape) for shape in ((5, 2), (4, 5), (2, 4))]
    bias = rng.normal(size=5)
    if place == "weight":
        weights[1][:, 2] = bad
    if place == "bias":
        bias[:] = bad
    nodes = (
        Input(2), Affine(*_layer(weights[0], bias, 0)), Relu(1), Affine(*_layer(weights[1], np.ones(4), 2)), Relu(3),
        Affine(*_layer(weights[2], np.zeros(2), 4)),
    )  # fmt: skip
    program = Program(nodes, (2, 5, 5, 4, 4, 2), 5, tuple("xzazay"))
    with np.errstate(invalid="ignore", over="ignore"):
        net = prepare(program, binary32=True, backend=numpy_backend())
        _, compiled = made(net, most)
    lower, upper = np.full((1, 2), -1.0), np.full((1, 2), 1.0)
    rows = np.array([[1.0, -1.0], [-1.0, 1.0]])
    if place == "box":
        lower[0, 0], upper[0, 0] = -np.inf if np.isinf(bad) else bad, bad if np.isnan(bad) else np.inf
    if place == "row":
        rows[:, 0] = bad
    found, bounds, _ = compiled.examine(lower, upper, *unknown(net, 1), rows, None, RULES)
    assert not found.empty.any()
    assert np.all(bounds.value == -np.inf)
    if place in ("bias", "box"):  # every neuron depends on it
        assert np.all(found.lower == -np.inf) and np.all(found.upper == np.inf)


def _layer(weight: Vector, bias: Vector, source: int) -> tuple[Any, ...]:
    node = dense_affine(weight, bias, source, weight.shape[1] + 1)
    return node.terms, node.bias, node.rounding, node.magnitude


@built
@given(seeds)
def test_inherited_bounds_that_are_no_numbers_count_as_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = prepare(network(rng, [2, 9, 7, 3]), binary32=True, backend=numpy_backend())
    _, compiled = made(net)
    box, rows = random_boxes(rng, 2, 2, 0.5), rng.normal(size=(2, 3))
    free, own, _ = compiled.examine(*box, *unknown(net, 2), rows, None, RULES)
    lower, upper = unknown(net, 2)
    lower[rng.random(lower.shape) < 0.5] = np.nan
    upper[rng.random(upper.shape) < 0.5] = np.nan
    found, bounds, _ = compiled.examine(*box, lower, upper, rows, None, RULES)
    assert np.array_equal(found.lower, free.lower) and np.array_equal(found.upper, free.upper)
    assert np.array_equal(bounds.value, own.value)


@built
def test_an_execution_that_may_overflow_has_no_bound() -> None:
    """2^127 x + 2^126 with x in [-2, 2] may exceed the largest binary32 number, though not float64's."""
    layers = [(np.full((1, 1), 2.0**127), np.full(1, 2.0**126)), (np.ones((1, 1)), np.zeros(1))]
    program = dense(layers).program
    net = prepare(program, binary32=True, backend=numpy_backend())
    _, compiled = made(net)
    one = np.ones((1, 1))
    for width, finite in ((2, False), (1, True)):
        rows = compiled.examine(-width * one, width * one, *unknown(net, 1), one, None, RULES)[1]
        assert np.all(np.isfinite(rows.value) == finite) and not np.any(rows.value > 0)


@built
def test_the_way_to_a_small_sum_may_overflow_too() -> None:
    """(x_1 + x_2) / 2 with x in [-2^127, 2^127] is within binary32, its sum 2^128 on the way is not."""
    half = np.full((1, 2), 0.5)
    size = 2.0**127
    for peak, finite in ((0.0, True), (0.5, False)):
        node = dense_affine(half, np.zeros(1), 0, 3)
        node = replace(node, rounding=replace(node.rounding, peak=peak))
        net = prepare(Program((Input(2), node), (2, 1), 1, ("x", "y")), binary32=True, backend=numpy_backend())
        _, compiled = made(net)
        box = np.full((1, 2), -size), np.full((1, 2), size)
        rows = compiled.examine(*box, *unknown(net, 1), np.ones((1, 1)), None, RULES)[1]
        assert np.all(np.isfinite(rows.value) == finite)


@built
def test_bounds_abandon_the_batch_when_the_tick_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    net = prepare(network(rng, [2, 9, 3]), binary32=True, backend=numpy_backend())
    compiled = kernel(net)
    assert compiled is not None
    monkeypatch.setattr(native, "LARGEST_WORK", 3 * compiled.work)
    box, rows = random_boxes(rng, 8, 2, 0.5), rng.normal(size=(2, 3))
    ticks = []
    in_parts = NativePropagator(compiled, lambda: ticks.append(0)).examine(*box, *unknown(net, 8), rows, None, RULES)
    assert len(ticks) == 3  # boxes 0-2, 3-5, 6-7
    alone = [NativePropagator(compiled, lambda: None).examine(box[0][b : b + 1], box[1][b : b + 1], *unknown(net, 1),
             rows, None, RULES)[1].value for b in range(8)]  # fmt: skip
    assert np.array_equal(in_parts[1].value, np.concatenate(alone))

    def stop() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        NativePropagator(compiled, stop).refine(*box, *unknown(net, 8))


# What the kernel declines ---------------------------------------------------------------------------------------------


@built
@pytest.mark.parametrize("shape", ["residual", "abs", "max", "leaky"])
def test_programs_that_are_no_chains_are_left_to_numpy(shape: str) -> None:
    program = varied(np.random.default_rng(0), shape).program
    assert kernel(prepare(program, binary32=True, backend=numpy_backend())) is None


@built
def test_programs_that_end_in_relu_or_are_too_large_are_left_to_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    program = network(np.random.default_rng(0), [2, 3, 2])
    net = prepare(program, binary32=True, backend=numpy_backend())
    assert kernel(net) is not None
    ending = Program(program.nodes[:3], program.sizes[:3], 2, program.names[:3])
    assert isinstance(ending.nodes[2], Relu)
    assert kernel(prepare(ending, binary32=True, backend=numpy_backend())) is None
    # 2x3: 3 * 6 products forward; 3x2 above it: 18 + twice 2 rows through 6 = 24.
    assert native._work([(3, 2), (2, 3)]) == 18 + 18 + 24
    monkeypatch.setattr(native, "LARGEST_WORK", 59)
    assert kernel(net) is None


@built
def test_an_object_built_from_another_version_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    native._library.cache_clear()
    monkeypatch.setattr(native, "LAYOUT", native.LAYOUT + 1)
    assert not native.available()
    native._library.cache_clear()
    monkeypatch.undo()
    assert native.available()


@built
def test_the_environment_switches_the_kernel_off(monkeypatch: pytest.MonkeyPatch) -> None:
    net = prepare(network(np.random.default_rng(0), [2, 3, 2]), binary32=True, backend=numpy_backend())
    monkeypatch.setenv("FARKAS_NATIVE", "0")
    assert not native.available() and kernel(net) is None
    monkeypatch.setenv("FARKAS_NATIVE", "1")
    assert native.available() and kernel(net) is not None


def test_without_the_compiled_object_there_is_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_library", lambda: None)
    net = prepare(network(np.random.default_rng(0), [2, 3, 2]), binary32=True, backend=numpy_backend())
    assert not native.available() and kernel(net) is None


# In the search ------------------------------------------------------------------------------------------------------


@built
@pytest.mark.parametrize("conjunctive", [False, True])
def test_the_search_builds_the_same_trees_with_and_without_the_kernel(
    conjunctive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row, or two atoms of which either can hold and both cannot, a tenth of the range below what samples reach."""
    boxes_in_all = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        net = dense(random_layers(rng, [3, 20, 20, 2], eighths=False))
        outputs = run_float(net.program, rng.uniform(-1, 1, (4000, 3)))[net.program.output]
        row = np.array([1.0, 1.0] if conjunctive else [1.0, -1.0])
        least = float((outputs @ row).min() - 0.1 * np.ptp(outputs @ row))
        atoms = [atom(row.tolist(), least)]
        if conjunctive:
            middle = float(np.median(outputs[:, 0]))
            atoms = [atom([1, 0], middle), atom([0, 1], least - middle)]
        trees = []
        for switch in ("0", "1"):
            monkeypatch.setenv("FARKAS_NATIVE", switch)
            verdict = verify(net.query([case([-1] * 3, [1] * 3, atoms)], Semantics.F32_ANY), Options(timeout_s=60))
            assert isinstance(verdict, Holds) and verdict.statistics is not None
            trees.append((verdict.statistics.boxes, verdict.statistics.leaves))
        assert trees[0] == trees[1]
        boxes_in_all += trees[0][0]
    assert boxes_in_all > 50
