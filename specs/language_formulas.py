"""Formulas over comparisons, their negation, and their disjunctive normal form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from farkas.specs.diagnostics import fail
from farkas.specs.dnf import All, AnyOf, Conjunction, Literal
from farkas.specs.language_forms import MAX_DEPTH, Form, negated, subtract


@dataclass(frozen=True, eq=False, slots=True)
class Comparison:
    """`form <= 0`, or `form < 0` when strict."""

    form: Form
    strict: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class And:
    """All parts hold."""

    parts: tuple[Formula, ...]
    depth: int


@dataclass(frozen=True, eq=False, slots=True)
class Or:
    """Some part holds."""

    parts: tuple[Formula, ...]
    depth: int


@dataclass(frozen=True, eq=False, slots=True)
class Either:
    """A formula of which the negation is known in a form of its own; both are without one of these."""

    holds: Formula
    fails: Formula


Formula = Comparison | And | Or | Either


def at_most(left: Form, right: Form, strict: bool = False) -> Comparison:
    """left <= right, or left < right."""
    return Comparison(subtract(left, right), strict)


def equal(left: Form, right: Form) -> Formula:
    """left == right."""
    return conjunction([at_most(left, right), at_most(right, left)])


def different(left: Form, right: Form) -> Formula:
    """left != right."""
    return disjunction([at_most(left, right, strict=True), at_most(right, left, strict=True)])


def conjunction(parts: Sequence[Formula]) -> Formula:
    """All of at least one formula; conjunctions in it are flattened."""
    if len(parts) == 1:
        return parts[0]
    flat: list[Formula] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, And) else (part,))
    return And(tuple(flat), _deeper(flat))


def disjunction(parts: Sequence[Formula]) -> Formula:
    """Some of at least one formula; disjunctions in it are flattened."""
    if len(parts) == 1:
        return parts[0]
    flat: list[Formula] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, Or) else (part,))
    return Or(tuple(flat), _deeper(flat))


def _deeper(parts: Sequence[Formula]) -> int:
    depth = 1 + max(map(_depth, parts))
    if depth > MAX_DEPTH:
        fail(
            "FK508", found=f"{depth} formulas in each other", wanted=f"at most {MAX_DEPTH}",
            fix="fk.all and fk.any on lists",
        )  # fmt: skip
    return depth


def _depth(formula: Formula) -> int:
    if isinstance(formula, Either):
        return _depth(formula.holds)
    return 0 if isinstance(formula, Comparison) else formula.depth


def negation(formula: Formula) -> Formula:
    """The formula that holds where this one does not."""
    match formula:
        case Comparison(form, strict):
            return Comparison(negated(form), not strict)
        case And(parts, depth):
            return Or(tuple([negation(part) for part in parts]), depth)
        case Or(parts, depth):
            return And(tuple([negation(part) for part in parts]), depth)
        case Either(holds, fails):
            return Either(fails, holds)


def conjunctions(formula: Formula, literals: Callable[[Comparison], Sequence[Literal]]) -> list[Conjunction]:
    """The disjunctive normal form, in the order of `farkas.specs.query`; raises TooLarge.

    formula: without Either; literals: what a comparison says, all of which hold together.
    """
    if isinstance(formula, Or):
        choice = AnyOf()
        for part in formula.parts:
            choice.combine(conjunctions(part, literals))
        return choice.conjunctions()
    both = All()
    for part in formula.parts if isinstance(formula, And) else (formula,):
        if isinstance(part, Comparison):
            for literal in literals(part):
                both.add(literal)
        else:
            both.combine(conjunctions(part, literals))
    return both.conjunctions()
