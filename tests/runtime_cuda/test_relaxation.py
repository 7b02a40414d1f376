"""Bounds under neuron splits against exact executions, binary32 executions, finite differences and linear programs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farkas.ir.core import Program
from farkas.runtime_cuda import relaxation as relaxation_module
from farkas.runtime_cuda import root as root_module
from farkas.runtime_cuda.backend import Backend, numpy_backend
from farkas.runtime_cuda.optimise import slopes_of
from farkas.runtime_cuda.prepared import prepare
from farkas.runtime_cuda.relaxation import Optimised, Relaxation
from farkas.runtime_cuda.root import Effort, Root
from tests.ir.exact32 import Overflowed
from tests.nets import SHAPES, Box, boxes, dense, random_layers, seeds, varied
from tests.runtime_cuda.executions import Exact, Values, at_most, binary32, outside, points

shapes = st.sampled_from(SHAPES)
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
NO_CLOCK = Effort(float("inf"), 0, lambda: 0.0)  # adaptive rows only
FULL = Effort(float("inf"), 4, lambda: 0.0)  # and four steps of every row's slopes


def worker(program: Program, box: Box, *, binary32: bool = False, backend: Backend | None = None) -> Relaxation:
    net = prepare(program, binary32=binary32, backend=backend or numpy_backend())
    low, high = (np.array([float(v) for v in side]) for side in box)
    return Relaxation(net, low, high, lambda: None)


def neurons(relaxation: Relaxation, values: Values) -> list[Fraction]:
    """An execution's values at the neurons, in the order of the flat storage."""
    return [z for v in relaxation.layers for z in values[v]]


@dataclass(frozen=True)
class Splits:
    """Bounds of the root with some signs fixed, and whether an execution has those signs."""

    lower: Any
    upper: Any
    active: Sequence[int]
    inactive: Sequence[int]

    def holds(self, z: Sequence[Fraction]) -> bool:
        return all(z[j] >= 0 for j in self.active) and all(z[j] <= 0 for j in self.inactive)


def split(root: Root, z: Sequence[Fraction], rng: random.Random) -> Splits:
    """Some neurons of the root split, open or not, each to the side of the given execution."""
    chosen = [j for j in range(len(z)) if rng.random() < 0.4]
    active = [j for j in chosen if z[j] > 0 or (z[j] == 0 and rng.random() < 0.5)]
    inactive = [j for j in chosen if j not in active]
    lower, upper = np.array(root.lower), np.array(root.upper)
    lower[active] = np.maximum(lower[active], 0.0)
    upper[inactive] = np.minimum(upper[inactive], 0.0)
    return Splits(lower, upper, active, inactive)


def executions(
    relaxation: Relaxation, box: Box, rng: random.Random, *, rounded: bool, count: int = 4
) -> list[tuple[Sequence[Fraction], list[Fraction], list[Fraction]]]:
    """Inputs, neurons and outputs of executions at corners and random points of the box."""
    exact = Exact(relaxation.full.program)
    found: list[tuple[Sequence[Fraction], list[Fraction], list[Fraction]]] = []
    for x in points(*box, rng, count):
        try:
            point = binary32(x) if rounded else x
            values = exact.run_in_some_order(point, rng) if rounded else exact.run(point)
        except Overflowed:
            continue
        found.append((point, neurons(relaxation, values), values[relaxation.full.program.output]))
    return found


def total(row: Any, values: Sequence[Fraction]) -> Fraction:
    return sum((Fraction(float(c)) * v for c, v in zip(row, values, strict=True)), Fraction(0))


# Soundness -----------------------------------------------------------------------------------------------------------


@shared
@given(seeds, shapes, boxes(2), st.booleans(), st.booleans())
def test_root_bounds_contain_every_execution(
    backend: Backend, seed: int, shape: str, box: Box, rounded: bool, optimised: bool
) -> None:
    program = varied(np.random.default_rng(seed), shape, eighths=not rounded).program
    relaxation = worker(program, box, binary32=rounded, backend=backend)
    root = relaxation.root(FULL if optimised else NO_CLOCK)
    assert not root.empty
    for _, z, _ in executions(relaxation, box, random.Random(seed), rounded=rounded):
        assert not outside(backend.to_numpy(root.lower), backend.to_numpy(root.upper), z)


@shared
@given(seeds, shapes, boxes(2), st.booleans(), st.sampled_from([0, 3]), st.booleans())
def test_no_execution_within_the_splits_is_below_its_bound(
    backend: Backend, seed: int, shape: str, box: Box, rounded: bool, steps: int, given_pins: bool
) -> None:
    """Random rows over outputs and inputs, random slopes, and random pins at any neuron with a finite bound."""
    program = varied(np.random.default_rng(seed), shape, eighths=not rounded).program
    relaxation = worker(program, box, binary32=rounded, backend=backend)
    root, rng, numbers = relaxation.root(FULL), random.Random(seed), np.random.default_rng(seed)
    ran = executions(relaxation, box, rng, rounded=rounded)
    cases = [split(root, ran[rng.randrange(len(ran))][1], rng) for _ in range(3)]
    lower, upper = (np.stack([getattr(c, side) for c in cases]) for side in ("lower", "upper"))
    rows, x_rows = numbers.integers(-8, 9, (3, 2)) / 4, numbers.integers(-8, 9, (3, 2)) / 4
    slopes = numbers.random(lower.shape)
    pins = numbers.normal(size=lower.shape) * (numbers.random(lower.shape) < 0.3) * given_pins
    given = [backend.asarray(a) for a in (lower, upper, rows, x_rows, slopes, pins)]
    found = relaxation.optimise(given[0], given[1], given[2], given[3], given[4], given[5], steps)
    value = backend.to_numpy(found.value)
    for x, z, y in ran:
        for b, case in enumerate(cases):
            if case.holds(z):
                assert at_most(float(value[b]), total(rows[b], y) + total(x_rows[b], x))


@shared
@given(seeds, shapes, boxes(2), st.booleans())
def test_refreshed_bounds_contain_every_execution_within_the_splits(
    backend: Backend, seed: int, shape: str, box: Box, rounded: bool
) -> None:
    program = varied(np.random.default_rng(seed), shape, eighths=not rounded).program
    relaxation = worker(program, box, binary32=rounded, backend=backend)
    root, rng = relaxation.root(NO_CLOCK), random.Random(seed)
    ran = executions(relaxation, box, rng, rounded=rounded)
    cases = [split(root, ran[rng.randrange(len(ran))][1], rng) for _ in range(3)]
    lower, upper = (np.stack([getattr(c, side) for c in cases]) for side in ("lower", "upper"))
    chosen = {}
    for k, v in enumerate(relaxation.layers):
        size = relaxation.full.sizes[v]
        listed = [rng.sample(range(size), rng.randrange(size + 1)) for _ in cases]
        chosen[k] = backend.asarray(np.array([js + [-1] * (size - len(js)) for js in listed]))
    found = relaxation.refresh(backend.asarray(lower), backend.asarray(upper), chosen)
    low, high = backend.to_numpy(found.lower), backend.to_numpy(found.upper)
    assert np.all(low >= lower) and np.all(high <= upper)
    for _, z, _ in ran:
        for b, case in enumerate(cases):
            if case.holds(z):
                assert not backend.to_numpy(found.empty)[b]
                assert not outside(low[b], high[b], z)


@given(seeds, st.lists(st.sampled_from([-40, -38, 0, 1, 30, 38]), min_size=2, max_size=8), st.booleans())
@pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero) encountered")
def test_huge_and_tiny_weights_never_give_a_finite_wrong_bound(seed: int, powers: list[int], rounded: bool) -> None:
    """Bounds may say nothing where numbers leave float64's or binary32's range, but nothing false."""
    rng = np.random.default_rng(seed)
    sizes = (1, *(2,) * len(powers), 1)
    scales = [*powers, 0]
    layers = [(np.float32(w * 10.0**power), b) for (w, b), power in zip(random_layers(rng, sizes), scales, strict=True)]
    box = ((Fraction(-1),), (Fraction(2),))
    relaxation = worker(dense(layers).program, box, binary32=rounded)
    root = relaxation.root(FULL)
    lower, upper, rows = np.tile(root.lower, (2, 1)), np.tile(root.upper, (2, 1)), np.array([[1.0], [-1.0]])
    found = relaxation.optimise(lower, upper, rows, None, None, None, 3)
    for _, z, y in executions(relaxation, box, random.Random(seed), rounded=rounded):
        assert not outside(root.lower, root.upper, z)
        assert at_most(float(found.value[0]), y[0]) and at_most(float(found.value[1]), -y[0])


# Refresh -------------------------------------------------------------------------------------------------------------


def wide(seed: int, sizes: tuple[int, ...] = (4, 10, 10, 10, 2)) -> Program:
    return dense(random_layers(np.random.default_rng(seed), sizes, eighths=False)).program


WIDE_BOX = ((Fraction(-1, 8),) * 4, (Fraction(1, 8),) * 4)


def split_somewhere(root: Root, seed: int, count: int) -> tuple[Any, Any]:
    """`count` subproblems in which a few open neurons are split at random, perhaps infeasibly."""
    rng = np.random.default_rng(seed)
    lower, upper = np.tile(root.lower, (count, 1)), np.tile(root.upper, (count, 1))
    for b in range(count):
        for j in rng.permutation(np.flatnonzero((root.lower < 0) & (root.upper > 0)))[:3]:
            side = lower if rng.random() < 0.5 else upper
            side[b, j] = 0.0
    return lower, upper


@given(seeds)
def test_refresh_tightens_listed_neurons_only_and_a_batch_gives_what_its_members_give_alone(seed: int) -> None:
    relaxation = worker(wide(seed), WIDE_BOX)
    lower, upper = split_somewhere(relaxation.root(NO_CLOCK), seed, 3)
    index = np.array([[1, 4, -1], [-1, -1, -1], [2, -1, 7]])
    found = relaxation.refresh(lower, upper, {2: index, 1: index[::-1]})
    changed = (found.lower != lower) | (found.upper != upper)
    for k, listed in ((2, index), (1, index[::-1])):
        for b in range(3):
            outside_list = [j for j in range(10) if j not in listed[b]]
            assert not changed[b, 10 * k : 10 * k + 10][outside_list].any()
    for b in range(3):
        one = slice(b, b + 1)
        alone = relaxation.refresh(lower[one], upper[one], {1: index[::-1][one], 2: index[one]})
        np.testing.assert_allclose(alone.lower[0], found.lower[b], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(alone.upper[0], found.upper[b], rtol=1e-9, atol=1e-12)


def test_signs_that_no_input_has_are_found_empty() -> None:
    """z0 = x, z1 = x - 1/2 on [0, 1], z2 = relu(z0) - 3 relu(z1) - 1: z0 <= 0 makes z2 at most -1, hence not active."""
    layers = [([[1.0], [1.0]], [0.0, -0.5]), ([[1.0, -3.0]], [-1.0]), ([[1.0]], [0.0])]
    relaxation = worker(dense(layers).program, ((Fraction(-1),), (Fraction(1),)))
    root = relaxation.root(NO_CLOCK)
    lower, upper = np.tile(root.lower, (2, 1)), np.tile(root.upper, (2, 1))
    lower[0, 2] = np.maximum(lower[0, 2], -0.5)
    upper[0, 0] = 0.0
    found = relaxation.refresh(lower, upper, {1: np.array([[0], [0]])})
    assert found.empty.tolist() == [True, False]


def test_pins_alone_prove_signs_inconsistent() -> None:
    """z0 = x <= 0 and z1 = 1/4 - x <= 0 have no common x; the zero row with pins -1, -1 is bounded by 1/4."""
    layers = [([[1.0], [-1.0]], [0.0, 0.25]), ([[1.0, 1.0]], [0.0])]
    relaxation = worker(dense(layers).program, ((Fraction(-1),), (Fraction(1),)))
    root = relaxation.root(NO_CLOCK)
    lower, upper = root.lower[None], np.zeros((1, 2))
    zero = np.zeros((1, 1))
    exactly = relaxation.optimise(lower, upper, zero, None, None, np.array([[-1.0, -1.0]]), 0)
    assert 0.25 - 1e-9 < exactly.value[0] <= 0.25
    searched = relaxation.optimise(lower, upper, zero, None, None, None, 10)
    assert searched.value[0] > 0 and np.all(searched.pins <= 0)


# Optimisation --------------------------------------------------------------------------------------------------------


def optimised(relaxation: Relaxation, lower: Any, upper: Any, row: Any, steps: int) -> Optimised:
    rows = np.tile(np.asarray(row, dtype=float), (len(lower), 1))
    return relaxation.optimise(lower, upper, rows, None, None, None, steps)


@given(seeds, st.sampled_from(["plain", "residual", "conv", "abs"]))
def test_the_gradient_is_that_of_finite_differences(seed: int, shape: str) -> None:
    """In float64, along random directions; the bound is piecewise linear, so that both sides must agree first."""
    rng = np.random.default_rng(seed)
    box = ((Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1)))
    relaxation = worker(varied(rng, shape, eighths=False).program, box)
    lower, upper = split_somewhere(relaxation.root(NO_CLOCK), seed, 2)
    passes = relaxation.sure
    kept = relaxation.net.kept
    lower, upper = lower[:, kept], upper[:, kept]
    relaxed, is_open = passes.relax(lower, upper), ((lower < 0) & (upper > 0))[:, None]
    start = passes.outputs(rng.normal(size=(2, 1, 2)), None)
    slopes = rng.uniform(0.1, 0.9, (2, 1, len(kept)))
    pins = np.where((lower == 0)[:, None], 1.0, np.where((upper == 0)[:, None], -1.0, 0.0)) * rng.random(slopes.shape)

    def value(a: Any, gamma: Any) -> Any:
        lines = passes.with_slopes(relaxed, a, is_open)
        return passes.descend(start, lines, passes.pins(gamma, lower, upper), rigorous=False, keep=False).value

    lines = passes.with_slopes(relaxed, slopes, is_open)
    descent = passes.descend(start, lines, passes.pins(pins, lower, upper), rigorous=False, keep=True)
    _, z = passes.ascend(descent, lines)
    flat_z, flat_a = np.zeros(slopes.shape), np.zeros(slopes.shape)
    for v, slot in relaxation.net.slots.items():
        flat_z[:, :, slot] = z[v]
    for r, crossing in descent.crossings.items():
        flat_a[:, :, relaxation.net.slots[program_source(relaxation, r)]] += np.maximum(crossing.coef, 0.0)
    by_slope = flat_a * flat_z * is_open
    by_pin = (np.where(pins > 0, lower[:, None], upper[:, None]) - flat_z) * (pins != 0)
    step, compared = 1e-6, 0
    for _ in range(3):
        a, g = rng.normal(size=slopes.shape) * is_open, rng.normal(size=slopes.shape) * (pins != 0)
        here = value(slopes, pins)
        ahead, behind = (
            value(slopes + step * a, pins + step * g) - here,
            here - value(slopes - step * a, pins - step * g),
        )
        wanted = (by_slope * a + by_pin * g).sum(axis=2) * step
        smooth = abs(ahead - behind) < 1e-9
        np.testing.assert_allclose(ahead[smooth], wanted[smooth], atol=1e-9)
        compared += int(smooth.sum())
    assert compared > 0


def program_source(relaxation: Relaxation, r: int) -> int:
    source: int = relaxation.full.program.nodes[r].source  # type: ignore[union-attr]  # r is a Relu
    return source


@given(seeds, st.integers(1, 12))
def test_more_steps_never_end_below_the_adaptive_slopes(seed: int, steps: int) -> None:
    """Up to the rounding of slopes to 1/256, whose cost is bounded by the sizes of coefficients and neurons."""
    relaxation = worker(wide(seed), WIDE_BOX)
    lower, upper = split_somewhere(relaxation.root(NO_CLOCK), seed, 2)
    adaptive = optimised(relaxation, lower, upper, [1.0, -1.0], 0)
    better = optimised(relaxation, lower, upper, [1.0, -1.0], steps)
    reach = np.maximum(-lower, upper)
    slack = (np.maximum(better.below, 0.0) * reach).sum(axis=1) / 500 + 1e-4
    assert np.all(better.value >= adaptive.value - slack)


@given(seeds)
def test_slopes_and_pins_returned_give_the_value_returned(seed: int) -> None:
    """Stated again as multiples of 1/256 and 2^-24, in another call without steps."""
    relaxation = worker(wide(seed), WIDE_BOX)
    lower, upper = split_somewhere(relaxation.root(NO_CLOCK), seed, 2)
    rows = np.array([[1.0, -1.0], [0.5, 0.25]])
    found = relaxation.optimise(lower, upper, rows, None, None, None, 5)
    assert np.array_equal(found.pins * 2**24, np.round(found.pins * 2**24))
    assert found.slopes.dtype == np.uint8
    again = relaxation.optimise(lower, upper, rows, None, slopes_of(np, found.slopes), found.pins, 0)
    np.testing.assert_array_equal(again.value, found.value)
    np.testing.assert_array_equal(again.slopes, found.slopes)


@given(seeds)
def test_the_root_can_be_derived_again_from_what_it_says_it_did(seed: int) -> None:
    """Without packing and without search: every recipe's rows with the slopes stated, in network order."""
    relaxation = worker(wide(seed), WIDE_BOX)
    root = relaxation.root(FULL)
    assert len(root.recipes) == 2 and root.recipes[1], "a second derivation was made"
    plain = worker(wide(seed), WIDE_BOX)
    derivation = None
    for recipe in root.recipes:
        low, high = (derivation.lower, derivation.upper) if derivation else (np.full(30, -np.inf), np.full(30, np.inf))
        derivation = root_module._Derivation(plain.full, plain.x_lower, plain.x_upper, low, high, lambda: None)
        derivation._pack = lambda v: None  # type: ignore[method-assign]  # nothing is packed away
        stated = {used.layer: used for used in recipe}

        def tighten(d: Any, v: int, k: int, stated: Any = stated) -> None:
            used = stated.get(k)
            if used is None:
                return
            index = d.open_neurons(v) if used.neurons is None else used.neurons
            passes = d.passes()
            lines = passes.relax(d.lower[None], d.upper[None], v)
            if used.slopes is not None:
                is_open = ((d.lower < 0) & (d.upper > 0))[None, None]
                slopes = slopes_of(np, used.slopes.transpose(1, 0, 2).reshape(1, 2 * len(index), -1))
                lines = passes.with_slopes(lines, slopes, is_open)
            value = passes.descend(passes.units(v, index[None]), lines, rigorous=True, keep=False).value[0]
            d._intersect(v, index, value[: len(index)], -value[len(index) :])

        derivation.run(tighten)
    assert derivation is not None
    live = root.upper > 0
    np.testing.assert_allclose(derivation.lower[live], root.lower[live], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(derivation.upper, root.upper, rtol=1e-9, atol=1e-12)


def test_passes_in_small_pieces_give_the_same_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    def bounds() -> list[Any]:
        relaxation = worker(wide(7), WIDE_BOX)
        root = relaxation.root(FULL)
        lower, upper = split_somewhere(root, 7, 5)
        index = np.tile(np.arange(10), (5, 1))
        fresh = relaxation.refresh(lower, upper, {1: index, 2: index})
        found = optimised(relaxation, fresh.lower, fresh.upper, [1.0, 2.0], 3)
        return [root.lower, root.upper, fresh.lower, fresh.upper, found.value, found.below, found.z, found.point]

    whole = bounds()
    monkeypatch.setattr(relaxation_module, "PIECE", 40)
    monkeypatch.setattr(root_module, "PIECE", 40)
    for one, other in zip(whole, bounds(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_rows_worth_most_get_their_steps_where_the_effort_is_short() -> None:
    """By a clock on which two passes of up to eight rows take a second, an effort for six steps of two neurons."""
    ticks = iter(range(1000))
    relaxation = worker(wide(3), WIDE_BOX)
    first = relaxation.root(NO_CLOCK)
    top = np.flatnonzero((first.lower < 0) & (first.upper > 0))[-2:]
    worth = np.zeros(30)
    worth[top] = 1.0
    step = root_module.OVERHEAD / min(8, (first.upper[20:30] > 0).sum())
    second = relaxation.root(Effort(6 * 2 * step + 1e-9, 6, lambda: float(next(ticks))), worth)
    groups = [(used.layer, used.slopes is None) for used in second.recipes[1]]
    assert groups == [(1, True), (2, True), (2, False)]
    assert set(second.recipes[1][2].neurons + 20) == set(top)
    assert np.all(second.lower >= first.lower) and np.all(second.upper <= first.upper)


# Against linear programs ----------------------------------------------------------------------------------------------


def triangle_minimum(relaxation: Relaxation, lower: Any, upper: Any, row: Any) -> float:
    """The least value of row @ y over triangle relaxations with all bounds as rows, by HiGHS; chains of layers."""
    highspy = pytest.importorskip("highspy")
    net = relaxation.full
    model = highspy.Highs()
    model.setOptionValue("output_flag", False)
    below = [model.addVariable(float(l), float(u)) for l, u in zip(relaxation.x_lower, relaxation.x_upper, strict=True)]
    for v, layer in net.layers.items():
        matrix = layer.operands[0].map.dense()
        z = [
            sum(float(w) * a for w, a in zip(ws, below, strict=True)) + float(b)
            for ws, b in zip(matrix, layer.bias, strict=True)
        ]
        if v not in net.slots:
            model.minimize(sum(float(c) * term for c, term in zip(row, z, strict=True)))
            return float(model.getObjectiveValue()) if model.getModelStatus().name == "kOptimal" else float("inf")
        outputs = []
        for term, l, u in zip(z, lower[net.slots[v]], upper[net.slots[v]], strict=True):
            model.addConstr(term >= float(l))
            model.addConstr(term <= float(u))
            a = model.addVariable(0.0, max(0.0, float(u)))
            model.addConstr(a >= term)
            if l >= 0:
                model.addConstr(a <= term)
            elif u > 0:
                model.addConstr((float(u) - float(l)) * a <= float(u) * (term - float(l)))
            outputs.append(a)
        below = outputs
    raise AssertionError("the last layer is no layer of neurons")


@given(seeds)
@settings(max_examples=25)
def test_the_optimised_bound_comes_from_below_to_the_linear_program(seed: int) -> None:
    """Slopes and pins are its dual variables but for the pins of unsplit neurons, so the bound is never above it."""
    relaxation = worker(wide(seed, (4, 8, 8, 2)), WIDE_BOX)
    lower, upper = split_somewhere(relaxation.root(NO_CLOCK), seed, 2)
    row = [1.0, -1.0]
    found = optimised(relaxation, lower, upper, row, 100)
    for b in range(2):
        least = triangle_minimum(relaxation, lower[b], upper[b], row)
        assert found.value[b] <= least + 1e-6 * (1 + abs(least))


def test_without_splits_a_hundred_steps_reach_the_linear_program() -> None:
    """Fixed intermediate bounds: the dual of the triangles alone is what the slopes optimise, so the gap must close."""
    gaps = []
    for seed in range(8):
        relaxation = worker(wide(seed, (4, 8, 8, 2)), WIDE_BOX)
        root = relaxation.root(NO_CLOCK)
        lower, upper = root.lower[None], root.upper[None]
        least = triangle_minimum(relaxation, root.lower, root.upper, [1.0, -1.0])
        start, found = (optimised(relaxation, lower, upper, [1.0, -1.0], steps).value[0] for steps in (0, 100))
        if least - start > 1e-2:
            gaps.append((least - found) / (least - start))
    assert len(gaps) >= 3 and np.median(gaps) < 0.1
