"""Witnesses that violate in every order: the tag against random executions, and the way to such a witness."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.engine import polish as polish_module
from farkas.engine.budget import Budget, OutOfTime
from farkas.engine.falsify import Attack
from farkas.engine.polish import polish, violates_any_order
from farkas.engine.replay import Replay, Replayer
from farkas.runtime_cuda.backend import numpy_backend
from farkas.runtime_cuda.prepared import Prepared, prepare
from farkas.specs.query import Case, Semantics
from tests.nets import Net, affine, atom, case, dense, random_layers, seeds
from tests.runtime_cuda.executions import Exact, binary32

FOREVER = Budget.of(None)


def prepared(net: Net) -> Prepared:
    return prepare(net.program, binary32=True, backend=numpy_backend())


def replayed(net: Net, found: Case, point: tuple[Fraction, ...]) -> Replay | None:
    replayer = Replayer(net.graph, net.program, net.data, Semantics.F32_ANY)
    return replayer.attempt(0, found, np.array([float(v) for v in point]))


@settings(max_examples=40)
@given(seeds, st.integers(-30, 0), st.booleans())
def test_the_tag_is_never_given_where_some_order_escapes(seed: int, power: int, over_inputs: bool) -> None:
    """Thresholds from 2^-30 to 1 times the size of the output beyond one execution; conjunctions of two atoms."""
    rng = np.random.default_rng(seed)
    net = dense(random_layers(rng, (3, 5, 4, 2), eighths=False))
    point = binary32([Fraction(float(v)) for v in rng.uniform(-1, 1, 3)])
    exact, numbers = Exact(net.program), random.Random(seed)
    y = exact.run_in_some_order(point, numbers)[net.program.output]
    x_row = [Fraction(1, 2), Fraction(0), Fraction(-3)] if over_inputs else []
    shift = Fraction(2) ** power * (1 + abs(y[0]) + abs(y[1]))
    atoms = [atom([1, -2], 0, x=x_row), atom([0, 1], 0)]
    found = case(point, point, [atom([1, -2], atoms[0].value(point, y) + shift, x=x_row), atom([0, 1], y[1] + shift)])
    record = replayed(net, found, point)
    if record is None:
        return
    if violates_any_order(prepared(net), record, FOREVER):
        for _ in range(20):
            other = exact.run_in_some_order(point, numbers)[net.program.output]
            assert found.violated_disjunct(point, other) == 0
    else:
        assert power < -8, "far beyond the rounding error of six layers"


def test_a_witness_on_the_boundary_is_not_tagged_and_one_beyond_is() -> None:
    net = affine([[1.0, 1.0]], [0.25])
    third = binary32([Fraction(1, 3), Fraction(1, 3)])
    exactly = sum(third, Fraction(1, 4))
    for gap, tagged in ((Fraction(1, 2**30), False), (Fraction(1, 2**10), True)):
        record = replayed(net, case(third, third, [atom([1], exactly + gap)]), third)
        if record is not None:
            assert violates_any_order(prepared(net), record, FOREVER) == tagged
        else:
            assert not tagged


def polished(net: Net, found: Case, point: tuple[Fraction, ...], budget: Budget = FOREVER) -> tuple[Replay, Replay]:
    """A witness and what polishing makes of it."""
    query = net.query([found], Semantics.F32_ANY)
    lower, upper = query.sets.points[0]
    attack = Attack(net.program, query.families[0], lower[None], upper[None], np.random.default_rng(0))
    record = replayed(net, found, point)
    assert record is not None and not record.any_order
    replayer = Replayer(net.graph, net.program, net.data, Semantics.F32_ANY)
    return record, polish(replayer, prepared(net), attack, record, budget)


def test_a_witness_at_the_boundary_is_moved_to_where_no_order_escapes() -> None:
    """y = x0 + x1 <= 1 on [0, 1]^2, starting where it is exactly 1."""
    net = affine([[1.0, 1.0]])
    found = case([0, 0], [1, 1], [atom([1], 1)])
    before, after = polished(net, found, (Fraction(1, 2), Fraction(1, 2)))
    assert after.any_order and after.inputs != before.inputs
    assert sum(after.outputs) < 1 and found.contains(after.inputs)


def test_a_witness_that_cannot_be_moved_stays_as_it_is() -> None:
    net = affine([[1.0, 1.0]])
    half = (Fraction(1, 2), Fraction(1, 2))
    before, after = polished(net, case(half, half, [atom([1], 1)]), half)
    assert after == before


@pytest.mark.parametrize("budget", [Budget(0.0, 0.0), Budget(1e-9, 0.0)])
def test_without_time_the_witness_stands_as_it_is(budget: Budget) -> None:
    before, after = polished(affine([[1.0]]), case([0], [1], [atom([1], 5)]), (Fraction(0),), budget)
    assert after == before


def test_a_deadline_in_the_middle_keeps_the_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*args: object) -> bool:
        raise OutOfTime

    monkeypatch.setattr(polish_module, "violates_any_order", late)
    before, after = polished(affine([[1.0]]), case([0], [1], [atom([1], 5)]), (Fraction(0),))
    assert after == before
