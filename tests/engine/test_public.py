"""Public instances: a sample of ACAS Xu, and every property with point bounds that are no binary32 numbers."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from farkas.api import load, verify
from farkas.engine.verdict import Unknown, Violated
from farkas.ir.errors import UnsupportedOperator
from farkas.specs.boxes import Grid
from farkas.specs.vnnlib import read_property

pytestmark = pytest.mark.vnncomp
EVERY = 12


def instances(vnncomp: Path, category: str = "") -> list[dict[str, str]]:
    """Rows of the manifest about one network and VNN-LIB 1.0."""
    with (vnncomp / "manifest.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [r for r in rows if r["category"].startswith(category) and not r["category"].startswith("vnnlib2")]


def test_every_twelfth_acas_xu_instance_is_decided_as_published(vnncomp: Path) -> None:
    chosen = instances(vnncomp, "acasxu")[::EVERY]
    assert len(chosen) >= 15
    words = {}
    for row in chosen:
        verdict = verify(load(vnncomp / row["onnx"]), vnncomp / row["vnnlib"], timeout=20.0)
        words[row["onnx"], row["vnnlib"]] = (verdict.word, row["expected"])
    assert {name: pair for name, pair in words.items() if pair[0] != pair[1]} == {}
    assert {word for word, _ in words.values()} == {"sat", "unsat"}


def test_every_acas_xu_sat_instance_replays_inside_its_box(vnncomp: Path) -> None:
    """Property 2: all but a few are violated; each witness is exact, and violates on two executors."""
    chosen = [r for r in instances(vnncomp, "acasxu") if r["expected"] == "sat"][::4]
    assert len(chosen) >= 10
    for row in chosen:
        verdict = verify(load(vnncomp / row["onnx"]), vnncomp / row["vnnlib"], timeout=20.0)
        assert isinstance(verdict, Violated), row
        case = verdict.replay.case
        assert all(l <= x <= u for l, x, u in zip(case.lower, verdict.replay.inputs, case.upper, strict=True))
        for outputs in (verdict.replay.outputs, verdict.replay.runtime_outputs):
            assert case.violated_disjunct(verdict.replay.inputs, outputs) == verdict.replay.disjunct


@pytest.mark.slow
def test_properties_with_points_off_the_grid_are_never_decided_wrongly(vnncomp: Path) -> None:
    """In the nearest binary32 reading of such points eight of the 23 properties of one box are `sat`."""
    chosen = []
    for row in instances(vnncomp):
        prop = read_property((vnncomp / row["vnnlib"]).read_bytes())
        if len(prop.cases) == 1 and Grid().box(prop.cases[0].lower, prop.cases[0].upper).off_grid:
            chosen.append(row)
    assert len({row["vnnlib"] for row in chosen}) == 23
    decided = 0
    for row in chosen:
        try:
            net = load(vnncomp / row["onnx"])
        except UnsupportedOperator:
            continue
        verdict = verify(net, vnncomp / row["vnnlib"], timeout=6.0, trust={"crown"})
        if not isinstance(verdict, Unknown):
            assert verdict.word == row["expected"], row
            assert verdict.statistics.off_grid > 0
            decided += 1
    assert decided >= 8
