"""Leaves that the checker does not confirm: reopened, cut once, and searched on below by the search that closed them.

Cutting, not a larger margin: margins already cover what the checker loses by flooring.  A leaf fails mostly because a
slope, a multiple of 1/256, was rounded the other way from bounds that differ in the last bits, which no margin
foresees; on the smaller parts the bound clears its threshold by more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from farkas.engine.bab import INTERMEDIATE, Block, Search
from farkas.engine.budget import Budget, OutOfTime
from farkas.engine.problem import bisect
from farkas.engine.tree import OPEN, Bisect, Closing, Derive, Leaf, Proof, ProofTree, Step
from farkas.runtime_cuda.crown import Propagator


class Repairable(Protocol):
    """A search that has closed the trees of its cases, and can take a leaf up again."""

    def reopen(self, case: int, node: int, budget: Budget) -> None:
        """Take back a leaf's closing and cut it once whatever its bounds say; its parts are open from now on.

        case: its position in the search's family.  A leaf that cannot be cut makes `proof` None.  May raise OutOfTime.
        """
        ...

    def rounds(self, budget: Budget) -> Iterator[object]:
        """Search on; ends when nothing is left to do or the budget is spent."""
        ...

    def proof(self, case: int) -> ProofTree | None:
        """The tree of a case, all of its leaves closed; None when some are open."""
        ...


@dataclass(frozen=True, eq=False)
class Proved:
    """Whose tree proves a case of the property: position in the family of `search`.

    atoms: by disjunct the atoms of the case that the tree numbers 0, 1, ...; None: as the case does.
    """

    search: Repairable
    case: int
    tree: ProofTree
    atoms: tuple[tuple[int, ...], ...] | None = None


@dataclass(frozen=True, eq=False)
class Bisection:
    """`Repairable` for the search by input splitting."""

    search: Search

    def reopen(self, case: int, node: int, budget: Budget) -> None:
        self.search.trees[case].reopen(node)
        self.search.cut(restore(self.search, case, node), budget)

    def rounds(self, budget: Budget) -> Iterator[object]:
        return self.search.rounds(budget)

    def proof(self, case: int) -> ProofTree | None:
        """All cases share one queue, so that none is called closed while a box of another waits."""
        return self.search.trees[case] if self.search.is_done and not self.search.stuck else None


def by_bisection(searches: Sequence[Search]) -> dict[int, Proved]:
    """Who proved which case, where every search is one by input splitting."""
    found: dict[int, Proved] = {}
    for search in searches:
        owner = Bisection(search)
        for case, (number, tree) in enumerate(zip(search.family.members, search.trees, strict=True)):
            found[number] = Proved(owner, case, tree)
    return found


def repair(failing: Sequence[tuple[int, int]], proved: Mapping[int, Proved], budget: Budget) -> bool:
    """Reopen the failing leaves (number of the case in the property, node), search on below; whether all closed."""
    searches: dict[int, tuple[Repairable, list[int]]] = {}
    try:
        for number, node in failing:
            owner = proved[number]
            owner.search.reopen(owner.case, node, budget)
            searches.setdefault(id(owner.search), (owner.search, []))[1].append(owner.case)
    except OutOfTime:
        return False
    for search, cases in searches.values():
        for _ in search.rounds(budget):
            pass
        if any(search.proof(case) is None for case in cases):
            return False
    return True


def leaf_nodes(tree: ProofTree) -> list[int]:
    """The leaves in preorder."""
    return [node for node, step in tree.preorder() if isinstance(step, Leaf)]


def below(tree: ProofTree, reopened: Collection[int]) -> tuple[Proof, list[int]]:
    """What became of the reopened leaves: the tree in which all subtrees without any of them are one leaf each.

    Those leaves claim nothing; the list names the node of every leaf, -1 for them.  All others are closed.
    """
    parents = tree.parents()
    kept = {OPEN}
    for node in reopened:
        while node not in kept:
            kept.add(node)
            node = parents.get(node, OPEN)
    steps: list[Step] = []
    leaves: list[int] = []
    waiting = [(0, False)]
    while waiting:
        node, inside = waiting.pop()
        inside = inside or node in reopened
        step = tree.step(node)
        if not inside and node not in kept:
            steps.append(Leaf(len(tree.kinds)))
            leaves.append(OPEN)
            continue
        steps += [*(Derive(recipe) for recipe in tree.recipes(node)), step]
        if isinstance(step, Leaf):
            leaves.append(node)
        else:
            child = tree.branch(node)[1]
            waiting += ((child + 1, inside), (child, inside))
    silent = tuple(Closing(0, ()) for _ in tree.kinds[0]) if tree.kinds else ()
    return Proof(tuple(steps), (*tree.kinds, silent), tree.unstable), leaves


def restore(search: Search, case: int, node: int) -> Block:
    """The block of one tree node: its box and the bounds in force at its parent, derived again along the path."""
    tree, family = search.trees[case], search.family
    x_lower, x_upper = family.lower[case : case + 1].copy(), family.upper[case : case + 1].copy()
    lower = np.full((1, search.net.width), -np.inf)
    upper = -lower
    worker = Propagator(search.net, INTERMEDIATE)
    asarray, to_numpy = search.net.backend.asarray, search.net.backend.to_numpy
    path = tree.path(node)
    for here, child in pairwise(path):
        refined = worker.refine(asarray(x_lower), asarray(x_upper), asarray(lower), asarray(upper))
        lower, upper = to_numpy(refined.lower), to_numpy(refined.upper)
        branch, first_child = tree.branch(here)
        assert isinstance(branch, Bisect), f"the search by input splitting made no {branch}"
        first, second = bisect(x_lower, x_upper, search.binary32)
        if child == first_child:
            x_upper[:, branch.dimension] = first[:, branch.dimension]
        else:
            x_lower[:, branch.dimension] = second[:, branch.dimension]
    index = np.array([case]), np.array([node]), np.array([-np.inf]), np.zeros(1)
    return Block(x_lower, x_upper, lower, upper, *index)
