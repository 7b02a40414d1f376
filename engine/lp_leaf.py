"""Exact leaves: a linear program over one subproblem's relaxation, and its duals as slopes, pins and atom weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from farkas.engine.budget import Budget
from farkas.engine.problem import Matrix, Vector
from farkas.engine.tree import Closing


@dataclass(frozen=True, eq=False)
class Disjunct:
    """A conjunction of atoms y_rows y + x_rows x <= thresholds (< where strict).

    y_rows (M, n_out); x_rows (M, n0) or None; thresholds (M,), rounded up; strict (M,) bool.
    """

    y_rows: Matrix
    x_rows: Matrix | None
    thresholds: Vector
    strict: npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class LeafResult:
    """What the LP says of one disjunct in one subproblem.

    closing: why the disjunct is impossible, or None; bound: by how much the worst atom fails at the LP's optimum
    (> 0: impossible; inf: the relaxation is empty), a float without proof; proved: the outward-rounded bound of
    the returned slopes, pins and weights; point: the LP's input (n0,), a witness candidate, or None; branch: the neuron
    whose relaxation the optimum exploits most, or -1 when it exploits none (the point then is the network's own).
    """

    closing: Closing | None
    bound: float
    proved: float
    point: Vector | None
    branch: int


class LeafProver:
    """Linear programs over the subproblems of one box; the last basis starts the next solve.

    relaxation: of the box; lower, upper (N,): bounds at the root, which contain those of every subproblem; errors: per
    Affine node the error vector in force; margin: what a closing must clear beyond 0.
    """

    def __init__(
        self, relaxation: Any, lower: Vector, upper: Vector, errors: Mapping[int, Vector], margin: float = 0.0
    ) -> None:
        raise NotImplementedError

    def close_by_lp(self, lower: Vector, upper: Vector, disjunct: Disjunct, budget: Budget) -> LeafResult:
        """Solve the LP of one subproblem (bounds in force lower, upper (N,)) and turn its duals into a closing."""
        raise NotImplementedError

    def candidates(self, point: Vector) -> Matrix:
        """(K, n0): the LP's point, pushed inside the box and rounded to binary32 in several ways, for replay."""
        raise NotImplementedError
