"""The arms of the portfolio, and in which order a query's structure calls for them.

- *input splitting* (`bab`): all cases of the family at once.  First where few inputs are free: a cut of one of them
  narrows every neuron.
- *ReLU splitting* (`relu_split`): case by case.  First everywhere else; its root bounds settle most cases.
- *MILP* (`milp_arm`): disjunct by disjunct, where the root leaves few neurons unstable: incumbents as candidates first,
  then a tree guided by linear programs.

The roots of the last two are one: bounded once, planted into the tree of each.  Their modules are loaded when they
first work: a query that boxes decide does not wait for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from farkas.engine.bab import Candidate, Progress, Search
from farkas.engine.budget import Budget, OutOfTime
from farkas.engine.portfolio import Arm
from farkas.engine.problem import Family, Matrix, Vector
from farkas.engine.repair import restore
from farkas.engine.tree import ProofTree
from farkas.runtime_cuda.prepared import Prepared

if TYPE_CHECKING:
    from farkas.engine.relu_root import CaseRoot
    from farkas.engine.relu_split import ReluSearch

FEW_INPUTS = 12  # free inputs up to which boxes are cut first; twice as many where a root of all neurons is dear
MANY_INPUTS = 64  # beyond which they are not cut at all
FEW_UNSTABLE = 60  # neurons up to which linear programs guide a tree
HUNT_S = 5.0
CASE_SLICE_S = 2.0  # of one case's search before the next case has its turn; doubled every time round


@dataclass(frozen=True, eq=False)
class Task:
    """What every arm needs: the prepared network, the family, and how leaves must close.

    margin: what a row must clear beyond its threshold; evaluate: outputs (B, m) of inputs (B, n0), a guide.
    """

    net: Prepared
    family: Family
    binary32: bool
    margin: float
    evaluate: Callable[[Matrix], Matrix]
    memory_bytes: int
    branching: str

    @property
    def cases(self) -> int:
        return len(self.family.members)


def arms(task: Task) -> list[Arm]:
    """The arms that fit the structure, in the order in which they first run."""
    free = int((task.family.upper > task.family.lower).sum(axis=1).max(initial=0))
    by_input = InputArm(task)
    if not task.net.slots:
        return [by_input]
    roots = Roots(task)
    by_neuron: list[Arm] = [ReluArm(task, roots), MilpArm(task, roots)]
    if free <= (FEW_INPUTS if task.net.is_dense else 2 * FEW_INPUTS):
        return [by_input, *by_neuron]
    return [*by_neuron, by_input] if free <= MANY_INPUTS else by_neuron


class InputArm:
    """Input splitting of the whole family."""

    name = "input splitting"

    def __init__(self, task: Task) -> None:
        trees = [ProofTree() for _ in task.family.members]
        self.search = Search(
            task.net, task.family, task.binary32, task.margin, task.evaluate, trees, memory_bytes=task.memory_bytes
        )
        self._started = False
        self._told: set[int] = set()

    @property
    def progress(self) -> Progress:
        return self.search.progress

    def rounds(self, budget: Budget) -> Iterator[list[Candidate]]:
        if not self._started:
            self._started = True
            self.search.start()
        yield from self.search.rounds(budget)

    def proved(self) -> Sequence[tuple[int, ProofTree]]:
        if not self._started:
            return []
        done = [c for c in self.search.closed_cases() if c not in self._told]
        self._told.update(done)
        return [(c, self.search.trees[c]) for c in done]

    def skip(self, case: int) -> None:
        if self._started:
            self.search.drop(case)

    @property
    def stuck(self) -> int:
        return len(self.search.stuck)

    @property
    def programs(self) -> int:
        return 0

    def reopen(self, case: int, node: int, budget: Budget) -> None:
        self.search.trees[case].reopen(node)
        self.search.cut(restore(self.search, case, node), budget)

    def proof(self, case: int) -> ProofTree | None:
        return self.search.trees[case] if case in self.search.closed_cases() else None


class Roots:
    """The roots of a family's cases, bounded when first needed."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._found: dict[int, tuple[CaseRoot, Iterator[list[Vector]]]] = {}

    def explore(self, case: int, budget: Budget) -> Iterator[list[Candidate]]:
        """The candidates of each stage of a root that is not over yet; may raise OutOfTime."""
        root, stages = self._begun(case, budget)
        for points in stages:
            yield root.candidates(np.array(points), Progress()) if points else []

    def root(self, case: int) -> CaseRoot:
        """The root of a case whose stages are over."""
        root, _ = self._found[case]
        assert root.is_ready, f"the root of case {case} is bounded before it is used"
        return root

    def _begun(self, case: int, budget: Budget) -> tuple[CaseRoot, Iterator[list[Vector]]]:
        if case not in self._found:
            from farkas.engine.relu_root import CaseRoot
            from farkas.runtime_cuda.relaxation import Relaxation

            task = self.task
            asked = np.flatnonzero(task.family.y_rows.any(axis=0))
            relaxation = Relaxation(task.net, task.family.lower[case], task.family.upper[case], budget.check, asked)
            root = CaseRoot(task.family, case, relaxation, task.margin, task.evaluate)
            self._found[case] = root, root.explore(budget)
        return self._found[case]

    def forget(self, case: int) -> None:
        self._found.pop(case, None)


@dataclass(eq=False)
class _Cases:
    """What arms that go case by case have in common: whose turn it is, what is proved."""

    left: list[int]
    totals: Progress = field(default_factory=Progress)
    fresh: list[tuple[int, ProofTree]] = field(default_factory=list)
    done: dict[int, ProofTree] = field(default_factory=dict)

    def close(self, case: int, tree: ProofTree) -> None:
        self.left.remove(case)
        self.done[case] = tree
        self.fresh.append((case, tree))

    def skip(self, case: int) -> None:
        if case in self.left:
            self.left.remove(case)

    def proved(self) -> list[tuple[int, ProofTree]]:
        fresh, self.fresh = self.fresh, []
        return fresh


class ReluArm:
    """ReLU splitting, a case at a time; a case that takes long waits while the others have their turn."""

    name = "relu splitting"

    def __init__(self, task: Task, roots: Roots) -> None:
        self.task, self.roots = task, roots
        self.searches: dict[int, ReluSearch] = {}
        self._cases = _Cases(list(range(task.cases)))

    @property
    def progress(self) -> Progress:
        """Sums over the cases; the worst of the margins."""
        parts = [search.progress for search in self.searches.values()]
        return total(parts, len(self._cases.left) - len(self.searches.keys() & set(self._cases.left)), self.task.cases)

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
        self._cases.done.pop(case, None)
        if case not in self._cases.left:
            self._cases.left.append(case)
        self.searches[case].reopen(node, budget)

    def proof(self, case: int) -> ProofTree | None:
        return self._cases.done.get(case)


class MilpArm:
    """Trees guided by linear programs, and a MILP's incumbents, for cases that the root leaves few neurons open in."""

    name = "milp"

    def __init__(self, task: Task, roots: Roots) -> None:
        self.task, self.roots = task, roots
        self._cases = _Cases(list(range(task.cases)))
        self._trees: dict[int, _Guided] = {}
        self.progress = Progress()

    @property
    def stuck(self) -> int:
        return sum(guided.stuck for guided in self._trees.values())

    @property
    def programs(self) -> int:
        return sum(guided.programs for guided in self._trees.values())

    def rounds(self, budget: Budget) -> Iterator[list[Candidate]]:
        try:
            for case in list(self._cases.left):
                guided = self._trees.get(case)
                if guided is None:
                    yield from self.roots.explore(case, budget)
                    root = self.roots.root(case)
                    if len(root.columns) > FEW_UNSTABLE or case not in self._cases.left:
                        continue
                    guided = self._trees[case] = _Guided(root, self.progress)
                    yield from guided.start(budget)
                yield from guided.rounds(budget)
                if guided.is_closed and case in self._cases.left:
                    self._cases.close(case, guided.tree)
                    yield []
        except OutOfTime:
            return

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


class _Guided:
    """One case of the MILP arm: nodes below which a guided tree is to be grown, each with its goals."""

    def __init__(self, root: CaseRoot, progress: Progress) -> None:
        from farkas.engine.relu_leaves import LeafPrograms

        self.root, self.progress = root, progress
        self.tree, self.leaves = ProofTree(), LeafPrograms(root)
        self.waiting: list[int] = []
        self.stuck = self.programs = self.begun = 0

    @property
    def is_closed(self) -> bool:
        return not self.waiting and not self.stuck

    def start(self, budget: Budget) -> Iterator[list[Candidate]]:
        """Incumbents of the MILP of every open disjunct, most promising first."""
        from farkas.engine.milp_arm import hunt

        root, leaves = self.root, self.leaves
        places = root.plant(self.tree)
        self.waiting = list(places.values())
        self.begun = max(1, len(places))
        for d in sorted(places, key=lambda d: root.margin_of(d)):
            budget.check()
            found = hunt(leaves.prover, root.lower, root.upper, leaves.disjunct(d), budget, HUNT_S)
            yield self._candidates(found.points)

    def rounds(self, budget: Budget) -> Iterator[list[Candidate]]:
        """Grow the trees one after another; a tree that the budget cuts short stays waiting and is not closed."""
        from farkas.engine.milp_arm import guided_tree
        from farkas.engine.relu_place import in_force

        disjuncts = [self.leaves.disjunct(d) for d in range(len(self.root.atoms_of))]
        while self.waiting:
            node, last, before = self.waiting[-1], 1, 0
            place = in_force(self.root, self.tree, node)
            steps = guided_tree(
                self.leaves.prover, self.tree, node, place.lower, place.upper, disjuncts, place.goals, budget
            )
            for step in steps:
                self.progress.boxes += step.nodes - before
                self.programs += step.nodes - before
                before, last = step.nodes, step.open
                self.progress.open = step.open + len(self.waiting) - 1
                self.stuck += step.is_stuck
                yield self._candidates(np.zeros((0, 0)) if step.candidate is None else step.candidate[None])
            if last:
                self.stuck += not self.stuck
                return
            self.waiting.pop()
            self.progress.share = min(self.progress.share, len(self.waiting) / self.begun)

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


def total(parts: Sequence[Progress], untouched: int, cases: int) -> Progress:
    """What several searches know together; `untouched` cases were not begun."""
    rules: Counter[str] = Counter()
    for part in parts:
        rules.update(part.rules)
    return Progress(
        boxes=sum(p.boxes for p in parts),
        leaves=sum(p.leaves for p in parts),
        open=sum(p.open for p in parts),
        share=(sum(p.share for p in parts if p.open) + untouched) / max(1, cases),
        rules=rules,
        best_bound=min((p.best_bound for p in parts if p.open), default=-np.inf),
        closest=min((p.closest for p in parts), default=np.inf),
        batch=max((p.batch for p in parts), default=1),
    )
