"""What is written of a proof tree is what the checker's own readers find in it."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.checker import leb128 as checked_leb128
from farkas.checker import plan as checked
from farkas.checker.container import canonical_json, parse_json
from farkas.checker.tree import parse_kinds, parse_tree
from farkas.engine.certificate_writer import (
    CROWN_1,
    CROWN_2,
    Frames,
    Shape,
    columns,
    explicit,
    frames,
    is_plain,
    leb128,
    rule_of,
    zigzag,
)
from farkas.engine.tree import (
    Bisect,
    ClosedTree,
    Closing,
    Derive,
    Fork,
    Leaf,
    LeafKind,
    ProofTree,
    Recipe,
    RowGroup,
    SplitNeuron,
    Vector,
    close,
)

SHAPE = Shape(3, (4, 2, 3))
DISJUNCTS = 2


def drawn_vector(rng: random.Random, below: int) -> Vector:
    """Slopes of all neurons, pins below a number."""
    pinned = sorted(rng.sample(range(below), rng.randrange(below + 1)))
    gammas = [rng.choice((-1, 1)) * rng.randrange(1, 1 << rng.choice((1, 9, 62))) for _ in pinned]
    slopes = np.array([rng.randrange(256) for _ in range(SHAPE.neurons)], dtype=np.uint8)
    return Vector(slopes, tuple(zip(pinned, gammas, strict=True)))


def drawn_recipe(rng: random.Random) -> Recipe:
    groups = []
    for layer in sorted(rng.choices(range(3), k=rng.randrange(4))):
        size, start = SHAPE.layers[layer], SHAPE.starts[layer]
        neurons = tuple(sorted(rng.sample(range(size), rng.randrange(size + 1))))
        match rng.randrange(3):
            case 0:
                groups.append(RowGroup(layer, None, rng.randrange(4)))
            case 1:
                groups.append(RowGroup(layer, neurons, rng.randrange(4)))
            case _:
                vectors = tuple(drawn_vector(rng, start) for _ in range(2 * len(neurons)))
                groups.append(RowGroup(layer, neurons, 0, vectors))
    return Recipe(rng.random() < 0.5, tuple(groups))


def drawn_kind(rng: random.Random) -> LeafKind:
    closings = []
    for _ in range(DISJUNCTS):
        atoms = tuple((a, rng.randrange(1, 1 << 40)) for a in sorted(rng.sample(range(5), rng.randrange(3))))
        closings.append(Closing(rng.randrange(4), atoms, drawn_vector(rng, 9) if rng.random() < 0.5 else None))
    return tuple(closings)


def drawn_tree(seed: int) -> ProofTree:
    rng = random.Random(seed)
    tree, leaves = ProofTree(), [0]
    reused = [drawn_recipe(rng), drawn_recipe(rng)]
    for _ in range(rng.randrange(12)):
        node = leaves.pop(rng.randrange(len(leaves)))
        for _ in range(rng.randrange(3)):
            tree.derive(node, rng.choice([*reused, drawn_recipe(rng)]))
        match rng.randrange(3):
            case 0:
                child = tree.bisect(node, rng.randrange(SHAPE.inputs))
            case 1:
                child = tree.split_neuron(node, rng.randrange(SHAPE.neurons))
            case _:
                child = tree.fork(node, sorted(rng.sample(range(DISJUNCTS), rng.randrange(1, DISJUNCTS + 1))))
        leaves += [child, child + 1]
    kinds = [drawn_kind(rng) for _ in range(3)]
    for leaf in leaves:
        tree.close_leaf(leaf, rng.choice(kinds))
    if rng.random() < 0.5:
        tree.note_unstable(np.array([rng.random() < 0.5 for _ in range(SHAPE.neurons)]))
    return tree


def parsed_plan(written: Frames) -> tuple[checked.Plan, checked.Vectors]:
    data = parse_json(canonical_json(written.plan), "PLAN")
    vectors = checked.Vectors(written.vectors, len(checked.parse_columns(data, SHAPE.neurons)), SHAPE.neurons)
    return checked.parse_plan(data, SHAPE.layers, DISJUNCTS, vectors), vectors


def opcodes(payload: bytes) -> list[int]:
    found, at = [], 0
    while at < len(payload):
        number, at = checked_leb128.read(payload, at, 1 << 32, "TREE")
        found.append(number)
    return found


def assert_same(wanted: Vector, found: checked.Vector, chosen: list[int]) -> None:
    """The slopes of the first columns, as many as were written; all pins."""
    assert list(found.slopes) == wanted.slopes[chosen[: len(found.slopes)]].tolist()
    assert found.pins == wanted.pins


@given(st.lists(st.integers(), max_size=3))
def test_the_checker_reads_the_very_tree_that_was_written(seeds: list[int]) -> None:
    proof = close([drawn_tree(seed) for seed in seeds])
    written = frames(proof, SHAPE)
    if written.plan is None:
        assert rule_of(proof, SHAPE) == CROWN_1 and not written.vectors
        return
    proof = ClosedTree(tuple(explicit(tree, SHAPE) if is_plain(tree) else tree for tree in proof.trees))
    plan, vectors = parsed_plan(written)
    kinds = written.leaves
    numbers = iter(opcodes(written.tree))
    splits = SHAPE.inputs
    recipes = splits + SHAPE.neurons
    forks = recipes + len(plan.recipes)
    leaves = forks + len(plan.forks)
    for tree in proof.trees:
        for step in tree.steps:
            number = next(numbers)
            match step:
                case Bisect(dimension):
                    assert number == dimension
                case SplitNeuron(neuron):
                    assert number == splits + neuron
                case Derive(recipe):
                    assert_recipe(recipe, vectors.resolve(plan.recipes[number - recipes]), list(plan.columns))
                case Fork(disjuncts):
                    assert plan.forks[number - forks] == set(disjuncts)
                case Leaf(kind):
                    assert_kind(tree.kinds[kind], kinds[number - leaves], vectors, list(plan.columns))
    assert next(numbers, None) is None


def assert_recipe(wanted: Recipe, found: checked.Recipe, chosen: list[int]) -> None:
    assert wanted.forward == found.forward and len(wanted.rows) == len(found.rows)
    for group, read in zip(wanted.rows, found.rows, strict=True):
        assert (group.layer, group.neurons) == (read.layer, read.neurons)
        assert len(group.vectors) == len(read.vectors) and (read.rule < 0 if group.vectors else group.rule == read.rule)
        below = sum(g < SHAPE.starts[group.layer] for g in chosen)
        for vector, slopes in zip(group.vectors, read.vectors, strict=True):
            assert_same(vector, slopes, chosen)
            assert len(slopes.slopes) == below


def assert_kind(wanted: LeafKind, found: list[Any], vectors: checked.Vectors, chosen: list[int]) -> None:
    empty = next((c for c in wanted if c.vector is not None and not c.atoms), None)
    for stated, (rule, atoms) in zip(wanted, found, strict=True):
        closing = stated if empty is None or stated.atoms else empty
        assert atoms == [list(pair) for pair in closing.atoms]
        if closing.vector is None:
            assert rule == closing.rule
        else:
            vector = vectors[-1 - rule]
            assert len(vector.slopes) == len(chosen)
            assert_same(closing.vector, vector, chosen)


@given(st.integers())
def test_the_columns_are_the_neurons_that_vectors_mean(seed: int) -> None:
    tree = drawn_tree(seed)
    found = columns(close([tree]), SHAPE.neurons).tolist()
    used = any(c.vector is not None for kind in tree.kinds for c in kind)
    used = used or any(g.vectors for _, s in tree.preorder() if isinstance(s, Derive) for g in s.recipe.rows)
    if not used:
        assert not found
    else:
        assert found == (list(range(9)) if tree.unstable is None else np.flatnonzero(tree.unstable).tolist())


def simple_tree() -> ProofTree:
    """Input 1 bisected, both halves closed by a rule."""
    tree = ProofTree()
    child = tree.bisect(0, 1)
    tree.close_leaf(child, (Closing(0, ((0, 1),)),))
    tree.close_leaf(child + 1, (Closing(2, ((1, 1), (0, 3))),))
    return tree


def test_a_tree_of_bisections_and_rules_is_written_without_a_plan() -> None:
    written = frames(close([simple_tree()]), SHAPE)
    assert (written.rule, written.plan, written.vectors) == (CROWN_1, None, b"")
    assert written.leaves == [[[0, [[0, 1]]]], [[2, [[0, 3], [1, 1]]]]]
    assert written.tree == bytes([1, 3, 4])
    kinds = parse_kinds(parse_json(canonical_json(written.leaves), "LEAVES"))
    assert parse_tree(written.tree, 1, SHAPE.inputs, len(kinds)).leaves == 2


def test_under_the_other_rule_a_plain_tree_says_what_it_derives() -> None:
    """Opcodes: 3 inputs, 9 neurons; recipes 12 (root) and 13 where dense, else 12 alone; leaves follow."""
    tree = ProofTree()
    tree.close_leaf(0, (Closing(0, ((0, 1),), Vector(np.zeros(9, dtype=np.uint8))),))
    tree.note_unstable(np.zeros(9, dtype=bool))
    below = {"forward": 1, "rows": [[0, "open", 0], [1, "open", 0], [2, "open", 0]]}
    root = {"forward": 1, "rows": [[0, [0, 1, 2, 3], 0], [1, [0, 1], 0], [2, [0, 1, 2], 0]]}
    both = frames(close([simple_tree(), tree]), SHAPE)
    assert both.plan == {"columns": [], "forks": [], "recipes": [root, below]}
    assert both.tree == bytes([12, 1, 13, 14, 13, 15, 16])
    convolutional = frames(close([simple_tree()]), Shape(3, SHAPE.layers, is_dense=False))
    assert convolutional.plan == {"columns": [], "forks": [], "recipes": [below]} and convolutional.rule == CROWN_2
    assert convolutional.tree == bytes([12, 1, 12, 13, 12, 14])


@pytest.mark.parametrize("what", ["derive", "split", "fork", "vector"])
def test_whatever_else_a_tree_needs_makes_it_a_tree_with_a_plan(what: str) -> None:
    tree, kind = ProofTree(), (Closing(0, ((0, 1),)),)
    match what:
        case "derive":
            tree.derive(0, Recipe(False))
        case "split":
            tree.split_neuron(0, 2)
        case "fork":
            tree.fork(0, (0,))
        case _:
            kind = (Closing(0, ((0, 1),), Vector(np.zeros(9, dtype=np.uint8))),)
    for leaf in (1, 2) if tree.leaves == 2 else (0,):
        tree.close_leaf(leaf, kind)
    assert rule_of(close([simple_tree()]), SHAPE) == CROWN_1
    assert rule_of(close([simple_tree(), tree]), SHAPE) == CROWN_2


def test_every_frame_of_a_small_tree_by_hand() -> None:
    """Columns 0 and 5.  A vector of layer 2 has both bytes; one of layer 1 (it starts at neuron 4) has the first.

    Opcodes: 3 inputs, 9 neurons, so the recipe is 12, the fork 13, leaf kinds 14 and 15.
    """
    tree = ProofTree()
    slopes = np.arange(10, 19, dtype=np.uint8)
    row = Vector(slopes), Vector(slopes, ((3, -2),))
    tree.derive(0, Recipe(True, (RowGroup(0), RowGroup(1, (1,), 0, row), RowGroup(2, (0,), 2))))
    child = tree.fork(0, (1,))
    tree.close_leaf(child, (Closing(0, ()), Closing(1, ((0, 1),), Vector(slopes, ((3, 64), (5, 1))))))
    part = tree.split_neuron(child + 1, 8)
    tree.close_leaf(part, (Closing(0, ((0, 7),)), Closing(0, ())))
    tree.close_leaf(part + 1, (Closing(0, ((0, 7),)), Closing(0, ())))
    tree.note_unstable(np.array([1, 0, 0, 0, 0, 1, 0, 0, 0], dtype=bool))
    written = frames(close([tree]), SHAPE)
    rows = [[0, "open", 0], [1, [1], -1], [2, [0], 2]]
    assert written.plan == {"columns": [0, 5], "forks": [[1]], "recipes": [{"forward": 1, "rows": rows}]}
    assert written.vectors == bytes([1, 10, 0]) + bytes([1, 10, 1, 3, 3]) + bytes([2, 10, 15, 2, 3, 0x80, 1, 1, 2])
    assert written.leaves == [[[0, []], [-3, [[0, 1]]]], [[0, [[0, 7]]], [0, []]]]
    assert written.tree == bytes([12, 13, 14, 3 + 8, 15, 15])


def test_what_is_equal_as_written_is_written_once() -> None:
    """Slopes differ in neuron 1, which no column names; recipes and forks are made twice."""
    tree = ProofTree()
    tree.note_unstable(np.arange(9) == 0)
    other = np.zeros(9, dtype=np.uint8)
    other[1] = 77
    vectors = [Vector(np.zeros(9, dtype=np.uint8)), Vector(other)]
    nodes = [tree.fork(0, (0,)), 2]
    for node, vector in zip(nodes, vectors, strict=True):
        tree.derive(node, Recipe(False, (RowGroup(2, (1,), 0, (vector, vector)),)))
        leaf = tree.fork(node, (0,))
        tree.close_leaf(leaf, (Closing(0, ((0, 1),), vector),))
        tree.close_leaf(leaf + 1, (Closing(3, ((0, 1),), vector),))
    written = frames(close([tree]), SHAPE)
    assert written.plan is not None
    assert len(written.plan["recipes"]) == len(written.plan["forks"]) == len(written.leaves) == 1
    assert written.vectors == bytes([1, 0, 0]) * 3  # two of the row group, one of the leaves


def test_a_leaf_that_is_empty_says_so_for_every_disjunct_without_another_reason() -> None:
    tree = ProofTree()
    tree.note_unstable(np.zeros(9, dtype=bool))
    empty = Vector(np.zeros(9, dtype=np.uint8), ((2, 5),))
    tree.close_leaf(0, (Closing(0, ()), Closing(0, (), empty), Closing(1, ((0, 1),)), Closing(0, ())))
    written = frames(close([tree]), SHAPE)
    assert written.leaves == [[[-1, []], [-1, []], [1, [[0, 1]]], [-1, []]]]
    assert written.vectors == bytes([0, 1, 2, 10])  # no slopes; one pin: gap 2, zigzag of 5


def test_a_tree_that_needs_no_cases_is_empty() -> None:
    assert frames(ClosedTree(()), SHAPE) == Frames(CROWN_1, None, b"", [], b"")


@given(st.integers(0, 1 << 70))
def test_numbers_are_read_back(number: int) -> None:
    assert checked_leb128.read(leb128(number), 0, number + 1, "X") == (number, len(leb128(number)))


@given(st.integers(-(1 << 70), 1 << 70))
def test_signs_are_read_back(number: int) -> None:
    assert checked_leb128.zigzag(zigzag(number)) == number
