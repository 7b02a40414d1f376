"""The strong attack: many short climbs toward every disjunct, batched, cheapest first.

A witness of an image classifier mostly falls to one or two sign-gradient steps from the centre of the box toward the
right class; the rest needs restarts.  So the attack is a sequence of rounds under one clock:

1. From the centre toward every disjunct of every case (the most promising first when there are many), full steps
   first: the sign of the gradient at the centre names a corner of the box, and most witnesses lie there.
2. Restarts from random points that three steps along a random direction of the *outputs* have driven apart (ODI,
   Tashiro, Song and Ermon, Diversity can be Transferred: Output Diversification for White- and Black-box Attacks,
   NeurIPS 2020), climbing with momentum on the targeted margin (MI-FGSM, Dong et al., CVPR 2018).
3. Restarts on the smooth objective (`objective`), with steps in proportion to the gradient (Adam) in half of the runs.
4. From the best points so far, with small steps, toward the same disjunct.
5. A walk from the best points: random sets of inputs, the influential ones more often, put to either end of the box.
   It needs no gradient, so it goes on where every ReLU that matters is off.

In all climbs each run halves its step and returns to its best point when a sixth of the steps brought nothing (after
APGD, Croce and Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks,
ICML 2020).  A run whose gradient vanishes takes a random direction.  Rounds 2 to 5 repeat with twice the steps, up to
128.

The batch is chosen by the measured cost of a pass: a network of a million weights gets few runs at a time and a small
one hundreds, so that each pass takes some 20 ms and the clock is looked at often.  Points are binary32 numbers
throughout: what is evaluated is what is replayed.

On the public instances with known witnesses of mnist_fc, cora, cifar_biasfield, sri_resnet_a and _b, metaroom and
safenlp the first round finds one in 5 to 110 ms of CPU time, reading included in neither; only one network of
reach_prob_density needs a second of restarts (one core, November 2026).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from farkas.engine.bab import Candidate
from farkas.engine.budget import Budget
from farkas.engine.objective import Indices, Objective
from farkas.engine.problem import Matrix
from farkas.runtime_cuda.attack import Gradients

Vector = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

PASS_S = 0.02  # seconds aimed at for a pass
LARGEST_BATCH = 512
NUMBERS = 1 << 23  # of all values of a batch: 64 MiB
MOST_TARGETS = 4096
MOST_STEPS = 128
KEPT = 8  # candidates handed out at a time
NEAR = 1e-3  # of the largest slack seen: points so near are evaluated again in float64


@dataclass(frozen=True, eq=False)
class Ascent:
    """What the rounds share: gradients, objective, boxes of the cases, randomness."""

    gradients: Gradients
    objective: Objective
    lower: Matrix
    upper: Matrix
    rng: np.random.Generator

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
        return slack, gradient if family.x_rows is None else gradient - weights @ family.x_rows

    def slack(self, points: Matrix, case: Indices) -> Matrix:
        """(B, D), without a gradient."""
        return np.asarray(self.objective.slacks(self.gradients.outputs(points), points, case).min(axis=2))

    def inside(self, points: Matrix, case: Indices) -> Matrix:
        """The points as binary32 numbers of the boxes of their cases."""
        with np.errstate(over="ignore"):
            rounded = points.astype(np.float32).astype(np.float64)
        return np.clip(rounded, self.lower[case], self.upper[case])

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


_Start = Callable[[Board, Indices], Matrix]


def strong(ascent: Ascent, limit: Budget) -> Iterator[list[Candidate]]:
    """Candidates with their slack in the precision of the gradients, best first; an empty list after an idle pass."""
    if not ascent.objective.family.disjuncts or limit.is_spent:
        return
    board = _board(ascent)
    yield from _climb(board, np.argsort(-board.slack, kind="stable")[: board.batch], _centre, 6, 1.0, False, limit)
    steps = 8
    while not limit.is_spent:
        yield from _climb(board, board.draw(board.batch), _driven, steps, 0.5, False, limit)
        yield from _climb(board, board.draw(board.batch), _anywhere, steps, 0.25, True, limit)
        yield from _climb(board, board.best(board.batch), _known, steps, 0.05, False, limit)
        yield from _walk(board, board.best(board.batch), steps // 2, limit)
        steps = min(2 * steps, MOST_STEPS)


def _board(ascent: Ascent) -> Board:
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
        slacks.append(ascent.slack(_middle(ascent, piece), piece))
        board.measure(len(piece), 2.0 * (time.monotonic() - began))
    board.slack = np.concatenate(slacks).ravel()
    return board


def _middle(ascent: Ascent, case: Indices) -> Matrix:
    return ascent.inside(0.5 * ascent.lower[case] + 0.5 * ascent.upper[case], case)


def _centre(board: Board, target: Indices) -> Matrix:
    return _middle(board.ascent, board.case[target])


def _anywhere(board: Board, target: Indices) -> Matrix:
    return board.ascent.anywhere(board.case[target])


def _driven(board: Board, target: Indices) -> Matrix:
    """Random points, driven apart along random directions of the outputs."""
    ascent, case = board.ascent, board.case[target]
    points = ascent.anywhere(case)
    direction = ascent.rng.uniform(-1, 1, (len(case), ascent.gradients.program.output_size))
    width = ascent.upper[case] - ascent.lower[case]
    for _ in range(3):
        _, gradient = ascent.gradients.at(points, lambda _: direction)
        points = ascent.inside(points + 0.25 * width * np.sign(gradient), case)
    return points


def _known(board: Board, target: Indices) -> Matrix:
    """The best points, a little shaken but for the first of each."""
    case = board.case[target]
    points = np.array([board.points[int(t)] for t in target])
    first = np.zeros(len(target), dtype=bool)
    first[np.unique(target, return_index=True)[1]] = True
    shaken = points + 0.1 * (board.ascent.anywhere(case) - points)
    return board.ascent.inside(np.where(first[:, None], points, shaken), case)


def _climb(
    board: Board, target: Indices, start: _Start, steps: int, size: float, smooth: bool, limit: Budget
) -> Iterator[list[Candidate]]:
    """Gradient steps toward the targets; size: of the first step, in widths of the box."""
    if limit.is_spent:
        return
    ascent, runs = board.ascent, len(target)
    case, disjunct = board.case[target], board.disjunct[target]
    points, width = start(board, target), ascent.upper[case] - ascent.lower[case]
    goal = np.where(np.arange(runs) % 2 == 0, -1, disjunct) if smooth else disjunct
    scaled = np.arange(runs) % 4 >= 2 if smooth else np.zeros(runs, dtype=bool)
    step = np.full((runs, 1), size)
    momentum, second = np.zeros_like(points), np.zeros_like(points)
    best, best_slack = points, np.full(runs, -np.inf)
    seen, window = best_slack.copy(), max(2, steps // 6)
    for number in range(steps):
        began = time.monotonic()
        slack, gradient = ascent.rise(points, case, goal, np.full(runs, smooth))
        board.measure(runs, time.monotonic() - began)
        yield board.record(target, points, slack)
        if limit.is_spent:
            return
        own = slack[np.arange(runs), disjunct]
        better = own > best_slack
        best, best_slack = np.where(better[:, None], points, best), np.where(better, own, best_slack)
        if number % window == window - 1:
            idle = best_slack <= seen
            step[idle] *= 0.5
            points = np.where(idle[:, None], best, points)
            momentum[idle] = 0.0
            seen = best_slack.copy()
        direction = _direction(ascent.rng, gradient * width, momentum, second, scaled)
        points = ascent.inside(points + step * width * direction, case)
        if size == 1.0:
            step *= 0.5


def _direction(rng: np.random.Generator, gradient: Matrix, momentum: Matrix, second: Matrix, scaled: Mask) -> Matrix:
    """The next direction, entries in [-1, 1]; updates the momenta (B, n0) in place."""
    size = abs(gradient).mean(axis=1, keepdims=True)
    stuck = size[:, 0] == 0
    gradient = np.where(stuck[:, None], rng.choice([-1.0, 1.0], gradient.shape), gradient / np.where(size > 0, size, 1))
    momentum *= 0.75
    momentum += 0.25 * gradient
    second *= 0.9
    second += 0.1 * gradient**2
    relative = np.clip(momentum / (np.sqrt(second) + 1e-12), -1.0, 1.0)
    return np.where(scaled[:, None], relative, np.sign(momentum))


def _walk(board: Board, target: Indices, steps: int, limit: Budget) -> Iterator[list[Candidate]]:
    """Random sets of inputs put to either end; a set that raises the slack of the target stays."""
    if limit.is_spent:
        return
    ascent, runs = board.ascent, len(target)
    case, disjunct = board.case[target], board.disjunct[target]
    points, lines = _known(board, target), np.arange(runs)
    slack, gradient = ascent.rise(points, case, disjunct, np.zeros(runs, dtype=bool))
    own = slack[lines, disjunct]
    width = ascent.upper[case] - ascent.lower[case]
    influence = abs(gradient) * width
    free = (width > 0).sum(axis=1, keepdims=True)
    influence = (width > 0) * (0.2 + influence / np.maximum(influence.max(axis=1, keepdims=True), 1e-300))
    for number in range(steps):
        share = np.maximum(1.0, free * 0.3 * ascent.rng.random((runs, 1)) ** 2 / (1 + number)) / np.maximum(free, 1)
        moved = ascent.rng.random(points.shape) < share * influence / influence.mean(axis=1, keepdims=True).clip(1e-300)
        end = np.where(ascent.rng.random(points.shape) < 0.5, ascent.lower[case], ascent.upper[case])
        tried = np.where(moved, end, points)
        slack = ascent.slack(tried, case)
        yield board.record(target, tried, slack)
        if limit.is_spent:
            return
        better = slack[lines, disjunct] > own
        points = np.where(better[:, None], tried, points)
        own = np.where(better, slack[lines, disjunct], own)
