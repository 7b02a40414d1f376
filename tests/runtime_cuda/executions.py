"""Values of every node of a program: exactly, and as some admissible binary32 execution would have them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from farkas.ir.algebra import exact
from farkas.ir.core import Affine, Input, Product, Program, Relu
from tests.ir.executions import Execution, Group

Values = list[list[Fraction]]


class Exact:
    """The program's matrices as rationals, made once."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._rows = {
            v: [exact(term.map.dense()) for term in node.terms]
            for v, node in enumerate(program.nodes)
            if isinstance(node, Affine)
        }

    def run(self, x: Sequence[Fraction]) -> Values:
        """Over the reals."""
        return self._run(x, None)

    def run_in_some_order(self, x: Sequence[Fraction], rng: random.Random) -> Values:
        """In binary32 with the order, fusion and flushing that `rng` picks; raises Overflowed when it overflows."""
        return self._run(x, Execution(rng))

    def _run(self, x: Sequence[Fraction], execution: Execution | None) -> Values:
        values: Values = []
        for v, node in enumerate(self.program.nodes):
            match node:
                case Input():
                    values.append(list(x))
                case Relu(source=source):
                    values.append([max(z, Fraction(0)) for z in values[source]])
                case Product(left=left, right=right):
                    values.append([a * b for a, b in zip(values[left], values[right], strict=True)])
                case Affine():
                    groups = self._groups(v, node, values)
                    if execution is None or node.rounding.count == 0:
                        values.append([group.value for group in groups])
                    elif node.rounding.count == 1:  # a product with a constant, or LeakyRelu: one rounding of the value
                        values.append([execution.rounded(group.value) for group in groups])
                    else:
                        values.append([execution.sum(group) if group.count else Fraction(0) for group in groups])
        return values

    def _groups(self, v: int, node: Affine, values: Values) -> list[Group]:
        groups = []
        for i, bias in enumerate(node.bias):
            products = [
                (w, a)
                for term, matrix in zip(node.terms, self._rows[v], strict=True)
                for w, a in zip(matrix[i], values[term.source], strict=True)
                if w
            ]
            groups.append(Group(tuple(products), (Fraction(float(bias)),) if bias else ()))
        return groups


@cache
def _corner_bits(count: int) -> npt.NDArray[np.int64]:
    return (np.arange(2**count)[:, None] >> np.arange(count)) & 1


def points(
    lower: Sequence[Fraction], upper: Sequence[Fraction], rng: random.Random, count: int
) -> list[tuple[Fraction, ...]]:
    """All corners of a small box and `count` random rational points of it."""
    corners = [
        tuple(u if bit else l for bit, l, u in zip(bits, lower, upper, strict=True))
        for bits in _corner_bits(len(lower))
    ]
    inside = [
        tuple(l + (u - l) * Fraction(rng.randrange(1025), 1024) for l, u in zip(lower, upper, strict=True))
        for _ in range(count)
    ]
    return corners + inside


def binary32(point: Sequence[Fraction]) -> tuple[Fraction, ...]:
    """The nearest binary32 point; it stays inside a box with binary32 ends."""
    return tuple(Fraction(float(np.float32(float(v)))) for v in point)


def outside(lower: Any, upper: Any, values: Sequence[Fraction]) -> list[tuple[float, Fraction, float]]:
    """The elements that do not lie between their bounds, compared exactly; NaN bounds contain nothing."""
    return [
        (float(l), v, float(u))
        for l, v, u in zip(lower, values, upper, strict=True)
        if not (at_most(float(l), v) and at_most(-float(u), -v))
    ]


def at_most(bound: float, value: Fraction) -> bool:
    """bound <= value, exactly; false for NaN."""
    if math.isinf(bound):
        return bound < 0
    return not math.isnan(bound) and Fraction(bound) <= value
