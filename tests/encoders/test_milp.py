"""Every MILP solver behind the one call: the same optima, starts, targets, cutoffs, and limits that hold."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.encoders.linear_model import Group, LinearModel, ModelBuilder, rows_of
from farkas.encoders.milp import SOLVERS, STOP, MilpLimits, Progress, Status, solve
from farkas.encoders.quiet import without_lines
from farkas.encoders.ranges import node_ranges
from farkas.encoders.relu_network import EncodingOptions, encode, slots
from farkas.encoders.subproblem import Atoms, ask
from tests.encoders.stated import INF, knapsack, market_split, model
from tests.nets import dense, random_layers, seeds

TAKES_ANY = ("highs", "gscip", "mathopt-highs")
CALLS = ("highs", "gscip", "cp-sat")


def planted(rows: int = 4, count: int = 30) -> tuple[LinearModel, Any]:
    """A system of equations over {0, 1} with a known solution that no solver finds soon."""
    rng = np.random.default_rng(5)
    weights = rng.integers(0, 1000, (rows, count)).astype(float)
    solution = rng.integers(0, 2, count).astype(float)
    right = (weights @ solution).tolist()
    return model([1.0] * count, weights.tolist(), right, right, top=1.0, integral=True), solution


def wide_network(width: int) -> LinearModel:
    """A dense network with bounds from intervals: a model whose presolve takes long."""
    rng = np.random.default_rng(0)
    net = dense(random_layers(rng, (100, width, width, width, 2), eighths=False)).program
    low, high = -np.ones(100), np.ones(100)
    ranges, places = node_ranges(net, low, high, {}, {}), slots(net)
    lower, upper = (np.concatenate([ranges[v][side] for v in places]) for side in (0, 1))
    encoding = encode(net, low, high, lower, upper, {}, EncodingOptions("big-m"))
    return ask(encoding, net.output, Atoms.of(np.array([[1.0, -1.0]]), None, np.zeros(1), 100)).model


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_knapsack_by_hand(solver: str) -> None:
    result = solve(knapsack(), MilpLimits(time_s=10), solver=solver)
    assert result.status is Status.OPTIMAL
    assert result.objective == pytest.approx(-9) and result.bound == pytest.approx(-9)
    assert result.point is not None and result.point.round().tolist() == [1, 1, 0]


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_infeasible_model_says_so(solver: str) -> None:
    result = solve(model([1, 1], [[2, 2]], [3], [3], top=1.0, integral=True), MilpLimits(), solver=solver)
    assert result.status is Status.INFEASIBLE and result.point is None
    assert result.objective == INF and result.bound == INF


@settings(deadline=None, max_examples=25)
@given(seeds, st.booleans())
def test_solvers_agree_with_enumeration_of_the_binaries(seed: int, mixed: bool) -> None:
    """Four binaries and, when mixed, a continuous column that takes its best value for each of their patterns."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(-4, 5, (3, 4 + mixed)).astype(float)
    low, cost = rng.integers(-6, 2, 3).astype(float), rng.integers(-5, 6, 4 + mixed).astype(float)
    builder = ModelBuilder()
    columns = builder.add_columns(Group("b", -1, tuple(range(4))), 0.0, 1.0, cost=0.0, integral=True)
    if mixed:
        columns = np.append(columns, builder.add_columns(Group("y", -1, (0,)), -2.0, 2.0))
    builder.add_rows(Group("row", -1, (0, 1, 2)), rows_of(np.broadcast_to(columns, rows.shape), rows), low, low + 7)
    stated = builder.build()
    stated = replace(stated, cost=cost)
    best = INF
    for pattern in product((0.0, 1.0), repeat=4):
        rest = rows[:, :4] @ np.array(pattern)
        ends = _interval(rows[:, 4] if mixed else np.zeros(3), low - rest, low + 7 - rest)
        if ends is not None:
            extra = min(cost[4] * ends[0], cost[4] * ends[1]) if mixed else 0.0
            best = min(best, float(cost[:4] @ np.array(pattern)) + extra)
    for solver in TAKES_ANY if mixed else SOLVERS:
        result = solve(stated, MilpLimits(time_s=10), solver=solver)
        if solver == "mathopt-highs" and result.status is Status.FAILED:
            continue  # it found out that its optimum is none
        assert result.status is (Status.INFEASIBLE if best == INF else Status.OPTIMAL)
        assert result.objective == pytest.approx(best, abs=1e-5)


def _interval(slope: Any, low: Any, high: Any) -> tuple[float, float] | None:
    """The y in [-2, 2] with low <= slope y <= high."""
    first, last = -2.0, 2.0
    for a, l, u in zip(slope, low, high, strict=True):
        if a == 0 and not l <= 0 <= u:
            return None
        if a != 0:
            first, last = max(first, min(l / a, u / a)), min(last, max(l / a, u / a))
    return (first, last) if first <= last else None


@pytest.mark.parametrize("solver", CALLS)
def test_a_start_is_where_the_solver_begins(solver: str) -> None:
    stated, solution = planted()
    cold = solve(stated, MilpLimits(time_s=0.2), solver=solver)
    assert cold.point is None
    warm = solve(stated, MilpLimits(time_s=0.2), solver=solver, start=solution)
    assert warm.point is not None
    assert warm.point.round().tolist() == solution.tolist() or warm.objective <= solution.sum() + 1e-6


def test_a_partial_start_is_completed() -> None:
    stated, solution = planted()
    partial = solution.copy()
    partial[:8] = np.nan
    result = solve(stated, MilpLimits(time_s=2.0), start=partial)
    assert result.point is not None


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_start_that_is_not_feasible_does_no_harm(solver: str) -> None:
    result = solve(knapsack(), MilpLimits(time_s=10), solver=solver, start=np.ones(3))
    assert result.status is Status.OPTIMAL and result.objective == pytest.approx(-9)


@pytest.mark.parametrize("solver", CALLS)
def test_incumbents_are_reported_and_the_last_one_is_the_best(solver: str) -> None:
    found: list[Any] = []
    result = solve(knapsack(), MilpLimits(time_s=10), solver=solver, improved=found.append)
    assert found and result.point is not None
    assert knapsack().cost @ found[-1] == pytest.approx(result.objective)


@pytest.mark.parametrize("solver", CALLS)
def test_a_solve_stops_at_its_target(solver: str) -> None:
    rng = np.random.default_rng(2)
    weights = rng.integers(5, 40, (3, 40)).astype(float)
    stated = model((-weights.sum(axis=0)).tolist(), weights.tolist(), [-INF] * 3, [300.0] * 3, top=1.0, integral=True)
    result = solve(stated, MilpLimits(target=-1.0, time_s=20), solver=solver)
    assert result.status is Status.TARGET and result.objective <= -1.0


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("cutoff", "expected"), [(-9.5, Status.TARGET), (-8.5, Status.OPTIMAL)])
def test_with_a_cutoff_only_better_solutions_count(solver: str, cutoff: float, expected: Status) -> None:
    result = solve(knapsack(), MilpLimits(cutoff=cutoff, time_s=10), solver=solver)
    assert result.status is expected
    assert result.bound >= min(cutoff, -9) - 1e-6
    assert (result.objective == pytest.approx(-9)) == (expected is Status.OPTIMAL)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_time_limit_holds(solver: str) -> None:
    before = time.process_time()
    result = solve(market_split(), MilpLimits(time_s=0.4), solver=solver)
    assert result.status is Status.LIMIT
    assert time.process_time() - before < 0.9  # processor time, for machines are busy


@pytest.mark.parametrize("solver", TAKES_ANY)
def test_the_time_limit_holds_in_presolve(solver: str) -> None:
    stated = wide_network(300)
    before = time.process_time()
    result = solve(stated, MilpLimits(time_s=0.3), solver=solver)
    assert result.status is Status.LIMIT
    assert time.process_time() - before < 0.8


@pytest.mark.parametrize("solver", ["highs", "gscip", "mathopt-highs"])
def test_the_node_limit_holds(solver: str) -> None:
    result = solve(market_split(), MilpLimits(nodes=3, time_s=20), solver=solver)
    assert result.status is Status.LIMIT and result.nodes <= 100


@pytest.mark.parametrize("solver", CALLS)
def test_a_watch_stops_the_solve(solver: str) -> None:
    seen: list[Progress] = []

    def watch(progress: Progress) -> float | None:
        seen.append(progress)
        return STOP if progress.time_s > 0.2 else None

    result = solve(market_split(), MilpLimits(time_s=20), solver=solver, watch=watch)
    assert result.status is Status.LIMIT
    assert seen and seen[-1].time_s < 5.0
    assert all(progress.bound <= progress.objective for progress in seen)


@pytest.mark.parametrize("solver", CALLS)
@pytest.mark.parametrize("what", ["watch", "improved"])
def test_an_error_in_a_callback_reaches_the_caller(solver: str, what: str) -> None:
    def fail(_: Any) -> float | None:
        raise LookupError("from inside")

    stated = market_split() if what == "watch" else knapsack()
    with pytest.raises(LookupError, match="from inside"):
        solve(stated, MilpLimits(time_s=5), solver=solver, **{what: fail})  # type: ignore[arg-type]  # either callback


def test_a_watch_tightens_the_cutoff_while_the_solver_works() -> None:
    # The bound of the market split stands at 18 soon: a cutoff of 17 is beaten, one of 10^6 is not.
    result = solve(market_split(), MilpLimits(time_s=20), watch=lambda _: 17.0)
    assert result.status is Status.TARGET and result.bound >= 17.0 - 1e-6
    result = solve(market_split(), MilpLimits(time_s=0.3), watch=lambda _: 10.0**6)
    assert result.status is Status.LIMIT


@pytest.mark.parametrize(
    ("solver", "limits", "named"),
    [
        ("cp-sat", MilpLimits(nodes=1), "node limit"),
        ("mathopt-highs", MilpLimits(target=1.0), "target"),
        ("nothing", MilpLimits(), "nothing"),
    ],
)
def test_what_a_solver_cannot_do_is_refused(solver: str, limits: MilpLimits, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        solve(knapsack(), limits, solver=solver)


def test_cp_sat_refuses_continuous_columns() -> None:
    with pytest.raises(ValueError, match="2 of them are continuous"):
        solve(model([1, 1], [[1, 1]], [1], [2]), MilpLimits(), solver="cp-sat")


WRONG_COST = [-3.0, 5.0, 1.0, 4.0, 4.0]
WRONG_ROWS = [[0.0, -3.0, -2.0, -1.0, 4.0], [-1.0, -4.0, -3.0, 2.0, 4.0], [-3.0, 4.0, -3.0, -2.0, 4.0]]


@pytest.mark.parametrize("solver", ["highs", "mathopt-highs"])
def test_an_optimum_above_its_own_bound_is_not_believed(solver: str, capfd: pytest.CaptureFixture[str]) -> None:
    """HiGHS 1.12 answers "optimal, 0", and prints on standard output.  With b = (1, 0, 0, 0), y = 1/2 it is -1."""
    stated = model(WRONG_COST, WRONG_ROWS, [0.0, -3.0, -1.0], [7.0, 4.0, 6.0], top=1.0, integral=True)
    stated = replace(stated, lower=np.array([0, 0, 0, 0, -2.0]), upper=np.array([1, 1, 1, 1, 2.0]),
                     integral=np.array([True] * 4 + [False]))  # fmt: skip
    result = solve(stated, MilpLimits(), solver=solver)
    assert result.status is Status.FAILED or result.objective == pytest.approx(-1)
    assert solver != "highs" or result.status is Status.OPTIMAL
    assert capfd.readouterr().out == ""


def test_nothing_but_the_known_lines_is_kept_from_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    with without_lines(1, (b"noise",)):
        print("before")
        os.write(1, b"some noise here\n")
        print("after", flush=True)
    assert capfd.readouterr().out == "before\nafter\n"
