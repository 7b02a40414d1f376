"""SMT-LIB text over the reals: read back by z3's reader and by cvc5, numbers by hand, names that are no symbols."""

from __future__ import annotations

from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.encoders.real_terms import All, AnyOf, Assertion, Column, Poly, RealProblem, at_most, below, equal
from farkas.encoders.smt_real import Proved, property_problem
from farkas.encoders.smtlib_real import number, smtlib_real
from tests.engine.deciding import is_unsafe, random_cases
from tests.nets import EXACT_SHAPES, Box, varied

X, Y = Poly.variable(0), Poly.variable(1)
SQUARE: Box = ((Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1)))


def z3_says(text: str, folder: Path) -> str:
    """By z3's own reader of files."""
    import z3

    file = folder / "query.smt2"
    file.write_text(text)
    context = z3.Context()
    solver = z3.Solver(ctx=context)
    solver.add(z3.parse_smt2_file(str(file), ctx=context))
    return str(solver.check())


def cvc5_says(text: str) -> str:
    cvc5 = pytest.importorskip("cvc5")
    solver = cvc5.Solver()
    reader = cvc5.InputParser(solver)
    reader.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, text, "query.smt2")
    symbols, said = reader.getSymbolManager(), ""
    while not (command := reader.nextCommand()).isNull():
        said += command.invoke(solver, symbols)
    return said.strip()


def asked(seed: int) -> tuple[str, str]:
    """The text of a random query, and its answer by exact enumeration."""
    rng = np.random.default_rng(seed)
    program = varied(rng, EXACT_SHAPES[seed % len(EXACT_SHAPES)]).program
    cases = random_cases(rng, program, SQUARE, seed % 2 == 0)
    text = smtlib_real(property_problem(program, 2, cases, Proved.nothing(program)), "a query\nin two lines")
    return text, "sat" if is_unsafe(program, cases) else "unsat"


@pytest.mark.parametrize("seed", range(12))
def test_other_programs_read_a_query_and_answer_as_enumeration_does(seed: int, tmp_path: Path) -> None:
    text, answer = asked(seed)
    assert z3_says(text, tmp_path) == answer
    if find_spec("cvc5"):
        assert cvc5_says(text) == answer


def test_the_queries_of_the_test_above_come_out_both_ways() -> None:
    assert {asked(seed)[1] for seed in range(12)} == {"sat", "unsat"}


def test_products_make_it_nonlinear_arithmetic(tmp_path: Path) -> None:
    # x^2 + y^2 <= 1 and x + y > 3/2 has no solution (the sum is at most the root of 2); with 7/5 it has.
    for limit, answer in ((Fraction(3, 2), "unsat"), (Fraction(7, 5), "sat")):
        formula = All((at_most(X * X + Y * Y, 1), below(limit, X + Y)))
        problem = RealProblem((Column("x", ""), Column("y", "")), (Assertion("", formula),), ())
        text = smtlib_real(problem)
        assert "(set-logic QF_NRA)" in text
        assert z3_says(text, tmp_path) == answer
        if find_spec("cvc5"):
            assert cvc5_says(text) == answer


@given(st.fractions(), st.fractions(max_denominator=1 << 40))
def test_numbers_are_read_back_as_they_are(a: Fraction, b: Fraction) -> None:
    import z3

    for q in (a, b):
        read: Any = z3.parse_smt2_string(f"(declare-fun x () Real)(assert (= x {number(q)}))")
        value: Any = z3.simplify(read[0].arg(1))
        assert Fraction(value.numerator_as_long(), value.denominator_as_long()) == q


def test_names_and_words_of_any_text_stay_names_and_comments(tmp_path: Path) -> None:
    # A line end in a node's name must not end the comment, nor a bar the symbol.
    evil = "node\n(assert false)"
    problem = RealProblem(
        (Column("a|b", evil), Column("1 c", "")), (Assertion(evil, equal(X, 1)), Assertion("", equal(Y, 2))), ()
    )
    text = smtlib_real(problem, "fine\nby me")
    assert text.startswith("; fine\n; by me\n")
    assert z3_says(text, tmp_path) == "sat"


def test_empty_connectives_are_truth_and_falsehood(tmp_path: Path) -> None:
    for formula, answer in ((All(()), "sat"), (AnyOf(()), "unsat"), (at_most(Poly(()), -1), "unsat")):
        assert z3_says(smtlib_real(RealProblem((), (Assertion("", formula),), ())), tmp_path) == answer
