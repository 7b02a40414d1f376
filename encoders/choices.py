"""y = max(v_1, ..., v_k) with a binary for each operand: big-M, and the ideal formulation by disaggregated copies.

Big-M.     y >= v_i,    y <= v_i + (U_i - l_i) (1 - d_i),    sum d_i = 1,       U_i = max over j /= i of u_j
with v_i in [l_i, u_i] proved: where d_i = 1 operand i is the value, elsewhere the row says nothing.

Multiple choice.  The operands are affine functions v_j = w_j x + b_j of columns x in a box (those of their defining
rows).  Each piece i of the maximum has a copy x^i of the columns, zero unless the piece is chosen:

    x = sum_i x^i,    d_i lower <= x^i <= d_i upper,    sum d_i = 1,    y = sum_i v_i^i,    v_i^i >= v_j^i for all j
    with v_j^i = w_j x^i + b_j d_i (up to d_i E_j where the row has an error term),    d_i l_j <= v_j^i <= d_i u_j

This is Balas' union of the k polytopes {x in the box, v_i >= v_j}, hence ideal: its linear relaxation is the convex
hull of the pairs (x, y), and no formulation in these columns is tighter.  A Relu is the maximum of 0 and its
pre-activation; there big-M is ideal in the pre-activation alone, and the copies pay where its inputs count.
Price: k copies of every column that the operands read.  Both are sound because each execution gives a feasible point
with d the indicator of a largest operand.

Tjeng, Xiao and Tedrake, Evaluating Robustness of Neural Networks with Mixed Integer Programming, ICLR 2019; Anderson,
Huchette, Ma, Tjandraatmadja and Vielma, Strong mixed-integer programming formulations for trained neural networks,
Mathematical Programming 183, 2020; Balas, Disjunctive Programming, Annals of Discrete Mathematics 5, 1979.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from farkas.encoders.linear_model import Group, ModelBuilder, rows_of
from farkas.encoders.sparse import SparseRows, merged
from farkas.ir.linear import Indices, Matrix, Vector

Flags = npt.NDArray[np.bool_]
NONE = -1  # no column: the component is zero
Naming = Callable[[str, str, Sequence[int]], Group]  # what, which part of it, components


@dataclass(frozen=True, eq=False)
class Form:
    """values . columns + constant, up to `error`: what a column is in terms of others."""

    columns: Indices
    values: Vector
    constant: float
    error: float


NO_FORM = Form(np.zeros(0, dtype=np.int64), np.zeros(0), 0.0, 0.0)  # of what is zero


@dataclass(frozen=True, eq=False)
class Operand:
    """A column (-1: zero) that is between lower and upper, and what it is made of."""

    column: int
    lower: float
    upper: float
    form: Form


class Sums:
    """Proved ranges of columns, and what each column that a row defines is made of."""

    def __init__(self) -> None:
        self._ends: dict[int, tuple[float, float]] = {}
        self._rows: dict[int, tuple[SparseRows, int, float, float]] = {}

    def bound(self, columns: Indices, lower: Vector, upper: Vector) -> None:
        """Ranges of columns (-1: of none); a column that is known already keeps its first one."""
        for j, low, high in zip(columns.tolist(), lower.tolist(), upper.tolist(), strict=True):
            self._ends.setdefault(j, (low, high))

    def define(self, columns: Indices, part: SparseRows, bias: Vector, error: Vector) -> None:
        """Column i is made of the other columns of row i, which are negated there, its bias and its error."""
        for i, j in enumerate(columns.tolist()):
            self._rows[j] = (part, i, float(bias[i]), float(error[i]))

    def ends(self, columns: Indices) -> tuple[Vector, Vector]:
        found = [self._ends[j] for j in columns.tolist()]
        return np.array([low for low, _ in found]), np.array([high for _, high in found])

    def operand(self, column: int, lower: float, upper: float) -> Operand:
        """A column as an operand: by the row that defines it, or by itself; copies of columns are looked through."""
        form = self._form(column)
        while len(form.columns) == 1 and form.values[0] == 1.0 and form.constant == form.error == 0.0:
            deeper = self._form(int(form.columns[0]))
            if deeper.columns.tolist() == form.columns.tolist():
                break
            form = deeper
        return Operand(column, lower, upper, form)

    def _form(self, column: int) -> Form:
        if column < 0:
            return NO_FORM
        if column not in self._rows:
            return Form(np.array([column]), np.ones(1), 0.0, 0.0)
        part, i, bias, error = self._rows[column]
        here = slice(int(part.start[i]), int(part.start[i + 1]))
        index, values = part.index[here], part.values[here]
        return Form(index[index != column], -values[index != column], bias, error)


@dataclass(frozen=True, eq=False)
class Places:
    """Maxima of one node: y (n,) columns of the results; z, low, high, kept (k, n): its operands, and which count."""

    y: Indices
    z: Indices
    low: Matrix
    high: Matrix
    kept: Flags
    sign: int


def big_m(builder: ModelBuilder, name: Naming, places: Places) -> Indices:
    """Rows and binaries of maxima; the binaries."""
    k, n = places.kept.shape
    sign = places.sign
    low, high = (places.low, places.high) if sign > 0 else (-places.high, -places.low)
    picks = np.full((k, n), NONE)
    for p in range(k):
        at = np.flatnonzero(places.kept[p])
        picks[p, at] = builder.add_columns(name("pick", str(p), at.tolist()), 0.0, 1.0, integral=True)
        y, z, one = places.y[at], places.z[p, at], np.full(len(at), float(sign))
        above = rows_of(np.stack([y, z], axis=1), np.stack([one, -one], axis=1))
        builder.add_rows(name("above", str(p), at.tolist()), above, 0.0, np.inf)
        others = np.where(places.kept, high, -np.inf)
        others[p] = -np.inf
        big = np.maximum(np.nextafter(others[:, at].max(axis=0, initial=-np.inf) - low[p, at], np.inf), 0.0)
        part = rows_of(np.stack([y, z, picks[p, at]], axis=1), np.stack([one, -one, big], axis=1))
        builder.add_rows(name("under", str(p), at.tolist()), part, -np.inf, big)
    some = np.flatnonzero(places.kept.any(axis=0))
    builder.add_rows(name("one", "", some.tolist()), rows_of(picks[:, some].T, np.ones((len(some), k))), 1.0, 1.0)
    return picks[picks >= 0]


def multiple_choice(
    builder: ModelBuilder, name: Naming, y: int, operands: Sequence[Operand], sums: Sums, sign: int = 1
) -> Indices:
    """Rows and columns for sign y = max of sign times the operands; the binaries (k,), one an operand."""
    k = len(operands)
    read = np.unique(np.concatenate([operand.form.columns for operand in operands]))
    work = _Choice(builder, name, list(operands), read, sums)
    d = builder.add_columns(name("pick", "", range(k)), 0.0, 1.0, integral=True)
    work.rows("one", [(d, 1.0)], 1.0, 1.0)
    values = [work.piece(i, int(d[i]), sign) for i in range(k)]
    for place, column in enumerate(read):
        work.rows("whole", [([column], -1.0), (work.copies[:, place], 1.0)], 0.0, 0.0)
    for j, operand in enumerate(operands):
        if operand.form.error > 0:  # without one the sum follows from those of the copies
            work.rows("parts", [([operand.column], -1.0), *(value[j] for value in values)], 0.0, 0.0)
    work.rows("total", [([y], -1.0), *(values[i][i] for i in range(k))], 0.0, 0.0)
    return d


Part = tuple[Sequence[int] | Indices, object]  # columns and their coefficients


@dataclass(eq=False)
class _Choice:
    """One maximum under construction."""

    builder: ModelBuilder
    name: Naming
    operands: list[Operand]
    read: Indices
    sums: Sums

    def __post_init__(self) -> None:
        self.copies = np.zeros((len(self.operands), len(self.read)), dtype=np.int64)
        self.made = 0

    def rows(self, what: str, parts: Sequence[Part], lower: float, upper: float) -> None:
        """One row from parts of it."""
        index = np.concatenate([np.asarray(columns, dtype=np.int64) for columns, _ in parts])
        values = np.concatenate([np.broadcast_to(np.asarray(v, dtype=np.float64), len(c)) for c, v in parts])
        kept = (index >= 0) & (values != 0)
        row = SparseRows(np.array([0, kept.sum()]), index[kept], values[kept])
        self.builder.add_rows(self.name(what, "", (self.made,)), merged(row), lower, upper)
        self.made += 1

    def piece(self, i: int, d: int, sign: int) -> list[Part]:
        """Copies for piece i and its operands' values there, with operand i the largest."""
        low, high = self.sums.ends(self.read)
        copies = self._scaled("copy", i, low, high, d)
        self.copies[i] = copies
        values = [self._value(operand, copies, i, j, d) for j, operand in enumerate(self.operands)]
        own = values[i][0], sign * np.asarray(values[i][1])
        for j, (columns, coefficients) in enumerate(values):
            if j != i:
                self.rows("wins", [own, (columns, -sign * np.asarray(coefficients))], 0.0, np.inf)
        return values

    def _scaled(self, what: str, i: int, low: Vector, high: Vector, d: int) -> Indices:
        """New columns between d low and d high."""
        count = range(len(low))
        part = f"piece_{i}" if what == "copy" else f"piece_{i}_{what}"
        made = self.builder.add_columns(self.name("copy", part, count), np.minimum(low, 0.0), np.maximum(high, 0.0))
        index = np.stack([made, np.full(len(made), d)], axis=1)
        one = np.ones(len(made))
        self.builder.add_rows(self.name("least", part, count), rows_of(index, np.stack([one, -low], 1)), 0.0, np.inf)
        self.builder.add_rows(self.name("most", part, count), rows_of(index, np.stack([one, -high], 1)), -np.inf, 0.0)
        return made

    def _value(self, operand: Operand, copies: Indices, i: int, j: int, d: int) -> Part:
        """Operand j in piece i: a copy itself, nothing, or a column of its own."""
        form = operand.form
        if not len(form.columns) and form.constant == form.error == 0.0:
            return [], []
        at = copies[np.searchsorted(self.read, form.columns)]
        if len(at) == 1 and form.values[0] == 1.0 and form.constant == form.error == 0.0:
            return at, [1.0]
        ends = np.array([operand.lower]), np.array([operand.upper])
        made = self._scaled(f"operand_{j}", i, *ends, d)
        same: list[Part] = [(made, 1.0), (at, -form.values)]
        if form.error == 0.0:
            self.rows("is", [*same, ([d], -form.constant)], 0.0, 0.0)
        else:
            low, high = np.nextafter([form.constant - form.error, form.constant + form.error], [-np.inf, np.inf])
            self.rows("is", [*same, ([d], -low)], 0.0, np.inf)
            self.rows("is", [*same, ([d], -high)], -np.inf, 0.0)
        return made, [1.0]
