"""The part of a convolutional network that a block of neurons sees, as a network of its own.

The idea.  A neuron of a low layer sees a small window of the image.  Rows for the neurons of one block of pixels, all
channels, are zero outside the rectangle that the block sees at every node below, and inside it the network is again
one: the same kernels on cropped images, with the padding that is left of the old one.  So rows are grouped by blocks
and each group runs through the cropped network by the very code that serves the whole one; nothing is gathered row by
row.  On a network of 45 056 neurons (seven 3x3 convolutions on 32x32) the rows of all open neurons cost a third.

Soundness is that of the whole network: what is left out are coefficients that are exactly zero, and the error terms,
lines and biases inside are those of the whole.

Only nodes whose shape is known from a convolution are cropped; of all others, and of everything below them, the whole
is kept.  Rectangles are made for tight sources: where several nodes read one source the union of what they read is
kept, and what one of them does not read is filled with zeros.  Tried instead: patches of one neuron each, with their
own origin, save another half of the products, but lines must then be gathered for every coefficient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from farkas.ir.convolution import Conv2d, Sparse, Transposed
from farkas.ir.core import Affine, Input, Product, Relu
from farkas.ir.linear import Dense, Diagonal, LinearMap, Matrix, Move, Selection
from farkas.ir.windows import Windows
from farkas.runtime_cuda.prepared import Layer, Operand, Prepared

Shape = tuple[int, int, int]  # channels, height, width
Span = tuple[int, int]
Block = tuple[Span, Span]  # rows, columns


@dataclass(frozen=True, eq=False)
class Cone:
    """net: the cropped network below node v and v itself; kept: by cropped node the positions (n,) that are left."""

    net: Prepared
    kept: Mapping[int, Any]

    @property
    def size(self) -> int:
        """Numbers of all nodes together."""
        return sum(self.net.sizes)


@dataclass(frozen=True, eq=False)
class Within:
    """A map into part of its source: the columns `kept` of `size` are those of `map`, the others are zero."""

    map: LinearMap
    kept: Any
    size: int

    @property
    def rows(self) -> int:
        return self.map.rows

    @property
    def cols(self) -> int:
        return self.size

    def mv(self, x: Any) -> Any:
        return self.map.mv(x[..., self.kept])

    def rmv(self, y: Any) -> Any:
        return self._spread(self.map.rmv(y))

    def unit_rows(self, index: Any) -> Any:
        return self._spread(self.map.unit_rows(index))

    def _spread(self, rows: Any) -> Any:
        out = np.zeros_like(rows, shape=(*rows.shape[:-1], self.size))
        out[..., self.kept] = rows
        return out

    def absolute(self) -> LinearMap:
        return Within(self.map.absolute(), self.kept, self.size)

    def dense(self) -> Matrix:
        return np.asarray(self._spread(self.map.dense()))

    def on(self, move: Move) -> LinearMap:
        return Within(self.map.on(move), move(self.kept), self.size)


@dataclass(frozen=True, eq=False)
class Geometry:
    """Which nodes are images: shapes (channels, height, width) by node, from the convolutions around them."""

    net: Prepared

    @cached_property
    def shapes(self) -> dict[int, Shape]:
        found: dict[int, Shape] = {}
        unclear: set[int] = set()

        def say(node: int, shape: Shape) -> None:
            if found.setdefault(node, shape) != shape:
                unclear.add(node)

        for v, layer in self.net.layers.items():
            for operand in layer.operands:
                if isinstance(operand.map, Conv2d | Transposed):
                    above, below = _shapes(operand.map)
                    say(v, above)
                    say(operand.source, below)
        for _ in range(2):  # shapes pass through what works number by number: upwards, then downwards
            for a, b in self._alike():
                for one, other in ((a, b), (b, a)):
                    if one in found:
                        say(other, found[one])
        return {v: shape for v, shape in found.items() if v not in unclear and np.prod(shape) == self.net.sizes[v]}

    def _alike(self) -> list[tuple[int, int]]:
        pairs = [(v, node.source) for v, node in enumerate(self.net.nodes) if isinstance(node, Relu)]
        for v, layer in self.net.layers.items():
            pairs += [(v, o.source) for o in layer.operands if _is_pointwise(o.map)]
        return sorted(pairs)

    def seen(self, outputs: Any) -> dict[int, Any]:
        """Masks (n,) by node of what some outputs may depend on, for the nodes that they see in part.

        outputs: positions (k,) of the network's output.
        """
        output = self.net.program.output
        if output not in self.shapes or not len(outputs):
            return {}
        cone = self.cone(output, self._around(outputs, output))
        masks = {}
        for node, kept in (cone.kept if cone is not None else {}).items():
            masks[node] = self.net.backend.xp.zeros(self.net.sizes[node], dtype=bool)
            masks[node][kept] = True
        return masks

    def blocks(self, v: int, count: int) -> list[Block]:
        """The image of node v cut into about so many squares; none where v is no image."""
        if v not in self.shapes or count < 2:
            return []
        _, height, width = self.shapes[v]
        side = max(1, round((height * width / count) ** 0.5))
        rows = [(i, min(i + side, height)) for i in range(0, height, side)]
        cols = [(j, min(j + side, width)) for j in range(0, width, side)]
        return [(r, c) for r in rows for c in cols]

    def cone(self, v: int, block: Block) -> Cone | None:
        """What the neurons in a block of node v see; None where that is the whole, or cannot be cropped."""
        blocks: dict[int, Block | None] = {v: block}  # None: the whole
        for node in range(v, 0, -1):
            if node not in blocks:
                continue
            for source, seen in self._seen(node, blocks[node]):
                if seen is None and source in self.shapes:
                    seen = (0, self.shapes[source][1]), (0, self.shapes[source][2])
                known = blocks.get(source, seen)
                blocks[source] = None if known is None or seen is None else _union(known, seen)
        kept = {u: self._positions(u, b) for u, b in blocks.items() if b is not None}
        if not any(len(kept[u]) < self.net.sizes[u] for u in kept if u != v):
            return None
        layers = {}
        for u in blocks:
            if isinstance(self.net.nodes[u], Affine):
                cropped = self._crop(u, blocks, kept)
                if cropped is None:
                    return None
                layers[u] = cropped
        sizes = tuple(
            len(kept[u]) if u in kept else size if u in blocks else 0 for u, size in enumerate(self.net.sizes)
        )
        return Cone(replace(self.net, layers=layers, sizes=sizes, widest=max(sizes)), kept)

    def _seen(self, node: int, block: Block | None) -> list[tuple[int, Block | None]]:
        """The sources of a node with what a block of it reads of them."""
        match self.net.nodes[node]:
            case Input():
                return []
            case Relu(source=source):
                return [(source, block)]
            case Product(left=left, right=right):
                return [(left, block), (right, block)]
            case Affine():
                return [(o.source, self._read(o.map, node, o.source, block)) for o in self.net.layers[node].operands]

    def _read(self, linear: LinearMap, node: int, source: int, block: Block | None) -> Block | None:
        if block is None or source not in self.shapes:
            return None
        if isinstance(linear, Conv2d | Transposed):
            reads = _conv_span if isinstance(linear, Conv2d) else _transposed_span
            return _axis(linear, reads, block, 0), _axis(linear, reads, block, 1)
        if isinstance(linear, Sparse | Selection) and not _is_pointwise(linear):
            return self._around(_seen_by(linear, self._positions(node, block)), source)
        return block if _is_pointwise(linear) else None

    def _around(self, positions: Any, source: int) -> Block:
        """The block of a node around some of its positions; those below 0 are none."""
        _, height, width = self.shapes[source]
        places = self.net.backend.to_numpy(positions[positions >= 0])
        if not len(places):
            return (0, 1), (0, 1)
        rows, cols = places // width % height, places % width
        return (int(rows.min()), int(rows.max()) + 1), (int(cols.min()), int(cols.max()) + 1)

    def _positions(self, node: int, block: Block) -> Any:
        channels, height, width = self.shapes[node]
        numbers = np.arange(channels * height * width).reshape(channels, height, width)
        return self.net.backend.asarray(numbers[:, slice(*block[0]), slice(*block[1])].ravel())

    def _crop(self, node: int, blocks: Mapping[int, Block | None], kept: Mapping[int, Any]) -> Layer | None:
        """The layer of an Affine node between the blocks; None where a map cannot be cropped."""
        layer, block = self.net.layers[node], blocks[node]
        operands = []
        for operand in layer.operands:
            linear = self._cropped(operand, node, block, blocks[operand.source], kept.get(node))
            if linear is None:
                return None
            operands.append(Operand(linear, linear, operand.source))
        if node not in kept:
            return replace(layer, operands=tuple(operands))
        return replace(layer, operands=tuple(operands), bias=layer.bias[kept[node]])

    def _cropped(
        self, operand: Operand, node: int, block: Block | None, below: Block | None, rows: Any
    ) -> LinearMap | None:
        linear = operand.map
        if block is None:
            whole = below is None or _area(below) == int(np.prod(self.shapes[operand.source][1:]))
            return linear if whole else None
        if isinstance(linear, Conv2d | Transposed) and below is not None:
            tight = self._read(linear, node, operand.source, block)
            assert tight is not None, "a block of a source was read"
            conv = linear if isinstance(linear, Conv2d) else linear.map
            image, windows = (tight, block) if isinstance(linear, Conv2d) else (block, tight)
            small = _conv_block(conv, image, windows)
            if small is None:
                return None
            cropped: LinearMap = small if isinstance(linear, Conv2d) else Transposed(small)
            if tight == below:
                return cropped
            kept = self._within(operand.source, tight, below)
            return Within(cropped, kept, _area(below) * self.shapes[operand.source][0])
        if isinstance(linear, Selection) and below is None:
            return Selection(linear.index[rows], linear.size)
        if isinstance(linear, Sparse) and below is None:
            return Sparse(linear.index[rows], linear.values[rows], linear.size)
        if isinstance(linear, Sparse | Selection) and not _is_pointwise(linear):
            places = _seen_by(linear, rows)
            channels, height, width = self.shapes[operand.source]
            assert below is not None, "the whole was handled above"
            (top, bottom), (left, right) = below
            across = places // width % height - top, places % width - left
            local = (places // (height * width) * (bottom - top) + across[0]) * (right - left) + across[1]
            local = local * (places >= 0) - (places < 0)
            values = linear.values[rows] if isinstance(linear, Sparse) else (places >= 0) * 1.0
            return Sparse(local, values, channels * _area(below))
        if isinstance(linear, Diagonal):
            return Diagonal(linear.factors[rows]) if below == block else None
        if isinstance(linear, Selection) and linear.is_identity:
            return _identity(linear, len(rows)) if below == block else None
        if isinstance(linear, Dense) and below is None:
            return Dense(linear.matrix[rows])
        return None

    def _within(self, node: int, tight: Block, below: Block) -> Any:
        """Positions of one block inside another."""
        channels = self.shapes[node][0]
        (top, bottom), (left, right) = below
        numbers = np.arange(channels * (bottom - top) * (right - left)).reshape(channels, bottom - top, right - left)
        (a, b), (c, d) = tight
        return self.net.backend.asarray(numbers[:, a - top : b - top, c - left : d - left].ravel())


def _shapes(linear: Conv2d | Transposed) -> tuple[Shape, Shape]:
    """Of the result and of the operand."""
    conv = linear if isinstance(linear, Conv2d) else linear.map
    image = (conv.images * conv.channels, *conv.image)
    windows = (conv.images * int(conv.kernel.shape[0] * conv.kernel.shape[1]), *conv.counts)
    return (windows, image) if isinstance(linear, Conv2d) else (image, windows)


def _is_pointwise(linear: LinearMap) -> bool:
    return isinstance(linear, Diagonal) or (isinstance(linear, Selection) and linear.is_identity)


def _seen_by(linear: Sparse | Selection, rows: Any) -> Any:
    """(rows, k): the positions that some rows read, -1 for none."""
    return linear.index[rows] if isinstance(linear, Sparse) else linear.index[rows][:, None]


def _identity(linear: Selection, size: int) -> Selection:
    return Selection(linear.index[:size], size)


def _union(a: Block, b: Block) -> Block:
    (at, ab), (al, ar) = a
    (bt, bb), (bl, br) = b
    return (min(at, bt), max(ab, bb)), (min(al, bl), max(ar, br))


def _area(block: Block) -> int:
    return (block[0][1] - block[0][0]) * (block[1][1] - block[1][0])


def _axis(linear: Conv2d | Transposed, reads: Any, block: Block, axis: int) -> Span:
    conv = linear if isinstance(linear, Conv2d) else linear.map
    first, last = reads(conv, block[axis], axis)
    return first, max(first + 1, last)  # never empty: a pixel that is not read costs nothing


def _conv_span(conv: Conv2d, span: Span, axis: int) -> Span:
    """Pixels under the windows span[0], ..., span[1] - 1."""
    w, size = conv.windows, conv.image[axis]
    first = span[0] * w.strides[axis] - w.pads[axis]
    last = (span[1] - 1) * w.strides[axis] - w.pads[axis] + w.extent(axis)
    return min(max(0, first), size - 1), min(size, last)


def _transposed_span(conv: Conv2d, span: Span, axis: int) -> Span:
    """Windows that lie over the pixels span[0], ..., span[1] - 1."""
    w, count = conv.windows, conv.counts[axis]
    first = -((w.extent(axis) - 1 - span[0] - w.pads[axis]) // w.strides[axis])
    last = (span[1] - 1 + w.pads[axis]) // w.strides[axis] + 1
    return min(max(0, first), count - 1), min(count, last)


def _conv_block(conv: Conv2d, image: Block, windows: Block) -> Conv2d | None:
    """The convolution from a block of pixels to a block of windows; None where no padding of zeros expresses it."""
    w = conv.windows
    if conv.images != 1:
        return None
    before, after = [], []
    for a in (0, 1):
        (first, last), (start, stop) = image[a], windows[a]
        lead = w.pads[a] + first - start * w.strides[a]
        needed = (stop - start - 1) * w.strides[a] + w.extent(a)
        tail = needed - lead - (last - first)
        if lead < 0 or tail <= -w.strides[a]:
            return None
        before.append(lead)
        after.append(max(0, tail))
    pads = (before[0], before[1], after[0], after[1])
    size = (image[0][1] - image[0][0], image[1][1] - image[1][0])
    cropped = Conv2d(conv.kernel, Windows(w.kernel, w.strides, pads, w.dilations), size)
    wanted = (windows[0][1] - windows[0][0], windows[1][1] - windows[1][0])
    return cropped if cropped.counts == wanted else None
