"""How much each unstable neuron's relaxation costs a bound: the scores by which a search picks the neuron to split.

With A the coefficients of the final row over the neurons' outputs, neuron j itself costs max(-A_j, 0) t_j, where
t = -u l / (u - l) is the intercept of its upper line.  It also loosens every bound l_i, u_i above it, and through
those the lines of neuron i: the loss of i falls with l_i at the rate max(-A_i, 0) u_i (u_i - z_i) / (u_i - l_i)^2 and
with u_i at max(-A_i, 0) (-l_i) (z_i - l_i) / (u_i - l_i)^2, z being the point at which the bound is attained
(adjoint.py).  Now l_i and u_i are rows with coefficients of their own.  So the layers are walked from the top down:
the rows of layer k, weighted with the rates of their neurons, are added to the coefficients of the final row, and the
sum goes on in place of the final row's.  It is one weighted sum over coefficients that bounding computed anyway.

Which rows: those of the node's own refresh where there are any, for these are the rows in force; the root's for the
other layers.  On a fully connected network of four layers of 256 neurons the root's rows alone needed 3493 nodes for
nine disjuncts where these need 2355; on a harder box, which neither finished, the bound had come half as far in the
same time.  Adding the root's rows of neurons not refreshed is worse than leaving them out: 583 nodes for 247.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Losses:
    """Rows of neurons of one layer: what they lose per unit of intercept at the neurons below.

    neurons: (B or 1, R) neuron numbers, -1 pads; columns: (M,) neuron numbers below the layer; low, high: (B or 1, R,
    M) sizes of the negative coefficients of the rows of +z and of -z, binary32.
    """

    neurons: Any
    columns: Any
    low: Any
    high: Any


@dataclass(frozen=True, eq=False)
class Scores:
    """score (B, N) of splitting a neuron, 0 for stable ones; worth (B, N): what tighter bounds of it would bring."""

    score: Any
    worth: Any


def sensitivity(xp: Any, lower: Any, upper: Any, below: Any, z: Any, rows: Sequence[Losses]) -> Scores:
    """Scores from the final row's `below` and `z`, (B, N) each, and the rows of neurons, layers ascending."""
    is_open = (lower < 0) & (upper > 0)
    width = xp.where(is_open, upper - lower, 1.0)
    at = xp.clip(z, lower, upper)
    on_low = xp.where(is_open, (upper / width) * ((upper - at) / width), 0.0)
    on_high = xp.where(is_open, (-lower / width) * ((at - lower) / width), 0.0)
    weight = xp.where(is_open, xp.maximum(-below, 0.0), 0.0)
    for layer in reversed(rows):
        low, high = (_at(xp, weight * rate, layer.neurons) for rate in (on_low, on_high))
        gained = _weighted(low, layer.low) + _weighted(high, layer.high)
        weight[:, layer.columns] += xp.where(is_open[:, layer.columns], gained, 0.0)
    intercept = xp.where(is_open, -upper * lower / width, 0.0)
    return Scores(weight * intercept, weight * (on_low * -lower + on_high * upper))


def _at(xp: Any, values: Any, index: Any) -> Any:
    """(B, R) of (B, N) in binary32; 0 where the index only pads."""
    if index.shape[0] == 1 and values.shape[0] > 1:
        found = values[:, xp.maximum(index[0], 0)]
    else:
        found = xp.take_along_axis(values, xp.maximum(index, 0), axis=1)
    return xp.where(index >= 0, found, 0.0).astype(xp.float32)


def _weighted(weights: Any, rows: Any) -> Any:
    """(B, R) with (B or 1, R, M) -> (B, M)."""
    return weights @ rows[0] if rows.shape[0] == 1 else (weights[:, None] @ rows)[:, 0]


def losses(
    xp: Any, lost: Mapping[int, Any], slots: Mapping[int, slice], columns: Mapping[int, Any], neurons: Any, kept: Any
) -> Losses:
    """Losses of rows +z, then -z, of the listed neurons (B, R), from what they lose by node below, (B, 2R, places).

    slots, kept: of the (packed) program, kept giving neuron numbers; columns: the places by node.
    """
    nothing = xp.zeros((neurons.shape[0], 2 * neurons.shape[1], 0), dtype=xp.float32)
    whole = xp.concatenate([nothing, *lost.values()], axis=2)
    numbers = xp.concatenate([xp.zeros(0, dtype=int), *(kept[slots[v]][columns[v]] for v in lost)])
    count = neurons.shape[1]
    return Losses(neurons, numbers, whole[:, :count], whole[:, count:])


def joined(xp: Any, parts: Sequence[Losses], axis: int) -> Losses:
    """Rows of several passes over the same columns: further rows (axis 1) or further subproblems (axis 0)."""
    if len(parts) == 1:
        return parts[0]
    neurons, low, high = (xp.concatenate([getattr(p, f) for p in parts], axis=axis) for f in ("neurons", "low", "high"))
    return Losses(neurons, parts[0].columns, low, high)
