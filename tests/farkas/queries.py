"""Tiny networks and properties with truths that a reader can check, and ways to run the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[2]


def absolute(dtype: str = "float32") -> bytes:
    """y = relu(x) + relu(-x) = |x|, for one input; exact in every order, for every product is +-1 times x."""
    one = np.array([[1.0], [-1.0]], dtype=dtype)
    nodes = [
        helper.make_node("Gemm", ["x", "w1"], ["z"], name="first", transB=1),
        helper.make_node("Relu", ["z"], ["a"], name="relu"),
        helper.make_node("Gemm", ["a", "w2"], ["y"], name="second", transB=1),
    ]
    return model(nodes, {"w1": one, "w2": np.abs(one).T.copy()}, dtype=dtype)


def model(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    *,
    inputs: Sequence[str] = ("x",),
    outputs: Sequence[str] = ("y",),
    width: int = 1,
    dtype: str = "float32",
    opset: int = 13,
) -> bytes:
    """A network whose inputs and outputs have shape [1, width] and [1, ?]."""
    kind = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "float16": TensorProto.FLOAT16}[dtype]
    graph = helper.make_graph(
        list(nodes), "tiny",
        [helper.make_tensor_value_info(name, kind, [1, width]) for name in inputs],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    data: bytes = made.SerializeToString()
    return data


def wide(width: int = 24, hidden: int = 60) -> bytes:
    """A random network with many inputs, on whose box splitting inputs gets nowhere."""
    rng = np.random.default_rng(7)
    sizes = (width, hidden, hidden, 1)
    weights = {f"w{i}": rng.standard_normal((m, n)).astype(np.float32) for i, (n, m) in enumerate(pairwise(sizes))}
    nodes = [
        helper.make_node("Gemm", ["x", "w0"], ["z0"], transB=1), helper.make_node("Relu", ["z0"], ["a0"]),
        helper.make_node("Gemm", ["a0", "w1"], ["z1"], transB=1), helper.make_node("Relu", ["z1"], ["a1"]),
        helper.make_node("Gemm", ["a1", "w2"], ["y"], transB=1),
    ]  # fmt: skip
    return model(nodes, weights, width=width)


def prop(*asserts: str, inputs: int = 1, outputs: int = 1) -> bytes:
    """A VNN-LIB 1.0 file with these assertions."""
    names = [f"X_{i}" for i in range(inputs)] + [f"Y_{j}" for j in range(outputs)]
    lines = [f"(declare-const {name} Real)" for name in names] + [f"(assert {text})" for text in asserts]
    return ("\n".join(lines) + "\n").encode()


BOX = ("(>= X_0 -1)", "(<= X_0 2)")  # |x| takes the values 0 to 2 there
UNSAT = prop(*BOX, "(>= Y_0 2.5)")
SAT = prop(*BOX, "(>= Y_0 1.5)")
BOUNDARY = prop(*BOX, "(> Y_0 2)")  # never, but only by a hair: rounding might lift y at x = 2


@dataclass(frozen=True)
class Files:
    """Paths of a network and of properties of it."""

    network: str
    unsat: str
    sat: str
    boundary: str


def write(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


def files(folder: Path) -> Files:
    return Files(
        write(folder, "absolute.onnx", absolute()), write(folder, "unsat.vnnlib", UNSAT),
        write(folder, "sat.vnnlib", SAT), write(folder, "boundary.vnnlib", BOUNDARY),
    )  # fmt: skip


def farkas(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m farkas` in a process of its own, from this checkout."""
    return subprocess.run(
        [sys.executable, "-m", "farkas", *words], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip
