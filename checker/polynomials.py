"""Polynomials while a property is read: what is shared by the readers of both versions."""

from __future__ import annotations

from fractions import Fraction

from farkas.checker.errors import MalformedInput
from farkas.checker.query import Atom

MAX_BITS = 1 << 17
MAX_DEGREE = 64
MAX_TERMS = 1 << 16  # of a product before equal ones are added up

Key = int | tuple[int, ...]
"""2 i for X_i, 2 j + 1 for Y_j, -1 for the constant; for a product the keys of its factors, ascending."""
Form = dict[Key, Fraction]
"""Coefficients by key, none of them zero."""


def add(total: Form, form: Form, factor: Fraction | int) -> None:
    """total += factor * form."""
    for key, coefficient in form.items():
        _put(total, key, factor * coefficient)


def _put(total: Form, key: Key, coefficient: Fraction) -> None:
    value = total.pop(key, Fraction(0)) + coefficient
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise MalformedInput("property", "a number grows beyond all reason")
    if value:
        total[key] = value


def multiply(left: Form, right: Form) -> Form:
    """left * right."""
    if len(left) * len(right) > MAX_TERMS and min(len(left), len(right)) > 1:
        raise MalformedInput("property", f"a product of sums of {len(left)} and {len(right)} terms is too large")
    total: Form = {}
    for one, a in left.items():
        for other, b in right.items():
            factors = tuple(sorted(_factors(one) + _factors(other)))
            if len(factors) > MAX_DEGREE:
                raise MalformedInput("property", f"a product has more than {MAX_DEGREE} factors")
            _put(total, -1 if not factors else factors[0] if len(factors) == 1 else factors, a * b)
    return total


def _factors(key: Key) -> tuple[int, ...]:
    return key if isinstance(key, tuple) else () if key == -1 else (key,)


def at_most(form: Form, strict: bool) -> Atom:
    """The atom form <= 0, or < 0 when strict."""
    single = sorted((key, a) for key, a in form.items() if isinstance(key, int) and key >= 0)
    products = sorted((key, a) for key, a in form.items() if isinstance(key, tuple))
    x = tuple((key // 2, a) for key, a in single if key % 2 == 0)
    y = tuple((key // 2, a) for key, a in single if key % 2 == 1)
    return Atom(x, y, -form.get(-1, Fraction(0)), strict, tuple(products))
