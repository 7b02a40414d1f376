"""Time: one deadline for a whole query, asked for by everything that can run long."""

from __future__ import annotations

import time
from dataclasses import dataclass


class OutOfTime(Exception):
    """The deadline passed in the middle of a batch; the batch counts as undone."""


@dataclass(frozen=True)
class Budget:
    """Wall-clock seconds from `start`; None means no limit."""

    timeout_s: float | None
    start: float

    @staticmethod
    def of(timeout_s: float | None) -> Budget:
        return Budget(timeout_s, time.monotonic())

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.start

    @property
    def left_s(self) -> float:
        return float("inf") if self.timeout_s is None else self.timeout_s - self.elapsed_s

    @property
    def is_spent(self) -> bool:
        return self.left_s <= 0

    def check(self) -> None:
        """Raises OutOfTime once the deadline has passed."""
        if self.is_spent:
            raise OutOfTime
