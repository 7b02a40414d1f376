"""Bounding again the neurons of open nodes that matter: plain rows, or rows with pins on the signs decided so far.

A plain row of a neuron feels a split only where the split neuron lies below it.  A row with pins (runtime_cuda/pinned)
feels it as the half-space that it is, on neurons of the split layer too; it costs an ascent for every row.  Few inputs
make that worth while: on networks with one hidden layer of 128 neurons and 30 inputs a proof took 2 567 nodes and 3.8
CPU seconds with pins, and without them was far from its end after 318 000 nodes.  With 784 inputs (256x2) pins saved 45
% of the nodes and doubled the time.  So the structure decides: how many inputs are free, and how many neurons there
are, for every vector that a certificate states costs a byte a neuron.

Only rows that moved a bound are kept and written down, so that a certificate does not grow by rows that bring nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from farkas.engine.problem import Matrix
from farkas.engine.relu_nodes import NONE, Integers
from farkas.engine.tree import RowGroup, Vector
from farkas.runtime_cuda.optimise import PIN_UNIT
from farkas.runtime_cuda.pinned import pinned_rows
from farkas.runtime_cuda.relaxation import Relaxation
from farkas.runtime_cuda.sensitivity import Losses

FEW_INPUTS = 64  # free inputs up to which a half-space cuts enough off a box
FEW_NEURONS = 2048
STEPS = 8  # of the ascent over a row's pins
MOVES = 0.01  # of a neuron's interval: a bound that moves by less is not worth its bytes


@dataclass(frozen=True, eq=False)
class Tightened:
    """Bounds in force (B, N) after a refresh, which nodes are empty (B,), by node the row groups that did it.

    losses: by layer ordinal what the rows lose, for branching; of plain rows only.
    """

    lower: Matrix
    upper: Matrix
    empty: npt.NDArray[np.bool_]
    groups: list[list[RowGroup]]
    losses: Mapping[int, Losses] = field(default_factory=dict)


def pins_pay(relaxation: Relaxation) -> bool:
    """Whether rows are bounded with pins: few free inputs, few neurons."""
    free = int((relaxation.x_upper > relaxation.x_lower).sum())
    return free <= FEW_INPUTS and relaxation.full.width <= FEW_NEURONS


def plain(relaxation: Relaxation, lower: Matrix, upper: Matrix, wanted: Mapping[int, Integers]) -> Tightened:
    """Rows under the adaptive rule; wanted: by layer ordinal (B, R) places, -1 pads."""
    asarray, to_numpy = relaxation.full.backend.asarray, relaxation.full.backend.to_numpy
    groups: list[list[RowGroup]] = [[] for _ in lower]
    if not wanted:
        return Tightened(lower, upper, np.any(lower > upper, axis=1), groups)
    for k in sorted(wanted):
        for b, places in enumerate(wanted[k]):
            listed = places[places != NONE]
            if len(listed):
                groups[b].append(RowGroup(k, tuple(listed.tolist())))
    chosen = {k: asarray(p) for k, p in wanted.items()}
    found = relaxation.refresh(asarray(lower), asarray(upper), chosen, keep=True)
    return Tightened(to_numpy(found.lower), to_numpy(found.upper), to_numpy(found.empty), groups, found.losses)


def pinned(relaxation: Relaxation, lower: Matrix, upper: Matrix, wanted: Mapping[int, Integers]) -> Tightened:
    """Rows with pins, layers upwards, each over the bounds found below it; wanted as in `plain`."""
    lower, upper = lower.copy(), upper.copy()
    groups: list[list[RowGroup]] = [[] for _ in lower]
    for k in sorted(wanted):
        _pinned_layer(relaxation, k, wanted[k], lower, upper, groups)
    return Tightened(lower, upper, np.any(lower > upper, axis=1), groups)


def _pinned_layer(
    relaxation: Relaxation, k: int, places: Integers, lower: Matrix, upper: Matrix, groups: list[list[RowGroup]]
) -> None:
    backend, net, v = relaxation.full.backend, relaxation.net, relaxation.layers[k]
    asarray, to_numpy = backend.asarray, backend.to_numpy
    base, kept = relaxation.full.slots[v].start, to_numpy(net.kept)
    inside = np.searchsorted(kept[net.slots[v]], base + np.maximum(places, 0))
    listed = (places != NONE) & (kept[net.slots[v]][np.minimum(inside, net.sizes[v] - 1)] == base + places)
    numbers = base + np.maximum(places, 0)
    listed &= (np.take_along_axis(lower, numbers, axis=1) < 0) & (np.take_along_axis(upper, numbers, axis=1) > 0)
    # A contradiction among the bounds is no basis for a relaxation; such nodes are empty as they stand.
    listed &= ~np.any(lower > upper, axis=1)[:, None]
    if not listed.any():
        return
    index = asarray(np.where(listed, inside, 0))
    l, u = asarray(lower[:, kept]), asarray(upper[:, kept])
    ordered = l <= u
    rows = pinned_rows(
        relaxation.sure, relaxation.rough, v, index,
        backend.xp.where(ordered, l, 0.0), backend.xp.where(ordered, u, 0.0), STEPS,
    )  # fmt: skip
    value, slopes, pins = to_numpy(rows.value), to_numpy(rows.slopes), to_numpy(rows.pins)
    count = places.shape[1]
    for b in range(len(lower)):
        at = np.flatnonzero(listed[b])
        columns = base + places[b, at]
        below, above = value[b, at], -value[b, count + at]
        old_l, old_u = lower[b, columns], upper[b, columns]
        gain = MOVES * (old_u - old_l)
        moved = (below > old_l + gain) | (above < old_u - gain)
        at, columns, below, above = at[moved], columns[moved], below[moved], above[moved]
        lower[b, columns] = np.maximum(lower[b, columns], below)
        upper[b, columns] = np.minimum(upper[b, columns], above)
        if len(at):
            order = np.argsort(columns)
            both = [(int(r), int(count + r)) for r in at[order]]
            vectors = tuple(_vector(net.kept, relaxation.full.width, slopes[b, r], pins[b, r]) for p in both for r in p)
            groups[b].append(RowGroup(k, tuple(int(c) - base for c in columns[order]), 0, vectors))


def _vector(kept: Any, width: int, slopes: npt.NDArray[np.uint8], pins: Matrix) -> Vector:
    whole = np.zeros(width, dtype=np.uint8)
    whole[kept] = slopes
    at = np.flatnonzero(pins)
    return Vector(whole, tuple((int(kept[i]), round(pins[i] / PIN_UNIT)) for i in at))
