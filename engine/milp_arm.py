"""The MILP arm: witnesses from big-M incumbents, and proofs by branch and bound with a linear program at every node.

A mixed-integer solver is strong where few neurons are unstable, and it jumps to far corners of the input set that
gradients do not see.  Its word is no proof, though, and no solver gives its tree and multipliers.  So the arm has
two halves.  `hunt` solves the big-M model for incumbents; each one names a pattern of phases, and the LP of that very
pattern then gives the pattern's best input, exact up to rounding, for replay.  `guided_tree` proves in our own tree:
split the neuron whose relaxation the LP's optimum exploits and that costs it most at its worst, weighted by the dual
value), solve the LP of each child from the parent's basis, and close leaves by slopes and pins (`lp_leaf`).

Depth first, and of two children first the one whose phase the LP's point has: its LP is the cheaper one from the
parent's basis, and it is where a witness would be.  Memory is the depth times one pair of bound vectors.

Bounds of the neurons stay those of the node where the tree begins, but for the phases: the arm is for few unstable
neurons, where LPs are cheap and their bounds are what counts.

Tried instead: solving the LPs of both children of the best three (eight) neurons and splitting the one with the larger
product of gains.  Nine trees of 169 nodes became 133 (129), for 505 (1089) programs.

Tjeng, Xiao and Tedrake, Evaluating Robustness of Neural Networks with Mixed Integer Programming, ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from farkas.encoders.milp import MilpLimits, Status, solve
from farkas.encoders.relu_network import EncodingOptions, encode
from farkas.encoders.subproblem import Atoms, ask
from farkas.engine.budget import Budget
from farkas.engine.lp_leaf import Disjunct, LeafProver, LeafResult
from farkas.engine.problem import Matrix, Vector
from farkas.engine.tree import Closing, ProofTree
from farkas.ir.core import run_float

NOTHING = Closing(0, ())  # claims nothing: no goal there, or the node's bounds alone show it to be empty
TELLING = ("highs", "gscip")  # solvers that tell of incumbents and stop at a target
TARGET = 1e-4  # an incumbent that violates by this much will survive its rounding to binary32


@dataclass(frozen=True, eq=False)
class Hunt:
    """What the MILP found: status INFEASIBLE or OPTIMAL with bound > 0 suggests that nothing violates (no proof).

    points (K, n0): inputs that violate in the solver's arithmetic, best first; bound: its lower bound of the worst
    atom's excess; unstable: how many binaries the model had.
    """

    status: Status
    points: Matrix
    bound: float
    unstable: int

    @property
    def is_over(self) -> bool:
        """Whether more time would change nothing."""
        return self.status is not Status.LIMIT


def hunt(
    prover: LeafProver,
    lower: Vector,
    upper: Vector,
    disjunct: Disjunct,
    budget: Budget,
    time_s: float,
    solver: str = "highs",
) -> Hunt:
    """Solve the MILP of one disjunct under the bounds (N,), up to the first input that violates or for time_s.

    Only inputs that violate are looked for (the excess may not be positive), so that the solver prunes early.  solver:
    of those that take continuous columns.
    """
    if not prover.is_affordable:
        return Hunt(Status.LIMIT, np.zeros((0, len(prover.x_lower))), -np.inf, 0)
    encoding = encode(
        prover.program, prover.x_lower, prover.x_upper, lower, upper, prover.errors, EncodingOptions(phases="big-m")
    )
    atoms = Atoms.of(disjunct.y_rows, disjunct.x_rows, disjunct.thresholds, len(prover.x_lower))
    question = ask(encoding, prover.program.output, atoms)
    model = question.model
    if question.excess >= 0:
        ceiling = model.upper.copy()
        ceiling[question.excess] = 0.0
        model = replace(model, upper=ceiling)
    limit = min(time_s, budget.left_s)
    found: list[Vector] = []
    if solver in TELLING:
        result = solve(model, MilpLimits(time_s=limit, target=-TARGET), solver=solver, improved=found.append)
    else:
        result = solve(model, MilpLimits(time_s=limit), solver=solver)
    if result.point is not None:
        found.append(result.point)
    inputs = [point[encoding.columns[0]] for point in found]
    points = [best for x in inputs[::-1] for best in (_polished(prover, lower, upper, disjunct, x, budget), x)]
    shape = (len(points), len(prover.x_lower))
    return Hunt(result.status, np.array(points).reshape(shape), result.bound, len(encoding.binary))


def _polished(
    prover: LeafProver, lower: Vector, upper: Vector, disjunct: Disjunct, x: Vector, budget: Budget
) -> Vector:
    """The input that violates most among those with the same phases as x."""
    values = run_float(prover.program, np.clip(x, prover.x_lower, prover.x_upper))
    phase = np.concatenate([np.zeros(0), *(values[v] for v in prover.relaxation.full.slots)]) > 0
    low, high = np.where(phase, np.maximum(lower, 0.0), lower), np.where(phase, upper, np.minimum(upper, 0.0))
    if (low > high).any():
        return x  # x leaves the bounds by a rounding
    result = prover.close_by_lp(low, high, disjunct, budget)
    return x if result.point is None else result.point


@dataclass(frozen=True, eq=False)
class GuidedStep:
    """Where a guided tree stands after a node.

    open: nodes that are not closed, 0 at success; nodes: linear programs so far; bound: the node's LP bound; candidate:
    its point (n0,) or None, worth a replay when `is_tight`; disjunct: whose it is; is_stuck: the node is fully split
    and neither closes nor splits, so that the tree cannot be closed, and what follows can only find a witness; share:
    of the goals' sets of phases, what is still open (each goal counts 1, a split halves); worst: LP bound of an open
    node's parent, -inf without one.
    """

    open: int
    nodes: int
    bound: float
    candidate: Vector | None
    is_tight: bool
    disjunct: int
    is_stuck: bool
    share: float = 1.0
    worst: float = -np.inf


@dataclass(frozen=True, eq=False)
class _Open:
    """A node to be proved for one disjunct; result: of its LP, when it is known already; start: its parent's basis;
    bound: its parent's."""

    node: int
    lower: Vector
    upper: Vector
    goal: int
    result: LeafResult | None = None
    start: object = None
    share: float = 1.0
    bound: float = -np.inf


def guided_tree(
    prover: LeafProver,
    tree: ProofTree,
    node: int,
    lower: Vector,
    upper: Vector,
    disjuncts: Sequence[Disjunct],
    goals: Sequence[int],
    budget: Budget,
) -> Iterator[GuidedStep]:
    """Prove the goals (positions in `disjuncts`, the case's) impossible below `node` of the tree, by LP-guided splits.

    lower, upper (N,): bounds in force at the node.  Yields after every LP, so that the caller can replay candidates,
    watch progress and give up; every leaf below `node` is closed when a step says open = 0.  Ends early when the
    budget is spent.
    """
    tree.note_unstable((lower < 0) & (upper > 0))
    if (lower > upper).any():
        tree.close_leaf(node, (NOTHING,) * len(disjuncts))
        yield GuidedStep(0, 0, np.inf, None, False, goals[0], False, 0.0)
        return
    nodes = stuck = 0
    lost = 0.0  # share of the stuck nodes
    results: dict[int, LeafResult] = {}
    for goal in goals:
        result = results[goal] = prover.close_by_lp(lower, upper, disjuncts[goal], budget)
        nodes += 1
        yield GuidedStep(1, nodes, result.bound, result.point, result.is_tight, goal, False, float(len(goals)))
        if budget.is_spent:
            return
    stack = _forked(tree, node, lower, upper, len(disjuncts), results)
    if not stack:
        yield GuidedStep(0, nodes, np.inf, None, False, goals[-1], False, 0.0)
    while stack and not budget.is_spent:
        item = stack.pop()
        result = item.result or prover.close_by_lp(item.lower, item.upper, disjuncts[item.goal], budget, item.start)
        nodes += item.result is None
        is_stuck = False
        if result.closing is not None:
            tree.close_leaf(item.node, _kind(len(disjuncts), {item.goal: result.closing}))
        elif budget.is_spent:
            stack.append(item)
        elif result.branch >= 0:  # also without an answer: the children's programs are smaller
            stack += _children(tree, item, result)
        else:
            is_stuck, stuck, lost = True, stuck + 1, lost + item.share
        share = lost + sum(other.share for other in stack)
        worst = min((other.bound for other in stack), default=-np.inf)
        yield GuidedStep(
            len(stack) + stuck, nodes, result.bound, result.point, result.is_tight, item.goal, is_stuck, share, worst
        )


def _forked(
    tree: ProofTree, node: int, lower: Vector, upper: Vector, count: int, results: dict[int, LeafResult]
) -> list[_Open]:
    """Close what the first LPs closed, and give each other goal a node of its own."""
    closed = {goal: result.closing for goal, result in results.items() if result.closing is not None}
    still = [goal for goal in results if goal not in closed]
    if not still:
        tree.close_leaf(node, _kind(count, closed))
        return []
    if closed:
        first = tree.fork(node, sorted(closed))
        tree.close_leaf(first, _kind(count, closed))
        node = first + 1
    stack = []
    for goal in still[:-1]:
        first = tree.fork(node, [goal])
        stack.append(_Open(first, lower, upper, goal, results[goal]))
        node = first + 1
    stack.append(_Open(node, lower, upper, still[-1], results[still[-1]]))
    return stack


def _kind(count: int, closings: dict[int, Closing]) -> tuple[Closing, ...]:
    return tuple(closings.get(d, NOTHING) for d in range(count))


def _children(tree: ProofTree, item: _Open, result: LeafResult) -> list[_Open]:
    """Both phases of the neuron that the LP names; the one that its point has comes last, to be taken first."""
    g = result.branch
    first = tree.split_neuron(item.node, g)
    low, high = item.lower.copy(), item.upper.copy()
    high[g], low[g] = 0.0, 0.0
    share, bound = 0.5 * item.share, result.bound if np.isfinite(result.bound) else -np.inf
    children = [
        _Open(first, item.lower, high, item.goal, None, result.basis, share, bound),
        _Open(first + 1, low, item.upper, item.goal, None, result.basis, share, bound),
    ]
    return children if result.is_active else children[::-1]
