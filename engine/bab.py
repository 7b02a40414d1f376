"""Branch and bound by input splitting: cut the box until every piece is provably safe or a witness appears.

Each round takes a batch of open boxes, bounds all neurons and the property's rows over them, closes the boxes in
which every disjunct of the unsafe set is impossible, and bisects the others along the input that `branching` names.
Depth first with the worst box on top, so that memory stays bounded by depth times batch and witnesses show early; the
state of a box is its corners, the inherited pre-activation bounds and its place in the proof tree.

`margin` is what a leaf must clear beyond its threshold: 0 for a plain verdict (the bounds are rounded outward), a hair
more when a certificate is wanted (the bounds then allow for the checker's grid by themselves, see `verify`).

What it rests on: soundness of `crown` (every execution of the box lies in the bounds), and children that cover the
parent (`problem.bisect`).  Wrong attribution costs time only.
Wang et al., Formal Security Analysis of Neural Networks using Symbolic Intervals, USENIX Security 2018 (input
bisection); Brix et al., VNN-COMP 2025 results for what to beat.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from farkas.engine.branching import sensitivity
from farkas.engine.budget import Budget, OutOfTime
from farkas.engine.gap import FIRST_BOXES, Sieve
from farkas.engine.problem import Family, Matrix, bisect
from farkas.engine.refutations import RULES, Refutations
from farkas.engine.tree import ProofTree
from farkas.runtime_cuda.crown import ADAPTIVE, Propagator, Refined, Rows
from farkas.runtime_cuda.native import Kernel, NativePropagator, kernel
from farkas.runtime_cuda.prepared import Prepared

INTERMEDIATE = (ADAPTIVE,)  # a second slope set saved 7 % of the boxes on ACAS Xu and cost 50 % of the time
LARGEST_BATCH = 256
PACK_BELOW = 0.85  # pack when less than this share of the neurons is alive; above, the copies cost more than they save


@dataclass(frozen=True, eq=False)
class Block:
    """Open boxes, structure of arrays, worst last.

    x_lower, x_upper (B, n0) on the grid; lower, upper (B, width) inherited bounds; case (B,) position in the family;
    node (B,) in that case's tree; score (B,) best proved margin of the parent (negative); share (B,) of all cases.
    """

    x_lower: Matrix
    x_upper: Matrix
    lower: Matrix
    upper: Matrix
    case: npt.NDArray[np.int64]
    node: npt.NDArray[np.int64]
    score: npt.NDArray[np.float64]
    share: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return int(self.case.shape[0])

    def take(self, index: Any) -> Block:
        return Block(
            self.x_lower[index],
            self.x_upper[index],
            self.lower[index],
            self.upper[index],
            self.case[index],
            self.node[index],
            self.score[index],
            self.share[index],
        )


def _join(blocks: list[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    names = ("x_lower", "x_upper", "lower", "upper", "case", "node", "score", "share")
    return Block(*(np.concatenate([getattr(b, name) for b in blocks]) for name in names))


@dataclass(eq=False)
class Progress:
    """What a search knows so far: counts, the worst open margin, the closest candidate.

    share: of the cases that open boxes (nodes) stand for, halved by every cut; rules: leaves by what closed them.
    """

    boxes: int = 0
    leaves: int = 0
    open: int = 0
    share: float = 1.0
    rules: Counter[str] = field(default_factory=Counter)
    best_bound: float = -np.inf  # no open box's parent was proved to a worse margin
    closest: float = np.inf
    batch: int = 8


@dataclass(frozen=True, eq=False)
class Candidate:
    """A point of the box of case `case` (position in the family) that may violate; its float64 slack, > 0 violates."""

    case: int
    point: npt.NDArray[np.float64]
    slack: float


@dataclass(eq=False)
class Search:
    """One family of cases; `rounds` yields after each batch, with the candidates that it met."""

    net: Prepared
    family: Family
    binary32: bool
    margin: float
    evaluate: Callable[[Matrix], Matrix]
    trees: list[ProofTree]
    progress: Progress = field(default_factory=Progress)
    queue: list[Block] = field(default_factory=list)
    away: dict[int, list[Block]] = field(default_factory=dict)  # open boxes that others work on, by loan (`subtrees`)
    stuck: list[tuple[int, int]] = field(default_factory=list)  # (case, node) that no bisection can help
    left_over: list[tuple[int, Matrix, Matrix]] = field(default_factory=list)  # their cases and boxes (n0,)
    memory_bytes: int = 4 << 30  # of the queue: above half of it boxes are taken one by one, depth first
    kernel: Kernel | None = None  # compiled bounds, where they fit the network
    sieve: Sieve | None = None  # finds boxes that only rounding errors keep open; they count as stuck

    def begin(self, elapsed_s: float = 0.0) -> None:
        """Choose who computes the bounds; nothing is open yet.  elapsed_s: since the search began elsewhere."""
        if self.family.ball is None:  # the compiled bounds know of boxes only
            self.kernel = self.kernel or kernel(self.net)
        self._begun = time.monotonic() - elapsed_s
        self._waiting = np.zeros(len(self.family.members), dtype=np.int64)
        self.progress.share = 0.0

    @property
    def elapsed_s(self) -> float:
        """Since the search began."""
        return time.monotonic() - self._begun

    def start(self) -> None:
        """Begin with the root box of every case on the queue."""
        self.begin()
        count = len(self.family.members)
        unknown = np.full((count, self.net.width), np.inf)
        index = np.arange(count)
        root = Block(
            self.family.lower,
            self.family.upper,
            -unknown,
            unknown,
            index,
            np.zeros(count, dtype=np.int64),
            np.full(count, -np.inf),
            np.full(count, 1.0 / max(1, count)),
        )
        self.push(root.take(index[::-1]))

    def push(self, block: Block) -> None:
        if len(block):
            self.queue.append(block)
            self._count(block, 1)

    def _count(self, block: Block, sign: int) -> None:
        self.progress.open += sign * len(block)
        self.progress.share += sign * float(block.share.sum())
        np.add.at(self._waiting, block.case, sign)

    def closed_cases(self) -> list[int]:
        """Cases (positions in the family) of which no box is open; between two rounds."""
        done = set(np.flatnonzero(self._waiting == 0).tolist())
        return sorted(done - {case for case, _ in self.stuck})

    def drop(self, case: int) -> None:
        """Forget the open boxes of a case: it was proved elsewhere."""
        queue, self.queue = self.queue, []
        for block in queue:
            kept = block.take(block.case != case)
            self._count(block, -1)
            self.push(kept)
        for loan, blocks in self.away.items():
            for block in blocks:
                self._count(block.take(block.case == case), -1)
            self.away[loan] = [block.take(block.case != case) for block in blocks]

    def lend(self, loan: int, count: int) -> list[Block]:
        """Take up to so many boxes off the bottom of the queue, the ones set aside first; they count as open."""
        taken: list[Block] = []
        while self.queue and count > 0:
            block = self.queue.pop(0)
            if len(block) > count:
                self.queue.insert(0, block.take(slice(count, None)))
                block = block.take(slice(0, count))
            taken.append(block)
            count -= len(block)
        self.away[loan] = taken
        return taken

    def returned(self, loan: int) -> list[Block]:
        """What is left of a loan, in the order lent, without cases dropped since; it counts as open no more."""
        blocks = self.away.pop(loan)
        for block in blocks:
            self._count(block, -1)
        return blocks

    @property
    def _batch(self) -> int:
        """Boxes of the next batch: one at a time once the queue is too large, for it then grows by one a level."""
        held = self.progress.open * (self.net.sizes[0] * 2 + self.net.width * 2) * 8
        return 1 if 2 * held > self.memory_bytes else self.progress.batch

    @property
    def is_done(self) -> bool:
        return not self.queue and not self.away

    def rounds(self, budget: Budget) -> Iterator[list[Candidate]]:
        """Work until the queue is empty or the budget is spent; the caller may stop at any yield."""
        while self.queue and not budget.is_spent:
            before = budget.elapsed_s
            block = self._pop(self._batch)
            try:
                candidates = self._step(block, budget)
            except OutOfTime:
                self.push(block)
                return
            # Blocks are sorted worst last, so each one's last score bounds it.
            self.progress.best_bound = min((float(b.score[-1]) for b in self._open()), default=np.inf)
            yield candidates
            self._adapt(budget.elapsed_s - before)

    def _open(self) -> Iterator[Block]:
        yield from self.queue
        yield from (block for blocks in self.away.values() for block in blocks if len(block))

    def cut(self, block: Block, budget: Budget) -> None:
        """Cut the boxes of a block whatever their bounds say, and put the halves on the queue; may raise OutOfTime."""
        margin, self.margin = self.margin, np.inf
        try:
            self._step(block, budget)
        finally:
            self.margin = margin

    def _adapt(self, seconds: float) -> None:
        # A quarter of a second a batch keeps the timeout to within 1 s and the progress line alive.
        batch = self.progress.batch
        if seconds > 0.25:
            self.progress.batch = max(1, batch // 2)
        elif seconds < 0.1:
            self.progress.batch = min(LARGEST_BATCH, batch * 2)

    def _pop(self, count: int) -> Block:
        taken: list[Block] = []
        while self.queue and count > 0:
            block = self.queue.pop()
            if len(block) > count:
                self.queue.append(block.take(slice(0, len(block) - count)))
                block = block.take(slice(len(block) - count, None))
            taken.append(block)
            count -= len(block)
        result = _join(taken)
        self._count(result, -1)
        return result

    def _step(self, block: Block, budget: Budget) -> list[Candidate]:
        net = self._packed(block)
        worker, refined, rows, scores = self._bounds(net, block, budget)
        verdict = Refutations(
            self.family,
            self.margin,
            net.backend,
            worker,
            refined,
            rows,
            net.backend.asarray(self.family.thresholds[block.case]),
        )
        self.progress.boxes += len(block)
        still = self._record(block, verdict)
        corners = self._corners(block, rows, verdict, still)
        candidates = self._candidates(block, corners, still)
        still = self._sifted(block, corners, verdict, still)
        if len(still):
            weights = verdict.open_weights()
            if scores is None:
                score = net.backend.to_numpy(sensitivity(net, refined, rows, net.backend.asarray(weights)))
            else:
                score = (weights[:, None] @ scores)[:, 0] * (0.5 * (block.x_upper - block.x_lower))
            self._split(block, net, refined, score[still], verdict, still)
        return candidates

    def _bounds(
        self, net: Prepared, block: Block, budget: Budget
    ) -> tuple[Propagator | NativePropagator, Refined, Rows, Matrix | None]:
        """Bounds of the block's neurons and rows; the compiled kernel scores the inputs (B, R, n0) on the way."""
        if self.kernel is not None:
            native = NativePropagator(self.kernel, budget.check)
            return native, *native.examine(
                block.x_lower, block.x_upper, block.lower, block.upper, self.family.y_rows, self.family.x_rows, RULES
            )
        asarray = net.backend.asarray
        asked = np.flatnonzero(self.family.y_rows.any(axis=0))
        worker = Propagator(net, INTERMEDIATE, budget.check, asked)
        refined = worker.refine(
            asarray(block.x_lower),
            asarray(block.x_upper),
            asarray(block.lower[:, net.kept]),
            asarray(block.upper[:, net.kept]),
            influence=True,
            ball=None if self.family.ball is None else self.family.ball.on(block.case, asarray),
        )
        x_rows = None if self.family.x_rows is None else asarray(self.family.x_rows)
        return worker, refined, worker.bound(refined.boxes, asarray(self.family.y_rows), x_rows, RULES), None

    def _packed(self, block: Block) -> Prepared:
        if self.kernel is not None or not self.net.packable:  # the kernel packs by itself, box by box
            return self.net
        alive = ~(block.upper <= 0).all(axis=0)
        if alive.mean() > PACK_BELOW:
            return self.net
        return self.net.pack(alive)

    def _record(self, block: Block, verdict: Refutations) -> npt.NDArray[np.int64]:
        """Write closed leaves into the trees; the positions that stay open."""
        closed = verdict.closed
        for b in np.flatnonzero(closed):
            self.trees[block.case[b]].close_leaf(int(block.node[b]), verdict.kind(int(b)))
        self.progress.leaves += int(closed.sum())
        self.progress.rules["rule"] += int(closed.sum())
        return np.flatnonzero(~closed)

    def _corners(self, block: Block, rows: Rows, verdict: Refutations, still: Any) -> Matrix:
        """Where the linear bound of the open row is least: the corner that the search believes in most."""
        inputs = self.net.backend.to_numpy(rows.inputs)
        corners: Matrix = block.x_lower[still]  # without atoms every point is as good as another
        if inputs.shape[2]:
            coef = inputs[still, verdict.open_rule[still], verdict.open_row[still]]
            corners = np.asarray(np.where(coef > 0, corners, block.x_upper[still]))
            if self.family.ball is not None:
                deepest = self.family.ball.lowest(coef, block.case[still])
                corners = np.clip(deepest, block.x_lower[still], block.x_upper[still])
        return corners

    def _sifted(self, block: Block, corners: Matrix, verdict: Refutations, still: Any) -> Any:
        """The open boxes that cutting may still close; the others are set aside."""
        if self.sieve is None or not len(still) or self.progress.boxes < FIRST_BOXES or self.margin == np.inf:
            return still
        if not self.sieve.is_due(self.elapsed_s):
            return still
        lower, upper, case = block.x_lower[still], block.x_upper[still], block.case[still]
        gap = self.sieve.gaps(lower, upper, case, verdict.worst[still], corners)
        self._leave(block, still[gap])
        return still[~gap]

    def _leave(self, block: Block, positions: Any) -> None:
        """Boxes that stay open for good."""
        for b in positions:
            self.stuck.append((int(block.case[b]), int(block.node[b])))
            self.left_over.append((int(block.case[b]), block.x_lower[b], block.x_upper[b]))

    def _candidates(self, block: Block, points: Matrix, still: Any) -> list[Candidate]:
        if not len(still):
            return []
        slack = self.slack(points, block.case[still])
        worst = int(np.argmax(slack))
        self.progress.closest = min(self.progress.closest, -float(slack[worst]))
        return [
            Candidate(int(block.case[still[i]]), points[i], float(slack[i])) for i in np.flatnonzero(slack >= 0)[:8]
        ] or [Candidate(int(block.case[still[worst]]), points[worst], float(slack[worst]))]

    def slack(self, points: Matrix, case: Any) -> npt.NDArray[np.float64]:
        """(B,): by how much the best disjunct of each point's case holds, in float64; >= 0 suggests a witness."""
        values = self.evaluate(points) @ self.family.y_rows.T
        if self.family.x_rows is not None:
            values = values + points @ self.family.x_rows.T
        free = self.family.thresholds[case] - values
        best = np.full(len(points), -np.inf)
        for rows in self.family.disjuncts:
            best = np.maximum(best, free[:, rows].min(axis=1) if rows else np.inf)
        return best

    def _split(
        self, block: Block, net: Prepared, refined: Refined, score: Matrix, verdict: Refutations, still: Any
    ) -> None:
        """Bisect the boxes `still` along their inputs of highest score, (len(still), n0)."""
        to_numpy = net.backend.to_numpy
        x_lower, x_upper = block.x_lower[still], block.x_upper[still]
        first, second = bisect(x_lower, x_upper, self.binary32)
        # Both halves lie in the box and are smaller than it; otherwise bisection would go on for ever.
        splittable = (first >= x_lower) & (second <= x_upper) & (first < x_upper) & (second > x_lower)
        width = x_upper - x_lower
        # Where the sensitivity is 0 everywhere (all rows constant in the free inputs), the widest input serves.
        score = np.where(splittable, score + 1e-30 * width, -1.0)
        dimension = score.argmax(axis=1)
        possible = splittable[np.arange(len(still)), dimension]
        self._leave(block, still[~possible])
        keep = np.flatnonzero(possible)
        if not len(keep):
            return
        lower, upper = np.array(block.lower[still[keep]]), np.array(block.upper[still[keep]])
        lower[:, net.kept], upper[:, net.kept] = (
            to_numpy(refined.lower)[still[keep]],
            to_numpy(refined.upper)[still[keep]],
        )
        margins = verdict.worst[still[keep]]
        self.push(
            self._children(block.take(still[keep]), lower, upper, dimension[keep], first[keep], second[keep], margins)
        )

    def _children(
        self, parent: Block, lower: Matrix, upper: Matrix, dimension: Any, first: Matrix, second: Matrix, margins: Any
    ) -> Block:
        """Both halves of every parent, worst parents last."""
        order = np.argsort(-margins, kind="stable")
        picks = np.repeat(order, 2)
        side = np.tile([0, 1], len(order))
        child = np.array([self.trees[parent.case[b]].bisect(int(parent.node[b]), int(dimension[b])) for b in order])
        x_lower, x_upper = parent.x_lower[picks], parent.x_upper[picks]
        d = dimension[picks]
        rows = np.arange(len(picks))
        x_upper[rows[side == 0], d[side == 0]] = first[picks, d][side == 0]
        x_lower[rows[side == 1], d[side == 1]] = second[picks, d][side == 1]
        node = np.repeat(child, 2) + side
        share = 0.5 * parent.share[picks]
        return Block(x_lower, x_upper, lower[picks], upper[picks], parent.case[picks], node, margins[picks], share)
