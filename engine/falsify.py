"""Looking for a witness before and during the search: centre, corners, samples, projected gradient.

Everything here is float64 and heuristic; a candidate becomes a verdict only through `replay`.  Points are taken from
the box of binary32 numbers that lie in the exact input set, so that what is found can be replayed as it stands.
The attack is staged, for it costs as much as the median instance: 256 points first, gradient steps after the root
bound has failed to decide; `strong` goes on from there, a few milliseconds at first, as long as the caller lets it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import numpy.typing as npt

from farkas.engine.ascent import strong
from farkas.engine.bab import Candidate
from farkas.engine.budget import Budget
from farkas.engine.objective import Indices, Objective
from farkas.engine.problem import Family, Matrix
from farkas.engine.targets import Ascent
from farkas.engine.ties import Ties
from farkas.ir.core import Program, run_float
from farkas.runtime_cuda.attack import Gradients

Vector = npt.NDArray[np.float64]
CORNER_INPUTS = 6  # all corners up to this many free inputs
FIRST_PASSES = 3  # of the strong attack in the first samples


@dataclass(frozen=True, eq=False)
class Attack:
    """Candidates for one family.

    points_lower, points_upper: (cases, n0) the binary32 ends of the input sets (any float64 in `real`).
    """

    program: Program
    family: Family
    points_lower: Matrix
    points_upper: Matrix
    rng: np.random.Generator

    @cached_property
    def objective(self) -> Objective:
        return Objective(self.family)

    @cached_property
    def ties(self) -> Ties:
        return Ties.of(self.family)

    @cached_property
    def ascent(self) -> Ascent:
        gradients = Gradients.of(self.program)
        return Ascent(gradients, self.objective, self.points_lower, self.points_upper, self.rng)

    def slack(self, points: Matrix, case: Indices) -> Vector:
        """(B,) by how much the best disjunct holds, in float64; >= 0 suggests a witness."""
        y = run_float(self.program, points)[self.program.output]
        return np.asarray(self.objective.slacks(y, points, case).min(axis=2).max(axis=1, initial=-np.inf))

    def sample(self, count: int) -> list[Candidate]:
        """Centre, corners and random points of every case, `count` points in all (at least two a case).

        With many inputs random points say little, and the corner to which the gradient at the centre points much, at
        the cost of some passes: it is there before a large network's root is bounded, which takes seconds.
        """
        cases = len(self.family.members)
        each = max(2, count // cases)
        points, owner = [], []
        for case in range(cases):
            own = self._points(case, each)
            points.append(own)
            owner.append(np.full(len(own), case, dtype=np.int64))
        found = self._best(np.concatenate(points), np.concatenate(owner), 16)
        if (self.points_upper > self.points_lower).any(axis=0).sum() <= CORNER_INPUTS:
            return found
        climbed = [c for pass_ in islice(strong(self.ascent, Budget.of(None)), FIRST_PASSES) for c in pass_]
        return sorted([*found, *climbed], key=lambda c: -c.slack)[:16]

    def _points(self, case: int, count: int) -> Matrix:
        lower, upper = self.points_lower[case], self.points_upper[case]
        free = np.flatnonzero(upper > lower)
        chosen = [np.where(upper > lower, 0.5 * lower + 0.5 * upper, lower)[None]]
        if 0 < len(free) <= CORNER_INPUTS and 2 ** len(free) <= count:
            bits = (np.arange(2 ** len(free))[:, None] >> np.arange(len(free))) & 1
            corners = np.repeat(lower[None], len(bits), axis=0)
            corners[:, free] = np.where(bits == 1, upper[free], lower[free])
            chosen.append(corners)
        rest = count - sum(len(c) for c in chosen)
        if rest > 0 and len(free):
            random = np.repeat(lower[None], rest, axis=0)
            random[:, free] += (upper - lower)[free] * self.rng.random((rest, len(free)))
            extreme = self.rng.random((rest, len(free))) < 0.3
            ends = np.where(self.rng.random((rest, len(free))) < 0.5, lower[free], upper[free])
            random[:, free] = np.where(extreme, ends, random[:, free])
            chosen.append(random)
        return np.concatenate(chosen)

    def descend(self, starts: list[Candidate], steps: int, budget: Budget) -> Iterator[list[Candidate]]:
        """Projected sign-gradient on the tightest atom of the best disjunct; yields the best points of every step."""
        if not starts:
            return
        case = np.array([c.case for c in starts], dtype=np.int64)
        points = np.array([c.point for c in starts])
        step = 0.25
        any_disjunct = np.full(len(points), -1, dtype=np.int64)
        for _ in range(steps):
            if budget.is_spent:
                return
            _, gradient = self.ascent.rise(points, case, any_disjunct, any_disjunct == 0)
            lower, upper = self.points_lower[case], self.points_upper[case]
            points = np.clip(points + step * (upper - lower) * np.sign(gradient), lower, upper)
            points = self.ascent.kept(points, case)
            step *= 0.85
            yield self._best(points, case, 8)

    def strong(self, budget: Budget, share_s: float) -> Iterator[list[Candidate]]:
        """The attack for wide networks (`ascent`): the best points so far, best first, until `share_s` is over.

        The first lists cost one pass each: a caller who stops at a replayed witness pays little for an easy one.
        """
        return strong(self.ascent, Budget.of(max(0.0, min(share_s, budget.left_s))))

    def _best(self, points: Matrix, case: Indices, count: int) -> list[Candidate]:
        points = self.ascent.kept(np.clip(points, self.points_lower[case], self.points_upper[case]), case)
        slack = self.slack(points, case)
        order = np.argsort(-slack, kind="stable")[:count]
        return [Candidate(int(case[i]), points[i], float(slack[i])) for i in order]
