"""The critical value of a parameter at every point of a dataset, and the certified accuracy that follows from it.

One search for each point says more than any grid: the specification is proved with the value `holds_at`, refuted with
`violated_at`, and what lies between them is not known.  The curve counts, for a value v of the parameter, the points
with v <= holds_at as proved and those with v >= violated_at as refuted.  That is what the verdicts say as long as each
specification can only stop to hold as its parameter grows.  Where the search derived that, it is so; rows that rest on
the claim of whoever asks say `claimed`, and the curve counts them only when it is told to believe that.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from html import escape
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import farkas as fk
from farkas.api import FilePath, write_bytes
from farkas.critical import UP, Critical, direction
from farkas.engine.verdict_text import shown
from farkas.ir.errors import FarkasError
from farkas.prop_curve import Curve, CurvePoint
from farkas.prop_loop import recorded
from farkas.prop_results import CSS, Outcome, Row, aligned, cells
from farkas.specs.language_numbers import exact

if TYPE_CHECKING:
    from farkas.prop_loop import Prop


@dataclass(frozen=True)
class CriticalRow:
    """A point, the values of the other parameters, and what was found.

    outcome: `holds` or `violated` with some value of the parameter (`holds` where it is both), otherwise why not.
    direction: UP where it is derived that what violates with a value does so with all greater ones, None where nothing
    is; see `farkas.critical.direction`.
    """

    point: int
    params: Mapping[str, str]
    outcome: Outcome
    detail: str = ""
    critical: Critical | None = None
    direction: int | None = None
    time_s: float = 0.0
    error: Exception | None = field(default=None, repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """The row for a file; values are rounded to the side that claims less."""
        found = self.critical
        return {
            "point": self.point, **self.params,
            "holds_at": "" if found is None or found.holds_at is None else shown(found.holds_at, False),
            "violated_at": "" if found is None or found.violated_at is None else shown(found.violated_at, True),
            "monotone": "" if found is None else found.monotone, "reason": "" if found is None else found.reason,
            "outcome": self.outcome.value, "time_s": round(self.time_s, 4), "detail": self.detail,
        }  # fmt: skip

    def is_proved(self, value: Fraction, believe: bool) -> bool:
        """Whether it holds with this value of the parameter: as it does with a greater one, or the same."""
        at = None if self.critical is None else self.critical.holds_at
        return at is not None and (at == value or (value < at and self._grows(believe)))

    def is_refuted(self, value: Fraction, believe: bool) -> bool:
        """Whether it is violated with this value: as it is with a smaller one, or the same."""
        if self.outcome is Outcome.MISCLASSIFIED:
            return True
        at = None if self.critical is None else self.critical.violated_at
        return at is not None and (at == value or (at < value and self._grows(believe)))

    def _grows(self, believe: bool) -> bool:
        """Whether what violates with a value does so with all greater ones."""
        return self.direction == UP or (believe and self.direction is None)


@dataclass(frozen=True, repr=False)
class CriticalResults:
    """The critical values of one parameter, `param`, between `low` and `high`."""

    name: str
    param: str
    low: Fraction
    high: Fraction
    rows: tuple[CriticalRow, ...]

    def curve(self, count: int = 40, *, believe: bool = False) -> Curve:
        """Certified accuracy at `count` + 1 evenly spaced values of the parameter.

        believe: count rows whose monotonicity is claimed and not derived.  Raises FarkasError for no count.
        """
        if count < 1:
            raise FarkasError(f"a curve of {count} parts; at least one is wanted")
        values = [self.low + (self.high - self.low) * k / count for k in range(count + 1)]
        return Curve(self.name, self.param, tuple(self._point(value, believe) for value in values))

    def _point(self, value: Fraction, believe: bool) -> CurvePoint:
        proved = sum(row.is_proved(value, believe) for row in self.rows)
        return CurvePoint(str(value), proved, sum(row.is_refuted(value, believe) for row in self.rows), len(self.rows))

    def table(self) -> list[list[str]]:
        """A line of names, and one for every row."""
        names = ["point", "holds_at", "violated_at", "monotone", "outcome", "reason"]
        rows = [row.as_dict() for row in self.rows]
        params = list(self.rows[0].params) if self.rows else []
        lines = [[*(str(row[name]) for name in (*params, *names)), f"{row['time_s']:.2f} s"] for row in rows]
        return [[*params, *names, "time"], *lines]

    def to_csv(self, path: FilePath) -> None:
        """Writes the rows as CSV, with a line of names."""
        rows = [row.as_dict() for row in self.rows]
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_bytes(Path(path), text.getvalue().encode())

    def to_json(self, path: FilePath) -> None:
        """Writes name, parameter, its interval and the rows as JSON."""
        data = {
            "name": self.name, "param": self.param, "low": str(self.low), "high": str(self.high),
            "rows": [row.as_dict() for row in self.rows],
        }  # fmt: skip
        write_bytes(Path(path), (json.dumps(data, indent=1) + "\n").encode())

    def __repr__(self) -> str:
        return "\n".join([f"{self.name}: critical {self.param}", *aligned(self.table())])

    def _repr_html_(self) -> str:
        head, *lines = self.table()
        rows = "".join(f"<tr>{cells('td', line)}</tr>" for line in lines)
        return (
            f"<b>{escape(self.name)}</b><table style='{CSS}'><thead><tr>{cells('th', head)}</tr></thead>"
            f"<tbody>{rows}</tbody></table>{self.curve()._repr_html_()}"
        )


def search(prop: Prop, param: str, low: object, high: object, options: Mapping[str, Any]) -> CriticalResults:
    """The critical values of a parameter at every point and choice of the other parameters."""
    others = prop.without(param)
    ends = exact(low), exact(high)

    def searched(point: int, chosen: Mapping[str, object]) -> CriticalRow:
        start = time.monotonic()
        found: list[tuple[Critical, int | None]] = []
        with recorded(Row(point, 0, {name: str(value) for name, value in chosen.items()})) as record:
            spec = prop.spec(point, **chosen, **{param: fk.parameter(param)})
            towards = direction(spec.formulas[:-1], spec.formulas[-1], param)
            found.append((spec.critical(param, *ends, **options), towards))
        row = record.row
        told = CriticalRow(point, row.params, row.outcome, row.detail, time_s=time.monotonic() - start, error=row.error)
        for critical, towards in found:
            outcome = _outcome(critical)
            told = replace(told, outcome=outcome, detail=critical.detail, critical=critical, direction=towards)
        return told

    asked = product(range(len(prop.points)), others.grid())
    return CriticalResults(prop.name, param, *ends, tuple(searched(point, chosen) for point, chosen in asked))


def _outcome(found: Critical) -> Outcome:
    if found.holds_at is not None:
        return Outcome.HOLDS
    return Outcome.UNKNOWN if found.violated_at is None else Outcome.VIOLATED
