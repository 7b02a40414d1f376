"""Products and quotients with constants, negation, batch normalization: componentwise scalings.

Each is a summation group of its own.  Their factors may be no float64 numbers (a quotient, a square root); then the
stored factor carries a proved relative radius, over the reals too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from farkas.ir.algebra import Algebra, Array, Numbers
from farkas.ir.core import Rounding
from farkas.ir.errors import ShapeError
from farkas.ir.graph import Node
from farkas.ir.linear import Diagonal, Vector
from farkas.ir.onnx_node import OnnxNode, Tensor
from farkas.ir.op import Importer, Op, Shape
from farkas.ir.ops.affine import broadcast
from farkas.ir.ops.multiplication import Multiply

if TYPE_CHECKING:
    from farkas.ir.lowering import Builder, Value


@dataclass(frozen=True, eq=False)
class Scale:
    """x * factor, or x / factor with `divide`; the constant is broadcast, or x is."""

    factor: Numbers
    divide: bool = False
    onnx: ClassVar[str] = "Mul"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        return broadcast(x, self.factor.shape)

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        factor = alg.constant(self.factor)
        return alg.div(xs[0], factor) if self.divide else alg.mul(xs[0], factor)

    def lower(self, b: Builder, *xs: Value) -> Value:
        shape = self.infer(xs[0].shape)
        x = b.rearrange(lambda array: np.broadcast_to(array, shape), xs)
        factors = np.broadcast_to(self.factor, shape).ravel().astype(np.float64)
        if not self.divide:
            return b.scale(x, factors, np.zeros(factors.size), Rounding(1))
        # One rounding to divide, two to multiply by the rounded reciprocal.  1/c in float64 is within 2^-53 of
        # itself, and exact for powers of two.
        exact = bool((np.abs(np.frexp(factors)[0]) == 0.5).all())
        rounding = Rounding(2, 0.0 if exact else 2.0**-52)
        return b.scale(x, 1.0 / factors, np.zeros(factors.size), rounding)


@dataclass(frozen=True)
class Neg:
    """-x; no rounding."""

    onnx: ClassVar[str] = "Neg"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        return x

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        return alg.neg(xs[0])

    def lower(self, b: Builder, *xs: Value) -> Value:
        size = xs[0].size
        return b.scale(xs[0], np.full(size, -1.0), np.zeros(size), Rounding())


@dataclass(frozen=True, eq=False)
class BatchNormalization:
    """(x - mean) scale / sqrt(variance + epsilon) + bias per channel (axis 1).

    Over the reals this is a x + c with a = scale / sqrt(variance + epsilon), c = bias - mean a.  Both are stored in
    float64: variance + epsilon, the root, the quotient, the product and the difference round once each, with relative
    errors below 2^-53 that add up to less than 2^-50 of |a| and of |bias| + |mean| |a|.

    In binary32 a runtime may evaluate the formula as it stands, in any grouping, or make it a x + c first, so no
    cancellation between bias and mean a may be counted on: the magnitude of the constant part is |bias| + |mean| |a|.
    Along every path from a quantity to the result lie at most 10 roundings (variance + epsilon, root, reciprocal,
    times scale, times mean or x, x - mean, sum), which count 10 covers.

    Underflow: no factor is subnormal, for 2^-64 < 1 / sqrt(variance + epsilon) <= 2^30.  Let t be x, mean or x - mean.
    A product of two of t, scale and 1 / sqrt loses at most 2^-126 times the third: |x| + |mean|, |scale|, or 1 / sqrt;
    what is lost of t alone is multiplied by a.  The lemma has |a| and |x| already; 2^-96 of the other three in the
    magnitude covers them, since gamma_12 2^-96 > 2^-117.  Overflow: all partial results but the sum with bias are at
    most (|x| + |mean|) F or |a|, F the largest of 1, 1 / sqrt, |scale| and |a|: the peak is F (1 + |mean|).
    """

    scale: Numbers
    bias: Numbers
    mean: Numbers
    variance: Numbers
    epsilon: float
    onnx: ClassVar[str] = "BatchNormalization"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        if len(x) < 2 or x[1] != self.scale.shape[0]:
            raise ShapeError(f"BatchNormalization of {self.scale.shape[0]} channels does not fit shape {x}")
        return x

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        (x,) = xs
        scale, bias, mean, variance = (alg.constant(c) for c in (self.scale, self.bias, self.mean, self.variance))
        epsilon = alg.constant(np.array(self.epsilon, dtype=self.scale.dtype))
        factor = alg.div(scale, alg.sqrt(alg.add(variance, epsilon)))
        shift = alg.sub(bias, alg.mul(mean, factor))
        columns = (-1, *(1,) * (x.ndim - 2))
        return alg.add(alg.mul(x, factor.reshape(columns)), shift.reshape(columns))

    def lower(self, b: Builder, *xs: Value) -> Value:
        (x,) = xs
        scale, bias, mean, variance = (c.astype(np.float64) for c in (self.scale, self.bias, self.mean, self.variance))
        inverse = 1.0 / np.sqrt(variance + self.epsilon)
        factor = scale / np.sqrt(variance + self.epsilon)
        magnitude = abs(bias) + abs(mean * factor) + 2.0**-96 * (inverse + abs(scale) + abs(mean))
        spread = [_channels(c, x.shape) for c in (factor, bias - mean * factor, magnitude * (1 + 2.0**-50))]
        largest = np.maximum(np.maximum(1.0, inverse), np.maximum(abs(scale), abs(factor)))
        peak = float((largest * (1 + abs(mean))).max(initial=0.0)) * (1 + 2.0**-48)
        return b.affine([(Diagonal(spread[0]), x)], spread[1], x.shape, Rounding(10, 2.0**-50, peak=peak), spread[2])


def _channels(values: Vector, shape: Shape) -> Vector:
    """One value per channel (axis 1), for every element, flat."""
    return np.broadcast_to(values.reshape(-1, *(1,) * (len(shape) - 2)), shape).ravel()


def _mul(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are()
    constant, variable = (0, 1) if isinstance(node.operand(1), Tensor) else (1, 0)
    if isinstance(node.operand(constant), Tensor):
        return node.gives(Multiply(), node.variable(0), node.variable(1))
    return node.gives(Scale(node.required(constant)), node.variable(variable))


def _div(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are()
    if isinstance(node.operand(1), Tensor):
        node.refuse("the divisor depends on the input; it must be constant")
    divisor = node.required(1)
    if (abs(divisor) < np.finfo(divisor.dtype).smallest_normal).any():
        node.refuse("the divisor contains zero or a subnormal number")
    return node.gives(Scale(divisor, divide=True), node.variable(0))


def _neg(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are()
    return node.gives(Neg(), node.variable(0))


def _batch_normalization(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("epsilon", "momentum", "spatial", "training_mode", "is_test")
    if node.integer("training_mode", 0) or not node.integer("spatial", 1):
        node.refuse("only inference with statistics per channel is supported")
    x = node.variable(0)
    scale, bias, mean, variance = (node.required(i) for i in range(1, 5))
    if len(x.shape) < 2 or any(c.shape != (x.shape[1],) for c in (scale, bias, mean, variance)):
        node.malformed(f"its constants do not all have the {x.shape[1:2]} channels of its operand")
    epsilon = node.real("epsilon", float(np.float32(1e-5)))
    total = variance.astype(np.float64) + epsilon
    if (variance < 0).any() or epsilon < 0 or (total < 2.0**-60).any() or (total > 2.0**127).any():
        node.refuse("variance and epsilon must not be negative, and their sum must lie between 2^-60 and 2^127")
    if ((scale != 0) & (abs(scale) < np.finfo(scale.dtype).smallest_normal)).any() or not math.isfinite(epsilon):
        node.refuse("its scale contains a subnormal number")
    return node.gives(BatchNormalization(scale, bias, mean, variance, epsilon), x)


OPS: tuple[type[Op], ...] = (Scale, Neg, BatchNormalization)
IMPORTERS: Mapping[str, Importer] = {
    "Mul": _mul,
    "Div": _div,
    "Neg": _neg,
    "BatchNormalization": _batch_normalization,
}
