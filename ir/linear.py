"""Linear maps of flat vectors: what an Affine node applies to its operands.

Every map works on batches (leading dimensions) and on NumPy or CuPy arrays alike: it keeps its arrays, and `on` hands
back the same map with them moved.  `mv` is W x, `rmv` is y W (the transposed product that backward bounds need),
`absolute` is |W|, `dense` the matrix itself for small maps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Move = Callable[[Any], Any]  # NumPy array -> array of the backend


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

    def absolute(self) -> LinearMap:
        """The map of absolute values of the coefficients."""
        ...

    def dense(self) -> Matrix: ...

    def on(self, move: Move) -> LinearMap: ...


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
        return x @ self.matrix.T

    def rmv(self, y: Any) -> Any:
        return y @ self.matrix

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
        return x * self.factors

    def rmv(self, y: Any) -> Any:
        return y * self.factors

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

    @property
    def rows(self) -> int:
        return int(self.index.shape[0])

    @property
    def cols(self) -> int:
        return self.size

    def mv(self, x: Any) -> Any:
        return x[..., self.index] * (self.index >= 0)

    def rmv(self, y: Any) -> Any:
        # One position may be selected several times, so contributions add up; `_inverse` lists them per position.
        inverse = self._inverse()
        return (y[..., inverse] * (inverse >= 0)).sum(axis=-1)

    def _inverse(self) -> Any:
        """(n, r): the rows that read each position, padded with -1; r is the largest number of readers."""
        index = self.index.get() if hasattr(self.index, "get") else self.index
        kept = np.flatnonzero(index >= 0)
        order = kept[np.argsort(index[kept], kind="stable")]
        counts = np.bincount(index[kept], minlength=self.size)
        table = np.full((self.size, max(1, int(counts.max(initial=0)))), -1, dtype=np.int64)
        starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
        table[index[order], np.arange(order.size) - starts[index[order]]] = order
        return table

    def absolute(self) -> LinearMap:
        return self

    def dense(self) -> Matrix:
        matrix = np.zeros((self.rows, self.size))
        kept = np.flatnonzero(self.index >= 0)
        matrix[kept, self.index[kept]] = 1.0
        return matrix

    def on(self, move: Move) -> LinearMap:
        return Selection(move(self.index), self.size)


def identity(size: int) -> LinearMap:
    """The map that changes nothing, on vectors of `size` components."""
    return Selection(np.arange(size, dtype=np.int64), size)
