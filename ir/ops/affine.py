"""Fully connected layers, sums and scalings by constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from farkas.ir.algebra import Algebra, Array, Numbers
from farkas.ir.core import Rounding
from farkas.ir.errors import ShapeError
from farkas.ir.linear import Dense
from farkas.ir.op import Shape

if TYPE_CHECKING:
    from farkas.ir.lowering import Builder, Value


@dataclass(frozen=True, eq=False)
class Linear:
    """y = x W^T + b on the last axis: Gemm, and MatMul with a constant right-hand side.

    weight: (M, K), as multiplied; bias: (M,) or None.  Leading axes of x must have product 1 to lower densely.
    """

    weight: Numbers
    bias: Numbers | None
    onnx: ClassVar[str] = "Gemm"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        if not x or x[-1] != self.weight.shape[1]:
            raise ShapeError(f"Gemm/MatMul expects {self.weight.shape[1]} features in the last axis, found shape {x}")
        return (*x[:-1], int(self.weight.shape[0]))

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        (x,) = xs
        return alg.contract(self.weight, x, self.bias)

    def lower(self, b: Builder, *xs: Value) -> Value:
        (x,) = xs
        m, k = self.weight.shape
        copies = x.size // k
        matrix = np.kron(np.eye(copies), self.weight.astype(np.float64))
        bias = np.zeros(m) if self.bias is None else self.bias.astype(np.float64)
        rounding = Rounding(k + (self.bias is not None), is_sum=True)
        return b.affine([(Dense(matrix), x)], np.tile(bias, copies), self.infer(x.shape), rounding)
