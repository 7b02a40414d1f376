"""The closed core into which every operator is lowered, and the program made of it.

    node := Input(size) | Affine(terms, bias, rounding) | Relu(source) | Product(left, right)

All vectors are flat.  The meaning is over the reals: Affine is the sum of its terms' maps and its bias, Relu is
max(0, .), Product is elementwise.  LeakyRelu, Abs, Clip, Max, Min and MaxPool are exact sums of the first three.  Every
interpretation of a program (intervals, backward bounds, exact run, certificate) is one `match` over the four with
`assert_never`, so that a new core node is a type error wherever it has to be handled.

`Affine.rounding` is what separates the reals from binary32: how many summands its summation group has (0: exact), and
how far the stored coefficients may be from the meant ones.  Nothing is merged across groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from farkas.ir.algebra import Array, Rational, exact
from farkas.ir.linear import Dense, LinearMap, Vector


@dataclass(frozen=True)
class Rounding:
    """How an Affine node may differ from its real value.

    count: products and addends of the summation group (0: computed without error).
    relative: rho such that the true W a + b and the stored one differ by at most rho (|W| |a| + magnitude), in
        `real` too.
    is_sum: a MatMul, Gemm, Conv or Add group, into which a following Add merges.
    peak: every exact partial result of an execution is at most |W| U + magnitude + peak (1 + sum U) in magnitude, but
        for roundings: what is scaled down later (a mean, Gemm's alpha) may be larger on the way.  Overflow alone asks.
    """

    count: int = 0
    relative: float = 0.0
    is_sum: bool = False
    peak: float = 0.0


@dataclass(frozen=True)
class Term:
    """One operand of an Affine node."""

    map: LinearMap
    source: int


@dataclass(frozen=True)
class Input:
    size: int


@dataclass(frozen=True, eq=False)
class Affine:
    """sum of map_k(source_k) + bias; `magnitude` >= the sum of the absolute values of all biases of the group."""

    terms: tuple[Term, ...]
    bias: Vector
    rounding: Rounding
    magnitude: Vector


@dataclass(frozen=True)
class Relu:
    source: int


@dataclass(frozen=True)
class Product:
    """left_i right_i of two nodes of one size, without any rounding of its own; a square where they are one node."""

    left: int
    right: int


CoreOp = Input | Affine | Relu | Product


@dataclass(frozen=True, eq=False)
class Program:
    """Core nodes in topological order; node 0 is the input; `output` is the node whose value is the network's."""

    nodes: tuple[CoreOp, ...]
    sizes: tuple[int, ...]
    output: int
    names: tuple[str, ...]

    @property
    def input_size(self) -> int:
        return self.sizes[0]

    @property
    def output_size(self) -> int:
        return self.sizes[self.output]

    def relus(self) -> tuple[int, ...]:
        return tuple(i for i, node in enumerate(self.nodes) if isinstance(node, Relu))

    @property
    def has_products(self) -> bool:
        """Whether values are multiplied with each other: then it is no piecewise linear function."""
        return any(isinstance(node, Product) for node in self.nodes)


def sources(node: CoreOp) -> tuple[int, ...]:
    """The nodes that `node` reads."""
    match node:
        case Input():
            return ()
        case Affine(terms=terms):
            return tuple(t.source for t in terms)
        case Relu(source=source):
            return (source,)
        case Product(left=left, right=right):
            return (left,) if left == right else (left, right)
        case _:
            assert_never(node)


def redirected(node: CoreOp, place: Mapping[int, int]) -> CoreOp:
    """The same node reading place[i] where it read node i."""
    match node:
        case Input():
            return node
        case Affine(terms=terms, bias=bias, rounding=rounding, magnitude=magnitude):
            return Affine(tuple(Term(t.map, place[t.source]) for t in terms), bias, rounding, magnitude)
        case Relu(source=source):
            return Relu(place[source])
        case Product(left=left, right=right):
            return Product(place[left], place[right])
        case _:
            assert_never(node)


def run_float(program: Program, x: Vector) -> list[Vector]:
    """Values of every node in float64, x (..., n): a guide for attacks, never evidence."""
    values: list[Vector] = []
    for node in program.nodes:
        match node:
            case Input():
                values.append(x)
            case Affine(terms=terms, bias=bias):
                total = bias
                for term in terms:
                    total = total + term.map.mv(values[term.source])
                values.append(total)
            case Relu(source=source):
                values.append(np.maximum(values[source], 0.0))
            case Product(left=left, right=right):
                values.append(values[left] * values[right])
            case _:
                assert_never(node)
    return values


def run_exact(program: Program, x: Sequence[object]) -> Array:
    """The output on a rational input, exactly; slow: dense rational arithmetic, for tests."""
    alg = Rational()
    values: list[Array] = []
    for node in program.nodes:
        match node:
            case Input():
                values.append(np.array(list(x), dtype=object))
            case Affine(terms=terms, bias=bias):
                total = exact(bias)
                for term in terms:
                    total = alg.add(total, alg.contract(term.map.dense(), values[term.source], None))
                values.append(total)
            case Relu(source=source):
                values.append(alg.maximum(values[source], exact(np.zeros(1))))
            case Product(left=left, right=right):
                values.append(values[left] * values[right])
            case _:
                assert_never(node)
    return values[program.output]


def dense_affine(matrix: Vector, bias: Vector, source: int, count: int) -> Affine:
    """A fully connected layer as one summation group of `count` products and addends."""
    return Affine((Term(Dense(matrix), source),), bias, Rounding(count, is_sum=True), abs(bias))
