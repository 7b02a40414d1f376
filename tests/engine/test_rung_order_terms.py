"""The rung `order-terms`: its word against all points of small pieces; it closes what any-order terms leave open."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.engine.budget import Budget
from farkas.engine.ladder import Outcome
from farkas.engine.options import Options
from farkas.engine.rung_order_terms import order_terms_rung
from farkas.ir.binary32 import ORDERS
from farkas.ir.execute import execute
from farkas.runtime_cuda.backend import numpy_backend
from farkas.runtime_cuda.crown import ADAPTIVE, Propagator
from farkas.runtime_cuda.prepared import prepare
from farkas.specs.query import Semantics
from tests.engine.order_pieces import Edge, difference_at_most, edge
from tests.nets import dense, random_layers, seeds, varied

orders = st.sampled_from(ORDERS)


def asked(at: Edge, time_s: float = 3.0) -> Outcome:
    return order_terms_rung(at.query, Options()).work(at.piece, Budget.of(30.0), time_s)


@settings(max_examples=60, deadline=None)
@given(seeds, orders, st.sampled_from(["dense", "residual", "scaled", "leaky", "abs"]), st.integers(-9, 9))
def test_a_word_is_given_only_where_no_point_violates(seed: int, order: str, shape: str, hairs: int) -> None:
    rng = np.random.default_rng(seed)
    if shape == "dense":
        net = dense(random_layers(rng, [2, 7, 7, 2], eighths=False))
    else:
        net = varied(rng, shape, eighths=False)
    lower, steps = rng.uniform(-1, 1, 2).astype(np.float32), rng.integers(0, 9, 2)
    y = execute(net.graph, lower, order)
    c = Fraction(float(y[0])) - Fraction(float(y[1])) + Fraction(hairs, 2**23)
    at = edge(net, order, lower, steps, [difference_at_most(c, strict=bool(rng.random() < 0.5))])
    outcome = asked(at)
    assert outcome.word is None or not at.violating
    if outcome.word is not None:
        assert outcome.covers == {at.query.semantics} and outcome.word.engines == ("order-terms",)


@settings(max_examples=40, deadline=None)
@given(seeds, orders)
def test_it_closes_points_that_the_terms_of_any_order_leave_open(seed: int, order: str) -> None:
    rng = np.random.default_rng(seed)
    net = dense(random_layers(rng, [4, 30, 30, 2], eighths=False))
    point = rng.uniform(-1, 1, 4).astype(np.float32)
    prepared = prepare(net.program, binary32=True, backend=numpy_backend())
    worker, unknown = Propagator(prepared, (ADAPTIVE,)), np.full((1, prepared.width), np.inf)
    x = point.astype(np.float64)[None]
    refined = worker.refine(x, x, -unknown, unknown)
    any_order = Fraction(float(worker.bound(refined.boxes, np.array([[1.0, -1.0]]), None, (ADAPTIVE,)).value[0, 0, 0]))
    y = execute(net.graph, point, order)
    run = Fraction(float(y[0])) - Fraction(float(y[1]))
    # Two thirds of the way from the value to the any-order bound: that bound does not refute `difference <= c`.
    c = run - (run - any_order) * 2 / 3
    at = edge(net, order, point, np.zeros(4), [difference_at_most(c)])
    assert any_order < c < run
    assert asked(at).word is not None


def test_any_order_gets_a_corner_and_no_word() -> None:
    net = dense(random_layers(np.random.default_rng(0), [2, 7, 7, 2], eighths=False))
    lower = np.array([0.25, 0.5], dtype=np.float32)
    y = execute(net.graph, lower, "seq-fma")
    safe = difference_at_most(Fraction(float(y[0])) - Fraction(float(y[1])) - 1)
    at = edge(net, "seq-fma", lower, np.array([5, 5]), [safe])
    query = net.query(at.query.property.cases, Semantics.F32_ANY)
    outcome = order_terms_rung(query, Options()).work(at.piece, Budget.of(9.0), 1.0)
    assert outcome.word is None and not outcome.covers
    assert asked(at).word is not None
    assert all(at.query.property.cases[0].contains(point) for point in outcome.points)


def test_the_reals_and_networks_without_the_order_are_not_its_business() -> None:
    net = varied(np.random.default_rng(0), "conv")
    at = edge(net, "seq-fma", np.zeros(2, dtype=np.float32), np.ones(2), [difference_at_most(Fraction(0))])
    for semantics, suits in (
        (Semantics.REAL, False),
        (Semantics.MLAS_K256_FMA, False),
        (Semantics.SEQ_FMA, True),
        (Semantics.INT_EXACT, False),
    ):
        query = net.query(at.query.property.cases, semantics)
        assert order_terms_rung(query, Options()).suits(at.piece) == suits
