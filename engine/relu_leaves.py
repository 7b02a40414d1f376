"""Which nodes of a ReLU-split search are handed to a linear program, and for how much of the time.

A node without unstable neurons *is* a linear program: ascent on its multipliers does not arrive where the node is
empty, for there they grow without bound, and the LP's point is what finds inputs where gradients saturate.  So such
nodes always go there.  A node whose bound several splits have not moved goes there too, while LPs have had less than a
quarter of the search's time: a solve costs as much as ten to a hundred nodes of a batch, but its bound is the best that
the relaxation has, and the neuron that its optimum exploits most is a better split where the scores see nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from farkas.engine.budget import Budget
from farkas.engine.problem import Matrix, Vector
from farkas.engine.relu_root import CaseRoot

if TYPE_CHECKING:
    from farkas.engine.lp_leaf import Disjunct, LeafProver, LeafResult

SHARE = 0.25
STALLED_AFTER = 4


@dataclass(eq=False)
class LeafPrograms:
    """The linear programs of one case."""

    root: CaseRoot
    seconds: float = 0.0
    solved: int = 0
    _prover: list[LeafProver] = field(default_factory=list)

    @property
    def prover(self) -> LeafProver:
        if not self._prover:
            from farkas.engine.lp_leaf import LeafProver  # loads the solver, which most queries never need

            assert self.root.found is not None, "the root is bounded before any node"
            self._prover.append(LeafProver(self.root.relaxation, self.root.found, self.root.margin))
        return self._prover[0]

    def disjunct(self, d: int) -> Disjunct:
        from farkas.engine.lp_leaf import Disjunct

        root, atoms = self.root, list(self.root.atoms_of[d])
        x_rows = root.family.x_rows
        return Disjunct(
            root.family.y_rows[atoms],
            None if x_rows is None else x_rows[atoms],
            root.thresholds[atoms],
            root.family.strict[atoms],
        )

    def may_help(self, stalled: int, search_s: float) -> bool:
        """Whether a node that so many splits did not move gets a program now."""
        return stalled >= STALLED_AFTER and self.seconds <= SHARE * search_s

    def solve(self, lower: Vector, upper: Vector, d: int, budget: Budget) -> LeafResult:
        """The program of one node for one disjunct; may raise OutOfTime."""
        budget.check()
        start = time.perf_counter()
        result = self.prover.close_by_lp(lower, upper, self.disjunct(d), budget)
        self.seconds += time.perf_counter() - start
        self.solved += 1
        budget.check()
        return result

    def points(self, result: LeafResult) -> Matrix:
        """Inputs worth a replay, (K, n0)."""
        if result.point is None or not np.isfinite(result.point).all():
            return np.zeros((0, self.root.relaxation.full.sizes[0]))
        return self.prover.candidates(result.point)
