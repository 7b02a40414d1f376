"""The LEAVES and TREE frames: leaf kinds, what they claim, and the preorder of the trees of all cases.

TREE is a sequence of LEB128 numbers, each below the size of the `Alphabet`: bisections of an input, and in `crown-fp-2`
splits of a neuron (two children), recipes (one child) and forks of the disjuncts (two children), then leaves by kind.
What a node stands for is never read, only how it comes from its parent, so a tree that leaves a hole cannot be written
down.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import lcm
from typing import Any, TypeGuard

from farkas.checker import leb128
from farkas.checker.errors import CertificateRejected
from farkas.checker.plan import RULES, Vectors
from farkas.checker.query import Bound, Case, Claim

MAX_MULTIPLIER = 1 << 63

Entry = tuple[int, tuple[tuple[int, int], ...]]
"""(slope rule, or -1-v for vector v; ((atom index, multiplier), ...)) for one disjunct.

No atoms: claims nothing, or with a vector that the tree node is empty.
"""
Kind = tuple[Entry, ...]
"""One entry per disjunct."""


@dataclass(frozen=True)
class Alphabet:
    """What the numbers of a TREE frame mean: ranges one after the other, in this order."""

    inputs: int
    neurons: int
    recipes: int
    forks: int
    kinds: int

    @property
    def recipe(self) -> int:
        """The first number that is a recipe; splits end there."""
        return self.inputs + self.neurons

    @property
    def fork(self) -> int:
        """The first number that is a fork."""
        return self.recipe + self.recipes

    @property
    def leaf(self) -> int:
        """The first number that is a leaf."""
        return self.fork + self.forks

    @property
    def size(self) -> int:
        return self.leaf + self.kinds


@dataclass(frozen=True)
class Tree:
    """The parsed TREE frame, by preorder position.

    opcodes: as in the frame.  right: the position of a second child (the first one is the next position).
    leaf: how many leaves come before a position.  roots: the position of every case's root.
    """

    alphabet: Alphabet
    opcodes: Sequence[int]
    right: Sequence[int]
    leaf: Sequence[int]
    roots: tuple[int, ...]
    leaves: int


def parse_kinds(data: object, vectors: int = 0) -> tuple[Kind, ...]:
    """The leaf kinds from the LEAVES frame's JSON: [[[rule, [[atom, multiplier], ...]], ...one per disjunct], ...]."""
    return tuple(tuple(_entry(entry, vectors) for entry in _list(kind)) for kind in _list(data))


def _list(data: object) -> list[Any]:  # JSON: what the elements are is checked where they are used
    if not isinstance(data, list):
        raise CertificateRejected("LEAVES", f"a list was expected, found {str(data)[:40]!r}")
    return data


def _entry(data: object, vectors: int) -> Entry:
    match data:
        case [rule, list(pairs)] if _is_int(rule, -vectors, len(RULES)):
            atoms = tuple(map(_pair, pairs))
            if any(a >= b for (a, _), (b, _) in pairwise(atoms)):
                raise CertificateRejected("LEAVES", "atom indices must ascend")
            return rule, atoms
        case _:
            raise CertificateRejected("LEAVES", f"[rule, atoms] expected, found {str(data)[:40]!r}")


def _pair(data: object) -> tuple[int, int]:
    match data:
        case [atom, multiplier] if _is_int(atom, 0, MAX_MULTIPLIER) and _is_int(multiplier, 1, MAX_MULTIPLIER):
            return atom, multiplier
        case _:
            raise CertificateRejected("LEAVES", f"[atom, multiplier >= 1] expected, found {str(data)[:40]!r}")


def _is_int(x: object, low: int, high: int) -> TypeGuard[int]:
    return isinstance(x, int) and not isinstance(x, bool) and low <= x < high


def parse_tree(
    payload: bytes, cases: int, inputs: int, kinds: int, *, neurons: int = 0, recipes: int = 0, forks: int = 0
) -> Tree:
    """The tree of a TREE payload.  Raises CertificateRejected where it is malformed, with the byte position."""
    alphabet = Alphabet(inputs, neurons, recipes, forks, kinds)
    size, recipe, fork, first_leaf = alphabet.size, alphabet.recipe, alphabet.fork, alphabet.leaf
    opcodes = array("I")
    open_subtrees, at = cases, 0
    while open_subtrees:
        opcode, at = leb128.read(payload, at, size, "TREE")
        opcodes.append(opcode)
        if opcode >= first_leaf:
            open_subtrees -= 1
        elif not recipe <= opcode < fork:
            open_subtrees += 1
    if at != len(payload):
        raise CertificateRejected(f"TREE byte {at}", f"{len(payload) - at} bytes follow the last tree")
    right, leaf = array("I", bytes(opcodes.itemsize * len(opcodes))), array("I", [0])
    starts: list[int] = []
    for position in range(len(opcodes) - 1, -1, -1):
        opcode = opcodes[position]
        if opcode < first_leaf:
            starts.pop()
            if not recipe <= opcode < fork:
                right[position] = starts.pop()
        starts.append(position)
    for opcode in opcodes:
        leaf.append(leaf[-1] + (opcode >= first_leaf))
    return Tree(alphabet, opcodes, right, leaf, tuple(reversed(starts)), leaf[-1])


def claim_of(kind: Kind, case: Case, goals: Sequence[int] | None = None, vectors: Vectors | None = None) -> Claim:
    """What a leaf of this kind claims of the goals (None: all disjuncts) of this case, in their order.

    Raises CertificateRejected when kind and case do not fit.
    """
    if len(kind) != len(case.disjuncts):
        wanted = len(case.disjuncts)
        raise CertificateRejected("LEAVES", f"a kind for {len(kind)} disjuncts is used in a case of {wanted}")
    chosen = range(len(kind)) if goals is None else goals
    return tuple(_claim(case, d, *kind[d], vectors) for d in chosen)


def _claim(
    case: Case, disjunct: int, rule: int, atoms: Sequence[tuple[int, int]], vectors: Vectors | None
) -> Bound | None:
    if rule >= 0 or vectors is None:
        return combine(case, disjunct, rule, atoms) if atoms else None
    # Without atoms this is the row zero with threshold 0: a lower bound > 0 of nothing at all.
    return replace(combine(case, disjunct, 0, atoms), vector=vectors[-1 - rule])


def combine(case: Case, disjunct: int, rule: int, atoms: Sequence[tuple[int, int]]) -> Bound:
    """The combination of atoms of a disjunct with positive multipliers, its coefficients made integers.

    Every atom is scaled by the least common multiple of its coefficients' denominators.  An execution in which all
    atoms hold has row . Y + xrow . X <= threshold, and < when a strict atom takes part.
    """
    row: dict[int, int] = {}
    xrow: dict[int, int] = {}
    threshold, strict = Fraction(0), False
    for index, multiplier in atoms:
        if index >= len(case.disjuncts[disjunct]):
            raise CertificateRejected("LEAVES", f"disjunct {disjunct} has no atom {index}")
        atom = case.disjuncts[disjunct][index]
        if atom.products:
            raise CertificateRejected(
                "LEAVES", f"atom {index} of disjunct {disjunct} has products: no rule is about it"
            )
        scale = multiplier * lcm(*(c.denominator for _, c in (*atom.x, *atom.y)))
        for target, terms in ((row, atom.y), (xrow, atom.x)):
            for i, c in terms:
                target[i] = target.get(i, 0) + int(c * scale)
        threshold += atom.c * scale
        strict = strict or atom.strict
    return Bound(rule, tuple(sorted(row.items())), tuple(sorted(xrow.items())), threshold, strict)
