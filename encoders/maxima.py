"""Maxima in a program: chains a + relu(b - a), found again as groups y = max(x_1, ..., x_k) or y = min(...).

Max, Min, Clip and MaxPool are lowered to pairwise maxima, each of three exact nodes (`ir.lowering`):

    d = b - a      g = relu(d)      m = a + g = max(a, b)          and      m = a - relu(a - b) = min(a, b)

A node is taken for one only if all three have exactly this form: maps that are identities or their negatives, no bias,
no rounding.  Then m *is* the maximum in every execution, over the reals and in binary32, because a program's node
without rounding is computed exactly; nothing has to be proved about where the nodes come from.

A maximum of maxima is one maximum of all their operands, component by component.  An operand goes where the bounds of
some difference d say that it never wins, or its proved range lies at or below another's least value.  What is left,
k operands, needs k binaries (`choices`) in place of k - 1 stacked pairs, whose relaxations add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from farkas.encoders.ranges import Operands, Range
from farkas.ir.core import Affine, Program, Relu, Rounding, Term, sources
from farkas.ir.linear import Diagonal, Selection

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Pair:
    """One pairwise maximum (sign 1) or minimum (sign -1) of nodes; difference: d, whose sign tells which one it is."""

    first: int
    second: int
    difference: int
    sign: int

    @property
    def operands(self) -> Operands:
        return self.first, self.second, self.sign


def find_pairs(program: Program) -> dict[int, Pair]:
    """Every node that is a pairwise maximum or minimum."""
    found = {v: _pair(program, v) for v in range(len(program.nodes))}
    return {v: pair for v, pair in found.items() if pair is not None}


def _pair(program: Program, v: int) -> Pair | None:
    """m = a + s relu(s b - s a) with s = 1 or -1."""
    total = _exact_terms(program, v)
    if total is None or _factor(total[0]) != 1:
        return None
    first, gain = total[0].source, program.nodes[total[1].source]
    sign = _factor(total[1])
    if not isinstance(gain, Relu) or sign == 0:
        return None
    difference = _exact_terms(program, gain.source)
    if difference is None or [_factor(term) for term in difference] != [-sign, sign] or difference[0].source != first:
        return None
    return Pair(first, difference[1].source, gain.source, sign)


def _exact_terms(program: Program, v: int) -> tuple[Term, Term] | None:
    """The two terms of a node that adds two vectors without bias and rounding."""
    node = program.nodes[v]
    if not isinstance(node, Affine) or len(node.terms) != 2 or node.rounding != Rounding():
        return None
    if np.asarray(node.bias).any() or np.asarray(node.magnitude).any():
        return None
    return node.terms[0], node.terms[1]


def _factor(term: Term) -> int:
    """1 for the identity, -1 for its negative, 0 for any other map."""
    if isinstance(term.map, Selection):
        return 1 if term.map.is_identity else 0
    if isinstance(term.map, Diagonal):
        factors = np.asarray(term.map.factors)
        return 1 if (factors == 1).all() else -1 if (factors == -1).all() else 0
    return 0


@dataclass(frozen=True, eq=False)
class Maximum:
    """A node as the maximum (sign 1) or minimum (-1) of others: operand p counts at the components kept[p] (size,)."""

    operands: tuple[int, ...]
    kept: Flags
    sign: int


def maximum(v: int, pairs: Mapping[int, Pair], known: Mapping[int, Range], ranges: list[Range]) -> Maximum:
    """The operands of node v that may be its value; known: proved bounds of the differences, ranges: of all nodes."""
    sign = pairs[v].sign
    masks: dict[int, Flags] = {}

    def expand(node: int, mask: Flags) -> None:
        pair = pairs.get(node)
        if pair is None or pair.sign != sign:
            masks[node] = masks.get(node, np.zeros_like(mask)) | mask
            return
        low, high = known[pair.difference]
        never_second = high <= 0
        expand(pair.first, mask & (never_second | (low < 0)))
        expand(pair.second, mask & ~never_second)

    expand(v, np.ones(len(ranges[v][0]), dtype=bool))
    operands = tuple(sorted(masks))
    kept = np.array([masks[u] for u in operands])
    low = np.array([ranges[u][0] if sign > 0 else -ranges[u][1] for u in operands])
    high = np.array([ranges[u][1] if sign > 0 else -ranges[u][0] for u in operands])
    best = np.where(kept, low, -np.inf).argmax(axis=0)
    floor = np.take_along_axis(low, best[None], axis=0)
    is_best = np.arange(len(operands))[:, None] == best
    return Maximum(operands, kept & (is_best | (high > floor)), sign)


def still_needed(program: Program, groups: Mapping[int, Maximum]) -> set[int]:
    """The nodes that the output depends on when maxima read their operands and not their chains; the input always."""
    needed = {0, program.output}
    for v in range(program.output, -1, -1):
        if v in needed:
            needed.update(groups[v].operands if v in groups else sources(program.nodes[v]))
    return needed
