"""Decimal literals against the decimal module, and the order of interned numbers against that of the rationals."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.specs.numbers import Numbers, decimal

digits = st.text(alphabet="0123456789", max_size=30)
literals = st.builds(
    lambda sign, whole, point, decimals, exponent: (
        f"{sign}{whole}{'.' if point or decimals else ''}{decimals}{exponent}"
    ),
    st.sampled_from(("", "+", "-")),
    digits,
    st.booleans(),
    digits,
    st.one_of(
        st.just(""), st.integers(-400, 400).map(lambda e: f"e{e}"), st.integers(0, 30).map(lambda e: f"E+{e:03}")
    ),
).filter(lambda word: any(c.isdigit() for c in word.lower().split("e")[0]))


@given(literals)
def test_literal_has_the_value_that_the_decimal_module_gives_it(word: str) -> None:
    assert decimal(word) == Fraction(Decimal(word))


@pytest.mark.parametrize(
    "word", ["", "+", ".", "e5", "-.e1", "1e", "1e+", "nan", "inf", "1_0", "1/2", "0x1", " 1", "1 ", "1\n", "²"]
)
def test_what_is_no_decimal_literal_has_no_value(word: str) -> None:
    assert decimal(word) is None


def test_literals_that_would_fill_the_memory_are_refused() -> None:
    assert decimal("1e9999") == 10**9999
    assert decimal("1e-9999") == Fraction(1, 10**9999)
    assert decimal("0." + "1" * 3998) is not None
    for word in ("1e10000", "1e-10000", "1e999999999999", "0." + "1" * 3999):
        assert decimal(word) is None


@given(
    st.lists(st.one_of(st.fractions(), st.sampled_from([1, 10**400, -(10**400)]).map(Fraction)), min_size=2, max_size=6)
)
def test_interned_numbers_are_ordered_and_identified_like_their_values(values: list[Fraction]) -> None:
    tiny = Fraction(1, 10**40)  # below any difference that floats see
    values = [*values, *(value + tiny for value in values)]
    numbers = Numbers()
    for p in values:
        for q in values:
            assert (numbers.intern(p) < numbers.intern(q)) == (p < q)
            assert (numbers.intern(p) is numbers.intern(q)) == (p == q)


def test_equal_literals_are_one_object() -> None:
    numbers = Numbers()
    assert numbers.read("0.50") is numbers.read("5e-1") is numbers.intern(Fraction(1, 2))
    assert numbers.read("x") is None
