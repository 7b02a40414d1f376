"""The adapter to HiGHS: small models by hand, warm starts, limits that hold."""

from __future__ import annotations

import time

import numpy as np
import pytest

from farkas.encoders.highs import MilpLimits, RelaxedSolver, Status, solve_milp
from tests.encoders.stated import market_split, model


def test_a_linear_program_by_hand() -> None:
    # min x + 2 y,  x + y >= 3,  x <= 2:  x = 2, y = 1, duals: y's cost 2 on the first row, 1 - 2 on the second.
    solution = RelaxedSolver(model([1, 2], [[1, 1], [1, 0]], [3, -np.inf], [np.inf, 2])).solve()
    assert solution.status is Status.OPTIMAL
    assert solution.objective == pytest.approx(4)
    assert solution.point is not None and solution.point.tolist() == pytest.approx([2, 1])
    assert solution.duals is not None and solution.duals.tolist() == pytest.approx([2, -1])


def test_an_infeasible_program_gives_a_ray() -> None:
    # x + y >= 3 and x + y <= 1: the ray weighs both rows alike, with opposite signs.
    solution = RelaxedSolver(model([1, 2], [[1, 1], [1, 1]], [3, -np.inf], [np.inf, 1])).solve()
    assert solution.status is Status.INFEASIBLE and solution.objective == np.inf
    assert solution.duals is not None
    assert solution.duals[0] == pytest.approx(-solution.duals[1]) and solution.duals[0] != 0


def test_a_program_ends_at_its_cutoff_with_duals_that_prove_it() -> None:
    start = model([1, 2], [[1, 1], [1, 0]], [3, -np.inf], [np.inf, 2])
    solution = RelaxedSolver(start).solve(cutoff=3.0)
    assert solution.status in (Status.TARGET, Status.OPTIMAL)
    assert solution.duals is not None
    # Lagrange: y . b + min over the box of (c - A^T y) x, with x in [0, 10]^2.
    y = solution.duals
    rest = np.array([1.0, 2.0]) - np.array([[1, 1], [1, 0]]).T @ y
    assert 3 * y[0] + 2 * y[1] + 10 * np.minimum(rest, 0).sum() > 3.0


def test_warm_solves_after_changes_equal_cold_ones() -> None:
    rng = np.random.default_rng(3)
    rows = rng.integers(-4, 5, (12, 9)).astype(float).tolist()
    first = model(rng.integers(-3, 4, 9).tolist(), rows, [-9.0] * 12, [9.0] * 12)
    warm = RelaxedSolver(first)
    warm.solve()
    for _ in range(8):
        j, i = rng.integers(0, 9, 2), rng.integers(0, 12, 2)
        low = rng.random(2)
        warm.set_columns(j, low, low + rng.random(2) * 5)
        warm.set_rows(i, np.array([-6.0, -7.0]), np.array([6.0, 7.0]))
        warm.set_coefficients(i, j, rng.integers(-3, 4, 2).astype(float))
        found = warm.solve()
        warm.forget_basis()
        again = warm.solve()
        assert found.status is again.status
        if found.status is Status.OPTIMAL:
            assert found.objective == pytest.approx(again.objective, abs=1e-7)


def test_a_solve_resumes_where_another_ended() -> None:
    rng = np.random.default_rng(7)
    rows = rng.integers(-4, 5, (30, 20)).astype(float).tolist()
    solver = RelaxedSolver(model(rng.integers(-3, 4, 20).tolist(), rows, [-9.0] * 30, [9.0] * 30))
    cold = solver.solve()
    assert cold.iterations > 0
    basis = solver.basis()
    solver.forget_basis()
    solver.resume(basis)
    again = solver.solve()
    assert again.iterations == 0
    assert again.objective == pytest.approx(cold.objective)


def test_an_integer_program_by_hand() -> None:
    # max 5 a + 4 b + 3 c with weights 2, 3, 1 and room for 5: a and b; the relaxation would take a, c and 2/3 of b.
    found: list[float] = []
    start = model([-5, -4, -3], [[2, 3, 1]], [-np.inf], [5], top=1.0, integral=True)
    result = solve_milp(start, MilpLimits(), lambda point: found.append(float(point[0])))
    assert result.status is Status.OPTIMAL
    assert result.objective == pytest.approx(-9) and result.bound == pytest.approx(-9)
    assert result.point is not None and result.point.round().tolist() == [1, 1, 0]
    assert found and found[-1] == pytest.approx(1)


def test_an_infeasible_integer_program_says_so() -> None:
    start = model([1, 1], [[2, 2]], [3], [3], top=1.0, integral=True)
    result = solve_milp(start, MilpLimits())
    assert result.status is Status.INFEASIBLE and result.point is None and result.bound == np.inf


def test_the_time_limit_of_an_integer_program_holds() -> None:
    before = time.monotonic()
    result = solve_milp(market_split(), MilpLimits(time_s=0.4))
    assert result.status is Status.LIMIT
    assert time.monotonic() - before < 5.0  # on a busy machine


def test_the_node_limit_of_an_integer_program_holds() -> None:
    result = solve_milp(market_split(), MilpLimits(nodes=3, time_s=20.0))
    assert result.status is Status.LIMIT and result.nodes <= 100


def test_an_integer_program_stops_at_its_target() -> None:
    rng = np.random.default_rng(2)
    weights = rng.integers(5, 40, (3, 40)).astype(float)
    start = model((-weights.sum(axis=0)).tolist(), weights.tolist(), [-np.inf] * 3, [300.0] * 3, top=1.0, integral=True)
    result = solve_milp(start, MilpLimits(target=-1.0))
    assert result.status is Status.TARGET and result.objective <= -1.0


def test_time_of_earlier_solves_does_not_count_against_a_later_one() -> None:
    rng = np.random.default_rng(7)
    rows = rng.integers(-4, 5, (60, 50)).astype(float).tolist()
    solver = RelaxedSolver(model(rng.integers(-3, 4, 50).tolist(), rows, [-9.0] * 60, [9.0] * 60))
    while solver._highs.getRunTime() < 0.3:
        solver.forget_basis()
        assert solver.solve(time_s=10.0).status is Status.OPTIMAL
    solver.forget_basis()
    assert solver.solve(time_s=0.25).status is Status.OPTIMAL


@pytest.mark.parametrize("number", [2.0e15, 1.0e38, np.inf])
def test_a_model_that_highs_does_not_take_has_no_answer(number: float) -> None:
    # HiGHS refuses coefficients of 1e15 and more instead of solving for them.
    large = model([1, 2], [[number, 1]], [3], [np.inf], integral=True)
    solution = RelaxedSolver(large).solve()
    assert solution.status is Status.FAILED and solution.point is None and solution.duals is None
    result = solve_milp(large, MilpLimits())
    assert result.status is Status.FAILED and result.point is None and result.bound == -np.inf
