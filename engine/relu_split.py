"""Branch and bound by deciding the signs of neurons: for networks whose inputs are too many to cut.

One case is one box.  At its root all neurons are bounded (`relu_root`) and every disjunct of the unsafe set is tried,
first under a slope rule, then with optimised slopes; what stays open gets a tree of its own below a chain of forks, so
that disjuncts do not multiply each other's leaves.  Then batches of open nodes: the new sign goes into the bounds in
force, the rows of the neurons that matter are bounded again (unstable, in layers above the split, with at least a
twentieth of their layer's largest effect), the disjunct's row is optimised for a few steps from the parent's slopes and
pins, and the node closes (the bound clears the threshold, or nothing is left in it) or is split by score
(`relu_branching`); what is fully split or stands still goes to a linear program (`relu_leaves`).  Better intermediate
bounds matter far more than better final slopes: 126 nodes where fixed ones needed 5726.  But on a convolutional network
the rows of one node may cost a hundred final rows, so their number is limited by what a row was measured to cost beside
the rest of the node.

Depth first with the worst child on top, so that memory stays bounded by depth times batch; above the limit of memory
batches shrink to single nodes, and then the stack grows by one node a level.

What it rests on: soundness of `Relaxation` (every execution that obeys the signs lies in the bounds), the two signs
of a neuron cover all executions, and a bound counts only for the rounded slopes and pins that are written down.  A NaN
closes nothing, because no comparison with it holds.

Bunel et al., Branch and Bound for Piecewise Linear Neural Network Verification, JMLR 2020; Wang et al., Beta-CROWN,
NeurIPS 2021.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from farkas.engine.bab import Candidate, Progress
from farkas.engine.budget import Budget, OutOfTime
from farkas.engine.problem import Matrix, Vector
from farkas.engine.relu_branching import TRIED, babsr, worthwhile
from farkas.engine.relu_leaves import LeafPrograms
from farkas.engine.relu_nodes import NONE, Integers, Nodes, Parents, Stack, rounded_down, rounded_up, slope_values
from farkas.engine.relu_place import in_force
from farkas.engine.relu_refresh import pinned, pins_pay, plain
from farkas.engine.relu_root import CaseRoot, closing_vector
from farkas.engine.tree import Closing, ProofTree, Recipe, RowGroup
from farkas.runtime_cuda.relaxation import Optimised
from farkas.runtime_cuda.sensitivity import Losses

if TYPE_CHECKING:
    from farkas.engine.lp_leaf import LeafResult

STEPS = 4  # of slope optimisation a node: as good as 20, from the parent's slopes
LARGEST_BATCH = 512
SLOW_S, QUICK_S = 0.25, 0.1  # a batch that takes longer halves the next one, a shorter one doubles it
ROWS_SHARE = 30.0  # rows bounded again may take this many times the rest of a node
FEWEST_ROWS = 8
WORKING_ARRAYS = 64  # float64 arrays of a batch's size that bounding it may hold at once
MOVED = 1e-3  # of the margin: a split that raises it by less did not help


@dataclass(eq=False)
class Costs:
    """Seconds that rows and nodes were measured to take; how many rows a node may have bounded again."""

    row_s: float = 0.0
    node_s: float = 0.0

    def record(self, rows: int, rows_s: float, nodes: int, nodes_s: float) -> None:
        if rows:
            self.row_s = rows_s / rows if not self.row_s else 0.8 * self.row_s + 0.2 * rows_s / rows
        self.node_s = nodes_s / nodes if not self.node_s else 0.8 * self.node_s + 0.2 * nodes_s / nodes

    @property
    def most_rows(self) -> int:
        if not self.row_s:
            return 1 << 30
        return max(FEWEST_ROWS, int(ROWS_SHARE * self.node_s / self.row_s))


@dataclass(frozen=True, eq=False)
class Bounded:
    """A batch with its bounds: in force (B, N), which nodes are empty, and the optimised rows."""

    lower: Matrix
    upper: Matrix
    empty: npt.NDArray[np.bool_]
    rows: Optimised
    value: Vector  # (B,) by how much the disjunct's row clears its threshold
    closed: npt.NDArray[np.bool_]
    groups: list[list[RowGroup]]  # by node, the rows that were bounded again
    losses: Mapping[int, Losses]  # by layer, of those rows

    @property
    def unstable(self) -> npt.NDArray[np.bool_]:
        return np.asarray((self.lower < 0) & (self.upper > 0))


@dataclass(eq=False)
class ReluSearch:
    """One case; `rounds` yields after each batch, with the candidates that it met."""

    root: CaseRoot
    tree: ProofTree
    branching: str
    memory_bytes: int
    progress: Progress = field(default_factory=Progress)
    stack: Stack = field(default_factory=Stack)
    stuck: list[int] = field(default_factory=list)
    costs: Costs = field(default_factory=Costs)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.programs = LeafPrograms(self.root)
        self.pins_pay = pins_pay(self.root.relaxation)

    def start(self) -> None:
        """Begin the tree, and put the disjuncts that the root left open on the stack."""
        root = self.root
        places = root.plant(self.tree)
        if places:
            self.stack.push(root.open_nodes(places, root.lower, root.upper, 1.0))
        self.progress.leaves += len(places) < len(root.atoms_of)
        self._count()

    @property
    def is_closed(self) -> bool:
        return not len(self.stack) and not self.stuck

    def rounds(self, budget: Budget) -> Iterator[list[Candidate]]:
        """Work until the stack is empty or the budget is spent; the caller may stop at any yield."""
        while len(self.stack) and not budget.is_spent:
            before = budget.elapsed_s
            block = self.stack.pop(self._batch())
            try:
                candidates = self._step(block, budget)
            except OutOfTime:
                self.stack.push(block)
                return
            finally:
                self._count()
            spent = budget.elapsed_s - before
            self.seconds += spent
            self._adapt(spent)
            yield candidates

    def _count(self) -> None:
        self.progress.open, self.progress.share = len(self.stack), self.stack.share
        self.progress.best_bound = self.stack.worst

    def _batch(self) -> int:
        """Nodes of the next batch: by time, and within memory; one at a time once the stack is too large."""
        if 2 * self.stack.nbytes > self.memory_bytes:
            return 1
        each = 8 * WORKING_ARRAYS * (self.root.width + 2 * self.root.relaxation.full.widest)
        return max(1, min(self.progress.batch, self.memory_bytes // (2 * each)))

    def _adapt(self, seconds: float) -> None:
        batch = self.progress.batch
        if seconds > SLOW_S:
            self.progress.batch = max(1, batch // 2)
        elif seconds < QUICK_S:
            self.progress.batch = min(LARGEST_BATCH, batch * 2)

    def _step(self, block: Nodes, budget: Budget, *, close: bool = True) -> list[Candidate]:
        wanted = self._wanted(block)
        bounded = self._bound(block, wanted)
        programs = self._solve(block, bounded, budget)
        proved = bounded.closed | np.isin(np.arange(len(block)), [b for b, r in programs.items() if r.closing])
        still = np.flatnonzero(~proved) if close else np.arange(len(block))
        choice = self._choose(block, bounded, still, programs)
        # From here on nothing is interrupted: what was done is written down whole.
        self._derive(block, bounded)
        self.progress.boxes += len(block)
        for b in np.flatnonzero(proved) if close else ():
            closing = self._closing(block, bounded, int(b), programs.get(int(b)))
            self.tree.close_leaf(int(block.node[b]), self.root.kind({int(block.disjunct[b]): closing}))
            self.progress.leaves += 1
        if not len(still):
            return []
        self._split(block, bounded, still, choice, np.isin(still, list(programs)))
        return self._candidates(bounded, still, programs)

    def _solve(self, block: Nodes, bounded: Bounded, budget: Budget) -> dict[int, LeafResult]:
        """Linear programs of the open nodes that are fully split or stand still."""
        results = {}
        unstable: npt.NDArray[np.bool_] = np.any(bounded.unstable, axis=1)
        for b in np.flatnonzero(~bounded.closed)[::-1]:
            if not unstable[b] or self.programs.may_help(int(block.stalled[b]), self.seconds):
                results[int(b)] = self.programs.solve(
                    bounded.lower[b], bounded.upper[b], int(block.disjunct[b]), budget
                )
        return results

    # Bounds ----------------------------------------------------------------------------------------------------------

    def _in_force(self, block: Nodes) -> tuple[Matrix, Matrix]:
        """(B, N) each: the parents' bounds, with the new signs."""
        root, parents = self.root, block.parents
        lower, upper = np.tile(root.lower, (len(block), 1)), np.tile(root.upper, (len(block), 1))
        lower[:, root.columns] = parents.lower[block.parent]
        upper[:, root.columns] = parents.upper[block.parent]
        split = np.flatnonzero(block.neuron != NONE)
        on, off = split[block.active[split]], split[~block.active[split]]
        lower[on, block.neuron[on]] = np.maximum(lower[on, block.neuron[on]], 0.0)
        upper[off, block.neuron[off]] = np.minimum(upper[off, block.neuron[off]], 0.0)
        return lower, upper

    def _wanted(self, block: Nodes) -> dict[int, Integers]:
        """By layer the places (B, R), -1 pads, whose rows are bounded again: those that feel the split and matter."""
        root, parents = self.root, block.parents
        bits = np.unpackbits(parents.wanted[block.parent], axis=1, count=len(root.columns)).astype(bool)
        layer_of = root.layer_of[root.columns]
        split = np.full(len(block), len(root.layers))
        split[block.neuron != NONE] = root.layer_of[block.neuron[block.neuron != NONE]]
        bits &= layer_of[None] >= split[:, None] if self.pins_pay else layer_of[None] > split[:, None]
        chosen = {}
        for k, slot in root.layers.items():
            mine = np.flatnonzero(layer_of == k)
            if not len(mine) or not bits[:, mine].any():
                continue
            mask = bits[:, mine]
            most = int(mask.sum(axis=1).max())
            order = np.argsort(~mask, axis=1, kind="stable")[:, :most]
            places = root.columns[mine] - slot.start
            chosen[k] = np.where(np.take_along_axis(mask, order, axis=1), places[order], NONE)
        return chosen

    def _bound(self, block: Nodes, wanted: dict[int, Integers]) -> Bounded:
        root, relaxation = self.root, self.root.relaxation
        start = time.thread_time()
        found = (pinned if self.pins_pay else plain)(relaxation, *self._in_force(block), wanted)
        lower, upper, empty = found.lower, found.upper, found.empty
        # Contradictory bounds are no basis for a relaxation; the node is closed by them.
        lower[empty], upper[empty] = root.lower, root.upper
        middle = time.thread_time()
        rows = self._optimise(block, lower, upper, STEPS)
        rows_count = sum(int((p != NONE).sum()) for p in wanted.values())
        self.costs.record(rows_count, middle - start, len(block), time.thread_time() - middle)
        value, closed = root.cleared(rows.value, block.disjunct, block.parents.weights[block.parent])
        return Bounded(lower, upper, empty, rows, value, closed | empty, found.groups, found.losses)

    def _optimise(self, block: Nodes, lower: Matrix, upper: Matrix, steps: int) -> Optimised:
        root, parents = self.root, block.parents
        slopes = np.zeros(lower.shape)
        slopes[:, root.columns] = slope_values(parents.slopes[block.parent])
        pins = np.zeros(lower.shape)
        path = parents.path[block.parent]
        lines, at = np.nonzero(path != NONE)
        pins[lines, path[lines, at]] = parents.pins[block.parent][lines, at]
        y_rows, x_rows = root.rows(block.disjunct, parents.weights[block.parent])
        return root.optimise(lower, upper, y_rows, x_rows, slopes, pins, steps)

    # What a batch leaves behind --------------------------------------------------------------------------------------

    def _derive(self, block: Nodes, bounded: Bounded) -> None:
        """Write into the tree which rows were bounded again."""
        for node, groups in zip(block.node, bounded.groups, strict=True):
            if groups:
                self.tree.derive(int(node), Recipe(False, tuple(groups)))

    def _closing(self, block: Nodes, bounded: Bounded, b: int, result: LeafResult | None) -> Closing:
        """Why node b is closed; counted by its rule."""
        rules = self.progress.rules
        if bounded.empty[b]:
            rules["empty"] += 1
            return Closing(0, ())
        if bounded.closed[b]:
            vector = closing_vector(bounded.rows, b)
            rules["pins" if vector.pins else "slopes"] += 1
            return Closing(0, self.root.atoms(int(block.disjunct[b]), block.parents.weights[block.parent[b]]), vector)
        assert result is not None and result.closing is not None, f"node {block.node[b]} is open"
        rules["lp"] += 1
        return result.closing

    # Branching -------------------------------------------------------------------------------------------------------

    def _choose(
        self, block: Nodes, bounded: Bounded, still: Integers, programs: dict[int, LeafResult]
    ) -> tuple[Integers, Matrix]:
        """(len(still),) the neurons to split, NONE where all are stable, and what better bounds of each would bring."""
        root, rows = self.root, bounded.rows
        lower, upper, below = bounded.lower[still], bounded.upper[still], rows.below[still]
        unstable = bounded.unstable[still]
        scored, worth = self._scores(bounded, still)
        if not unstable.shape[1]:
            return np.full(len(still), NONE), worth  # a network without neurons
        score = scored if self.branching == "sensitivity" else babsr(root.biases, lower, upper, below)
        # Where no neuron costs the bound anything, any unstable one serves, the widest first.
        score = np.where(unstable, score + 1e-30 * np.minimum(-lower, upper), -1.0)
        neuron = score.argmax(axis=1)
        if self.branching == "fsb" and len(still):
            neuron = self._tried(block, bounded, still, score)
        for i, b in enumerate(still):
            if b in programs and programs[b].branch >= 0 and unstable[i, programs[b].branch]:
                neuron[i] = programs[b].branch
        return np.where(unstable[np.arange(len(still)), neuron], neuron, NONE), worth

    def _scores(self, bounded: Bounded, still: Integers) -> tuple[Matrix, Matrix]:
        """(len(still), N) each: what a split of every neuron, and what tighter bounds of it, would bring."""
        root, backend = self.root, self.root.relaxation.full.backend
        part = backend.asarray(still)
        fresh = {k: Losses(l.neurons[part], l.columns, l.low[part], l.high[part]) for k, l in bounded.losses.items()}
        lower, upper = backend.asarray(bounded.lower[still]), backend.asarray(bounded.upper[still])
        rows = bounded.rows
        rows = replace(rows, below=backend.asarray(rows.below[still]), z=backend.asarray(rows.z[still]))
        scores = root.relaxation.sensitivity(lower, upper, rows, root.losses, fresh)
        return backend.to_numpy(scores.score), backend.to_numpy(scores.worth)

    def _tried(self, block: Nodes, bounded: Bounded, still: Integers, score: Matrix) -> Integers:
        """Of the best neurons of each node the one whose worse child has the best bound, from the node's own slopes."""
        best = np.argsort(-score, axis=1, kind="stable")[:, :TRIED]
        count = best.shape[1]
        lines = np.repeat(still, 2 * count)
        neuron, active = np.repeat(best.ravel(), 2), np.tile([False, True], best.size)
        lower, upper = bounded.lower[lines], bounded.upper[lines]
        at = np.arange(len(lines))
        lower[at[active], neuron[active]] = 0.0
        upper[at[~active], neuron[~active]] = 0.0
        y_rows, x_rows = self.root.rows(block.disjunct[lines], block.parents.weights[block.parent[lines]])
        rows = self.root.optimise(
            lower, upper, y_rows, x_rows, bounded.rows.free_slopes[lines], bounded.rows.free_pins[lines], 0
        )
        value = np.where(np.isfinite(rows.value), rows.value, -np.inf).reshape(len(still), count, 2)
        possible = np.take_along_axis(score, best, axis=1) >= 0
        gain = np.where(possible, value.min(axis=2), -np.inf)
        return np.asarray(best[np.arange(len(still)), gain.argmax(axis=1)])

    def _split(
        self, block: Nodes, bounded: Bounded, still: Integers, choice: tuple[Integers, Matrix], moved: Any
    ) -> None:
        """Put the children of the nodes `still` on the stack, the worst parents' last."""
        neuron, worth = choice
        self.stuck.extend(int(n) for n in block.node[still[neuron == NONE]])
        order = np.flatnonzero(neuron != NONE)
        if len(order):
            order = order[np.argsort(-bounded.value[still[order]], kind="stable")]
            self.stack.push(self._children(block, bounded, still[order], neuron[order], worth[order], moved[order]))

    def _children(
        self, block: Nodes, bounded: Bounded, keep: Integers, neuron: Integers, worth: Matrix, moved: Any
    ) -> Nodes:
        """Both signs of the neurons, in the order given (the worst last); moved: by a linear program of their own."""
        root = self.root
        wanted = worthwhile(worth, root.layers, root.width if self.pins_pay else self.costs.most_rows)
        parents = self._parents(block, bounded, keep, wanted[:, root.columns])
        first = np.array(
            [self.tree.split_neuron(int(block.node[b]), int(n)) for b, n in zip(keep, neuron, strict=True)]
        )
        both = np.repeat(np.arange(len(keep)), 2)
        side = np.tile([0, 1], len(keep))
        before = np.where(np.isfinite(block.value[keep]), block.value[keep], 0.0)
        moved = moved | (bounded.value[keep] > before + MOVED * abs(before)) | ~np.isfinite(block.value[keep])
        stalled = np.where(moved, 0, block.stalled[keep] + 1)
        return Nodes(
            parents, both, neuron[both], side == 1, first[both] + side, block.disjunct[keep][both],
            bounded.value[keep][both], stalled[both], 0.5 * block.share[keep][both],
        )  # fmt: skip

    def _parents(self, block: Nodes, bounded: Bounded, keep: Integers, wanted: Any) -> Parents:
        root, rows = self.root, bounded.rows
        old = block.parents.take(block.parent[keep])
        path = np.concatenate([old.path, block.neuron[keep][:, None].astype(np.int32)], axis=1)
        pins = np.take_along_axis(rows.free_pins[keep], np.maximum(path, 0), axis=1).astype(np.float32)
        return Parents(
            rounded_down(bounded.lower[keep][:, root.columns]), rounded_up(bounded.upper[keep][:, root.columns]),
            rows.slopes[keep][:, root.columns], np.packbits(wanted, axis=1), path, np.where(path == NONE, 0, pins),
            old.weights,
        )  # fmt: skip

    def _candidates(self, bounded: Bounded, still: Any, programs: dict[int, LeafResult]) -> list[Candidate]:
        """Where the bounds of the open nodes are attained: the points that the search believes in most."""
        points = [bounded.rows.point[still], *(self.programs.points(r) for r in programs.values())]
        return self.root.candidates(np.concatenate(points), self.progress)

    # Repair ----------------------------------------------------------------------------------------------------------

    def reopen(self, node: int, budget: Budget) -> None:
        """Take back the closing of a leaf and split it whatever its bounds say; may raise OutOfTime."""
        self.tree.reopen(node)
        place = in_force(self.root, self.tree, node)
        nodes = {}
        for d in place.goals[:-1]:
            nodes[d] = self.tree.fork(node, (d,))
            node = nodes[d] + 1
        nodes[place.goals[-1]] = node
        block = self.root.open_nodes(nodes, place.lower, place.upper, 0.0)
        try:
            self._step(block, budget, close=False)
        except OutOfTime:
            self.stack.push(block)
            raise
        finally:
            self._count()
