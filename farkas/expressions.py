"""Expressions of a specification as what is asked about them: their values at a witness, and questions of thresholds.

The value at a witness is computed in exact rationals from the replayed inputs and outputs.  Only a Euclidean norm can
be irrational; it is enclosed between two multiples of 2^-64, and so is every expression that contains one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import NamedTuple

from farkas.spec import Spec
from farkas.specs.diagnostics import fail
from farkas.specs.language_conditions import Condition, gathered, no_condition
from farkas.specs.language_forms import Application, Entry, Factor, Form, Greatest, Leaf, Norm, Parameter, Product
from farkas.specs.language_formulas import And, Comparison, Either, Formula, Or, conjunction, negation
from farkas.specs.language_substitution import formula_leaves
from farkas.specs.language_tensors import Tensor

ROOT_BITS = 64  # binary places of the two ends of an irrational norm

Values = Mapping[Entry, Fraction]


class Interval(NamedTuple):
    """What a value lies in; the ends are equal where it is known exactly."""

    low: Fraction
    high: Fraction


def value(form: Form, values: Values) -> Interval:
    """The value of a form without parameters."""
    low = high = form.constant
    for key, factor in form.terms.items():
        ends = [factor * end for end in _leaf(key, values)]
        low, high = low + min(ends), high + max(ends)
    return Interval(low, high)


def _leaf(key: Leaf, values: Values) -> Interval:
    match key:
        case Product(factors):
            return _product([_leaf(factor, values) for factor in factors])
        case Greatest(options):
            parts = [value(option, values) for option in options]
            return Interval(max(part.low for part in parts), max(part.high for part in parts))
        case Norm(parts):
            return _norm([value(part, values) for part in parts])
        case Parameter(name):
            raise ValueError(f"the parameter '{name}' has no value")
        case entry:
            return Interval(values[entry], values[entry])


def _product(parts: Iterable[Interval]) -> Interval:
    total = Interval(Fraction(1), Fraction(1))
    for part in parts:
        ends = [a * b for a in total for b in part]
        total = Interval(min(ends), max(ends))
    return total


def _norm(parts: Iterable[Interval]) -> Interval:
    """The root of the sum of squares, enclosed."""
    low = high = Fraction(0)
    for part in parts:
        squares = [end * end for end in part]
        low += 0 if part.low < 0 < part.high else min(squares)
        high += max(squares)
    return Interval(_root(low)[0], _root(high)[1])


def _root(square: Fraction) -> Interval:
    """The square root between neighbouring multiples of 2^-ROOT_BITS, or exactly."""
    top, bottom = isqrt(square.numerator), isqrt(square.denominator)
    if top * top == square.numerator and bottom * bottom == square.denominator:
        return Interval(Fraction(top, bottom), Fraction(top, bottom))
    places = isqrt((square.numerator << 2 * ROOT_BITS) // square.denominator)
    return Interval(Fraction(places, 1 << ROOT_BITS), Fraction(places + 1, 1 << ROOT_BITS))


@dataclass(frozen=True, eq=False)
class Premise:
    """What is given, and what of it is about outputs and can move to the other side.

    kept: the conditions without those of `moved`; moved: conditions on outputs, as one formula; None without any.
    """

    given: tuple[Formula, ...]
    kept: tuple[Formula, ...]
    moved: Formula | None

    @staticmethod
    def of(given: Condition | Iterable[Condition]) -> Premise:
        """Raises SpecError for what is no condition."""
        conditions = [given] if isinstance(given, Condition) else given
        if not isinstance(conditions, Iterable):
            no_condition(conditions)
        parts = [part for formula in gathered(conditions) for part in _parts(formula)]
        out = [part for part in parts if _all_about_outputs(part)]
        mixed = [part for part in parts if part not in out and _mentions_outputs(part)]
        kept = tuple(part for part in parts if part not in out)
        moved = out or mixed  # a mixed one stays where it is as well, for the bounds of inputs in it
        return Premise(tuple(parts), kept, conjunction(moved) if moved else None)

    def proving(self, conclusion: Formula) -> Spec:
        """The specification that a conclusion holds wherever the premise does."""
        if self.moved is None or _mentions_outputs(conclusion):
            return _spec(self.given, conclusion)
        return _spec(self.kept, negation(conjunction([self.moved, negation(conclusion)])))

    def impossible(self) -> Spec:
        """The specification that nothing satisfies the premise."""
        if self.moved is None:
            fail(
                "FK505", found="conditions on variables only", wanted="a condition on outputs in `given`",
                fix="y = net(x), and a condition on y in `given`",
            )  # fmt: skip
        return _spec(self.kept, negation(self.moved))


def _spec(given: Iterable[Formula], prove: Formula) -> Spec:
    return Spec([Condition((), (formula,)) for formula in given], Condition((), (prove,)))


def _parts(formula: Formula) -> tuple[Formula, ...]:
    return formula.parts if isinstance(formula, And) else (formula,)


def _is_output(leaf: Factor) -> bool:
    return isinstance(leaf, tuple) and isinstance(leaf[0], Application)


def _mentions_outputs(formula: Formula) -> bool:
    return any(map(_is_output, formula_leaves(formula)))


def _all_about_outputs(formula: Formula) -> bool:
    """Whether every comparison mentions an output."""
    return all(map(_mentions_outputs, comparisons(formula)))


def comparisons(formula: Formula) -> Iterator[Comparison]:
    """All comparisons in a formula."""
    match formula:
        case Comparison():
            yield formula
        case Either(holds):
            yield from comparisons(holds)
        case And(parts) | Or(parts):
            for part in parts:
                yield from comparisons(part)


def scalar(expression: object, fix: str) -> Form:
    """The form of a tensor with a single entry; raises SpecError, which says how to `fix` it."""
    if not isinstance(expression, Tensor) or expression.size != 1:
        found = f"shape {expression.shape}" if isinstance(expression, Tensor) else type(expression).__name__
        fail("FK602", found=found, wanted="an expression with one value", fix=fix)
    return expression.forms[0]
