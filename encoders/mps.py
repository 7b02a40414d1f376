"""Linear models as free MPS files, for any solver that reads them.

Numbers are written with `repr`, so that a reader that rounds decimals correctly gets the very float64 numbers of the
model.  MPS states a range as one end and a width, from which the reader computes the other end in float64; where that
would not be the model's number, the row is written twice, once for each end (`NAME` and `NAME_hi`).  Rows without
bounds say nothing and are left out.  Every bound is written out, since readers differ in what they assume of integer
columns without bounds and of a negative upper bound alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from farkas.encoders.linear_model import LinearModel, Row, stated_rows


def write_mps(model: LinearModel, comment: str = "") -> str:
    """The model as text in free MPS format; every line of the comment becomes a line that starts with `*`."""
    return "".join(f"{line}\n" for line in _lines(model, comment))


def _lines(model: LinearModel, comment: str) -> Iterator[str]:
    stated = [one for row in stated_rows(model) for one in _rows(row)]
    yield from (f"* {line}".rstrip() for line in comment.splitlines())
    yield "NAME farkas"
    yield "ROWS"
    yield " N cost"
    yield from (f" {kind} {row.name}" for kind, row in stated)
    yield "COLUMNS"
    yield from _columns(model, [row for _, row in stated])
    yield "RHS"
    ends = [(row.name, row.lower if kind == "G" else row.upper) for kind, row in stated]
    yield from (f" RHS {name} {end!r}" for name, end in ends if end)
    yield "RANGES"
    yield from (f" RANGE {row.name} {row.upper - row.lower!r}" for kind, row in stated if kind != "E" and row.is_range)
    yield "BOUNDS"
    yield from _bounds(model)
    yield "ENDATA"


def _rows(row: Row) -> list[tuple[str, Row]]:
    """The rows that state one row, with the letter of their kind; both ends of those that remain ranges are exact."""
    if row.lower == row.upper:
        return [("E", row)]
    if not row.is_range:
        return [("G", row)] if np.isfinite(row.lower) else [("L", row)]
    width = row.upper - row.lower
    if row.lower + width == row.upper:
        return [("G", row)]
    if row.upper - width == row.lower:
        return [("L", row)]
    low, high = row.halves()
    return [("G", low), ("L", high)]


def _columns(model: LinearModel, rows: list[Row]) -> Iterator[str]:
    """Coefficients column by column; runs of integer columns stand between markers."""
    entries: list[list[tuple[str, float]]] = [[] for _ in model.lower]
    for j in np.flatnonzero(model.cost).tolist():
        entries[j].append(("cost", float(model.cost[j])))
    for row in rows:
        for j, value in zip(row.columns, row.values, strict=True):
            entries[j].append((row.name, value))
    inside = False
    for name, integral, column in zip(model.column_names(), model.integral.tolist(), entries, strict=True):
        if integral != inside:
            yield " MARKER 'MARKER' 'INTORG'" if integral else " MARKER 'MARKER' 'INTEND'"
            inside = integral
        # A column without coefficients is named all the same: otherwise it would be unknown in the bounds.
        yield from (f" {name} {row} {value!r}" for row, value in column or [("cost", 0.0)])
    if inside:
        yield " MARKER 'MARKER' 'INTEND'"


def _bounds(model: LinearModel) -> Iterator[str]:
    ends = zip(model.column_names(), model.lower.tolist(), model.upper.tolist(), strict=True)
    for name, lower, upper in ends:
        if lower == upper:
            yield f" FX BOUND {name} {lower!r}"
        elif lower == -np.inf and upper == np.inf:
            yield f" FR BOUND {name}"
        else:
            yield f" MI BOUND {name}" if lower == -np.inf else f" LO BOUND {name} {lower!r}"
            yield f" PL BOUND {name}" if upper == np.inf else f" UP BOUND {name} {upper!r}"
