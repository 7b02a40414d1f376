"""Ellipsoids of inputs: what is derived from an atom holds at every point of it, and no false claim is accepted."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import isqrt, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.checker import container, ellipsoid
from farkas.checker.check import check
from farkas.checker.errors import CertificateRejected
from farkas.checker.kernel import Reference
from farkas.checker.query import Atom, Ball, Box, Case, F, H, K, S, bisect
from farkas.checker.tree import Kind, claim_of
from farkas.checker_fast.kernel import Accelerated
from tests.checker.nets import Claim, Layer, Script, assemble, assemble_script, decimal, dense, run_exactly

Q = Fraction
UNIT = Q(1, 1 << H)
small = st.integers(-40, 40).map(lambda n: Q(n, 10))
positive = st.sampled_from([Q(1), Q(2), Q(1, 3), Q(7, 5), Q(10)])
shares = st.integers(-1000, 1000).map(lambda n: Q(n, 1000))


def directions(parts: Sequence[Fraction]) -> list[Fraction]:
    """A rational point of the unit sphere (stereographic projection), one coordinate more than `parts`."""
    square = sum((p * p for p in parts), Q(0))
    return [*(2 * p / (square + 1) for p in parts), (square - 1) / (square + 1)]


def quadratic(squares: Sequence[Fraction], linear: Sequence[Fraction], c: Fraction, strict: bool = False) -> Atom:
    products = tuple(((2 * i, 2 * i), q) for i, q in enumerate(squares) if q)
    return Atom(tuple((i, b) for i, b in enumerate(linear) if b), (), c, strict, products)


def case_of(*disjuncts: Sequence[Atom], inputs: int = 2, reach: int = 9) -> Case:
    return Case((Q(-reach),) * inputs, (Q(reach),) * inputs, tuple(map(tuple, disjuncts)))


def norm(ball: Ball, x: Sequence[Fraction]) -> Fraction:
    """Of a point, in units of 1: at most 1 inside."""
    parts = zip(x, ball.centre, ball.axes, strict=True)
    return sum((((v / UNIT - m) / r) ** 2 for v, m, r in parts if r), Q(0))


# What is found in a case ---------------------------------------------------------------------------------------------


@given(st.lists(positive, min_size=3, max_size=3), st.lists(small, min_size=3, max_size=3), st.data())
def test_every_point_of_the_atom_lies_in_the_ball(
    squares: list[Fraction], middle: list[Fraction], data: st.DataObject
) -> None:
    """Points on the very edge: q_i (x_i - m_i)^2 sums to R^2 where x_i = m_i + R d_i root_i / q_i, roots rational."""
    roots = [data.draw(st.integers(1, 30).map(lambda n: Q(n, 7))) for _ in squares]
    squares = [root * root for root in roots]
    radius = data.draw(st.sampled_from([Q(0), Q(1, 10**9), Q(1, 3), Q(5, 2)]))
    d = directions([data.draw(shares), data.draw(shares)])
    c = radius**2 - sum((q * m * m for q, m in zip(squares, middle, strict=True)), Q(0))
    ball = ellipsoid.ball_of(
        case_of([quadratic(squares, [-2 * q * m for q, m in zip(squares, middle, strict=True)], c)], inputs=3)
    )
    assert ball is not None
    assert norm(ball, [m + radius * t / root for m, t, root in zip(middle, d, roots, strict=True)]) <= 1
    for i, (m, root) in enumerate(zip(middle, roots, strict=True)):
        assert 0 <= m / UNIT - ball.centre[i] < 1
        slack = 2 + sum(roots) / root  # of two roots rounded up, and of the centre
        assert radius / root / UNIT <= ball.axes[i] <= radius / root / UNIT + slack


def test_the_centre_s_rounding_lengthens_the_axes() -> None:
    """A ball of radius 0 about a point between two units: the point is in, and in binary32's sense nothing else."""
    m = Q(1, 3)
    ball = ellipsoid.ball_of(case_of([quadratic([Q(1), Q(1)], [-2 * m, -2 * m], -2 * m * m)]))
    assert ball is not None and norm(ball, [m, m]) <= 1 and max(ball.axes) <= 3


def test_only_an_atom_of_every_disjunct_that_is_an_ellipsoid_counts() -> None:
    disc = quadratic([Q(1), Q(4)], [Q(0), Q(0)], Q(4))
    plane = Atom((), ((0, Q(1)),), Q(0), False)
    assert ellipsoid.ball_of(case_of([disc, plane])) == Ball((0, 0), (2 << H, 1 << H))
    assert ellipsoid.ball_of(case_of([plane, disc], [disc])) == Ball((0, 0), (2 << H, 1 << H))
    one_axis = quadratic([Q(1), Q(0)], [Q(0), Q(0)], Q(4))
    assert ellipsoid.ball_of(case_of([one_axis])) == Ball((0, 0), (2 << H, 0))
    nothing = [
        replace(disc, y=((0, Q(1)),)),
        replace(disc, products=(((0, 0), Q(1)), ((2, 2), Q(-1)))),
        replace(disc, products=(((0, 0), Q(1)), ((0, 2), Q(1)))),
        replace(disc, products=(((0, 0), Q(1)), ((1, 1), Q(1)))),
        replace(disc, products=(((0, 0, 0), Q(1)),)),
        replace(one_axis, x=((1, Q(1)),)),
        replace(disc, products=()),
    ]
    for atom in nothing:
        assert ellipsoid.ball_of(case_of([atom])) is None
        assert ellipsoid.ball_of(case_of([atom, disc])) == Ball((0, 0), (2 << H, 1 << H))
    assert ellipsoid.ball_of(case_of([disc], [plane])) is None
    assert ellipsoid.ball_of(case_of([disc], [replace(disc, x=((0, Q(1)),))])) is None
    assert ellipsoid.ball_of(case_of()) is None


def test_of_several_disjuncts_the_widest_ball_holds_all_and_in_one_the_narrowest() -> None:
    disc = quadratic([Q(1), Q(1)], [Q(0), Q(0)], Q(1))
    two, three = replace(disc, c=Q(4), strict=True), replace(disc, c=Q(9))
    assert ellipsoid.ball_of(case_of([disc], [three, two])) == Ball((0, 0), (2 << H, 2 << H))
    assert ellipsoid.ball_of(case_of([three], [disc])) == Ball((0, 0), (3 << H, 3 << H))
    assert ellipsoid.ball_of(case_of([replace(disc, c=Q(-1))])) == Ball((0, 0), (1, 1))


@given(st.fractions(min_value=0, max_value=10**6, max_denominator=10**6))
def test_roots_are_the_least_that_are_large_enough(value: Fraction) -> None:
    root = ellipsoid.root_up(value)
    assert root * root >= value and (root == 0 or (root - 1) ** 2 < value)


# Boxes ---------------------------------------------------------------------------------------------------------------

ends = st.integers(-60, 60)
balls = st.builds(
    lambda m, r: Ball(tuple(m), (max(1, r[0]), *r[1:])),
    st.lists(ends, min_size=2, max_size=2), st.lists(st.integers(0, 40), min_size=2, max_size=2),
)  # fmt: skip
boxes = st.builds(
    lambda a, b: Box(tuple(map(min, a, b)), tuple(map(max, a, b))),
    st.lists(ends, min_size=2, max_size=2), st.lists(ends, min_size=2, max_size=2),
)  # fmt: skip


def points(box: Box, ball: Ball) -> list[tuple[int, int]]:
    """The whole numbers of units of the box in the ball, in two dimensions."""
    found = []
    for x in range(box.lower[0], box.upper[0] + 1):
        for y in range(box.lower[1], box.upper[1] + 1):
            if sum(Q((v - m) ** 2, r * r) for v, m, r in zip((x, y), ball.centre, ball.axes, strict=True) if r) <= 1:
                found.append((x, y))
    return found


@given(boxes, balls)
def test_cutting_a_box_loses_no_point_and_a_box_that_misses_holds_none(box: Box, ball: Ball) -> None:
    inside = points(box, ball)
    cut = ellipsoid.cut(box, ball)
    assert cut.ball == ball and points(cut, ball) == inside
    if inside:
        assert not ellipsoid.misses(cut) and not ellipsoid.misses(replace(box, ball=ball))
    else:
        nearest = [max(0, lo - m, m - hi) for lo, hi, m in zip(box.lower, box.upper, ball.centre, strict=True)]
        far = sum(Q(d * d, r * r) for d, r in zip(nearest, ball.axes, strict=True) if r)
        assert ellipsoid.misses(replace(box, ball=ball)) == (far > 1 + Q(2, 1 << 40)) or far <= 1 + Q(2, 1 << 40)
    assert not ellipsoid.misses(box)


def test_a_box_is_cut_to_the_very_ends_and_stays_as_it_is_beside() -> None:
    ball = Ball((10, 0), (5, 0))
    assert ellipsoid.cut(Box((0, -9), (20, 9)), ball) == Box((5, -9), (15, 9), ball)
    assert ellipsoid.cut(Box((7, -9), (12, 9)), ball) == Box((7, -9), (12, 9), ball)
    assert ellipsoid.cut(Box((16, -9), (20, 9)), ball) == Box((16, -9), (20, 9), ball)
    assert ellipsoid.misses(Box((16, -9), (20, 9), ball)) and not ellipsoid.misses(Box((15, -9), (20, 9), ball))
    assert ellipsoid.misses(Box((0, -9), (4, 9), ball)) and not ellipsoid.misses(Box((0, -9), (5, 9), ball))
    halves = bisect(Box((0, 0), (20, 9), ball), 0, False)
    assert halves is not None and [half.ball for half in halves] == [ball, ball]


# Rows ----------------------------------------------------------------------------------------------------------------


@given(boxes, balls, st.lists(st.integers(-(1 << 45), 1 << 45), min_size=2, max_size=2))
def test_no_row_is_bounded_above_its_minimum_over_few_points(box: Box, ball: Ball, row: list[int]) -> None:
    bound = ellipsoid.least(row, box, ball)
    for x in points(box, ball):
        assert Q(bound, 1 << K) <= Q(sum(c * v for c, v in zip(row, x, strict=True)), 1 << (F + S + H))


@given(
    st.integers(1, 12), st.integers(0, 2**32 - 1), st.sampled_from([20, 30, 34, 50, 80]), st.sampled_from([8, 31, 60])
)
def test_rows_are_bounded_below_and_near_their_minimum(inputs: int, seed: int, large: int, axis: int) -> None:
    """Over the ball alone the minimum is row . centre - sqrt(sum (row_i axis_i)^2), compared by squares."""
    rng = random.Random(seed)
    ball = Ball(tuple(rng.randrange(-(1 << 33), 1 << 33) for _ in range(inputs)),
                tuple(rng.randint(1, 1 << axis) for _ in range(inputs)))  # fmt: skip
    row = [rng.choice((0, 1, -1, rng.randrange(-(1 << large), 1 << large))) for _ in range(inputs)]
    box = ellipsoid.cut(Box((-(1 << 200),) * inputs, (1 << 200,) * inputs), ball)
    bound = ellipsoid.least(row, box, ball) << (F + S + H - K)
    middle = sum(c * m for c, m in zip(row, ball.centre, strict=True))
    squares = sum((c * r) ** 2 for c, r in zip(row, ball.axes, strict=True))
    assert bound <= middle and (middle - bound) ** 2 >= squares
    most = (isqrt(squares) + 1) * (1 + Q(inputs, 1 << 18)) + (3 << (F + S + H - K))
    assert middle - bound <= most


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_ends_on_the_near_side_of_the_centre_count(seed: int, inputs: int) -> None:
    """A box from the centre on: growing inputs have their minimum there, and it is exact."""
    rng = random.Random(seed)
    centre = tuple(rng.randrange(1 << 20) for _ in range(inputs))
    ball = Ball(centre, (1 << 16,) * inputs)
    row = [rng.randrange(1 << 40) for _ in range(inputs)]
    box = Box(centre, tuple(m + (1 << 16) for m in centre), ball)
    exact = sum(c * m for c, m in zip(row, centre, strict=True))
    assert ellipsoid.least(row, box, ball) == exact >> (F + S + H - K)
    mirrored = Box(tuple(m - (1 << 16) for m in centre), centre, ball)
    assert ellipsoid.least([-c for c in row], mirrored, ball) == -exact >> (F + S + H - K)


def test_free_inputs_have_their_minimum_over_the_box() -> None:
    scale = 1 << (F + S)
    ball = Ball((0, 0), (2 << H, 0))
    box = Box((-3 << H, -5 << H), (3 << H, 7 << H), ball)
    assert ellipsoid.least([scale, scale], box, ball) == -7 << K
    assert ellipsoid.least([scale, -scale], box, ball) == -9 << K
    assert ellipsoid.least([-scale, 0], box, ball) == -2 << K


# Certificates --------------------------------------------------------------------------------------------------------

# y = |x_0| + x_1: over the unit disc its largest value is the square root of 2, on one piece of two.
LAYERS: list[Layer] = [
    ([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], [0.0] * 4),
    ([[1.0, 1.0, 1.0, -1.0]], [0.0]),
]


def disc_property(unsafe: str, ball: str = "(<= (+ (* X_0 X_0) (* X_1 X_1)) 1)", reach: int = 2) -> bytes:
    lines = ["(declare-const X_0 Real)", "(declare-const X_1 Real)", "(declare-const Y_0 Real)"]
    lines += [f"(assert (>= X_{i} {-reach})) (assert (<= X_{i} {reach}))" for i in (0, 1)]
    return "\n".join([*lines, f"(assert {ball})", f"(assert {unsafe})", ""]).encode()


def asked(unsafe: str, semantics: str = "real", layers: Sequence[Layer] = LAYERS, **options: object) -> Claim:
    return Claim(dense(layers), disc_property(unsafe, **options), semantics)  # type: ignore[arg-type]


def named(certificate: bytes, kernel: str) -> bytes:
    """The certificate under another rule."""
    header, payloads = container.decode(certificate)
    frames = [(kind, payloads[kind]) for kind in container.FRAMES[header.kernel, header.verdict]]
    return container.encode(replace(header, kernel=kernel), frames)


def accepts(certificate: bytes, c: Claim, *, fast: bool = False) -> bool:
    try:
        check(certificate, c.network, c.prop, semantics=c.semantics, kernel=Accelerated() if fast else Reference())
    except CertificateRejected:
        return False
    return True


def on_both_tiers(certificate: bytes, c: Claim) -> bool:
    answers = {accepts(certificate, c), accepts(certificate, c, fast=True)}
    assert len(answers) == 1
    return answers.pop()


def grown(c: Claim, kinds: Sequence[Kind], depth: int, rules: tuple[int, ...] = (0,)) -> bytes:
    """A certificate of crown-fp-3 by bisection of the widest input; at `depth` leaves stay open."""
    query = c.query()
    prover = Reference().prepare(query.network, query.rounded, rules)
    opcodes: list[int] = []
    for case, root in zip(query.cases, query.boxes, strict=True):
        ball = ellipsoid.ball_of(case)
        assert root is not None and ball is not None
        stack = [(ellipsoid.cut(root, ball), prover.start(1), 0)]
        while stack:
            box, parent, level = stack.pop()
            state = prover.derive(parent, [box])
            fits = (
                k
                for k, kind in enumerate(kinds)
                if ellipsoid.misses(box) or prover.close(state, [0], [claim_of(kind, case)])[0]
            )
            good = next(fits, None)
            widest = max(range(len(box.lower)), key=lambda i: box.upper[i] - box.lower[i])
            halves = bisect(box, widest, query.rounded) if level < depth and good is None else None
            if halves is None:
                opcodes.append(len(box.lower) + (good or 0))
            else:
                opcodes.append(widest)
                stack += [(halves[1], state, level + 1), (halves[0], state, level + 1)]
    return named(assemble(c, opcodes, kinds, rules), container.CROWN_3)


ROW: list[Kind] = [((0, ((1, 1),)),)]


@pytest.mark.parametrize("semantics", ["real", "f32-any"])
def test_a_disc_is_certified_up_to_its_edge_and_not_beyond(semantics: str) -> None:
    c = asked("(>= Y_0 1.4145)", semantics)
    certificate = grown(c, ROW, 24)
    assert on_both_tiers(certificate, c)
    beyond = asked("(>= Y_0 1.4142)", semantics)
    assert not on_both_tiers(grown(beyond, ROW, 12), beyond)
    assert not on_both_tiers(named(certificate, container.CROWN_1), c)


def test_an_atom_with_products_proves_nothing_by_itself() -> None:
    """Not even where it is false in the whole box."""
    c = asked("(<= Y_0 -100)", ball="(<= (+ (* X_0 X_0) (* X_1 X_1)) -1)")
    own: list[Kind] = [((0, ((0, 1),)),)]
    for kernel in (container.CROWN_1, container.CROWN_3):
        assert not on_both_tiers(named(assemble(c, [2], own), kernel), c)
        assert on_both_tiers(named(assemble(c, [2], ROW), kernel), c)


def test_leaves_beside_the_ball_close_whatever_they_claim() -> None:
    """The unit disc about (5, 5) and a box up to 4: a corner at distance sqrt(2) from its centre."""
    ball = "(<= (+ (* X_0 X_0) (* -10 X_0) (* X_1 X_1) (* -10 X_1)) -49)"
    nothing: list[Kind] = [((0, ()),)]
    c = asked("(<= Y_0 100)", ball=ball, reach=4)
    assert on_both_tiers(named(assemble(c, [2], nothing), container.CROWN_3), c)
    assert not on_both_tiers(assemble(c, [2], nothing), c)
    touching = asked("(<= Y_0 100)", ball=ball.replace("-49", "-48"), reach=4)  # the radius is sqrt(2)
    assert not on_both_tiers(named(assemble(touching, [2], nothing), container.CROWN_3), touching)
    assert not on_both_tiers(grown(touching, ROW, 6), touching)


def test_the_rule_with_plans_knows_the_ball_as_well() -> None:
    layers: list[Layer] = [
        ([[1.0, 1.0], [1.0, 1.0]], [3.0, 3.0]),
        ([[1.0, 0.0]], [0.0]),
    ]  # never below zero on the disc
    script = Script([2 + 2], ROW)
    for limit, good in (("4.4143", True), ("4.4142", False)):
        c = asked(f"(>= Y_0 {limit})", layers=layers)
        plain = assemble_script(c, script)
        assert not on_both_tiers(plain, c)
        assert on_both_tiers(named(plain, container.CROWN_4), c) == good


def test_certificates_of_properties_without_products_stand_under_either_name() -> None:
    c = Claim(dense(LAYERS), disc_property("(>= Y_0 4.5)", ball="(<= X_0 1)"), "real")
    plain = assemble(c, [2], [((0, ((0, 1),)),)])
    assert on_both_tiers(plain, c) and on_both_tiers(named(plain, container.CROWN_3), c)


def number(rng: random.Random) -> float:
    return rng.randint(-8, 8) / 4


def lattice(limit: int = 9) -> list[tuple[Fraction, Fraction]]:
    """Points of the unit disc that binary32 holds, the ones on its edge among them."""
    parts = [Q(n, 8) for n in range(-limit + 1, limit)]
    pairs = [(x, y) for x in parts for y in parts if x * x + y * y <= 1]
    near = [Q(np.float32(sqrt(0.5)).item()), Q(float(np.nextafter(np.float32(sqrt(0.5)), np.float32(0))))]
    return pairs + [(s * a, t * a) for a in near for s in (1, -1) for t in (1, -1) if 2 * a * a <= 1]


@pytest.mark.parametrize("semantics", ["real", "f32-any"])
def test_no_false_claim_is_accepted(semantics: str) -> None:
    """Random networks over the disc: what a point reaches, however deep the tree, is never refuted."""
    rng, inside = random.Random(5), lattice()
    for _ in range(8):
        hidden = rng.randint(1, 3)
        layers: list[Layer] = [
            ([[number(rng), number(rng)] for _ in range(hidden)], [number(rng) for _ in range(hidden)]),
            ([[number(rng) for _ in range(hidden)]], [number(rng)]),
        ]
        lowest = min(run_exactly(layers, x)[-1][0] for x in inside)
        c = asked(f"(<= Y_0 {decimal(lowest)})", semantics, layers)
        kinds: list[Kind] = [((rule, ((1, 1),)),) for rule in (0, 1, 2)]
        assert not on_both_tiers(grown(c, kinds, 7), c)
        strict = asked(f"(< Y_0 {decimal(lowest + Q(1, 1 << 20))})", semantics, layers)
        assert not on_both_tiers(grown(strict, kinds, 7), strict)


def test_a_linear_minimum_on_the_edge_is_met_to_the_last_units() -> None:
    """Of 3 x_0 + 4 x_1 over the disc of radius 1/2 it is -5/2: the threshold at which claims turn false is found."""
    layers: list[Layer] = [([[3.0, 4.0]], [0.0])]
    ball = "(<= (+ (* X_0 X_0) (* X_1 X_1)) 0.25)"
    for far, good in ((Q(0), False), (Q(1, 1 << 39), False), (-Q(1, 1 << 20), True)):
        c = asked(f"(<= Y_0 {decimal(Q(-5, 2) + far)})", layers=layers, ball=ball)
        assert on_both_tiers(named(assemble(c, [2], ROW), container.CROWN_3), c) == good


@pytest.mark.parametrize("factor", ["X_0 X_1", "X_0 X_0 X_0", "X_0 Y_0", "Y_0 Y_0"])
def test_of_other_products_nothing_is_used(factor: str) -> None:
    c = asked("(<= Y_0 -100)", ball=f"(<= (* {factor}) -100)")
    assert on_both_tiers(named(assemble(c, [2], ROW), container.CROWN_3), c)
    claimed: list[Kind] = [((0, ((0, 1),)),)]
    assert not on_both_tiers(named(assemble(c, [2], claimed), container.CROWN_3), c)


@given(st.integers(0, 2**32 - 1))
def test_convex_bounds_of_random_ellipsoids_are_below_values_at_their_points(seed: int) -> None:
    """From the atom to the bound: rational points of the ellipsoid, exact values."""
    rng = random.Random(seed)
    roots = [Q(rng.randint(1, 9), rng.randint(1, 9)) for _ in range(2)]
    middle = [Q(rng.randint(-9, 9), rng.randint(1, 9)) for _ in range(2)]
    radius, reach = Q(rng.randint(1, 9), rng.randint(1, 9)), rng.randint(1, 20)
    squares = [root * root for root in roots]
    c = radius**2 - sum((q * m * m for q, m in zip(squares, middle, strict=True)), Q(0))
    case = case_of([quadratic(squares, [-2 * q * m for q, m in zip(squares, middle, strict=True)], c)])
    ball = ellipsoid.ball_of(case)
    assert ball is not None
    box = ellipsoid.cut(Box((-reach << H,) * 2, (reach << H,) * 2), ball)
    row = [rng.randrange(-(1 << 34), 1 << 34) for _ in range(2)]
    bound = Q(ellipsoid.least(row, box, ball), 1 << K)
    for _ in range(5):
        d = directions([Q(rng.randint(-999, 999), 500)])
        x = [m + radius * t / root for m, t, root in zip(middle, d, roots, strict=True)]
        if any(abs(v) > reach for v in x):
            continue
        assert all(lo <= v / UNIT <= hi for lo, hi, v in zip(box.lower, box.upper, x, strict=True))
        assert bound <= sum(a * v for a, v in zip(row, x, strict=True)) / (1 << (F + S))
