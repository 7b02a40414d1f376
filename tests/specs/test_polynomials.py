"""Arithmetic of polynomials: the value of a result is the result of the values, at points drawn at random."""

from __future__ import annotations

from fractions import Fraction as Q
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.specs.polynomials import Polynomial, TooLong, apply, combine, multiply, scale, variable

VARIABLES = (("X", 0), ("X", 1), ("X", 10), ("Y", 0), ("Y", 2))
numbers = st.sampled_from([Q(n, d) for n in range(-3, 4) for d in (1, 2, 5)])
factors = st.lists(st.sampled_from(VARIABLES), min_size=1, max_size=3).map(lambda found: tuple(sorted(found)))
polynomials = st.builds(
    Polynomial, st.dictionaries(factors, numbers.filter(bool), max_size=4), numbers
)  # fmt: skip
points = st.fixed_dictionaries(dict.fromkeys(VARIABLES, numbers))
Point = dict[tuple[str, int], Q]


def value(form: Polynomial, point: Point) -> Q:
    return sum((a * prod(point[name] for name in key) for key, a in form.terms.items()), form.constant)


@given(polynomials, polynomials, numbers, points)
def test_values_follow_the_arithmetic(p: Polynomial, q: Polynomial, factor: Q, point: Point) -> None:
    a, b = value(p, point), value(q, point)
    assert value(multiply(p, q), point) == a * b
    assert value(combine(p, q, factor), point) == a + factor * b
    assert value(scale(p, factor), point) == factor * a


@given(st.lists(polynomials, min_size=1, max_size=4), points)
def test_operators_are_associated_to_the_left(forms: list[Polynomial], point: Point) -> None:
    first, *others = values = [value(form, point) for form in forms]
    assert value(apply("+", forms), point) == sum(values)
    assert value(apply("*", forms), point) == prod(values)
    assert value(apply("-", forms), point) == (first - sum(others) if others else -first)


@given(polynomials, polynomials)
def test_results_are_in_order_and_have_no_zeros(p: Polynomial, q: Polynomial) -> None:
    for form in (multiply(p, q), combine(p, q, Q(-1))):
        assert all(form.terms.values())
        assert all(list(key) == sorted(key) for key in form.terms)
    assert combine(p, p, Q(-1)) == Polynomial({}, Q(0))


def test_a_square_of_a_sum_by_hand() -> None:
    x, half = variable("X", 0), Polynomial({}, Q(1, 2))
    shifted = apply("-", [x, half])
    square = (("X", 0), ("X", 0))
    assert apply("*", [shifted, shifted]) == Polynomial({square: Q(1), (("X", 0),): Q(-1)}, Q(1, 4))


def test_products_that_nobody_can_use_are_refused_before_they_are_made() -> None:
    many = Polynomial({(("X", i),): Q(1) for i in range(300)}, Q(0))
    with pytest.raises(TooLong, match="sums of 300 and 300 terms"):
        multiply(many, many)
    with pytest.raises(TooLong, match="65 variables"):
        apply("*", [variable("Y", 0)] * 65)
