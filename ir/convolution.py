"""Convolutions and other sparse maps as linear maps, without their matrices.

A convolution is computed as a matrix product: the image under each kernel place is copied into one row of a buffer
(places x windows), which the kernel matrix multiplies.  The transposed map, which backward bounds need, multiplies by
the transposed kernel matrix and adds each row of the buffer back where it came from; both passes walk over the same
slices, so each is the exact transpose of the other.  Batches are taken in pieces, so that the buffer stays small.

Tried instead, on five layers of 1 to 32 channels and 64 images, NumPy on one core: gathering through an index array
took 1.8 to 6.4 times as long, the stored matrix 5 to 20 times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from farkas.ir.linear import Indices, LinearMap, Matrix, Move, transposed
from farkas.ir.windows import Pair, Windows

BUFFER = 1 << 22  # numbers in the buffer of one piece: 32 MiB
Kernel = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Conv2d:
    """Convolution of `images` images of shape (channels, height, width) each, flat and one after the other.

    kernel: (groups, M / groups, channels / groups, places); the result has shape (images, M, windows).
    """

    kernel: Kernel
    windows: Windows
    image: Pair
    images: int = 1

    @property
    def channels(self) -> int:
        return int(self.kernel.shape[0] * self.kernel.shape[2])

    @cached_property
    def counts(self) -> Pair:
        return self.windows.counts(self.image)

    @property
    def rows(self) -> int:
        return self.images * int(self.kernel.shape[0] * self.kernel.shape[1]) * self.counts[0] * self.counts[1]

    @property
    def cols(self) -> int:
        return self.images * self.channels * self.image[0] * self.image[1]

    def mv(self, x: Any) -> Any:
        groups, m, c, places = self.kernel.shape
        p = self.counts[0] * self.counts[1]
        flat = x.reshape(-1, self.channels, *self.image)
        matrix = self.kernel.reshape(groups, m, c * places)
        out = np.empty_like(flat, shape=(flat.shape[0], groups, m, p), dtype=np.float64)
        for piece in self._pieces(flat.shape[0]):
            padded = self._padded(flat, flat[piece].shape[0])
            padded[self._core] = flat[piece]
            buffer = np.empty_like(flat, shape=(padded.shape[0], self.channels, places, *self.counts))
            for place, under in enumerate(self._slices()):
                buffer[:, :, place] = padded[under]
            out[piece] = matrix @ buffer.reshape(-1, groups, c * places, p)
        return out.reshape(*x.shape[:-1], self.rows)

    def rmv(self, y: Any) -> Any:
        groups, m, c, places = self.kernel.shape
        p = self.counts[0] * self.counts[1]
        flat = y.reshape(-1, groups, m, p)
        matrix = self.kernel.reshape(groups, m, c * places).transpose(0, 2, 1)
        out = np.empty_like(flat, shape=(flat.shape[0], self.channels, *self.image), dtype=np.float64)
        for piece in self._pieces(flat.shape[0]):
            buffer = (matrix @ flat[piece]).reshape(-1, self.channels, places, *self.counts)
            padded = self._padded(flat, buffer.shape[0])
            for place, under in enumerate(self._slices()):
                padded[under] += buffer[:, :, place]
            out[piece] = padded[self._core]
        return out.reshape(*y.shape[:-1], self.cols)

    def _pieces(self, total: int) -> Iterator[slice]:
        step = max(1, BUFFER // (self.channels * self.windows.places * self.counts[0] * self.counts[1]))
        return (slice(start, start + step) for start in range(0, total, step))

    def _padded(self, like: Any, images: int) -> Any:
        top, left, bottom, right = self.windows.pads
        shape = (images, self.channels, top + self.image[0] + bottom, left + self.image[1] + right)
        return np.zeros_like(like, shape=shape, dtype=np.float64)

    @property
    def _core(self) -> tuple[Any, ...]:
        top, left, _, _ = self.windows.pads
        return (..., slice(top, top + self.image[0]), slice(left, left + self.image[1]))

    def _slices(self) -> Iterator[tuple[Any, ...]]:
        """For each kernel place, the pixels of the padded image that lie under it, in the order of the windows."""
        w = self.windows
        spans = [(n - 1) * s + 1 for n, s in zip(self.counts, w.strides, strict=True)]
        for i in range(0, w.kernel[0] * w.dilations[0], w.dilations[0]):
            for j in range(0, w.kernel[1] * w.dilations[1], w.dilations[1]):
                yield (..., slice(i, i + spans[0], w.strides[0]), slice(j, j + spans[1], w.strides[1]))

    def absolute(self) -> LinearMap:
        return Conv2d(abs(self.kernel), self.windows, self.image, self.images)

    def dense(self) -> Matrix:
        return np.ascontiguousarray(self.mv(np.eye(self.cols)).T)

    def on(self, move: Move) -> LinearMap:
        return Conv2d(move(self.kernel), self.windows, self.image, self.images)


@dataclass(frozen=True, eq=False)
class Transposed:
    """The transposed map."""

    map: LinearMap

    @property
    def rows(self) -> int:
        return self.map.cols

    @property
    def cols(self) -> int:
        return self.map.rows

    def mv(self, x: Any) -> Any:
        return self.map.rmv(x)

    def rmv(self, y: Any) -> Any:
        return self.map.mv(y)

    def absolute(self) -> LinearMap:
        return Transposed(self.map.absolute())

    def dense(self) -> Matrix:
        return np.ascontiguousarray(self.map.dense().T)

    def on(self, move: Move) -> LinearMap:
        return Transposed(self.map.on(move))


@dataclass(frozen=True, eq=False)
class Sparse:
    """Few coefficients to a row: y[i] = sum_k values[i, k] x[index[i, k]].

    index, values: (m, r), padded with index -1 and value 0.  Pooling by averages, sums along axes.
    """

    index: Indices
    values: Matrix
    size: int
    readers: Any = None  # (n, s): flat places in `index` that read each position, -1 padded; made when first needed

    @property
    def rows(self) -> int:
        return int(self.index.shape[0])

    @property
    def cols(self) -> int:
        return self.size

    def mv(self, x: Any) -> Any:
        return (x[..., self.index] * self.values).sum(axis=-1)

    def rmv(self, y: Any) -> Any:
        table = self._table if self.readers is None else self.readers
        factors = self.values.reshape(-1)[table] * (table >= 0)
        return (y[..., table // self.index.shape[1]] * factors).sum(axis=-1)

    @cached_property
    def _table(self) -> Indices:
        return transposed(self.index, self.size)

    def absolute(self) -> LinearMap:
        return Sparse(self.index, abs(self.values), self.size, self.readers)

    def dense(self) -> Matrix:
        matrix = np.zeros((self.rows, self.size))
        row = np.broadcast_to(np.arange(self.rows)[:, None], self.index.shape)
        kept = self.index >= 0
        np.add.at(matrix, (row[kept], self.index[kept]), self.values[kept])
        return matrix

    def on(self, move: Move) -> LinearMap:
        return Sparse(move(self.index), move(self.values), self.size, move(self._table))
