"""Mixed-integer programs by any solver: what is asked, what is answered, and one call for all of them.

    name       solver                     integrality         target   node limit   improved   watch
    highs      HiGHS, through highspy     any                 yes      yes          yes        while it branches
    gscip      SCIP, through MathOpt      any                 yes      yes          yes        at any time
    cp-sat     CP-SAT, through MathOpt    all columns         yes      no           yes        at any time
    mathopt-highs   HiGHS, through MathOpt   any              no       yes          no         no

Every solver takes a time limit, a cutoff and a start.  What a solver cannot do raises
ValueError instead of being ignored.  GLPK is not in the OR-Tools wheels.

All of them compute in floating point with tolerances: an incumbent may violate rows by 1e-6, and "infeasible" has been
seen to be wrong (columns whose range is below the tolerance, HiGHS 1.12's presolve).  Their answers are guides: an
incumbent goes to exact replay, and a refutation has to be proved elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from farkas.encoders.linear_model import LinearModel
from farkas.ir.linear import Vector

STOP = float("-inf")  # as a cutoff: nothing is of interest any more


class Status(Enum):
    """How a solve ended.

    TARGET: an incumbent reached the target, or none can be as good as the cutoff (with a cutoff no solver tells this
    from infeasibility); LIMIT: of time or nodes, or an interrupt.
    """

    OPTIMAL = "optimal"
    INFEASIBLE = "infeasible"
    TARGET = "target"
    LIMIT = "limit"
    FAILED = "failed"


@dataclass(frozen=True, eq=False)
class MilpResult:
    """One MILP solve: the incumbent's objective and point (n,) or None, the solver's bound of the optimum, nodes.

    objective: inf without an incumbent; bound: inf for an infeasible model, -inf when nothing is known.
    """

    status: Status
    objective: float
    bound: float
    point: Vector | None
    nodes: int


@dataclass(frozen=True)
class MilpLimits:
    """time_s, nodes: None for no limit; target: stop at an incumbent this good; cutoff: ignore what is worse."""

    time_s: float | None = None
    nodes: int | None = None
    target: float | None = None
    cutoff: float | None = None


@dataclass(frozen=True)
class Progress:
    """Where a running solve stands: seconds, nodes, the incumbent's objective (inf) and the bound (-inf)."""

    time_s: float
    nodes: int
    objective: float
    bound: float


Improved = Callable[[Vector], None]  # called with every new incumbent (n,), from inside the solver
# Called now and then while a solver works: None to go on as before, or a cutoff: the solve ends (TARGET) as soon as
# its bound shows that nothing better exists, and at once (LIMIT) for STOP.  It may run in another thread.
Watch = Callable[[Progress], float | None]

SOLVERS = ("highs", "gscip", "cp-sat", "mathopt-highs")


def solve(
    model: LinearModel,
    limits: MilpLimits,
    *,
    solver: str = "highs",
    improved: Improved | None = None,
    start: Vector | None = None,
    watch: Watch | None = None,
) -> MilpResult:
    """Minimise a model with binaries.

    start: a point (n,) to begin with, nan where unknown; it need not be feasible.  Raises ValueError for a solver that
    does not exist or cannot do what is asked (see the table above).
    """
    if solver == "highs":
        from farkas.encoders.highs import solve_milp

        return solve_milp(model, limits, improved, start, watch)
    if solver in SOLVERS:
        from farkas.encoders import mathopt

        return mathopt.solve_milp(model, limits, improved, start, watch, solver=solver)
    raise ValueError(f"there is no MILP solver '{solver}'; known: {', '.join(SOLVERS)}")
