"""What a run did, over all families and arms: the numbers that go with an answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from farkas.engine.arms import InputArm
from farkas.engine.budget import Budget
from farkas.engine.choices import Choice
from farkas.engine.climb import Climber
from farkas.engine.query import Query
from farkas.engine.turns import FamilyTurn
from farkas.engine.verdict import ArmStatistics, Holds, Statistics, Verdict

if TYPE_CHECKING:
    from farkas.engine.subtrees import Team

MOST_CHOICES = 100


def statistics(
    query: Query,
    turns: Sequence[FamilyTurn],
    climber: Climber,
    verdict: Verdict,
    backend: str,
    budget: Budget,
    cpu_s: float,
    team: Team | None = None,
) -> Statistics:
    """Totals over all families; leaves and their rules are those of the proof, where there is one."""
    ran = [(turn, other) for turn in turns for other in turn.portfolio.turns if other.slices or other.seconds]
    parts = [other.arm.progress for _, other in ran]
    open_turns = [turn for turn in turns if not turn.is_proved]
    margins = [_margin(turn) for turn in open_turns]
    rules: Counter[str] = Counter()
    for part in parts:
        rules.update(part.rules)
    leaves = sum(p.leaves for p in parts)
    if isinstance(verdict, Holds):
        leaves = verdict.tree.leaves
        rules = Counter({str(rule): count for rule, count in verdict.tree.leaf_rules().items()})
    closest = min((p.closest for p in parts), default=np.inf)
    kernels = [o.arm.search.kernel for _, o in ran if isinstance(o.arm, InputArm)]
    return Statistics(
        boxes=sum(p.boxes for p in parts),
        leaves=leaves,
        open=sum(_least_open(turn) for turn in open_turns),
        bound=min((m for m in margins if np.isfinite(m)), default=None),
        closest=float(closest) if np.isfinite(closest) else None,
        time_s=budget.elapsed_s,
        cpu_s=cpu_s,
        engine="compiled" if any(kernels) else backend,
        off_grid=query.sets.off_grid,
        arms=_by_arm(turns),
        switches=sum(turn.portfolio.switches for turn in turns),
        attack_s=sum(turn.portfolio.attack_s for turn in turns),
        rules=rules,
        programs=sum(other.arm.programs for _, other in ran),
        rungs=tuple(climber.statistics.values()),
        unstable=_most_unstable(turns),
        choices=_choices(turns),
        shared=0 if team is None else team.boxes,
        lost=0 if team is None else team.lost,
    )


def _most_unstable(turns: Sequence[FamilyTurn]) -> int | None:
    counts = [other.arm.unstable for turn in turns for other in turn.portfolio.turns]
    return max((count for count in counts if count is not None), default=None)


def _choices(turns: Sequence[FamilyTurn]) -> tuple[Choice, ...]:
    """Of all families, in the order of time."""
    made = sorted((choice for turn in turns for choice in turn.portfolio.choices), key=lambda choice: choice.time_s)
    return tuple(made[:MOST_CHOICES])


def _by_arm(turns: Sequence[FamilyTurn]) -> tuple[ArmStatistics, ...]:
    """What each way of deciding did, over all families."""
    found: dict[str, ArmStatistics] = {}
    for turn in turns:
        for other in turn.portfolio.turns:
            if not other.seconds:
                continue
            arm, p = other.arm, other.arm.progress
            old = found.get(arm.name, ArmStatistics(arm.name))
            found[arm.name] = ArmStatistics(
                arm.name,
                old.time_s + other.seconds,
                old.boxes + p.boxes,
                old.leaves + p.leaves,
                old.open + p.open,
                old.programs + arm.programs,
            )
    return tuple(found.values())


def _margin(turn: FamilyTurn) -> float:
    """The best that an arm has proved of its worst open piece."""
    bounds = [other.arm.progress.best_bound for other in turn.portfolio.turns if other.seconds]
    return max((b for b in bounds if b < 0), default=-np.inf)


def _least_open(turn: FamilyTurn) -> int:
    return min((other.arm.progress.open for other in turn.portfolio.turns if other.arm.progress.open), default=0)
