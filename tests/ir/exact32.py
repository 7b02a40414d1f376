"""Binary32 in plain rationals, independent of NumPy's: the other source of expected values in these tests."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

Flush = Literal["keep", "before", "after"]
SMALLEST_NORMAL = Fraction(1, 2**126)
LARGEST = Fraction(2**128 - 2**104)


class Overflowed(Exception):
    """The rounded result is no finite binary32 number."""


def round32(value: Fraction, flush: Flush = "keep") -> Fraction:
    """Nearest binary32 number, ties to even; `flush` takes results below the normal range to 0.

    before/after: tininess is looked at before or after rounding, as processors differ.
    """
    if value == 0:
        return Fraction(0)
    magnitude = abs(value)
    if flush == "before" and magnitude < SMALLEST_NORMAL:
        return Fraction(0)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if magnitude < Fraction(2) ** exponent:
        exponent -= 1
    ulp = Fraction(2) ** (max(exponent, -126) - 23)
    rounded = round(magnitude / ulp) * ulp  # Python's round of a Fraction: nearest, ties to even
    if rounded > LARGEST:
        raise Overflowed
    if flush == "after" and rounded < SMALLEST_NORMAL:
        rounded = Fraction(0)
    return rounded if value > 0 else -rounded


def fma32(a: Fraction, b: Fraction, c: Fraction) -> Fraction:
    return round32(a * b + c)


def dot(order: str, w: Sequence[Fraction], x: Sequence[Fraction], bias: Fraction | None) -> Fraction:
    """One row's sum of products in a declared order, transcribed from docs/semantics.md."""
    if order == "mlas-k256-fma":
        y = bias if bias is not None else Fraction(0)
        for block in range(0, len(w), 256):
            acc = Fraction(0)
            for k in range(block, min(block + 256, len(w))):
                acc = fma32(w[k], x[k], acc)
            y = round32(y + acc)
        return y
    acc = Fraction(0)
    for wk, xk in zip(w, x, strict=True):
        acc = fma32(wk, xk, acc) if order == "seq-fma" else round32(acc + round32(wk * xk))
    return acc if bias is None else round32(acc + bias)


def from_bits(bits: int) -> float:
    """The binary32 number with these bits."""
    value: float = struct.unpack("<f", struct.pack("<I", bits))[0]
    return value
