"""Certificates of the engine: written for what closes in integers, repaired where a leaf does not, never for more."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farkas.checker.check import check, load_query
from farkas.checker.query import Box as CheckedBox
from farkas.checker.query import bisect
from farkas.engine import turns as turns_module
from farkas.engine import verify as verify_module
from farkas.engine.bab import Search
from farkas.engine.budget import Budget
from farkas.engine.certificate_writer import Shape, explicit
from farkas.engine.certify import Checking, certify_holds
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.repair import restore
from farkas.engine.tree import ClosedTree, ProofTree
from farkas.engine.verdict import Holds, Reason, Unknown, Verdict, Violated
from farkas.engine.verify import verify
from farkas.runtime_cuda.backend import numpy_backend
from farkas.runtime_cuda.crown import Propagator, Rows
from farkas.runtime_cuda.prepared import prepare
from farkas.specs.query import Semantics
from farkas.specs.vnnlib import read_property
from tests.checker.nets import vnnlib
from tests.engine.pieces import minimum
from tests.nets import Box, Net, boxes, dense, random_layers, seeds

CERTIFIABLE = [s for s in Semantics if s is not Semantics.INT_EXACT]  # single orders by certificates of f32-any
shared = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def network(seed: int) -> Net:
    return dense(random_layers(np.random.default_rng(seed), (2, 4, 4, 2)))


def query(net: Net, box: Box, unsafe: str, semantics: Semantics) -> Query:
    text = vnnlib(*box, 2, unsafe)
    return Query(net.graph, net.data, read_property(text), semantics, text)


def certified(asked: Query, **options: Any) -> Verdict:
    return verify(asked, Options(**{"timeout_s": 10.0, "certify": True, **options}))


def below(value: Fraction, offset: Fraction) -> str:
    """y0 - 2 y1 <= value + offset, the threshold cut to six decimals downward for a negative offset."""
    number = (value + offset) * 10**6 // 1
    sign = "-" if number < 0 else ""
    return f"(<= (- Y_0 (* 2.0 Y_1)) {sign}{abs(number) // 10**6}.{abs(number) % 10**6:06d})"


ROW = [Fraction(1), Fraction(-2)]


@settings(max_examples=25)
@given(seeds, boxes(2), st.sampled_from(CERTIFIABLE))
def test_what_holds_is_certified_and_the_checker_accepts_the_bytes(seed: int, box: Box, semantics: Semantics) -> None:
    net = network(seed)
    asked = query(net, box, below(minimum(net.program, *box, ROW, ()), Fraction(-1, 64)), semantics)
    verdict = certified(asked)
    assert isinstance(verdict, Holds) and verdict.evidence == "certified" and verdict.certificate is not None
    check(verdict.certificate, net.data, asked.property_bytes, semantics=semantics.covering.value, verdict="unsat")


@settings(max_examples=25)
@given(seeds, boxes(2), st.sampled_from(CERTIFIABLE))
def test_what_is_violated_has_a_certificate_of_its_witness(seed: int, box: Box, semantics: Semantics) -> None:
    net = network(seed)
    asked = query(net, box, below(minimum(net.program, *box, ROW, ()), Fraction(1, 64)), semantics)
    verdict = certified(asked)
    assert isinstance(verdict, Violated) and verdict.certificate is not None, verdict
    check(verdict.certificate, net.data, asked.property_bytes, semantics=semantics.covering.value, verdict="sat")


@shared
@given(seeds, boxes(2), st.sampled_from([Fraction(-1, 64), Fraction(1, 64)]))
def test_leaves_closed_in_error_are_found_by_the_checker_and_never_certified(
    monkeypatch: pytest.MonkeyPatch, seed: int, box: Box, offset: Fraction
) -> None:
    """An engine that closes leaves half a unit too early; only what the repair proves is certified."""
    net = network(seed)
    asked = query(net, box, below(minimum(net.program, *box, ROW, ()), offset), Semantics.REAL)
    with monkeypatch.context() as patch:
        patch.setattr(turns_module, "MARGIN", -0.5)
        patch.setattr(turns_module, "replayed", lambda *args: None)
        patch.setattr(verify_module, "replayed", lambda *args: None)
        verdict = certified(asked, timeout_s=2.0)
    if isinstance(verdict, Holds):
        assert offset < 0 and verdict.certificate is not None
        check(verdict.certificate, net.data, asked.property_bytes, semantics="real", verdict="unsat")
    else:
        assert isinstance(verdict, Unknown)


def test_leaves_closed_in_error_are_repaired_where_the_property_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds are half a unit too high until the certificate is written; then the checker finds the leaves to cut."""
    net, box = network(2), ((Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1)))
    asked = query(net, box, below(minimum(net.program, *box, ROW, ()), Fraction(-1, 64)), Semantics.REAL)
    wanted = certified(asked)
    wrong = True
    bound = Propagator.bound

    def too_high(self: Propagator, *args: Any, **keywords: Any) -> Rows:
        found = bound(self, *args, **keywords)
        found.value[:] += 0.5 * wrong
        return found

    def mended(*args: Any) -> Verdict:
        nonlocal wrong
        wrong = False
        return certify_holds(*args)

    monkeypatch.setenv("FARKAS_NATIVE", "0")
    monkeypatch.setattr(Propagator, "bound", too_high)
    monkeypatch.setattr(verify_module, "certify_holds", mended)
    verdict = certified(asked)
    assert isinstance(wanted, Holds) and isinstance(verdict, Holds) and verdict.certificate is not None
    assert verdict.evidence == "certified" and not wrong
    assert verdict.tree.leaves > 1
    check(verdict.certificate, net.data, asked.property_bytes, semantics="real", verdict="unsat")


@settings(max_examples=15)
@given(seeds, boxes(2), st.sampled_from([Semantics.REAL, Semantics.F32_ANY]), st.booleans())
def test_trees_of_bisections_are_accepted_under_both_rules(
    seed: int, box: Box, semantics: Semantics, is_dense: bool
) -> None:
    """What convolutional networks get, and trees beside others that split neurons."""
    net = network(seed)
    asked = query(net, box, below(minimum(net.program, *box, ROW, ()), Fraction(-1, 64)), semantics)
    verdict = certified(asked)
    assert isinstance(verdict, Holds) and isinstance(verdict.tree, ClosedTree)
    integer, _, _ = load_query(asked.network, asked.property_bytes, semantics.value)
    checking = Checking(asked, integer, Shape(2, (4, 4), is_dense), Budget.of(None))
    trees = verdict.tree.trees
    if is_dense:  # one derivation in the tree makes it one of the other rule
        trees = tuple(explicit(tree, checking.shape) for tree in trees)
    certificate = checking.encode(ClosedTree(trees))
    accepted = check(certificate, net.data, asked.property_bytes, semantics=semantics.covering.value, verdict="unsat")
    assert accepted.kernel == "crown-fp-2" and checking.accepts(certificate)


def test_a_certificate_of_what_the_checker_cannot_read_is_not_claimed() -> None:
    """Weights in double precision."""
    net = dense(random_layers(np.random.default_rng(0), (2, 4, 2)), dtype=np.float64)
    box = (Fraction(0),) * 2, (Fraction(1),) * 2
    asked = query(net, box, below(minimum(net.program, *box, ROW, ()), Fraction(-1)), Semantics.REAL)
    assert isinstance(verify(asked, Options(trust=frozenset({"crown"}))), Holds)
    verdict = certified(asked, trust=frozenset({"crown"}))
    assert isinstance(verdict, Unknown) and verdict.reason is Reason.UNCERTIFIED


@settings(max_examples=25)
@given(seeds, st.sampled_from([Semantics.REAL, Semantics.F32_ANY]), st.lists(st.integers(0, 1), min_size=1, max_size=5))
def test_a_restored_block_is_the_one_that_the_search_had(seed: int, semantics: Semantics, turns: list[int]) -> None:
    """Bisecting input 0, 1, 0, ... and going left or right: box and inherited bounds as they were on the way down."""
    net, box = network(seed), ((Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1)))
    asked = query(net, box, "(<= Y_0 0.0)", semantics)
    prepared = prepare(net.program, binary32=semantics is Semantics.F32_ANY, backend=numpy_backend())
    family = asked.families[0]
    tree = ProofTree()
    search = Search(prepared, family, semantics is Semantics.F32_ANY, 0.0, lambda x: x, [tree])
    cut = CheckedBox((-(2**32),) * 2, (2**32,) * 2)
    lower = np.full((1, prepared.width), -np.inf)
    upper, node = -lower, 0
    for i, turn in enumerate(turns):
        ends = np.array([cut.lower]) * 2.0**-32, np.array([cut.upper]) * 2.0**-32
        refined = Propagator(prepared).refine(*ends, lower, upper)
        lower, upper = refined.lower, refined.upper
        halves = bisect(cut, i % 2, semantics is Semantics.F32_ANY)
        assert halves is not None
        node, cut = tree.bisect(node, i % 2) + turn, halves[turn]
    block = restore(search, 0, node)
    assert block.x_lower.tolist() == [[v * 2.0**-32 for v in cut.lower]]
    assert block.x_upper.tolist() == [[v * 2.0**-32 for v in cut.upper]]
    np.testing.assert_allclose(block.lower, lower, rtol=1e-12)
    np.testing.assert_allclose(block.upper, upper, rtol=1e-12)
    assert (block.node.tolist(), block.case.tolist()) == ([node], [0])
