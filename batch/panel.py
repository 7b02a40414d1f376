"""The progress of a run, for people: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from farkas.batch.records import Result, Row
from farkas.batch.rows import line, row_of
from farkas.batch.suites import title

if TYPE_CHECKING:
    from rich.console import RenderableType

RECENT = 200  # instances whose rate is the present one
COLUMNS = ("category", "", "done", "unsat", "sat", "open", "error")
WIDTH = 24
CATEGORIES = 24  # lines of the table; the rest is one line


class Tally:
    """Counts of a run as it goes."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.total = Counter(row.category for row in rows)
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.done = 0
        self.reused = 0
        self.wrong = 0
        self.start = time.monotonic()
        self._times: deque[float] = deque([self.start], RECENT)

    def add(self, result: Result) -> None:
        assert result.attempt is not None, "an instance that is done has an attempt"
        row = row_of(result)
        self.done += 1
        self.reused += result.reused
        self.wrong += bool(row and row.complaints)
        self.counts[result.row.category][result.attempt.verdict] += 1
        if not result.reused:
            self._times.append(time.monotonic())

    def sums(self) -> Counter[str]:
        return sum(self.counts.values(), Counter())

    @property
    def left(self) -> int:
        return sum(self.total.values()) - self.done

    @property
    def rate(self) -> float:
        """Instances a second, of late."""
        span = time.monotonic() - self._times[0]
        return (len(self._times) - 1) / span if span > 0 else 0.0

    def summary(self) -> str:
        sums = self.sums()
        decided, wrong = sums["sat"] + sums["unsat"], f", {self.wrong} WRONG" if self.wrong else ""
        failed = sums["error"] + sums["unsupported"]
        parts = f"{decided} decided, {self.done - decided - failed} open, {failed} errors or unsupported{wrong}"
        parts += f", {self.reused} known before" if self.reused else ""
        expected = f", about {span(self.left / self.rate)} to go" if self.rate and self.left else ""
        return f"{self.done}/{self.done + self.left}: {parts}; {self.rate:.1f} a second{expected}"


def span(seconds: float) -> str:
    """`42 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


class Lines:
    """One line an instance, as it ends."""

    def __init__(self, rows: Sequence[Row], stream: TextIO) -> None:
        self.tally = Tally(rows)
        self._stream = stream

    def done(self, result: Result) -> None:
        self.tally.add(result)
        row = row_of(result)
        assert row is not None, "an instance that is done has an attempt"
        known = "  (known before)" if result.reused else ""
        total = self.tally.done + self.tally.left
        self._write(f"{self.tally.done}/{total} {line(row)}{known}")

    def tick(self, running: Sequence[Row], resident_bytes: int) -> None:
        pass

    def say(self, message: str) -> None:
        self._write(f"farkas: {message}")

    def close(self) -> None:
        pass

    def _write(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class Panel:
    """A table of categories that renews itself; what is wrong scrolls by above it."""

    def __init__(self, rows: Sequence[Row], stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self.tally = Tally(rows)
        self._console = Console(file=stream)
        self._running: Sequence[Row] = ()
        self._resident = 0
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=4, transient=True)
        self._live.start()

    def done(self, result: Result) -> None:
        self.tally.add(result)
        row = row_of(result)
        if row is not None and (row.complaints or row.verdict == "error"):
            self._console.print(line(row), markup=False, highlight=False, soft_wrap=True)

    def tick(self, running: Sequence[Row], resident_bytes: int) -> None:
        self._running, self._resident = running, resident_bytes

    def say(self, message: str) -> None:
        self._console.print(f"farkas: {message}", markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._live.stop()

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for number, name in enumerate(COLUMNS):
            table.add_column(name, justify="left" if number < 2 else "right")
        for category in list(self.tally.total)[:CATEGORIES]:
            table.add_row(*self._row(category))
        more = len(self.tally.total) - CATEGORIES
        now = ", ".join(title(row) for row in self._running)
        lines = [self.tally.summary(), f"now ({self._resident / 2**20:.0f} MB): {now}"]
        lines = ([f"and {more} categories more"] if more > 0 else []) + lines
        return Group(table, *(Text(text, no_wrap=True, overflow="ellipsis") for text in lines))

    def _row(self, category: str) -> list[Any]:
        from rich.text import Text

        counts, total = self.tally.counts[category], self.tally.total[category]
        done = sum(counts.values())
        failed = counts["error"] + counts["unsupported"]
        parts = (counts["unsat"], "green"), (counts["sat"], "cyan"), (done - failed - counts["unsat"] - counts["sat"],
                 "yellow"), (failed, "red"), (total - done, "bright_black")  # fmt: skip
        bar, filled, seen = Text(), 0, 0
        for count, style in parts:
            seen += count
            end = round(WIDTH * seen / total)
            bar.append("━" * (end - filled), style=style)
            filled = end
        numbers = counts["unsat"], counts["sat"], parts[2][0], failed
        return [category, bar, f"{done}/{total}", *map(str, numbers)]
