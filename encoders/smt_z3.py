"""z3 on a problem over the reals, natively: exact rational simplex under a search over phases, cells for products.

A context of its own for every call, so that threads do not meet.  The time limit holds: z3's own counts from its
`check` and is looked at rarely inside long pivots, so a timer interrupts the context as well, again and again.

de Moura and Bjorner, Z3: An Efficient SMT Solver, TACAS 2008; Dutertre and de Moura, A Fast Linear-Arithmetic Solver
for DPLL(T), CAV 2006.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, assert_never

from farkas.encoders.real_answer import RealAnswer, Status, sat_at, sat_near, unknown
from farkas.encoders.real_terms import All, AnyOf, Compare, Formula, Poly, RealProblem, Relation
from farkas.encoders.smtlib_real import logic

NAME = "z3"
DIGITS = (8, 20, 60)  # of rational approximations to irrational solutions
AGAIN_S = 0.1


def solve_z3(problem: RealProblem, time_s: float | None = None) -> RealAnswer:
    """The answer, within the seconds given (and some hundredths)."""
    import z3

    deadline = None if time_s is None else time.monotonic() + time_s
    context = z3.Context()
    solver = z3.SolverFor(logic(problem), ctx=context)
    names = [z3.Real(column.name, context) for column in problem.columns]
    for assertion in problem.assertions:
        if deadline is not None and time.monotonic() > deadline:
            return unknown(NAME, "time was up while the formula was built")
        solver.add(_formula(z3, context, assertion.formula, names))
    if deadline is not None:
        solver.set("timeout", max(1, round((deadline - time.monotonic()) * 1000)))
    try:
        with interrupted(context, deadline):
            result = solver.check()
    except z3.Z3Exception as error:
        return unknown(NAME, f"z3: {error}")
    if result == z3.unsat:
        return RealAnswer(Status.UNSAT, None, NAME)
    if result == z3.sat:
        return _solution(z3, problem, solver.model(), names)
    return unknown(NAME, f"z3: {solver.reason_unknown()}")


@contextmanager
def interrupted(context: Any, deadline: float | None) -> Iterator[None]:
    """Interrupt whatever runs in the context from the deadline on."""
    done = threading.Event()

    def watch() -> None:
        if deadline is not None and not done.wait(max(0.0, deadline - time.monotonic())):
            while not done.wait(AGAIN_S):
                context.interrupt()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _formula(z3: Any, context: Any, formula: Formula, names: list[Any]) -> Any:
    match formula:
        case Compare(poly=poly, relation=relation):
            left, zero = _sum(z3, context, poly, names), z3.RealVal(0, context)
            match relation:
                case Relation.AT_MOST:
                    return left <= zero
                case Relation.BELOW:
                    return left < zero
                case Relation.EQUAL:
                    return left == zero
                case _:
                    assert_never(relation)
        case All(parts=parts):
            return z3.And(*(_formula(z3, context, part, names) for part in parts), z3.BoolVal(True, context))
        case AnyOf(parts=parts):
            return z3.Or(*(_formula(z3, context, part, names) for part in parts), z3.BoolVal(False, context))
        case _:
            assert_never(formula)


def _sum(z3: Any, context: Any, poly: Poly, names: list[Any]) -> Any:
    total = [z3.RealVal(0, context)]
    for monomial, c in poly.terms:
        product = z3.RealVal(f"{c.numerator}/{c.denominator}", context)
        for i in monomial:
            product = product * names[i]
        total.append(product)
    return z3.Sum(*total)


def _solution(z3: Any, problem: RealProblem, model: Any, names: list[Any]) -> RealAnswer:
    found = [model.eval(name, model_completion=True) for name in names]
    if all(z3.is_rational_value(value) for value in found):
        return sat_at(problem, NAME, tuple(_rational(value) for value in found))
    tries: list[Mapping[int, Fraction]] = []
    for digits in DIGITS:
        near = {i: found[i] if z3.is_rational_value(found[i]) else found[i].approx(digits) for i in problem.free}
        tries.append({i: _rational(value) for i, value in near.items()})
    return sat_near(problem, NAME, tries)


def _rational(value: Any) -> Fraction:
    return Fraction(value.numerator_as_long(), value.denominator_as_long())
