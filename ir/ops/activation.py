"""Piecewise-linear activations, maxima and minima; each lowers exactly, over the reals, to affine nodes and Relu.

Comparing and choosing round nothing, so the nodes made here have no error (count 0), though their parts, such as b - a
in max(a, b) = a + relu(b - a), would not be computed without one: they stand for the chosen value as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from farkas.ir.algebra import Algebra, Array, Numbers
from farkas.ir.core import Rounding
from farkas.ir.graph import Node
from farkas.ir.linear import Diagonal, Vector, identity
from farkas.ir.onnx_node import OnnxNode, Tensor
from farkas.ir.op import Importer, Op, Shape
from farkas.ir.ops.affine import broadcast, signed_identity

if TYPE_CHECKING:
    from farkas.ir.lowering import Builder, Value


@dataclass(frozen=True)
class Relu:
    """y = max(x, 0); no rounding."""

    onnx: ClassVar[str] = "Relu"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        return x

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        (x,) = xs
        return alg.maximum(x, alg.constant(np.zeros((), dtype=np.float32)))

    def lower(self, b: Builder, *xs: Value) -> Value:
        (x,) = xs
        return b.relu(x)


@dataclass(frozen=True)
class LeakyRelu:
    """x where x >= 0, slope x elsewhere; one rounding."""

    slope: float
    onnx: ClassVar[str] = "LeakyRelu"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        return x

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        (x,) = xs
        zero = alg.constant(np.zeros((), dtype=np.float32))
        slope = alg.constant(np.array(self.slope, dtype=np.float32))
        return alg.add(alg.maximum(x, zero), alg.mul(slope, alg.minimum(x, zero)))

    def lower(self, b: Builder, *xs: Value) -> Value:
        # slope x + (1 - slope) relu(x).  1 - slope is a float64 number for every binary32 slope of 2^-29 or more.
        (x,) = xs
        gain = 1.0 - self.slope
        exact = (gain - 1.0) + self.slope == 0.0
        terms = [(Diagonal(np.full(x.size, self.slope)), x), (Diagonal(np.full(x.size, gain)), b.relu(x))]
        return b.affine(terms, np.zeros(x.size), x.shape, Rounding(1, 0.0 if exact else 2.0**-52))


@dataclass(frozen=True)
class Abs:
    """|x|; no rounding."""

    onnx: ClassVar[str] = "Abs"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        return x

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        return alg.absolute(xs[0])

    def lower(self, b: Builder, *xs: Value) -> Value:
        # |x| = 2 relu(x) - x: one Relu, where relu(x) + relu(-x) has two.
        (x,) = xs
        terms = [(Diagonal(np.full(x.size, 2.0)), b.relu(x)), (signed_identity(x.size, -1.0), x)]
        return b.affine(terms, np.zeros(x.size), x.shape, Rounding())


@dataclass(frozen=True)
class Clip:
    """min(max(x, low), high); None: no bound on that side; no rounding."""

    low: float | None
    high: float | None
    onnx: ClassVar[str] = "Clip"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        return x

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        (x,) = xs
        if self.low is not None:
            x = alg.maximum(x, alg.constant(np.array(self.low)))
        return x if self.high is None else alg.minimum(x, alg.constant(np.array(self.high)))

    def lower(self, b: Builder, *xs: Value) -> Value:
        (x,) = xs
        if self.low is not None:
            x = _above(b, x, np.full(x.size, self.low))
        return x if self.high is None else _below(b, x, np.full(x.size, self.high))


@dataclass(frozen=True, eq=False)
class Max:
    """The largest of one or more variable tensors and perhaps a constant, with broadcasting; no rounding."""

    constant: Numbers | None = None
    onnx: ClassVar[str] = "Max"

    def infer(self, *shapes: Shape) -> Shape:
        return broadcast(*shapes, *(() if self.constant is None else (self.constant.shape,)))

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        best = xs[0]
        for x in xs[1:]:
            best = alg.maximum(best, x)
        return best if self.constant is None else alg.maximum(best, alg.constant(self.constant))

    def lower(self, b: Builder, *xs: Value) -> Value:
        shape = self.infer(*(x.shape for x in xs))
        best, *others = (b.rearrange(lambda array: np.broadcast_to(array, shape), [x]) for x in xs)
        for other in others:
            best = b.maximum(best, other)
        return best if self.constant is None else _above(b, best, _flat(self.constant, shape))


@dataclass(frozen=True, eq=False)
class Min:
    """The smallest of one or more variable tensors and perhaps a constant, with broadcasting; no rounding."""

    constant: Numbers | None = None
    onnx: ClassVar[str] = "Min"

    def infer(self, *shapes: Shape) -> Shape:
        return broadcast(*shapes, *(() if self.constant is None else (self.constant.shape,)))

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        best = xs[0]
        for x in xs[1:]:
            best = alg.minimum(best, x)
        return best if self.constant is None else alg.minimum(best, alg.constant(self.constant))

    def lower(self, b: Builder, *xs: Value) -> Value:
        shape = self.infer(*(x.shape for x in xs))
        best, *others = (b.rearrange(lambda array: np.broadcast_to(array, shape), [x]) for x in xs)
        for other in others:
            best = b.minimum(best, other)
        return best if self.constant is None else _below(b, best, _flat(self.constant, shape))


def _above(b: Builder, x: Value, low: Vector) -> Value:
    """max(x, low) = low + relu(x - low), flat constants."""
    gain = b.relu(b.affine([(identity(x.size), x)], -low, x.shape, Rounding()))
    return b.affine([(identity(x.size), gain)], low, x.shape, Rounding())


def _below(b: Builder, x: Value, high: Vector) -> Value:
    """min(x, high) = high - relu(high - x), flat constants."""
    minus = signed_identity(x.size, -1.0)
    loss = b.relu(b.affine([(minus, x)], high, x.shape, Rounding()))
    return b.affine([(minus, loss)], high, x.shape, Rounding())


def _flat(constant: Numbers, shape: Shape) -> Vector:
    return np.broadcast_to(constant, shape).ravel().astype(np.float64)


def _relu(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are()
    return node.gives(Relu(), node.variable(0))


def _leaky_relu(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("alpha")
    return node.gives(LeakyRelu(node.real("alpha", float(np.float32(0.01)))), node.variable(0))


def _abs(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are()
    return node.gives(Abs(), node.variable(0))


def _clip(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("min", "max")
    bounds: list[float | None] = []
    for i, name in ((1, "min"), (2, "max")):
        constant = node.constant(i)
        if constant is not None and (constant.size != 1 or constant.dtype != node.dtype):
            node.malformed(f"its bound '{name}' should be one number of type {node.dtype}")
        value = node.attributes.get(name) if constant is None else float(constant.ravel()[0])
        if value is not None and (not isinstance(value, float) or math.isnan(value)):
            node.malformed(f"its bound '{name}' should be a number")
        bounds.append(value)
    low, high = bounds
    # The bounds of opset 6 default to the largest numbers, and exporters write infinities: either way no bound.
    largest = float(np.finfo(node.dtype).max)
    low = None if low is not None and low <= -largest else low
    high = None if high is not None and high >= largest else high
    if (low is not None and math.isinf(low)) or (high is not None and math.isinf(high)):
        node.malformed(f"it clips to [{low}, {high}]")
    return node.gives(Clip(low, high), node.variable(0))


def _extremum(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are()
    variables = [operand for operand in node.operands if isinstance(operand, Tensor)]
    constant: Numbers | None = None
    choose = np.maximum if node.kind == "Max" else np.minimum
    for i, operand in enumerate(node.operands):
        if not isinstance(operand, Tensor):
            other = node.required(i)
            broadcast(other.shape, () if constant is None else constant.shape)
            constant = other if constant is None else choose(constant, other)
    return node.gives(Max(constant) if node.kind == "Max" else Min(constant), *variables)


OPS: tuple[type[Op], ...] = (Relu, LeakyRelu, Abs, Clip, Max, Min)
IMPORTERS: Mapping[str, Importer] = {
    "Relu": _relu,
    "LeakyRelu": _leaky_relu,
    "Abs": _abs,
    "Clip": _clip,
    "Max": _extremum,
    "Min": _extremum,
}
