"""Affine nodes made ready for exact products in float64: weights as dense arrays of limbs, and what bounds them.

`Unsupported` means that a network does not fit: too large to be stored densely, or with numbers so large that no width
of limbs is left.  Such a network is checked by the reference kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from farkas.checker.kernel import UNDERFLOW
from farkas.checker.query import Affine, Matrix, P
from farkas.checker_fast.limbs import Budget, Floats, Ints, Term, split

MAX_ENTRIES = 1 << 24
MIN_BASE = 4


class Unsupported(Exception):
    """The network does not fit this kernel."""


@dataclass(frozen=True)
class Operand:
    """One matrix of an affine node, and the node that it reads.

    weights: (rows, columns) integers at 2^-P.  limbs: terms of them, every limb with the sign of its weight.
    pattern: 1 where a weight is stored, None when all are or when the matrix is exact.  Bounds over all rows or
    columns: column_gain, row_gain of sum |limb| of any limb; column_total, row_total of sum |weight|.
    """

    source: int
    exact: bool
    weights: Floats
    limbs: tuple[Term, ...]
    pattern: Floats | None
    column_gain: int
    row_gain: int
    column_total: float
    row_total: float

    def packed(self, rows: Ints | None, columns: Ints | None) -> Operand:
        """The same matrix restricted to rows and columns (None: all)."""
        if rows is None and columns is None:
            return self
        pattern = None if self.pattern is None else take(take(self.pattern, rows, 0), columns, 1)
        limbs = tuple((e, take(take(limb, rows, 0), columns, 1)) for e, limb in self.limbs)
        return replace(self, limbs=limbs, pattern=pattern, weights=take(self.weights, columns, 1))

    def missing(self, x: Floats) -> Floats:
        """x: (B, columns).  sum of x over the stored weights of each row: (B, rows), or (B, 1) when all are stored."""
        sums: Floats = x.sum(axis=1, keepdims=True) if self.pattern is None else x @ self.pattern.T
        return sums


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


def take(x: Floats, index: Ints | None, axis: int) -> Floats:
    """The entries of x at index along an axis; None: all."""
    return x if index is None else np.take(x, index, axis=axis)


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
    most = max((sum(1 + abs(w) for w in row) for matrix, _ in node.operands for row in matrix.weights), default=0)
    if 4 * (node.count + 2) * ((1 << P) + most * len(node.operands) + reach) >= UNDERFLOW:
        raise Unsupported("the error lemma's obligations are not obvious")


def _vector(numbers: Sequence[int], budget: Budget) -> Floats:
    if max(map(abs, numbers)) >= budget.coefficient:
        raise Unsupported("a constant is too large")
    return np.array(numbers, dtype=np.float64)


def _operand(matrix: Matrix, source: int, budget: Budget) -> Operand:
    if matrix.rows * matrix.columns > MAX_ENTRIES:
        raise Unsupported("a matrix is too large to be stored densely")
    weights = np.zeros((matrix.rows, matrix.columns))
    pattern = None
    if max((abs(w) for row in matrix.weights for w in row), default=0) >= budget.value:
        raise Unsupported("a weight is too large")
    if matrix.index is None:
        weights[...] = matrix.weights
    else:
        pattern = np.zeros_like(weights)
        for j, (index, values) in enumerate(zip(matrix.index, matrix.weights, strict=True)):
            np.add.at(weights[j], list(index), values)
            np.add.at(pattern[j], list(index), 1.0)
        if pattern.max(initial=0.0) > 1.0:
            raise Unsupported("a row stores a column twice")
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


def _gain(x: Floats, axis: int) -> int:
    """An upper bound of the largest sum |x| along the axis; sums below 2^53 are exact, others are off by 2^-40."""
    return int(np.abs(x).sum(axis=axis).max() * (1 + 2.0**-30)) + 1


def _weight_limbs(weights: Floats, budget: Budget) -> tuple[Term, ...]:
    """One to four limbs, as many as make products cheapest: limbs of weights times limbs of 45-bit coefficients."""
    best: tuple[float, tuple[Term, ...]] | None = None
    bits = int(np.abs(weights).max()).bit_length()
    for count in range(1, 5):
        base = max(1, -(-bits // count))
        limbs = tuple((base * k, limb) for k, limb in enumerate(split(weights, base, count)))
        gain = max(_gain(limb, axis) for _, limb in limbs for axis in (0, 1)) + max(weights.shape)
        room = budget.room(gain, count)
        if room >= MIN_BASE:
            cost = count * -(-45 // room)
            if best is None or cost < best[0]:
                best = cost, limbs
    if best is None:
        raise Unsupported("weights too large for limbs")
    return best[1]


def _bias_limbs(bias: Floats, gain: int) -> tuple[Term, ...]:
    """Limbs of the bias, each with sum |limb| <= gain if possible."""
    bits = int(np.abs(bias).max()).bit_length()
    base = max(4, gain.bit_length() - len(bias).bit_length() - 1)
    count = max(1, -(-bits // base))
    return tuple((base * k, limb[:, None]) for k, limb in enumerate(split(bias, base, count)))
