"""The proof tree: LEAVES and TREE frames, and the walk that closes every leaf.

TREE is the preorder of the trees of all cases, in order, as LEB128 numbers: 0 .. n-1 bisects that input dimension, n
+ k is a leaf of kind k.  Boxes are never read: a child's box is derived from its parent's, so a tree that leaves a
hole cannot be written down.

The walk takes nodes in waves, so that a batched kernel has many at once, and among the pending nodes it takes the
smallest
subtree first: whoever waits is at most half as large as what it waits under, so that O(wave * log nodes) states are
alive whatever the shape of the tree (a chain of a million nodes too).  Nothing recurses.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import lcm
from typing import Any, TypeGuard

from farkas.checker.errors import CertificateRejected
from farkas.checker.kernel import Kernel
from farkas.checker.plan import RULES
from farkas.checker.query import Bound, Box, Case, Claim, Query, bisect

MAX_MULTIPLIER = 1 << 63

Entry = tuple[int, tuple[tuple[int, int], ...]]
"""(slope rule, ((atom index, multiplier), ...)) for one disjunct; no atoms: claims nothing."""
Kind = tuple[Entry, ...]
"""One entry per disjunct."""


@dataclass(frozen=True)
class Tree:
    """The parsed TREE frame, by preorder position.

    opcodes: as in the frame.  right: the position of an inner node's right child (its left child is the next position).
    leaf: how many leaves come before a position.  roots: the position of every case's root.
    """

    opcodes: Sequence[int]
    right: Sequence[int]
    leaf: Sequence[int]
    roots: tuple[int, ...]
    leaves: int


def parse_kinds(data: object) -> tuple[Kind, ...]:
    """The leaf kinds from the LEAVES frame's JSON: [[[rule, [[atom, multiplier], ...]], ...one per disjunct], ...]."""
    return tuple(tuple(map(_entry, _list(kind))) for kind in _list(data))


def _list(data: object) -> list[Any]:  # JSON: what the elements are is checked where they are used
    if not isinstance(data, list):
        raise CertificateRejected("LEAVES", f"a list was expected, found {str(data)[:40]!r}")
    return data


def _entry(data: object) -> Entry:
    match data:
        case [rule, list(pairs)] if _is_int(rule, 0, len(RULES)):
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


def parse_tree(payload: bytes, cases: int, inputs: int, kinds: int) -> Tree:
    """The tree of a TREE payload.  Raises CertificateRejected where it is malformed, with the byte position."""
    opcodes = array("I")
    open_subtrees, at = cases, 0
    while open_subtrees:
        opcode, at = _varint(payload, at, inputs + kinds)
        opcodes.append(opcode)
        open_subtrees += 1 if opcode < inputs else -1
    if at != len(payload):
        raise CertificateRejected(f"TREE byte {at}", f"{len(payload) - at} bytes follow the last tree")
    right, leaf = array("I", bytes(opcodes.itemsize * len(opcodes))), array("I", [0])
    starts: list[int] = []
    for position in range(len(opcodes) - 1, -1, -1):
        if opcodes[position] < inputs:
            starts.pop()
            right[position] = starts.pop()
        starts.append(position)
    for opcode in opcodes:
        leaf.append(leaf[-1] + (opcode >= inputs))
    return Tree(opcodes, right, leaf, tuple(reversed(starts)), leaf[-1])


def _varint(payload: bytes, at: int, limit: int) -> tuple[int, int]:
    """(number, next position): LEB128 in its shortest form, below limit."""
    number = shift = 0
    while True:
        if at >= len(payload):
            raise CertificateRejected(f"TREE byte {at}", "the tree is cut off")
        byte = payload[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if number >= limit or shift > 35:
            raise CertificateRejected(f"TREE byte {at - 1}", f"an opcode below {limit} was expected")
        if byte < 0x80:
            break
    if byte == 0 and shift > 7:
        raise CertificateRejected(f"TREE byte {at - 1}", "a number is not in its shortest form")
    return number, at


def claim_of(kind: Kind, case: Case) -> Claim:
    """What a leaf of this kind claims in this case.  Raises CertificateRejected when the two do not fit."""
    if len(kind) != len(case.disjuncts):
        wanted = len(case.disjuncts)
        raise CertificateRejected("LEAVES", f"a kind for {len(kind)} disjuncts is used in a case of {wanted}")
    return tuple(combine(case, d, rule, atoms) if atoms else None for d, (rule, atoms) in enumerate(kind))


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
        scale = multiplier * lcm(*(c.denominator for _, c in (*atom.x, *atom.y)))
        for target, terms in ((row, atom.y), (xrow, atom.x)):
            for i, c in terms:
                target[i] = target.get(i, 0) + int(c * scale)
        threshold += atom.c * scale
        strict = strict or atom.strict
    return Bound(rule, tuple(sorted(row.items())), tuple(sorted(xrow.items())), threshold, strict)


@dataclass(frozen=True)
class _Pending:
    """A tree node that waits: position, number of positions in its subtree, case, box, and its parent's state."""

    position: int
    size: int
    case: int
    box: Box
    state: Any  # of the kernel
    row: int


def failing_leaves(
    query: Query,
    kinds: Sequence[Kind],
    tree: Tree,
    intermediate: tuple[int, ...],
    kernel: Kernel,
    *,
    first_only: bool = False,
) -> list[int]:
    """The leaves (numbered in preorder over all cases) that do not close; none: the property holds.

    first_only: stop at the first wave that has any.  Raises CertificateRejected for what no leaf can repair: a case
    without binary32 points, a bisection of a width-zero dimension, a kind that does not fit its case.
    """
    prover = kernel.prepare(query.network, query.rounded, intermediate)
    claims: dict[tuple[int, int], Claim] = {}
    failing: list[int] = []
    waiting = _roots(query, tree, prover.start(1))
    while waiting:
        wave = waiting[-kernel.wave :]
        del waiting[-kernel.wave :]
        state = prover.derive(prover.gather([(n.state, n.row) for n in wave]), [n.box for n in wave])
        rows, asked, numbers = [], [], []
        for row, node in enumerate(wave):
            opcode = tree.opcodes[node.position]
            if opcode < query.network.sizes[0]:
                waiting.extend(_children(query, tree, node, state, row))
                continue
            key = (opcode - query.network.sizes[0], node.case)
            if key not in claims:
                claims[key] = claim_of(kinds[key[0]], query.cases[node.case])
            rows.append(row)
            asked.append(claims[key])
            numbers.append(tree.leaf[node.position])
        closed = prover.close(state, rows, asked) if rows else []
        failing += [number for number, good in zip(numbers, closed, strict=True) if not good]
        if failing and first_only:
            break
    return sorted(failing)


def _roots(query: Query, tree: Tree, start: Any) -> list[_Pending]:  # a state of the kernel
    ends = [*tree.roots, len(tree.opcodes)][1:]
    waiting: list[_Pending] = []
    for case, (box, position, end) in enumerate(zip(query.boxes, tree.roots, ends, strict=True)):
        if box is None:
            raise CertificateRejected(f"case {case}", "no binary32 point lies in its box, so nothing can be certified")
        waiting.append(_Pending(position, end - position, case, box, start, 0))
    waiting.reverse()
    return waiting


def _children(query: Query, tree: Tree, node: _Pending, state: Any, row: int) -> list[_Pending]:
    """Both children, the larger subtree first, so that the smaller one is taken up first."""
    halves = bisect(node.box, tree.opcodes[node.position], query.rounded)
    if halves is None:
        raise CertificateRejected(f"TREE node {node.position}", "bisects an input that cannot be bisected")
    left, right = node.position + 1, tree.right[node.position]
    end = node.position + node.size
    children = [
        _Pending(left, right - left, node.case, halves[0], state, row),
        _Pending(right, end - right, node.case, halves[1], state, row),
    ]
    return sorted(children, key=lambda child: -child.size)
