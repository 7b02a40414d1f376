"""Proof trees: a leaf without a reason never becomes a proof, whatever the shape of the tree."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.engine.tree import (
    OPEN,
    Bisect,
    ClosedTree,
    Closing,
    Derive,
    Fork,
    Leaf,
    LeafKind,
    OpenTreeError,
    Proof,
    ProofTree,
    Recipe,
    SplitNeuron,
    Step,
    Vector,
    close,
)
from farkas.engine.verdict import Holds, Reason, Unknown, Violated
from farkas.specs.query import Semantics

KIND: LeafKind = (Closing(0, ((0, 1),)),)
OTHER: LeafKind = (Closing(2, ((0, 1), (1, 7))),)


def grown(seed: int, splits: int) -> tuple[ProofTree, list[int]]:
    """A random tree with cuts and derivations of all kinds, and its open leaves."""
    rng = random.Random(seed)
    tree, leaves = ProofTree(), [0]
    for _ in range(splits):
        node = leaves.pop(rng.randrange(len(leaves)))
        if rng.random() < 0.3:
            tree.derive(node, Recipe(bool(rng.randrange(2))))
        match rng.randrange(3):
            case 0:
                child = tree.bisect(node, rng.randrange(5))
            case 1:
                child = tree.split_neuron(node, rng.randrange(9))
            case _:
                child = tree.fork(node, (rng.randrange(3),))
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
    nodes = [node for node, step in order if not isinstance(step, Derive)]
    assert sorted(nodes) == list(range(2 * splits + 1))
    assert {node for node, step in order if isinstance(step, Leaf)} == set(leaves)
    for (node, step), (after, _) in pairwise(order):
        if isinstance(step, Derive):
            assert after == node
        elif step != Leaf(0):
            assert tree.branch(node) == (step, after)
    for node in nodes:
        assert tree.recipes(node) == tuple(s.recipe for n, s in order if n == node and isinstance(s, Derive))


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
    child = tree.bisect(0, 0)
    tree.close_leaf(child, KIND)
    for again in (
        lambda: tree.bisect(0, 1),
        lambda: tree.bisect(child, 1),
        lambda: tree.close_leaf(child, KIND),
        lambda: tree.close_leaf(0, KIND),
        lambda: tree.split_neuron(child, 1),
        lambda: tree.fork(child, (0,)),
        lambda: tree.derive(0, Recipe(True)),
        lambda: tree.derive(child, Recipe(True)),
        lambda: tree.reopen(child + 1),
        lambda: tree.fork(child + 1, ()),
        lambda: tree.fork(child + 1, (1, 1)),
    ):
        with pytest.raises(AssertionError):
            again()


def test_equal_reasons_are_stored_once() -> None:
    tree = ProofTree()
    child = tree.bisect(0, 0)
    tree.close_leaf(child, KIND)
    tree.close_leaf(child + 1, (Closing(0, ((0, 1),)),))
    assert tree.kinds == [KIND]


def vector(*slopes: int, pins: tuple[tuple[int, int], ...] = ()) -> Vector:
    return Vector(np.array(slopes, dtype=np.uint8), pins)


def test_vectors_are_equal_by_their_numbers_and_stay_as_they_were() -> None:
    slopes = np.array([1, 255], dtype=np.uint8)
    made = Vector(slopes, ((0, 5),))
    slopes[0] = 9
    same, other, unpinned = vector(1, 255, pins=((0, 5),)), vector(9, 255, pins=((0, 5),)), vector(1, 255)
    assert made == same and hash(made) == hash(same)
    assert made not in (other, unpinned) and len({made, same, other, unpinned}) == 3
    with pytest.raises(ValueError, match="read-only"):
        made.slopes[0] = 2
    for pins in (((1, 1), (0, 1)), ((1, 1), (1, 1)), ((0, 0),)):
        with pytest.raises(AssertionError):
            vector(0, pins=pins)
    wide = np.zeros(20000, dtype=np.uint8)
    wide[[3, 4000, 19999]] = 255, 7, 1
    assert len(Vector(wide).packed) < 300 and Vector(wide).slopes.tolist() == wide.tolist()
    tree = ProofTree()
    child = tree.bisect(0, 0)
    tree.close_leaf(child, (Closing(0, ((0, 1),), made),))
    tree.close_leaf(child + 1, (Closing(0, ((0, 1),), same),))
    assert len(tree.kinds) == 1


def test_unstable_neurons_add_up_and_are_all_where_nobody_says() -> None:
    tree = ProofTree()
    assert tree.unstable is None
    mask = np.array([True, False, False])
    tree.note_unstable(mask)
    tree.note_unstable(np.array([False, False, True]))
    assert tree.unstable is not None and tree.unstable.tolist() == [True, False, True] and mask.tolist()[2] is False


def test_leaves_are_counted_by_the_strongest_rule_that_they_need() -> None:
    """Leaves 2, 1, 1, 1, 3 in number: a kind that is used by several leaves counts for each of them."""
    one, two = ((0, 1),), ((0, 1), (1, 1))
    free, pinned = vector(0, 1), vector(0, 1, pins=((1, -3),))
    kinds: list[LeafKind] = [
        (Closing(0, one), Closing(1, one)),
        (Closing(0, one), Closing(1, two)),
        (Closing(0, two), Closing(1, one, free)),
        (Closing(0, one, free), Closing(1, two, pinned)),
        (Closing(0, ()), Closing(0, (), pinned)),
    ]
    tree, leaves = grown(3, 7)
    for leaf, number in zip(leaves, (0, 0, 1, 2, 3, 4, 4, 4), strict=True):
        tree.close_leaf(leaf, kinds[number])
    assert close([tree]).leaf_rules() == {"rule": 2, "combination": 1, "slopes": 1, "pins": 1, "empty": 3}


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


HALVE, SIGN, SHARE, MORE = Bisect(0), SplitNeuron(3), Fork((0,)), Derive(Recipe(True))


@pytest.mark.parametrize(
    "steps",
    [
        (),
        (Leaf(OPEN),),
        (MORE,),
        (MORE, Leaf(OPEN)),
        (HALVE, Leaf(0)),  # a child is missing
        (SIGN, Leaf(0), MORE),
        (SHARE, Leaf(0), Leaf(0), Leaf(0)),  # one too many
        (Leaf(0), Leaf(0)),
        (Leaf(0), MORE),
        (Leaf(1),),  # no such kind
        (Leaf(-2),),
        (3,),  # no step at all
    ],
)
def test_a_frozen_proof_is_one_whole_tree(steps: tuple[Step, ...]) -> None:
    with pytest.raises(OpenTreeError):
        Proof(steps, (KIND,))
    assert Proof((MORE, HALVE, Leaf(0), MORE, SIGN, Leaf(0), SHARE, Leaf(0), Leaf(0)), (KIND,)).leaves == 4


def test_what_happens_to_the_tree_later_leaves_the_proof_alone() -> None:
    tree = ProofTree()
    tree.close_leaf(0, KIND)
    proof = close([tree])
    tree.reopen(0)
    tree.bisect(0, 1)
    assert proof.trees[0].steps == (Leaf(0),) and proof.leaves == 1
    with pytest.raises(OpenTreeError):
        ClosedTree((tree,))  # type: ignore[arg-type] # what is refused


@pytest.mark.parametrize(("evidence", "certificate"), [("certified", None), ("checkable", b"NNC1"), ("sure", None)])
def test_holds_says_certified_with_a_certificate_and_only_then(evidence: str, certificate: bytes | None) -> None:
    tree = ProofTree()
    tree.close_leaf(0, KIND)
    with pytest.raises(ValueError, match="evidence"):
        Holds(close([tree]), Semantics.REAL, evidence, certificate=certificate)
