"""A query in numbers: boxes on the certificate's grid, rows and thresholds, cases that share their rows grouped.

Boxes are kept as float64 multiples of 2^-32 rounded outward, exactly as the checker keeps them (`crown-fp-1`), and a
bisection here yields the very children that the checker derives.  In binary32 modes the set is its binary32 points:
the two children of a bisection end at neighbouring binary32 numbers, so that a search can go down to single points.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, lcm
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from farkas.ir.errors import FarkasError
from farkas.specs.numbers import brief
from farkas.specs.query import Atom, Case

if TYPE_CHECKING:
    from farkas.engine.ball import Ellipsoid

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

GRID_BITS = 32
GRID = 2.0**-GRID_BITS
LARGEST = 2.0**20  # inputs beyond this leave the grid's exact range of float64


@dataclass(frozen=True, eq=False)
class Row:
    """The integer row of a weighted sum of atoms: lower bound of x_row . x + y_row . y - threshold refutes it."""

    x_row: Vector
    y_row: Vector


@dataclass(frozen=True, eq=False)
class Family:
    """Cases whose atoms have the same left-hand sides: one matrix of rows, thresholds by case.

    x_rows (R, n0), y_rows (R, m), x_rows None when no atom reads an input; thresholds (cases, R), rounded up;
    strict (R,): whether the atom is strict (a bound that reaches its threshold then refutes it);
    disjuncts: row indices per disjunct, in the order of the case; members: indices of the cases in the query;
    lower, upper: (cases, n0) root boxes on the grid; ball: what else is known of the points that violate;
    atoms: by disjunct the numbers of the atoms that its rows are, None where these are all of its atoms, in order.
    """

    x_rows: Matrix | None
    y_rows: Matrix
    thresholds: Matrix
    strict: npt.NDArray[np.bool_]
    disjuncts: tuple[tuple[int, ...], ...]
    members: tuple[int, ...]
    lower: Matrix
    upper: Matrix
    ball: Ellipsoid | None = None
    atoms: tuple[tuple[int, ...], ...] | None = None

    @property
    def constant(self) -> npt.NDArray[np.bool_]:
        """(R,): rows without coefficients; their bound is exactly 0."""
        reads = self.y_rows.any(axis=1)
        return np.asarray(~reads if self.x_rows is None else ~(reads | self.x_rows.any(axis=1)))


def row_scale(atom: Atom) -> int:
    """The least common multiple of the denominators of an atom's coefficients."""
    return lcm(*(a.denominator for _, a in atom.x), *(b.denominator for _, b in atom.y))


def families(
    cases: Sequence[Case], boxes: Sequence[tuple[Vector, Vector]], outputs: int, skip: Collection[int] = ()
) -> list[Family]:
    """Group the cases by their rows; boxes: per case the ends on the grid; skip: cases left out.

    Raises FarkasError for coefficients that float64 does not hold.
    """
    groups: dict[object, list[int]] = {}
    for number, case in enumerate(cases):
        if number in skip:
            continue
        signature = tuple(tuple((a.x, a.y, a.strict) for a in atoms) for atoms in case.disjuncts)
        groups.setdefault(signature, []).append(number)
    return [_family(cases, boxes, outputs, members) for members in groups.values()]


def _family(cases: Sequence[Case], boxes: Sequence[tuple[Vector, Vector]], outputs: int, members: list[int]) -> Family:
    first = cases[members[0]]
    inputs = len(first.lower)
    atoms = [atom for disjunct in first.disjuncts for atom in disjunct]
    x_rows, y_rows = np.zeros((len(atoms), inputs)), np.zeros((len(atoms), outputs))
    for r, atom in enumerate(atoms):
        scale = row_scale(atom)
        for i, a in atom.x:
            x_rows[r, i] = _exact_float(a * scale)
        for j, b in atom.y:
            y_rows[r, j] = _exact_float(b * scale)
    thresholds = np.array(
        [[float_up(a.c * row_scale(a)) for d in cases[m].disjuncts for a in d] for m in members]
    ).reshape(len(members), len(atoms))
    strict = np.array([atom.strict for atom in atoms], dtype=bool)
    disjuncts, start = [], 0
    for disjunct in first.disjuncts:
        disjuncts.append(tuple(range(start, start + len(disjunct))))
        start += len(disjunct)
    lower = np.array([boxes[m][0] for m in members]).reshape(len(members), inputs)
    upper = np.array([boxes[m][1] for m in members]).reshape(len(members), inputs)
    return Family(
        x_rows if x_rows.any() else None, y_rows, thresholds, strict, tuple(disjuncts), tuple(members), lower, upper
    )


def _exact_float(value: Fraction) -> float:
    if abs(value) < 2**1000 and Fraction(float(value)) == value:
        return float(value)
    raise FarkasError(
        f"a coefficient of the property, {brief(value)[:40]} after scaling its atom to integers, has more than 53 "
        "significant bits; write the property with shorter decimals"
    )


def float_up(value: Fraction) -> float:
    """The smallest float64 >= value; infinite beyond the range."""
    if abs(value) >= 2**1023:
        return float("inf") if value > 0 else -(2.0**1023)
    result = float(value)
    return result if Fraction(result) >= value else float(np.nextafter(result, np.inf))


def grid_down(value: Fraction) -> float:
    return float(floor(value * 2**GRID_BITS)) * GRID


def grid_up(value: Fraction) -> float:
    return float(ceil(value * 2**GRID_BITS)) * GRID


def bisect(lower: Vector, upper: Vector, binary32: bool) -> tuple[Vector, Vector]:
    """(upper end of the first child, lower end of the second) of intervals on the grid, as the checker derives them."""
    middle = np.floor((lower + upper) * 0.5 * 2.0**GRID_BITS) * GRID
    if not binary32:
        return middle, middle
    below = middle.astype(np.float32)
    below = np.where(below.astype(np.float64) > middle, np.nextafter(below, np.float32(-np.inf)), below)
    above = np.nextafter(below, np.float32(np.inf))
    first = np.ceil(below.astype(np.float64) * 2.0**GRID_BITS) * GRID
    second = np.floor(above.astype(np.float64) * 2.0**GRID_BITS) * GRID
    return first, second
