"""The rule `crown-fp-1` on batches of tree nodes: bit for bit the reference kernel, by exact float64 arithmetic.

Every number of the reference kernel is an integer.  Here all of them are float64 integers below 2^53 (constants:
int64), large factors are cut in limbs so that BLAS products stay exact (`limbs.py`), and every operation bounds its
numbers first.  A tree node that passes a limit is done again by the reference kernel, one that holds larger numbers
stays there; a network that does not fit (`matrices.Unsupported`) is checked by the reference kernel altogether.  So the
answers are the same by construction; tests compare all numbers of both on random networks with a narrow and a full
mantissa.

Measured on an ACAS Xu network (6 layers of 50, binary32, one rule) on one core of a shared AVX-512 machine, 2026-11-20,
per tree node: 0.7 ms at roots (64 at once), 0.35 ms with 12 unsettled neurons a layer, 0.15 ms with 4; the reference
kernel takes 115, 40 and 7 ms.  A third of it is BLAS, the rest passes over the coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from farkas.checker.kernel import EMPTY, OPEN, Kernel, Point, Prover, ReferenceProver, check_counts
from farkas.checker.query import Bound, Box, Claim, Network
from farkas.checker_fast.forward import Forward
from farkas.checker_fast.frame import Frame, Plan, plan
from farkas.checker_fast.limbs import Budget
from farkas.checker_fast.matrices import Unsupported
from farkas.checker_fast.seeds import claim_seeds
from farkas.checker_fast.state import State, boxes_as_arrays, frame_of, gather, point, start, store

WAVE = 256
CHUNK = 1 << 16
"""Coefficients per array in a backward pass: larger arrays leave the second-level cache."""
ROWS = 192
"""Rows per array at least: with fewer, reading the weights of a wide layer costs more than multiplying them."""


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
        chunk = max(CHUNK, ROWS * max(network.sizes)) if self._chunk is None else self._chunk
        return AcceleratedProver(made, chunk)


def accelerated_kernel() -> Kernel:
    """The kernel with its usual parameters."""
    return Accelerated()


class AcceleratedProver:
    """`Prover` of the accelerated kernel.  redone: how many tree nodes the reference kernel had to derive or close."""

    def __init__(self, made: Plan, chunk: int) -> None:
        self.plan = made
        self.redone = 0
        self._chunk = chunk

    @cached_property
    def _reference(self) -> ReferenceProver:
        return ReferenceProver(self.plan.network, self.plan.rounded, self.plan.intermediate)

    def start(self, count: int) -> State:
        return start(self.plan, count)

    def gather(self, rows: Sequence[tuple[State, int]]) -> State:
        return gather(self.plan, rows)

    def derive(self, parents: State, boxes: Sequence[Box]) -> State:
        count = len(boxes)
        state = State(
            parents.status.copy(), np.zeros(count, np.bool_), np.zeros((count, 3, self.plan.width)), boxes=tuple(boxes)
        )
        held = np.array([row in parents.points for row in range(count)], dtype=np.bool_)
        rows = np.flatnonzero((parents.status == OPEN) & ~held)
        slow = set(np.flatnonzero((parents.status == OPEN) & held).tolist())
        if len(rows):
            low, high, large = boxes_as_arrays([boxes[row] for row in rows.tolist()], self.plan.budget.value)
            frame = Frame(self.plan, low, high)
            forward = Forward(frame, parents.numbers[rows], large, self._chunk)
            forward.run()
            state.status[rows] = np.where(forward.empty, EMPTY, OPEN)
            for v, place in enumerate(self.plan.places):
                if place is not None:
                    state.numbers[rows, 0, place] = frame.low[v]
                    state.numbers[rows, 1, place] = frame.high[v]
                    state.numbers[rows, 2, place] = frame.errors[v]
            slow.update(rows[forward.bad].tolist())
        for row in sorted(slow):
            self.redone += 1
            parent = point(self.plan, parents, row)
            store(self.plan, state, row, self._reference.derive([parent], [boxes[row]])[0])
        return state

    def close(self, state: State, rows: Sequence[int], claims: Sequence[Claim]) -> list[bool]:
        closed = [bool(state.status[row] == EMPTY) for row in rows]
        todo: list[int] = []
        for i, (row, claim) in enumerate(zip(rows, claims, strict=True)):
            if state.status[row] == OPEN and None not in claim:
                if row in state.points:
                    self._close_slowly(state, rows, claims, closed, i)
                else:
                    todo.append(i)
        if todo:
            for i in self._close_fast(state, rows, claims, closed, todo):
                self._close_slowly(state, rows, claims, closed, i)
        return closed

    def _close_slowly(
        self, state: State, rows: Sequence[int], claims: Sequence[Claim], closed: list[bool], i: int
    ) -> None:
        self.redone += 1
        found: Point = point(self.plan, state, rows[i])
        closed[i] = self._reference.close([found], [0], [claims[i]])[0]

    def _close_fast(
        self, state: State, rows: Sequence[int], claims: Sequence[Claim], closed: list[bool], todo: list[int]
    ) -> list[int]:
        """Decides the entries `todo`, but for those that it returns."""
        distinct = sorted({rows[i] for i in todo})
        number = {row: n for n, row in enumerate(distinct)}
        low, high, large = boxes_as_arrays([state.boxes[row] for row in distinct], self.plan.budget.value)
        frame = frame_of(self.plan, state, np.array(distinct), low, high)
        asked: dict[int, list[tuple[int, Bound]]] = {}
        for i in todo:
            closed[i] = True
            for bound in claims[i]:
                if bound is not None:
                    asked.setdefault(bound.rule, []).append((i, bound))
        unsure: set[int] = set()
        size = max(1, self._chunk // max(self.plan.network.sizes))
        for rule, pairs in asked.items():
            for at in range(0, len(pairs), size):
                part = pairs[at : at + size]
                chosen = np.array([number[rows[i]] for i, _ in part])
                sweep = claim_seeds(frame, chosen, [bound for _, bound in part], rule)
                values = sweep.run(self.plan.network.output)
                for (i, bound), value, bad in zip(part, values[:, 0].tolist(), sweep.bad | large[chosen], strict=True):
                    if bad:
                        unsure.add(i)
                    elif not bound.closed_by(value):
                        closed[i] = False
        return sorted(i for i in unsure if closed[i])
