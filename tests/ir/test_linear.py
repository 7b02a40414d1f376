"""Linear maps: products, transposed products and absolute values against the stored matrix, on NumPy and CuPy."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.ir.convolution import BUFFER, Conv2d, Sparse, Transposed
from farkas.ir.linear import Composed, Dense, Diagonal, Kronecker, LinearMap, Selection, gathers, identity, transposed
from farkas.ir.windows import Windows

RNG = np.random.default_rng(7)
CONV = Conv2d(RNG.standard_normal((2, 3, 2, 6)), Windows((3, 2), (2, 1), (1, 0, 2, 1), (1, 2)), (6, 5), images=2)
MAPS: dict[str, LinearMap] = {
    "dense": Dense(RNG.standard_normal((4, 6))),
    "diagonal": Diagonal(RNG.standard_normal(5)),
    "identity": identity(5),
    "selection": Selection(np.array([3, -1, 0, 3, 3, -1, 1]), 6),
    "empty selection": Selection(np.array([-1, -1]), 3),
    "kronecker rows": Kronecker(RNG.standard_normal((2, 3)), 4, 1),
    "kronecker columns": Kronecker(RNG.standard_normal((2, 3)), 2, 5),
    "composed": Composed(Selection(np.array([1, 1, 0, -1]), 4), Dense(RNG.standard_normal((4, 6)))),
    "sparse": Sparse(np.array([[0, 3], [3, -1], [2, 3]]), np.array([[1.5, -2], [4, 0], [0.5, 1]]), 5),
    "sparse, twice one place": Sparse(np.array([[1, 1], [-1, -1]]), np.array([[1.5, 2], [0, 0]]), 2),
    "convolution": CONV,
    "transposed convolution": Transposed(CONV),
}


def matrix_of(linear: LinearMap) -> Any:
    """The matrix by its columns: one product with each unit vector."""
    return np.stack([linear.mv(unit) for unit in np.eye(linear.cols)], axis=1)


@pytest.mark.parametrize("name", MAPS)
def test_dense_is_the_matrix_of_the_map(name: str) -> None:
    linear = MAPS[name]
    np.testing.assert_allclose(linear.dense(), matrix_of(linear), rtol=1e-15, atol=1e-15)
    assert linear.dense().shape == (linear.rows, linear.cols)


@pytest.mark.parametrize("name", MAPS)
def test_the_transposed_product_is_adjoint_and_batches_are_rowwise(name: str) -> None:
    linear = MAPS[name]
    x, y = RNG.standard_normal((3, 2, linear.cols)), RNG.standard_normal((3, 2, linear.rows))
    np.testing.assert_allclose((linear.mv(x) * y).sum(-1), (x * linear.rmv(y)).sum(-1), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(linear.mv(x)[1, 0], linear.mv(x[1, 0]), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(linear.rmv(y)[2, 1], linear.rmv(y[2, 1]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", MAPS)
def test_single_rows_are_those_of_the_matrix(name: str) -> None:
    linear = MAPS[name]
    index = RNG.integers(0, linear.rows, (2, 5))
    np.testing.assert_array_equal(linear.unit_rows(index), linear.dense()[index])


@pytest.mark.parametrize("name", MAPS)
def test_products_of_float32_stay_float32_and_others_float64(name: str) -> None:
    linear = MAPS[name]
    x, y = RNG.standard_normal((3, linear.cols)), RNG.standard_normal((3, linear.rows))
    for found, wanted in ((linear.mv(x.astype("f4")), linear.mv(x)), (linear.rmv(y.astype("f4")), linear.rmv(y))):
        assert found.dtype == np.float32 and wanted.dtype == np.float64
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MAPS)
def test_absolute_takes_the_absolute_value_of_every_coefficient(name: str) -> None:
    linear = MAPS[name]
    np.testing.assert_array_equal(matrix_of(linear.absolute()), abs(matrix_of(linear)))


@pytest.mark.parametrize("name", MAPS)
def test_a_moved_map_is_the_same_map(name: str) -> None:
    linear = MAPS[name]
    moved = linear.on(np.copy)
    x, y = RNG.standard_normal((3, linear.cols)), RNG.standard_normal((3, linear.rows))
    np.testing.assert_array_equal(moved.mv(x), linear.mv(x))
    np.testing.assert_array_equal(moved.rmv(y), linear.rmv(y))
    np.testing.assert_array_equal(moved.dense(), linear.dense())


def test_a_convolution_is_the_sum_that_its_definition_states() -> None:
    w, (height, width) = CONV.windows, CONV.image
    groups, m, c, _ = CONV.kernel.shape
    x = RNG.standard_normal((2, groups * c, height, width))
    rows, columns = w.counts(CONV.image)
    wanted = np.zeros((2, groups * m, rows, columns))
    for image, out, r, s in np.ndindex(*wanted.shape):
        group = out // m
        for channel, i, j in np.ndindex(c, *w.kernel):
            h = r * w.strides[0] + i * w.dilations[0] - w.pads[0]
            v = s * w.strides[1] + j * w.dilations[1] - w.pads[1]
            if 0 <= h < height and 0 <= v < width:
                weight = CONV.kernel[group, out % m, channel, i * w.kernel[1] + j]
                wanted[image, out, r, s] += weight * x[image, group * c + channel, h, v]
    np.testing.assert_allclose(CONV.mv(x.ravel()), wanted.ravel(), rtol=1e-12, atol=1e-12)


def test_large_batches_are_taken_in_pieces_with_the_same_result() -> None:
    conv = Conv2d(RNG.standard_normal((1, 2, 4, 9)), Windows((3, 3), pads=(1, 1, 1, 1)), (16, 16))
    buffer = 4 * 9 * 256
    batch = BUFFER // buffer + 3
    x = RNG.standard_normal((batch, conv.cols))
    np.testing.assert_array_equal(conv.mv(x)[-1], conv.mv(x[-1]))
    y = RNG.standard_normal((batch, conv.rows))
    np.testing.assert_array_equal(conv.rmv(y)[-1], conv.rmv(y[-1]))


def nearly_empty(rows: int, cols: int, most: int) -> Any:
    """At most `most` small integers to a row."""
    matrix = np.zeros((rows, cols))
    for _ in range(most):
        matrix[np.arange(rows), RNG.integers(0, cols, rows)] = RNG.integers(-4, 5, rows)
    return matrix


@pytest.mark.parametrize("most", [0, 1, 3])
def test_large_matrices_of_few_coefficients_give_the_same_products(most: int) -> None:
    """Read coefficient by coefficient in both directions; integers, so that no order of summation matters."""
    matrix = nearly_empty(300, 320, most)
    linear = Dense(matrix)
    assert gathers(matrix)[0] is not None
    x, y = RNG.integers(-4, 5, (2, 3, 320)).astype(float), RNG.integers(-4, 5, (2, 3, 300)).astype(float)
    for found, wanted in (
        (linear.mv(x), x @ matrix.T),
        (linear.rmv(y), y @ matrix),
        (linear.mv(x[0, 0]), matrix @ x[0, 0]),
    ):
        np.testing.assert_array_equal(found, wanted)
    assert linear.mv(x.astype("f4")).dtype == np.float32
    np.testing.assert_array_equal(linear.absolute().rmv(y.astype("f4")), y @ abs(matrix))


def test_one_full_row_keeps_a_matrix_as_it_is() -> None:
    matrix = nearly_empty(300, 320, 1)
    matrix[7] = 1.0
    assert gathers(matrix)[0] is None
    assert gathers(np.zeros((2, 3))) == (None, None)
    np.testing.assert_array_equal(Dense(matrix).mv(np.ones(320)), matrix.sum(axis=1))
    np.testing.assert_array_equal(Dense(matrix).rmv(np.ones(300)), matrix.sum(axis=0))


@given(st.lists(st.integers(-1, 5), min_size=1, max_size=12))
def test_the_table_of_readers_lists_every_place_once(index: list[int]) -> None:
    table = transposed(np.array(index)[:, None], 6)
    found = {(position, int(place)) for position, row in enumerate(table) for place in row if place >= 0}
    assert found == {(position, place) for place, position in enumerate(index) if position >= 0}


@pytest.mark.cuda
@pytest.mark.parametrize("name", MAPS)
def test_maps_on_the_device_compute_the_same(name: str) -> None:
    import cupy

    linear = MAPS[name]
    moved = linear.on(cupy.asarray)
    x, y = RNG.standard_normal((3, linear.cols)), RNG.standard_normal((3, linear.rows))
    for found, wanted in (
        (moved.mv(cupy.asarray(x)), linear.mv(x)),
        (moved.rmv(cupy.asarray(y)), linear.rmv(y)),
        (moved.absolute().mv(cupy.asarray(x)), linear.absolute().mv(x)),
        (moved.absolute().rmv(cupy.asarray(y)), linear.absolute().rmv(y)),
        (moved.unit_rows(cupy.arange(linear.rows)), linear.dense()),
    ):
        assert isinstance(found, cupy.ndarray)
        np.testing.assert_allclose(cupy.asnumpy(found), wanted, rtol=1e-11, atol=1e-11)
