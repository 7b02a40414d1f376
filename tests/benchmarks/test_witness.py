"""The validator of witnesses: what it accepts and refuses, on the network that computes |x|."""

import gzip
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from benchmarks.witness import Invalid, main, read_assignment, validate
from tests.farkas.queries import SAT, absolute, prop

TENTH = "0.100000001490116119384765625"  # the nearest binary32 number of 0.1, exactly


def pairs(x: str, y: str) -> str:
    return f"((X_0 {x})\n(Y_0 {y}))\n"


def judge(prop_text: bytes, x: str, y: str, semantics: str = "f32-any") -> str:
    return validate(absolute(), prop_text.decode(), pairs(x, y), semantics)


def test_a_witness_inside_the_box_that_violates_is_valid() -> None:
    assert judge(SAT, "1.5", "1.5") == "valid"
    assert judge(SAT, "2.0", "2.0") == "valid"


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        ("2.00000024", "2.00000024", "no binary32"),
        ("2.000000238418579", "2.000000238418579", "no binary32"),
        ("2.0000002384185791015625", "2.0000002384185791015625", "not true"),  # the next number after 2
        ("1.4999998807907104", "1.4999998807907104", "no binary32"),
        ("1.49999988079071044921875", "1.49999988079071044921875", "not true"),  # the last one before 3/2
        ("1.5", "1.6", "not those of onnxruntime"),
        ("-1.5", "1.5", "not true"),
    ],
)
def test_nothing_is_given_a_tolerance(x: str, y: str, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        judge(SAT, x, y)


def test_a_strict_atom_is_strict() -> None:
    box = ("(>= X_0 -1)", "(<= X_0 2)")
    assert judge(prop(*box, "(>= Y_0 2)"), "2.0", "2.0") == "valid"
    with pytest.raises(Invalid, match="not true"):
        judge(prop(*box, "(> Y_0 2)"), "2.0", "2.0")


def test_a_point_that_is_no_binary32_number_means_the_nearest_one() -> None:
    point = prop("(>= X_0 0.1)", "(<= X_0 0.1)", "(>= Y_0 0.1)")
    assert Fraction(TENTH) == Fraction(float(np.float32(0.1))) > Fraction(1, 10)
    assert judge(point, TENTH, TENTH) == "valid"
    interval = prop("(>= X_0 0.1)", "(<= X_0 0.2)", "(>= Y_0 0.1)")
    assert judge(interval, TENTH, TENTH) == "valid"
    outside = prop("(>= X_0 0)", "(<= X_0 0.1)", "(>= Y_0 0)")  # 0.1 rounded to nearest lies above 0.1
    with pytest.raises(Invalid, match="not true"):
        judge(outside, TENTH, TENTH)


def test_disjunctions_sums_and_products_are_evaluated_as_they_stand() -> None:
    box = ("(and (>= X_0 -1) (<= X_0 2))",)
    either = prop(*box, "(or (and (<= Y_0 0) (>= X_0 0)) (<= (+ (* 2 Y_0) (- X_0) 1) (* 3 (- X_0 1))))")
    # 2 |x| - x + 1 <= 3 (x - 1) is x >= 2 for x >= 0; the other alternative is x = 0.
    assert judge(either, "2.0", "2.0") == "valid"
    assert judge(either, "0.0", "0.0") == "valid"
    with pytest.raises(Invalid):
        judge(either, "1.0", "1.0")


def test_over_the_reals_the_printed_values_count() -> None:
    assert judge(SAT, "1.7000000000000000001", "1.7000000000000000001", "real") == "valid"
    with pytest.raises(Invalid, match="near a float run"):
        judge(SAT, "1.6", "1.9", "real")
    with pytest.raises(Invalid, match="not true"):
        judge(SAT, "1.4", "1.4", "real")


@pytest.mark.parametrize("text", ["", "sat", "((X_0 1)", "((X_1 1)\n(Y_0 1))", "((Y_0 1)\n(X_0 1))", "((X_0 1) stray)"])
def test_an_assignment_out_of_form_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        read_assignment(text)


def test_the_script_prints_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "n.onnx.gz").write_bytes(gzip.compress(absolute()))
    (tmp_path / "p.vnnlib").write_bytes(SAT)
    for x, line in (("1.5", "valid\n"), ("3.0", "invalid: the formulas are not true")):
        (tmp_path / "w").write_text(pairs(x, x))
        assert main([str(tmp_path / "n.onnx.gz"), str(tmp_path / "p.vnnlib"), "f32-any", str(tmp_path / "w")]) == 0
        assert capsys.readouterr().out.startswith(line)
