"""Formulas over comparisons, their negation, and maxima taken out of comparisons.

A maximum with a positive coefficient on the smaller side of a comparison is below the other side when all its options
are; one with a negative coefficient when some option is:

    L + c max_i(a_i) <= 0   iff   all i: L + c a_i <= 0    (c > 0)
                            iff   some i: L + c a_i <= 0   (c < 0, for c max_i(a_i) = min_i(c a_i) is attained)

Several maxima are taken out one after the other, in any order, as both lines are equivalences at each point.  Those
that make alternatives go first: `some i all j` is in disjunctive normal form, and `all j some i` would have to be
multiplied out (with 24 and 3 options: 24 conjunctions instead of 13 824).  So no case needs the condition under which
its option is the greatest, and the box `linf(x - x0) <= eps` becomes 2 n bounds and nothing else.  The price is the
number of comparisons, the product of the options of all maxima of one comparison, which is limited.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

from farkas.specs.diagnostics import fail
from farkas.specs.dnf import MAX_CONJUNCTIONS, All, AnyOf, Conjunction, Literal
from farkas.specs.language_forms import (
    MAX_DEPTH,
    ONE,
    Form,
    Greatest,
    combination,
    negated,
    scaled,
    size,
    subtract,
)

MAX_COMPARISONS = 100_000  # after taking maxima out: about a second


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


Formula = Comparison | And | Or


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
    depth = 1 + max(0 if isinstance(part, Comparison) else part.depth for part in parts)
    if depth > MAX_DEPTH:
        fail(
            "FK508", found=f"{depth} formulas in each other", wanted=f"at most {MAX_DEPTH}",
            fix="fk.all and fk.any on lists",
        )  # fmt: skip
    return depth


def negation(formula: Formula) -> Formula:
    """The formula that holds where this one does not."""
    match formula:
        case Comparison(form, strict):
            return Comparison(negated(form), not strict)
        case And(parts, depth):
            return Or(tuple([negation(part) for part in parts]), depth)
        case Or(parts, depth):
            return And(tuple([negation(part) for part in parts]), depth)


def without_maxima(formula: Formula) -> Formula:
    """The same formula with comparisons of linear forms only; raises SpecError when there are too many of them."""
    _limit("comparisons", _comparisons(formula), MAX_COMPARISONS)
    found = _expanded(formula)
    _limit("cases", _conjunctions(found), MAX_CONJUNCTIONS)
    return found


def _comparisons(formula: Formula) -> int:
    """The number of comparisons when maxima are taken out."""
    return size(formula.form) if isinstance(formula, Comparison) else sum(map(_comparisons, formula.parts))


def _conjunctions(formula: Formula) -> int:
    """The number of conjunctions of the disjunctive normal form."""
    match formula:
        case Comparison():
            return 1
        case And(parts):
            return prod(map(_conjunctions, parts))
        case Or(parts):
            return sum(map(_conjunctions, parts))


def _limit(what: str, found: int, most: int) -> None:
    if found > most:
        count = found if found < 10**9 else "more than 10^9"
        fail(
            "FK507", found=f"{count} {what}", wanted=f"at most {most}",
            fix="linf instead of l1, fewer absolute values and maxima in one comparison, or several specifications",
        )  # fmt: skip


def _expanded(formula: Formula) -> Formula:
    match formula:
        case Comparison(form, strict):
            return formula if _next(form) is None else _taken_out(form, strict)
        case And(parts):
            return conjunction([_expanded(part) for part in parts])
        case Or(parts):
            return disjunction([_expanded(part) for part in parts])


def _taken_out(form: Form, strict: bool) -> Formula:
    """The formula without maxima that is equivalent to `form <= 0`, or `form < 0`."""
    maximum = _next(form)
    if maximum is None:
        return Comparison(form, strict)
    factor = form.terms[maximum]
    rest = Form({key: value for key, value in form.terms.items() if key is not maximum}, form.constant)
    parts = [_taken_out(_plus(rest, option, factor), strict) for option in maximum.options]
    return conjunction(parts) if factor > 0 else disjunction(parts)


def _next(form: Form) -> Greatest | None:
    """The maximum to take out first: one that makes alternatives, if there is one."""
    maxima = [key for key in form.terms if isinstance(key, Greatest)]
    return next((key for key in maxima if form.terms[key] < 0), maxima[0] if maxima else None)


def _plus(rest: Form, option: Form, factor: Fraction) -> Form:
    """rest + factor * option."""
    if not rest.terms:
        part = scaled(option, factor)
        return Form(part.terms, part.constant + rest.constant)
    return combination([(rest, ONE), (option, factor)])


def conjunctions(formula: Formula, literals: Callable[[Comparison], Sequence[Literal]]) -> list[Conjunction]:
    """The disjunctive normal form, in the order of `farkas.specs.query`; raises TooLarge.

    formula: without maxima; literals: what a comparison says, all of which hold together.
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
