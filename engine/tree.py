"""Proof trees: how the set of executions was cut, and why each piece is safe.

A node is cut in one of three ways: its box is bisected, a neuron's sign is decided, or its goals (the disjuncts still
to be refuted) are shared out between two children.  Before that, bounds may be derived at it by a `Recipe`; they hold
for everything below.  A leaf carries a `LeafKind`: per disjunct the row that refutes it and the slopes of that row.

A `ProofTree` grows during the search; `close` freezes it into a `ClosedTree`, which exists only when every leaf has a
reason.  `Holds` takes a ClosedTree, so that no lost subproblem can become a verdict.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

OPEN = -1

LeafRule = Literal["rule", "combination", "slopes", "pins", "empty"]
"""What closes a leaf: one atom a disjunct under a slope rule, several atoms, explicit slopes, pins, no execution."""


@dataclass(frozen=True, init=False)
class Vector:
    """Explicit slopes and pins of one row; equal when both are.

    slopes: uint8 (N,), lower slope b / 256 of each neuron, 255 meaning 1; a stable neuron's is ignored.
    pins: (neuron, gamma at 2^-24, not 0) with neurons ascending: the row may be lowered by gamma (z - bound in force).

    A tree may hold one a leaf, with a place for each of thousands of neurons of which few are unstable: kept deflated.
    """

    packed: bytes
    pins: tuple[tuple[int, int], ...]

    def __init__(self, slopes: npt.NDArray[np.uint8], pins: tuple[tuple[int, int], ...] = ()) -> None:
        assert all(a < b for (a, _), (b, _) in pairwise(pins)), f"pins do not ascend: {pins}"
        assert all(gamma for _, gamma in pins), f"a pin of weight 0: {pins}"
        object.__setattr__(self, "packed", zlib.compress(np.asarray(slopes, dtype=np.uint8).tobytes(), 1))
        object.__setattr__(self, "pins", pins)

    @property
    def slopes(self) -> npt.NDArray[np.uint8]:
        return np.frombuffer(zlib.decompress(self.packed), dtype=np.uint8)


@dataclass(frozen=True)
class Closing:
    """Why one disjunct is impossible at a leaf: the row of the weighted atoms, bounded from below.

    rule: slope rule of the row, ignored when there is a vector; atoms: (atom index, integer weight >= 1).
    No atoms and no vector: claims nothing (no goal here, or the node is empty by its bounds).  No atoms and a vector:
    the row of the vector's pins alone is positive, so the node holds no execution.
    """

    rule: int
    atoms: tuple[tuple[int, int], ...]
    vector: Vector | None = None


LeafKind = tuple[Closing, ...]  # one Closing a disjunct, in the order of the case


@dataclass(frozen=True)
class RowGroup:
    """Bounds of a layer's neurons, derived from their rows: of z_j for the lower, of -z_j for the upper bound.

    layer: its ordinal.  neurons: ascending positions in the layer, None: those unstable by the bounds in force.
    vectors: empty (the slope rule serves all rows), or two a neuron: of the row of z_j, then of the row of -z_j.
    """

    layer: int
    neurons: tuple[int, ...] | None = None
    rule: int = 0
    vectors: tuple[Vector, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """Which bounds are derived at a node, layer after layer.

    forward: intervals and errors of all nodes as well; rows: groups with layers that do not descend.
    """

    forward: bool
    rows: tuple[RowGroup, ...] = ()


@dataclass(frozen=True)
class Bisect:
    """Two halves of the box along an input."""

    dimension: int


@dataclass(frozen=True)
class SplitNeuron:
    """z <= 0, then z >= 0, of a neuron by its number over all layers."""

    neuron: int


@dataclass(frozen=True)
class Fork:
    """The goals among these disjuncts, then the other goals."""

    disjuncts: tuple[int, ...]


@dataclass(frozen=True)
class Derive:
    """One child: the same node with more bounds."""

    recipe: Recipe


@dataclass(frozen=True)
class Leaf:
    """kind: index into the tree's leaf kinds, OPEN while there is none."""

    kind: int


Branch = Bisect | SplitNeuron | Fork
Step = Branch | Derive | Leaf


class OpenTreeError(Exception):
    """A tree with an open leaf was about to be taken for a proof."""


class ProofTree:
    """The cuts of one case; node 0 is the root, the two children of a node are consecutive.

    roots: more than one make a forest, subtrees of another tree that grow elsewhere until that tree takes them up
    (`graft`); its nodes 0 to roots - 1 are the roots.
    """

    def __init__(self, roots: int = 1) -> None:
        self.roots = roots
        self._branch: list[Branch | None] = [None] * roots
        self._child: list[int] = [OPEN] * roots
        self._kind: list[int] = [OPEN] * roots
        self._recipes: dict[int, tuple[Recipe, ...]] = {}
        self.kinds: list[LeafKind] = []
        self._index: dict[LeafKind, int] = {}
        self._known: dict[Branch, Branch] = {}
        self._unstable: npt.NDArray[np.bool_] | None = None

    def bisect(self, node: int, dimension: int) -> int:
        """Halve a node's box along an input; the index of its first child (the second follows it)."""
        return self._cut(node, Bisect(dimension))

    def split_neuron(self, node: int, neuron: int) -> int:
        """Decide a neuron's sign; the index of the first child (z <= 0), which the other one (z >= 0) follows."""
        return self._cut(node, SplitNeuron(neuron))

    def fork(self, node: int, disjuncts: Sequence[int]) -> int:
        """Share out the goals; the index of the first child (goals among `disjuncts`), which the rest's follows."""
        assert disjuncts and all(a < b for a, b in pairwise(disjuncts)), f"disjuncts {disjuncts} do not ascend"
        return self._cut(node, Fork(tuple(disjuncts)))

    def _cut(self, node: int, branch: Branch) -> int:
        self._assert_undecided(node)
        child = len(self._branch)
        self._branch[node], self._child[node] = self._known.setdefault(branch, branch), child
        self._branch += (None, None)
        self._child += (OPEN, OPEN)
        self._kind += (OPEN, OPEN)
        return child

    def derive(self, node: int, recipe: Recipe) -> None:
        """Bounds are derived at a node, after those derived there already and before it is cut or closed."""
        self._assert_undecided(node)
        self._recipes[node] = (*self._recipes.get(node, ()), recipe)

    def close_leaf(self, node: int, kind: LeafKind) -> None:
        self._assert_undecided(node)
        self._kind[node] = self._number(kind)

    def _number(self, kind: LeafKind) -> int:
        index = self._index.get(kind)
        if index is None:
            index = self._index[kind] = len(self.kinds)
            self.kinds.append(kind)
        return index

    def graft(self, nodes: Sequence[int], forest: ProofTree) -> int:
        """Continue the open leaf nodes[r] as root r of a forest of bisections does, and close what is closed there.

        The number by which the forest's other nodes move: node i >= forest.roots is node i + shift of this tree.
        """
        assert len(nodes) == forest.roots, f"{len(nodes)} nodes for {forest.roots} roots"
        assert not forest._recipes and forest._unstable is None, "only bisections are grafted"
        shift, roots = len(self._branch) - forest.roots, forest.roots
        kinds = {OPEN: OPEN} | {k: self._number(kind) for k, kind in enumerate(forest.kinds)}
        known = {branch: self._known.setdefault(branch, branch) for branch in forest._known}
        branches = [None if branch is None else known[branch] for branch in forest._branch]
        children = [OPEN if child == OPEN else child + shift for child in forest._child]
        closed = [kinds[kind] for kind in forest._kind]
        for node, branch, child, kind in zip(nodes, branches, children, closed, strict=False):
            self._assert_undecided(node)
            self._branch[node], self._child[node], self._kind[node] = branch, child, kind
        self._branch += branches[roots:]
        self._child += children[roots:]
        self._kind += closed[roots:]
        return shift

    def reopen(self, node: int) -> None:
        """Take back a leaf's closing: the checker's rule did not confirm it."""
        assert self._kind[node] != OPEN, f"node {node} is not a closed leaf"
        self._kind[node] = OPEN

    def _assert_undecided(self, node: int) -> None:
        assert self._child[node] == OPEN and self._kind[node] == OPEN, f"node {node} is decided already"

    def note_unstable(self, mask: npt.NDArray[np.bool_]) -> None:
        """mask (N,): neurons that some vector means; only their slopes are written.  Never called: all of them are.

        A neuron that is unstable for the checker but was left out takes the adaptive slope: never wrong, only looser.
        """
        self._unstable = mask.copy() if self._unstable is None else self._unstable | mask

    @property
    def unstable(self) -> npt.NDArray[np.bool_] | None:
        """(N,) the neurons noted by `note_unstable`; None when there was no note."""
        return self._unstable

    def recipes(self, node: int) -> tuple[Recipe, ...]:
        """What is derived at a node, in order."""
        return self._recipes.get(node, ())

    def preorder(self) -> list[tuple[int, Step]]:
        """(node, step) in preorder: a node's derivations, then its branch or leaf; first child before second."""
        leaf = [Leaf(kind) for kind in range(OPEN, len(self.kinds))]
        out: list[tuple[int, Step]] = []
        stack = [0]
        while stack:
            node = stack.pop()
            if node in self._recipes:
                out += [(node, Derive(recipe)) for recipe in self._recipes[node]]
            branch = self._branch[node]
            if branch is None:
                out.append((node, leaf[self._kind[node] - OPEN]))
            else:
                out.append((node, branch))
                stack += (self._child[node] + 1, self._child[node])
        return out

    def step(self, node: int) -> Branch | Leaf:
        """What a node ends in: a cut, or a leaf (of kind OPEN while it is open)."""
        branch = self._branch[node]
        return Leaf(self._kind[node]) if branch is None else branch

    def branch(self, node: int) -> tuple[Branch, int]:
        """(how it is cut, first child) of an inner node."""
        branch = self._branch[node]
        assert branch is not None, f"node {node} is a leaf"
        return branch, self._child[node]

    def parents(self) -> dict[int, int]:
        """The parent of every node but the root."""
        return {c: v for v, first in enumerate(self._child) if first != OPEN for c in (first, first + 1)}

    def path(self, node: int) -> list[int]:
        """Node indices from the root down to `node`."""
        parents = self.parents()
        path = [node]
        while path[-1] != 0:
            path.append(parents[path[-1]])
        return path[::-1]

    @property
    def leaves(self) -> int:
        return (len(self._child) + self.roots) // 2

    @property
    def open_leaves(self) -> int:
        """Leaves without a reason."""
        return sum(kind == OPEN and child == OPEN for kind, child in zip(self._kind, self._child, strict=True))


@dataclass(frozen=True)
class Proof:
    """One case's tree, frozen: its steps in preorder, and the reasons that its leaves refer to.

    unstable: (N,) the neurons whose slopes the vectors mean, None: all of them.
    """

    steps: tuple[Step, ...]
    kinds: tuple[LeafKind, ...]
    unstable: npt.NDArray[np.bool_] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        expected = 1
        for position, step in enumerate(self.steps):
            if expected == 0:
                raise OpenTreeError(f"step {position} follows a complete tree")
            match step:
                case Bisect() | SplitNeuron() | Fork():
                    expected += 1
                case Leaf(kind) if 0 <= kind < len(self.kinds):
                    expected -= 1
                case Derive():
                    pass
                case _:
                    raise OpenTreeError(f"leaf {position} of the preorder is open")
        if expected:
            raise OpenTreeError(f"{expected} subtrees are missing")

    @property
    def leaves(self) -> int:
        return sum(isinstance(step, Leaf) for step in self.steps)


@dataclass(frozen=True)
class ClosedTree:
    """Closed trees of all cases of a query: every leaf carries its reason."""

    trees: tuple[Proof, ...]

    def __post_init__(self) -> None:
        if not all(isinstance(tree, Proof) for tree in self.trees):
            raise OpenTreeError("a growing tree is no proof; freeze it with `close`")

    @property
    def leaves(self) -> int:
        return sum(tree.leaves for tree in self.trees)

    def leaf_rules(self) -> Counter[LeafRule]:
        """How many leaves each rule closes; a leaf counts for the strongest that it needs."""
        counts: Counter[LeafRule] = Counter()
        for tree in self.trees:
            used = Counter(step.kind for step in tree.steps if isinstance(step, Leaf))
            for kind, leaves in used.items():
                counts[leaf_rule(tree.kinds[kind])] += leaves
        return counts


def leaf_rule(kind: LeafKind) -> LeafRule:
    """The strongest rule that a leaf of this kind needs."""
    vectors = [closing.vector for closing in kind if closing.vector is not None]
    if not any(closing.atoms for closing in kind):
        return "empty"
    if vectors:
        return "pins" if any(vector.pins for vector in vectors) else "slopes"
    return "combination" if any(len(closing.atoms) > 1 for closing in kind) else "rule"


def close(trees: Sequence[ProofTree]) -> ClosedTree:
    """The closed tree; raises OpenTreeError when a leaf has no reason."""
    steps = (tuple(step for _, step in tree.preorder()) for tree in trees)
    return ClosedTree(
        tuple(Proof(part, tuple(tree.kinds), tree.unstable) for part, tree in zip(steps, trees, strict=True))
    )
