"""Products of integer matrices with integer vectors, without a rounding and without a scale.

What the kernel needs of a matrix: intervals of rows, combinations of rows, and columns restricted to the neurons that
take part.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from operator import add, mul, sub

from farkas.checker.query import Affine, Matrix

Column = tuple[Sequence[int] | None, Sequence[int]]
"""Positions in the live coefficients (None: all of them) and the weights there."""


def columns_of(matrix: Matrix) -> list[Column]:
    """The matrix by columns: stored rows (None: all) and weights."""
    if matrix.index is None:
        return [(None, column) for column in zip(*matrix.weights, strict=True)] or [(None, ())] * matrix.columns
    rows: list[list[int]] = [[] for _ in range(matrix.columns)]
    weights: list[list[int]] = [[] for _ in range(matrix.columns)]
    for j, (index, values) in enumerate(zip(matrix.index, matrix.weights, strict=True)):
        for i, w in zip(index, values, strict=True):
            rows[i].append(j)
            weights[i].append(w)
    return list(zip(rows, weights, strict=True))


def pack(columns: list[Column], live_rows: list[bool], live_columns: list[bool]) -> list[Column]:
    """The live columns restricted to the live rows, rows renumbered by their position among the live ones."""
    kept = compress(columns, live_columns)
    if all(live_rows):
        return list(kept)
    position: list[int] = []
    for alive in live_rows:
        position.append(position[-1] + alive if position else int(alive))
    packed: list[Column] = []
    for rows, weights in kept:
        if rows is None:
            packed.append((None, list(compress(weights, live_rows))))
        else:
            chosen = [live_rows[j] for j in rows]
            packed.append(([position[j] - 1 for j in compress(rows, chosen)], list(compress(weights, chosen))))
    return packed


def add_products(
    matrix: Matrix,
    absolutes: list[list[int]],
    lower: list[int],
    upper: list[int],
    largest: list[int],
    twice_low: list[int],
    twice_high: list[int],
    magnitude: list[int],
    weight: list[int],
) -> None:
    """Adds one operand: twice the interval of matrix . [lower, upper], |matrix| . largest, row sums of |matrix|."""
    vectors = [list(map(add, lower, upper)), list(map(sub, upper, lower)), largest]
    if not matrix.exact:
        vectors += [[2 * min(0, x) for x in lower], [2 * max(0, x) for x in upper]]
    for j, (weights, absolute) in enumerate(zip(matrix.weights, absolutes, strict=True)):
        at = None if matrix.index is None else matrix.index[j]
        row = vectors if at is None else [list(map(v.__getitem__, at)) for v in vectors]
        middle, spread = sum(map(mul, weights, row[0])), sum(map(mul, absolute, row[1]))
        twice_low[j] += middle - spread
        twice_high[j] += middle + spread
        magnitude[j] += sum(map(mul, absolute, row[2]))
        weight[j] += sum(absolute)
        if not matrix.exact:
            twice_low[j] += sum(row[3])
            twice_high[j] += sum(row[4])
            magnitude[j] += sum(row[2])
            weight[j] += len(absolute)


def exposed_rows(node: Affine, lower: Sequence[list[int]]) -> list[int]:
    """Per row the sum of max(0, -lower) of all that its inexact weights meet; lower: per network node."""
    exposed = [0] * len(node.bias)
    for matrix, a in node.operands:
        negative = [max(0, -x) for x in lower[a]]
        if matrix.exact or not any(negative):
            continue
        if matrix.index is None:
            sums = [sum(negative)] * matrix.rows
        else:
            sums = [sum(map(negative.__getitem__, at)) for at in matrix.index]
        exposed = list(map(add, exposed, sums))
    return exposed


def combine_rows(matrix: Matrix, js: list[int], coefficients: list[int]) -> list[int]:
    """sum over j of coefficient_j row_j, plus the negative coefficients where a weight may exceed its floor."""
    sums = [0] * matrix.columns
    for j, c in zip(js, coefficients, strict=True):
        extra = 0 if matrix.exact else min(0, c)
        weights = matrix.weights[j]
        if matrix.index is None:
            sums = [x + c * w + extra for x, w in zip(sums, weights, strict=True)]
        else:
            for i, w in zip(matrix.index[j], weights, strict=True):
                sums[i] += c * w + extra
    return sums


def add_to(pending: dict[int, list[int]], v: int, coefficients: list[int]) -> None:
    known = pending.get(v)
    pending[v] = coefficients if known is None else list(map(add, known, coefficients))
