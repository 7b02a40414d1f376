"""Operators that compare and choose: Relu, LeakyRelu, Abs, Clip, Max, Min, MaxPool.

Choosing rounds nothing.  `integer.py` writes each of them with one ReLU for a choice, over the reals; a witness is
replayed as the operator says.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

from farkas.checker.builder import (
    Builder,
    Handler,
    Tensor,
    broadcast,
    constant_at,
    is_present,
    operands_of,
    spread,
    variable_at,
)
from farkas.checker.steps import Choose, Leaky, Magnitude, Rectify
from farkas.checker.windows import windows_of

LARGEST = 2.0**128 - 2.0**104
MAX_PLACES = 4096  # of a window of MaxPool, each a step of its own


def _relu(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    x = variable_at(b, operands_of(b, inputs, 1))
    return [b.append(Rectify(b.whole(x)), x.shape)]


def _leaky_relu(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    x, slope = variable_at(b, operands_of(b, inputs, 1)), attributes.pop("alpha", 0.009999999776482582)
    if not isinstance(slope, float) or not isfinite(slope):
        b.fail(f"its slope {slope} is not finite")
    return [b.append(Leaky(b.whole(x), slope), x.shape)]


def _abs(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    x = variable_at(b, operands_of(b, inputs, 1))
    return [b.append(Magnitude(b.whole(x)), x.shape)]


def _clip(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    """min(max(x, low), high); bounds that are the largest numbers, or infinite, are none."""
    x = variable_at(b, inputs)
    if len(inputs) > (1 if b.opset < 11 else 3):
        b.fail(f"has {len(inputs)} operands")
    ends: list[float] = []
    for position, (name, none) in enumerate((("min", -LARGEST), ("max", LARGEST)), start=1):
        if b.opset < 11:
            end = attributes.pop(name, none)
        elif is_present(inputs, position):
            (end,) = constant_at(b, inputs, position, float).elements
        else:
            end = none
        if not isinstance(end, float) or end != end:
            b.fail(f"its bound {name} is not a number")
        ends.append(end)
    low, high = ends
    if low >= LARGEST or high <= -LARGEST:
        b.fail(f"it clips to [{low}, {high}]")
    if low > -LARGEST:
        x = _chosen(b, x, [low] * len(x.elements), smaller=False)
    if high < LARGEST:
        x = _chosen(b, x, [high] * len(x.elements), smaller=True)
    return [x]


def _chosen(b: Builder, left: Tensor, right: Tensor | list[float], *, smaller: bool) -> Tensor:
    other = b.view(right) if isinstance(right, Tensor) else right
    return b.append(Choose(b.view(left), other, smaller, len(left.elements)), left.shape)


def _max(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    return [_extremum(b, inputs, smaller=False)]


def _min(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    return [_extremum(b, inputs, smaller=True)]


def _extremum(b: Builder, inputs: list[Tensor | None], *, smaller: bool) -> Tensor:
    """Of the variables first, from the left, then with the constants."""
    operands = operands_of(b, inputs, 1, len(inputs))
    variables = [t for t in operands if t.dtype is None]
    constants = [t for t in operands if t.dtype is not None]
    if not variables or any(t.dtype is int for t in constants):
        b.fail("must compare float32 values, one of which depends on the network's input")
    shape = broadcast(b, *(t.shape for t in operands))
    best, *others = (Tensor(shape, spread(t, shape), None) for t in variables)
    for other in others:
        best = _chosen(b, best, other, smaller=smaller)
    if constants:
        columns = zip(*(spread(t, shape) for t in constants), strict=True)
        best = _chosen(b, best, [min(column) if smaller else max(column) for column in columns], smaller=smaller)
    return best


def _max_pool(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], outputs: int) -> list[Tensor]:
    """A tree of pairwise maxima over the places of a window; a place inside stands for those in the padding."""
    x = variable_at(b, operands_of(b, inputs, 1))
    if outputs != 1 or attributes.pop("storage_order", 0):
        b.fail("its indices are not supported")
    windows = windows_of(b, x.shape[2:], tuple(attributes.pop("kernel_shape")), attributes)
    shape = b.sized((*x.shape[:2], *windows.counts))
    b.sized(shape, windows.volume)
    if windows.volume > MAX_PLACES:
        b.fail(f"a window of {windows.volume} places is too large for this checker")
    taps = windows.taps()
    if not all(positions for positions, _ in taps):
        b.fail("some window lies wholly in the padding")
    area, maps = len(x.elements) // (x.shape[0] * x.shape[1]), x.shape[0] * x.shape[1]
    filled = [dict.fromkeys(range(windows.volume), max(positions)) for positions, _ in taps]
    for places, (positions, numbers) in zip(filled, taps, strict=True):
        places.update(zip(numbers, positions, strict=True))
    level = [
        Tensor(shape, [x.elements[m * area + places[k]] for m in range(maps) for places in filled], None)
        for k in range(windows.volume)
    ]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [_chosen(b, first, second, smaller=False) for first, second in pairs] + level[len(level) // 2 * 2 :]
    return level


HANDLERS: dict[str, Handler] = {
    "Abs": _abs,
    "Clip": _clip,
    "LeakyRelu": _leaky_relu,
    "Max": _max,
    "MaxPool": _max_pool,
    "Min": _min,
    "Relu": _relu,
}
