"""Subproblems of tiny networks for the tests of LPs: provers, splits, and the exact minimum over a subproblem."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from farkas.engine.lp_leaf import Disjunct, LeafProver
from farkas.engine.problem import Matrix, Vector
from farkas.ir.core import Program
from farkas.runtime_cuda.backend import numpy_backend
from farkas.runtime_cuda.prepared import prepare
from farkas.runtime_cuda.relaxation import Relaxation
from farkas.runtime_cuda.root import Effort, Root
from tests.engine.pieces import Piece, at, clipped, pieces
from tests.nets import Box

EFFORT = Effort(float("inf"), 4, lambda: 0.0)


@dataclass(frozen=True)
class Problem:
    """A program over a box: its root, and a prover of its leaves."""

    program: Program
    box: Box
    relaxation: Relaxation
    root: Root
    prover: LeafProver

    @property
    def lower(self) -> Vector:
        return np.array(self.root.lower)

    @property
    def upper(self) -> Vector:
        return np.array(self.root.upper)


def problem(program: Program, box: Box, *, binary32: bool = False, margin: float = 0.0) -> Problem:
    net = prepare(program, binary32=binary32, backend=numpy_backend())
    low, high = (np.array([float(v) for v in side]) for side in box)
    relaxation = Relaxation(net, low, high, lambda: None)
    root = relaxation.root(EFFORT)
    return Problem(program, box, relaxation, root, LeafProver(relaxation, root, margin))


def disjunct(rows: Any, thresholds: Any, x_rows: Any = None, *, strict: bool = False) -> Disjunct:
    x: Matrix | None = None if x_rows is None else np.array(x_rows, dtype=np.float64)
    made = np.array(rows, dtype=np.float64)
    return Disjunct(made, x, np.array(thresholds, dtype=np.float64), np.full(len(thresholds), strict))


def split(found: Problem, rng: random.Random, share: float) -> tuple[Vector, Vector]:
    """Bounds with a share of the unstable neurons split at random, whether or not an execution remains."""
    lower, upper = found.lower, found.upper
    for g in np.flatnonzero((lower < 0) & (upper > 0)):
        if rng.random() < share:
            (lower if rng.random() < 0.5 else upper)[g] = 0.0
    return lower, upper


def parts(found: Problem, lower: Vector, upper: Vector) -> list[Piece]:
    """The linear pieces of the network with the signs that the bounds fix, exactly; tighter bounds cut nothing."""
    kept = []
    for piece in pieces(found.program, *found.box):
        vertices = piece.vertices
        for v, slot in found.relaxation.full.slots.items():
            for form, l, u in zip(piece.forms[v], lower[slot], upper[slot], strict=True):
                if l >= 0:
                    vertices = clipped(vertices, form) if vertices else vertices
                if u <= 0:
                    vertices = clipped(vertices, -form) if vertices else vertices
        if vertices:
            kept.append(Piece(vertices, piece.forms))
    return kept


def least_excess(found: Problem, asked: Disjunct, part: Sequence[Piece]) -> Fraction | None:
    """The exact minimum of the only atom's left-hand side minus its threshold; None where nothing is left."""
    assert len(asked.thresholds) == 1, "one atom"
    values = []
    for piece in part:
        for point in piece.vertices:
            total = -Fraction(float(asked.thresholds[0]))
            for b, form in zip(asked.y_rows[0], piece.forms[found.program.output], strict=True):
                total += Fraction(float(b)) * at(form, point)
            for a, x in zip([] if asked.x_rows is None else asked.x_rows[0], point, strict=False):
                total += Fraction(float(a)) * x
            values.append(total)
    return min(values, default=None)
