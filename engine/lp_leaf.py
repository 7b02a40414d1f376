"""Leaves closed by a linear program over one subproblem's relaxation: its duals become slopes, pins and atom weights.

The LP.  Columns for all neurons of the box, triangles from the bounds in force (`encoders.relu_network`), the atoms of
one disjunct with a common excess: minimise it.  A positive optimum refutes the disjunct; an infeasible LP says that the
subproblem holds no execution at all.  Neither word is believed.

From duals to a proof.  The dual value lambda_j of the row that defines neuron j's pre-activation z_j is the coefficient
with which the optimal proof hands z_j down to the layer below.  Walk the row of the weighted atoms backwards as CROWN
does.  At neuron j it arrives with coefficients P >= 0 and Q <= 0 over relu(z_j) and D over z_j itself; lines turn that
into a P + s Q + D, and the slope a in [0, 1] is chosen such that this is lambda_j.  What no slope can give remains:
gamma_j = a P + s Q + D - lambda_j, a pin, for dual feasibility of the LP makes it nonnegative only where z_j >= l_j is
tight and nonpositive only where z_j <= u_j is.  So the multipliers of the two lower faces of a triangle are the slope,
the reduced costs of the bounds are pins, and where lower and upper face are active at once (at a corner) the excess
becomes a pin of that corner; nothing is lost.  The dual ray of an infeasible LP is the same without atoms.

Slopes are then rounded to bytes.  Where the LP has no pin, the rounding is not pinned either but flows down, and the
slopes below, chosen against the coefficients that really arrive, make up for it; a few steps of ascent repair the rest.
What closes is only `Relaxation.optimise`'s outward bound of the rounded numbers.

The LP's point is a candidate: where no neuron's relaxation is exploited it is an execution's input up to rounding, and
that is how inputs are found where gradients vanish.

Cost on two cores' worth of 2022 hardware is in the notes to `milp_arm`.  Solving the dual of a leaf by ascent alone was
tried first: on infeasible leaves the dual is unbounded and ascent does not arrive.

Salman et al., A Convex Relaxation Barrier to Tight Robustness Verification of Neural Networks, NeurIPS 2019 (the LP and
what bound propagation can reach); Wang et al., Beta-CROWN, NeurIPS 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt

from farkas.encoders.highs import RelaxedSolver, Solution, Status
from farkas.encoders.relu_network import Encoding, Question, Restated, ask, encode, restated
from farkas.engine.budget import Budget
from farkas.engine.problem import Matrix, Vector
from farkas.engine.tree import Closing
from farkas.engine.tree import Vector as Multipliers
from farkas.ir.core import Affine, Input, Relu
from farkas.ir.relaxation import upper_line
from farkas.runtime_cuda.relaxation import Optimised, Relaxation
from farkas.runtime_cuda.root import Root

REPAIR_STEPS = 8  # of ascent, where rounding the duals lost the margin
LARGEST_WEIGHT = 256.0  # of an atom, and of a pin in a leaf without atoms
SESSIONS = 8  # disjuncts whose last basis is kept
NUDGES = (0.0, 2.0**-20, 2.0**-14, 2.0**-10, 2.0**-6)  # of a point towards the middle of its box
PIN_NOISE = 1e-9  # relative: smaller multipliers of an LP are zeros


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
    (> 0: impossible; inf: the relaxation is empty; nan: no answer), without proof; proved: the outward bound, minus the
    thresholds, of the row that was tried (-inf: none); point: the LP's input (n0,) or None; branch: the unstable neuron
    whose relaxation the optimum exploits most, -1 when none is left; is_tight: the optimum exploits no relaxation, so
    that the point violates (bound <= 0) up to rounding.
    """

    closing: Closing | None
    bound: float
    proved: float
    point: Vector | None
    branch: int
    is_tight: bool


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
        self._sessions: list[_Session] = []

    @property
    def encoding(self) -> Encoding:
        """The model of the box, made when first needed."""
        if self._encoding is None:
            self._encoding = encode(
                self.program, self.x_lower, self.x_upper, self.root_lower, self.root_upper, self.errors
            )
        return self._encoding

    def close_by_lp(self, lower: Vector, upper: Vector, disjunct: Disjunct, budget: Budget) -> LeafResult:
        """Solve the LP of one subproblem (bounds in force lower, upper (N,)) and turn its duals into a closing.

        Without an answer of the solver (time, numerical trouble) nothing closes.
        """
        if (lower > upper).any():
            return LeafResult(None, np.inf, -np.inf, None, -1, False)  # the bounds alone show that nothing is left
        session = self._session(disjunct)
        solution = session.solve(lower, upper, budget)
        if solution.duals is None:
            return LeafResult(None, solution.objective, -np.inf, None, _widest(lower, upper), False)
        if solution.status is Status.INFEASIBLE:
            closing, proved = self._emptiness(lower, upper, solution.duals)
            return LeafResult(closing, np.inf, proved, None, _widest(lower, upper), False)
        assert solution.point is not None, "an optimal LP has a point"
        descent = self._descent(lower, upper, disjunct, session.weights(solution.duals), solution.duals)
        closing, proved = None, -np.inf
        if solution.objective > 0:
            closing, proved = self._refutation(lower, upper, disjunct, descent)
        branch, is_tight = self._branch(lower, upper, solution.point, descent)
        return LeafResult(closing, solution.objective, proved, solution.point[self._inputs], branch, is_tight)

    def candidates(self, point: Vector) -> Matrix:
        """(K, n0): the point and its moves towards the middle of the box, in the box and (for binary32) on its grid."""
        middle = 0.5 * (self.x_lower + self.x_upper)
        points = np.stack([point + nudge * (middle - point) for nudge in NUDGES])
        points = np.clip(points, self.x_lower, self.x_upper)
        if not any(layer.binary32 for layer in self.relaxation.full.layers.values()):
            return points
        near = points.astype(np.float32)
        down, up = np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))
        return np.where(near < self.x_lower, up, np.where(near > self.x_upper, down, near)).astype(np.float64)

    @property
    def _inputs(self) -> npt.NDArray[np.int64]:
        return self.encoding.columns[0]

    def _session(self, disjunct: Disjunct) -> _Session:
        for place, session in enumerate(self._sessions):
            if session.disjunct is disjunct:
                self._sessions.append(self._sessions.pop(place))
                return session
        session = _Session(self.encoding, self.program.output, disjunct, self.root_lower, self.root_upper)
        self._sessions = [*self._sessions[1 - SESSIONS :], session]
        return session

    def _refutation(
        self, lower: Vector, upper: Vector, disjunct: Disjunct, descent: _Descent
    ) -> tuple[Closing | None, float]:
        """The closing of the weighted atoms, if their outward bound clears the thresholds; and by how much it does."""
        used = np.flatnonzero(descent.weights)
        weights = descent.weights[used]
        # Thresholds are floats rounded up; their weighted sum is raised over its own rounding.
        limit = float(weights @ disjunct.thresholds[used] + (weights @ abs(disjunct.thresholds[used])) * 2.0**-50)
        needed = self.margin * float(weights.sum())
        proved = -np.inf
        for steps in (0, REPAIR_STEPS):
            found = self._evaluate(lower, upper, descent, steps)
            proved = float(found.value[0]) - limit
            if proved > needed or (proved >= needed and disjunct.strict[used].any()):
                atoms = tuple((int(i), int(w)) for i, w in zip(used, weights, strict=True))
                return Closing(0, atoms, self._multipliers(found)), proved
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
            scaled = duals * (LARGEST_WEIGHT / size)
            descent = self._descent(lower, upper, nothing, np.zeros(0), scaled)
            for steps in (0, REPAIR_STEPS):
                found = self._evaluate(lower, upper, descent, steps)
                proved = max(proved, float(found.value[0]))
                if proved > self.margin * LARGEST_WEIGHT and found.pins.any():
                    return Closing(0, (), self._multipliers(found)), proved
        return None, proved

    def _evaluate(self, lower: Vector, upper: Vector, descent: _Descent, steps: int) -> Optimised:
        """The outward bound of a descent's row with its slopes and pins, after so many steps of ascent."""
        asarray = self.relaxation.full.backend.asarray
        arrays = (lower, upper, descent.y_row, descent.x_row, descent.slopes, descent.pins)
        return self.relaxation.optimise(*(None if a is None else asarray(a[None]) for a in arrays), steps)

    def _multipliers(self, found: Optimised) -> Multipliers:
        numpy = self.relaxation.full.backend.to_numpy
        pins = numpy(found.pins)[0]
        at = np.flatnonzero(pins)
        return Multipliers(numpy(found.slopes)[0], tuple((int(g), int(pins[g] * 2.0**24)) for g in at))

    def _descent(self, lower: Vector, upper: Vector, disjunct: Disjunct, weights: Vector, duals: Vector) -> _Descent:
        """Slopes and pins of the weighted atoms' row that follow the duals of the defining rows."""
        whole = _integers(weights)
        scale = float(whole.sum() / weights.sum()) if len(whole) else 1.0
        defined = self.encoding.definition
        targets = np.where(defined >= 0, duals[defined], 0.0) * scale
        return _descend(self.relaxation, lower, upper, disjunct, whole, targets)

    def _branch(self, lower: Vector, upper: Vector, point: Vector, descent: _Descent) -> tuple[int, bool]:
        """The neuron whose relaxation costs the LP's bound most at its optimum, and whether none costs anything."""
        encoding = self.encoding
        l, u = lower[encoding.neuron], upper[encoding.neuron]
        is_open = (l < 0) & (u > 0)
        if not is_open.any():
            return -1, True
        gap = np.where(is_open, point[encoding.output] - np.maximum(point[encoding.value[encoding.neuron]], 0.0), 0.0)
        cost = gap * descent.negative[encoding.neuron]
        width = np.where(is_open, np.minimum(-l, u), 0.0)
        is_tight = bool((gap <= 1e-7 * np.maximum(1.0, width)).all())
        scores = (cost, gap, width)
        chosen = next((score for score in scores if score.max() > 1e-7 * max(1.0, float(width.max()))), width)
        return int(encoding.neuron[int(chosen.argmax())]), is_tight


class _Session:
    """The LP of one disjunct, kept in the state of the last subproblem."""

    def __init__(self, encoding: Encoding, output: int, disjunct: Disjunct, lower: Vector, upper: Vector) -> None:
        self.disjunct = disjunct
        self.encoding = encoding
        self.question: Question = ask(encoding, output, disjunct.y_rows, disjunct.x_rows, disjunct.thresholds)
        self.solver = RelaxedSolver(self.question.model)
        self.known = encoding.value[encoding.value >= 0]
        self.state: Restated = restated(encoding, lower, upper)

    def solve(self, lower: Vector, upper: Vector, budget: Budget) -> Solution:
        self._move(restated(self.encoding, lower, upper))
        left = budget.left_s
        return self.solver.solve(None if np.isinf(left) else left)

    def weights(self, duals: Vector) -> Vector:
        """(M,) of the atoms as they were given, nonnegative."""
        return np.maximum(-duals[self.question.atoms], 0.0) / self.question.scale

    def _move(self, new: Restated) -> None:
        """Send the solver what differs from the last subproblem."""
        old, encoding, solver = self.state, self.encoding, self.solver
        changed = np.flatnonzero((new.value_lower != old.value_lower) | (new.value_upper != old.value_upper))
        solver.set_columns(self.known[changed], new.value_lower[changed], new.value_upper[changed])
        changed = np.flatnonzero(new.output_upper != old.output_upper)
        solver.set_columns(encoding.output[changed], np.zeros(len(changed)), new.output_upper[changed])
        changed = np.flatnonzero((new.above_lower != old.above_lower) | (new.above_upper != old.above_upper))
        solver.set_rows(encoding.above[changed], new.above_lower[changed], new.above_upper[changed])
        changed = np.flatnonzero(new.under_upper != old.under_upper)
        solver.set_rows(encoding.under[changed], np.full(len(changed), -np.inf), new.under_upper[changed])
        changed = np.flatnonzero(new.under_slope != old.under_slope)
        columns = encoding.value[encoding.neuron[changed]]
        solver.set_coefficients(encoding.under[changed], columns, new.under_slope[changed])
        self.state = new


@dataclass(frozen=True, eq=False)
class _Descent:
    """A row with the slopes and pins that follow an LP's duals: weights (M,) integers of the atoms, y_row (n_out,),
    x_row (n0,) or None, slopes, pins (N,); negative (N,): -Q, how much the row leans on each neuron's upper line."""

    weights: Vector
    y_row: Vector
    x_row: Vector | None
    slopes: Vector
    pins: Vector
    negative: Vector


def _descend(
    relaxation: Relaxation, lower: Vector, upper: Vector, disjunct: Disjunct, weights: Vector, targets: Vector
) -> _Descent:
    """Follow `targets` (N,), the LP's coefficients over pre-activations, down the network; see the top of the file.

    Two rows walk together: row 0 is the LP's own, which is put back on the target at every neuron and shows where the
    LP has pins; row 1 is the one that will be written down.
    """
    net, full = relaxation.net, relaxation.full
    numpy = full.backend.to_numpy
    y_row = weights @ disjunct.y_rows
    x_row = None if disjunct.x_rows is None else weights @ disjunct.x_rows
    slopes, pins, negative = np.zeros(full.width), np.zeros(full.width), np.zeros(full.width)
    direct: dict[int, Any] = {net.program.output: np.stack([y_row, y_row])}
    through: dict[int, tuple[Any, Any]] = {}
    for v in range(len(net.nodes) - 1, 0, -1):
        node = net.nodes[v]
        match node:
            case Input():
                raise AssertionError("the input is node 0")
            case Relu(source=source):
                coef = direct.pop(v, None)
                if coef is not None:
                    old = through.get(source, (0.0, 0.0))
                    through[source] = old[0] + np.maximum(coef, 0.0), old[1] + np.minimum(coef, 0.0)
            case Affine():
                coef = direct.pop(v, np.zeros((2, net.sizes[v])))
                if v in net.slots:
                    at = net.kept[net.slots[v]]
                    positive, below = through.pop(v, (np.zeros_like(coef), np.zeros_like(coef)))
                    step = _Step(lower[at], upper[at], targets[at], coef, positive, below)
                    coef, slopes[at], pins[at] = step.follow()
                    negative[at] = -below[1]
                if coef.any():
                    for operand in net.layers[v].operands:
                        found = numpy(operand.map.rmv(full.backend.asarray(coef)))
                        direct[operand.source] = direct[operand.source] + found if operand.source in direct else found
            case _:
                assert_never(node)
    return _Descent(weights, y_row, x_row, slopes, pins, negative)


@dataclass(frozen=True, eq=False)
class _Step:
    """The neurons of one layer: bounds, targets (n,); coefficients (2, n) over z, and over relu(z) by sign."""

    lower: Vector
    upper: Vector
    target: Vector
    direct: Matrix
    positive: Matrix
    negative: Matrix

    def follow(self) -> tuple[Matrix, Vector, Vector]:
        """(coefficients over z (2, n) to hand down, slopes (n,), pins (n,))."""
        line = upper_line(np, self.lower, self.upper)
        rest = self.direct + line.slope * self.negative
        wished = np.divide(self.target - rest, self.positive, out=np.zeros_like(rest), where=self.positive > 0)
        slope = np.where(line.unstable, np.clip(wished, 0.0, 1.0), line.slope)
        lean = slope[0] * self.positive[0] + rest[0]
        size = float(abs(self.target).max(initial=0.0))
        is_pinned = abs(lean - self.target) > PIN_NOISE * size
        code = np.floor(slope[1] * 256 + 0.5)
        byte = np.where(line.unstable, np.where(code >= 255, 1.0, code / 256), slope[1])
        coef = byte * self.positive[1] + rest[1]
        pins = np.where(is_pinned, coef - self.target, 0.0)
        # A pin of the other sign than the LP's would lean on a bound that is not tight.
        pins = np.where(np.sign(pins) == np.sign(lean - self.target), pins, 0.0)
        return np.stack([self.target, coef - pins]), byte, pins


def _integers(weights: Vector) -> Vector:
    """The weights as integers up to LARGEST_WEIGHT in nearly the same proportion, at least one of them >= 1."""
    if not len(weights) or weights.max() <= 0:
        return np.zeros(len(weights))
    if np.count_nonzero(weights > weights.max() / (2 * LARGEST_WEIGHT)) == 1:
        return (weights == weights.max()) * 1.0
    return np.floor(weights * (LARGEST_WEIGHT / weights.max()) + 0.5)


def _widest(lower: Vector, upper: Vector) -> int:
    """The unstable neuron that is furthest from either phase, -1 when there is none."""
    width = np.where((lower < 0) & (upper > 0), np.minimum(-lower, upper), 0.0)
    return int(width.argmax()) if width.max(initial=0.0) > 0 else -1
