"""Polynomials and formulas over the rationals: algebra by evaluation, truth by hand."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.encoders.real_terms import (
    All,
    AnyOf,
    Assertion,
    Column,
    Poly,
    RealProblem,
    Step,
    at_most,
    below,
    degree,
    equal,
    holds,
)

X, Y = Poly.variable(0), Poly.variable(1)
fractions = st.fractions(-3, 3, max_denominator=6)
monomials = st.lists(st.integers(0, 1), max_size=2).map(lambda factors: tuple(sorted(factors)))
polys = st.lists(st.tuples(monomials, fractions), max_size=4).map(Poly.of)


@given(polys, polys, fractions, st.tuples(fractions, fractions))
def test_sums_and_products_have_the_values_of_their_parts(
    p: Poly, q: Poly, c: Fraction, at: tuple[Fraction, ...]
) -> None:
    assert (p + q).value(at) == p.value(at) + q.value(at)
    assert (p - q).value(at) == p.value(at) - q.value(at)
    assert (p * q).value(at) == p.value(at) * q.value(at)
    assert (c - p * c).value(at) == c - p.value(at) * c


def test_equal_monomials_are_one_and_what_cancels_is_gone() -> None:
    assert (X * Y + Y * X).terms == (((0, 1), Fraction(2)),)
    assert ((X + 1) - X - 1).terms == ()
    assert (X - X * Y + X * Y).degree == 1


def test_formulas_are_true_where_a_hand_calculation_says_so() -> None:
    # x + y <= 1 and (x < 0 or x y = 1/4) at (1/2, 1/2), (-1, 2), (0, 1)
    formula = All((at_most(X + Y, 1), AnyOf((below(X, 0), equal(X * Y, Fraction(1, 4))))))
    assert degree(formula) == 2
    half = Fraction(1, 2)
    assert holds(formula, (half, half))
    assert holds(formula, (Fraction(-1), Fraction(2)))
    assert not holds(formula, (Fraction(0), Fraction(1)))
    assert not holds(AnyOf(()), ()) and holds(All(()), ())


@pytest.mark.parametrize("x, r", [(3, 1), (1, 0)])
def test_a_run_gives_every_column_from_the_free_ones(x: int, r: int) -> None:
    # r = max(0, x - 2)
    column = Poly.variable(1)
    problem = RealProblem(
        (Column("x", ""), Column("r", "")),
        (Assertion("", at_most(X - 2, column)),),
        (Step(1, X - 2, rectified=True),),
    )
    assert problem.free == (0,)
    assert problem.run({0: Fraction(x)}) == (Fraction(x), Fraction(r))
    assert problem.holds_at((Fraction(x), Fraction(r)))
    assert not problem.holds_at((Fraction(x), Fraction(x - 3)))
