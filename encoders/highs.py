"""HiGHS behind two calls: `RelaxedSolver`, an LP that is solved again and again after small changes, and `solve_milp`.

Everything that knows highspy is in this file; it is imported when a solver is made.  What comes out are floats that
prove nothing: primal points to try, dual values to turn into proofs elsewhere.  HiGHS takes coefficients below 1e-9
for zero.

The LP runs the dual simplex without presolve: a change of bounds or of a few coefficients leaves the last basis nearly
dual feasible, and a ray of an infeasible model is at hand.  Time limits are HiGHS's own, which counts the seconds of
all runs of an object together, hence the addition; its thread pool is one thread.

The MILP runs without the presolve rule that makes rows sparser: it looks at no clock.  On big-M models of dense
networks with 63 thousand, 105 thousand and 218 thousand coefficients and a limit of 0.3 s it went on for 1.1 s, 1.9 s
and 6.4 s of processor time (HiGHS 1.12, 2026-11-20), 61 s with 563 thousand; without it for 0.2 s.

Huangfu and Hall, Parallelizing the dual revised simplex method, Mathematical Programming Computation 10, 2018.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from farkas.encoders.linear_model import LinearModel
from farkas.encoders.milp import STOP, Improved, MilpLimits, MilpResult, Progress, Status, Watch
from farkas.encoders.quiet import without_lines
from farkas.ir.linear import Indices, Vector

Flags = npt.NDArray[np.bool_]

SPARSIFY = 1 << 14  # HiGHS's number of the presolve rule
NOISE = (b"transformNewIntegerFeasibleSolution",)
__all__ = ["MilpLimits", "MilpResult", "RelaxedSolver", "Solution", "Status", "solve_milp"]


@dataclass(frozen=True, eq=False)
class Solution:
    """One LP solve.  duals (m,): of the rows, lower bound active > 0; for an infeasible model a ray of them.

    point (n,) or None; objective: of the point, inf for an infeasible model, nan without an answer.
    """

    status: Status
    objective: float
    point: Vector | None
    duals: Vector | None
    iterations: int


class RelaxedSolver:
    """An LP with changing bounds and coefficients; each solve starts from the basis of the last.

    HiGHS takes no coefficients of 1e15 and more, and no infinite ones: of such a model no solve has an answer (FAILED).
    """

    def __init__(self, model: LinearModel) -> None:
        self._highs, self._is_taken = _highs(model, integral=False)
        self._highs.setOptionValue("presolve", "off")
        self._highs.setOptionValue("simplex_strategy", 1)  # dual
        self._core = _module()

    def set_columns(self, index: Indices, lower: Vector, upper: Vector) -> None:
        """New bounds of the listed columns."""
        if len(index):
            self._highs.changeColsBounds(len(index), index.astype(np.int32), lower, upper)

    def set_rows(self, index: Indices, lower: Vector, upper: Vector) -> None:
        """New bounds of the listed rows."""
        for i, low, high in zip(index.tolist(), lower.tolist(), upper.tolist(), strict=True):
            self._highs.changeRowBounds(i, low, high)

    def set_coefficients(self, rows: Indices, columns: Indices, values: Vector) -> None:
        for i, j, value in zip(rows.tolist(), columns.tolist(), values.tolist(), strict=True):
            self._highs.changeCoeff(i, j, value)

    def basis(self) -> object:
        """Where the solver stands, for `resume`."""
        return self._highs.getBasis()

    def resume(self, basis: object) -> None:
        """Start the next solve from where an earlier one ended."""
        self._highs.setBasis(basis)

    def forget_basis(self) -> None:
        """Make the next solve a cold one."""
        self._highs.clearSolver()

    def set_basis(self, columns: Flags, rows: Flags, columns_at_upper: Flags, rows_at_upper: Flags) -> None:
        """Start the next solve from these basic columns (n,) and rows (m,), the others at the named bounds."""
        core = self._core
        kinds = (core.HighsBasisStatus.kLower, core.HighsBasisStatus.kUpper, core.HighsBasisStatus.kBasic)
        basis = core.HighsBasis()
        basis.col_status = [kinds[i] for i in np.where(columns, 2, columns_at_upper * 1).tolist()]
        basis.row_status = [kinds[i] for i in np.where(rows, 2, rows_at_upper * 1).tolist()]
        basis.valid = True
        self._highs.setBasis(basis)

    def solve(self, time_s: float | None = None, cutoff: float | None = None) -> Solution:
        """Minimise; a solve that ends in numerical trouble is repeated once from scratch.

        cutoff: end (TARGET) as soon as dual values show the optimum to be above it; an infeasible model passes it long
        before it is shown to be infeasible.
        """
        solution = self._solve(time_s, cutoff)
        if solution.status is Status.FAILED:
            self.forget_basis()
            solution = self._solve(time_s, cutoff)
        return solution

    def _solve(self, time_s: float | None, cutoff: float | None) -> Solution:
        highs, core = self._highs, self._core
        if not self._is_taken:
            return Solution(Status.FAILED, np.nan, None, None, 0)
        limit = core.kHighsInf if time_s is None else highs.getRunTime() + max(time_s, 0.0)
        highs.setOptionValue("time_limit", limit)
        highs.setOptionValue("objective_bound", core.kHighsInf if cutoff is None else cutoff)
        highs.run()
        status = _status(core, highs.getModelStatus())
        info = highs.getInfo()
        iterations = int(info.simplex_iteration_count)
        if status is Status.INFEASIBLE:
            found, exists, ray = highs.getDualRay()
            duals = np.array(ray) if found == core.HighsStatus.kOk and exists else None
            return Solution(status, np.inf, None, duals, iterations)
        if status not in (Status.OPTIMAL, Status.TARGET):
            return Solution(status, np.nan, None, None, iterations)
        solution = highs.getSolution()
        point = np.array(solution.col_value) if status is Status.OPTIMAL else None
        duals = np.array(solution.row_dual) if solution.dual_valid else None
        return Solution(status, float(info.objective_function_value), point, duals, iterations)


def solve_milp(
    model: LinearModel,
    limits: MilpLimits,
    improved: Improved | None = None,
    start: Vector | None = None,
    watch: Watch | None = None,
) -> MilpResult:
    """Minimise a model with binaries (see `milp.solve`).

    HiGHS asks `watch` while it branches: in presolve and inside a linear program it does not, and of big models
    seconds go by there.  Its time limit holds everywhere.  HiGHS 1.12 calls an incumbent optimal that is worse than
    its own bound when presolve leaves nothing (tests/encoders/test_highs.py has such a model): then it solves again
    without presolve.
    """
    began = time.monotonic()
    result = _solve_milp(model, limits, improved, start, watch, presolve=True)
    if result.status is Status.OPTIMAL and result.objective - result.bound > 1e-5 * max(1.0, abs(result.objective)):
        left = None if limits.time_s is None else max(limits.time_s - (time.monotonic() - began), 0.0)
        result = _solve_milp(model, replace(limits, time_s=left), improved, start, watch, presolve=False)
    return result


def _solve_milp(
    model: LinearModel,
    limits: MilpLimits,
    improved: Improved | None,
    start: Vector | None,
    watch: Watch | None,
    *,
    presolve: bool,
) -> MilpResult:
    core = _module()
    highs, is_taken = _highs(model, integral=True)
    if not is_taken:
        return MilpResult(Status.FAILED, np.inf, -np.inf, None, 0)
    for option, value in (
        ("presolve", "choose" if presolve else "off"),
        ("time_limit", limits.time_s),
        ("mip_max_nodes", limits.nodes),
        ("objective_target", limits.target),
        ("objective_bound", limits.cutoff),
        ("presolve_rule_off", SPARSIFY),
        ("mip_rel_gap", 0.0),
    ):
        if value is not None:
            highs.setOptionValue(option, value)
    if start is not None:
        _begin(core, highs, start)
    if improved is not None:
        highs.cbMipImprovingSolution.subscribe(lambda event: improved(np.array(event.data_out.mip_solution)))
    watched = None if watch is None else _Watched(watch, limits.cutoff)
    if watched is not None:
        highs.cbMipInterrupt.subscribe(watched)
    with without_lines(1, NOISE):
        highs.run()
    return _milp_result(core, highs, limits, watched is not None and watched.is_reached)


class _Watched:
    """The caller's watch as HiGHS's callback; the error that it may raise would be lost in there."""

    def __init__(self, watch: Watch, cutoff: float | None) -> None:
        self.watch, self.cutoff = watch, np.inf if cutoff is None else cutoff
        self.is_reached = False

    def __call__(self, event: Any) -> None:
        out = event.data_out
        new = self.watch(
            Progress(out.running_time, int(out.mip_node_count), float(out.mip_primal_bound), float(out.mip_dual_bound))
        )
        if new is not None:
            self.cutoff = min(self.cutoff, new)
        self.is_reached = self.cutoff > STOP and out.mip_dual_bound >= self.cutoff
        if self.is_reached or self.cutoff == STOP:
            event.data_in.user_interrupt = True


def _begin(core: Any, highs: Any, start: Vector) -> None:
    """Hand over a point; what it does not say HiGHS completes by a small search."""
    known = np.flatnonzero(~np.isnan(start))
    if len(known) == len(start):
        solution = core.HighsSolution()
        solution.col_value = start.tolist()
        solution.value_valid = True
        highs.setSolution(solution)
    elif len(known):
        highs.setSolution(len(known), known.astype(np.int32), start[known])


def _milp_result(core: Any, highs: Any, limits: MilpLimits, is_reached: bool) -> MilpResult:
    info = highs.getInfo()
    has_point = info.primal_solution_status == core.SolutionStatus.kSolutionStatusFeasible
    point = np.array(highs.getSolution().col_value) if has_point else None
    objective = float(info.objective_function_value) if has_point else np.inf
    status = Status.TARGET if is_reached else _status(core, highs.getModelStatus())
    bound = float(info.mip_dual_bound)
    if status is Status.INFEASIBLE:
        status, bound = (Status.INFEASIBLE, np.inf) if limits.cutoff is None else (Status.TARGET, limits.cutoff)
    return MilpResult(status, objective, bound, point, int(info.mip_node_count))


def _module() -> Any:
    import highspy

    return highspy


def _highs(model: LinearModel, *, integral: bool) -> tuple[Any, bool]:
    """A silent one-thread HiGHS with the model in it, and whether it takes the model."""
    core = _module()
    highs = core.Highs()
    for option, value in (("output_flag", False), ("threads", 1), ("random_seed", 0)):
        highs.setOptionValue(option, value)
    lp = core.HighsLp()
    lp.num_col_, lp.num_row_ = len(model.lower), len(model.row_lower)
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = model.cost, model.lower, model.upper
    lp.row_lower_, lp.row_upper_ = model.row_lower, model.row_upper
    lp.a_matrix_.format_ = core.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = model.rows.start.astype(np.int32)
    lp.a_matrix_.index_ = model.rows.index.astype(np.int32)
    lp.a_matrix_.value_ = model.rows.values
    if integral:
        kinds = (core.HighsVarType.kContinuous, core.HighsVarType.kInteger)
        lp.integrality_ = [kinds[int(flag)] for flag in model.integral]
    return highs, highs.passModel(lp) != core.HighsStatus.kError


def _status(core: Any, found: Any) -> Status:
    kinds = core.HighsModelStatus
    return {
        kinds.kOptimal: Status.OPTIMAL,
        kinds.kInfeasible: Status.INFEASIBLE,
        kinds.kObjectiveBound: Status.TARGET,
        kinds.kObjectiveTarget: Status.TARGET,
        kinds.kTimeLimit: Status.LIMIT,
        kinds.kIterationLimit: Status.LIMIT,
        kinds.kSolutionLimit: Status.LIMIT,
        kinds.kInterrupt: Status.LIMIT,
    }.get(found, Status.FAILED)
