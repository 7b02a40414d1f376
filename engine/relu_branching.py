"""Which neuron to split: the one whose relaxation costs the bound most, directly and through other neurons' bounds.

With A the row's coefficients over the neurons' outputs, a neuron with coefficient A_j < 0 takes its upper line, whose
intercept t_j = -u l / (u - l) costs the bound  -A_j t_j.  A split of j takes that away.  It also narrows every neuron i
above whose own rows read j: the bound moves with l_i and u_i at the rates

    -A_i u_i (u_i - z_i) / (u_i - l_i)^2   and   -A_i (-l_i) (z_i - l_i) / (u_i - l_i)^2,

z the point at which it is attained, and l_i, u_i are bounds of rows with negative coefficients over j of their own.  So
with one weight a neuron, W_j = max(-A_j, 0) to begin with, and from the top layer down

    W_j += sum over rows r of unstable neurons i above:  (rate of the bound that r bounds) W_i max(-Lambda_rj, 0),

the score of j is W_j t_j, and W_i times the rates says which rows are worth bounding again.  Loss alone, or the score
of BaBSR, needed 5 to 80 times the nodes on wide fully connected networks.

The rows Lambda are those of the root, computed once (`Influence`): they need no memory per node and no second pass, and
one product serves a whole batch.  One set of slopes is used throughout; mixing sets ruins the score (126 nodes became
2710).

Also here, as options: BaBSR (Bunel et al., Branch and Bound for Piecewise Linear Neural Network Verification, JMLR
2020), which adds what a neuron's bias gains; and FSB (De Palma et al., Improved Branch and Bound for Neural Network
Verification via Lagrangian Decomposition, 2021), which tries the best few of that ranking and takes the neuron whose
worse child gains most (`relu_split` bounds the children).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from farkas.engine.problem import Matrix, Vector
from farkas.runtime_cuda.crown import CHUNK
from farkas.runtime_cuda.relaxation import Relaxation

LARGEST_INFLUENCE = 256 << 20  # bytes of root rows kept for scores; beyond it, losses alone rank the neurons
WORTHWHILE = 0.05  # of the layer's largest: rows that move the bound less are not bounded again

TRIED = 4  # neurons that FSB tries at a node

RULES = ("sensitivity", "babsr", "fsb")


@dataclass(frozen=True, eq=False)
class LayerInfluence:
    """Rows of the neurons of one layer that the root left open: numbers (R,), negative parts of the coefficients of
    their lower and upper rows over the outputs of the neurons below, (R, start of the layer) each."""

    neurons: npt.NDArray[np.int64]
    low: Any
    high: Any


Influence = tuple[LayerInfluence, ...]


def influence(relaxation: Relaxation, lower: Vector, upper: Vector) -> Influence:
    """The rows of the root's unstable neurons, layers ascending, under adaptive slopes; () where they are too large."""
    net, passes = relaxation.full, relaxation.sure
    unstable = (lower < 0) & (upper > 0)
    open_by_layer = [np.flatnonzero(unstable[net.slots[v]]) for v in relaxation.layers]
    starts = [net.slots[v].start for v in relaxation.layers]
    if sum(8 * len(p) * s for p, s in zip(open_by_layer, starts, strict=True)) > LARGEST_INFLUENCE:
        return ()
    asarray = net.backend.asarray
    kept = relaxation.net.kept
    relaxed = passes.relax(asarray(lower)[None, kept], asarray(upper)[None, kept])
    layers = []
    for v, places, start in zip(relaxation.layers, open_by_layer, starts, strict=True):
        if start == 0 or not len(places):
            continue
        low, high = (np.zeros((len(places), start), dtype=np.float32) for _ in range(2))
        size = max(1, CHUNK // (2 * relaxation.net.widest))
        for at in range(0, len(places), size):
            part = slice(at, at + size)
            _negative_parts(relaxation, v, places[part], relaxed, low[part], high[part])
        layers.append(LayerInfluence(start + places, low, high))
    return tuple(layers)


def _negative_parts(relaxation: Relaxation, v: int, places: Any, relaxed: Any, low: Any, high: Any) -> None:
    """Fill (R, start) arrays with max(-coefficient, 0) over neurons' outputs, of the rows +z and -z of node v."""
    net, passes, asarray = relaxation.full, relaxation.sure, relaxation.full.backend.asarray
    slot, packed = net.slots[v], relaxation.net
    position = np.searchsorted(packed.kept[packed.slots[v]], slot.start + places)
    found = passes.descend(passes.units(v, asarray(position)[None]), relaxed, rigorous=False, keep=True)
    for r, crossing in found.crossings.items():
        source = packed.nodes[r].source  # type: ignore[union-attr]  # crossings are those of Relus
        if source not in packed.slots:
            continue
        columns = packed.kept[packed.slots[source]]
        rows = np.maximum(-net.backend.to_numpy(crossing.coef[0]), 0.0)
        low[:, columns] += rows[: len(places)]
        high[:, columns] += rows[len(places) :]


@dataclass(frozen=True, eq=False)
class Scores:
    """score (B, N) of splitting a neuron, 0 for stable ones; worth (B, N): what a better bound of it would bring."""

    score: Matrix
    worth: Matrix


def sensitivity(layers: Influence, lower: Matrix, upper: Matrix, below: Matrix, z: Matrix) -> Scores:
    """Scores from a row's coefficients over the neurons' outputs and the values z at its minimum, (B, N) each."""
    unstable = (lower < 0) & (upper > 0)
    width = np.where(unstable, upper - lower, 1.0)
    weight = np.where(unstable, np.maximum(-below, 0.0), 0.0)
    at = np.clip(z, lower, upper)
    by_lower = np.where(unstable, upper * (upper - at), 0.0) / (width * width)
    by_upper = np.where(unstable, -lower * (at - lower), 0.0) / (width * width)
    for layer in reversed(layers):
        n = layer.neurons
        above = weight[:, n]
        if not above.any():
            continue
        gained = (above * by_lower[:, n]).astype(np.float32) @ layer.low
        gained += (above * by_upper[:, n]).astype(np.float32) @ layer.high
        weight[:, : gained.shape[1]] += np.where(unstable[:, : gained.shape[1]], gained, 0.0)
    intercept = np.where(unstable, -upper / width * lower, 0.0)
    return Scores(weight * intercept, weight * (by_lower * -lower + by_upper * upper))


def babsr(biases: Vector, lower: Matrix, upper: Matrix, below: Matrix) -> Matrix:
    """(B, N): BaBSR's estimate of what a split gains; biases (N,) of the neurons' own layers."""
    unstable = (lower < 0) & (upper > 0)
    width = np.where(unstable, upper - lower, 1.0)
    slope = np.where(unstable, upper / width, 0.0)
    product = below * biases
    bias = np.maximum((slope - 1.0) * product, slope * product)
    intercept = np.minimum(below, 0.0) * -slope * lower
    # Where both terms vanish every unstable neuron still is a choice, the loosest first.
    return np.where(unstable, abs(bias + intercept) + 1e-12 * width, 0.0)


def worthwhile(worth: Matrix, layers: Mapping[int, slice], most: int) -> npt.NDArray[np.bool_]:
    """(B, N): whose rows to bound again: a twentieth of the layer's largest at least, and `most` of a line at most."""
    wanted = np.zeros(worth.shape, dtype=bool)
    for slot in layers.values():
        part = worth[:, slot]
        wanted[:, slot] = (part > 0) & (part >= WORTHWHILE * part.max(axis=1, keepdims=True, initial=0.0))
    many = np.flatnonzero(wanted.sum(axis=1) > most)
    for b in many:
        ranked = np.where(wanted[b], worth[b], -1.0)
        wanted[b, np.argsort(-ranked, kind="stable")[most:]] = False
    return wanted
