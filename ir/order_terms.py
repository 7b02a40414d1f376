"""BINARY32 in one declared order: how far a summation group's float value may be from its real value.

The any-order terms (error_terms.py) charge gamma_{n+2} of the sum of magnitudes: n roundings, each as large as the
largest partial sum that some order may have.  Where the order is declared, the partial sums are known: acc_k is within
its own error of the exact prefix sum S_k = sum of w_j a_j for j <= k, and S_k lies in the interval sum of the operands'
bounds.  A rounding to nearest of a number of magnitude at most V is off by at most half a unit in the last place of V,

    h(V) = max(2^-24 2^floor(log2 V), 2^-150),

so that  E_k = E_{k-1} + h(max |S_k| + E_{k-1})  for an fma, and with h(|w_k a_k|) added first for a multiplication that
is rounded by itself.  A step that adds 0, and the first step onto an empty accumulator, round nothing (but a product).
On ACAS Xu and MNIST networks the outputs' bounds lose 11 to 23 times less than with the any-order terms (whole boxes of
properties, November 2026, benchmarks/orders.py), and still some 10 to 100 times what random points show.

`OrderError` is an algebra (farkas.ir.algebra), so a group is evaluated by the very text, `denote`, that also makes the
declared run: MatMul and Add one after the other, the bias where the order has it.  An element is (lo, hi, err): the
run's value lies in [lo, hi], and within err of the real value that the same operators give on the same operands, whose
own elements have err 0.  A group of the core program may be several operators (a MatMul and its Adds); its error is
that of the last one, evaluated on the elements of those it took over.  For every other node there is none here, and
its any-order term holds for each order.

Rounding, in float64: prefix sums of at most K products are off by less than (2 K + 16) 2^-53 of the sum of magnitudes,
the `slack` that widens every V; what is lost in adding up nonnegative errors, at most (2 K + 8) 2^-53 of them, is made
up by PAD below.  h is monotone, so V rounded up is sound.  An execution may overflow where a V exceeds the largest
binary32 number: err is then infinite, and the interval the whole line.

Bounds of the form u ufp: Rump, Error estimation of floating-point summation and dot product, BIT 2012.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from farkas.ir.algebra import Array, Numbers
from farkas.ir.binary32 import BLOCK, Binary32, Order, parse_order
from farkas.ir.core import Affine
from farkas.ir.error_terms import OVERFLOW
from farkas.ir.errors import UnsupportedOperator
from farkas.ir.execute import is_plain_product
from farkas.ir.graph import Graph, Node
from farkas.ir.lowering import Builder, Value, build
from farkas.ir.ops.affine import Add, LeftProduct, Linear
from farkas.ir.ops.convolution import Conv, ConvTranspose
from farkas.ir.ops.movement import Expand, Gather, Reshape, Slice, Transpose

Float64 = npt.NDArray[np.float64]
TERM = np.dtype([("lo", "f8"), ("hi", "f8"), ("err", "f8")])

_TILE = 1 << 15  # sums worked on at a time: 256 KiB an array
_SMALLEST = 2.0**-150  # half the spacing of subnormal numbers
_TINY = 2.0**-1000
_EXPONENT = np.uint64(0x7FF0000000000000)
_PRODUCTS = (Linear, LeftProduct, Conv, ConvTranspose)
_SUMS = (Add, *_PRODUCTS)
_MOVING = (Expand, Gather, Reshape, Slice, Transpose)
_BATCHED = (Add, Linear, LeftProduct)  # whose meaning carries over to arrays with one more leading axis


def terms(lo: Any, hi: Any, err: Any = 0.0) -> Array:
    """Elements with the given ends, rounded outward already; the whole line where a number is NaN or err infinite."""
    low, high, error = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (lo, hi, err)))
    lost = ~(np.isfinite(error) & (low <= high))
    out = np.empty(low.shape, dtype=TERM)
    out["lo"], out["hi"] = np.where(lost, -np.inf, low), np.where(lost, np.inf, high)
    out["err"] = np.where(lost & ~np.isfinite(error), np.inf, error)
    return out


def half_ulp(values: Float64) -> Float64:
    """h(V) for magnitudes V >= 0; 0 at 0, infinite at infinity and NaN."""
    bits: npt.NDArray[np.uint64] = np.asarray(values, order="C").view(np.uint64) & _EXPONENT
    power: Float64 = np.asarray(bits).view(np.float64) * 2.0**-24
    return np.where(values == 0, 0.0, np.maximum(power, _SMALLEST))


def _size(a: Array) -> Float64:
    """The largest magnitude of a value."""
    return np.asarray(np.maximum(-a["lo"], a["hi"]))


@dataclass(frozen=True)
class OrderError:
    """Bounds of a run in one declared order and of its distance from the reals; see the module's docstring."""

    order: Order

    def constant(self, values: Numbers) -> Array:
        """Exact elements; raises UnsupportedOperator for a value that binary32 has not."""
        exact = Binary32(self.order).constant(values).astype(np.float64)
        return terms(exact, exact)

    def add(self, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            lo, hi = np.nextafter(a["lo"] + b["lo"], -np.inf), np.nextafter(a["hi"] + b["hi"], np.inf)
            exact = (_size(a) == 0) | (_size(b) == 0)
            return _rounded(lo, hi, a["err"] + b["err"], exact)

    def sub(self, a: Array, b: Array) -> Array:
        return self.add(a, self.neg(b))

    def mul(self, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            ends = np.broadcast_arrays(*(x * y for x in (a["lo"], a["hi"]) for y in (b["lo"], b["hi"])))
            lo = np.nextafter(np.minimum.reduce(ends), -np.inf)
            hi = np.nextafter(np.maximum.reduce(ends), np.inf)
            inherited = (_size(a) * b["err"] + _size(b) * a["err"] + a["err"] * b["err"]) * (1 + 2.0**-50)
            return _rounded(lo, hi, inherited, (_size(a) == 0) | (_size(b) == 0))

    def neg(self, a: Array) -> Array:
        return terms(-a["hi"], -a["lo"], a["err"])

    def div(self, a: Array, b: Array) -> Array:
        raise _unbounded("quotients")

    def maximum(self, a: Array, b: Array) -> Array:
        raise _unbounded("maxima")

    def minimum(self, a: Array, b: Array) -> Array:
        raise _unbounded("minima")

    def absolute(self, a: Array) -> Array:
        raise _unbounded("absolute values")

    def sqrt(self, a: Array) -> Array:
        raise _unbounded("square roots")

    def contract(self, weight: Numbers, x: Array, bias: Numbers | None) -> Array:
        """Sums of products in the declared order: weight (M, K), x (..., K), bias (M,) or None -> (..., M)."""
        alg = Binary32(self.order)
        w = alg.constant(weight).astype(np.float64)
        start = None if bias is None else np.broadcast_to(alg.constant(np.asarray(bias)).astype(np.float64), len(w))
        points = x.reshape(-1, w.shape[1])
        out = np.empty((len(points), len(w)), dtype=TERM)
        with np.errstate(all="ignore"):
            for part in _tiles(len(points), len(w)):
                out[part] = _Sums(self.order, w, points[part]).run(start)
        return out.reshape(*x.shape[:-1], len(w))


def _rounded(lo: Float64, hi: Float64, inherited: Float64, exact: npt.NDArray[np.bool_]) -> Array:
    """One operation's result before rounding lies in [lo, hi]; `exact` where it is not rounded."""
    size = np.maximum(-lo, hi)
    step = np.where(exact, 0.0, half_ulp(size))
    step = np.where(size <= float(OVERFLOW), step, np.inf)
    return terms(np.nextafter(lo - step, -np.inf), np.nextafter(hi + step, np.inf), (inherited + step) * (1 + 2.0**-50))


def _unbounded(what: str) -> UnsupportedOperator:
    return UnsupportedOperator(f"{what} have no error term of a declared order")


def _tiles(points: int, rows: int) -> Iterator[slice]:
    step = max(1, _TILE // max(1, rows))
    return (slice(i, i + step) for i in range(0, points, step))


class _Sums:
    """All sums of a tile: weight (M, K), points (B, K) of elements; arrays are (B, M)."""

    def __init__(self, order: Order, weight: Float64, points: Array) -> None:
        self.order = order
        self.weight = np.ascontiguousarray(weight.T)
        lo, hi = (np.ascontiguousarray(points[end].T) for end in ("lo", "hi"))
        self.lo, self.hi = lo, hi
        length = len(self.weight)
        reach = np.maximum(abs(lo), abs(hi))
        self.nonzero = reach > 0
        self.factor = 1 + (8 * length + 64) * 2.0**-53
        self.total = reach.T @ abs(self.weight)
        self.inherited = points["err"] @ abs(self.weight) * self.factor if points["err"].any() else 0.0
        self.largest = np.zeros(self.total.shape)

    def run(self, bias: Float64 | None) -> Array:
        length = len(self.weight)
        size = self.total if bias is None else self.total + abs(bias)
        self.slack = size * ((4 * length + 64) * 2.0**-53) + _TINY
        if self.order == "mlas-k256-fma":
            low, high, error = self._blocks(np.zeros(1) if bias is None else bias, length)
        else:
            low, high, error = self._prefixes(slice(0, length))
            if bias is not None:
                low, high = low + bias, high + bias
                error = error + np.where(bias == 0, 0.0, self._step(low, high, error))
        error = np.where(self.largest <= float(OVERFLOW), error, np.inf) * self.factor
        reach = (error + self.slack) * self.factor
        return terms(low - reach, high + reach, error + self.inherited)

    def _blocks(self, bias: Float64, length: int) -> tuple[Float64, Float64, Float64]:
        """y = bias, then y = fl(y + block) for every block; adding onto 0 rounds nothing."""
        low = high = np.broadcast_to(bias, self.total.shape)
        error, empty = np.zeros(self.total.shape), low == 0
        for k in range(0, length, BLOCK):
            below, above, lost = self._prefixes(slice(k, min(length, k + BLOCK)))
            low, high, error = low + below, high + above, error + lost
            error = error + np.where(empty, 0.0, self._step(low, high, error))
            empty = np.zeros_like(empty)
        return low, high, error

    def _prefixes(self, part: slice) -> tuple[Float64, Float64, Float64]:
        """Interval of the exact sum over `part`, and the error of the accumulator that starts at 0."""
        low, high, error = (np.zeros(self.total.shape) for _ in range(3))
        started = np.zeros(self.total.shape, dtype=np.bool_)
        for w, lo, hi, nonzero in zip(self.weight[part], self.lo[part], self.hi[part], self.nonzero[part], strict=True):
            rounds = nonzero[:, None] & (w != 0)
            if not rounds.any():
                continue
            one, other = lo[:, None] * w, hi[:, None] * w
            below, above = np.minimum(one, other), np.maximum(one, other)
            low, high = low + below, high + above
            if self.order == "seq-muladd":
                product = np.maximum(-below, above) * self.factor
                np.maximum(self.largest, product, out=self.largest)
                error = error + np.where(rounds, half_ulp(product), 0.0)
                error = error + np.where(rounds & started, self._step(low, high, error), 0.0)
                started |= rounds
            else:
                error = error + np.where(rounds, self._step(low, high, error), 0.0)
        return low, high, error

    def _step(self, low: Float64, high: Float64, error: Float64) -> Float64:
        """The rounding of a number within `error` of [low, high]."""
        size = (np.maximum(-low, high) + self.slack + error) * self.factor
        np.maximum(self.largest, size, out=self.largest)
        return half_ulp(size)


class OrderTerms:
    """Error vectors of the nodes of a graph's core program in one declared order.

    covered: the nodes that have one; all others take their any-order term.
    """

    def __init__(self, graph: Graph, order: str) -> None:
        """Raises UnsupportedOperator for graphs that do not lower."""
        self.graph = graph
        self.algebra = OrderError(parse_order(order))
        self._builder, self._values = build(graph)
        self._places = self._builder.places(self._values[graph.outputs[0]])
        self._makers = {node.name: node for node in graph.nodes}
        self._owners = self._find_owners()

    @property
    def covered(self) -> frozenset[int]:
        return frozenset(self._owners)

    def errors(self, node: int, lower: Sequence[Any], upper: Sequence[Any]) -> Float64:
        """(B, n): how far the run is from the reals at covered node `node`, given its operands.

        lower, upper: by node (B, size), bounds of the run at all nodes before it.
        """
        value = self._evaluate(self._owners[node], lower, upper)
        return np.ascontiguousarray(value["err"]).reshape(len(value), -1)

    def _find_owners(self) -> dict[int, Node]:
        """The last operator of every group whose sums have an order."""
        owners = {}
        for node in self.graph.nodes:
            place = self._places.get(self._values[node.name].node)
            if place is not None and isinstance(node.op, _SUMS) and self._is_ordered(node):
                core = self._builder.nodes[self._values[node.name].node]
                assert isinstance(core, Affine) and core.rounding.is_sum, f"'{node.name}' is a summation group"
                owners[place] = node
        return owners

    def _is_ordered(self, node: Node) -> bool:
        """Whether the order is declared for the operator and for all that its group took over."""
        if isinstance(node.op, _PRODUCTS):
            return self.algebra.order != "mlas-k256-fma" or is_plain_product(node)
        if not isinstance(node.op, (*_MOVING, Add)):
            return False
        return all(self._is_ordered(self._makers[name]) for name in node.inputs if self._is_taken(node, name))

    def _is_taken(self, node: Node, operand: str) -> bool:
        """Whether the operator's group computes the operand itself: sums do not go on through products."""
        return not isinstance(node.op, _PRODUCTS) and _is_group(self._builder, self._values[operand])

    def _evaluate(self, node: Node, lower: Sequence[Any], upper: Sequence[Any]) -> Array:
        """(B, *shape) elements of the tensor that `node` makes."""
        operands = []
        for name in node.inputs:
            if self._is_taken(node, name):
                operands.append(self._evaluate(self._makers[name], lower, upper))
            else:
                place, shape = self._places[self._values[name].node], self.graph.shapes[name]
                batch = len(lower[place])
                ends = (np.asarray(v[place], dtype=np.float64).reshape(batch, *shape) for v in (lower, upper))
                operands.append(terms(*ends))
        shape = (len(operands[0]), *self.graph.shapes[node.name])
        if isinstance(node.op, _BATCHED) and len({operand.ndim for operand in operands}) == 1:
            value = node.op.denote(self.algebra, *operands)
            if value.shape == shape:  # not so for a constant of more axes than the operand
                return value
        parts = [node.op.denote(self.algebra, *point) for point in zip(*operands, strict=True)]
        return np.stack(parts).reshape(shape)


def _is_group(builder: Builder, value: Value) -> bool:
    """Whether a following Add takes over the terms of the value (Builder.add)."""
    return builder.group(value.node, np.arange(value.size)) is not None
