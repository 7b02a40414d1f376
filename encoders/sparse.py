"""Rows of a linear map as sparse rows, a block at a time, so that no dense matrix of a convolution ever exists."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from farkas.ir.linear import Dense, Diagonal, Indices, LinearMap, Selection, Vector

BLOCK = 1 << 20  # coefficients of one dense block: 8 MiB


@dataclass(frozen=True, eq=False)
class SparseRows:
    """Rows in compressed form: row i has values[start[i]:start[i + 1]] in columns index[start[i]:start[i + 1]]."""

    start: Indices
    index: Indices
    values: Vector

    @property
    def count(self) -> int:
        return int(self.start.shape[0]) - 1


def rows(linear: LinearMap, wanted: Indices) -> SparseRows:
    """The listed rows of the map (wanted >= 0, any order); every coefficient is the map's own, to the last bit."""
    match linear:
        case Diagonal(factors=factors):
            return _singles(wanted, np.asarray(factors)[wanted])
        case Selection(index=index):
            return _singles(np.asarray(index)[wanted], np.ones(len(wanted)))
        case _:
            return joined(list(_blocks(linear, wanted)))


def joined(parts: list[SparseRows]) -> SparseRows:
    """One block of rows after another."""
    if not parts:
        return SparseRows(np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))
    counts = np.concatenate([np.diff(part.start) for part in parts])
    return SparseRows(
        np.concatenate(([0], np.cumsum(counts))),
        np.concatenate([part.index for part in parts]),
        np.concatenate([part.values for part in parts]),
    )


def beside(left: SparseRows, right: SparseRows) -> SparseRows:
    """Row i of `left` followed by row i of `right`; their columns are numbered alike."""
    assert left.count == right.count, f"{left.count} rows beside {right.count}"
    owner = np.concatenate([np.repeat(np.arange(part.count), np.diff(part.start)) for part in (left, right)])
    order = np.argsort(owner, kind="stable")
    return SparseRows(
        left.start + right.start,
        np.concatenate([left.index, right.index])[order],
        np.concatenate([left.values, right.values])[order],
    )


def merged(part: SparseRows) -> SparseRows:
    """The rows with each column once: coefficients of repeated ones are added up (rounded, where they have to be)."""
    owner = np.repeat(np.arange(part.count), np.diff(part.start))
    order = np.lexsort((part.index, owner))
    owner, index = owner[order], part.index[order]
    first = np.ones(len(index), dtype=bool)
    first[1:] = (owner[1:] != owner[:-1]) | (index[1:] != index[:-1])
    if first.all():
        return part
    values = np.add.reduceat(part.values[order], np.flatnonzero(first))
    start = np.concatenate(([0], np.cumsum(np.bincount(owner[first], minlength=part.count))))
    return SparseRows(start, index[first], values)


def renumbered(part: SparseRows, column: Indices) -> SparseRows:
    """The rows with column i called column[i]; coefficients of columns called -1 are dropped (they are zero)."""
    index = column[part.index]
    kept = index >= 0
    before = np.concatenate(([0], np.cumsum(kept)))
    return SparseRows(before[part.start], index[kept], part.values[kept])


def _singles(index: Indices, values: Vector) -> SparseRows:
    """One coefficient a row, none where the index is -1 or the value 0."""
    kept = (index >= 0) & (values != 0)
    return SparseRows(np.concatenate(([0], np.cumsum(kept))), index[kept], values[kept])


def _blocks(linear: LinearMap, wanted: Indices) -> Iterator[SparseRows]:
    size = max(1, BLOCK // max(linear.cols, linear.rows))
    for first in range(0, len(wanted), size):
        part = wanted[first : first + size]
        if isinstance(linear, Dense):
            block = np.asarray(linear.matrix)[part]
        else:
            # A product with a unit row adds zeros to one coefficient: exact.
            unit = np.zeros((len(part), linear.rows))
            unit[np.arange(len(part)), part] = 1.0
            block = np.asarray(linear.rmv(unit))
        row, index = np.nonzero(block)
        start = np.concatenate(([0], np.cumsum(np.bincount(row, minlength=len(part)))))
        yield SparseRows(start, index, block[row, index])
