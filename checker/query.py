"""The canonical integer query: the network, the boxes and the atoms in the fixed-point form that the kernel reads.

Scales of the rule `crown-fp-1` (fractional bits): P for weights, biases and bounds, F for coefficients, S for slopes,
H for the input box, K for constants and error terms.  A weight w is kept as wf = floor(w 2^P), so that w = (wf + d)
2^-P with
0 <= d < 1; a matrix (or bias vector) in which every d is zero is `exact`.

The query is built by the checker from the bytes of the network and of the property, and hashed; nothing of it is ever
read from a certificate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from farkas.checker import binary32
from farkas.checker.plan import Vector

P, F, S, H, K = 24, 24, 8, 32, 40
G = 16  # of coefficients where they multiply error terms
SEMANTICS = ("f32-any", "real")


@dataclass(frozen=True)
class Matrix:
    """rows x columns integers at 2^-P; `index[j]` are the stored columns of row j, None when every row stores all."""

    rows: int
    columns: int
    index: tuple[tuple[int, ...], ...] | None
    weights: tuple[tuple[int, ...], ...]
    exact: bool


@dataclass(frozen=True)
class Input:
    size: int


@dataclass(frozen=True)
class Affine:
    """sum of matrix . source + bias, one summation group of `count` products and addends (0: computed without error).

    magnitude: per row, at 2^-P, at least the sum of the absolute values of all constant addends of the group.
    """

    operands: tuple[tuple[Matrix, int], ...]
    bias: tuple[int, ...]
    bias_exact: bool
    magnitude: tuple[int, ...]
    count: int


@dataclass(frozen=True)
class Relu:
    source: int


Node = Input | Affine | Relu


@dataclass(frozen=True)
class Network:
    """Nodes in topological order, node 0 the input; `output` is the node whose value is Y."""

    nodes: tuple[Node, ...]
    sizes: tuple[int, ...]
    output: int


@dataclass(frozen=True)
class Atom:
    """sum x_i X_i + sum y_j Y_j + sum of products <= c, or < c when strict; indices ascend, no coefficient is zero.

    products: by their factors, two or more, ascending: 2 i for X_i, 2 j + 1 for Y_j.
    """

    x: tuple[tuple[int, Fraction], ...]
    y: tuple[tuple[int, Fraction], ...]
    c: Fraction
    strict: bool
    products: tuple[tuple[tuple[int, ...], Fraction], ...] = ()


@dataclass(frozen=True)
class Case:
    """Unsafe when lower <= X <= upper and all atoms of one disjunct hold; bounds are exact rationals."""

    lower: tuple[Fraction, ...]
    upper: tuple[Fraction, ...]
    disjuncts: tuple[tuple[Atom, ...], ...]


@dataclass(frozen=True)
class Property:
    """The normal form of a property (docs/certificate.md); vacuous: warnings for contradictory conjunctions."""

    inputs: int
    outputs: int
    cases: tuple[Case, ...]
    vacuous: tuple[str, ...]


@dataclass(frozen=True)
class Ball:
    """sum of ((X_i - centre_i) / axes_i)^2 <= 1 over the inputs i whose axis is not 0; integers at 2^-H."""

    centre: tuple[int, ...]
    axes: tuple[int, ...]


@dataclass(frozen=True)
class Box:
    """Integers at 2^-H, lower <= upper; ball: where else all points lie that are asked about."""

    lower: tuple[int, ...]
    upper: tuple[int, ...]
    ball: Ball | None = None


@dataclass(frozen=True)
class Query:
    """boxes[i] is the box of cases[i] in the given semantics; None when no binary32 point lies in it."""

    network: Network
    cases: tuple[Case, ...]
    boxes: tuple[Box | None, ...]
    semantics: str
    off_grid: int

    @property
    def rounded(self) -> bool:
        """Whether executions round: error terms are due."""
        return self.semantics != "real"


@dataclass(frozen=True)
class Bound:
    """What closes one disjunct at a leaf: a lower bound of row . Y + xrow . X by a slope rule, against a threshold.

    vector: explicit slopes and pins instead of the rule (crown-fp-2).
    """

    rule: int
    row: tuple[tuple[int, int], ...]
    xrow: tuple[tuple[int, int], ...]
    threshold: Fraction
    strict: bool
    vector: Vector | None = None

    def closed_by(self, lower: int) -> bool:
        """Whether the lower bound `lower` at 2^-K contradicts the combination of atoms."""
        difference = lower * self.threshold.denominator - (self.threshold.numerator << K)
        return difference > 0 or (difference == 0 and self.strict)


Claim = tuple[Bound | None, ...]
"""One entry per disjunct; None claims nothing and never closes."""


def build_query(network: Network, prop: Property, semantics: str, asked: Property | None = None) -> Query:
    """The integer query of a network and a property; asked: the property whose points off the grid are counted, where
    that is another one."""
    if semantics == "real":
        return Query(network, prop.cases, tuple(_scaled(c.lower, c.upper) for c in prop.cases), semantics, 0)
    boxes = tuple(_grid_box(case)[0] for case in prop.cases)
    off_grid = sum(_grid_box(case)[1] for case in (prop if asked is None else asked).cases)
    return Query(network, prop.cases, boxes, semantics, off_grid)


def _scaled(lower: Sequence[Fraction], upper: Sequence[Fraction]) -> Box:
    """Outward to 2^-H."""
    return Box(
        tuple((x.numerator << H) // x.denominator for x in lower),
        tuple(-((-x.numerator << H) // x.denominator) for x in upper),
    )


def grid_interval(lo: Fraction, hi: Fraction) -> tuple[Fraction, Fraction] | None:
    """The binary32 points of [lo, hi], rounded inward; a point means its nearest binary32.  None: there is none."""
    if lo == hi:
        try:
            point = binary32.value(binary32.nearest32(lo))
        except binary32.NonFinite:
            return None
        return point, point
    low, high = binary32.ceil32(lo), binary32.floor32(hi)
    if low is None or high is None or low > high:
        return None
    return binary32.value(low), binary32.value(high)


def _grid_box(case: Case) -> tuple[Box | None, int]:
    """The box of a case in binary32 semantics, and how many point coordinates were moved to the grid."""
    lower: list[Fraction] = []
    upper: list[Fraction] = []
    moved, empty = 0, False
    for lo, hi in zip(case.lower, case.upper, strict=True):
        interval = grid_interval(lo, hi)
        if interval is None:
            empty = True
            continue
        lower.append(interval[0])
        upper.append(interval[1])
        moved += lo == hi != interval[0]
    return (None if empty else _scaled(lower, upper)), moved


def bisect(box: Box, dimension: int, rounded: bool) -> tuple[Box, Box] | None:
    """The two halves, which cover the box (float modes: its binary32 points).  None when a half would be inverted.

    t is the floored midpoint at 2^-H.  Over the reals the halves share t.  In float modes s is the largest binary32
    <= t and s' the next above: no binary32 lies between, so [l, ceil s] and [floor s', u] miss none.
    """
    low, high = box.lower[dimension], box.upper[dimension]
    left = right = (low + high) >> 1
    if rounded:
        below = binary32.floor32(Fraction(left, 1 << H))
        above = None if below is None else binary32.above32(below)
        if below is None or above is None:
            return None
        left = -(-below >> (binary32.TICK - H))
        right = above >> (binary32.TICK - H)
    if left < low or right > high:
        return None
    head, tail = slice(dimension), slice(dimension + 1, None)
    return (
        Box(box.lower, (*box.upper[head], left, *box.upper[tail]), box.ball),
        Box((*box.lower[head], right, *box.lower[tail]), box.upper, box.ball),
    )


def query_hash(query: Query) -> str:
    """SHA-256 (hex) of the canonical text of the query; docs/certificate.md gives its grammar."""
    digest = hashlib.sha256()
    for line in canonical_lines(query):
        digest.update(line.encode("ascii"))
        digest.update(b"\n")
    return digest.hexdigest()


def canonical_lines(query: Query) -> Iterator[str]:
    """The canonical text, line by line."""
    yield f"query 1 {query.semantics}"
    for node in query.network.nodes:
        yield from _node_lines(node)
    yield f"output {query.network.output}"
    for case, box in zip(query.cases, query.boxes, strict=True):
        yield f"case {len(case.disjuncts)}"
        yield "box none" if box is None else "lower " + _join(box.lower)
        if box is not None:
            yield "upper " + _join(box.upper)
        for disjunct in case.disjuncts:
            yield f"disjunct {len(disjunct)}"
            yield from map(_atom_line, disjunct)


def _node_lines(node: Node) -> Iterator[str]:
    match node:
        case Input(size):
            yield f"input {size}"
        case Relu(source):
            yield f"relu {source}"
        case Affine():
            yield f"affine {len(node.bias)} {node.count} {len(node.operands)}"
            for matrix, source in node.operands:
                yield f"matrix {source} {matrix.columns} {int(matrix.exact)} {int(matrix.index is None)}"
                if matrix.index is None:
                    yield from map(_join, matrix.weights)
                else:
                    for index, weights in zip(matrix.index, matrix.weights, strict=True):
                        yield " ".join(f"{i}:{w}" for i, w in zip(index, weights, strict=True))
            yield f"bias {int(node.bias_exact)} " + _join(node.bias)
            yield "magnitude " + _join(node.magnitude)


def _atom_line(atom: Atom) -> str:
    parts = ["atom", "<" if atom.strict else "<=", _ratio(atom.c), "x"]
    parts += [f"{i}:{_ratio(c)}" for i, c in atom.x]
    parts.append("y")
    parts += [f"{j}:{_ratio(c)}" for j, c in atom.y]
    if atom.products:
        parts.append("p")
        parts += ["*".join(f"{'xy'[k % 2]}{k // 2}" for k in factors) + f":{_ratio(c)}" for factors, c in atom.products]
    return " ".join(parts)


def _ratio(x: Fraction) -> str:
    return f"{x.numerator}/{x.denominator}"


def _join(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))
