"""What people are told of an answer: claims in each semantics, words, rungs, the gap, and what `--trust` would do."""

from __future__ import annotations

from dataclasses import replace

import pytest

import farkas as fk
from farkas.engine.trusted import Trusted, Word
from farkas.engine.verdict import GapReport, Holds, Reason, RungStatistics, Statistics, Unknown, Verdict, Violated
from farkas.ir.onnx_import import load_onnx
from farkas.report import TO_TRUST, TRUSTED, as_object, summary
from farkas.specs.query import Semantics
from tests.farkas.queries import SAT, absolute

PROOF = Trusted((Word(("bitwuzla", "cvc5"), "a box"), Word(("enumeration",), "7 points")), closed=3)
RUNGS = Statistics(rungs=(RungStatistics("lra", 0.5, 4, 3, 1), RungStatistics("smt-fp")))


def told(verdict: Verdict) -> list[str]:
    return list(summary(verdict, 1.0, None, None))


def witness(mode: str) -> Violated:
    found = fk.verify(fk.Network(load_onnx(absolute()), absolute()), SAT, semantics=mode, timeout=30)
    assert isinstance(found, Violated)
    return found


@pytest.mark.parametrize("mode", list(Semantics))
def test_a_proof_on_words_says_whose_and_for_how_much(mode: Semantics) -> None:
    first, second, third, *_ = told(Holds(PROOF, mode, PROOF.evidence))
    assert first.startswith(f"unsat ({mode.value}, evidence trusted:bitwuzla,cvc5,enumeration): no ")
    assert second == "pieces: 3 closed by bounds, 1 by the word of bitwuzla and cvc5, 1 by the word of enumeration"
    assert third == TRUSTED


@pytest.mark.parametrize(
    ("mode", "claim"),
    [
        (Semantics.REAL, "no real input of the set violates"),
        (Semantics.F32_ANY, "in any admissible execution"),
        (Semantics.SEQ_MULADD, "when executed in the order seq-muladd"),
        (Semantics.INT_EXACT, "the integers and roundings that the graph states"),
    ],
)
def test_a_claim_is_that_of_its_semantics(mode: Semantics, claim: str) -> None:
    assert claim in told(Holds(PROOF, mode, PROOF.evidence))[0]


@pytest.mark.parametrize(
    ("mode", "parts"),
    [
        ("real", ["an exact rational input violates"]),
        ("f32-any", ["violates on executor ", "and on onnxruntime", "in every admissible execution"]),
        ("f32-order:seq-fma", ["violates on executor seq-fma", "it violates on onnxruntime"]),
    ],
)
def test_a_violation_says_where_it_was_seen(mode: str, parts: list[str]) -> None:
    line = told(witness(mode))[0]
    assert all(part in line for part in parts)


def test_a_single_order_may_violate_where_the_runtime_does_not() -> None:
    found = witness("f32-order:seq-fma")
    alone = replace(found, replay=replace(found.replay, runtime="", runtime_outputs=()))
    assert "it does not violate on onnxruntime here" in told(alone)[0]


def test_what_trust_would_do_is_told_only_where_it_would_do_something() -> None:
    fixable = Unknown(Reason.UNCERTIFIED, "rests on words; accept them with --trust z3", Semantics.REAL)
    assert TO_TRUST in told(fixable)
    assert TO_TRUST not in told(replace(fixable, detail="the certificate is too large"))
    assert TO_TRUST not in told(replace(fixable, reason=Reason.TIMEOUT))


def test_rungs_that_worked_are_listed() -> None:
    lines = told(Unknown(Reason.GAP, "near", Semantics.F32_ANY, statistics=RUNGS))
    assert "lra 0.50 s (3 of 4 pieces, 1 candidates)" in lines and not any("smt-fp" in line for line in lines)


def test_the_object_has_the_gap_and_the_rungs() -> None:
    gap = GapReport(0, (0.0,), (1.0,), (0.5,), 1e-8, 4.8e-6)
    made = as_object(Unknown(Reason.GAP, "near", Semantics.F32_ANY, statistics=RUNGS, gap=gap), 1.0, None)
    assert made["statistics"]["gap"]["band"] == 4.8e-6 and made["statistics"]["gap"]["lower"] == (0.0,)
    assert made["statistics"]["rungs"][0]["refuted"] == 3
    assert as_object(Unknown(Reason.TIMEOUT, "", Semantics.REAL), 1.0, None)["statistics"]["gap"] is None
    assert as_object(Holds(PROOF, Semantics.REAL, PROOF.evidence), 1.0, None)["statistics"]["leaves"] == 5
