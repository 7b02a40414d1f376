"""Witness text: what is written is exact, in the competition's layout, and reads back to the same bits."""

import struct
from decimal import Decimal
from fractions import Fraction as Q

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.specs.errors import MalformedWitness
from farkas.specs.witness import Named, Witness, exact_decimal, read_witness, write_witness

floats32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
vectors = st.lists(floats32, min_size=1, max_size=5)


def bits(values: list[float]) -> list[bytes]:
    return [struct.pack("<f", value) for value in values]


def test_layout_is_the_one_of_the_competition() -> None:
    text = write_witness(np.array([0.5, -1.0], np.float32), [np.float32(0.1)])
    assert text == "((X_0 0.5)\n(X_1 -1.0)\n(Y_0 0.100000001490116119384765625))\n"


@given(vectors, vectors)
def test_binary32_values_come_back_bit_for_bit(x: list[float], y: list[float]) -> None:
    witness = read_witness("sat\n" + write_witness(np.array(x, np.float32), np.array(y, np.float32)))
    assert bits(witness.inputs32().tolist()) == bits(x)
    assert witness.inputs == tuple(map(Q, x))
    assert witness.outputs == tuple(map(Q, y))


@given(floats32)
def test_decimal_is_exact_and_plain(value: float) -> None:
    word = exact_decimal(value)
    assert Q(Decimal(word)) == Q(value)
    assert set(word) <= set("-.0123456789")
    assert word.startswith("-") == bool(np.signbit(value))


@given(st.integers(-(10**30), 10**30), st.integers(0, 40), st.integers(0, 40))
def test_rationals_with_a_finite_expansion_are_written_exactly(n: int, twos: int, fives: int) -> None:
    q = Q(n, 2**twos * 5**fives)
    assert Q(Decimal(exact_decimal(q))) == q


@pytest.mark.parametrize("value", [Q(1, 3), Q(5, 14), float("nan"), float("inf"), np.float32("-inf")])
def test_values_without_a_finite_decimal_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        exact_decimal(value)


def test_decimals_between_binary32_numbers_are_kept_and_rounded_only_for_execution() -> None:
    witness = read_witness("((X_0 0.1) (X_1 -1e-50) (Y_0 2))")
    assert witness.inputs == (Q(1, 10), -Q(1, 10**50))
    assert bits(witness.inputs32().tolist()) == bits([0.10000000149011612, -0.0])


def test_outputs_may_be_missing() -> None:
    assert read_witness("((X_0 1))") == Witness(("1",), ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no list"),
        ("sat", "no list"),
        ("((X_0 1)", "found '\\(X_0 1'"),
        ("((X_0 1) (X_2 1))", "X_2, wanted X_1"),
        ("((X_1 1))", "X_1, wanted X_0"),
        ("((X_0 1) (X_0 1))", "X_0, wanted X_1"),
        ("((X_0 1) (Y_1 1))", "Y_1, wanted"),
        ("((X_0 1) (Y_0 1) (X_1 1))", "X_1, wanted Y_1"),
        ("((Y_0 1))", "no X_0"),
        ("()", "no X_0"),
        ("((X_0 nan))", "'nan', wanted a finite decimal"),
        ("((X_0 1 2))", "found '\\(X_0 1 2\\)'"),
        ("((X_0 1) junk (Y_0 1))", "found 'junk"),
        ("((X_0 1) (Y_0 1)) junk", "no list"),
        ("((Z_0 1))", "found '\\(Z_0 1\\)'"),
        ("((X_00 1))", "found '\\(X_00 1\\)'"),
        ("unsat ((X_0 1))", "no list"),
        ("satisfied ((X_0 1))", "no list"),
    ],
)
def test_malformed_witness_is_refused(text: str, message: str) -> None:
    with pytest.raises(MalformedWitness, match=message):
        read_witness(text)


def test_values_beyond_binary32_are_no_input() -> None:
    with pytest.raises(MalformedWitness, match="binary32 range"):
        read_witness("((X_0 1e39))").inputs32()


def test_named_values_are_found_by_label_and_by_position() -> None:
    x = Named("x", (2,), ("height", "speed"), (Q(1, 2), Q(-3)))
    assert x["speed"] == x[1] == Q(-3)
    assert x.entries == (("x.height", Q(1, 2)), ("x.speed", Q(-3)))


def test_unlabelled_entries_are_named_by_their_indices_in_row_major_order() -> None:
    y = Named("y", (2, 3), (), tuple(map(Q, range(6))))
    assert [name for name, _ in y.entries] == ["y[0, 0]", "y[0, 1]", "y[0, 2]", "y[1, 0]", "y[1, 1]", "y[1, 2]"]
    assert dict(y.entries)["y[1, 2]"] == 5
    assert Named("z", (), (), (Q(7),)).entries == (("z", Q(7)),)


def test_values_and_labels_that_do_not_fit_the_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"x: 1 values for the shape \(2,\)"):
        Named("x", (2,), (), (Q(1),))
    with pytest.raises(ValueError, match="x: 1 labels for 2 values"):
        Named("x", (2,), ("a",), (Q(1), Q(2)))
