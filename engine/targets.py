"""What the climbs of the attack share: gradients of a family's objectives, targets, the best points, the pace.

A target is a disjunct of a case.  The batch is chosen by the measured cost of a pass: a network of a million weights
gets few runs at a time and a small one hundreds, so that each pass takes some 20 ms and the clock is looked at often.
Points are binary32 numbers throughout: what is evaluated is what is replayed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from farkas.engine.bab import Candidate
from farkas.engine.objective import Indices, Objective
from farkas.engine.problem import Matrix
from farkas.engine.ties import Ties
from farkas.runtime_cuda.attack import Gradients

Vector = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

PASS_S = 0.02  # seconds aimed at for a pass
LARGEST_BATCH = 512
NUMBERS = 1 << 23  # of all values of a batch: 64 MiB
MOST_TARGETS = 4096
KEPT = 8  # candidates handed out at a time
NEAR = 1e-3  # of the largest slack seen: points so near are handed out


@dataclass(frozen=True, eq=False)
class Ascent:
    """What the rounds share: gradients, objective, boxes of the cases, randomness.  Points keep to the ties."""

    gradients: Gradients
    objective: Objective
    lower: Matrix
    upper: Matrix
    rng: np.random.Generator

    @cached_property
    def ties(self) -> Ties:
        return Ties.of(self.objective.family)

    def rise(self, points: Matrix, case: Indices, target: Indices, smooth: Mask) -> tuple[Matrix, Matrix]:
        """Slacks of all disjuncts (B, D), and the gradient (B, n0) that raises the objective of each run."""
        found: list[Matrix] = []
        family = self.objective.family

        def choose(y: Matrix) -> Matrix:
            slacks = self.objective.slacks(y, points, case)
            found.extend((slacks.min(axis=2), self.objective.ascent(slacks, target, smooth)))
            return -(found[1] @ family.y_rows)

        _, gradient = self.gradients.at(points, choose)
        slack, weights = found
        return slack, self.ties.gradient(gradient if family.x_rows is None else gradient - weights @ family.x_rows)

    def slack(self, points: Matrix, case: Indices) -> Matrix:
        """(B, D), without a gradient."""
        return np.asarray(self.objective.slacks(self.gradients.outputs(points), points, case).min(axis=2))

    def inside(self, points: Matrix, case: Indices) -> Matrix:
        """The points as binary32 numbers of the boxes of their cases."""
        with np.errstate(over="ignore"):
            rounded = points.astype(np.float32).astype(np.float64)
        return self.kept(np.clip(rounded, self.lower[case], self.upper[case]), case)

    def kept(self, points: Matrix, case: Indices) -> Matrix:
        """The points on what the property says of all inputs: ties, an ellipsoid."""
        points, ball = self.ties.points(points), self.objective.family.ball
        return points if ball is None else ball.project(points, case)

    def anywhere(self, case: Indices) -> Matrix:
        """Random points, a quarter of their coordinates at an end of the box."""
        share = np.clip(self.rng.uniform(-1 / 6, 7 / 6, (len(case), self.lower.shape[1])), 0.0, 1.0)
        return self.inside(self.lower[case] * (1 - share) + self.upper[case] * share, case)

    @property
    def largest_batch(self) -> int:
        """As many runs as memory allows."""
        return max(1, min(LARGEST_BATCH, NUMBERS // (2 * sum(self.gradients.program.sizes))))


@dataclass(eq=False)
class Board:
    """Targets (case, disjunct) and the best point of each; the pace of the passes."""

    ascent: Ascent
    case: Indices
    disjunct: Indices
    slack: Vector
    points: dict[int, Vector] = field(default_factory=dict)
    point_s: float = 0.0
    scale: float = 0.0

    def draw(self, count: int) -> Indices:
        """Targets, those with the largest slack more often, every one now and then."""
        order = np.argsort(-self.slack, kind="stable")
        return np.asarray(order[(len(order) * self.ascent.rng.random(count) ** 3).astype(np.int64)])

    def best(self, count: int) -> Indices:
        """The `count` best targets that have a point, repeated when there are fewer."""
        known = np.array(sorted(self.points, key=lambda t: -self.slack[t])[: max(1, count // 4)], dtype=np.int64)
        return np.resize(known, count)

    @property
    def batch(self) -> int:
        """How many runs make a pass of about PASS_S."""
        wanted = int(PASS_S / self.point_s) if self.point_s else 1
        return max(min(4, self.ascent.largest_batch), min(wanted, self.ascent.largest_batch))

    def measure(self, runs: int, seconds: float) -> None:
        each = seconds / runs
        self.point_s = each if not self.point_s else 0.5 * self.point_s + 0.5 * each

    def record(self, target: Indices, points: Matrix, slack: Matrix) -> list[Candidate]:
        """Note what a pass has found; candidates near a violation, evaluated in float64."""
        own = slack[np.arange(len(target)), self.disjunct[target]]
        for i in np.argsort(own, kind="stable")[-4 * KEPT :]:
            t = int(target[i])
            if t not in self.points or own[i] > self.slack[t]:
                self.points[t], self.slack[t] = points[i], own[i]
        worst = slack.max(axis=1)
        finite = abs(worst[np.isfinite(worst)])
        self.scale = max(self.scale, float(finite.max(initial=0.0)))
        near = np.flatnonzero(worst >= -NEAR * self.scale)
        near = near[np.argsort(-worst[near], kind="stable")[:KEPT]]
        return [Candidate(int(self.case[target[i]]), points[i], float(worst[i])) for i in near]


def board_of(ascent: Ascent) -> Board:
    """All targets with their slack at the centre of their case (of some, when there are very many)."""
    cases, disjuncts = len(ascent.lower), len(ascent.objective.family.disjuncts)
    case = np.arange(cases, dtype=np.int64)
    if cases * disjuncts > MOST_TARGETS:
        case = np.sort(ascent.rng.permutation(case)[: max(1, MOST_TARGETS // disjuncts)])
    board = Board(ascent, np.repeat(case, disjuncts), np.tile(np.arange(disjuncts), len(case)), np.zeros(0))
    slacks = []
    for start in range(0, len(case), ascent.largest_batch):
        piece = case[start : start + ascent.largest_batch]
        began = time.monotonic()
        slacks.append(ascent.slack(middle(ascent, piece), piece))
        board.measure(len(piece), 2.0 * (time.monotonic() - began))
    board.slack = np.concatenate(slacks).ravel()
    return board


def middle(ascent: Ascent, case: Indices) -> Matrix:
    return ascent.inside(0.5 * ascent.lower[case] + 0.5 * ascent.upper[case], case)
