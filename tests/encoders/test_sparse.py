"""Sparse rows of linear maps against their dense matrices."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.encoders import sparse
from farkas.encoders.sparse import SparseRows, beside, joined, losses, merged, renumbered, row_length, rows
from farkas.ir.convolution import Conv2d
from farkas.ir.linear import Composed, Dense, Diagonal, Kronecker, LinearMap, Matrix, Selection
from farkas.ir.windows import Windows

RNG = np.random.default_rng(5)
MAPS: dict[str, LinearMap] = {
    "dense": Dense(RNG.integers(-2, 3, (5, 4)) / 3.0),
    "diagonal": Diagonal(np.array([0.5, 0.0, -1.25])),
    "selection": Selection(np.array([2, -1, 0, 2]), 3),
    "kronecker": Kronecker(RNG.normal(size=(2, 3)), 2, 2),
    "composed": Composed(Selection(np.array([3, 0, -1]), 5), Dense(RNG.normal(size=(5, 4)))),
    "conv": Conv2d(RNG.normal(size=(1, 2, 3, 9)), Windows((3, 3), (2, 2), (1, 1, 1, 1)), (5, 6)),
    "grouped": Conv2d(RNG.integers(-1, 2, (2, 3, 2, 6)) / 3.0, Windows((2, 3), (1, 2), (0, 1, 1, 2)), (4, 5), 2),
    "dilated": Conv2d(RNG.normal(size=(1, 1, 1, 4)), Windows((2, 2), (1, 1), (0, 0, 0, 0), (2, 1)), (5, 3), 3),
    "composed conv": Composed(
        Selection(np.array([3, 0, -1]), 18),
        Conv2d(RNG.normal(size=(1, 2, 3, 9)), Windows((3, 3), (2, 2), (1, 1, 1, 1)), (5, 6)),
    ),
}


def matrix(part: SparseRows, cols: int) -> Matrix:
    out = np.zeros((part.count, cols))
    for i in range(part.count):
        for k in range(part.start[i], part.start[i + 1]):
            out[i, part.index[k]] += part.values[k]
    return out


@pytest.mark.parametrize("name", MAPS)
def test_rows_are_those_of_the_dense_matrix_to_the_last_bit(name: str) -> None:
    linear = MAPS[name]
    wanted = np.arange(linear.rows)[::-1]
    part = rows(linear, wanted)
    assert np.array_equal(matrix(part, linear.cols), linear.dense()[wanted])
    assert (part.values != 0).all()
    assert row_length(linear) >= max(np.diff(part.start))


def test_blocks_join_seamlessly(monkeypatch: pytest.MonkeyPatch) -> None:
    linear = MAPS["composed conv"]
    whole = rows(linear, np.arange(linear.rows))
    monkeypatch.setattr(sparse, "BLOCK", 1)
    single = rows(linear, np.arange(linear.rows))
    for name in ("start", "index", "values"):
        assert np.array_equal(getattr(single, name), getattr(whole, name))


def test_no_rows_at_all_are_rows() -> None:
    assert rows(MAPS["dense"], np.zeros(0, dtype=np.int64)).count == 0
    assert joined([]).count == 0


def test_rows_beside_each_other_add_up_and_merge() -> None:
    left, right = rows(MAPS["dense"], np.arange(5)), rows(Dense(RNG.normal(size=(5, 4))), np.arange(5))
    both = beside(left, right)
    expected = matrix(left, 4) + matrix(right, 4)
    assert np.allclose(matrix(both, 4), expected, rtol=0, atol=0)
    once = merged(both)
    for i in range(5):
        index = once.index[once.start[i] : once.start[i + 1]]
        assert len(set(index.tolist())) == len(index)
    assert np.array_equal(matrix(once, 4), expected)


def test_renumbering_drops_columns_that_have_no_number() -> None:
    part = rows(MAPS["dense"], np.arange(5))
    moved = renumbered(part, np.array([7, -1, 0, 3]))
    dense = MAPS["dense"].dense()
    expected = np.zeros((5, 8))
    expected[:, [7, 0, 3]] = dense[:, [0, 2, 3]]
    assert np.array_equal(matrix(moved, 8), expected)


entries = st.tuples(
    st.integers(0, 1), st.integers(0, 2), st.sampled_from([1.0, -1.0, 0.1, 1 / 3, 2.0**-60, 3e15, -7.7])
)


@given(st.lists(entries, max_size=12))
def test_losses_bound_what_merging_rounds_away(drawn: list[tuple[int, int, float]]) -> None:
    ordered = sorted(drawn, key=lambda entry: entry[0])
    start = np.searchsorted([row for row, _, _ in ordered], [0, 1, 2])
    part = SparseRows(start, np.array([j for _, j, _ in ordered], dtype=np.int64), np.array([v for *_, v in ordered]))
    whole, lost = merged(part), losses(part)
    amounts = {(int(i), int(j)): float(a) for i, j, a in zip(lost.row, lost.column, lost.amount, strict=True)}
    for i in range(2):
        here = slice(whole.start[i], whole.start[i + 1])
        for j, kept in zip(whole.index[here].tolist(), whole.values[here].tolist(), strict=True):
            exact = sum(Fraction(v) for row, column, v in drawn if (row, column) == (i, j))
            off = abs(exact - Fraction(kept))
            assert off <= Fraction(amounts.get((i, j), 0.0))
            assert (off == 0) == ((i, j) not in amounts)
