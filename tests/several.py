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


def crossed(rng: np.random.Generator) -> Net:
    """Inputs a and b of one value each; outputs y = relu(g(relu(f(a))) + w b) (2 values) and m, from a."""
    make = helper.make_node
    shapes = {"wa": (3, 1), "ba": (3,), "wy": (2, 3), "by": (2,), "wb": (2, 1), "wm": (1, 3)}
    constants = {name: (rng.integers(-8, 9, shape) / 8).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        make("Gemm", ["a", "wa", "ba"], ["h"], transB=1),
        make("Relu", ["h"], ["r"]),
        make("Gemm", ["r", "wy", "by"], ["p"], transB=1),
        make("Gemm", ["b", "wb"], ["q"], transB=1),
        make("Add", ["p", "q"], ["s"]),
        make("Relu", ["s"], ["y"]),
        make("Gemm", ["r", "wm"], ["m"], transB=1),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1]) for name in "ab"]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, n]) for name, n in (("y", 2), ("m", 1))]
    values = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "crossed", inputs, outputs, values)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=IR_VERSION)
    return Net(made.SerializeToString())
