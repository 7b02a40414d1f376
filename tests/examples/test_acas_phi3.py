"""ACAS Xu property 3 in physical units: on networks solved by hand, on ours, and on all public ones as published."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from fractions import Fraction as Q
from pathlib import Path

import numpy as np
import pytest

import farkas as fk
from examples.acas_phi3 import APPROACH, MEANS, main, phi3
from examples.reference import Unsafe, proves, read, refutes
from farkas.api import load_property
from farkas.specs.boxes import Box32, Grid
from tests.nets import affine

ROOT = Path(__file__).resolve().parents[2]
# The ends in prop_3.vnnlib, as its text has them (ACAS Xu benchmark of VNN-COMP).
LOW = ("-0.303531156", "-0.009549297", "0.493380324", "0.3", "0.3")
HIGH = ("-0.298552812", "0.009549297", "0.5", "0.5", "0.5")
# Thirty digits of pi (OEIS A000796), rounded down and up.
PI = Q("3.14159265358979323846264338327"), Q("3.14159265358979323846264338328")
FIRST_OF_FIVE = Unsafe(  # score 0 is the least
    np.zeros((4, 5)), np.hstack([np.ones((4, 1)), -np.eye(4)]), np.zeros(4), ((0, 1, 2, 3),)
)
METRES = ("0",) * 5, ("1000", "1", "1", "1000", "1000")  # our network reads km, radians and km/s


def scores(tmp_path: Path, offset: float) -> str:
    """The first score is the normalised rho plus an offset, the others are zero."""
    weight = np.zeros((5, 5))
    weight[0, 0] = 1.0
    path = tmp_path / f"{offset}.onnx"
    path.write_bytes(affine(weight.tolist(), [offset, 0.0, 0.0, 0.0, 0.0]).data)
    return str(path)


def test_networks_solved_by_hand_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Normalised, rho is between -0.30354 and -0.29855, and the first score has to be above zero."""
    assert main([scores(tmp_path, 0.304)]) == main([scores(tmp_path, 0.303)]) == 0
    first, second, situation = capsys.readouterr().out.splitlines()
    assert first.split()[1] == "unsat," and second.split()[1] == "sat,"
    word, rho = situation.split(",")[0].split()
    assert word == "rho" and 1500 <= float(rho) <= float(Q(MEANS[0]) - Q("0.303") * 60261) + 0.01
    assert main([]) == 2


@pytest.mark.parametrize(("rho", "expected"), [(("1500", "1800"), fk.Violated), (("6000", "6300"), fk.Holds)])
def test_ours_turns_in_time_and_has_nothing_to_gain_when_it_is_late(rho: tuple[str, str], expected: type) -> None:
    """In metres; a judge of its own, on a box of its own, says the same with a margin of 0.001."""
    path = ROOT / "examples" / "networks" / "avoidance.onnx"
    box = APPROACH | {"rho": rho, "v_own": ("245", "300"), "v_int": ("240", "300")}
    scale = np.array(METRES[1], dtype=float)
    low, high = (np.array([float(ends[k]) for ends in box.values()]) / scale for k in (0, 1))
    if expected is fk.Holds:
        assert proves(read(path), low, high, FIRST_OF_FIVE) is not None
    else:
        assert refutes(read(path), low, high, FIRST_OF_FIVE, np.random.default_rng(0)) is not None
    result = phi3(fk.load(path), box, *METRES).check(timeout=60)
    assert isinstance(result, expected)
    if isinstance(result, fk.Violated):
        found = result.named[0]
        assert all(Q(low) <= found[name] <= Q(high) for name, (low, high) in box.items())


def grid(low: Sequence[Q], high: Sequence[Q]) -> Box32:
    return Grid().box(tuple(low), tuple(high))


def test_the_box_has_the_binary32_numbers_of_the_published_one_and_of_the_one_with_pi_itself(tmp_path: Path) -> None:
    (case,) = phi3(fk.load(scores(tmp_path, 0.0))).property.cases
    ours, public = grid(case.lower, case.upper), grid([Q(v) for v in LOW], [Q(v) for v in HIGH])
    assert ours.lower.tolist() == public.lower.tolist() and ours.upper.tolist() == public.upper.tolist()
    assert case.lower[2] < Q(LOW[2]) and case.upper[0] > Q(HIGH[0])  # all the same they are two boxes
    for pi in PI:
        low, high = list(case.lower), list(case.upper)
        low[1], high[1] = -Q("0.06") / (2 * pi), Q("0.06") / (2 * pi)
        low[2], high[2] = Q("3.10") / (2 * pi), Q(1, 2)
        exact = grid(low, high)
        assert exact.lower.tolist() == ours.lower.tolist() and exact.upper.tolist() == ours.upper.tolist()


@pytest.mark.vnncomp
def test_all_public_networks_are_decided_as_published(vnncomp: Path) -> None:
    """Property 3 holds for 42 of the 45 networks (Katz et al. 2017; results of VNN-COMP)."""
    with (vnncomp / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["vnnlib"] == "acasxu_2023/vnnlib/prop_3.vnnlib.gz"]
    (case,), (file,) = (
        phi3(fk.load(vnncomp / rows[0]["onnx"])).property.cases,
        load_property(vnncomp / rows[0]["vnnlib"]).cases,
    )
    assert file.lower == tuple(map(Q, LOW)) and file.upper == tuple(map(Q, HIGH)) and file.disjuncts == case.disjuncts
    found = {row["onnx"]: phi3(fk.load(vnncomp / row["onnx"])).check(timeout=60).word for row in rows}
    assert found == {row["onnx"]: row["expected"] for row in rows}
    assert sorted(found.values()) == ["sat"] * 3 + ["unsat"] * 42
