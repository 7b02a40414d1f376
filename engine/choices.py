"""What a portfolio decided about its arms, for the statistics of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Choice:
    """An arm began or was taken up again: after so many seconds of the run, and why."""

    time_s: float
    arm: str
    why: str

    def as_dict(self) -> dict[str, Any]:
        return {"time_s": round(self.time_s, 3), "arm": self.arm, "why": self.why}
