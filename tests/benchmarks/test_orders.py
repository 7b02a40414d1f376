"""The table of single orders on a small generated network: its columns stand in the order that they must."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from benchmarks.orders import main
from farkas.ir.binary32 import ORDERS
from tests.nets import dense, random_layers


def test_errors_met_lie_below_what_the_order_grants_and_that_below_any_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = dense(random_layers(np.random.default_rng(4), [2, 20, 20, 2], eighths=False))
    (tmp_path / "net.onnx").write_bytes(net.data)
    names = ("X_0", "X_1", "Y_0", "Y_1")
    text = [f"(declare-const {name} Real)" for name in names]
    text += [f"(assert (>= {x} 0.5))\n(assert (<= {x} 0.5001))" for x in names[:2]] + ["(assert (<= Y_0 0))"]
    (tmp_path / "query.vnnlib").write_text("\n".join(text))
    assert main([str(tmp_path / "net.onnx"), str(tmp_path / "query.vnnlib"), "--points", "256"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["order"] for row in rows] == list(ORDERS)
    for row in rows:
        observed, terms, any_order = (float(row[name]) for name in ("observed", "terms", "any"))
        assert 0 < observed < terms < any_order
        assert float(row["points"]) > 0 and float(row["boxes"]) > 0


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.onnx"), str(tmp_path / "none.vnnlib")]) == 2
    assert "none.onnx" in capsys.readouterr().err
