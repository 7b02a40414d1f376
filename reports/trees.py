"""The trees of a certificate as people look at them: who is cut by what, how deep, and what closes the leaves.

A proof by cases is drawn as bands: one row for every level, the root on top, and each node as wide as the leaves below
it.  What is too narrow to be seen is drawn as part of its neighbours.  Nothing is checked here; the format is that of
docs/certificate.md, section 5, and a file that does not fit it has no picture.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from farkas.certificate_content import leaf_rule, read_vectors
from farkas.certificate_file import CertificateFile, MalformedCertificate, read_certificate_file

MOST_NODES = 2_000_000


@dataclass(frozen=True)
class Node:
    """A node of a tree.

    kind: `input`, `neuron`, `fork`, `cut` (of an input or a neuron), or how a leaf is closed; which: the number of the
    input or neuron, else None; level: of cuts above it; first, count: its leaves, in the order of the file.
    """

    kind: str
    which: int | None
    level: int
    first: int
    count: int


@dataclass(frozen=True)
class Trees:
    """All trees of a certificate, one after the other; nodes in the order of the file."""

    nodes: Sequence[Node]
    trees: int
    leaves: int

    @property
    def depth(self) -> int:
        return max((node.level for node in self.nodes), default=0)

    @property
    def cuts(self) -> Counter[tuple[str, int | None]]:
        """How often each input, neuron or fork cuts."""
        return Counter((node.kind, node.which) for node in self.nodes if node.kind in CUTS)

    @property
    def closings(self) -> Counter[str]:
        """How many leaves are closed in which way."""
        return Counter(node.kind for node in self.nodes if node.kind not in CUTS)


CUTS = ("input", "neuron", "fork", "cut")


def read_trees(data: bytes, inputs: int | None = None) -> Trees | None:
    """The trees of a certificate's bytes; None where it has none that can be drawn.

    inputs: how many inputs the query has, where known: larger cuts are of neurons, else it is `cut` that is said.
    """
    try:
        file = read_certificate_file(data)
        tree = file.frame("TREE")
        leaves = file.header.get("leaves")
        if tree is None or not isinstance(leaves, int) or leaves < 1 or not tree.payload:
            return None
        return _trees(file, _numbers(tree.payload), leaves, inputs)
    except (MalformedCertificate, LookupError, TypeError, ValueError, RecursionError):
        return None


def _trees(file: CertificateFile, numbers: Sequence[int], leaves: int, inputs: int | None) -> Trees | None:
    plan = _json(file, "PLAN", {"recipes": [], "forks": []})
    kinds = _closings(file)
    least = sorted(numbers)[-leaves]  # leaves have the largest numbers; the first kind is in use
    forks = least - len(plan["forks"])
    recipes = forks - len(plan["recipes"])
    if file.frame("PLAN") is None:
        inputs = recipes
    made: list[list[int]] = []  # number, level, first leaf, leaves
    waiting: list[int] = []
    open_: list[tuple[int, int]] = []  # place in `made`, children still to come
    trees = found = 0
    for number in numbers:
        if not waiting:
            trees += 1
            waiting.append(0)
        if recipes <= number < forks:
            continue  # a derivation: the same node
        level = waiting.pop()
        made.append([number, level, found, 1])
        if number < least:
            waiting += (level + 1, level + 1)
            open_.append((len(made) - 1, 2))
            continue
        found += 1
        while open_:
            place, missing = open_.pop()
            if missing == 2:
                open_.append((place, 1))
                break
            made[place][3] = found - made[place][2]
    if waiting or found != leaves:
        return None
    nodes = [Node(*_named(number, inputs, forks, least, kinds), *rest) for number, *rest in made]
    return Trees(nodes, trees, leaves)


def _named(number: int, inputs: int | None, forks: int, least: int, kinds: Sequence[str]) -> tuple[str, int | None]:
    if number >= least:
        return kinds[number - least], None
    if number >= forks:
        return "fork", None
    if inputs is None:
        return "cut", number
    return ("input", number) if number < inputs else ("neuron", number - inputs)


def _closings(file: CertificateFile) -> list[str]:
    frame = file.frame("VECTORS")
    vectors = read_vectors(b"" if frame is None else frame.payload)
    return [leaf_rule(kind, vectors) for kind in _json(file, "LEAVES", [])]


def _json(file: CertificateFile, name: str, otherwise: Any) -> Any:
    frame = file.frame(name)
    return otherwise if frame is None else json.loads(frame.payload)


def _numbers(payload: bytes) -> list[int]:
    """All LEB128 numbers; raises MalformedCertificate."""
    numbers, value, shift = [], 0, 0
    for byte in payload:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(value)
            value = shift = 0
    if shift or len(numbers) > MOST_NODES:
        raise MalformedCertificate("the TREE frame ends in the middle of a number, or is too large for a picture")
    return numbers


@dataclass(frozen=True)
class Band:
    """A cell of the picture; node: None where several nodes are too narrow to be told apart."""

    node: Node | None
    level: int
    left: float
    width: float


def bands(trees: Trees, width: float, least: float) -> Iterator[Band]:
    """The cells of a picture of this width; nodes narrower than `least` come together with their neighbours."""
    scale = width / trees.leaves
    narrow: dict[int, Band] = {}
    for node in trees.nodes:
        left, size = node.first * scale, node.count * scale
        if size >= least:
            yield Band(node, node.level, left, size)
            continue
        before = narrow.get(node.level)
        if before is not None and left - (before.left + before.width) < least:
            narrow[node.level] = Band(None, node.level, before.left, left + size - before.left)
            continue
        if before is not None:
            yield before
        narrow[node.level] = Band(None, node.level, left, size)
    yield from narrow.values()
