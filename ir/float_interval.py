"""BINARY32: intervals that contain every value of a run in one declared accumulation order.

An element is a pair (lo, hi) of binary32 numbers; arrays have a structured type, so that reshaping, transposing,
indexing and concatenating move pairs about as they move numbers.  Nothing is rounded outward: an end is what the run
itself computes, by the same operations in the same order, from ends of the operands.  That is sound, and is as tight
as ends can be for one operation, because rounding to nearest is monotone:

  - a + b, a - b, max, min and the square root are monotone in each operand over the reals, and so are their roundings;
  - a b and a / b (0 not in b) take their extremes over a box at its corners, so rounded ones at the rounded corners;
  - fma(w, x, acc) for a constant w grows with acc, and with x in the direction of the sign of w.  By induction over
    the steps of a sum, its least value in the declared order is that of the one input which has lo_k where w_k > 0 and
    hi_k where w_k < 0.  Both are products here, w_k = max(w_k, 0) + min(w_k, 0), of which the one with the factor 0
    adds 0 to the accumulator, without a rounding.

The claim is about that order only; another order may leave the interval by its rounding errors.  What is not bounded
by two finite numbers (overflow, a divisor that may be 0, a root that may be negative, NaN) becomes the pair (NaN, NaN):
nothing is claimed about it, not even that it is a number, and so on for all that depends on it.  Infinite ends are
no substitute: min(max(x, 0), 1) would have the ends 0 and 1, and be NaN for x = NaN.

Both zeros are one value, as in farkas.ir.binary32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from farkas.ir.algebra import Array, Numbers
from farkas.ir.binary32 import BLOCK, Binary32, Float32, Order, fma, parse_order
from farkas.ir.execute import execute
from farkas.ir.graph import Graph

PAIR32 = np.dtype([("lo", "f4"), ("hi", "f4")])


def pairs(lo: Any, hi: Any) -> Array:
    """Intervals with the given binary32 ends; (NaN, NaN) where an end is not finite."""
    low, high = np.broadcast_arrays(np.asarray(lo, dtype=np.float32), np.asarray(hi, dtype=np.float32))
    known = np.isfinite(low) & np.isfinite(high)
    out = np.empty(low.shape, dtype=PAIR32)
    out["lo"] = np.where(known, low, np.float32(np.nan))
    out["hi"] = np.where(known, high, np.float32(np.nan))
    return out


def float_bounds(graph: Graph, lower: Float32, upper: Float32, order: str) -> tuple[Float32, Float32]:
    """Least and greatest output (m,) found for the binary32 points of a box (n,), in one order; NaN: not bounded.

    Raises UnsupportedOperator where `execute` does: for sums that the order does not define, and networks without
    binary32 runs.
    """
    execute(graph, lower, order)  # a run that the order does not define has no bounds either
    (name, shape), *_ = graph.inputs
    values = graph.evaluate(FloatIntervals(parse_order(order)), {name: pairs(lower, upper).reshape(shape)})
    out = values[graph.outputs[0]].ravel()
    return out["lo"], out["hi"]


@dataclass(frozen=True)
class FloatIntervals:
    """Arithmetic on arrays of binary32 intervals under one accumulation order."""

    order: Order

    def __post_init__(self) -> None:
        parse_order(self.order)

    def constant(self, values: Numbers) -> Array:
        """Point intervals; raises UnsupportedOperator for a value that binary32 has not."""
        exact = Binary32(self.order).constant(values)
        return pairs(exact, exact)

    def add(self, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return pairs(a["lo"] + b["lo"], a["hi"] + b["hi"])

    def sub(self, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return pairs(a["lo"] - b["hi"], a["hi"] - b["lo"])

    def mul(self, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return _hull([x * y for x in (a["lo"], a["hi"]) for y in (b["lo"], b["hi"])])

    def div(self, a: Array, b: Array) -> Array:
        """Quotients; unknown where the divisor may be 0."""
        with np.errstate(all="ignore"):
            hull = _hull([np.divide(x, y) for x in (a["lo"], a["hi"]) for y in (b["lo"], b["hi"])])
            unknown = (b["lo"] <= 0) & (b["hi"] >= 0)
            return pairs(np.where(unknown, np.float32(np.nan), hull["lo"]), hull["hi"])

    def fma(self, a: Array, b: Array, c: Array) -> Array:
        """a b + c, rounded once; any intervals."""
        corners = [(x, y) for x in (a["lo"], a["hi"]) for y in (b["lo"], b["hi"])]
        with np.errstate(all="ignore"):
            low = np.minimum.reduce(np.broadcast_arrays(*(fma(x, y, c["lo"]) for x, y in corners)))
            high = np.maximum.reduce(np.broadcast_arrays(*(fma(x, y, c["hi"]) for x, y in corners)))
        return pairs(low, high)

    def neg(self, a: Array) -> Array:
        return pairs(-a["hi"], -a["lo"])

    def maximum(self, a: Array, b: Array) -> Array:
        return pairs(np.maximum(a["lo"], b["lo"]), np.maximum(a["hi"], b["hi"]))

    def minimum(self, a: Array, b: Array) -> Array:
        return pairs(np.minimum(a["lo"], b["lo"]), np.minimum(a["hi"], b["hi"]))

    def absolute(self, a: Array) -> Array:
        lowest = np.maximum(np.maximum(a["lo"], -a["hi"]), np.float32(0))
        return pairs(lowest, np.maximum(-a["lo"], a["hi"]))

    def sqrt(self, a: Array) -> Array:
        """Square roots; unknown where the operand may be negative."""
        with np.errstate(all="ignore"):
            return pairs(np.sqrt(a["lo"]), np.sqrt(a["hi"]))

    def contract(self, weight: Numbers, x: Array, bias: Numbers | None) -> Array:
        """Sums of products in the declared order: weight (M, K), x (..., K), bias (M,) or None -> (..., M)."""
        alg = Binary32(self.order)
        rows, length = weight.shape
        known = alg.constant(weight)
        signed = np.stack([np.maximum(known, 0), np.minimum(known, 0)], axis=-1).astype(np.float32)
        flat = x.reshape(-1, length)
        ends = np.stack([np.stack([flat["lo"], flat["hi"]], axis=-1), np.stack([flat["hi"], flat["lo"]], axis=-1)])
        low, high = _sums(alg, signed, ends, None if bias is None else alg.constant(np.asarray(bias)))
        return pairs(low, high).reshape(*x.shape[:-1], rows)


def _sums(alg: Binary32, weight: Float32, x: Float32, bias: Float32 | None) -> Float32:
    """weight (M, K, 2), x (2, B, K, 2) -> (2, B, M): each product as two, in the order of the K products."""
    rows, length = weight.shape[0], weight.shape[1]
    shape = (*x.shape[:2], -1)
    if alg.order != "mlas-k256-fma":
        total: Float32 = alg.contract(weight.reshape(rows, -1), x.reshape(shape), bias)
        return total
    y = np.zeros((*x.shape[:2], rows), dtype=np.float32)
    y = y if bias is None else alg.add(y, bias)
    block_sum = Binary32("seq-fma")
    for k in range(0, length, BLOCK):
        part = slice(k, k + BLOCK)
        y = alg.add(y, block_sum.contract(weight[:, part].reshape(rows, -1), x[:, :, part].reshape(shape), None))
    return y


def _hull(ends: Sequence[Any]) -> Array:
    """Interval of the candidates' extremes; unknown where one is NaN."""
    return pairs(np.minimum.reduce(np.broadcast_arrays(*ends)), np.maximum.reduce(np.broadcast_arrays(*ends)))
