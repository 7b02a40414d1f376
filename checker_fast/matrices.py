"""Matrices of integers in float64, dense or by blocks.

In a convolution all channels of one output position read the same inputs.  So rows with the same stored columns make a
dense block, neighbouring blocks that overlap are joined, and a product is a few hundred small BLAS products instead of
one that multiplies mostly zeros.  Sums over a row or a column have the same terms as in a dense matrix, so whatever
bounds them bounds them here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from farkas.checker_fast.limbs import Floats, Ints, split

MAX_ENTRIES = 1 << 24
MIN_ENTRIES = 1 << 18
MAX_ROWS = 256
SPARSITY = 4
WASTE = 2
LINE = 8


class Unsupported(Exception):
    """The network does not fit this kernel."""


@dataclass(frozen=True)
class Block:
    """values at rows x columns."""

    rows: Ints
    columns: Ints
    values: Floats


@dataclass(frozen=True)
class Blocked:
    """A matrix that is zero outside its blocks; every row lies in one block at most."""

    shape: tuple[int, int]
    blocks: tuple[Block, ...]

    def map(self, function: Callable[[Floats], Floats]) -> Blocked:
        """`function` of the values; it keeps zero."""
        return Blocked(self.shape, tuple(Block(b.rows, b.columns, function(b.values)) for b in self.blocks))


Weights = Floats | Blocked


def times(x: Floats, matrix: Weights) -> Floats:
    """x . matrix; x: (N, rows), result (N, columns)."""
    if isinstance(matrix, np.ndarray):
        return x @ matrix
    across = turned(x)  # whole rows are gathered four times as fast as columns
    result = np.zeros((matrix.shape[1], len(x)))
    for b in matrix.blocks:
        result[b.columns] += b.values.T @ across[b.rows]
    return turned(result)


def times_transposed(x: Floats, matrix: Weights) -> Floats:
    """x . matrix^T; x: (N, columns), result (N, rows)."""
    if isinstance(matrix, np.ndarray):
        return x @ matrix.T
    across = turned(x)
    result = np.zeros((matrix.shape[0], len(x)))
    for b in matrix.blocks:
        result[b.rows] = b.values @ across[b.columns]
    return turned(result)


def turned(x: Floats) -> Floats:
    """x transposed, in an order of its own.

    A cache line at a time: two to four times as fast as a plain copy (384 x 2048: 0.4 instead of 1.7 ms).
    """
    result = np.empty(x.shape[::-1])
    if len(x) <= x.shape[1]:
        for at in range(0, len(x), LINE):
            result[:, at : at + LINE] = x[at : at + LINE].T
    else:
        for at in range(0, x.shape[1], LINE):
            result[at : at + LINE] = x[:, at : at + LINE].T
    return result


def apply(function: Callable[[Floats], Floats], matrix: Weights) -> Weights:
    """`function` of every entry; it keeps zero."""
    return function(matrix) if isinstance(matrix, np.ndarray) else matrix.map(function)


def split_weights(matrix: Weights, base: int, count: int) -> list[Weights]:
    """`limbs.split` of every entry."""
    if isinstance(matrix, np.ndarray):
        return list(split(matrix, base, count))
    pieces = [split(b.values, base, count) for b in matrix.blocks]
    return [
        Blocked(matrix.shape, tuple(Block(b.rows, b.columns, p[k]) for b, p in zip(matrix.blocks, pieces, strict=True)))
        for k in range(count)
    ]


def sums(matrix: Weights, axis: int) -> Floats:
    """Sums of the entries along an axis."""
    other = np.ones((1, matrix.shape[axis]))
    total: Floats = (times(other, matrix) if axis == 0 else times_transposed(other, matrix))[0]
    return total


def largest(matrix: Weights) -> float:
    """The largest magnitude."""
    parts = [matrix] if isinstance(matrix, np.ndarray) else [b.values for b in matrix.blocks]
    return max((float(np.abs(part).max(initial=0.0)) for part in parts), default=0.0)


def rows_at(matrix: Weights, rows: Ints) -> Floats:
    """The rows of the matrix at an index array: (*rows.shape, columns)."""
    if isinstance(matrix, np.ndarray):
        return matrix[rows]
    wanted = rows.reshape(-1)
    result = np.zeros((len(wanted), matrix.shape[1]))
    order = np.argsort(wanted, kind="stable")
    ordered = wanted[order]
    for b in matrix.blocks:
        first, last = np.searchsorted(ordered, b.rows, "left"), np.searchsorted(ordered, b.rows, "right")
        for i in np.flatnonzero(last > first):
            result[np.ix_(order[first[i] : last[i]], b.columns)] = b.values[i]
    return result.reshape(*rows.shape, matrix.shape[1])


def restricted(matrix: Weights, rows: Ints | None, columns: Ints | None) -> Weights:
    """The rows and columns at ascending indices, renumbered; None: all."""
    if isinstance(matrix, np.ndarray):
        return take(take(matrix, rows, 0), columns, 1)
    shape = (
        matrix.shape[0] if rows is None else len(rows),
        matrix.shape[1] if columns is None else len(columns),
    )
    places = _places(matrix.shape[0], rows), _places(matrix.shape[1], columns)
    blocks = []
    for b in matrix.blocks:
        r, c = places[0][b.rows], places[1][b.columns]
        if (r >= 0).any() and (c >= 0).any():
            blocks.append(Block(r[r >= 0], c[c >= 0], b.values[r >= 0][:, c >= 0]))
    if _worth_blocks(shape, sum(b.values.size for b in blocks)):
        return Blocked(shape, tuple(blocks))
    whole = np.zeros(shape)
    for b in blocks:
        whole[b.rows[:, None], b.columns] = b.values
    return whole


def _worth_blocks(shape: tuple[int, int], entries: int) -> bool:
    """Whether blocks with so many entries are better than a dense matrix."""
    size = shape[0] * shape[1]
    return size >= MIN_ENTRIES and entries * SPARSITY <= size


def _places(size: int, index: Ints | None) -> Ints:
    """Where each number below `size` stands in the index; -1: nowhere."""
    places = np.arange(size)
    if index is not None:
        places[:] = -1
        places[index] = np.arange(len(index))
    return places


def take(x: Floats, index: Ints | None, axis: int) -> Floats:
    """The entries of x at index along an axis; None: all."""
    return x if index is None else np.take(x, index, axis=axis)


def by_rows(
    shape: tuple[int, int], index: Sequence[Sequence[int]], values: Sequence[Sequence[int]]
) -> tuple[Weights, Weights]:
    """(the matrix with these values at these columns of each row, 1 where one is stored), by blocks where that saves.

    Raises Unsupported when it is too large, or when a row names a column twice.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for j, columns in enumerate(index):
        if columns:
            groups.setdefault(tuple(columns), []).append(j)
    if any(len(set(columns)) < len(columns) for columns in groups):
        raise Unsupported("a row stores a column twice")
    parts = _joined(groups)
    blocked = _worth_blocks(shape, sum(len(r) * len(c) for r, c in parts))
    if not blocked:
        parts = [(list(range(shape[0])), list(range(shape[1])))]
    check_size(sum(len(r) * len(c) for r, c in parts))
    filled = [_fill(rows, columns, index, values) for rows, columns in parts]
    if not blocked:
        return filled[0][0].values, filled[0][1].values
    return Blocked(shape, tuple(block for block, _ in filled)), Blocked(shape, tuple(block for _, block in filled))


def check_size(entries: int) -> None:
    """Raises Unsupported for matrices that are too large."""
    if entries > MAX_ENTRIES:
        raise Unsupported("a matrix is too large")


def _joined(groups: dict[tuple[int, ...], list[int]]) -> list[tuple[list[int], list[int]]]:
    """Rows and columns of blocks: groups of equal columns, neighbours joined while few zeros are added."""
    parts: list[tuple[list[int], list[int]]] = []
    columns: set[int] = set()
    rows: list[int] = []
    stored = 0
    for key in sorted(groups):
        more = groups[key]
        union = columns.union(key)
        entries = stored + len(more) * len(key)
        if rows and (len(union) * (len(rows) + len(more)) > WASTE * entries or len(rows) + len(more) > MAX_ROWS):
            parts.append((sorted(rows), sorted(columns)))
            union, rows, entries = set(key), [], len(more) * len(key)
        columns, stored = union, entries
        rows = rows + more
    if rows:
        parts.append((sorted(rows), sorted(columns)))
    return parts


def _fill(
    rows: Sequence[int], columns: Sequence[int], index: Sequence[Sequence[int]], values: Sequence[Sequence[int]]
) -> tuple[Block, Block]:
    place = {i: n for n, i in enumerate(columns)}
    block, stored = np.zeros((len(rows), len(columns))), np.zeros((len(rows), len(columns)))
    for n, j in enumerate(rows):
        at = [place[i] for i in index[j]]
        block[n, at] = values[j]
        stored[n, at] = 1.0
    where = np.array(rows, dtype=np.int64), np.array(columns, dtype=np.int64)
    return Block(*where, block), Block(*where, stored)
