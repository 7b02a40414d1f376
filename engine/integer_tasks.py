"""An integer query in numbers: per case the codes of its input set, and the disjuncts as rows over decoded outputs.

A disjunct may bound single inputs by itself (a strict bound of the property stays an atom).  Such atoms move into the
input set, which is exact: the binary32 points below a bound end at one of them.  Disjuncts of a case that leave the
same set are one task; as a rule that is all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from farkas.encoders.code_atoms import Sides, sides
from farkas.engine.problem import float_up
from farkas.ir.errors import FarkasError
from farkas.ir.integer import IntegerProgram, decoded, run_codes
from farkas.ir.integer_codes import InputCodes, input_codes
from farkas.ir.integer_unary import Integers
from farkas.ir.linear import Vector
from farkas.specs.boxes import down32
from farkas.specs.query import Atom, Case

Matrix = npt.NDArray[np.float64]
SMALLEST = Fraction(1, 2**400)  # coefficients below are scaled first
SCREEN = 2.0**-44  # relative error that is allowed for when float64 looks for rows that may hold


@dataclass(frozen=True, eq=False)
class Task:
    """Disjuncts of one case over one set of input codes.

    number: of the case; atoms: of each disjunct, those that bound a single input aside.
    """

    number: int
    program: IntegerProgram
    inputs: InputCodes
    disjuncts: tuple[int, ...]
    atoms: tuple[tuple[Atom, ...], ...]

    @cached_property
    def rows(self) -> Rows:
        return Rows.of(self)

    @cached_property
    def sides(self) -> tuple[Sides, ...]:
        return tuple(sides(atoms, self.inputs) for atoms in self.atoms)

    def outputs(self, codes: Integers) -> Matrix:
        """Decoded outputs (..., m) of input codes (..., n0), in float64, exact."""
        values = decoded(self.program, run_codes(self.program, codes)[self.program.output])
        return np.asarray(values, dtype=np.float64)

    def point(self, codes: Integers, disjunct: int) -> Vector:
        """The input with these codes that is best for a disjunct (position in `disjuncts`)."""
        own = self.sides[disjunct]
        return np.where(own.free, self.inputs.points(codes), self.inputs.ends(codes, own.last))

    def violating(self, codes: Integers) -> Vector | None:
        """A point with some of the codes (K, n0) that makes a disjunct true, exactly; None: there is none."""
        outputs = self.outputs(codes)
        may = self.rows.may_hold(self.rows.values(outputs, codes, self.inputs))
        for d, positions in enumerate(self.rows.disjuncts):
            for k in np.flatnonzero(may[:, positions].all(axis=1)):
                x = self.point(codes[k], d)
                inputs, y = ([Fraction(float(v)) for v in own] for own in (x, outputs[k]))
                if all(atom.holds(inputs, y) for atom in self.atoms[d]):
                    return x
        return None


@dataclass(frozen=True, eq=False)
class Rows:
    """All atoms of a task: y_rows (R, m), x_rows (R, n0), limits (R,) rounded up, strict (R,), and rows by disjunct."""

    y_rows: Matrix
    x_rows: Matrix
    limits: Vector
    strict: npt.NDArray[np.bool_]
    disjuncts: tuple[tuple[int, ...], ...]

    @staticmethod
    def of(task: Task) -> Rows:
        atoms = [atom for own in task.atoms for atom in own]
        y_rows = np.zeros((len(atoms), task.program.output_size))
        x_rows = np.zeros((len(atoms), task.program.input_size))
        scales = [_scale(atom) for atom in atoms]
        for r, atom in enumerate(atoms):
            for j, b in atom.y:
                y_rows[r, j] = _nearest(b * scales[r])
            for i, a in atom.x:
                x_rows[r, i] = _nearest(a * scales[r])
        ends = np.cumsum([0, *(len(own) for own in task.atoms)]).tolist()
        disjuncts = tuple(tuple(range(a, b)) for a, b in pairwise(ends))
        limits = np.array([float_up(atom.c * scale) for atom, scale in zip(atoms, scales, strict=True)])
        return Rows(y_rows, x_rows, limits, np.array([atom.strict for atom in atoms], dtype=bool), disjuncts)

    def values(self, outputs: Matrix, codes: Integers, inputs: InputCodes) -> Matrix:
        """(K, R): the rows in float64, each at the best points for it; with `SCREEN` a guide to which may hold."""
        values = outputs @ self.y_rows.T - SCREEN * (abs(outputs) @ abs(self.y_rows).T)
        for r in np.flatnonzero(self.x_rows.any(axis=1)):
            row = self.x_rows[r]
            x = inputs.ends(codes, row < 0)
            values[:, r] += x @ row - SCREEN * (abs(x) @ abs(row))
        return values

    def may_hold(self, values: Matrix) -> npt.NDArray[np.bool_]:
        """Rows that are not refuted by lower bounds `values` (..., R)."""
        return ~np.where(self.strict, values >= self.limits, values > self.limits)


def _scale(atom: Atom) -> Fraction:
    """1 unless the atom's coefficients are so large or small that float64 may lose them."""
    largest = max((abs(a) for _, a in (*atom.x, *atom.y)), default=Fraction(1))
    return Fraction(1) if SMALLEST < largest < 1 / SMALLEST else 1 / largest


def _nearest(value: Fraction) -> float:
    """The nearest float64, within a factor 1 + 2^-53."""
    if abs(value) < SMALLEST**2:
        raise FarkasError("the coefficients of an atom differ by a factor beyond float64; write them as two properties")
    return float(value)


def tasks(program: IntegerProgram, number: int, case: Case, lower: Vector, upper: Vector) -> list[Task]:
    """The tasks of a case whose input set is lower..upper; disjuncts whose set is empty are in none."""
    groups: dict[tuple[bytes, bytes], list[int]] = {}
    boxes: dict[tuple[bytes, bytes], tuple[Vector, Vector]] = {}
    for d, atoms in enumerate(case.disjuncts):
        low, high = _folded(atoms, lower, upper)
        if (low > high).any():
            continue
        key = low.tobytes(), high.tobytes()
        boxes[key] = low, high
        groups.setdefault(key, []).append(d)
    found = []
    for key, members in groups.items():
        inputs = input_codes(program, *boxes[key])
        if inputs.is_empty:
            continue
        own = tuple(tuple(atom for atom in case.disjuncts[d] if not _is_bound(atom)) for d in members)
        found.append(Task(number, program, inputs, tuple(members), own))
    return found


def _is_bound(atom: Atom) -> bool:
    return len(atom.x) == 1 and not atom.y


def _folded(atoms: Sequence[Atom], lower: Vector, upper: Vector) -> tuple[Vector, Vector]:
    """The binary32 points of the box at which all atoms hold that bound a single input."""
    low, high = lower.copy(), upper.copy()
    for atom in filter(_is_bound, atoms):
        ((i, a),) = atom.x
        bound = atom.c / a
        if a > 0:
            high[i] = min(high[i], _below(bound, strict=atom.strict))
        else:
            low[i] = max(low[i], -_below(-bound, strict=atom.strict))
    return low, high


def _below(bound: Fraction, *, strict: bool) -> float:
    """The largest binary32 number at most (strictly: less than) a bound; -inf where there is none."""
    found = down32(bound)
    if found is None:
        return -np.inf
    if strict and found == bound:
        return float(np.nextafter(np.float32(found), np.float32(-np.inf)))
    return found
