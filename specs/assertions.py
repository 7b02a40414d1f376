"""The assertions of a property as text that reads back as the same normal form: VNN-LIB 1.0 and 2.x alike.

Bounds come first, then the disjuncts; several cases are one `or`.  Comparisons of one variable with a number, or of two
variables, are written as such, for many readers know no others.  A number that is no finite decimal is avoided by
scaling its comparison, so a disjunct's atom comes back as a positive multiple of itself, and everything else as it was.
What a disjunct without atoms says is written `(<= 0.0 0.0)`, and a property without cases as bounds that contradict
each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

from farkas.ir.errors import FarkasError
from farkas.specs.numbers import MAX_LITERAL, brief
from farkas.specs.query import Atom, Case, Property, Terms
from farkas.specs.witness import exact_decimal

TRUE = "(<= 0.0 0.0)"


@dataclass(frozen=True)
class Labels:
    """The names of all inputs, and of all outputs and, behind these, monomials: their factors in a row."""

    x: tuple[str, ...]
    y: tuple[str, ...]
    outputs: int

    @staticmethod
    def of(prop: Property, x: Sequence[str], y: Sequence[str]) -> Labels:
        """The names in a property, from those of its inputs and outputs."""
        names = (*x, *y)
        products = (" ".join(names[k] for k in factors) for factors in prop.monomials)
        return Labels(tuple(x), (*y, *products), prop.outputs)


def assertions(prop: Property, labels: Labels, *, flat: bool = False) -> Iterator[str]:
    """The lines of the text; flat: several cases as one `or` of conjunctions without an `or` inside."""
    if not prop.cases:
        for name in labels.x:
            yield f"(assert (and (>= {name} 1.0) (<= {name} 0.0)))"
    elif len(prop.cases) == 1:
        (case,) = prop.cases
        yield from (f"(assert {bound})" for bound in _bounds(case, labels))
        if len(case.disjuncts) == 1:
            yield from (f"(assert {_atom(atom, labels)})" for atom in case.disjuncts[0])
        else:
            yield f"(assert {_unsafe(case, labels)})"
    else:
        cases = (text for case in prop.cases for text in (_flat if flat else _nested)(case, labels))
        yield "(assert (or\n" + "\n".join(f"    (and {text})" for text in cases) + "\n))"


def _nested(case: Case, labels: Labels) -> Iterator[str]:
    yield f"{' '.join(_bounds(case, labels))} {_unsafe(case, labels)}"


def _flat(case: Case, labels: Labels) -> Iterator[str]:
    bounds = " ".join(_bounds(case, labels))
    return (" ".join([bounds, *(_atom(atom, labels) for atom in atoms)]) for atoms in case.disjuncts)


def _unsafe(case: Case, labels: Labels) -> str:
    disjuncts = [" ".join(_atom(atom, labels) for atom in atoms) or TRUE for atoms in case.disjuncts]
    return "(or " + " ".join(f"(and {text})" for text in disjuncts) + ")"


def _bounds(case: Case, labels: Labels) -> Iterator[str]:
    for name, low, high in zip(labels.x, case.lower, case.upper, strict=True):
        for operator, end in ((">=", low), ("<=", high)):
            factor = _rest(end)
            yield f"({operator} {_term(name, Fraction(factor))} {_decimal(end * factor)})"


def _atom(atom: Atom, labels: Labels) -> str:
    less, more = ("<", ">") if atom.strict else ("<=", ">=")
    terms: Terms = (*atom.x, *atom.y)
    factor = lcm(_rest(atom.c), *(_rest(a) for _, a in terms))
    limit = _decimal(atom.c * factor)
    found = [(labels.x[i], a * factor, False) for i, a in atom.x]
    found += [(labels.y[j], a * factor, j >= labels.outputs) for j, a in atom.y]
    match found:
        case [(name, Fraction(numerator=-1, denominator=1), False)]:
            return f"({more} {name} {_decimal(-atom.c * factor)})"
        case [(name, a, False), (other, b, False)] if a == -b and abs(a) == 1 and not atom.c:
            return f"({less} {name} {other})" if a > 0 else f"({less} {other} {name})"
    words = [_term(*term) for term in found]
    left = "0.0" if not words else words[0] if len(words) == 1 else f"(+ {' '.join(words)})"
    return f"({less} {left} {limit})"


def _term(name: str, coefficient: Fraction, is_product: bool = False) -> str:
    if is_product:
        return f"(* {name})" if coefficient == 1 else f"(* {_decimal(coefficient)} {name})"
    if coefficient == 1:
        return name
    return f"(- {name})" if coefficient == -1 else f"(* {_decimal(coefficient)} {name})"


def _rest(value: Fraction) -> int:
    """The part of the denominator that has no factor 2 or 5."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest


def _decimal(value: Fraction) -> str:
    """The decimal, which exists; raises FarkasError for one that is too long to be read back."""
    try:
        text = exact_decimal(value)
    except ValueError:  # more digits than Python writes
        text = ""
    if not 0 < len(text) <= MAX_LITERAL:
        raise FarkasError(f"found {brief(value)[:60]}, wanted a decimal of at most {MAX_LITERAL} characters in a file")
    return text
