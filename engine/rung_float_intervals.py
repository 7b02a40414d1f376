"""Float-exact intervals: boxes run like points, by the ends that the declared order itself computes, and cut.

In one order every operation is monotone, rounding included, so a box's outputs lie between two runs on ends of its
values (ir.float_interval); there are no error terms and nothing is rounded outward.  A box is refuted where every
disjunct has an atom that is false throughout.  What stays open is bisected along the input that matters most to the
property's linear bounds; boxes of at most FEW points are run point by point, where intervals are exact.  So the rung is
an enumeration that skips: it decides every piece that enumeration does, and those with many more points where margins
exceed what intervals lose to dependency, which is much on deep networks and little on small ones and small boxes.

Measured in November 2026 on one core of an AMD EPYC with AVX-512: 1.4 million boxes a CPU second of 5-6x50-5 in the
compiled kernel (runtime_cuda.enumeration), 7 000 in NumPy.  Random networks over [-1, 1]^n with one output, and a
threshold below the least output by 1e-2 / 1e-4 / 1e-7 of the range: 5-10-1 takes 197 / 483 / 867 boxes, 10-10-1 takes
0.44 / 0.75 / 1.03 million in 0.09 / 0.16 / 0.22 s; at 0 the violation is found.  Of 5-6x50-5 the boxes that are refuted
are tiny, and the rung gives up when it sees no end (HOPELESS).

It speaks for one order only, and has nothing to say in `f32-any`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

import numpy as np

from farkas.engine.budget import Budget
from farkas.engine.ladder import Outcome, Piece, Point
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.rung_enumeration import asked, linear_rows, order_of
from farkas.engine.trusted import Word
from farkas.ir.binary32 import Float32, Order
from farkas.runtime_cuda.backend import numpy_backend
from farkas.runtime_cuda.enumeration import Executor, Float64, Int64, Points, Question, at_places, executor, places
from farkas.runtime_cuda.prepared import Prepared, prepare
from farkas.specs.boxes import binary32_box

NAME = "float-intervals"
FEW = 16  # points up to which a box is run point by point
BATCH = 4096  # boxes at a time
ENOUGH = 16  # candidates after which a search ends
PATIENCE_S = 0.5  # before it is asked whether there is an end in sight
HOPELESS = 1e5  # times the time left, as estimated from the share of the box that is settled


def float_intervals_rung(query: Query, options: Options) -> FloatIntervalsRung:
    del options
    return FloatIntervalsRung(query)


@dataclass(eq=False)
class FloatIntervalsRung:
    """The rung `float-intervals` for one query."""

    query: Query
    name: str = NAME

    @cached_property
    def runner(self) -> Executor | None:
        return executor(self.query.graph, self.order)

    @property
    def order(self) -> Order:
        return order_of(self.query.semantics)

    @cached_property
    def reals(self) -> Prepared:
        """For linear bounds over the reals, which only say where to cut."""
        return prepare(self.query.program, binary32=False, backend=numpy_backend())

    def suits(self, piece: Piece) -> bool:
        return self.query.semantics.order is not None and self.runner is not None

    def work(self, piece: Piece, budget: Budget, time_s: float) -> Outcome:
        if self.runner is None:
            return Outcome(detail=f"{self.order} defines no run of this network")
        box = binary32_box(piece.lower, piece.upper)
        if box.empty:
            return Outcome(detail="the piece has no binary32 point")
        lower, upper = box.lower, box.upper
        question = asked(self.runner, piece, box, self.query.property.outputs)
        if question is None:
            return Outcome(detail="a coefficient of the property is too long for binary64")
        end = time.monotonic() + min(time_s, budget.left_s)
        with np.errstate(all="ignore"):
            rows, _ = linear_rows(self.reals, question, lower, upper, time_s / 4)
            weights = abs(rows).max(axis=0, initial=0.0)
            cuts = _Cuts(self.runner, question, weights, budget, end)
            cuts.exhaust(lower, upper)
        detail = f"{cuts.boxes} boxes and {cuts.points} points run in {self.order}"
        if cuts.is_done and not cuts.violating and not cuts.unread:
            what = f"a box of case {piece.number}, by {detail}"
            return Outcome(word=Word((NAME,), what), covers=frozenset({self.query.semantics}), detail=detail)
        if cuts.unread:
            detail += f"; {cuts.unread} points gave no finite outputs"
        return Outcome(points=tuple(cuts.violating), detail=detail + ("" if cuts.is_done else "; not finished"))


@dataclass(eq=False)
class _Cuts:
    """Boxes of one piece, as places on the binary32 line, the last ones first.

    weights (n0,): how much an input's width matters; queue: places (B, n0) of both ends, and the shares (B,) of the
    piece, halved by every cut; settled: share that is refuted or run; unread: points whose outputs are not all finite.
    """

    runs: Executor
    question: Question
    weights: Float64
    budget: Budget
    end: float
    queue: list[tuple[Int64, Int64, Float64]] = field(default_factory=list)
    settled: float = 0.0
    boxes: int = 0
    points: int = 0
    unread: int = 0
    violating: list[Point] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        return not self.queue

    def exhaust(self, lower: Float32, upper: Float32) -> None:
        """Cut until no box is left, enough was found, time is up or no end is in sight."""
        begun = time.monotonic()
        self.queue.append((places(lower)[None], places(upper)[None], np.ones(1)))
        while self.queue and not self.budget.is_spent:
            now = time.monotonic()
            settled = max(self.settled, 1e-300)
            if now > self.end or (now > begun + PATIENCE_S and (now - begun) / settled > HOPELESS * (self.end - now)):
                return
            block = self.queue.pop()
            if len(block[0]) > BATCH:
                first, last, share = block
                self.queue.append((first[:-BATCH], last[:-BATCH], share[:-BATCH]))
                block = first[-BATCH:], last[-BATCH:], share[-BATCH:]
            self._step(*block)
            if len(self.violating) >= ENOUGH:
                return

    def _step(self, first: Int64, last: Int64, share: Float64) -> None:
        """Refute the boxes between places (B, n0), run those of few points, cut the others."""
        lower, upper = at_places(first), at_places(last)
        still = self.question.open_over(lower, upper, *self.runs.ranges(lower, upper))
        self.boxes += len(first)
        few = still & ((last - first + 1).astype(np.float64).prod(axis=1) <= FEW)
        if few.any():
            self._run(np.concatenate([_all(*ends) for ends in zip(first[few], last[few], strict=True)]))
        still &= ~few
        self.settled += float(share[~still].sum())
        if still.any():
            width = upper[still].astype(np.float64) - lower[still]
            self.queue.append((*self._cut(first[still], last[still], width), np.repeat(0.5 * share[still], 2)))

    def _cut(self, first: Int64, last: Int64, width: Float64) -> tuple[Int64, Int64]:
        """Both halves of every box, one after the other, cut at the middle value of the input of highest score."""
        score = np.where(last > first, width * self.weights + 1e-30 * width, -1.0)
        picked, rows = score.argmax(axis=1), np.arange(len(first))
        a, b = first[rows, picked], last[rows, picked]
        ends = at_places(a).astype(np.float64), at_places(b).astype(np.float64)
        # At the middle value: the middle place of 0 .. 1 is about 2^-64.
        middle = np.clip(places((0.5 * (ends[0] + ends[1])).astype(np.float32)), a, b - 1)
        first, last = np.repeat(first, 2, axis=0), np.repeat(last, 2, axis=0)
        last[2 * rows, picked] = middle
        first[2 * rows + 1, picked] = middle + 1
        return first, last

    def _run(self, x: Float32) -> None:
        """Decide points, in exact rationals where binary64 does not."""
        y = self.runs.run(x)
        self.points += len(x)
        flags, _ = self.question.judge(x, y)
        for point, outputs in zip(x[flags], y[flags], strict=True):
            if len(self.violating) >= ENOUGH:
                return
            if not np.isfinite(outputs).all():
                self.unread += 1
                continue
            exact = tuple(Fraction(float(v)) for v in point)
            if self.question.holds(exact, [Fraction(float(v)) for v in outputs]):
                self.violating.append(exact)


def _all(first: Int64, last: Int64) -> Float32:
    """All points between places."""
    points = Points(first, last - first + 1)
    return points.at(np.arange(points.count))
