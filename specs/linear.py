"""Linear forms over inputs and outputs in exact rationals, and the comparisons between them."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from farkas.specs.dnf import Literal
from farkas.specs.numbers import Number
from farkas.specs.query import Atom, Terms

Coefficients = dict[tuple[str, int], Fraction]  # ("X" or "Y", index) -> coefficient, never 0

COMPARISONS = ("<=", ">=", "<", ">")
MAX_BITS = 1 << 17  # of a numerator or denominator; the longest literal has about 2^15, and products multiply


class TooLong(Exception):
    """A number has more digits than any use of it can want."""


@dataclass(frozen=True, slots=True)
class Linear:
    """`sum terms + constant`; terms that cancel are gone, so a form without terms is a constant."""

    terms: Coefficients
    constant: Fraction


def variable(kind: str, index: int) -> Linear:
    """The form that is one variable."""
    return Linear({(kind, index): Fraction(1)}, Fraction(0))


def combine(left: Linear, right: Linear, factor: Fraction) -> Linear:
    """left + factor * right; raises TooLong."""
    terms = dict(left.terms)
    for key, coefficient in right.terms.items():
        total = _bounded(terms.pop(key, Fraction(0)) + factor * coefficient)
        if total:
            terms[key] = total
    return Linear(terms, _bounded(left.constant + factor * right.constant))


def _bounded(value: Fraction) -> Fraction:
    """The value, when it is not too long."""
    bits = max(value.numerator.bit_length(), value.denominator.bit_length())
    if bits > MAX_BITS:
        raise TooLong(f"found a number of {bits} bits, wanted at most {MAX_BITS}")
    return value


def scale(form: Linear, factor: Fraction) -> Linear:
    """factor * form."""
    return combine(Linear({}, Fraction(0)), form, factor)


def apply(operator: str, operands: list[Linear]) -> Linear | None:
    """`+`, `-` (negation of one operand, else left-associative) or `*`; None when a product is not linear.

    operands: at least one.  Raises TooLong.
    """
    result = operands[0]
    if operator == "-" and len(operands) == 1:
        return scale(result, Fraction(-1))
    for operand in operands[1:]:
        if operator == "*":
            if result.terms and operand.terms:
                return None
            result = scale(result, operand.constant) if result.terms else scale(operand, result.constant)
        else:
            result = combine(result, operand, Fraction(1 if operator == "+" else -1))
    return result


def compare(operator: str, left: Linear, right: Linear, intern: Callable[[Fraction], Number]) -> Literal:
    """The literal `left operator right`: a bound when exactly one input and no output is left, otherwise an atom.

    A strict bound comes as both.  `intern` gives the one object that stands for a number in this reading.
    Raises TooLong.
    """
    if operator[0] == ">":
        left, right = right, left
    difference = combine(left, right, Fraction(-1))
    limit = -difference.constant
    strict = operator in ("<", ">")
    atom = Atom(_terms(difference.terms, "X"), _terms(difference.terms, "Y"), limit, strict)
    if len(atom.x) != 1 or atom.y:
        return Literal(None, atom)
    ((index, coefficient),) = atom.x
    bound = 2 * index + (coefficient > 0), intern(limit / coefficient)
    return Literal(bound, atom if strict else None)


def _terms(coefficients: Coefficients, kind: str) -> Terms:
    """The terms of one kind of variable, ascending by index."""
    return tuple(sorted((index, value) for (name, index), value in coefficients.items() if name == kind))
