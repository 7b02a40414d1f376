"""Small networks, made as ONNX bytes so that every executor and the checker can read them, and small properties.

`Net` holds the bytes and what the importer makes of them.  Random weights are multiples of 1/8 (exact in any order of
summation up to large sums) or full-length binary32 numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper

from farkas.engine.query import Query
from farkas.ir.core import Program
from farkas.ir.graph import Graph
from farkas.ir.lowering import lower
from farkas.ir.onnx_import import load_onnx
from farkas.specs.query import Atom, Case, Property, Semantics
from tests.models import make_model

Float32 = npt.NDArray[np.float32]
Layer = tuple[npt.ArrayLike, npt.ArrayLike]  # weight (m, k), bias (m,)
Weights = tuple[Float32, Float32]
Box = tuple[tuple[Fraction, ...], tuple[Fraction, ...]]


@dataclass(frozen=True)
class Net:
    """A network: the bytes of its file and the graph and core program read from them."""

    data: bytes

    @cached_property
    def graph(self) -> Graph:
        return load_onnx(self.data)

    @cached_property
    def program(self) -> Program:
        return lower(self.graph)

    def query(self, cases: Sequence[Case], semantics: Semantics = Semantics.REAL) -> Query:
        prop = Property(self.program.input_size, self.program.output_size, tuple(cases))
        return Query(self.graph, self.data, prop, semantics)


def dense(layers: Sequence[Layer], *, dtype: type[np.floating[Any]] = np.float32) -> Net:
    """Gemm layers with a Relu between them."""
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, npt.NDArray[Any]] = {}
    value = "x"
    for i, (weight, bias) in enumerate(layers):
        out = "y" if i == len(layers) - 1 else f"z{i}"
        constants |= {f"w{i}": np.asarray(weight, dtype=dtype), f"b{i}": np.asarray(bias, dtype=dtype)}
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [out], transB=1))
        if out != "y":
            nodes.append(helper.make_node("Relu", [out], [f"a{i}"]))
        value = f"a{i}"
    kind = TensorProto.FLOAT if dtype is np.float32 else TensorProto.DOUBLE
    inputs = np.asarray(layers[0][0]).shape[1]
    return Net(make_model(nodes, {"x": [1, inputs]}, constants, opset=13, dtype=kind))


def affine(rows: Sequence[Sequence[float]], bias: Sequence[float] | None = None) -> Net:
    """One Gemm and nothing else."""
    weight = np.array(rows, dtype=np.float32)
    return dense([(weight, np.zeros(len(weight)) if bias is None else np.array(bias))])


def random_layers(rng: np.random.Generator, sizes: Sequence[int], *, eighths: bool = True) -> list[Weights]:
    """Weights in [-2, 2] and biases in [-1, 1]: multiples of 1/8, or binary32 numbers of full length."""

    def draw(shape: tuple[int, ...], limit: int) -> npt.NDArray[np.float32]:
        if eighths:
            return (rng.integers(-8 * limit, 8 * limit + 1, shape) / 8).astype(np.float32)
        return rng.uniform(-limit, limit, shape).astype(np.float32)

    return [(draw((m, k), 2), draw((m,), 1)) for k, m in pairwise(sizes)]


SHAPES = ("plain", "residual", "leaky", "abs", "max", "min", "clip", "scaled", "conv", "pool", "mean")
EXACT_SHAPES = SHAPES[:-1]  # whose coefficients float64 holds, so that the core program is the network exactly


def varied(rng: np.random.Generator, shape: str, *, inputs: int = 2, eighths: bool = True) -> Net:
    """A network of two hidden layers of 4 neurons and 2 outputs with one operator of the named kind in the middle."""
    (w0, b0), (w1, b1), (w2, b2) = random_layers(rng, (inputs, 4, 4, 2), eighths=eighths)
    constants: dict[str, npt.NDArray[Any]] = {"w0": w0, "b0": b0, "w1": w1, "b1": b1, "w2": w2, "b2": b2}
    node = helper.make_node
    first = [node("Gemm", ["x", "w0", "b0"], ["z0"], transB=1), node("Relu", ["z0"], ["a0"])]
    second = [node("Gemm", ["a0", "w1", "b1"], ["z1"], transB=1)]
    last = [node("Gemm", ["a1", "w2", "b2"], ["y"], transB=1)]
    middle, extra = _middle(rng, shape)
    constants |= extra
    return Net(make_model(first + second + middle + last, {"x": [1, inputs]}, constants, opset=13))


def _middle(rng: np.random.Generator, shape: str) -> tuple[list[onnx.NodeProto], dict[str, npt.NDArray[Any]]]:
    """Nodes from z1 (and a0, z0) to a1, all of 4 values."""
    node = helper.make_node
    small = (rng.integers(-8, 9, 4) / 8).astype(np.float32)
    match shape:
        case "plain":
            return [node("Relu", ["z1"], ["a1"])], {}
        case "residual":
            return [node("Relu", ["z1"], ["r"]), node("Add", ["r", "z0"], ["a1"])], {}
        case "leaky":
            return [node("LeakyRelu", ["z1"], ["a1"], alpha=0.125)], {}
        case "abs":
            return [node("Abs", ["z1"], ["a1"])], {}
        case "max":
            return [node("Max", ["z1", "z0"], ["a1"])], {}
        case "min":
            return [node("Min", ["z1", "c"], ["a1"])], {"c": small}
        case "clip":
            bounds = {"low": np.array(-0.5, dtype=np.float32), "high": np.array(0.75, dtype=np.float32)}
            return [node("Clip", ["z1", "low", "high"], ["a1"])], bounds
        case "scaled":
            subtracted = node("Sub", ["z1", "c"], ["s"])
            return [subtracted, node("Mul", ["s", "c"], ["t"]), node("Relu", ["t"], ["a1"])], {"c": small}
        case "conv":
            weight = (rng.integers(-8, 9, (1, 1, 1, 3)) / 8).astype(np.float32)
            image = np.array([1, 1, 1, 4], dtype=np.int64)
            nodes = [
                node("Reshape", ["z1", "image"], ["i"]),
                node("Conv", ["i", "k", "kb"], ["j"], pads=[0, 1, 0, 1]),
                node("Relu", ["j"], ["r"]),
                node("Reshape", ["r", "flat"], ["a1"]),
            ]
            return nodes, {"image": image, "k": weight, "kb": small[:1], "flat": np.array([1, 4], dtype=np.int64)}
        case "pool":
            nodes = [
                node("Reshape", ["z1", "image"], ["i"]),
                node("MaxPool", ["i"], ["j"], kernel_shape=[1, 2], pads=[0, 0, 0, 1]),
                node("Reshape", ["j", "flat"], ["a1"]),
            ]
            image = np.array([1, 1, 1, 4], dtype=np.int64)
            return nodes, {"image": image, "flat": np.array([1, 4], dtype=np.int64)}
        case "mean":
            nodes = [
                node("Reshape", ["z1", "image"], ["i"]),
                node("AveragePool", ["i"], ["j"], kernel_shape=[1, 3], pads=[0, 1, 0, 1]),
                node("Relu", ["j"], ["r"]),
                node("Reshape", ["r", "flat"], ["a1"]),
            ]
            image = np.array([1, 1, 1, 4], dtype=np.int64)
            return nodes, {"image": image, "flat": np.array([1, 4], dtype=np.int64)}
        case _:
            raise ValueError(f"no network of the kind {shape}")


# Properties ---------------------------------------------------------------------------------------------------------


def atom(
    y: Sequence[float | Fraction], c: float | Fraction, *, x: Sequence[float | Fraction] = (), strict: bool = False
) -> Atom:
    """sum x_i X_i + sum y_j Y_j <= c (< c when strict), from dense coefficients."""
    return Atom(_terms(x), _terms(y), Fraction(c), strict)


def _terms(values: Sequence[float | Fraction]) -> tuple[tuple[int, Fraction], ...]:
    return tuple((i, Fraction(v)) for i, v in enumerate(values) if v)


def case(lower: Sequence[float | Fraction], upper: Sequence[float | Fraction], *disjuncts: Sequence[Atom]) -> Case:
    """A box and its disjuncts."""
    ends = tuple(Fraction(v) for v in lower), tuple(Fraction(v) for v in upper)
    return Case(*ends, tuple(tuple(atoms) for atoms in disjuncts))


@st.composite
def boxes(draw: st.DrawFn, inputs: int) -> Box:
    """Boxes with ends in sixteenths of [-2, 2], points among them."""
    ends = [sorted(draw(st.tuples(st.integers(-32, 32), st.integers(-32, 32)))) for _ in range(inputs)]
    return tuple(Fraction(a, 16) for a, _ in ends), tuple(Fraction(b, 16) for _, b in ends)


seeds = st.integers(0, 2**32 - 1)
