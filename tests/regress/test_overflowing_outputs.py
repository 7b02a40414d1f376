"""A run with an output that is no number refutes nothing, whoever speaks for one order, also where no atom reads it."""

from __future__ import annotations

import pytest

from farkas.engine.export import export
from farkas.engine.options import RUNGS, Options
from farkas.engine.trusted import WORDS
from farkas.engine.verdict import Unknown
from farkas.engine.verify import verify
from farkas.specs.query import Atom, Semantics
from tests.nets import atom, case, dense

# y_0 = 1e38 x is infinite from x = 3.4028... on, y_1 = x; on [3.390625, 3.4140625] half of the runs overflow.
NET = dense([([[1.0]], [0.0]), ([[1e38], [1.0]], [0.0, 0.0])])
ORDERS = [semantics for semantics in Semantics if semantics.order]


@pytest.mark.parametrize("rung", [name for name in RUNGS if name != "lra"])
@pytest.mark.parametrize("unsafe", [atom([1, 0], 0), atom([0, 1], 0)])
@pytest.mark.parametrize("semantics", ORDERS)
def test_overflow_in_some_run_of_a_box_is_no_unsat(rung: str, unsafe: Atom, semantics: Semantics) -> None:
    asked = NET.query([case([3.390625], [3.4140625], [unsafe])], semantics)
    verdict = verify(asked, Options(timeout_s=5.0, trust=frozenset(WORDS), engines=frozenset({rung})))
    assert isinstance(verdict, Unknown)


@pytest.mark.parametrize("rung", [name for name in RUNGS if name != "lra"])
@pytest.mark.parametrize("semantics", ORDERS)
def test_below_the_overflow_the_same_is_refuted(rung: str, semantics: Semantics) -> None:
    asked = NET.query([case([3.390625], [3.40234375], [atom([1, 0], 0)])], semantics)
    verdict = verify(asked, Options(timeout_s=10.0, trust=frozenset(WORDS), engines=frozenset({rung})))
    assert verdict.word == "unsat"


def test_an_exported_formula_says_which_runs_it_leaves_out() -> None:
    asked = NET.query([case([3.390625], [3.4140625], [atom([1, 0], 0)])], Semantics.SEQ_FMA)
    assert "; runs with an output that is not finite are left out" in export(asked, "smt2-fp")
