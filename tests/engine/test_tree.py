"""Proof trees: a leaf without a reason never becomes a proof, whatever the shape of the tree."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.engine.tree import ClosedTree, Closing, LeafKind, OpenTreeError, Proof, ProofTree, close
from farkas.engine.verdict import Holds, Reason, Unknown, Violated
from farkas.specs.query import Semantics

KIND: LeafKind = (Closing(0, ((0, 1),)),)
OTHER: LeafKind = (Closing(2, ((0, 1), (1, 7))),)


def grown(seed: int, splits: int) -> tuple[ProofTree, list[int]]:
    """A random tree and its open leaves."""
    rng = random.Random(seed)
    tree, leaves = ProofTree(), [0]
    for _ in range(splits):
        node = leaves.pop(rng.randrange(len(leaves)))
        child = tree.split(node, rng.randrange(5))
        leaves += [child, child + 1]
    return tree, leaves


@given(st.integers(), st.integers(0, 30), st.data())
def test_a_tree_closes_exactly_when_every_leaf_has_a_reason(seed: int, splits: int, data: st.DataObject) -> None:
    tree, leaves = grown(seed, splits)
    assert tree.leaves == len(leaves) == splits + 1
    left_open = data.draw(st.sampled_from(leaves))
    for leaf in leaves:
        if leaf != left_open:
            tree.close_leaf(leaf, KIND)
    for trees in ([tree], [ProofTree(), tree], [tree, tree]):
        with pytest.raises(OpenTreeError):
            close(trees)
        with pytest.raises(OpenTreeError):
            ClosedTree(tuple(trees))  # type: ignore[arg-type] # what is refused
    tree.close_leaf(left_open, OTHER)
    assert close([tree]).leaves == splits + 1
    tree.reopen(left_open)
    with pytest.raises(OpenTreeError):
        close([tree])


@given(st.integers(), st.integers(0, 30))
def test_preorder_visits_every_node_once_and_first_children_first(seed: int, splits: int) -> None:
    tree, leaves = grown(seed, splits)
    for leaf in leaves:
        tree.close_leaf(leaf, KIND)
    order = tree.preorder()
    nodes = [node for node, _, _ in order]
    assert sorted(nodes) == list(range(2 * splits + 1))
    assert {node for node, dimension, _ in order if dimension < 0} == set(leaves)
    for position, (node, dimension, kind) in enumerate(order):
        assert (dimension < 0) == (kind >= 0)
        if dimension >= 0:
            assert tree.branch(node)[0] == dimension
            assert nodes[position + 1] == tree.branch(node)[1]


@given(st.integers(), st.integers(0, 30))
def test_paths_lead_from_the_root_through_parents(seed: int, splits: int) -> None:
    tree, leaves = grown(seed, splits)
    for leaf in leaves:
        path = tree.path(leaf)
        assert path[0] == 0 and path[-1] == leaf
        for parent, child in pairwise(path):
            assert child - tree.branch(parent)[1] in (0, 1)


def test_a_decided_node_is_not_decided_again() -> None:
    tree = ProofTree()
    child = tree.split(0, 0)
    tree.close_leaf(child, KIND)
    for again in (
        lambda: tree.split(0, 1),
        lambda: tree.split(child, 1),
        lambda: tree.close_leaf(child, KIND),
        lambda: tree.close_leaf(0, KIND),
        lambda: tree.reopen(child + 1),
    ):
        with pytest.raises(AssertionError):
            again()


def test_equal_reasons_are_stored_once() -> None:
    tree = ProofTree()
    child = tree.split(0, 0)
    tree.close_leaf(child, KIND)
    tree.close_leaf(child + 1, (Closing(0, ((0, 1),)),))
    assert tree.kinds == [KIND]


# Verdicts need their evidence ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("evidence", [None, ProofTree(), [ProofTree()], (), True, "closed"])
def test_holds_refuses_what_is_no_closed_tree(evidence: object) -> None:
    with pytest.raises(TypeError, match="ClosedTree"):
        Holds(evidence, Semantics.REAL, "checkable")  # type: ignore[arg-type] # what is refused


@pytest.mark.parametrize("evidence", [None, {}, "x", ProofTree(), (0.5,)])
def test_violated_refuses_what_is_no_replay(evidence: object) -> None:
    with pytest.raises(TypeError, match="Replay"):
        Violated(evidence, Semantics.REAL)  # type: ignore[arg-type] # what is refused


def test_verdict_words_are_those_of_vnnlib() -> None:
    assert Unknown(Reason.TIMEOUT, "", Semantics.REAL).word == "timed-out"
    assert {Unknown(reason, "", Semantics.REAL).word for reason in Reason if reason is not Reason.TIMEOUT} == {
        "unknown"
    }
    tree = ProofTree()
    tree.close_leaf(0, KIND)
    assert Holds(close([tree]), Semantics.REAL, "checkable").word == "unsat"


# Frozen proofs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps",
    [
        (),
        ((-1, -1),),  # an open leaf
        ((0, -1), (-1, 0)),  # a child is missing
        ((0, -1), (-1, 0), (-1, 0), (-1, 0)),  # one too many
        ((-1, 0), (-1, 0)),
        ((-1, 1),),  # no such kind
        ((3, 0),),  # neither inner node nor leaf
    ],
)
def test_a_frozen_proof_is_one_whole_tree(steps: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(OpenTreeError):
        Proof(steps, (KIND,))
    assert Proof(((0, -1), (-1, 0), (1, -1), (-1, 0), (-1, 0)), (KIND,)).leaves == 3


def test_what_happens_to_the_tree_later_leaves_the_proof_alone() -> None:
    tree = ProofTree()
    tree.close_leaf(0, KIND)
    proof = close([tree])
    tree.reopen(0)
    tree.split(0, 1)
    assert proof.trees[0].steps == ((-1, 0),) and proof.leaves == 1
    with pytest.raises(OpenTreeError):
        ClosedTree((tree,))  # type: ignore[arg-type] # what is refused


@pytest.mark.parametrize(("evidence", "certificate"), [("certified", None), ("checkable", b"NNC1"), ("sure", None)])
def test_holds_says_certified_with_a_certificate_and_only_then(evidence: str, certificate: bytes | None) -> None:
    tree = ProofTree()
    tree.close_leaf(0, KIND)
    with pytest.raises(ValueError, match="evidence"):
        Holds(close([tree]), Semantics.REAL, evidence, certificate=certificate)
