"""Affine nodes made ready for exact products in float64: weights as limbs, and what bounds the products.

`Unsupported` means that a network does not fit: matrices too large, or numbers so large that no width of limbs is left.
Such a network is checked by the reference kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from farkas.checker.kernel import UNDERFLOW
from farkas.checker.query import Affine, Matrix, P
from farkas.checker_fast.limbs import Budget, Floats, Ints, Term, split
from farkas.checker_fast.matrices import (
    Unsupported,
    Weights,
    apply,
    by_rows,
    check_size,
    largest,
    restricted,
    split_weights,
    sums,
    take,
    times_transposed,
)

MIN_BASE = 4


@dataclass(frozen=True)
class Operand:
    """One matrix of an affine node, and the node that it reads.

    weights: (rows, columns) integers at 2^-P.  limbs: terms of them, every limb with the sign of its weight.
    pattern: 1 where a weight is stored, None when all are or when the matrix is exact.  Bounds over all rows or
    columns: column_gain, row_gain of sum |limb| of any limb; column_total, row_total of sum |weight|.
    """

    source: int
    exact: bool
    weights: Weights
    limbs: tuple[tuple[int, Weights], ...]
    pattern: Weights | None
    column_gain: int
    row_gain: int
    column_total: float
    row_total: float

    def packed(self, rows: Ints | None, columns: Ints | None) -> Operand:
        """The same matrix restricted to rows and columns (None: all)."""
        if rows is None and columns is None:
            return self
        return replace(
            self,
            weights=restricted(self.weights, rows, columns),
            limbs=tuple((e, restricted(limb, rows, columns)) for e, limb in self.limbs),
            pattern=None if self.pattern is None else restricted(self.pattern, rows, columns),
        )

    def missing(self, x: Floats) -> Floats:
        """x: (B, columns).  sum of x over the stored weights of each row: (B, rows), or (B, 1) when all are stored."""
        if self.pattern is not None:
            return times_transposed(x, self.pattern)
        total: Floats = x.sum(axis=1, keepdims=True)
        return total


@dataclass(frozen=True)
class Layer:
    """An affine node.

    bias (rows,): integers at 2^-P; bias_limbs: (exponent, (rows, 1)) terms of it; bias_total: sum |bias|.
    back, forward: the width of coefficient and of bound limbs.  errors: whether its rounding errors count.
    """

    node: Affine
    operands: tuple[Operand, ...]
    bias: Floats
    magnitude: Floats
    bias_limbs: tuple[Term, ...]
    bias_total: float
    back: int
    forward: int
    errors: bool

    def packed(self, rows: Ints | None, columns: Sequence[Ints | None]) -> Layer:
        """Restricted to the rows, and per operand to the columns, for backward products only."""
        if rows is None and all(c is None for c in columns):
            return self
        operands = tuple(o.packed(rows, c) for o, c in zip(self.operands, columns, strict=True))
        limbs = tuple((e, take(limb, rows, 0)) for e, limb in self.bias_limbs)
        return replace(self, operands=operands, bias_limbs=limbs)


def layer(node: Affine, rounded: bool, budget: Budget) -> Layer:
    """The affine node made ready.  Raises Unsupported."""
    errors = rounded and node.count > 0
    if errors:
        _check_obligations(node)
    if not node.bias or any(matrix.columns == 0 for matrix, _ in node.operands) or not node.operands:
        raise Unsupported("an affine node without rows or columns")
    operands = tuple(_operand(matrix, source, budget) for matrix, source in node.operands)
    bias, magnitude = _vector(node.bias, budget), _vector(node.magnitude, budget)
    gain = max(o.column_gain for o in operands)
    bias_limbs = _bias_limbs(bias, max(gain, 1 << P))
    bias_gain = max(int(np.abs(limb).sum()) for _, limb in bias_limbs)
    parts = max(len(o.limbs) for o in operands)
    back = min(40, budget.room(max(gain, bias_gain), parts))
    forward = min(40, budget.room(sum(o.row_gain for o in operands), parts))
    if min(back, forward) < MIN_BASE:
        raise Unsupported("weights too large for limbs")
    total = float(sum(map(abs, node.bias)))
    return Layer(node, operands, bias, magnitude, bias_limbs, total, back, forward, errors)


def _check_obligations(node: Affine) -> None:
    """That the obligations of the error lemma hold whenever bounds are below 2^60; overflow is then far away."""
    reach = sum(matrix.columns for matrix, _ in node.operands) << 60
    rows = [row for matrix, _ in node.operands for row in _distinct(matrix)]
    most = max((len(row) + sum(map(abs, row)) for row in rows), default=0)
    if 4 * (node.count + 2) * ((1 << P) + most * len(node.operands) + reach) >= UNDERFLOW:
        raise Unsupported("the error lemma's obligations are not obvious")


def _distinct(matrix: Matrix) -> Iterable[Sequence[int]]:
    """The rows of weights; of those that are one object, as in a convolution, only one."""
    return {id(row): row for row in matrix.weights}.values()


def _vector(numbers: Sequence[int], budget: Budget) -> Floats:
    if max(map(abs, numbers)) >= budget.coefficient:
        raise Unsupported("a constant is too large")
    return np.array(numbers, dtype=np.float64)


def _operand(matrix: Matrix, source: int, budget: Budget) -> Operand:
    if max((max(map(abs, row)) for row in _distinct(matrix) if row), default=0) >= budget.value:
        raise Unsupported("a weight is too large")
    pattern: Weights | None = None
    if matrix.index is None:
        check_size(matrix.rows * matrix.columns)
        weights: Weights = np.array(matrix.weights, dtype=np.float64).reshape(matrix.rows, matrix.columns)
    else:
        weights, pattern = by_rows((matrix.rows, matrix.columns), matrix.index, matrix.weights)
    limbs = _weight_limbs(weights, budget)
    return Operand(
        source,
        matrix.exact,
        weights,
        limbs,
        None if matrix.exact else pattern,
        max(_gain(limb, 0) for _, limb in limbs) + matrix.rows,
        max(_gain(limb, 1) for _, limb in limbs) + matrix.columns,
        float(_gain(weights, 0) + matrix.rows),
        float(_gain(weights, 1) + matrix.columns),
    )


def _gain(x: Weights, axis: int) -> int:
    """An upper bound of the largest sum |x| along the axis; sums below 2^53 are exact, others are off by 2^-40."""
    return int(sums(apply(np.abs, x), axis).max() * (1 + 2.0**-30)) + 1


def _weight_limbs(weights: Weights, budget: Budget) -> tuple[tuple[int, Weights], ...]:
    """One to four limbs, as many as make products cheapest: limbs of weights times limbs of 45-bit coefficients."""
    best: tuple[float, tuple[tuple[int, Weights], ...]] | None = None
    bits = int(largest(weights)).bit_length()
    for count in range(1, 5):
        base = max(1, -(-bits // count))
        limbs = tuple((base * k, limb) for k, limb in enumerate(split_weights(weights, base, count)))
        gain = max(_gain(limb, axis) for _, limb in limbs for axis in (0, 1)) + max(weights.shape)
        room = budget.room(gain, count)
        if room >= MIN_BASE:
            cost = count * -(-45 // room)
            if best is None or cost < best[0]:
                best = cost, limbs
            if cost == count * 2:
                break  # more limbs of weights are no cheaper
    if best is None:
        raise Unsupported("weights too large for limbs")
    return best[1]


def _bias_limbs(bias: Floats, gain: int) -> tuple[Term, ...]:
    """Limbs of the bias, each with sum |limb| <= gain if possible."""
    bits = int(np.abs(bias).max()).bit_length()
    base = max(4, gain.bit_length() - len(bias).bit_length() - 1)
    count = max(1, -(-bits // base))
    return tuple((base * k, limb[:, None]) for k, limb in enumerate(split(bias, base, count)))
