"""Where a node of a proof tree stands: the bounds in force there and its goals, derived again along its path."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import assert_never

import numpy as np

from farkas.engine.problem import Vector
from farkas.engine.relu_root import CaseRoot
from farkas.engine.tree import Bisect, Fork, ProofTree, Recipe, SplitNeuron


@dataclass(frozen=True, eq=False)
class Place:
    """Bounds in force (N,) at a node, its own derivations included, and the disjuncts to be refuted there."""

    lower: Vector
    upper: Vector
    goals: tuple[int, ...]


def in_force(root: CaseRoot, tree: ProofTree, node: int) -> Place:
    """The place of a node below the root that `root` planted in the tree."""
    lower, upper = root.lower.copy(), root.upper.copy()
    goals = tuple(range(len(root.atoms_of)))
    path = tree.path(node)
    for here, child in pairwise([*path, path[-1]]):
        for recipe in tree.recipes(here):
            if not recipe.forward:  # the root's own derivations are in its bounds
                lower, upper = _derived(root, lower, upper, recipe)
        if child == here:
            break
        branch, first = tree.branch(here)
        match branch:
            case SplitNeuron(neuron):
                if child == first:
                    upper[neuron] = min(upper[neuron], 0.0)
                else:
                    lower[neuron] = max(lower[neuron], 0.0)
            case Fork(disjuncts):
                goals = tuple(d for d in goals if (d in disjuncts) == (child == first))
            case Bisect():
                raise AssertionError("the search by neurons' signs bisects nothing")
            case _:
                assert_never(branch)
    return Place(lower, upper, goals)


def _derived(root: CaseRoot, lower: Vector, upper: Vector, recipe: Recipe) -> tuple[Vector, Vector]:
    backend = root.relaxation.full.backend
    chosen = {}
    for group in recipe.rows:
        # Rows that state pins are bounded without them here: looser, and sound all the same.
        assert group.neurons is not None, "below the root rows are listed"
        chosen[group.layer] = backend.asarray(np.array([group.neurons]))
    found = root.relaxation.refresh(backend.asarray(lower[None]), backend.asarray(upper[None]), chosen)
    return backend.to_numpy(found.lower)[0], backend.to_numpy(found.upper)[0]
