"""MPS files: HiGHS and OR-Tools read back the very model, and a damaged file is not taken for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from farkas.encoders.highs import MilpLimits, Status, solve_milp
from farkas.encoders.linear_model import Group, LinearModel, ModelBuilder, rows_of
from farkas.encoders.mps import write_mps
from tests.encoders.readers import INF, by_highs, models, optimum, said, statement
from tests.encoders.stated import knapsack

FOLDER = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FOLDER
@given(model=models())
def test_highs_reads_back_every_number_kind_and_name(tmp_path: Path, model: LinearModel) -> None:
    path = tmp_path / "model.mps"
    path.write_text(write_mps(model, "a comment\nof two lines"))
    highs = by_highs(path)
    assert statement(highs) == said(model)
    found = solve_milp(model, MilpLimits())
    expected = {Status.OPTIMAL: found.objective, Status.INFEASIBLE: INF}.get(found.status)
    if expected is not None:
        assert optimum(highs) == pytest.approx(expected, abs=1e-6)


def test_a_range_whose_width_rounds_is_written_as_two_rows() -> None:
    builder = ModelBuilder()
    columns = builder.add_columns(Group("x", -1, (0, 1)), -1.0, 1.0)
    low, high = np.array([-0.1, 0.1, -1.0]), np.array([1e9 / 3, 0.3, 1.0])
    assert low[0] + (high[0] - low[0]) != high[0] or high[0] - (high[0] - low[0]) != low[0]
    part = rows_of(np.broadcast_to(columns, (3, 2)), np.ones((3, 2)))
    builder.add_rows(Group("row", -1, (0, 1, 2)), part, low, high)
    model = builder.build()
    text = write_mps(model)
    assert text.count("RANGE row_2") == 1 and "row_2_hi" not in text
    for name, l, u in (("row_0", low[0], high[0]), ("row_1", low[1], high[1])):
        width = float(u - l)
        exact = l + width == u or u - width == l
        assert ("RANGE " + name in text) == exact and (name + "_hi" in text) == (not exact)


def test_or_tools_reads_the_same_optimum(tmp_path: Path) -> None:
    from ortools.linear_solver.python import model_builder

    path = tmp_path / "model.mps"
    path.write_text(write_mps(knapsack()))
    read = model_builder.Model()
    assert read.import_from_mps_file(str(path))
    solver = model_builder.Solver("scip")
    assert solver.solve(read) == model_builder.SolveStatus.OPTIMAL
    assert solver.objective_value == pytest.approx(-9)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (" L row_0", " G row_0"),
        ("x_1 row_0 3.0", "x_1 row_0 2.0"),
        ("RHS row_0 5.0", "RHS row_0 6.0"),
        ("UP BOUND x_1 1.0", "UP BOUND x_1 0.0"),
    ],
)
def test_a_file_with_one_thing_changed_has_another_optimum(tmp_path: Path, was: str, becomes: str) -> None:
    text = write_mps(knapsack())
    assert was in text
    path = tmp_path / "model.mps"
    path.write_text(text.replace(was, becomes))
    assert optimum(by_highs(path)) != pytest.approx(-9)


@pytest.mark.parametrize("cut", ["COLUMNS\n", " x_2 row_0 1.0\n", " L row_0\n"])
def test_a_file_with_a_line_missing_is_not_the_model(tmp_path: Path, cut: str) -> None:
    text = write_mps(knapsack())
    assert text.count(cut) == 1
    path = tmp_path / "model.mps"
    path.write_text(text.replace(cut, ""))
    try:
        highs = by_highs(path)
    except ValueError:
        return
    assert statement(highs) != said(knapsack())
