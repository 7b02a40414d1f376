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

from farkas.checker.kernel import EMPTY, OPEN, Kernel, Prover, ReferenceProver, check_counts
from farkas.checker.query import Bound, Box, Claim, Network
from farkas.checker_fast.forward import Forward
from farkas.checker_fast.frame import Frame, Plan, plan
from farkas.checker_fast.limbs import Budget, Ints
from farkas.checker_fast.matrices import Unsupported
from farkas.checker_fast.seeds import claim_seeds
from farkas.checker_fast.state import State, boxes_as_arrays, frame_of, gather, point, start, store

WAVE = 256
CHUNK = 1 << 16
"""Coefficients per array in a backward pass: larger arrays leave the second-level cache."""
ROWS = 192
"""Rows per array at least: with fewer, reading the weights of a wide layer costs more than multiplying them."""

PIECE = 1 << 21
"""Neurons at once, over all tree nodes of a wave: bounds the memory."""


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
        self._piece = max(1, PIECE // made.width)

    @cached_property
    def _reference(self) -> ReferenceProver:
        return ReferenceProver(self.plan.network, self.plan.rounded, self.plan.intermediate)

    def start(self, count: int) -> State:
        return start(self.plan, count)

    def gather(self, rows: Sequence[tuple[State, int]]) -> State:
        return gather(self.plan, rows)

    def derive(self, parents: State, boxes: Sequence[Box]) -> State:
        count = len(boxes)
        numbers = np.zeros((count, 3, self.plan.width))
        state = State(parents.status.copy(), np.zeros(count, np.bool_), numbers, boxes=tuple(boxes))
        slow = [row for row in parents.points if parents.status[row] == OPEN]
        fast = [row for row in range(count) if parents.status[row] == OPEN and row not in parents.points]
        for at in range(0, len(fast), self._piece):
            slow += self._derive(parents, state, np.array(fast[at : at + self._piece]))
        for row in slow:
            self.redone += 1
            parent = point(self.plan, parents, row)
            store(self.plan, state, row, self._reference.derive([parent], [boxes[row]])[0])
        return state

    def _derive(self, parents: State, state: State, rows: Ints) -> list[int]:
        """Fills in rows of the state; those that the reference kernel has to do again."""
        low, high, large = boxes_as_arrays([state.boxes[row] for row in rows.tolist()], self.plan.budget.value)
        frame = Frame(self.plan, low, high)
        forward = Forward(frame, parents.numbers[rows], large, self._chunk)
        forward.run()
        state.status[rows] = np.where(forward.empty, EMPTY, OPEN)
        for v, place in enumerate(self.plan.places):
            if place is not None:
                state.numbers[rows, 0, place] = frame.low[v]
                state.numbers[rows, 1, place] = frame.high[v]
                state.numbers[rows, 2, place] = frame.errors[v]
        redo: list[int] = rows[forward.bad].tolist()
        return redo

    def close(self, state: State, rows: Sequence[int], claims: Sequence[Claim]) -> list[bool]:
        closed = [bool(state.status[row] == EMPTY) for row in rows]
        asked = [i for i, row in enumerate(rows) if state.status[row] == OPEN and None not in claims[i]]
        slow = [i for i in asked if rows[i] in state.points]
        fast = [i for i in asked if rows[i] not in state.points]
        for at in range(0, len(fast), self._piece):
            part = fast[at : at + self._piece]
            answers = self._close(state, [rows[i] for i in part], [claims[i] for i in part])
            slow += [i for i, answer in zip(part, answers, strict=True) if answer is None]
            for i, answer in zip(part, answers, strict=True):
                closed[i] = answer is True
        for i in slow:
            self.redone += 1
            found = point(self.plan, state, rows[i])
            closed[i] = self._reference.close([found], [0], [claims[i]])[0]
        return closed

    def _close(self, state: State, rows: Sequence[int], claims: Sequence[Claim]) -> list[bool | None]:
        """`close` for open rows that the arrays hold, claims without None; None: the reference kernel has to answer."""
        distinct = sorted(set(rows))
        number = {row: n for n, row in enumerate(distinct)}
        low, high, large = boxes_as_arrays([state.boxes[row] for row in distinct], self.plan.budget.value)
        frame = frame_of(self.plan, state, np.array(distinct), low, high)
        asked: dict[int, list[tuple[int, Bound]]] = {}
        for i, claim in enumerate(claims):
            for bound in claim:
                if bound is not None:
                    asked.setdefault(bound.rule, []).append((i, bound))
        answers: list[bool | None] = [True] * len(rows)
        size = max(1, self._chunk // max(self.plan.network.sizes))
        for rule, pairs in asked.items():
            for at in range(0, len(pairs), size):
                part = pairs[at : at + size]
                chosen = np.array([number[rows[i]] for i, _ in part])
                sweep = claim_seeds(frame, chosen, [bound for _, bound in part], rule)
                values = sweep.run(self.plan.network.output)
                for (i, bound), value, bad in zip(part, values[:, 0].tolist(), sweep.bad | large[chosen], strict=True):
                    if bad:
                        answers[i] = None if answers[i] is True else answers[i]
                    elif not bound.closed_by(value):
                        answers[i] = False
        return answers
