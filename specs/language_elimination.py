"""Maxima and Euclidean norms taken out of comparisons: what is left compares polynomials with 0.

A maximum with a positive coefficient on the smaller side of a comparison is below the other side when all its options
are; one with a negative coefficient when some option is:

    L + c max_i(a_i) <= 0   iff   all i: L + c a_i <= 0    (c > 0)
                            iff   some i: L + c a_i <= 0   (c < 0, for c max_i(a_i) = min_i(c a_i) is attained)

Several maxima are taken out one after the other, in any order, as both lines are equivalences at each point.  Those
that make alternatives go first: `some i all j` is in disjunctive normal form, and `all j some i` would have to be
multiplied out (with 24 and 3 options: 24 conjunctions instead of 13 824).  So no case needs the condition under which
its option is the greatest, and the box `linf(x - x0) <= eps` becomes 2 n bounds and nothing else.  The price is the
number of comparisons, the product of the options of all maxima of one comparison, which is limited.

Inside a product the sign of the other factors is not known, so a maximum there is one option in each case, under the
condition that no other is greater.

A norm is the root of Q, the sum of squares of its parts, and not negative; so for every form L without norms

    c root(Q) + L <= 0    iff   L <= 0 and c^2 Q <= L^2    (c > 0)
                          iff   L <= 0 or L^2 <= c^2 Q     (c < 0)

and likewise with < in all places.  Nothing is rounded: the comparison with eps is one of Q with eps^2.  On the first
line |p| <= root(Q) for every part p, so c p + L <= 0 and -c p + L <= 0 are true as well; they are stated for parts that
are linear in variables, as bounds of the inputs around a centre.  Two norms in one comparison would need L^2 with a
root in it, and are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import prod

from farkas.specs.diagnostics import fail
from farkas.specs.dnf import MAX_CONJUNCTIONS
from farkas.specs.language_forms import (
    ONE,
    Form,
    Greatest,
    Norm,
    Product,
    Variable,
    combination,
    leaf,
    scaled,
    size,
    text,
)
from farkas.specs.language_formulas import And, Comparison, Either, Formula, Or, at_most, conjunction, disjunction
from farkas.specs.language_products import squares, times
from farkas.specs.language_substitution import Substitution

MAX_COMPARISONS = 100_000  # after taking maxima out: about a second


def polynomial(formula: Formula) -> Formula:
    """The same formula of And, Or, and comparisons without maxima and norms; raises SpecError when it is too large."""
    _limit("comparisons", _comparisons(formula), MAX_COMPARISONS)
    found = _expanded(formula)
    _limit("cases", _conjunctions(found), MAX_CONJUNCTIONS)
    return found


def _comparisons(formula: Formula) -> int:
    """The number of comparisons when maxima are taken out."""
    match formula:
        case Comparison(form):
            return size(form)
        case Either(holds):
            return _comparisons(holds)
        case And(parts) | Or(parts):
            return sum(map(_comparisons, parts))


def _conjunctions(formula: Formula) -> int:
    """The number of conjunctions of the disjunctive normal form."""
    match formula:
        case Comparison():
            return 1
        case And(parts):
            return prod(map(_conjunctions, parts))
        case Or(parts):
            return sum(map(_conjunctions, parts))
        case Either(holds):
            return _conjunctions(holds)


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
            return formula if _is_polynomial(form) else _taken_out(form, strict)
        case And(parts):
            return conjunction([_expanded(part) for part in parts])
        case Or(parts):
            return disjunction([_expanded(part) for part in parts])
        case Either(holds):
            return _expanded(holds)


def _is_polynomial(form: Form) -> bool:
    for key in form.terms:
        if isinstance(key, Greatest | Norm):
            return False
        if isinstance(key, Product) and any(isinstance(factor, Greatest | Norm) for factor in key.factors):
            return False
    return True


def _taken_out(form: Form, strict: bool) -> Formula:
    """The formula over polynomials that is equivalent to `form <= 0`, or `form < 0`."""
    factor = next(_maxima_in_products(form), None)
    if factor is not None:
        return disjunction([_chosen(form, strict, factor, k) for k in range(len(factor.options))])
    maximum = _next(form)
    if maximum is None:
        return _without_norm(form, strict)
    value = form.terms[maximum]
    rest = Form({key: value for key, value in form.terms.items() if key is not maximum}, form.constant)
    parts = [_taken_out(_plus(rest, option, value), strict) for option in maximum.options]
    return conjunction(parts) if value > 0 else disjunction(parts)


def _maxima_in_products(form: Form) -> Iterator[Greatest]:
    for key in form.terms:
        if isinstance(key, Product):
            yield from (factor for factor in key.factors if isinstance(factor, Greatest))


def _chosen(form: Form, strict: bool, maximum: Greatest, place: int) -> Formula:
    """The comparison where one option is the maximum, and the condition that it is."""
    option = maximum.options[place]
    others = [_expanded(at_most(other, option)) for k, other in enumerate(maximum.options) if k != place]
    chosen = Substitution(lambda key: option if key is maximum else None).form(form)
    return conjunction([*others, _taken_out(chosen, strict)])


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


def _without_norm(form: Form, strict: bool) -> Formula:
    """The same for a form without maxima outside of norms."""
    norms = [key for key in form.terms if isinstance(key, Norm)]
    if not norms and _is_polynomial(form):
        return Comparison(form, strict)
    rest = Form({key: value for key, value in form.terms.items() if not isinstance(key, Norm)}, form.constant)
    if len(norms) != 1 or not _is_polynomial(rest):
        fail(
            "FK408", found=text(form), wanted="one fk.l2 in a comparison, times a number, and no other inside it",
            fix="compare each fk.l2 with a number, or square one: fk.dot(v, v)",
        )  # fmt: skip
    factor = form.terms[norms[0]]
    if not rest.terms and rest.constant * factor > 0:
        fail(
            "FK409", found=f"{text(leaf(norms[0]))} and {-rest.constant / factor}", wanted="a number from 0 on",
            fix="a nonnegative bound; a norm is never less than 0",
        )  # fmt: skip
    inside = scaled(squares(norms[0].parts), factor * factor)
    signs = [Comparison(rest, strict)] if rest.terms or not rest.constant else []
    if factor > 0:
        lines = [Comparison(line) for part in norms[0].parts for line in _lines(part, rest, factor)]
        return conjunction([*(lines or signs), _expanded(at_most(inside, times(rest, rest), strict))])
    return disjunction([*signs, _expanded(at_most(times(rest, rest), inside, strict))])


def _lines(part: Form, rest: Form, factor: Fraction) -> list[Form]:
    """The linear comparisons that say that a part is no larger than the norm may be; none where they are not linear."""
    if not part.terms or not _is_linear(part) or not _is_linear(rest):
        return []
    return [combination([(rest, ONE), (part, sign * factor)]) for sign in (1, -1)]


def _is_linear(form: Form) -> bool:
    """Whether the form is linear in variables."""
    return all(isinstance(key, tuple) and isinstance(key[0], Variable) for key in form.terms)
