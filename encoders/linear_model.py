"""A linear model in no solver's terms: columns with bounds and integrality, sparse rows with bounds, an objective.

minimise cost x   subject to   row_lower <= A x <= row_upper,   lower <= x <= upper,   x_j integer where integral.

Coefficients are float64 numbers that are exactly the network's; nothing is scaled here.  Columns and rows come in
groups that say what they stand for (`relu` of node 3, which is the network's `conv_1`, ...), so that a model can be
read and written with names while no list of ten thousand strings is made for solving it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from farkas.encoders.sparse import SparseRows, joined
from farkas.ir.linear import Indices, Vector

LONGEST = 60  # characters of a label in a name: solvers read 255 in all


@dataclass(frozen=True)
class Group:
    """Consecutive columns or rows of one meaning: `what` of the listed components of a node (-1: of none).

    what: letters alone; label: what the network calls the node.  Names are `what_node_label_component` in letters,
    digits and underscores, as every reader of MPS and LP files takes them; node and component alone tell them apart.
    """

    what: str
    node: int
    components: tuple[int, ...]
    label: str = ""

    def names(self) -> list[str]:
        label = re.sub("[^A-Za-z0-9]+", "_", self.label).strip("_")[-LONGEST:].strip("_")
        of = "" if self.node < 0 else f"_{self.node}"
        start = f"{self.what}{of}_{label}" if label not in ("", self.what) else f"{self.what}{of}"
        return [f"{start}_{i}" for i in self.components]


@dataclass(frozen=True, eq=False)
class LinearModel:
    """lower, upper, cost, integral: (n,); row_lower, row_upper: (m,); rows: m sparse rows over the n columns."""

    lower: Vector
    upper: Vector
    cost: Vector
    integral: npt.NDArray[np.bool_]
    rows: SparseRows
    row_lower: Vector
    row_upper: Vector
    column_groups: tuple[Group, ...]
    row_groups: tuple[Group, ...]

    def column_names(self) -> list[str]:
        return [name for group in self.column_groups for name in group.names()]

    def row_names(self) -> list[str]:
        return [name for group in self.row_groups for name in group.names()]


@dataclass(frozen=True)
class Row:
    """One row with its name, as writers of files want it: its columns with their coefficients, and its two ends."""

    name: str
    columns: list[int]
    values: list[float]
    lower: float
    upper: float

    @property
    def is_range(self) -> bool:
        """Whether both ends are finite."""
        return bool(np.isfinite([self.lower, self.upper]).all())

    def halves(self) -> tuple[Row, Row]:
        """The lower end alone under the row's name, and the upper end alone under another."""
        low = Row(self.name, self.columns, self.values, self.lower, np.inf)
        return low, Row(f"{self.name}_hi", self.columns, self.values, -np.inf, self.upper)


def stated_rows(model: LinearModel) -> Iterator[Row]:
    """The rows that say something, in order: those without any bound are left out."""
    part = model.rows
    ends = zip(model.row_names(), model.row_lower.tolist(), model.row_upper.tolist(), strict=True)
    for i, (name, lower, upper) in enumerate(ends):
        here = slice(int(part.start[i]), int(part.start[i + 1]))
        if np.isfinite(lower) or np.isfinite(upper):
            kept = part.values[here] != 0
            yield Row(name, part.index[here][kept].tolist(), part.values[here][kept].tolist(), lower, upper)


@dataclass(eq=False)
class ModelBuilder:
    """A model under construction; positions handed out stay valid."""

    columns: int = 0
    row_count: int = 0
    _lower: list[Any] = field(default_factory=list)
    _upper: list[Any] = field(default_factory=list)
    _cost: list[Any] = field(default_factory=list)
    _integral: list[Any] = field(default_factory=list)
    _rows: list[SparseRows] = field(default_factory=list)
    _row_lower: list[Any] = field(default_factory=list)
    _row_upper: list[Any] = field(default_factory=list)
    _column_groups: list[Group] = field(default_factory=list)
    _row_groups: list[Group] = field(default_factory=list)

    @staticmethod
    def of(model: LinearModel) -> ModelBuilder:
        """A builder that goes on where a model ends."""
        return ModelBuilder(
            len(model.lower),
            len(model.row_lower),
            [model.lower],
            [model.upper],
            [model.cost],
            [model.integral],
            [model.rows],
            [model.row_lower],
            [model.row_upper],
            list(model.column_groups),
            list(model.row_groups),
        )

    def add_columns(
        self, group: Group, lower: Any, upper: Any, *, cost: float = 0.0, integral: bool = False
    ) -> Indices:
        """One column a component of the group; the positions."""
        count = len(group.components)
        self._column_groups.append(group)
        for store, value in ((self._lower, lower), (self._upper, upper), (self._cost, cost)):
            store.append(np.broadcast_to(np.asarray(value, dtype=np.float64), (count,)))
        self._integral.append(np.full(count, integral))
        self.columns += count
        return np.arange(self.columns - count, self.columns)

    def add_rows(self, group: Group, rows: SparseRows, lower: Any, upper: Any) -> Indices:
        """One row a component of the group; the positions."""
        assert rows.count == len(group.components), f"{rows.count} rows for {len(group.components)} names"
        self._row_groups.append(group)
        self._rows.append(rows)
        for store, value in ((self._row_lower, lower), (self._row_upper, upper)):
            store.append(np.broadcast_to(np.asarray(value, dtype=np.float64), (rows.count,)))
        self.row_count += rows.count
        return np.arange(self.row_count - rows.count, self.row_count)

    def build(self) -> LinearModel:
        return LinearModel(
            _joined(self._lower),
            _joined(self._upper),
            _joined(self._cost),
            np.concatenate([np.zeros(0, dtype=bool), *self._integral]),
            joined(self._rows),
            _joined(self._row_lower),
            _joined(self._row_upper),
            tuple(self._column_groups),
            tuple(self._row_groups),
        )


def _joined(parts: list[Any]) -> Vector:
    return np.concatenate([np.zeros(0), *parts])


def rows_of(columns: Any, values: Any) -> SparseRows:
    """Rows of equal length: columns and values of shape (m, k), coefficients of column -1 dropped."""
    index, coefficient = np.asarray(columns), np.asarray(values, dtype=np.float64)
    kept = (index >= 0) & (coefficient != 0)
    start = np.concatenate(([0], np.cumsum(kept.sum(axis=1))))
    return SparseRows(start, index[kept], coefficient[kept])
