"""What the arms of the portfolio have in common: the task, the roots of its cases, and whose turn it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from farkas.engine.bab import Candidate, Progress
from farkas.engine.budget import Budget
from farkas.engine.problem import Family, Matrix, Vector
from farkas.engine.tree import ProofTree
from farkas.runtime_cuda.prepared import Prepared

if TYPE_CHECKING:
    from farkas.engine.relu_root import CaseRoot
    from farkas.engine.subtrees import Team

CASE_SLICE_S = 2.0  # of one case's search before the next case has its turn; doubled every time round


@dataclass(frozen=True, eq=False)
class Task:
    """What every arm needs: the prepared network, the family, and how leaves must close.

    margin: what a row must clear beyond its threshold; evaluate: outputs (B, m) of inputs (B, n0), a guide; engines:
    names of those that may decide, None for all; milp_solver: who hunts for incumbents; team: who helps with boxes,
    None for nobody.
    """

    net: Prepared
    family: Family
    binary32: bool
    margin: float
    evaluate: Callable[[Matrix], Matrix]
    memory_bytes: int
    branching: str
    engines: frozenset[str] | None = None
    milp_solver: str = "highs"
    team: Team | None = None

    @property
    def cases(self) -> int:
        return len(self.family.members)

    @property
    def free_inputs(self) -> int:
        """Inputs that are no single value, at most in a case."""
        return int((self.family.upper > self.family.lower).sum(axis=1).max(initial=0))

    def allows(self, engine: str) -> bool:
        return self.engines is None or engine in self.engines


def inputs_free(task: Task) -> str:
    """The first thing that the order of the arms follows, in words."""
    return f"{task.free_inputs} input{'s are' if task.free_inputs != 1 else ' is'} free"


class Roots:
    """The roots of a family's cases, bounded when first needed."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.unstable: int | None = None  # the most that a root left
        self._found: dict[int, tuple[CaseRoot, Iterator[list[Vector]]]] = {}
        self._coefficients: dict[int, int] = {}

    def explore(self, case: int, budget: Budget) -> Iterator[list[Candidate]]:
        """The candidates of each stage of a root that is not over yet; may raise OutOfTime."""
        root, stages = self._begun(case, budget)
        for points in stages:
            yield root.candidates(np.array(points), Progress()) if points else []
        self.unstable = max(self.unstable or 0, len(root.columns))

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
            family, shape = task.family, task.family.ball
            ball = None if shape is None else shape.on(np.array([case]), task.net.backend.asarray)
            relaxation = Relaxation(task.net, family.lower[case], family.upper[case], budget.check, asked, ball)
            root = CaseRoot(task.family, case, relaxation, task.margin, task.evaluate)
            self._found[case] = root, root.explore(budget)
        return self._found[case]

    def unstable_of(self, case: int) -> int | None:
        """Neurons that a case's root leaves unstable, 0 where it leaves nothing to prove; None while it is not over."""
        root = self._found[case][0] if case in self._found else None
        if root is None or not root.is_ready:
            return None
        return len(root.columns) if root.open else 0

    def coefficients(self, case: int) -> int:
        """About how many coefficients a linear program over a case has."""
        from farkas.encoders.relu_network import coefficients

        root, _ = self._found[case]
        if case not in self._coefficients:
            self._coefficients[case] = coefficients(root.relaxation.full.program, root.lower, root.upper)
        return self._coefficients[case]

    def joins_atoms(self, case: int) -> bool:
        """Whether a disjunct that the root of a case leaves open has several atoms."""
        root, _ = self._found[case]
        return any(len(root.atoms_of[d]) > 1 for d in root.open)

    def forget(self, case: int) -> None:
        self._found.pop(case, None)


@dataclass(eq=False)
class Cases:
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

    def reopen(self, case: int) -> None:
        """A leaf of a case's tree is open again."""
        self.done.pop(case, None)
        if case not in self.left:
            self.left.append(case)

    def proved(self) -> list[tuple[int, ProofTree]]:
        fresh, self.fresh = self.fresh, []
        return fresh


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
