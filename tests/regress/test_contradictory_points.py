"""Bounds that leave no point are violated by nothing, also where the nearest binary32 number is on the other side."""

from __future__ import annotations

from pathlib import Path

import pytest

import farkas as fk

WAVE = Path(__file__).parents[2] / "examples" / "networks" / "wave.onnx"
HEAD = """(vnnlib-version <2.0>)
(declare-network N (declare-input X float32 [1,2]) (declare-output Y float32 [1,1]))
(assert (<= Y[0,0] 100)) (assert (== X[0,1] 0.5))
"""


@pytest.mark.parametrize("bounds", ["(>= X[0,0] 0.7) (< X[0,0] 0.7)", "(> X[0,0] 0.1) (<= X[0,0] 0.1)"])
@pytest.mark.parametrize("semantics", ["f32-any", "f32-order:seq-fma"])
def test_a_strict_bound_at_a_point_has_no_witness(bounds: str, semantics: str) -> None:
    asserted = bounds.replace(") (", ")) (assert (")
    found = fk.verify(fk.load(WAVE), f"{HEAD}(assert {asserted})".encode(), semantics=semantics, timeout=5)
    assert not isinstance(found, fk.Violated)


def test_another_disjunct_of_the_point_still_has_one() -> None:
    text = f"{HEAD}(assert (== X[0,0] 0.7)) (assert (or (< X[0,0] 0.7) (>= Y[0,0] -100)))"
    assert isinstance(fk.verify(fk.load(WAVE), text.encode(), timeout=5), fk.Violated)


def test_equal_inputs_with_bounds_that_exclude_each_other_have_no_witness() -> None:
    net = fk.load(WAVE)
    x = fk.var(net.input, name="x")
    given = [x[0, 0] == x[0, 1], fk.between(0, x[0, 0], "0.1"), x[0, 1] > "0.1", x[0, 1] <= 1]
    assert not isinstance(fk.Spec(given, prove=net(x) >= 5).check(timeout=5), fk.Violated)
