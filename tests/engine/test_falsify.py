"""The attack: what it hands out lies in the input set with its true slack, and it finds what exact decision finds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.engine.bab import Candidate
from farkas.engine.budget import Budget
from farkas.engine.falsify import Attack
from farkas.engine.problem import row_scale
from farkas.ir.core import run_exact
from farkas.specs.query import Case
from tests.engine.deciding import random_cases
from tests.engine.pieces import witness
from tests.nets import SHAPES, Net, affine, atom, case, dense, random_layers, seeds, varied

FOREVER = Budget.of(None)
MARGIN = Fraction(1, 1000)


def attacks(net: Net, cases: Sequence[Case], seed: int = 0) -> list[Attack]:
    query = net.query(cases)
    made = []
    for family in query.families:
        ends = [query.sets.points[m] for m in family.members]
        lower, upper = np.array([e[0] for e in ends]), np.array([e[1] for e in ends])
        made.append(Attack(net.program, family, lower, upper, np.random.default_rng(seed)))
    return made


def exact_slack(net: Net, box: Case, point: Sequence[Fraction]) -> Fraction:
    """The best disjunct's smallest c - value, in rationals, each atom scaled to integer coefficients."""
    y = [Fraction(v) for v in run_exact(net.program, list(point))]
    return max(min((a.c - a.value(list(point), y)) * row_scale(a) for a in atoms) for atoms in box.disjuncts)


def first_found(net: Net, cases: Sequence[Case], share_s: float) -> Candidate | None:
    """The first candidate that violates in exact arithmetic."""
    for attack in attacks(net, cases):
        for found in attack.strong(FOREVER, share_s):
            for candidate in found:
                number = attack.family.members[candidate.case]
                point = [Fraction(float(v)) for v in candidate.point]
                if exact_slack(net, cases[number], point) >= 0:
                    return candidate
    return None


@settings(max_examples=20)
@given(seeds, st.sampled_from(SHAPES), st.booleans())
def test_candidates_lie_in_the_box_and_near_their_slack(seed: int, shape: str, conjunctive: bool) -> None:
    rng = np.random.default_rng(seed)
    net = varied(rng, shape)
    box = (Fraction(-1), Fraction(-1, 2)), (Fraction(1, 3), Fraction(1))
    cases = random_cases(rng, net.program, box, conjunctive)
    for attack in attacks(net, cases):
        lists = [attack.sample(8), *attack.strong(FOREVER, 0.01)]
        for candidate in [c for found in lists for c in found][:40]:
            point = [Fraction(float(v)) for v in candidate.point]
            own = cases[attack.family.members[candidate.case]]
            lower, upper = attack.points_lower[candidate.case], attack.points_upper[candidate.case]
            assert (lower <= candidate.point).all() and (candidate.point <= upper).all()
            wanted = exact_slack(net, own, point)
            scale = 1 + max(abs(v) for v in run_exact(net.program, point)) + abs(wanted)
            assert abs(float(wanted) - candidate.slack) <= 1e-4 * float(scale) * 8


@settings(max_examples=30)
@given(seeds, st.sampled_from(SHAPES), st.booleans())
def test_a_witness_with_some_room_is_found_wherever_there_is_one(seed: int, shape: str, conjunctive: bool) -> None:
    """Thresholds tightened by a margin decide by exact enumeration; the attack gets them as they were."""
    rng = np.random.default_rng(seed)
    net = varied(rng, shape)
    box = (Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1))
    cases = random_cases(rng, net.program, box, conjunctive)
    tight = [
        replace(c, disjuncts=tuple(tuple(replace(a, c=a.c - MARGIN) for a in atoms) for atoms in c.disjuncts))
        for c in cases
        if all(u - l >= Fraction(1, 16) for l, u in zip(c.lower, c.upper, strict=True))
    ]
    if any(witness(net.program, c) is not None for c in tight):
        assert first_found(net, cases, 1.0) is not None


def test_the_first_round_reaches_the_worst_corner_of_a_linear_classifier() -> None:
    """x in [0, 1]^40 and logits (0, w.x): the maximum of w.x, taken at one corner, is exactly the threshold."""
    rng = np.random.default_rng(5)
    w = rng.integers(-4, 5, 40) / 4
    best = float(w[w > 0].sum())
    net = affine([[0.0] * 40, [float(v) for v in w]])
    box = case([0.0] * 40, [1.0] * 40, [atom([1, -1], -best)])
    (attack,) = attacks(net, [box])
    lists = attack.strong(FOREVER, 10.0)
    found = [c for _ in range(2) for c in next(lists)]
    assert max(exact_slack(net, box, [Fraction(float(v)) for v in c.point]) for c in found) == 0


def test_a_witness_where_every_gradient_vanishes_on_the_way_is_found() -> None:
    """y = relu(x1 + ... + x6 - 4.5) is 0 in nearly all of [0, 1]^6; y >= 1/4 needs a sum of at least 4.75."""
    net = dense([([[1.0] * 6], [-4.5]), ([[1.0]], [0.0])])
    box = case([0.0] * 6, [1.0] * 6, [atom([-1], Fraction(-1, 4))])
    assert first_found(net, [box], 5.0) is not None


def test_a_conjunction_that_only_a_thin_band_satisfies_is_found() -> None:
    """Both 0.299 <= y and y <= 0.3 for y = |x1 - x2| + |x3|, made of ReLUs."""
    first = np.array([[1, -1, 0], [-1, 1, 0], [0, 0, 1], [0, 0, -1]])
    net = dense([(first, np.zeros(4)), ([[1.0] * 4], [0.0])])
    box = case([-1.0] * 3, [1.0] * 3, [atom([-1], Fraction(-299, 1000)), atom([1], Fraction(3, 10))])
    assert first_found(net, [box], 5.0) is not None


def test_a_conjunction_is_met_by_projections_in_few_passes() -> None:
    """y = A x with |y_i - t_i| <= 1/1000 for a point t inside: ten atoms that pull five ways."""
    rng = np.random.default_rng(8)
    matrix, inside = rng.integers(-8, 9, (5, 9)) / 4, rng.uniform(-0.3, 0.3, 9)
    target = [Fraction(float(v)) for v in matrix @ inside]
    atoms = []
    for i, t in enumerate(target):
        row = [Fraction(int(j == i)) for j in range(5)]
        atoms += [atom(row, t + Fraction(1, 1000)), atom([-v for v in row], -t + Fraction(1, 1000))]
    net = affine([[float(v) for v in row] for row in matrix])
    box = case([-1.0] * 9, [1.0] * 9, atoms)
    (attack,) = attacks(net, [box])
    best = max((c.slack for found in islice(attack.strong(FOREVER, 20.0), 100) for c in found), default=-np.inf)
    assert best >= 0


def test_one_violated_case_among_many_is_found() -> None:
    """400 slices of [0, 1]; y = x1 + x2 reaches 1.99 in the last one only."""
    net = affine([[1.0, 1.0]])
    cases = [case([i / 512, 0], [(i + 1) / 512, 1], [atom([-1], Fraction(-199, 100))]) for i in range(112, 512)]
    found = first_found(net, cases, 5.0)
    assert found is not None
    assert found.case >= 396  # x1 + 1 >= 1.99 needs x1 >= 0.99, which begins in slice 506 - 112 at 0.988


@pytest.mark.parametrize("share_s", [0.0, 0.3])
def test_the_attack_keeps_its_share_of_time(share_s: float) -> None:
    net = dense(random_layers(np.random.default_rng(1), (20, 60, 60, 3), eighths=False))
    (attack,) = attacks(net, [case([0.0] * 20, [1.0] * 20, [atom([1, 0, 0], -1000000)])])
    began = time.monotonic()
    passes = sum(1 for _ in attack.strong(FOREVER, share_s))
    assert (passes == 0) == (share_s == 0.0)
    assert time.monotonic() - began < share_s + 0.5


def test_a_spent_budget_ends_the_attack_at_once() -> None:
    (attack,) = attacks(affine([[1.0]]), [case([0.0], [1.0], [atom([1], -5)])])
    assert list(attack.strong(Budget.of(0.0), 10.0)) == []
