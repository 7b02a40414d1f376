"""Groups to the integer network: every weight and every constant floored to 2^-P.

What rows share in the groups, the positions of a window and the weights of a filter, is floored once and stays shared,
so that a convolution takes little more memory than its kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from farkas.checker.errors import MalformedInput
from farkas.checker.groups import Group, Items, Term
from farkas.checker.query import Affine, Input, Matrix, Network, Node, P, Relu
from farkas.checker.steps import Number, Program

MAX_ENTRIES = 100_000_000
MAX_STORED = 30_000_000  # what rows share counts once


def integer_network(program: Program) -> Network:
    """The integer network of a program, without the items that its output does not need."""
    return _emit(*_needed(program), program.output)


def check_size(program: Program) -> None:
    """Raises MalformedInput where `integer_network` would, without making the numbers."""
    _needed(program)


def _needed(program: Program) -> tuple[Items, list[bool]]:
    """The items, and which of them the output needs."""
    items = Items(program)
    needed = [False] * len(items.items)
    needed[0] = needed[items.place[program.output]] = True
    for number in range(len(needed) - 1, 0, -1):
        item = items.items[number]
        if needed[number] and isinstance(item, Relu):
            needed[item.source] = True
        elif needed[number] and isinstance(item, Group):
            for term in item.terms:
                needed[term.source] = True
    groups = [item for item, kept in zip(items.items, needed, strict=True) if kept and isinstance(item, Group)]
    entries = sum(len(weights) for item in groups for term in item.terms for _, weights in term.rows)
    if entries > MAX_ENTRIES or _stored(groups) > MAX_STORED:
        raise MalformedInput(
            "network",
            f"it has more than {MAX_ENTRIES} weights, or {MAX_STORED} different ones: too large for this checker",
        )
    return items, needed


def _stored(groups: Sequence[Group]) -> int:
    """Numbers that the rows hold."""
    lengths: dict[int, int] = {}
    for group in groups:
        for term in group.terms:
            for positions, weights in term.rows:
                lengths[id(weights)] = len(weights)
                if not isinstance(positions, range):
                    lengths[id(positions)] = len(positions)
    return sum(lengths.values())


def _emit(items: Items, needed: Sequence[bool], output: int) -> Network:
    """The nodes of the needed items, renumbered in order."""
    numbers: dict[int, int] = {}
    nodes: list[Node] = []
    for number, item in enumerate(items.items):
        if not needed[number]:
            continue
        match item:
            case Relu(source):
                nodes.append(Relu(numbers[source]))
            case Input():
                nodes.append(item)
            case Group():
                operands = [(_matrix(t, items.sizes[t.source]), numbers[t.source]) for t in item.terms]
                nodes.append(_affine(operands, item, items.sizes[number]))
        numbers[number] = len(nodes) - 1
    sizes = tuple(items.sizes[number] for number in numbers)
    return Network(tuple(nodes), sizes, numbers[items.place[output]])


def _affine(operands: Sequence[tuple[Matrix, int]], group: Group, rows: int) -> Affine:
    """bias: the floored exact sum of the addends; magnitude: their floored magnitudes, plus 1 each where inexact."""
    exact_sums: list[Number] = [0.0] * rows
    magnitude = [0] * rows
    for number, addend in enumerate(group.addends):
        floored, exact = _floor(addend)
        magnitude = [m + abs(c) + (not exact) for m, c in zip(magnitude, floored, strict=True)]
        if group.bias is None:
            exact_sums = list(addend) if number == 0 else list(map(_add_exactly, exact_sums, addend))
    bias, exact = _floor(exact_sums if group.bias is None else group.bias)
    return Affine(tuple(operands), bias, exact, tuple(magnitude), group.count)


def _add_exactly(a: Number, b: Number) -> Number:
    return Fraction(a) + Fraction(b)


def _matrix(term: Term, columns: int) -> Matrix:
    """Floors every weight and sorts every row by column; what rows share is done once and stays shared."""
    known: dict[int, tuple[tuple[int, ...], bool]] = {}
    orders: dict[int, tuple[tuple[int, ...], tuple[int, ...] | None]] = {}
    patterns: dict[tuple[int, ...], tuple[int, ...]] = {}
    turned: dict[tuple[int, int], tuple[int, ...]] = {}
    weights: list[tuple[int, ...]] = []
    exact = True
    index: list[tuple[int, ...]] = []
    for positions, values in term.rows:
        floored = known.get(id(values))
        if floored is None:
            floored = known[id(values)] = _floor(values)
        exact = exact and floored[1]
        if id(positions) not in orders:
            orders[id(positions)] = _ascending(positions, patterns)
        row, order = orders[id(positions)]
        index.append(row)
        if order is None:
            weights.append(floored[0])
            continue
        key = id(values), id(order)
        if key not in turned:
            turned[key] = tuple(floored[0][i] for i in order)
        weights.append(turned[key])
    full = tuple(range(columns))
    dense = all(row == full for row in {id(row): row for row in index}.values())
    return Matrix(len(weights), columns, None if dense else tuple(index), tuple(weights), exact)


def _ascending(
    positions: Sequence[int], patterns: dict[tuple[int, ...], tuple[int, ...]]
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """The positions ascending, and the order that makes them so (None: they are); equal orders are one object."""
    row = tuple(positions)
    ascending = tuple(sorted(row))
    if row == ascending:
        return row, None
    order = tuple(sorted(range(len(row)), key=row.__getitem__))
    return ascending, patterns.setdefault(order, order)


def _floor(values: Sequence[Number]) -> tuple[tuple[int, ...], bool]:
    """floor(w 2^P) for every w, and whether all are exact."""
    floored: list[int] = []
    exact = True
    for value in values:
        if not value:
            floored.append(0)
            continue
        numerator, denominator = value.as_integer_ratio()
        scaled, rest = divmod(numerator << P, denominator)
        floored.append(scaled)
        exact = exact and rest == 0
    return tuple(floored), exact
