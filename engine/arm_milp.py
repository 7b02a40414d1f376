"""The arm of exact linear models: trees guided by linear programs, and a MILP's incumbents, case by case.

Where the root leaves few neurons open, a linear program at every node is cheap, and its bound is the best that the
relaxation has.  Each case has a tree of its own (`guided`), and cases take turns.

The arm says by itself when its time has come (`claim`): bounds of the root have to be there first, so that no order
of arms made beforehand could name the moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from farkas.engine.arm_parts import CASE_SLICE_S, Cases, Roots, Task, inputs_free, total
from farkas.engine.bab import Candidate, Progress
from farkas.engine.budget import Budget, OutOfTime
from farkas.engine.guided import Guided
from farkas.engine.tree import ProofTree
from farkas.ir.errors import FarkasError

HUNTERS = ("highs", "gscip", "mathopt-highs")  # MILP solvers that take continuous columns
QUICK = 1_000_000  # coefficients of a program that is worth trying first: 400 000 take 0.7 s the first time


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
        self._cases.reopen(case)
        self._trees[case].reopen(node)

    def proof(self, case: int) -> ProofTree | None:
        return self._cases.done.get(case)
