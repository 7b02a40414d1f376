"""Inputs that a property ties to each other by `==`, for attacks: a point off the ties violates nothing.

Two networks on equal inputs are two vectors of inputs and an equation for each of their elements.  Random points and
gradient steps never meet these, so points are moved onto the ties, and gradients are added up over what is tied.  All
of this only says where to look; atoms are tested in exact rationals when a point is replayed.

Only `X_i == X_k` in every disjunct counts, that is the atoms `X_i - X_k <= 0` and `X_k - X_i <= 0`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from farkas.engine.problem import Family, Matrix
from farkas.specs.query import Atom, Case


@dataclass(frozen=True, eq=False)
class Ties:
    """source (n0,): the first input of those with the same value, for every input; None when nothing is tied."""

    source: npt.NDArray[np.int64] | None

    @staticmethod
    def of(family: Family) -> Ties:
        if family.x_rows is None or not family.disjuncts:
            return Ties(None)
        inputs = family.x_rows.shape[1]
        source = _sources(inputs, set.intersection(*(_pairs(family, rows) for rows in family.disjuncts)))
        return Ties(None if source == list(range(inputs)) else np.array(source))

    def points(self, points: Matrix) -> Matrix:
        """The points (..., n0) with every tied input at the value of the first of its group."""
        return points if self.source is None else points[..., self.source]

    def gradient(self, gradient: Matrix) -> Matrix:
        """The gradient (B, n0) along the ties: every tied input has the sum over its group."""
        if self.source is None:
            return gradient
        total = np.zeros_like(gradient)
        for i, first in enumerate(self.source):
            total[:, first] += gradient[:, i]
        return self.points(total)


def tied_box(case: Case) -> tuple[list[int], list[Fraction], list[Fraction]]:
    """The first input of each one's group, and the ends that all of the group have in common."""
    pairs = [{_ordered(atom) for atom in atoms} - {None} for atoms in case.disjuncts]
    common = {pair for pair in set.intersection(*pairs) if pair is not None} if pairs else set()
    source = _sources(len(case.lower), common)
    lower, upper = list(case.lower), list(case.upper)
    for i, first in enumerate(source):
        lower[first], upper[first] = max(lower[first], case.lower[i]), min(upper[first], case.upper[i])
    return source, [lower[first] for first in source], [upper[first] for first in source]


def _ordered(atom: Atom) -> tuple[int, int] | None:
    """(i, k) of the atom a X_i - a X_k <= 0, a > 0."""
    if atom.strict or atom.y or atom.c or len(atom.x) != 2 or atom.x[0][1] + atom.x[1][1]:
        return None
    (i, a), (k, _) = atom.x
    return (i, k) if a > 0 else (k, i)


def _sources(inputs: int, below: set[tuple[int, int]]) -> list[int]:
    """The first of those that are equal, for every input; below: (i, k) where X_i <= X_k."""
    source = list(range(inputs))
    for i, k in sorted(below):
        if (k, i) in below and source[i] != source[k]:
            first, last = sorted((source[i], source[k]))
            source = [first if s == last else s for s in source]
    return source


def _pairs(family: Family, rows: tuple[int, ...]) -> set[tuple[int, int]]:
    """(i, k) of the atoms X_i - X_k <= 0 among these rows."""
    assert family.x_rows is not None, "a family without input rows has no ties"
    found = set()
    for r in rows:
        row = family.x_rows[r]
        used = np.flatnonzero(row)
        plain = not family.strict[r] and not family.y_rows[r].any() and not family.thresholds[:, r].any()
        if plain and len(used) == 2 and row[used].sum() == 0:
            i, k = used if row[used[0]] > 0 else used[::-1]
            found.add((int(i), int(k)))
    return found
