"""Verdicts for people: what the line and the table say, of answers whose values are known."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction as Q

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import farkas as fk
from farkas.engine.verdict import Reason, Unknown
from farkas.engine.verdict_text import MOST_IN_LINE, cut, shown
from farkas.specs.query import Semantics
from farkas.specs.witness import Named
from tests.nets import affine


@pytest.fixture
def identity() -> fk.Network:
    data = affine([[1.0, 0.0], [0.0, 1.0]]).data
    from farkas.ir.onnx_import import load_onnx

    return fk.Network(load_onnx(data), data, None, "identity")


def cells(html: str) -> dict[str, str]:
    return {row[0].text or "": row[1].text or "" for row in ET.fromstring(html).iter("tr")}


def test_a_witness_is_told_by_the_names_of_the_specification(identity: fk.Network) -> None:
    x = fk.var(identity.input, labels=("height", "speed"))
    found = fk.Spec([x.height == "0.5", fk.between(1, x.speed, 1)], prove=identity(x)[0, 1] <= "0.5").check()
    assert isinstance(found, fk.Violated)
    assert repr(found).startswith("<Violated: semantics f32-any, evidence replayed, executed by ")
    assert "x.height = 0.5, x.speed = 1, identity(x)[0, 0] = 0.5, identity(x)[0, 1] = 1" in repr(found)
    table = cells(found._repr_html_())
    assert table["x.height"] == "0.5" and table["identity(x)[0, 1]"] == "1" and table["semantics"] == "f32-any"


def test_proofs_and_open_questions_say_what_they_rest_on(identity: fk.Network) -> None:
    x = fk.var(identity.input)
    found = fk.Spec(fk.between(0, x, 1), prove=fk.max(identity(x)) <= 2).check()
    assert isinstance(found, fk.Holds) and repr(found).startswith(
        "<Holds: semantics f32-any, evidence checkable, leaves "
    )
    assert found.bounds == {"margin": found.statistics.bound, "closest": found.statistics.closest}
    unknown = Unknown(Reason.GAP, "x < y & z", Semantics.REAL, ("vacuous: <nothing>",))
    assert repr(unknown) == (
        "<Unknown: semantics real, reason gap (x < y & z), time 0.00 s, warning vacuous: <nothing>>"
    )
    assert cells(unknown._repr_html_())["warning"] == "vacuous: <nothing>"
    uncertified = Unknown(Reason.UNCERTIFIED, "accept them with --trust crown --trust cp-sat", Semantics.REAL)
    assert "in Python trust=['crown', 'cp-sat']," in repr(uncertified)


def test_of_many_values_a_line_tells_some_and_a_table_the_range(identity: fk.Network) -> None:
    x = fk.var(identity.input)
    found = fk.Spec(fk.between(0, x, 1), prove=fk.max(identity(x)) <= "0.5").check()
    assert isinstance(found, fk.Violated)
    image = replace(found, named=(Named("image", (100,), (), tuple(Q(k, 2) for k in range(100))),))
    assert f"image[{MOST_IN_LINE - 1}] = 3.5, and 92 more>" in repr(image)
    assert cells(image._repr_html_())["image"] == "100 values from 0 to 49.5"
    bare = replace(found, named=())
    assert "X[0] = " in repr(bare) and "Y[1]" in cells(bare._repr_html_())


@given(st.fractions(), st.integers(-12, 12))
def test_numbers_are_rounded_as_asked_to_seven_digits(value: Q, exponent: int) -> None:
    number = value * Q(10) ** exponent
    low, high, near = (Q(Decimal(shown(number, up))) for up in (False, True, None))
    assert low <= number <= high and near in (low, high)
    assert high - low <= abs(number) / 10**6


@given(st.fractions(), st.integers(-12, 12))
def test_digits_that_are_cut_are_those_of_the_number(value: Q, exponent: int) -> None:
    number = value * Q(10) ** exponent
    told = cut(number)
    kept = Decimal(told.replace("...", ""))
    if "..." not in told:
        assert Q(kept) == number
    else:
        unit = Q(10) ** int(kept.as_tuple().exponent)
        assert abs(Q(kept)) < abs(number) < abs(Q(kept)) + unit and len(kept.as_tuple().digits) == 9


@given(st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False))
def test_neighbours_in_binary32_are_told_apart(value: float) -> None:
    above = np.nextafter(np.float32(value), np.float32(np.inf))
    assert np.isinf(above) or cut(Q(value)) != cut(Q(float(above)))


def test_a_witness_below_a_bound_is_not_told_as_the_bound(identity: fk.Network) -> None:
    """3/10 lies between the binary32 numbers 0.2999999821186... and 0.3000000119209..., and the first one violates."""
    x = fk.var(identity.input, name="x")
    found = fk.Spec([fk.between("0.29999998", x, "0.3")], prove=fk.max(identity(x)) <= "0.29999998").check()
    assert "x[0, 0] = 0.299999982...," in repr(found)
    assert cut(Q(3, 10)) == "0.3" and cut(Q(np.float32(0.3).item())) == "0.300000011..."
    assert cut(Q(-1, 3 * 10**9)) == "-3.33333333...E-10" and cut(Q(10**12 + 1)) == "1.00000000...E+12"
