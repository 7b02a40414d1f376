"""Matrices by blocks do what the dense matrices of the same entries do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.checker.query import P
from farkas.checker_fast import matrices
from farkas.checker_fast.kernel import Accelerated
from farkas.checker_fast.limbs import Floats, Ints
from farkas.checker_fast.matrices import Blocked, Unsupported
from tests.checker_fast.networks import Family, network, root
from tests.checker_fast.test_kernel import compare

Rows = list[tuple[int, ...]]


@st.composite
def sparse(draw: st.DrawFn) -> tuple[tuple[int, int], Rows, Rows]:
    """Shape, stored columns and values: a convolution of one dimension with several channels, or rows at random."""
    if draw(st.booleans()):
        channels, size, width = draw(st.integers(1, 3)), draw(st.integers(3, 12)), draw(st.integers(1, 3))
        columns = size
        index = [tuple(range(at, at + width)) for _ in range(channels) for at in range(size - width + 1)]
    else:
        columns = draw(st.integers(1, 8))
        index = draw(st.lists(st.sets(st.integers(0, columns - 1)).map(sorted).map(tuple), min_size=1, max_size=8))
    values = [tuple(draw(st.integers(-99, 99)) for _ in row) for row in index]
    return (len(index), columns), index, values


def dense(shape: tuple[int, int], index: Rows, values: Rows) -> tuple[Floats, Floats]:
    whole, stored = np.zeros(shape), np.zeros(shape)
    for j, (columns, row) in enumerate(zip(index, values, strict=True)):
        for i, w in zip(columns, row, strict=True):
            whole[j, i], stored[j, i] = w, 1.0
    return whole, stored


@contextmanager
def by_blocks() -> Iterator[None]:
    """Small matrices are stored by blocks as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrices, "MIN_ENTRIES", 0)
        patch.setattr(matrices, "SPARSITY", 0)
        yield


def blocked(shape: tuple[int, int], index: Rows, values: Rows) -> tuple[matrices.Weights, matrices.Weights]:
    with by_blocks():
        return matrices.by_rows(shape, index, values)


def subset(data: st.DataObject, size: int) -> Ints | None:
    chosen = data.draw(st.one_of(st.none(), st.sets(st.integers(0, size - 1), min_size=1)))
    return None if chosen is None else np.array(sorted(chosen))


@given(sparse(), st.data())
def test_blocks_agree_with_the_dense_matrix(made: tuple[tuple[int, int], Rows, Rows], data: st.DataObject) -> None:
    for block, want in zip(blocked(*made), dense(*made), strict=True):
        assert isinstance(block, Blocked)
        rows, columns = (subset(data, size) for size in want.shape)
        with by_blocks():
            part = matrices.restricted(block, rows, columns)
        assert isinstance(part, Blocked)
        assert isinstance(matrices.restricted(block, rows, columns), np.ndarray)  # so few entries are better dense
        small = matrices.take(matrices.take(want, rows, 0), columns, 1)
        for b, w in ((block, want), (part, small), (matrices.restricted(block, rows, columns), small)):
            x = np.arange(2.0 * w.shape[0]).reshape(2, -1) - 3
            y = np.arange(2.0 * w.shape[1]).reshape(2, -1) - 5
            assert np.array_equal(matrices.times(x, b), x @ w)
            assert np.array_equal(matrices.times_transposed(y, b), y @ w.T)
            for axis in (0, 1):
                assert np.array_equal(matrices.sums(b, axis), w.sum(axis=axis))
            assert matrices.largest(b) == np.abs(w).max()
            at = np.array([[0, w.shape[0] - 1], [w.shape[0] // 2, 0]])
            assert np.array_equal(matrices.rows_at(b, at), w[at])
            pieces = matrices.split_weights(b, 3, 3)
            total = sum(matrices.times(np.eye(w.shape[0]), p) * 8.0**k for k, p in enumerate(pieces))
            assert np.array_equal(total, w)


def test_a_convolution_is_stored_by_blocks() -> None:
    # 8 channels of 200 outputs, each reads 3 of 202 inputs: 1600 x 202 entries, 1.5 % of them stored
    index = [tuple(range(at, at + 3)) for _ in range(8) for at in range(200)]
    weights, stored = matrices.by_rows((1600, 202), index, [(1, 2, 3)] * 1600)
    assert isinstance(weights, Blocked) and isinstance(stored, Blocked)
    assert sum(b.values.size for b in weights.blocks) <= matrices.WASTE * 3 * 1600
    assert max(len(b.rows) for b in weights.blocks) <= matrices.MAX_ROWS


def test_what_is_not_sparse_is_stored_densely() -> None:
    weights, _ = matrices.by_rows(
        (600, 600), [tuple(range(0, 600, 2)), tuple(range(1, 600, 2))] * 300, [(1,) * 300] * 600
    )
    assert isinstance(weights, np.ndarray)


def test_a_row_that_names_a_column_twice_is_not_supported() -> None:
    with pytest.raises(Unsupported, match="twice"):
        matrices.by_rows((1, 4), [(1, 1)], [(2, 3)])


def test_a_matrix_that_is_too_large_is_not_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrices, "MAX_ENTRIES", 7)
    with pytest.raises(Unsupported, match="too large"):
        matrices.by_rows((2, 4), [(1,), (2,)], [(2,), (3,)])


@given(st.integers(0, 2**32 - 1), st.sampled_from([(P, 53), (P, 44), (P - 8, 40), (P + 13, 53)]), st.booleans())
def test_networks_by_blocks_agree_with_the_reference_kernel(seed: int, sizes: tuple[int, int], rounded: bool) -> None:
    random = Random(seed)
    family = Family(weight=sizes[0], blocks=("sparse", "residual", "leaky", "wide"), width=12)
    tested = network(random, family)
    with by_blocks():
        fast = Accelerated(bits=sizes[1])
        compare(random, tested, root(random, family, tested.sizes[0]), fast, rounded, (0,))
