"""ONNX's quantised operators, resolved to those of farkas.ir.ops.quantised.

Weights are laid out by the importers of MatMul, Gemm and Conv, which are given the codes in place of the numbers: a
quantised product then has the windows, groups and transpositions of its float counterpart by construction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from farkas.ir.graph import Node
from farkas.ir.onnx_node import Constant, Dequantised, OnnxNode, Tensor
from farkas.ir.op import Importer, Op
from farkas.ir.ops import affine, convolution, layout
from farkas.ir.ops.affine import Linear
from farkas.ir.ops.convolution import Conv
from farkas.ir.ops.quantised import (
    RANGES,
    Coded,
    CodedConv,
    CodedGemm,
    CodedWeight,
    DequantizeLinear,
    Float32,
    IntegerProduct,
    Integers,
    QuantizeLinear,
    Requantise,
    ToFloat,
    is_product,
)

PRODUCTS: Mapping[str, Importer] = {**affine.IMPORTERS, **convolution.IMPORTERS}
WINDOWS = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
ELEMENTS = {2: "uint8", 3: "int8"}  # of ONNX's element types


# Scales and zero points -------------------------------------------------------------------------------------------


def _scale(node: OnnxNode, i: int) -> Float32:
    """Operand i: positive float32 scales, not so small that a product of two underflows."""
    scale = node.required(i)
    if scale.dtype != np.float32 or not (scale > 0).all():
        node.malformed(f"operand {i} should hold positive float32 scales")
    if not ((scale > 2.0**-40) & (scale < 2.0**40)).all():
        node.refuse(f"a scale of operand {i} lies outside 2^-40 to 2^40")
    return np.asarray(scale, dtype=np.float32)


def _one_scale(node: OnnxNode, i: int) -> Float32:
    scale = _scale(node, i)
    if scale.size != 1:
        node.refuse(f"operand {i} has {scale.size} scales; one for the whole tensor is supported")
    return scale.reshape(())


def _zero(node: OnnxNode, i: int, element: str | None = None) -> tuple[Integers, str]:
    """Operand i: zero points and their type, which is that of the tensor; uint8 zeros where it is left out."""
    zero = node.constant(i)
    if zero is None:
        return np.zeros((), dtype=np.int64), element or "uint8"
    if zero.dtype.name not in RANGES:
        node.refuse(f"its codes have type {zero.dtype}; uint8 and int8 are supported")
    if element is not None and zero.dtype.name != element:
        node.malformed(f"operand {i} has type {zero.dtype}, its codes have type {element}")
    return zero.astype(np.int64), zero.dtype.name


def _one_zero(node: OnnxNode, i: int, element: str | None = None) -> tuple[int, str]:
    zero, found = _zero(node, i, element)
    if zero.size != 1:
        node.refuse(f"operand {i} has {zero.size} zero points; one for the whole tensor is supported")
    return int(zero.reshape(-1)[0]), found


def _along(node: OnnxNode, values: Any, shape: tuple[int, ...]) -> Any:
    """Scales or zero points, one for the tensor or one for each place along its axis, shaped to be broadcast to it."""
    if values.size == 1:
        return values.reshape(())
    axis = node.axis(node.integer("axis", 1), len(shape))
    if node.integer("block_size", 0):
        node.refuse("blocked quantisation ('block_size') is not supported")
    if values.ndim != 1 or values.shape[0] != shape[axis]:
        node.malformed(f"scales or zero points of shape {values.shape} do not fit axis {axis} of shape {shape}")
    return values.reshape(-1, *(1,) * (len(shape) - axis - 1))


def _code_of(node: OnnxNode, x: Tensor) -> str:
    if x.element not in RANGES:
        node.refuse(f"operand '{x.name}' has type {x.element or node.dtype}; codes of type uint8 or int8 are supported")
    return x.element


# QuantizeLinear and DequantizeLinear ------------------------------------------------------------------------------


def _quantize(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("axis", "saturate", "output_dtype", "block_size")
    x = node.variable(0)
    zero, element = _zero(node, 2, ELEMENTS.get(node.integer("output_dtype", 0)))
    if node.integer("output_dtype", 0) not in (0, *ELEMENTS):
        node.refuse("codes of its output type are not supported; uint8 and int8 are")
    scale, zero = _along(node, _scale(node, 1), x.shape), _along(node, zero, x.shape)
    scale, zero = np.broadcast_arrays(scale, zero)
    return node.gives(QuantizeLinear(scale, zero, element), x)


def _dequantize(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("axis", "block_size")
    x = node.variable(0)
    zeros = node.constant(2)
    zero = np.zeros((), dtype=np.int64) if zeros is None else zeros.astype(np.int64)
    if zeros is not None and zeros.dtype.name != x.element:
        node.malformed(f"operand 2 has type {zeros.dtype}, its codes have type {x.element}")
    if x.element == "int32" and zero.any():
        node.refuse("int32 codes have no zero point")
    scale, zero = np.broadcast_arrays(_along(node, _scale(node, 1), x.shape), _along(node, zero, x.shape))
    return node.gives(DequantizeLinear(scale, zero, zeros is not None), x)


def dequantised(node: OnnxNode) -> Dequantised:
    """A DequantizeLinear of constants."""
    node.attributes_are("axis", "block_size")
    codes, zeros = node.constant(0), node.constant(2)
    if codes is None or codes.dtype.name not in (*RANGES, "int32"):
        node.refuse("its codes should be uint8, int8 or int32")
    if zeros is not None and zeros.dtype != codes.dtype:
        node.malformed(f"operand 2 has type {zeros.dtype}, its codes have type {codes.dtype}")
    zero = np.zeros((), dtype=np.int64) if zeros is None else zeros.astype(np.int64)
    if codes.dtype == np.int32 and zero.any():
        node.refuse("int32 codes have no zero point")
    scale = _along(node, _scale(node, 1), codes.shape)
    return Dequantised(codes, scale, np.asarray(_along(node, zero, codes.shape)), zeros is not None)


def quantised(node: OnnxNode) -> Constant:
    """A QuantizeLinear of a constant, as a runtime folds it: in binary32, saturating."""
    node.attributes_are("axis", "saturate", "output_dtype", "block_size")
    x = node.required(0)
    stand_in = replace(node, operands=(Tensor("#0", x.shape), *node.operands[1:]))
    (made,) = _quantize(stand_in)
    op = made.op
    assert isinstance(op, QuantizeLinear), f"QuantizeLinear gave {op}"
    low, high = RANGES[op.element]
    codes = np.clip(np.rint(x.astype(np.float32) / op.scale), low - op.zero, high - op.zero) + op.zero
    return np.asarray(codes.astype(op.element))


# Products of codes ------------------------------------------------------------------------------------------------


def _product(
    node: OnnxNode, kind: str, x: Tensor, weight: Constant, zero: int, bias: Integers | None, name: str
) -> tuple[tuple[Node, ...], Linear | Conv]:
    """The nodes that multiply codes by weights (already minus their zero points), and the float operator laid out."""
    attributes = {key: value for key, value in node.attributes.items() if key in (*WINDOWS, "transA", "transB")}
    float_node = replace(
        node, kind=kind, operands=(Tensor(x.name, x.shape), weight.astype(np.float32)), outputs=(name,),
        attributes=attributes,
    )  # fmt: skip
    made: list[Node] = []
    found: Linear | Conv | None = None
    for part in PRODUCTS[kind](float_node):
        if isinstance(part.op, (Linear, Conv)):
            found = part.op
            part = replace(part, op=IntegerProduct(found, zero, bias))
        made.append(part)
    if found is None:
        node.refuse("its layout is not supported; codes of the input on the left, constant codes on the right are")
    return tuple(made), found


def _shifted(node: OnnxNode, codes: Constant | None, zero: Any, axis: int) -> Constant:
    """Constant codes minus their zero points, one for all or one for each place along an axis."""
    if codes is None or codes.dtype.name not in RANGES:
        node.refuse("its weights should be constant codes of type uint8 or int8")
    if zero.size != 1:
        if zero.ndim != 1 or zero.shape[0] != codes.shape[axis]:
            node.malformed(f"zero points of shape {zero.shape} do not fit weights of shape {codes.shape}")
        zero = zero.reshape(-1, *(1,) * (codes.ndim - axis - 1))
    return np.asarray(codes.astype(np.int64) - zero)


def _bias(node: OnnxNode, i: int) -> Integers | None:
    bias = node.constant(i)
    if bias is not None and bias.dtype != np.int32:
        node.malformed(f"operand {i} has type {bias.dtype}; an int32 bias is wanted")
    return None if bias is None else bias.astype(np.int64)


def _matmul_integer(node: OnnxNode) -> tuple[Node, ...]:
    kind = "Conv" if node.kind == "ConvInteger" else "MatMul"
    node.attributes_are(*(WINDOWS if kind == "Conv" else ()))
    x = node.variable(0)
    zero, _ = _one_zero(node, 2, _code_of(node, x))
    weight = _shifted(node, node.constant(1), _zero(node, 3, None)[0], 0 if kind == "Conv" else -1 % _rank(node, 1))
    return _product(node, kind, x, weight, zero, None, node.outputs[0])[0]


def _rank(node: OnnxNode, i: int) -> int:
    weight = node.constant(i)
    return 1 if weight is None else max(1, weight.ndim)


def _requantised(
    node: OnnxNode, kind: str, places: tuple[int, int, int, int, int], bias: Integers | None
) -> tuple[Node, ...]:
    """An integer product and its requantisation; places: operands s_w, w, z_w, s_y, z_y (x, s_x and z_x come first)."""
    x = node.variable(0)
    zero, _ = _one_zero(node, 2, _code_of(node, x))
    axis = 0 if kind == "Conv" or node.integer("transB", 0) else _rank(node, places[1]) - 1
    weight = _shifted(node, node.constant(places[1]), _zero(node, places[2])[0], axis)
    scale = _one_scale(node, 1) * _rows_scale(node, _scale(node, places[0]), weight.shape[axis])
    inner = f"{node.outputs[0]}/accumulator"
    made, product = _product(node, kind, x, weight, zero, bias, inner)
    if node.operand(places[3]) is None:  # QGemm with float results
        op: Op = DequantizeLinear(_by_row(product, scale, x), np.zeros_like(scale, dtype=np.int64))
    else:
        y_zero, element = _one_zero(node, places[4])
        op = Requantise(_by_row(product, scale / _one_scale(node, places[3]), x), y_zero, element)
    return (*made, *node.gives(op, inner))


def _rows_scale(node: OnnxNode, scale: Float32, rows: int) -> Float32:
    if scale.size == 1:
        return scale.reshape(())
    if scale.shape != (rows,):
        node.malformed(f"scales of shape {scale.shape} do not fit {rows} rows of weights")
    return scale


def _by_row(product: Linear | Conv, scale: Float32, x: Tensor) -> Float32:
    from farkas.ir.ops.quantised import spread_rows

    return np.asarray(spread_rows(product, scale, len(x.shape)), dtype=np.float32)


def _qlinear_matmul(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are()
    return _requantised(node, "MatMul", (4, 3, 5, 6, 7), None)


def _qlinear_conv(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are(*WINDOWS)
    return _requantised(node, "Conv", (4, 3, 5, 6, 7), _bias(node, 8))


def _qgemm(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("alpha", "transA", "transB")
    if node.real("alpha", 1.0) != 1.0:
        node.refuse("its alpha is not 1")
    bias = _bias(node, 6)
    return _requantised(node, "Gemm", (4, 3, 5, 7, 8), None if bias is None or bias.size == 0 else bias)


def _cast(node: OnnxNode) -> tuple[Node, ...]:
    x = node.operand(0)
    if isinstance(x, Tensor) and x.element is not None and node.integer("to", 0) == 1:
        node.attributes_are("to", "saturate")
        return node.gives(ToFloat(), x)
    return layout.IMPORTERS["Cast"](node)


# Products of dequantised constants --------------------------------------------------------------------------------


def coded(node: OnnxNode, made: tuple[Node, ...]) -> tuple[Node, ...]:
    """The nodes of an operator some of whose constants are dequantised, with the codes beside them."""
    weight = _coded_weight(node) if any(isinstance(part.op, (Linear, Conv)) for part in made) else None
    wrapped = []
    for part in made:
        takes = weight if isinstance(part.op, (Linear, Conv)) else None
        is_plain = not is_product(part.op) and len(made) > 1  # a Transpose or Reshape beside the product
        kind = CodedConv if isinstance(part.op, Conv) else CodedGemm if is_product(part.op) else Coded
        wrapped.append(part if is_plain else replace(part, op=kind(part.op, takes)))
    return tuple(wrapped)


def _coded_weight(node: OnnxNode) -> CodedWeight | None:
    weight, bias = node.operand(1), node.operand(2)
    if node.kind not in ("MatMul", "Gemm", "Conv") or not isinstance(weight, Dequantised):
        return None
    if weight.codes.dtype.name not in RANGES:
        return None
    x = node.variable(0)
    plain = replace(node, operands=node.operands[:1])  # the bias comes by itself
    product = _product(plain, node.kind, x, weight.shifted, 0, None, node.outputs[0])[1]
    scales = np.broadcast_to(weight.scale, weight.codes.shape)
    laid = _product(plain, node.kind, x, scales, 0, None, node.outputs[0])[1].weight
    rows = laid.reshape(-1, laid.shape[-1]) if isinstance(product, Linear) else laid.reshape(-1, laid[0, 0].size)
    if (rows != rows[:, :1]).any():
        return None
    scale = np.asarray(weight.scale.reshape(()) if weight.scale.size == 1 else rows[:, 0], dtype=np.float32)
    is_code = isinstance(bias, Dequantised) and bias.codes.dtype == np.int32
    scaled = node.real("alpha", 1.0) != 1.0 or node.real("beta", 1.0) != 1.0
    return CodedWeight(
        product, scale, weight.codes.dtype.name,
        bias.codes.astype(np.int64) if is_code and isinstance(bias, Dequantised) else None,
        bias.scale if is_code and isinstance(bias, Dequantised) else None,
        (bias is not None and not is_code) or scaled, weight.stated, node.kind == "Gemm",
    )  # fmt: skip


IMPORTERS: Mapping[str, Importer] = {
    "Cast": _cast,
    "ConvInteger": _matmul_integer,
    "DequantizeLinear": _dequantize,
    "MatMulInteger": _matmul_integer,
    "QGemm": _qgemm,
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _qlinear_matmul,
    "QuantizeLinear": _quantize,
}
