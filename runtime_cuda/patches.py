"""Rows of single neurons of convolutions, carried as the patches that they see instead of whole images.

A row of a neuron two convolutions above the input reads a patch of a few pixels of each image below, and so does its
bound: the coefficients of all rows of a layer are kept as patches (channels, height, width) of one size per node, the
lines, biases and error terms are gathered under them, and the transposed convolution of a patch is that of a small
image without padding.  The patch of the neuron at (y, x) begins at y S + O in the image below, with the strides S of
all layers between multiplied and the paddings collected in O; where it leaves the image, everything gathered is zero,
so that what the padding swallows in the whole image is swallowed here.  A node with two readers takes the hull of what
they see.  As soon as patches are no smaller than the image, or a map is no convolution, the patches are written into
whole rows and `Passes.descend` goes on.  The numbers are the same up to the order of summation.

"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_never

from farkas.ir.convolution import Conv2d
from farkas.ir.core import Affine, Input, Product, Relu, sources
from farkas.ir.products import refused
from farkas.ir.windows import Pair, Windows
from farkas.runtime_cuda.prepared import Prepared

LARGEST_SHARE = 0.5  # of the whole image: patches beyond it are written out


@dataclass(frozen=True)
class View:
    """The patches of one node: image (C, H, W) under a grid of `counts` positions, begin = position stride + offset."""

    image: tuple[int, int, int]
    counts: Pair
    stride: Pair
    offset: Pair
    size: Pair

    @property
    def numbers(self) -> int:
        return self.image[0] * self.size[0] * self.size[1]

    def hull(self, other: View) -> View | None:
        """Patches that hold both; None where they do not move alike."""
        if (self.image, self.stride) != (other.image, other.stride):
            return None
        low = _pair(min, self.offset, other.offset)
        ends = [_pair(int.__add__, view.offset, view.size) for view in (self, other)]
        return View(self.image, self.counts, self.stride, low, _pair(int.__sub__, _pair(max, *ends), low))

    def through(self, shape: Conv2d) -> View:
        """The patches over the image that the convolution reads."""
        w = shape.windows
        stride = _pair(int.__mul__, self.stride, w.strides)
        offset = _pair(int.__sub__, _pair(int.__mul__, self.offset, w.strides), w.pads[:2])
        size = ((self.size[0] - 1) * w.strides[0] + w.extent(0), (self.size[1] - 1) * w.strides[1] + w.extent(1))
        return View((shape.channels, *shape.image), self.counts, stride, offset, size)

    def _margins(self) -> list[tuple[int, int]]:
        """Zeros before and after the image along each axis, so that every patch lies inside."""
        margins = []
        for axis in (0, 1):
            last = (self.counts[axis] - 1) * self.stride[axis] + self.offset[axis] + self.size[axis]
            margins.append((max(0, -self.offset[axis]), max(0, last - self.image[1 + axis])))
        return margins

    def windows(self, xp: Any, values: Any) -> Any:
        """Values (B, n) as (B, counts, C, size), zero outside the image; a view of one padded copy."""
        margins = self._margins()
        image = values.reshape(values.shape[0], *self.image)
        padded = xp.pad(image, ((0, 0), (0, 0), *margins))
        return self._sliding(xp, padded, margins)

    def _sliding(self, xp: Any, padded: Any, margins: list[tuple[int, int]]) -> Any:
        begin = [m[0] + o for m, o in zip(margins, self.offset, strict=True)]
        b, c, h, w = padded.strides
        view = padded[:, :, begin[0] :, begin[1] :]
        shape = (padded.shape[0], *self.counts, self.image[0], *self.size)
        steps = (b, h * self.stride[0], w * self.stride[1], c, h, w)
        return xp.lib.stride_tricks.as_strided(view, shape, steps)

    def spread(self, xp: Any, patches: Any, position: tuple[Any, Any]) -> Any:
        """Whole rows (B, 2, R, n) of patches (B, 2, R, C, size) at the given positions, (B, R) along each axis."""
        b, signs, r = patches.shape[:3]
        margins = self._margins()
        sides = [n + sum(m) for n, m in zip(self.image[1:], margins, strict=True)]
        whole = xp.zeros((b, signs, r, self.image[0], *sides))
        axes = [
            (p * s + o + m[0])[:, :, None] + xp.arange(k)
            for p, s, o, m, k in zip(position, self.stride, self.offset, margins, self.size, strict=True)
        ]
        rows = axes[0][:, None, :, None, :, None], axes[1][:, None, :, None, None, :]
        lead = [xp.arange(k).reshape([-1 if i == axis else 1 for i in range(6)]) for axis, k in
                enumerate((b, signs, r, self.image[0]))]  # fmt: skip
        whole[(*lead, *rows)] = patches
        inside = (slice(m[0], m[0] + n) for m, n in zip(margins, self.image[1:], strict=True))
        return whole[(..., *inside)].reshape(b, signs, r, -1)


def _pair(function: Any, one: Any, other: Any) -> Pair:
    return function(one[0], other[0]), function(one[1], other[1])


@dataclass(frozen=True)
class Patches:
    """How rows of node `start` pass the nodes below: views by node; maps: transposed by (node, term), on patches.

    whole: nodes at which patches are written out, and all below them; unmasked: Affine nodes
    whose patches come from other Affine nodes, unmasked by lines; numbers: the most coefficients of a row at a node.
    """

    start: int
    views: dict[int, View]
    maps: dict[tuple[int, int], Conv2d]
    whole: frozenset[int]
    unmasked: frozenset[int]
    numbers: int


def patches(net: Prepared, start: int) -> Patches | None:
    """The plan for rows of node `start`; None where it is no convolution, or patches save nothing."""
    if not _convolves(net, start):
        return None
    first = net.layers[start].operands[0].map
    assert isinstance(first, Conv2d), "a node that convolves has convolutions only"
    grid = (first.kernel.shape[0] * first.kernel.shape[1], *first.counts)
    views = {start: View(grid, first.counts, (1, 1), (0, 0), (1, 1))}
    maps: dict[tuple[int, int], Conv2d] = {}
    whole: set[int] = set()
    for v in range(start, -1, -1):
        view = views.get(v)
        if view is None:
            continue
        node = net.nodes[v]
        too_large = v != start and view.numbers > LARGEST_SHARE * net.sizes[v]
        if v in whole or too_large or (not isinstance(node, Input | Relu) and not _convolves(net, v)):
            whole.add(v)
            whole.update(_below(net, v))
            continue
        if not _pass(net, v, views, maps):
            return None
    if not any(v not in whole for v in views if v != start):
        return None
    numbers = max([view.numbers for v, view in views.items() if v not in whole] + [net.sizes[v] for v in whole])
    direct = {operand.source for v in views if v in net.layers for operand in net.layers[v].operands}
    return Patches(start, views, maps, frozenset(whole), frozenset(direct & set(net.layers)), numbers)


def _pass(net: Prepared, v: int, views: dict[int, View], maps: dict[tuple[int, int], Conv2d]) -> bool:
    """Enter what the patches of node v see of its operands; False where two readers' patches do not fit together."""
    node = net.nodes[v]
    match node:
        case Input():
            return True
        case Relu(source=source):
            seen = [(source, views[v])]
        case Affine():
            seen = []
            for i, operand in enumerate(net.layers[v].operands):
                shape = operand.map
                assert isinstance(shape, Conv2d), "a node that convolves has convolutions only"
                below = views[v].through(shape)
                w = shape.windows
                bare = Windows(w.kernel, w.strides, (0, 0, 0, 0), w.dilations)
                maps[v, i] = Conv2d(shape.kernel, bare, below.size)
                seen.append((operand.source, below))
        case Product():
            raise refused("a row in patches")
        case _:
            assert_never(node)
    for source, view in seen:
        joined = view if source not in views else views[source].hull(view)
        if joined is None or view.image[0] * view.image[1] * view.image[2] != net.sizes[source]:
            return False
        views[source] = joined
    return True


def _convolves(net: Prepared, v: int) -> bool:
    return v in net.layers and all(isinstance(o.map, Conv2d) and o.map.images == 1 for o in net.layers[v].operands)


def _below(net: Prepared, v: int) -> set[int]:
    """Every node that node v depends on."""
    found: set[int] = set()
    left = [v]
    while left:
        new = [s for s in sources(net.nodes[left.pop()]) if s not in found]
        found.update(new)
        left += new
    return found
