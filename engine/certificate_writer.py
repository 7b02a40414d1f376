"""The frames of an `unsat` certificate: a closed tree as PLAN, VECTORS, LEAVES and TREE (docs/certificate.md).

A tree of bisections that closes every leaf by a slope rule and says nothing of derivations means that all bounds are
derived at every node, as the search by input splitting does.  `crown-fp-1` does that by itself; such trees need no plan
and no vectors there.  Everything else is `crown-fp-2`, and so are convolutional networks, where rows of all neurons
cost too much; under that rule a tree of bisections gets a recipe at every node (`explicit`).

What is said twice is written once: leaf kinds, recipes, forks, and vectors, which are compared as written, that is
on the plan's columns only.  A vector of a neuron's row ends with the last neuron below the row's layer.  What is left
is in the order of its first use in preorder, so that neighbours in the tree are neighbours in the file and the
compression sees how much alike they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from farkas.engine.tree import (
    Bisect,
    ClosedTree,
    Closing,
    Derive,
    Fork,
    Leaf,
    LeafKind,
    Proof,
    Recipe,
    RowGroup,
    SplitNeuron,
    Vector,
)

CROWN_1, CROWN_2 = "crown-fp-1", "crown-fp-2"
OPEN_NEURONS = "open"


@dataclass(frozen=True)
class Shape:
    """What numbers in a certificate refer to.

    inputs: of the network; layers: sizes of the affine nodes that a ReLU reads, in order (their neurons are numbered
    through); is_dense: whether all of its products are with stored matrices (`Prepared.is_dense`).
    """

    inputs: int
    layers: tuple[int, ...]
    is_dense: bool = True

    @property
    def neurons(self) -> int:
        return sum(self.layers)

    @property
    def starts(self) -> tuple[int, ...]:
        """The number of every layer's first neuron."""
        return tuple(accumulate(self.layers, initial=0))[:-1]


@dataclass(frozen=True)
class Frames:
    """rule: the header's kernel; plan, leaves: data for canonical JSON; vectors, tree: payloads.

    plan is None and vectors empty under crown-fp-1.
    """

    rule: str
    plan: dict[str, Any] | None
    vectors: bytes
    leaves: list[Any]
    tree: bytes


def rule_of(proof: ClosedTree, shape: Shape) -> str:
    """The rule under which a tree is written: crown-fp-1 where that can say it, and says it well."""
    return CROWN_1 if shape.is_dense and all(map(is_plain, proof.trees)) else CROWN_2


def renumbered(proof: ClosedTree, atoms: Sequence[tuple[tuple[int, ...], ...] | None]) -> ClosedTree:
    """The proof with atoms as the cases number them; atoms: by case and disjunct those that trees count, if fewer."""
    trees = [
        tree if of_case is None else replace(tree, kinds=tuple(_renumbered(kind, of_case) for kind in tree.kinds))
        for tree, of_case in zip(proof.trees, atoms or [None] * len(proof.trees), strict=True)
    ]
    return ClosedTree(tuple(trees))


def _renumbered(kind: LeafKind, atoms: Sequence[tuple[int, ...]]) -> LeafKind:
    return tuple(
        replace(closing, atoms=tuple((numbers[n], weight) for n, weight in closing.atoms))
        for closing, numbers in zip(kind, atoms, strict=True)
    )


def is_plain(tree: Proof) -> bool:
    """Whether a tree only bisects, and closes its leaves by rules."""
    return all(isinstance(step, Bisect | Leaf) for step in tree.steps) and not any(
        closing.vector is not None for kind in tree.kinds for closing in kind
    )


def explicit(tree: Proof, shape: Shape) -> Proof:
    """A plain tree with what it means: the forward pass and adaptive rows at every node, of the open neurons.

    At the root of a dense network of all neurons, as its search does; their magnitudes enter the error terms.
    """
    below = Derive(Recipe(True, tuple(RowGroup(k) for k in range(len(shape.layers)))))
    whole = tuple(RowGroup(k, tuple(range(size))) for k, size in enumerate(shape.layers))
    root = Derive(Recipe(True, whole)) if shape.is_dense else below
    steps = [part for step in tree.steps for part in (below, step)]
    return Proof((root, *steps[1:]), tree.kinds, tree.unstable)


def frames(proof: ClosedTree, shape: Shape) -> Frames:
    """The content of a certificate's frames."""
    rule = rule_of(proof, shape)
    if rule == CROWN_2:
        proof = ClosedTree(tuple(explicit(tree, shape) if is_plain(tree) else tree for tree in proof.trees))
    writer = _Writer(shape, columns(proof, shape.neurons))
    numbers = _tables(proof, writer)
    tree = b"".join(map(leb128, _opcodes(proof, writer, numbers, shape.neurons if rule == CROWN_2 else 0)))
    plan = writer.plan() if rule == CROWN_2 else None
    return Frames(rule, plan, b"".join(writer.vectors), writer.kinds.items, tree)


def columns(proof: ClosedTree, neurons: int) -> npt.NDArray[np.int64]:
    """The neurons whose slopes are written, ascending: none where nothing is said about slopes."""
    wanted = np.zeros(neurons, dtype=bool)
    for tree in proof.trees:
        if any(True for _ in _vectors(tree.steps, tree.kinds)):
            wanted |= True if tree.unstable is None else tree.unstable
    return np.flatnonzero(wanted)


def _vectors(steps: Sequence[object], kinds: Sequence[LeafKind]) -> Iterator[Vector]:
    for kind in kinds:
        yield from (closing.vector for closing in kind if closing.vector is not None)
    for step in steps:
        if isinstance(step, Derive):
            for group in step.recipe.rows:
                yield from group.vectors


@dataclass
class _Numbered:
    """Things in the order of their first use, each once."""

    items: list[Any] = field(default_factory=list)
    _index: dict[Any, int] = field(default_factory=dict)

    def number(self, key: Any, item: Any) -> int:
        """The number of what `key` stands for; `item` is kept when it is new."""
        found = self._index.setdefault(key, len(self.items))
        if found == len(self.items):
            self.items.append(item)
        return found


@dataclass
class _Writer:
    """The tables of a certificate while they grow."""

    shape: Shape
    columns: npt.NDArray[np.int64]
    vectors: list[bytes] = field(default_factory=list)
    kinds: _Numbered = field(default_factory=_Numbered)
    forks: _Numbered = field(default_factory=_Numbered)
    recipes: _Numbered = field(default_factory=_Numbered)
    _blocks: dict[tuple[bytes, ...], int] = field(default_factory=dict)

    def plan(self) -> dict[str, Any]:
        return {"columns": self.columns.tolist(), "forks": self.forks.items, "recipes": self.recipes.items}

    def kind(self, kind: LeafKind) -> int:
        """Where one disjunct says that the node is empty, all that say nothing say so: every goal needs a reason."""
        empty = next((c for c in kind if c.vector is not None and not c.atoms), None)
        written = [self._entry(empty if empty and not c.atoms else c) for c in kind]
        return self.kinds.number(repr(written), written)

    def _entry(self, closing: Closing) -> list[Any]:
        atoms = [list(pair) for pair in sorted(closing.atoms)]
        if closing.vector is None:
            return [closing.rule, atoms]
        return [-1 - self._block((self._bytes(closing.vector, len(self.columns)),)), atoms]

    def recipe(self, recipe: Recipe) -> int:
        written = [int(recipe.forward), [self._group(group) for group in recipe.rows]]
        return self.recipes.number(repr(written), {"forward": written[0], "rows": written[1]})

    def _group(self, group: RowGroup) -> list[Any]:
        neurons = OPEN_NEURONS if group.neurons is None else list(group.neurons)
        if not group.vectors:
            return [group.layer, neurons, group.rule]
        below = int(np.searchsorted(self.columns, self.shape.starts[group.layer]))
        return [group.layer, neurons, -1 - self._block(tuple(self._bytes(v, below) for v in group.vectors))]

    def _block(self, block: tuple[bytes, ...]) -> int:
        """The number of the first of these consecutive vectors."""
        found = self._blocks.get(block)
        if found is None:
            found = self._blocks[block] = len(self.vectors)
            self.vectors += block
        return found

    def _bytes(self, vector: Vector, count: int) -> bytes:
        """A vector as written: the slopes of the first `count` columns, then the pins."""
        parts = [leb128(count), vector.slopes[self.columns[:count]].tobytes(), leb128(len(vector.pins))]
        previous = -1
        for neuron, gamma in vector.pins:
            parts += [leb128(neuron - previous - 1), leb128(zigzag(gamma))]
            previous = neuron
        return b"".join(parts)


def _tables(proof: ClosedTree, writer: _Writer) -> list[list[int]]:
    """Fills the tables in preorder; per tree the number of each step's entry in its table, -1 for a bisection or split.

    This comes before the opcodes, because those of the leaves start above those of all recipes and forks.
    """
    numbers = []
    for tree in proof.trees:
        kinds: dict[int, int] = {}
        row = []
        for step in tree.steps:
            match step:
                case Leaf(kind):
                    if kind not in kinds:
                        kinds[kind] = writer.kind(tree.kinds[kind])
                    row.append(kinds[kind])
                case Derive(recipe):
                    row.append(writer.recipe(recipe))
                case Fork(disjuncts):
                    row.append(writer.forks.number(disjuncts, list(disjuncts)))
                case Bisect() | SplitNeuron():
                    row.append(-1)
        numbers.append(row)
    return numbers


def _opcodes(proof: ClosedTree, writer: _Writer, numbers: Sequence[Sequence[int]], neurons: int) -> Iterator[int]:
    """The TREE frame's numbers: inputs, `neurons` (none under crown-fp-1), recipes and forks, then leaf kinds."""
    splits = writer.shape.inputs
    recipes = splits + neurons
    forks = recipes + len(writer.recipes.items)
    leaves = forks + len(writer.forks.items)
    for tree, row in zip(proof.trees, numbers, strict=True):
        for step, number in zip(tree.steps, row, strict=True):
            match step:
                case Bisect(dimension):
                    yield dimension
                case SplitNeuron(neuron):
                    yield splits + neuron
                case Derive():
                    yield recipes + number
                case Fork():
                    yield forks + number
                case Leaf():
                    yield leaves + number


def leb128(number: int) -> bytes:
    """A number >= 0 in its shortest form."""
    assert number >= 0, f"{number} cannot be written"
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def zigzag(number: int) -> int:
    """Signed to unsigned: 0, -1, 1, -2, ... are 0, 1, 2, 3, ..."""
    return 2 * number if number >= 0 else -2 * number - 1
