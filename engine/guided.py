"""One case of the arm `milp`: nodes below which guided trees are to be grown, and a hunt beside them.

The tree comes first and the hunt (`milp_arm.hunt`) has a part of its time, once there is some: where nothing violates
a MILP solver says so after much more work than the tree takes (on a 2 x 256 network with 45 unstable neurons 6 s for
what trees of 169 programs prove in 1 s), and its word closes nothing.  Where something does, the points of the root and
of the programs are mostly enough: with the attack turned off they decided 54 of 60 instances that are or may be
violated, and hunts for a quarter of the time none of the other six within 8 s.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from farkas.engine.bab import Candidate, Progress
from farkas.engine.budget import Budget
from farkas.engine.problem import Matrix
from farkas.engine.tree import ProofTree

if TYPE_CHECKING:
    from farkas.engine.relu_root import CaseRoot

HUNT_AFTER_S = 1.0  # of a case's tree
HUNT_SHARE = 0.2  # of the time of a case's tree goes to hunts, each of them at least HUNT_AFTER_S long


class Guided:
    """One case: nodes below which a guided tree is to be grown, each with its goals, and a hunt beside."""

    def __init__(self, root: CaseRoot, solver: str) -> None:
        from farkas.engine.relu_leaves import LeafPrograms

        self.root, self.solver = root, solver
        self.tree, self.leaves, self.progress = ProofTree(), LeafPrograms(root), Progress()
        self.waiting: list[int] = []
        self.stuck = self.programs = 0
        self.seconds = self.hunted_s = 0.0
        self._begun = 1
        self._prey: deque[int] = deque()  # disjuncts that a hunt may still find violated
        self._work: Iterator[list[Candidate]] | None = None

    @property
    def is_closed(self) -> bool:
        return not self.waiting and not self.stuck

    def suits(self, most: int | None) -> bool:
        """Whether the root leaves at most so many neurons open, and programs of a size that a solver can be given."""
        if not self.root.open:
            return True
        return (most is None or len(self.root.columns) <= most) and self.leaves.prover.is_affordable

    def start(self) -> None:
        """Begin the tree with what the root closed; of the disjuncts left the one that fails by least comes first."""
        places = self.root.plant(self.tree)
        hardest = sorted(places, key=self.root.margin_of)
        self._prey.extend(hardest)
        self.waiting = [places[d] for d in hardest[::-1]]
        self._begun = max(1, len(places))
        self._count(len(places), len(places))

    def step(self, budget: Budget) -> list[Candidate] | None:
        """A program, or a hunt; None when nothing is left to do or the budget is spent.  May raise OutOfTime."""
        start = time.monotonic()
        try:
            if self._is_hungry:
                return self._hunted(budget)
            if self._work is None:
                self._work = self._grow(budget)
            met = next(self._work, None)
            if met is None:
                self._work = None
            return met
        finally:
            self.seconds += time.monotonic() - start

    def _grow(self, budget: Budget) -> Iterator[list[Candidate]]:
        """Grow the trees one after another; what the budget cuts short stays waiting, and so nothing is closed."""
        from farkas.engine.milp_arm import guided_tree
        from farkas.engine.relu_place import in_force

        disjuncts = [self.leaves.disjunct(d) for d in range(len(self.root.atoms_of))]
        while self.waiting:
            place, before = in_force(self.root, self.tree, self.waiting[-1]), 0
            others, stuck, left = len(self.waiting) - 1 + self.stuck, self.stuck, 0
            steps = guided_tree(
                self.leaves.prover,
                self.tree,
                self.waiting[-1],
                place.lower,
                place.upper,
                disjuncts,
                place.goals,
                budget,
            )
            for step in steps:
                self.programs += step.nodes - before
                self.progress.boxes += step.nodes - before
                before = step.nodes
                self.stuck += step.is_stuck
                self.progress.best_bound = step.worst
                left = step.open
                self._count(others + left, len(self.waiting) - 1 + step.share)
                yield self._candidates(np.zeros((0, 0)) if step.candidate is None else step.candidate[None])
            if left > self.stuck - stuck:
                return  # the budget is spent
            self.waiting.pop()

    def _count(self, left: int, share: float) -> None:
        """So many nodes are not closed, the stuck ones among them."""
        self.progress.open, self.progress.share = left - self.stuck, min(self.progress.share, share / self._begun)
        self.progress.leaves = self.tree.leaves - left

    @property
    def _is_hungry(self) -> bool:
        grown_s = self.seconds - self.hunted_s
        return bool(self._prey) and grown_s >= HUNT_AFTER_S and self.hunted_s <= HUNT_SHARE * grown_s

    def _hunted(self, budget: Budget) -> list[Candidate]:
        """Incumbents of one disjunct's MILP; it is asked again, for longer, unless the solver came to an end."""
        from farkas.engine.milp_arm import hunt

        budget.check()
        start, d = time.monotonic(), self._prey.popleft()
        length_s = max(HUNT_AFTER_S, HUNT_SHARE * self.seconds)
        root, prover = self.root, self.leaves.prover
        found = hunt(prover, root.lower, root.upper, self.leaves.disjunct(d), budget, length_s, self.solver)
        if not found.is_over:
            self._prey.append(d)
        self.hunted_s += time.monotonic() - start
        return self._candidates(found.points)

    def reopen(self, node: int) -> None:
        """Take back a leaf's closing and split the neuron furthest from either sign; what has none left is stuck."""
        from farkas.engine.relu_place import in_force

        self.tree.reopen(node)
        place = in_force(self.root, self.tree, node)
        room = np.where((place.lower < 0) & (place.upper > 0), np.minimum(-place.lower, place.upper), 0.0)
        if room.max(initial=0.0) <= 0:
            self.stuck += 1
            return
        first = self.tree.split_neuron(node, int(room.argmax()))
        self.waiting += [first, first + 1]

    def _candidates(self, points: Matrix) -> list[Candidate]:
        if not len(points):
            return []
        moved = np.concatenate([self.leaves.prover.candidates(point) for point in points])
        return self.root.candidates(moved, self.progress)
