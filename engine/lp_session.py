"""The linear program of one box as a solver holds it, moved from subproblem to subproblem and from atoms to atoms.

Only what differs is sent, so that a child's solve goes on from its parent's factorisation.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from farkas.encoders.highs import RelaxedSolver, Solution
from farkas.encoders.relu_network import Encoding
from farkas.encoders.subproblem import Atoms, Basis, Question, Restated, ask, restated
from farkas.engine.budget import Budget
from farkas.engine.problem import Vector

SHORTEST_S, SHARE = 2.0, 0.1  # one solve may take so long, or this share of the time so far


class Session:
    """The LP of disjuncts with a given number of atoms, kept in the state of the last one and of its subproblem."""

    def __init__(self, encoding: Encoding, output: int, atoms: Atoms, lower: Vector, upper: Vector) -> None:
        self.encoding = encoding
        self.question: Question = ask(encoding, output, atoms)
        self.solver = RelaxedSolver(self.question.model)
        self.outputs = encoding.columns[output]
        self.atoms = atoms
        self.known = encoding.value[encoding.value >= 0]
        self.state: Restated = restated(encoding, lower, upper)
        self.basis: object = None
        self.size = 1.0  # of the bounds that are to be expected

    def resume(self, basis: object) -> None:
        """Go on from a basis, unless the solver stands there anyway."""
        if basis is not self.basis:
            self.solver.resume(basis)

    def begin(self, basis: Basis) -> None:
        self.solver.set_basis(basis.columns, basis.rows, basis.columns_at_upper, basis.rows_at_upper)

    def hold(self, atoms: Atoms) -> None:
        """Put other atoms into the rows."""
        if not len(self.question.atoms):
            return
        rows = self.question.atoms
        for old, new, columns in (
            (self.atoms.y_rows, atoms.y_rows, self.outputs),
            (self.atoms.x_rows, atoms.x_rows, self.encoding.columns[0]),
        ):
            i, j = np.nonzero(old != new)
            self.solver.set_coefficients(rows[i], columns[j], new[i, j])
        changed = np.flatnonzero(self.atoms.thresholds != atoms.thresholds)
        self.solver.set_rows(rows[changed], np.full(len(changed), -np.inf), atoms.thresholds[changed])
        self.atoms = atoms

    def solve(self, lower: Vector, upper: Vector, budget: Budget, cutoff: float | None) -> Solution:
        self._move(restated(self.encoding, lower, upper))
        limit = min(budget.left_s, max(SHORTEST_S, SHARE * budget.elapsed_s))
        solution = self.solver.solve(limit, cutoff)
        self.basis = self.solver.basis()
        return solution

    def unscaled(self, solution: Solution) -> float:
        """The objective in the units of the disjunct, where it has one atom."""
        return solution.objective * (float(self.atoms.scale[0]) if len(self.atoms.scale) == 1 else 1.0)

    def weights(self, duals: Vector) -> Vector:
        """(M,) of the atoms as they were given, nonnegative."""
        return np.asarray(np.maximum(-duals[self.question.atoms], 0.0) / self.atoms.scale)

    def _move(self, new: Restated) -> None:
        """Send the solver what differs from the last subproblem."""
        old, encoding, solver = self.state, self.encoding, self.solver
        changed = np.flatnonzero((new.value_lower != old.value_lower) | (new.value_upper != old.value_upper))
        solver.set_columns(self.known[changed], new.value_lower[changed], new.value_upper[changed])
        changed = np.flatnonzero(new.output_upper != old.output_upper)
        solver.set_columns(encoding.output[changed], np.zeros(len(changed)), new.output_upper[changed])
        changed = np.flatnonzero((new.above_lower != old.above_lower) | (new.above_upper != old.above_upper))
        solver.set_rows(encoding.above[changed], new.above_lower[changed], new.above_upper[changed])
        changed = np.flatnonzero(new.under_upper != old.under_upper)
        solver.set_rows(encoding.under[changed], np.full(len(changed), -np.inf), new.under_upper[changed])
        # A free row keeps its coefficient: a changed one would cost the solver its factorisation.
        slope = np.where(np.isnan(new.under_slope), old.under_slope, new.under_slope)
        changed = np.flatnonzero(slope != old.under_slope)
        columns = encoding.value[encoding.neuron[changed]]
        solver.set_coefficients(encoding.under[changed], columns, slope[changed])
        self.state = replace(new, under_slope=slope)
