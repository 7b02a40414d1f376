"""Networks that fit random documents, and what saved files say at a point, over the reals."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction as Q
from math import prod
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import farkas as fk
from farkas.api import Network
from farkas.ir.algebra import Rational
from farkas.ir.onnx_import import load_onnx
from farkas.specs.vnnlib2 import read_document


def network(inputs: Sequence[int], outputs: Sequence[int], seed: int = 0) -> Network:
    """relu(x W^T + b) with multiples of 1/4, between tensors of these shapes."""
    rng = np.random.default_rng([seed, *inputs, *outputs])
    n, m = prod(inputs), prod(outputs)
    values = {
        "w": (rng.integers(-8, 9, (m, n)) / 4).astype(np.float32), "b": (rng.integers(-8, 9, m) / 4).astype(np.float32),
        "flat": np.array([1, n]), "shape": np.array(outputs, dtype=np.int64),
    }  # fmt: skip
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["a"]),
        helper.make_node("Gemm", ["a", "w", "b"], ["z"], transB=1),
        helper.make_node("Relu", ["z"], ["r"]),
        helper.make_node("Reshape", ["r", "shape"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(inputs))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list(outputs))],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    data: bytes = made.SerializeToString()
    return Network(load_onnx(data), data, Path(f"made{seed}.onnx"), "made")


def fitting(text: str) -> dict[str, Network]:
    """A network for every one that a document declares with a file of its own."""
    document = read_document(text)
    return {
        declared.name: network(declared.inputs[0].shape, declared.outputs[0].shape, number)
        for number, declared in enumerate(document.networks)
        if declared.model == declared.name
    }


def outputs_at(net: Network, x: Sequence[Q]) -> tuple[Q, ...]:
    """All outputs at a point, in exact rationals."""
    graph, start, values = net.graph, 0, {}
    for name, shape in graph.inputs:
        values[name] = np.array([*x[start : start + prod(shape)], None], dtype=object)[:-1]
        start += prod(shape)
    found = graph.evaluate(Rational(), values)
    return tuple(Q(value) for name in graph.outputs for value in found[name].ravel())


def is_unsafe(spec: fk.Spec, x: Sequence[Q]) -> bool:
    """Whether the inputs of all networks together violate the specification."""
    y: list[Q] = []
    start = 0
    for net in spec.networks.values():
        y += outputs_at(net, x[start : start + net.inputs])
        start += net.inputs
    return spec.property.is_unsafe(x, y)


def run_exactly(data: bytes, x: Sequence[Q]) -> tuple[Q, ...]:
    """The outputs of a joined network of the operators used here, by ONNX's definitions of them, in exact rationals."""
    graph = onnx.load_from_string(data).graph
    values = {t.name: np.array(numpy_helper.to_array(t).tolist(), dtype=object) for t in graph.initializer}
    values = {name: np.vectorize(Q, otypes=[object])(value) for name, value in values.items()}
    values[graph.input[0].name] = np.array([*x, None], dtype=object)[:-1]
    for node in graph.node:
        operands = [values[name] for name in node.input]
        values[node.output[0]] = _applied(node.op_type, operands)
    return tuple(values[graph.output[0].name].ravel())


def _applied(kind: str, operands: Sequence[np.ndarray]) -> np.ndarray:
    match kind, operands:
        case "Gather", [x, places]:
            return x[places.astype(np.int64)]
        case "Reshape", [x, shape]:
            return x.reshape([int(length) for length in shape])
        case "Gemm", [x, w, b]:
            return x.dot(w.T) + b
        case "Relu", [x]:
            return np.maximum(x, np.array(Q(0), dtype=object))
        case "Mul", [a, b]:
            return a * b
        case "Concat", parts:
            return np.concatenate(parts)
    raise ValueError(kind)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
