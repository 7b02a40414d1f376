"""What is known about the greatest or least value of an expression: a certified interval, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from farkas.engine.verdict import Holds, Violated
from farkas.engine.verdict_text import html_rows, shown, witness_rows
from farkas.specs.query import Semantics


@dataclass(frozen=True, repr=False)
class Optimum:
    """The greatest (least) value of an expression lies in `[attained, proved]` (`[proved, attained]`).

    attained: the exact value at the replayed witness (an expression with fk.l2 may attain more by a hair: it is rounded
    to the safe side); proved: no execution of the stated semantics exceeds it, which is what `holds` says; each None
    when there is none.
    reason: why the search ended: "gap" (narrow enough), "timeout", "stuck" (no threshold between the two is decided,
    whatever the time), "empty" (nothing seems to satisfy what is given), "unsupported"; "" in reports on the way;
    detail: what the last undecided question said.
    certificate: the accepted file for `proved`, when asked for, with the question beside it in a file of its name and
    .vnnlib.
    """

    sense: str
    attained: Fraction | None
    proved: Fraction | None
    semantics: Semantics | None = None
    witness: Violated | None = None
    holds: Holds | None = None
    certificate: Path | None = None
    reason: str = ""
    detail: str = ""
    questions: int = 0
    time_s: float = 0.0

    @property
    def gap(self) -> Fraction | None:
        """The width of the interval; None while it has one end only."""
        if self.attained is None or self.proved is None:
            return None
        return abs(self.proved - self.attained)

    @property
    def evidence(self) -> str:
        """What `proved` rests on: `checkable`, `certified` or `trusted:<engine>`; "" without it."""
        return "" if self.holds is None else self.holds.evidence

    @property
    def rows(self) -> list[tuple[str, str]]:
        """What is known, in pairs of words and values."""
        up = self.sense == "minimize"  # towards weaker claims
        gap = self.gap
        return [
            ("attained", "nothing yet" if self.attained is None else shown(self.attained, up)),
            ("proved", "nothing yet" if self.proved is None else shown(self.proved, not up)),
            *([] if gap is None else [("gap", shown(gap, True))]),
            *([("semantics", self.semantics.value)] if self.semantics is not None else []),
            *([("evidence", self.evidence)] if self.evidence else []),
            *([("certificate", str(self.certificate))] if self.certificate is not None else []),
            *([("ended by", self.reason)] if self.reason else []),
            ("work", f"{self.questions} questions, {self.time_s:.1f} s"),
        ]

    def __repr__(self) -> str:
        return f"<{self.sense}: {', '.join(f'{word} {told}' for word, told in self.rows)}>"

    def _repr_html_(self) -> str:
        values = [] if self.witness is None else witness_rows(self.witness)
        return html_rows(self.sense, [*self.rows, *values])


@dataclass(frozen=True, repr=False)
class Bounds:
    """The least and the greatest value of an expression.

    Every value lies in `[lower.proved, upper.proved]`, and `lower.attained` and `upper.attained` are values.
    """

    lower: Optimum
    upper: Optimum

    @property
    def rows(self) -> list[tuple[str, str]]:
        """What is known, in pairs of words and values."""
        return [(f"{part.sense}: {word}", told) for part in (self.lower, self.upper) for word, told in part.rows]

    def __repr__(self) -> str:
        return f"<bounds: {self.lower!r}, {self.upper!r}>"

    def _repr_html_(self) -> str:
        return html_rows("bounds", self.rows)
