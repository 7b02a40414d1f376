"""Explicit lower slopes and pins of rows, as arrays: what a `Vector` of the certificate says about a batch of rows.

A pin subtracts gamma (z - b) >= 0 from a row, b a bound in force of z.  So the coefficient of z falls by gamma, and the
constant gains gamma b, summed over the pins of one node and floored once.  gamma and b have up to 41 and 50 bits: both
are cut in two, products of the parts fit in int64, and so do sums of 2^16 of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farkas.checker.plan import Vector
from farkas.checker.query import F, K, P
from farkas.checker_fast.frame import ONE, Plan
from farkas.checker_fast.limbs import Flags, Floats, Ints

GAMMA, BOUND = 21, 25
MOST = 1 << 16


@dataclass(frozen=True)
class Pins:
    """Pins of one node: pin i is on row (tree node nodes[i], row rows[i]), neuron neurons[i] of the node."""

    nodes: Ints
    rows: Ints
    neurons: Ints
    gammas: Ints


@dataclass(frozen=True)
class Stated:
    """What the vectors of (B, R) rows say.

    slopes: (B, R, neurons) at 2^-S, -1 where nothing is said; None when no vector has any.  bad: (B,), some multiplier
    is too large.
    """

    plan: Plan
    slopes: NDArray[np.int16] | None
    pins: Pins
    bad: Flags

    def below(self, source: int, keep: Ints | None) -> NDArray[np.int16] | None:
        """(B, R, kept neurons of node `source`): their slopes."""
        slot = self.plan.slots[source]
        if self.slopes is None or slot is None:
            return None
        part = self.slopes[:, :, slot]
        return part if keep is None else part[:, :, keep]

    def pins_of(self, v: int) -> Pins | None:
        """The pins of node v, by position in it."""
        slot = self.plan.slots[v]
        if slot is None or not len(self.pins.neurons):
            return None
        at = np.flatnonzero((self.pins.neurons >= slot.start) & (self.pins.neurons < slot.stop))
        if not len(at):
            return None
        pins = self.pins
        return Pins(pins.nodes[at], pins.rows[at], pins.neurons[at] - slot.start, pins.gammas[at])


def stated(plan: Plan, vectors: Sequence[Sequence[Vector]]) -> Stated:
    """vectors: for each of B tree nodes those of its R rows."""
    shape = len(vectors), len(vectors[0])
    flat = [vector for row in vectors for vector in row]
    counts = np.array([len(vector.pins) for vector in flat])
    pairs = np.array([pin for vector in flat for pin in vector.pins], dtype=np.int64).reshape(-1, 2)
    rows = np.repeat(np.arange(len(flat)), counts)
    limit = int(plan.budget.coefficient)
    large: Flags = np.any(counts.reshape(shape) >= MOST, axis=1)
    heavy = (pairs[:, 1] >= limit) | (pairs[:, 1] <= -limit)
    if heavy.any():
        large[rows[heavy] // shape[1]] = True
    small = ~large[rows // shape[1]]
    rows, pairs = rows[small], pairs[small]
    pins = Pins(rows // shape[1], rows % shape[1], pairs[:, 0], pairs[:, 1])
    return Stated(plan, _slopes(plan, flat, shape), pins, large)


def _slopes(plan: Plan, vectors: Sequence[Vector], shape: tuple[int, int]) -> NDArray[np.int16] | None:
    lengths = {len(vector.slopes) for vector in vectors}
    if lengths == {0}:
        return None
    table = np.full((len(vectors), plan.neurons), -1, np.int16)
    if len(lengths) == 1:
        (length,) = lengths
        said = np.frombuffer(b"".join(vector.slopes for vector in vectors), np.uint8).reshape(len(vectors), length)
        table[:, plan.columns[:length]] = said
    else:
        for row, vector in zip(table, vectors, strict=True):
            row[plan.columns[: len(vector.slopes)]] = np.frombuffer(vector.slopes, np.uint8)
    table[table == ONE - 1] = ONE
    return table.reshape(*shape, plan.neurons)


def pin_costs(pins: Pins, bounds: Floats, shape: tuple[int, int]) -> tuple[Ints, Floats]:
    """(what the pins add to the constants, (B, R) at 2^-K;  what bounds its magnitude, (B,)).

    bounds: of the pins, at 2^-P.  Exact where the magnitude is below 2^62: sums wrap around modulo 2^64, and only the
    total matters.
    """
    b1, b0 = np.divmod(bounds.astype(np.int64), 1 << BOUND)
    g1, g0 = np.divmod(pins.gammas, 1 << GAMMA)
    lowest = _summed(pins, g0 * b0, shape)
    shift = F + P - K
    total = lowest >> shift
    for exponent, products in ((GAMMA, g1 * b0), (BOUND, g0 * b1), (GAMMA + BOUND, g1 * b1)):
        total += _summed(pins, products, shape) << (exponent - shift)
    reach = np.zeros(shape)
    np.add.at(reach, (pins.nodes, pins.rows), np.abs(pins.gammas * bounds))
    return total, reach.max(axis=1) * (1 + 2.0**-20) * 2.0**-shift + 2.0


def _summed(pins: Pins, products: Ints, shape: tuple[int, int]) -> Ints:
    sums = np.zeros(shape, np.int64)
    np.add.at(sums, (pins.nodes, pins.rows), products)
    return sums


def pinned_neurons(plan: Plan, vectors: Sequence[Vector]) -> Flags | None:
    """(neurons,): whether some vector pins it; None: none is."""
    numbers = [g for vector in vectors for g, _ in vector.pins]
    if not numbers:
        return None
    flags = np.zeros(plan.neurons, np.bool_)
    flags[numbers] = True
    return flags
