"""A query as a formula over the reals: bounds of all neurons first, then the exact encoding with what they leave open.

In `real` the formula is the query, but for irrational coefficients, which stand as an error term.  In binary32 modes
the box is the hull of the set's binary32 points and every row is widened by the error of all admissible orders: where
the formula has no solution, no execution violates, in any order; where it has one, that is a candidate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from farkas.encoders.real_terms import RealProblem
from farkas.encoders.relu_network import slots
from farkas.encoders.smt_real import Box, Proved, hull, property_problem
from farkas.engine.query import Query
from farkas.ir.core import Affine, Program
from farkas.ir.errors import FarkasError
from farkas.ir.linear import Vector
from farkas.runtime_cuda.backend import numpy_backend
from farkas.runtime_cuda.crown import ADAPTIVE, Propagator
from farkas.runtime_cuda.prepared import Prepared, prepare
from farkas.runtime_cuda.relaxation import Relaxation
from farkas.runtime_cuda.root import Effort
from farkas.specs.boxes import Grid
from farkas.specs.query import Case, Semantics


def real_problem(query: Query, *, presolve: bool = True) -> RealProblem:
    """The whole query as one formula over the reals.

    presolve False: no bounds of neurons, so that nothing but the network itself is stated (`real` only, for its errors
    come with the bounds).  Raises FarkasError for integer networks, and where the error terms are not finite.
    """
    semantics = query.semantics
    if semantics is Semantics.INT_EXACT:
        raise FarkasError("an integer network has no formula over the reals; see the format for integer networks")
    cases = [case for case in (real_case(case, semantics) for case in query.property.cases) if case is not None]
    program, inputs, monomials = query.lowered, query.property.inputs, query.property.monomials
    if not cases or not (presolve or needs_errors(program, semantics)):
        return property_problem(program, inputs, cases, Proved.nothing(program), monomials)
    proved = prove(program, hull(cases), semantics)
    if proved is None:
        raise FarkasError("no finite error bound: an execution in binary32 may overflow; use `--semantics real`")
    return property_problem(program, inputs, cases, proved, monomials)


def real_case(case: Case, semantics: Semantics) -> Case | None:
    """The case over its input set's hull; None where the set has no binary32 point."""
    if not semantics.is_binary32:
        return case
    points = Grid().box(case.lower, case.upper)
    if points.empty:
        return None
    lower, upper = (tuple(Fraction(float(v)) for v in side) for side in (points.lower, points.upper))
    return replace(case, lower=lower, upper=upper)


def needs_errors(program: Program, semantics: Semantics) -> bool:
    return any(is_inexact(node, semantics) for node in program.nodes if isinstance(node, Affine))


def is_inexact(node: Affine, semantics: Semantics) -> bool:
    """Whether an execution may differ from the stored W a + b."""
    return node.rounding.relative > 0 or (semantics.is_binary32 and node.rounding.count > 0)


def prove(
    program: Program,
    box: Box,
    semantics: Semantics,
    effort: Effort | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Proved | None:
    """Bounds of all neurons over the box, by CROWN, and the errors of inexact nodes; None where one is not finite.

    effort: of slope optimisation (none); tick: called between passes, may raise to give up.
    """
    net = prepare(program, binary32=semantics.is_binary32, backend=numpy_backend())
    lower, upper = (np.array([_outward(q, side) for q in end]) for side, end in zip((-1, 1), box, strict=True))
    if program.has_products:
        return propagated(net, lower, upper, semantics, tick=tick)
    with np.errstate(all="ignore"):  # what overflows becomes no bound and no finite error
        root = Relaxation(net, lower, upper, tick).root(effort or Effort(steps=0))
    return None if root.empty else _finite(program, root.lower, root.upper, root.ground.error, semantics)


def propagated(
    net: Prepared,
    lower: Vector,
    upper: Vector,
    semantics: Semantics,
    rules: tuple[int, ...] = (ADAPTIVE,),
    tick: Callable[[], None] = lambda: None,
) -> Proved | None:
    """The same by one pass over the box, which knows products; rules: none for intervals only."""
    unknown = np.full((1, net.width), np.inf)
    with np.errstate(all="ignore"):
        refined = Propagator(net, rules, tick).refine(lower[None], upper[None], -unknown, unknown)
    if refined.empty.any():
        return None
    low, high = (
        np.concatenate([np.zeros(0), *(side[v][0] for v in slots(net.program))])
        for side in (refined.boxes.lower, refined.boxes.upper)
    )
    return _finite(net.program, low, high, {v: e[0] for v, e in refined.boxes.error.items()}, semantics)


def _finite(
    program: Program, lower: Vector, upper: Vector, found: Mapping[int, Any], semantics: Semantics
) -> Proved | None:
    """Bounds of the neurons (N,) with the errors of inexact nodes; None where one of these is not finite."""
    nodes = [(v, node) for v, node in enumerate(program.nodes) if isinstance(node, Affine)]
    errors = {v: np.asarray(found[v]) for v, node in nodes if is_inexact(node, semantics)}
    if not all(np.isfinite(error).all() for error in errors.values()):
        return None
    return Proved(lower, upper, errors)


def _outward(q: Fraction, side: int) -> float:
    """The nearest float64 that is not inside of q, seen from the given side of the box."""
    nearest = float(q)
    if (Fraction(nearest) - q) * side >= 0:
        return nearest
    return math.nextafter(nearest, side * math.inf)
