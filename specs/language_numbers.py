"""Numbers of a specification as exact rationals.

    int, Fraction, Decimal      themselves
    float                       its shortest decimal: 0.1 is one tenth
    str                         a decimal, or a quotient of two: "0.1", "-2e-3", "1/255"
    NumPy's numbers             their binary values: np.float32(0.1) is 13421773 / 2^27

A float that was computed (`1 / 255`) has a shortest decimal too, and that decimal is not what was meant.  It cannot be
told for sure from one that was written with 15 digits and more, so there is a warning, which a string avoids.
"""

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import numpy as np

from farkas.specs.diagnostics import fail, warn
from farkas.specs.numbers import decimal

MANY_DIGITS = 15  # significant; 1/255 = 0.00392156862745098 has 15, and nobody writes as many
SMALL = 10_000  # denominators that are offered as the quotient that was meant


def exact(value: object, computed: list[float] | None = None) -> Fraction:
    """The rational that a number of the user's means; raises SpecError for anything that is no finite number.

    computed: takes floats that look computed, so that many of them make one warning (`warn_computed`); None: warn now.
    """
    if isinstance(value, np.generic):  # before float, for numpy.float64 is one
        return _binary(value)
    if isinstance(value, bool):
        return _no_number(value)
    if isinstance(value, int):
        return Fraction(value)
    if isinstance(value, float):
        return _shortest(value, computed)
    if isinstance(value, Fraction):
        return value
    if isinstance(value, str):
        return _text(value)
    return _decimal(value) if isinstance(value, Decimal) else _no_number(value)


def _binary(value: np.generic) -> Fraction:
    """The binary value of a NumPy number."""
    if isinstance(value, np.integer):
        return Fraction(int(value))
    if not isinstance(value, np.floating):
        return _no_number(value)
    if not np.isfinite(value):
        _not_finite(value)
    return Fraction(*value.as_integer_ratio())


def _shortest(value: float, computed: list[float] | None) -> Fraction:
    """The shortest decimal that a float is nearest to."""
    if not math.isfinite(value):
        _not_finite(value)
    text = repr(value)
    digits = text.partition("e")[0].replace(".", "").lstrip("-0")
    if len(digits) >= MANY_DIGITS and not value.is_integer():
        if computed is None:
            warn_computed([value])
        else:
            computed.append(value)
    return Fraction(text)


def warn_computed(values: Sequence[float]) -> None:
    """Warns once about floats that look computed; no warning for none."""
    if not values:
        return
    value = values[0]
    near = Fraction(value).limit_denominator(SMALL)
    meant = f"'{near}'" if float(near) == value else "the quotient or the decimal that was meant, as a string"
    others = f" and {len(values) - 1} more" if len(values) > 1 else ""
    warn(
        "FK204", found=f"{value!r}{others}", wanted="a number whose decimals are the ones that were meant",
        fix=f"{meant}; '{value!r}' if exactly these digits are meant; a NumPy array for binary values",
    )  # fmt: skip


def _text(text: str) -> Fraction:
    """The value of a decimal or of a quotient of two decimals."""
    above, slash, below = text.partition("/")
    numerator, denominator = decimal(above.strip()), decimal(below.strip()) if slash else Fraction(1)
    if numerator is None or denominator is None:
        fail("FK201", found=repr(text[:60]), wanted="a decimal or a quotient", fix="a text such as '0.1' or '1/255'")
    if denominator == 0:
        fail("FK407", found=repr(text), wanted="a quotient with a divisor that is not 0", fix="another divisor")
    return numerator / denominator


def _decimal(value: Decimal) -> Fraction:
    if not value.is_finite():
        _not_finite(value)
    return _text(str(value))


def _not_finite(value: object) -> None:
    fail("FK202", found=str(value), wanted="a finite number", fix="leave the bound out, or write a finite one")


def _no_number(value: object) -> Fraction:
    fail(
        "FK203", found=f"{type(value).__name__} {str(value)[:60]}", wanted="a number",
        fix="int, float, a string such as '1/255', Fraction, Decimal or a NumPy number",
    )  # fmt: skip
