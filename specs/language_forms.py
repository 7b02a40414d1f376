"""Scalar expressions of a specification: linear forms over leaves, in exact rationals.

A leaf is an entry of a variable, an entry of a network's output, a parameter, the greatest of several forms, the
Euclidean norm of several, or a product of leaves (`farkas.specs.language_products`).  With maxima all of abs, min, max,
linf and l1 are linear forms:

    |a| = max(a, -a)    min(a, b) = -max(-a, -b)    linf(v) = max over all entries and their negatives

and they disappear from a comparison without a case distinction on their arguments (`farkas.specs.language_formulas`).
Forms are made in large numbers (one for each pixel), so they are tuples, and forms share the dictionary of their terms
where they can.  Nobody changes one after it is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod
from typing import NamedTuple, Protocol

from farkas.ir.graph import Graph
from farkas.ir.op import Shape
from farkas.specs.diagnostics import fail
from farkas.specs.numbers import brief

MAX_DEPTH = 100  # of maxima in maxima, and of formulas in formulas

ZERO, ONE, MINUS_ONE = Fraction(0), Fraction(1), Fraction(-1)


class Callee(Protocol):
    """A network that can be called: `farkas.api.Network` is one."""

    @property
    def graph(self) -> Graph: ...
    @property
    def name(self) -> str: ...


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Variable:
    """What a specification quantifies over; two variables are never the same, whatever their names."""

    name: str
    shape: Shape
    labels: tuple[str, ...] = ()

    def entry(self, index: int) -> str:
        """The name of an entry, by its position in row-major order."""
        if self.labels:
            return f"{self.name}.{self.labels[index]}"
        return f"{self.name}{_position(index, self.shape)}"


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Application:
    """One call of a network; each is a copy with executions of its own.

    arguments: what each input of the network is, over all input tensors, in row-major order: an affine form over
    entries of variables, with parameters perhaps.
    outputs: the shape of every output tensor.
    """

    network: Callee
    arguments: tuple[Form, ...]
    outputs: tuple[Shape, ...]

    @property
    def size(self) -> int:
        """The number of output values."""
        return sum(map(prod, self.outputs))

    def entry(self, index: int) -> str:
        """The name of an output value, over all output tensors in row-major order."""
        return f"{self.network.name or 'network'}(...)[{index}]"


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Greatest:
    """The greatest of at least one form.

    depth: of maxima in each other; size: of the comparisons that a comparison with this maximum alone becomes.
    """

    options: tuple[Form, ...]
    depth: int
    size: int


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Norm:
    """The Euclidean norm of at least one form."""

    parts: tuple[Form, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number that is chosen later; those of one name are the same."""

    name: str


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Product:
    """The product of at least two leaves, none of them a product; equal to one of the same factors in another order."""

    factors: tuple[Factor, ...]
    key: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", tuple(sorted(map(hash, self.factors))))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Product) or self.key != other.key:
            return False
        return Counter(self.factors) == Counter(other.factors)

    def __hash__(self) -> int:
        return hash(self.key)


Entry = tuple[Variable | Application, int]
Factor = Entry | Greatest | Norm | Parameter
Leaf = Factor | Product


class Form(NamedTuple):
    """`sum terms + constant`; coefficients are not 0, so a form without terms is a constant."""

    terms: dict[Leaf, Fraction]
    constant: Fraction


def number(value: Fraction) -> Form:
    """The form that is a number."""
    return Form({}, value)


def leaf(source: Leaf) -> Form:
    """The form that is one leaf."""
    return Form({source: ONE}, ZERO)


def add(left: Form, right: Form) -> Form:
    """left + right."""
    if not right.terms:
        return Form(left.terms, left.constant + right.constant)
    if not left.terms:
        return Form(right.terms, left.constant + right.constant)
    return combination([(left, ONE), (right, ONE)])


def subtract(left: Form, right: Form) -> Form:
    """left - right."""
    if not right.terms:
        return Form(left.terms, left.constant - right.constant)
    return add(left, negated(right))


def negated(form: Form) -> Form:
    """-form."""
    return Form({key: -value for key, value in form.terms.items()}, -form.constant)


def scaled(form: Form, factor: Fraction) -> Form:
    """factor * form."""
    if factor == 1:
        return form
    return Form({key: value * factor for key, value in form.terms.items()} if factor else {}, form.constant * factor)


def combination(weighted: Iterable[tuple[Form, Fraction]]) -> Form:
    """The sum of forms times factors."""
    terms: dict[Leaf, Fraction] = {}
    constant = ZERO
    for form, factor in weighted:
        if not factor:
            continue
        constant += form.constant * factor
        for key, value in form.terms.items():
            known = terms.get(key)
            terms[key] = value * factor if known is None else known + value * factor
    return Form({key: value for key, value in terms.items() if value}, constant)


def greatest(forms: Sequence[Form]) -> Form:
    """The greatest of at least one form; raises SpecError when maxima are nested too deeply."""
    if all(not form.terms for form in forms):
        return number(max(form.constant for form in forms))
    options: list[Form] = []
    for form in forms:
        options.extend(_options(form))
    if len(options) == 1:
        return options[0]
    depth = 1 + max((key.depth for form in options for key in form.terms if isinstance(key, Greatest)), default=0)
    if depth > MAX_DEPTH:
        fail("FK508", found=f"{depth} maxima in each other", wanted=f"at most {MAX_DEPTH}", fix="fk.max on one list")
    return leaf(Greatest(tuple(options), depth, sum(map(size, options))))


def size(form: Form) -> int:
    """The number of comparisons that a comparison of this form becomes when all maxima are taken out of it."""
    return prod([_size(key) for key in form.terms if isinstance(key, Greatest | Product)])


def _size(key: Greatest | Product) -> int:
    if isinstance(key, Greatest):
        return key.size
    return prod([factor.size * len(factor.options) for factor in key.factors if isinstance(factor, Greatest)])


def _options(form: Form) -> tuple[Form, ...]:
    """The options of a form that is nothing but a maximum; otherwise the form itself."""
    if len(form.terms) == 1 and not form.constant:
        ((key, factor),) = form.terms.items()
        if isinstance(key, Greatest) and factor == 1:
            return key.options
    return (form,)


def least(forms: Sequence[Form]) -> Form:
    """The least of at least one form."""
    return negated(greatest([negated(form) for form in forms]))


def absolute(form: Form) -> Form:
    """The absolute value."""
    return greatest([form, negated(form)])


def text(form: Form) -> str:
    """The form for people; long ones are cut."""
    parts = [_term(key, value) for key, value in list(form.terms.items())[:4]]
    if len(form.terms) > 4:
        parts.append("...")
    if form.constant or not parts:
        parts.append(brief(form.constant))
    return " + ".join(parts).replace("+ -", "- ")


def _term(key: Leaf, factor: Fraction) -> str:
    name = _name(key)
    return name if factor == 1 else f"-{name}" if factor == -1 else f"{brief(factor)}*{name}"


def _name(key: Leaf) -> str:
    match key:
        case Product(factors):
            powers = [(_name(factor), count) for factor, count in Counter(factors).items()]
            return "*".join(name if count == 1 else f"{name}**{count}" for name, count in powers)
        case Greatest(options):
            return f"max of {len(options)}"
        case Norm(parts):
            return f"l2 of {len(parts)}"
        case Parameter(name):
            return name
        case (source, index):
            return source.entry(index)


def _position(index: int, shape: Shape) -> str:
    """The indices of a position in row-major order."""
    if not shape:
        return ""
    indices = []
    for length in reversed(shape):
        index, rest = divmod(index, length)
        indices.append(rest)
    return "[" + ", ".join(map(str, reversed(indices))) + "]"
