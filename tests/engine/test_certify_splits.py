"""Certificates of ReLU-split and LP-guided trees: through the whole pipeline, both tiers, repair included."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farkas.checker.check import check, load_query
from farkas.engine import arms, certify
from farkas.engine import turns as turns_module
from farkas.engine import verify as verify_module
from farkas.engine.budget import Budget, OutOfTime
from farkas.engine.certificate_writer import Shape
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.repair import Proved, repair
from farkas.engine.tree import Bisect, ClosedTree, Closing, Derive, Leaf, Proof, ProofTree, SplitNeuron, Vector
from farkas.engine.verdict import Holds, Reason, Unknown, Verdict
from farkas.engine.verify import verify
from farkas.specs.query import Semantics
from farkas.specs.vnnlib import read_property
from tests.checker.nets import vnnlib
from tests.engine.pieces import minimum
from tests.nets import Box, Net, boxes, dense, random_layers, seeds, varied

shared = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
ROW = [Fraction(1), Fraction(-2)]


@pytest.fixture(autouse=True)
def by_neuron(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs are never cut."""
    monkeypatch.setattr(arms, "FEW_INPUTS", -1)
    monkeypatch.setattr(arms, "MANY_INPUTS", -1)


def network(seed: int) -> Net:
    return dense(random_layers(np.random.default_rng(seed), (2, 6, 6, 2), eighths=False))


def threshold(value: Fraction) -> str:
    number = value * 10**6 // 1
    return f"{'-' if number < 0 else ''}{abs(number) // 10**6}.{abs(number) % 10**6:06d}"


def safe(net: Net, box: Box, offset: Fraction) -> str:
    """y0 - 2 y1 at most its minimum and an offset."""
    return f"(<= (- Y_0 (* 2.0 Y_1)) {threshold(minimum(net.program, *box, ROW, ()) + offset)})"


def query(net: Net, box: Box, unsafe: str, semantics: Semantics) -> Query:
    text = vnnlib(*box, 2, unsafe)
    return Query(net.graph, net.data, read_property(text), semantics, text)


def certified(asked: Query, **options: Any) -> Verdict:
    return verify(asked, Options(**{"timeout_s": 30.0, "certify": True, **options}))


def assert_both_tiers_accept(verdict: Verdict, asked: Query) -> None:
    assert isinstance(verdict, Holds) and verdict.certificate is not None, verdict
    accepted = check(
        verdict.certificate,
        asked.network,
        asked.property_bytes,
        semantics=asked.semantics.value,
        verdict="unsat",
    )
    assert accepted.tier == "exact"


@shared
@given(seeds, boxes(2), st.sampled_from([Semantics.REAL, Semantics.F32_ANY]))
def test_what_holds_is_certified_and_both_tiers_accept(seed: int, box: Box, semantics: Semantics) -> None:
    net = network(seed)
    asked = query(net, box, safe(net, box, Fraction(-1, 64)), semantics)
    assert_both_tiers_accept(certified(asked), asked)


@shared
@given(seeds, st.sampled_from(["residual", "conv"]))
def test_other_graphs_are_certified_too(seed: int, shape: str) -> None:
    net = varied(np.random.default_rng(seed), shape, eighths=False)
    box: Box = (Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1))
    asked = query(net, box, safe(net, box, Fraction(-1, 64)), Semantics.F32_ANY)
    assert_both_tiers_accept(certified(asked), asked)


@shared
@given(seeds, boxes(2))
def test_several_disjuncts_part_at_forks(seed: int, box: Box) -> None:
    net = network(seed)
    low = minimum(net.program, *box, [Fraction(-1), Fraction(1)], ()) - Fraction(1, 64)
    unsafe = f"(or {safe(net, box, Fraction(-1, 64))} (and (<= (- Y_1 Y_0) {threshold(low)})))"
    asked = query(net, box, unsafe, Semantics.F32_ANY)
    assert_both_tiers_accept(certified(asked), asked)


# What goes wrong -----------------------------------------------------------------------------------------------------


def sample(seed: int = 3) -> tuple[Net, Box]:
    return network(seed), ((Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1)))


def checking(asked: Query) -> certify.Checking:
    integer, _, _ = load_query(asked.network, asked.property_bytes, asked.semantics.value)
    return certify.Checking(asked, integer, certify.shape_of(asked.program), Budget.of(None))


@shared
@given(seeds, boxes(2), st.sampled_from([Fraction(-1, 64), Fraction(1, 64)]))
def test_leaves_closed_in_error_are_never_certified(
    monkeypatch: pytest.MonkeyPatch, seed: int, box: Box, offset: Fraction
) -> None:
    """An engine that closes leaves a quarter too early; only what the repair proves is certified."""
    net = network(seed)
    asked = query(net, box, safe(net, box, offset), Semantics.REAL)
    with monkeypatch.context() as patch:
        patch.setattr(turns_module, "MARGIN", -0.25)
        patch.setattr(turns_module, "replayed", lambda *args: None)
        patch.setattr(verify_module, "replayed", lambda *args: None)
        verdict = certified(asked, timeout_s=2.0)
    if offset > 0:
        assert isinstance(verdict, Unknown)
    elif isinstance(verdict, Holds):
        assert_both_tiers_accept(verdict, asked)


def test_leaves_closed_in_error_are_repaired_where_the_property_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The margin is that of a careless engine until the certificate is written; then the checker finds the leaves."""
    net, box = sample()
    asked = query(net, box, safe(net, box, Fraction(-1, 64)), Semantics.F32_ANY)
    repaired = []

    def mended(failing: Any, proved: Any, budget: Budget) -> bool:
        for owner in proved.values():
            owner.search.roots.root(owner.case).margin = 1e-6
        repaired.append(len(failing))
        return repair(failing, proved, budget)

    monkeypatch.setattr(turns_module, "MARGIN", -0.05)
    monkeypatch.setattr(certify, "repair", mended)
    verdict = certified(asked, engines=frozenset({"relu-splitting"}))
    assert repaired and repaired[0] > 0
    assert_both_tiers_accept(verdict, asked)


def mutated(proof: Proof, rng: np.random.Generator) -> Proof:
    """One step or one reason changed."""
    steps, kinds = list(proof.steps), list(proof.kinds)
    at = int(rng.integers(len(steps)))
    match steps[at]:
        case SplitNeuron(neuron):
            steps[at] = SplitNeuron((neuron + int(rng.integers(1, 12))) % 12)
        case Derive():
            del steps[at]
        case Leaf(kind) if rng.random() < 0.5:
            steps[at] = Leaf((kind + 1) % len(kinds))
        case Leaf(kind):
            kinds[kind] = tuple(changed(closing, rng) for closing in kinds[kind])
        case _:
            steps[at] = Bisect(int(rng.integers(2)))
    return Proof(tuple(steps), tuple(kinds), proof.unstable)


def changed(closing: Closing, rng: np.random.Generator) -> Closing:
    vector = closing.vector
    if vector is None:
        return Closing((closing.rule + 1) % 4, closing.atoms)
    pins = tuple((g, -gamma) for g, gamma in vector.pins) if rng.random() < 0.5 else ()
    return replace(closing, vector=Vector(255 - vector.slopes, pins))


def test_no_proof_and_no_mutant_of_one_proves_a_false_claim() -> None:
    """The tree of a property that holds, offered for one that is violated by 1/64; and 60 mutants of it."""
    net, box = sample()
    true = query(net, box, safe(net, box, Fraction(-1, 64)), Semantics.F32_ANY)
    false = query(net, box, safe(net, box, Fraction(1, 64)), Semantics.F32_ANY)
    verdict = certified(true)
    assert isinstance(verdict, Holds) and isinstance(verdict.tree, ClosedTree) and verdict.tree.leaves > 4
    accept, refuse = checking(true), checking(false)
    assert accept.accepts(accept.encode(verdict.tree))
    rng = np.random.default_rng(0)
    proof, accepted = verdict.tree.trees[0], 0
    for _ in range(60):
        assert not refuse.accepts(refuse.encode(ClosedTree((proof,))))
        accepted += accept.accepts(accept.encode(ClosedTree((proof,))))
        proof = mutated(verdict.tree.trees[0], rng)
    assert 0 < accepted < 60, "some mutants prove as much, others nothing"


def test_the_check_ends_with_the_budget() -> None:
    net, box = sample()
    asked = query(net, box, safe(net, box, Fraction(-1, 64)), Semantics.F32_ANY)
    verdict = verify(asked, Options())
    assert isinstance(verdict, Holds) and isinstance(verdict.tree, ClosedTree)
    spent = certify.Checking(asked, checking(asked).integer, certify.shape_of(asked.program), Budget.of(0.0))
    with pytest.raises(OutOfTime):
        spent.accepts(spent.encode(verdict.tree))
    tree = ProofTree()
    tree.close_leaf(0, verdict.tree.trees[0].kinds[0])
    late = certify.certify_holds(asked, verdict, {0: Proved(None, 0, tree)}, Budget.of(0.0))  # type: ignore[arg-type] # no search is asked
    assert isinstance(late, Unknown) and late.reason is Reason.TIMEOUT


def test_other_numbers_of_neurons_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    net, box = sample()
    asked = query(net, box, safe(net, box, Fraction(-1, 64)), Semantics.F32_ANY)
    monkeypatch.setattr(certify, "shape_of", lambda program: Shape(2, (6, 5)))
    verdict = certified(asked)
    assert isinstance(verdict, Unknown) and verdict.reason is Reason.UNCERTIFIED
    assert "(6, 6)" in verdict.detail and "(6, 5)" in verdict.detail
