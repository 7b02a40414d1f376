"""The frontier's questions: exact maxima by hand and against samples, and the tables."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from benchmarks.frontier import MARGIN, Net, Row, by_engine, main, question, solve, tables


def net(w: list[list[float]], b: list[float], v: list[float], d: float) -> Net:
    return Net(*(np.array(a, dtype=np.float32) for a in (w, b, [v], [d])))


def test_linear_equations_are_solved_exactly() -> None:
    # x + 3 y = 1, 2 x + 6 y = 2 (the same again), x - y = 2: y = -1/4, x = 7/4.
    rows = [[1, 3, 1], [2, 6, 2], [1, -1, 2]]
    found = solve([tuple(map(Fraction, row)) for row in rows], 2)
    assert found == (Fraction(7, 4), Fraction(-1, 4))


def test_extremes_at_corners_and_inside_are_exact() -> None:
    # 2 relu(x1 + x2 - 1/2) + 1 on [-1, 1]^2: at most 4 at (1, 1), at least 1.
    assert net([[1, 1]], [-0.5], [2], 1).ends == (1, 4)
    # -relu(3 x - 1) - relu(1 - 3 x) = -|3 x - 1|: at most 0, at x = 1/3, which no binary number is.
    assert net([[3], [-3]], [-1, 1], [-1, -1], 0).ends == (-4, 0)


@pytest.mark.parametrize("seed", range(3))
def test_no_sample_leaves_the_range_of_a_random_network(seed: int) -> None:
    own = Net.random(2, 5, seed)
    least, most = own.ends
    grid = np.linspace(-1, 1, 201)
    x = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    y = np.maximum(x @ own.w.T.astype(float) + own.b, 0) @ own.v[0].astype(float) + float(own.d[0])
    slope = float(np.abs(own.v[0]).astype(float) @ np.abs(own.w).astype(float).sum(axis=1))  # y's steepest, in max-norm
    assert float(least) - 1e-12 <= y.min() <= float(least) + slope / 200
    assert float(most) - slope / 200 <= y.max() <= float(most) + 1e-12


def test_questions_have_the_answer_that_they_are_made_for() -> None:
    own = Net.random(2, 5, 0)
    for wanted in ("unsat", "sat"):
        assert by_engine(own, wanted, MARGIN, 20.0).answer == wanted
    (atoms,) = question(own, "sat", Fraction(0)).disjuncts
    assert abs(-atoms[0].c - own.ends[1]) <= Fraction(1, 10**15)


def test_tables_show_seconds_or_why_there_are_none() -> None:
    rows = [
        Row("2-5-1", "unsat", 0.05, "engine", "unsat", 0.25),
        Row("2-5-1", "unsat", 1e-7, "engine", "unknown", 1.0),
        Row("2-5-1", "unsat", 1e-6, "engine", "unsat", 0.5),
        Row("2-5-1", "unsat", 0.05, "z3", "unknown", 60.2),
    ]
    lines = list(tables(rows))
    assert lines[2] == "| 2-5-1 | 0.25 | not tried | unknown (60) | not tried |"
    assert lines[-1] == "| 2-5-1 | 1e-06 | 0.50 | - |  |"


def test_the_command_prints_both_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--sizes", "1-1-1", "--solvers", "--engine-limit", "1"]) == 0
    out = capsys.readouterr().out
    assert out.count("| 1-1-1 |") == 2
