"""Scores for branching against their definition, written out neuron by neuron."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given

from farkas.ir.linear import Dense
from farkas.runtime_cuda import relaxation as relaxation_module
from farkas.runtime_cuda.relaxation import Relaxation
from farkas.runtime_cuda.sensitivity import Losses
from tests.nets import seeds
from tests.runtime_cuda.test_relaxation import NO_CLOCK, WIDE_BOX, split_somewhere, wide, worker

Vector = npt.NDArray[np.float64]


def lost_by_row(relaxation: Relaxation, layer: int, j: int, sign: float, lower: Vector, upper: Vector) -> Vector:
    """(N,): sizes of the negative coefficients of the row sign * z_j, by adaptive slopes, one layer after another."""
    matrices, starts = [], []
    for v, node in relaxation.full.layers.items():
        shape = node.operands[0].map
        assert isinstance(shape, Dense)
        matrices.append(np.asarray(shape.matrix))
        starts.append(relaxation.full.slots[v].start if v in relaxation.full.slots else len(lower))
    lost = np.zeros(len(lower))
    coef = sign * matrices[layer][j]
    for k in range(layer - 1, -1, -1):
        slopes = np.zeros(len(coef))
        for i, c in enumerate(coef):
            l, u = lower[starts[k] + i], upper[starts[k] + i]
            lost[starts[k] + i] = max(-c, 0.0)
            if l >= 0:
                slopes[i] = 1.0
            elif u > 0:
                chord = np.floor(256 * u / (u - l) + 0.5) / 256
                slopes[i] = (1.0 if u > -l else 0.0) if c > 0 else chord
        coef = (coef * slopes) @ matrices[k]
    return lost


def scores_one_by_one(
    relaxation: Relaxation, lower: Vector, upper: Vector, below: Vector, z: Vector, rows: dict[int, list[int]], at: Any
) -> Vector:
    """The scores of one subproblem; rows: by layer the neurons with rows; at: the bounds that a layer's rows saw."""
    is_open = (lower < 0) & (upper > 0)
    weight = np.where(is_open, np.maximum(-below, 0.0), 0.0)
    for k in (2, 1):
        gained = np.zeros(len(lower))
        for j in rows.get(k, []):
            i = 10 * k + j
            if is_open[i]:
                l, u, where = lower[i], upper[i], np.clip(z[i], lower[i], upper[i])
                gained += weight[i] * u * (u - where) / (u - l) ** 2 * lost_by_row(relaxation, k, j, 1.0, *at(k))
                gained += weight[i] * -l * (where - l) / (u - l) ** 2 * lost_by_row(relaxation, k, j, -1.0, *at(k))
        weight = weight + np.where(is_open, gained, 0.0)
    return np.where(is_open, weight * -upper * lower / np.where(is_open, upper - lower, 1.0), 0.0)


@given(seeds)
def test_scores_follow_rows_of_the_node_where_there_are_any_and_else_of_the_root(seed: int) -> None:
    """Layer 2 is refreshed, in lists of unequal length; layer 1 has the rows of the root."""
    relaxation = worker(wide(seed), WIDE_BOX)
    root = relaxation.root(NO_CLOCK)
    lower, upper = split_somewhere(root, seed, 2)
    open_at_root = (root.lower < 0) & (root.upper > 0)
    listed = [[j for j in range(10) if open_at_root[20 + j]][: 3 + b] for b in range(2)]
    index = np.array([js + [-1] * (5 - len(js)) for js in listed])
    fresh = relaxation.refresh(lower, upper, {2: index}, keep=True)
    found = relaxation.optimise(fresh.lower, fresh.upper, np.tile([1.0, -1.0], (2, 1)), None, None, None, 2)
    scores = relaxation.sensitivity(fresh.lower, fresh.upper, found, relaxation.root_losses(), fresh.losses)
    layer_1 = [j for j in range(10) if open_at_root[10 + j]]
    for b in range(2):
        seen = {2: (lower[b], upper[b]), 1: (root.lower, root.upper)}
        rows = {2: listed[b], 1: layer_1}
        wanted = scores_one_by_one(
            relaxation, fresh.lower[b], fresh.upper[b], found.below[b], found.z[b], rows, seen.__getitem__
        )
        np.testing.assert_allclose(scores.score[b], wanted, rtol=1e-4, atol=1e-5)
        assert np.all(scores.worth[b] >= 0) and np.all((scores.score[b] > 0) <= (fresh.lower[b] < 0))


def test_losses_in_small_pieces_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def kept() -> list[Losses]:
        relaxation = worker(wide(11), WIDE_BOX)
        lower, upper = split_somewhere(relaxation.root(NO_CLOCK), 11, 5)
        index = np.tile(np.arange(10), (5, 1))
        found = relaxation.refresh(lower, upper, {1: index, 2: index}, keep=True).losses
        return [*found.values(), *relaxation.root_losses().values()]

    whole = kept()
    monkeypatch.setattr(relaxation_module, "PIECE", 40)
    assert len(whole) == 4
    for one, other in zip(whole, kept(), strict=True):
        for name in ("neurons", "columns", "low", "high"):
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-6)


def test_losses_that_would_take_too_much_memory_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaxation_module, "LARGEST_KEPT", 10)
    relaxation = worker(wide(11), WIDE_BOX)
    lower, upper = split_somewhere(relaxation.root(NO_CLOCK), 11, 2)
    assert not relaxation.refresh(lower, upper, {1: np.tile(np.arange(10), (2, 1))}, keep=True).losses
    assert not relaxation.root_losses()
