"""Input sets in the Euclidean norm, certified: both arms, both tiers, and never where something violates."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.checker import container, ellipsoid
from farkas.checker.check import check, load_query
from farkas.checker.errors import CertificateRejected
from farkas.checker.query import query_hash
from farkas.engine import verify as engine
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.verdict import Holds, Reason, Unknown, Verdict, Violated
from farkas.engine.verify import verify
from farkas.ir.core import run_float
from farkas.specs.query import Atom, Case, Property, Semantics
from farkas.specs.vnnlib import read_property
from farkas.specs.vnnlib1_writer import write_property
from tests.engine.test_ball import disc
from tests.nets import Net, affine, dense, random_layers, seeds

REAL, F32 = Semantics.REAL, Semantics.F32_ANY
small = st.integers(-12, 12).map(lambda n: Fraction(n, 10))
BENT = dense([([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], [0.0] * 4), ([[1.0, 1.0, 1.0, -1.0]], [0.0])])


def asked(net: Net, cases: Sequence[Case], semantics: Semantics) -> Query:
    """The query as a file states it."""
    n = net.program.input_size
    prop = Property(n, net.program.output_size, tuple(cases), monomials=tuple((i, i) for i in range(n)))
    text = write_property(prop).encode()
    return Query(net.graph, net.data, read_property(text), semantics, text)


def box(net: Net, reach: int, *disjuncts: tuple[Atom, ...]) -> Case:
    n = net.program.input_size
    return Case((Fraction(-reach),) * n, (Fraction(reach),) * n, disjuncts)


def certified(query: Query, **options: object) -> Verdict:
    """The verdict; the checker's exact tier accepts its certificate, and not that of the other verdict."""
    verdict = verify(query, Options(timeout_s=20.0, certify=True, **options))  # type: ignore[arg-type]
    if isinstance(verdict, Holds | Violated):
        assert verdict.certificate is not None, str(verdict)
        word = "unsat" if isinstance(verdict, Holds) else "sat"
        semantics = query.semantics.value
        check(verdict.certificate, query.network, query.property_bytes, semantics=semantics, verdict=word)
    return verdict


@pytest.mark.parametrize("engine", ["relu-splitting", "input-splitting"])
@pytest.mark.parametrize("semantics", [REAL, F32], ids=["real", "f32-any"])
def test_either_arm_certifies_up_to_where_a_plane_touches_the_disc(engine: str, semantics: Semantics) -> None:
    """|x_0| + x_1 over the unit disc is largest at 45 degrees: the square root of 2, in two pieces."""
    ball = disc([Fraction(0)] * 2, Fraction(1), 1)
    for limit, expected in (("1.4143", Holds), ("1.4142", Violated)):
        unsafe = Atom((), ((0, Fraction(-1)),), -Fraction(limit))
        verdict = certified(asked(BENT, [box(BENT, 2, (ball, unsafe))], semantics), engines=frozenset({engine}))
        assert isinstance(verdict, expected), str(verdict)
        if isinstance(verdict, Holds) and verdict.certificate is not None:
            assert verdict.evidence == "certified"
            assert container.decode(verdict.certificate)[0].kernel in container.CURVED


@given(
    st.lists(small, min_size=3, max_size=3),
    st.integers(1, 30),
    st.lists(st.sampled_from([1, 3, 10]), min_size=3, max_size=3),
    st.booleans(),
)
def test_the_engine_s_root_boxes_are_the_checker_s(
    centre: list[Fraction], tenths: int, weights: list[int], rounded: bool
) -> None:
    net, unsafe = affine([[1.0, 0.0, 0.0]]), Atom((), ((0, Fraction(1)),), Fraction(0))
    ball = disc(centre, Fraction(tenths, 10), 1, weights)
    query = asked(net, [box(net, 2, (ball, unsafe))], F32 if rounded else REAL)
    theirs, _, _ = load_query(net.data, query.property_bytes, query.semantics.value)
    found, whole = ellipsoid.ball_of(theirs.cases[0]), theirs.boxes[0]
    assert found is not None and whole is not None
    cut = ellipsoid.cut(whole, found)
    (family,) = query.families
    assert (family.lower[0] * 2.0**32).tolist() == list(cut.lower)
    assert (family.upper[0] * 2.0**32).tolist() == list(cut.upper)


def test_cases_and_disjuncts_with_balls_of_their_own_are_certified_together() -> None:
    """y = x_0 + x_1: the disc of radius 1 reaches sqrt(2), that of radius 2 reaches 2 sqrt(2); atoms in any order."""
    net = affine([[1.0, 1.0]])
    one, two = (disc([Fraction(0)] * 2, Fraction(r), 1) for r in (1, 2))

    def above(limit: str) -> Atom:
        return Atom((), ((0, Fraction(-1)),), -Fraction(limit))

    within, wider = box(net, 3, (above("1.42"), one)), box(net, 4, (above("2.83"), two), (two, above("2.9")))
    mixed = box(net, 5, (one, above("2.83")), (above("2.83"), two))
    unbounded = box(net, 1, (above("2.5"),))
    for cases, expected in (
        ([within, wider, mixed, unbounded], Holds),
        ([within, box(net, 4, (above("2.82"), two))], Violated),
        ([wider, box(net, 5, (one, above("2.83")), (above("2.82"), two))], Violated),
        ([within, box(net, 1, (above("1.99"),))], Violated),
    ):
        for semantics in (REAL, F32):
            assert isinstance(certified(asked(net, cases, semantics)), expected)


@given(seeds, st.lists(small, min_size=2, max_size=2), st.integers(1, 12), st.booleans())
def test_what_points_of_the_ball_reach_is_never_certified(
    seed: int, centre: list[Fraction], eighths: int, rounded: bool
) -> None:
    rng = np.random.default_rng(seed)
    net, radius = dense(random_layers(rng, (2, 4, 3, 1))), Fraction(eighths, 8)
    ball = disc(centre, radius, 1)
    point = [
        m + radius * Fraction(t)
        for m, t in zip(centre, rng.choice([(0.6, 0.8), (-0.8, 0.6), (0.5, -0.5), (0.0, 0.0)]), strict=True)
    ]
    point = [Fraction(float(np.float32(float(v)))) for v in point]
    if sum((v - m) ** 2 for v, m in zip(point, centre, strict=True)) > radius**2:
        return  # rounded out of the ball
    value = float(run_float(net.program, np.array([[float(v) for v in point]]))[net.program.output][0, 0])
    # The point reaches it in any order of summation: what binary32 rounds is far less.
    reached = Atom((), ((0, Fraction(1)),), Fraction(value + 1e-4 * (10 + abs(value))))
    verdict = certified(asked(net, [box(net, 4, (ball, reached))], F32 if rounded else REAL))
    assert not isinstance(verdict, Holds)


def test_other_products_beside_the_ball_still_need_trust() -> None:
    net = affine([[1.0, 1.0]])
    ball, unsafe = disc([Fraction(0)] * 2, Fraction(1), 1), Atom((), ((0, Fraction(-1)),), -Fraction("1.5"))
    other = Atom((), ((1, Fraction(-1)),), Fraction(-4))  # x_0^2 >= 4
    query = asked(net, [box(net, 3, (ball, unsafe, other))], REAL)
    verdict = verify(query, Options(timeout_s=10.0))
    assert isinstance(verdict, Unknown) and verdict.reason is Reason.UNCERTIFIED and "--trust crown" in verdict.detail
    assert isinstance(verify(query, Options(timeout_s=10.0, trust=frozenset({"crown"}))), Holds)
    late = verify(query, Options(timeout_s=10.0, trust=frozenset({"crown"}), certify=True))
    assert isinstance(late, Unknown) and "ellipsoids of inputs only" in late.detail


def test_a_ball_in_fifty_dimensions_is_certified_next_to_its_edge() -> None:
    n, radius = 50, Fraction(1, 2)
    row = [3.0, 4.0, 12.0] + [0.0] * (n - 3)
    centre = [Fraction(i % 7, 10) for i in range(n)]
    largest = sum((Fraction(a) * m for a, m in zip(row, centre, strict=True)), Fraction(0)) + 13 * radius
    net = affine([row])
    for far, expected in ((Fraction(1, 10**5), Holds), (-Fraction(1, 10**4), Violated)):
        unsafe = Atom((), ((0, Fraction(-1)),), -(largest + far))
        assert isinstance(certified(asked(net, [box(net, 9, (disc(centre, radius, 1), unsafe))], REAL)), expected)


def test_a_solver_s_word_does_not_end_the_search_for_a_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Next to the root of 2 the ladder knows the answer long before boxes do: they go on until time is over."""
    monkeypatch.setattr(engine, "FIRST_CLIMB_S", 0.0)
    monkeypatch.setattr(engine, "CLIMB_SHARE", 1e6)
    ball, unsafe = disc([Fraction(0)] * 2, Fraction(1), 1), Atom((), ((0, Fraction(-1)),), -Fraction("1.4142136"))
    options = Options(timeout_s=1.5, certify=True, engines=frozenset({"input-splitting", "lra"}))
    verdict = verify(asked(BENT, [box(BENT, 2, (ball, unsafe))], REAL), options)
    assert isinstance(verdict, Holds) or (verdict.statistics is not None and verdict.statistics.time_s > 1.2)


def test_a_ball_beside_the_box_is_certified_empty() -> None:
    """Centre (5, 5) and a box up to 1: the corner is 4 sqrt(2) = 5.66 away."""
    net = affine([[1.0, 1.0]])
    for radius, expected in ((5, Holds), (6, Violated)):
        ball = disc([Fraction(5)] * 2, Fraction(radius), 1)
        always = Atom((), ((0, Fraction(1)),), Fraction(100))
        assert isinstance(certified(asked(net, [box(net, 1, (ball, always))], REAL)), expected)


def test_a_certificate_is_bound_to_its_radius() -> None:
    ball, unsafe = disc([Fraction(0)] * 2, Fraction(1), 1), Atom((), ((0, Fraction(-1)),), -Fraction(2))
    verdict = certified(asked(BENT, [box(BENT, 2, (ball, unsafe))], REAL))
    assert isinstance(verdict, Holds) and verdict.certificate is not None
    wider = asked(BENT, [box(BENT, 2, (replace(ball, c=Fraction(3, 2)), unsafe))], REAL)
    header, payloads = container.decode(verdict.certificate)
    theirs, _, _ = load_query(BENT.data, wider.property_bytes, "real")
    frames = [(kind, payloads[kind]) for kind in container.FRAMES[header.kernel, "unsat"]]
    forged = replace(header, property=hashlib.sha256(wider.property_bytes).hexdigest())
    for digest, good in ((header.query, False), (query_hash(theirs), True)):  # the wider disc is safe as well: 1.74 < 2
        data = container.encode(replace(forged, query=digest), frames)
        try:
            check(data, BENT.data, wider.property_bytes, semantics="real")
        except CertificateRejected as error:
            assert not good and "query is" in str(error)
        else:
            assert good
