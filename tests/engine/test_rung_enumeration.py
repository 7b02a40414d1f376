"""The rung `enumeration`: its word on small pieces against rationals point by point; what it finds in large ones."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.engine.budget import Budget
from farkas.engine.ladder import Outcome, Piece, Rung
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.replay import Replayer
from farkas.engine.rung_enumeration import enumeration_rung
from farkas.engine.rung_float_intervals import float_intervals_rung
from farkas.engine.rung_order_terms import order_terms_rung
from farkas.ir.binary32 import ORDERS, Float32
from farkas.ir.execute import execute
from farkas.ir.onnx_import import load_onnx
from farkas.runtime_cuda.enumeration import Points, Question, executor, step_by
from farkas.specs.query import Atom, Case, Property, Semantics
from tests.nets import affine, atom, case, dense, random_layers, seeds, varied

orders = st.sampled_from(ORDERS)


def semantics_of(order: str) -> Semantics:
    return Semantics(f"f32-order:{order}")


def piece_of(box: Case) -> Piece:
    return Piece(0, box, box.lower, box.upper, tuple(range(len(box.disjuncts))))


def asked(query: Query, time_s: float = 5.0) -> Outcome:
    return enumeration_rung(query, Options()).work(piece_of(query.property.cases[0]), Budget.of(30.0), time_s)


def _places(x: Float32) -> list[int]:
    """Positions of positive or negative numbers on the binary32 line, by their bits."""
    return [int(v) if v >= 0 else -(int(v) & 0x7FFFFFFF) for v in x.view(np.int32)]


def violations(query: Query, order: str, lower: Float32, upper: Float32) -> set[tuple[Fraction, ...]]:
    """The violating points of a small box, one at a time in the reference run."""
    box, found = query.property.cases[0], set()
    steps = [np.arange(int(b - a) + 1) for a, b in zip(_places(lower), _places(upper), strict=True)]
    for step in product(*steps):
        point = step_by(lower, np.array(step))
        y = execute(query.graph, point, order)
        exact = tuple(Fraction(float(v)) for v in point)
        if box.violated_disjunct(exact, [Fraction(float(v)) for v in y]) is not None:
            found.add(exact)
    return found


@settings(max_examples=60)
@given(seeds, orders, st.sampled_from(["dense", "residual", "leaky"]))
def test_a_small_piece_is_decided_as_by_looking_at_each_point(seed: int, order: str, shape: str) -> None:
    rng = np.random.default_rng(seed)
    layers = random_layers(rng, [2, 4, 2], eighths=False)
    net = dense(layers) if shape == "dense" else varied(rng, shape, eighths=False)
    lower = rng.uniform(-1, 1, 2).astype(np.float32)
    upper = step_by(lower, rng.integers(1, 6, 2))
    # The threshold is one of the values that come out, or a hair beside it: some points violate, some are ties.
    middle = step_by(lower, rng.integers(0, 2, 2))
    y = execute(net.graph, middle, order)
    c = Fraction(float(y[0])) - Fraction(float(y[1])) + int(rng.integers(-1, 2)) * Fraction(1, 2**24)
    rows = [atom([1, -1], c, strict=bool(rng.random() < 0.5))], [atom([0, 1], -50), atom([1, 0], 50)]
    query = net.query([case([Fraction(float(v)) for v in lower], [Fraction(float(v)) for v in upper], *rows)])
    query = Query(query.graph, query.network, query.property, semantics_of(order))
    want, outcome = violations(query, order, lower, upper), asked(query)
    assert set(outcome.points) <= want
    assert bool(outcome.points) == bool(want)
    assert (outcome.word is None) == bool(want)
    if outcome.word is not None:
        assert outcome.covers == {semantics_of(order)} and outcome.word.engines == ("enumeration",)
        assert f"{Points.between(lower, upper).count} binary32 points" in outcome.word.what


def test_any_order_gets_candidates_and_words_of_one_order_only() -> None:
    net = affine([[1.0, 1.0]])
    box = case([0, 1], [2.0**-149, 1 + 2.0**-20], [atom([1], 1, strict=True)])
    outcome = asked(net.query([box], Semantics.F32_ANY))
    assert outcome.word is not None and outcome.covers == {Semantics.MLAS_K256_FMA}
    violated = case([0, 1], [2.0**-149, 1 + 2.0**-20], [atom([1], 1)])
    outcome = asked(net.query([violated], Semantics.F32_ANY))
    assert outcome.word is None and not outcome.covers
    assert set(outcome.points) == {(Fraction(0), Fraction(1)), (Fraction(1, 2**149), Fraction(1))}


@pytest.mark.parametrize("rung", [enumeration_rung, float_intervals_rung])
def test_fma_keeps_what_two_roundings_lose(rung: Callable[[Query, Options], Rung]) -> None:
    # (1 + 2^-12)^2 - (1 + 2^-11) = 2^-24; rounded by itself, the product is 1 + 2^-11, a tie to even.
    net = affine([[-1.0, 1 + 2.0**-12]])
    x = [Fraction(2049, 2048), Fraction(4097, 4096)]
    box = case(x, x, [atom([1], 0)])
    for order, holds in (("seq-fma", True), ("mlas-k256-fma", True), ("seq-muladd", False)):
        outcome = rung(net.query([box], semantics_of(order)), Options()).work(piece_of(box), Budget.of(9.0), 1.0)
        assert (outcome.word is not None) == holds and outcome.points == (() if holds else (tuple(x),))


@pytest.mark.parametrize("rung", [enumeration_rung, float_intervals_rung, order_terms_rung])
def test_a_point_off_the_grid_is_its_nearest_binary32_number(rung: Callable[[Query, Options], Rung]) -> None:
    tenth, nearest = Fraction(1, 10), Fraction(float(np.float32(0.1)))  # above a tenth by 1.5e-9
    for limit, holds in (((tenth + nearest) / 2, True), (nearest, False)):
        box = case([tenth], [tenth], [atom([], limit, x=[1])])
        outcome = rung(affine([[1.0]]).query([box], Semantics.SEQ_FMA), Options())
        found = outcome.work(piece_of(box), Budget.of(9.0), 1.0)
        assert (found.word is not None) == holds
        assert found.points == (() if holds else ((nearest,),))


def test_a_point_without_finite_outputs_leaves_no_word() -> None:
    net = dense([([[2.0**127], [2.0**127]], [0, 0]), ([[1, -1]], [0])])  # infinity - infinity from 2 on
    box = case([2 - 2.0**-22], [2], [atom([1], -1)])
    outcome = asked(net.query([box], Semantics.SEQ_FMA))
    assert outcome.word is None and not outcome.points and "1 gave no finite outputs" in outcome.detail


def test_the_reals_and_networks_without_an_order_are_not_its_business() -> None:
    box = case([0, 0], [1, 1], [atom([1, 0], 0)])
    net = varied(np.random.default_rng(0), "conv")
    for semantics, suits in ((Semantics.REAL, False), (Semantics.MLAS_K256_FMA, False), (Semantics.F32_ANY, True)):
        query = net.query([box], semantics)
        assert enumeration_rung(query, Options()).suits(piece_of(box)) == suits


def test_a_large_piece_is_searched_around_the_corner_of_least_margin() -> None:
    # 1000 (relu(relu(x + 2^24) - 2^24) - relu(x)) is 0 over the reals and 750 at x = 1.25 in binary32.
    first = [[1], [1]], [2**24, 0]
    net = dense([first, ([[1, 0], [0, 1]], [-(2**24), 0]), ([[1000, -1000]], [0])])
    box = case([0], [1.5], [atom([-1], -100)])  # Y_0 >= 100
    outcome = asked(net.query([box], Semantics.F32_ANY))
    assert outcome.points and outcome.word is None
    for (x,) in outcome.points:
        # x + 2^24 is rounded to an even number of binary32's spacing 2 there: up to 2 beyond 1, down to 0 below.
        assert 1 < x <= Fraction(19, 10)


def test_what_the_kernel_does_not_run_is_searched_on_onnxruntime() -> None:
    net = varied(np.random.default_rng(3), "conv", eighths=False)
    least = min(execute(net.graph, np.array(x, dtype=np.float32), "seq-fma")[0] for x in product([-1, 1], repeat=2))
    box = case([-1, -1], [1, 1], [atom([1, 0], Fraction(float(least)) + Fraction(1, 2**20))])
    query = net.query([box], Semantics.F32_ANY)
    outcome = asked(query, 1.0)
    assert outcome.points and outcome.word is None and "onnxruntime" in outcome.detail
    replayer = Replayer(query.graph, query.program, query.network, Semantics.F32_ANY)
    assert replayer.attempt(0, box, np.array([float(v) for v in outcome.points[0]])) is not None


def test_a_box_of_more_points_than_a_float_holds_is_searched() -> None:
    net = affine([[1.0] * 40])
    box = case([-1] * 40, [1] * 40, [atom([1], -41)])
    outcome = asked(net.query([box], Semantics.F32_ANY), 0.2)
    assert outcome.word is None and not outcome.points and "2^1239 points" in outcome.detail  # (2 * 1065353216 + 1)^40


def golden() -> tuple[Query, tuple[Fraction, ...]]:
    """ACAS Xu 1_1 on the box where `argmin is 4` holds over the reals by 1e-8, and a corner at which it does not."""
    folder = Path(os.environ["FARKAS_VNNCOMP"]) / "acasxu_2023" / "onnx"
    data = gzip.decompress((folder / "ACASXU_run2a_1_1_batch_2000.onnx.gz").read_bytes())
    lower = ["0x1.5419dap-3", "0x1.da4d4ep-3", "-0x1.5f0838p-3", "-0x1.bad3d0p-2", "0x1.488762p-4"]
    upper = ["0x1.542f1cp-3", "0x1.da6af2p-3", "-0x1.5ef248p-3", "-0x1.bab822p-2", "0x1.489becp-4"]
    low, high = (tuple(Fraction(float.fromhex(v)) for v in ends) for ends in (lower, upper))
    less = tuple((Atom((), ((j, Fraction(1)), (4, Fraction(-1))), Fraction(0)),) for j in range(4))
    query = Query(load_onnx(data), data, Property(5, 5, (Case(low, high, less),)), Semantics.F32_ANY)
    return query, (high[0], low[1], high[2], low[3], high[4])


@pytest.mark.vnncomp
def test_the_disagreement_of_acas_xu_1_1_is_found_and_replays() -> None:
    query, _ = golden()
    box = query.property.cases[0]
    outcome = asked(query, 2.0)
    assert outcome.points and outcome.word is None
    replayer = Replayer(query.graph, query.program, query.network, Semantics.F32_ANY)
    point = np.array([float(v) for v in outcome.points[0]])
    record = replayer.attempt(0, box, point)
    assert record is not None and box.contains(record.inputs)


@pytest.mark.vnncomp
def test_of_the_corner_of_acas_xu_1_1_897_points_violate() -> None:
    query, corner = golden()
    box = query.property.cases[0]
    at = np.array([float(v) for v in corner], dtype=np.float32)
    up = np.array([c == high for c, high in zip(corner, box.upper, strict=True)])
    points = Points.between(step_by(at, np.where(up, -15, 0)), step_by(at, np.where(up, 0, 15)))
    question, runs = Question.of(box.disjuncts, 5, 5), executor(query.graph, "mlas-k256-fma")
    assert question is not None and runs is not None
    if not runs.compiled:
        pytest.skip("a million points take the reference run too long")
    done, flagged = 0, list[int]()
    while done < 16**5:
        seen = runs.sweep(points, question, done, 16**5 - done)
        done, flagged = done + seen.done, flagged + list(seen.flagged)
    outputs = execute(query.graph, points.at(flagged), "mlas-k256-fma")
    assert sum(int((y[:4] <= y[4]).any()) for y in outputs) == 897  # counted elsewhere, with another executor
