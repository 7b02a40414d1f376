"""Sums, products with constants, matrix products: what summation groups are made of."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from farkas.checker.builder import (
    SMALLEST_NORMAL,
    Builder,
    Handler,
    Tensor,
    bias_of,
    broadcast,
    constant_at,
    operands_of,
    spread,
    variable_at,
)
from farkas.checker.steps import Product, Row, Scale, Sum, View


def _add(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    return [_sum(b, inputs, minus=False)]


def _sums(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    """Several Adds, from the left; each takes over the one before."""
    total, *rest = operands_of(b, inputs, 2, len(inputs))
    for x in rest:
        total = _sum(b, [total, x], minus=False)
    return [total]


def _sub(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    return [_sum(b, inputs, minus=True)]


def _sum(b: Builder, inputs: list[Tensor | None], *, minus: bool) -> Tensor:
    left, right = operands = operands_of(b, inputs, 2)
    shape = broadcast(b, left.shape, right.shape)
    if all(t.dtype is not None for t in operands) or any(t.dtype is int for t in operands):
        b.fail("must add float32 values, one of which depends on the network's input")
    sides: list[View | Sequence[float]] = []
    for t in operands:
        elements = spread(t, shape)
        sides.append(elements if t.dtype is float else b.view(Tensor(shape, elements, None)))
    return b.append(Sum(sides[0], sides[1], minus, prod(shape)), shape)


def _mul(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    left, right = operands_of(b, inputs, 2)
    if left.dtype is not None:
        left, right = right, left
    return [_scale(b, variable_at(b, [left]), constant_at(b, [right], 0, float), divide=False)]


def _div(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    left, right = operands_of(b, inputs, 2)
    divisor = constant_at(b, [left, right], 1, float)
    if any(abs(c) < SMALLEST_NORMAL for c in divisor.elements):
        b.fail("divides by zero or by a subnormal number")
    return [_scale(b, variable_at(b, [left]), divisor, divide=True)]


def _scale(b: Builder, x: Tensor, factor: Tensor, *, divide: bool) -> Tensor:
    shape = broadcast(b, x.shape, factor.shape)
    view = b.view(Tensor(shape, spread(x, shape), None))
    return b.append(Scale(view, spread(factor, shape), divide, False), shape)


def _neg(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    x = variable_at(b, operands_of(b, inputs, 1))
    return [b.append(Scale(b.view(x), [-1.0] * len(x.elements), False, True), x.shape)]


def _gemm(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    operands_of(b, inputs[:2], 2)
    x, weights = variable_at(b, inputs), constant_at(b, inputs, 1, float)
    if attributes.pop("alpha", 1.0) != 1.0 or attributes.pop("beta", 1.0) != 1.0 or attributes.pop("transA", 0):
        b.fail("alpha and beta other than 1, and transA, are not supported")
    transposed = attributes.pop("transB", 0) != 0
    if len(x.shape) != 2 or len(weights.shape) != 2 or x.shape[1] != weights.shape[1 if transposed else 0]:
        b.fail(f"shapes {x.shape} and {weights.shape} do not fit")
    (m, k), n = x.shape, weights.shape[0 if transposed else 1]
    b.sized((m, n))
    columns = _columns(weights.elements, k, n, transposed)
    rows: list[Row] = [(range(i * k, (i + 1) * k), column) for i in range(m) for column in columns]
    return [b.append(Product(b.view(x, distinct=True), rows, bias_of(b, inputs, (m, n)), k), (m, n))]


def _columns(elements: Sequence[float], k: int, n: int, transposed: bool) -> list[Sequence[float]]:
    """The n weight vectors of length k of a k x n matrix (transposed: stored as n x k)."""
    return [elements[j * k : (j + 1) * k] if transposed else elements[j::n] for j in range(n)]


def _matmul(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    """x @ W with W of rank 1 or 2, or W @ x; the other operand may have any rank."""
    left, right = operands_of(b, inputs, 2)
    flipped = left.dtype is not None
    x = variable_at(b, [right if flipped else left])
    w = constant_at(b, [left if flipped else right], 0, float)
    if len(w.shape) not in (1, 2) or not x.shape:
        b.fail(f"shapes {left.shape} and {right.shape} are not supported")
    if flipped:
        m, k = w.shape if len(w.shape) == 2 else (1, w.shape[0])
        *batch, inner, n = x.shape if len(x.shape) > 1 else (*x.shape, 1)
        shape = b.sized((*batch, *w.shape[:-1], *((n,) if len(x.shape) > 1 else ())))
        vectors = [w.elements[j * k : (j + 1) * k] for j in range(m)]
        blocks = [range(p * k * n, (p + 1) * k * n) for p in range(prod(batch))]
        rows: list[Row] = [(block[i::n], v) for block in blocks for v in vectors for i in range(n)]
    else:
        k, n = w.shape if len(w.shape) == 2 else (w.shape[0], 1)
        *batch, inner = x.shape
        shape = b.sized((*batch, *w.shape[1:]))
        vectors = _columns(w.elements, k, n, False)
        rows = [(range(p * k, (p + 1) * k), v) for p in range(prod(batch)) for v in vectors]
    if inner != k:
        b.fail(f"shapes {left.shape} and {right.shape} do not fit")
    return [b.append(Product(b.view(x, distinct=True), rows, None, k), shape)]


HANDLERS: dict[str, Handler] = {
    "Add": _add,
    "Div": _div,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Mul": _mul,
    "Neg": _neg,
    "Sub": _sub,
    "Sum": _sums,
}
