"""Quantised networks: small float networks put through onnxruntime.quantization, and hand-made ones."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.models import IR_VERSION, AnyArray

Codes = Literal["U8U8", "U8S8", "S8S8"]
Format = Literal["QDQ", "QOperator"]
node = helper.make_node
f32 = np.float32


def float_model(
    nodes: Sequence[onnx.NodeProto], constants: Mapping[str, AnyArray], shape: Sequence[int], *, opset: int = 13,
    element: int = 1, output: int = 1,
) -> bytes:  # fmt: skip
    """x -> y, with operators of onnxruntime's own domain allowed; element, output: ONNX types of x and y."""
    graph = helper.make_graph(
        list(nodes),
        "quantised",
        [helper.make_tensor_value_info("x", element, list(shape))],
        [helper.make_tensor_value_info("y", output, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    data: bytes = helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION).SerializeToString()
    return data


def dense(sizes: Sequence[int] = (5, 16, 16, 3), *, seed: int = 0) -> bytes:
    """Gemm and Relu, with normally distributed weights."""
    rng = np.random.default_rng([seed, 1])
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, AnyArray] = {}
    last, count = "x", len(sizes) - 1
    for i in range(count):
        constants[f"w{i}"] = (rng.standard_normal((sizes[i + 1], sizes[i])) / np.sqrt(sizes[i])).astype(f32)
        constants[f"b{i}"] = (rng.standard_normal(sizes[i + 1]) * 0.1).astype(f32)
        result = "y" if i == count - 1 else f"z{i}"
        nodes.append(node("Gemm", [last, f"w{i}", f"b{i}"], [result], name=f"gemm{i}", transB=1))
        if result != "y":
            nodes.append(node("Relu", [result], [f"h{i}"], name=f"relu{i}"))
        last = f"h{i}"
    return float_model(nodes, constants, [1, sizes[0]])


def convolutional(*, seed: int = 0) -> bytes:
    """Conv, Relu, MaxPool, strided Conv, Relu, Flatten, Gemm on 1x8x8 images."""
    rng = np.random.default_rng([seed, 2])
    constants = {
        "k0": rng.standard_normal((4, 1, 3, 3)) / 3, "b0": rng.standard_normal(4) * 0.1,
        "k1": rng.standard_normal((6, 4, 3, 3)) / 6, "b1": rng.standard_normal(6) * 0.1,
        "w": rng.standard_normal((24, 3)) / 5, "c": rng.standard_normal(3) * 0.1,
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "k0", "b0"], ["z0"], name="conv0", pads=[1, 1, 1, 1]),
        node("Relu", ["z0"], ["h0"], name="relu0"),
        node("MaxPool", ["h0"], ["m"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["m", "k1", "b1"], ["z1"], name="conv1", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", ["z1"], ["h1"], name="relu1"),
        node("Flatten", ["h1"], ["f"], name="flatten"),
        node("Gemm", ["f", "w", "c"], ["y"], name="gemm"),
    ]
    return float_model(nodes, {name: array.astype(f32) for name, array in constants.items()}, [1, 1, 8, 8])


def quantise(
    data: bytes, form: Format, codes: Codes, *, reduced: bool = False, by_channel: bool = False,
    symmetric: bool = False, seed: int = 0,
) -> bytes:  # fmt: skip
    """The network as onnxruntime.quantization.quantize_static makes it, calibrated on normal inputs."""
    from onnxruntime import quantization

    shape = [d.dim_value for d in onnx.load_from_string(data).graph.input[0].type.tensor_type.shape.dim]
    points = np.random.default_rng([seed, 3]).standard_normal((20, *shape)).astype(f32)

    class Points(quantization.CalibrationDataReader):  # type: ignore[misc] # untyped
        def __init__(self) -> None:
            self.points = iter(points)

        def get_next(self) -> Any:
            point = next(self.points, None)
            return None if point is None else {"x": point}

    types = {"U8": quantization.QuantType.QUInt8, "S8": quantization.QuantType.QInt8}
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "float.onnx", Path(folder) / "codes.onnx"
        before.write_bytes(data)
        logging.disable(logging.WARNING)  # advice about preprocessing
        try:
            quantization.quantize_static(
                str(before), str(after), Points(), quant_format=quantization.QuantFormat[form],
                activation_type=types[codes[:2]], weight_type=types[codes[2:]], reduce_range=reduced,
                per_channel=by_channel, extra_options={"ActivationSymmetric": symmetric},
            )  # fmt: skip
        finally:
            logging.disable(logging.NOTSET)
        return after.read_bytes()


def dequantised(codes: AnyArray, name: str, scale: Any, zero: int = 0) -> tuple[dict[str, AnyArray], onnx.NodeProto]:
    """Constants and the DequantizeLinear node of a constant given by codes."""
    constants = {f"{name}_c": codes, f"{name}_s": np.asarray(scale, f32), f"{name}_z": np.array(zero, codes.dtype)}
    return constants, node("DequantizeLinear", list(constants), [name])


def run_runtime(data: bytes, points: AnyArray, *, optimised: bool = True) -> AnyArray:
    """onnxruntime's outputs (n, m) for points (n, ...), one call each."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    found: list[Any] = [session.run(None, {"x": point.reshape(shape)})[0] for point in points]
    return np.stack([result.ravel() for result in found])
