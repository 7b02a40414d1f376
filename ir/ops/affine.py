"""Matrix products and sums: the operators that make up summation groups."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from farkas.ir.algebra import Algebra, Array, Numbers
from farkas.ir.core import Rounding
from farkas.ir.error_terms import SMALLEST_NORMAL
from farkas.ir.errors import ShapeError
from farkas.ir.graph import Node
from farkas.ir.linear import Dense, Diagonal, Kronecker, LinearMap, Matrix, identity
from farkas.ir.onnx_node import OnnxNode, Tensor
from farkas.ir.op import Importer, Op, Shape
from farkas.ir.ops.movement import Reshape, Transpose

if TYPE_CHECKING:
    from farkas.ir.lowering import Builder, Value


@dataclass(frozen=True, eq=False)
class Linear:
    """y = alpha x W^T + beta b on the last axis: Gemm, and MatMul with a constant right-hand side.

    weight: (M, K), as multiplied; bias: (M,), broadcastable to the result, or None; alpha and beta: no subnormals.
    """

    weight: Numbers
    bias: Numbers | None
    alpha: float = 1.0
    beta: float = 1.0
    onnx: ClassVar[str] = "Gemm"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        if not x or x[-1] != self.weight.shape[1]:
            raise ShapeError(f"Gemm/MatMul expects {self.weight.shape[1]} features in the last axis, found shape {x}")
        shape = (*x[:-1], int(self.weight.shape[0]))
        if self.bias is not None and broadcast(shape, self.bias.shape) != shape:
            raise ShapeError(f"Gemm's bias of shape {self.bias.shape} does not fit its result of shape {shape}")
        return shape

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        (x,) = xs
        if self.alpha == 1 and (self.bias is None or (self.beta == 1 and self.bias.ndim == 1)):
            return alg.contract(self.weight, x, self.bias)
        total = alg.contract(self.weight, x, None)
        if self.alpha != 1:
            total = alg.mul(alg.constant(_number(self.alpha, self.weight)), total)
        if self.bias is not None:
            total = alg.add(total, alg.mul(alg.constant(_number(self.beta, self.weight)), alg.constant(self.bias)))
        return total

    def lower(self, b: Builder, *xs: Value) -> Value:
        # alpha W and beta b are exact in float64 for float32 constants; else they are within 2^-53 of themselves.
        (x,) = xs
        shape = self.infer(x.shape)
        k = self.weight.shape[1]
        bias = np.zeros(()) if self.bias is None else self.beta * self.bias.astype(np.float64)
        bias = np.broadcast_to(bias, shape)
        matrix: Matrix = self.weight.astype(np.float64)
        magnitude = abs(bias)
        if self.alpha != 1 or self.beta != 1:
            magnitude = (magnitude + 2.0**-96 * (abs(matrix).sum(axis=1) + abs(self.beta))) * (1 + 2.0**-50)
        rows = _rows(matrix if self.alpha == 1 else self.alpha * matrix, x.size // k)
        return b.affine([(rows, x)], bias.ravel(), shape, self._rounding(matrix), magnitude.ravel())

    def _rounding(self, matrix: Matrix) -> Rounding:
        """A runtime may scale the weights, the operand, or sums by alpha, and the bias by beta: one rounding each.

        What underflows before it is scaled: in a sum, alpha magnifies it, which a count multiplied by |alpha| covers
        (docs/semantics.md); alpha x costs up to 2^-126 |w| for each product, a bias read as zero 2^-126 |beta|.  For
        these `lower` adds 2^-96 of the factors to the magnitude, since gamma_3 2^-96 > 2^-119.  What overflows before
        it is scaled: alpha w, alpha x, and sums of w x, all at most max(1, |alpha|) max(1, |w|) (1 + sum |x|).
        """
        count = matrix.shape[1] + (self.bias is not None) + (self.alpha != 1) + (self.beta != 1)
        times = math.ceil(max(1.0, abs(self.alpha)))
        if self.alpha == 1 and self.beta == 1:
            return Rounding(count, is_sum=True)
        relative = 2.0**-52 if self.weight.dtype != np.float32 else 0.0
        peak = 0.0 if self.alpha == 1 else max(1.0, abs(self.alpha)) * max(1.0, float(abs(matrix).max(initial=0.0)))
        return Rounding(count * times, relative, is_sum=True, peak=peak * (1 + 2.0**-50))


@dataclass(frozen=True, eq=False)
class LeftProduct:
    """y = C x on the last axis but one: MatMul with a constant matrix C (M, K) on the left."""

    weight: Numbers
    onnx: ClassVar[str] = "MatMul"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        if len(x) < 2 or x[-2] != self.weight.shape[1]:
            raise ShapeError(f"MatMul of a {self.weight.shape} matrix does not fit a right-hand side of shape {x}")
        return (*x[:-2], int(self.weight.shape[0]), x[-1])

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        (x,) = xs
        return np.swapaxes(alg.contract(self.weight, np.swapaxes(x, -1, -2), None), -1, -2)

    def lower(self, b: Builder, *xs: Value) -> Value:
        (x,) = xs
        shape = self.infer(x.shape)
        k = int(self.weight.shape[1])
        matrix = Kronecker(self.weight.astype(np.float64), math.prod(x.shape[:-2]), x.shape[-1])
        return b.affine([(matrix, x)], np.zeros(math.prod(shape)), shape, Rounding(k, is_sum=True))


@dataclass(frozen=True, eq=False)
class Add:
    """The sum of one or more variable tensors and perhaps a constant, with broadcasting."""

    constant: Numbers | None = None
    onnx: ClassVar[str] = "Add"

    def infer(self, *shapes: Shape) -> Shape:
        return broadcast(*shapes, *(() if self.constant is None else (self.constant.shape,)))

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        total = xs[0]
        for x in xs[1:]:
            total = alg.add(total, x)
        return total if self.constant is None else alg.add(total, alg.constant(self.constant))

    def lower(self, b: Builder, *xs: Value) -> Value:
        shape = self.infer(*(x.shape for x in xs))
        constant = None if self.constant is None else np.broadcast_to(self.constant, shape).ravel().astype(np.float64)
        return b.add(xs, constant, shape)


@dataclass(frozen=True, eq=False)
class Sub:
    """x - y, x - c, or, with `reverse`, c - x; a summation group of its own."""

    constant: Numbers | None = None
    reverse: bool = False
    onnx: ClassVar[str] = "Sub"

    def infer(self, *shapes: Shape) -> Shape:
        return broadcast(*shapes, *(() if self.constant is None else (self.constant.shape,)))

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        if self.constant is None:
            return alg.sub(xs[0], xs[1])
        constant = alg.constant(self.constant)
        return alg.sub(constant, xs[0]) if self.reverse else alg.sub(xs[0], constant)

    def lower(self, b: Builder, *xs: Value) -> Value:
        shape = self.infer(*(x.shape for x in xs))
        size = math.prod(shape)
        spread = [b.rearrange(lambda array: np.broadcast_to(array, shape), [x]) for x in xs]
        signs = [-1.0 if self.reverse else 1.0, -1.0]
        terms = [(signed_identity(size, sign), x) for sign, x in zip(signs, spread, strict=False)]
        bias = np.zeros(size)
        if self.constant is not None:
            bias = -signs[0] * np.broadcast_to(self.constant, shape).ravel().astype(np.float64)
        return b.affine(terms, bias, shape, Rounding(2))


def broadcast(*shapes: Shape) -> Shape:
    """The common shape by NumPy's and ONNX's rule; raises ShapeError."""
    try:
        return tuple(int(n) for n in np.broadcast_shapes(*shapes))
    except ValueError as error:
        raise ShapeError(f"shapes {', '.join(map(str, shapes))} cannot be broadcast together") from error


def signed_identity(size: int, sign: float) -> LinearMap:
    return identity(size) if sign > 0 else Diagonal(np.full(size, sign))


def _rows(matrix: Matrix, copies: int) -> LinearMap:
    return Dense(matrix) if copies == 1 else Kronecker(matrix, copies, 1)


def _number(value: float, like: Numbers) -> Numbers:
    return np.array(value, dtype=like.dtype)


def _matmul(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are()
    if isinstance(node.operand(1), Tensor):
        if isinstance(node.operand(0), Tensor):
            node.refuse("both operands depend on the input; one of them must be constant")
        return _left_matmul(node)
    weight = _matrix(node, node.required(1))
    x = node.variable(0)
    if weight.ndim == 2:
        return node.gives(Linear(weight.T, None), x)
    product = node.before(Linear(weight[None, :], None), "product", x)
    return (product, *node.gives(Reshape(x.shape[:-1]), product.name))


def _left_matmul(node: OnnxNode) -> tuple[Node, ...]:
    weight = _matrix(node, node.required(0))
    x = node.variable(1)
    if len(x.shape) == 1:  # a row times a column: the same product from the other side
        product = node.before(Linear(np.atleast_2d(weight), None), "product", x)
        return (product, *node.gives(Reshape(weight.shape[:-1]), product.name))
    if weight.ndim == 2:
        return node.gives(LeftProduct(weight), x)
    product = node.before(LeftProduct(weight[None, :]), "product", x)
    return (product, *node.gives(Reshape((*x.shape[:-2], x.shape[-1])), product.name))


def _matrix(node: OnnxNode, weight: Numbers) -> Numbers:
    """A constant factor as a matrix or vector; leading axes of length 1 say nothing, longer ones are refused."""
    if weight.ndim == 0:
        node.malformed("a factor of a matrix product is a scalar")
    if weight.ndim > 2:
        node.refuse(f"the constant factor has shape {weight.shape}; a matrix or vector is supported")
    return weight


def _gemm(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("alpha", "beta", "transA", "transB")
    x, weight, bias = node.variable(0), node.required(1), node.weight(2)
    if len(x.shape) != 2 or weight.ndim != 2:
        node.malformed(f"operands of shapes {x.shape} and {weight.shape}; Gemm multiplies two matrices")
    alpha, beta = node.real("alpha", 1.0), node.real("beta", 1.0)
    if any(0 < abs(factor) < SMALLEST_NORMAL for factor in (alpha, beta)):
        node.refuse("its alpha or beta is a subnormal number")
    op = Linear(weight if node.integer("transB", 0) else weight.T, bias, alpha, beta)
    if not node.integer("transA", 0):
        return node.gives(op, x)
    turned = node.before(Transpose((1, 0)), "transposed", x)
    return (turned, *node.gives(op, turned.name))


def _add(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are()
    variables = [operand for operand in node.operands if isinstance(operand, Tensor)]
    constants = [node.required(i) for i, operand in enumerate(node.operands) if not isinstance(operand, Tensor)]
    if len(constants) > 1:
        node.refuse("more than one operand is constant; fold them into one")
    return node.gives(Add(constants[0] if constants else None), *variables)


def _sub(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are()
    left, right = node.operand(0), node.operand(1)
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return node.gives(Sub(), left, right)
    if isinstance(left, Tensor):
        return node.gives(Sub(node.required(1)), left)
    return node.gives(Sub(node.required(0), reverse=True), node.variable(1))


OPS: tuple[type[Op], ...] = (Linear, LeftProduct, Add, Sub)
IMPORTERS: Mapping[str, Importer] = {"MatMul": _matmul, "Gemm": _gemm, "Add": _add, "Sum": _add, "Sub": _sub}
