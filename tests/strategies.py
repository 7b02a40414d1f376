"""Hypothesis strategies: for every surface operator, samples of it with the shapes of its operands.

`SAMPLES` has one entry per operator class; tests/agreement fails when an operator is registered without one.  Constants
are multiples of 1/8 of small size, so that exact arithmetic stays short and hand-checkable; shapes are small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from farkas.ir.op import Op, Shape
from farkas.ir.ops.activation import Abs, Clip, LeakyRelu, Max, Min, Relu
from farkas.ir.ops.affine import Add, LeftProduct, Linear, Sub
from farkas.ir.ops.convolution import Conv, ConvTranspose
from farkas.ir.ops.movement import Concat, Expand, Gather, Pad, Reshape, Slice, Transpose, Where
from farkas.ir.ops.multiplication import Multiply
from farkas.ir.ops.pooling import AveragePool, MaxPool, Reduce
from farkas.ir.ops.scaling import BatchNormalization, Neg, Scale
from farkas.ir.windows import Windows

Float32 = npt.NDArray[np.float32]
Draw = st.DrawFn


@dataclass(frozen=True)
class Sample:
    """An operator and the shapes of variable operands that it accepts."""

    op: Op
    shapes: tuple[Shape, ...]


eighths = st.integers(-16, 16).map(lambda n: n / 8)
positive_eighths = st.integers(1, 16).map(lambda n: n / 8)


def constants(shape: Shape, elements: st.SearchStrategy[float] = eighths) -> st.SearchStrategy[Float32]:
    """float32 arrays of a shape, elements multiples of 1/8 in [-2, 2]."""
    count = math.prod(shape)
    return st.lists(elements, min_size=count, max_size=count).map(
        lambda values: np.array(values, dtype=np.float32).reshape(shape)
    )


def shapes(min_dims: int = 0, max_dims: int = 3, max_side: int = 3) -> st.SearchStrategy[Shape]:
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, max_side=max_side)


def rationals(count: int) -> st.SearchStrategy[list[Fraction]]:
    """`count` rationals whose denominators are no powers of two only."""
    return st.lists(st.fractions(-4, 4, max_denominator=12), min_size=count, max_size=count)


@st.composite
def broadcastable(draw: Draw, shape: Shape) -> Shape:
    """A shape that broadcasts to `shape`: some leading axes dropped, some lengths set to 1."""
    kept = shape[draw(st.integers(0, len(shape))) :]
    return tuple(n if draw(st.booleans()) else 1 for n in kept)


@st.composite
def linear(draw: Draw) -> Sample:
    lead = draw(shapes(0, 2))
    m, k = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    bias_shape = draw(st.sampled_from([None, (m,), (1,), (), (*lead, m)]))
    bias = None if bias_shape is None else draw(constants(bias_shape))
    alpha, beta = draw(st.sampled_from([(1.0, 1.0), (1.0, 0.5), (-2.0, 1.0), (2.5, 0.0)]))
    return Sample(Linear(draw(constants((m, k))), bias, alpha, beta), ((*lead, k),))


@st.composite
def left_product(draw: Draw) -> Sample:
    m, k = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return Sample(LeftProduct(draw(constants((m, k)))), ((*draw(shapes(0, 1)), k, draw(st.integers(1, 3))),))


@st.composite
def add(draw: Draw) -> Sample:
    shape = draw(shapes())
    operands = (shape, *draw(st.lists(broadcastable(shape), max_size=2)))
    constant = draw(st.none() | broadcastable(shape).flatmap(constants))
    return Sample(Add(constant), operands)


@st.composite
def sub(draw: Draw) -> Sample:
    shape = draw(shapes())
    smaller = draw(broadcastable(shape))
    if draw(st.booleans()):
        return Sample(Sub(), draw(st.sampled_from([(shape, smaller), (smaller, shape)])))
    constant, operand = draw(st.sampled_from([(shape, smaller), (smaller, shape)]))
    return Sample(Sub(draw(constants(constant)), reverse=draw(st.booleans())), (operand,))


@st.composite
def scale(draw: Draw) -> Sample:
    shape = draw(shapes())
    factor, operand = draw(st.sampled_from([0, 1])), draw(broadcastable(shape))
    pair = (shape, operand) if factor else (operand, shape)
    divide = draw(st.booleans())
    return Sample(Scale(draw(constants(pair[0], positive_eighths if divide else eighths)), divide), (pair[1],))


@st.composite
def multiply(draw: Draw) -> Sample:
    shape = draw(shapes())
    smaller = draw(broadcastable(shape))
    return Sample(Multiply(), draw(st.sampled_from([(shape, smaller), (smaller, shape)])))


@st.composite
def batch_normalization(draw: Draw) -> Sample:
    channels = draw(st.integers(1, 3))
    parts = [draw(constants((channels,))) for _ in range(3)]
    variance = draw(constants((channels,), positive_eighths))
    shape = (draw(st.integers(1, 2)), channels, *draw(shapes(0, 2)))
    return Sample(BatchNormalization(parts[0], parts[1], parts[2], variance, float(np.float32(1e-5))), (shape,))


@st.composite
def windows(draw: Draw, image: tuple[int, int], *, ceil: bool = False) -> Windows:
    """Windows of which at least one fits the padded image; padding is smaller than the windows."""
    flat = image[0] == 1
    kernel = (1 if flat else draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    pads = tuple(draw(st.integers(0, kernel[i % 2] - 1)) for i in range(4))
    strides = (1 if flat else draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    dilations = tuple(
        draw(st.integers(1, 2)) if 2 * (kernel[i] - 1) + 1 <= image[i] + pads[i] + pads[i + 2] else 1 for i in (0, 1)
    )
    made = Windows(kernel, strides, (pads[0], pads[1], pads[2], pads[3]), (dilations[0], dilations[1]), ceil)
    if min(made.counts(image)) < 1:
        return Windows((1, 1), strides, ceil=ceil)
    return made


@st.composite
def image_shapes(draw: Draw, channels: int) -> tuple[Shape, tuple[int, int]]:
    """(batch, channels, [height,] width), and (height, width)."""
    batch, width = draw(st.integers(1, 2)), draw(st.integers(1, 5))
    if draw(st.booleans()):
        return (batch, channels, width), (1, width)
    height = draw(st.integers(2, 4))
    return (batch, channels, height, width), (height, width)


@st.composite
def conv(draw: Draw) -> Sample:
    groups, m, c = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    shape, image = draw(image_shapes(groups * c))
    found = draw(windows(image))
    weight = draw(constants((groups, m, c, found.places)))
    return Sample(Conv(weight, draw(st.none() | constants((groups * m,))), found), (shape,))


@st.composite
def conv_transpose(draw: Draw) -> Sample:
    groups, m, c = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    shape, image = draw(image_shapes(groups * m))
    found = draw(windows(image))
    weight = draw(constants((groups, c, m, found.places)))
    small = (shape[0], groups * c, *found.counts(image)[4 - len(shape) :])
    return Sample(ConvTranspose(weight, draw(st.none() | constants((groups * m,))), found, image), (small,))


@st.composite
def max_pool(draw: Draw) -> Sample:
    shape, image = draw(image_shapes(draw(st.integers(1, 2))))
    found = draw(windows(image, ceil=draw(st.booleans())))
    if (found.positions(image).max(axis=1) < 0).any():
        found = Windows((1, 1))
    return Sample(MaxPool(found), (shape,))


@st.composite
def average_pool(draw: Draw) -> Sample:
    shape, image = draw(image_shapes(draw(st.integers(1, 2))))
    include = draw(st.booleans())
    found = draw(windows(image, ceil=not include and draw(st.booleans())))
    if (found.positions(image).max(axis=1) < 0).any():
        found = Windows((1, 1))
    return Sample(AveragePool(found, include), (shape,))


@st.composite
def reduce(draw: Draw) -> Sample:
    shape = draw(shapes(1, 3))
    axes = draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    return Sample(Reduce(tuple(sorted(axes)), draw(st.booleans()), draw(st.booleans())), (shape,))


def _unary(op: st.SearchStrategy[Op]) -> st.SearchStrategy[Sample]:
    return st.builds(lambda made, shape: Sample(made, (shape,)), op, shapes())


@st.composite
def clip(draw: Draw) -> Op:
    low, high = draw(st.none() | eighths), draw(st.none() | eighths)
    return Clip(low, high)


@st.composite
def extremum(draw: Draw, kind: type[Max] | type[Min]) -> Sample:
    shape = draw(shapes())
    operands = (shape, *draw(st.lists(broadcastable(shape), max_size=2)))
    return Sample(kind(draw(st.none() | broadcastable(shape).flatmap(constants))), operands)


@st.composite
def reshape(draw: Draw) -> Sample:
    shape = draw(shapes(1, 3))
    size = math.prod(shape)
    return Sample(Reshape(draw(st.sampled_from([(size,), (1, size), (size, 1, 1), shape[::-1]]))), (shape,))


@st.composite
def transpose(draw: Draw) -> Sample:
    shape = draw(shapes(1, 4, 3))
    return Sample(Transpose(tuple(draw(st.permutations(range(len(shape)))))), (shape,))


@st.composite
def expand(draw: Draw) -> Sample:
    shape = draw(shapes(1, 3))
    return Sample(Expand(shape), (draw(broadcastable(shape)),))


@st.composite
def slices(draw: Draw) -> Sample:
    shape = draw(shapes(1, 3, 5))
    ranges = []
    for n in shape:
        start, step = draw(st.integers(0, n - 1)), draw(st.sampled_from([1, 2, -1, -2]))
        stop = draw(st.integers(start + 1, n)) if step > 0 else draw(st.integers(-1, start - 1))
        ranges.append(range(start, stop, step))
    return Sample(Slice(tuple(ranges)), (shape,))


@st.composite
def gather(draw: Draw) -> Sample:
    shape = draw(shapes(1, 3))
    axis = draw(st.integers(0, len(shape) - 1))
    wanted = draw(shapes(0, 2))
    count = math.prod(wanted)
    chosen = draw(st.lists(st.integers(0, shape[axis] - 1), min_size=count, max_size=count))
    return Sample(Gather(axis, np.array(chosen, dtype=np.int64).reshape(wanted)), (shape,))


@st.composite
def concat(draw: Draw) -> Sample:
    shape = draw(shapes(1, 3))
    axis = draw(st.integers(0, len(shape) - 1))
    parts: list[Any] = []
    operands: list[Shape] = []
    for constant in draw(st.permutations([False, *draw(st.lists(st.booleans(), max_size=2))])):
        part = (*shape[:axis], draw(st.integers(1, 3)), *shape[axis + 1 :])
        parts.append(draw(constants(part)) if constant else None)
        operands.extend([] if constant else [part])
    return Sample(Concat(axis, tuple(parts)), tuple(operands))


@st.composite
def pad(draw: Draw) -> Sample:
    shape = draw(shapes(1, 3))
    pads = []
    for n in shape:
        before = draw(st.integers(1 - n, 2))
        pads.append((before, draw(st.integers(1 - n - min(before, 0), 2))))
    return Sample(Pad(tuple(pads), draw(eighths)), (shape,))


@st.composite
def where(draw: Draw) -> Sample:
    shape = draw(shapes(1, 3))
    mask_shape = draw(broadcastable(shape))
    count = math.prod(mask_shape)
    mask = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count))).reshape(mask_shape).astype(bool)
    first, second = (draw(st.none() | broadcastable(shape).flatmap(constants)) for _ in range(2))
    if first is not None and second is not None:
        second = None
    return Sample(Where(mask, (first, second)), (shape,) * ((first is None) + (second is None)))


SAMPLES: Mapping[type[Op], st.SearchStrategy[Sample]] = {
    Linear: linear(),
    LeftProduct: left_product(),
    Add: add(),
    Sub: sub(),
    Scale: scale(),
    Multiply: multiply(),
    Neg: _unary(st.just(Neg())),
    BatchNormalization: batch_normalization(),
    Conv: conv(),
    ConvTranspose: conv_transpose(),
    MaxPool: max_pool(),
    AveragePool: average_pool(),
    Reduce: reduce(),
    Relu: _unary(st.just(Relu())),
    LeakyRelu: _unary(st.builds(LeakyRelu, st.sampled_from([0.25, 0.125, 1.5, -0.5, float(np.float32(0.01))]))),
    Abs: _unary(st.just(Abs())),
    Clip: _unary(clip()),
    Max: extremum(Max),
    Min: extremum(Min),
    Reshape: reshape(),
    Transpose: transpose(),
    Expand: expand(),
    Slice: slices(),
    Gather: gather(),
    Concat: concat(),
    Pad: pad(),
    Where: where(),
}
