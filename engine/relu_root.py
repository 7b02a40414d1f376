"""The root of a ReLU-split search: all neurons bounded over the box, every disjunct tried, the open ones forked apart.

In stages, each only if the one before leaves something open: adaptive bounds of all neurons and the disjuncts' rows
under the slope rule (most cases end here); optimised slopes of those rows; optimised slopes of all neurons' own rows,
and the disjuncts' again, for 20 steps and on while they move.  A hundred steps equal the linear program over the
triangle relaxation to a few percent, at a fiftieth of its time.

A disjunct of several atoms is impossible where a weighted sum of them is.  The weights start at the atom whose bound is
best and move towards the atoms that fail by more at the point where the sum's bound is attained (multiplicative
weights: the bound is concave in them, and those excesses are its slope); the best that was met is kept, as integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from farkas.engine.bab import Candidate, Progress
from farkas.engine.budget import Budget
from farkas.engine.problem import Family, Matrix, Vector
from farkas.engine.relu_nodes import NONE, Integers, Nodes, Parents, rounded_down, rounded_up
from farkas.engine.tree import Closing, LeafKind, ProofTree, Recipe, RowGroup
from farkas.engine.tree import Vector as SlopeVector
from farkas.ir.core import Affine
from farkas.runtime_cuda.prepared import Prepared
from farkas.runtime_cuda.relaxation import Optimised, Relaxation
from farkas.runtime_cuda.root import Effort, Root, RowsUsed
from farkas.runtime_cuda.sensitivity import Losses

PIN_UNIT = 2.0**-24
STEPS = 20  # of a disjunct's row, repeated while it moves
MOST_REPEATS = 5
MOVES = 0.02  # of the distance to the threshold: less is standing still
ALPHA_STEPS = 20  # of the neurons' own rows
ALPHA_SHARE = 0.2  # of the time left that optimising those may take
ALPHA_S = 30.0  # and at most
WEIGHT_SUM = 16
WEIGHT_STEPS = 6


def closing_vector(rows: Optimised, b: int) -> SlopeVector:
    """What line b of an optimised batch was proved with."""
    pins = rows.pins[b]
    used = np.flatnonzero(pins)
    return SlopeVector(rows.slopes[b], tuple((int(g), round(float(pins[g]) / PIN_UNIT)) for g in used))


@dataclass(frozen=True, eq=False)
class Stage:
    """Derivations, and the disjuncts that were refuted under them and not before.

    They stand apart in the tree: a slope rule's bound need not hold on under better bounds.
    """

    recipes: tuple[Recipe, ...]
    closed: dict[int, Closing] = field(default_factory=dict)


@dataclass(eq=False)
class CaseRoot:
    """One case (position in the family) with its box bounded: what every node of its search refers to.

    margin: what a row must clear beyond its threshold; evaluate: outputs (B, m) of inputs (B, n0), a guide.
    lower, upper (N,) bounds in force at the root; columns (U,): the neurons that it leaves open; layers: columns of
    every layer ordinal; layer_of (N,); biases (N,).
    """

    family: Family
    case: int
    relaxation: Relaxation
    margin: float
    evaluate: Callable[[Matrix], Matrix]
    found: Root | None = None
    stages: list[Stage] = field(default_factory=list)
    closed: dict[int, Closing] = field(default_factory=dict)
    best: dict[int, tuple[Vector, Vector, float]] = field(default_factory=dict)  # weights, slopes, excess when open
    losses: Mapping[int, Losses] = field(default_factory=dict)  # of the neurons' own rows, for branching
    is_ready: bool = False  # every stage is over

    def __post_init__(self) -> None:
        net = self.relaxation.full
        self.layers = {k: net.slots[v] for k, v in enumerate(self.relaxation.layers)}
        self.layer_of = np.zeros(net.width, dtype=np.int64)
        for k, slot in self.layers.items():
            self.layer_of[slot] = k
        self.width = net.width
        self.thresholds = self.family.thresholds[self.case]
        self.atoms_of = self.family.disjuncts
        self.most_atoms = max((len(d) for d in self.atoms_of), default=0) or 1

    @property
    def biases(self) -> Vector:
        net = self.relaxation.full
        return np.concatenate([_bias(net, v) for v in self.relaxation.layers])

    # Rows ------------------------------------------------------------------------------------------------------------

    def rows(self, disjunct: Integers, weights: Any) -> tuple[Matrix, Matrix | None]:
        """The weighted rows (B, m) over outputs and (B, n0) over inputs of one disjunct a line; weights (B, A)."""
        atom = self._atom_rows(disjunct)
        held = np.where(atom != NONE, weights.astype(np.float64), 0.0)[:, :, None]
        at = np.maximum(atom, 0)
        x_rows = self.family.x_rows
        y = (self.family.y_rows[at] * held).sum(axis=1)
        return y, None if x_rows is None else (x_rows[at] * held).sum(axis=1)

    def _atom_rows(self, disjunct: Integers) -> Integers:
        """(B, A): row numbers of the disjuncts' atoms, NONE pads."""
        table = np.full((len(self.atoms_of), self.most_atoms), NONE, dtype=np.int64)
        for d, atoms in enumerate(self.atoms_of):
            table[d, : len(atoms)] = atoms
        return np.asarray(table[disjunct])

    def cleared(self, value: Any, disjunct: Integers, weights: Any) -> tuple[Vector, npt.NDArray[np.bool_]]:
        """By how much each bound clears its row's threshold, and whether that refutes the disjunct.

        A bound equal to the threshold refutes a strict atom; what is no number refutes nothing.
        """
        atom = self._atom_rows(disjunct)
        at, held = np.maximum(atom, 0), np.where(atom != NONE, weights, 0).astype(np.float64)
        several = (held > 0).sum(axis=1) > 1
        limits = self.thresholds[at]
        terms = np.where(held > 0, limits * np.where(held > 0, held, 1.0), 0.0)
        # One atom of weight 1 is compared exactly; a sum is raised for its rounding.
        limit = terms.sum(axis=1) + np.where(several, abs(terms).sum(axis=1) * 2.0**-50, 0.0)
        chosen = np.where(held > 0, at, 0).max(axis=1)
        constant = self.family.constant[chosen] & ~several
        bound = np.where(constant, 0.0, np.asarray(self.relaxation.full.backend.to_numpy(value)))
        excess = bound - limit
        excess = np.where(np.isfinite(excess), excess, -np.inf)
        needed = np.where(constant, 0.0, self.margin * held.sum(axis=1))
        strict = self.family.strict[chosen] & ~several
        real = held.sum(axis=1) > 0
        return excess, np.where(strict, excess >= needed, excess > needed) & real

    def atoms(self, d: int, weights: Any) -> tuple[tuple[int, int], ...]:
        return tuple((i, int(weights[i])) for i in range(len(self.atoms_of[d])) if weights[i])

    def kind(self, closings: Mapping[int, Closing]) -> LeafKind:
        """The leaf kind that claims something of these disjuncts only."""
        return tuple(closings.get(d, Closing(0, ())) for d in range(len(self.atoms_of)))

    def slack(self, points: Matrix) -> Vector:
        """(B,): by how much the best disjunct holds at each point, in float64; >= 0 suggests a witness."""
        values = self._excess(points)
        best = np.full(len(points), -np.inf)
        for atoms in self.atoms_of:
            best = np.maximum(best, -values[:, atoms].max(axis=1) if atoms else np.inf)
        return best

    def candidates(self, points: Matrix, progress: Progress) -> list[Candidate]:
        """The points that violate in float64, or the one that is nearest to it."""
        slack = self.slack(points)
        worst = int(np.argmax(slack))
        progress.closest = min(progress.closest, -float(slack[worst]))
        chosen = np.flatnonzero(slack >= 0)[:8] if slack[worst] >= 0 else [worst]
        return [Candidate(self.case, points[i], float(slack[i])) for i in chosen]

    def _excess(self, points: Matrix) -> Matrix:
        """(B, R): by how much every atom fails at each point."""
        values = self.evaluate(points) @ self.family.y_rows.T
        if self.family.x_rows is not None:
            values = values + points @ self.family.x_rows.T
        return np.asarray(values - self.thresholds)

    def optimise(
        self, lower: Matrix, upper: Matrix, y_rows: Matrix, x_rows: Matrix | None, slopes: Matrix | None,
        pins: Matrix | None, steps: int,
    ) -> Optimised:  # fmt: skip
        """`Relaxation.optimise` with NumPy arrays on both sides."""
        backend = self.relaxation.full.backend
        l, u, y, x, a, b = (
            None if v is None else backend.asarray(v) for v in (lower, upper, y_rows, x_rows, slopes, pins)
        )
        rows = self.relaxation.optimise(l, u, y, x, a, b, steps)
        return Optimised(*(backend.to_numpy(getattr(rows, f)) for f in Optimised.__dataclass_fields__))

    # Stages ----------------------------------------------------------------------------------------------------------

    def explore(self, budget: Budget) -> Iterator[list[Vector]]:
        """Bound everything at the root, stage by stage, as far as needed; may raise OutOfTime.

        Yields the points at which open disjuncts have their bounds, before each stage that takes long.
        """
        self._bound_neurons(Effort(steps=0))
        points = self._try_rows(0) + self._try_rows(STEPS)
        if self._is_open:
            yield points
            seconds = min(ALPHA_S, ALPHA_SHARE * budget.left_s)
            self._bound_neurons(Effort(seconds, ALPHA_STEPS))
            for _ in range(MOST_REPEATS):
                before = {d: excess for d, (_, _, excess) in self.best.items()}
                points = self._try_rows(STEPS)
                if not self._moves(before):
                    break
                yield points
        if self._is_open:
            self.losses = self.relaxation.root_losses()
        self.is_ready = True

    @property
    def _is_open(self) -> bool:
        return not self._root.empty and len(self.closed) < len(self.atoms_of)

    @property
    def open(self) -> list[int]:
        """The disjuncts that the root does not refute."""
        return [d for d in range(len(self.atoms_of)) if d not in self.closed] if self._is_open else []

    @property
    def _root(self) -> Root:
        assert self.found is not None, "the root is bounded first"
        return self.found

    def _bound_neurons(self, effort: Effort) -> None:
        before = 0 if self.found is None else len(self.found.recipes)
        self.found = self.relaxation.root(effort)
        # Invariant: a later derivation begins with the recipes of the one before.
        recipes = self.found.recipes[before:]
        self.stages.append(Stage(tuple(Recipe(True, tuple(_group(used) for used in recipe)) for recipe in recipes)))
        to_numpy = self.relaxation.full.backend.to_numpy
        self.lower, self.upper = to_numpy(self.found.lower), to_numpy(self.found.upper)
        self.columns = np.flatnonzero((self.lower < 0) & (self.upper > 0))
        self.best = {d: (w, s, -np.inf) for d, (w, s, _) in self.best.items()}

    def _moves(self, before: Mapping[int, float]) -> bool:
        now = {d: excess for d, (_, _, excess) in self.best.items() if d not in self.closed}
        return any(excess - before[d] > MOVES * abs(excess) for d, excess in now.items())

    def _try_rows(self, steps: int) -> list[Vector]:
        """Bound the open disjuncts' rows; with 0 steps every atom under the slope rule, else the best from there on."""
        left = [d for d in range(len(self.atoms_of)) if d not in self.closed and self.atoms_of[d]]
        if not self._is_open or not left:
            return []
        if not steps:
            lines = [(d, i) for d in left for i in range(len(self.atoms_of[d]))]
            weights = np.zeros((len(lines), self.most_atoms))
            weights[np.arange(len(lines)), [i for _, i in lines]] = 1
            return self._try(np.array([d for d, _ in lines]), weights, None, 0)
        points = self._try_best(left, steps)
        for d in left:
            if len(self.atoms_of[d]) > 1 and d not in self.closed:
                self._combine(d)
        return points

    def _try_best(self, left: list[int], steps: int) -> list[Vector]:
        weights, slopes = (np.array([self.best[d][i] for d in left]) for i in (0, 1))
        return self._try(np.array(left), weights, slopes, steps)

    def _combine(self, d: int) -> None:
        """Move the weights of a disjunct's atoms towards those that fail by more."""
        shares = self.best[d][0] / self.best[d][0].sum()
        atoms = list(self.atoms_of[d])
        for _ in range(WEIGHT_STEPS):
            weights = np.zeros(self.most_atoms)
            shares = np.maximum(shares, 0.02)
            weights[: len(atoms)] = np.rint(WEIGHT_SUM * shares[: len(atoms)] / shares[: len(atoms)].sum())
            points = self._try(np.array([d]), weights[None], self.best[d][1][None], STEPS // 2)
            if d in self.closed or not points:
                return
            fails = self._excess(points[0][None])[0, atoms]
            scale = abs(fails).max()
            if not 0 < scale < np.inf:
                return
            shares[: len(atoms)] *= np.exp(fails / scale)
            shares /= shares.sum()

    def _try(self, disjunct: Integers, weights: Matrix, slopes: Matrix | None, steps: int) -> list[Vector]:
        """Bound one row a line; close what it refutes, keep the best of what it does not."""
        count = len(disjunct)
        y_rows, x_rows = self.rows(disjunct, weights)
        lower, upper = np.tile(self.lower, (count, 1)), np.tile(self.upper, (count, 1))
        rows = self.optimise(lower, upper, y_rows, x_rows, slopes, None, steps)
        excess, closed = self.cleared(rows.value, disjunct, weights)
        for i in np.argsort(-excess, kind="stable"):
            d = int(disjunct[i])
            if closed[i] and d not in self.closed:
                vector = None if slopes is None and steps == 0 else closing_vector(rows, int(i))
                self.closed[d] = self.stages[-1].closed[d] = Closing(0, self.atoms(d, weights[i]), vector)
            if d not in self.best or excess[i] / weights[i].sum() > self.best[d][2] / self.best[d][0].sum():
                self.best[d] = weights[i], rows.free_slopes[i], float(excess[i])
        return [rows.point[i] for i in range(count) if int(disjunct[i]) not in self.closed]

    # The tree --------------------------------------------------------------------------------------------------------

    def plant(self, tree: ProofTree) -> dict[int, int]:
        """Write derivations, the leaves of what the root closed, and forks into a new tree; disjunct -> its node."""
        unstable = np.zeros(self.width, dtype=bool)
        unstable[self.columns] = True
        tree.note_unstable(unstable)
        left, goals, node = self.open, len(self.atoms_of), 0
        for stage in self.stages:
            for recipe in stage.recipes:
                tree.derive(node, recipe)
            goals -= len(stage.closed)
            if not goals or (self._root.empty and stage is self.stages[-1]):
                tree.close_leaf(node, self.kind(stage.closed))
                return {}
            if stage.closed:
                child = tree.fork(node, tuple(sorted(stage.closed)))
                tree.close_leaf(child, self.kind(stage.closed))
                node = child + 1
        places = {}
        for d in left[:-1]:
            places[d] = tree.fork(node, (d,))
            node = places[d] + 1
        places[left[-1]] = node
        return places

    def open_nodes(self, places: Mapping[int, int], lower: Vector, upper: Vector, share: float) -> Nodes:
        """A node of the tree for each of some disjuncts, worst last; lower, upper (N,): bounds in force there."""
        order = sorted(places, key=lambda d: -self._start(d)[2])
        count, starts = len(order), [self._start(d) for d in order]
        width = len(self.columns)
        one = np.zeros(count, dtype=np.int64)
        slopes = np.clip(np.floor(256 * np.array([s for _, s, _ in starts])[:, self.columns] + 0.5), 0, 255)
        parents = Parents(
            np.tile(rounded_down(lower[self.columns]), (count, 1)),
            np.tile(rounded_up(upper[self.columns]), (count, 1)),
            slopes.astype(np.uint8), np.zeros((count, -(-width // 8)), dtype=np.uint8),
            np.zeros((count, 0), dtype=np.int32), np.zeros((count, 0), dtype=np.float32),
            np.array([w for w, _, _ in starts]).astype(np.uint8),
        )  # fmt: skip
        return Nodes(
            parents, np.arange(count), one + NONE, one.astype(bool), np.array([places[d] for d in order]),
            np.array(order), np.array([e for _, _, e in starts]), one, np.full(count, share / count),
        )  # fmt: skip

    def margin_of(self, d: int) -> float:
        """By how much a disjunct's best row clears its threshold at the root (< 0 when it is open)."""
        return self._start(d)[2]

    def _start(self, d: int) -> tuple[Vector, Vector, float]:
        """Weights, slopes and margin to go on from; a disjunct without atoms has none and closes only where empty."""
        return self.best.get(d, (np.zeros(self.most_atoms), np.zeros(self.width), -np.inf))


def _group(used: RowsUsed) -> RowGroup:
    if used.slopes is None:
        return RowGroup(used.layer, None if used.neurons is None else tuple(int(j) for j in used.neurons))
    vectors = tuple(SlopeVector(slopes) for pair in used.slopes for slopes in pair)
    return RowGroup(used.layer, tuple(int(j) for j in used.neurons), 0, vectors)


def _bias(net: Prepared, v: int) -> Vector:
    node = net.nodes[v]
    assert isinstance(node, Affine), "neurons are values of Affine nodes"
    return np.asarray(node.bias)
