"""The rung `lra`: a piece as a formula over the reals, bounded by CROWN first, decided by an SMT solver.

Exact where bounds by floats are not: an atom that holds by less than any float rounding, a threshold on the very
minimum, strict against weak.  In binary32 modes every row carries the error of all admissible orders, so a word covers
`f32-any` and each single order; a solution there is rounded to the grid and offered with its neighbours, and in `real`
the solution itself is offered as well.  Before the solver's own point, which lies on the edge of what violates, come
points deep inside the same linear piece of the network (`deepest`).

The piece's bounds fold the stable neurons; what is left should be a few dozen unstable ones, for z3's exact simplex
takes milliseconds a pivot on binary32 weights: seconds for a network 3-8-8-2 over its whole box, a tenth of that over
a part of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from farkas.encoders.real_answer import RealAnswer, Status
from farkas.encoders.relu_network import coefficients, slots
from farkas.encoders.smt_real import Proved, property_problem
from farkas.encoders.smt_solve import solve_real
from farkas.engine.budget import Budget, OutOfTime
from farkas.engine.deepest import deepest
from farkas.engine.ladder import Outcome, Piece, Point
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.real_query import prove
from farkas.engine.trusted import Word
from farkas.ir.errors import FarkasError
from farkas.specs.boxes import nearest32
from farkas.specs.query import Case, Semantics

NAME = "lra"
LARGEST = 100_000  # coefficients of the formula: about a second of building it
LEAST_S = 0.1  # for a small linear program, whatever is left
BINARY32 = frozenset(semantics for semantics in Semantics if semantics.is_binary32)


def lra_rung(query: Query, options: Options) -> LraRung:
    return LraRung(query, options.smt_solver)


@dataclass(frozen=True, eq=False)
class LraRung:
    """solver: `z3`, `pysmt` or `pysmt:<name>`."""

    query: Query
    solver: str = "z3"

    @property
    def name(self) -> str:
        return NAME

    def suits(self, piece: Piece) -> bool:
        if self.query.semantics is Semantics.INT_EXACT:
            return False
        program = self.query.lowered
        unknown = np.full(sum(program.sizes[v] for v in slots(program)), np.inf)
        return coefficients(program, -unknown, unknown) <= LARGEST

    def work(self, piece: Piece, budget: Budget, time_s: float) -> Outcome:
        limit = Budget.of(max(0.0, min(time_s, budget.left_s)))
        case = remaining(piece)
        try:
            proved = prove(self.query.lowered, (case.lower, case.upper), self.query.semantics, tick=limit.check)
        except OutOfTime:
            return Outcome(detail="lra: out of time while neurons were bounded")
        if proved is None:
            return Outcome(detail="lra: some node has no finite error bound")
        prop = self.query.property
        try:
            problem = property_problem(self.query.lowered, prop.inputs, [case], proved, prop.monomials)
        except FarkasError as error:
            return Outcome(detail=f"lra: {error}")
        answer = solve_real(problem, limit.left_s, self.solver)
        return self._outcome(case, piece, proved, answer, limit)

    def _outcome(self, case: Case, piece: Piece, proved: Proved, answer: RealAnswer, limit: Budget) -> Outcome:
        unstable = int(((proved.lower < 0) & (proved.upper > 0)).sum())
        asked = f"case {piece.number}, {unstable} unstable neurons"
        if answer.status is Status.UNSAT:
            through = "" if answer.solver == self.engine else f", says {answer.solver} behind pySMT"
            what = f"{asked}: no solution over the reals{through}"
            covers = BINARY32 if self.query.semantics.is_binary32 else frozenset({Semantics.REAL})
            return Outcome(word=Word((self.engine,), what), covers=covers, detail=f"lra: {what}")
        if answer.values is None:
            return Outcome(detail=f"lra: {asked}: {answer.status.value}; {answer.detail}")
        point = answer.values[: len(case.lower)]
        deep = deepest(self.query.program, case, point, max(LEAST_S, limit.left_s))
        points: tuple[Point, ...] = (point,)
        if deep is not None:
            points = (tuple(Fraction(float(v)) for v in deep), point)
        if self.query.semantics.is_binary32:
            points = tuple(dict.fromkeys(near for point in points for near in near32(case, point)))
        return Outcome(points, detail=f"lra: {asked}: a solution over the reals")

    @property
    def engine(self) -> str:
        """Who gives the word: to trust z3 is not to trust another translation into its terms."""
        return "z3" if self.solver == "z3" else "pysmt"


def remaining(piece: Piece) -> Case:
    """The piece as a case of its own."""
    disjuncts = tuple(piece.case.disjuncts[d] for d in piece.disjuncts)
    return replace(piece.case, lower=piece.lower, upper=piece.upper, disjuncts=disjuncts)


def near32(case: Case, point: Point) -> tuple[Point, ...]:
    """The nearest binary32 point inside the box, then its neighbours along one axis each."""
    centre = tuple(_clipped(nearest32(v), l, u) for v, l, u in zip(point, case.lower, case.upper, strict=True))
    found = [centre]
    for i, value in enumerate(centre):
        for toward in (-np.inf, np.inf):
            moved = Fraction(float(np.nextafter(np.float32(float(value)), np.float32(toward))))
            if case.lower[i] <= moved <= case.upper[i]:
                found.append((*centre[:i], moved, *centre[i + 1 :]))
    return tuple(found)


def _clipped(value: float | None, low: Fraction, high: Fraction) -> Fraction:
    """Ends of the box are binary32 numbers, so that the nearest number inside is one as well."""
    return low if value is None else min(max(Fraction(value), low), high)
