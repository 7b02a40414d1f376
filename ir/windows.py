"""Windows that slide over images: the geometry common to convolution and pooling.

An image has shape (height, width); one dimension is taken as height 1.  Output position p looks at the kernel places
k = (i, j) of its window, which lie at height s_h o_h - pad_top + i d_h, and so for width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from farkas.ir.linear import Indices
from farkas.ir.onnx_node import OnnxNode
from farkas.ir.op import Shape

Pair = tuple[int, int]


@dataclass(frozen=True)
class Windows:
    """kernel, strides, dilations: (vertical, horizontal); pads: (top, left, bottom, right), all nonnegative.

    ceil: the last window may pass the padded image, as long as it begins inside image and leading padding.
    """

    kernel: Pair
    strides: Pair = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: Pair = (1, 1)
    ceil: bool = False

    @property
    def places(self) -> int:
        return self.kernel[0] * self.kernel[1]

    def extent(self, axis: int) -> int:
        """Length of a window along an axis, dilation included."""
        return (self.kernel[axis] - 1) * self.dilations[axis] + 1

    def counts(self, image: Pair) -> Pair:
        """Number of windows along each axis; 0 or less when none fits."""
        return self._count(image, 0), self._count(image, 1)

    def _count(self, image: Pair, axis: int) -> int:
        room = image[axis] + self.pads[axis] + self.pads[axis + 2] - self.extent(axis)
        stride = self.strides[axis]
        count = (room + (stride - 1 if self.ceil else 0)) // stride + 1
        if self.ceil and (count - 1) * stride >= image[axis] + self.pads[axis]:
            count -= 1
        return count

    def positions(self, image: Pair) -> Indices:
        """(windows, places): the flat image position under each place of each window, -1 in the padding."""
        h = self._along(image, 0)[:, None, :, None]
        w = self._along(image, 1)[None, :, None, :]
        inside = (h >= 0) & (h < image[0]) & (w >= 0) & (w < image[1])
        return np.where(inside, h * image[1] + w, -1).reshape(-1, self.places)

    def passes_padding(self, image: Pair) -> bool:
        """Whether some window reaches beyond the padded image (possible with `ceil` only)."""
        return any(self._along(image, axis).max() >= image[axis] + self.pads[axis + 2] for axis in (0, 1))

    def _along(self, image: Pair, axis: int) -> Indices:
        starts = np.arange(self.counts(image)[axis]) * self.strides[axis] - self.pads[axis]
        return np.asarray(starts[:, None] + np.arange(self.kernel[axis]) * self.dilations[axis])


def image_shape(shape: Shape) -> Pair:
    """Height and width of a tensor of shape (batch, channels, [height,] width)."""
    return (1, shape[2]) if len(shape) == 3 else (shape[2], shape[3])


def image_of(node: OnnxNode, shape: Shape) -> Pair:
    """The same for a node's operand, which may have another number of dimensions."""
    if len(shape) not in (3, 4):
        node.refuse(f"its operand has shape {shape}; one and two spatial dimensions are supported")
    return image_shape(shape)


def windows_of(node: OnnxNode, shape: Shape, kernel: tuple[int, ...] | None) -> Windows:
    """The windows that a convolution's or pooling's attributes describe, over an operand of the given shape."""
    image = image_of(node, shape)
    spatial = len(shape) - 2
    kernel = node.integers("kernel_shape") or kernel
    if kernel is None:
        node.malformed("attribute 'kernel_shape' is missing")
    two = pair(node, "kernel_shape", kernel, spatial)
    strides = pair(node, "strides", node.integers("strides"), spatial)
    dilations = pair(node, "dilations", node.integers("dilations"), spatial)
    bare = Windows(two, strides, dilations=dilations, ceil=bool(node.integer("ceil_mode", 0)))
    windows = Windows(two, strides, _pads(node, bare, image, spatial), dilations, bare.ceil)
    if min(windows.counts(image)) < 1:
        node.malformed(f"no window of {two} fits into an operand of shape {shape}")
    node.check_size((*shape[:2], *windows.counts(image), windows.places))
    return windows


def pair(node: OnnxNode, name: str, values: tuple[int, ...] | None, spatial: int) -> Pair:
    """A value per spatial axis, 1 when left out, as (vertical, horizontal)."""
    values = values or (1,) * spatial
    if len(values) != spatial or min(values) < 1:
        node.malformed(f"attribute '{name}' is {values}; {spatial} positive integers are wanted")
    return (1, values[0]) if spatial == 1 else (values[0], values[1])


def pads_of(node: OnnxNode, spatial: int) -> tuple[int, int, int, int]:
    """Attribute `pads`, 0 when left out, as (top, left, bottom, right)."""
    pads = node.integers("pads") or (0,) * (2 * spatial)
    if len(pads) != 2 * spatial or min(pads) < 0:
        node.malformed(f"attribute 'pads' is {pads}; {2 * spatial} nonnegative integers are wanted")
    return (0, pads[0], 0, pads[1]) if spatial == 1 else (pads[0], pads[1], pads[2], pads[3])


def _pads(node: OnnxNode, bare: Windows, image: Pair, spatial: int) -> tuple[int, int, int, int]:
    mode = node.text("auto_pad", "NOTSET")
    if mode == "NOTSET":
        return pads_of(node, spatial)
    if mode == "VALID":
        return (0, 0, 0, 0)
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        node.malformed(f"attribute 'auto_pad' is '{mode}'")
    begin, end = [0, 0], [0, 0]
    for axis in range(2 - spatial, 2):
        total = (-(-image[axis] // bare.strides[axis]) - 1) * bare.strides[axis] + bare.extent(axis) - image[axis]
        small, large = max(total, 0) // 2, max(total, 0) - max(total, 0) // 2
        begin[axis], end[axis] = (small, large) if mode == "SAME_UPPER" else (large, small)
    return (begin[0], begin[1], end[0], end[1])
