"""Witness text in the format of VNN-COMP: `((X_0 v)`, one pair per line, X in order, then Y in order, `)` at the end.

Values are written as exact decimals.  Every binary32 number is one (its denominator is a power of two), so a reader
that rounds to nearest gets back the very bits, and one that keeps the decimals sees a point inside the exact box.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import NoReturn

import numpy as np

from farkas.specs.boxes import Vector32, nearest32
from farkas.specs.errors import MalformedWitness
from farkas.specs.numbers import decimal

Value = float | np.floating | Fraction

_PAIR = re.compile(r"\(\s*([XY])_(0|[1-9][0-9]*)\s+([^\s()]+)\s*\)", re.ASCII)


@dataclass(frozen=True)
class Witness:
    """A counterexample as printed: the literals of X_0, X_1, ... and of Y_0, Y_1, ..."""

    x: tuple[str, ...]
    y: tuple[str, ...]

    @property
    def inputs(self) -> tuple[Fraction, ...]:
        """The exact values of the inputs."""
        return tuple(map(_value, self.x))

    @property
    def outputs(self) -> tuple[Fraction, ...]:
        """The exact values of the outputs."""
        return tuple(map(_value, self.y))

    def inputs32(self) -> Vector32:
        """The inputs as a runtime reads them: nearest binary32, sign of zero kept; (n,) float32.

        Raises MalformedWitness when a value lies beyond the binary32 range.
        """
        return np.array([_nearest(word) for word in self.x], dtype=np.float32)


@dataclass(frozen=True)
class Named:
    """One variable, or one network's output, of a witness, by its name in the specification.

    labels: names of the entries, or none; values: exact, flat in row-major order, one for every entry of `shape`.
    """

    name: str
    shape: tuple[int, ...]
    labels: tuple[str, ...]
    values: tuple[Fraction, ...]

    def __post_init__(self) -> None:
        if len(self.values) != prod(self.shape):
            raise ValueError(f"{self.name}: {len(self.values)} values for the shape {self.shape}")
        if self.labels and len(self.labels) != len(self.values):
            raise ValueError(f"{self.name}: {len(self.labels)} labels for {len(self.values)} values")

    def __getitem__(self, entry: int | str) -> Fraction:
        """The value of an entry, by its label or its position."""
        return self.values[self.labels.index(entry) if isinstance(entry, str) else entry]

    @property
    def entries(self) -> tuple[tuple[str, Fraction], ...]:
        """Every entry as the specification would write it, with its value: `x.range`, `x[0, 3]`, or `x` alone."""
        return tuple((f"{self.name}{place}", value) for place, value in zip(self._places(), self.values, strict=True))

    def _places(self) -> list[str]:
        if self.labels:
            return [f".{label}" for label in self.labels]
        if not self.shape:
            return [""]
        return [f"[{', '.join(map(str, index))}]" for index in np.ndindex(self.shape)]


def exact_decimal(value: Value) -> str:
    """The finite decimal that equals the value: `0.5`, `-0.0`, `3.0`; no exponent.

    Raises ValueError when the value is not finite or its decimal expansion is not.
    """
    q = Fraction(value) if isinstance(value, Fraction) else _finite(float(value))
    twos = (q.denominator & -q.denominator).bit_length() - 1
    fives, rest = 0, q.denominator >> twos
    while rest % 5 == 0:
        fives, rest = fives + 1, rest // 5
    if rest != 1:
        raise ValueError(f"{q} has no finite decimal expansion")
    places = max(twos, fives, 1)
    digits = str(abs(q.numerator) * 10**places // q.denominator).rjust(places + 1, "0")
    negative = q < 0 or (q == 0 and not isinstance(value, Fraction) and bool(np.signbit(value)))
    return f"{'-' if negative else ''}{digits[:-places]}.{digits[-places:]}"


def _finite(value: float) -> Fraction:
    """The exact value of a float."""
    if not np.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return Fraction(value)


def write_witness(inputs: Iterable[Value], outputs: Iterable[Value]) -> str:
    """The assignment of a witness file, without the first line `sat`; ends with a line end.

    inputs, outputs: flat, binary32 (or any) floats, or rationals; one without a finite decimal expansion, which no file
    can hold, is written as a quotient, for people.
    """
    pairs = [f"(X_{i} {literal(value)})" for i, value in enumerate(inputs)]
    pairs += [f"(Y_{j} {literal(value)})" for j, value in enumerate(outputs)]
    return "(" + "\n".join(pairs) + ")\n"


def literal(value: Value) -> str:
    """The exact decimal; for a rational that has none, its quotient as SMT-LIB writes it."""
    try:
        return exact_decimal(value)
    except ValueError:
        if not isinstance(value, Fraction):
            raise
        sign = "(- " if value < 0 else ""
        return f"{sign}(/ {abs(value.numerator)} {value.denominator}){')' if sign else ''}"


def read_witness(text: str) -> Witness:
    """The assignment in a witness file; a first line `sat` is optional.

    Raises MalformedWitness on anything but X_0, X_1, ... and then Y_0, Y_1, ... in order, each with a finite decimal.
    """
    body = text.strip()
    if body.startswith("sat"):
        body = body[3:].strip()
    if not (body.startswith("(") and body.endswith(")")):
        _fail("found no list in parentheses, wanted ((X_0 value) (X_1 value) ... (Y_0 value) ...)")
    x: list[str] = []
    y: list[str] = []
    for kind, index, word in _pairs(body[1:-1]):
        values = x if kind == "X" else y
        if index != len(values) or (kind == "X" and y):
            _fail(f"found {kind}_{index}, wanted {'Y_' + str(len(y)) if y else 'X_' + str(len(x))}")
        _value(word)
        values.append(word)
    if not x:
        _fail("found no X_0, wanted a value for every input")
    return Witness(tuple(x), tuple(y))


def _pairs(body: str) -> Iterator[tuple[str, int, str]]:
    """The pairs of a list, in order; nothing but white space may stand between them."""
    end = 0
    for match in _PAIR.finditer(body):
        if body[end : match.start()].strip():
            break
        yield match[1], int(match[2]), match[3]
        end = match.end()
    if body[end:].strip():
        _fail(f"found {body[end:].strip()[:40]!a}, wanted (X_i value) or (Y_j value)")


def _value(word: str) -> Fraction:
    """The exact value of a literal."""
    value = decimal(word)
    if value is None:
        _fail(f"found {word[:40]!a}, wanted a finite decimal number")
    return value


def _nearest(word: str) -> float:
    """The nearest binary32 value of a literal."""
    value = nearest32(_value(word))
    if value is None:
        _fail(f"found {word[:40]}, wanted a number in the binary32 range")
    return -0.0 if value == 0 and word.startswith("-") else value


def _fail(message: str) -> NoReturn:
    raise MalformedWitness(message)
