"""Data movement: operators that put elements elsewhere and compute nothing.

Each is one NumPy expression on arrays of anything.  `denote` applies it to the scalars of an algebra, `lower` to the
positions of the elements, which gives a Selection; no error arises in either semantics.  All target shapes and indices
are resolved at import, so these operators hold plain constants.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from farkas.ir.algebra import Algebra, Array
from farkas.ir.errors import ShapeError
from farkas.ir.graph import Node
from farkas.ir.onnx_node import OnnxNode
from farkas.ir.op import Importer, Op, Shape

if TYPE_CHECKING:
    from farkas.ir.lowering import Builder, Value


@dataclass(frozen=True)
class Reshape:
    """The same elements, in the same order, in another shape."""

    shape: Shape
    onnx: ClassVar[str] = "Reshape"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        if math.prod(x) != math.prod(self.shape):
            raise ShapeError(f"a tensor of shape {x} cannot be reshaped to {self.shape}")
        return self.shape

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        return xs[0].reshape(self.shape)

    def lower(self, b: Builder, *xs: Value) -> Value:
        return b.reshape(xs[0], self.shape)


@dataclass(frozen=True)
class Transpose:
    """Axes in another order: axis i of the result is axis order[i] of the operand."""

    order: tuple[int, ...]
    onnx: ClassVar[str] = "Transpose"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        if sorted(self.order) != list(range(len(x))):
            raise ShapeError(f"Transpose by {self.order} does not fit shape {x}")
        return tuple(x[axis] for axis in self.order)

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        return xs[0].transpose(self.order)

    def lower(self, b: Builder, *xs: Value) -> Value:
        return b.rearrange(lambda x: x.transpose(self.order), xs)


def _identity(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are()
    x = node.variable(0)
    return node.gives(Reshape(x.shape), x)


def _dropout(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("ratio", "seed")
    training = node.constant(2)
    if training is not None and bool(np.any(training)):
        node.refuse("training mode draws at random; export the network for inference")
    x = node.variable(0)
    return node.gives(Reshape(x.shape), x)


def _flatten(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("axis")
    x = node.variable(0)
    axis = node.integer("axis", 1)
    if not -len(x.shape) <= axis <= len(x.shape):
        node.malformed(f"axis {axis} does not exist in a tensor of rank {len(x.shape)}")
    axis = axis if axis >= 0 else axis + len(x.shape)
    return node.gives(Reshape((math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))), x)


def _reshape(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("allowzero")
    x, wanted = node.variable(0), node.integers_at(1)
    if wanted is None:
        node.malformed("the new shape is missing")
    if not node.integer("allowzero", 0):
        if any(n == 0 and i >= len(x.shape) for i, n in enumerate(wanted)):
            node.malformed(f"the new shape {wanted} copies a dimension that shape {x.shape} does not have")
        wanted = tuple(x.shape[i] if n == 0 else n for i, n in enumerate(wanted))
    known = math.prod(n for n in wanted if n != -1)
    if min(wanted, default=1) < -1 or wanted.count(-1) > 1 or (-1 in wanted and known == 0):
        node.malformed(f"the new shape {wanted} has no meaning")
    return node.gives(Reshape(tuple(math.prod(x.shape) // known if n == -1 else n for n in wanted)), x)


def _transpose(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("perm")
    x = node.variable(0)
    return node.gives(Transpose(node.integers("perm") or tuple(range(len(x.shape)))[::-1]), x)


OPS: tuple[type[Op], ...] = (Reshape, Transpose)
IMPORTERS: Mapping[str, Importer] = {
    "Identity": _identity,
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Transpose": _transpose,
}
