"""Outward-rounded intervals: a network's operators over the reals, enclosed in float64.

An element is a pair (lo, hi) with lo <= value <= hi; arrays have a structured type, so that reshaping, transposing,
indexing and concatenating move pairs about as they move numbers.  NumPy rounds each operation to nearest, so the exact
result lies within one step of the rounded one: lower ends step down and upper ends step up (the processor's rounding
modes are not touched: BLAS threads do not inherit them).  Matrix products take the a-priori bound for any order of
summation instead (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1).  What is undefined for a
float (inf - inf, 0 inf) becomes the whole line.

This gives `Op.denote` an enclosure, for tests and for single boxes; bounds of whole searches are farkas.runtime_cuda's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from farkas.ir.algebra import Array, Numbers
from farkas.ir.errors import UnsupportedOperator

PAIR = np.dtype([("lo", "f8"), ("hi", "f8")])
Float64 = npt.NDArray[np.float64]
_TINY = 2.0**-1000  # above what 2^40 products lose to underflow: 2^-1074 each


def enclose(lo: Any, hi: Any) -> Array:
    """Intervals with the given ends, which are rounded outward already; NaN means unbounded."""
    low, high = np.broadcast_arrays(np.asarray(lo, dtype=np.float64), np.asarray(hi, dtype=np.float64))
    out = np.empty(low.shape, dtype=PAIR)
    out["lo"] = np.where(np.isnan(low), -np.inf, low)
    out["hi"] = np.where(np.isnan(high), np.inf, high)
    return out


class Interval:
    """REAL: arithmetic on arrays of intervals; every result contains all exact results of its operands' elements."""

    def constant(self, values: Numbers) -> Array:
        return enclose(values, values)

    def add(self, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return _stepped(a["lo"] + b["lo"], a["hi"] + b["hi"])

    def sub(self, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return _stepped(a["lo"] - b["hi"], a["hi"] - b["lo"])

    def mul(self, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return _hull([x * y for x in (a["lo"], a["hi"]) for y in (b["lo"], b["hi"])])

    def div(self, a: Array, b: Array) -> Array:
        """Quotients; the whole line where the divisor may be 0."""
        with np.errstate(all="ignore"):
            ends = [x / y for x in (a["lo"], a["hi"]) for y in (b["lo"], b["hi"])]
            split = (b["lo"] <= 0) & (b["hi"] >= 0)
            return _hull([np.where(split, np.nan, end) for end in ends])

    def neg(self, a: Array) -> Array:
        return enclose(-a["hi"], -a["lo"])

    def maximum(self, a: Array, b: Array) -> Array:
        return enclose(np.maximum(a["lo"], b["lo"]), np.maximum(a["hi"], b["hi"]))

    def minimum(self, a: Array, b: Array) -> Array:
        return enclose(np.minimum(a["lo"], b["lo"]), np.minimum(a["hi"], b["hi"]))

    def absolute(self, a: Array) -> Array:
        lowest = np.maximum(np.maximum(a["lo"], -a["hi"]), 0.0)
        return enclose(lowest, np.maximum(-a["lo"], a["hi"]))

    def sqrt(self, a: Array) -> Array:
        """Square roots; raises UnsupportedOperator where an interval reaches below 0."""
        if (a["lo"] < 0).any():
            raise UnsupportedOperator("the square root of an interval that reaches below 0 is undefined")
        stepped = _stepped(np.sqrt(a["lo"]), np.sqrt(a["hi"]))
        return enclose(np.maximum(stepped["lo"], 0.0), stepped["hi"])

    def contract(self, weight: Numbers, x: Array, bias: Numbers | None) -> Array:
        """Sums of products: weight (M, K), x (..., K), bias (M,) or None -> (..., M).

        Any order, with or without fma: 2K products and sums err by at most gamma_{2K+1} of the magnitude, whose own
        computation errs as much again; the factor 4K + 16 covers both for K below 2^40.
        """
        w = np.asarray(weight, dtype=np.float64)
        positive, negative = np.maximum(w, 0.0).T, np.minimum(w, 0.0).T
        with np.errstate(all="ignore"):
            low = x["lo"] @ positive + x["hi"] @ negative
            high = x["hi"] @ positive + x["lo"] @ negative
            magnitude = np.maximum(abs(x["lo"]), abs(x["hi"])) @ abs(w).T
            pad = magnitude * ((4 * w.shape[1] + 16) * 2.0**-53) + _TINY
            total = _stepped(low - pad, high + pad)
        return total if bias is None else self.add(total, self.constant(np.asarray(bias)))


def _stepped(lo: Float64, hi: Float64) -> Array:
    """Rounded ends moved outward by one float64 number, which is at least the rounding error."""
    return enclose(np.nextafter(lo, -np.inf), np.nextafter(hi, np.inf))


def _hull(ends: list[Float64]) -> Array:
    """Interval of the candidates' extremes; the whole line where one is NaN."""
    return _stepped(np.minimum.reduce(np.broadcast_arrays(*ends)), np.maximum.reduce(np.broadcast_arrays(*ends)))
