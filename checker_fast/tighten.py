"""Bounds of neurons by backward rows, for many tree nodes at once that want different neurons.

Tree nodes that want like numbers of neurons work together, and what is missing to a rectangular array is filled with
the first neuron again: sorted by number, little is computed twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from farkas.checker.plan import Vector
from farkas.checker.query import K, P
from farkas.checker_fast.balls import Balls
from farkas.checker_fast.frame import Frame, Plan
from farkas.checker_fast.limbs import Flags, Floats, Ints
from farkas.checker_fast.seeds import neuron_seeds, pinned_seeds
from farkas.checker_fast.stated import Stated, stated


@dataclass(frozen=True)
class Work:
    """Tree nodes to derive from their parents' numbers.

    rows: their places in the wave.  box_low, box_high, balls: as in a frame; bad: boxes that are too large.
    """

    plan: Plan
    chunk: int
    rows: Ints
    parents: Floats
    box_low: Floats
    box_high: Floats
    bad: Flags
    balls: Balls | None = None


@dataclass
class Children:
    """Tree nodes whose bounds in force are being derived, network node by network node, in a frame.

    bad: (B,), left to the reference kernel.  empty: (B,).  Both go on as zeros.  chunk: coefficients in an array.
    """

    frame: Frame
    bad: Flags
    empty: Flags
    chunk: int

    def append(self, v: int, low: Floats, high: Floats, errors: Floats) -> None:
        """The bounds (owned) of node v, so far."""
        self.frame.low.append(low)
        self.frame.high.append(high)
        self.frame.errors.append(errors)
        self.bad |= errors.max(axis=1, initial=0.0) >= self.frame.plan.budget.value
        self.settle(v)

    def settle(self, v: int) -> None:
        """Notes bounds that are too large and children without executions; zeros for what is bad or empty."""
        low, high = self.frame.low[v], self.frame.high[v]
        self.bad |= np.maximum(high, -low).max(axis=1) >= self.frame.plan.budget.value
        self.empty |= (low > high).any(axis=1) & ~self.bad
        gone = self.empty | self.bad
        if gone.any():
            low[gone], high[gone], self.frame.errors[v][gone] = 0.0, 0.0, 0.0

    def tighten(
        self, v: int, wanted: Flags, rules: Sequence[int], vectors: Mapping[int, Sequence[Vector]] | None = None
    ) -> None:
        """Backward bounds for the wanted neurons (B, size) of affine node v.

        vectors: two for each wanted neuron of each tree node that wants any, neurons ascending; the rule is then 0.
        """
        wanted = wanted & ~(self.bad | self.empty)[:, None]
        counts = wanted.sum(axis=1)
        order = np.argsort(-counts, kind="stable")
        order = order[counts[order] > 0]
        width = self._width(v)
        for chosen in self._parts(order, counts, width):
            most = int(counts[chosen[0]])
            neurons = np.argsort(~wanted[chosen], axis=1, kind="stable")[:, :most]
            filler = np.arange(most) >= counts[chosen][:, None]
            numbers = np.where(filler, 0, np.arange(most))
            neurons = np.take_along_axis(neurons, numbers, axis=1)
            step = max(1, self.chunk // (2 * width * len(chosen)))
            for at in range(0, most, step):
                part = np.arange(at, min(at + step, most))
                said = None if vectors is None else self._stated(chosen, numbers[:, part], vectors)
                for rule in rules:
                    self._bound(v, chosen, neurons[:, part], rule, said)
        self.settle(v)

    def _parts(self, order: Ints, counts: Ints, width: int) -> Iterator[Ints]:
        at = 0
        while at < len(order):
            step = max(1, self.chunk // (2 * int(counts[order[at]]) * width))
            yield order[at : at + step]
            at += step

    def _width(self, v: int) -> int:
        """The longest coefficient vector below node v."""
        keeps = [self.frame.keep(a) for a in range(v)]
        return max(
            size if keep is None else len(keep)
            for size, keep in zip(self.frame.plan.network.sizes, keeps, strict=False)
        )

    def _stated(self, chosen: Ints, numbers: Ints, vectors: Mapping[int, Sequence[Vector]]) -> Stated:
        """What is said about the rows of the wanted neurons with these numbers (B, R): of all, then of all negated."""
        rows = [
            [vectors[b][2 * i + sign] for sign in (0, 1) for i in row]
            for b, row in zip(chosen.tolist(), numbers.tolist(), strict=True)
        ]
        return stated(self.frame.plan, rows)

    def _bound(self, v: int, chosen: Ints, neurons: Ints, rule: int, said: Stated | None) -> None:
        """Intersects the bounds of the neurons (B, R) of node v in the children chosen with their backward bounds."""
        low, high, at = self.frame.low[v], self.frame.high[v], (chosen[:, None], neurons)
        if said is None or said.pins_of(v) is None:
            sweep = neuron_seeds(self.frame, chosen, v, neurons, rule, said)
        else:
            sweep = pinned_seeds(self.frame, chosen, v, neurons, said)
        values = (sweep.run(v) >> (K - P)).astype(np.float64)
        self.bad[chosen] |= sweep.bad
        values[sweep.bad] = -np.inf
        count = neurons.shape[1]
        low[at] = np.maximum(low[at], values[:, :count])
        high[at] = np.minimum(high[at], -values[:, count:])
