"""Convolutions and other sparse maps as linear maps, without their matrices.

A convolution is computed as a matrix product in one of four ways, chosen by shape and by how many images there are.
A kernel of one place multiplies the channels as they lie.  A map with hardly more coefficients than its kernel (a
window that covers its image) is stored as a matrix.  Batches go through `correlation.py`, forward where images are
small, backward where the transposed product has rows enough to fill a product.  What remains copies the image under
each kernel place into one row of a buffer (places x windows), which the kernel matrix multiplies; backward, it
multiplies by the transposed kernel matrix and adds each row of the buffer back where it came from.  Batches are taken
in pieces, so that the buffer stays in the cache.  CuPy takes this last way always.

Microseconds a row, float64, Zen 4, one thread, 100 rows; before: buffers of 32 MiB and no other way.  1000 rows cost
the same a row, 10 rows within 10 %, 1 row what it cost before:

                                        forward  before    backward  before
    16 of 8 channels, 4x4 / 2, 16x16         12      13         10      18
    8 of 8, 3x3, 16x16                       11      16         11      23
    32 of 16, 3x3 / 2, 16x16                 17      18         23      25
    64 of 64, 3x3, 4x4                       24      36         25      45
    128 of 128, 3x3, 2x2                      9      61         10      67
    32 of 32, 3x3, 16x16                    102     214        101     248
    20 of 10, 5x1, 36x20                     37     102         54      59
    64 of 32, 4x4 / 2 (transposed), 30x30   309     450        333     467
    16 of 16, 3x3, 52x52                    386     757        392     787

Tried instead: gathering through an index array took 1.8 to 6.4 times as long, the stored matrix 5 to 20 times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from farkas.ir.correlation import Correlation, backward, forward
from farkas.ir.linear import Gather, Indices, LinearMap, Matrix, Move, is_single, transposed
from farkas.ir.windows import Pair, Windows

BUFFER = 1 << 18  # numbers in the buffer of one piece on the CPU: 2 MiB
DEVICE_BUFFER = 1 << 25
SEVERAL = 8  # images from which laying them out for `correlation.py` pays
SMALL = 256  # pixels up to which an image is small
ROWS = 8  # rows of a product below which it is inefficient
Kernel = Any  # float64; float32 in the copy for float32 operands


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
        if is_single(x, self.kernel):
            return self._single.mv(x)
        if self._is_stored:
            return x @ self._matrix.T
        flat = x.reshape(-1, self.channels, *self.image)
        small = self.image[0] * self.image[1] <= SMALL and self.channels >= ROWS
        if self._is_pointwise:
            sv, sh = self.windows.strides
            out = self._kernel @ np.ascontiguousarray(flat[:, :, ::sv, ::sh]).reshape(*flat.shape[:2], -1)
        elif small and self._is_batch(flat):
            out = self._forward(flat)
        else:
            out = self._multiply(flat)
        return out.reshape(*x.shape[:-1], self.rows)

    def rmv(self, y: Any) -> Any:
        if is_single(y, self.kernel):
            return self._single.rmv(y)
        if self._is_stored:
            return y @ self._matrix
        groups, m, _, _ = self.kernel.shape
        flat = y.reshape(-1, groups * m, *self.counts)
        if self._is_pointwise:
            out = self._spread(self._kernel.T @ flat.reshape(*flat.shape[:2], -1))
        elif self._gathers and self._is_batch(flat):
            out = self._backward(flat)
        else:
            out = self._scatter(flat.reshape(-1, groups, m, self.counts[0] * self.counts[1]))
        return out.reshape(*y.shape[:-1], self.cols)

    # Which way ------------------------------------------------------------------------------------------------------

    @cached_property
    def _single(self) -> Conv2d:
        return Conv2d(self.kernel.astype(np.float32), self.windows, self.image, self.images)

    @cached_property
    def _is_stored(self) -> bool:
        return self.images == 1 and self.rows * self.cols <= 2 * self.kernel.size

    @cached_property
    def _is_pointwise(self) -> bool:
        w = self.windows
        return w.places == 1 and self.kernel.shape[0] == 1 and not any(w.pads) and not w.passes_padding(self.image)

    @cached_property
    def _gathers(self) -> bool:
        """Whether the transposed product is worth gathering: one of `correlation.py`'s forms, with rows enough."""
        w = self.windows
        if any(s > 1 and d > 1 for s, d in zip(w.strides, w.dilations, strict=True)):
            return False
        merged = all(k % s == 0 for k, s in zip(w.kernel, w.strides, strict=True))
        return self.channels * (w.strides[0] * w.strides[1] if merged else 1) >= ROWS

    def _is_batch(self, flat: Any) -> bool:
        return isinstance(flat, np.ndarray) and len(flat) >= SEVERAL and self.kernel.shape[0] == 1

    # The ways --------------------------------------------------------------------------------------------------------

    @cached_property
    def _matrix(self) -> Any:
        """The stored matrix, (rows, cols), where the kernel lives."""
        return self._rows_of(np.flatnonzero(np.zeros_like(self.kernel, shape=(self.rows,)) == 0))

    @property
    def _kernel(self) -> Any:
        """(M, channels) of a pointwise kernel."""
        return self.kernel.reshape(self.kernel.shape[1], self.channels)

    @property
    def _square(self) -> Any:
        """(M, channels, height, width) of a kernel of one group."""
        return self.kernel[0].reshape(*self.kernel.shape[1:3], *self.windows.kernel)

    @cached_property
    def _forward(self) -> Correlation:
        return forward(self._square, self.windows, self.image)

    @cached_property
    def _backward(self) -> Correlation:
        return backward(self._square, self.windows, self.image)

    def _spread(self, pixels: Any) -> Any:
        """Seen pixels (images, channels, windows) at their places in the images."""
        sv, sh = self.windows.strides
        if sv == sh == 1:
            return pixels
        out = np.zeros_like(pixels, shape=(len(pixels), self.channels, *self.image))
        out[:, :, ::sv, ::sh] = pixels.reshape(len(pixels), self.channels, *self.counts)
        return out

    def _multiply(self, flat: Any) -> Any:
        """(images, channels, height, width) -> (images, groups, M / groups, windows), place by place."""
        groups, m, c, places = self.kernel.shape
        p = self.counts[0] * self.counts[1]
        matrix = self.kernel.reshape(groups, m, c * places)
        out = np.empty_like(flat, shape=(len(flat), groups, m, p))
        for piece in self._pieces(flat):
            padded = self._padded(flat, len(flat[piece]))
            padded[self._core] = flat[piece]
            buffer = np.empty_like(flat, shape=(len(padded), self.channels, places, *self.counts))
            for place, under in enumerate(self._slices()):
                buffer[:, :, place] = padded[under]
            out[piece] = matrix @ buffer.reshape(-1, groups, c * places, p)
        return out

    def _scatter(self, flat: Any) -> Any:
        """(images, groups, M / groups, windows) -> (images, channels, height, width), place by place."""
        groups, m, c, places = self.kernel.shape
        matrix = self.kernel.reshape(groups, m, c * places).transpose(0, 2, 1)
        out = np.empty_like(flat, shape=(len(flat), self.channels, *self.image))
        for piece in self._pieces(flat):
            buffer = (matrix @ flat[piece]).reshape(-1, self.channels, places, *self.counts)
            padded = self._padded(flat, len(buffer))
            for place, under in enumerate(self._slices()):
                padded[under] += buffer[:, :, place]
            out[piece] = padded[self._core]
        return out

    def _pieces(self, flat: Any) -> Iterator[slice]:
        buffer = BUFFER if isinstance(flat, np.ndarray) else DEVICE_BUFFER
        step = max(1, buffer // (self.channels * self.windows.places * self.counts[0] * self.counts[1]))
        return (slice(start, start + step) for start in range(0, len(flat), step))

    def _padded(self, like: Any, images: int) -> Any:
        top, left, bottom, right = self.windows.pads
        shape = (images, self.channels, top + self.image[0] + bottom, left + self.image[1] + right)
        return np.zeros_like(like, shape=shape)

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

    # Single rows and columns ------------------------------------------------------------------------------------------

    def unit_rows(self, index: Any) -> Any:
        return self._matrix[index] if self._is_stored else self._rows_of(index)

    def _rows_of(self, index: Any) -> Any:
        """Row (m, window) holds kernel m at the places of the window, and nothing elsewhere."""
        w, flat = self.windows, index.reshape(-1)
        groups, m, c, _ = self.kernel.shape
        image, group, row, v, h = _unravel(flat, groups, m, *self.counts)
        out = np.zeros_like(self.kernel, shape=(len(flat), self.images, groups, c, self.image[0] * self.image[1]))
        for place in range(w.places):
            i, j = divmod(place, w.kernel[1])
            top = v * w.strides[0] + i * w.dilations[0] - w.pads[0]
            left = h * w.strides[1] + j * w.dilations[1] - w.pads[1]
            inside = (top >= 0) & (top < self.image[0]) & (left >= 0) & (left < self.image[1])
            n = np.flatnonzero(inside)
            out[n, image[n], group[n], :, (top * self.image[1] + left)[n]] = self.kernel[group[n], row[n], :, place]
        return out.reshape(*index.shape, self.cols)

    def unit_columns(self, index: Any) -> Any:
        """Columns as rows, (..., rows): those of the transposed map; column (channel, pixel) as `unit_rows`."""
        if self._is_stored:
            return self._matrix.T[index]
        w, flat = self.windows, index.reshape(-1)
        groups, m, c, _ = self.kernel.shape
        image, group, channel, y, x = _unravel(flat, groups, c, *self.image)
        out = np.zeros_like(self.kernel, shape=(len(flat), self.images, groups, m, self.counts[0] * self.counts[1]))
        for place in range(w.places):
            i, j = divmod(place, w.kernel[1])
            v, h = y + w.pads[0] - i * w.dilations[0], x + w.pads[1] - j * w.dilations[1]
            exact = (v % w.strides[0] == 0) & (h % w.strides[1] == 0) & (v >= 0) & (h >= 0)
            v, h = v // w.strides[0], h // w.strides[1]
            n = np.flatnonzero(exact & (v < self.counts[0]) & (h < self.counts[1]))
            out[n, image[n], group[n], :, (v * self.counts[1] + h)[n]] = self.kernel[group[n], :, channel[n], place]
        return out.reshape(*index.shape, self.rows)

    def absolute(self) -> LinearMap:
        return Conv2d(abs(self.kernel), self.windows, self.image, self.images)

    def dense(self) -> Matrix:
        return np.ascontiguousarray(self.mv(np.eye(self.cols)).T)

    def on(self, move: Move) -> LinearMap:
        return Conv2d(move(self.kernel), self.windows, self.image, self.images)


def _unravel(flat: Any, *sizes: int) -> list[Any]:
    """Positions (n,) in an array of shape (any, *sizes), one index array an axis."""
    parts = []
    for size in reversed(sizes):
        parts.append(flat % size)
        flat = flat // size
    return [flat, *reversed(parts)]


@dataclass(frozen=True, eq=False)
class Transposed:
    """The transposed convolution."""

    map: Conv2d

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

    def unit_rows(self, index: Any) -> Any:
        return self.map.unit_columns(index)

    def absolute(self) -> LinearMap:
        return Transposed(Conv2d(abs(self.map.kernel), self.map.windows, self.map.image, self.map.images))

    def dense(self) -> Matrix:
        return np.ascontiguousarray(self.map.dense().T)

    def on(self, move: Move) -> LinearMap:
        return Transposed(Conv2d(move(self.map.kernel), self.map.windows, self.map.image, self.map.images))


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
        return self._rows(x)

    def rmv(self, y: Any) -> Any:
        return self._columns(y)

    @cached_property
    def _rows(self) -> Gather:
        return Gather(self.index.T * (self.index.T >= 0), self.values.T * (self.index.T >= 0))

    @cached_property
    def _columns(self) -> Gather:
        table = (self._table if self.readers is None else self.readers).T
        read = table >= 0
        return Gather(table * read // self.index.shape[1], self.values.reshape(-1)[table * read] * read)

    def unit_rows(self, index: Any) -> Any:
        seen, values, flat = self.index[index], self.values[index], index.reshape(-1)
        out = np.zeros_like(self.values, shape=(*index.shape, self.size))
        rows = out.reshape(len(flat), self.size)
        for k in range(self.index.shape[1]):  # a row may name a position twice
            places, shares = seen[..., k].reshape(-1), values[..., k].reshape(-1)
            n = np.flatnonzero(places >= 0)
            rows[n, places[n]] += shares[n]
        return out

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
