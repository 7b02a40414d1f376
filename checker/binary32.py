"""IEEE-754 binary32 in plain integers: directed and nearest rounding, and correctly rounded + * / fma.

A finite binary32 number is an integer number of *ticks* of 2^-149, and every result below is that integer.  Zeros have
no sign here: no comparison, sum or product of the supported networks can tell -0 from +0.
"""

from __future__ import annotations

from fractions import Fraction
from math import isqrt

TICK = 149
LARGEST = ((1 << 24) - 1) << (127 - 23 + TICK)


class NonFinite(ArithmeticError):
    """A binary32 operation overflowed; such a run is no witness."""


def _quantum(num: int, den: int) -> int:
    """The exponent q of the last place of |num/den| in binary32: at least -149, and 2^(q+23) <= |num/den| if larger."""
    num = abs(num)
    e = num.bit_length() - den.bit_length()
    below = num < (den << e) if e >= 0 else (num << -e) < den
    return max((e - 1 if below else e) - 23, -TICK)


def _divide(num: int, den: int) -> tuple[int, int, int]:
    """(q, k, twice) with num/den = (k + r) 2^q, 0 <= r < 1, at the last place; twice = sign of 2 r - 1, -2 if r = 0."""
    q = _quantum(num, den)
    num, den = (num << -q, den) if q < 0 else (num, den << q)
    k, rest = divmod(num, den)
    twice = -2 if rest == 0 else (2 * rest > den) - (2 * rest < den)
    return q, k, twice


def floor32(x: Fraction) -> int | None:
    """Ticks of the largest finite binary32 <= x; None if there is none."""
    if x == 0:
        return 0
    q, k, _ = _divide(x.numerator, x.denominator)
    ticks = k << (q + TICK)
    if ticks < -LARGEST:
        return None
    return min(ticks, LARGEST)


def ceil32(x: Fraction) -> int | None:
    """Ticks of the smallest finite binary32 >= x; None if there is none."""
    ticks = floor32(-x)
    return None if ticks is None else -ticks


def nearest32(x: Fraction) -> int:
    """Ticks of x rounded to nearest, ties to even.  Raises NonFinite on overflow."""
    if x == 0:
        return 0
    q, k, twice = _divide(x.numerator, x.denominator)
    if twice > 0 or (twice == 0 and k & 1):
        k += 1
    return _finite(k << (q + TICK))


def above32(ticks: int) -> int | None:
    """The next binary32 above a binary32 number, both in ticks; None above the largest."""
    return ceil32(value(ticks) + Fraction(1, 1 << (TICK + 1)))


def value(ticks: int) -> Fraction:
    """The number itself."""
    return Fraction(ticks, 1 << TICK)


def _finite(ticks: int) -> int:
    if not -LARGEST <= ticks <= LARGEST:
        raise NonFinite("binary32 overflow")
    return ticks


def _round(n: int, extra: int) -> int:
    """n 2^-(149 + extra) rounded to nearest even, in ticks."""
    size = abs(n)
    drop = max(size.bit_length() - 24, extra)
    if drop <= 0:
        return n
    k = size >> drop
    rest = size - (k << drop)
    half = 1 << (drop - 1)
    if rest > half or (rest == half and k & 1):
        k += 1
    ticks = k << (drop - extra)
    return _finite(-ticks if n < 0 else ticks)


def add32(a: int, b: int) -> int:
    """fl(a + b), in ticks."""
    return _round(a + b, 0)


def multiply32(a: int, b: int) -> int:
    """fl(a b), in ticks."""
    return _round(a * b, TICK)


def fma32(a: int, b: int, c: int) -> int:
    """fl(a b + c) with one rounding, in ticks."""
    return _round(a * b + (c << TICK), TICK)


def divide32(a: int, b: int) -> int:
    """fl(a / b), in ticks; b is not zero."""
    return nearest32(Fraction(a, b))


def sqrt32(a: int) -> int:
    """fl(sqrt(a)), in ticks, for a >= 0."""
    extra = 64  # sqrt(a 2^-149) in units of 2^-(149 + extra), cut off, and one bit that says whether something was
    square = a << (TICK + 2 * extra)
    root = isqrt(square)
    return _round(2 * root + (root * root < square), extra + 1)


def from_bits(bits: int) -> int:
    """Ticks of a 32-bit pattern.  Raises NonFinite for infinities and NaN."""
    exponent, fraction = bits >> 23 & 0xFF, bits & 0x7FFFFF
    if exponent == 0xFF:
        raise NonFinite(f"bits {bits:08x} are not finite")
    ticks = fraction if exponent == 0 else (fraction | 1 << 23) << (exponent - 1)
    return -ticks if bits >> 31 else ticks


def is_binary32(x: Fraction) -> bool:
    """Whether x is a finite binary32 number."""
    return floor32(x) == ceil32(x) is not None
