"""Networks whose linear programs no solver takes, or that have no neurons to split, get an answer all the same."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from farkas.engine.options import ARMS, ENGINES, Options
from farkas.engine.trusted import WORDS
from farkas.engine.verdict import Unknown
from farkas.engine.verify import verify
from farkas.specs.query import Semantics
from tests.nets import affine, atom, case, dense, varied


def only(engine: str | None) -> frozenset[str] | None:
    return None if engine is None else frozenset({engine})


BINARY32 = [semantics for semantics in Semantics if semantics.is_binary32]


@pytest.mark.parametrize("engine", ["relu-splitting", "milp"])
def test_weights_beyond_what_highs_takes_leave_a_query_undecided(engine: str) -> None:
    # x -> 1e38 x overflows from 3.4028.. on; HiGHS refuses the coefficient.
    net = dense([([[1.0]], [0.0]), ([[1e38], [1.0]], [0.0, 0.0])])
    asked = net.query([case([3.390625], [3.4140625], [atom([1, 0], 0)])], Semantics.F32_ANY)
    verdict = verify(asked, Options(timeout_s=5.0, engines=frozenset({engine})))
    assert isinstance(verdict, Unknown)


@pytest.mark.parametrize("semantics", [Semantics.REAL, *BINARY32])
def test_relu_splitting_alone_gives_an_answer_about_a_network_without_neurons(semantics: Semantics) -> None:
    # Over [-1, 1]^2 no two of x_0 >= 1/2, x_1 >= 1/2, x_0 + x_1 <= 3/4 exclude each other, but all three do.
    net = affine([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    for limit, word in (("3/4", "unsat"), ("1", "sat")):
        atoms = [atom([-1, 0, 0], -0.5), atom([0, -1, 0], -0.5), atom([0, 0, 1], Fraction(limit))]
        asked = net.query([case([-1, -1], [1, 1], atoms)], semantics)
        verdict = verify(asked, Options(timeout_s=5.0, engines=frozenset({"relu-splitting"})))
        assert verdict.word == word


@pytest.mark.parametrize("engine", [None, *ENGINES])
def test_where_every_point_is_unsafe_and_none_can_be_run_nothing_is_claimed(engine: str | None) -> None:
    # Sums over windows have no order in mlas-k256-fma, so there is no run to show.
    net = varied(np.random.default_rng(1), "conv")
    asked = net.query([case([0, 0], [1, 1], [])], Semantics.MLAS_K256_FMA)
    verdict = verify(asked, Options(timeout_s=1.0, trust=frozenset(WORDS), engines=only(engine)))
    assert isinstance(verdict, Unknown)


@pytest.mark.parametrize("engine", [None, *ARMS])
def test_where_nothing_is_unsafe_any_arm_says_so(engine: str | None) -> None:
    net = varied(np.random.default_rng(1), "plain")
    for semantics in (Semantics.REAL, *BINARY32):
        verdict = verify(net.query([case([0, 0], [1, 1])], semantics), Options(timeout_s=5.0, engines=only(engine)))
        assert verdict.word == "unsat"
