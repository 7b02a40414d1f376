"""OR-Tools MathOpt with the solvers that its wheel brings: SCIP, CP-SAT and HiGHS; the same call as `highs.solve_milp`.

Everything that knows MathOpt is in this file; it is imported when a model is solved (0.4 s).  The model goes over as
one message of arrays.  What the solvers take differs, and what one does not take is refused (the table in `milp`):

    a cutoff is a row of the model: the parameter for it ends in a ValueError of MathOpt's own, which does not know
    the limit that the solvers then report (9.15)
    the target is reached in the callback of new solutions, which ends the solve: SCIP, CP-SAT
    CP-SAT needs integer columns only (MathOpt would round the others to a grid of its own)
    a watch is asked by a thread of its own fifty times a second, and interrupts the solve: also in presolve and
    inside a linear program; SCIP does not tell its bound meanwhile, so that only STOP ends it

SCIP's event handler of OR-Tools 9.15 complains about SCIPcatchEvent on standard error whenever a callback or an
interrupt is registered; both work all the same, and the two lines are dropped.  HiGHS's wrong optima (see `highs`) are
FAILED here.
"""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from farkas.encoders.highs import NOISE, SPARSIFY
from farkas.encoders.linear_model import Group, LinearModel, ModelBuilder, rows_of
from farkas.encoders.milp import STOP, Improved, MilpLimits, MilpResult, Progress, Status, Watch
from farkas.encoders.quiet import without_lines
from farkas.ir.linear import Vector

PERIOD_S = 0.02  # between two questions to a watch
SCIP_NOISE = (b"SCIPcatchEvent", b"gscip_event_handler.cc")
TYPES = {"gscip": "GSCIP", "cp-sat": "CP_SAT", "mathopt-highs": "HIGHS"}


def solve_milp(
    model: LinearModel,
    limits: MilpLimits,
    improved: Improved | None = None,
    start: Vector | None = None,
    watch: Watch | None = None,
    *,
    solver: str = "gscip",
) -> MilpResult:
    """Minimise a model with binaries (see `milp.solve`); raises ValueError for what the solver cannot do."""
    _check(model, limits, improved, watch, solver)
    from ortools.math_opt.python import mathopt
    from ortools.util.python import solve_interrupter

    work = _Solve(model.cost, limits, improved, watch, solver, mathopt)
    stated = mathopt.Model.from_model_proto(_message(model if limits.cutoff is None else _cut(model, limits.cutoff)))
    arguments: dict[str, Any] = {"params": work.parameters()}
    if start is not None:
        arguments["model_params"] = _hint(mathopt, stated, start)
    if improved is not None or limits.target is not None or (watch is not None and solver == "cp-sat"):
        arguments |= work.callback()
    if watch is not None:
        work.interrupter = arguments["interrupter"] = solve_interrupter.SolveInterrupter()
    with work.watched(), without_lines(1, NOISE), without_lines(2, SCIP_NOISE):
        found = mathopt.solve(stated, mathopt.SolverType[TYPES[solver]], **arguments)
    return work.result(found)


def _check(model: LinearModel, limits: MilpLimits, improved: Improved | None, watch: Watch | None, solver: str) -> None:
    """Refuse what the solver would ignore or do wrongly."""
    if solver not in TYPES:
        raise ValueError(f"MathOpt has no solver '{solver}'; known: {', '.join(TYPES)}")
    if solver == "cp-sat" and not model.integral.all():
        raise ValueError(f"CP-SAT needs integer columns; {int((~model.integral).sum())} of them are continuous")
    refused: dict[str, dict[str, object]] = {
        "cp-sat": {"a node limit": limits.nodes},
        "mathopt-highs": {"a target": limits.target, "callbacks": improved or watch},
    }
    for what, value in refused.get(solver, {}).items():
        if value is not None:
            raise ValueError(f"{solver} takes no such thing as {what}")


def _cut(model: LinearModel, cutoff: float) -> LinearModel:
    """The model with a row that says cost x <= cutoff."""
    builder = ModelBuilder.of(model)
    used = np.flatnonzero(model.cost)
    builder.add_rows(Group("cutoff", -1, (0,)), rows_of(used[None, :], model.cost[None, used]), -np.inf, cutoff)
    return builder.build()


def _message(model: LinearModel) -> Any:
    """The model as MathOpt's message."""
    from ortools.math_opt import model_pb2

    out = model_pb2.ModelProto()
    n, m = len(model.lower), len(model.row_lower)
    columns, rows, matrix = out.variables, out.linear_constraints, out.linear_constraint_matrix
    columns.ids.extend(range(n))
    columns.lower_bounds.extend(model.lower.tolist())
    columns.upper_bounds.extend(model.upper.tolist())
    columns.integers.extend(model.integral.tolist())
    used = np.flatnonzero(model.cost)
    out.objective.linear_coefficients.ids.extend(used.tolist())
    out.objective.linear_coefficients.values.extend(model.cost[used].tolist())
    rows.ids.extend(range(m))
    rows.lower_bounds.extend(model.row_lower.tolist())
    rows.upper_bounds.extend(model.row_upper.tolist())
    owner = np.repeat(np.arange(m), np.diff(model.rows.start))
    order = np.lexsort((model.rows.index, owner))
    matrix.row_ids.extend(owner[order].tolist())
    matrix.column_ids.extend(model.rows.index[order].tolist())
    matrix.coefficients.extend(model.rows.values[order].tolist())
    return out


def _hint(mathopt: Any, stated: Any, start: Vector) -> Any:
    known = np.flatnonzero(~np.isnan(start)).tolist()
    values = {stated.get_variable(j): float(start[j]) for j in known}
    return mathopt.ModelSolveParameters(solution_hints=[mathopt.SolutionHint(variable_values=values)])


@dataclass(eq=False)
class _Solve:
    """One solve: its parameters, what is known while it runs, and its result."""

    cost: Vector
    limits: MilpLimits
    improved: Improved | None
    watch: Watch | None
    solver: str
    mathopt: Any
    interrupter: Any = None
    trouble: Exception | None = None
    best: float = np.inf
    bound: float = -np.inf
    is_reached: bool = False
    began: float = field(default_factory=time.monotonic)

    def parameters(self) -> Any:
        parameters = self.mathopt.SolveParameters(relative_gap_tolerance=0.0, random_seed=0)
        if self.limits.time_s is not None:
            parameters.time_limit = datetime.timedelta(seconds=max(self.limits.time_s, 0.0))
        parameters.node_limit = self.limits.nodes
        if self.solver == "mathopt-highs":
            parameters.highs.int_options["threads"] = 1
            parameters.highs.int_options["presolve_rule_off"] = SPARSIFY
        else:
            parameters.threads = 1
        return parameters

    def callback(self) -> dict[str, Any]:
        events = {self.mathopt.Event.MIP_SOLUTION}
        if self.solver == "cp-sat":
            events.add(self.mathopt.Event.MIP)
        return {"callback_reg": self.mathopt.CallbackRegistration(events=events), "cb": self._event}

    def _event(self, data: Any) -> Any:
        """A new solution, or a new bound (CP-SAT)."""
        stats = data.mip_stats
        if stats is not None and stats.HasField("dual_bound"):
            self.bound = float(stats.dual_bound)
        if data.solution is not None:
            point = _point(data.solution)
            objective = float(self.cost @ point)
            if objective < self.best:
                self.best = objective
                if self.improved is not None:
                    self.improved(point)
        self.is_reached = self.limits.target is not None and self.best <= self.limits.target
        return self.mathopt.CallbackResult(terminate=self.is_reached)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Ask the watch in a thread of its own until the solve is over."""
        if self.watch is None:
            yield
            return
        over = threading.Event()
        thread = threading.Thread(target=self._ask, args=(self.watch, over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        if self.trouble is not None:
            raise self.trouble

    def _ask(self, watch: Watch, over: threading.Event) -> None:
        cutoff = np.inf if self.limits.cutoff is None else self.limits.cutoff
        while not over.wait(PERIOD_S):
            try:
                new = watch(Progress(time.monotonic() - self.began, 0, self.best, self.bound))
            except Exception as error:  # noqa: BLE001  # the caller's, raised again in the caller's thread
                self.trouble, new = error, STOP
            cutoff = cutoff if new is None else min(cutoff, new)
            self.is_reached = cutoff > STOP and self.bound >= cutoff
            if self.is_reached or cutoff == STOP:
                self.interrupter.interrupt()
                return

    def result(self, found: Any) -> MilpResult:
        point = (
            _point(found.solutions[0].primal_solution.variable_values) if found.has_primal_feasible_solution() else None
        )
        objective = np.inf if point is None else float(self.cost @ point)
        bound = max(self.bound, float(found.termination.objective_bounds.dual_bound))
        status = self._status(found.termination)
        if status is Status.OPTIMAL and objective - bound > 1e-5 * max(1.0, abs(objective)):
            status = Status.FAILED
        if status is Status.INFEASIBLE:
            bound = np.inf
            if self.limits.cutoff is not None:
                status, bound = Status.TARGET, self.limits.cutoff
        return MilpResult(status, objective, bound, point, int(found.solve_stats.node_count))

    def _status(self, termination: Any) -> Status:
        reasons = self.mathopt.TerminationReason
        if self.is_reached:
            return Status.TARGET
        if termination.reason in (reasons.FEASIBLE, reasons.NO_SOLUTION_FOUND):
            return Status.LIMIT
        kinds = {reasons.OPTIMAL: Status.OPTIMAL, reasons.INFEASIBLE: Status.INFEASIBLE}
        return kinds.get(termination.reason, Status.FAILED)


def _point(values: Any) -> Vector:
    """The values of all columns, in order."""
    return np.array([value for _, value in sorted(values.items(), key=lambda item: item[0].id)])
