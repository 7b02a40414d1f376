"""SMT with the floating-point theory: a piece as a formula in one order, for the solvers that can read it.

The last resort of the ladder: exact for its order whatever the margin, and out of breath early.  Raw formulas over full
boxes were decided within 60 s up to 5 inputs and 5 neurons (bitwuzla) or 2 and 5 (cvc5, z3); small boxes carry further,
for the intervals in the formula then fix most neurons.  So networks above LARGEST multiplications are not tried.

A model is a candidate for replay.  An `unsat` is the word of the solver that gave it, or of two that agree, about the
one order of the formula: it never covers `f32-any`.  Formulas are about runs with finite outputs, so it takes
float-exact intervals that show that there are no others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from farkas.encoders.fp_atoms import NoExactAtom
from farkas.encoders.fp_smtlib import Formula
from farkas.encoders.fp_solvers import Decision, Limits, decide_fp
from farkas.engine.budget import Budget
from farkas.engine.ladder import Outcome, Piece
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.trusted import Word
from farkas.ir.core import Affine
from farkas.ir.errors import UnsupportedOperator
from farkas.ir.execute import execute
from farkas.specs.query import Case, Semantics

NAME = "smt-fp"
LARGEST = 400  # multiplications
PROCESSES = 2


def smt_fp_rung(query: Query, options: Options) -> SmtFpRung:
    return SmtFpRung(query, options.memory_bytes, options.trust)


@dataclass(eq=False)
class SmtFpRung:
    """The rung `smt-fp` for one query; memory_bytes: of all solvers together; trust: whose word the user takes."""

    query: Query
    memory_bytes: int
    trust: frozenset[str]
    name: str = NAME

    @cached_property
    def order(self) -> str | None:
        """The declared order; in `f32-any` that of onnxruntime, or seq-fma where it is not defined."""
        declared = self.query.semantics.order
        wanted = ("mlas-k256-fma", "seq-fma") if declared is None else (declared,)
        return next((order for order in wanted if self._runs(order)), None)

    def _runs(self, order: str) -> bool:
        try:
            execute(self.query.graph, np.zeros(self.query.property.inputs, dtype=np.float32), order)
        except UnsupportedOperator:
            return False
        return True

    @cached_property
    def multiplications(self) -> int:
        """Of one run, zeros of dense layers included."""
        affine = [node for node in self.query.program.nodes if isinstance(node, Affine)]
        return sum(term.map.rows * term.map.cols for node in affine for term in node.terms)

    def suits(self, piece: Piece) -> bool:
        return self.query.semantics.is_binary32 and self.multiplications <= LARGEST and self.order is not None

    def work(self, piece: Piece, budget: Budget, time_s: float) -> Outcome:
        if self.order is None:
            return Outcome(detail="no declared order runs this network")
        case = Case(piece.lower, piece.upper, tuple(piece.case.disjuncts[d] for d in piece.disjuncts))
        limits = Limits(min(time_s, budget.left_s), PROCESSES, self.memory_bytes)
        try:
            decision = decide_fp(self.query.graph, case, self.order, limits, trusted=self.trust)
        except (NoExactAtom, UnsupportedOperator) as error:
            return Outcome(detail=str(error))
        return self._outcome(piece, decision)

    def _is_finite(self, piece: Piece) -> bool:
        """Whether every run of the piece has finite outputs: formulas leave out runs that have not."""
        assert self.order is not None, "only pieces that an order runs are asked about"
        formula = Formula.of(self.query.graph, Case(piece.lower, piece.upper, ()), self.order, presolve=True)
        return all(output.is_number for output in formula.outputs)

    def _outcome(self, piece: Piece, decision: Decision) -> Outcome:
        detail = self._detail(decision)
        if decision.point is not None:
            return Outcome(points=(tuple(Fraction(float(v)) for v in decision.point),), detail=detail)
        if decision.answer == "unsat" and not self._is_finite(piece):
            return Outcome(detail=f"{detail}; an output may overflow, and runs in which one does are not refuted")
        if decision.answer == "unsat":
            covers = frozenset({Semantics(f"f32-order:{self.order}")})
            word = Word(decision.engines, f"a box of case {piece.number}: its formula in {self.order} is unsatisfiable")
            return Outcome(word=word, covers=covers, detail=detail)
        return Outcome(detail=detail)

    def _detail(self, decision: Decision) -> str:
        """Who said what, and who is not there."""
        asked = sorted({run.engine for run in decision.runs})
        seconds = sum(run.cpu_s for run in decision.runs)
        said = f"{decision.answer} by {', '.join(decision.engines) or 'none of ' + ', '.join(asked)}"
        absent = f"; not installed: {', '.join(decision.missing)} (extra `smt`)" if decision.missing else ""
        return f"{said} in {self.order}, {math.ceil(seconds * 1000)} ms of solvers' time{absent}"
