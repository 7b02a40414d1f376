"""Polynomials over inputs and outputs in exact rationals, and the comparisons between them.

A term is named by its factors, ascending: `(("X", 2),)` is an input, `(("X", 2), ("Y", 0))` a product.  While a
property is read nobody knows how many outputs it has or which products survive, so the y-terms of an atom speak of the
products by provisional numbers, from PENDING on.  `Products.settled` replaces these when everything is read, and
numbers the monomials as the normal form wants them: in the order of cases, disjuncts and atoms, in an atom by ascending
factors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from farkas.specs.dnf import Literal
from farkas.specs.monomials import Monomials
from farkas.specs.numbers import Number
from farkas.specs.query import Atom, Case, Monomial, Terms

Factors = tuple[tuple[str, int], ...]  # of ("X" or "Y", index); ascending, at least one
Coefficients = dict[Factors, Fraction]  # never 0

COMPARISONS = ("<=", ">=", "<", ">")
PENDING = 1 << 40  # y-index of the first product while a property is read
MAX_BITS = 1 << 17  # of a numerator or denominator; the longest literal has about 2^15, and products multiply
MAX_DEGREE = 64
MAX_TERMS = 1 << 16  # of a product before equal ones are added up: (* (+ 256 variables) (+ 256 variables))


class TooLong(Exception):
    """A number has more digits, or a product more factors or terms, than any use of it can want."""


@dataclass(frozen=True, slots=True)
class Polynomial:
    """`sum terms + constant`; terms that cancel are gone, so a polynomial without terms is a constant."""

    terms: Coefficients
    constant: Fraction


def variable(kind: str, index: int) -> Polynomial:
    """The polynomial that is one variable."""
    return Polynomial({((kind, index),): Fraction(1)}, Fraction(0))


def combine(left: Polynomial, right: Polynomial, factor: Fraction) -> Polynomial:
    """left + factor * right; raises TooLong."""
    terms = dict(left.terms)
    for key, coefficient in right.terms.items():
        total = _bounded(terms.pop(key, Fraction(0)) + factor * coefficient)
        if total:
            terms[key] = total
    return Polynomial(terms, _bounded(left.constant + factor * right.constant))


def _bounded(value: Fraction) -> Fraction:
    """The value, when it is not too long."""
    bits = max(value.numerator.bit_length(), value.denominator.bit_length())
    if bits > MAX_BITS:
        raise TooLong(f"found a number of {bits} bits, wanted at most {MAX_BITS}")
    return value


def scale(form: Polynomial, factor: Fraction) -> Polynomial:
    """factor * form."""
    return combine(Polynomial({}, Fraction(0)), form, factor)


def multiply(left: Polynomial, right: Polynomial) -> Polynomial:
    """left * right; raises TooLong."""
    if not right.terms:
        return scale(left, right.constant)
    if not left.terms:
        return scale(right, left.constant)
    if len(left.terms) * len(right.terms) > MAX_TERMS:
        raise TooLong(
            f"found a product of sums of {len(left.terms)} and {len(right.terms)} terms, "
            f"wanted at most {MAX_TERMS} products of one with another"
        )
    terms: Coefficients = {}
    for a, p in (*left.terms.items(), ((), left.constant)):
        for b, q in (*right.terms.items(), ((), right.constant)):
            if len(a) + len(b) > MAX_DEGREE:
                raise TooLong(f"found a product of {len(a) + len(b)} variables, wanted at most {MAX_DEGREE}")
            key = tuple(sorted(a + b))
            terms[key] = terms.get(key, Fraction(0)) + _bounded(p * q)
    constant = terms.pop((), Fraction(0))
    return Polynomial({key: _bounded(value) for key, value in terms.items() if value}, constant)


def apply(operator: str, operands: Sequence[Polynomial]) -> Polynomial:
    """`+`, `-` (negation of one operand, else left-associative) or `*`.

    operands: at least one.  Raises TooLong.
    """
    result = operands[0]
    if operator == "-" and len(operands) == 1:
        return scale(result, Fraction(-1))
    for operand in operands[1:]:
        if operator == "*":
            result = multiply(result, operand)
        else:
            result = combine(result, operand, Fraction(1 if operator == "+" else -1))
    return result


@dataclass(eq=False, slots=True)
class Products:
    """The products in the atoms of one reading."""

    places: dict[Factors, int] = field(default_factory=dict)

    def index(self, factors: Factors) -> int:
        """The provisional y-index of a product."""
        return PENDING + self.places.setdefault(factors, len(self.places))

    def settled(
        self, cases: tuple[Case, ...], inputs: int, outputs: int
    ) -> tuple[tuple[Case, ...], tuple[Monomial, ...]]:
        """The cases about numbered monomials, and these; atoms that were one object stay one."""
        if not self.places:
            return cases, ()
        found = Monomials(inputs, outputs)
        factors = [tuple(i if kind == "X" else inputs + i for kind, i in key) for key in self.places]
        known: dict[int, Atom] = {}  # by identity; `cases` keeps the keys alive

        def settle(atom: Atom) -> Atom:
            if not atom.y or atom.y[-1][0] < PENDING:
                return atom
            if id(atom) not in known:
                products = sorted((factors[j - PENDING], a) for j, a in atom.y if j >= PENDING)
                own = tuple((j, a) for j, a in atom.y if j < PENDING)
                terms = own + tuple(sorted((found.column(key), a) for key, a in products))
                known[id(atom)] = Atom(atom.x, terms, atom.c, atom.strict)
            return known[id(atom)]

        settled = tuple(
            Case(case.lower, case.upper, tuple(tuple(map(settle, atoms)) for atoms in case.disjuncts)) for case in cases
        )
        return settled, found.found


def compare(
    operator: str, left: Polynomial, right: Polynomial, intern: Callable[[Fraction], Number], products: Products
) -> Literal:
    """The literal `left operator right`: a bound when exactly one input and nothing else is left, otherwise an atom.

    A strict bound comes as both.  `intern` gives the one object that stands for a number in this reading.
    Raises TooLong.
    """
    if operator[0] == ">":
        left, right = right, left
    difference = combine(left, right, Fraction(-1))
    limit = -difference.constant
    strict = operator in ("<", ">")
    x, y = _terms(difference.terms, products)
    atom = Atom(x, y, limit, strict)
    if len(x) != 1 or y:
        return Literal(None, atom)
    ((index, coefficient),) = x
    bound = 2 * index + (coefficient > 0), intern(limit / coefficient)
    return Literal(bound, atom if strict else None)


def _terms(coefficients: Coefficients, products: Products) -> tuple[Terms, Terms]:
    """The terms of inputs and those of outputs and products, ascending by index."""
    x, y = [], []
    for factors, value in coefficients.items():
        kind, index = factors[0]
        if len(factors) > 1:
            y.append((products.index(factors), value))
        elif kind == "X":
            x.append((index, value))
        else:
            y.append((index, value))
    return tuple(sorted(x)), tuple(sorted(y))
