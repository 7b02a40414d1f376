"""Witnesses: a point of the input set, executed step by step, whose outputs make all atoms of one disjunct true.

Executors of binary32 (every product, sum and quotient correctly rounded, ties to even; the order of a row is the
order of the stored taps, and every step of the file is executed by itself):

    seq-fma         acc = 0; acc = fma(w, a, acc) for every product; acc + bias
    seq-muladd      acc = 0; acc = acc + w a, rounded twice, for every product; acc + bias
    mlas-k256-fma   y = bias (0 without); per block of 256 products: acc = 0; acc = fma(w, a, acc); y = y + acc

and `exact` evaluates over the rationals, for the semantics `real`.  Each of the former is an admissible execution of
`f32-any`.  A value that overflows is no witness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any

from farkas.checker import binary32
from farkas.checker.errors import CertificateRejected
from farkas.checker.query import Atom, Case, Property, grid_interval
from farkas.checker.steps import (
    Channel,
    Choose,
    Copy,
    Leaky,
    Magnitude,
    Mean,
    Normalize,
    Product,
    Program,
    Rectify,
    Scale,
    Source,
    Step,
    Sum,
    View,
)

BLOCK = 256


@dataclass(frozen=True)
class Arithmetic:
    """How an executor computes on its numbers: `dot` sums the products of a row, starting from the bias."""

    constant: Callable[[float], Any]
    dot: Callable[[Sequence[Any], Sequence[Any], Any], Any]
    add: Callable[[Any, Any], Any]
    multiply: Callable[[Any, Any], Any]
    divide: Callable[[Any, Any], Any]
    root: Callable[[Any], Any]


def _ticks(x: float) -> int:
    numerator, denominator = x.as_integer_ratio()
    return (numerator << binary32.TICK) // denominator


def _seq_fma(weights: Sequence[int], values: Sequence[int], bias: int | None) -> int:
    total = 0
    for w, a in zip(weights, values, strict=True):
        total = binary32.fma32(w, a, total)
    return total if bias is None else binary32.add32(total, bias)


def _seq_muladd(weights: Sequence[int], values: Sequence[int], bias: int | None) -> int:
    total = 0
    for w, a in zip(weights, values, strict=True):
        total = binary32.add32(total, binary32.multiply32(w, a))
    return total if bias is None else binary32.add32(total, bias)


def _k256_fma(weights: Sequence[int], values: Sequence[int], bias: int | None) -> int:
    total = 0 if bias is None else bias
    for start in range(0, len(weights), BLOCK):
        block = _seq_fma(weights[start : start + BLOCK], values[start : start + BLOCK], None)
        total = binary32.add32(total, block)
    return total


def _exact_dot(weights: Sequence[Fraction], values: Sequence[Fraction], bias: Fraction | None) -> Fraction:
    total = Fraction(0) if bias is None else bias
    for w, a in zip(weights, values, strict=True):
        total += w * a
    return total


def _no_root(_: Fraction) -> Fraction:
    raise CertificateRejected("POINT", "the network has a square root, which has no exact value")


def _rounded(dot: Callable[[Sequence[int], Sequence[int], int | None], int]) -> Arithmetic:
    return Arithmetic(_ticks, dot, binary32.add32, binary32.multiply32, binary32.divide32, binary32.sqrt32)


EXECUTORS = {
    "seq-fma": _rounded(_seq_fma),
    "seq-muladd": _rounded(_seq_muladd),
    "mlas-k256-fma": _rounded(_k256_fma),
    "exact": Arithmetic(Fraction, _exact_dot, Fraction.__add__, Fraction.__mul__, Fraction.__truediv__, _no_root),
}


def execute(program: Program, x: Sequence[Any], arithmetic: Arithmetic) -> list[Any]:
    """The output at x (ticks, or fractions for `exact`).  Raises binary32.NonFinite on overflow."""
    values: list[list[Any]] = [list(x)]
    for step in program.steps[1:]:
        values.append(_execute(step, values, arithmetic))
    return values[program.output]


def _execute(step: Step, values: Sequence[list[Any]], arithmetic: Arithmetic) -> list[Any]:
    constant = arithmetic.constant
    match step:
        case Source():
            return values[0]
        case Rectify(number):
            return [max(v, 0) for v in values[number]]
        case Leaky(number, slope):
            low = constant(slope)
            return [v if v >= 0 else arithmetic.multiply(low, v) for v in values[number]]
        case Magnitude(number):
            return [abs(v) for v in values[number]]
        case Choose(left, right, smaller, _):
            u, v = _operand(left, values, arithmetic), _operand(right, values, arithmetic)
            return list(map(min if smaller else max, u, v))
        case Copy(elements):
            return [values[e[0]][e[1]] if isinstance(e, tuple) else constant(e) for e in elements]
        case Mean(x, picked, divisors, _):
            a, one = _read(x, values), constant(1.0)
            sums = [arithmetic.dot([one] * len(row), [a[p] for p in row], None) for row in picked]
            return [arithmetic.divide(v, constant(float(d))) for v, d in zip(sums, divisors, strict=True)]
        case Normalize(x, channels, epsilon):
            return _normalize(_read(x, values), channels, epsilon, arithmetic)
        case Product(x, rows, bias, _):
            a = _read(x, values)
            known: dict[int, list[Any]] = {}
            result = []
            for j, (positions, weights) in enumerate(rows):
                if id(weights) not in known:
                    known[id(weights)] = list(map(constant, weights))
                b = None if bias is None else constant(bias[j])
                result.append(arithmetic.dot(known[id(weights)], [a[p] for p in positions], b))
            return result
        case Scale(x, factors, divide, _):
            apply = arithmetic.divide if divide else arithmetic.multiply
            return [apply(v, constant(f)) for v, f in zip(_read(x, values), factors, strict=True)]
        case Sum(left, right, minus, _):
            u, v = _operand(left, values, arithmetic), _operand(right, values, arithmetic)
            return [arithmetic.add(p, -q if minus else q) for p, q in zip(u, v, strict=True)]


def _normalize(x: Sequence[Any], channels: Sequence[Channel], epsilon: float, arithmetic: Arithmetic) -> list[Any]:
    """x factor + shift, with factor = scale / sqrt(variance + epsilon) and shift = bias - mean factor."""
    constant, lines = arithmetic.constant, {}
    for c in dict.fromkeys(channels):
        spread = arithmetic.root(arithmetic.add(constant(c.variance), constant(epsilon)))
        factor = arithmetic.divide(constant(c.scale), spread)
        lines[c] = factor, arithmetic.add(constant(c.bias), -arithmetic.multiply(constant(c.mean), factor))
    return [arithmetic.add(arithmetic.multiply(v, lines[c][0]), lines[c][1]) for v, c in zip(x, channels, strict=True)]


def _operand(operand: View | Sequence[float], values: Sequence[list[Any]], arithmetic: Arithmetic) -> list[Any]:
    return _read(operand, values) if isinstance(operand, View) else list(map(arithmetic.constant, operand))


def _read(view: View, values: Sequence[list[Any]]) -> list[Any]:
    whole = values[view.step]
    return whole if view.index is None else [whole[i] for i in view.index]


@dataclass(frozen=True)
class Asked:
    """The property as it stands in the file, and for each of its inputs the input of the program that it is."""

    property: Property
    columns: tuple[int, ...]


def check_point(asked: Asked, rounded: bool, program: Program, data: object) -> str:
    """Accepts the content of a POINT frame or raises CertificateRejected; returns the executor's name.

    rounded: whether the semantics are those of binary32.
    """
    match data:
        case {
            "case": int(c),
            "disjunct": int(d),
            "executor": str(executor),
            "input": list(x),
            "output": list(y),
            **rest,
        }:
            if rest or isinstance(c, bool) or isinstance(d, bool):
                raise CertificateRejected("POINT", f"it has keys that are not read: {sorted(map(str, rest))}")
        case _:
            raise CertificateRejected("POINT", "it must have case, disjunct, executor, input and output")
    if executor not in EXECUTORS or (executor == "exact") == rounded:
        raise CertificateRejected("POINT", f"executor {executor!r} is not one of these semantics")
    cases = asked.property.cases
    if not 0 <= c < len(cases) or not 0 <= d < len(cases[c].disjuncts):
        raise CertificateRejected("POINT", f"the property has no disjunct {d} in case {c}")
    inputs, outputs = (_fractions(v, rounded, name) for v, name in ((x, "input"), (y, "output")))
    if len(inputs) != len(asked.columns) or len(outputs) != program.sizes[program.output]:
        raise CertificateRejected("POINT", f"{len(inputs)} inputs and {len(outputs)} outputs do not fit the network")
    _check_inside(cases[c], inputs, rounded)
    if _run(program, _free(inputs, asked.columns), executor) != outputs:
        raise CertificateRejected("POINT", f"executor {executor} computes other outputs")
    for number, atom in enumerate(cases[c].disjuncts[d]):
        if not _holds(atom, inputs, outputs):
            raise CertificateRejected("POINT", f"atom {number} of disjunct {d} of case {c} does not hold")
    return executor


def _free(inputs: Sequence[Fraction], columns: Sequence[int]) -> list[Fraction]:
    """The program's input."""
    free: dict[int, Fraction] = {}
    for i, (column, value) in enumerate(zip(columns, inputs, strict=True)):
        if free.setdefault(column, value) != value:
            raise CertificateRejected("POINT", f"input {i} is not equal to another one, as the property says")
    return [free[column] for column in range(len(free))]


def _run(program: Program, inputs: Sequence[Fraction], executor: str) -> list[Fraction]:
    arithmetic = EXECUTORS[executor]
    if executor == "exact":
        return execute(program, inputs, arithmetic)
    try:
        ticks = execute(program, [int(v * (1 << binary32.TICK)) for v in inputs], arithmetic)
    except binary32.NonFinite as error:
        raise CertificateRejected("POINT", f"the run is not finite: {error}") from error
    return list(map(binary32.value, ticks))


def _fractions(words: Sequence[object], rounded: bool, name: str) -> list[Fraction]:
    """Eight hexadecimal digits each (the bits of a finite binary32), or num/den in lowest terms."""
    numbers: list[Fraction] = []
    for word in words:
        try:
            numbers.append(_number(word, rounded))
        except (ValueError, ZeroDivisionError, binary32.NonFinite) as error:
            raise CertificateRejected("POINT", f"{name} {len(numbers)} is not a number: {str(word)[:40]!r}") from error
    return numbers


def _number(word: object, rounded: bool) -> Fraction:
    if not isinstance(word, str):
        raise ValueError(word)
    if rounded:
        bits = int(word, 16)
        number, again = binary32.value(binary32.from_bits(bits)), f"{bits & 0xFFFFFFFF:08x}"
    else:
        numerator, _, denominator = word.partition("/")
        number = Fraction(int(numerator), int(denominator))
        again = f"{number.numerator}/{number.denominator}"
    if again != word:
        raise ValueError(word)
    return number


def _check_inside(case: Case, x: Sequence[Fraction], rounded: bool) -> None:
    """The exact input set: decimal bounds, and in float modes the nearest binary32 of a point that is off the grid."""
    for i, (v, lo, hi) in enumerate(zip(x, case.lower, case.upper, strict=True)):
        interval = grid_interval(lo, hi) if rounded else (lo, hi)
        if interval is None or not interval[0] <= v <= interval[1]:
            raise CertificateRejected("POINT", f"input {i} lies outside the input set")


def _holds(atom: Atom, x: Sequence[Fraction], y: Sequence[Fraction]) -> bool:
    total = sum((c * x[i] for i, c in atom.x), Fraction(0)) + sum((c * y[j] for j, c in atom.y), Fraction(0))
    for factors, c in atom.products:
        total += c * prod((y if k % 2 else x)[k // 2] for k in factors)
    return total < atom.c if atom.strict else total <= atom.c
