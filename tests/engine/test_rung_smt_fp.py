"""The rung of floating-point SMT: what it says about a piece, and for which semantics."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from farkas.engine.budget import Budget
from farkas.engine.ladder import Outcome, Piece
from farkas.engine.options import Options
from farkas.engine.rung_smt_fp import smt_fp_rung
from farkas.ir.execute import execute
from farkas.specs.query import Case, Semantics
from tests.nets import Net, affine, atom, case, dense, varied

pytest.importorskip("bitwuzla")

# 1000 (relu(relu(x + 2^24) - 2^24) - relu(x)): 0 over the reals; 1000 (2 - x) < 1000 in binary32 for x in (1, 1.5].
ABSORBS = dense([
    ([[1.0], [1.0]], [2.0**24, 0.0]),
    ([[1.0, 0.0], [0.0, 1.0]], [-(2.0**24), 0.0]),
    ([[1000.0, -1000.0]], [0.0]),
])  # fmt: skip


def work(net: Net, whole: Case, semantics: Semantics, piece: Piece | None = None) -> Outcome:
    rung = smt_fp_rung(net.query([whole], semantics), Options())
    piece = Piece(0, whole, whole.lower, whole.upper, tuple(range(len(whole.disjuncts)))) if piece is None else piece
    assert rung.suits(piece)
    return rung.work(piece, Budget.of(30.0), 20.0)


@pytest.mark.parametrize("semantics", [s for s in Semantics if s.is_binary32])
def test_a_model_is_a_candidate_in_every_mode(semantics: Semantics) -> None:
    outcome = work(ABSORBS, case([0], [1.5], [atom([-1], Fraction(-1, 10))]), semantics)
    ((x,),) = outcome.points
    assert outcome.word is None and 1 < x <= Fraction(3, 2)
    for order in ("seq-muladd", "seq-fma", "mlas-k256-fma"):
        assert execute(ABSORBS.graph, np.array([float(x)], dtype=np.float32), order)[0] >= 0.1


@pytest.mark.parametrize(
    ("semantics", "covered"),
    [
        (Semantics.SEQ_MULADD, Semantics.SEQ_MULADD),
        (Semantics.SEQ_FMA, Semantics.SEQ_FMA),
        (Semantics.MLAS_K256_FMA, Semantics.MLAS_K256_FMA),
        (Semantics.F32_ANY, Semantics.MLAS_K256_FMA),  # never any order: one formula has one order
    ],
)
def test_unsat_covers_the_order_of_the_formula_and_no_other(semantics: Semantics, covered: Semantics) -> None:
    outcome = work(ABSORBS, case([0], [1.5], [atom([-1], -1000)]), semantics)
    assert outcome.points == ()
    assert outcome.covers == {covered}
    assert outcome.word is not None and set(outcome.word.engines) <= {"bitwuzla", "cvc5", "z3"}


def test_only_what_is_left_of_the_case_is_asked() -> None:
    # y = x on [0, 8]: x >= 7 has points, but the piece is [0, 1] with x >= 2 alone.
    net = affine([[1.0]])
    whole = case([0], [8], [atom([-1], -7)], [atom([-1], -2)], [atom([1], 1)])
    piece = Piece(0, whole, (Fraction(0),), (Fraction(1),), (1,))
    assert work(net, whole, Semantics.SEQ_FMA, piece).word is not None
    both = Piece(0, whole, (Fraction(0),), (Fraction(1),), (1, 2))
    assert work(net, whole, Semantics.SEQ_FMA, both).points != ()


def test_an_order_that_a_network_does_not_declare_is_left_to_others() -> None:
    # Sums over windows have no order in mlas-k256-fma; in any order the rung looks at seq-fma instead.
    net = varied(np.random.default_rng(1), "conv")
    whole = case([0, 0], [0, 0], [atom([1, 0], -1000)])
    piece = Piece(0, whole, whole.lower, whole.upper, (0,))
    assert not smt_fp_rung(net.query([whole], Semantics.MLAS_K256_FMA), Options()).suits(piece)
    assert work(net, whole, Semantics.F32_ANY).covers == {Semantics.SEQ_FMA}


def test_large_networks_and_the_reals_do_not_suit() -> None:
    wide = dense([(np.ones((21, 20)), np.zeros(21))])
    whole = case([0] * 20, [1] * 20, [])
    piece = Piece(0, whole, whole.lower, whole.upper, (0,))
    assert not smt_fp_rung(wide.query([whole], Semantics.SEQ_FMA), Options()).suits(piece)
    small = case([0], [1], [])
    piece = Piece(0, small, small.lower, small.upper, (0,))
    assert not smt_fp_rung(affine([[1.0]]).query([small], Semantics.REAL), Options()).suits(piece)


def test_atoms_out_of_reach_leave_the_piece_open() -> None:
    net = affine([[1.0, 0.0], [0.0, 1.0]])
    outcome = work(net, case([0, 0], [1, 1], [atom([1, Fraction(1, 3**600)], -1)]), Semantics.SEQ_FMA)
    assert outcome.word is None and "smt2-lra" in outcome.detail
