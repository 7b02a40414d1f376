"""Constant subgraphs, evaluated at import.

Exporters compute shapes, masks and indices in the graph itself.  What depends on no input is evaluated here with NumPy,
provided that the result is the same over the reals and in binary32: moving, comparing and integer arithmetic always
are, float arithmetic is when it happens to be exact, and is refused otherwise (a verdict over the reals would speak of
another network than the executed one).  The shape of a variable tensor is a constant, for all shapes are known.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from farkas.ir.algebra import exact
from farkas.ir.onnx_node import MAX_ELEMENTS, Constant, Dequantised, OnnxNode, Tensor
from farkas.ir.onnx_wire import DTYPES
from farkas.ir.ops.layout import moved
from farkas.ir.ops.quantised_onnx import quantised

MAX_ARITHMETIC = 1 << 20  # elements of constant arithmetic, which is done in exact rationals one by one

Fold = Callable[[OnnxNode], Constant]
Arithmetic = Callable[[Any, Any], Any]

MOVED = frozenset(
    {"Concat", "Dropout", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze",
     "Transpose", "Unsqueeze"}
)  # fmt: skip


def fold(node: OnnxNode) -> tuple[Constant, ...] | None:
    """The values of the node's outputs, or None when it has to be imported as an operator on a variable."""
    if node.kind in ("Shape", "Size"):
        return (FOLDED[node.kind](node),)
    if any(isinstance(operand, Tensor) for operand in node.operands):
        return None
    if any(isinstance(operand, Dequantised) for operand in node.operands):
        node.refuse("it works on constants given by codes; apply it to the numbers before they are quantised")
    try:
        if node.kind in MOVED:
            return moved(node, [_given(node, i) for i in range(len(node.operands))])
        if node.kind in FOLDED:
            return (FOLDED[node.kind](node),)
    except (ValueError, IndexError, OverflowError) as error:
        node.malformed(f"its constant operands do not fit together ({error})")
    known = ", ".join(sorted({*FOLDED, *MOVED}))
    node.refuse(f"all its operands are constant; constants are folded for {known}")
    return None


def _given(node: OnnxNode, i: int) -> Constant:
    array = node.constant(i)
    if array is None:
        node.malformed(f"operand {i} is missing")
    return array


def _constant(node: OnnxNode) -> Constant:
    node.attributes_are("value", "value_float", "value_floats", "value_int", "value_ints")
    if len(node.attributes) != 1:
        node.malformed("a Constant has exactly one value")
    ((name, value),) = node.attributes.items()
    if isinstance(value, np.ndarray):
        return value
    if value is None or isinstance(value, str) or name == "value":
        node.malformed(f"attribute '{name}' holds no number or tensor")
    return np.array(value, dtype=np.float32 if name.startswith("value_float") else np.int64)


def _shape(node: OnnxNode) -> Constant:
    node.attributes_are("start", "end")
    operand = node.operand(0)
    if operand is None:
        node.malformed("operand 0 is missing")
    end = node.integer("end", 0) if "end" in node.attributes else None
    return np.array(operand.shape[node.integer("start", 0) : end], dtype=np.int64)


def _size(node: OnnxNode) -> Constant:
    operand = node.operand(0)
    if operand is None:
        node.malformed("operand 0 is missing")
    return np.array(math.prod(operand.shape), dtype=np.int64)


def _constant_of_shape(node: OnnxNode) -> Constant:
    node.attributes_are("value")
    shape, value = node.integers_at(0), node.attributes.get("value", np.zeros(1, dtype=np.float32))
    if shape is None or not isinstance(value, np.ndarray) or value.size != 1 or min(shape, default=0) < 0:
        node.malformed("its shape or value has no meaning")
    if math.prod(shape) > MAX_ELEMENTS:
        node.refuse(f"its result would have {math.prod(shape)} elements; {MAX_ELEMENTS} are supported")
    return np.full(shape, value.ravel()[0], dtype=value.dtype)


def _range(node: OnnxNode) -> Constant:
    node.attributes_are()
    parts = [_given(node, i) for i in range(3)]
    if any(part.size != 1 or part.dtype.kind != "i" for part in parts):
        node.refuse("only ranges of single integers are supported")
    start, limit, delta = (int(part.ravel()[0]) for part in parts)
    if delta == 0 or len(range(start, limit, delta)) > MAX_ELEMENTS:
        node.malformed(f"the range from {start} to {limit} by {delta} has no meaning")
    return np.arange(start, limit, delta, dtype=parts[0].dtype)


def _cast(node: OnnxNode) -> Constant:
    node.attributes_are("to", "saturate")
    array, to = _given(node, 0), DTYPES.get(node.integer("to", 0))
    if to is None:
        node.refuse("casts to this element type are not supported")
    if array.dtype.kind == "f" and (not np.isfinite(array).all() or (to.kind in "iu" and (abs(array) > 2**62).any())):
        node.refuse("a constant is out of the range of the element type to which it is cast")
    with np.errstate(over="ignore"):
        result = array.astype(to)
    if to.kind == "f" and not np.array_equal(result.astype(np.float64), array.astype(np.float64)):
        node.refuse(f"casting a constant to {to} rounds it")
    if array.dtype.kind in "iu" and to.kind in "iu" and result.tolist() != array.tolist():
        node.refuse(f"a constant is out of the range of {to}")
    return result


def _where(node: OnnxNode) -> Constant:
    node.attributes_are()
    return np.where(_given(node, 0).astype(np.bool_), _given(node, 1), _given(node, 2))


def _compared(compare: Arithmetic) -> Fold:
    def fold_comparison(node: OnnxNode) -> Constant:
        node.attributes_are()
        return np.asarray(compare(_given(node, 0), _given(node, 1)), dtype=np.bool_)

    return fold_comparison


def _not(node: OnnxNode) -> Constant:
    node.attributes_are()
    return np.logical_not(_given(node, 0))


def _unary(compute: Callable[[Any], Any]) -> Fold:
    """A function that rounds nothing."""

    def fold_unary(node: OnnxNode) -> Constant:
        node.attributes_are()
        array = _given(node, 0)
        return np.asarray(compute(array), dtype=array.dtype)

    return fold_unary


def _binary(compute: Arithmetic) -> Fold:
    """Arithmetic in exact rationals, whose results must be numbers of the element type."""

    def fold_binary(node: OnnxNode) -> Constant:
        node.attributes_are()
        a, b = _given(node, 0), _given(node, 1)
        if a.dtype != b.dtype or a.dtype.kind not in "iuf":
            node.malformed(f"operands have element types {a.dtype} and {b.dtype}")
        if math.prod(np.broadcast_shapes(a.shape, b.shape)) > MAX_ARITHMETIC:
            node.refuse(f"arithmetic on more than {MAX_ARITHMETIC} constants is not folded")
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            node.refuse("a constant is NaN or infinite")
        if compute is operator.truediv and (b == 0).any():
            node.refuse("a constant is divided by zero")
        return _rounded(node, np.asarray(compute(exact(a), exact(b)), dtype=object), a.dtype)

    return fold_binary


def _rounded(node: OnnxNode, values: Any, dtype: np.dtype[Any]) -> Constant:
    if dtype.kind != "f":  # integer division drops the fraction
        limits = np.iinfo(dtype)
        whole = [int(v) for v in values.ravel().tolist()]
        if whole and not (limits.min <= min(whole) and max(whole) <= limits.max):
            node.refuse(f"constant arithmetic leaves the range of {dtype}")
        return np.array(whole, dtype=dtype).reshape(values.shape)
    with np.errstate(over="ignore"):
        result = np.array([float(v) for v in values.ravel().tolist()], dtype=np.float64).astype(dtype)
    if not np.isfinite(result).all() or any(
        Fraction(r) != v for r, v in zip(result.tolist(), values.ravel().tolist(), strict=True)
    ):
        node.refuse("arithmetic on constants rounds; fold the constants of the network before exporting it")
    return result.reshape(values.shape)


FOLDED: Mapping[str, Fold] = {
    "Abs": _unary(np.abs),
    "Add": _binary(operator.add),
    "And": _compared(np.logical_and),
    "Cast": _cast,
    "Ceil": _unary(np.ceil),
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Div": _binary(operator.truediv),
    "Equal": _compared(np.equal),
    "Floor": _unary(np.floor),
    "Greater": _compared(np.greater),
    "Less": _compared(np.less),
    "Max": _binary(np.maximum),
    "Min": _binary(np.minimum),
    "Mul": _binary(operator.mul),
    "Neg": _unary(np.negative),
    "Not": _not,
    "Or": _compared(np.logical_or),
    "QuantizeLinear": quantised,
    "Range": _range,
    "Relu": _unary(lambda array: np.maximum(array, 0)),
    "Shape": _shape,
    "Size": _size,
    "Sub": _binary(operator.sub),
    "Where": _where,
}
