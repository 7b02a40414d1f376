"""Constant subgraphs, evaluated at import.

Exporters compute shapes, masks and indices in the graph itself.  What depends on no input is evaluated here with NumPy,
provided that the result is the same over the reals and in binary32: moving, comparing and integer arithmetic always
are, float arithmetic is when it happens to be exact, and is refused otherwise (a real-valued verdict would speak of
another network than the executed one).  The shape of a variable tensor is a constant, for all shapes are known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from farkas.ir.onnx_node import Constant, OnnxNode, Tensor

MAX_CONSTANT = 1 << 28  # elements of one tensor; a damaged shape must not exhaust memory

Fold = Callable[[OnnxNode], tuple[Constant, ...]]


def fold(node: OnnxNode) -> tuple[Constant, ...] | None:
    """The values of the node's outputs, or None when it has to be imported as an operator on a variable."""
    if node.kind in ("Shape", "Size"):
        return FOLDED[node.kind](node)
    if any(isinstance(operand, Tensor) for operand in node.operands):
        return None
    if node.kind not in FOLDED:
        node.refuse(f"all its operands are constant; constants are folded for {', '.join(sorted(FOLDED))}")
    return FOLDED[node.kind](node)


def _constant(node: OnnxNode) -> tuple[Constant, ...]:
    node.attributes_are("value", "value_float", "value_floats", "value_int", "value_ints")
    if len(node.attributes) != 1:
        node.malformed("a Constant has exactly one value")
    ((name, value),) = node.attributes.items()
    if isinstance(value, np.ndarray):
        return (value,)
    if value is None or isinstance(value, str) or name == "value":
        node.malformed(f"attribute '{name}' holds no number or tensor")
    return (np.array(value, dtype=np.float32 if name.startswith("value_float") else np.int64),)


def _shape(node: OnnxNode) -> tuple[Constant, ...]:
    node.attributes_are("start", "end")
    operand = node.operand(0)
    if operand is None:
        node.malformed("operand 0 is missing")
    end = node.integer("end", len(operand.shape)) if "end" in node.attributes else None
    return (np.array(operand.shape[node.integer("start", 0) : end], dtype=np.int64),)


def _size(node: OnnxNode) -> tuple[Constant, ...]:
    operand = node.operand(0)
    if operand is None:
        node.malformed("operand 0 is missing")
    return (np.array(math.prod(operand.shape), dtype=np.int64),)


FOLDED: Mapping[str, Fold] = {
    "Constant": _constant,
    "Shape": _shape,
    "Size": _size,
}
