"""BINARY32: networks executed in IEEE-754 single precision, with a declared accumulation order.

Every result is that of one correctly rounded operation (nearest, ties to even, subnormals kept), so a run is a
function of the network, the input and the order, on every machine.  Orders of a row's sum of products w_k x_k + b:

    seq-muladd      acc = 0;  acc = fl(acc + fl(w_k x_k)) for k = 0, 1, ...;  then fl(acc + b) if there is a bias
    seq-fma         acc = 0;  acc = fma(w_k, x_k, acc)    for k = 0, 1, ...;  then fl(acc + b) if there is a bias
    mlas-k256-fma   y = b, or 0 without a bias;  for every block of 256 consecutive k: acc = 0;
                    acc = fma(w_k, x_k, acc) in order;  y = fl(y + acc)

The last one is what onnxruntime 1.31 was measured to do for MatMul and Gemm on x86-64 (20 Nov 2026: 45 ACAS Xu
networks and MNIST 2/4/6x256, bit for bit; also rows of 1 to 64 with K from 1 to 784 and batches 1, 2, 3, 7).

NumPy has no fma.  Two 24-bit significands multiply exactly in binary64, so s = RN64(w x + acc) is off by one rounding
only, and RN32(s) is the fma unless s lies exactly between two binary32 numbers although w x + acc does not (*double
rounding*).  For those elements, and for all results below the normal range, the remainder of the addition is recovered
by TwoSum and s is rounded to odd instead, after which rounding to 24 bits or fewer is innocuous (Boldo and Melquiond,
Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd, IEEE TC 2008).  Midpoints are
one in 2^29 for ordinary data, so the usual cost is that of the product, the sum and one masked comparison.

Both zeros are one value: no operator here tells them apart, runtimes differ in the sign that max(-0, +0) has, and bits
are compared with `same_bits`, which takes -0 for +0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from farkas.ir.algebra import Array, Numbers
from farkas.ir.errors import FarkasError, UnsupportedOperator

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Order = Literal["seq-muladd", "seq-fma", "mlas-k256-fma"]
ORDERS: tuple[Order, ...] = get_args(Order)

BLOCK = 256  # products per accumulator of mlas-k256-fma
_TILE = 1 << 15  # accumulators worked on at a time: 256 KiB of binary64, which stays in the second-level cache
_BELOW_ULP = np.int64(0x1FFFFFFF)  # the 29 bits that binary64 has and binary32 has not
_MIDPOINT = np.int64(0x10000000)
_NORMAL = 2.0**-126


def parse_order(text: str) -> Order:
    """The accumulation order named `text`; raises FarkasError for any other name."""
    for order in ORDERS:
        if order == text:
            return order
    raise FarkasError(f"'{text}' is no accumulation order; known are {', '.join(ORDERS)}")


@dataclass(frozen=True)
class Binary32:
    """Arithmetic on float32 arrays under one accumulation order; overflow gives infinities, as the hardware does."""

    order: Order

    def __post_init__(self) -> None:
        parse_order(self.order)
        if not subnormals_are_kept():
            raise FarkasError(
                "this process flushes subnormal numbers to zero (a library loaded into it was built with -ffast-math), "
                "so binary32 runs would not be exact; load that library in another process"
            )

    def constant(self, values: Numbers) -> Array:
        """`values` as float32, unchanged; raises UnsupportedOperator for a value that binary32 has not."""
        return _as_binary32(np.asarray(values))

    def add(self, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return _checked(np.add(a, b))

    def sub(self, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return _checked(np.subtract(a, b))

    def mul(self, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return _checked(np.multiply(a, b))

    def div(self, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return _checked(np.divide(a, b))

    def neg(self, a: Array) -> Array:
        return _checked(np.negative(a))

    def maximum(self, a: Array, b: Array) -> Array:
        """The larger one, NaN if either is; a zero result is +0 (NumPy leaves its sign open)."""
        with np.errstate(all="ignore"):
            return _checked(np.add(np.maximum(a, b), np.float32(0)))

    def minimum(self, a: Array, b: Array) -> Array:
        """The smaller one, NaN if either is; a zero result is +0."""
        with np.errstate(all="ignore"):
            return _checked(np.add(np.minimum(a, b), np.float32(0)))

    def absolute(self, a: Array) -> Array:
        return _checked(np.abs(a))

    def sqrt(self, a: Array) -> Array:
        with np.errstate(all="ignore"):
            return _checked(np.sqrt(a))

    def contract(self, weight: Numbers, x: Array, bias: Numbers | None) -> Array:
        """Sums of products in the declared order: weight (M, K), x (..., K), bias (M,) or None -> (..., M)."""
        rows, length = weight.shape
        columns = np.ascontiguousarray(_as_binary32(weight).T)
        start = None if bias is None else np.broadcast_to(_as_binary32(np.asarray(bias)), (rows,))
        points = _checked(x).reshape(-1, length)
        out = np.empty((points.shape[0], rows), dtype=np.float32)
        with np.errstate(all="ignore"):
            for part in _tiles(points.shape[0], rows):
                out[part] = self._rows(columns, np.ascontiguousarray(points[part].T), start)
        return out.reshape(*x.shape[:-1], rows)

    def _rows(self, columns: Float32, points: Float32, bias: Float32 | None) -> Float32:
        """columns (K, M), points (K, B), bias (M,) or None -> (B, M)."""
        shape = (points.shape[1], columns.shape[1])
        if self.order == "mlas-k256-fma":
            y = np.zeros(shape, dtype=np.float32) if bias is None else np.tile(bias, (shape[0], 1))
            for k in range(0, columns.shape[0], BLOCK):
                y += _fused_sum(columns[k : k + BLOCK], points[k : k + BLOCK])
            return y
        y = _fused_sum(columns, points) if self.order == "seq-fma" else _plain_sum(columns, points)
        return y if bias is None else y + bias


def _plain_sum(columns: Float32, points: Float32) -> Float32:
    """acc = fl(acc + fl(w x)) over the leading axis of (K, M) and (K, B), from 0 -> (B, M)."""
    acc = np.zeros((points.shape[1], columns.shape[1]), dtype=np.float32)
    product = np.empty_like(acc)
    for w, x in zip(columns, points, strict=True):
        np.multiply(x[:, None], w[None, :], out=product)
        np.add(acc, product, out=acc)
    return acc


def _fused_sum(columns: Float32, points: Float32) -> Float32:
    """acc = fma(w, x, acc) over the leading axis of (K, M) and (K, B), from 0 -> (B, M)."""
    weights, values = columns.astype(np.float64), points.astype(np.float64)
    acc = np.zeros((points.shape[1], columns.shape[1]), dtype=np.float32)
    wide = np.zeros(acc.shape)
    product = np.empty_like(wide)
    for w, x in zip(weights, values, strict=True):
        np.multiply(x[:, None], w[None, :], out=product)
        _add_rounding_once(product, wide, acc)
        wide[...] = acc
    return acc


def fma(a: Float32, b: Float32, c: Float32) -> Float32:
    """a b + c with a single rounding, elementwise with broadcasting; infinities and NaN as IEEE-754 has them."""
    a, b, c = np.broadcast_arrays(_checked(a), _checked(b), _checked(c))
    with np.errstate(all="ignore"):
        product = np.asarray(np.multiply(a, b, dtype=np.float64))
        out = np.empty(product.shape, dtype=np.float32)
        _add_rounding_once(product, c.astype(np.float64), out)
    return out


def _add_rounding_once(product: Float64, addend: Float64, out: Float32) -> None:
    """out = RN32(product + addend) for exact products of binary32 numbers and binary32 addends, all finite or not."""
    total = np.asarray(product + addend)
    doubtful = (total.view(np.int64) & _BELOW_ULP) == _MIDPOINT
    doubtful |= np.abs(total) < _NORMAL
    if doubtful.any():
        total[doubtful] = _round_to_odd(product[doubtful], addend[doubtful])
    out[...] = total


def _round_to_odd(a: Float64, b: Float64) -> Float64:
    """a + b if binary64 has it, else its neighbour with an odd last bit; non-finite sums unchanged."""
    total = a + b
    virtual = total - a
    rest = (a - (total - virtual)) + (b - virtual)  # Knuth's TwoSum: a + b = total + rest exactly
    bits: npt.NDArray[np.int64] = total.view(np.int64)
    even = (bits & 1) == 0
    away = even & (((rest > 0) & (total > 0)) | ((rest < 0) & (total < 0)))
    toward = even & (((rest < 0) & (total > 0)) | ((rest > 0) & (total < 0)))
    odd: Float64 = (bits + away - toward).view(np.float64)
    return odd


def same_bits(a: Float32, b: Float32) -> npt.NDArray[np.bool_]:
    """Elementwise: the same binary32 number; both zeros are one number, and all NaN are one."""
    a, b = _checked(a), _checked(b)
    with np.errstate(all="ignore"):
        return np.asarray((a == b) | (np.isnan(a) & np.isnan(b)))


def subnormals_are_kept() -> bool:
    """Whether this thread's float32 arithmetic neither flushes subnormal results nor reads subnormals as zero."""
    smallest = np.array([2.0**-126, 2.0**-149], dtype=np.float32)
    with np.errstate(all="ignore"):
        halved, doubled = smallest[:1] * np.float32(0.5), smallest[1:] * np.float32(2.0)
    return bool(halved.view(np.int32)[0] == 1 << 22) and bool(doubled.view(np.int32)[0] == 2)


def _as_binary32(values: npt.NDArray[Any]) -> Float32:
    with np.errstate(all="ignore"):
        narrow = np.asarray(values, dtype=np.float32)
    if narrow.dtype != values.dtype and not np.array_equal(narrow, values, equal_nan=True):
        wrong = values[~((narrow == values) | np.isnan(values))].ravel()[0]
        raise UnsupportedOperator(
            f"the constant {wrong!r} is no binary32 number, so it has no binary32 meaning; use semantics `real`"
        )
    return narrow


def _checked(values: Array) -> Float32:
    array = np.asarray(values)
    assert array.dtype == np.float32, f"binary32 arithmetic is given elements of type {array.dtype}"
    return array


def _tiles(points: int, rows: int) -> Iterator[slice]:
    """Slices of the points, of about `_TILE` accumulators each."""
    step = max(1, _TILE // max(1, rows))
    return (slice(i, i + step) for i in range(0, points, step))
