"""The arm that splits neurons' signs: a case at a time, each with a search of its own (`relu_split`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from farkas.engine.arm_parts import CASE_SLICE_S, Cases, Roots, Task, inputs_free, total
from farkas.engine.bab import Candidate, Progress
from farkas.engine.budget import Budget, OutOfTime
from farkas.engine.tree import ProofTree

if TYPE_CHECKING:
    from farkas.engine.relu_split import ReluSearch


class ReluArm:
    """ReLU splitting, a case at a time; a case that takes long waits while the others have their turn."""

    name = "relu-splitting"
    claim = refused = ""

    def __init__(self, task: Task, roots: Roots) -> None:
        self.task, self.roots, self.why = task, roots, inputs_free(task)
        self.searches: dict[int, ReluSearch] = {}
        self._cases = Cases(list(range(task.cases)))

    @property
    def progress(self) -> Progress:
        """Sums over the cases; the worst of the margins."""
        parts = [search.progress for search in self.searches.values()]
        return total(parts, len(self._cases.left) - len(self.searches.keys() & set(self._cases.left)), self.task.cases)

    @property
    def unstable(self) -> int | None:
        return self.roots.unstable

    @property
    def stuck(self) -> int:
        return sum(len(search.stuck) for search in self.searches.values())

    @property
    def programs(self) -> int:
        return sum(search.programs.solved for search in self.searches.values())

    def rounds(self, budget: Budget) -> Iterator[list[Candidate]]:
        length_s = CASE_SLICE_S
        while not budget.is_spent:
            waiting = [c for c in self._cases.left if c not in self.searches or not self._is_stuck(c)]
            if not waiting:
                return
            for case in waiting:
                try:
                    yield from self._turn(case, length_s, budget)
                except OutOfTime:
                    return
            length_s *= 2.0

    def _is_stuck(self, case: int) -> bool:
        return not len(self.searches[case].stack)

    def _turn(self, case: int, length_s: float, budget: Budget) -> Iterator[list[Candidate]]:
        search = self.searches.get(case)
        if search is None:
            yield from self.roots.explore(case, budget)
            if case not in self._cases.left:
                return
            from farkas.engine.relu_split import ReluSearch

            search = ReluSearch(self.roots.root(case), ProofTree(), self.task.branching, self.task.memory_bytes)
            search.start()
            self.searches[case] = search
            self._settle(case, search)
            yield []
        # What the cases that wait hold is not there for this one.
        held = sum(other.stack.nbytes for other in self.searches.values()) - search.stack.nbytes
        search.memory_bytes = max(1, self.task.memory_bytes - held)
        end_s = search.seconds + length_s
        rounds = search.rounds(budget)
        while search.seconds < end_s and case in self._cases.left:
            met: list[Candidate] | None = next(rounds, None)
            self._settle(case, search)
            if met is None:
                return
            yield met

    def _settle(self, case: int, search: ReluSearch) -> None:
        if search.is_closed and case in self._cases.left:
            self._cases.close(case, search.tree)

    def proved(self) -> Sequence[tuple[int, ProofTree]]:
        return self._cases.proved()

    def skip(self, case: int) -> None:
        self._cases.skip(case)
        self.searches.pop(case, None)
        self.roots.forget(case)

    def reopen(self, case: int, node: int, budget: Budget) -> None:
        self._cases.reopen(case)
        self.searches[case].reopen(node, budget)

    def proof(self, case: int) -> ProofTree | None:
        return self._cases.done.get(case)
