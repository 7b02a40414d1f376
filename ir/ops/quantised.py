"""Quantised networks: codes, integer products, requantisation.

A code q of scale s and zero point z stands for s (q - z).  `QuantizeLinear` makes codes of numbers, nearest with ties
to even and saturating, after a division in binary32, which is how runtimes compute it; `DequantizeLinear` makes numbers
of codes.  Integer products have int32 results without rounding; requantisation multiplies by one binary32 number, so
QLinearMatMul and QLinearConv are imported as an `IntegerProduct` and a `Requantise`.

Denoted in binary32, 8-bit codes are float32 numbers (all of them are) and int32 accumulators int64 arrays; in exact
domains both are scalars like any others.  Over the reals these operators are no affine maps or maxima: `lower` refuses
them, and `int-exact` is the semantics that decides such networks (farkas.ir.integer_lowering).

Products of dequantised constants keep the codes beside the float32 numbers (`Coded`), for runtimes that optimise their
graphs compute with the codes.  onnxruntime 1.31, measured: multipliers are (s_x s_w) / s_y in binary32, in this order;
accumulators become float32 before they are multiplied.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np
import numpy.typing as npt

from farkas.ir.algebra import Algebra, Array, Numbers
from farkas.ir.errors import ShapeError, UnsupportedOperator
from farkas.ir.op import Op, Shape
from farkas.ir.ops.affine import LeftProduct, Linear, broadcast
from farkas.ir.ops.convolution import Conv
from farkas.ir.ops.movement import Expand, Gather, Reshape, Slice, Transpose
from farkas.ir.ops.pooling import MaxPool

if TYPE_CHECKING:
    from farkas.ir.lowering import Builder, Value

Integers = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
RANGES = {"uint8": (0, 255), "int8": (-128, 127)}


class _IntegerOnly:
    """What has no meaning in core operators."""

    onnx: ClassVar[str]

    def lower(self, b: Builder, *xs: Value) -> Value:
        refuse_reals(self.onnx, b.current)


def refuse_reals(kind: str, name: str) -> NoReturn:
    raise UnsupportedOperator(
        f"node '{name}' ({kind}) works on quantised codes, which have no meaning over the reals or in any order of "
        "binary32 sums; the semantics of quantised networks is `int-exact`"
    )


@dataclass(frozen=True, eq=False)
class QuantizeLinear(_IntegerOnly):
    """saturate(round(x / scale) + zero), ties to even; scale and zero are broadcast to x."""

    scale: Float32
    zero: Integers
    element: str
    onnx: ClassVar[str] = "QuantizeLinear"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        return same(x, self.scale.shape, self.onnx)

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        return nearest(alg.div(xs[0], alg.constant(self.scale)), self.zero, *RANGES[self.element])


@dataclass(frozen=True, eq=False)
class DequantizeLinear(_IntegerOnly):
    """(x - zero) scale: the difference exact, converted to binary32 with one rounding if it is that large.

    stated: the file has the zero point, and does not leave it out for 0.
    """

    scale: Float32
    zero: Integers
    stated: bool = True
    onnx: ClassVar[str] = "DequantizeLinear"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        return same(x, self.scale.shape, self.onnx)

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        return alg.mul(real(shifted(xs[0], self.zero)), alg.constant(self.scale))


@dataclass(frozen=True, eq=False)
class IntegerProduct(_IntegerOnly):
    """(x - zero) times integer weights, plus an integer bias, in exact integers: an int32 accumulator.

    product: the operator with weights (code - zero point), and without bias; padding stands for the code `zero`.
    bias: (M,) or None.
    """

    product: Linear | Conv
    zero: int
    bias: Integers | None = None
    onnx: ClassVar[str] = "MatMulInteger"

    def infer(self, *shapes: Shape) -> Shape:
        return self.product.infer(*shapes)

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        x = shifted(xs[0], np.array(self.zero))
        domain: Any = alg if x.dtype == object else Whole()
        total = self.product.denote(domain, x)
        return total if self.bias is None else np.asarray(total + spread_rows(self.product, self.bias, total.ndim))


@dataclass(frozen=True, eq=False)
class Requantise(_IntegerOnly):
    """saturate(round(float(x) multiplier) + zero): the last part of QLinearMatMul, QLinearConv and QGemm."""

    multiplier: Float32
    zero: int
    element: str
    onnx: ClassVar[str] = "QLinearMatMul"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        return same(x, self.multiplier.shape, self.onnx)

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        scaled = alg.mul(real(xs[0]), alg.constant(self.multiplier))
        return nearest(scaled, np.array(self.zero), *RANGES[self.element])


@dataclass(frozen=True)
class ToFloat(_IntegerOnly):
    """Cast of integers to binary32: the nearest number."""

    onnx: ClassVar[str] = "Cast"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        return x

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        return real(xs[0])


@dataclass(frozen=True, eq=False)
class CodedWeight:
    """The codes of a product's weights and bias.

    product: the operator with weights (code - zero point), without bias; scale: () or (M,), one a row;
    bias: int32 codes (M,) or None; bias_scale: theirs; float_bias: the bias is no int32 code; stated: the file has the
    zero point of the weights; is_gemm: the file says Gemm.
    """

    product: Linear | Conv
    scale: Float32
    element: str
    bias: Integers | None
    bias_scale: Float32 | None
    float_bias: bool
    stated: bool
    is_gemm: bool


@dataclass(frozen=True, eq=False)
class Coded(_IntegerOnly):
    """An operator some of whose constants are dequantised codes, here rounded to binary32 as a runtime does.

    weight: the codes, where it is a product of which they are the weights.
    """

    inner: Op
    weight: CodedWeight | None
    onnx: ClassVar[str] = "DequantizeLinear"

    def infer(self, *shapes: Shape) -> Shape:
        return self.inner.infer(*shapes)

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        return self.inner.denote(alg, *xs)


@dataclass(frozen=True, eq=False)
class CodedGemm(Coded):
    """MatMul or Gemm by dequantised weights; a class of its own for the name that people see."""

    onnx: ClassVar[str] = "Gemm"


@dataclass(frozen=True, eq=False)
class CodedConv(Coded):
    """Conv with dequantised weights."""

    onnx: ClassVar[str] = "Conv"


Quantised = QuantizeLinear | DequantizeLinear | IntegerProduct | Requantise | ToFloat | Coded


def element_after(op: Op, operands: tuple[str | None, ...]) -> str | None:
    """The element type of an operator's result, None: the network's; raises UnsupportedOperator for others' operands.

    operands: theirs, None or 'uint8', 'int8', 'int32'.
    """
    given = operands[0] if len(set(operands)) == 1 else "several types"
    match op:
        case QuantizeLinear(element=element) if given is None:
            return element
        case DequantizeLinear() | ToFloat() if given in (*RANGES, "int32"):
            return None
        case IntegerProduct() if given in RANGES:
            return "int32"
        case Requantise(element=element) if given == "int32":
            return element
        case Reshape() | Transpose() | Expand() | Slice() | Gather() | MaxPool():
            return given
        case _ if given is None and not isinstance(op, (DequantizeLinear, ToFloat, IntegerProduct, Requantise)):
            return None
        case _:
            wanted = "float32" if given is not None else "integers"
            raise UnsupportedOperator(f"{op.onnx} is not supported for operands of type {given}; {wanted} are")


class Whole:
    """As much of an algebra as a product of integers needs: exact int64 arithmetic."""

    def constant(self, values: Numbers) -> Array:
        return values.astype(np.int64)

    def contract(self, weight: Numbers, x: Array, bias: Numbers | None) -> Array:
        assert bias is None, "integer products have their bias beside them"
        return np.asarray(x @ weight.astype(np.int64).T)


def shifted(x: Array, zero: Integers) -> Array:
    """x - zero in exact integers: int64, or scalars of an exact domain."""
    return np.asarray((x if x.dtype == object else x.astype(np.int64)) - zero)


def real(x: Array) -> Array:
    """Integers as numbers of the domain: float32 with one rounding, or what they are in an exact one."""
    return x if x.dtype == object else x.astype(np.float32)


def nearest(x: Array, zero: Integers, low: int, high: int) -> Array:
    """saturate(round(x) + zero), ties to even; floats in float32, of which all codes are numbers."""
    if x.dtype == np.float32:
        with np.errstate(all="ignore"):
            limited = np.clip(x, (low - zero).astype(np.float32), (high - zero).astype(np.float32))
            return np.asarray(np.rint(limited) + zero.astype(np.float32), dtype=np.float32)
    if not all(isinstance(v, Fraction) for v in x.flat):
        raise UnsupportedOperator("rounding to a code has no meaning in this domain")
    whole = np.empty(x.shape, dtype=object)
    whole.reshape(-1)[:] = [Fraction(round(v)) for v in x.flat]
    return np.asarray(np.minimum(np.maximum(whole + zero, low), high), dtype=object)


def spread_rows(product: Linear | Conv, values: Any, rank: int) -> Any:
    """One value a row (M,), shaped to be broadcast to the product's result of this rank."""
    if values.ndim == 0 or isinstance(product, Linear):
        return values
    return values.reshape(-1, *(1,) * (rank - 2))


def same(x: Shape, constant: Shape, kind: str) -> Shape:
    if broadcast(x, constant) != x:
        raise ShapeError(f"{kind}: scales of shape {constant} do not fit a tensor of shape {x}")
    return x


def is_product(op: Op) -> bool:
    return isinstance(op, (Linear, LeftProduct, Conv))


QUANTISED: tuple[type[Any], ...] = (QuantizeLinear, DequantizeLinear, IntegerProduct, Requantise, ToFloat, Coded)
