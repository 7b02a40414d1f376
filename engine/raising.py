"""Witnesses that violate by as much as an attack finds: where a value is maximised, the first one found is not the end.

The strong attack (`farkas.engine.ascent`) climbs on the slack of the disjuncts, whatever its sign, so it goes on beyond
what violates.  A conjunction's slack is that of its tightest atom; conditions on inputs alone (that two inputs are
close, say) would share the slack evenly with what is maximised, so they are scaled up: they hold or not just the same,
and a hair of slack is enough for them.  For the distance of two outputs of two copies on inputs that are close, half a
second then leads to 0.023 where it led to 0.006 (the greatest is about 0.029).  One replay for each family of cases, of
its best candidate, is a record like any other; climbing is float64 and proposes only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from farkas.engine.bab import Candidate
from farkas.engine.budget import Budget
from farkas.engine.falsify import Attack
from farkas.engine.problem import Family
from farkas.engine.query import Query
from farkas.engine.replay import Replay, Replayer
from farkas.specs.query import Semantics

WEIGHT = 2.0**10  # of atoms on inputs alone


def raised(query: Query, seconds: float, seed: int = 0) -> Iterator[Replay]:
    """Replays of what violates most, as far as an attack of so many seconds finds out; none for integer networks."""
    families = [family for family in query.families if family.disjuncts and len(family.y_rows)]
    if query.semantics is Semantics.INT_EXACT or not families:
        return
    rng = np.random.default_rng(seed)
    replayer = Replayer(query.graph, query.program, query.network, query.semantics, query.parts, query.ties)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for family in families:
            ends = [query.sets.points[member] for member in family.members]
            lower, upper = np.array([end[0] for end in ends]), np.array([end[1] for end in ends])
            best = _best(Attack(query.program, _weighted(family), lower, upper, rng), seconds / len(families))
            if best is None or best.slack < 0:
                continue
            number = family.members[best.case]
            found = replayer.attempt(number, query.property.cases[number], best.point)
            if found is not None:
                yield found


def _weighted(family: Family) -> Family:
    """The same family with its atoms on inputs scaled."""
    if family.x_rows is None:
        return family
    weights = np.where(family.y_rows.any(axis=1), 1.0, WEIGHT)
    return replace(family, x_rows=family.x_rows * weights[:, None], thresholds=family.thresholds * weights)


def _best(attack: Attack, seconds: float) -> Candidate | None:
    """The candidate with the largest slack."""
    best: Candidate | None = None
    for candidates in attack.strong(Budget.of(seconds), seconds):
        for candidate in candidates:
            if best is None or candidate.slack > best.slack:
                best = candidate
    return best
