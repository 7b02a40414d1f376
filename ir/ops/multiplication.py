"""Products of two tensors that both depend on the input: the one operator that is no piecewise linear function.

Over the reals a product is the core operator Product, without error.  In binary32 it rounds once, and subnormal
operands and results may be read as zero (docs/semantics.md): with u = 2^-24,

    |fl(a b) - a b| <= u |a b| + 2^-126 (1 + |a| + |b|)

An operand that is lost costs up to 2^-126 times the *other* operand, of which the bound of a summation group over a b
alone knows nothing.  So the group has a and b as addends as well, twice each and with weights that cancel, 2^-60 and
-2^-60: its magnitude is |a b| + 2^-59 (|a| + |b|), and gamma_7 2^-59 is far more than 2^-126.  Over the reals these
addends are nothing at all, and what they add to bounds is 2^-59 of a value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from farkas.ir.algebra import Algebra, Array
from farkas.ir.core import Rounding
from farkas.ir.linear import Diagonal, LinearMap
from farkas.ir.op import Op, Shape
from farkas.ir.ops.affine import broadcast

if TYPE_CHECKING:
    from farkas.ir.lowering import Builder, Value

LOST = 2.0**-60


@dataclass(frozen=True)
class Multiply:
    """x * y, elementwise and broadcast."""

    onnx: ClassVar[str] = "Mul"

    def infer(self, *shapes: Shape) -> Shape:
        return broadcast(*shapes)

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        return alg.mul(xs[0], xs[1])

    def lower(self, b: Builder, *xs: Value) -> Value:
        shape = self.infer(xs[0].shape, xs[1].shape)
        size = math.prod(shape)
        left, right = (b.rearrange(lambda array: np.broadcast_to(array, shape), [x]) for x in xs)
        terms: list[tuple[LinearMap, Value]] = [(Diagonal(np.ones(size)), b.multiply(left, right))]
        terms += [(Diagonal(np.full(size, weight)), x) for x in (left, right) for weight in (LOST, -LOST)]
        return b.affine(terms, np.zeros(size), shape, Rounding(5))


OPS: tuple[type[Op], ...] = (Multiply,)
