"""In which declared order does the installed onnxruntime add up?

The order `mlas-k256-fma` was recovered on x86-64 from one version and is promised by nobody, so it is tested where it
is used: small random Gemm and MatMul networks, with K around the block length of 256 and batches of 1 to 3, are run on
onnxruntime and on the definition of every order (farkas.ir.binary32), and every bit is compared.  Random products of
full-length significands make each order give bits of its own: with K = 50 and a hundred sums, an order that differs
anywhere is found out.  `mlas-k256-fma` and `seq-fma` are one up to K = 256; the longer sums tell them apart.

Convolutions are compared with the sum over the patch, channel by channel, row by row.  On x86-64, onnxruntime 1.31 and
November 2026 they are `seq-fma` with graph optimisation off, also for K = 288 and 300, and no declared order with all
optimisations, where channels are worked on in groups.

The networks are written here, field by field: a protobuf message is a sequence of (number, wire type, value), and an
ONNX model of one operator needs a dozen of them.  Importing `onnx` for that would cost 140 ms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from farkas.engine.runtime import Runtime
from farkas.ir.binary32 import ORDERS, Binary32, Float32, Order, same_bits
from farkas.ir.errors import FarkasError

LENGTHS = (1, 5, 50, 255, 256, 257, 512, 784)
BATCHES = (1, 2, 3)
ROWS = 33
PATCHES = ((3, 3, 7), (32, 3, 5), (300, 1, 3))  # channels, size of the window, size of the image
Form = Literal["Gemm", "MatMul", "MatMul+Add, bias last", "MatMul+Add, bias first"]
FORMS: tuple[Form, ...] = get_args(Form)


@dataclass(frozen=True)
class Fingerprint:
    """What the comparison with one order found at one optimisation level.

    differs: for each form, the (K, batch) at which some bit differed.
    """

    runtime: str
    differs: dict[Form, tuple[tuple[int, int], ...]]
    order: Order = "mlas-k256-fma"

    @property
    def matches(self) -> bool:
        """Gemm, MatMul and MatMul followed by Add, each as a node of its own, are as the order says."""
        return not (self.differs["Gemm"] or self.differs["MatMul"] or self.differs["MatMul+Add, bias last"])

    @property
    def fuses_bias(self) -> bool:
        """Products are as stated, but MatMul followed by Add is computed as one Gemm."""
        products = self.differs["Gemm"] or self.differs["MatMul"] or self.differs["MatMul+Add, bias first"]
        return not products and bool(self.differs["MatMul+Add, bias last"])

    def describe(self) -> str:
        if self.matches:
            return f"{self.order} holds for {self.runtime}"
        if self.fuses_bias:
            return f"{self.order} holds for {self.runtime}, with the bias of an Add after a MatMul taken into its sum"
        places = "; ".join(
            f"{form} at (K, batch) {', '.join(map(str, found))}" for form, found in self.differs.items() if found
        )
        return f"{self.order} does not hold for {self.runtime}: {places}"


def fingerprints(
    levels: Sequence[bool] = (False, True), orders: Sequence[Order] = ORDERS, *, seed: int = 0
) -> dict[tuple[bool, Order], Fingerprint]:
    """Compares onnxruntime with the definition of each order, at each level (True: all graph optimisations).

    About 0.1 s of CPU time for one order and level, 0.4 s for all.
    """
    rng = np.random.default_rng(seed)
    differs: dict[tuple[bool, Order], dict[Form, list[tuple[int, int]]]] = {
        (level, order): {form: [] for form in FORMS} for level in levels for order in orders
    }
    described = dict.fromkeys(levels, "")
    for length in LENGTHS:
        weight = rng.standard_normal((ROWS, length)).astype(np.float32)
        bias = (rng.standard_normal(ROWS) * np.sqrt(length)).astype(np.float32)
        models = {kind: one_product(kind, weight, bias) for kind in KINDS}
        runtimes = {level: {k: Runtime(m, optimised=level) for k, m in models.items()} for level in levels}
        described = {level: runtimes[level]["Gemm"].describe() for level in levels}
        inputs = [rng.standard_normal((batch, length)).astype(np.float32) for batch in BATCHES]
        found = {level: {k: [r.run_shaped(x) for x in inputs] for k, r in runtimes[level].items()} for level in levels}
        for order in orders:
            for number, x in enumerate(inputs):
                stated = _stated(order, weight, x, bias)
                for level in levels:
                    for form, (kind, values) in stated.items():
                        if not same_bits(found[level][kind][number], values).all():
                            differs[level, order][form].append((length, len(x)))
    return {
        key: Fingerprint(described[key[0]], {form: tuple(places) for form, places in forms.items()}, key[1])
        for key, forms in differs.items()
    }


def _stated(order: Order, weight: Float32, x: Float32, bias: Float32) -> dict[Form, tuple[Kind, Float32]]:
    """What each form gives in an order: which network it reads, and its values."""
    alg = Binary32(order)
    product, first = alg.contract(weight, x, None), alg.contract(weight, x, bias)
    return {
        "Gemm": ("Gemm", first),
        "MatMul": ("MatMul", product),
        "MatMul+Add, bias last": ("MatMul+Add", np.asarray(alg.add(product, bias))),
        "MatMul+Add, bias first": ("MatMul+Add", first),
    }


def convolution_orders(*, optimised: bool = False, seed: int = 0) -> tuple[Order, ...]:
    """The orders that agree with Conv on every bit: sums over the patch by channel, row and column; then the bias."""
    rng = np.random.default_rng(seed)
    agree = list(ORDERS)
    for channels, window, size in PATCHES:
        weight = rng.standard_normal((8, channels, window, window)).astype(np.float32)
        bias, x = (rng.standard_normal(shape).astype(np.float32) for shape in (8, (1, channels, size, size)))
        got = Runtime(one_convolution(weight, bias, size), optimised=optimised).run_shaped(x)
        views = np.lib.stride_tricks.sliding_window_view(x[0], (window, window), axis=(1, 2))  # C, H, W, kh, kw
        patches = np.ascontiguousarray(views.transpose(1, 2, 0, 3, 4)).reshape(-1, channels * window * window)
        for order in tuple(agree):
            alg = Binary32(order)
            values = alg.add(alg.contract(weight.reshape(8, -1), patches, None), bias)
            if not same_bits(got.reshape(8, -1).T, values).all():
                agree.remove(order)
    return tuple(agree)


def matches_mlas_k256(*, optimised: bool = False, seed: int = 0) -> Fingerprint:
    """Compares onnxruntime with the definition of `mlas-k256-fma`; about 0.1 s of CPU time."""
    return fingerprints((optimised,), ("mlas-k256-fma",), seed=seed)[optimised, "mlas-k256-fma"]


def require_mlas_k256() -> Fingerprint:
    """The fingerprint without graph optimisation; raises FarkasError where `mlas-k256-fma` does not hold."""
    found = matches_mlas_k256()
    if not found.matches:
        raise FarkasError(f"{found.describe()}; use --semantics f32-any, or the order seq-fma or seq-muladd")
    return found


# The writer.  A field is its number and wire type in one varint, then the value: 0 = varint, 2 = length and bytes.

Kind = Literal["Gemm", "MatMul", "MatMul+Add"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def one_product(kind: Kind, weight: Float32, bias: Float32) -> bytes:
    """The bytes of an ONNX model (opset 13) that maps x (B, K) to x W^T + b, W (M, K), b (M,); MatMul has no bias."""
    rows, length = weight.shape
    nodes = {
        "Gemm": [_node("Gemm", ["x", "w", "b"], "y", transB=1)],
        "MatMul": [_node("MatMul", ["x", "w"], "y")],
        "MatMul+Add": [_node("MatMul", ["x", "w"], "z"), _node("Add", ["z", "b"], "y")],
    }[kind]
    tensors = [_tensor("w", weight if kind == "Gemm" else np.ascontiguousarray(weight.T))]
    if kind != "MatMul":
        tensors.append(_tensor("b", bias))
    graph = b"".join(_bytes(1, node) for node in nodes) + _bytes(2, b"product")
    graph += b"".join(_bytes(5, tensor) for tensor in tensors)
    return _model(graph + _bytes(11, _value("x", length)) + _bytes(12, _value("y", rows)))


def one_convolution(weight: Float32, bias: Float32, size: int) -> bytes:
    """The bytes of a Conv without padding, weight (M, C, k, k), bias (M,), of images (B, C, size, size)."""
    rows, channels, window, _ = weight.shape
    graph = _bytes(1, _node("Conv", ["x", "w", "b"], "y")) + _bytes(2, b"convolution")
    graph += _bytes(5, _tensor("w", weight)) + _bytes(5, _tensor("b", bias))
    left = size - window + 1
    return _model(graph + _bytes(11, _value("x", channels, size, size)) + _bytes(12, _value("y", rows, left, left)))


def _model(graph: bytes) -> bytes:
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, _bytes(1, b"") + _number(2, 13))


def _node(kind: str, inputs: Sequence[str], output: str, **integers: int) -> bytes:
    attributes = (_bytes(1, name.encode()) + _number(3, value) + _number(20, 2) for name, value in integers.items())
    names = b"".join(_bytes(1, name.encode()) for name in inputs)
    return names + _bytes(2, output.encode()) + _bytes(4, kind.encode()) + b"".join(_bytes(5, a) for a in attributes)


def _tensor(name: str, values: Float32) -> bytes:
    dimensions = b"".join(_number(1, n) for n in values.shape)
    return dimensions + _number(2, 1) + _bytes(8, name.encode()) + _bytes(9, values.astype("<f4").tobytes())


def _value(name: str, *sizes: int) -> bytes:
    """A float tensor (batch, *sizes) with a free batch."""
    shape = _bytes(1, _bytes(2, b"batch")) + b"".join(_bytes(1, _number(1, size)) for size in sizes)
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, _number(1, 1) + _bytes(2, shape)))


def _number(field: int, value: int) -> bytes:
    return bytes(_varint(field << 3)) + bytes(_varint(value))


def _bytes(field: int, value: bytes) -> bytes:
    return bytes(_varint(field << 3 | 2)) + bytes(_varint(len(value))) + value


def _varint(value: int) -> Iterator[int]:
    while value > 127:
        yield value & 127 | 128
        value >>= 7
    yield value
