"""Convolution and its transpose, over any number of spatial axes; taps in the padding are left out, for they add zeros.

Rows share what they have in common: the positions of a window among the filters, the weights of a filter among the
windows that see the same taps.  So a layer takes memory for one filter's positions and one window's weights, with
two references for each row.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

from farkas.checker.builder import Builder, Handler, Shape, Tensor, bias_of, constant_at, operands_of, variable_at
from farkas.checker.steps import Product, Row
from farkas.checker.windows import Taps, flattened, windows_of

Window = tuple[list[int], tuple[int, ...]]


def _operands(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any]) -> tuple[Tensor, Tensor, int]:
    """Image, weights, groups."""
    operands_of(b, inputs[:2], 2)
    x, w = variable_at(b, inputs), constant_at(b, inputs, 1, float)
    groups = attributes.pop("group", 1)
    kernel = tuple(attributes.pop("kernel_shape", w.shape[2:]))
    if len(x.shape) < 3 or len(w.shape) != len(x.shape) or kernel != w.shape[2:] or groups < 1 or prod(w.shape) < 1:
        b.fail(f"shapes {x.shape} and {w.shape}, kernel {kernel} or groups {groups} do not fit")
    return x, w, groups


def _conv(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    x, w, groups = _operands(b, inputs, attributes)
    batch, channels, *space = x.shape
    filters, depth = w.shape[:2]
    if channels != depth * groups or filters % groups:
        b.fail(f"{channels} channels do not fit {filters} filters of depth {depth} in {groups} groups")
    windows = windows_of(b, tuple(space), w.shape[2:], attributes)
    shape = b.sized((batch, filters, *windows.counts))
    b.sized((batch, channels, *windows.counts), windows.volume)
    volume, each = windows.volume, filters // groups

    def weight(f: int, c: int, t: int) -> float:
        number: float = w.elements[(f * depth + c) * volume + t]
        return number

    rows = _rows(windows.taps(), (batch, groups, depth, each), prod(space), weight)
    bias = bias_of(b, inputs, shape, (filters, *[1] * len(space)))
    return [b.append(Product(b.view(x, distinct=True), rows, bias, depth * volume), shape)]


def _conv_transpose(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    """Every kernel place counts as a product, though with strides many of them meet no pixel."""
    x, w, groups = _operands(b, inputs, attributes)
    batch, channels, *space = x.shape
    rank, kernel, each = len(space), w.shape[2:], w.shape[1]
    if channels != w.shape[0] or channels % groups or attributes.pop("auto_pad", b"NOTSET") not in (b"NOTSET", b""):
        b.fail(f"{channels} channels do not fit weights of shape {w.shape} in {groups} groups, or auto_pad is set")
    strides, dilations = attributes.pop("strides", [1] * rank), attributes.pop("dilations", [1] * rank)
    pads, extra = attributes.pop("pads", [0] * 2 * rank), attributes.pop("output_padding", [0] * rank)
    if {len(strides), len(dilations), len(extra)} != {rank} or len(pads) != 2 * rank:
        b.fail("strides, dilations, pads or output_padding have the wrong length")
    if min((*strides, *dilations)) < 1 or min((*pads, *extra)) < 0 or any(map(int.__ge__, extra, strides)):
        b.fail("strides, dilations, pads or output_padding have the wrong sign or size")
    sizes = [
        strides[i] * (n - 1) + extra[i] + dilations[i] * (kernel[i] - 1) + 1 - pads[i] - pads[i + rank]
        for i, n in enumerate(space)
    ]
    if min(sizes) < 1:
        b.fail(f"its output would have {sizes} pixels")
    depth, volume = channels // groups, prod(kernel)
    shape = b.sized((batch, groups * each, *sizes))
    b.sized((batch, channels, *sizes), volume)
    axes = [_reached(sizes[i], n, kernel[i], strides[i], dilations[i], pads[i]) for i, n in enumerate(space)]
    taps = [flattened(tuple(space), kernel, chosen) for chosen in product(*axes)]

    def weight(f: int, c: int, t: int) -> float:
        number: float = w.elements[((f // each * depth + c) * each + f % each) * volume + t]
        return number

    rows = _rows(taps, (batch, groups, depth, each), prod(space), weight)
    bias = bias_of(b, inputs, shape, (groups * each, *[1] * rank))
    return [b.append(Product(b.view(x, distinct=True), rows, bias, depth * volume), shape)]


def _reached(count: int, size: int, kernel: int, stride: int, dilation: int, before: int) -> Taps:
    """Per pixel of the result the (tap, input position) pairs with position stride - before + tap dilation = pixel."""
    taps: Taps = []
    for pixel in range(count):
        offsets = [(t, pixel + before - t * dilation) for t in range(kernel)]
        taps.append([(t, o // stride) for t, o in offsets if o % stride == 0 and 0 <= o // stride < size])
    return taps


def _rows(windows: list[Window], layout: Shape, area: int, weight: Any) -> list[Row]:
    """Batch, group, filter, window; layout: their numbers but for the windows, with the depth before the filters."""
    batch, groups, depth, each = layout
    numbers = list(range(batch * groups * depth * area))  # one object per position, shared by all windows
    rows: list[Row] = []
    shared: dict[tuple[int, tuple[int, ...]], list[float]] = {}
    for image, group in product(range(batch), range(groups)):
        first = (image * groups + group) * depth
        offsets = [(first + c) * area for c in range(depth)]
        inside = [[numbers[offset + p] for offset in offsets for p in positions] for positions, _ in windows]
        for f in range(group * each, (group + 1) * each):
            for places, (_, taps) in zip(inside, windows, strict=True):
                weights = shared.get((f, taps))
                if weights is None:
                    weights = shared[f, taps] = [weight(f, c, t) for c in range(depth) for t in taps]
                rows.append((places, weights))
    return rows


HANDLERS: dict[str, Handler] = {"Conv": _conv, "ConvTranspose": _conv_transpose}
