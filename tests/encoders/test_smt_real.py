"""Networks as formulas over the reals: by hand, against exact evaluation, and several networks in one formula."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.encoders.real_answer import Status
from farkas.encoders.real_terms import AnyOf, Formula, Poly, RealProblem, at_most, below, equal
from farkas.encoders.relu_network import slots
from farkas.encoders.smt_real import Proved, RealEncoder, property_problem
from farkas.encoders.smt_z3 import solve_z3
from farkas.ir.core import Program, run_exact
from tests.engine.deciding import is_unsafe, random_cases
from tests.engine.pieces import pieces
from tests.nets import EXACT_SHAPES, Box, atom, boxes, case, dense, seeds, varied

# y = 2 relu(x) - 2 relu(x + 1/2): 0 up to x = -1/2, then falling to -1 at x = 0, and -1 from there on
TWO = dense([([[1.0], [1.0]], [0.0, 0.5]), ([[2.0, -2.0]], [0.0])]).program
ONE: Box = ((Fraction(-1),), (Fraction(1),))


def exact_bounds(program: Program, box: Box) -> Proved:
    """The neurons' true ranges over a box of one or two inputs, from the linear pieces, rounded outward."""
    lower, upper = Proved.nothing(program).upper, Proved.nothing(program).lower
    for piece in pieces(program, *box):
        for v, slot in slots(program).items():
            rows: Any = piece.forms[v]
            values = np.array(
                [[sum(a * x for a, x in zip(row, (*p, 1), strict=True)) for row in rows] for p in piece.vertices]
            )
            least, greatest = values.min(axis=0), values.max(axis=0)
            lower[slot] = np.minimum(lower[slot], np.nextafter(least.astype(float), -np.inf))
            upper[slot] = np.maximum(upper[slot], np.nextafter(greatest.astype(float), np.inf))
    return Proved(lower, upper, {})


@pytest.mark.parametrize(
    "threshold, strict, status", [(-1, False, "sat"), (-1, True, "unsat"), (Fraction(-99, 100), True, "sat")]
)
def test_the_least_output_of_a_small_network_is_met_exactly(threshold: Fraction, strict: bool, status: str) -> None:
    asked = case(*ONE, [atom([1.0], threshold, strict=strict)])
    for proved in (Proved.nothing(TWO), exact_bounds(TWO, ONE)):
        assert solve_z3(property_problem(TWO, 1, [asked], proved)).status.value == status


@settings(max_examples=40)
@given(seeds, st.sampled_from(EXACT_SHAPES), st.booleans(), st.booleans())
def test_properties_of_random_networks_are_decided_as_by_enumeration(
    seed: int, shape: str, conjunctive: bool, bounded: bool
) -> None:
    rng = np.random.default_rng(seed)
    program = varied(rng, shape).program
    box: Box = ((Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1)))
    cases = random_cases(rng, program, box, conjunctive)
    proved = exact_bounds(program, box) if bounded else Proved.nothing(program)
    answer = solve_z3(property_problem(program, 2, cases, proved))
    assert (answer.status is Status.SAT) == is_unsafe(program, cases)
    if answer.values is not None:
        x = answer.values[:2]
        outputs = list(run_exact(program, x))
        assert any(c.contains(x) and c.violated_disjunct(x, outputs) is not None for c in cases)


@given(seeds, st.sampled_from(EXACT_SHAPES), boxes(2), st.lists(st.fractions(0, 1), min_size=2, max_size=2))
def test_a_run_of_the_formula_is_a_run_of_the_network(seed: int, shape: str, box: Box, share: list[Fraction]) -> None:
    program = varied(np.random.default_rng(seed), shape).program
    x = [l + (u - l) * s for l, u, s in zip(*box, share, strict=True)]
    whole = case(*box, [])
    for proved in (Proved.nothing(program), exact_bounds(program, box)):
        problem = property_problem(program, 2, [whole], proved)
        values = problem.run(dict(enumerate(x)))
        assert problem.holds_at(values)
        assert list(values[-program.output_size :]) == list(run_exact(program, x))


def test_stable_neurons_have_no_columns_and_no_phases() -> None:
    proved = Proved(np.array([-1.0, 0.25]), np.array([-0.5, 2.0]), {})
    problem = property_problem(TWO, 1, [case([-1], [-0.5], [atom([1.0], 0)])], proved)
    # y = 2 * 0 - 2 z for the second neuron's z: a multiple of one column needs no other.
    assert [column.name for column in problem.columns] == ["X_0", "value_1_z0_1", "Y_0"]
    assert not any(isinstance(a.formula, AnyOf) and len(a.formula.parts) == 2 for a in problem.assertions)


def test_a_property_without_cases_has_no_solution() -> None:
    assert solve_z3(property_problem(TWO, 1, [], Proved.nothing(TWO))).status is Status.UNSAT


def test_errors_widen_what_a_network_may_answer() -> None:
    # Errors of 1/4 in both values: with z = x - 1/4 and x + 3/4 the output is -2 from x = 1/4 on, and never less.
    proved = Proved(np.array([-2.0, -2.0]), np.array([2.0, 2.0]), {1: np.array([0.25, 0.25])})
    for threshold, status in ((Fraction(-2), Status.SAT), (Fraction(-2001, 1000), Status.UNSAT)):
        answer = solve_z3(property_problem(TWO, 1, [case(*ONE, [atom([1.0], threshold)])], proved))
        assert answer.status is status


def both(first: Program, second: Program, box: Box) -> tuple[RealEncoder, Any, Any]:
    encoder = RealEncoder()
    xs = encoder.add_inputs(*box)
    return (
        encoder,
        encoder.add_network(first, xs, Proved.nothing(first), "f"),
        encoder.add_network(second, xs, Proved.nothing(second), "g"),
    )


def differs(problem: RealEncoder, f: Any, g: Any, by: Fraction) -> RealProblem:
    problem.require("too far apart", AnyOf((below(by, f[0] - g[0]), below(by, g[0] - f[0]))))
    return problem.problem()


def test_two_networks_of_one_function_are_equal_everywhere() -> None:
    # |x| = relu(x) + relu(-x) = 2 relu(x) - x, with x = relu(x + 1) - 1 on [-1, 1]
    one = dense([([[1.0], [-1.0]], [0.0, 0.0]), ([[1.0, 1.0]], [0.0])]).program
    two = dense([([[1.0], [1.0]], [0.0, 1.0]), ([[2.0, -1.0]], [1.0])]).program
    assert solve_z3(differs(*both(one, two, ONE), Fraction(0))).status is Status.UNSAT
    # Beyond x = -1 the second one is 1: at x = -2 they differ by 1.
    wide: Box = ((Fraction(-2),), (Fraction(1),))
    answer = solve_z3(differs(*both(one, two, wide), Fraction(9, 10)))
    assert answer.values is not None and answer.values[0] < Fraction(-19, 10)
    assert solve_z3(differs(*both(one, two, wide), Fraction(1))).status is Status.UNSAT


def test_polynomials_of_inputs_and_outputs_are_decided() -> None:
    # x y with y = relu(x) - relu(-x) = x on [-1, 1]: at most 1, at least 0, and 1/2 nowhere among the rationals.
    program = dense([([[1.0], [-1.0]], [0.0, 0.0]), ([[1.0, -1.0]], [0.0])]).program
    half = Fraction(1, 2)
    for asked, status, known in (
        (lambda product: below(1, product), Status.UNSAT, False),
        (lambda product: below(product, 0), Status.UNSAT, False),
        (lambda product: at_most(half, product), Status.SAT, True),
        (lambda product: equal(product, half), Status.SAT, False),
    ):
        encoder = RealEncoder()
        xs = encoder.add_inputs(*ONE)
        ys = encoder.add_network(program, xs, Proved.nothing(program))
        relation: Callable[[Poly], Formula] = asked
        encoder.require("asked", relation(xs[0] * ys[0]))
        problem = encoder.problem()
        answer = solve_z3(problem, 10)
        assert not problem.is_linear
        assert answer.status is status and (answer.values is not None) == known
