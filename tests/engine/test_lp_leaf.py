"""Leaves closed by linear programs, against exact enumeration and against the row rule computed in exact rationals."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.encoders.highs import RelaxedSolver, Status
from farkas.encoders.subproblem import Atoms, ask, restated
from farkas.engine import lp_leaf
from farkas.engine.budget import Budget
from farkas.engine.lp_duals import integers
from farkas.engine.lp_leaf import Disjunct
from farkas.engine.problem import Vector
from farkas.engine.tree import Closing
from farkas.ir.algebra import exact
from farkas.ir.convolution import Conv2d
from farkas.ir.core import Affine, Input, Program, Relu, Rounding, Term, dense_affine, run_exact, run_float
from farkas.ir.relaxation import upper_line
from farkas.ir.windows import Windows
from tests.engine.relaxed import Problem, disjunct, least_excess, parts, problem, split
from tests.nets import EXACT_SHAPES, Box, boxes, dense, random_layers, seeds, varied

UNIT = Fraction(1, 2**24)
plenty = Budget.of(None)
quick = settings(deadline=None, max_examples=40)


def row_bound(found: Problem, lower: Vector, upper: Vector, asked: Disjunct, closing: Closing) -> Fraction:
    """The closing's row minus its thresholds, bounded from below in exact rationals by the rule as written."""
    program, vector = found.program, closing.vector
    assert vector is not None
    pins = dict(vector.pins)
    weights = [(i, Fraction(w)) for i, w in closing.atoms]
    zero = [Fraction(0)] * program.sizes[0]
    coefs: dict[int, Any] = {v: np.array([Fraction(0)] * size, dtype=object) for v, size in enumerate(program.sizes)}
    total = Fraction(0)
    for i, w in weights:
        coefs[program.output] = coefs[program.output] + w * exact(asked.y_rows[i])
        coefs[0] = coefs[0] + w * exact(zero if asked.x_rows is None else asked.x_rows[i])
        total -= w * Fraction(float(asked.thresholds[i]))
    slots = found.relaxation.full.slots
    for v in range(len(program.nodes) - 1, 0, -1):
        node, coef = program.nodes[v], coefs[v]
        match node:
            case Affine():
                if v in slots:
                    for j in range(program.sizes[v]):
                        g = slots[v].start + j
                        gamma = pins.get(g, 0) * UNIT
                        bound = Fraction(float(lower[g] if gamma > 0 else upper[g]))
                        coef[j], total = coef[j] - gamma, total + gamma * bound
                total += sum(coef * exact(node.bias), Fraction(0))
                for term in node.terms:
                    coefs[term.source] = coefs[term.source] + coef @ exact(term.map.dense())
            case Relu(source=source):
                assert source in slots
                l, u = (exact(bound[slots[source]]) for bound in (lower, upper))
                line = upper_line(np, l, u)
                for j, g in enumerate(range(slots[source].start, slots[source].stop)):
                    byte = int(vector.slopes[g])
                    a = (Fraction(1) if byte == 255 else Fraction(byte, 256)) if line.unstable[j] else line.slope[j]
                    coefs[source][j] += coef[j] * (a if coef[j] > 0 else line.slope[j])
                    total += min(coef[j], Fraction(0)) * line.intercept[j]
            case Input():
                raise AssertionError("the input is node 0")
    for c, low, high in zip(coefs[0], *found.box, strict=True):
        total += c * (low if c > 0 else high)
    return total


def optimum(found: Problem, lower: Vector, upper: Vector, asked: Disjunct) -> float:
    """The LP's value, from a solver of its own, without a start."""
    encoding = found.prover.encoding
    atoms = Atoms.of(asked.y_rows, asked.x_rows, asked.thresholds, found.program.input_size)
    question = ask(encoding, found.program.output, atoms)
    solver, new = RelaxedSolver(question.model), restated(encoding, lower, upper)
    known = encoding.value[encoding.value >= 0]
    solver.set_columns(known, new.value_lower, new.value_upper)
    solver.set_columns(encoding.output, np.zeros(len(encoding.output)), new.output_upper)
    solver.set_rows(encoding.above, new.above_lower, new.above_upper)
    solver.set_rows(encoding.under, np.full(len(encoding.under), -np.inf), new.under_upper)
    kept = np.flatnonzero(~np.isnan(new.under_slope))
    solver.set_coefficients(encoding.under[kept], encoding.value[encoding.neuron[kept]], new.under_slope[kept])
    solution = solver.solve()
    assert solution.status in (Status.OPTIMAL, Status.INFEASIBLE)
    return solution.objective * float(atoms.scale[0])


def asked_row(rng: np.random.Generator, outputs: int, threshold: float) -> Disjunct:
    return disjunct([rng.integers(-8, 9, outputs) / 4], [threshold], [rng.integers(-2, 3, 2) / 2])


# What closes is true ------------------------------------------------------------------------------------------------


@quick
@given(
    seeds, st.sampled_from(EXACT_SHAPES), boxes(2), st.sampled_from([0.0, 0.4, 1.0]), st.sampled_from([-4.0, 0.0, 2.0])
)
def test_a_closing_refutes_exactly_and_by_its_own_numbers(
    seed: int, shape: str, box: Box, share: float, threshold: float
) -> None:
    rng = np.random.default_rng(seed)
    found = problem(varied(rng, shape).program, box)
    lower, upper = split(found, random.Random(seed), share)
    asked = asked_row(rng, 2, threshold)
    result = found.prover.close_by_lp(lower, upper, asked, plenty)
    least = least_excess(found, asked, parts(found, lower, upper))
    if result.closing is not None:
        assert least is None or least > 0
        slots = found.relaxation.full.slots
        if all(node.source in slots for node in found.program.nodes if isinstance(node, Relu)):
            bound = row_bound(found, lower, upper, asked, result.closing)
            assert bound > 0
            if result.closing.atoms:
                assert least is None or bound <= least
            assert Fraction(result.proved) <= bound
    elif least is not None:
        assert result.bound <= float(least) + 1e-5


@quick
@given(seeds, boxes(2))
def test_splits_that_leave_nothing_close_without_atoms(seed: int, box: Box) -> None:
    """A disjunct without atoms is refuted by an empty node alone: by a dual ray, here in a fully split network."""
    rng = np.random.default_rng(seed)
    found = problem(varied(rng, "plain").program, box)
    lower, upper = split(found, random.Random(seed), 1.0)
    nothing = disjunct(np.zeros((0, 2)), [])
    result = found.prover.close_by_lp(lower, upper, nothing, plenty)
    rest = parts(found, lower, upper)
    if result.closing is not None:
        assert not result.closing.atoms and result.closing.vector is not None and result.closing.vector.pins
        assert not rest
        assert row_bound(found, lower, upper, nothing, result.closing) > 0


def test_contradictory_signs_of_one_layer_are_refuted_by_two_pins() -> None:
    # z1 = x and z2 = -x - 1/2 cannot both be positive: 1 z1 + 1 z2 = -1/2.
    program = dense([([[1.0], [-1.0]], [0.0, -0.5]), ([[1.0, 1.0]], [0.0])]).program
    found = problem(program, ((Fraction(-1),), (Fraction(1),)))
    lower = np.maximum(found.lower, 0.0)
    nothing = disjunct(np.zeros((0, 1)), [])
    result = found.prover.close_by_lp(lower, found.upper, nothing, plenty)
    assert result.closing is not None and result.closing.vector is not None
    (first, a), (second, b) = result.closing.vector.pins
    assert (first, second) == (0, 1) and a == b > 0
    assert result.bound == np.inf and result.proved == pytest.approx(a * 2.0**-24 * 0.5)


def test_a_node_that_is_empty_by_its_bounds_needs_no_program() -> None:
    found = problem(dense([([[1.0]], [0.0]), ([[1.0]], [0.0])]).program, ((Fraction(-1),), (Fraction(1),)))
    result = found.prover.close_by_lp(np.array([0.5]), np.array([0.0]), disjunct([[1.0]], [5.0]), plenty)
    assert result.closing is None and result.bound == np.inf and result.point is None


# Nothing is lost on the way from duals to slopes and pins -------------------------------------------------------------


def convolutional(rng: np.random.Generator) -> Program:
    conv = Conv2d(rng.normal(size=(1, 3, 1, 9)), Windows((3, 3), (2, 2), (1, 1, 1, 1)), (6, 6))
    size = conv.rows
    bias = rng.normal(size=size)
    layer = Affine((Term(conv, 0),), bias, Rounding(10, is_sum=True), abs(bias))
    nodes = (
        Input(36),
        layer,
        Relu(1),
        dense_affine(rng.normal(size=(12, size)), rng.normal(size=12), 2, size + 1),
        Relu(3),
        dense_affine(rng.normal(size=(2, 12)), np.zeros(2), 4, 13),
    )
    return Program(nodes, (36, size, size, 12, 12, 2), 5, ("x", "z", "a", "w", "b", "y"))


def obeyed(found: Problem, rng: np.random.Generator, share: float) -> tuple[Vector, Vector]:
    """Bounds with a share of the neurons split as one execution has them."""
    low, high = found.prover.x_lower, found.prover.x_upper
    values = run_float(found.program, low + (high - low) * rng.random(len(low)))
    z = np.concatenate([values[v] for v in found.relaxation.full.slots])
    chosen = rng.random(len(z)) < share
    lower = np.where(chosen & (z > 0), np.maximum(found.lower, 0.0), found.lower)
    return lower, np.where(chosen & (z <= 0), np.minimum(found.upper, 0.0), found.upper)


@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_slopes_and_pins_reach_the_value_of_the_program(kind: str, share: float) -> None:
    """The rounded multipliers lose less than a thousandth of the distance from the interval bound to the LP's."""
    rng = np.random.default_rng(11)
    for _ in range(6):
        if kind == "dense":
            program, inputs = dense(random_layers(rng, (6, 20, 20, 2), eighths=False)).program, 6
        else:
            program, inputs = convolutional(rng), 36
        found = problem(program, ((Fraction(-1, 4),) * inputs, (Fraction(1, 4),) * inputs), binary32=True)
        lower, upper = obeyed(found, rng, share)
        row = [1.0, -1.0]
        value = optimum(found, lower, upper, disjunct([row], [0.0]))
        loose = found.relaxation.optimise(found.lower[None], found.upper[None], np.array([row]), None, None, None, 0)
        allowed = 1e-3 * max(1.0, abs(value), value - float(loose.value[0]))
        result = found.prover.close_by_lp(lower, upper, disjunct([row], [value - allowed]), plenty)
        assert result.closing is not None


def test_two_atoms_are_weighed_together() -> None:
    # y1 = relu(x), y2 = 2 relu(-x) - relu(x) on [-1, 1]: y2 <= -3/4 holds for x >= 3/4 only, y1 <= 1/4 for x <= 1/4.
    program = dense([([[1.0], [-1.0]], [0.0, 0.0]), ([[1.0, 0.0], [-1.0, 2.0]], [0.0, 0.0])]).program
    found = problem(program, ((Fraction(-1),), (Fraction(1),)))
    both = disjunct([[1.0, 0.0], [0.0, 1.0]], [0.25, -0.75])
    for single in (0, 1):
        alone = disjunct(both.y_rows[single : single + 1], both.thresholds[single : single + 1])
        assert found.prover.close_by_lp(found.lower, found.upper, alone, plenty).closing is None
    result = found.prover.close_by_lp(found.lower, found.upper, both, plenty)
    assert result.closing is not None and [i for i, _ in result.closing.atoms] == [0, 1]
    assert row_bound(found, found.lower, found.upper, both, result.closing) > 0


def test_weights_become_integers_only_where_the_weighted_row_stays_exact() -> None:
    whole = np.array([[1.0, -3.0], [2.0, 0.0]])
    assert integers(np.array([0.3, 0.6]), whole).tolist() == [128, 256]
    assert integers(np.array([0.6, 0.001]), whole).tolist() == [1, 0]
    assert integers(np.array([0.3, 0.6]), whole / 3).tolist() == [0, 1]  # a third times 128 has to be rounded
    assert integers(np.array([0.3, 0.6]), whole * 2.0**45).tolist() == [0, 1]
    assert integers(np.array([0.6, 0.6]), whole / 3).tolist() == [1, 0]
    assert integers(np.zeros(2), whole).tolist() == [0, 0]


def test_a_bound_that_only_reaches_the_threshold_closes_nothing() -> None:
    program = dense([([[1.0]], [0.0]), ([[1.0]], [0.0])]).program
    found = problem(program, ((Fraction(-1),), (Fraction(1),)))
    for strict in (False, True):
        result = found.prover.close_by_lp(found.lower, found.upper, disjunct([[1.0]], [0.0], strict=strict), plenty)
        assert result.closing is None  # the outward bound stays a hair below 0
        assert result.bound == pytest.approx(0, abs=1e-9)


def test_the_margin_must_be_cleared() -> None:
    program = dense([([[1.0]], [1.0]), ([[1.0]], [0.0])]).program  # y = relu(x + 1) in [1/2, 3/2]
    box = ((Fraction(-1, 2),), (Fraction(1, 2),))
    asked = disjunct([[1.0]], [0.4])
    for margin, closes in ((0.05, True), (0.2, False)):
        found = problem(program, box, margin=margin)
        result = found.prover.close_by_lp(found.lower, found.upper, asked, plenty)
        assert (result.closing is not None) is closes


# Points ---------------------------------------------------------------------------------------------------------------


@quick
@given(seeds, boxes(2))
def test_a_tight_optimum_is_an_input_that_violates(seed: int, box: Box) -> None:
    rng = np.random.default_rng(seed)
    found = problem(varied(rng, "plain").program, box)
    lower, upper = split(found, random.Random(seed), 1.0)
    rest = parts(found, lower, upper)
    asked = asked_row(rng, 2, 0.0)
    least = least_excess(found, asked, rest)
    result = found.prover.close_by_lp(lower, upper, asked, plenty)
    if least is None or result.point is None:
        return
    assert result.branch == -1 and result.is_tight  # fully split
    assert result.bound == pytest.approx(float(least), abs=1e-5)
    output = run_exact(found.program, [Fraction(float(v)) for v in result.point])
    assert asked.x_rows is not None
    value = sum(float(b) * float(o) for b, o in zip(asked.y_rows[0], output, strict=True))
    value += float(asked.x_rows[0] @ result.point)
    assert value == pytest.approx(float(least), abs=1e-4)


@given(seeds, st.booleans())
def test_candidates_lie_in_the_box_and_on_its_grid(seed: int, rounded: bool) -> None:
    rng = np.random.default_rng(seed)
    low = rng.integers(-8, 8, 2) / 10.0
    ends = (tuple(Fraction(float(v)) for v in low), tuple(Fraction(float(v + 0.3)) for v in low))
    found = _shared(rounded)
    found.prover.x_lower, found.prover.x_upper = (np.array([float(v) for v in side]) for side in ends)
    points = found.prover.candidates(low + 0.3 * rng.random(2))
    assert (points >= found.prover.x_lower).all() and (points <= found.prover.x_upper).all()
    assert len(points) == len(lp_leaf.NUDGES)
    if rounded:
        assert np.array_equal(points, points.astype(np.float32).astype(np.float64))


def _shared(rounded: bool) -> Problem:
    program = dense([([[1.0, 1.0]], [0.0]), ([[1.0]], [0.0])]).program
    return problem(program, ((Fraction(0),) * 2, (Fraction(1),) * 2), binary32=rounded)


# Where a solve starts changes its time only ---------------------------------------------------------------------------


def test_a_child_solved_from_its_parent_equals_one_solved_alone() -> None:
    rng = np.random.default_rng(4)
    program = dense(random_layers(rng, (5, 16, 16, 2), eighths=False)).program
    box = ((Fraction(-1, 2),) * 5, (Fraction(1, 2),) * 5)
    found = problem(program, box)
    asked = disjunct([[1.0, -1.0]], [100.0])
    other = disjunct([[-2.0, 1.0]], [300.0])
    lower, upper = found.lower, found.upper
    start: object = None
    for step in range(8):
        result = found.prover.close_by_lp(lower, upper, asked, plenty, start)
        fresh = problem(program, box).prover.close_by_lp(lower, upper, asked, plenty)
        assert result.bound == pytest.approx(fresh.bound, abs=1e-6)
        assert result.bound == pytest.approx(optimum(found, lower, upper, asked), abs=1e-6)
        if result.branch < 0:
            break
        if step % 2:  # another disjunct in between
            found.prover.close_by_lp(lower, upper, other, plenty)
        start = result.basis
        (upper if step % 3 else lower)[result.branch] = 0.0


def test_a_spent_budget_closes_nothing() -> None:
    rng = np.random.default_rng(4)
    found = problem(
        dense(random_layers(rng, (5, 16, 16, 2), eighths=False)).program, ((Fraction(-1),) * 5, (Fraction(1),) * 5)
    )
    result = found.prover.close_by_lp(found.lower, found.upper, disjunct([[1.0, -1.0]], [0.0]), Budget(0.0, 0.0))
    assert result.closing is None and np.isnan(result.bound)


def test_a_program_too_large_for_a_solver_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    found = problem(dense([([[1.0]], [1.0]), ([[1.0]], [0.0])]).program, ((Fraction(-1),), (Fraction(1),)))
    monkeypatch.setattr(lp_leaf, "LARGEST", 1)
    result = found.prover.close_by_lp(found.lower, found.upper, disjunct([[1.0]], [-1.0]), plenty)
    assert not found.prover.is_affordable
    assert result.closing is None and np.isnan(result.bound)
