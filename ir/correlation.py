"""Correlation of images with a kernel, many images at a time: the engine under both directions of a convolution.

    out[n, o, p, q] = sum over i, j, c of matrix[o, i, j, c] x[n, c, s p + d i + e, s' q + d' j + e'],  x = 0 outside

The transpose of a convolution of stride 1 is such a sum over the gradient, with the kernel turned round.  For stride s
the rows p with the same p mod s form one phase, which sees every s-th row of the kernel and is a correlation of stride
1.  Where the stride divides the kernel all phases see equally many places, so that one product computes them together.

How.  A piece of the images is laid out as (height, channel, width, image): copies then run over whole lines of
width x images numbers.  Only the horizontal places of the kernel are copied out, as lines (height, j, channel, width,
image); because height comes first, the vertical window under an output row is a contiguous stretch of them, a matrix
of (i, j, channel) rows that BLAS takes as it lies.  So a 3x3 kernel copies three times, not nine, and every product is
as deep as the kernel.  Pieces are cut so that the lines stay in the second-level cache.

Tried instead, one core of a Zen 4, float64, 100 images: per-image im2col (places x windows) was up to 2.7 times slower
where images are small (2x2 to 8x8), and equal on large ones; per-image products scattered back place by place, the
transposed product of before, 1.3 to 3.1 times slower at stride 1, 1.6 to 1.7 at 4x4 with stride 2, but faster where
the result has fewer than eight rows for the product (an RGB image).  A buffer that leaves the cache costs up to 1.9.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from farkas.ir.windows import Pair, Windows

PIECE = 1 << 17  # numbers in the lines of one piece: 1 MiB, the second-level cache
ALL = slice(None)
NARROW = 128  # columns of a product below which images are worth gathering beyond that


@dataclass(frozen=True)
class Axis:
    """One axis of a correlation: output p sees the source at stride p + dilation i + offset, i < taps."""

    count: int
    taps: int
    stride: int
    dilation: int
    offset: int

    @property
    def stop(self) -> int:
        """One beyond the last source position seen."""
        return (self.count - 1) * self.stride + (self.taps - 1) * self.dilation + self.offset + 1


@dataclass(frozen=True)
class Output:
    """Where a part of a product goes: rows `channel`, `p`, `q` of it to `target` of (channels, height, width)."""

    channel: slice
    p: slice
    q: slice
    target: tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Part:
    """One correlation; matrix: (rows, taps_v * taps_h * channels)."""

    vertical: Axis
    horizontal: Axis
    matrix: Any
    outputs: tuple[Output, ...]


@dataclass(frozen=True, eq=False)
class Correlation:
    """Correlations of the same images, each writing its share of the result; what none of them writes is 0.

    source, result: (channels, height, width); parts of the same horizontal axis lie side by side.
    """

    source: tuple[int, int, int]
    result: tuple[int, int, int]
    parts: tuple[Part, ...]

    def __call__(self, x: Any) -> Any:
        """x: (images, *source), NumPy -> (images, *result), in the precision of x."""
        total = x.shape[0]
        if not self.parts:
            return np.zeros((total, *self.result), dtype=x.dtype)
        images = self._images(total)
        make = np.empty if self._is_covered else np.zeros
        out = make((total, *self.result), dtype=x.dtype)
        source, target = x.transpose(2, 1, 3, 0), out.transpose(1, 2, 3, 0)
        buffers = None
        for start in range(0, total, images):
            stop = min(total, start + images)
            if buffers is None or stop - start < images:
                buffers = _Buffers(self, stop - start, x.dtype)
            buffers.apply(source[..., start:stop], target[..., start:stop])
        return out

    @cached_property
    def rows(self) -> tuple[int, int]:
        return _reach([part.vertical for part in self.parts])

    @cached_property
    def cols(self) -> tuple[int, int]:
        return _reach([part.horizontal for part in self.parts])

    @property
    def _is_covered(self) -> bool:
        written = sum(
            int(np.prod([len(range(*t.indices(n))) for t, n in zip(output.target, self.result, strict=True)]))
            for part in self.parts
            for output in part.outputs
        )
        return written == int(np.prod(self.result))

    def _images(self, total: int) -> int:
        height = self.rows[1] - self.rows[0]
        line = max(self.source[0] * p.horizontal.taps * p.horizontal.count * height for p in self.parts)
        narrowest = min(p.horizontal.count for p in self.parts)
        return max(1, min(total, max(PIECE // line, -(-NARROW // narrowest))))


def _reach(axes: list[Axis]) -> tuple[int, int]:
    return min(a.offset for a in axes), max(a.stop for a in axes)


class _Buffers:
    """The working arrays of pieces of `images` images."""

    def __init__(self, correlation: Correlation, images: int, dtype: Any) -> None:
        channels, height, width = correlation.source
        (top, bottom), (left, right) = correlation.rows, correlation.cols
        self.images, self.correlation = images, correlation
        self.padded = np.zeros((bottom - top, channels, right - left, images), dtype=dtype)
        self.seen = (slice(max(0, top), min(height, bottom)), slice(None), slice(max(0, left), min(width, right)))
        self.core = tuple(
            slice(s.start - first, max(s.start, s.stop) - first) if s.start is not None else s
            for s, first in zip(self.seen, (top, 0, left), strict=True)
        )
        self.lines: dict[Axis, Any] = {}
        for part in correlation.parts:
            h = part.horizontal
            if h not in self.lines and (h.taps > 1 or h.stride > 1):
                self.lines[h] = np.empty((bottom - top, h.taps, channels, h.count, images), dtype=dtype)

    def apply(self, source: Any, target: Any) -> None:
        """source: (height, channel, width, image); target: (channel, height, width, image)."""
        self.padded[self.core] = source[self.seen]
        ready: Axis | None = None
        lines: Any = None
        for part in self.correlation.parts:
            if part.horizontal != ready:
                ready = part.horizontal
                lines = self._lines(ready)
            v, h = part.vertical, part.horizontal
            windows = self._windows(lines, v).reshape(v.count, part.matrix.shape[1], h.count * self.images)
            product = (part.matrix @ windows).reshape(v.count, -1, h.count, self.images)
            for output in part.outputs:
                target[output.target] = product[output.p, output.channel, output.q].transpose(1, 0, 2, 3)

    def _lines(self, h: Axis) -> Any:
        """(height, numbers): for each line of the images, the places of the horizontal axis, one after the other."""
        first = h.offset - self.correlation.cols[0]
        reach = (h.count - 1) * h.stride + 1
        if h not in self.lines:
            return np.ascontiguousarray(self.padded[:, :, first : first + reach]).reshape(self.padded.shape[0], -1)
        lines = self.lines[h]
        for j in range(h.taps):
            start = first + j * h.dilation
            lines[:, j] = self.padded[:, :, start : start + reach : h.stride]
        return lines.reshape(lines.shape[0], -1)

    def _windows(self, lines: Any, v: Axis) -> Any:
        """(count, taps * numbers): the lines that each output row sees; overlapping views where they are adjacent."""
        first = v.offset - self.correlation.rows[0]
        if v.taps == 1:
            return lines[first : first + (v.count - 1) * v.stride + 1 : v.stride]
        if v.dilation > 1:
            return lines[first + np.arange(v.count)[:, None] * v.stride + np.arange(v.taps) * v.dilation]
        step = lines.strides[0]
        return np.lib.stride_tricks.as_strided(
            lines[first:],
            (v.count, v.taps * lines.shape[1]),
            (v.stride * step, lines.itemsize),
            writeable=False,
        )


def forward(kernel: Any, windows: Windows, image: Pair) -> Correlation:
    """The convolution itself; kernel: (rows, channels, height, width)."""
    rows, channels = kernel.shape[:2]
    counts = windows.counts(image)
    vertical, horizontal = (
        Axis(counts[a], windows.kernel[a], windows.strides[a], windows.dilations[a], -windows.pads[a]) for a in (0, 1)
    )
    part = Part(vertical, horizontal, _matrix(kernel), (Output(ALL, ALL, ALL, (ALL, ALL, ALL)),))
    return Correlation((channels, *image), (rows, *counts), (part,))


def backward(kernel: Any, windows: Windows, image: Pair) -> Correlation:
    """The transposed convolution; an axis with a stride beyond 1 wants dilation 1. kernel as for `forward`."""
    rows, channels = kernel.shape[:2]
    vertical, horizontal = (_phases(windows, image, a) for a in (0, 1))
    swapped = kernel.transpose(1, 0, 2, 3)
    merged = all(k % s == 0 for k, s in zip(windows.kernel, windows.strides, strict=True))
    parts = (_merged if merged else _separate)(swapped, vertical, horizontal)
    return Correlation((rows, *windows.counts(image)), (channels, *image), tuple(parts))


@dataclass(frozen=True)
class _Phase:
    """The image positions first, first + step, ..., which the kernel places of `places` reach."""

    axis: Axis
    first: int
    step: int
    places: slice

    @property
    def target(self) -> slice:
        return slice(self.first, None, self.step)


def _phases(windows: Windows, image: Pair, a: int) -> list[_Phase]:
    """Position r is seen from window o at place i where r + pad = stride o + dilation i; by place modulo stride."""
    stride, dilation, pad = windows.strides[a], windows.dilations[a], windows.pads[a]
    phases = []
    for phase in range(stride):
        taps = len(range(phase, windows.kernel[a], stride))
        first = (phase - pad) % stride
        count = len(range(first, image[a], stride))
        if taps and count:
            offset = (first + pad - phase) // stride - dilation * (taps - 1)
            places = slice(phase + (taps - 1) * stride, phase - 1 if phase else None, -stride)
            phases.append(_Phase(Axis(count, taps, 1, dilation, offset), first, stride, places))
    return phases


def _separate(kernel: Any, vertical: list[_Phase], horizontal: list[_Phase]) -> list[Part]:
    return [
        Part(
            v.axis,
            h.axis,
            _matrix(kernel[:, :, v.places, h.places]),
            (Output(ALL, ALL, ALL, (ALL, v.target, h.target)),),
        )
        for h in horizontal
        for v in vertical
    ]


def _merged(kernel: Any, vertical: list[_Phase], horizontal: list[_Phase]) -> list[Part]:
    """One product for all phases, which have equally many places."""
    if not (vertical and horizontal):
        return []
    channels = kernel.shape[0]
    matrix = np.concatenate([_matrix(kernel[:, :, v.places, h.places]) for v in vertical for h in horizontal])
    rows, cols = _union([v.axis for v in vertical]), _union([h.axis for h in horizontal])
    outputs: list[Output] = []
    for v in vertical:
        for h in horizontal:
            place = len(outputs) * channels
            p, q = v.axis.offset - rows.offset, h.axis.offset - cols.offset
            outputs.append(
                Output(
                    slice(place, place + channels),
                    slice(p, p + v.axis.count),
                    slice(q, q + h.axis.count),
                    (ALL, v.target, h.target),
                )
            )
    return [Part(rows, cols, matrix, tuple(outputs))]


def _union(axes: list[Axis]) -> Axis:
    first = min(axis.offset for axis in axes)
    last = max(axis.offset + axis.count for axis in axes)
    return Axis(last - first, axes[0].taps, 1, axes[0].dilation, first)


def _matrix(kernel: Any) -> Any:
    """(rows, places * channels) of a kernel (rows, channels, height, width)."""
    return np.ascontiguousarray(kernel.transpose(0, 2, 3, 1).reshape(kernel.shape[0], -1))
