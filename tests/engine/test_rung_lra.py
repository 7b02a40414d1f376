"""The rung `lra`: words where exact enumeration finds nothing, points where it finds something, limits that hold."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.engine.budget import Budget
from farkas.engine.ladder import Piece
from farkas.engine.options import Options
from farkas.engine.replay import Replayer
from farkas.engine.rung_lra import lra_rung, near32
from farkas.ir.core import run_exact
from farkas.specs.boxes import contains
from farkas.specs.query import Case, Semantics
from tests.engine.deciding import random_cases
from tests.engine.pieces import minimum, witness
from tests.nets import EXACT_SHAPES, Box, Net, atom, case, dense, random_layers, seeds, varied

SQUARE: Box = ((Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1)))
ROW = [Fraction(1), Fraction(-2)]
BINARY32 = [semantics for semantics in Semantics if semantics.is_binary32]
NO_LIMIT = Budget.of(None)


def whole(asked: Case, number: int = 0) -> Piece:
    return Piece(number, asked, asked.lower, asked.upper, tuple(range(len(asked.disjuncts))))


@settings(max_examples=30)
@given(seeds, st.sampled_from(EXACT_SHAPES), st.booleans())
def test_pieces_are_decided_as_by_enumeration(seed: int, shape: str, conjunctive: bool) -> None:
    rng = np.random.default_rng(seed)
    net = varied(rng, shape)
    asked = random_cases(rng, net.program, SQUARE, conjunctive)[0]
    rung = lra_rung(net.query([asked]), Options())
    assert rung.suits(whole(asked))
    outcome = rung.work(whole(asked), NO_LIMIT, 30.0)
    if witness(net.program, asked) is None:
        assert outcome.word is not None and outcome.word.engines == ("z3",)
        assert outcome.covers == {Semantics.REAL} and not outcome.points
    else:
        assert outcome.word is None and not outcome.covers
        assert any(asked.violated_disjunct(p, list(run_exact(net.program, p))) is not None for p in outcome.points)


def test_a_piece_is_its_box_and_its_open_disjuncts_only() -> None:
    # y = x; below -1/2 and above 1/2 are unsafe, each a disjunct.
    net = dense([([[1.0]], [0.0])])
    asked = case([-1], [1], [atom([1.0], -0.5)], [atom([-1.0], -0.5)])
    rung = lra_rung(net.query([asked]), Options())
    half = Fraction(1, 4)
    left = Piece(0, asked, (Fraction(-1),), (half,), (0, 1))
    assert rung.work(left, NO_LIMIT, 5.0).points[0] == (Fraction(-1),)
    assert rung.work(replace(left, disjuncts=(1,)), NO_LIMIT, 5.0).word is not None
    assert rung.work(replace(left, lower=(-half,)), NO_LIMIT, 5.0).word is not None


@pytest.mark.parametrize("solver, engine", [("z3", "z3"), ("pysmt", "pysmt"), ("pysmt:z3", "pysmt")])
def test_thresholds_on_the_very_minimum_are_told_from_those_below(solver: str, engine: str) -> None:
    net = varied(np.random.default_rng(3), "residual")
    least = minimum(net.program, *SQUARE, ROW, ())
    for strict in (True, False):
        asked = case(*SQUARE, [atom(ROW, least, strict=strict)])
        outcome = lra_rung(net.query([asked]), Options(smt_solver=solver)).work(whole(asked), NO_LIMIT, 30.0)
        if strict:
            assert outcome.word is not None and outcome.word.engines == (engine,)
        else:
            assert outcome.points and outcome.word is None


def float_net() -> tuple[Net, Fraction]:
    """A network with weights of full length and the exact minimum of its first output over the square."""
    net = dense(random_layers(np.random.default_rng(5), (2, 4, 4, 1), eighths=False))
    return net, minimum(net.program, *SQUARE, [Fraction(1)], ())


@pytest.mark.parametrize("semantics", BINARY32)
def test_in_binary32_a_word_wants_a_margin_beyond_rounding_and_covers_every_order(semantics: Semantics) -> None:
    net, least = float_net()
    far = case(*SQUARE, [atom([1.0], least - Fraction(1, 1000))])
    outcome = lra_rung(net.query([far], semantics), Options()).work(whole(far), NO_LIMIT, 30.0)
    assert outcome.word is not None and outcome.covers == set(BINARY32)
    # A billionth below the real minimum is within what executions may lose: no word, though over the reals it holds.
    near = case(*SQUARE, [atom([1.0], least - Fraction(1, 10**9))])
    outcome = lra_rung(net.query([near], semantics), Options()).work(whole(near), NO_LIMIT, 30.0)
    assert outcome.word is None and not outcome.covers
    real = lra_rung(net.query([near]), Options()).work(whole(near), NO_LIMIT, 30.0)
    assert real.word is not None and real.covers == {Semantics.REAL}


def test_in_binary32_points_are_binary32_numbers_of_the_piece_and_the_first_replays() -> None:
    net, least = float_net()
    asked = case(*SQUARE, [atom([1.0], least + Fraction(1, 1000))])
    query = net.query([asked], Semantics.F32_ANY)
    points = lra_rung(query, Options()).work(whole(asked), NO_LIMIT, 30.0).points
    assert points and all(contains(asked, point, Semantics.F32_ANY) for point in points)
    replayer = Replayer(net.graph, net.program, net.data, Semantics.F32_ANY)
    assert replayer.attempt(0, asked, np.array([float(v) for v in points[0]])) is not None


def test_neighbours_of_a_point_are_one_grid_step_away_and_inside() -> None:
    # 1/3 lies between 11184810 and 11184811 times 2^-25, nearer to the latter; 1 is the end of the box.
    asked = case([0, 0], [1, 1], [])
    centre, one = Fraction(11184811, 2**25), Fraction(1)
    found = near32(asked, (Fraction(1, 3), one))
    step = Fraction(1, 2**25)
    below_one = 1 - Fraction(1, 2**24)
    assert found == ((centre, one), (centre - step, one), (centre + step, one), (centre, below_one))


def test_integer_networks_and_large_ones_do_not_suit() -> None:
    net, _ = float_net()
    asked = case(*SQUARE, [atom([1.0], 0)])
    assert not lra_rung(net.query([asked], Semantics.INT_EXACT), Options()).suits(whole(asked))
    wide = dense([(np.ones((400, 300)), np.zeros(400)), (np.ones((1, 400)), np.zeros(1))])
    big = case([0] * 300, [1] * 300, [atom([1.0], 0)])
    assert not lra_rung(wide.query([big]), Options()).suits(whole(big))


def test_what_may_overflow_gets_no_word() -> None:
    net = dense([([[1e38, 1e38]], [0.0]), ([[1.0]], [0.0])])
    asked = case([-2, -2], [2, 2], [atom([1.0], -1)])
    outcome = lra_rung(net.query([asked], Semantics.F32_ANY), Options()).work(whole(asked), NO_LIMIT, 5.0)
    assert outcome.word is None and not outcome.points and "no finite error bound" in outcome.detail
    assert lra_rung(net.query([asked]), Options()).work(whole(asked), NO_LIMIT, 5.0).word is not None


def test_time_limits_leave_no_answer() -> None:
    net = dense(random_layers(np.random.default_rng(0), (5, 30, 30, 1), eighths=False))
    asked = case([-1] * 5, [1] * 5, [atom([1.0], -100)])
    rung = lra_rung(net.query([asked]), Options())
    for budget, seconds in ((NO_LIMIT, 0.3), (Budget.of(0.3), 60.0), (Budget.of(0.0), 60.0)):
        start = Budget.of(None)
        outcome = rung.work(whole(asked), budget, seconds)
        assert start.elapsed_s < 3.0
        assert outcome.word is None and not outcome.points and outcome.detail
