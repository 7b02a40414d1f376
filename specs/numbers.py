"""Decimal literals as exact rationals, one object for each value.

A number is a pair (nearest float, exact value).  Python compares such pairs by the float and looks at the exact
value only when the floats are equal; rounding to nearest is monotone, so the order is the exact one at the speed of
floats.  Within one reading equal values are the same object, so that a box can be recognised by the identities of
its numbers: hashing a Fraction costs a modular power.
"""

import re
from fractions import Fraction

Number = tuple[float, Fraction]

MAX_LITERAL = 4000  # characters; Python converts at most 4300 digits
MAX_SHOWN_BITS = 14_000  # of a number in a message: 4215 digits
MAX_EXPONENT = 9999  # decimal; binary64 ends at 308, and an exact 10**(10**9) would fill the memory

_NUMBER = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,6}))?", re.ASCII)


def decimal(word: str) -> Fraction | None:
    """The exact value of a decimal literal (`-1`, `.5`, `1e-06`); None when the word is none.

    Not numbers: NaN, inf, hexadecimal, fractions, digit separators, and literals beyond MAX_LITERAL or MAX_EXPONENT.
    """
    match = _NUMBER.fullmatch(word) if len(word) <= MAX_LITERAL else None
    if match is None:
        return None
    sign, whole, decimals, exponent = match.groups("")
    if not (whole or decimals) or abs(int(exponent or 0)) > MAX_EXPONENT:
        return None
    power = int(exponent or 0) - len(decimals)
    mantissa = int(sign + whole + decimals)
    return Fraction(mantissa * 10**power) if power >= 0 else Fraction(mantissa, 10**-power)


def brief(value: Fraction) -> str:
    """The number for messages, whatever its length: Python refuses to write more than 4300 digits."""
    bits = max(value.numerator.bit_length(), value.denominator.bit_length())
    return str(value) if bits <= MAX_SHOWN_BITS else f"(a number of {bits} bits)"


class Numbers:
    """The numbers of one reading."""

    def __init__(self) -> None:
        self._by_word: dict[str, Number] = {}
        self._by_value: dict[tuple[int, int], Number] = {}

    def read(self, word: str) -> Number | None:
        """The number that a literal means, None when the word is no literal."""
        known = self._by_word.get(word)
        if known is None:
            value = decimal(word)
            if value is None:
                return None
            known = self._by_word[word] = self.intern(value)
        return known

    def intern(self, value: Fraction) -> Number:
        """The one object of this reading that stands for the value."""
        key = value.numerator, value.denominator
        known = self._by_value.get(key)
        if known is None:
            known = self._by_value[key] = _nearest(value), value
        return known


def _nearest(value: Fraction) -> float:
    """The nearest float; infinite beyond the range, which keeps the order."""
    try:
        return value.numerator / value.denominator
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
