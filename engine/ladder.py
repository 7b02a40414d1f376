"""What the portfolio leaves, rung by rung: deciders of small pieces, each with the semantics that it speaks for.

A *piece* is a box of one case with the disjuncts that nothing has refuted on it.  A *rung* looks at a piece and returns
candidates for replay, or an engine's word that the piece holds no violation, valid in the semantics that it `covers`.
Rungs that work in one order of accumulation never cover `f32-any`; what they find there are candidates.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from farkas.engine.budget import Budget
from farkas.engine.trusted import Word
from farkas.specs.query import Case, Semantics

Point = tuple[Fraction, ...]


@dataclass(frozen=True, eq=False)
class Piece:
    """What is left of a case: a box, and the disjuncts still to be refuted on it.

    number: of the case in the property; lower, upper (n0,): rational ends inside the case's box, binary32 numbers in
    float modes; disjuncts: positions in the case.
    """

    number: int
    case: Case
    lower: Point
    upper: Point
    disjuncts: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a rung has to say about a piece.

    points: candidates for exact replay, best first; word: the piece holds no violation, in the semantics `covers`;
    detail: how far it got, for people.
    """

    points: tuple[Point, ...] = ()
    word: Word | None = None
    covers: frozenset[Semantics] = frozenset()
    detail: str = ""


class Rung(Protocol):
    """One way to decide a piece."""

    @property
    def name(self) -> str: ...

    def suits(self, piece: Piece) -> bool:
        """Cheap: could it decide this piece at all?"""
        ...

    def work(self, piece: Piece, budget: Budget, time_s: float) -> Outcome:
        """Look at a piece for at most `time_s` seconds, and no longer than the budget."""
        ...
