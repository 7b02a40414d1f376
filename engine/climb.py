"""Up the ladder: rungs tried in turn on the pieces that the portfolio leaves.

Which rungs there are depends on the semantics asked for:

    real                 lra
    f32-any              enumeration and smt-fp around the piece's worst points, for candidates; lra with error terms
    f32-order:<id>       order-terms, float-intervals, enumeration, smt-fp: each may refute the piece for that order

Where values are multiplied with each other, by the property or the network, lra alone, in any of these: it then asks a
solver for non-linear real arithmetic.

Cheap ones come first, each gets a share of the time that is left, and the first that decides a piece ends it.  A word
counts only for the semantics that it covers.  In `f32-any` a word for one order is kept as news for the user: such a
piece holds in that order, and only there.  Points are candidates, and become an answer through replay alone.

The modules of rungs are loaded when they are first asked: solvers are heavy, and few queries come here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module

from farkas.engine.budget import Budget, OutOfTime
from farkas.engine.ladder import Outcome, Piece, Point, Rung
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.replay import Replay, Replayer
from farkas.engine.trusted import Word
from farkas.engine.verdict import RungStatistics
from farkas.specs.query import Semantics

REAL_RUNGS = ("lra",)
ORDER_RUNGS = ("order-terms", "float-intervals", "enumeration", "smt-fp")
ANY_RUNGS = ("enumeration", "order-terms", "smt-fp", "lra")
POLYNOMIAL_RUNGS = ("lra",)  # the only one that multiplies
SHARE = 0.5  # of the time left for a piece that one rung may take, the last one all of it
LEAST_S = 0.2


@dataclass(frozen=True, eq=False)
class Climbed:
    """What became of a piece: a witness, a word for it in the semantics asked for, or neither.

    elsewhere: semantics in which some word refutes it; tried: rungs that looked at it.
    """

    replay: Replay | None = None
    word: Word | None = None
    elsewhere: frozenset[Semantics] = frozenset()
    tried: tuple[str, ...] = ()
    details: tuple[str, ...] = ()


@dataclass(eq=False)
class Climber:
    """The rungs of one query."""

    query: Query
    options: Options
    replayer: Replayer
    budget: Budget
    statistics: dict[str, RungStatistics] = field(default_factory=dict)
    _rungs: dict[str, Rung] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The rungs that may work on this query, cheap ones first."""
        semantics = self.query.semantics
        names: tuple[str, ...] = ANY_RUNGS if semantics is Semantics.F32_ANY else ORDER_RUNGS
        if semantics is Semantics.REAL:
            names = REAL_RUNGS
        if self.query.program.has_products:
            names = POLYNOMIAL_RUNGS
        return tuple(name for name in names if self.options.allows(name))

    def rung(self, name: str) -> Rung:
        if name not in self._rungs:
            rung = f"rung_{name.replace('-', '_')}"
            module = import_module(f"farkas.engine.{rung}")
            make: Callable[[Query, Options], Rung] = getattr(module, f"{rung.removeprefix('rung_')}_rung")
            self._rungs[name] = make(self.query, self.options)
        return self._rungs[name]

    def decide(self, piece: Piece, time_s: float, only: tuple[str, ...] | None = None) -> Climbed:
        """Try the rungs on a piece for about `time_s` seconds in all; only: none but these."""
        names = [name for name in self.names if only is None or name in only]
        suited = [name for name in names if self.rung(name).suits(piece)]
        end_s = self.budget.elapsed_s + min(time_s, self.budget.left_s)
        elsewhere: frozenset[Semantics] = frozenset()
        details: list[str] = []
        for position, name in enumerate(suited):
            left = end_s - self.budget.elapsed_s
            if left <= 0 and position:
                break
            share = left if position == len(suited) - 1 else max(LEAST_S, SHARE * left)
            outcome = self._work(name, piece, min(share, max(left, LEAST_S)))
            replay = self._replayed(piece, outcome.points)
            if replay is not None:
                return Climbed(replay=replay)
            if outcome.word is not None and self.query.semantics in outcome.covers:
                return Climbed(word=outcome.word)
            if outcome.word is not None:
                elsewhere |= outcome.covers
            if outcome.detail:
                details.append(f"{name}: {outcome.detail}")
        return Climbed(None, None, elsewhere, tuple(suited), tuple(details))

    def _work(self, name: str, piece: Piece, time_s: float) -> Outcome:
        start = time.monotonic()
        try:
            outcome = self.rung(name).work(piece, self.budget, time_s)
        except OutOfTime:
            outcome = Outcome(detail="out of time")
        old = self.statistics.get(name, RungStatistics(name))
        self.statistics[name] = RungStatistics(
            name,
            old.time_s + time.monotonic() - start,
            old.pieces + 1,
            old.refuted + (outcome.word is not None),
            old.candidates + len(outcome.points),
        )
        return outcome

    def _replayed(self, piece: Piece, points: tuple[Point, ...]) -> Replay | None:
        for point in points:
            found = self.replayer.attempt_exact(piece.number, piece.case, point)
            if found is not None:
                return found
        return None
