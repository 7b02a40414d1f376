"""What a surface operator is: shape rule, meaning, and the same meaning over the reals in core operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from farkas.ir.algebra import Algebra, Array

if TYPE_CHECKING:
    from farkas.ir.graph import Node
    from farkas.ir.lowering import Builder, Value
    from farkas.ir.onnx_node import OnnxNode

Shape = tuple[int, ...]


@runtime_checkable
class Op(Protocol):
    """One operator with its constants inside; operands are the variable tensors only; one output.

    `infer` is the only shape rule, `denote` the meaning, `lower` the same meaning over the reals.  The agreement test
    holds `lower` against `denote` on exact rationals for every operator.
    """

    onnx: ClassVar[str]

    def infer(self, *shapes: Shape) -> Shape:
        """The output's shape; raises ShapeError when the operands do not fit."""
        ...

    def denote(self, alg: Algebra, *xs: Array) -> Array: ...

    def lower(self, b: Builder, *xs: Value) -> Value: ...


# One ONNX node -> the surface nodes that compute it, the last of each output named as the file names it.
Importer = Callable[["OnnxNode"], "tuple[Node, ...]"]
