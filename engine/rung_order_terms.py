"""Declared-order terms: a piece bounded again, with what one order of accumulation may round away instead of any.

The bounds are those of `crown`; only the error of a summation group differs: `ir.order_terms` knows the partial sums of
a declared order, so its terms are 5 to 15 times smaller than those that cover every order.  What the any-order terms
left open by no more than that is closed here, perhaps after a few cuts of the piece's box, for that order alone.
Groups whose sums the order does not speak of, and other operators, keep their any-order term, which covers each order.

A search ends when a point of the piece stays open by itself: the terms at a point are as small as they get.

The leaves are those of input splitting, so the proof has its form; but the checker knows no terms of a declared order,
and so it is an engine's word.  In `f32-any` nothing is proved here: the corners that the bounds believe in most are
candidates.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from farkas.engine.bab import INTERMEDIATE, Block, Candidate, Search
from farkas.engine.budget import Budget, OutOfTime
from farkas.engine.ladder import Outcome, Piece, Point
from farkas.engine.options import Options
from farkas.engine.problem import Family, Matrix, families
from farkas.engine.query import Query
from farkas.engine.refutations import RULES, Refutations
from farkas.engine.rung_enumeration import order_of
from farkas.engine.tree import ProofTree
from farkas.engine.trusted import Word
from farkas.ir.core import run_float
from farkas.ir.errors import FarkasError
from farkas.ir.execute import execute
from farkas.ir.order_terms import OrderTerms
from farkas.runtime_cuda.backend import numpy_backend
from farkas.runtime_cuda.crown import Boxes, Propagator, Refined, Rows
from farkas.runtime_cuda.enumeration import work
from farkas.runtime_cuda.prepared import Prepared, prepare
from farkas.specs.boxes import Box32, binary32_box
from farkas.specs.query import Case

NAME = "order-terms"
LARGEST_WORK = 5e7  # multiplications of a run: its terms cost some thirty times as much
BOXES = 50_000  # after which a piece is left to others
FIRST_BOXES = 64  # in `f32-any`, where only candidates come out
ENOUGH = 16  # candidates


def order_terms_rung(query: Query, options: Options) -> OrderTermsRung:
    del options
    return OrderTermsRung(query)


@dataclass(eq=False)
class OrderTermsRung:
    """The rung `order-terms` for one query."""

    query: Query
    name: str = NAME

    @cached_property
    def terms(self) -> OrderTerms | None:
        """The terms of the order in question; None where it defines no run of this network, or one too long."""
        order, inputs = order_of(self.query.semantics), self.query.property.inputs
        if work(self.query.graph) > LARGEST_WORK:
            return None
        try:
            execute(self.query.graph, np.zeros((1, inputs), dtype=np.float32), order)
            return OrderTerms(self.query.graph, order)
        except FarkasError:
            return None

    @cached_property
    def net(self) -> Prepared:
        """The program with any-order terms where the order's do not take their place."""
        assert self.terms is not None, "only orders that define a run are worked on"
        net = prepare(self.query.program, binary32=True, backend=numpy_backend())
        covered = self.terms.covered
        layers = {v: replace(layer, binary32=layer.binary32 and v not in covered) for v, layer in net.layers.items()}
        return replace(net, layers=layers)

    def suits(self, piece: Piece) -> bool:
        return self.query.semantics.is_binary32 and self.terms is not None

    def work(self, piece: Piece, budget: Budget, time_s: float) -> Outcome:
        if self.terms is None:
            return Outcome(detail="the order defines no run of this network")
        order = order_of(self.query.semantics)
        decides = self.query.semantics.order is not None
        box = binary32_box(piece.lower, piece.upper)
        if box.empty:
            return Outcome(detail="the piece has no binary32 point")
        search = OrderSearch(
            self.net,
            family_of(piece, box, self.query.property.outputs),
            True,
            0.0,
            lambda x: np.asarray(run_float(self.query.program, x)[self.query.program.output]),
            [ProofTree()],
            execution=self.execution,
        )
        search.start()
        limit = BOXES if decides else FIRST_BOXES
        with np.errstate(all="ignore"):
            met = search.exhaust(within(budget, time_s), limit)
        points = candidates(box, met)
        boxes = search.progress.boxes
        if search.is_done and not search.stuck and decides:
            what = f"a box of case {piece.number}, by bounds with the rounding errors of {order} on {boxes} boxes"
            return Outcome(word=Word((NAME,), what), covers=frozenset({self.query.semantics}), detail=f"{boxes} boxes")
        left = search.progress.open + len(search.stuck)
        why = "; a point among them stays open by itself" if search.is_hopeless else ""
        return Outcome(points=points, detail=f"{boxes} boxes bounded in {order}, {left} open{why}")

    def execution(self, node: int, boxes: Boxes) -> Any:
        """What the order rounds away at a node."""
        assert self.terms is not None, "only orders that define a run are worked on"
        if node not in self.terms.covered:
            return 0.0
        return self.terms.errors(node, boxes.lower, boxes.upper)


def family_of(piece: Piece, box: Box32, outputs: int) -> Family:
    """A piece as a family of one case, its binary32 points in a box on the grid of input splitting."""
    case = Case(piece.lower, piece.upper, tuple(piece.case.disjuncts[d] for d in piece.disjuncts))
    lower, upper = box.lower.astype(np.float64), box.upper.astype(np.float64)
    ends = np.floor(lower * 2.0**32) * 2.0**-32, np.ceil(upper * 2.0**32) * 2.0**-32
    (family,) = families([case], [ends], outputs)
    return family


def within(budget: Budget, time_s: float) -> Budget:
    """A budget of at most `time_s` seconds from now on that ends no later than the given one."""
    return Budget(min(time_s, budget.left_s), time.monotonic())


def candidates(box: Box32, found: list[Candidate]) -> tuple[Point, ...]:
    """Binary32 points of the box at the candidates, the most promising first, each once."""
    ranked = sorted(found, key=lambda candidate: -candidate.slack)
    points = [np.clip(candidate.point.astype(np.float32), box.lower, box.upper) for candidate in ranked]
    return tuple(dict.fromkeys(tuple(Fraction(float(v)) for v in point) for point in points))[:ENOUGH]


@dataclass(eq=False)
class OrderSearch(Search):
    """Input splitting with an error that is given from outside; box by box in NumPy, nothing packed away."""

    execution: Callable[[int, Boxes], Any] | None = None
    met: list[Candidate] = field(default_factory=list)
    is_hopeless: bool = False

    def start(self) -> None:
        super().start()
        self.kernel = None  # it has the any-order terms built in

    def exhaust(self, budget: Budget, limit: int) -> list[Candidate]:
        """Work until all boxes are closed or one point cannot be, up to a limit or the deadline; best candidates."""
        try:
            for found in self.rounds(budget):
                self.met = sorted([*self.met, *found], key=lambda candidate: -candidate.slack)[:ENOUGH]
                self.is_hopeless = bool(self.stuck) or self._is_open_at(found, budget)
                if self.is_hopeless or self.progress.boxes >= limit:
                    break
        except OutOfTime:
            pass  # `met` is what there is
        return self.met

    def _is_open_at(self, found: list[Candidate], budget: Budget) -> bool:
        """Whether the bounds leave open one of these very points: then no cut of a box that has it can close all."""
        if not found:
            return False
        points = np.array([candidate.point for candidate in found]).astype(np.float32).astype(np.float64)
        points = points[((points >= self.family.lower[0]) & (points <= self.family.upper[0])).all(axis=1)]
        if not len(points):
            return False
        unknown, zeros = np.full((len(points), self.net.width), np.inf), np.zeros(len(points), dtype=np.int64)
        block = Block(points, points, -unknown, unknown, zeros, zeros, np.zeros(len(points)), np.zeros(len(points)))
        worker, refined, rows, _ = self._bounds(self.net, block, budget)
        thresholds = self.family.thresholds[zeros]
        verdict = Refutations(self.family, self.margin, self.net.backend, worker, refined, rows, thresholds)
        return not verdict.closed.all()

    def _packed(self, block: Block) -> Prepared:
        return self.net

    def _bounds(self, net: Prepared, block: Block, budget: Budget) -> tuple[Propagator, Refined, Rows, Matrix | None]:
        asked = np.flatnonzero(self.family.y_rows.any(axis=0))
        worker = Propagator(net, INTERMEDIATE, budget.check, asked, self.execution)
        refined = worker.refine(block.x_lower, block.x_upper, block.lower, block.upper, influence=True)
        return worker, refined, worker.bound(refined.boxes, self.family.y_rows, self.family.x_rows, RULES), None
