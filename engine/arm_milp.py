"""The arm of exact linear models: trees guided by linear programs, and a MILP's incumbents, case by case.

Where the root leaves few neurons open, a linear program at every node is cheap, and its bound is the best that the
relaxation has.  The tree comes first and the hunt (`milp_arm.hunt`) has a part of its time, once there is some: where
nothing violates a MILP solver says so after much more work than the tree takes (on a 2 x 256 network with 45 unstable
neurons 6 s for what trees of 169 programs prove in 1 s), and its word closes nothing.  Where something does, the points
of the root and of the programs are mostly enough: with the attack turned off they decided 54 of 60
instances that are or may be violated, and hunts for a quarter of the time none of the other six within 8 s.

The arm says by itself when its time has come (`claim`): bounds of the root have to be there first, so that no order
of arms made beforehand could name the moment.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from farkas.engine.arm_parts import CASE_SLICE_S, Cases, Roots, Task, inputs_free, total
from farkas.engine.bab import Candidate, Progress
from farkas.engine.budget import Budget, OutOfTime
from farkas.engine.problem import Matrix
from farkas.engine.tree import ProofTree
from farkas.ir.errors import FarkasError

if TYPE_CHECKING:
    from farkas.engine.relu_root import CaseRoot

HUNTERS = ("highs", "gscip", "mathopt-highs")  # MILP solvers that take continuous columns
QUICK = 1_000_000  # coefficients of a program that is worth trying first: 400 000 take 0.7 s the first time
HUNT_AFTER_S = 1.0  # of a case's tree
HUNT_SHARE = 0.2  # of the time of a case's tree goes to hunts, each of them at least HUNT_AFTER_S long


class MilpArm:
    """Cases by turns.

    limits: unstable neurons up to which it claims any case, and up to which it claims those with conjunctions and takes
    others when its turn comes; None: it claims nothing and takes all.
    """

    name = "milp"

    def __init__(self, task: Task, roots: Roots, limits: tuple[int, int] | None = None) -> None:
        if task.milp_solver not in HUNTERS:
            raise FarkasError(
                f"MILP solver '{task.milp_solver}' does not solve models of networks, which have continuous columns; "
                f"those that do: {', '.join(HUNTERS)}"
            )
        self.task, self.roots, self.limits = task, roots, limits
        self._cases = Cases(list(range(task.cases)))
        self._trees: dict[int, Guided] = {}
        self._declined: set[int] = set()

    @property
    def why(self) -> str:
        return inputs_free(self.task)

    @property
    def claim(self) -> str:
        """Why the arm should work next: a case's root is bounded and leaves few neurons open; empty when none is."""
        if self.limits is None:
            return ""
        for case in self._cases.left:
            told = self._claim_of(case, *self.limits)
            if told:
                return told
        return ""

    def _claim_of(self, case: int, few: int, many: int) -> str:
        unstable = self.roots.unstable_of(case)
        if case in self._trees or not unstable or unstable > many or self.roots.coefficients(case) > QUICK:
            return ""
        told = f"{unstable} {'neuron is' if unstable == 1 else 'neurons are'} unstable at the root"
        if unstable <= few:
            return f"{told}, at most {few}"
        return f"{told}, at most {many}, and several atoms hold together" if self.roots.joins_atoms(case) else ""

    @property
    def refused(self) -> str:
        if not self._declined:
            return ""
        many = "" if self.limits is None else f"more than {self.limits[1]} neurons unstable, or "
        return f"milp does not take {len(self._declined)} cases with {many}too large linear programs"

    @property
    def progress(self) -> Progress:
        parts = [guided.progress for guided in self._trees.values()]
        return total(parts, len(set(self._cases.left) - self._trees.keys()), self.task.cases)

    @property
    def unstable(self) -> int | None:
        return self.roots.unstable

    @property
    def stuck(self) -> int:
        return sum(guided.stuck for guided in self._trees.values())

    @property
    def programs(self) -> int:
        return sum(guided.programs for guided in self._trees.values())

    def rounds(self, budget: Budget) -> Iterator[list[Candidate]]:
        length_s = CASE_SLICE_S
        while not budget.is_spent:
            waiting = [c for c in self._cases.left if c not in self._declined and not self._is_over(c)]
            if not waiting:
                return
            for case in waiting:
                try:
                    yield from self._turn(case, length_s, budget)
                except OutOfTime:
                    return
            length_s *= 2.0

    def _is_over(self, case: int) -> bool:
        return case in self._trees and not self._trees[case].waiting

    def _turn(self, case: int, length_s: float, budget: Budget) -> Iterator[list[Candidate]]:
        guided = self._trees.get(case)
        if guided is None:
            yield from self.roots.explore(case, budget)
            if case not in self._cases.left:
                return
            guided = Guided(self.roots.root(case), self.task.milp_solver)
            if not guided.suits(None if self.limits is None else self.limits[1]):
                self._declined.add(case)
                return
            self._trees[case] = guided
            guided.start()
            self._settle(case, guided)
            yield []
        end_s = guided.seconds + length_s
        while guided.seconds < end_s and case in self._cases.left:
            met = guided.step(budget)
            self._settle(case, guided)
            if met is None:
                return
            yield met

    def _settle(self, case: int, guided: Guided) -> None:
        if guided.is_closed and case in self._cases.left:
            self._cases.close(case, guided.tree)

    def proved(self) -> Sequence[tuple[int, ProofTree]]:
        return self._cases.proved()

    def skip(self, case: int) -> None:
        self._cases.skip(case)
        self._trees.pop(case, None)

    def reopen(self, case: int, node: int, budget: Budget) -> None:
        self._cases.done.pop(case, None)
        if case not in self._cases.left:
            self._cases.left.append(case)
        self._trees[case].reopen(node)

    def proof(self, case: int) -> ProofTree | None:
        return self._cases.done.get(case)


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
            others, stuck = len(self.waiting) - 1 + self.stuck, self.stuck
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
                self._count(others + step.open, len(self.waiting) - 1 + step.share)
                yield self._candidates(np.zeros((0, 0)) if step.candidate is None else step.candidate[None])
            if step.open > self.stuck - stuck:
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
