"""Proved ranges of all components of all nodes, from those of the inputs and of the neurons: constants of big-M rows.

Proved bounds are given for what a Relu reads.  Everything else is an affine function of that, up to the node's error
term, so its interval follows from the intervals of its operands in one product; every result is rounded outward, by
the a-priori bound of float64 products (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

import numpy as np

from farkas.ir.core import Affine, Input, Product, Program, Relu
from farkas.ir.linear import Selection, Vector
from farkas.ir.products import refused

Range = tuple[Vector, Vector]
Operands = tuple[int, int, int]  # two nodes and a sign
TINY = 2.0**-1000  # above what underflow loses


def node_ranges(
    program: Program,
    x_lower: Vector,
    x_upper: Vector,
    known: Mapping[int, Range],
    errors: Mapping[int, Vector],
    maxima: Mapping[int, Operands] | None = None,
) -> list[Range]:
    """Per node (lowest, highest), each (n,); known: proved bounds of some Affine nodes; errors: E of Affine nodes.

    maxima: Affine nodes that are the maximum (sign 1) or minimum (sign -1) of two nodes.
    """
    found: list[Range] = []
    for v, node in enumerate(program.nodes):
        match node:
            case Input():
                found.append((np.asarray(x_lower, dtype=np.float64), np.asarray(x_upper, dtype=np.float64)))
            case Affine():
                found.append(_both(known.get(v), _affine(node, found, errors.get(v))))
                if maxima and v in maxima:
                    found[v] = _both(_extreme(*maxima[v], found), found[v])
            case Relu(source=source):
                found.append((np.maximum(found[source][0], 0.0), np.maximum(found[source][1], 0.0)))
            case Product():
                raise refused("a linear model")
            case _:
                assert_never(node)
    return found


def _affine(node: Affine, found: list[Range], error: Vector | None) -> Range:
    """W [l, u] + b + [-E, E]: W mid +- |W| radius, and what the float64 sums may be off."""
    bias = np.asarray(node.bias)
    extra = np.zeros(len(bias)) if error is None else np.asarray(error)
    if len(node.terms) == 1 and isinstance(node.terms[0].map, Selection) and not (bias.any() or extra.any()):
        moved, operand = node.terms[0].map, found[node.terms[0].source]
        return moved.mv(operand[0]), moved.mv(operand[1])  # data movement rounds nothing
    mid, radius, size, count = bias, extra, abs(bias) + extra, 8
    for term in node.terms:
        l, u = found[term.source]
        m = 0.5 * (l + u)
        r = np.maximum(u - m, m - l)  # within a factor 1 + 2^-53: in the slack below
        absolute = term.map.absolute()
        mid, radius = mid + term.map.mv(m), radius + absolute.mv(r)
        size = size + absolute.mv(abs(m) + r)
        count += term.map.cols + 4
    slack = size * (count * 2.0**-51) + TINY
    return mid - radius - slack, mid + radius + slack


def _extreme(first: int, second: int, sign: int, found: list[Range]) -> Range:
    """The range of the larger (sign 1) or the smaller (sign -1) of two nodes."""
    pick = np.maximum if sign > 0 else np.minimum
    return pick(found[first][0], found[second][0]), pick(found[first][1], found[second][1])


def _both(known: Range | None, derived: Range) -> Range:
    """The intersection; the known range where they are disjoint, for then there is no execution at all."""
    if known is None:
        return derived
    lower, upper = np.maximum(known[0], derived[0]), np.minimum(known[1], derived[1])
    empty = lower > upper
    return np.where(empty, known[0], lower), np.where(empty, known[1], upper)
