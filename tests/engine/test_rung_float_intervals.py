"""The rung `float-intervals`: its word and its candidates against all points of small pieces; what it closes beyond."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.engine.budget import Budget
from farkas.engine.ladder import Outcome, Piece
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.rung_float_intervals import float_intervals_rung
from farkas.ir.binary32 import ORDERS
from farkas.ir.execute import execute
from farkas.runtime_cuda.enumeration import count_between
from farkas.specs.query import Semantics
from tests.engine.order_pieces import difference_at_most, edge, rationals
from tests.nets import atom, case, dense, random_layers, seeds, varied

orders = st.sampled_from(ORDERS)


def asked(query: Query, time_s: float = 5.0) -> Outcome:
    box = query.property.cases[0]
    piece = Piece(0, box, box.lower, box.upper, tuple(range(len(box.disjuncts))))
    return float_intervals_rung(query, Options()).work(piece, Budget.of(30.0), time_s)


@settings(max_examples=60, deadline=None)
@given(seeds, orders, st.sampled_from(["dense", "residual", "abs", "max"]), st.integers(-4, 4))
def test_a_small_piece_is_decided_as_by_looking_at_each_point(seed: int, order: str, shape: str, hairs: int) -> None:
    rng = np.random.default_rng(seed)
    if shape == "dense":
        net = dense(random_layers(rng, [2, 5, 2], eighths=False))
    else:
        net = varied(rng, shape, eighths=False)
    lower, steps = rng.uniform(-1, 1, 2).astype(np.float32), rng.integers(0, 12, 2)
    y = execute(net.graph, lower, order)
    c = Fraction(float(y[0])) - Fraction(float(y[1])) + Fraction(hairs, 2**22)
    at = edge(net, order, lower, steps, [difference_at_most(c, strict=bool(rng.random() < 0.5)), [atom([1, 1], -99)]])
    outcome = asked(at.query)
    assert set(outcome.points) <= at.violating
    assert bool(outcome.points) == bool(at.violating)
    assert (outcome.word is None) == bool(at.violating)
    if outcome.word is not None:
        assert outcome.covers == {at.query.semantics} and outcome.word.engines == ("float-intervals",)


def test_a_box_of_too_many_points_is_closed_when_its_margin_is_more_than_hairs() -> None:
    rng = np.random.default_rng(5)
    net = dense(random_layers(rng, [2, 6, 1], eighths=False))
    ends = np.array([[-0.5, -0.5], [0.5, 0.5]], dtype=np.float32)
    side = np.linspace(-0.5, 0.5, 41).astype(np.float32)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2).astype(np.float32)
    least = Fraction(float(execute(net.graph, grid, "seq-fma").min()))
    for margin, holds in ((Fraction(1, 2), True), (Fraction(0), False)):
        box = case(rationals(ends[0]), rationals(ends[1]), [atom([1], least - margin)])
        outcome = asked(net.query([box], Semantics.SEQ_FMA))
        assert (outcome.word is not None) == holds
        assert bool(outcome.points) == (not holds)
    assert count_between(ends[0], ends[1]) > 2**60


def test_a_point_without_finite_outputs_leaves_no_word() -> None:
    net = dense([([[2.0**127], [2.0**127]], [0, 0]), ([[1, -1]], [0])])  # infinity - infinity from 2 on
    outcome = asked(net.query([case([2 - 2.0**-22], [2], [atom([1], -1)])], Semantics.SEQ_FMA))
    assert outcome.word is None and not outcome.points and "1 points gave no finite outputs" in outcome.detail


def test_it_stops_in_time_and_then_has_no_word() -> None:
    net = dense(random_layers(np.random.default_rng(1), [4, 20, 20, 2], eighths=False))
    lower, upper = np.full(4, -1, dtype=np.float32), np.full(4, 1, dtype=np.float32)
    query = net.query([case(rationals(lower), rationals(upper), [atom([1, -1], -40)])], Semantics.SEQ_FMA)
    outcome = asked(query, 0.2)
    assert outcome.word is None and "not finished" in outcome.detail


def test_only_a_declared_order_is_its_business() -> None:
    net = varied(np.random.default_rng(0), "conv")
    box = case([0, 0], [1, 1], [atom([1, 0], 0)])
    piece = Piece(0, box, box.lower, box.upper, (0,))
    for semantics, suits in (
        (Semantics.REAL, False),
        (Semantics.F32_ANY, False),
        (Semantics.MLAS_K256_FMA, False),
        (Semantics.SEQ_MULADD, True),
    ):
        assert float_intervals_rung(net.query([box], semantics), Options()).suits(piece) == suits
