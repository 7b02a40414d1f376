"""Solvers over the reals by name: the same answers, exact values, limits that hold, names that mean nothing."""

from __future__ import annotations

import time
from fractions import Fraction
from importlib.util import find_spec

import numpy as np
import pytest

from farkas.encoders.real_answer import RealAnswer, Status, sat_at
from farkas.encoders.real_terms import All, Assertion, Column, Formula, Poly, RealProblem, at_most, below, equal
from farkas.encoders.smt_pysmt import pysmt_solvers
from farkas.encoders.smt_real import Proved, property_problem
from farkas.encoders.smt_solve import solve_real
from farkas.ir.errors import FarkasError
from tests.engine.deciding import is_unsafe, random_cases
from tests.nets import EXACT_SHAPES, Box, atom, case, dense, random_layers, varied

X, Y = Poly.variable(0), Poly.variable(1)
SOLVERS = ("z3", "pysmt", *(("pysmt:cvc5",) if find_spec("cvc5") else ()))
SQUARE: Box = ((Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1)))
THIRD = Fraction(1, 3)


def asked(*formulas: Formula) -> RealProblem:
    return RealProblem((Column("x", ""), Column("y", "")), tuple(Assertion("", f) for f in formulas), ())


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_gives_the_answers_known_by_hand(solver: str) -> None:
    # x + y = 1 and x - y = 1/3 at (2/3, 1/3) alone; x < y < x nowhere; a sum of squares below 0 nowhere.
    point = solve_real(asked(equal(X + Y, 1), equal(X - Y, THIRD)), 20, solver)
    assert point.values == (2 * THIRD, THIRD)
    assert solve_real(asked(below(X, Y), below(Y, X)), 20, solver).status is Status.UNSAT
    assert solve_real(asked(below(X * X + Y * Y, 0)), 20, solver).status is Status.UNSAT
    # The root of 2 is irrational: a solution, but no rational one.
    root = solve_real(asked(equal(X * X, 2), equal(Y, 0)), 20, solver)
    assert root.status is Status.SAT and root.values is None and root.detail
    inside = solve_real(asked(at_most(X * X, 2), at_most(Fraction(141, 100), X), equal(Y, 0)), 20, solver)
    assert inside.values is not None and Fraction(141, 100) <= inside.values[0] and inside.values[0] ** 2 <= 2


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_decides_random_networks_as_enumeration_does(solver: str) -> None:
    for seed in range(4 if solver == "pysmt:cvc5" else 20):
        rng = np.random.default_rng(seed)
        program = varied(rng, EXACT_SHAPES[seed % len(EXACT_SHAPES)]).program
        cases = random_cases(rng, program, SQUARE, seed % 2 == 0)
        problem = property_problem(program, 2, cases, Proved.nothing(program))
        answer = solve_real(problem, 20, solver)
        assert answer.status is (Status.SAT if is_unsafe(program, cases) else Status.UNSAT), f"seed {seed}"
        assert (answer.values is not None) == (answer.status is Status.SAT)


def hard() -> RealProblem:
    """A network that keeps exact solvers busy for minutes."""
    program = dense(random_layers(np.random.default_rng(0), (5, 30, 30, 1), eighths=False)).program
    box = [-1.0] * 5, [1.0] * 5
    return property_problem(program, 5, [case(*box, [atom([1.0], -100.0)])], Proved.nothing(program))


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_time_limit_holds(solver: str) -> None:
    problem = hard()
    start = time.monotonic()
    answer = solve_real(problem, 0.7, solver)
    assert time.monotonic() - start < 2.5
    assert answer.status is Status.UNKNOWN and answer.values is None and answer.detail


def test_no_time_at_all_is_no_answer() -> None:
    assert solve_real(asked(below(X, Y), below(Y, X)), 0.0, "pysmt").status is Status.UNKNOWN
    assert solve_real(asked(below(X, Y), below(Y, X)), 0.0, "z3").status is Status.UNKNOWN


def test_values_that_are_no_solution_are_not_passed_on() -> None:
    problem = asked(All((at_most(X, 0), at_most(1, Y))))
    zero, one = Fraction(0), Fraction(1)
    assert sat_at(problem, "z3", (zero, one)) == RealAnswer(Status.SAT, (zero, one), "z3")
    assert sat_at(problem, "z3", (one, one)).values is None


def test_names_that_mean_no_solver_are_refused() -> None:
    with pytest.raises(FarkasError, match="say z3, pysmt, or pysmt:NAME"):
        solve_real(asked(), 1, "gurobi")
    with pytest.raises(FarkasError, match=r"knows no solver 'none-such'.*installed: .*z3"):
        solve_real(asked(), 1, "pysmt:none-such")
    assert "z3" in pysmt_solvers()
