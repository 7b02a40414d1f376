"""Convolutions in both directions, in every way in which they may be computed, against the matrix of the definition.

Coefficients and operands are small integers, so that every way and every order of summation gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.ir import convolution, correlation
from farkas.ir.convolution import Conv2d, Transposed
from farkas.ir.linear import Composed, LinearMap, Selection
from farkas.ir.windows import Windows

Matrix = npt.NDArray[np.float64]
WAYS = {
    "as chosen": {},
    "laid out": {"SEVERAL": 1, "ROWS": 1, "SMALL": 10**9},
    "place by place": {"SEVERAL": 10**9},
    "place by place, small pieces": {"SEVERAL": 10**9, "BUFFER": 1},
}


def definition(conv: Conv2d) -> Matrix:
    """The matrix of one image's convolution, coefficient by coefficient."""
    w, (height, width) = conv.windows, conv.image
    groups, m, c, _ = conv.kernel.shape
    rows, columns = w.counts(conv.image)
    matrix = np.zeros((groups * m, rows, columns, groups * c, height, width))
    for out, r, s in np.ndindex(groups * m, rows, columns):
        group = out // m
        for channel, i, j in np.ndindex(c, *w.kernel):
            h = r * w.strides[0] + i * w.dilations[0] - w.pads[0]
            v = s * w.strides[1] + j * w.dilations[1] - w.pads[1]
            if 0 <= h < height and 0 <= v < width:
                weight = conv.kernel[group, out % m, channel, i * w.kernel[1] + j]
                matrix[out, r, s, group * c + channel, h, v] = weight
    one = matrix.reshape(groups * m * rows * columns, -1)
    return np.asarray(np.kron(np.eye(conv.images), one), dtype=np.float64)


@st.composite
def convolutions(draw: st.DrawFn) -> Conv2d:
    def pair(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    kernel, dilations = pair(1, 4), pair(1, 2)
    pads = (*pair(0, 2), *pair(0, 2))
    windows = Windows(kernel, pair(1, 3), pads, dilations)
    image = tuple(
        draw(st.integers(max(1, windows.extent(a) - pads[a] - pads[a + 2]), windows.extent(a) + 4)) for a in (0, 1)
    )
    groups, m, c = draw(st.sampled_from([(1, 1, 1), (1, 3, 2), (1, 2, 9), (2, 1, 2), (3, 2, 1)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    weights = rng.integers(-4, 5, (groups, m, c, kernel[0] * kernel[1])).astype(np.float64)
    return Conv2d(weights, windows, (image[0], image[1]), draw(st.sampled_from([1, 1, 2])))


@contextmanager
def computed(way: str) -> Iterator[None]:
    """The thresholds of choice set so that convolutions are computed in the named way."""
    with ExitStack() as stack:
        for name, value in WAYS[way].items():
            stack.enter_context(patch.object(convolution, name, value))
        stack.enter_context(patch.object(correlation, "PIECE", 64))
        stack.enter_context(patch.object(correlation, "NARROW", 8))
        yield


def integers(rng: np.random.Generator, *shape: int) -> Matrix:
    return np.asarray(rng.integers(-4, 5, shape), dtype=np.float64)


@pytest.mark.parametrize("way", WAYS)
@given(convolutions(), st.integers(0, 2**32))
def test_both_directions_are_products_with_the_matrix_of_the_definition(way: str, conv: Conv2d, seed: int) -> None:
    rng, matrix = np.random.default_rng(seed), definition(conv)
    with computed(way):
        for lead in ((), (1,), (5,), (4, 3)):
            x, y = integers(rng, *lead, conv.cols), integers(rng, *lead, conv.rows)
            np.testing.assert_array_equal(conv.mv(x), x @ matrix.T)
            np.testing.assert_array_equal(conv.rmv(y), y @ matrix)


@pytest.mark.parametrize("way", WAYS)
@given(convolutions(), st.integers(0, 2**32))
def test_float32_stays_float32(way: str, conv: Conv2d, seed: int) -> None:
    rng, matrix = np.random.default_rng(seed), definition(conv)
    with computed(way):
        x, y = integers(rng, 9, conv.cols), integers(rng, 9, conv.rows)
        for found, wanted in ((conv.mv(x.astype("f4")), x @ matrix.T), (conv.rmv(y.astype("f4")), y @ matrix)):
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, wanted)
        assert conv.mv(x).dtype == np.float64 == conv.rmv(y).dtype


@given(convolutions(), st.data())
def test_single_rows_and_columns_are_those_of_the_matrix(conv: Conv2d, data: st.DataObject) -> None:
    matrix = definition(conv)
    for linear, whole in ((conv, matrix), (Transposed(conv), matrix.T)):
        some = st.lists(st.integers(0, len(whole) - 1), min_size=6, max_size=6)
        index = np.array(data.draw(some)).reshape(2, 3)
        np.testing.assert_array_equal(linear.unit_rows(index), whole[index])
        np.testing.assert_array_equal(linear.dense(), whole)


@given(convolutions(), st.data())
def test_single_rows_of_a_selection_of_windows_are_those_of_the_matrix(conv: Conv2d, data: st.DataObject) -> None:
    """Row -1 of the selection is a row of zeros."""
    picks = np.array(data.draw(st.lists(st.integers(-1, conv.rows - 1), min_size=1, max_size=8)))
    whole = np.where((picks >= 0)[:, None], definition(conv)[picks], 0.0)
    index = np.array(data.draw(st.lists(st.integers(0, len(picks) - 1), min_size=1, max_size=5)))
    composed: LinearMap = Composed(Selection(picks, conv.rows), conv)
    np.testing.assert_array_equal(composed.unit_rows(index), whole[index])


@given(convolutions(), st.integers(0, 2**32))
def test_absolute_is_the_map_of_absolute_coefficients(conv: Conv2d, seed: int) -> None:
    x = integers(np.random.default_rng(seed), 9, conv.cols)
    y = integers(np.random.default_rng(seed), 9, conv.rows)
    np.testing.assert_array_equal(conv.absolute().mv(x), x @ abs(definition(conv)).T)
    np.testing.assert_array_equal(Transposed(conv).absolute().mv(y), y @ abs(definition(conv)))


SHAPES: dict[str, tuple[tuple[int, int], tuple[int, int], int, tuple[int, int, int, int]]] = {
    # rows and channels, image, stride, (kernel, kernel, pad, pad): one for each way that the rules choose
    "stored": ((3, 2), (4, 4), 1, (4, 4, 0, 0)),
    "one place": ((12, 9), (6, 6), 2, (1, 1, 0, 0)),
    "merged phases": ((4, 2), (8, 8), 2, (4, 4, 1, 1)),
    "separate phases": ((9, 8), (8, 8), 2, (3, 3, 1, 1)),
    "stride 1": ((9, 8), (8, 8), 1, (3, 3, 1, 1)),
    "few channels": ((9, 3), (20, 20), 1, (3, 3, 1, 1)),
}


def shaped(name: str) -> Conv2d:
    (m, c), image, stride, (kh, kw, pv, ph) = SHAPES[name]
    weights = integers(np.random.default_rng(1), 1, m, c, kh * kw)
    return Conv2d(weights, Windows((kh, kw), (stride, stride), (pv, ph, pv, ph)), image)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_of_every_rule_are_exact_in_large_batches(name: str) -> None:
    conv, rng = shaped(name), np.random.default_rng(2)
    x, y = integers(rng, 40, conv.cols), integers(rng, 40, conv.rows)
    np.testing.assert_array_equal(conv.mv(x), x @ definition(conv).T)
    np.testing.assert_array_equal(conv.rmv(y), y @ definition(conv))


@pytest.mark.cuda
@pytest.mark.parametrize("name", SHAPES)
def test_convolutions_on_the_device_compute_the_same(name: str) -> None:
    import cupy

    conv, rng = shaped(name), np.random.default_rng(3)
    moved, matrix = conv.on(cupy.asarray), definition(conv)
    x, y = integers(rng, 40, conv.cols), integers(rng, 40, conv.rows)
    index = rng.integers(0, conv.rows, (2, 3))
    pixels = rng.integers(0, conv.cols, (2, 3))
    for found, wanted in (
        (moved.mv(cupy.asarray(x)), x @ matrix.T),
        (moved.rmv(cupy.asarray(y)), y @ matrix),
        (moved.unit_rows(cupy.asarray(index)), matrix[index]),
        (Transposed(conv).on(cupy.asarray).unit_rows(cupy.asarray(pixels)), matrix.T[pixels]),
        (moved.rmv(cupy.asarray(y, dtype=np.float32)), y @ matrix),
    ):
        assert isinstance(found, cupy.ndarray)
        np.testing.assert_array_equal(cupy.asnumpy(found), wanted)


def test_padding_beyond_the_kernel_leaves_windows_that_see_nothing() -> None:
    """Pads of 2 under a kernel of one place, stride 2: of 4 x 4 windows only the middle ones see the 3 x 3 image."""
    conv = Conv2d(np.array([[[[3.0]]]]), Windows((1, 1), (2, 2), (2, 2, 2, 2)), (3, 3))
    x: Any = np.arange(1.0, 10.0)
    wanted = np.zeros((4, 4))
    wanted[1, 1], wanted[1, 2], wanted[2, 1], wanted[2, 2] = 3, 9, 21, 27
    np.testing.assert_array_equal(conv.mv(x), wanted.ravel())
