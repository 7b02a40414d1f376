"""Linear atoms over binary32 values in the floating-point theory, read in exact rationals: nothing of them may round.

- a v <= c with one variable: v is compared with c / a rounded to the side on which the binary32 numbers are that
  satisfy it; there is none between the two.
- u <= v: fp.leq.
- Otherwise the atom is scaled to integers, a_1 v_1 + ... + a_n v_n <= c.  Of two variables, and with coefficients of
  up to 29 significant bits, one product is exact in binary64, and one fma there, rounded upward for <= and downward
  for <, decides it: a number is at most c just when its rounding upward is, for c is a number of the format.
- Else every variable is taken as the integer 2^149 v, a bit-vector of 278 bits or more, and the sum is one of
  integers.  (Wider floats would do, but bitwuzla has no formats but those of IEEE-754, and cvc5 none beyond
  binary64.)  Beyond 1024 bits the atom is refused: the encoding over the reals has no such limit.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from farkas.ir.errors import FarkasError
from farkas.specs.boxes import down32, up32

NEAREST = "roundNearestTiesToEven"
SORT64 = "11 53"
BITS_OF_A_NUMBER = 278  # of 2^149 v for a binary32 number v, with its sign
WIDEST = 1024


class NoExactAtom(FarkasError):
    """An atom whose exact reading takes integers beyond reason."""


class AtomText(NamedTuple):
    """An atom as a formula; summed: the values that it names as integers, for which `bits_text` is wanted before."""

    text: str
    summed: tuple[str, ...] = ()


def atom_text(terms: Sequence[tuple[str, Fraction]], c: Fraction, *, strict: bool) -> AtomText:
    """`sum a v <= c` (< c when strict) over finite binary32 values v, a != 0, exactly; raises NoExactAtom."""
    match terms:
        case []:
            return AtomText("true" if c > 0 or (c == 0 and not strict) else "false")
        case [(v, a)]:
            return AtomText(_single(v, a, c, strict=strict))
        case [(u, a), (v, b)] if a == -b and c == 0:
            return AtomText(f"({_less(strict)} {u} {v})" if a > 0 else f"({_less(strict)} {v} {u})")
        case _:
            scale = math.lcm(c.denominator, *(a.denominator for _, a in terms))
            weights = sorted(((int(a * scale), v) for v, a in terms), key=lambda pair: _significant(pair[0]))
            if _fits_binary64(weights, int(c * scale)):
                return AtomText(_fused(weights, int(c * scale), strict=strict))
            return AtomText(_summed(weights, int(c * scale), strict=strict), tuple(v for v, _ in terms))


def _single(v: str, a: Fraction, c: Fraction, *, strict: bool) -> str:
    limit = c / a
    bound = down32(limit) if a > 0 else up32(limit)
    if bound is None:
        return "false"  # every finite number lies on the other side
    less = _less(strict and Fraction(bound) == limit)
    end = literal(np.float32(bound))
    return f"({less} {v} {end})" if a > 0 else f"({less} {end} {v})"


def _fits_binary64(weights: Sequence[tuple[int, str]], limit: int) -> bool:
    """Whether one product, the other factor and the limit are binary64 numbers; the first has the shortest factor."""
    numbers = [*(a for a, _ in weights), limit]
    small = all(_significant(a) <= 53 and abs(a) < 2**512 for a in numbers)
    return len(weights) == 2 and small and _significant(weights[0][0]) <= 29


def _fused(weights: Sequence[tuple[int, str]], limit: int, *, strict: bool) -> str:
    (a, u), (b, v) = weights
    product = f"(fp.mul {NEAREST} {_literal64(a)} {_widened(u)})"
    mode = "roundTowardNegative" if strict else "roundTowardPositive"
    return f"({_less(strict)} (fp.fma {mode} {_literal64(b)} {_widened(v)} {product}) {_literal64(limit)})"


def _widened(v: str) -> str:
    return f"((_ to_fp {SORT64}) {NEAREST} {v})"


def _literal64(value: int) -> str:
    bits = f"{struct.unpack('<Q', struct.pack('<d', float(value)))[0]:064b}"
    return f"(fp #b{bits[0]} #b{bits[1:12]} #b{bits[12:]})"


def _significant(value: int) -> int:
    """Bits from the highest to the lowest one that is set."""
    magnitude = abs(value)
    return magnitude.bit_length() - ((magnitude & -magnitude).bit_length() - 1) if magnitude else 0


def _summed(weights: Sequence[tuple[int, str]], limit: int, *, strict: bool) -> str:
    """In integers: sum a (2^149 v) <= 2^149 c."""
    size = max(sum(abs(a) for a, _ in weights).bit_length() + BITS_OF_A_NUMBER, abs(limit).bit_length() + 149) + 1
    if size > WIDEST:
        raise NoExactAtom(
            f"an atom needs integers of {size} bits to be read exactly, and {WIDEST} are in reach here; its encoding "
            "over the reals (--format smt2-lra) has no such limit"
        )
    parts = [f"(bvmul {_integer(a, size)} ((_ sign_extend {size - BITS_OF_A_NUMBER}) {scaled(v)}))" for a, v in weights]
    return f"({'bvslt' if strict else 'bvsle'} (bvadd {' '.join(parts)}) {_integer(limit << 149, size)})"


def _integer(value: int, bits: int) -> str:
    return f"(_ bv{value % (1 << bits)} {bits})"


def scaled(v: str) -> str:
    """The name of 2^149 v as an integer."""
    return f"scaled.{v}"


def bits_text(v: str) -> Iterator[str]:
    """Commands that name the bits of a finite binary32 value, and the integer 2^149 v.

    With exponent field e and fraction f the magnitude is f for e = 0, else (2^23 + f) 2^(e - 1).
    """
    field, significand = f"((_ extract 30 23) bits.{v})", f"((_ extract 22 0) bits.{v})"
    size = BITS_OF_A_NUMBER
    zero = "(_ bv0 8)"
    yield f"(declare-const bits.{v} (_ BitVec 32))"
    yield f"(assert (= {v} ((_ to_fp 8 24) bits.{v})))"
    yield (
        f"(define-fun magnitude.{v} () (_ BitVec {size}) (bvshl ((_ zero_extend {size - 24}) "
        f"(concat (ite (= {field} {zero}) #b0 #b1) {significand})) ((_ zero_extend {size - 8}) "
        f"(ite (= {field} {zero}) {zero} (bvsub {field} (_ bv1 8))))))"
    )
    yield (
        f"(define-fun {scaled(v)} () (_ BitVec {size}) "
        f"(ite (= ((_ extract 31 31) bits.{v}) #b1) (bvneg magnitude.{v}) magnitude.{v}))"
    )


def literal(value: np.float32) -> str:
    """A binary32 number, bit by bit; NaN and infinities by name."""
    if np.isnan(value):
        return "(_ NaN 8 24)"
    bits = f"{int(value.view(np.uint32)):032b}"
    return f"(fp #b{bits[0]} #b{bits[1:9]} #b{bits[9:]})"


def _less(strict: bool) -> str:
    return "fp.lt" if strict else "fp.leq"
