"""Does the installed onnxruntime add up in the order that `mlas-k256-fma` states?

The order was recovered on x86-64 from one version and is promised by nobody, so it is tested where it is used: small
random Gemm and MatMul networks, with K around the block length of 256 and batches of 1 to 3, are run on onnxruntime and
on the definition (farkas.ir.binary32), and every bit is compared.  Random products of full-length significands make
each order give bits of its own: with K = 50 and a hundred sums, an order that differs anywhere is found out.

The networks are written here, field by field: a protobuf message is a sequence of (number, wire type, value), and an
ONNX model of one operator needs a dozen of them.  Importing `onnx` for that would cost 140 ms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from farkas.engine.runtime import Runtime
from farkas.ir.binary32 import Binary32, Float32, same_bits
from farkas.ir.errors import FarkasError

LENGTHS = (1, 5, 50, 255, 256, 257, 512, 784)
BATCHES = (1, 2, 3)
ROWS = 33
Form = Literal["Gemm", "MatMul", "MatMul+Add, bias last", "MatMul+Add, bias first"]
FORMS: tuple[Form, ...] = get_args(Form)


@dataclass(frozen=True)
class Fingerprint:
    """What the comparison found at one optimisation level.

    differs: for each form, the (K, batch) at which some bit differed.
    """

    runtime: str
    differs: dict[Form, tuple[tuple[int, int], ...]]

    @property
    def matches(self) -> bool:
        """Gemm, MatMul and MatMul followed by Add, each as a node of its own, are as `mlas-k256-fma` says."""
        return not (self.differs["Gemm"] or self.differs["MatMul"] or self.differs["MatMul+Add, bias last"])

    @property
    def fuses_bias(self) -> bool:
        """Products are as stated, but MatMul followed by Add is computed as one Gemm."""
        products = self.differs["Gemm"] or self.differs["MatMul"] or self.differs["MatMul+Add, bias first"]
        return not products and bool(self.differs["MatMul+Add, bias last"])

    def describe(self) -> str:
        if self.matches:
            return f"mlas-k256-fma holds for {self.runtime}"
        if self.fuses_bias:
            return f"mlas-k256-fma holds for {self.runtime}, with the bias of an Add after a MatMul taken into its sum"
        places = "; ".join(
            f"{form} at (K, batch) {', '.join(map(str, found))}" for form, found in self.differs.items() if found
        )
        return f"mlas-k256-fma does not hold for {self.runtime}: {places}"


def matches_mlas_k256(*, optimised: bool = False, seed: int = 0) -> Fingerprint:
    """Compares onnxruntime with the definition of `mlas-k256-fma`; about 0.1 s of CPU time."""
    rng = np.random.default_rng(seed)
    alg = Binary32("mlas-k256-fma")
    differs: dict[Form, list[tuple[int, int]]] = {form: [] for form in FORMS}
    described = ""
    for length in LENGTHS:
        weight = rng.standard_normal((ROWS, length)).astype(np.float32)
        bias = (rng.standard_normal(ROWS) * np.sqrt(length)).astype(np.float32)
        runtimes = {kind: Runtime(one_product(kind, weight, bias), optimised=optimised) for kind in KINDS}
        described = runtimes["Gemm"].describe()
        for batch in BATCHES:
            x = rng.standard_normal((batch, length)).astype(np.float32)
            found = {kind: runtime.run_shaped(x) for kind, runtime in runtimes.items()}
            product, first = alg.contract(weight, x, None), alg.contract(weight, x, bias)
            wanted: dict[Form, tuple[Float32, Float32]] = {
                "Gemm": (found["Gemm"], first),
                "MatMul": (found["MatMul"], product),
                "MatMul+Add, bias last": (found["MatMul+Add"], alg.add(product, bias)),
                "MatMul+Add, bias first": (found["MatMul+Add"], first),
            }
            for form, (got, stated) in wanted.items():
                if not same_bits(got, stated).all():
                    differs[form].append((length, batch))
    return Fingerprint(described, {form: tuple(places) for form, places in differs.items()})


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
    graph += _bytes(11, _value("x", length)) + _bytes(12, _value("y", rows))
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, _bytes(1, b"") + _number(2, 13))


def _node(kind: str, inputs: Sequence[str], output: str, **integers: int) -> bytes:
    attributes = (_bytes(1, name.encode()) + _number(3, value) + _number(20, 2) for name, value in integers.items())
    names = b"".join(_bytes(1, name.encode()) for name in inputs)
    return names + _bytes(2, output.encode()) + _bytes(4, kind.encode()) + b"".join(_bytes(5, a) for a in attributes)


def _tensor(name: str, values: Float32) -> bytes:
    dimensions = b"".join(_number(1, n) for n in values.shape)
    return dimensions + _number(2, 1) + _bytes(8, name.encode()) + _bytes(9, values.astype("<f4").tobytes())


def _value(name: str, features: int) -> bytes:
    """A float tensor (batch, features) with a free batch."""
    shape = _bytes(1, _bytes(2, b"batch")) + _bytes(1, _number(1, features))
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
