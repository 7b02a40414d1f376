"""Exact elementwise functions of integer networks, in the very binary32 steps of their graphs.

A requantisation is a float32 product, a rounding and a clamp; an exporter may put a bias, Relu or Clip between them.
Each step is one correctly rounded operation on float32 (or exact on integers), so the whole chain is a function of
the code alone, the same on every machine.  Every step is monotone in its operand: rounding to nearest preserves order,
so multiplying, dividing and adding a constant do, and so do maxima, minima, rounding to an integer and clamping.  The
chain is therefore monotone in each component, and its steps over any range are found by bisection (farkas.ir.integer).

NaN arises only from infinities, and those only from overflow; `lower_integer` proves that no chain overflows, except
where a quotient is rounded and clamped at once (an infinity is then clamped to an end of the range, as runtimes do).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from farkas.ir.algebra import Array
from farkas.ir.linear import Indices

Integers = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Signs = npt.NDArray[np.int8]


class Unary(Protocol):
    """An elementwise function, one per component, each component monotone."""

    def __call__(self, values: Array) -> Array:
        """(..., n) -> (..., n); int64 -> int64 (Rounded), float32 -> int64 (encode), int64 -> float32 (decode)."""
        ...

    @property
    def direction(self) -> Signs:
        """(n,): +1 where nondecreasing, -1 where nonincreasing."""
        ...

    def take(self, index: Indices) -> Unary:
        """The functions of these components, in this order: (k,) positions -> a function of k components."""
        ...


class Step(Protocol):
    """One operation; its constants have shape () or (n,)."""

    def __call__(self, values: Array) -> Array: ...

    @property
    def sign(self) -> Any:
        """+1 or -1, or an array (n,) of them."""
        ...

    def take(self, index: Indices) -> Step: ...


@dataclass(frozen=True)
class ToFloat:
    """int64 -> the nearest float32, ties to even; exact up to 2^24."""

    sign: int = 1

    def __call__(self, values: Array) -> Array:
        return values.astype(np.float32)

    def take(self, index: Indices) -> Step:
        return self


@dataclass(frozen=True, eq=False)
class Shift:
    """int64 -> int64: values - zero."""

    zero: Integers
    sign: int = 1

    def __call__(self, values: Array) -> Array:
        return np.asarray(values - self.zero)

    def take(self, index: Indices) -> Step:
        return Shift(taken(self.zero, index))


Kind = Literal["add", "subtract", "subtract from", "multiply", "divide", "maximum", "minimum"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, eq=False)
class Arithmetic:
    """float32 -> float32: one correctly rounded operation with a finite float32 constant; divisors are not zero."""

    kind: Kind
    constant: Float32

    def __call__(self, values: Array) -> Array:
        operation = {
            "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide,
            "maximum": np.maximum, "minimum": np.minimum,
        }  # fmt: skip
        with np.errstate(all="ignore"):
            if self.kind == "subtract from":
                return np.asarray(np.subtract(self.constant, values))
            return np.asarray(operation[self.kind](values, self.constant))

    @property
    def sign(self) -> Any:
        if self.kind == "subtract from":
            return -1
        return np.where(self.constant < 0, -1, 1) if self.kind in ("multiply", "divide") else 1

    def take(self, index: Indices) -> Step:
        return Arithmetic(self.kind, taken(self.constant, index))


@dataclass(frozen=True)
class Leaky:
    """float32 -> float32: negative numbers times alpha >= 0, a float32 number, with one rounding."""

    alpha: float
    sign: int = 1

    def __call__(self, values: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(np.where(values < 0, values * np.float32(self.alpha), values))

    def take(self, index: Indices) -> Step:
        return self


@dataclass(frozen=True, eq=False)
class Nearest:
    """float32 -> int64: the nearest integer, ties to even, plus zero, clamped to low..high.

    Clamped before it is rounded: low - zero and high - zero are integers, so the order makes no difference, and
    infinities become ends of the range.
    """

    zero: Integers
    low: int
    high: int
    sign: int = 1

    def __call__(self, values: Array) -> Array:
        clamped = np.clip(values, (self.low - self.zero).astype(np.float32), (self.high - self.zero).astype(np.float32))
        return np.asarray(np.rint(clamped).astype(np.int64) + self.zero)

    def take(self, index: Indices) -> Step:
        return Nearest(taken(self.zero, index), self.low, self.high)


@dataclass(frozen=True, eq=False)
class Chain:
    """Steps applied one after the other to vectors of n components; none: the identity."""

    steps: tuple[Step, ...]
    size: int

    def __call__(self, values: Array) -> Array:
        for step in self.steps:
            values = step(values)
        return values

    @property
    def direction(self) -> Signs:
        signs = np.ones(self.size, dtype=np.int8)
        for step in self.steps:
            signs = (signs * step.sign).astype(np.int8)
        return signs

    def take(self, index: Indices) -> Chain:
        return Chain(tuple(step.take(index) for step in self.steps), len(index))

    def then(self, *steps: Step) -> Chain:
        return Chain((*self.steps, *steps), self.size)


def taken(constant: Any, index: Indices) -> Any:
    """A constant of shape () or (n,) at these components."""
    return constant if constant.ndim == 0 else constant[index]
