"""The ladder: what its words are worth, how they become certificates, and what an open question says about its gap."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from farkas.checker.check import check
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.trusted import Trusted, Word
from farkas.engine.verdict import Holds, Reason, Unknown, Violated
from farkas.engine.verify import verify
from farkas.specs.query import Semantics
from farkas.specs.vnnlib import read_property
from tests.checker.nets import vnnlib
from tests.engine.pieces import minimum
from tests.nets import affine, atom, case, dense, random_layers

NET = dense(random_layers(np.random.default_rng(3), (2, 5, 5, 1)))
BOX = ((Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1)))
LEAST = minimum(NET.program, *BOX, [Fraction(1)], ())  # exact, by the network's linear pieces
ONLY_LRA = frozenset({"lra"})


def below(offset: Fraction) -> Query:
    """Unsafe where the output is at most its exact minimum (of 1/8 weights: a finite decimal) plus the offset."""
    value = LEAST + offset
    cut = Fraction(value * 10**9 // 1, 10**9)
    text = vnnlib(*BOX, 1, f"(<= Y_0 {'-' if cut < 0 else ''}{abs(cut) // 1}.{int(abs(cut) % 1 * 10**9):09d})")
    return Query(NET.graph, NET.data, read_property(text), Semantics.REAL, text)


def test_a_solvers_word_is_unsat_for_those_who_trust_it_and_for_nobody_else() -> None:
    asked = below(Fraction(-1, 64))
    doubted = verify(asked, Options(timeout_s=20.0, engines=ONLY_LRA))
    assert isinstance(doubted, Unknown) and doubted.reason is Reason.UNCERTIFIED and "--trust z3" in doubted.detail
    trusted = verify(asked, Options(timeout_s=20.0, engines=ONLY_LRA, trust=frozenset({"z3"})))
    assert isinstance(trusted, Holds) and trusted.evidence == "trusted:z3" and isinstance(trusted.tree, Trusted)
    assert [(rung.name, rung.refuted) for rung in trusted.statistics.rungs] == [("lra", 1)]
    other = verify(asked, Options(timeout_s=20.0, engines=ONLY_LRA, trust=frozenset({"cvc5"})))
    assert isinstance(other, Unknown)


def test_with_a_certificate_in_view_a_word_becomes_a_tree_that_the_checker_accepts() -> None:
    asked = below(Fraction(-1, 64))
    verdict = verify(asked, Options(timeout_s=30.0, engines=ONLY_LRA, certify=True))
    assert isinstance(verdict, Holds) and verdict.evidence == "certified" and verdict.certificate is not None
    check(verdict.certificate, NET.data, asked.property_bytes, semantics="real", verdict="unsat")


def test_a_solvers_point_is_replayed_in_exact_rationals() -> None:
    """At the very minimum: no sample of the box meets a threshold that one point in it attains."""
    asked = below(Fraction(1, 10**9))
    verdict = verify(asked, Options(timeout_s=20.0, engines=ONLY_LRA))
    assert isinstance(verdict, Violated) and verdict.replay.outputs[0] <= LEAST + Fraction(1, 10**9)


def test_a_gap_names_box_margin_and_band() -> None:
    """x - (x - 2^-30) rounded: 2^-30 over the reals; 0 or an ulp of 1 in binary32."""
    net = dense([([[1.0], [1.0]], [2.0, 2.0]), ([[1.0, -1.0]], [2.0**-30])])
    asked = net.query([case([0], [1], [atom([1], Fraction(1, 2**31))])], Semantics.F32_ANY)
    verdict = verify(asked, Options(timeout_s=4.0))
    assert isinstance(verdict, Unknown) and verdict.reason is Reason.GAP
    found = verdict.gap
    assert found is not None and found.lower[0] >= 0 and found.upper[0] <= 1
    assert 0 < found.margin <= 2.0**-31 and found.band > 0
    assert "f32-order" in verdict.detail


def test_engines_that_cannot_work_in_the_semantics_say_so() -> None:
    asked = affine([[1.0]]).query([case([0], [1], [atom([1], -1)])])
    verdict = verify(asked, Options(timeout_s=5.0, engines=frozenset({"smt-fp"})))
    assert isinstance(verdict, Unknown) and verdict.reason is Reason.INCOMPLETE and "--engine" in verdict.detail


@pytest.mark.parametrize("engines", [("z3",), ("bitwuzla", "cvc5")])
def test_one_trusted_engine_suffices_for_a_word_and_every_word_needs_one(engines: tuple[str, ...]) -> None:
    proof = Trusted((Word(engines, "a box"), Word(("enumeration",), "another")), closed=3)
    assert proof.leaves == 5 and not proof.accepted_by({engines[-1]})
    assert proof.accepted_by({engines[-1], "enumeration"})
    assert proof.needed({"enumeration"}) == engines[:1]
    assert proof.evidence == f"trusted:{','.join(sorted([*engines, 'enumeration']))}"
