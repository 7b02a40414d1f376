"""Verdicts for people: a line, and a table for notebooks.  Numbers are shortened here; records have the exact ones.

The values of a witness are cut, not rounded: 0.299999982... for the binary32 number below 3/10.  Rounded it would read
0.3, as if it were not below 3/10, and a witness that ends at a bound usually is such a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from html import escape
from typing import assert_never

from farkas.engine.verdict import Holds, Unknown, Verdict, Violated
from farkas.specs.witness import Named

DIGITS = 7
CUT = 9  # digits of the values of a witness; two binary32 numbers never agree in all of them
MOST_IN_LINE = 8  # values of a witness
MOST_IN_TABLE = 64  # entries of one tensor; of larger ones the range is told

Row = tuple[str, str]


def line(verdict: Verdict) -> str:
    """The verdict in one line, with the first values of its witness."""
    parts = [f"{word} {told}" for word, told in rows(verdict)]
    if isinstance(verdict, Violated):
        values = [f"{name} = {cut(value)}" for name, value in _entries(verdict)]
        parts += [
            *values[:MOST_IN_LINE],
            *([f"and {len(values) - MOST_IN_LINE} more"] if values[MOST_IN_LINE:] else []),
        ]
    return f"<{type(verdict).__name__}: {', '.join(parts)}>"


def table(verdict: Verdict) -> str:
    """The verdict as an HTML table, with the values of its witness."""
    values = witness_rows(verdict) if isinstance(verdict, Violated) else []
    return html_rows(type(verdict).__name__, [*rows(verdict), *values])


def rows(verdict: Verdict) -> list[Row]:
    """What is known besides the values of a witness, in pairs of words."""
    found = [("semantics", verdict.semantics.value)]
    match verdict:
        case Holds():
            found += [("evidence", verdict.evidence), ("leaves", str(verdict.tree.leaves))]
        case Violated():
            found += [("evidence", verdict.evidence), *_executions(verdict)]
        case Unknown():
            found += [("reason", f"{verdict.reason.value} ({verdict.detail})"), *_words_to_take(verdict)]
        case _ as never:
            assert_never(never)
    found.append(("time", f"{verdict.statistics.time_s:.2f} s"))
    return [*found, *(("warning", warning) for warning in verdict.warnings)]


def _words_to_take(verdict: Unknown) -> Iterator[Row]:
    """What the detail says to options of the command line, for those who ask in Python."""
    names = re.findall(r"--trust ([\w-]+)", verdict.detail)
    if names:
        yield "in Python", f"trust={names}"


def _executions(verdict: Violated) -> Iterator[Row]:
    """Who ran the witness, and where else it violates."""
    replay = verdict.replay
    yield "executed by", " and ".join(name for name in (replay.executor, replay.runtime.partition(",")[0]) if name)
    if replay.any_order:
        yield "violates in", "every admissible execution"
    if verdict.in_binary32 is not None:
        yield "in binary32", "it violates as well" if verdict.in_binary32 else "it does not violate"


def witness_rows(verdict: Violated) -> list[Row]:
    """The values of the witness by their names; of large tensors the range."""
    found: list[Row] = []
    for one in _tensors(verdict):
        if len(one.values) > MOST_IN_TABLE:
            ends = f"from {cut(min(one.values))} to {cut(max(one.values))}"
            found.append((one.name, f"{len(one.values)} values {ends}"))
        else:
            found += [(name, cut(value)) for name, value in one.entries]
    return found


def _tensors(verdict: Violated) -> tuple[Named, ...]:
    """The witness by name: as the specification has them, else the two vectors."""
    if verdict.named:
        return verdict.named
    replay = verdict.replay
    outputs = replay.runtime_outputs or replay.outputs
    return Named("X", (len(replay.inputs),), (), replay.inputs), Named("Y", (len(outputs),), (), outputs)


def _entries(verdict: Violated) -> list[tuple[str, Fraction]]:
    return [entry for one in _tensors(verdict) for entry in one.entries]


def shown(value: Fraction, up: bool | None = None) -> str:
    """The number in at most DIGITS digits; up: whether it is rounded up, or down; None: to nearest."""
    rounding = {None: ROUND_HALF_EVEN, True: ROUND_CEILING, False: ROUND_FLOOR}[up]
    return _written(_divided(value, DIGITS, rounding).normalize(), DIGITS)


def cut(value: Fraction) -> str:
    """The number, if CUT digits say it; else its first CUT digits, and dots."""
    found = _divided(value, CUT, ROUND_DOWN)
    if Fraction(found) == value:
        return _written(found.normalize(), CUT)
    digits, exponent, power = _written(found, CUT).partition("E")
    return f"{digits}...{exponent}{power}"


def _divided(value: Fraction, digits: int, rounding: str) -> Decimal:
    return Context(prec=digits, rounding=rounding).divide(Decimal(value.numerator), Decimal(value.denominator))


def _written(number: Decimal, digits: int) -> str:
    """With an exponent if the number is large or small."""
    return f"{number:f}" if -6 < number.adjusted() < digits else str(number)


def html_rows(title: str, found: Iterable[Row]) -> str:
    """A table of two columns."""
    body = "".join(f"<tr><th>{escape(word)}</th><td>{escape(told)}</td></tr>" for word, told in found)
    return f"<table><caption>{escape(title)}</caption>{body}</table>"
