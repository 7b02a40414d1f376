"""Batches of tree nodes as arrays, and the way between them and the reference kernel's `Point`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.typing import NDArray

from farkas.checker.kernel import OPEN, Point
from farkas.checker.query import Box, Input, Relu
from farkas.checker_fast.frame import Frame, Plan
from farkas.checker_fast.limbs import Flags, Floats, Ints


@dataclass
class State:
    """n tree nodes.

    status: (n,).  root: whether nothing is known yet.  numbers: (n, 3, width): bounds in force at 2^-P and errors at
    2^-K of the nodes that `Plan.places` lists; -inf and inf at a root.  points: the tree nodes that have numbers which
    the arrays cannot hold; infinities stand for those.  boxes: empty at roots.
    """

    status: NDArray[np.int8]
    root: Flags
    numbers: Floats
    points: dict[int, Point] = field(default_factory=dict)
    boxes: Sequence[Box] = ()


def start(plan: Plan, count: int) -> State:
    """`count` roots."""
    numbers = np.empty((count, 3, plan.width))
    numbers[:, 0], numbers[:, 1], numbers[:, 2] = -np.inf, np.inf, 0.0
    return State(np.full(count, OPEN, np.int8), np.ones(count, np.bool_), numbers)


def gather(plan: Plan, rows: Sequence[tuple[State, int]]) -> State:
    """The rows in this order."""
    result = State(
        np.empty(len(rows), np.int8), np.empty(len(rows), np.bool_), np.empty((len(rows), 3, plan.width)), boxes=[]
    )
    by_state: dict[int, tuple[State, list[int], list[int]]] = {}
    for position, (state, row) in enumerate(rows):
        _, positions, wanted = by_state.setdefault(id(state), (state, [], []))
        positions.append(position)
        wanted.append(row)
        if row in state.points:
            result.points[position] = state.points[row]
    for state, positions, wanted in by_state.values():
        result.status[positions] = state.status[wanted]
        result.root[positions] = state.root[wanted]
        result.numbers[positions] = state.numbers[wanted]
    return result


def point(plan: Plan, state: State, row: int) -> Point:
    """The tree node as the reference kernel keeps it."""
    if row in state.points:
        return state.points[row]
    result = Point(status=int(state.status[row]), box=state.boxes[row] if state.boxes else None)
    if state.root[row] or result.status != OPEN:
        return result
    for v, node in enumerate(plan.network.nodes):
        place = plan.places[v]
        if place is None:
            if not isinstance(node, Relu):
                raise TypeError(f"network node {v} has no place")
            result.lower.append([max(x, 0) for x in result.lower[node.source]])
            result.upper.append([max(x, 0) for x in result.upper[node.source]])
            result.errors.append([])
        else:
            low, high, errors = (list(map(int, x)) for x in state.numbers[row][:, place].tolist())
            result.lower.append(low)
            result.upper.append(high)
            result.errors.append([] if isinstance(node, Input) else errors)
    return result


def store(plan: Plan, state: State, row: int, found: Point) -> None:
    """Puts what the reference kernel derived at a row, as it is and in arrays, infinities for numbers that do not fit.

    A child gets a number that its own are intersected with: an infinity there makes no difference, or is met again.
    """
    state.status[row] = found.status
    state.root[row] = False
    if found.status != OPEN:
        return
    numbers = np.zeros((3, plan.width))
    limit = int(plan.budget.value)
    for v, place in enumerate(plan.places):
        if place is not None:
            parts = (found.lower[v], found.upper[v], found.errors[v] or [0] * len(found.lower[v]))
            numbers[:, place] = [[_held(x, limit) for x in part] for part in parts]
    state.numbers[row] = numbers
    if np.isinf(numbers).any():
        state.points[row] = found


def _held(x: int, limit: int) -> float:
    return float(x) if -limit < x < limit else inf if x > 0 else -inf


def frame_of(plan: Plan, state: State, rows: Ints, box_low: Floats, box_high: Floats) -> Frame:
    """A frame of some open rows that the arrays hold."""
    frame = Frame(plan, box_low, box_high)
    numbers = state.numbers[rows]
    for v, node in enumerate(plan.network.nodes):
        place = plan.places[v]
        if isinstance(node, Relu):
            frame.low.append(np.maximum(frame.low[node.source], 0.0))
            frame.high.append(np.maximum(frame.high[node.source], 0.0))
            frame.errors.append(np.zeros((len(rows), 0)))
        else:
            low, high, errors = (np.ascontiguousarray(numbers[:, i, place]) for i in range(3))
            frame.low.append(low)
            frame.high.append(high)
            frame.errors.append(errors)
    return frame


def boxes_as_arrays(boxes: Sequence[Box], limit: float) -> tuple[Floats, Floats, Flags]:
    """(lower, upper at 2^-H, (B,) where an entry is not below the limit; those are zero).

    One row for all when all are the same object.
    """
    distinct = {id(box): box for box in boxes}
    bound = int(limit)
    bad = np.zeros(len(distinct), np.bool_)
    ends: list[tuple[Sequence[int], Sequence[int]]] = []
    for b, box in enumerate(distinct.values()):
        if max(map(abs, (*box.lower, *box.upper))) >= bound:
            bad[b] = True
            ends.append(([0] * len(box.lower), [0] * len(box.lower)))
        else:
            ends.append((box.lower, box.upper))
    numbers = {name: n for n, name in enumerate(distinct)}
    which = [numbers[id(box)] for box in boxes]
    both = np.array(ends, dtype=np.int64).astype(np.float64)
    if len(distinct) > 1:
        both = both[which]
    return np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(both[:, 1]), bad[which]
