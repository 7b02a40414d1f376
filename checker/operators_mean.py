"""Sums and means of elements, and normalisation by channel."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import isfinite, prod
from typing import Any

from farkas.checker.builder import (
    SMALLEST_NORMAL,
    Builder,
    Handler,
    Tensor,
    axis_of,
    constant_at,
    is_present,
    operands_of,
    pick,
    variable_at,
)
from farkas.checker.steps import Channel, Mean, Normalize
from farkas.checker.windows import windows_of

LARGEST_FACTOR = 1 << 40
"""What the constants of a normalisation may reach, see `integer.Group.scaled`."""


def _average_pool(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    """The mean of each window, over its places inside the image or (count_include_pad) over all of them."""
    x = variable_at(b, operands_of(b, inputs, 1))
    padded = attributes.pop("count_include_pad", 0) != 0
    windows = windows_of(b, x.shape[2:], tuple(attributes.pop("kernel_shape")), attributes)
    shape = b.sized((*x.shape[:2], *windows.counts))
    b.sized(shape, windows.volume)
    taps = windows.taps()
    if (padded and windows.passes_padding) or not all(positions for positions, _ in taps):
        b.fail("some window has no agreed mean: it lies in the padding, or passes it")
    area, maps = prod(x.shape[2:]), prod(x.shape[:2])
    rows = [[m * area + p for p in positions] for m in range(maps) for positions, _ in taps]
    divisors = [windows.volume if padded else len(positions) for positions in rows]
    return [b.append(Mean(b.view(x), rows, divisors, windows.volume), shape)]


def _global_average_pool(
    b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int
) -> list[Tensor]:
    x = variable_at(b, operands_of(b, inputs, 1))
    if len(x.shape) < 3:
        b.fail(f"shape {x.shape} has no spatial axis")
    return [_reduced(b, x, range(2, len(x.shape)), keep=True, mean=True)]


def _reduce_mean(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    return [_reduce(b, inputs, attributes, mean=True, operand=18)]


def _reduce_sum(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    return [_reduce(b, inputs, attributes, mean=False, operand=13)]


def _reduce(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], *, mean: bool, operand: int) -> Tensor:
    """axes: an attribute before the opset `operand`, an operand since; without any, all of them."""
    x = variable_at(b, inputs)
    if len(inputs) > (1 if b.opset < operand else 2) or attributes.pop("noop_with_empty_axes", 0):
        b.fail("has operands or attributes that are not supported")
    axes: list[int] = []
    if b.opset < operand:
        axes = list(attributes.pop("axes", []))
    elif is_present(inputs, 1):
        axes = list(constant_at(b, inputs, 1, int).elements)
    chosen = sorted({axis_of(b, a, len(x.shape)) for a in axes}) or range(len(x.shape))
    return _reduced(b, x, chosen, keep=attributes.pop("keepdims", 1) != 0, mean=mean)


def _reduced(b: Builder, x: Tensor, axes: Sequence[int], *, keep: bool, mean: bool) -> Tensor:
    strides = [prod(x.shape[i + 1 :]) for i in range(len(x.shape))]
    starts, steps = [0], [0]
    for axis, size in enumerate(x.shape):
        if axis in axes:
            steps = [s + strides[axis] * i for s in steps for i in range(size)]
        else:
            starts = [s + strides[axis] * i for s in starts for i in range(size)]
    kept = [1 if axis in axes else d for axis, d in enumerate(x.shape)]
    shape = tuple(d for axis, d in enumerate(kept) if keep or axis not in axes)
    rows = [[start + step for step in steps] for start in starts]
    return b.append(Mean(b.view(x), rows, [len(steps) if mean else 1] * len(rows), len(steps)), shape)


def _batch_normalization(
    b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], outputs: int
) -> list[Tensor]:
    """Inference, with statistics per channel (axis 1)."""
    operands_of(b, inputs, 5)
    x = variable_at(b, inputs)
    scale, bias, mean, variance = (constant_at(b, inputs, i, float) for i in range(1, 5))
    attributes.pop("momentum", None)
    if outputs != 1 or attributes.pop("training_mode", 0) or not attributes.pop("spatial", 1):
        b.fail("only inference with statistics per channel is supported")
    epsilon = attributes.pop("epsilon", 9.999999747378752e-06)
    if len(x.shape) < 2 or any(t.shape != x.shape[1:2] for t in (scale, bias, mean, variance)):
        b.fail(f"its constants do not all have the {x.shape[1:2]} channels of its operand")
    if not isinstance(epsilon, float) or not isfinite(epsilon) or epsilon < 0:
        b.fail(f"its epsilon is {epsilon}")
    columns = zip(scale.elements, bias.elements, mean.elements, variance.elements, strict=True)
    channels = [Channel(*column) for column in columns]
    for channel in channels:
        _check(b, channel, epsilon)
    area = prod(x.shape[2:])
    spread = pick(channels, (1, len(channels), 1), [[0] * x.shape[0], range(len(channels)), [0] * area])
    return [b.append(Normalize(b.view(x), spread, epsilon), x.shape)]


def _check(b: Builder, channel: Channel, epsilon: float) -> None:
    """No factor is subnormal, and all of them leave room below overflow."""
    total = Fraction(channel.variance) + Fraction(epsilon)
    scale, mean = abs(Fraction(channel.scale)), abs(Fraction(channel.mean))
    if channel.variance < 0 or not Fraction(1, 1 << 60) <= total <= 1 << 127:
        b.fail("variance and epsilon must not be negative, and their sum must lie between 2^-60 and 2^127")
    largest = max(Fraction(1), 1 / total, scale**2, scale**2 / total) * (1 + mean) ** 2
    if 0 < scale < SMALLEST_NORMAL or largest > LARGEST_FACTOR**2 or abs(channel.bias) > LARGEST_FACTOR:
        b.fail("its constants are too large, or its scale is a subnormal number")


HANDLERS: dict[str, Handler] = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "GlobalAveragePool": _global_average_pool,
    "ReduceMean": _reduce_mean,
    "ReduceSum": _reduce_sum,
}
