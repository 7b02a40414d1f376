"""A checker's kernel under a deadline: the same verdicts, or OutOfTime between two of its calls.

What passes through belongs to the checker and is not looked at, so that nothing of it needs to be imported here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from farkas.engine.budget import Budget


@dataclass(frozen=True)
class TimedKernel:
    """`kernel` within a budget: every call may raise OutOfTime first."""

    kernel: Any
    budget: Budget

    @property
    def tier(self) -> str:
        return str(self.kernel.tier)

    @property
    def wave(self) -> int:
        return int(self.kernel.wave)

    def prepare(self, network: Any, rounded: bool, intermediate: tuple[int, ...]) -> TimedProver:
        self.budget.check()
        return TimedProver(self.kernel.prepare(network, rounded, intermediate), self.budget)

    def prepare_plan(self, network: Any, rounded: bool, columns: tuple[int, ...]) -> TimedPlanProver:
        self.budget.check()
        return TimedPlanProver(self.kernel.prepare_plan(network, rounded, columns), self.budget)


@dataclass(frozen=True)
class TimedProver:
    """A prover by crown-fp-1 within a budget."""

    prover: Any
    budget: Budget

    def start(self, count: int) -> Any:
        return self.prover.start(count)

    def gather(self, rows: Sequence[tuple[Any, int]]) -> Any:
        return self.prover.gather(rows)

    def derive(self, parents: Any, boxes: Sequence[Any]) -> Any:
        self.budget.check()
        return self.prover.derive(parents, boxes)

    def close(self, state: Any, rows: Sequence[int], claims: Sequence[Any]) -> list[bool]:
        self.budget.check()
        return list(self.prover.close(state, rows, claims))


@dataclass(frozen=True)
class TimedPlanProver:
    """A prover by crown-fp-2 within a budget."""

    prover: Any
    budget: Budget

    @property
    def wave(self) -> int:
        return int(self.prover.wave)

    def begin(self, boxes: Sequence[Any]) -> Any:
        self.budget.check()
        return self.prover.begin(boxes)

    def gather(self, rows: Sequence[tuple[Any, int]]) -> Any:
        return self.prover.gather(rows)

    def advance(self, parents: Any, steps: Sequence[Any]) -> Any:
        self.budget.check()
        return self.prover.advance(parents, steps)

    def close(self, state: Any, rows: Sequence[int], claims: Sequence[Any]) -> list[bool]:
        self.budget.check()
        return list(self.prover.close(state, rows, claims))
