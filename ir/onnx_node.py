"""One node of an ONNX file with its operands resolved: what an operator's importer reads.

Operands are either variable tensors (they depend on the network's input) or constants (initializers and whatever was
folded from them).  Every accessor states what it wants and raises an error that names node and operator when the file
has something else; `attributes_are` refuses attributes that an importer does not know, so that none is passed over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from farkas.ir.algebra import Numbers
from farkas.ir.errors import MalformedNetwork, UnsupportedOperator
from farkas.ir.graph import Node
from farkas.ir.onnx_wire import Attribute
from farkas.ir.op import Op, Shape

Constant = npt.NDArray[Any]
MAX_ELEMENTS = 1 << 26  # of one tensor; a damaged shape must not exhaust memory


@dataclass(frozen=True)
class Tensor:
    """A variable operand; element: 'uint8', 'int8' or 'int32', None: the network's floating-point type."""

    name: str
    shape: Shape
    element: str | None = None


@dataclass(frozen=True, eq=False)
class Dequantised:
    """A constant that the file holds as codes: scale (codes - zero), both broadcast to the codes.

    stated: the file has the zero point, and does not leave it out for 0.
    """

    codes: Constant
    scale: npt.NDArray[np.float32]
    zero: npt.NDArray[np.int64]
    stated: bool = True

    @property
    def shape(self) -> Shape:
        return self.codes.shape

    @property
    def shifted(self) -> npt.NDArray[np.int64]:
        return np.asarray(self.codes.astype(np.int64) - self.zero)

    @property
    def values(self) -> npt.NDArray[np.float32]:
        """The numbers in binary32, as DequantizeLinear rounds them."""
        return np.asarray(self.shifted.astype(np.float32) * self.scale, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class OnnxNode:
    """operands: None where an optional one is left out; dtype: element type of the network."""

    name: str
    kind: str
    opset: int
    dtype: np.dtype[Any]
    operands: tuple[Tensor | Dequantised | Constant | None, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]

    def __str__(self) -> str:
        return f"operator '{self.kind}' (node '{self.name}')"

    # Errors

    def refuse(self, reason: str) -> NoReturn:
        """The file is right, but this use of the operator has no meaning here."""
        raise UnsupportedOperator(f"ONNX {self}: {reason}")

    def check_size(self, shape: Shape) -> None:
        """Refuses a result that is empty or would not fit into memory."""
        if not 1 <= math.prod(shape) <= MAX_ELEMENTS:
            self.refuse(f"its result has shape {shape}; between 1 and {MAX_ELEMENTS} elements are supported")

    def malformed(self, reason: str) -> NoReturn:
        raise MalformedNetwork(f"ONNX {self}: {reason}")

    # Operands

    def operand(self, i: int) -> Tensor | Dequantised | Constant | None:
        return self.operands[i] if i < len(self.operands) else None

    def variable(self, i: int) -> Tensor:
        """Operand i, which must depend on the input."""
        operand = self.operand(i)
        if operand is None:
            self.malformed(f"operand {i} is missing")
        if not isinstance(operand, Tensor):
            self.refuse(f"operand {i} is a constant; only a variable tensor is supported there")
        return operand

    def constant(self, i: int) -> Constant | None:
        """Operand i, which must be a constant, or None when it is left out."""
        operand = self.operand(i)
        if isinstance(operand, Tensor):
            self.refuse(f"operand {i} ('{operand.name}') depends on the input; only a constant is supported there")
        return operand.values if isinstance(operand, Dequantised) else operand

    def weight(self, i: int) -> Numbers | None:
        """Operand i as finite constants of the network's element type, or None when it is left out."""
        array = self.constant(i)
        return None if array is None else self.finite(array, f"operand {i}")

    def required(self, i: int) -> Numbers:
        """As `weight`, for an operand that may not be left out."""
        weight = self.weight(i)
        if weight is None:
            self.malformed(f"operand {i} is missing")
        return weight

    def finite(self, array: Constant, what: str) -> Numbers:
        if array.dtype != self.dtype:
            self.malformed(f"{what} has element type {array.dtype}, the network's is {self.dtype}")
        if not np.isfinite(array).all():
            self.malformed(f"{what} contains NaN or an infinity")
        return array

    def integers_at(self, i: int) -> tuple[int, ...] | None:
        """Operand i as constant integers, or None when it is left out."""
        array = self.constant(i)
        if array is None:
            return None
        if array.dtype.kind not in "iu":
            self.malformed(f"operand {i} has element type {array.dtype}; integers are wanted")
        return tuple(int(v) for v in array.ravel())

    # Attributes

    def attributes_are(self, *known: str) -> None:
        """Refuses every attribute outside `known`, and those whose type is neither number, text nor tensor."""
        for name, value in self.attributes.items():
            if value is None:
                self.refuse(f"attribute '{name}' has a type that is not supported")
            if name not in known:
                self.refuse(f"attribute '{name}' is not supported; known: {', '.join(known) or 'none'}")

    def integer(self, name: str, default: int) -> int:
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            self.malformed(f"attribute '{name}' should be an integer")
        return value

    def real(self, name: str, default: float) -> float:
        value = self.attributes.get(name, default)
        if not isinstance(value, float) or not np.isfinite(value):
            self.malformed(f"attribute '{name}' should be a finite number")
        return value

    def text(self, name: str, default: str) -> str:
        value = self.attributes.get(name, default)
        if not isinstance(value, str):
            self.malformed(f"attribute '{name}' should be text")
        return value

    def integers(self, name: str) -> tuple[int, ...] | None:
        if name not in self.attributes:
            return None
        value = self.attributes[name]
        if not isinstance(value, tuple) or not all(isinstance(v, int) for v in value):
            self.malformed(f"attribute '{name}' should be a list of integers")
        return tuple(int(v) for v in value)

    def axis(self, value: int, rank: int) -> int:
        """A nonnegative axis below `rank`."""
        if not -rank <= value < rank:
            self.malformed(f"axis {value} does not exist in a tensor of rank {rank}")
        return value % rank

    # Results

    def gives(self, op: Op, *inputs: Tensor | str) -> tuple[Node, ...]:
        """One surface node that computes the first output."""
        if not self.outputs or not self.outputs[0]:
            self.refuse("its first output is left out and another one used, which is not supported")
        return (Node(self.outputs[0], op, _names(inputs)),)

    def before(self, op: Op, part: str, *inputs: Tensor | str) -> Node:
        """An intermediate node, named after the first output and `part`."""
        return Node(f"{self.outputs[0]}/{part}", op, _names(inputs))


def _names(inputs: tuple[Tensor | str, ...]) -> tuple[str, ...]:
    return tuple(item if isinstance(item, str) else item.name for item in inputs)
