"""ONNX models made with the `onnx` package, and their values in onnxruntime."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

AnyArray = npt.NDArray[Any]
IR_VERSION = 8  # read by every onnxruntime that reads opset 8 to 21


def make_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str | None]],
    initializers: Mapping[str, AnyArray] | None = None,
    *,
    opset: int,
    output: str = "y",
    dtype: int = TensorProto.FLOAT,
) -> bytes:
    """A checked model of float inputs; output shapes are left open."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(name, dtype, list(shape)) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(output, dtype, None)],
        [numpy_helper.from_array(array, name) for name, array in (initializers or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)
    data: bytes = model.SerializeToString()
    return data


def run_onnxruntime(data: bytes, values: Mapping[str, AnyArray]) -> AnyArray:
    """The first output, computed without graph optimisation, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, dict(values))[0])


def weights(shape: Sequence[int], seed: int = 0) -> npt.NDArray[np.float32]:
    """Normally distributed float32 constants."""
    return np.random.default_rng([seed, math.prod(shape)]).standard_normal(tuple(shape)).astype(np.float32)
