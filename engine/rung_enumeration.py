"""Enumeration: every binary32 point of a small piece is run, bit for bit; in large ones the likeliest neighbourhoods.

A piece of 10^6 to 10^9 points is decided for one order by running all of them (runtime_cuda.enumeration, some 6 million
a second for networks of the size of ACAS Xu); the word names their count and a digest of all outputs, by which another
executor can confirm it.  A point that the sweep flags is looked at again in exact rationals; one with an output that is
no number decides nothing, and then there is no word.

What cannot be counted out is searched.  A piece ends up here because its margin over the reals is of the size of
rounding errors, so a violation is a matter of luck with the last bits where the margin is least: at the corner to which
the linear bounds of a disjunct's rows point, when the neurons there are stable.  So the ulp neighbourhoods of these
corners are counted out, as far as they have no more than NEAR points, and then random ones of all widths around the
best points so far, until the time is over.  On ACAS Xu 1_1, where 897 of the 2^20 points at a corner of a box of 2.7e17
violate, this takes 0.1 s; of 3 000 points drawn from the whole box none does.

Every point found is a candidate: it violates in the executor that ran it, and the replay decides.  In `f32-any` the
executor is the order that onnxruntime was measured to use; networks that the kernel does not run are searched on
onnxruntime itself, which is faster than the reference and what the replay asks last.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

import numpy as np

from farkas.engine.budget import Budget, OutOfTime
from farkas.engine.ladder import Outcome, Piece, Point
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.runtime import Executor as Loaded
from farkas.engine.runtime import RuntimeFailure, runtime_of
from farkas.engine.trusted import Word
from farkas.ir.binary32 import Float32, Order
from farkas.runtime_cuda.backend import numpy_backend
from farkas.runtime_cuda.crown import ADAPTIVE, Propagator
from farkas.runtime_cuda.enumeration import (
    Executor,
    Float64,
    Points,
    Question,
    Sweep,
    count_between,
    executor,
    step_by,
    swept,
)
from farkas.runtime_cuda.prepared import Prepared, prepare
from farkas.specs.boxes import Box32, binary32_box
from farkas.specs.query import Atom, Semantics

NAME = "enumeration"
RADIUS = 16  # ulps on each side of a corner that are counted out
NEAR = 1 << 22  # points of a neighbourhood up to which it is counted out
SLICE_S = 0.05
FASTEST = 1e9  # points a second that no network reaches: more than that is not even tried
LONGEST = 2**34  # points of a sweep
POOL = 16  # best points around which more are drawn
FEW = 1 << 12  # points that are all run in a declared order, however slowly
ENOUGH = 16  # candidates after which a search ends
WIDEST = 24  # random steps go up to 2^24 places, a binade and more


def enumeration_rung(query: Query, options: Options) -> EnumerationRung:
    return EnumerationRung(query, options.seed)


def order_of(semantics: Semantics) -> Order:
    """The order in which a piece is looked at: the declared one; in `f32-any` that of onnxruntime."""
    match semantics.order:
        case "seq-muladd" | "seq-fma" as order:
            return order
        case _:
            return "mlas-k256-fma"


@dataclass(eq=False)
class EnumerationRung:
    """The rung `enumeration` for one query."""

    query: Query
    seed: int = 0
    name: str = NAME

    @cached_property
    def runner(self) -> tuple[Order, Executor] | None:
        """Who runs the points; in `f32-any` another order where that of onnxruntime is not defined."""
        orders: list[Order] = [order_of(self.query.semantics)]
        if self.query.semantics is Semantics.F32_ANY:
            orders.append("seq-fma")
        for order in orders:
            found = executor(self.query.graph, order)
            if found is not None:
                return order, found
        return None

    @cached_property
    def runtime(self) -> Executor | None:
        """onnxruntime, to search in `f32-any` what the kernel does not run."""
        if self.query.semantics is not Semantics.F32_ANY:
            return None
        try:
            return OnRuntime(runtime_of(self.query.parts), self.query.ties.columns)
        except RuntimeFailure:
            return None

    @cached_property
    def reals(self) -> Prepared:
        """For linear bounds over the reals, which only say where to look."""
        return prepare(self.query.program, binary32=False, backend=numpy_backend())

    def suits(self, piece: Piece) -> bool:
        return self.query.semantics.is_binary32 and self.runner is not None

    def work(self, piece: Piece, budget: Budget, time_s: float) -> Outcome:
        if self.runner is None:
            return Outcome(detail="no declared order runs this network")
        order, runs = self.runner
        box = binary32_box(piece.lower, piece.upper)
        if box.empty:
            return Outcome(detail="the piece has no binary32 point")
        lower, upper = box.lower, box.upper
        question = asked(runs, piece, box, self.query.property.outputs)
        if question is None:
            return Outcome(detail="a coefficient of the property is too long for binary64")
        if not runs.compiled and count_between(lower, upper) > FEW and self.runtime is not None:
            return self._searched(self.runtime, question, box, budget, time_s)
        with np.errstate(all="ignore"):
            hunt = _Hunt(runs, question, lower, upper, budget, time.monotonic() + min(time_s, budget.left_s))
            if hunt.sweep(lower, upper, complete=True):
                return self._swept(hunt, order, piece)
            hunt.search(self._corners(question, lower, upper, time_s), np.random.default_rng(self.seed))
        return Outcome(points=hunt.candidates, detail=f"{hunt.extent} points run in {order}")

    def _searched(self, runs: Executor, question: Question, box: Box32, budget: Budget, time_s: float) -> Outcome:
        """A search on onnxruntime: candidates and nothing else, for its order is not a declared one."""
        with np.errstate(all="ignore"):
            hunt = _Hunt(runs, question, box.lower, box.upper, budget, time.monotonic() + min(time_s, budget.left_s))
            hunt.search(self._corners(question, box.lower, box.upper, time_s), np.random.default_rng(self.seed))
        return Outcome(points=hunt.candidates, detail=f"{hunt.extent} points run in onnxruntime")

    def _swept(self, hunt: _Hunt, order: Order, piece: Piece) -> Outcome:
        """What an enumeration says that was complete, but for having found enough."""
        detail = f"{hunt.looked} points run in {order}"
        if hunt.violating or hunt.unread:
            lost = f"; {hunt.unread} gave no finite outputs" if hunt.unread else ""
            return Outcome(points=hunt.candidates, detail=f"{detail}, {len(hunt.violating)} violate{lost}")
        what = f"a box of case {piece.number}: its {hunt.looked} binary32 points in {order}, digest {hunt.digest:016x}"
        return Outcome(
            word=Word((NAME,), what), covers=frozenset({Semantics(f"f32-order:{order}")}), detail=f"all {detail}"
        )

    def _corners(self, question: Question, lower: Float32, upper: Float32, time_s: float) -> list[Float32]:
        """Where the linear bounds of the rows are least over the box, the least of them first."""
        rows, values = linear_rows(self.reals, question, lower, upper, time_s / 4)
        return [np.where(rows[i] > 0, lower, upper) for i in np.argsort(values, kind="stable")]


@dataclass(frozen=True, eq=False)
class OnRuntime:
    """onnxruntime as an executor of points, in an order of its own; columns: what each input of the networks is."""

    runtime: Loaded
    columns: tuple[int, ...]
    compiled: bool = False
    batch: int = 64

    def run(self, x: Float32) -> Float32:
        return self.runtime.run(x[..., self.columns])

    def ranges(self, lower: Float32, upper: Float32) -> tuple[Float32, Float32]:
        """Nothing is known of boxes."""
        del upper
        nothing = np.full((len(lower), self.run(lower[:1]).shape[1]), np.nan, dtype=np.float32)
        return nothing, nothing

    def sweep(self, points: Points, question: Question, begin: int, count: int) -> Sweep:
        return swept(self.run, points, question, begin, min(count, self.batch))


def asked(runs: Executor, piece: Piece, box: Box32, outputs: int) -> Question | None:
    """What is asked of every point of a piece; None where binary64 cannot hold it.

    A run with an output that is no number refutes nothing, also where no atom reads that output.  So unless float-exact
    intervals show that there are none, disjuncts are added that are false of all numbers, and of nothing else.
    """
    disjuncts = [piece.case.disjuncts[d] for d in piece.disjuncts]
    low, high = runs.ranges(box.lower[None], box.upper[None])
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        disjuncts += [(Atom((), ((j, Fraction(1)),), Fraction(-(2**200))),) for j in range(outputs)]
    return Question.of(disjuncts, len(piece.lower), outputs)


def linear_rows(
    net: Prepared, question: Question, lower: Float32, upper: Float32, time_s: float
) -> tuple[Float64, Float64]:
    """Coefficients (R, n0) over the inputs and values (R,) of linear lower bounds on a box, a guide.

    Of every row of the question, and of the sum of each disjunct's; none when that takes more than `time_s`.
    """
    groups = [[r] for r in range(len(question.threshold))]
    groups += [list(range(a, b)) for a, b in pairwise(question.first.tolist()) if b - a > 1]
    nothing = np.zeros((0, len(lower))), np.zeros(0)
    if not groups:
        return nothing
    worker = Propagator(net, (ADAPTIVE,), Budget.of(time_s).check)
    unknown = np.full((1, net.width), np.inf)
    low, high = lower.astype(np.float64)[None], upper.astype(np.float64)[None]
    y_rows = np.array([question.y_rows[g].sum(axis=0) for g in groups])
    x_rows = question.x_rows
    x_sums = None if x_rows is None else np.array([x_rows[g].sum(axis=0) for g in groups])
    try:
        rows = worker.bound(worker.refine(low, high, -unknown, unknown).boxes, y_rows, x_sums, (ADAPTIVE,))
    except OutOfTime:
        return nothing
    return rows.inputs[0, 0], rows.value[0, 0]


@dataclass(eq=False)
class _Hunt:
    """Points of one piece being run, and what was found.

    looked: points run; unread: flagged points whose outputs are not all finite; violating: (v, point) of those that
    violate, in exact rationals; digest: of a sweep.
    """

    runs: Executor
    question: Question
    lower: Float32
    upper: Float32
    budget: Budget
    end: float
    looked: int = 0
    unread: int = 0
    digest: int = 0
    violating: list[tuple[float, Point]] = field(default_factory=list)

    @property
    def candidates(self) -> tuple[Point, ...]:
        """The violating points, the clearest first, each once."""
        ranked = sorted(self.violating, key=lambda found: found[0])
        return tuple(dict.fromkeys(point for _, point in ranked))[:ENOUGH]

    @property
    def extent(self) -> str:
        """How much of the box was looked at."""
        return f"{self.looked} of some 2^{count_between(self.lower, self.upper).bit_length() - 1}"

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.end or self.budget.is_spent

    def sweep(self, lower: Float32, upper: Float32, *, complete: bool) -> bool:
        """Run all points of a box, or stop at a violation; False when that does not fit into the time.

        complete: give up as soon as it cannot be done in time.
        """
        count, begun = count_between(lower, upper), time.monotonic()
        if count > min(FASTEST * (self.end - begun), LONGEST):
            return False
        points, done, size = Points.between(lower, upper), 0, 1 << 10
        self.digest = 0
        while done < count:
            if self.is_over:
                return False
            before = time.monotonic()
            seen = self.runs.sweep(points, self.question, done, min(size, count - done))
            done, self.looked = done + seen.done, self.looked + seen.done
            self.digest = (self.digest + seen.digest) % 2**64
            if seen.flagged:
                self._settle(points.at(seen.flagged))
            if len(self.violating) >= ENOUGH or (self.violating and not complete):
                return True
            now = time.monotonic()
            size = size * 2 if now - before < SLICE_S else size
            spent = max(now - begun, 1e-6)
            if complete and spent > SLICE_S and (count - done) * (spent / done) > 1.25 * (self.end - now):
                return False
        return True

    def search(self, corners: list[Float32], rng: np.random.Generator) -> None:
        """Neighbourhoods of the corners, counted out; then random ones of the best points."""
        for corner in corners:
            low = np.maximum(self.lower, step_by(corner, -RADIUS))
            high = np.minimum(self.upper, step_by(corner, RADIUS))
            if count_between(low, high) <= NEAR:
                self.sweep(low, high, complete=False)
            if self.violating or self.is_over:
                return
        span = self.upper.astype(np.float64) - self.lower
        drawn = (self.lower + span * rng.random((self.runs.batch, len(span)))).astype(np.float32)
        points = self._inside(np.array([*corners, self.lower, self.upper, *drawn], dtype=np.float32))
        pool, values = points[:0], np.zeros(0)
        while True:
            for part in range(0, len(points), self.runs.batch):
                some = points[part : part + self.runs.batch]
                pool, values = np.concatenate([pool, some]), np.concatenate([values, self._run(some)])
                if self.violating or self.is_over:
                    return
            best = np.argsort(values, kind="stable")[:POOL]
            pool, values = pool[best], values[best]
            points = self._around(pool, rng)

    def _around(self, pool: Float32, rng: np.random.Generator) -> Float32:
        """Points at random distances from those of the pool, in all inputs or in some."""
        parents = pool[rng.integers(0, len(pool), self.runs.batch)]
        reach = np.exp2(rng.uniform(0, WIDEST, (len(parents), 1)))
        steps = np.rint(rng.uniform(-reach, reach, parents.shape)).astype(np.int64)
        steps *= rng.random(parents.shape) < rng.choice([1.0, 0.5, 2.0 / parents.shape[1]], (len(parents), 1))
        return self._inside(step_by(parents, steps))

    def _inside(self, points: Float32) -> Float32:
        return np.clip(points, self.lower, self.upper)

    def _run(self, points: Float32) -> Float64:
        """Look at points; per point the least v of a disjunct."""
        outputs = self.runs.run(points)
        self.looked += len(points)
        flags, least = self.question.judge(points, outputs)
        if flags.any():
            self._settle(points[flags])
        return np.where(np.isnan(least), np.inf, least)

    def _settle(self, points: Float32) -> None:
        """Decide flagged points in exact rationals."""
        outputs = self.runs.run(points)
        _, least = self.question.judge(points, outputs)
        for x, y, value in zip(points, outputs, least, strict=True):
            if not np.isfinite(y).all():
                self.unread += 1
                continue
            point = tuple(Fraction(float(v)) for v in x)
            if self.question.holds(point, [Fraction(float(v)) for v in y]):
                self.violating.append((float(value), point))
