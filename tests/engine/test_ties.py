"""Tied inputs: what counts as a tie, and that attacks and exact replay keep to it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import z3
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.checker.check import check
from farkas.checker_fast.kernel import accelerated_kernel
from farkas.engine.export import export
from farkas.engine.options import Options
from farkas.engine.problem import Family, families
from farkas.engine.query import Query
from farkas.engine.replay import Replayer
from farkas.engine.rung_enumeration import enumeration_rung
from farkas.engine.ties import Ties, tied_box
from farkas.engine.tree import ClosedTree
from farkas.engine.verdict import Holds, Violated
from farkas.engine.verify import verify
from farkas.ir.core import run_exact
from farkas.ir.joined import Part, join
from farkas.ir.lowering import lower
from farkas.specs.query import Atom, Case, Property, Semantics
from farkas.specs.vnnlib2 import read_document
from tests.checker.nets import decimal
from tests.engine.pieces import minimum
from tests.nets import atom, case, dense, random_layers, seeds

TIE = (atom([], 0, x=[1, 0, -1]), atom([], 0, x=[-1, 0, 1]))  # X_0 == X_2
ANY = atom([1], 0)


def family_of(*cases: Case) -> Family:
    boxes = [(np.array(c.lower, dtype=float), np.array(c.upper, dtype=float)) for c in cases]
    (found,) = families(cases, boxes, 1)
    return found


def cube(*disjuncts: tuple[Atom, ...]) -> Case:
    return case([-1] * 3, [1] * 3, *disjuncts)


def test_equal_inputs_of_every_disjunct_are_tied() -> None:
    tied = cube((*TIE, ANY), (TIE[1], ANY, TIE[0]))
    ties = Ties.of(family_of(tied))
    assert ties.source is not None and ties.source.tolist() == [0, 1, 0]
    assert ties.points(np.array([[1.0, 2.0, 3.0]])).tolist() == [[1, 2, 1]]
    assert ties.gradient(np.array([[1.0, 2.0, 4.0], [0.0, 1.0, -1.0]])).tolist() == [[5, 2, 5], [-1, 1, -1]]
    assert tied_box(tied)[0] == [0, 1, 0]


def test_chains_of_ties_are_one_group_in_any_order() -> None:
    chain = [atom([], 0, x=x) for x in ([0, 1, -1], [0, -1, 1], [1, 0, -1], [-1, 0, 1])]
    for atoms in (chain, chain[::-1]):
        assert tied_box(cube(tuple(atoms)))[0] == [0, 0, 0]
        found = Ties.of(family_of(cube(tuple(atoms)))).source
        assert found is not None and found.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "disjuncts",
    [
        [(TIE[0], ANY)],  # one direction only
        [(*TIE, ANY), (ANY,)],  # not in every disjunct
        [(atom([], 0, x=[1, 0, -1], strict=True), TIE[1])],
        [(atom([], 1, x=[1, 0, -1]), atom([], -1, x=[-1, 0, 1]))],  # X_0 == X_2 + 1
        [(atom([], 0, x=[1, 0, -2]), atom([], 0, x=[-1, 0, 2]))],
        [(atom([1], 0, x=[1, 0, -1]), atom([-1], 0, x=[-1, 0, 1]))],  # outputs take part
        [],
    ],
)
def test_nothing_else_is_a_tie(disjuncts: list[tuple[Atom, ...]]) -> None:
    box = cube(*disjuncts)
    ties = Ties.of(family_of(box))
    points = np.array([[1.0, 2.0, 3.0]])
    assert ties.source is None and ties.points(points) is points and ties.gradient(points) is points
    assert tied_box(box)[0] == [0, 1, 2]


def test_tied_inputs_have_the_ends_in_common() -> None:
    tenth = Fraction(1, 10)
    source, lower, upper = tied_box(case([tenth, 0, -1], [1, 1, Fraction(1, 2)], TIE))
    assert source == [0, 1, 0]
    assert (lower, upper) == ([tenth, 0, tenth], [Fraction(1, 2), 1, Fraction(1, 2)])


def pair() -> list[Part]:
    """f(x) = x beside g(x, z) = x + z."""
    f, g = dense([([[1.0]], [0.0])]), dense([([[1.0, 1.0]], [0.0])])
    return [Part("f", f.graph, f.data), Part("g", g.graph, g.data)]


def double(semantics: Semantics) -> Replayer:
    """Of all inputs of the pair, as where one case ties what another does not."""
    graph = join(pair())
    return Replayer(graph, lower(graph), b"", semantics, pair())


def swapped(lower: list[Fraction | int], upper: list[Fraction | int]) -> Case:
    """X_0 == X_1 and g >= f + 1/2, that is z >= 1/2."""
    tie = (atom([], 0, x=[1, -1]), atom([], 0, x=[-1, 1]))
    return case(lower, upper, (*tie, atom([1, -1], Fraction(-1, 2))))


def test_a_rational_point_is_moved_onto_the_ties_and_not_out_of_any_box() -> None:
    """The second copy of X is bounded by 1/10 rounded outward; the first by 1/10 itself."""
    near = Fraction(float(np.float32(0.1)))
    replayer, tied = double(Semantics.REAL), swapped([Fraction(1, 10), 0, 0], [1, near, 1])
    found = replayer.attempt(0, tied, np.array([0.25, 0.0, 0.75]))
    assert found is not None and found.inputs == (near, near, Fraction(3, 4))
    apart = swapped([Fraction(1, 10), 0, 0], [1, Fraction(1, 11), 1])
    assert replayer.attempt(0, apart, np.array([0.25, 0.0, 0.75])) is None


@pytest.mark.parametrize("semantics", [Semantics.REAL, Semantics.F32_ANY, Semantics.SEQ_FMA])
def test_what_is_tied_everywhere_is_searched_once_and_told_as_it_was_asked(semantics: Semantics) -> None:
    """The second case has no point on its tie; the first one's X is in [1/4, 1/2], and g >= f + 1/2 where z >= 1/2."""
    apart, tied = (
        swapped([0, Fraction(1, 2), 0], [Fraction(1, 4), 1, 1]),
        swapped([0, Fraction(1, 4), 0], [Fraction(1, 2), 1, 1]),
    )
    query = Query.of(pair(), Property(3, 2, (apart, tied)), semantics)
    assert (query.program.input_size, query.property.inputs, query.asked.inputs) == (2, 2, 3)
    assert [(c.lower, c.upper) for c in query.property.cases] == [((Fraction(1, 4), 0), (Fraction(1, 2), 1))]
    verdict = verify(query, Options(timeout_s=10.0))
    assert isinstance(verdict, Violated)
    x, again, z = verdict.replay.inputs
    assert x == again and Fraction(1, 4) <= x <= Fraction(1, 2) and z >= Fraction(1, 2)
    assert (verdict.replay.case_number, verdict.replay.case) == (1, tied)
    assert verdict.replay.outputs[0] == x
    assert any("case 0 is vacuous: X_0, X_1 are equal" in warning for warning in verdict.warnings)


def test_a_point_that_only_the_reduced_box_holds_is_no_witness() -> None:
    """The record is made against the property as it was asked, whatever the search believes."""
    query = Query.of(pair(), Property(3, 2, (swapped([0, 0, 0], [1, Fraction(1, 2), 1]),)), Semantics.F32_ANY)
    (narrow,) = query.property.cases
    wide = replace(narrow, upper=(Fraction(1), Fraction(1)))
    replayer = Replayer(query.graph, query.program, b"", query.semantics, query.parts, query.ties)
    assert replayer.attempt(0, wide, np.array([0.75, 0.75])) is None
    found = replayer.attempt(0, wide, np.array([0.5, 0.75]))
    assert found is not None and found.inputs == (Fraction(1, 2), Fraction(1, 2), Fraction(3, 4))


def test_what_onnxruntime_is_asked_of_is_all_inputs() -> None:
    """The rung `enumeration` has free points; onnxruntime runs each network by itself, on all of its inputs."""
    query = Query.of(pair(), Property(3, 2, (swapped([0, 0, 0], [1, 1, Fraction(1, 2)]),)), Semantics.F32_ANY)
    (box,) = query.property.cases
    runs = enumeration_rung(query, Options()).runtime
    assert runs is not None
    x = np.array([[0.25, 0.5], [1.0, 0.125]], dtype=np.float32)
    assert runs.run(x).tolist() == [[0.25, 0.75], [1.0, 1.125]]
    assert replay_of(query, box, (Fraction(1, 4), Fraction(1, 2))) == (Fraction(1, 4), Fraction(1, 4), Fraction(1, 2))


def replay_of(query: Query, box: Case, point: tuple[Fraction, ...]) -> tuple[Fraction, ...]:
    replayer = Replayer(query.graph, query.program, b"", query.semantics, query.parts, query.ties)
    found = replayer.attempt_exact(0, box, point)
    assert found is not None
    return found.inputs


def test_equal_inputs_of_one_network_alone_are_one() -> None:
    """y = x_0 - x_1 is 0 wherever they are equal: proved in one box, though both range over [-1, 1]."""
    net = dense([([[1.0, -1.0]], [0.0])])
    tied = case([-1, -1], [1, 1], (atom([], 0, x=[1, -1]), atom([], 0, x=[-1, 1]), atom([1], Fraction(-1, 1000))))
    query = Query(net.graph, net.data, Property(2, 1, (tied,)), Semantics.REAL)
    verdict = verify(query, Options(timeout_s=10.0))
    assert isinstance(verdict, Holds) and verdict.statistics is not None
    assert query.property.inputs == 1 and isinstance(verdict.tree, ClosedTree) and verdict.tree.leaves == 1


@pytest.mark.parametrize("semantics", [Semantics.REAL, Semantics.F32_ANY])
def test_products_of_equal_inputs_are_squares(semantics: Semantics) -> None:
    """X_0 X_1 in [-1, 1]: with X_0 == X_1 it is at most 0 at 0 alone, and never below."""
    net = dense([([[1.0, 0.0]], [0.0])])
    for bound, wanted in (("-0.001", Holds), ("0", Violated)):
        less = atom([0, 1], Fraction(bound))  # the second y-term is the monomial
        tied = case([-1, -1], [1, 1], (atom([], 0, x=[1, -1]), atom([], 0, x=[-1, 1]), less))
        query = Query(net.graph, net.data, Property(2, 1, (tied,), monomials=((0, 1),)), semantics)
        assert query.property.monomials == ((0, 0),)
        verdict = verify(query, Options(timeout_s=10.0, trust=frozenset(["crown"])))
        assert isinstance(verdict, wanted), verdict
        if isinstance(verdict, Violated):
            assert verdict.replay.inputs == (0, 0)


@pytest.mark.parametrize("semantics", [Semantics.REAL, Semantics.F32_ANY])
def test_an_attack_finds_what_lies_on_a_tie(semantics: Semantics) -> None:
    """Ten inputs in two copies; violated where the mean of five is above 3/4, on the ties only."""
    net = dense([([[0.25] * 5], [-1.0]), ([[1.0]], [0.0])])
    parts = [Part(name, net.graph, net.data) for name in "fg"]
    rows = [[Fraction(j == i) - Fraction(j == i + 5) for j in range(10)] for i in range(5)]
    ties = [atom([], 0, x=[sign * v for v in row]) for row in rows for sign in (1, -1)]
    tied = case([0] * 10, [1] * 10, (*ties, atom([-1, -1], Fraction(-1, 4))))
    verdict = verify(Query.of(parts, Property(10, 2, (tied,)), semantics), Options(timeout_s=10.0))
    assert isinstance(verdict, Violated)
    assert verdict.replay.inputs[:5] == verdict.replay.inputs[5:]


def test_an_exported_file_says_which_inputs_are_free() -> None:
    """g(x, z) - f(x) = z, so that it is 1/2 or more is impossible for z up to 1/4, and possible up to 1."""
    for most, wanted in ((Fraction(1, 4), "unsat"), (Fraction(1), "sat")):
        query = Query.of(pair(), Property(3, 2, (swapped([0, 0, 0], [1, 1, most]),)), Semantics.REAL)
        text = export(query, "smt2-lra")
        assert "; 3 inputs, some equal by the property: 2 are free; one by one these are\n; 0 0 1\n" in text
        assert "X_1 " in text and "X_2 " not in text
        solver = z3.Solver(ctx=z3.Context())
        solver.from_string(text)
        assert str(solver.check()) == wanted


SHARED = """(vnnlib-version <2.0>)
(declare-network f (declare-input X_f real [1,2]) (declare-output Y_f real [1,1]))
(declare-network g (declare-input X_g real [1,1]) (declare-output Y_g real [1,1]))
(assert (and (>= X_f[0,0] -1.0) (<= X_f[0,0] 1.0) (>= X_f[0,1] -1.0) (<= X_f[0,1] 0.75)))
(assert (and (>= X_g[0,0] -0.5) (<= X_g[0,0] 1.5) (== X_g[0,0] X_f[0,0])))
(assert (<= (- Y_g[0,0] Y_f[0,0]) {}))
"""


@settings(max_examples=12)
@given(seeds, st.sampled_from([Semantics.REAL, Semantics.F32_ANY]), st.booleans())
def test_networks_that_share_an_input_are_compared_as_exact_rationals_say(
    seed: int, semantics: Semantics, unsafe: bool
) -> None:
    """Is g(x) - f(x, z) <= c for an x in [-1/2, 1] and a z in [-1, 3/4]?  The difference as one network has the exact
    minimum; c lies a margin beside it."""
    rng, margin = np.random.default_rng(seed), Fraction(1, 1024)
    (v, b), (w, c) = f = random_layers(rng, (2, 3, 1))
    (v2, b2), (w2, c2) = g = random_layers(rng, (1, 3, 1))
    first = np.vstack([v2 @ np.array([[1, 0]], np.float32), v]), np.concatenate([b2, b])
    whole = dense([first, (np.hstack([w2, -w]), c2 - c)])
    ends = (Fraction(-1, 2), Fraction(-1)), (Fraction(1), Fraction(3, 4))
    least = minimum(whole.program, *ends, [Fraction(1)], [Fraction(0)] * 2)
    bound = (least * 1024).__floor__() * margin + (3 if unsafe else -2) * margin
    text = SHARED.format(decimal(bound)).encode()
    parts = [Part(name, net.graph, net.data) for name, net in (("f", dense(f)), ("g", dense(g)))]
    query = Query.of(parts, read_document(text).property(), semantics, text)
    assert (query.property.inputs, query.asked.inputs) == (2, 3)
    verdict = verify(query, Options(timeout_s=10.0, certify=True))
    assert isinstance(verdict, Violated if unsafe else Holds), verdict
    assert verdict.certificate is not None
    for kernel in (None, accelerated_kernel()):
        given_as = [(part.name, part.data) for part in parts]
        claim = check(verdict.certificate, given_as, text, semantics=semantics.value, kernel=kernel)
        assert (claim.verdict == "sat") == unsafe
    if isinstance(verdict, Violated):
        x, z, again = verdict.replay.inputs
        assert x == again and Fraction(-1, 2) <= x <= 1 and -1 <= z <= Fraction(3, 4)
        assert semantics is not Semantics.REAL or run_exact(whole.program, [x, z])[0] <= bound
