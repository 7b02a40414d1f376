"""The normal form of properties, by hand."""

from __future__ import annotations

import re
from fractions import Fraction as Q

import pytest

from farkas.checker.errors import MalformedInput
from farkas.checker.property import read_property
from farkas.checker.query import Atom

X0 = "(declare-const X_0 Real)\n"
TWO = X0 + "(declare-const X_1 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)"
BOX = "(assert (<= X_0 1))(assert (>= X_0 -0.5))(assert (<= X_1 .25))(assert (>= X_1 -1e-1))"


def atom(y: dict[int, Q | int], c: Q | int, strict: bool = False, x: dict[int, Q | int] | None = None) -> Atom:
    return Atom(
        tuple((i, Q(v)) for i, v in sorted((x or {}).items())),
        tuple((j, Q(v)) for j, v in sorted(y.items())),
        Q(c),
        strict,
    )


def read(text: str):  # type: ignore[no-untyped-def]  # the type under test
    return read_property(text.encode())


def test_decimals_are_exact_rationals() -> None:
    (case,) = read(TWO + BOX + "(assert (<= Y_0 0.1))").cases
    assert case.lower == (Q(-1, 2), Q(-1, 10))
    assert case.upper == (Q(1), Q(1, 4))
    assert case.disjuncts == ((atom({0: 1}, Q(1, 10)),),)


def test_everything_but_the_constant_goes_to_the_left() -> None:
    text = "(assert (>= (+ Y_0 (* 2 Y_1) 1) (- X_1 (- X_0))))"
    # 2 Y_1 + Y_0 + 1 >= X_1 + X_0  is  X_0 + X_1 - Y_0 - 2 Y_1 <= 1
    assert read(TWO + BOX + text).cases[0].disjuncts == ((atom({0: -1, 1: -2}, 1, x={0: 1, 1: 1}),),)


def test_an_or_multiplies_with_the_existing_conjunctions_outside() -> None:
    text = "(assert (or (<= Y_0 1) (<= Y_0 2)))(assert (<= Y_1 9))(assert (or (<= Y_1 3) (and (<= Y_1 4) (< Y_0 5))))"
    first, second, common = atom({0: 1}, 1), atom({0: 1}, 2), atom({1: 1}, 9)
    third, fourth, fifth = atom({1: 1}, 3), atom({1: 1}, 4), atom({0: 1}, 5, True)
    assert read(TWO + BOX + text).cases[0].disjuncts == (
        (first, common, third),
        (first, common, fourth, fifth),
        (second, common, third),
        (second, common, fourth, fifth),
    )


def test_conjunctions_with_equal_boxes_share_a_case_in_order_of_first_appearance() -> None:
    text = (
        "(assert (or (and (<= X_0 0.5) (<= Y_0 1)) (and (<= X_0 0) (<= Y_0 2))"
        " (and (<= X_0 0.50) (<= Y_0 3)) (and (<= (* 2 X_0) 1.0) (<= Y_0 4))))"
    )
    first, second = read(TWO + BOX + text).cases
    assert (first.upper[0], second.upper[0]) == (Q(1, 2), Q(0))
    assert [d[0].c for d in first.disjuncts] == [1, 3, 4]
    assert [d[0].c for d in second.disjuncts] == [2]


def test_a_strict_input_bound_is_a_closed_bound_and_a_strict_atom() -> None:
    (case,) = read(TWO + BOX + "(assert (> X_0 0))(assert (<= Y_0 1))").cases
    assert case.lower[0] == 0
    assert case.disjuncts == ((atom({}, 0, True, x={0: -1}), atom({0: 1}, 1)),)


def test_an_atom_over_two_inputs_stays_an_atom() -> None:
    (case,) = read(TWO + BOX + "(assert (<= X_0 X_1))").cases
    assert case.disjuncts == ((atom({}, 0, x={0: 1, 1: -1}),),)


def test_a_property_about_inputs_alone_has_a_disjunct_without_atoms() -> None:
    assert read(TWO + BOX).cases[0].disjuncts == ((),)


def test_products_are_multiplied_out() -> None:
    """(x_0 + 2 y_0) (x_0 - 2 y_0) = x_0^2 - 4 y_0^2; a product of numbers is a number, and x_0^2 alone no bound."""
    asserted = "(assert (<= (* (+ X_0 (* 2 Y_0)) (- X_0 (* 2 Y_0))) (* 2 3 0.5)))(assert (< (* X_0 X_0) 1))"
    (case,) = read(TWO + BOX + asserted).cases
    assert case.disjuncts == (
        (
            Atom((), (), Q(3), False, (((0, 0), Q(1)), ((1, 1), Q(-4)))),
            Atom((), (), Q(1), True, (((0, 0), Q(1)),)),
        ),
    )


def test_products_that_cancel_are_gone() -> None:
    (case,) = read(TWO + BOX + "(assert (<= (+ X_1 (* X_0 Y_0)) (+ 0.125 (* Y_0 X_0))))").cases
    assert case.upper[1] == Q(1, 8) and case.disjuncts == ((),)


LONG = "(* " + "(+ 1 X_0 Y_0 X_1 (* X_0 X_1) (* X_0 Y_0) (* X_1 Y_0)) " * 6 + ")"


@pytest.mark.parametrize(
    ("term", "why"),
    [
        ("(* " + "X_0 " * 65 + ")", "more than 64 factors"),
        (f"(* {LONG} {LONG})", "too large"),
        ("(* " + "(* X_0 1e9000) " * 9 + ")", "beyond all reason"),
    ],
)
def test_products_beyond_all_reason_are_an_error_and_no_hang(term: str, why: str) -> None:
    with pytest.raises(MalformedInput, match=why):
        read(TWO + BOX + f"(assert (<= {term} 1))")


def test_an_atom_that_cancels_stays() -> None:
    assert read(TWO + BOX + "(assert (<= Y_0 (- Y_0 1)))").cases[0].disjuncts == ((atom({}, -1),),)


def test_a_contradictory_box_is_dropped_with_a_warning() -> None:
    prop = read(TWO + BOX + "(assert (or (and (<= X_0 -2) (<= Y_0 1)) (<= Y_0 2)))")
    assert [d[0].c for case in prop.cases for d in case.disjuncts] == [2]
    (warning,) = prop.vacuous
    assert "X_0" in warning


def test_comments_and_white_space_mean_nothing() -> None:
    text = (
        TWO.replace("(", " ( ").replace(")", "\t)\n") + "; (assert (<= Y_0 7))\n" + BOX + "(assert(<=\nY_0 ; here\n 1))"
    )
    assert read(text).cases[0].disjuncts == ((atom({0: 1}, 1),),)


@pytest.mark.parametrize(
    ("text", "where", "why"),
    [
        (X0 + "(assert (<= X_1 1))", "line 2, column 13", "not declared"),
        (X0 + "(assert (= X_0 1))", "line 2, column 9", "unknown operator '='"),
        (X0 + "(assert (<= X_0 1)", "line 2, column 1", "never closed"),
        (X0 + "(assert (<= X_0 1)))", "line 2, column 20", "unbalanced"),
        (X0 + "(assert (<= X_0 0x10))", "line 2, column 17", "neither a variable nor a decimal"),
        (X0 + "(assert (<= X_0 nan))", "line 2, column 17", "neither a variable nor a decimal"),
        (X0 + "(assert (<= X_0 1e99999))", "line 2, column 17", "in range"),
        (X0 + "(assert (<= X_0))", "line 2, column 9", "two terms"),
        (X0 + "(assert (<= 0 X_0 1))", "line 2, column 9", "two terms"),
        (X0 + "(assert (and))", "line 2, column 9", "takes formulas"),
        (X0 + "(assert (<= (<= X_0 1) 1))", "line 2, column 9", "two terms"),
        (X0 + "(assert X_0)", "line 2, column 9", "unexpected"),
        (X0 + "(check-sat)", "line 2, column 1", "'assert' was expected"),
        (X0 + X0, "line 2, column 1", "declared twice"),
        ("(declare-const X_00 Real)", "line 1, column 1", "a declaration is"),
        ("(declare-const X_0 Int)", "line 1, column 1", "a declaration is"),
        (X0 + "X_0", "line 2, column 1", "unexpected"),
    ],
)
def test_malformed_text_is_an_error_with_its_place(text: str, where: str, why: str) -> None:
    with pytest.raises(MalformedInput, match=re.escape(why)) as caught:
        read(text)
    assert where in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (TWO + "(assert (<= X_0 1))(assert (>= X_0 0))(assert (>= X_1 0))", "X_1 has no upper bound"),
        ("(declare-const X_1 Real)(declare-const Y_0 Real)", "without a gap"),
        (X0 + "(assert (<= X_0 1))(assert (>= X_0 0))", "Y_0, Y_1"),
        ("", "without a gap"),
    ],
)
def test_a_property_that_is_incomplete_is_an_error(text: str, why: str) -> None:
    with pytest.raises(MalformedInput, match=re.escape(why)):
        read(text)


def test_depth_costs_no_recursion() -> None:
    depth = 200_000
    nested = "(and " * depth + "(<= Y_0 1)" + ")" * depth
    assert read(TWO + BOX + f"(assert {nested})").cases[0].disjuncts == ((atom({0: 1}, 1),),)


def test_an_explosion_of_the_normal_form_is_an_error_and_no_hang() -> None:
    doubling = "(assert (or (<= Y_0 1) (<= Y_1 1)))" * 40
    with pytest.raises(MalformedInput, match="too large"):
        read(TWO + BOX + doubling)


INTERVAL = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= X_0 1))(assert (>= X_0 0))"


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_comment_ends_with_its_line_however_the_line_ends(end: str) -> None:
    text = f"{INTERVAL}; c{end}(assert (<= Y_0 0))"
    (case,) = read_property(text.encode()).cases
    assert [atom.y for atom in case.disjuncts[0]] == [((0, Q(1)),)]


def test_a_no_break_space_is_no_white_space() -> None:
    text = INTERVAL + "(assert (<=\u00a0Y_0 0))"
    with pytest.raises(MalformedInput):
        read_property(text.encode())
