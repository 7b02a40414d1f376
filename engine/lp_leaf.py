"""Leaves closed by a linear program over one subproblem's relaxation: its duals become slopes, pins and atom weights.

The LP.  Columns for all neurons of the box, triangles from the bounds in force (`encoders.relu_network`), the atoms of
one disjunct with a common excess: minimise it.  A positive optimum refutes the disjunct; an infeasible LP says that the
subproblem holds no execution at all.  Neither word is believed.

What closes is `Relaxation.optimise`'s outward bound of slopes and pins made of its dual values (see `lp_duals`); a few
steps of ascent repair what rounding them lost, where it lost anything.

The LP's point is a candidate: where no neuron's relaxation is exploited it is an execution's input up to rounding, and
that is how inputs are found where gradients vanish.

Closing such leaves by ascent alone does not arrive where they are infeasible, for there the dual is unbounded.
A solve that starts from its parent's basis takes some 1 ms on a 2 x 256 network and 5 to 60 ms on a 4 x 256 one, the
first one 10 ms and 0.7 s; slopes and pins come within 0.1 % of the LP's bound before any repair.

Salman et al., A Convex Relaxation Barrier to Tight Robustness Verification of Neural Networks, NeurIPS 2019 (the LP and
what bound propagation can reach); Wang et al., Beta-CROWN, NeurIPS 2021.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from farkas.encoders.highs import Status
from farkas.encoders.relu_network import Encoding, coefficients, encode
from farkas.encoders.subproblem import SAME, UPPER, ZERO, Atoms, dual_basis
from farkas.engine.budget import Budget
from farkas.engine.lp_duals import FINE_WEIGHT, LARGEST_WEIGHT, Descent, descend, integers
from farkas.engine.lp_session import Session
from farkas.engine.problem import Matrix, Vector
from farkas.engine.tree import Closing
from farkas.engine.tree import Vector as Multipliers
from farkas.runtime_cuda.relaxation import Optimised, Relaxation
from farkas.runtime_cuda.root import Root

LARGEST = 10_000_000  # coefficients of a linear program: 160 MB in the model, and as much again in the solver
REPAIR_STEPS = 8  # of ascent, where rounding the duals lost the margin
REPAIRABLE = 0.01  # beside the size of the root's bounds: what ascent may be expected to repair
CUTOFF = 0.01  # beside the same: an LP ends above it, for an empty subproblem's would climb for ever
START_STEPS = 20  # of ascent, for the first basis
COSTS_NOTHING = 1e-9  # an LP's noise where the relaxation of a neuron is not exploited
NUDGES = (0.0, 2.0**-20, 2.0**-14, 2.0**-10, 2.0**-6)  # of a point towards the middle of its box


@dataclass(frozen=True, eq=False)
class Disjunct:
    """A conjunction of atoms y_rows y + x_rows x <= thresholds (< where strict).

    y_rows (M, n_out); x_rows (M, n0) or None; thresholds (M,), rounded up; strict (M,) bool.
    """

    y_rows: Matrix
    x_rows: Matrix | None
    thresholds: Vector
    strict: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LeafResult:
    """What the LP says of one disjunct in one subproblem.

    closing: why the disjunct is impossible, or None; bound: by how much the worst atom fails at the LP's optimum
    (> 0: impossible; inf: the relaxation is empty; nan: no answer), without proof; of several atoms each counts divided
    by a power of two near its largest coefficient.  proved: the outward bound, minus the
    thresholds, of the row that was tried (-inf: none); point: the LP's input (n0,) or None; branch: the unstable neuron
    whose relaxation the optimum exploits most, -1 when none is left; is_active: its phase at the point; is_tight: the
    optimum exploits no relaxation, so that the point violates (bound <= 0) up to rounding; basis: where the solver
    stood, to start the LP of a child.
    """

    closing: Closing | None
    bound: float
    proved: float
    point: Vector | None
    branch: int
    is_active: bool
    is_tight: bool
    basis: object = None


class LeafProver:
    """Linear programs over the subproblems of one box; the last basis of a disjunct starts its next solve.

    relaxation: of the box, with its root derived or adopted; root: the same root, whose bounds contain those of every
    subproblem; margin: what a closing must clear beyond 0 for each unit of atom weight.
    """

    def __init__(self, relaxation: Relaxation, root: Root, margin: float = 0.0) -> None:
        numpy = relaxation.full.backend.to_numpy
        self.relaxation, self.margin = relaxation, margin
        self.program = relaxation.full.program
        self.x_lower, self.x_upper = numpy(relaxation.x_lower), numpy(relaxation.x_upper)
        self.root_lower, self.root_upper = numpy(root.lower), numpy(root.upper)
        self.errors = {v: numpy(error) for v, error in root.ground.error.items()}
        self._encoding: Encoding | None = None
        self._is_affordable: bool | None = None
        self._sessions: dict[int, Session] = {}  # by the number of atoms

    @property
    def encoding(self) -> Encoding:
        """The model of the box, made when first needed."""
        if self._encoding is None:
            self._encoding = encode(
                self.program, self.x_lower, self.x_upper, self.root_lower, self.root_upper, self.errors
            )
        return self._encoding

    @property
    def is_affordable(self) -> bool:
        """Whether the box's LP is of a size that a solver can be given; else `close_by_lp` has no answers."""
        if self._is_affordable is None:
            size = coefficients(self.program, self.root_lower, self.root_upper)
            self._is_affordable = size <= LARGEST and bool(np.isfinite([self.root_lower, self.root_upper]).all())
        return self._is_affordable

    def close_by_lp(
        self, lower: Vector, upper: Vector, disjunct: Disjunct, budget: Budget, start: object = None
    ) -> LeafResult:
        """Solve the LP of one subproblem (bounds in force lower, upper (N,)) and turn its duals into a closing.

        start: the basis of the parent's result for the same disjunct; None: one is made by a backward pass.  Without
        an answer of the solver (numerical trouble, a tenth of the time so far) nothing closes.
        """
        if (lower > upper).any():
            return LeafResult(None, np.inf, -np.inf, None, -1, False, False)  # by its bounds nothing is left of it
        if not self.is_affordable:
            return LeafResult(None, np.nan, -np.inf, None, _widest(lower, upper), False, False)
        session = self._session(disjunct)
        if start is None:
            self._start(session, lower, upper, disjunct)
        else:
            session.resume(start)
        solution = session.solve(lower, upper, budget, CUTOFF * session.size)
        if solution.status is Status.TARGET and solution.duals is not None:
            closing, proved, _ = self._refutation(lower, upper, disjunct, session, solution.duals)
            if closing is not None:
                return LeafResult(closing, proved, proved, None, -1, False, False, session.basis)
            solution = session.solve(lower, upper, budget, None)
        if solution.duals is None:
            branch = _widest(lower, upper)
            return LeafResult(None, session.unscaled(solution), -np.inf, None, branch, False, False, session.basis)
        if solution.status is Status.INFEASIBLE:
            closing, proved = self._emptiness(lower, upper, solution.duals)
            return LeafResult(closing, np.inf, proved, None, _widest(lower, upper), False, False, session.basis)
        assert solution.point is not None, "an optimal LP has a point"
        closing, proved, descent = self._refutation(lower, upper, disjunct, session, solution.duals)
        branch, is_tight = self._branch(lower, upper, solution.point, descent)
        is_active = branch >= 0 and float(solution.point[self.encoding.value[branch]]) > 0
        x = solution.point[self._inputs]
        return LeafResult(closing, session.unscaled(solution), proved, x, branch, is_active, is_tight, session.basis)

    def candidates(self, point: Vector) -> Matrix:
        """(K, n0): the point and its moves towards the middle of the box, in the box and (for binary32) on its grid."""
        middle = 0.5 * (self.x_lower + self.x_upper)
        points = np.stack([point + nudge * (middle - point) for nudge in NUDGES])
        points = np.clip(points, self.x_lower, self.x_upper)
        if not any(layer.binary32 for layer in self.relaxation.full.layers.values()):
            return np.asarray(points, dtype=np.float64)
        near = points.astype(np.float32)
        down, up = np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))
        inside: Matrix = np.where(near < self.x_lower, up, np.where(near > self.x_upper, down, near)).astype(np.float64)
        return inside

    @property
    def _inputs(self) -> npt.NDArray[np.int64]:
        return self.encoding.columns[0]

    def _session(self, disjunct: Disjunct) -> Session:
        """The LP of disjuncts with as many atoms, holding this one."""
        atoms = Atoms.of(disjunct.y_rows, disjunct.x_rows, disjunct.thresholds, len(self.x_lower))
        count = len(disjunct.thresholds)
        session = self._sessions.get(count)
        if session is None:
            session = Session(self.encoding, self.program.output, atoms, self.root_lower, self.root_upper)
            self._sessions[count] = session
        session.hold(atoms)
        return session

    def _start(self, session: Session, lower: Vector, upper: Vector, disjunct: Disjunct) -> None:
        """Give an LP the basis of the best backward pass of its atoms; from nothing it takes up to 50 times as long."""
        count = len(disjunct.thresholds)
        if count == 0:
            return
        asarray = self.relaxation.full.backend.asarray
        numpy = self.relaxation.full.backend.to_numpy
        l, u = (asarray(np.broadcast_to(bound, (count, len(bound)))) for bound in (lower, upper))
        x_rows = None if disjunct.x_rows is None else asarray(disjunct.x_rows)
        y_rows = asarray(disjunct.y_rows)
        better = self.relaxation.optimise(l, u, y_rows, x_rows, None, None, START_STEPS)
        slopes = asarray((numpy(better.free_slopes) > 0.5) * 1.0)
        found = self.relaxation.optimise(l, u, y_rows, x_rows, slopes, None, 0)
        atom = int((numpy(found.value) - disjunct.thresholds).argmax())
        neuron = self.encoding.neuron
        below, chosen = numpy(found.below)[atom, neuron], numpy(slopes)[atom, neuron]
        faces = np.where(below < 0, UPPER, np.where(chosen > 0.5, SAME, ZERO))
        faces = np.where(lower[neuron] >= 0, SAME, np.where(upper[neuron] <= 0, ZERO, faces))
        size = abs(numpy(found.value)[atom] - disjunct.thresholds[atom]) / session.atoms.scale[atom]
        session.size = float(size) if np.isfinite(size) else 1.0
        session.begin(dual_basis(session.question, self.encoding, faces, numpy(found.point)[atom] > self.x_lower, atom))

    def _refutation(
        self, lower: Vector, upper: Vector, disjunct: Disjunct, session: Session, duals: Vector
    ) -> tuple[Closing | None, float, Descent]:
        """The closing of the atoms as the duals weigh them, if its outward bound clears the thresholds; by how much it
        does; and the row with its slopes and pins.  Coarse weights come first: fine ones make larger certificates."""
        weights = session.weights(duals)
        rows = (
            disjunct.y_rows if disjunct.x_rows is None else np.concatenate([disjunct.y_rows, disjunct.x_rows], axis=1)
        )
        best: tuple[Closing | None, float, Descent] | None = None
        for largest in (LARGEST_WEIGHT, FINE_WEIGHT):
            whole = integers(weights, rows, largest)
            scale = float(whole.sum() / weights.sum()) if whole.any() else 1.0
            descent = self._descent(lower, upper, disjunct, whole, duals, scale)
            closing, proved = self._weighted(lower, upper, disjunct, session.size, whole, descent)
            if best is None or closing is not None:
                best = closing, proved, descent
            if closing is not None:
                break
            if np.count_nonzero(whole) < 2 or proved < -REPAIRABLE * session.size * float(whole.sum()):
                break
        assert best is not None, "coarse weights are always tried"
        return best

    def _weighted(
        self, lower: Vector, upper: Vector, disjunct: Disjunct, size: float, whole: Vector, descent: Descent
    ) -> tuple[Closing | None, float]:
        """The closing by atoms of integer weights (M,), and by how much their sum clears its threshold."""
        used = np.flatnonzero(whole)
        if not len(used):
            return None, -np.inf
        # Thresholds are floats rounded up; their weighted sum is raised over its own rounding.
        part, thresholds = whole[used], disjunct.thresholds[used]
        limit = float(part @ thresholds + (part @ abs(thresholds)) * 2.0**-50)
        needed = self.margin * float(part.sum())
        proved = -np.inf
        for steps in (0, REPAIR_STEPS):
            found = self._evaluate(lower, upper, descent, steps)
            proved = float(found.value[0]) - limit
            if proved > needed or (proved >= needed and disjunct.strict[used].any()):
                atoms = tuple((int(i), int(w)) for i, w in zip(used, part, strict=True))
                return Closing(0, atoms, self._multipliers(found)), proved
            if proved < -needed - REPAIRABLE * size * float(part.sum()):
                break
        return None, proved

    def _emptiness(self, lower: Vector, upper: Vector, ray: Vector) -> tuple[Closing | None, float]:
        """The closing without atoms; HiGHS does not promise the sign of its ray, so both are tried."""
        proved = -np.inf
        outputs = np.zeros((0, self.program.output_size))
        nothing = Disjunct(outputs, None, np.zeros(0), np.zeros(0, dtype=bool))
        for duals in (ray, -ray):
            size = float(abs(duals[self.encoding.definition[self.encoding.definition >= 0]]).max(initial=0.0))
            if size == 0.0:
                continue
            descent = self._descent(lower, upper, nothing, np.zeros(0), duals, LARGEST_WEIGHT / size)
            for steps in (0, REPAIR_STEPS):
                found = self._evaluate(lower, upper, descent, steps)
                proved = max(proved, float(found.value[0]))
                if proved > self.margin * LARGEST_WEIGHT and found.pins.any():
                    return Closing(0, (), self._multipliers(found)), proved
        return None, proved

    def _evaluate(self, lower: Vector, upper: Vector, descent: Descent, steps: int) -> Optimised:
        """The outward bound of a descent's row with its slopes and pins, after so many steps of ascent."""
        asarray = self.relaxation.full.backend.asarray
        rows = [asarray(a[None]) for a in (lower, upper, descent.y_row, descent.slopes, descent.pins)]
        x_rows = None if descent.x_row is None else asarray(descent.x_row[None])
        return self.relaxation.optimise(rows[0], rows[1], rows[2], x_rows, rows[3], rows[4], steps)

    def _multipliers(self, found: Optimised) -> Multipliers:
        numpy = self.relaxation.full.backend.to_numpy
        pins = numpy(found.pins)[0]
        at = np.flatnonzero(pins)
        return Multipliers(numpy(found.slopes)[0], tuple((int(g), int(pins[g] * 2.0**24)) for g in at))

    def _descent(
        self, lower: Vector, upper: Vector, disjunct: Disjunct, weights: Vector, duals: Vector, scale: float
    ) -> Descent:
        """Slopes and pins of the weighted atoms' row that follow `scale` times the duals of the defining rows."""
        defined = self.encoding.definition
        targets = np.where(defined >= 0, duals[defined], 0.0) * scale
        x_row = None if disjunct.x_rows is None else weights @ disjunct.x_rows
        return descend(self.relaxation, lower, upper, weights @ disjunct.y_rows, x_row, targets)

    def _branch(self, lower: Vector, upper: Vector, point: Vector, descent: Descent) -> tuple[int, bool]:
        """The neuron to split, and whether the LP's optimum exploits no relaxation.

        Of the neurons whose relaxation it exploits the one whose upper line costs the bound most, weighted by the dual
        value, at its worst (the intercept) rather than where the optimum is: that moves with the split.  Twenty-two
        trees had 89 nodes in the mean by the cost at the optimum, 67 so.
        """
        encoding = self.encoding
        l, u = lower[encoding.neuron], upper[encoding.neuron]
        is_open = (l < 0) & (u > 0)
        if not is_open.any():
            return -1, True
        gap = np.where(is_open, point[encoding.output] - np.maximum(point[encoding.value[encoding.neuron]], 0.0), 0.0)
        leaning = descent.negative[encoding.neuron]
        intercept = np.where(is_open, -l * u / np.where(is_open, u - l, 1.0), 0.0)
        cost = np.where(gap * leaning > COSTS_NOTHING, intercept * leaning, 0.0)
        width = np.where(is_open, np.minimum(-l, u), 0.0)
        is_tight = bool((gap <= 1e-7 * np.maximum(1.0, width)).all())
        scores = (cost, gap, width)
        chosen = next((score for score in scores if score.max() > 1e-7 * max(1.0, float(width.max()))), width)
        return int(encoding.neuron[int(chosen.argmax())]), is_tight


def _widest(lower: Vector, upper: Vector) -> int:
    """The unstable neuron that is furthest from either phase, -1 when there is none."""
    width = np.where((lower < 0) & (upper > 0), np.minimum(-lower, upper), 0.0)
    return int(width.argmax()) if width.max(initial=0.0) > 0 else -1
