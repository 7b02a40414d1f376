"""What the walk asks of a kernel: bounds in force at tree nodes, and whether a claim closes one.

The walk owns the boxes, the phases and the covering argument; a prover owns the bounds in force, in states that the
walk passes on and never looks into.  `kernel.py` and `refine.py` are the reference implementation; any other one has to
accept and reject the same leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from farkas.checker.plan import Recipe
from farkas.checker.query import Box, Claim, Network

State = TypeVar("State")


class Prover(Protocol[State]):
    """A kernel at work on one network.

    A `State` is an opaque batch of tree nodes: what `derive` makes of n boxes has rows 0 .. n-1.

    The caller owns the boxes and the covering argument; the prover owns the bounds in force.  It never mutates a
    state it has returned, and it may keep what it likes in one (the caller drops states as soon as their children are
    derived).
    """

    def start(self, count: int) -> State:
        """`count` rows in which nothing is known yet: the parents of the roots."""
        ...

    def gather(self, rows: Sequence[tuple[State, int]]) -> State:
        """A batch made of the given rows of the given states, in this order, repetitions allowed."""
        ...

    def derive(self, parents: State, boxes: Sequence[Box]) -> State:
        """Bounds in force at children: row i from the bounds in force of row i of `parents` and boxes[i]."""
        ...

    def close(self, state: State, rows: Sequence[int], claims: Sequence[Claim]) -> list[bool]:
        """Whether claims[i] closes row rows[i]: the row is empty, or it has not failed and every entry closes."""
        ...


@dataclass(frozen=True)
class Step:
    """From a tree node to its child: its box, then its phase, then its recipe; empty as soon as one makes it so.

    box: another one than the parent's bounds the input node, and nothing else.  phase: (neuron, whether it is active):
    z >= 0 or z <= 0.  recipe: bounds that are derived again, vectors resolved.  None: nothing.
    """

    box: Box
    phase: tuple[int, bool] | None
    recipe: Recipe | None


class PlanProver(Protocol[State]):
    """A kernel at work on one network by the rule crown-fp-2; states as those of `Prover`.

    wave: how many tree nodes it likes to process at once.
    """

    @property
    def wave(self) -> int: ...

    def begin(self, boxes: Sequence[Box]) -> State:
        """Roots: the bounds of the forward pass."""
        ...

    def gather(self, rows: Sequence[tuple[State, int]]) -> State:
        """A batch made of the given rows of the given states, in this order, repetitions allowed."""
        ...

    def advance(self, parents: State, steps: Sequence[Step]) -> State:
        """Bounds in force at children: row i from row i of `parents` by steps[i]."""
        ...

    def close(self, state: State, rows: Sequence[int], claims: Sequence[Claim]) -> list[bool]:
        """Whether claims[i] closes row rows[i]; a claim has the entries of the disjuncts that are goals there."""
        ...


class Kernel(Protocol):
    """An implementation of crown-fp-1 and crown-fp-2: all of them accept and reject the same leaves.

    tier: its name in reports.  wave: how many tree nodes it likes to process at once.
    """

    @property
    def tier(self) -> str: ...

    @property
    def wave(self) -> int: ...

    def prepare(self, network: Network, rounded: bool, intermediate: tuple[int, ...]) -> Prover[Any]:
        """A prover, with a state type of its own.

        rounded: binary32 error terms.  intermediate: the slope rules used for the neurons' own bounds.
        """
        ...

    def prepare_plan(self, network: Network, rounded: bool, columns: tuple[int, ...]) -> PlanProver[Any]:
        """A prover by crown-fp-2.  columns: the neurons whose slopes the bytes of a vector are."""
        ...
