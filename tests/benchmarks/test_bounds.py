"""The table of root bounds on small generated networks, against the exact minimum."""

from __future__ import annotations

import csv
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bounds import main
from tests.checker.nets import vnnlib
from tests.engine.pieces import at, pieces
from tests.nets import dense, random_layers

METHODS = ["IBP", "CROWN", "alpha 5", "LP"]


def suite(folder: Path, seed: int) -> list[Fraction]:
    """A suite of one query, `y1 <= 0 or y2 <= 0` over [-1, 1]^2; the exact minima of y1 and y2."""
    net = dense(random_layers(np.random.default_rng(seed), (2, 6, 6, 2)))
    (folder / "net.onnx").write_bytes(net.data)
    ends = [Fraction(-1)] * 2, [Fraction(1)] * 2
    (folder / "query.vnnlib").write_bytes(vnnlib(*ends, 2, "(or (and (<= Y_0 0)) (and (<= Y_1 0)))"))
    (folder / "suite.csv").write_text("onnx,vnnlib,timeout,expected,category\nnet.onnx,query.vnnlib,1,unsat,small\n")
    output = net.program.output
    parts = list(pieces(net.program, *ends))
    return [min(at(part.forms[output][j], vertex) for part in parts for vertex in part.vertices) for j in range(2)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_method_bounds_the_exact_minimum_and_the_better_ones_come_closer(tmp_path: Path, seed: int) -> None:
    exact = suite(tmp_path, seed)
    out = tmp_path / "bounds.csv"
    assert main([str(tmp_path / "suite.csv"), "--steps", "5", "--out", str(out)]) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == METHODS
    (disjunct,) = {int(row["disjunct"]) for row in rows}
    margins = [float(row["margin"]) for row in rows]
    assert all(margin <= float(exact[disjunct]) + 1e-9 * (1 + abs(margin)) for margin in margins)
    # Upper lines have slopes of eight bits, so that a better bound of a neuron may give a line worse by 1/256.
    intervals, *others = margins
    assert intervals <= others[-1]  # but perhaps better than one backward row, whose lines are chosen blindly
    assert all(first <= second + 0.01 * (1 + abs(first)) for first, second in pairwise(others))
    assert [int(row["unstable"]) for row in rows] == sorted((int(row["unstable"]) for row in rows), reverse=True)


def test_a_suite_that_cannot_be_read_is_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.csv")]) == 2
    assert "none.csv" in capsys.readouterr().err
