"""What is known about the greatest or least value of an expression: a certified interval, and how it is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from html import escape
from pathlib import Path

from farkas.engine.verdict import Holds, Violated
from farkas.specs.query import Semantics

DIGITS = 7


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
    witness: Violated | None = field(default=None)
    holds: Holds | None = field(default=None)
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
        return html_rows(self.sense, [*self.rows, *named_rows(self.witness)])


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


def named_rows(found: Violated | None) -> Iterator[tuple[str, str]]:
    """The values of a witness by their names."""
    for named in () if found is None else found.named:
        for name, value in named.entries:
            yield name, shown(value, False)


def shown(value: Fraction, up: bool) -> str:
    """The number in at most DIGITS digits, rounded up or down."""
    context = Context(prec=DIGITS, rounding=ROUND_CEILING if up else ROUND_FLOOR)
    found = context.divide(Decimal(value.numerator), Decimal(value.denominator)).normalize(context)
    return f"{found:f}" if -6 < found.adjusted() < DIGITS else str(found)


def html_rows(title: str, rows: list[tuple[str, str]]) -> str:
    """A table of two columns."""
    body = "".join(f"<tr><th>{escape(word)}</th><td>{escape(told)}</td></tr>" for word, told in rows)
    return f"<table><caption>{escape(title)}</caption>{body}</table>"
