"""Products of inputs and outputs in property files: decided in both languages, refused by name by the checker."""

from __future__ import annotations

from pathlib import Path

import pytest

import farkas as fk
from farkas import cli
from tests.farkas.queries import absolute, prop, write

# y = |x| on [-1, 2]
HEAD = """(vnnlib-version <2.0>)
(declare-network f (declare-input X {} [1,1]) (declare-output Y {} [1]))
(assert (and (>= X[0,0] -1) (<= X[0,0] 2)))
"""


@pytest.fixture
def net(tmp_path: Path) -> fk.Network:
    return fk.load(write(tmp_path, "abs.onnx", absolute()))


@pytest.mark.parametrize("element", ["float32", "real"])
@pytest.mark.parametrize(
    ("text", "is_sat"),
    [
        ("(>= (* X[0,0] X[0,0]) 4)", True),  # x = 2
        ("(>= (* X[0,0] X[0,0]) 4.001)", False),
        ("(<= (* X[0,0] Y[0]) -1)", True),  # x = -1
        ("(<= (* X[0,0] Y[0]) -1.001)", False),
        ("(>= (* X[0,0] X[0,0] Y[0]) 8.01)", False),
        ("(>= (- (* Y[0] Y[0]) (* X[0,0] X[0,0])) 0.01)", False),  # |x|^2 is x^2
        ("(<= (+ (* X[0,0] X[0,0]) (* -1 X[0,0]) 0.25) -0.001)", False),  # (x - 1/2)^2 < 0
        ("(<= (* (- X[0,0] 0.5) (- X[0,0] 0.5)) 0)", True),  # x = 1/2
    ],
)
def test_verdicts_about_products_are_those_of_the_hand_calculation(
    net: fk.Network, element: str, text: str, is_sat: bool
) -> None:
    query = HEAD.format(element, element) + f"(assert {text})"
    verdict = fk.verify(net, query.encode(), timeout=20, trust=("crown",))
    assert isinstance(verdict, fk.Violated if is_sat else fk.Holds), verdict


def test_products_in_version_1_mean_the_same(net: fk.Network) -> None:
    box = "(>= X_0 -1)", "(<= X_0 2)"
    sat = fk.verify(net, prop(*box, "(>= (* X_0 Y_0) 3.99)"), timeout=20)
    assert isinstance(sat, fk.Violated)
    unsat = fk.verify(net, prop(*box, "(>= (* X_0 Y_0) 4.01)"), timeout=20, trust=("crown",))
    assert isinstance(unsat, fk.Holds) and unsat.evidence == "trusted:crown"


def test_without_trust_unsat_about_products_is_unknown_for_the_checker_refuses_them(
    net: fk.Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query = write(tmp_path, "q.vnnlib", (HEAD.format("real", "real") + "(assert (>= (* Y[0] Y[0]) 4.01))").encode())
    words = ["verify", query, "--network", f"f={net.path}", "--certificate", str(tmp_path / "p.nnc")]
    assert cli.main(words) == 1
    out, err = capsys.readouterr()
    assert out == "unknown\n" and "trust" in err and not (tmp_path / "p.nnc").exists()
