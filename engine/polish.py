"""A witness made robust: pushed away from the boundary, and marked when it violates in every admissible execution.

The margin at a point is compared with the any-order rounding error at that very point: bounds over the box [x, x]
contain every admissible execution, so when even their upper ends satisfy the atoms, no order escapes.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from farkas.engine.bab import Candidate
from farkas.engine.budget import Budget, OutOfTime
from farkas.engine.falsify import Attack
from farkas.engine.problem import row_scale
from farkas.engine.replay import Replay, Replayer
from farkas.runtime_cuda.crown import ADAPTIVE, Propagator
from farkas.runtime_cuda.prepared import Prepared
from farkas.specs.query import Semantics

STEPS = 8
SECONDS = 1.0  # a wider margin is worth no more than this; the witness stands without it


def polish(replayer: Replayer, net: Prepared, attack: Attack, found: Replay, budget: Budget) -> Replay:
    """`found`, or a witness near it that violates in any order; tagged accordingly."""
    if found.semantics is Semantics.REAL:
        return found
    limit = Budget.of(max(0.0, min(SECONDS, budget.left_s)))
    try:
        return _polish(replayer, net, attack, found, limit)
    except OutOfTime:
        return found


def _polish(replayer: Replayer, net: Prepared, attack: Attack, found: Replay, budget: Budget) -> Replay:
    if violates_any_order(net, found, budget):
        return replace(found, any_order=True)
    place = found.place
    member = attack.family.members.index(place.number)
    point = np.array([float(v) for v in place.inputs])
    start = [Candidate(member, point, 0.0)]
    for better in attack.descend(start, STEPS, budget):
        for candidate in better[:1]:
            if candidate.slack <= 0:
                continue
            again = replayer.attempt(place.number, place.case, candidate.point.astype(np.float32).astype(np.float64))
            if again is not None and violates_any_order(net, again, budget):
                return replace(again, any_order=True)
    return found


def violates_any_order(net: Prepared, found: Replay, budget: Budget) -> bool:
    """Whether every admissible execution of the witness makes all atoms of its disjunct true; raises OutOfTime."""
    point = np.array([[float(v) for v in found.place.inputs]])
    unknown = np.full((1, net.width), np.inf)
    worker = Propagator(net, tick=budget.check)
    asarray = net.backend.asarray
    refined = worker.refine(asarray(point), asarray(point), asarray(-unknown), asarray(unknown))
    for atom in found.place.case.disjuncts[found.disjunct]:
        scale = row_scale(atom)
        y_row, x_row = np.zeros((1, net.program.output_size)), np.zeros((1, net.program.input_size))
        for j, b in atom.y:
            y_row[0, j] = -float(b * scale)
        for i, a in atom.x:
            x_row[0, i] = -float(a * scale)
        rows = worker.bound(refined.boxes, asarray(y_row), asarray(x_row) if atom.x else None, (ADAPTIVE,))
        # -(a.x + b.y) >= value everywhere, so the atom holds in every execution once -value < c.
        value = float(net.backend.to_numpy(rows.value)[0, 0, 0])
        if not np.isfinite(value) or not -Fraction(value) < atom.c * scale:
            return False
    return True
