"""Convolution and its transpose, in one and two dimensions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from farkas.ir.algebra import Algebra, Array, Numbers
from farkas.ir.convolution import Conv2d, Transposed
from farkas.ir.core import Rounding
from farkas.ir.errors import ShapeError
from farkas.ir.graph import Node
from farkas.ir.linear import Indices
from farkas.ir.onnx_node import OnnxNode
from farkas.ir.op import Importer, Op, Shape
from farkas.ir.windows import Pair, Windows, image_of, image_shape, pads_of, pair, windows_of

if TYPE_CHECKING:
    from farkas.ir.lowering import Builder, Value


@dataclass(frozen=True, eq=False)
class Conv:
    """x (N, C, [H,] W) -> (N, M, [H',] W').

    weight: (groups, M / groups, C / groups, places), places in row-major order; bias: (M,) or None.
    """

    weight: Numbers
    bias: Numbers | None
    windows: Windows
    onnx: ClassVar[str] = "Conv"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        groups, m, c, _ = self.weight.shape
        if len(x) not in (3, 4) or x[1] != groups * c:
            raise ShapeError(f"Conv expects {groups * c} input channels but its input has shape {x}")
        counts = self.windows.counts(image_shape(x))
        return (x[0], groups * m, *counts[4 - len(x) :])

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        (x,) = xs
        positions = self.windows.positions(image_shape(x.shape))
        total = _contract(alg, self.weight, x, positions, self.bias)
        return total.reshape(self.infer(x.shape))

    def lower(self, b: Builder, *xs: Value) -> Value:
        (x,) = xs
        shape = self.infer(x.shape)
        kernel = self.weight.astype(np.float64)
        matrix = Conv2d(kernel, self.windows, image_shape(x.shape), x.shape[0])
        count = math.prod(kernel.shape[2:]) + (self.bias is not None)
        return b.affine([(matrix, x)], _spread(self.bias, shape), shape, Rounding(count, is_sum=True))


@dataclass(frozen=True, eq=False)
class ConvTranspose:
    """The transpose of a convolution of images of shape `image`, and a bias: x (N, C, [h,] w) -> (N, M, [H,] W).

    weight: (groups, C / groups, M / groups, places): the kernel of that convolution; `windows` slide over `image`.
    """

    weight: Numbers
    bias: Numbers | None
    windows: Windows
    image: Pair
    onnx: ClassVar[str] = "ConvTranspose"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        groups, c, m, _ = self.weight.shape
        if len(x) not in (3, 4) or x[1] != groups * c or self.windows.counts(self.image) != image_shape(x):
            raise ShapeError(f"ConvTranspose expects {groups * c} input channels but its input has shape {x}")
        return (x[0], groups * m, *self.image[4 - len(x) :])

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        (x,) = xs
        weight = self.weight.transpose(0, 2, 1, 3)
        return _contract(alg, weight, x, self.positions(), self.bias).reshape(self.infer(x.shape))

    def positions(self) -> Indices:
        """(pixels of the result, places): the position of x that each kernel place reads, -1 where there is none."""
        w, counts = self.windows, self.windows.counts(self.image)
        along = []
        for axis in (0, 1):
            offset = np.arange(self.image[axis])[:, None] + w.pads[axis] - np.arange(w.kernel[axis]) * w.dilations[axis]
            place = offset // w.strides[axis]
            fits = (offset % w.strides[axis] == 0) & (place >= 0) & (place < counts[axis])
            along.append(np.where(fits, place, -1))
        h, v = along[0][:, None, :, None], along[1][None, :, None, :]
        return np.where((h >= 0) & (v >= 0), h * counts[1] + v, -1).reshape(-1, w.places)

    def lower(self, b: Builder, *xs: Value) -> Value:
        # Every kernel place counts as a product, though with strides many of them meet no pixel.
        (x,) = xs
        shape = self.infer(x.shape)
        kernel = self.weight.astype(np.float64)
        matrix = Transposed(Conv2d(kernel, self.windows, self.image, x.shape[0]))
        count = int(kernel.shape[1] * kernel.shape[3]) + (self.bias is not None)
        return b.affine([(matrix, x)], _spread(self.bias, shape), shape, Rounding(count, is_sum=True))


def _spread(bias: Numbers | None, shape: Shape) -> Any:
    """A bias per channel, for every element of a result of the given shape, flat."""
    if bias is None:
        return np.zeros(math.prod(shape))
    columns = bias.astype(np.float64).reshape(1, -1, *(1,) * (len(shape) - 2))
    return np.broadcast_to(columns, shape).ravel()


def _contract(alg: Algebra, weight: Numbers, x: Array, positions: Indices, bias: Numbers | None) -> Array:
    """Sums over channels and kernel places, group by group: (N, M, windows)."""
    groups, m, c, places = weight.shape
    n = x.shape[0]
    flat = x.reshape(n, groups, c, -1)
    zero = np.broadcast_to(alg.constant(np.zeros((), dtype=weight.dtype)), (n, groups, c, 1))
    patches = np.concatenate([flat, zero], axis=-1)[..., positions].transpose(1, 0, 3, 2, 4)
    parts = []
    for g in range(groups):
        rows = patches[g].reshape(n, -1, c * places)
        part = None if bias is None else bias.reshape(groups, m)[g]
        parts.append(alg.contract(weight[g].reshape(m, c * places), rows, part))
    return np.concatenate(parts, axis=-1).transpose(0, 2, 1)


def _weight(node: OnnxNode, shape: Shape) -> tuple[Numbers, Numbers | None, int]:
    """Kernel, bias and number of groups, checked as far as both operators agree."""
    weight, bias = node.required(1), node.weight(2)
    groups = node.integer("group", 1)
    image_of(node, shape)
    if weight.ndim != len(shape) or groups < 1 or weight.shape[0] % groups or 0 in weight.shape:
        node.malformed(f"a kernel of shape {weight.shape} in {groups} groups does not fit an operand of shape {shape}")
    kernel = node.integers("kernel_shape")
    if kernel is not None and kernel != weight.shape[2:]:
        node.malformed(f"attribute 'kernel_shape' is {kernel}, the kernel has shape {weight.shape}")
    return weight, bias, groups


def _conv(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
    x = node.variable(0)
    weight, bias, groups = _weight(node, x.shape)
    m, c = weight.shape[:2]
    if x.shape[1] != groups * c or (bias is not None and bias.shape != (m,)):
        node.malformed(f"a kernel of shape {weight.shape} does not fit an operand of shape {x.shape} and its bias")
    windows = windows_of(node, x.shape, weight.shape[2:])
    return node.gives(Conv(weight.reshape(groups, m // groups, c, -1), bias, windows), x)


def _conv_transpose(node: OnnxNode) -> tuple[Node, ...]:
    known = ("auto_pad", "dilations", "group", "kernel_shape", "output_padding", "output_shape", "pads", "strides")
    node.attributes_are(*known)
    x = node.variable(0)
    weight, bias, groups = _weight(node, x.shape)
    c, m = weight.shape[0], weight.shape[1] * groups
    if x.shape[1] != c or (bias is not None and bias.shape != (m,)):
        node.malformed(f"a kernel of shape {weight.shape} does not fit an operand of shape {x.shape} and its bias")
    windows, image = _inverse_windows(node, x.shape, weight.shape[2:])
    return node.gives(ConvTranspose(weight.reshape(groups, c // groups, m // groups, -1), bias, windows, image), x)


def _inverse_windows(node: OnnxNode, shape: Shape, kernel: tuple[int, ...]) -> tuple[Windows, Pair]:
    """The windows of the convolution that is transposed, and the image over which they slide."""
    if node.text("auto_pad", "NOTSET") != "NOTSET" or node.integers("output_shape") is not None:
        node.refuse("'auto_pad' and 'output_shape' are not supported; state 'pads' and 'output_padding'")
    spatial = len(shape) - 2
    strides = pair(node, "strides", node.integers("strides"), spatial)
    dilations = pair(node, "dilations", node.integers("dilations"), spatial)
    extra = node.integers("output_padding") or (0,) * spatial
    if len(extra) != spatial or min(extra) < 0:
        node.malformed(f"attribute 'output_padding' is {extra}; {spatial} nonnegative integers are wanted")
    extra = (0,) * (2 - spatial) + extra
    windows = Windows(pair(node, "kernel_shape", kernel, spatial), strides, pads_of(node, spatial), dilations)
    if any(extra[axis] >= max(strides[axis], dilations[axis]) for axis in (0, 1)):
        node.malformed(f"attribute 'output_padding' is {extra}; it must be below the stride")
    small, w = image_shape(shape), windows
    size = [w.strides[a] * (small[a] - 1) + extra[a] + w.extent(a) - w.pads[a] - w.pads[a + 2] for a in (0, 1)]
    if min(size) < 1:
        node.malformed(f"its result would have {size} pixels")
    if windows.counts((size[0], size[1])) != small:
        node.refuse("its 'output_padding' is not below the stride")
    return windows, (size[0], size[1])


OPS: tuple[type[Op], ...] = (Conv, ConvTranspose)
IMPORTERS: Mapping[str, Importer] = {"Conv": _conv, "ConvTranspose": _conv_transpose}
