"""Networks in QDQ form that onnxruntime does not fuse, or fuses further, are refused; the others have its very bits.

It multiplies int8 codes only between pairs of Q and DQ, a Gemm only where zero points are stated, and merges pairs that
follow each other.  Elsewhere it multiplies dequantised numbers in float32, and codes differ near ties.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from farkas.ir.errors import UnsupportedOperator
from farkas.ir.integer import run_integer
from farkas.ir.integer_lowering import lower_integer
from farkas.ir.onnx_import import load_onnx
from tests.quantised import f32, float_model, node, run_runtime

DQ_W = node("DequantizeLinear", ["w", "ws", "wz"], ["dw"])
START = [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["d"])]
CODES = [node("DequantizeLinear", ["x", "s", "z"], ["d"])]
MATMUL, GEMM = node("MatMul", ["d", "dw"], ["m"]), node("Gemm", ["d", "dw"], ["m"])
END = [node("QuantizeLinear", ["m", "t", "u"], ["p"]), node("DequantizeLinear", ["p", "t", "u"], ["y"])]
BARE = [node("QuantizeLinear", ["m", "t", "u"], ["y"])]
AGAIN = [
    node("QuantizeLinear", ["x", "t", "u"], ["q0"]),
    node("DequantizeLinear", ["q0", "t", "u"], ["d0"]),
    node("QuantizeLinear", ["d0", "s", "z"], ["q"]),
    node("DequantizeLinear", ["q", "s", "z"], ["d"]),
]


def model(nodes: list[Any], code: type[np.integer[Any]], *, codes_in: bool, codes_out: bool) -> bytes:
    constants = {
        "s": np.array(0.1, f32), "z": np.array(3, code), "t": np.array(0.1, f32), "u": np.array(5, code),
        "w": np.array([[2, -3, -4], [1, 1, 4]], np.int8), "ws": np.array(0.025, f32),
        "wz": np.array(0, np.int8),
    }  # fmt: skip
    element = TensorProto.INT8 if code is np.int8 else TensorProto.UINT8
    kinds = [element if codes else TensorProto.FLOAT for codes in (codes_in, codes_out)]
    return float_model(nodes, constants, [1, 2], element=kinds[0], output=kinds[1])


@pytest.mark.parametrize(
    ("start", "product", "end", "code"),
    [
        (START, MATMUL, END, np.int8),
        (START, GEMM, END, np.int8),
        *[(start, product, end, np.uint8) for start in (START, CODES) for product in (MATMUL, GEMM)
          for end in (END, BARE)],
    ],
)  # fmt: skip
def test_what_is_read_has_the_bits_of_onnxruntime(start: list[Any], product: Any, end: list[Any], code: Any) -> None:
    data = model([*start, DQ_W, product, *end], code, codes_in=start is CODES, codes_out=end is BARE)
    low = np.iinfo(code).min
    points = np.array([(i, j) for i in range(low, low + 256, 5) for j in range(low, low + 256, 3)])
    if start is CODES:
        x = points.astype(code)
        own = run_integer(lower_integer(load_onnx(data)), x.astype(np.int64))
    else:
        x = ((points - 3) * f32(0.1)).astype(f32)
        own = run_integer(lower_integer(load_onnx(data)), x)
    assert (own == run_runtime(data, x)).all()


@pytest.mark.parametrize(
    ("start", "end"), [(START, BARE), (CODES, END), (CODES, BARE)], ids=["no DQ after it", "no Q before it", "neither"]
)
@pytest.mark.parametrize("product", [MATMUL, GEMM], ids=["MatMul", "Gemm"])
def test_products_of_int8_codes_outside_pairs_are_refused(start: list[Any], product: Any, end: list[Any]) -> None:
    data = model([*start, DQ_W, product, *end], np.int8, codes_in=start is CODES, codes_out=end is BARE)
    with pytest.raises(UnsupportedOperator, match="int8"):
        lower_integer(load_onnx(data))


@pytest.mark.parametrize("code", [np.int8, np.uint8])
def test_codes_that_are_quantised_anew_are_refused(code: Any) -> None:
    data = model([*AGAIN, DQ_W, MATMUL, *END], code, codes_in=False, codes_out=False)
    with pytest.raises(UnsupportedOperator, match="quantise once"):
        lower_integer(load_onnx(data))


@pytest.mark.parametrize(("product", "is_read"), [(MATMUL, True), (GEMM, False)], ids=["MatMul", "Gemm"])
def test_a_gemm_needs_its_zero_points_stated_and_a_matmul_does_not(product: Any, is_read: bool) -> None:
    silent = node("DequantizeLinear", ["w", "ws"], ["dw"])
    data = model([*START, silent, product, *END], np.uint8, codes_in=False, codes_out=False)
    x = ((np.array([(i, j) for i in range(0, 256, 5) for j in range(0, 256, 3)]) - 3) * f32(0.1)).astype(f32)
    if is_read:
        assert (run_integer(lower_integer(load_onnx(data)), x) == run_runtime(data, x)).all()
    else:
        with pytest.raises(UnsupportedOperator, match="zero point"):
            lower_integer(load_onnx(data))
