"""Numbers with more digits than Python writes are answered or refused in words, by every way that leads to them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

import farkas as fk
from farkas.ir.errors import FarkasError

WAVE = Path(__file__).parents[2] / "examples" / "networks" / "wave.onnx"
TINY = Fraction(1, 10**5000)
HEAD = """(vnnlib-version <2.0>)
(declare-network N (declare-input X real [1,2]) (declare-output Y real [1,1]))
(assert (>= X[0,0] 0)) (assert (<= X[0,0] 1)) (assert (>= X[0,1] 0)) (assert (<= X[0,1] 1))
"""


def asked(text: str, **options: object) -> fk.Holds | fk.Violated | fk.Unknown:
    return fk.verify(fk.load(WAVE), (HEAD + text).encode(), timeout=5, **options)  # type: ignore[arg-type]


def test_a_contradiction_of_long_numbers_is_vacuous() -> None:
    found = asked("(assert (<= X[0,0] -1e-5000)) (assert (>= Y[0,0] 0))")
    assert isinstance(found, fk.Holds) and "a number of 16610 bits" in found.warnings[0]


def test_a_long_coefficient_is_refused() -> None:
    with pytest.raises(FarkasError, match="a number of 16610 bits"):
        asked("(assert (>= (* 1e5000 Y[0,0]) 1))")


def test_a_solver_is_not_told_a_long_threshold() -> None:
    found = asked("(assert (>= (* X[0,0] Y[0,0]) (+ 100 1e-5000)))", engines=["lra"])
    assert isinstance(found, fk.Unknown) and "solvers are told" in found.detail


def test_specifications_with_long_numbers_are_checked_but_not_saved(tmp_path: Path) -> None:
    net = fk.load(WAVE)
    x = fk.var(net.input, name="x")
    tight = fk.Spec(given=[fk.between(TINY, x, 1)], prove=net(x) <= 2 + TINY)
    found = tight.check(timeout=20)
    assert isinstance(found, fk.Holds) and any("a number of 16610 bits" in warning for warning in found.warnings)
    with pytest.raises(FarkasError, match="wanted a decimal of at most 4000 characters"):
        tight.save(tmp_path / "q.vnnlib")
