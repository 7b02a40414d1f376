"""Linear models as files in CPLEX LP format: what people read, and what MILP solvers besides read.

Numbers are written with `repr`, so that a reader that rounds decimals correctly gets the very float64 numbers of the
model.  A row with two different bounds is written twice (`NAME` and `NAME_hi`), for readers disagree about ranges;
rows without bounds say nothing and are left out.  Lines are wrapped before 255 characters, the least that readers
grant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from farkas.encoders.linear_model import LinearModel, Row, stated_rows

WIDTH = 240


def write_lp(model: LinearModel, comment: str = "") -> str:
    """The model as text in CPLEX LP format; every line of the comment becomes a line that starts with a backslash."""
    return "".join(f"{line}\n" for line in _lines(model, comment))


def _lines(model: LinearModel, comment: str) -> Iterator[str]:
    names = model.column_names()
    yield from (f"\\ {line}".rstrip() for line in comment.splitlines())
    yield "Minimize"
    used = np.flatnonzero(model.cost).tolist()
    yield from _wrapped(" cost:", _terms(used, model.cost[used].tolist(), names))
    yield "Subject To"
    for row in stated_rows(model):
        for one in row.halves() if row.is_range and row.lower != row.upper else (row,):
            yield from _row(one, names)
    yield "Bounds"
    yield from _bounds(model, names)
    integral = np.flatnonzero(model.integral).tolist()
    binary = [j for j in integral if (model.lower[j], model.upper[j]) == (0.0, 1.0)]
    yield from _section("Generals", sorted(set(integral) - set(binary)), names)
    yield from _section("Binaries", binary, names)
    yield "End"


def _row(row: Row, names: list[str]) -> Iterator[str]:
    sign, end = ("=", row.lower) if row.lower == row.upper else (">=", row.lower)
    if not np.isfinite(row.lower):
        sign, end = "<=", row.upper
    yield from _wrapped(f" {row.name}:", [*_terms(row.columns, row.values, names), f"{sign} {end!r}"])


def _terms(columns: list[int], values: list[float], names: list[str]) -> list[str]:
    """Signed terms; a sum of nothing is zero times the first column, for the format has no empty sums."""
    if not columns:
        return [f"0 {names[0]}"]
    return [f"{'-' if value < 0 else '+'} {abs(value)!r} {names[j]}" for j, value in zip(columns, values, strict=True)]


def _bounds(model: LinearModel, names: list[str]) -> Iterator[str]:
    for name, lower, upper in zip(names, model.lower.tolist(), model.upper.tolist(), strict=True):
        if lower == upper:
            yield f" {name} = {lower!r}"
        elif lower == -np.inf and upper == np.inf:
            yield f" {name} free"
        else:
            yield f" {_end(lower)} <= {name} <= {_end(upper)}"


def _end(value: float) -> str:
    return repr(value) if np.isfinite(value) else "+inf" if value > 0 else "-inf"


def _section(title: str, columns: list[int], names: list[str]) -> Iterator[str]:
    if columns:
        yield title
        yield from _wrapped("", [names[j] for j in columns])


def _wrapped(start: str, words: Iterable[str]) -> Iterator[str]:
    """The words on lines of bounded length; continued lines are indented."""
    line = start
    for word in words:
        if len(line) + len(word) >= WIDTH:
            yield line
            line = "  "
        line = f"{line} {word}"
    yield line
