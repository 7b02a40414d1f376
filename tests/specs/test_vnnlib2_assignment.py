"""Assignments in the text format of VNN-LIB 2.x: the standard's layout, exact values, and what is no assignment."""

from fractions import Fraction as Q

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.specs.errors import MalformedWitness
from farkas.specs.vnnlib2 import read_document
from farkas.specs.vnnlib2_assignment import Assigned, read_assignment, write_assignment

DOCUMENT = read_document("""(vnnlib-version <2.0>)
(declare-network f (declare-input A float32 [2,2]) (declare-input B int8 [1]) (declare-output Y float32 []))
(declare-network g (declare-input C float32 [1,1]) (declare-output Z float32 [2]))
""")
floats32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


def test_the_layout_is_the_one_of_the_standard() -> None:
    text = write_assignment(DOCUMENT, [0.5, -0.0, 0.375, 2.0, -7, 0.25], [Q(1, 3), Q(1, 8), Q(-2)])
    third = "0.333333333333333314829616256247390992939472198486328125"  # the nearest binary64 number
    assert text.split("\n") == [
        "A float32 [2,2]", "0.5", "-0.0", "0.375", "2.0", "B int8 [1]", "-7", "Y float32 []", third,
        "C float32 [1,1]", "0.25", "Z float32 [2]", "0.125", "-2.0", "",
    ]  # fmt: skip


@given(st.lists(floats32, min_size=5, max_size=5), st.integers(-128, 127), st.lists(floats32, min_size=3, max_size=3))
def test_values_come_back_exactly(x: list[float], code: int, y: list[float]) -> None:
    values = [*x[:4], code, x[4]]
    found = read_assignment("sat\n" + write_assignment(DOCUMENT, values, y))
    assert [(t.name, t.shape) for t in found] == [("A", (2, 2)), ("B", (1,)), ("Y", ()), ("C", (1, 1)), ("Z", (2,))]
    back = {tensor.name: tensor.values for tensor in found}
    assert [*back["A"], *back["B"], *back["C"]] == list(map(Q, values))
    assert [*back["Y"], *back["Z"]] == list(map(Q, y))


def test_no_first_line_is_needed_and_white_space_is_free() -> None:
    assert read_assignment("X  real [ 1, 2 ]\n 0.5 \n1\n\n") == (Assigned("X", "real", (1, 2), ("0.5", "1")),)
    assert read_assignment("") == ()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("X real [2]\n0.5\n", "line 1: found 1 values of 'X', wanted 2"),
        ("X real\n0.5\n", "line 1: found 'X real', wanted a line 'name type"),
        ("X real [a]\n0.5\n", "wanted integers"),
        ("X real [1]\n1/2\n", "'1/2', wanted a finite decimal"),
        ("X real [1]\nnan\n", "'nan', wanted a finite decimal"),
        ("X real [1]\n1.0\n2.0\n", "line 3: found '2.0', wanted a line 'name type"),
        ("sat\nsat\n", "line 2"),
    ],
)
def test_what_is_no_assignment_is_refused(text: str, wanted: str) -> None:
    with pytest.raises(MalformedWitness, match=wanted.replace("[", "\\[")):
        read_assignment(text)
