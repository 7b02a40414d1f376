"""Proof trees: how the input set was cut, and why each piece is safe.

A `ProofTree` grows during the search; `close` freezes it into a `ClosedTree`, which exists only when every leaf has a
reason.  `Holds` takes a ClosedTree, so that no lost subproblem can become a verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

OPEN = -1


@dataclass(frozen=True)
class Closing:
    """Why one disjunct is impossible in a leaf's box: the row of the weighted atoms, bounded under a slope rule.

    rule: slope rule of the final row; atoms: (atom index, integer weight >= 1).
    """

    rule: int
    atoms: tuple[tuple[int, int], ...]


LeafKind = tuple[Closing, ...]  # one Closing a disjunct, in the order of the case


class OpenTreeError(Exception):
    """A tree with an open leaf was about to be taken for a proof."""


class ProofTree:
    """Bisections of one case's box; node 0 is the root, children of a node are consecutive."""

    def __init__(self) -> None:
        self._dimension: list[int] = [OPEN]
        self._child: list[int] = [OPEN]
        self._kind: list[int] = [OPEN]
        self.kinds: list[LeafKind] = []
        self._index: dict[LeafKind, int] = {}

    def split(self, node: int, dimension: int) -> int:
        """Bisect a node along an input dimension; the index of its first child (the second follows it)."""
        assert self._child[node] == OPEN and self._kind[node] == OPEN, f"node {node} is decided already"
        child = len(self._dimension)
        self._dimension[node], self._child[node] = dimension, child
        self._dimension += (OPEN, OPEN)
        self._child += (OPEN, OPEN)
        self._kind += (OPEN, OPEN)
        return child

    def close_leaf(self, node: int, kind: LeafKind) -> None:
        assert self._child[node] == OPEN and self._kind[node] == OPEN, f"node {node} is decided already"
        index = self._index.get(kind)
        if index is None:
            index = self._index[kind] = len(self.kinds)
            self.kinds.append(kind)
        self._kind[node] = index

    def reopen(self, node: int) -> None:
        """Take back a leaf's closing: the checker's rule did not confirm it."""
        assert self._kind[node] != OPEN, f"node {node} is not a closed leaf"
        self._kind[node] = OPEN

    def preorder(self) -> list[tuple[int, int, int]]:
        """(node, dimension or -1, kind or -1) in preorder, first child before second."""
        out, stack = [], [0]
        while stack:
            node = stack.pop()
            out.append((node, self._dimension[node], self._kind[node]))
            if self._child[node] != OPEN:
                stack += (self._child[node] + 1, self._child[node])
        return out

    def branch(self, node: int) -> tuple[int, int]:
        """(input dimension, first child) of an inner node."""
        assert self._child[node] != OPEN, f"node {node} is a leaf"
        return self._dimension[node], self._child[node]

    def path(self, node: int) -> list[int]:
        """Node indices from the root down to `node`."""
        parent = {c: v for v, first in enumerate(self._child) if first != OPEN for c in (first, first + 1)}
        path = [node]
        while path[-1] != 0:
            path.append(parent[path[-1]])
        return path[::-1]

    @property
    def leaves(self) -> int:
        return (len(self._child) + 1) // 2


@dataclass(frozen=True)
class Proof:
    """One case's tree, frozen, in preorder.

    steps: (input dimension, -1) of an inner node, (-1, leaf kind) of a leaf; kinds: the reasons that leaves refer to.
    """

    steps: tuple[tuple[int, int], ...]
    kinds: tuple[LeafKind, ...]

    def __post_init__(self) -> None:
        expected = 1
        for position, (dimension, kind) in enumerate(self.steps):
            if expected == 0:
                raise OpenTreeError(f"step {position} follows a complete tree")
            if (dimension == OPEN) == (kind == OPEN) or min(dimension, kind) < OPEN or kind >= len(self.kinds):
                raise OpenTreeError(f"leaf {position} of the preorder is open")
            expected += 1 if kind == OPEN else -1
        if expected:
            raise OpenTreeError(f"{expected} subtrees are missing")

    @property
    def leaves(self) -> int:
        return (len(self.steps) + 1) // 2


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


def close(trees: Sequence[ProofTree]) -> ClosedTree:
    """The closed tree; raises OpenTreeError when a leaf has no reason."""
    steps = (tuple((dimension, kind) for _, dimension, kind in tree.preorder()) for tree in trees)
    return ClosedTree(tuple(Proof(part, tuple(tree.kinds)) for part, tree in zip(steps, trees, strict=True)))
