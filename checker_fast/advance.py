"""Bounds in force at children by the rule `crown-fp-2`: phase and recipe of each, network node by network node.

Recipes differ from child to child.  All work of one network node is done together: the forward pass in those children
that want it, then first row groups, then second ones, and so on, the children of like rule in one batch.  Where nothing
is to be done a child has its parent's numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import numpy as np

from farkas.checker.plan import RowGroup
from farkas.checker.prover import Step
from farkas.checker.query import Affine, Input, Relu
from farkas.checker_fast.forward import affine_bounds, box_bounds
from farkas.checker_fast.frame import Frame, Plan
from farkas.checker_fast.limbs import Flags, Floats, Ints
from farkas.checker_fast.stated import pinned_neurons
from farkas.checker_fast.tighten import Children, Work

Asked = list[tuple[int, RowGroup]]
"""(child, what it wants)."""


class Advance:
    """The steps of children, one each."""

    def __init__(self, work: Work, steps: Sequence[Step]) -> None:
        self._plan, self._parents = work.plan, work.parents
        recipes = [() if step.recipe is None else step.recipe.rows for step in steps]
        vectors = [vector for groups in recipes for group in groups for vector in group.vectors]
        frame = Frame(work.plan, work.box_low, work.box_high, pinned_neurons(work.plan, vectors), work.balls)
        self._own = _own_pins(work.plan, recipes, frame.pinned)
        self.children = Children(frame, work.bad.copy(), np.zeros(len(steps), np.bool_), work.chunk)
        forward = [b for b, step in enumerate(steps) if step.recipe is not None and step.recipe.forward]
        self._forward: Ints = np.array(forward, dtype=np.int64)
        phases = [(b, step.phase[0], step.phase[1]) for b, step in enumerate(steps) if step.phase is not None]
        self._phases: Ints = np.array(phases, dtype=np.int64).reshape(-1, 3)
        self._rounds = _rounds(work.plan.ordinals, recipes)

    def run(self) -> Children:
        children, frame = self.children, self.children.frame
        for v, node in enumerate(self._plan.network.nodes):
            match node:
                case Input():
                    low, high, errors = self._known(v)
                    found = box_bounds(frame)
                    low, high = np.maximum(low, found[0]), np.minimum(high, found[1])
                case Relu(source):
                    low, high = np.maximum(frame.low[source], 0.0), np.maximum(frame.high[source], 0.0)
                    errors = np.zeros((len(low), 0))
                case Affine():
                    low, high, errors = self._known(v)
                    self._split(v, low, high)
                    self._interval(v, low, high, errors)
                case _:
                    assert_never(node)
            children.append(v, low, high, errors)
            if v in self._rounds:
                unsettled = (frame.low[v] < 0) & (frame.high[v] > 0)
                if v in self._own:
                    frame.before[v] = frame.low[v].copy(), frame.high[v].copy()
                for asked in self._rounds[v]:
                    self._rows(v, asked, unsettled)
                if v in self._own:
                    frame.forget(v)
        return children

    def _known(self, v: int) -> tuple[Floats, Floats, Floats]:
        """The parents' bounds and errors, to be written over."""
        place = self._plan.places[v]
        if place is None:
            raise TypeError(f"network node {v} has no place")
        low, high, errors = (np.ascontiguousarray(self._parents[:, i, place]) for i in range(3))
        return low, high, errors

    def _split(self, v: int, low: Floats, high: Floats) -> None:
        """The phases of neurons of node v."""
        slot = self._plan.slots[v]
        if slot is None:
            return
        for b, g, active in self._phases[
            (self._phases[:, 1] >= slot.start) & (self._phases[:, 1] < slot.stop)
        ].tolist():
            j = g - slot.start
            if active:
                low[b, j] = max(low[b, j], 0.0)
            else:
                high[b, j] = min(high[b, j], 0.0)

    def _interval(self, v: int, low: Floats, high: Floats, errors: Floats) -> None:
        """The forward pass in the children that want it."""
        at = self._forward
        if len(at):
            found = affine_bounds(self.children.frame, v, at)
            low[at], high[at] = np.maximum(low[at], found.low), np.minimum(high[at], found.high)
            errors[at] = found.errors
            self.children.bad[at] |= found.bad

    def _rows(self, v: int, asked: Asked, unsettled: Flags) -> None:
        """Row groups of node v, one a child at most; unsettled: the neurons whose sign was open before the first."""
        wanted: dict[int | None, Flags] = {}
        vectors = {b: group.vectors for b, group in asked if group.vectors}
        for b, group in asked:
            rule = None if group.vectors else group.rule
            flags = wanted.setdefault(rule, np.zeros(unsettled.shape, np.bool_))
            if group.neurons is None:
                flags[b] = unsettled[b]
            else:
                flags[b, list(group.neurons)] = True
        for rule, flags in wanted.items():
            if rule is None:
                self.children.tighten(v, flags, (0,), vectors)
            elif flags.any():
                self.children.tighten(v, flags, (rule,))


def _own_pins(plan: Plan, recipes: Sequence[Sequence[RowGroup]], pinned: Flags | None) -> set[int]:
    """The nodes with rows that have pins in their own layer; the neurons of these rows are marked in `pinned`."""
    own: set[int] = set()
    for group in (group for groups in recipes for group in groups if group.vectors):
        v = plan.ordinals[group.layer]
        slot = plan.slots[v]
        if slot is None or pinned is None or group.neurons is None:
            continue
        if any(slot.start <= g < slot.stop for vector in group.vectors for g, _ in vector.pins):
            own.add(v)
            pinned[slot.start + np.array(group.neurons)] = True
    return own


def _rounds(ordinals: Sequence[int], recipes: Sequence[Sequence[RowGroup]]) -> dict[int, list[Asked]]:
    """Per network node the first row groups of all children, then the second ones, and so on."""
    rounds: dict[int, list[Asked]] = {}
    for b, groups in enumerate(recipes):
        seen: dict[int, int] = {}
        for group in groups:
            at = seen[group.layer] = seen.get(group.layer, -1) + 1
            listed = rounds.setdefault(ordinals[group.layer], [])
            if at == len(listed):
                listed.append([])
            listed[at].append((b, group))
    return rounds
