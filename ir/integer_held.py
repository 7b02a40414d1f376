"""How a tensor of a quantised network is held while it is lowered: components of an integer node, and float steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from farkas.ir.integer_unary import Arithmetic, Chain, Float32, Integers, Nearest, Shift, Step, taken
from farkas.ir.linear import Indices
from farkas.ir.op import Op

INPUT = -1  # in place of a node: the network's floating-point input


@dataclass(frozen=True, eq=False)
class Scaled:
    """A tensor is scale (code - zero), nothing else; both () or (size,).

    direct: DequantizeLinear gave it, with no data movement since; paired: its codes are those of a QuantizeLinear;
    stated: the file has its zero point.
    """

    scale: Float32
    zero: Integers
    element: str
    direct: bool = True
    paired: bool = False
    stated: bool = True


@dataclass(frozen=True, eq=False)
class Pending:
    """A tensor is the float result of a product of codes, not yet requantised; limits: Relu and Clip since then.

    paired: the operand's codes are those of a QuantizeLinear; stated: zero points that have to be are.
    """

    scale: Float32
    kind: str
    element: str
    paired: bool
    stated: bool
    limits: tuple[tuple[float | None, float | None], ...] = ()


@dataclass(frozen=True, eq=False)
class Held:
    """A tensor: components `index` (in its shape) of a node, each passed through `steps`; element: None for floats."""

    node: int
    index: Indices
    steps: tuple[Step, ...] = ()
    element: str | None = None
    codes: Scaled | None = None
    product: Pending | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.index.shape)

    @property
    def chain(self) -> Chain:
        return Chain(self.steps, self.index.size)

    def moved(self, op: Op) -> Held:
        places: Any = op
        where = places.place(np.arange(self.index.size).reshape(self.shape))
        return self.at(where)

    def at(self, where: Indices) -> Held:
        """The tensor of these flat positions, in the shape of `where`."""
        flat = where.ravel()
        codes = self.codes
        if codes is not None:
            codes = replace(codes, scale=taken(codes.scale, flat), zero=taken(codes.zero, flat), direct=False)
        steps = tuple(step.take(flat) for step in self.steps)
        return Held(self.node, self.index.ravel()[where], steps, self.element, codes)


def flat_constant(values: Any, shape: tuple[int, ...]) -> Any:
    """A constant for every element, flat, or one for all of shape ()."""
    if values.size == 1:
        return values.reshape(())
    return np.ascontiguousarray(np.broadcast_to(values, shape)).ravel()


def _constant(step: Step) -> Any:
    match step:
        case Arithmetic(constant=constant):
            return constant
        case Shift(zero=zero) | Nearest(zero=zero):
            return zero
        case _:
            return np.zeros(())


def is_scalar(step: Step) -> bool:
    return bool(_constant(step).ndim == 0)


def is_common(step: Step, groups: Indices) -> bool:
    """Whether the step is the same for all members of each group."""
    constant = _constant(step)
    return constant.ndim == 0 or bool((constant[groups] == constant[groups[:, :1]]).all())


def is_same(a: Scaled, b: Scaled) -> bool:
    return a.element == b.element and same_numbers(a.scale, b.scale) and same_numbers(a.zero, b.zero)


def same_numbers(a: Any, b: Any) -> bool:
    return bool(a.size == 1 or b.size == 1 or a.size == b.size) and bool((a.ravel() == b.ravel()).all())
