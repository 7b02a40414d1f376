"""What is looked at again after a repair: the leaves below what was reopened, all of them and no other."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.engine.budget import Budget, OutOfTime
from farkas.engine.repair import Proved, below, leaf_nodes, repair
from farkas.engine.tree import OPEN, Closing, Derive, Leaf, LeafKind, ProofTree, Recipe

KIND: LeafKind = (Closing(0, ((0, 1),)), Closing(1, ()))
NOTHING: LeafKind = (Closing(0, ()), Closing(0, ()))


def closed_tree(seed: int, cuts: int) -> ProofTree:
    """A random closed tree; every node's first derivation names it: forward rows of layer `node`."""
    rng = random.Random(seed)
    tree, leaves = ProofTree(), [0]
    for _ in range(cuts):
        child = tree.bisect(leaves.pop(rng.randrange(len(leaves))), rng.randrange(4))
        leaves += [child, child + 1]
    for leaf in leaves:
        if rng.random() < 0.5:
            tree.derive(leaf, Recipe(True))
        tree.close_leaf(leaf, KIND)
    return tree


def descendants(tree: ProofTree, node: int) -> set[int]:
    return {leaf for leaf in leaf_nodes(tree) if node in tree.path(leaf)}


@given(st.integers(), st.integers(0, 12), st.data())
def test_what_became_of_reopened_leaves_is_all_that_is_left(seed: int, cuts: int, data: st.DataObject) -> None:
    tree = closed_tree(seed, cuts)
    reopened = data.draw(st.sets(st.sampled_from(leaf_nodes(tree))))
    for node in reopened:  # as a repair would: cut, the parts closed
        tree.reopen(node)
        if data.draw(st.booleans()):
            child = tree.bisect(node, 0)
            tree.close_leaf(child, KIND)
            tree.close_leaf(child + 1, KIND)
        else:
            tree.close_leaf(node, KIND)
    part, leaves = below(tree, reopened)
    wanted = {leaf for node in reopened for leaf in descendants(tree, node)}
    assert {leaf for leaf in leaves if leaf != OPEN} == wanted
    assert [leaf for leaf in leaves if leaf != OPEN] == [leaf for leaf in leaf_nodes(tree) if leaf in wanted]
    kinds = [part.kinds[step.kind] for step in part.steps if isinstance(step, Leaf)]
    assert kinds == [NOTHING if leaf == OPEN else KIND for leaf in leaves]
    derived = sum(isinstance(step, Derive) for step in part.steps)
    assert derived == sum(len(tree.recipes(node)) for node in {n for leaf in wanted for n in tree.path(leaf)})
    # Nothing is left that could be cut off: the parent of a silent leaf has a wanted one below it.
    if not wanted:
        assert len(part.steps) == 1


class Fake:
    """A search that closes what is reopened, after so many attempts, or gives up."""

    def __init__(self, tree: ProofTree, closes: bool = True, late: bool = False) -> None:
        self.tree, self.closes, self.late = tree, closes, late
        self.open: list[int] = []

    def reopen(self, case: int, node: int, budget: Budget) -> None:
        self.tree.reopen(node)
        child = self.tree.bisect(node, 0)
        self.open += [child, child + 1]
        if self.late:
            raise OutOfTime

    def rounds(self, budget: Budget) -> Iterator[object]:
        while self.open and self.closes:
            self.tree.close_leaf(self.open.pop(), KIND)
            yield None

    def proof(self, case: int) -> ProofTree | None:
        return None if self.open else self.tree


@pytest.mark.parametrize(("closes", "late"), [(True, False), (False, False), (True, True)])
def test_a_repair_is_done_when_every_search_has_closed_its_cases(closes: bool, late: bool) -> None:
    good, other = Fake(closed_tree(1, 3)), Fake(closed_tree(2, 2), closes, late)
    proved = {0: Proved(good, 0, good.tree), 1: Proved(other, 0, other.tree)}
    failing = [(0, leaf_nodes(good.tree)[1]), (1, leaf_nodes(other.tree)[0])]
    assert repair(failing, proved, Budget.of(None)) == (closes and not late)
    assert good.tree.leaves == 5 and other.tree.leaves == 4
