"""Piecewise-linear activations; each lowers exactly, over the reals, to affine nodes and Relu."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from farkas.ir.algebra import Algebra, Array
from farkas.ir.graph import Node
from farkas.ir.onnx_node import OnnxNode
from farkas.ir.op import Importer, Op, Shape

if TYPE_CHECKING:
    from farkas.ir.lowering import Builder, Value


@dataclass(frozen=True)
class Relu:
    """y = max(x, 0); no rounding."""

    onnx: ClassVar[str] = "Relu"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        return x

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        (x,) = xs
        return alg.maximum(x, alg.constant(np.zeros(())))

    def lower(self, b: Builder, *xs: Value) -> Value:
        (x,) = xs
        return b.relu(x)


def _relu(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are()
    return node.gives(Relu(), node.variable(0))


OPS: tuple[type[Op], ...] = (Relu,)
IMPORTERS: Mapping[str, Importer] = {"Relu": _relu}
