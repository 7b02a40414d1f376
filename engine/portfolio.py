"""Which way of deciding a family works when: input splitting, ReLU splitting, MILP, and the attack beside them.

Each way is an *arm*: a generator that works for a moment, yields the candidates that it met, and can be left alone at
any yield.  The order in which arms first run follows the structure (free inputs, unstable neurons after the root; see
`arms`), and nothing else: there is no table of benchmarks.  From then on time goes where it helps.

How progress is measured.  All arms cut: every split halves the *share* of the case that a node stands for, whatever it
splits, so the share still open falls from 1 to 0 in each of them, and share divided by its speed estimates the time an
arm still needs.  Shares say little early (depth first closes small pieces first), so a proved
margin that rises counts as well: the estimate is the smaller of the two.  An arm stays while it should end soon (within
twice the time it has had); else every arm has a first slice, and after that the one with the least estimate goes on.
An arm that has not run may claim its turn in the middle of another one's first slice, once what it needs is known
(`claim`: the linear programs of `milp` pay where a root has left few neurons unstable).
Slices grow with the time spent, so that switching costs a bounded part of it; and every fourth slice goes to the arm
that has had the least time, since an estimate is an extrapolation and may be wrong.  Every choice is written down with
its reason.  The attack runs beside the arms,
for a part of the time, from the first batch that leaves something open on.

Soundness does not depend on any of this: an arm's trees are its own, a case counts as proved when one arm has closed
its whole tree, and the proof takes that tree and no other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from farkas.engine.bab import Candidate, Progress
from farkas.engine.budget import Budget
from farkas.engine.choices import Choice
from farkas.engine.tree import ProofTree

FIRST_SLICE_S = 0.5  # shorter runs of an arm say little: bounds are cold, batches small
FIRST_STEPS = 8  # nor do fewer steps, as long as they take no more than
FIRST_SHARE = 0.25  # of the time: one box of a large network says nothing about its halves
GROWTH = 0.25  # a slice is this part of the time that the family has had
EXPLORE_EVERY = 4
SOON = 2.0  # times what it has had: an arm that should end within it is not left for one that never ran
FIRST_ATTACK = 4  # steps after the first batch, whatever they take: they find most witnesses that there are
ATTACK_SHARES = ((2.0, 0.35), (np.inf, 0.1))  # until so many seconds: the attack's part of the time


class Arm(Protocol):
    """One way to decide the cases of a family; cases are positions in the family."""

    @property
    def name(self) -> str: ...
    @property
    def progress(self) -> Progress: ...

    @property
    def why(self) -> str:
        """What its place in the order rests on."""
        ...

    @property
    def claim(self) -> str:
        """Why it should run now rather than wait for its place; empty when there is no reason."""
        ...

    @property
    def refused(self) -> str:
        """Which cases it does not take, and why; empty when there are none."""
        ...

    @property
    def unstable(self) -> int | None:
        """Neurons that a case's root left unstable, the most of all cases; None while no root is bounded."""
        ...

    def rounds(self, budget: Budget) -> Iterator[list[Candidate]]:
        """Work; ends when the arm has nothing left to try or the budget is spent."""
        ...

    def proved(self) -> Sequence[tuple[int, ProofTree]]:
        """Cases whose trees were closed since this was last asked."""
        ...

    def skip(self, case: int) -> None:
        """Another arm has proved this case."""
        ...

    def proof(self, case: int) -> ProofTree | None:
        """The closed tree of a case."""
        ...

    def reopen(self, case: int, node: int, budget: Budget) -> None:
        """Take back a leaf's closing and cut it once; `rounds` then goes on with its parts (see `repair`)."""
        ...

    @property
    def stuck(self) -> int:
        """Nodes that neither close nor can be cut."""
        ...

    @property
    def programs(self) -> int:
        """Linear programs solved."""
        ...


@dataclass(eq=False)
class Turn:
    """An arm, what is left of its generator, and how it has fared."""

    arm: Arm
    rounds: Iterator[list[Candidate]]
    seconds: float = 0.0
    slices: int = 0
    steps: int = 0
    ended: bool = False
    estimate_s: float = np.inf
    _share: float = 1.0
    _bound: float = -np.inf

    def record(self, seconds: float) -> None:
        """A slice is over: estimate the time to go from how share and margin moved during it."""
        self.slices += 1
        progress = self.arm.progress
        share, bound = progress.share, progress.best_bound
        estimate = np.inf
        if share < self._share:
            estimate = share * seconds / (self._share - share)
        if np.isfinite(self._bound) and self._bound < bound < 0:
            estimate = min(estimate, -bound * seconds / (bound - self._bound))
        self.estimate_s, self._share, self._bound = estimate, share, bound


@dataclass(eq=False)
class Portfolio:
    """The arms of one family in their order; `rounds` runs them in slices until every case has a proof."""

    cases: int
    turns: list[Turn]
    attack: Iterator[list[Candidate]]
    switches: int = 0
    attack_s: float = 0.0
    attacks: int = 0
    proofs: dict[int, tuple[Arm, ProofTree]] = field(default_factory=dict)
    current: Turn | None = None
    choices: list[Choice] = field(default_factory=list)

    @staticmethod
    def of(cases: int, arms: Sequence[Arm], attack: Iterator[list[Candidate]], budget: Budget) -> Portfolio:
        return Portfolio(cases, [Turn(arm, arm.rounds(budget)) for arm in arms], attack)

    @property
    def is_proved(self) -> bool:
        return len(self.proofs) == self.cases

    @property
    def seconds(self) -> float:
        """Spent in the arms."""
        return sum(turn.seconds for turn in self.turns)

    def rounds(self, budget: Budget) -> Iterator[list[Candidate]]:
        """Candidates as arms and attack meet them; the caller may stop at any yield."""
        while not self.is_proved and not budget.is_spent:
            found = self._next()
            if found is None:
                return
            turn, why = found
            if turn is not self.current:
                self.switches += self.current is not None
                self.choices.append(Choice(budget.elapsed_s, turn.arm.name, why))
            self.current = turn
            yield from self._slice(turn, max(FIRST_SLICE_S, GROWTH * self.seconds), budget)

    def _slice(self, turn: Turn, length_s: float, budget: Budget) -> Iterator[list[Candidate]]:
        before = turn.seconds
        while True:
            start = time.monotonic()
            found = next(turn.rounds, None)
            turn.seconds += time.monotonic() - start
            turn.steps += 1
            turn.ended = found is None
            self._collect(turn.arm)
            if found is not None:
                yield found
            warm = turn.steps >= FIRST_STEPS or turn.seconds >= FIRST_SHARE * (budget.elapsed_s + budget.left_s)
            if turn.ended or (warm and turn.seconds - before >= length_s) or self.is_proved or budget.is_spent:
                turn.record(turn.seconds - before)
                return
            if self._claimed() is not None:
                return  # not a slice: its turn comes again as if it had not run
            yield from self._attack()

    def _claimed(self) -> Turn | None:
        """An arm that has not run and should now."""
        fresh = (turn for turn in self.turns if not turn.slices and not turn.ended and turn is not self.current)
        return next((turn for turn in fresh if turn.arm.claim), None)

    def _attack(self) -> Iterator[list[Candidate]]:
        """Steps of the attack until it has had its part of the time."""
        part = next(part for until, part in ATTACK_SHARES if self.seconds < until)
        while self.attack_s < part * self.seconds or self.attacks < FIRST_ATTACK:
            self.attacks += 1
            start = time.monotonic()
            found = next(self.attack, None)
            self.attack_s += time.monotonic() - start
            if found is None:
                return
            yield found

    def _collect(self, arm: Arm) -> None:
        for case, tree in arm.proved():
            self.proofs[case] = arm, tree
            for turn in self.turns:
                if turn.arm is not arm:
                    turn.arm.skip(case)

    def _next(self) -> tuple[Turn, str] | None:
        """The arm to run, and why: one that never ran, else mostly the one that should end first."""
        left = [turn for turn in self.turns if not turn.ended]
        fresh = [turn for turn in left if not turn.slices]
        current = next((turn for turn in left if turn is self.current), None)
        claimed = self._claimed()
        if claimed is not None:
            return claimed, claimed.arm.claim
        if fresh and current is not None and current.estimate_s < SOON * current.seconds:
            return current, "it should end soon"
        if fresh or not left:
            return (fresh[0], self._why_fresh(fresh[0])) if fresh else None
        if sum(turn.slices for turn in self.turns) % EXPLORE_EVERY == EXPLORE_EVERY - 1:
            return min(left, key=lambda turn: turn.seconds), "it has had the least time"
        best = min(left, key=lambda turn: (turn.estimate_s, turn.seconds))
        if np.isfinite(best.estimate_s):
            return best, f"it should end first, in some {best.estimate_s:.2g} s"
        return best, "none comes nearer to its end, and it has had the least time"

    def _why_fresh(self, turn: Turn) -> str:
        """Why an arm runs for the first time: it stands first, or the one before it did not get there."""
        last = self.current
        if last is None or last is turn:
            return turn.arm.why
        if last.ended:
            return f"{last.arm.name} has nothing left to try"
        if np.isfinite(last.estimate_s):
            return f"{last.arm.name} would need some {last.estimate_s:.2g} s more"
        return f"{last.arm.name} does not come nearer to its end"
