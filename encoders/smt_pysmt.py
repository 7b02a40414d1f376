"""Any solver that pySMT knows, on a problem over the reals: `z3` unless another installed one is named.

pySMT passes no time limit on.  Behind it z3 is interrupted as in `smt_z3`; every other solver runs in a process of its
own, which is killed at the deadline: native code need not look at any flag of ours.

Gario and Micheli, pySMT: a Solver-Agnostic Library for Fast Prototyping of SMT-Based Algorithms, SMT 2015.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from fractions import Fraction
from typing import Any, assert_never

from farkas.encoders.real_answer import RealAnswer, Status, sat_at, unknown
from farkas.encoders.real_terms import All, AnyOf, Compare, Formula, Poly, RealProblem, Relation
from farkas.encoders.smt_z3 import interrupted
from farkas.encoders.smtlib_real import logic
from farkas.ir.errors import FarkasError

DEFAULT = "z3"


def pysmt_solvers(name: str = "QF_LRA") -> tuple[str, ...]:
    """The installed solvers for a logic, by pySMT's names for them."""
    from pysmt.environment import Environment
    from pysmt.logics import get_logic_by_name

    return tuple(sorted(Environment().factory.all_solvers(logic=get_logic_by_name(name)) or ()))


def solve_pysmt(problem: RealProblem, time_s: float | None = None, name: str = DEFAULT) -> RealAnswer:
    """The answer of the named solver, within the seconds given.

    Raises FarkasError when there is no such solver for the problem's logic.
    """
    known = pysmt_solvers(logic(problem))
    if name not in known:
        raise FarkasError(
            f"pySMT knows no solver '{name}' for {logic(problem)} here; installed: {', '.join(known) or 'none'}; "
            "`pysmt-install --check` lists what it could use"
        )
    if name == DEFAULT:
        return _solve(problem, time_s, name)
    return _in_process(problem, time_s, name)


def _in_process(problem: RealProblem, time_s: float | None, name: str) -> RealAnswer:
    """`_solve` by an interpreter of its own; what it says is looked at again here."""
    command = [sys.executable, "-m", "farkas.encoders.smt_pysmt", name]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(
            command, input=pickle.dumps(problem), capture_output=True, timeout=time_s, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return unknown(name, f"{name}: out of time")
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return unknown(name, f"{name}: its process ended with {done.returncode}: {''.join(last)}")
    answer = pickle.loads(done.stdout)
    assert isinstance(answer, RealAnswer), f"a process answered with {type(answer)}"
    return answer if answer.values is None else sat_at(problem, name, answer.values)


def _solve(problem: RealProblem, time_s: float | None, name: str) -> RealAnswer:
    from pysmt.environment import Environment
    from pysmt.exceptions import PysmtException
    from pysmt.typing import REAL

    deadline = None if time_s is None else time.monotonic() + time_s
    environment = Environment()
    terms = environment.formula_manager
    names = [terms.Symbol(column.name, REAL) for column in problem.columns]
    try:
        with environment.factory.Solver(name=name, logic=logic(problem)) as solver:
            for assertion in problem.assertions:
                if deadline is not None and time.monotonic() > deadline:
                    return unknown(name, "time was up while the formula was built")
                solver.add_assertion(_formula(terms, assertion.formula, names))
            if not _check(solver, name, deadline):
                return RealAnswer(Status.UNSAT, None, name)
            return _solution(problem, solver, name, names)
    except PysmtException as error:
        return unknown(name, f"{name}: {type(error).__name__} {error}".strip())


def _solution(problem: RealProblem, solver: Any, name: str, names: list[Any]) -> RealAnswer:
    from pysmt.exceptions import PysmtException

    try:
        constants = [solver.get_value(symbol) for symbol in names]
    except PysmtException:  # some solvers' irrational numbers have no form in pySMT
        constants = []
    if constants and all(constant.is_real_constant() for constant in constants):
        return sat_at(problem, name, tuple(_rational(constant) for constant in constants))
    return RealAnswer(Status.SAT, None, name, "the solution is irrational")


def _check(solver: Any, name: str, deadline: float | None) -> bool:
    if name != DEFAULT:
        return bool(solver.solve())
    with interrupted(solver.z3.ctx, deadline):
        return bool(solver.solve())


def _formula(terms: Any, formula: Formula, names: list[Any]) -> Any:
    match formula:
        case Compare(poly=poly, relation=relation):
            left, zero = _sum(terms, poly, names), terms.Real(0)
            match relation:
                case Relation.AT_MOST:
                    return terms.LE(left, zero)
                case Relation.BELOW:
                    return terms.LT(left, zero)
                case Relation.EQUAL:
                    return terms.Equals(left, zero)
                case _:
                    assert_never(relation)
        case All(parts=parts):
            return terms.And([_formula(terms, part, names) for part in parts])
        case AnyOf(parts=parts):
            return terms.Or([_formula(terms, part, names) for part in parts])
        case _:
            assert_never(formula)


def _sum(terms: Any, poly: Poly, names: list[Any]) -> Any:
    products = [terms.Times([terms.Real(c), *(names[i] for i in monomial)]) for monomial, c in poly.terms]
    return terms.Plus(products) if products else terms.Real(0)


def _rational(constant: Any) -> Fraction:
    value = constant.constant_value()
    return Fraction(int(value.numerator), int(value.denominator))


def main() -> None:
    """Read a problem from standard input, write the answer to standard output; both pickled, by the parent only."""
    problem = pickle.loads(sys.stdin.buffer.read())
    sys.stdout.buffer.write(pickle.dumps(_solve(problem, None, sys.argv[1])))


if __name__ == "__main__":
    main()
