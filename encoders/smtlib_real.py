"""A problem over the reals as SMT-LIB 2 text: QF_LRA, or QF_NRA where a product of columns occurs.

Every declaration carries what its column stands for, every assertion what it says, as comments; numbers are exact
(`(/ 1.0 3.0)`), so any solver that reads the text answers the very question that was asked.

Barrett, Fontaine and Tinelli, The SMT-LIB Standard, version 2.6.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import assert_never

from farkas.encoders.real_terms import All, AnyOf, Compare, Formula, Monomial, Poly, RealProblem

_SIMPLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*", re.ASCII)


def logic(problem: RealProblem) -> str:
    """The SMT-LIB name of the logic that the problem is in."""
    return "QF_LRA" if problem.is_linear else "QF_NRA"


def smtlib_real(problem: RealProblem, heading: str = "") -> str:
    """The text of a script that asks for one `check-sat`; heading: lines for its first comment."""
    return "\n".join((*_script(problem, heading), ""))


def _script(problem: RealProblem, heading: str) -> Iterator[str]:
    yield from (_comment(line) for line in heading.splitlines())
    yield "(set-info :smt-lib-version 2.6)"
    yield f"(set-logic {logic(problem)})"
    names = [symbol(column.name) for column in problem.columns]
    for name, column in zip(names, problem.columns, strict=True):
        yield f"(declare-fun {name} () Real) {_comment(column.what)}"
    for assertion in problem.assertions:
        yield _comment(assertion.what)
        yield f"(assert {_formula(assertion.formula, names)})"
    yield "(check-sat)"


def _comment(text: str) -> str:
    """One line of comment, whatever the text: names in networks are arbitrary strings."""
    return "; " + "".join(c if c.isprintable() else "?" for c in text)


def symbol(name: str) -> str:
    """The name itself where it is a plain symbol, else quoted."""
    if _SIMPLE.fullmatch(name):
        return name
    return "|" + "".join(c if c.isprintable() and c not in "|\\" else "?" for c in name) + "|"


def number(q: Fraction) -> str:
    """A rational as a term: 3.0, (- 3.0), (/ 3.0 4.0), (- (/ 3.0 4.0))."""
    size = abs(q)
    text = f"{size.numerator}.0" if size.denominator == 1 else f"(/ {size.numerator}.0 {size.denominator}.0)"
    return f"(- {text})" if q < 0 else text


def _formula(formula: Formula, names: list[str]) -> str:
    match formula:
        case Compare(poly=poly, relation=relation):
            # The constant goes to the right, as a person would write it.
            rest = tuple(pair for pair in poly.terms if pair[0])
            limit = -sum((c for monomial, c in poly.terms if not monomial), Fraction(0))
            return f"({relation.value} {_sum(Poly(rest), names)} {number(limit)})"
        case All(parts=()):
            return "true"
        case AnyOf(parts=()):
            return "false"
        case All(parts=(part,)) | AnyOf(parts=(part,)):
            return _formula(part, names)
        case All(parts=parts):
            return f"(and {' '.join(_formula(part, names) for part in parts)})"
        case AnyOf(parts=parts):
            return f"(or {' '.join(_formula(part, names) for part in parts)})"
        case _:
            assert_never(formula)


def _sum(poly: Poly, names: list[str]) -> str:
    parts = [_product(monomial, c, names) for monomial, c in poly.terms]
    if len(parts) < 2:
        return parts[0] if parts else "0.0"
    return f"(+ {' '.join(parts)})"


def _product(monomial: Monomial, c: Fraction, names: list[str]) -> str:
    factors = [names[i] for i in monomial]
    if c != 1 or not factors:
        factors.insert(0, number(c))
    return factors[0] if len(factors) == 1 else f"(* {' '.join(factors)})"
