"""Cropped networks: rows that run through them get the bounds that the whole network gives them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farkas.ir.convolution import Conv2d, Sparse, Transposed
from farkas.ir.core import Affine, CoreOp, Input, Program, Relu, Rounding, Term
from farkas.ir.linear import Dense, Diagonal, LinearMap, Selection, identity
from farkas.ir.windows import Windows
from farkas.runtime_cuda import crown, prepared
from farkas.runtime_cuda.backend import Backend, numpy_backend
from farkas.runtime_cuda.cone import Geometry, Within
from farkas.runtime_cuda.crown import Propagator, Refined
from farkas.runtime_cuda.prepared import Prepared, prepare


@pytest.fixture(autouse=True, scope="module")
def small_maps_are_no_matrices() -> Iterator[None]:
    """The networks here are small, and stand for wide ones."""
    with patch.object(prepared, "DENSIFIED", 0):
        yield


shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


class Builder:
    """A program made node by node, with random small weights."""

    def __init__(self, rng: np.random.Generator, inputs: int) -> None:
        self.rng = rng
        self.nodes: list[CoreOp] = [Input(inputs)]
        self.sizes = [inputs]

    def affine(self, *terms: tuple[LinearMap, int]) -> int:
        size = terms[0][0].rows
        bias = self.rng.standard_normal(size) / 4
        self.nodes.append(Affine(tuple(Term(m, s) for m, s in terms), bias, Rounding(64, is_sum=True), abs(bias)))
        self.sizes.append(size)
        return len(self.nodes) - 1

    def relu(self, source: int) -> int:
        self.nodes.append(Relu(source))
        self.sizes.append(self.sizes[source])
        return len(self.nodes) - 1

    def conv(self, rows: int, channels: int, image: tuple[int, int], kernel: int, stride: int, pad: int) -> Conv2d:
        weights = self.rng.standard_normal((1, rows, channels, kernel * kernel)) / kernel
        return Conv2d(weights, Windows((kernel, kernel), (stride, stride), (pad, pad, pad, pad)), image)

    def program(self) -> Program:
        last = len(self.nodes) - 1
        return Program(tuple(self.nodes), tuple(self.sizes), last, tuple(str(v) for v in range(last + 1)))


def network(shape: str, seed: int, *, ends_in_image: bool = False) -> Program:
    """Two inputs spread over an image of 2 channels, 8x8, then convolutions of the named kind.

    Two outputs, or an image of 2 channels.
    """
    build = Builder(np.random.default_rng(seed), 2)
    image = build.affine((Dense(build.rng.standard_normal((2 * 8 * 8, 2))), 0))
    first = build.conv(3, 2, (8, 8), 3, 1, 1)
    a = build.relu(build.affine((first, image)))
    match shape:
        case "stride":
            second = build.conv(4, 3, (8, 8), 4, 2, 1)
            b = build.relu(build.affine((second, a)))
        case "residual":
            middle = build.conv(4, 3, (8, 8), 3, 2, 1)
            m = build.relu(build.affine((middle, a)))
            b = build.relu(build.affine((build.conv(4, 4, (4, 4), 3, 1, 1), m), (build.conv(4, 3, (8, 8), 1, 2, 0), a)))
        case "scaled":
            second = build.conv(4, 3, (8, 8), 4, 2, 1)
            z = build.affine((second, a))
            d = build.affine((Diagonal(build.rng.standard_normal(second.rows)), z))
            b = build.relu(build.affine((identity(second.rows), d)))
        case "pooled":
            second = build.conv(4, 3, (8, 8), 3, 1, 1)
            z = build.affine((second, a))
            pool = mean_pool(4, 8)
            corners = pool.index[:, 0].copy()
            corners[::5] = -1
            b = build.relu(build.affine((pool, z), (Selection(corners, pool.size), z)))
        case _:
            assert shape == "transposed", f"unknown shape {shape}"
            down = build.conv(4, 3, (8, 8), 4, 2, 1)
            b = build.relu(build.affine((down, a)))
            up = Transposed(build.conv(4, 3, (8, 8), 4, 2, 1))
            c = build.relu(build.affine((up, b)))
            b = build.relu(build.affine((build.conv(4, 3, (8, 8), 4, 2, 1), c)))
    last = build.relu(build.affine((build.conv(4, 4, (4, 4), 3, 1, 1), b)))
    if ends_in_image:
        build.affine((build.conv(2, 4, (4, 4), 1, 1, 0), last))
    else:
        build.affine((Dense(build.rng.standard_normal((2, 4 * 4 * 4))), last))
    return build.program()


def mean_pool(channels: int, size: int) -> Sparse:
    """Means over 2 x 2 pixels of square images."""
    numbers = np.arange(channels * size * size).reshape(channels, size // 2, 2, size // 2, 2)
    index = numbers.transpose(0, 1, 3, 2, 4).reshape(-1, 4)
    return Sparse(index, np.full(index.shape, 0.25), channels * size * size)


KINDS = ("stride", "residual", "scaled", "pooled", "transposed")


@contextmanager
def grouped(rows: int) -> Iterator[None]:
    with patch.object(crown, "GROUP", rows), patch.object(crown, "CROPPED", 1.0):
        yield


def refined(net: Prepared, boxes: int, seed: int) -> Refined:
    rng = np.random.default_rng(seed)
    low = rng.uniform(-1, 1, (boxes, 2))
    high = low + rng.uniform(0, 0.5, (boxes, 2))
    top = np.full((boxes, net.width), np.inf)
    asarray = net.backend.asarray
    return Propagator(net).refine(asarray(low), asarray(high), asarray(-top), asarray(top), influence=True)


@shared
@given(st.sampled_from(KINDS), st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 8))
def test_rows_through_cropped_networks_have_the_bounds_of_the_whole(
    backend: Backend, shape: str, seed: int, boxes: int, rows: int
) -> None:
    net = prepare(network(shape, seed), binary32=True, backend=backend)
    to_numpy = backend.to_numpy
    with grouped(10**9):
        whole = refined(net, boxes, seed)
    with grouped(rows):
        parts = refined(net, boxes, seed)
    np.testing.assert_allclose(to_numpy(parts.lower), to_numpy(whole.lower), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(to_numpy(parts.upper), to_numpy(whole.upper), rtol=1e-9, atol=1e-11)
    assert parts.influence.keys() == whole.influence.keys()
    for v, (index, low, high) in whole.influence.items():
        size, found = net.sizes[v], parts.influence[v]
        for one, other in ((low, found[1]), (high, found[2])):
            for box in range(boxes):
                # As one table by neuron: blocks list them in another order, and a list may be padded with others.
                tables = [np.zeros((size, 2)), np.zeros((size, 2))]
                tables[0][to_numpy(index)[box]] = to_numpy(one)[box]
                tables[1][to_numpy(found[0])[box]] = to_numpy(other)[box]
                both = (tables[0] != 0).any(axis=1) & (tables[1] != 0).any(axis=1)
                np.testing.assert_allclose(tables[0][both], tables[1][both], rtol=1e-9, atol=1e-11)


@shared
@given(st.sampled_from(KINDS), st.integers(0, 2**32), st.lists(st.integers(0, 31), min_size=1, max_size=3))
def test_outputs_that_are_asked_about_have_the_same_bounds_as_when_all_are(
    backend: Backend, shape: str, seed: int, asked: list[int]
) -> None:
    net = prepare(network(shape, seed, ends_in_image=True), binary32=False, backend=backend)
    rng, asarray = np.random.default_rng(seed), backend.asarray
    low = rng.uniform(-1, 1, (2, 2))
    box = asarray(low), asarray(low + 0.5)
    top = asarray(np.full((2, net.width), np.inf))
    rows = np.zeros((2, 32))
    rows[0, asked], rows[1, asked] = 1.0, -2.0
    values = []
    for outputs in (None, np.array(asked)):
        worker = Propagator(net, outputs=outputs)
        found = worker.refine(*box, -top, top)
        values.append(backend.to_numpy(worker.bound(found.boxes, asarray(rows), None, (0, 1, 2)).value))
    np.testing.assert_allclose(values[0], values[1], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("shape", KINDS)
def test_a_corner_of_the_output_does_not_ask_about_the_far_corner(shape: str) -> None:
    """One output pixel, under a 3x3 convolution: of 4 x 4 pixels of the last layer's image 2 x 2, all channels."""
    net = prepare(network(shape, 1, ends_in_image=True), binary32=False, backend=numpy_backend())
    masks = Geometry(net).seen(np.array([0]))
    last = max(net.slots)
    assert masks[last].sum() == 4  # a 1x1 convolution reads it
    below = net.layers[last].operands[0].source
    assert masks[below].reshape(4, 4, 4).any(axis=0).sum() == 4
    assert Propagator(net).asked == {}


@pytest.mark.parametrize("shape", KINDS)
def test_a_cone_holds_what_its_block_sees_and_no_more(shape: str) -> None:
    """Every cropped node but the first: its positions are those with a coefficient in some row, or their rectangle."""
    net = prepare(network(shape, 1), binary32=False, backend=numpy_backend())
    geometry = Geometry(net)
    v = max(v for v in net.slots if v in geometry.shapes)
    channels = geometry.shapes[v][0]
    cone = geometry.cone(v, ((0, 1), (0, 1)))
    assert cone is not None and len(cone.kept[v]) == channels
    below = [o.source for o in net.layers[v].operands]
    for source in below:
        rows = np.zeros((channels, net.sizes[source]))
        for operand in net.layers[v].operands:
            if operand.source == source:
                rows += abs(operand.map.dense()[cone.kept[v]])
        seen = np.flatnonzero(rows.any(axis=0))
        assert set(seen) <= set(cone.kept[source].tolist())
        assert len(cone.kept[source]) <= 2 * len(seen)


@pytest.mark.parametrize("shape", KINDS)
def test_every_block_above_the_first_convolution_can_be_cropped(shape: str) -> None:
    geometry = Geometry(prepare(network(shape, 1), binary32=False, backend=numpy_backend()))
    _, *later = (v for v in geometry.net.slots if v in geometry.shapes)
    assert len(later) >= 2
    assert all(geometry.cone(v, block) is not None for v in later[:-1] for block in geometry.blocks(v, 16))


def test_blocks_cut_an_image_into_disjoint_squares() -> None:
    geometry = Geometry(prepare(network("stride", 1), binary32=False, backend=numpy_backend()))
    v = next(iter(geometry.net.slots))
    covered = np.zeros(geometry.shapes[v][1:])
    for rows, cols in geometry.blocks(v, 5):
        covered[slice(*rows), slice(*cols)] += 1
    assert np.all(covered == 1)
    assert geometry.blocks(v, 1) == [] and geometry.blocks(0, 5) == []


def test_a_map_within_a_larger_source_is_zero_elsewhere() -> None:
    within = Within(Dense(np.array([[1.0, 2.0], [3.0, 4.0]])), np.array([3, 1]), 5)
    wanted = np.array([[0, 2.0, 0, 1.0, 0], [0, 4.0, 0, 3.0, 0]])
    np.testing.assert_array_equal(within.dense(), wanted)
    np.testing.assert_array_equal(within.rmv(np.eye(2)), wanted)
    np.testing.assert_array_equal(within.mv(np.eye(5)), wanted.T)
    np.testing.assert_array_equal(within.unit_rows(np.array([1, 0])), wanted[[1, 0]])
