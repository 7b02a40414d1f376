"""How far points are from violating, and in which direction to push them: the objectives of the attack.

A disjunct of the unsafe set holds at a point when all its atoms do.  With s_r = threshold_r - row_r . (x, y) its
*slack* is min_r s_r, and a witness has slack >= 0 in some disjunct.  Two objectives are raised, in turn:

- *margin*: the slack of one targeted disjunct, whose gradient is that of its tightest atom;
- *smooth*: log sum over the disjuncts (all, or the targeted one) of exp(soft slack / T), the soft slack being the soft
  minimum of the atoms.  For a classifier's robustness, where disjunct k says that logit k beats the true one, this is
  the cross-entropy of the network but for constants.  It takes a step where the tightest atom's gradient is zero or the
  atoms pull in turns.

All of it is float64 and guides only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from farkas.engine.problem import Family, Matrix

Indices = npt.NDArray[np.int64]
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Objective:
    """Slacks of the disjuncts of one family."""

    family: Family

    @cached_property
    def atoms(self) -> Indices:
        """(D, A): the row of every atom of every disjunct; R, the number of rows, pads."""
        disjuncts = self.family.disjuncts
        rows = self.family.y_rows.shape[0]
        table = np.full((len(disjuncts), max((len(d) for d in disjuncts), default=0) or 1), rows, dtype=np.int64)
        for d, atoms in enumerate(disjuncts):
            table[d, : len(atoms)] = atoms
        return table

    @cached_property
    def several(self) -> npt.NDArray[np.bool_]:
        """(D,): whether a disjunct has more than one atom."""
        return np.array([len(d) > 1 for d in self.family.disjuncts], dtype=bool)

    def slacks(self, y: Matrix, x: Matrix, case: Indices) -> npt.NDArray[np.float64]:
        """(B, D, A): by how much every atom holds at the points; infinite where an atom only pads."""
        values = y @ self.family.y_rows.T
        if self.family.x_rows is not None:
            values = values + x @ self.family.x_rows.T
        free = self.family.thresholds[case] - values
        padded = np.concatenate([np.where(np.isnan(free), -np.inf, free), np.full((len(x), 1), np.inf)], axis=1)
        return np.asarray(padded[:, self.atoms])

    def ascent(self, slacks: npt.NDArray[np.float64], target: Indices, smooth: npt.NDArray[np.bool_]) -> Matrix:
        """(B, R): the weights of the rows in the objective's gradient; target: a disjunct, or -1 for all of them."""
        batch, disjuncts, width = slacks.shape
        weights = np.zeros((batch, disjuncts, width))
        worst = slacks.min(axis=2)
        chosen = np.where(target >= 0, target, worst.argmax(axis=1))
        lines = np.arange(batch)
        weights[lines, chosen, slacks[lines, chosen].argmin(axis=1)] = 1.0
        if smooth.any():
            open_to = (target[:, None] < 0) | (np.arange(disjuncts) == target[:, None])
            shares = _softmax(np.where(open_to, worst, -np.inf), 1)[:, :, None] * _softmax(-slacks, 2)
            weights = np.where(smooth[:, None, None], shares, weights)
        rows = np.zeros((batch, self.family.y_rows.shape[0] + 1))
        rows[:, self.atoms.ravel()] = weights.reshape(batch, -1)  # an atom belongs to one disjunct only
        return rows[:, :-1]


def _softmax(values: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.float64]:
    """Shares of exp(values / T); T is the spread of the finite values, so that scaling the network changes nothing."""
    finite = np.isfinite(values)
    shown = np.where(finite, values, 0.0)
    count = finite.sum(axis=axis, keepdims=True)
    mean = shown.sum(axis=axis, keepdims=True) / np.maximum(count, 1)
    spread = np.where(finite, abs(shown - mean), 0.0).sum(axis=axis, keepdims=True) / np.maximum(count, 1)
    top = np.where(finite, values, -np.inf).max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    raised = np.where(finite, np.exp(np.minimum(shown - top, 0.0) / np.maximum(0.5 * spread, 1e-30)), 0.0)
    return np.asarray(raised / np.maximum(raised.sum(axis=axis, keepdims=True), 1e-300))
