"""The ellipsoid that a property restricts its inputs to: an atom  sum q_i x_i^2 + sum b_i x_i <= c  with all q_i > 0.

An input set in the Euclidean norm is a box and such an atom in every disjunct.  Linear lines of the squares know little
of it: with hundreds of inputs the box around a ball reaches sqrt(n) times as far as the ball.  But where the same atom
stands in every disjunct, only points of the ellipsoid can violate, so every bound of the search may be one over them
(`runtime_cuda/ball.py`), the box may be cut to the ellipsoid's own, and attacks may keep to it.

Completing the squares gives the centre m_i = -b_i / (2 q_i) and the radius R with R^2 = c + sum q_i m_i^2, in exact
rationals; in float64 the centre is rounded, and the radius grows by the distance from the true one, rounded up.

The checker knows such atoms too (`crown-fp-3`, docs/certificate.md): it cuts the same boxes, in the same integers, and
its rows over an ellipsoid lose about 2^-30 of the root of the number of inputs by rounding, which bounds here allow
for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import inf, isqrt, nextafter, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from farkas.engine.problem import GRID, GRID_BITS, LARGEST, Family, Indices, Matrix, Vector, float_up
from farkas.specs.query import Atom, Case, Monomial, Property

if TYPE_CHECKING:
    from farkas.runtime_cuda.ball import Ball

INSIDE = 1.0 - 2.0**-20  # of the radius, to which attacks keep: rounding to binary32 leads out by less, mostly


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """sum over i of (x_i - centre_i)^2 / scale_i <= radius^2, where scale_i > 0; the other inputs are free.

    centre, scale: (n0,); radius: (cases,) of a family; lower, upper: (cases, n0), its own box on the grid.
    """

    centre: Vector
    scale: Vector
    radius: Vector
    lower: Matrix
    upper: Matrix

    def on(self, case: Indices, move: Callable[[Any], Any] = np.asarray) -> Ball:
        """The same for bounds of boxes of these cases; move: arrays to the backend."""
        from farkas.runtime_cuda.ball import Ball

        larger = 1.0 + 2.0 ** (len(self.centre).bit_length() - 29)
        return Ball(move(self.centre), move(self.scale), move(self.radius[case] * larger))

    def project(self, points: Matrix, case: Indices) -> Matrix:
        """(B, n0): points outside drawn toward the centre; stays in a box that holds the centre.  A guide."""
        held = self.scale > 0
        away = np.where(held, points - self.centre, 0.0)
        length = np.sqrt((away * away / np.where(held, self.scale, 1.0)).sum(axis=-1))
        share = np.minimum(1.0, INSIDE * self.radius[case] / np.maximum(length, 1e-300))
        return np.asarray(np.where(held, self.centre + away * share[:, None], points))

    def lowest(self, rows: Matrix, case: Indices) -> Matrix:
        """(B, n0): where the rows (B, n0) are least on the ellipsoid; the centre in inputs that are free."""
        step = rows * self.scale
        length = np.sqrt((rows * step).sum(axis=-1))
        share = INSIDE * self.radius[case] / np.maximum(length, 1e-300)
        return np.asarray(self.centre - step * share[:, None])


def within(family: Family, prop: Property) -> Family:
    """The family with its ellipsoid, if there is one, and root boxes cut to that."""
    shape = ellipsoid(prop.cases, family.members, prop.monomials, prop.outputs)
    if shape is None or not all(np.isfinite(part).all() for part in (shape.centre, shape.scale, shape.radius)):
        return family
    lower, upper = cut(family, shape)
    return replace(family, lower=lower, upper=upper, ball=shape)


def linear(family: Family, outputs: int) -> Family | None:
    """The family without the atoms of its ellipsoid, where none of the others speaks of products; None otherwise.

    Whoever bounds rows over the ellipsoid refutes a disjunct by refuting the rest of it.
    """
    spoken = np.asarray(family.y_rows[:, outputs:].any(axis=1))
    if family.ball is None:
        return None if spoken.any() else replace(family, y_rows=family.y_rows[:, :outputs])
    stands_for = [np.flatnonzero(spoken[list(rows)]) for rows in family.disjuncts]
    left = tuple(tuple(r for r in rows if not spoken[r]) for rows in family.disjuncts)
    if not all(len(found) == 1 for found in stands_for) or not all(left):
        return None
    atoms = tuple(tuple(n for n, r in enumerate(rows) if not spoken[r]) for rows in family.disjuncts)
    return replace(family, y_rows=family.y_rows[:, :outputs], disjuncts=left, atoms=atoms)


def ellipsoid(
    cases: Sequence[Case], members: Sequence[int], monomials: Sequence[Monomial], outputs: int
) -> Ellipsoid | None:
    """What every disjunct of every case restricts the inputs to, if it is an ellipsoid about the same centre.

    members: the cases of a family, whose atoms have the same left-hand sides.
    """
    first = cases[members[0]]
    if not first.disjuncts or not monomials:
        return None
    inputs = len(first.lower)
    for atom in first.disjuncts[0]:
        squares = _squares(atom, monomials, inputs, outputs)
        limits = [_limit(cases[m], atom) for m in members]
        if squares is not None and all(limit is not None for limit in limits):
            return _completed(atom, squares, [limit for limit in limits if limit is not None], inputs)
    return None


def _limit(case: Case, atom: Atom) -> Fraction | None:
    """The largest right-hand side that the atom has in a disjunct; None where one does not have the atom."""
    found = [[a.c for a in atoms if (a.x, a.y) == (atom.x, atom.y)] for atoms in case.disjuncts]
    return max(min(limits) for limits in found) if all(found) else None


def _squares(atom: Atom, monomials: Sequence[Monomial], inputs: int, outputs: int) -> dict[int, Fraction] | None:
    """The coefficient of x_i^2 by i, where the atom is of the wanted form."""
    found: dict[int, Fraction] = {}
    for j, q in atom.y:
        factors = monomials[j - outputs] if j >= outputs else ()
        if q <= 0 or len(factors) != 2 or factors[0] != factors[1] or factors[0] >= inputs:
            return None
        found[factors[0]] = q
    return found if found and all(i in found for i, _ in atom.x) else None


def _completed(atom: Atom, squares: dict[int, Fraction], limits: Sequence[Fraction], inputs: int) -> Ellipsoid | None:
    """None where a centre is beyond all boxes."""
    linear = dict(atom.x)
    centre, scale = np.zeros(inputs), np.zeros(inputs)
    off, shift = Fraction(0), Fraction(0)
    for i, q in squares.items():
        middle = -linear.get(i, Fraction(0)) / (2 * q)
        if abs(middle) > LARGEST:
            return None
        centre[i], scale[i] = float(middle), float_up(1 / q)
        off += q * (middle - Fraction(float(centre[i]))) ** 2
        shift += q * middle * middle
    squared = [max(Fraction(0), limit + shift) for limit in limits]
    radius = [_root_up(square) + _root_up(off) for square in squared]
    lower, upper = _own_box(squares, linear, squared, inputs)
    return Ellipsoid(centre, scale, np.nextafter(np.array(radius), inf), lower, upper)


def _own_box(
    squares: dict[int, Fraction], linear: dict[int, Fraction], squared: Sequence[Fraction], inputs: int
) -> tuple[Matrix, Matrix]:
    """The boxes of the ellipsoids of these squared radii, in the integers of the checker (`checker.ellipsoid`)."""
    end = int(LARGEST) << GRID_BITS
    lower = np.full((len(squared), inputs), -end, dtype=np.int64)
    upper = np.full((len(squared), inputs), end, dtype=np.int64)
    units = {i: -linear.get(i, Fraction(0)) / (2 * q) * 2**GRID_BITS for i, q in squares.items()}
    off = sum((q * (units[i] % 1) ** 2 for i, q in squares.items()), Fraction(0))
    for k, square in enumerate(squared):
        for i, q in squares.items():
            reach = max(1, _integer_root_up(square * 4**GRID_BITS / q) + _integer_root_up(off / q))
            middle = units[i] // 1
            lower[k, i], upper[k, i] = (min(max(e, -end), end) for e in (middle - reach, middle + reach))
    return lower.astype(np.float64) * GRID, upper.astype(np.float64) * GRID


def _integer_root_up(value: Fraction) -> int:
    """The least integer whose square is not below the value."""
    whole = -(-value // 1)
    return isqrt(whole - 1) + 1 if whole > 0 else 0


def _root_up(value: Fraction) -> float:
    """A float64 at or above the square root."""
    return nextafter(sqrt(float_up(value)), inf) if value else 0.0


def cut(family: Family, shape: Ellipsoid) -> tuple[Matrix, Matrix]:
    """The root boxes of a family, (cases, n0) on the grid, without what lies beyond the ellipsoid's own box."""
    lower, upper = np.maximum(family.lower, shape.lower), np.minimum(family.upper, shape.upper)
    for k in np.flatnonzero((lower > upper).any(axis=1)).tolist():  # box and ellipsoid do not meet: bounds will say so
        lower[k], upper[k] = family.lower[k], family.upper[k]
    return lower, upper
