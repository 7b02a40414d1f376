"""Golden cases: what holds over the reals and fails in binary32, or depends on the order of a sum, in every mode."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from farkas.engine.options import Options
from farkas.engine.runtime import Runtime
from farkas.engine.trusted import WORDS
from farkas.engine.verdict import Holds, Reason, Unknown, Verdict, Violated
from farkas.engine.verify import verify
from farkas.ir.algebra import Rational
from farkas.ir.binary32 import ORDERS
from farkas.ir.execute import execute
from farkas.specs.query import Semantics
from tests.golden.cases import ACAS, ANY, AVOIDANCE, MULADD, OWN, REAL, Boundary, Golden, exact

MODES = [s for s in Semantics if s is not Semantics.INT_EXACT]
TRUSTING = Options(timeout_s=20.0, trust=frozenset(WORDS))


def answer(verdict: Verdict) -> str:
    match verdict:
        case Unknown(reason=reason):
            return str(reason)
        case _:
            return verdict.word


@pytest.mark.parametrize("semantics", MODES, ids=lambda s: s.value)
@pytest.mark.parametrize("golden", OWN, ids=lambda g: g.name)
def test_the_answer_is_that_of_its_arithmetic(golden: Golden, semantics: Semantics) -> None:
    assert answer(verify(golden.query(semantics), TRUSTING)) == golden.answers[semantics]


@pytest.mark.parametrize("golden", [g for g in OWN if g.point], ids=lambda g: g.name)
def test_the_point_that_the_comment_names_violates_where_it_says(golden: Golden) -> None:
    """The comments' arithmetic, by the executors and onnxruntime."""
    net, point = golden.make(), np.array(golden.point, dtype=np.float32)
    inputs = tuple(Fraction(float(v)) for v in point)
    for semantics, expected in golden.answers.items():
        if semantics.order is not None:
            y = execute(net.graph, point, semantics.order).ravel()
            violates = golden.case.violated_disjunct(inputs, [Fraction(float(v)) for v in y]) is not None
            assert violates == (expected == "sat"), semantics
    y = Runtime(net.data).run(point)
    assert golden.case.violated_disjunct(inputs, [Fraction(float(v)) for v in y]) is not None


@pytest.mark.parametrize("golden", [g for g in OWN if g.answers[REAL] == "sat"], ids=lambda g: g.name)
def test_a_witness_over_the_reals_says_whether_it_violates_when_executed(golden: Golden) -> None:
    """Where f32-any has a witness at all and the set is a point, that is the one; where it has none, none replays."""
    verdict = verify(golden.query(REAL), TRUSTING)
    assert isinstance(verdict, Violated)
    assert verdict.in_binary32 == (golden.answers[ANY] == "sat")


def test_without_trust_a_word_is_no_verdict() -> None:
    golden = next(g for g in OWN if g.name == "cancelling, 1 is unsafe")
    verdict = verify(golden.query(MULADD), Options(timeout_s=20.0))
    assert isinstance(verdict, Unknown) and verdict.reason is Reason.UNCERTIFIED and "--trust" in verdict.detail


def check_boundary(boundary: Boundary, root: Path) -> None:
    """Real: proved. The point breaks it everywhere in binary32. f32-any finds a witness, as do the single orders."""
    graph, data = boundary.load(root)
    point = np.array([float.fromhex(v) for v in boundary.point], dtype=np.float32)
    inputs = np.array(exact(boundary.point), dtype=object)
    reals = graph.evaluate(Rational(), {graph.inputs[0][0]: inputs})[graph.outputs[0]].ravel()
    others = [v for j, v in enumerate(reals) if j != boundary.lowest]
    assert 0 < min(others) - reals[boundary.lowest] < Fraction(1, 10**5)
    for y in [execute(graph, point, order).ravel() for order in ORDERS] + [Runtime(data).run(point)]:
        assert np.delete(y, boundary.lowest).min() <= y[boundary.lowest]
    assert isinstance(verify(boundary.query(root, REAL), Options(timeout_s=20.0)), Holds)
    for semantics in MODES:
        if semantics.is_binary32:
            verdict = verify(boundary.query(root, semantics), Options(timeout_s=20.0))
            assert isinstance(verdict, Violated), (semantics, verdict)


def test_a_trained_network_obeys_over_the_reals_what_it_breaks_in_binary32(examples: Path) -> None:
    check_boundary(AVOIDANCE, examples / "networks")


@pytest.mark.vnncomp
def test_acas_xu_obeys_over_the_reals_what_it_breaks_in_binary32(vnncomp: Path) -> None:
    check_boundary(ACAS, vnncomp)


# Mutations: each change makes the program wrong, and some golden case has to notice --------------------------------

Mutation = Callable[[pytest.MonkeyPatch], None]


def wrong(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Golden cases whose answer is not the right one; then also those that are proved though they are violated, when
    no witness may be found."""
    found = []
    for golden in OWN:
        for semantics in (REAL, ANY):
            if answer(verify(golden.query(semantics), TRUSTING)) != golden.answers[semantics]:
                found.append(f"{golden.name}, {semantics.value}")
    from farkas.engine.replay import Replayer

    monkeypatch.setattr(Replayer, "attempt", lambda *args: None)
    monkeypatch.setattr(Replayer, "attempt_exact", lambda *args: None)
    for golden in OWN:
        for semantics in (REAL, ANY):
            proved = isinstance(verify(golden.query(semantics), Options(timeout_s=2.0)), Holds)
            if proved and golden.answers[semantics] == "sat":
                found.append(f"{golden.name}, {semantics.value}, without witnesses")
    return found


def no_error_term(patch: pytest.MonkeyPatch) -> None:
    from farkas.runtime_cuda import prepared

    original = prepared.rounding_error
    patch.setattr(prepared, "rounding_error", lambda *args, **keywords: original(*args, **keywords) * 0.0)


def half_the_gamma(patch: pytest.MonkeyPatch) -> None:
    from farkas.ir import error_terms

    original = error_terms.gamma
    patch.setattr(error_terms, "gamma", lambda count: original(count) / 2)


def a_lower_end_rounded_up(patch: pytest.MonkeyPatch) -> None:
    from farkas.engine import problem, query

    patch.setattr(query, "grid_down", problem.grid_up)


def the_nearest_box(patch: pytest.MonkeyPatch) -> None:
    from farkas.specs import boxes

    patch.setattr(boxes, "up32", boxes.nearest32)
    patch.setattr(boxes, "down32", boxes.nearest32)


MUTATIONS: tuple[Mutation, ...] = (no_error_term, half_the_gamma, a_lower_end_rounded_up, the_nearest_box)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.__name__)
def test_a_mutation_of_the_float_code_is_noticed(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    from farkas.engine import bab

    monkeypatch.setattr(bab, "kernel", lambda net: None)  # the compiled bounds have terms of their own
    mutation(monkeypatch)
    assert wrong(monkeypatch)


def test_without_a_mutation_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wrong(monkeypatch) == []
