"""What is asked of a network's linear model: bounds of a subproblem, atoms of a disjunct, a basis to start from.

The model of a box (`relu_network`) keeps its columns and rows; a subproblem is `Restated` numbers for it, a disjunct
adds one row an atom, and `dual_basis` turns one backward pass into the basis that it stands for.  That start is worth
having: from nothing the dual simplex took 8900 iterations on a network of 4 x 256 neurons, from there 150.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from farkas.encoders.linear_model import Group, LinearModel, ModelBuilder, rows_of
from farkas.encoders.relu_network import NONE, Encoding
from farkas.encoders.sparse import beside, merged
from farkas.ir.linear import Indices, Matrix, Vector
from farkas.ir.relaxation import upper_line

ZERO, SAME, UPPER = 0, 1, 2  # lines of an unstable neuron: r = 0, r = z, r = s z + t
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Restated:
    """Numbers of one subproblem for the relaxed model: bounds of the columns value[known] and output, of the rows above
    and under, and the coefficient of z in the latter (-s, nan where the row is free); (K,) but for the first two."""

    value_lower: Vector
    value_upper: Vector
    output_upper: Vector
    above_lower: Vector
    above_upper: Vector
    under_upper: Vector
    under_slope: Vector


@dataclass(frozen=True, eq=False)
class Atoms:
    """Rows over the output (M, n_out) and the input (M, n0) with thresholds (M,), divided by powers of two (M,)."""

    y_rows: Matrix
    x_rows: Matrix
    thresholds: Vector
    scale: Vector

    @staticmethod
    def of(y_rows: Matrix, x_rows: Matrix | None, thresholds: Vector, inputs: int) -> Atoms:
        """Each row divided by the power of two at or below its largest coefficient."""
        x = np.zeros((len(thresholds), inputs)) if x_rows is None else x_rows
        largest = np.concatenate([abs(y_rows), abs(x)], axis=1).max(axis=1, initial=0.0)
        scale = np.where(largest > 0, np.exp2(np.floor(np.log2(np.where(largest > 0, largest, 1.0)))), 1.0)
        return Atoms(y_rows / scale[:, None], x / scale[:, None], thresholds / scale, scale)


@dataclass(frozen=True, eq=False)
class Question:
    """The model of a network with the atoms of one disjunct, whose worst excess is minimised.

    excess: its column, -1 for a disjunct without atoms; atoms: their rows; scaled: what stands in them.  Positions of
    the encoding's own columns and rows are unchanged.
    """

    model: LinearModel
    excess: int
    atoms: Indices
    scaled: Atoms


def restated(encoding: Encoding, lower: Vector, upper: Vector) -> Restated:
    """What the relaxed model looks like under the bounds of a subproblem; lower <= upper (N,)."""
    l, u = lower[encoding.neuron], upper[encoding.neuron]
    line = upper_line(np, l, u)
    known = encoding.value >= 0
    active = l >= 0
    inactive = ~active & (u <= 0)
    return Restated(
        lower[known],
        upper[known],
        np.where(inactive, 0.0, np.inf),
        np.where(inactive, -np.inf, 0.0),
        np.where(active, 0.0, np.inf),
        np.where(line.unstable, line.intercept, np.inf),
        np.where(line.unstable, -line.slope, np.nan),
    )


def ask(encoding: Encoding, output: int, atoms: Atoms) -> Question:
    """Add the rows  y_rows y + x_rows x - excess <= thresholds  and minimise the excess; output: the node of y."""
    builder = ModelBuilder.of(encoding.model)
    count = len(atoms.thresholds)
    if count == 0:
        return Question(encoding.model, NONE, np.zeros(0, dtype=np.int64), atoms)
    excess = builder.add_columns(Group("excess", -1, (0,)), -np.inf, np.inf, cost=1.0)
    part = rows_of(np.broadcast_to(encoding.columns[output], atoms.y_rows.shape), atoms.y_rows)
    part = beside(part, rows_of(np.broadcast_to(encoding.columns[0], atoms.x_rows.shape), atoms.x_rows))
    part = beside(part, rows_of(np.full((count, 1), excess[0]), np.full((count, 1), -1.0)))
    rows = builder.add_rows(Group("atom", -1, tuple(range(count))), merged(part), -np.inf, atoms.thresholds)
    return Question(builder.build(), int(excess[0]), rows, atoms)


@dataclass(frozen=True, eq=False)
class Basis:
    """Basic columns (n,) and rows (m,), and which of the others are at their upper bound."""

    columns: Flags
    rows: Flags
    columns_at_upper: Flags
    rows_at_upper: Flags


def dual_basis(question: Question, encoding: Encoding, faces: Indices, x_at_upper: Flags, atom: int) -> Basis:
    """The basis that stands for one backward pass with lower slopes in {0, 1}: dual feasible, so simplex goes on there.

    faces (K,): the line that the pass takes at each unstable neuron, ZERO, SAME or UPPER; x_at_upper (n0,): the corner
    that minimises; atom: whose row was passed.  Each neuron has two rows and a column r, of which two are basic.
    """
    model = question.model
    columns, rows = np.ones(len(model.lower), dtype=bool), np.zeros(len(model.row_lower), dtype=bool)
    at_upper, rows_at_upper = np.zeros_like(columns), np.zeros_like(rows)
    columns[encoding.columns[0]] = False
    at_upper[encoding.columns[0]] = x_at_upper
    first_column = first_row = 0
    for group in model.column_groups:  # what `encoding` does not list keeps r = 0
        columns[first_column : first_column + len(group.components)] &= group.what != "relu"
        first_column += len(group.components)
    for group in model.row_groups:
        rows[first_row : first_row + len(group.components)] = group.what in ("above", "under", "atom")
        first_row += len(group.components)
    columns[encoding.output] = faces != ZERO
    rows[encoding.above] = faces != SAME
    rows[encoding.under] = faces != UPPER
    rows_at_upper[encoding.under] = faces == UPPER
    if len(question.atoms):
        rows[question.atoms[atom]], rows_at_upper[question.atoms[atom]] = False, True
    return Basis(columns, rows, at_upper, rows_at_upper)
