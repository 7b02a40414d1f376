"""Which neuron to split, and which neurons' rows to bound again: the rankings beside that of runtime_cuda/sensitivity.

`sensitivity` (the default) scores a neuron by what its relaxation costs the bound, directly and through the bounds of
the neurons above it.  On a convolutional network of 3172 neurons it needed 21 nodes where BaBSR had not ended after
8600 and FSB not after 3000; on 256x2 it needs half of BaBSR's nodes and a quarter of FSB's.

As options: BaBSR (Bunel et al., Branch and Bound for Piecewise Linear Neural Network Verification, JMLR 2020), the
loss of a neuron's upper line and what its bias gains; and FSB (De Palma et al., Improved Branch and Bound for Neural
Network Verification via Lagrangian Decomposition, 2021), which tries the best few of that ranking and takes the neuron
whose worse child has the best bound (`relu_split` bounds the children).  Trying the best three of the sensitivities in
this way saved nodes, but not time.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from farkas.engine.problem import Matrix, Vector

WORTHWHILE = 0.05  # of the layer's largest: rows that move the bound less are not bounded again
TRIED = 4  # neurons that FSB tries at a node

RULES = ("sensitivity", "babsr", "fsb")


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
