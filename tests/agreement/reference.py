"""Graphs of one operator, and how far a float32 execution of a program may be from its real value at a point."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt

from farkas.ir.algebra import Array, Rational, exact
from farkas.ir.core import Affine, Input, Product, Program, Relu
from farkas.ir.error_terms import rounding_error
from farkas.ir.graph import Graph, Node
from farkas.ir.op import Op, Shape
from farkas.ir.ops.movement import Reshape, Slice

Vector = npt.NDArray[np.float64]


class Roots(Rational):
    """The reals with square roots to 200 binary digits: for operators whose lowering states a radius."""

    def sqrt(self, a: Array) -> Array:
        out = np.empty(a.size, dtype=object)
        out[:] = [Fraction(math.isqrt(int(v * 2**400)), 2**200) for v in a.ravel().tolist()]
        return out.reshape(a.shape)


def one_operator(op: Op, shapes: tuple[Shape, ...]) -> Graph:
    """A graph with one flat input that is cut into the operator's operands."""
    sizes = [math.prod(shape) for shape in shapes]
    nodes: list[Node] = []
    start = 0
    for i, (size, shape) in enumerate(zip(sizes, shapes, strict=True)):
        nodes.append(Node(f"cut{i}", Slice((range(start, start + size),)), ("x",)))
        nodes.append(Node(f"x{i}", Reshape(shape), (f"cut{i}",)))
        start += size
    nodes.append(Node("y", op, tuple(f"x{i}" for i in range(len(shapes)))))
    return Graph.build((("x", (start,)),), tuple(nodes), ("y",))


def meaning(op: Op, shapes: tuple[Shape, ...], x: list[Fraction]) -> Array:
    """The operator's `denote` on exact rationals, flat."""
    operands, start = [], 0
    flat = exact(np.zeros(0))
    flat = np.array(x, dtype=object)
    for shape in shapes:
        operands.append(flat[start : start + math.prod(shape)].reshape(shape))
        start += math.prod(shape)
    return op.denote(Roots(), *operands).ravel()


def values_and_radii(program: Program, x: Vector) -> tuple[list[Vector], list[Vector]]:
    """Every node's real value at x, in float64, and how far a float32 execution may be from it (rounded up).

    Float64 itself is off by at most 2^-40 of the magnitudes here, which is added.
    """
    values: list[Any] = []
    radii: list[Any] = []
    for node in program.nodes:
        match node:
            case Input():
                values.append(x)
                radii.append(np.zeros(x.shape))
            case Affine(terms=terms, bias=bias, rounding=rounding, magnitude=magnitude):
                total, spread = bias.copy(), np.zeros(bias.shape)
                size, weights, inputs = magnitude.copy(), np.zeros(bias.shape), np.zeros(bias.shape)
                for term in terms:
                    absolute = term.map.absolute()
                    reach = abs(values[term.source]) + radii[term.source]
                    total = total + term.map.mv(values[term.source])
                    spread = spread + absolute.mv(radii[term.source])
                    size = size + absolute.mv(reach)
                    weights = weights + absolute.mv(np.ones(absolute.cols))
                    inputs = inputs + reach.sum()
                values.append(total)
                error = rounding_error(rounding.count, size, weights, inputs, rounding.relative)
                radii.append(spread + error + size * 2.0**-40)
            case Relu(source=source):
                values.append(np.maximum(values[source], 0.0))
                radii.append(radii[source])
            case Product(left=left, right=right):
                (a, b), (r, s) = (values[left], values[right]), (radii[left], radii[right])
                values.append(a * b)
                radii.append(abs(a) * s + abs(b) * r + r * s + abs(a * b) * 2.0**-40)
            case _:
                assert_never(node)
    return values, radii
