"""Trees guided by linear programs and the hunt for MILP incumbents, against exact enumeration."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.checker.check import check
from farkas.encoders.milp import Status
from farkas.engine import certify, lp_leaf
from farkas.engine import turns as turns_module
from farkas.engine.arm_milp import HUNTERS
from farkas.engine.budget import Budget
from farkas.engine.lp_leaf import Disjunct
from farkas.engine.milp_arm import GuidedStep, guided_tree, hunt
from farkas.engine.options import Options
from farkas.engine.problem import Vector
from farkas.engine.query import Query
from farkas.engine.repair import repair
from farkas.engine.replay import Replayer
from farkas.engine.tree import Fork, ProofTree, SplitNeuron, close
from farkas.engine.verdict import Holds, Reason, Unknown, Verdict, Violated
from farkas.engine.verify import verify
from farkas.ir.core import run_exact, run_float
from farkas.ir.errors import FarkasError
from farkas.specs.query import Semantics
from farkas.specs.vnnlib import read_property
from tests.checker.nets import vnnlib
from tests.engine.pieces import minimum
from tests.engine.relaxed import Problem, disjunct, problem
from tests.nets import EXACT_SHAPES, Box, Net, affine, atom, boxes, case, dense, random_layers, seeds, varied

plenty = Budget.of(None)
quick = settings(deadline=None, max_examples=30)


def proved(found: Problem, disjuncts: Sequence[Disjunct], goals: Sequence[int]) -> tuple[ProofTree, list[GuidedStep]]:
    tree = ProofTree()
    steps = list(guided_tree(found.prover, tree, 0, found.lower, found.upper, disjuncts, goals, plenty))
    return tree, steps


def exact_minimum(found: Problem, y: Vector) -> Fraction:
    return minimum(found.program, *found.box, [Fraction(float(v)) for v in y], [])


@quick
@given(seeds, st.sampled_from(EXACT_SHAPES), boxes(2))
def test_a_guided_tree_closes_what_holds_and_finds_what_does_not(seed: int, shape: str, box: Box) -> None:
    rng = np.random.default_rng(seed)
    found = problem(varied(rng, shape).program, box)
    y = rng.integers(-8, 9, 2) / 4
    least = float(exact_minimum(found, y))
    tree, steps = proved(found, [disjunct([y], [least - 0.01])], [0])
    if y.any():  # a row of zeros is bounded by its rounding, below its threshold or not
        assert steps[-1].open == 0
        assert close([tree]).leaves == tree.leaves
    _, steps = proved(found, [disjunct([y], [least + 0.01])], [0])
    assert steps[-1].open > 0
    violating = []
    for step in steps:
        if step.candidate is not None:
            x = [Fraction(float(v)) for v in np.clip(step.candidate, found.prover.x_lower, found.prover.x_upper)]
            violating.append(sum(Fraction(float(b)) * o for b, o in zip(y, run_exact(found.program, x), strict=True)))
    assert min(violating) <= Fraction(least + 0.01)


def gap() -> Problem:
    """y = 2 relu(x) - 2 relu(x + 1/2) on [-1, 1] as (y, -y, y): its minimum is -1, which one LP bounds by -3/2."""
    rows = [[2.0, -2.0], [-2.0, 2.0], [2.0, -2.0]]
    program = dense([([[1.0], [1.0]], [0.0, 0.5]), (rows, [0.0] * 3)]).program
    return problem(program, ((Fraction(-1),), (Fraction(1),)))


def test_goals_get_trees_of_their_own_below_forks() -> None:
    # Alone closed by the first LP: y <= -2.  To be split: y <= -1.1, and -y <= -0.6 never (y <= 0).
    disjuncts = [
        disjunct([[1.0, 0.0, 0.0]], [-2.0]),
        disjunct([[1.0, 0.0, 0.0]], [-1.1]),
        disjunct([[0.0, 1.0, 0.0]], [5.0]),  # true everywhere, but no goal
        disjunct([[0.0, 0.0, 1.0]], [-1.2]),
    ]
    tree, steps = proved(gap(), disjuncts, [0, 1, 3])
    assert steps[-1].open == 0
    branches = [step for _, step in tree.preorder()]
    assert [step.disjuncts for step in branches if isinstance(step, Fork)] == [(0,), (1,)]
    assert any(isinstance(step, SplitNeuron) for step in branches)
    proof = close([tree]).trees[0]
    assert all(not kind[2].atoms and kind[2].vector is None for kind in proof.kinds)


def test_a_tree_below_a_node_leaves_the_rest_alone() -> None:
    found, tree = gap(), ProofTree()
    first = tree.split_neuron(0, 0)
    lower = np.maximum(found.lower, [0.0, -np.inf])
    steps = list(
        guided_tree(found.prover, tree, first + 1, lower, found.upper, [disjunct([[1.0, 0, 0]], [-1.1])], [0], plenty)
    )
    assert steps[-1].open == 0
    still_open = [node for node, step in tree.preorder() if getattr(step, "kind", 0) == -1]
    assert still_open == [first]


def test_an_empty_node_closes_at_once() -> None:
    found, tree = gap(), ProofTree()
    lower, upper = found.lower + 5.0, found.upper
    steps = list(guided_tree(found.prover, tree, 0, lower, upper, [disjunct([[1.0, 0, 0]], [9.0])], [0], plenty))
    assert [step.open for step in steps] == [0] and steps[0].nodes == 0
    assert close([tree]).leaves == 1


def test_a_stuck_leaf_stays_open_and_the_rest_is_searched_on() -> None:
    # A threshold at the exact minimum: no split proves it and no rounding-free float point is below it.
    found = gap()
    tree, steps = proved(found, [disjunct([[1.0, 0.0, 0.0]], [-1.0])], [0])
    assert steps[-1].open == sum(step.is_stuck for step in steps) > 0
    assert any(getattr(step, "kind", 0) == -1 for _, step in tree.preorder())


def test_a_spent_budget_ends_the_tree() -> None:
    found = gap()
    steps = list(
        guided_tree(
            found.prover, ProofTree(), 0, found.lower, found.upper, [disjunct([[1.0, 0, 0]], [-1.1])], [0], Budget(0, 0)
        )
    )
    assert len(steps) == 1 and steps[-1].open > 0


@quick
@given(seeds, st.sampled_from(EXACT_SHAPES), boxes(2))
def test_the_hunt_finds_what_is_there_and_nothing_else(seed: int, shape: str, box: Box) -> None:
    rng = np.random.default_rng(seed)
    found = problem(varied(rng, shape).program, box)
    y = rng.integers(-8, 9, 2) / 4
    least = float(exact_minimum(found, y))
    there = hunt(found.prover, found.lower, found.upper, disjunct([y], [least + 0.1]), plenty, 10.0)
    values = run_float(found.program, np.clip(there.points, found.prover.x_lower, found.prover.x_upper))
    assert (values[found.program.output] @ y).min() <= least + 0.1
    nothing = hunt(found.prover, found.lower, found.upper, disjunct([y], [least - 0.1]), plenty, 10.0)
    assert nothing.status is Status.INFEASIBLE and not len(nothing.points)


@pytest.mark.parametrize("solver", HUNTERS)
def test_every_solver_hunts(solver: str) -> None:
    """y = 2 relu(x) - 2 relu(x + 1/2): at most -1/2 from x = -1/4 on, never below -1."""
    found = gap()
    there = hunt(found.prover, found.lower, found.upper, disjunct([[1.0, 0, 0]], [-0.9]), plenty, 10.0, solver)
    values = run_float(found.program, np.clip(there.points, -1.0, 1.0))[found.program.output]
    assert there.is_over and values[:, 0].min() <= -0.9
    nothing = hunt(found.prover, found.lower, found.upper, disjunct([[1.0, 0, 0]], [-1.1]), plenty, 10.0, solver)
    assert nothing.is_over and nothing.status is Status.INFEASIBLE and not len(nothing.points)


def test_programs_that_are_too_large_are_refused_and_that_is_no_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lp_leaf, "LARGEST", 3)
    monkeypatch.setattr(Replayer, "attempt", lambda self, number, case, point: None)
    net = dense([([[1.0], [1.0]], [0.0, 0.5]), ([[2.0, -2.0]], [0.0])])  # -1 at least, which one program bounds by -3/2
    query = net.query([case([-1], [1], [atom([1], Fraction(-9, 10))])])
    verdict = verify(query, replace(alone(), certify=False))
    assert isinstance(verdict, Unknown) and verdict.reason is Reason.INCOMPLETE
    assert "milp does not take 1 cases with too large linear programs" in verdict.detail


def test_a_solver_that_cannot_take_a_network_is_refused() -> None:
    net = dense(random_layers(np.random.default_rng(0), (2, 4, 1)))
    query = net.query([case([-1] * 2, [1] * 2, [atom([1], -1000)])])
    with pytest.raises(FarkasError, match="continuous columns; those that do: highs, gscip"):
        verify(query, replace(alone(), certify=False, milp_solver="cp-sat"))


def test_the_hunt_keeps_its_time() -> None:
    rng = np.random.default_rng(0)
    program = dense(random_layers(rng, (40, 60, 60, 60, 2), eighths=False)).program
    found = problem(program, ((Fraction(-1),) * 40, (Fraction(1),) * 40))
    before = time.monotonic()
    result = hunt(found.prover, found.lower, found.upper, disjunct([[1.0, -1.0]], [-1e5]), plenty, 0.5)
    assert result.unstable > 100
    assert time.monotonic() - before < 6.0  # on a busy machine


def asked(net: Net, box: Box, formula: str, semantics: Semantics) -> Query:
    """The formula over the box, as text, so that certificates can name it."""
    text = vnnlib(*box, net.program.output_size, formula)
    return Query(net.graph, net.data, read_property(text), semantics, text)


def alone(timeout_s: float = 20.0) -> Options:
    return Options(timeout_s=timeout_s, certify=True, engines=frozenset({"milp"}))


def accepted(verdict: Verdict, query: Query, word: str) -> None:
    """The verdict is `word`, and the checker accepts what was written."""
    assert isinstance(verdict, Holds | Violated) and verdict.word == word, verdict
    assert verdict.certificate is not None
    semantics = query.semantics.value
    check(verdict.certificate, query.network, query.property_bytes, semantics=semantics, verdict=word)


def decimal(value: Fraction) -> str:
    """Rounded down to a millionth."""
    number = value * 10**6 // 1
    return f"{'-' if number < 0 else ''}{abs(number) // 10**6}.{abs(number) % 10**6:06d}"


@settings(deadline=None, max_examples=15)
@given(seeds, boxes(2), st.sampled_from([-1, 1]), st.sampled_from([Semantics.REAL, Semantics.F32_ANY]))
def test_the_arm_alone_decides_and_the_checker_accepts_its_leaves(
    seed: int, box: Box, side: int, semantics: Semantics
) -> None:
    """Two disjuncts a sixty-fourth beside the exact minima, proved by guided trees, or violated by an LP's point."""
    net = dense(random_layers(np.random.default_rng(seed), (2, 6, 6, 2)))
    texts = []
    for row, left in (([1, -2], "(- Y_0 (* 2.0 Y_1))"), ([-1, 1], "(- Y_1 Y_0)")):
        least = minimum(net.program, *box, [Fraction(v) for v in row], [])
        texts.append(f"(<= {left} {decimal(least + Fraction(side, 64))})")
    query = asked(net, box, f"(or (and {texts[0]}) (and {texts[1]}))", semantics)
    accepted(verify(query, alone()), query, "sat" if side > 0 else "unsat")


@pytest.mark.parametrize("semantics", [Semantics.REAL, Semantics.F32_ANY])
@pytest.mark.parametrize("inputs", [2, 90])
def test_without_neurons_linear_programs_decide_conjunctions(inputs: int, semantics: Semantics) -> None:
    """y = (x, -sqrt(2) x) of the first input: x <= 1/2 - d and x >= 1/2 + d, refuted by weights as sqrt(2) : 1."""
    root = float(np.float32(np.sqrt(2.0)))
    net = affine([[1.0] + [0.0] * (inputs - 1), [-root] + [0.0] * (inputs - 1)])
    box = ((Fraction(0),) * inputs, (Fraction(1),) * inputs)
    beyond = -Fraction(root) * (Fraction(1, 2) + Fraction(1, 2000))
    formula = f"(and (<= Y_0 0.4995) (<= Y_1 {decimal(beyond)}))"
    query = asked(net, box, formula, semantics)
    accepted(verify(query, alone()), query, "unsat")
    query = asked(net, box, f"(and (<= Y_0 0.5005) (<= Y_1 {decimal(beyond + Fraction(1, 400))}))", semantics)
    accepted(verify(query, alone()), query, "sat")


def test_what_is_stuck_is_a_gap_and_does_not_hold_up_the_other_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of forty cases cannot be decided: its threshold is the exact minimum, and nothing is replayed."""
    net = dense([([[1.0], [1.0]], [0.0, 0.5]), ([[2.0, -2.0]], [0.0])])
    monkeypatch.setattr(Replayer, "attempt", lambda self, number, case, point: None)
    hard = case([-1], [1], [atom([1], -1)])
    easy = [case([-1], [Fraction(k, 40)], [atom([1], Fraction(-21, 20))]) for k in range(1, 40)]
    verdict = verify(net.query([hard, *easy]), replace(alone(), certify=False))
    assert isinstance(verdict, Unknown) and verdict.reason is Reason.GAP
    told = verdict.statistics
    assert [arm.name for arm in told.arms] == ["milp"] and told.open == 0 and told.leaves > len(easy)


@pytest.mark.parametrize("semantics", [Semantics.REAL, Semantics.F32_ANY])
def test_leaves_closed_in_error_are_split_and_proved_again(
    monkeypatch: pytest.MonkeyPatch, semantics: Semantics
) -> None:
    """The margin is that of a careless engine until the certificate is written; then the checker finds the leaves."""
    net = dense(random_layers(np.random.default_rng(3), (2, 6, 6, 2)))
    box = ((Fraction(-1),) * 2, (Fraction(1),) * 2)
    least = minimum(net.program, *box, [Fraction(1), Fraction(-2)], [])
    repaired = []

    def mended(failing: Any, proved: Any, budget: Budget) -> bool:
        for owner in proved.values():
            owner.search._trees[owner.case].leaves.prover.margin = 1e-6
        repaired.append(len(failing))
        return repair(failing, proved, budget)

    monkeypatch.setattr(turns_module, "MARGIN", -1.0)
    monkeypatch.setattr(certify, "repair", mended)
    query = asked(net, box, f"(and (<= (- Y_0 (* 2.0 Y_1)) {decimal(least - Fraction(1, 64))}))", semantics)
    accepted(verify(query, alone()), query, "unsat")
    assert repaired and repaired[0] > 0


def test_shares_fall_to_what_is_stuck() -> None:
    found = gap()
    _, steps = proved(found, [disjunct([[1.0, 0, 0]], [-1.1]), disjunct([[0.0, 0.0, 1.0]], [-1.2])], [0, 1])
    shares = [step.share for step in steps]
    assert shares[0] == 2.0 and shares == sorted(shares, reverse=True) and shares[-1] == 0.0
    _, steps = proved(found, [disjunct([[1.0, 0.0, 0.0]], [-1.0])], [0])
    assert steps[-1].share == sum(step.is_stuck for step in steps) / 4, "two unstable neurons, both split"
