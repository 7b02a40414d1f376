"""The progress of a search, for people: one line that renews itself on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from typing import TextIO

from farkas.engine.bab import Progress

SILENT_S = 2.0  # most queries are decided earlier
LINES_EVERY_S = 5.0
RENEW_EVERY_S = 0.2
WIDTH = 79


class ProgressLine:
    """A reporter of `Options`; `close` wipes the line."""

    def __init__(self, stream: TextIO, *, start: float) -> None:
        """start: on the clock of time.monotonic, when the query began."""
        self._stream = stream
        self._start = start
        self._terminal = stream.isatty()
        self._next = start + SILENT_S
        self._shown = False

    def __call__(self, progress: Progress, elapsed_s: float) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (RENEW_EVERY_S if self._terminal else LINES_EVERY_S)
        text = line(progress, now - self._start, elapsed_s)
        if self._terminal:
            self._stream.write("\r" + text[:WIDTH].ljust(WIDTH))
            self._shown = True
        else:
            self._stream.write(f"farkas: {text}\n")
        self._stream.flush()

    def close(self) -> None:
        if self._shown:
            self._stream.write("\r" + " " * WIDTH + "\r")
            self._stream.flush()
            self._shown = False


def line(progress: Progress, age_s: float, search_s: float) -> str:
    """`12.3 s  gap 0.031  leaves 810  open 77  1200 boxes/s`; gap: how far the worst open box is from being proved."""
    gap = f"{max(0.0, -progress.best_bound):.3g}" if math.isfinite(progress.best_bound) else "-"
    rate = progress.boxes / search_s if search_s > 0 else 0.0
    return f"{age_s:.1f} s  gap {gap}  leaves {progress.leaves}  open {progress.open}  {rate:.0f} boxes/s"
