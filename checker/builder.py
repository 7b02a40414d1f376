"""What the handlers of operators share: tensors, the builder of steps, operands, broadcasting.

A handler takes (builder, inputs, attributes, number of outputs) and returns the outputs.  It removes every attribute
that it has understood; the caller refuses what is left.  Data movement works on lists of elements, of constants and
of variables alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NoReturn

from farkas.checker.errors import MalformedInput
from farkas.checker.steps import Copy, Program, Source, Step, View

Shape = tuple[int, ...]
MAX_SIZE = 5_000_000
SMALLEST_NORMAL = 2.0**-126


@dataclass(frozen=True)
class Tensor:
    """elements, row-major: numbers of a constant (dtype float or int), else (step, element) pairs (dtype None)."""

    shape: Shape
    elements: Sequence[Any]
    dtype: type | None


Handler = Callable[["Builder", list[Tensor | None], dict[str, Any], int], list[Tensor]]


class Builder:
    """Appends steps; `where` names the node in error messages."""

    def __init__(self, opset: int, size: int) -> None:
        self.opset = opset
        self.network = ""  # the name of the network that is being read
        self.steps: list[Step] = [Source(size)]
        self.sizes: list[int] = [size]
        self.where = "network"

    def fail(self, why: str) -> NoReturn:
        raise MalformedInput("network", f"{self.where}: {why}")

    def sized(self, shape: Shape, *factors: int) -> Shape:
        """shape, when a value of it (times further factors) is not too large to be written out element by element."""
        if prod((*shape, *factors)) > MAX_SIZE:
            self.fail(f"a value of shape {shape} is too large for this checker")
        return shape

    def append(self, step: Step, shape: Shape) -> Tensor:
        """A new step whose value has this shape."""
        size = prod(self.sized(shape))
        self.steps.append(step)
        self.sizes.append(size)
        number = len(self.steps) - 1
        return Tensor(shape, [(number, i) for i in range(size)], None)

    def join(self, elements: Sequence[Any], shape: Shape) -> Tensor:
        """Elements of variables and numbers; a copy is made when there are numbers among them."""
        if any(isinstance(e, float) for e in elements):
            return self.append(Copy(elements), shape)
        return Tensor(self.sized(shape), elements, None)

    def view(self, x: Tensor, *, distinct: bool = False) -> View:
        """x as elements of one step (distinct: without repetition); a copy is made when it is not that."""
        steps = {step for step, _ in x.elements}
        index = [i for _, i in x.elements]
        if len(steps) != 1 or (distinct and len(set(index)) < len(index)):
            self.append(Copy(x.elements), x.shape)
            return View(len(self.steps) - 1, None)
        (step,) = steps
        return View(step, None if index == list(range(self.sizes[step])) else index)

    def whole(self, x: Tensor) -> int:
        """The step whose value is x; a copy is made when there is none."""
        view = self.view(x)
        if view.index is not None:
            self.append(Copy(x.elements), x.shape)
            return len(self.steps) - 1
        return view.step

    def finish(self, outputs: Sequence[Tensor]) -> Program:
        """The program whose value is `outputs`, one after the other."""
        self.where = "output"
        elements = [element for output in outputs for element in output.elements]
        step = self.whole(Tensor((len(elements),), elements, None))
        return Program(tuple(self.steps), tuple(self.sizes), step)


def variable_at(b: Builder, inputs: Sequence[Tensor | None], position: int = 0) -> Tensor:
    tensor = inputs[position] if position < len(inputs) else None
    if tensor is None or tensor.dtype is not None:
        b.fail(f"operand {position} must depend on the network's input")
    return tensor


def constant_at(b: Builder, inputs: Sequence[Tensor | None], position: int, dtype: type) -> Tensor:
    tensor = inputs[position] if position < len(inputs) else None
    if tensor is None or tensor.dtype is not dtype:
        b.fail(f"operand {position} must be a constant of type {dtype.__name__}")
    return tensor


def is_present(inputs: Sequence[Tensor | None], position: int) -> bool:
    return position < len(inputs) and inputs[position] is not None


def bias_of(
    b: Builder, inputs: Sequence[Tensor | None], shape: Shape, stored: Shape | None = None
) -> Sequence[float] | None:
    """Operand 2, if there is one, read in the shape `stored` and broadcast to `shape`; there is no operand 3."""
    if len(inputs) > 3:
        b.fail(f"has {len(inputs)} operands")
    if not is_present(inputs, 2):
        return None
    c = constant_at(b, inputs, 2, float)
    c = Tensor(c.shape if stored is None else stored, c.elements, float)
    if len(c.elements) != prod(c.shape) or broadcast(b, c.shape, shape) != shape:
        b.fail(f"a bias of {len(c.elements)} elements does not fit shape {shape}")
    return spread(c, shape)


def operands_of(b: Builder, inputs: Sequence[Tensor | None], low: int, high: int | None = None) -> list[Tensor]:
    """All operands, of which there must be low to high, none left out."""
    present = [t for t in inputs if t is not None]
    if len(present) != len(inputs) or not low <= len(present) <= (low if high is None else high):
        b.fail(f"has {len(inputs)} operands")
    return present


def axis_of(b: Builder, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        b.fail(f"axis {axis} does not exist in rank {rank}")
    return axis % rank


def broadcast(b: Builder, *shapes: Shape) -> Shape:
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(s)) + s for s in shapes]
    result = tuple(max(dims) if 0 not in dims else 0 for dims in zip(*padded, strict=True))
    if any(d not in (1, r) for s in padded for d, r in zip(s, result, strict=True)):
        b.fail(f"shapes {shapes} do not broadcast")
    return b.sized(result)


def spread(x: Tensor, shape: Shape) -> Sequence[Any]:
    """The elements of x broadcast to shape."""
    if x.shape == shape:
        return x.elements
    padded = (1,) * (len(shape) - len(x.shape)) + x.shape
    return pick(x.elements, padded, [range(d) if d == s else [0] * s for d, s in zip(padded, shape, strict=True)])


def pick(elements: Sequence[Any], shape: Shape, chosen: Sequence[Sequence[int]]) -> list[Any]:
    """elements[i, j, ...] for i in chosen[0], j in chosen[1], ..., row-major."""
    positions = [0]
    for size, choice in zip(shape, chosen, strict=True):
        positions = [p * size + c for p in positions for c in choice]
    return [elements[p] for p in positions]
