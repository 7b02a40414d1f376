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

Where a disjunct has several atoms, half of the targeted runs project instead: a step just so long that by the linear
piece at the point the worst atom would hold (Kaczmarz); such runs start anew when they stop gaining.  Atoms that pull
different ways are met in a fifth of the passes that signs took.

Other runs halve their step and return to their best point when a sixth of the steps brought nothing (after APGD, Croce
and Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks, ICML 2020).
A run whose gradient vanishes takes a random direction.  Rounds 2 to 5 repeat with twice the steps, up to 128.

On the public instances with known witnesses of mnist_fc, cora, cifar_biasfield, sri_resnet_a and _b, metaroom and
safenlp the first round finds one in 5 to 110 ms of CPU time, reading not included; of reach_prob_density two need
restarts, one of them up to a second (one core, November 2026).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from farkas.engine.bab import Candidate
from farkas.engine.budget import Budget
from farkas.engine.objective import Indices
from farkas.engine.problem import Matrix
from farkas.engine.targets import Ascent, Board, Mask, Vector, board_of, middle

MOST_STEPS = 128
PATIENCE = 6  # passes without a gain after which a projecting run starts anew
PROJECTION = 1.2  # of the step that just reaches: what holds with equality only does not replay

_Start = Callable[[Board, Indices], Matrix]


def strong(ascent: Ascent, limit: Budget) -> Iterator[list[Candidate]]:
    """Candidates with their slack in the precision of the gradients, best first; an empty list after an idle pass."""
    if not ascent.objective.family.disjuncts or limit.is_spent:
        return
    board = board_of(ascent)
    yield from _climb(board, np.argsort(-board.slack, kind="stable")[: board.batch], _centre, 6, 1.0, False, limit)
    steps = 8
    while not limit.is_spent:
        yield from _climb(board, board.draw(board.batch), _driven, steps, 0.5, False, limit)
        yield from _climb(board, board.draw(board.batch), _anywhere, steps, 0.25, True, limit)
        yield from _climb(board, board.best(board.batch), _known, steps, 0.05, False, limit)
        yield from _walk(board, board.best(board.batch), steps // 2, limit)
        steps = min(2 * steps, MOST_STEPS)


def _centre(board: Board, target: Indices) -> Matrix:
    return middle(board.ascent, board.case[target])


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
    projects = ascent.objective.several[disjunct] & (np.arange(runs) % 2 == 1) & (not smooth)
    step = np.full((runs, 1), size)
    momentum, second = np.zeros_like(points), np.zeros_like(points)
    best, best_slack = points, np.full(runs, -np.inf)
    seen, window = best_slack.copy(), max(2, steps // 6)
    gained = np.zeros(runs, dtype=np.int64)
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
        gained[better] = number
        if number % window == window - 1:
            idle = (best_slack <= seen) & ~projects
            step[idle] *= 0.5
            points = np.where(idle[:, None], best, points)
            momentum[idle] = 0.0
            seen = best_slack.copy()
        moves = step * _direction(ascent.rng, gradient * width, momentum, second, scaled)
        if projects.any():
            at_end = np.where(gradient > 0, points >= ascent.upper[case], points <= ascent.lower[case])
            moves = np.where(projects[:, None], _projection(np.where(at_end, 0.0, gradient * width), own), moves)
        points = ascent.inside(points + width * moves, case)
        lost = projects & (number - gained >= PATIENCE)
        points[lost], best_slack[lost], gained[lost] = ascent.anywhere(case[lost]), -np.inf, number
        if size == 1.0:
            step *= 0.5


def _projection(gradient: Matrix, slack: Vector) -> Matrix:
    """Steps along the gradient, a little longer than what raises the slack to 0 by the first order; in [-1, 1]."""
    square = (gradient**2).sum(axis=1)
    missing = np.where(np.isfinite(slack), np.maximum(-slack, 0.0), 0.0)
    wanted = PROJECTION * missing / np.where(square > 0, square, np.inf)
    return np.clip(wanted[:, None] * gradient, -1.0, 1.0)


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
        tried = ascent.kept(np.where(moved, end, points), case)
        slack = ascent.slack(tried, case)
        yield board.record(target, tried, slack)
        if limit.is_spent:
            return
        better = slack[lines, disjunct] > own
        points = np.where(better[:, None], tried, points)
        own = np.where(better, slack[lines, disjunct], own)
