"""Small pieces near the edge of a property, for rungs that decide one order; all their points in the reference run."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from farkas.engine.ladder import Piece
from farkas.engine.query import Query
from farkas.ir.binary32 import Float32
from farkas.ir.execute import execute
from farkas.runtime_cuda.enumeration import Points, step_by
from farkas.specs.query import Atom, Semantics
from tests.nets import Net, atom, case


def rationals(values: Float32) -> list[Fraction]:
    return [Fraction(float(v)) for v in values]


@dataclass(frozen=True, eq=False)
class Edge:
    """A query about one box, and the outputs at all its points in the query's order."""

    query: Query
    points: Float32
    outputs: Float32

    @property
    def piece(self) -> Piece:
        box = self.query.property.cases[0]
        return Piece(0, box, box.lower, box.upper, tuple(range(len(box.disjuncts))))

    @property
    def violating(self) -> set[tuple[Fraction, ...]]:
        box = self.query.property.cases[0]
        pairs = [(tuple(rationals(x)), rationals(y)) for x, y in zip(self.points, self.outputs, strict=True)]
        return {x for x, y in pairs if box.violated_disjunct(x, y) is not None}


def edge(net: Net, order: str, lower: Float32, steps: npt.ArrayLike, atoms: list[list[Atom]]) -> Edge:
    """All points from `lower` to `steps` places above it, and disjuncts."""
    upper = step_by(lower, np.asarray(steps, dtype=np.int64))
    query = net.query([case(rationals(lower), rationals(upper), *atoms)], Semantics(f"f32-order:{order}"))
    points = Points.between(lower, upper)
    x = points.at(np.arange(points.count))
    return Edge(query, x, execute(net.graph, x, order))


def difference_at_most(c: Fraction, *, strict: bool = False) -> list[Atom]:
    """Y_0 - Y_1 <= c."""
    return [atom([1, -1], c, strict=strict)]
