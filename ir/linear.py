"""Linear maps of flat vectors: what an Affine node applies to its operands.

Every map works on batches (leading dimensions) and on NumPy or CuPy arrays alike: it keeps its arrays, and `on` hands
back the same map with them moved.  `mv` is W x, `rmv` is y W (the transposed product that backward bounds need),
`unit_rows` are single rows of W, `absolute` is |W|, `dense` the matrix itself for small maps.

Products of float32 arrays are float32, with the coefficients rounded once: bounds computed so may choose what to look
at, and prove nothing.  Everything else is float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Move = Callable[[Any], Any]  # NumPy array -> array of the backend

LARGE = 1 << 16  # coefficients from which a matrix is looked at for zeros
SPARSE = 64  # at most one coefficient in so many: a product does 45 in the time that one takes by itself


class LinearMap(Protocol):
    """A real m-by-n matrix, perhaps not stored as one."""

    @property
    def rows(self) -> int: ...
    @property
    def cols(self) -> int: ...

    def mv(self, x: Any) -> Any:
        """(..., n) -> (..., m)."""
        ...

    def rmv(self, y: Any) -> Any:
        """(..., m) -> (..., n)."""
        ...

    def unit_rows(self, index: Any) -> Any:
        """(...) positions -> (..., n): these rows of W, in float64."""
        ...

    def absolute(self) -> LinearMap:
        """The map of absolute values of the coefficients."""
        ...

    def dense(self) -> Matrix: ...

    def on(self, move: Move) -> LinearMap: ...


def is_single(operand: Any, coefficients: Any) -> bool:
    """Whether a product with these coefficients should use their float32 copies."""
    return bool(operand.dtype == np.float32 and coefficients.dtype != np.float32)


@dataclass(frozen=True, eq=False)
class Gather:
    """y[i] = sum_k values[k, i] x[index[k, i]]: few coefficients to a result; index, values: (k, m), padded with 0.

    One pass over the results for each k, which needs no array of a higher rank.
    """

    index: Any
    values: Any

    def __call__(self, x: Any) -> Any:
        if is_single(x, self.values):
            return self._single(x)
        out = np.take(x, self.index[0], axis=-1) * self.values[0]
        for k in range(1, len(self.index)):
            part = np.take(x, self.index[k], axis=-1)
            part *= self.values[k]
            out += part
        return out

    @cached_property
    def _single(self) -> Gather:
        return Gather(self.index, self.values.astype(np.float32))


def gathers(matrix: Any) -> tuple[Gather | None, Gather | None]:
    """The rows and the columns of a matrix, each as a Gather where they are long and have few nonzeros; else None.

    Measured on layers of 800 to 3200 neurons with 2 to 4 nonzeros a row: 30 to 80 times faster than the product.
    """
    if not isinstance(matrix, np.ndarray) or matrix.size < LARGE:
        return None, None
    m, n = matrix.shape
    if np.count_nonzero(matrix[0]) > n // SPARSE and np.count_nonzero(matrix[:, 0]) > m // SPARSE:
        return None, None
    rows, cols = np.divmod(np.flatnonzero(matrix.reshape(-1) != 0), n)
    values = matrix[rows, cols]
    order = np.argsort(cols, kind="stable")
    return _gather(rows, cols, values, m, n // SPARSE), _gather(cols[order], rows[order], values[order], n, m // SPARSE)


def _gather(result: Indices, operand: Indices, values: Vector, size: int, most: int) -> Gather | None:
    """Coefficients by ascending result, of `size`; None where one has more than `most`."""
    counts = np.bincount(result, minlength=size)
    deepest = int(counts.max(initial=0))
    if deepest > most:
        return None
    places = np.arange(len(result)) - (np.cumsum(counts) - counts)[result], result
    index = np.zeros((max(1, deepest), size), dtype=np.int64)
    table = np.zeros(index.shape)
    index[places], table[places] = operand, values
    return Gather(index, table)


@dataclass(frozen=True, eq=False)
class Dense:
    """A stored matrix, shape (m, n)."""

    matrix: Matrix

    @property
    def rows(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def cols(self) -> int:
        return int(self.matrix.shape[1])

    def mv(self, x: Any) -> Any:
        rows = self._sparse[0]
        if rows is not None:
            return rows(x)
        return x @ (self._single if is_single(x, self.matrix) else self.matrix).T

    def rmv(self, y: Any) -> Any:
        columns = self._sparse[1]
        if columns is not None:
            return columns(y)
        return y @ (self._single if is_single(y, self.matrix) else self.matrix)

    @cached_property
    def _sparse(self) -> tuple[Gather | None, Gather | None]:
        return gathers(self.matrix)

    def unit_rows(self, index: Any) -> Any:
        return self.matrix[index]

    @cached_property
    def _single(self) -> Any:
        return self.matrix.astype(np.float32)

    def absolute(self) -> LinearMap:
        return Dense(abs(self.matrix))

    def dense(self) -> Matrix:
        return self.matrix

    def on(self, move: Move) -> LinearMap:
        return Dense(move(self.matrix))


@dataclass(frozen=True, eq=False)
class Diagonal:
    """Multiplication of each component by its own factor, shape (n,)."""

    factors: Vector

    @property
    def rows(self) -> int:
        return int(self.factors.shape[0])

    @property
    def cols(self) -> int:
        return int(self.factors.shape[0])

    def mv(self, x: Any) -> Any:
        return x * (self._single if is_single(x, self.factors) else self.factors)

    def rmv(self, y: Any) -> Any:
        return self.mv(y)

    def unit_rows(self, index: Any) -> Any:
        out = np.zeros_like(self.factors, shape=(*index.shape, self.rows))
        np.put_along_axis(out, index[..., None], self.factors[index][..., None], axis=-1)
        return out

    @cached_property
    def _single(self) -> Any:
        return self.factors.astype(np.float32)

    def absolute(self) -> LinearMap:
        return Diagonal(abs(self.factors))

    def dense(self) -> Matrix:
        return np.diag(np.asarray(self.factors))

    def on(self, move: Move) -> LinearMap:
        return Diagonal(move(self.factors))


@dataclass(frozen=True, eq=False)
class Selection:
    """y[i] = x[index[i]], or 0 where index[i] is -1: slices, gathers, padding, the parts of a concatenation."""

    index: Indices
    size: int
    readers: Any = None  # (n, r): the rows that read each position, padded with -1; made when first needed

    @property
    def rows(self) -> int:
        return int(self.index.shape[0])

    @property
    def cols(self) -> int:
        return self.size

    @cached_property
    def is_identity(self) -> bool:
        return self.rows == self.size and bool((self.index[1:] - self.index[:-1] == 1).all()) and self.index[0] == 0

    def mv(self, x: Any) -> Any:
        if self.is_identity:
            return x
        return x[..., self.index] * (self.index >= 0)

    def rmv(self, y: Any) -> Any:
        # One position may be selected several times, so contributions add up.
        if self.is_identity:
            return y
        table = self._table if self.readers is None else self.readers
        return (y[..., table] * (table >= 0)).sum(axis=-1)

    def unit_rows(self, index: Any) -> Any:
        seen = self.index[index][..., None]
        out = np.zeros_like(self.index, shape=(*index.shape, self.size), dtype=np.float64)
        np.put_along_axis(out, seen * (seen >= 0), (seen >= 0) * 1.0, axis=-1)
        return out

    @cached_property
    def _table(self) -> Any:
        return transposed(self.index[:, None], self.size)

    def absolute(self) -> LinearMap:
        return self

    def dense(self) -> Matrix:
        matrix = np.zeros((self.rows, self.size))
        kept = np.flatnonzero(self.index >= 0)
        matrix[kept, self.index[kept]] = 1.0
        return matrix

    def on(self, move: Move) -> LinearMap:
        return Selection(move(self.index), self.size, move(self._table))


@dataclass(frozen=True, eq=False)
class Kronecker:
    """I (x) W (x) I: W, shape (m, k), applied along the middle of x read as (outer, k, inner).

    Matrix products on tensors of higher rank, from either side, and sums along one axis.
    """

    matrix: Matrix
    outer: int
    inner: int

    @property
    def rows(self) -> int:
        return self.outer * int(self.matrix.shape[0]) * self.inner

    @property
    def cols(self) -> int:
        return self.outer * int(self.matrix.shape[1]) * self.inner

    def mv(self, x: Any) -> Any:
        return self._apply(self._single if is_single(x, self.matrix) else self.matrix, x)

    def rmv(self, y: Any) -> Any:
        return self._apply((self._single if is_single(y, self.matrix) else self.matrix).T, y)

    def unit_rows(self, index: Any) -> Any:
        flat = index.reshape(-1)
        m, k = self.matrix.shape
        outer, row, inner = flat // (m * self.inner), flat // self.inner % m, flat % self.inner
        out = np.zeros_like(self.matrix, shape=(len(flat), self.outer, k, self.inner))
        out[np.flatnonzero(flat >= 0), outer, :, inner] = self.matrix[row]
        return out.reshape(*index.shape, self.cols)

    @cached_property
    def _single(self) -> Any:
        return self.matrix.astype(np.float32)

    def _apply(self, matrix: Any, x: Any) -> Any:
        lead = x.shape[:-1]
        m, k = matrix.shape
        if self.inner == 1:
            return (x.reshape(*lead, self.outer, k) @ matrix.T).reshape(*lead, self.outer * m)
        return (matrix @ x.reshape(*lead, self.outer, k, self.inner)).reshape(*lead, self.outer * m * self.inner)

    def absolute(self) -> LinearMap:
        return Kronecker(abs(self.matrix), self.outer, self.inner)

    def dense(self) -> Matrix:
        return np.asarray(
            np.kron(np.kron(np.eye(self.outer), np.asarray(self.matrix)), np.eye(self.inner)), dtype=np.float64
        )

    def on(self, move: Move) -> LinearMap:
        return Kronecker(move(self.matrix), self.outer, self.inner)


@dataclass(frozen=True, eq=False)
class Composed:
    """outer(inner(x)), where `outer` selects, so that absolute values pass through: each row is one row of `inner`."""

    outer: Selection
    inner: LinearMap

    @property
    def rows(self) -> int:
        return self.outer.rows

    @property
    def cols(self) -> int:
        return self.inner.cols

    def mv(self, x: Any) -> Any:
        return self.outer.mv(self.inner.mv(x))

    def rmv(self, y: Any) -> Any:
        return self.inner.rmv(self.outer.rmv(y))

    def unit_rows(self, index: Any) -> Any:
        seen = self.outer.index[index]
        return self.inner.unit_rows(seen * (seen >= 0)) * (seen >= 0)[..., None]

    def absolute(self) -> LinearMap:
        return Composed(self.outer, self.inner.absolute())

    def dense(self) -> Matrix:
        return np.asarray(self.outer.dense() @ self.inner.dense())

    def on(self, move: Move) -> LinearMap:
        outer = self.outer.on(move)
        assert isinstance(outer, Selection), "moving a Selection gives a Selection"
        return Composed(outer, self.inner.on(move))


def transposed(index: Indices, size: int) -> Indices:
    """Where each of `size` positions occurs in `index`, as flat places in it: (size, most occurrences), -1 padded.

    index: (m, r); its negative entries are no positions.
    """
    flat = index.ravel()
    kept = np.flatnonzero(flat >= 0)
    order = kept[np.argsort(flat[kept], kind="stable")]
    counts = np.bincount(flat[kept], minlength=size)
    table = np.full((size, max(1, int(counts.max(initial=0)))), -1, dtype=np.int64)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    table[flat[order], np.arange(order.size) - starts[flat[order]]] = order
    return table


def identity(size: int) -> LinearMap:
    """The map that changes nothing, on vectors of `size` components."""
    return Selection(np.arange(size, dtype=np.int64), size)
