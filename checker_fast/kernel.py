"""The rules `crown-fp-1` and `crown-fp-2` on batches of tree nodes: bit for bit the reference, by exact arithmetic.

Every number of the reference kernel is an integer.  Here all of them are float64 integers below 2^53 (constants:
int64), large factors are cut in limbs so that BLAS products stay exact (`limbs.py`), and every operation bounds its
numbers first.  A tree node that passes a limit is done again by the reference kernel; a network that does not fit
(`matrices.Unsupported`) is checked by the reference kernel altogether.  So the answers are the same by construction;
tests compare all numbers of both on random networks, trees and plans with a narrow and a full mantissa.

Measured on one core of a shared AVX-512 machine, 2026-11-20, CPU time, binary32.  crown-fp-1 on an ACAS Xu network (6
layers of 50, one rule), per tree node: 0.7 ms at roots (64 at once), 0.35 ms with 12 unsettled neurons a layer, 0.15 ms
with 4; the reference kernel takes 115, 40 and 7 ms.  A third of it is BLAS, the rest passes over the coefficients.

crown-fp-2, random boxes, backward rows for all open neurons of all layers but the first, from the root:

| network | ReLUs | rows | seconds | peak MB |
|---|---|---|---|---|
| fully connected, 4 x 256 | 1024 | 1240 | 0.03 | 60 |
| CIFAR-10, 2 convolutions (oval21 base) | 3172 | 1680 | 0.25 | 100 |
| CIFAR-10, residual, 8 convolutions (sri_resnet_a) | 11364 | 5294 | 1.6 | 240 |
| convolutions along time (collins_rul, window 40) | 28300 | 11052 | 5.5 | 290 |

A tree node of the first with 20 neurons bounded again takes 0.4 ms in a wave of 256 and 2.4 ms alone, an output row
with explicit slopes and pins 0.2 ms: a proof of 1024 leaves and 2046 such recipes is checked in 1.1 s.  The same of the
second takes 2 ms a tree node, 0.15 ms a row, of which a third is BLAS.  Blocks by columns instead of by rows
(`matrices.py`) were tried for backward products: as fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from farkas.checker.kernel import Point, Reference, ReferenceProver, check_counts
from farkas.checker.prover import Kernel, PlanProver, Prover, Step
from farkas.checker.query import Box, Claim, Network
from farkas.checker_fast.advance import Advance
from farkas.checker_fast.batches import Batches
from farkas.checker_fast.forward import Forward
from farkas.checker_fast.frame import Plan, plan
from farkas.checker_fast.limbs import Budget
from farkas.checker_fast.matrices import Unsupported
from farkas.checker_fast.state import State, gather, start
from farkas.checker_fast.tighten import Children, Work

WAVE = 256
CHUNK = 1 << 16
"""Coefficients per array in a backward pass: larger arrays leave the second-level cache."""
ROWS = 96
"""Rows per array at least: with fewer, reading the weights of a wide layer costs more than multiplying them.

48 to 192 take the same time up to a tenth; 384 take a third longer on convolutions.
"""

HELD = 1 << 19
"""Neurons of a wave by crown-fp-2: a walk holds the states of some dozens of waves, 24 bytes a neuron."""


class Accelerated:
    """The accelerated kernel.  bits: of the mantissa that it uses; below 53 it only splits and falls back more."""

    tier = "accelerated"

    def __init__(self, wave: int = WAVE, bits: int = 53, chunk: int | None = None) -> None:
        self.wave = wave
        self._budget = Budget(bits)
        self._chunk = chunk

    def prepare(self, network: Network, rounded: bool, intermediate: tuple[int, ...]) -> Prover[Any]:
        if rounded:
            check_counts(network)
        try:
            made = plan(network, rounded, intermediate, self._budget)
        except Unsupported:
            return ReferenceProver(network, rounded, intermediate)
        return AcceleratedProver(self._batches(made))

    def prepare_plan(self, network: Network, rounded: bool, columns: tuple[int, ...]) -> PlanProver[Any]:
        if rounded:
            check_counts(network)
        try:
            made = plan(network, rounded, (), self._budget, columns)
        except Unsupported:
            return Reference().prepare_plan(network, rounded, columns)
        return AcceleratedPlanProver(self._batches(made), self.wave)

    def _batches(self, made: Plan) -> Batches:
        chunk = max(CHUNK, ROWS * max(made.network.sizes)) if self._chunk is None else self._chunk
        return Batches(made, chunk)


def accelerated_kernel() -> Kernel:
    """The kernel with its usual parameters."""
    return Accelerated()


class AcceleratedProver:
    """`Prover` of the accelerated kernel.  redone: how many tree nodes the reference kernel had to derive or close."""

    def __init__(self, batches: Batches) -> None:
        self.plan = batches.plan
        self.batches = batches

    @property
    def redone(self) -> int:
        return self.batches.redone

    @cached_property
    def _reference(self) -> ReferenceProver:
        return ReferenceProver(self.plan.network, self.plan.rounded, self.plan.intermediate)

    def start(self, count: int) -> State:
        return start(self.plan, count)

    def gather(self, rows: Sequence[tuple[State, int]]) -> State:
        return gather(self.plan, rows)

    def derive(self, parents: State, boxes: Sequence[Box]) -> State:
        def run(work: Work) -> Children:
            return Forward(work).run()

        def again(parent: Point, row: int) -> Point:
            return self._reference.derive([parent], [boxes[row]])[0]

        return self.batches.derive(parents, boxes, run, again)

    def close(self, state: State, rows: Sequence[int], claims: Sequence[Claim]) -> list[bool]:
        return self.batches.close(
            state, rows, claims, lambda found, claim: self._reference.close([found], [0], [claim])[0]
        )


class AcceleratedPlanProver:
    """`PlanProver` of the accelerated kernel.  redone: as above."""

    def __init__(self, batches: Batches, wave: int) -> None:
        self.plan = batches.plan
        self.batches = batches
        self._wave = max(1, min(wave, HELD // batches.plan.width))

    @property
    def wave(self) -> int:
        return self._wave

    @property
    def redone(self) -> int:
        return self.batches.redone

    @cached_property
    def _reference(self) -> PlanProver[Any]:
        columns = tuple(self.plan.columns.tolist())
        return Reference().prepare_plan(self.plan.network, self.plan.rounded, columns)

    def begin(self, boxes: Sequence[Box]) -> State:
        def run(work: Work) -> Children:
            return Forward(work).run()

        def again(_: Point, row: int) -> Point:
            found: Point = self._reference.begin([boxes[row]])[0]
            return found

        return self.batches.derive(start(self.plan, len(boxes)), boxes, run, again)

    def gather(self, rows: Sequence[tuple[State, int]]) -> State:
        return gather(self.plan, rows)

    def advance(self, parents: State, steps: Sequence[Step]) -> State:
        def run(work: Work) -> Children:
            return Advance(work, [steps[row] for row in work.rows.tolist()]).run()

        def again(parent: Point, row: int) -> Point:
            found: Point = self._reference.advance([parent], [steps[row]])[0]
            return found

        return self.batches.derive(parents, [step.box for step in steps], run, again)

    def close(self, state: State, rows: Sequence[int], claims: Sequence[Claim]) -> list[bool]:
        return self.batches.close(
            state, rows, claims, lambda found, claim: self._reference.close([found], [0], [claim])[0]
        )
