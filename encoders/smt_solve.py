"""Solvers over the reals by name: `z3`, `pysmt` (its default), `pysmt:<name>`."""

from __future__ import annotations

from farkas.encoders.real_answer import RealAnswer
from farkas.encoders.real_terms import RealProblem
from farkas.encoders.smt_pysmt import DEFAULT, solve_pysmt
from farkas.encoders.smt_z3 import solve_z3
from farkas.ir.errors import FarkasError


def solve_real(problem: RealProblem, time_s: float | None = None, solver: str = "z3") -> RealAnswer:
    """The answer of the named solver; raises FarkasError for a name that means none."""
    kind, _, name = solver.partition(":")
    if kind == "pysmt":
        return solve_pysmt(problem, time_s, name or DEFAULT)
    if solver == "z3":
        return solve_z3(problem, time_s)
    raise FarkasError(
        f"no solver '{solver}' over the reals; say z3, pysmt, or pysmt:NAME with a solver that pySMT knows"
    )
