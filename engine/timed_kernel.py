"""A checker's kernel under a deadline: the same verdicts, or OutOfTime between two of its calls.

What passes through belongs to the checker and is not looked at, so that nothing of it needs to be imported here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from farkas.engine.budget import Budget

# The checker's own types, and the state of the kernel within.
Kernel = Prover = PlanProver = State = Network = Box = Step = Claim = Any


@dataclass(frozen=True)
class TimedKernel:
    """`kernel` within a budget: every call may raise OutOfTime first."""

    kernel: Kernel
    budget: Budget

    @property
    def tier(self) -> str:
        return str(self.kernel.tier)

    @property
    def wave(self) -> int:
        return int(self.kernel.wave)

    def prepare(self, network: Network, rounded: bool, intermediate: tuple[int, ...]) -> TimedProver:
        self.budget.check()
        return TimedProver(self.kernel.prepare(network, rounded, intermediate), self.budget)

    def prepare_plan(self, network: Network, rounded: bool, columns: tuple[int, ...]) -> TimedPlanProver:
        self.budget.check()
        return TimedPlanProver(self.kernel.prepare_plan(network, rounded, columns), self.budget)


@dataclass(frozen=True)
class TimedProver:
    """A prover by crown-fp-1 within a budget."""

    prover: Prover
    budget: Budget

    def start(self, count: int) -> State:
        return self.prover.start(count)

    def gather(self, rows: Sequence[tuple[State, int]]) -> State:
        return self.prover.gather(rows)

    def derive(self, parents: State, boxes: Sequence[Box]) -> State:
        self.budget.check()
        return self.prover.derive(parents, boxes)

    def close(self, state: State, rows: Sequence[int], claims: Sequence[Claim]) -> list[bool]:
        self.budget.check()
        return list(self.prover.close(state, rows, claims))


@dataclass(frozen=True)
class TimedPlanProver:
    """A prover by crown-fp-2 within a budget."""

    prover: PlanProver
    budget: Budget

    @property
    def wave(self) -> int:
        return int(self.prover.wave)

    def begin(self, boxes: Sequence[Box]) -> State:
        self.budget.check()
        return self.prover.begin(boxes)

    def gather(self, rows: Sequence[tuple[State, int]]) -> State:
        return self.prover.gather(rows)

    def advance(self, parents: State, steps: Sequence[Step]) -> State:
        self.budget.check()
        return self.prover.advance(parents, steps)

    def close(self, state: State, rows: Sequence[int], claims: Sequence[Claim]) -> list[bool]:
        self.budget.check()
        return list(self.prover.close(state, rows, claims))
