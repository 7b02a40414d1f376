"""The MILP arm: witnesses from big-M incumbents, and proofs by branch and bound with a linear program at every node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from farkas.engine.budget import Budget
from farkas.engine.lp_leaf import Disjunct, LeafProver
from farkas.engine.problem import Matrix, Vector
from farkas.engine.tree import ProofTree


@dataclass(frozen=True, eq=False)
class Hunt:
    """What the MILP found: verdict is 'infeasible' (a guide, no proof), 'candidates', or 'limit'.

    points (K, n0): inputs that violate in the MILP's arithmetic, best last; bound: its proved-by-HiGHS lower bound of
    the worst atom's excess (> 0 suggests unsat), no evidence.
    """

    verdict: str
    points: Matrix
    bound: float


def hunt(prover: LeafProver, lower: Vector, upper: Vector, disjunct: Disjunct, budget: Budget, time_s: float) -> Hunt:
    """Solve the MILP of one disjunct over a subproblem, stopping at the first input that violates, or after time_s."""
    raise NotImplementedError


@dataclass(frozen=True, eq=False)
class GuidedStep:
    """Where a guided tree stands after a node: open nodes, least bound over them, and a candidate (n0,) or None."""

    open: int
    bound: float
    candidate: Vector | None
    disjunct: int


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

    Yields after every LP node, so that the caller can replay candidates, watch progress and give up; when it ends by
    itself and the budget is not spent, every leaf below `node` is closed.  A leaf that is fully split and does not
    close is yielded as a candidate and left open.
    """
    raise NotImplementedError
