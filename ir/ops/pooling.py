"""Pooling and reductions: maxima and averages over windows, sums and means along axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from farkas.ir.algebra import Algebra, Array
from farkas.ir.convolution import Sparse
from farkas.ir.core import Rounding
from farkas.ir.errors import ShapeError
from farkas.ir.graph import Node
from farkas.ir.linear import Indices
from farkas.ir.onnx_node import OnnxNode
from farkas.ir.op import Importer, Op, Shape
from farkas.ir.windows import Windows, image_of, image_shape, windows_of

if TYPE_CHECKING:
    from farkas.ir.lowering import Builder, Value


@dataclass(frozen=True)
class MaxPool:
    """The largest element of each window; padding does not count.  x (N, C, [H,] W); every window meets the image."""

    windows: Windows
    onnx: ClassVar[str] = "MaxPool"

    def infer(self, *shapes: Shape) -> Shape:
        return _pooled(self.windows, *shapes)

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        (x,) = xs
        candidates = x.ravel()[self.groups(x.shape)]
        best = candidates[:, 0]
        for k in range(1, candidates.shape[1]):
            best = alg.maximum(best, candidates[:, k])
        return best.reshape(self.infer(x.shape))

    def lower(self, b: Builder, *xs: Value) -> Value:
        # A tree of pairwise maxima: a chain would stack as many relaxations as there are places.
        (x,) = xs
        index = self.groups(x.shape)
        level = [b.rearrange(lambda array, k=k: array.ravel()[index[:, k]], [x]) for k in range(index.shape[1])]
        while len(level) > 1:
            pairs = zip(level[::2], level[1::2], strict=False)
            level = [b.maximum(first, second) for first, second in pairs] + level[len(level) // 2 * 2 :]
        return b.reshape(level[0], self.infer(x.shape))

    def groups(self, shape: Shape) -> Indices:
        """(results, places): the flat positions under each window, with the padding replaced by one of the others."""
        positions = self.windows.positions(image_shape(shape))
        return _under(np.where(positions >= 0, positions, positions.max(axis=1, keepdims=True)), shape)


@dataclass(frozen=True)
class AveragePool:
    """The mean of each window, over its elements inside the image or, with include_pad, over all its places."""

    windows: Windows
    include_pad: bool = False
    onnx: ClassVar[str] = "AveragePool"

    def infer(self, *shapes: Shape) -> Shape:
        return _pooled(self.windows, *shapes)

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        (x,) = xs
        index = _under(self.windows.positions(image_shape(x.shape)), x.shape)
        padded = np.concatenate([x.ravel(), alg.constant(np.zeros(1, dtype=np.float32))])
        total = alg.contract(np.ones((1, index.shape[1]), dtype=np.float32), padded[index], None)[:, 0]
        return alg.div(total, alg.constant(self._divisors(index).astype(np.float32))).reshape(self.infer(x.shape))

    def lower(self, b: Builder, *xs: Value) -> Value:
        (x,) = xs
        index = _under(self.windows.positions(image_shape(x.shape)), x.shape)
        return _means(b, x, index, self._divisors(index), self.infer(x.shape))

    def _divisors(self, index: Indices) -> Array:
        inside = (index >= 0).sum(axis=1)
        return np.asarray(np.full(inside.shape, index.shape[1]) if self.include_pad else inside, dtype=np.float64)


@dataclass(frozen=True)
class Reduce:
    """The sum, or the mean, along some axes; `keep` leaves them with length 1."""

    axes: tuple[int, ...]
    mean: bool
    keep: bool
    onnx: ClassVar[str] = "ReduceSum"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        if self.axes and max(self.axes) >= len(x):
            raise ShapeError(f"a tensor of shape {x} has no axis {max(self.axes)}")
        kept = [1 if axis in self.axes else n for axis, n in enumerate(x)]
        return tuple(n for axis, n in enumerate(kept) if self.keep or axis not in self.axes)

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        (x,) = xs
        rows = self._gathered(x)
        total = alg.contract(np.ones((1, rows.shape[1]), dtype=np.float32), rows, None)[:, 0]
        if self.mean:
            total = alg.div(total, alg.constant(np.array(rows.shape[1], dtype=np.float32)))
        return total.reshape(self.infer(x.shape))

    def lower(self, b: Builder, *xs: Value) -> Value:
        (x,) = xs
        index = self._gathered(np.arange(x.size).reshape(x.shape))
        divisors = np.full(index.shape[0], float(index.shape[1]) if self.mean else 1.0)
        return _means(b, x, index, divisors, self.infer(x.shape))

    def _gathered(self, x: Array) -> Array:
        """(results, elements of each)."""
        kept = [axis for axis in range(x.ndim) if axis not in self.axes]
        size = math.prod(x.shape[axis] for axis in self.axes)
        return x.transpose(*kept, *self.axes).reshape(-1, size)


def _means(b: Builder, x: Value, index: Indices, divisors: Array, shape: Shape) -> Value:
    """Sums of the elements in `index` (-1: none), each divided by its divisor.

    A mean is as many additions as there are elements and a division, or two roundings when a runtime multiplies by the
    rounded reciprocal.  1/k in float64 is within 2^-53 of itself, and exact when k is a power of two.  Before it is
    divided, a sum may be as large as the sum of all |x|: the peak.
    """
    powers = np.frexp(divisors)[0] == 0.5
    exact = bool(powers.all())
    values = np.where(index >= 0, 1.0 / divisors[:, None], 0.0)
    divides = not bool((divisors == 1).all())
    count = index.shape[1] + (2 if divides else 0)
    rounding = Rounding(count, 0.0 if exact else 2.0**-52, is_sum=True, peak=1.0 if divides else 0.0)
    return b.affine([(Sparse(index, values, x.size), x)], np.zeros(index.shape[0]), shape, rounding)


def _pooled(windows: Windows, *shapes: Shape) -> Shape:
    (x,) = shapes
    if len(x) not in (3, 4) or min(windows.counts(image_shape(x))) < 1:
        raise ShapeError(f"pooling windows of {windows.kernel} do not fit a tensor of shape {x}")
    return (*x[:2], *windows.counts(image_shape(x))[4 - len(x) :])


def _under(positions: Indices, shape: Shape) -> Indices:
    """(N C windows, places): positions in one channel -> positions in the whole tensor."""
    maps = math.prod(shape[:2])
    offsets = np.arange(maps)[:, None, None] * math.prod(shape[2:])
    return np.where(positions >= 0, positions + offsets, -1).reshape(-1, positions.shape[1])


def _max_pool(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order", "strides")
    x = node.variable(0)
    windows = windows_of(node, x.shape, None)
    if (windows.positions(image_of(node, x.shape)).max(axis=1) < 0).any():
        node.refuse("some window lies wholly in the padding, where the maximum is minus infinity")
    return node.gives(MaxPool(windows), x)


def _average_pool(node: OnnxNode) -> tuple[Node, ...]:
    known = ("auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape", "pads", "strides")
    node.attributes_are(*known)
    x = node.variable(0)
    windows = windows_of(node, x.shape, None)
    image = image_of(node, x.shape)
    include_pad = bool(node.integer("count_include_pad", 0))
    if include_pad and windows.passes_padding(image):
        node.refuse("with 'ceil_mode' and 'count_include_pad', windows beyond the padding have no agreed divisor")
    if not include_pad and (windows.positions(image).max(axis=1) < 0).any():
        node.refuse("some window lies wholly in the padding, where the mean divides by zero")
    return node.gives(AveragePool(windows, include_pad), x)


def _global_average_pool(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are()
    x = node.variable(0)
    if len(x.shape) < 3:
        node.malformed(f"its operand has shape {x.shape}; (batch, channels, ...) is wanted")
    return node.gives(Reduce(tuple(range(2, len(x.shape))), mean=True, keep=True), x)


def _reduce(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("axes", "keepdims", "noop_with_empty_axes")
    x = node.variable(0)
    axes: Sequence[int] | None = node.integers("axes") if "axes" in node.attributes else node.integers_at(1)
    if not axes:
        if node.integer("noop_with_empty_axes", 0):
            node.refuse("'noop_with_empty_axes' without axes does nothing; leave the operator out")
        axes = range(len(x.shape))
    found = tuple(sorted({node.axis(axis, len(x.shape)) for axis in axes}))
    keep = bool(node.integer("keepdims", 1))
    return node.gives(Reduce(found, node.kind == "ReduceMean", keep), x)


OPS: tuple[type[Op], ...] = (MaxPool, AveragePool, Reduce)
IMPORTERS: Mapping[str, Importer] = {
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average_pool,
    "ReduceSum": _reduce,
    "ReduceMean": _reduce,
}
