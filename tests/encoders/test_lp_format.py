"""LP files: HiGHS reads back the very model, and a damaged file is not taken for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from farkas.encoders.highs import MilpLimits, Status, solve_milp
from farkas.encoders.linear_model import Group, LinearModel, ModelBuilder, rows_of
from farkas.encoders.lp_format import write_lp
from tests.encoders.readers import INF, by_highs, models, optimum, said, statement
from tests.encoders.stated import knapsack

FOLDER = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FOLDER
@given(model=models())
def test_highs_reads_back_every_number_kind_and_name(tmp_path: Path, model: LinearModel) -> None:
    path = tmp_path / "model.lp"
    path.write_text(write_lp(model, "a comment\nof two lines"))
    highs = by_highs(path)
    assert statement(highs) == said(model)
    found = solve_milp(model, MilpLimits())
    expected = {Status.OPTIMAL: found.objective, Status.INFEASIBLE: INF}.get(found.status)
    if expected is not None:
        assert optimum(highs) == pytest.approx(expected, abs=1e-6)


def test_lines_stay_within_what_every_reader_takes(tmp_path: Path) -> None:
    builder = ModelBuilder()
    columns = builder.add_columns(Group("input", 0, tuple(range(300)), "a" * 200), -1.0, 1.0, cost=1 / 3)
    builder.add_rows(Group("sum", -1, (0,)), rows_of(columns[None, :], np.full((1, 300), 1 / 7)), -0.125, INF)
    model = builder.build()
    text = write_lp(model)
    assert max(map(len, text.splitlines())) < 255
    path = tmp_path / "model.lp"
    path.write_text(text)
    assert statement(by_highs(path)) == said(model)
    assert optimum(by_highs(path)) == pytest.approx(-0.125 * 7 / 3)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("<= 5.0", ">= 5.0"),
        ("3.0 x_1 + 1.0", "2.0 x_1 + 1.0"),
        ("<= 5.0", "<= 6.0"),
        ("<= x_1 <= 1.0", "<= x_1 <= 0.0"),
        ("Minimize", "Maximize"),
    ],
)
def test_a_file_with_one_thing_changed_has_another_optimum(tmp_path: Path, was: str, becomes: str) -> None:
    text = write_lp(knapsack())
    assert was in text
    path = tmp_path / "model.lp"
    path.write_text(text.replace(was, becomes))
    assert optimum(by_highs(path)) != pytest.approx(-9)


@pytest.mark.parametrize("cut", ["Subject To\n", " x_0 x_1 x_2\n", "+ 1.0 x_2"])
def test_a_file_with_a_line_missing_is_not_the_model(tmp_path: Path, cut: str) -> None:
    text = write_lp(knapsack())
    assert text.count(cut) == 1
    path = tmp_path / "model.lp"
    path.write_text(text.replace(cut, ""))
    try:
        highs = by_highs(path)
    except ValueError:
        return
    assert statement(highs) != said(knapsack())
