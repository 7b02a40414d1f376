"""What became of a dataset: one row for every point and choice of parameters, as a table, CSV and JSON.

Shares are of all points.  What was certified is a lower bound of the accuracy under the specification, and what was
neither violated nor misclassified an upper bound; between the two lie what was not decided and what could not be asked.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farkas.api import FilePath, write_bytes
from farkas.engine.verdict import Verdict, Violated
from farkas.ir.errors import FarkasError

if TYPE_CHECKING:
    from farkas.prop_curve import Curve

CSS = "border-collapse:collapse;font-variant-numeric:tabular-nums"


class Outcome(StrEnum):
    """What became of a cell."""

    HOLDS = "holds"
    VIOLATED = "violated"
    UNKNOWN = "unknown"
    MISCLASSIFIED = "misclassified"  # the point itself violates, so nothing was asked
    ERROR = "error"


@dataclass(frozen=True)
class Row:
    """A cell: the point's number, its place in the grid of parameters, their values, and what became of it.

    evidence: of the verdict; detail: why there is none; source: the place of the cell, of the same point, whose verdict
    this one follows from (None when it was asked); verdict: what the engine said; error: what was raised.
    """

    point: int
    place: int
    params: Mapping[str, str]
    outcome: Outcome = Outcome.UNKNOWN
    detail: str = ""
    evidence: str = ""
    time_s: float = 0.0
    source: int | None = None
    verdict: Verdict | None = field(default=None, repr=False, compare=False)
    error: Exception | None = field(default=None, repr=False, compare=False)

    @property
    def witness(self) -> str:
        """The counterexample of a violated cell; empty for others."""
        return self.verdict.witness if isinstance(self.verdict, Violated) else ""

    def as_dict(self) -> dict[str, Any]:
        """The row for a file: its parameters by their names, and no witness."""
        return {
            "point": self.point, **self.params, "outcome": self.outcome.value, "evidence": self.evidence,
            "semantics": "" if self.verdict is None else self.verdict.semantics.value,
            "asked": self.source is None, "time_s": round(self.time_s, 4), "detail": self.detail,
        }  # fmt: skip


@dataclass(frozen=True, repr=False)
class Results:
    """The rows of all cells that were looked at; params: the names of the parameters."""

    name: str
    params: tuple[str, ...]
    rows: tuple[Row, ...]

    def ordered(self) -> Results:
        """The same with the rows in the order of points and parameters."""
        return replace(self, rows=tuple(sorted(self.rows, key=lambda row: (row.point, row.place))))

    def where(self, **params: object) -> Results:
        """The rows with these values of parameters."""
        unknown = sorted(set(params) - set(self.params))
        if unknown:
            raise FarkasError(f"there is no parameter '{unknown[0]}'; known are {', '.join(self.params) or 'none'}")
        wanted = {name: str(value) for name, value in params.items()}
        rows = tuple(row for row in self.rows if all(row.params[name] == value for name, value in wanted.items()))
        return replace(self, rows=rows)

    def groups(self) -> dict[tuple[str, ...], Results]:
        """The rows by the values of the parameters, in the order of the grid."""
        found: dict[tuple[str, ...], list[Row]] = {}
        for row in sorted(self.rows, key=lambda row: row.place):
            found.setdefault(tuple(row.params[name] for name in self.params), []).append(row)
        return {values: replace(self, rows=tuple(rows)) for values, rows in found.items()}

    @property
    def counts(self) -> dict[Outcome, int]:
        """How many rows have each outcome."""
        found = Counter(row.outcome for row in self.rows)
        return {outcome: found[outcome] for outcome in Outcome}

    @property
    def time_s(self) -> float:
        """Seconds of all rows together."""
        return sum(row.time_s for row in self.rows)

    def curve(self, param: str | None = None, **params: object) -> Curve:
        """Certified accuracy over a parameter, by default the only one; params: the values of the others."""
        from farkas.prop_curve import curve

        return curve(self.where(**params), param)

    def to_csv(self, path: FilePath) -> None:
        """Writes the rows as CSV, with a line of names."""
        names = list(Row(0, 0, dict.fromkeys(self.params, "")).as_dict())
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row.as_dict() for row in self.rows)
        write_bytes(Path(path), text.getvalue().encode())

    def to_json(self, path: FilePath) -> None:
        """Writes name, parameters and rows as JSON; rows of violated cells have their witness."""
        rows = [row.as_dict() | ({"witness": row.witness} if row.witness else {}) for row in self.rows]
        data = json.dumps({"name": self.name, "params": list(self.params), "rows": rows}, indent=1)
        write_bytes(Path(path), (data + "\n").encode())

    def table(self) -> list[list[str]]:
        """A line of names, and one for every choice of parameters: how many points have each outcome, and the time."""
        lines = [[*self.params, *Outcome, "points", "asked", "time"]]
        for values, group in self.groups().items():
            asked = sum(row.source is None for row in group.rows)
            counts = [str(count) for count in group.counts.values()]
            lines.append([*values, *counts, str(len(group.rows)), str(asked), f"{group.time_s:.1f} s"])
        return lines

    def __repr__(self) -> str:
        return "\n".join([self.name, *aligned(self.table()), *self._troubles()])

    def _repr_html_(self) -> str:
        head, *lines = self.table()
        rows = "".join(f"<tr>{cells('td', line)}</tr>" for line in lines)
        told = "".join(f"<p>{escape(line)}</p>" for line in self._troubles())
        picture = self.curve()._repr_html_() if len(self.params) == 1 else ""
        return (
            f"<b>{escape(self.name)}</b><table style='{CSS}'><thead><tr>{cells('th', head)}</tr></thead>"
            f"<tbody>{rows}</tbody></table>{told}{picture}"
        )

    def _troubles(self) -> Iterator[str]:
        """The first of every kind of error."""
        first = {row.detail.partition("\n")[0]: row for row in reversed(self.rows) if row.outcome is Outcome.ERROR}
        for detail, row in first.items():
            yield f"error at point {row.point}: {detail}"


def aligned(table: list[list[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        yield "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True))


def cells(tag: str, line: list[str]) -> str:
    return "".join(f"<{tag} style='text-align:right;padding:2px 8px'>{escape(cell)}</{tag}>" for cell in line)
