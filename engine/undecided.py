"""Why a question stays open, in words: how far each way came, and what would help."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from farkas.engine.gap import Gap
from farkas.engine.portfolio import Turn
from farkas.engine.turns import FamilyTurn
from farkas.engine.verdict import GapReport

HOPELESS = 100.0  # times what was spent: a longer timeout is not advised any more
SHOWN = 6  # coordinates of a box


def of_gap(turn: FamilyTurn) -> str:
    """The band and the box, what the ladder made of it, and what would help."""
    gap = _worst(turn)
    count = len(turn.gaps)
    boxes = "one box is" if count == 1 else f"{count} boxes are"
    parts = [
        f"{boxes} proved over the reals but within the rounding errors of binary32: in the box {_box(gap)} the "
        f"margin is at least {gap.margin:.3g}, and at one of its points executions may fall short of it by "
        f"{gap.short:.3g}"
    ]
    parts += [f"{'; '.join(turn.details)}"] if turn.details else []
    orders = sorted(s.value for s in turn.elsewhere if s.order is not None)
    if orders:
        parts.append(f"it holds, by words, for --semantics {' and '.join(orders)}")
    else:
        parts.append("a single order may be decided: --semantics f32-order:mlas-k256-fma, or `real`")
    return "; ".join(parts)


def report_of_gap(turn: FamilyTurn) -> GapReport:
    gap = _worst(turn)
    lower, upper, point = (tuple(map(float, values)) for values in (gap.lower, gap.upper, gap.point))
    return GapReport(turn.family.members[gap.case], lower, upper, point, gap.margin, gap.short)


def _worst(turn: FamilyTurn) -> Gap:
    return min(turn.gaps, key=lambda gap: gap.margin)


def _box(gap: Gap) -> str:
    sides = [
        f"[{low:.9g}, {high:.9g}]"
        for low, high in zip(gap.lower[:SHOWN].tolist(), gap.upper[:SHOWN].tolist(), strict=True)
    ]
    return " x ".join(sides) + (f" x ... ({len(gap.lower)} inputs)" if len(gap.lower) > SHOWN else "")


def stuck(ran: Sequence[Turn], details: Sequence[str], binary32: bool = True) -> str:
    """Boxes or nodes that nothing can be done about."""
    within = "the rounding error of an execution" if binary32 else "what the bounds' own arithmetic resolves"
    count = min((turn.arm.stuck for turn in ran if turn.arm.stuck), default=0)
    closest = min((turn.arm.progress.closest for turn in ran), default=np.inf)
    told = (
        f"{count} boxes or nodes can neither be cut further nor proved nor violated: the margin is within {within} "
        f"(closest candidate {closest:.3g})"
    )
    return "; ".join([told, *details])


def still_open(ran: Sequence[Turn], elapsed_s: float) -> str:
    """How far each arm came, and what would help."""
    told = []
    for turn in ran:
        p = turn.arm.progress
        if not p.boxes:
            continue
        margin = f", worst margin {p.best_bound:.3g}" if p.open and np.isfinite(p.best_bound) else ""
        told.append(f"{turn.arm.name}: {p.leaves} leaves closed, {p.open} open{margin}")
    if not told:
        return f"no bound was computed within {elapsed_s:.1f} s; allow more with --timeout"
    estimate = min((turn.estimate_s for turn in ran if not turn.ended), default=np.inf)
    if estimate < HOPELESS * elapsed_s:
        advice = f"at its present pace the best of them needs some {estimate:.0f} s more (--timeout)"
    else:
        advice = "none of them comes to an end at this pace; a smaller input set or a weaker property may be decided"
    return f"after {elapsed_s:.1f} s {'; '.join(told)}; {advice}"
