"""Waiting for what only others can give, room on a disk or a lock that another process holds, and saying so.

Nobody waits in silence: what is waited for is said at once, and again when twice as much time has passed as the last
time that it was said (after a minute, two, four ...); and the end of it.
"""

from __future__ import annotations

from collections.abc import Callable

from farkas.batch.panel import span
from farkas.batch.ports import Clock

TRY_S = 2.0  # between two tries
AGAIN_S = 60.0


class Patience:
    """One thing that is waited for, if it is."""

    def __init__(self, clock: Clock, say: Callable[[str], None]) -> None:
        self._clock = clock
        self._say = say
        self._since: float | None = None
        self._next_s = AGAIN_S

    def wait(self, what: str) -> None:
        """Until the next try."""
        now = self._clock.monotonic()
        if self._since is None:
            self._since, self._next_s = now, AGAIN_S
            self._say(f"{what}; waiting, a new try every {TRY_S:.0f} s, nothing is lost")
        elif now - self._since >= self._next_s:
            self._say(f"{what}; still waiting, for {span(now - self._since)} now")
            self._next_s *= 2
        self._clock.sleep(TRY_S)

    def over(self) -> None:
        """What was waited for is there."""
        if self._since is not None:
            self._say(f"goes on, after {span(self._clock.monotonic() - self._since)} of waiting")
            self._since = None
