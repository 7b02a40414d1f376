"""Formulas over the reals with exact rational coefficients: built once, printed or translated by the adapters.

    poly    := sum of c x_i x_j ... (rational c; no variable: the constant)     formula := poly R 0, R in {<=, <, =}
    problem := named columns, formulas that all have to hold                                | all of | any of formulas

Nothing is rounded anywhere: a float64 weight is the dyadic rational that it is, a decimal threshold its own rational.
A problem also records how its columns follow from the free ones (inputs) where a network defines them; then an input
alone is a candidate that `RealProblem.holds_at` judges exactly, without the solver that proposed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import assert_never

Monomial = tuple[int, ...]  # columns in ascending order, one entry a factor; () is 1
Number = int | Fraction


@dataclass(frozen=True)
class Poly:
    """A polynomial in canonical form: monomials in order, each once, no coefficient 0."""

    terms: tuple[tuple[Monomial, Fraction], ...]

    @staticmethod
    def of(pairs: Iterable[tuple[Monomial, Number]]) -> Poly:
        """The sum of the given products; equal monomials are added up exactly."""
        total: dict[Monomial, Fraction] = {}
        for monomial, c in pairs:
            total[monomial] = total.get(monomial, Fraction(0)) + c
        return Poly(tuple((m, c) for m, c in sorted(total.items()) if c))

    @staticmethod
    def constant(c: Number) -> Poly:
        return Poly((((), Fraction(c)),) if c else ())

    @staticmethod
    def variable(column: int) -> Poly:
        return Poly((((column,), Fraction(1)),))

    @property
    def degree(self) -> int:
        return max((len(m) for m, _ in self.terms), default=0)

    @property
    def columns(self) -> frozenset[int]:
        return frozenset(i for m, _ in self.terms for i in m)

    def value(self, values: Sequence[Fraction]) -> Fraction:
        """The exact value where column i has values[i]."""
        total = Fraction(0)
        for monomial, c in self.terms:
            for i in monomial:
                c = c * values[i]
            total += c
        return total

    def __add__(self, other: Poly | Number) -> Poly:
        return Poly.of((*self.terms, *_poly(other).terms))

    __radd__ = __add__

    def __neg__(self) -> Poly:
        return Poly(tuple((m, -c) for m, c in self.terms))

    def __sub__(self, other: Poly | Number) -> Poly:
        return self + -_poly(other)

    def __rsub__(self, other: Number) -> Poly:
        return -self + other

    def __mul__(self, other: Poly | Number) -> Poly:
        factors = _poly(other).terms
        return Poly.of((tuple(sorted(m + n)), c * d) for m, c in self.terms for n, d in factors)

    __rmul__ = __mul__


def _poly(value: Poly | Number) -> Poly:
    return value if isinstance(value, Poly) else Poly.constant(value)


class Relation(Enum):
    """How a polynomial compares with 0."""

    AT_MOST = "<="
    BELOW = "<"
    EQUAL = "="

    def holds(self, value: Fraction) -> bool:
        match self:
            case Relation.AT_MOST:
                return value <= 0
            case Relation.BELOW:
                return value < 0
            case Relation.EQUAL:
                return value == 0
            case _:
                assert_never(self)


@dataclass(frozen=True)
class Compare:
    """poly R 0."""

    poly: Poly
    relation: Relation


@dataclass(frozen=True)
class All:
    """Every part holds; true without parts."""

    parts: tuple[Formula, ...]


@dataclass(frozen=True)
class AnyOf:
    """Some part holds; false without parts."""

    parts: tuple[Formula, ...]


Formula = Compare | All | AnyOf


def at_most(left: Poly | Number, right: Poly | Number) -> Compare:
    return Compare(_poly(left) - right, Relation.AT_MOST)


def below(left: Poly | Number, right: Poly | Number) -> Compare:
    return Compare(_poly(left) - right, Relation.BELOW)


def equal(left: Poly | Number, right: Poly | Number) -> Compare:
    return Compare(_poly(left) - right, Relation.EQUAL)


def holds(formula: Formula, values: Sequence[Fraction]) -> bool:
    """Whether the formula is true where column i has values[i], exactly."""
    match formula:
        case Compare(poly=poly, relation=relation):
            return relation.holds(poly.value(values))
        case All(parts=parts):
            return all(holds(part, values) for part in parts)
        case AnyOf(parts=parts):
            return any(holds(part, values) for part in parts)
        case _:
            assert_never(formula)


def degree(formula: Formula) -> int:
    """The largest degree of a polynomial in it: up to 1 is linear arithmetic."""
    match formula:
        case Compare(poly=poly):
            return poly.degree
        case All(parts=parts) | AnyOf(parts=parts):
            return max((degree(part) for part in parts), default=0)
        case _:
            assert_never(formula)


def bits(formula: Formula) -> int:
    """The length of its longest numerator or denominator."""
    match formula:
        case Compare(poly=poly):
            return max((max(c.numerator.bit_length(), c.denominator.bit_length()) for _, c in poly.terms), default=0)
        case All(parts=parts) | AnyOf(parts=parts):
            return max(map(bits, parts), default=0)
        case _:
            assert_never(formula)


@dataclass(frozen=True)
class Column:
    """A real variable: its name in every printed form, and what it stands for in words."""

    name: str
    what: str


@dataclass(frozen=True)
class Assertion:
    """A formula that has to hold, and what it says in words."""

    what: str
    formula: Formula


@dataclass(frozen=True)
class Step:
    """The column's value in a run: that of the polynomial over earlier columns, or its positive part when rectified."""

    column: int
    value: Poly
    rectified: bool = False


@dataclass(frozen=True)
class RealProblem:
    """Is there a value of every column such that all assertions hold?

    steps: how a run without rounding gives every column from the free ones, those that no step names.
    """

    columns: tuple[Column, ...]
    assertions: tuple[Assertion, ...]
    steps: tuple[Step, ...]

    @property
    def is_linear(self) -> bool:
        return all(degree(assertion.formula) <= 1 for assertion in self.assertions)

    @property
    def free(self) -> tuple[int, ...]:
        """The columns that no step gives: the inputs."""
        stepped = {step.column for step in self.steps}
        return tuple(i for i in range(len(self.columns)) if i not in stepped)

    def run(self, point: Mapping[int, Fraction]) -> tuple[Fraction, ...]:
        """Every column's value from those of the free ones."""
        values = [point.get(i, Fraction(0)) for i in range(len(self.columns))]
        for step in self.steps:
            value = step.value.value(values)
            values[step.column] = max(value, Fraction(0)) if step.rectified else value
        return tuple(values)

    def holds_at(self, values: Sequence[Fraction]) -> bool:
        """Whether every assertion is true there, exactly."""
        return all(holds(assertion.formula, values) for assertion in self.assertions)
