"""The table of what bounds bring to MILP on small generated networks, against the exact minimum."""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from benchmarks.milp import main
from tests.checker.nets import vnnlib
from tests.engine.pieces import minimum
from tests.nets import dense, random_layers

ENDS = ((Fraction(-1),) * 2, (Fraction(1),) * 2)
WAYS = ["intervals", "CROWN", "engine"]


def suite(folder: Path, seed: int, beside: Fraction) -> Path:
    """A suite of one query: y1 at most its exact minimum over [-1, 1]^2, moved."""
    net = dense(random_layers(np.random.default_rng(seed), (2, 6, 6, 2)))
    least = minimum(net.program, *ENDS, [Fraction(1), Fraction(0)], []) + beside
    value = f"{'-' if least < 0 else ''}{abs(int(least * 1000)) / 1000}"
    (folder / "net.onnx").write_bytes(net.data)
    (folder / "query.vnnlib").write_bytes(vnnlib(*ENDS, 2, f"(<= Y_0 {value})"))
    path = folder / "suite.csv"
    path.write_text("onnx,vnnlib,timeout,expected,category\nnet.onnx,query.vnnlib,1,unsat,small\n")
    return path


def rows(path: Path, *options: str) -> list[dict[str, str]]:
    out = path.with_name("rows.csv")
    assert main([str(path), "--out", str(out), *options]) == 0
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_all_ways_agree_with_the_exact_minimum_and_crown_leaves_fewer_binaries(tmp_path: Path, seed: int) -> None:
    below = rows(suite(tmp_path, seed, Fraction(-1, 20)))
    assert [row["way"] for row in below] == WAYS
    assert {row["answer"] for row in below} == {"unsat"}
    assert int(below[0]["unstable"]) >= int(below[1]["unstable"]) >= int(below[2]["unstable"])
    assert [row["accepted"] for row in below] == ["False", "False", "True"]
    above = rows(suite(tmp_path, seed, Fraction(1, 20)))
    assert {row["answer"] for row in above} <= {"sat", "no witness"} and above[2]["answer"] == "sat"


def test_instances_with_too_many_unstable_neurons_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rows(suite(tmp_path, 1, Fraction(-1)), "--most", "0") == []
    assert "0 instances" in capsys.readouterr().out
