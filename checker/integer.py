"""Steps to the integer network: summation groups, then every weight floored to 2^-P.

A *summation group* is a MatMul, Gemm or Conv followed by its Adds, or an Add by itself: an Add takes over the terms of
every operand that is such a group, with its count and its addends; other operands are one addend each.  Its error bound
then covers every order of all products and addends.  Terms stay separate, so magnitudes are summed and never cancelled.
Merging is sound whatever a runtime does, for it only adds executions; leaving out a merge is not.  Sub, Mul and Div are
groups of their own, negation and data movement are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from farkas.checker.errors import MalformedInput
from farkas.checker.query import Affine, Input, Matrix, Network, Node, P, Relu
from farkas.checker.steps import Copy, Number, Product, Program, Rectify, Scale, Source, Step, Sum, View

MAX_TERMS = 64
MAX_ENTRIES = 30_000_000

Row = tuple[Sequence[int], Sequence[Number]]


@dataclass(frozen=True)
class Term:
    """rows . (value of step `source`); a row names no element twice."""

    source: int
    rows: Sequence[Row]


@dataclass(frozen=True)
class Group:
    """sum of terms and addends; count as in `Affine`; merges: whether an Add takes its terms over."""

    terms: tuple[Term, ...]
    addends: tuple[Sequence[float], ...]
    count: int
    merges: bool


def integer_network(program: Program) -> Network:
    """The integer network of a program, without the steps that its output does not need."""
    groups = _groups(program)
    needed = [False] * len(program.steps)
    needed[0] = needed[program.output] = True
    for number in range(len(program.steps) - 1, 0, -1):
        step, group = program.steps[number], groups[number]
        if needed[number] and isinstance(step, Rectify):
            needed[step.step] = True
        elif needed[number] and group is not None:
            for term in group.terms:
                needed[term.source] = True
    return _emit(program, groups, needed)


def _groups(program: Program) -> list[Group | None]:
    """The group of every step that is one."""
    groups: list[Group | None] = []
    for number, step in enumerate(program.steps):
        group = _group(step, program.sizes, groups)
        if group is not None and len(group.terms) > MAX_TERMS:
            raise MalformedInput("network", f"step {number} sums {len(group.terms)} products, more than {MAX_TERMS}")
        groups.append(group)
    return groups


def _group(step: Step, sizes: Sequence[int], groups: Sequence[Group | None]) -> Group | None:
    match step:
        case Source() | Rectify():
            return None
        case Product(x, rows, bias, count):
            at = x.index
            read = rows if at is None else [([at[p] for p in positions], weights) for positions, weights in rows]
            addends = () if bias is None else (bias,)
            return Group((Term(x.step, read),), addends, count + len(addends), True)
        case Scale(x, factors, divide, exact):
            weights = [1 / Fraction(f) for f in factors] if divide else factors
            return Group((Term(x.step, _diagonal(x, sizes, weights)),), (), 0 if exact else 1, False)
        case Copy(elements):
            sources = list(dict.fromkeys(s for s, _ in elements))
            if len(sources) > MAX_TERMS:
                raise MalformedInput("network", f"{len(sources)} values are concatenated, more than {MAX_TERMS}")
            terms = [Term(s, [((i,), (1.0,)) if t == s else ((), ()) for t, i in elements]) for s in sources]
            return Group(tuple(terms), (), 0, False)
        case Sum():
            return _sum(step, sizes, groups)


def _diagonal(x: View, sizes: Sequence[int], weights: Sequence[Number]) -> list[Row]:
    """One weight per element of the view."""
    index = range(sizes[x.step]) if x.index is None else x.index
    return [((i,), (w,)) for i, w in zip(index, weights, strict=True)]


def _sum(step: Sum, sizes: Sequence[int], groups: Sequence[Group | None]) -> Group:
    terms: list[Term] = []
    addends: list[Sequence[float]] = []
    count = 0
    for operand, sign in ((step.left, 1.0), (step.right, -1.0 if step.minus else 1.0)):
        if not isinstance(operand, View):
            addends.append([sign * c for c in operand])
            count += 1
            continue
        group = groups[operand.step]
        if group is None or not group.merges or step.minus:
            terms.append(Term(operand.step, _diagonal(operand, sizes, [sign] * step.size)))
            count += 1
            continue
        at = operand.index
        terms += [Term(t.source, t.rows if at is None else [t.rows[i] for i in at]) for t in group.terms]
        addends += [c if at is None else [c[i] for i in at] for c in group.addends]
        count += group.count
    return Group(tuple(terms), tuple(addends), count, not step.minus)


def _emit(program: Program, groups: Sequence[Group | None], needed: Sequence[bool]) -> Network:
    """The nodes of the needed steps, renumbered in order."""
    numbers: dict[int, int] = {}
    nodes: list[Node] = []
    entries = 0
    for number, step in enumerate(program.steps):
        if not needed[number]:
            continue
        group = groups[number]
        if isinstance(step, Rectify):
            nodes.append(Relu(numbers[step.step]))
        elif group is None:
            nodes.append(Input(program.sizes[number]))
        else:
            entries += sum(len(weights) for term in group.terms for _, weights in term.rows)
            if entries > MAX_ENTRIES:
                raise MalformedInput("network", f"it has more than {MAX_ENTRIES} weights: too large for this checker")
            operands = [(_matrix(t, program.sizes[t.source]), numbers[t.source]) for t in group.terms]
            nodes.append(_affine(operands, group, program.sizes[number]))
        numbers[number] = len(nodes) - 1
    sizes = tuple(program.sizes[number] for number in numbers)
    return Network(tuple(nodes), sizes, numbers[program.output])


def _affine(operands: Sequence[tuple[Matrix, int]], group: Group, rows: int) -> Affine:
    """bias: the floored exact sum of the addends; magnitude: their floored magnitudes, plus 1 each where inexact."""
    exact_sums: list[Number] = [0.0] * rows
    magnitude = [0] * rows
    for number, addend in enumerate(group.addends):
        floored, exact = _floor(addend)
        magnitude = [m + abs(c) + (not exact) for m, c in zip(magnitude, floored, strict=True)]
        exact_sums = list(addend) if number == 0 else list(map(_add_exactly, exact_sums, addend))
    bias, exact = _floor(exact_sums)
    return Affine(tuple(operands), bias, exact, tuple(magnitude), group.count)


def _add_exactly(a: Number, b: Number) -> Number:
    return Fraction(a) + Fraction(b)


def _matrix(term: Term, columns: int) -> Matrix:
    """Floors every weight and sorts every row by column; a shared weight list is floored once."""
    known: dict[int, tuple[tuple[int, ...], bool]] = {}
    weights: list[tuple[int, ...]] = []
    exact = True
    index: list[tuple[int, ...]] = []
    places: dict[int, tuple[int, ...]] = {}
    for positions, values in term.rows:
        floored = known.get(id(values))
        if floored is None:
            floored = known[id(values)] = _floor(values)
        exact = exact and floored[1]
        row = places.setdefault(id(positions), tuple(positions))
        order = sorted(row)
        if order == list(row):
            weights.append(floored[0])
        else:
            weights.append(tuple(w for _, w in sorted(zip(row, floored[0], strict=True))))
            row = tuple(order)
        index.append(row)
    full = tuple(range(columns))
    dense = all(row == full for row in index)
    return Matrix(len(weights), columns, None if dense else tuple(index), tuple(weights), exact)


def _floor(values: Sequence[Number]) -> tuple[tuple[int, ...], bool]:
    """floor(w 2^P) for every w, and whether all are exact."""
    floored: list[int] = []
    exact = True
    for value in values:
        numerator, denominator = value.as_integer_ratio()
        scaled, rest = divmod(numerator << P, denominator)
        floored.append(scaled)
        exact = exact and rest == 0
    return tuple(floored), exact
