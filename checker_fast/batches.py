"""Waves of tree nodes in pieces that fit in memory; what a piece cannot hold is done by the reference kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from farkas.checker.kernel import EMPTY, OPEN, Point
from farkas.checker.query import Bound, Box, Claim
from farkas.checker_fast.balls import balls_of
from farkas.checker_fast.frame import Plan
from farkas.checker_fast.limbs import Ints
from farkas.checker_fast.seeds import claim_seeds
from farkas.checker_fast.state import State, boxes_as_arrays, frame_of, point, store
from farkas.checker_fast.stated import pinned_neurons
from farkas.checker_fast.tighten import Children, Work

PIECE = 1 << 21
"""Neurons at once, over all tree nodes of a wave: bounds the memory."""


class Batches:
    """redone: how many tree nodes the reference kernel had to derive or close."""

    def __init__(self, made: Plan, chunk: int) -> None:
        self.plan = made
        self.redone = 0
        self.piece = max(1, PIECE // made.width)
        self._chunk = chunk

    def derive(
        self,
        parents: State,
        boxes: Sequence[Box],
        run: Callable[[Work], Children],
        again: Callable[[Point, int], Point],
    ) -> State:
        """The children of all rows; `again` derives one from its parent by the reference kernel."""
        count = len(boxes)
        numbers = np.zeros((count, 3, self.plan.width))
        state = State(parents.status.copy(), np.zeros(count, np.bool_), numbers, boxes=tuple(boxes))
        rows, slow = np.flatnonzero(parents.status == OPEN), list[int]()
        for at in range(0, len(rows), self.piece):
            slow += self._derive(parents, state, rows[at : at + self.piece], run)
        for row in slow:
            self.redone += 1
            store(self.plan, state, row, again(point(self.plan, parents, row), row))
        return state

    def _derive(self, parents: State, state: State, rows: Ints, run: Callable[[Work], Children]) -> list[int]:
        """Fills in rows of the state; those that the reference kernel has to do again."""
        chosen, limit = [state.boxes[row] for row in rows.tolist()], self.plan.budget.value
        low, high, bad = boxes_as_arrays(chosen, limit)
        balls = balls_of(chosen, limit)
        if balls is not None:
            bad |= balls.bad
        found = run(Work(self.plan, self._chunk, rows, parents.numbers[rows], low, high, bad, balls))
        state.status[rows] = np.where(found.empty, EMPTY, OPEN)
        for v, place in enumerate(self.plan.places):
            if place is not None:
                state.numbers[rows, 0, place] = found.frame.low[v]
                state.numbers[rows, 1, place] = found.frame.high[v]
                state.numbers[rows, 2, place] = found.frame.errors[v]
        redo: list[int] = rows[found.bad].tolist()
        return redo

    def close(
        self, state: State, rows: Sequence[int], claims: Sequence[Claim], again: Callable[[Point, Claim], bool]
    ) -> list[bool]:
        """Whether each claim closes its row; `again` answers by the reference kernel."""
        closed = [bool(state.status[row] == EMPTY) for row in rows]
        asked = [i for i, row in enumerate(rows) if state.status[row] == OPEN and None not in claims[i]]
        slow = [i for i in asked if rows[i] in state.points]
        fast = [i for i in asked if rows[i] not in state.points]
        for at in range(0, len(fast), self.piece):
            part = fast[at : at + self.piece]
            answers = self._close(state, [rows[i] for i in part], [claims[i] for i in part])
            slow += [i for i, answer in zip(part, answers, strict=True) if answer is None]
            for i, answer in zip(part, answers, strict=True):
                closed[i] = answer is True
        for i in slow:
            self.redone += 1
            closed[i] = again(point(self.plan, state, rows[i]), claims[i])
        return closed

    def _close(self, state: State, rows: Sequence[int], claims: Sequence[Claim]) -> list[bool | None]:
        """`close` for open rows that the arrays hold, claims without None; None: the reference kernel has to answer."""
        distinct = sorted(set(rows))
        number = {row: n for n, row in enumerate(distinct)}
        boxes, limit = [state.boxes[row] for row in distinct], self.plan.budget.value
        low, high, large = boxes_as_arrays(boxes, limit)
        frame = frame_of(self.plan, state, np.array(distinct), low, high)
        frame.balls = balls_of(boxes, limit)
        if frame.balls is not None:
            large |= frame.balls.bad
        stated = [bound.vector for claim in claims for bound in claim if bound is not None and bound.vector is not None]
        frame.pinned = pinned_neurons(self.plan, stated)
        asked: dict[int | None, list[tuple[int, Bound]]] = {}
        for i, claim in enumerate(claims):
            for bound in claim:
                if bound is not None:
                    asked.setdefault(bound.rule if bound.vector is None else None, []).append((i, bound))
        answers: list[bool | None] = [True] * len(rows)
        size = max(1, self._chunk // max(self.plan.network.sizes))
        for rule, pairs in asked.items():
            for at in range(0, len(pairs), size):
                part = pairs[at : at + size]
                chosen = np.array([number[rows[i]] for i, _ in part])
                sweep = claim_seeds(frame, chosen, [bound for _, bound in part], 0 if rule is None else rule)
                values = sweep.run(self.plan.network.output)
                for (i, bound), value, bad in zip(part, values[:, 0].tolist(), sweep.bad | large[chosen], strict=True):
                    if bad:
                        answers[i] = None if answers[i] is True else answers[i]
                    elif not bound.closed_by(value):
                        answers[i] = False
        return answers
