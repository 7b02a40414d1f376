"""Branch and bound over boxes of input codes, and the search for codes that violate.

A box of codes is bounded by backward substitution (`integer_crown`); a disjunct is refuted where one of its rows is; a
box in which all are refuted is closed.  An open box is cut in two along the input that moves the open rows most, down
to boxes of few codes, which are run, all of them, and compared exactly.  So the search is complete, and with few
inputs it is the quicker way: on a 4-16-16-3 network with 78 codes an input it refutes in 31 boxes and 0.05 s what takes
CP-SAT 11 s with the same bounds as domains, and more than it was given with those of intervals.

Falsification is cheap here, as one run of a batch of codes is exact: random codes and corners, then the best of them
are moved one input at a time (`climb`), and every bound offers the corner at which its row is least.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from farkas.engine.budget import Budget
from farkas.engine.integer_tasks import Matrix, Task
from farkas.ir.integer_unary import Integers
from farkas.ir.linear import Vector
from farkas.runtime_cuda.integer_crown import IntegerPropagator

FEW_BITS = 6  # a box of up to 2^6 vectors of codes is run instead of cut
BATCH = 64
LARGEST_BATCH = 1 << 22  # boxes times values of the network
SAMPLES = 512
CLIMBERS = 4
MOVES = 8  # codes tried for an input in one step of a climb


@dataclass(eq=False)
class CodeSearch:
    """One task; positions index the task's lists of codes: a box is lower..upper, (n0,) positions each.

    boxes: bounded; closed: by bounds; run: boxes whose codes were all run; queue: open boxes, last one first.
    """

    task: Task
    rng: np.random.Generator
    queue: list[tuple[Integers, Integers]] = field(default_factory=list)
    boxes: int = 0
    closed: int = 0
    run: int = 0
    closest: float = np.inf
    violated: bool = False
    starts: list[tuple[Integers, int]] = field(default_factory=list)  # of climbs: positions, and the disjunct to climb

    def __post_init__(self) -> None:
        inputs = self.task.inputs
        self._sizes = np.array([len(own) for own in inputs.codes])
        self._table = np.zeros((len(inputs.codes), int(self._sizes.max())), dtype=np.int64)
        for i, own in enumerate(inputs.codes):
            self._table[i, : len(own)] = own
        self.propagator = IntegerPropagator(self.task.program, inputs.low, inputs.high)
        self.queue.append((np.zeros_like(self._sizes), self._sizes - 1))
        self._batch = max(1, min(BATCH, LARGEST_BATCH // sum(self.task.program.sizes) ** 2))

    @property
    def is_done(self) -> bool:
        """Whether the task is refuted: every code is accounted for, and none violates."""
        return not self.queue and not self.violated

    def _codes(self, positions: Integers) -> Integers:
        """(..., n0) positions -> codes."""
        return np.asarray(self._table[np.arange(len(self._sizes)), positions])

    # Falsification.

    def sample(self) -> Vector | None:
        """A point that violates among random codes, corners and the middle; keeps the best of them for `climbs`."""
        starts = self.rng.integers(0, self._sizes, (SAMPLES, len(self._sizes)))
        ends = np.where(self.rng.random(starts.shape) < 0.5, 0, self._sizes - 1)
        starts = np.where(self.rng.random((SAMPLES, 1)) < 0.5, ends, starts)
        starts[0] = self._sizes // 2
        slack = self._slack(starts)
        self.starts = [(starts[k], d) for d in range(slack.shape[1]) for k in np.argsort(-slack[:, d])[:CLIMBERS]]
        return self._violating(starts[slack.max(axis=1) >= 0])

    def climbs(self, budget: Budget) -> Iterator[Vector]:
        """Points that violate, as climbs from the best samples of each disjunct meet them."""
        for start, disjunct in self.starts:
            if budget.is_spent:
                return
            found = self._climb(start, disjunct, budget)
            if found is not None:
                yield found

    def _climb(self, positions: Integers, disjunct: int, budget: Budget) -> Vector | None:
        """Move one input at a time to where the disjunct's slack is largest, until no move helps."""
        best = float(self._slack(positions[None])[0, disjunct])
        while not budget.is_spent:
            moved = self._moves(positions)
            slack = self._slack(moved)[:, disjunct]
            k = int(slack.argmax())
            if slack[k] <= best:
                return None
            positions, best = moved[k], float(slack[k])
            if best >= 0:
                found = self._violating(positions[None])
                if found is not None:
                    return found
        return None

    def _moves(self, positions: Integers) -> Integers:
        """Neighbours that differ in one input: its ends, its neighbours, and random positions."""
        n = len(positions)
        owner = np.repeat(np.arange(n), MOVES)
        targets = self.rng.integers(0, self._sizes[:, None], (n, MOVES))
        targets[:, 0], targets[:, 1] = 0, self._sizes - 1
        targets[:, 2], targets[:, 3] = positions - 1, positions + 1
        moved = np.repeat(positions[None], n * MOVES, axis=0)
        moved[np.arange(n * MOVES), owner] = np.clip(targets, 0, self._sizes[:, None] - 1).reshape(-1)
        return moved

    def _slack(self, positions: Integers) -> Matrix:
        """(K, disjuncts): by how much the tightest atom of each disjunct holds, in float64."""
        rows, codes = self.task.rows, self._codes(positions)
        free = rows.limits - rows.values(self.task.outputs(codes), codes, self.task.inputs)
        slack = np.stack([free[:, own].min(axis=1, initial=np.inf) for own in rows.disjuncts], axis=1)
        self.closest = min(self.closest, -float(slack.max(initial=-np.inf)))
        return slack

    def _violating(self, positions: Integers) -> Vector | None:
        found = self.task.violating(self._codes(positions)) if len(positions) else None
        self.violated |= found is not None
        return found

    # Branch and bound.

    def rounds(self, budget: Budget) -> Iterator[Vector | None]:
        """Work until the queue is empty; after each batch a point that violates, if one was met."""
        while self.queue and not budget.is_spent:
            taken = self.queue[-self._batch :]
            del self.queue[-self._batch :]
            small = [box for box in taken if self._is_small(box)]
            for box in small:
                self.run += 1
                found = self._violating(_all(*box))
                if found is not None:
                    yield found
            large = [box for box in taken if not self._is_small(box)]
            if large:
                yield self._bounded(np.array([box[0] for box in large]), np.array([box[1] for box in large]))
            else:
                yield None

    def _is_small(self, box: tuple[Integers, Integers]) -> bool:
        return float(np.log2(box[1] - box[0] + 1).sum()) <= FEW_BITS

    def _bounded(self, lower: Integers, upper: Integers) -> Vector | None:
        """Bound a batch of boxes and queue the halves of those that stay open; a violating corner, if there is one."""
        rows = self.task.rows
        self.boxes += len(lower)
        low, high = self._codes(lower), self._codes(upper)
        bounded = self.propagator.bound(rows.y_rows, self.propagator.refine(low, high))
        values = bounded.value + self._input_part(low, high)
        may = rows.may_hold(values)
        open_ = np.stack([may[:, own].all(axis=1) for own in rows.disjuncts], axis=1)
        still = np.flatnonzero(open_.any(axis=1))
        self.closed += len(lower) - len(still)
        corners = []
        for b in still:
            influence = np.zeros(len(self._sizes))
            for d in np.flatnonzero(open_[b]):
                own = rows.disjuncts[d]
                if own:
                    r = own[int((values[b, own] - rows.limits[list(own)]).argmax())]
                    weight = bounded.inputs[b, r] + rows.x_rows[r]
                    influence = np.maximum(influence, abs(bounded.inputs[b, r]) + abs(rows.x_rows[r]))
                    corners.append(np.where(weight > 0, lower[b], upper[b]))
            self._cut(lower[b], upper[b], influence)
        return self._violating(np.array(corners)) if corners else None

    def _input_part(self, low: Integers, high: Integers) -> Matrix:
        """(B, R): lower bounds of the rows' terms over inputs."""
        rows, inputs = self.task.rows, self.task.inputs
        part = np.zeros((len(low), len(rows.limits)))
        for r in np.flatnonzero(rows.x_rows.any(axis=1)):
            row = rows.x_rows[r]
            ends = inputs.ends(low, row < 0), inputs.ends(high, row < 0)  # of either order: scales may be negative
            least = np.where(row < 0, np.maximum(*ends), np.minimum(*ends))
            part[:, r] = least @ row - 2.0**-44 * (abs(least) @ abs(row))
        return part

    def _cut(self, lower: Integers, upper: Integers, influence: Vector) -> None:
        width = upper - lower
        codes = self._codes(upper) - self._codes(lower)
        i = int(np.where(width > 0, influence * codes + 1e-30 * width, -1.0).argmax())
        middle = (lower[i] + upper[i]) // 2
        first, second = upper.copy(), lower.copy()
        first[i], second[i] = middle, middle + 1
        self.queue += [(lower, first), (second, upper)]


def _all(lower: Integers, upper: Integers) -> npt.NDArray[np.int64]:
    """All positions of a box, (K, n0)."""
    own = [np.arange(l, u + 1) for l, u in zip(lower, upper, strict=True)]
    return np.stack(np.meshgrid(*own, indexing="ij"), axis=-1).reshape(-1, len(own))
