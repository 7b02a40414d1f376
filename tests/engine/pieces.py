"""An exact decision procedure for tiny networks: the linear pieces of a program over a box of one or two inputs.

The box is a convex polygon.  Going through the nodes, every neuron cuts the polygons on which it changes its sign, so
that on each remaining polygon the network is one affine map.  An affine function has its minimum over a polygon at a
vertex, and a conjunction of atoms is decided by clipping.  All in `Fraction`; nothing is shared with bound propagation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from farkas.ir.algebra import exact
from farkas.ir.core import Affine, Input, Program, Relu
from farkas.specs.query import Atom, Case

Point = tuple[Fraction, ...]
Forms = npt.NDArray[Any]  # (size, inputs + 1) of Fraction: coefficients and constant


@dataclass(frozen=True)
class Piece:
    """A polygon on which every node is affine: its vertices in order, and the forms of each node."""

    vertices: tuple[Point, ...]
    forms: tuple[Forms, ...]


def at(form: Forms, point: Point) -> Fraction:
    """The value of one affine form."""
    total: Fraction = form[-1]
    for a, x in zip(form, point, strict=False):
        total += a * x
    return total


def clipped(vertices: Sequence[Point], form: Forms) -> tuple[Point, ...]:
    """The part of a convex polygon (or segment, or point) where form >= 0 (Sutherland and Hodgman)."""
    values = [at(form, p) for p in vertices]
    kept: list[Point] = []
    for i, (p, v) in enumerate(zip(vertices, values, strict=True)):
        q, w = vertices[i - 1], values[i - 1]
        if v * w < 0:
            t = w / (w - v)
            kept.append(tuple(a + t * (b - a) for a, b in zip(q, p, strict=True)))
        if v >= 0:
            kept.append(p)
    return tuple(dict.fromkeys(kept))


def rectangle(lower: Sequence[Fraction], upper: Sequence[Fraction]) -> tuple[Point, ...]:
    """The corners of a box of one or two inputs, in order; a flat box has fewer."""
    if len(lower) == 1:
        corners: list[Point] = [(lower[0],), (upper[0],)]
    else:
        (a, b), (c, d) = lower, upper
        corners = [(a, b), (c, b), (c, d), (a, d)]
    return tuple(dict.fromkeys(corners))


def pieces(program: Program, lower: Sequence[Fraction], upper: Sequence[Fraction]) -> Iterator[Piece]:
    """The linear pieces over the box; together they cover it."""
    inputs = len(lower)
    identity = np.array([[Fraction(i == j) for j in range(inputs + 1)] for i in range(inputs)], dtype=object)
    yield from _from_node(program, 1, rectangle(lower, upper), (identity,))


def _from_node(program: Program, v: int, vertices: tuple[Point, ...], forms: tuple[Forms, ...]) -> Iterator[Piece]:
    if v == len(program.nodes):
        yield Piece(vertices, forms)
        return
    node = program.nodes[v]
    match node:
        case Affine():
            total: Any = np.full((program.sizes[v], forms[0].shape[1]), Fraction(0), dtype=object)
            total[:, -1] = exact(node.bias)
            for term in node.terms:
                total = total + exact(term.map.dense()) @ forms[term.source]
            yield from _from_node(program, v + 1, vertices, (*forms, total))
        case Relu(source=source):
            for part, rows in _signs(vertices, forms[source]):
                yield from _from_node(program, v + 1, part, (*forms, rows))
        case Input():
            raise AssertionError("the input is node 0")


def _signs(vertices: tuple[Point, ...], forms: Forms) -> Iterator[tuple[tuple[Point, ...], Forms]]:
    """The polygon cut where the forms change their sign, with their positive parts."""
    parts = [(vertices, forms)]
    for j in range(len(forms)):
        cut = []
        for part, rows in parts:
            values = [at(forms[j], p) for p in part]
            if max(values) > 0:
                cut.append((clipped(part, forms[j]) if min(values) < 0 else part, rows))
            if min(values) < 0 or max(values) <= 0:
                zeroed = rows.copy()
                zeroed[j] = Fraction(0)
                cut.append((clipped(part, -forms[j]) if max(values) > 0 else part, zeroed))
        parts = cut
    yield from parts


def minimum(
    program: Program, lower: Sequence[Fraction], upper: Sequence[Fraction], y: Sequence[Fraction], x: Sequence[Fraction]
) -> Fraction:
    """The exact minimum of y . output + x . input over the box."""
    found = []
    for piece in pieces(program, lower, upper):
        form = _row(piece, program, y, x)
        found += [at(form, p) for p in piece.vertices]
    return min(found)


def _row(piece: Piece, program: Program, y: Sequence[Fraction], x: Sequence[Fraction]) -> Forms:
    form = np.array([*x, Fraction(0)], dtype=object) if len(x) else np.zeros_like(piece.forms[0][0]) + Fraction(0)
    for b, row in zip(y, piece.forms[program.output], strict=True):
        form = form + b * row
    return np.asarray(form)


def _excess(piece: Piece, program: Program, atom: Atom) -> Forms:
    """The form that the atom wants <= 0 (< 0 when strict)."""
    form = np.array([Fraction(0)] * piece.forms[0].shape[1], dtype=object)
    form[-1] = -atom.c
    for i, a in atom.x:
        form[i] += a
    for j, b in atom.y:
        form = form + b * piece.forms[program.output][j]
    return form


def witness(program: Program, case: Case) -> Point | None:
    """A point of the case's box that reaches its unsafe region over the reals, or None: there is none."""
    for piece in pieces(program, case.lower, case.upper):
        for atoms in case.disjuncts:
            point = _common(piece, program, atoms)
            if point is not None:
                return point
    return None


def _common(piece: Piece, program: Program, atoms: Sequence[Atom]) -> Point | None:
    """A point of the polygon where all atoms hold.

    The mean of the vertices of the closed region satisfies each strict atom that some vertex satisfies.
    """
    vertices = piece.vertices
    forms = [_excess(piece, program, atom) for atom in atoms]
    for form in forms:
        vertices = clipped(vertices, -form)
        if not vertices:
            return None
    mean = tuple(sum(values, Fraction(0)) / len(vertices) for values in zip(*vertices, strict=True))
    for atom, form in zip(atoms, forms, strict=True):
        if atom.strict and not at(form, mean) < 0:
            return None
    return mean
