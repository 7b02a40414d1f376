"""Steps to summation groups and ReLUs: what becomes a node of the integer network.

A *summation group* is a MatMul, Gemm, Conv or sum of elements followed by its Adds, or an Add by itself: an Add takes
over the terms of every operand that is such a group, with its count and its addends; other operands are one addend
each.  Its error bound then covers every order of all products and addends.  Terms stay separate, so magnitudes are
summed and never cancelled.  Merging is sound whatever a runtime does, for it only adds executions; leaving out a merge
is not.  Sub, Mul, Div, LeakyRelu and BatchNormalization are groups of their own, negation and data movement are exact.

Operators that choose are written with one ReLU for a choice, over the reals and without error:

    max(a, b) = a + relu(b - a)      max(x, c) = c + relu(x - c)      |x| = 2 relu(x) - x
    min(a, b) = a - relu(a - b)      min(x, c) = c - relu(c - x)      leaky(x) = slope x + (1 - slope) relu(x)

What is scaled down on the way, the sum under a mean and the products of a normalisation, may be larger than the
magnitude of its group (docs/semantics.md, peak).  Where a group meets the kernel's obligations the sum of all U is
below 2^83; so with weights, addends and factors of at most 2^40, which is required here of such groups, every partial
result is below 2^125 and overflow is excluded as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

from farkas.checker.errors import MalformedInput
from farkas.checker.query import Input, P, Relu
from farkas.checker.steps import (
    Channel,
    Choose,
    Copy,
    Leaky,
    Magnitude,
    Mean,
    Normalize,
    Number,
    Product,
    Program,
    Rectify,
    Scale,
    Source,
    Step,
    Sum,
    View,
)

MAX_TERMS = 64
LARGEST_SCALED = 1 << 40
ROOT_BITS = P + 64
LOST = 2.0**-30  # any number that is no multiple of 2^-P: it adds 1 to the magnitude

Row = tuple[Sequence[int], Sequence[Number]]


@dataclass(frozen=True)
class Term:
    """rows . (value of item `source`); a row names no element twice."""

    source: int
    rows: Sequence[Row]


@dataclass(frozen=True)
class Group:
    """sum of terms and addends; count as in `Affine`; merges: whether an Add takes its terms over.

    bias: numbers with the floor of the constant part, where that is not the sum of the addends (they then only bound
    its magnitude).  scaled: partial results may exceed the magnitude.
    """

    terms: tuple[Term, ...]
    addends: tuple[Sequence[Number], ...]
    count: int
    merges: bool
    bias: Sequence[Number] | None = None
    scaled: bool = False


Item = Input | Relu | Group
"""What becomes a node; sources are numbers of items."""


class Items:
    """The items of a program; place: the item whose value is that of a step."""

    def __init__(self, program: Program) -> None:
        self.items: list[Item] = []
        self.sizes: list[int] = []
        self.place: list[int] = []
        for step, size in zip(program.steps, program.sizes, strict=True):
            self.place.append(self._add(step, size))

    def _append(self, item: Item, size: int) -> int:
        if isinstance(item, Group):
            if len(item.terms) > MAX_TERMS:
                raise MalformedInput("network", f"a value sums {len(item.terms)} products, more than {MAX_TERMS}")
            if item.scaled:
                _check_scaled(item)
        self.items.append(item)
        self.sizes.append(size)
        return len(self.items) - 1

    def _add(self, step: Step, size: int) -> int:
        """The items of one step, the last of which has its value."""
        match step:
            case Source():
                return self._append(Input(size), size)
            case Rectify(number):
                return self._append(Relu(self.place[number]), size)
            case Leaky(number, slope):
                gain = 1 - Fraction(slope)
                return self._with_relu(self.place[number], size, slope, gain, count=1)
            case Magnitude(number):
                return self._with_relu(self.place[number], size, -1.0, 2.0, count=0)
            case Choose():
                return self._choose(step, size)
            case _:
                return self._append(self._group(step, size), size)

    def _with_relu(self, x: int, size: int, weight: Number, gain: Number, *, count: int) -> int:
        """weight x + gain relu(x)."""
        relu = self._append(Relu(x), size)
        terms = tuple(Term(source, _diagonal(range(size), [w] * size)) for source, w in ((x, weight), (relu, gain)))
        return self._append(Group(terms, (), count, False), size)

    def _choose(self, step: Choose, size: int) -> int:
        """left or constant, plus or minus a ReLU of the difference."""
        sign = -1.0 if step.smaller else 1.0
        if isinstance(step.right, View):
            parts = ((step.left, -sign), (step.right, sign))
            terms = tuple(self._scaled(view, weight, size) for view, weight in parts)
            gain = self._append(Relu(self._append(Group(terms, (), 0, False), size)), size)
            result = (self._scaled(step.left, 1.0, size), self._own(gain, sign, size))
            return self._append(Group(result, (), 0, False), size)
        shift = [-sign * c for c in step.right]
        difference = Group((self._scaled(step.left, sign, size),), (shift,), 0, False)
        gain = self._append(Relu(self._append(difference, size)), size)
        return self._append(Group((self._own(gain, sign, size),), (step.right,), 0, False), size)

    def _scaled(self, x: View, weight: float, size: int) -> Term:
        return Term(self.place[x.step], _diagonal(self._index(x), [weight] * size))

    def _own(self, item: int, weight: float, size: int) -> Term:
        return Term(item, _diagonal(range(size), [weight] * size))

    def _index(self, x: View) -> Sequence[int]:
        return range(self.sizes[self.place[x.step]]) if x.index is None else x.index

    def _group(self, step: Product | Scale | Mean | Normalize | Copy | Sum, size: int) -> Group:
        match step:
            case Product(x, rows, bias, count):
                addends = () if bias is None else (bias,)
                return Group((Term(self.place[x.step], _read(rows, x.index)),), addends, count + len(addends), True)
            case Mean(x, rows, divisors, count):
                shared = {key: [Fraction(1, key[0])] * key[1] for key in zip(divisors, map(len, rows), strict=True)}
                read = [(row, shared[d, len(row)]) for row, d in zip(rows, divisors, strict=True)]
                divides = any(d != 1 for d in divisors)
                term = Term(self.place[x.step], _read(read, x.index))
                return Group((term,), (), count + (2 if divides else 0), True, scaled=divides)
            case Scale(x, factors, divide, exact):
                weights = [1 / Fraction(f) for f in factors] if divide else factors
                return Group((self._term(x, weights),), (), 0 if exact else 1, False)
            case Normalize(x, channels, epsilon):
                return self._normalized(x, channels, epsilon)
            case Copy(elements):
                return self._copy(elements)
            case Sum():
                return self._sum(step)

    def _term(self, x: View, weights: Sequence[Number]) -> Term:
        return Term(self.place[x.step], _diagonal(self._index(x), weights))

    def _normalized(self, x: View, channels: Sequence[Channel], epsilon: float) -> Group:
        """a x + c: the floors of a and c are exact; the magnitude of c is |bias| + |mean a| and a rest."""
        known = {channel: _factors(channel, epsilon) for channel in dict.fromkeys(channels)}
        weights, moved, bias = ([known[channel][i] for channel in channels] for i in range(3))
        addends: tuple[Sequence[Number], ...] = ([c.bias for c in channels], moved, [LOST] * len(channels))
        return Group((self._term(x, weights),), addends, 10, False, bias, scaled=True)

    def _copy(self, elements: Sequence[tuple[int, int] | float]) -> Group:
        sources = list(dict.fromkeys(e[0] for e in elements if isinstance(e, tuple)))
        if len(sources) > MAX_TERMS:
            raise MalformedInput("network", f"{len(sources)} values are concatenated, more than {MAX_TERMS}")
        nothing: Row = ((), ())
        terms = []
        for s in sources:
            rows = [((e[1],), (1.0,)) if isinstance(e, tuple) and e[0] == s else nothing for e in elements]
            terms.append(Term(self.place[s], rows))
        constants = [0.0 if isinstance(e, tuple) else e for e in elements]
        return Group(tuple(terms), (constants,) if any(constants) else (), 0, False)

    def _sum(self, step: Sum) -> Group:
        terms: list[Term] = []
        addends: list[Sequence[Number]] = []
        count, scaled = 0, False
        for operand, sign in ((step.left, 1.0), (step.right, -1.0 if step.minus else 1.0)):
            if not isinstance(operand, View):
                addends.append([sign * c for c in operand])
                count += 1
                continue
            group = self.items[self.place[operand.step]]
            if not isinstance(group, Group) or not group.merges or step.minus:
                terms.append(self._scaled(operand, sign, step.size))
                count += 1
                continue
            at = operand.index
            terms += [Term(t.source, t.rows if at is None else [t.rows[i] for i in at]) for t in group.terms]
            addends += [c if at is None else [c[i] for i in at] for c in group.addends]
            count += group.count
            scaled = scaled or group.scaled
        return Group(tuple(terms), tuple(addends), count, not step.minus, scaled=scaled)


def _read(rows: Sequence[Row], at: Sequence[int] | None) -> Sequence[Row]:
    """The rows over the elements that a view reads; rows that share their positions go on sharing them."""
    if at is None:
        return rows
    known = {id(positions): [at[p] for p in positions] for positions, _ in rows}
    return [(known[id(positions)], weights) for positions, weights in rows]


def _diagonal(index: Sequence[int], weights: Sequence[Number]) -> list[Row]:
    """One weight per element; equal ones are shared."""
    shared = {w: (w,) for w in weights}
    return [((i,), shared[w]) for i, w in zip(index, weights, strict=True)]


def _check_scaled(group: Group) -> None:
    known: set[int] = set()
    for term in group.terms:
        for _, weights in term.rows:
            if id(weights) not in known:
                known.add(id(weights))
                _check_small(weights)
    for addend in group.addends:
        _check_small(addend)


def _check_small(numbers: Sequence[Number]) -> None:
    if any(not -LARGEST_SCALED <= number <= LARGEST_SCALED for number in numbers):
        raise MalformedInput("network", "a mean or a normalisation is summed with numbers beyond 2^40")


def _factors(channel: Channel, epsilon: float) -> tuple[Fraction, Fraction, Fraction]:
    """With a = scale / sqrt(variance + epsilon): numbers with the floors of a, -mean a and bias - mean a."""
    total = Fraction(channel.variance) + Fraction(epsilon)
    scale, mean, bias = Fraction(channel.scale), Fraction(channel.mean), Fraction(channel.bias)
    moved = -mean * scale
    square = moved**2 / total
    return _root(Fraction(0), scale, scale**2 / total), _root(Fraction(0), moved, square), _root(bias, moved, square)


def _root(base: Fraction, sign: Fraction, square: Fraction) -> Fraction:
    """A number with the floor of base + sgn(sign) sqrt(square) at 2^-P, equal to it if it is a multiple of 2^-P.

    The floor k at 2^-ROOT_BITS is found with a square root of integers and the definition of a floor; what is not a
    multiple is replaced by k and a half, which has the same floors at all coarser scales and is no multiple of them.
    """
    up = sign > 0
    base, square = base * (1 << ROOT_BITS), square * (1 << 2 * ROOT_BITS)
    root = isqrt(int(square))
    k = (base.numerator // base.denominator) + (root - 1 if up else -root - 3)
    while _reaches(k + 1 - base, square) if up else _stays(base - (k + 1), square):
        k += 1
    exact = (k - base) ** 2 == square and (k >= base if up else k <= base)
    return Fraction(2 * k + (not exact), 1 << (ROOT_BITS + 1))


def _reaches(step: Fraction, square: Fraction) -> bool:
    """step <= sqrt(square)."""
    return step <= 0 or step**2 <= square


def _stays(step: Fraction, square: Fraction) -> bool:
    """sqrt(square) <= step."""
    return step >= 0 and square <= step**2
