"""Networks with several inputs and outputs, made as ONNX bytes."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.models import IR_VERSION
from tests.nets import Net

ONE, TWO = [1, 2], [1, 3]
W = {
    "wa": np.array([[1, -1], [0.5, 2], [-1, 0]], dtype=np.float32),
    "wb": np.array([[1, 0, -1], [2, -1, 0.5], [0, 1, 1]], dtype=np.float32),
    "ba": np.array([0.5, -1, 0.25], dtype=np.float32),
}


def two_by_two() -> Net:
    """Inputs a (1, 2), b (1, 3); outputs y = relu(a wa^T + ba) + b wb^T (1, 3) and m = relu(a) - a (1, 2)."""
    make = helper.make_node
    nodes = [
        make("Gemm", ["a", "wa", "ba"], ["h"], transB=1),
        make("Relu", ["h"], ["r"]),
        make("Gemm", ["b", "wb"], ["g"], transB=1),
        make("Add", ["r", "g"], ["y"]),
        make("Relu", ["a"], ["p"]),
        make("Sub", ["p", "a"], ["m"]),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("a", ONE), ("b", TWO))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("y", TWO), ("m", ONE))],
        [numpy_helper.from_array(array, name) for name, array in W.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=IR_VERSION)
    return Net(made.SerializeToString())
