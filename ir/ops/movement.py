"""Data movement: operators that put elements elsewhere and compute nothing.

Each is one NumPy expression, `place`, on arrays of anything.  `denote` applies it to the scalars of an algebra, `lower`
to the positions of the elements, which gives a Selection, and constant folding to the constants themselves; no error
arises in any of them.  Target shapes and indices are resolved at import (farkas.ir.ops.layout), so these operators
hold plain constants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from farkas.ir.algebra import Algebra, Array, Numbers
from farkas.ir.errors import ShapeError
from farkas.ir.linear import Indices
from farkas.ir.op import Op, Shape

if TYPE_CHECKING:
    from farkas.ir.lowering import Builder, Value


class _Movement:
    """denote and lower in terms of place; `infer` checks that the operand fits before `place` runs on it."""

    @property
    def constants(self) -> tuple[Numbers, ...]:
        """Constants that appear in the result; `place` takes them after the variable operands."""
        return ()

    def place(self, *xs: Any) -> Any:
        raise NotImplementedError

    def denote(self, alg: Algebra, *xs: Array) -> Array:
        return np.asarray(self.place(*xs, *(alg.constant(c) for c in self.constants)))

    def lower(self, b: Builder, *xs: Value) -> Value:
        return b.rearrange(self.place, xs, self.constants)


@dataclass(frozen=True)
class Reshape(_Movement):
    """The same elements, in the same order, in another shape."""

    shape: Shape
    onnx: ClassVar[str] = "Reshape"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        if math.prod(x) != math.prod(self.shape):
            raise ShapeError(f"a tensor of shape {x} cannot be reshaped to {self.shape}")
        return self.shape

    def place(self, *xs: Any) -> Any:
        return xs[0].reshape(self.shape)


@dataclass(frozen=True)
class Transpose(_Movement):
    """Axes in another order: axis i of the result is axis order[i] of the operand."""

    order: tuple[int, ...]
    onnx: ClassVar[str] = "Transpose"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        if sorted(self.order) != list(range(len(x))):
            raise ShapeError(f"Transpose by {self.order} does not fit shape {x}")
        return tuple(x[axis] for axis in self.order)

    def place(self, *xs: Any) -> Any:
        return xs[0].transpose(self.order)


@dataclass(frozen=True)
class Expand(_Movement):
    """The operand broadcast to `shape`."""

    shape: Shape
    onnx: ClassVar[str] = "Expand"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        fits = len(x) <= len(self.shape) and all(m in (1, n) for m, n in zip(x[::-1], self.shape[::-1], strict=False))
        if not fits:
            raise ShapeError(f"a tensor of shape {x} cannot be expanded to {self.shape}")
        return self.shape

    def place(self, *xs: Any) -> Any:
        return np.broadcast_to(xs[0], self.shape)


@dataclass(frozen=True)
class Slice(_Movement):
    """The elements whose index along each axis lies in that axis's range, in its order."""

    ranges: tuple[range, ...]
    onnx: ClassVar[str] = "Slice"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        inside = len(x) == len(self.ranges) and all(
            min(r, default=0) >= 0 and max(r, default=0) < n for r, n in zip(self.ranges, x, strict=False)
        )
        if not inside:
            raise ShapeError(f"slices {self.ranges} do not fit a tensor of shape {x}")
        return tuple(len(r) for r in self.ranges)

    def place(self, *xs: Any) -> Any:
        return xs[0][np.ix_(*self.ranges)] if self.ranges else xs[0]


@dataclass(frozen=True, eq=False)
class Gather(_Movement):
    """The slices `indices`, an array of nonnegative integers, along one axis, which its axes replace."""

    axis: int
    indices: Indices
    onnx: ClassVar[str] = "Gather"

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        if self.axis >= len(x) or (self.indices < 0).any() or (self.indices >= x[self.axis]).any():
            raise ShapeError(f"Gather along axis {self.axis} leaves a tensor of shape {x}")
        return (*x[: self.axis], *self.indices.shape, *x[self.axis + 1 :])

    def place(self, *xs: Any) -> Any:
        return np.take(xs[0], self.indices, axis=self.axis)


@dataclass(frozen=True, eq=False)
class Concat(_Movement):
    """Tensors one after the other along an axis; a part that is None is the next variable operand."""

    axis: int
    parts: tuple[Numbers | None, ...]
    onnx: ClassVar[str] = "Concat"

    @property
    def constants(self) -> tuple[Numbers, ...]:
        return tuple(part for part in self.parts if part is not None)

    def infer(self, *shapes: Shape) -> Shape:
        variables = iter(shapes)
        found = [next(variables) if part is None else part.shape for part in self.parts]
        rest = {(*s[: self.axis], *s[self.axis + 1 :]) for s in found}
        if len(rest) != 1 or any(self.axis >= len(s) for s in found):
            raise ShapeError(f"shapes {found} cannot be concatenated along axis {self.axis}")
        total = sum(s[self.axis] for s in found)
        return (*found[0][: self.axis], total, *found[0][self.axis + 1 :])

    def place(self, *xs: Any) -> Any:
        variables, constants = iter(xs), iter(xs[sum(part is None for part in self.parts) :])
        return np.concatenate([next(variables if part is None else constants) for part in self.parts], self.axis)


@dataclass(frozen=True)
class Pad(_Movement):
    """A border of a constant value: pads[i] = (before, after) along axis i; negative widths crop."""

    pads: tuple[tuple[int, int], ...]
    value: float = 0.0
    onnx: ClassVar[str] = "Pad"

    @property
    def constants(self) -> tuple[Numbers, ...]:
        return (np.array([self.value]),)

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        result = tuple(n + before + after for n, (before, after) in zip(x, self.pads, strict=False))
        cropped = [n + min(before, 0) + min(after, 0) for n, (before, after) in zip(x, self.pads, strict=False)]
        if len(x) != len(self.pads) or min(cropped, default=1) < 1:
            raise ShapeError(f"padding by {self.pads} does not fit a tensor of shape {x}")
        return result

    def place(self, *xs: Any) -> Any:
        x, value = xs
        result = np.empty(self.infer(x.shape), dtype=x.dtype)
        result[...] = value.reshape(())
        into = tuple(
            slice(max(before, 0), n - max(after, 0)) for n, (before, after) in zip(result.shape, self.pads, strict=True)
        )
        out = tuple(
            slice(max(-before, 0), n - max(-after, 0)) for n, (before, after) in zip(x.shape, self.pads, strict=True)
        )
        result[into] = x[out]
        return result


@dataclass(frozen=True, eq=False)
class Where(_Movement):
    """The first part where the constant `mask` holds, else the second; a part that is None is the next operand."""

    mask: Any  # boolean array
    parts: tuple[Numbers | None, Numbers | None]
    onnx: ClassVar[str] = "Where"

    @property
    def constants(self) -> tuple[Numbers, ...]:
        return tuple(part for part in self.parts if part is not None)

    def infer(self, *shapes: Shape) -> Shape:
        try:
            found = np.broadcast_shapes(self.mask.shape, *shapes, *(c.shape for c in self.constants))
        except ValueError as error:
            raise ShapeError(f"shapes {shapes} do not fit a mask of shape {self.mask.shape}") from error
        return tuple(int(n) for n in found)

    def place(self, *xs: Any) -> Any:
        first, second = xs[::-1] if self.parts[0] is not None and self.parts[1] is None else xs
        return np.where(self.mask, first, second)


OPS: tuple[type[Op], ...] = (Reshape, Transpose, Expand, Slice, Gather, Concat, Pad, Where)
