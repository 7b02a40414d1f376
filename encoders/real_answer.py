"""What a solver says of a problem over the reals, checked as far as it can be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from farkas.encoders.real_terms import RealProblem


class Status(Enum):
    """A solver's verdict; UNKNOWN is also what limits and failures leave."""

    SAT = "sat"
    UNSAT = "unsat"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class RealAnswer:
    """values: of all columns, where SAT and every assertion holds there in exact arithmetic, else None: a solution that
    is irrational, or a wrong one; solver: who answered; detail: why there is no more, for people."""

    status: Status
    values: tuple[Fraction, ...] | None
    solver: str
    detail: str = ""


def sat_at(problem: RealProblem, solver: str, values: tuple[Fraction, ...]) -> RealAnswer:
    """SAT with these values of all columns, or, if they are no solution, with a run from the free ones, if that is."""
    for candidate in (values, problem.run({i: values[i] for i in problem.free})):
        if problem.holds_at(candidate):
            return RealAnswer(Status.SAT, candidate, solver)
    return RealAnswer(Status.SAT, None, solver, "the solution that was given does not check")


def sat_near(problem: RealProblem, solver: str, tries: list[Mapping[int, Fraction]]) -> RealAnswer:
    """SAT with irrational values: the first of some rational inputs near them whose run is a solution, if any."""
    for point in tries:
        values = problem.run(point)
        if problem.holds_at(values):
            return RealAnswer(Status.SAT, values, solver)
    return RealAnswer(
        Status.SAT, None, solver, "the solution is irrational, and no rational point was found next to it"
    )


def unknown(solver: str, detail: str) -> RealAnswer:
    return RealAnswer(Status.UNKNOWN, None, solver, detail)
