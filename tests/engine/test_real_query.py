"""Queries as formulas over the reals: which box, which errors, and the same answer with bounds and without."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from farkas.encoders.real_answer import Status
from farkas.encoders.smt_z3 import solve_z3
from farkas.engine.real_query import needs_errors, prove, real_case, real_problem
from farkas.ir.errors import FarkasError
from farkas.specs.query import Semantics
from tests.engine.deciding import is_unsafe, random_cases
from tests.nets import EXACT_SHAPES, Box, atom, case, dense, varied

SQUARE: Box = ((Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1)))


@pytest.mark.parametrize("seed", range(12))
def test_bounds_change_the_formula_and_not_its_answer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = varied(rng, EXACT_SHAPES[seed % len(EXACT_SHAPES)])
    cases = random_cases(rng, net.program, SQUARE, seed % 2 == 0)
    query = net.query(cases)
    wanted = Status.SAT if is_unsafe(net.program, cases) else Status.UNSAT
    assert solve_z3(real_problem(query)).status is wanted
    assert solve_z3(real_problem(query, presolve=False)).status is wanted


def test_bounds_fold_neurons_that_keep_their_sign() -> None:
    # relu(x + 2) and relu(x - 2) on [-1, 1]: one is active, one inactive, so that the output is linear.
    net = dense([([[1.0], [1.0]], [2.0, -2.0]), ([[1.0, 1.0]], [0.0])])
    query = net.query([case([-1], [1], [atom([1.0], 0)])])
    assert [c.name for c in real_problem(query).columns if c.name.startswith("relu")] == []
    open_ = [c.name for c in real_problem(query, presolve=False).columns if c.name.startswith("relu")]
    assert len(open_) == 2


def test_the_box_in_binary32_is_the_hull_of_its_grid_points() -> None:
    third, step = Fraction(1, 3), Fraction(1, 2**25)
    lower = Fraction(11184810, 2**25)  # the largest binary32 number below 1/3
    asked = case([third, third, 0], [1, third, 1], [])
    found = real_case(asked, Semantics.F32_ANY)
    assert found is not None
    # An interval is cut inward; a point means its nearest binary32 number.
    assert found.lower == (lower + step, lower + step, Fraction(0))
    assert found.upper == (Fraction(1), lower + step, Fraction(1))
    assert real_case(asked, Semantics.REAL) == asked
    assert real_case(case([third], [third + Fraction(1, 10**9)], []), Semantics.F32_ANY) is None


def test_a_set_without_binary32_points_has_no_solution() -> None:
    third = Fraction(1, 3)
    net = dense([([[1.0]], [0.0])])
    asked = case([third], [third + Fraction(1, 10**9)], [atom([1.0], 1)])
    assert solve_z3(real_problem(net.query([asked], Semantics.F32_ANY))).status is Status.UNSAT
    assert solve_z3(real_problem(net.query([asked]))).status is Status.SAT


def test_errors_come_with_what_is_inexact() -> None:
    plain, mean = varied(np.random.default_rng(0), "plain"), varied(np.random.default_rng(0), "mean")
    assert not needs_errors(plain.program, Semantics.REAL)
    assert needs_errors(mean.program, Semantics.REAL)  # a mean of three has a coefficient that float64 does not hold
    assert needs_errors(plain.program, Semantics.SEQ_FMA)
    exact = prove(plain.program, SQUARE, Semantics.REAL)
    rounded = prove(plain.program, SQUARE, Semantics.F32_ANY)
    assert exact is not None and not exact.errors
    assert rounded is not None and all((error > 0).all() for error in rounded.errors.values()) and rounded.errors


def test_thresholds_within_the_rounding_errors_are_not_refuted_in_binary32() -> None:
    # y = x1 + x2 with real minimum -2: -2 - 1e-8 is reachable in some order for all that the error terms say.
    net = dense([([[1.0, 1.0]], [0.0])])
    for gap, semantics, wanted in (
        (Fraction(1, 10**8), Semantics.REAL, Status.UNSAT),
        (Fraction(1, 10**8), Semantics.F32_ANY, Status.SAT),
        (Fraction(1, 10**5), Semantics.F32_ANY, Status.UNSAT),
    ):
        asked = case(*SQUARE, [atom([1.0], -2 - gap)])
        assert solve_z3(real_problem(net.query([asked], semantics))).status is wanted


def test_what_has_no_formula_is_refused() -> None:
    net = dense([([[1e38, 1e38]], [0.0]), ([[1.0]], [0.0])])
    asked = case([-2, -2], [2, 2], [atom([1.0], -1)])
    with pytest.raises(FarkasError, match="may overflow"):
        real_problem(net.query([asked], Semantics.F32_ANY))
    with pytest.raises(FarkasError, match="integer network"):
        real_problem(net.query([asked], Semantics.INT_EXACT))
