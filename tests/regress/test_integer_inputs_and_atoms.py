"""Quantised networks: boxes without a code claim nothing, and no coefficient of a property is too small to be read."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from onnx import TensorProto

from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.verdict import Reason, Unknown, Verdict
from farkas.engine.verify import verify
from farkas.ir.errors import FarkasError
from farkas.ir.onnx_import import load_onnx
from farkas.specs.query import Atom, Case, Property, Semantics
from tests.nets import case
from tests.quantised import f32, float_model, node

# y = (x - 100) / 2 for uint8 codes x.
HALVES = float_model(
    [node("DequantizeLinear", ["x", "s", "z"], ["y"])],
    {"s": np.array(0.5, f32), "z": np.array(100, np.uint8)},
    [1, 1],
    element=TensorProto.UINT8,
)


def verdict_on(box: Case) -> Verdict:
    query = Query(load_onnx(HALVES), HALVES, Property(1, 1, (box,)), Semantics.INT_EXACT)
    return verify(query, Options(timeout_s=10.0, trust=frozenset({"cp-sat"})))


def below(c: Fraction | int, coefficient: Fraction | int = 1, *, strict: bool = False) -> Atom:
    return Atom((), ((0, Fraction(coefficient)),), Fraction(c), strict)


@pytest.mark.parametrize("box", [(Fraction(1, 5), Fraction(4, 5)), (Fraction(5, 2), Fraction(5, 2)), (300, 301)])
def test_a_box_without_a_code_is_unknown(box: tuple[Fraction, Fraction]) -> None:
    verdict = verdict_on(case([box[0]], [box[1]], [below(-1000)]))
    assert isinstance(verdict, Unknown) and verdict.reason is Reason.INCOMPLETE


def test_codes_inside_a_box_are_all_that_counts() -> None:
    # 99.5 .. 102.5 holds 100, 101 and 102, of which the first gives 0, the least output.
    assert verdict_on(case([Fraction(199, 2)], [Fraction(205, 2)], [below(0)])).word == "sat"
    assert verdict_on(case([Fraction(199, 2)], [Fraction(205, 2)], [below(0, strict=True)])).word == "unsat"


@pytest.mark.parametrize("size", [Fraction(1, 10**400), Fraction(1, 10**320), Fraction(10) ** 400])
def test_coefficients_beyond_float64_are_read_exactly(size: Fraction) -> None:
    # x = 99 gives -1/2 and x = 100 gives 0; the sign of size * y is that of y.
    assert verdict_on(case([99], [100], [below(0, size, strict=True)])).word == "sat"
    assert verdict_on(case([100], [101], [below(0, size, strict=True)])).word == "unsat"
    assert verdict_on(case([99], [100], [below(-size / 2, size)])).word == "sat"
    assert verdict_on(case([99], [100], [below(-size * Fraction(51, 100), size)])).word == "unsat"


def test_coefficients_of_one_atom_may_not_differ_by_more_than_float64_can_hold() -> None:
    mixed = Atom(((0, Fraction(1)),), ((0, Fraction(1, 10**400)),), Fraction(0))
    with pytest.raises(FarkasError, match="differ by a factor"):
        verdict_on(case([0], [1], [mixed]))
