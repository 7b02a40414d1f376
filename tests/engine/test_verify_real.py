"""Verdicts over the reals against an exact decision procedure, and what must not change them."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.engine.verdict import Holds, Unknown, Violated
from farkas.ir.core import run_exact
from farkas.specs.query import Atom, Case, Semantics
from tests.engine.deciding import check_real, decided, is_unsafe, moved, random_cases
from tests.engine.pieces import minimum, witness
from tests.nets import EXACT_SHAPES, Box, Net, affine, atom, boxes, case, dense, random_layers, seeds, varied

shapes = st.sampled_from(EXACT_SHAPES)
UNIT: Box = ((Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1)))


@settings(max_examples=200)
@given(seeds, shapes, boxes(2), st.booleans())
def test_verdicts_are_those_of_exact_enumeration(seed: int, shape: str, box: Box, conjunctive: bool) -> None:
    rng = np.random.default_rng(seed)
    net = varied(rng, shape)
    check_real(net, random_cases(rng, net.program, box, conjunctive))


@settings(max_examples=100)
@given(seeds, st.integers(1, 4), boxes(1))
def test_verdicts_about_deep_networks_of_one_input_are_exact(seed: int, depth: int, box: Box) -> None:
    rng = np.random.default_rng(seed)
    net = dense(random_layers(rng, (1, *(3,) * depth, 2)))
    check_real(net, random_cases(rng, net.program, box, bool(rng.random() < 0.5)))


def test_random_properties_come_out_both_ways() -> None:
    """Guards the two tests above against properties that all say the same."""
    words: Counter[str] = Counter()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        net = varied(rng, EXACT_SHAPES[seed % len(EXACT_SHAPES)])
        words[check_real(net, random_cases(rng, net.program, UNIT, seed % 2 == 0))] += 1
    assert words["sat"] >= 10 and words["unsat"] >= 10


@given(seeds, shapes, boxes(2), st.sampled_from([Fraction(1, 2**12), Fraction(1, 2**6)]))
def test_thresholds_next_to_the_exact_minimum_are_decided(seed: int, shape: str, box: Box, gap: Fraction) -> None:
    """min(row) > c is unsat and min(row) <= c is sat, with c a 4096th off the minimum."""
    net = varied(np.random.default_rng(seed), shape)
    row = [Fraction(1), Fraction(-2)]
    least = minimum(net.program, *box, row, ())
    assert isinstance(decided(net, [case(*box, [atom(row, least - gap)])]), Holds)
    assert isinstance(decided(net, [case(*box, [atom(row, least + gap)])]), Violated)


@settings(max_examples=15)
@given(seeds, shapes, boxes(2))
def test_the_exact_minimum_itself_is_no_unsat(seed: int, shape: str, box: Box) -> None:
    """row <= min is satisfied at the minimum, wherever that lies; row < min is not."""
    net = varied(np.random.default_rng(seed), shape)
    row = [Fraction(1), Fraction(1)]
    least = minimum(net.program, *box, row, ())
    assert not isinstance(decided(net, [case(*box, [atom(row, least)])], timeout_s=0.2), Holds)
    assert not isinstance(decided(net, [case(*box, [atom(row, least, strict=True)])], timeout_s=0.2), Violated)


# Metamorphic ---------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(seeds, boxes(2), st.booleans())
def test_permuting_hidden_neurons_and_scaling_relus_keep_the_verdict(seed: int, box: Box, conjunctive: bool) -> None:
    """relu(2 z) / 2 = relu(z); powers of two are exact."""
    rng = np.random.default_rng(seed)
    layers = random_layers(rng, (2, 5, 4, 2))
    order = [rng.permutation(5), rng.permutation(4)]
    scales = [2.0 ** rng.integers(-2, 3, 5), 2.0 ** rng.integers(-2, 3, 4)]
    (w0, b0), (w1, b1), (w2, b2) = layers
    changed = [
        ((w0 * scales[0][:, None])[order[0]], (b0 * scales[0])[order[0]]),
        ((w1 / scales[0] * scales[1][:, None])[:, order[0]][order[1]], (b1 * scales[1])[order[1]]),
        ((w2 / scales[1])[:, order[1]], b2),
    ]
    net, other = dense(layers), dense(changed)
    cases = random_cases(rng, net.program, box, conjunctive)
    words = {decided(net, cases).word, decided(other, cases).word}
    assert len(words) == 1 or is_tight(net, cases)


def is_tight(net: Net, cases: list[Case]) -> bool:
    """Whether the exact answer turns when the thresholds move by a thousandth."""
    return is_unsafe(net.program, moved(cases, Fraction(1, 1000))) != is_unsafe(
        net.program, moved(cases, Fraction(-1, 1000))
    )


@settings(max_examples=30)
@given(seeds, shapes, boxes(2), st.integers(0, 1), st.integers(1, 15))
def test_splitting_a_box_in_two_keeps_the_verdict(seed: int, shape: str, box: Box, d: int, at: int) -> None:
    rng = np.random.default_rng(seed)
    net = varied(rng, shape)
    cases = random_cases(rng, net.program, box, False)
    cut = [c.lower[d] + (c.upper[d] - c.lower[d]) * Fraction(at, 16) for c in cases]
    halves = [
        Case(replaced(c.lower, d, low), replaced(c.upper, d, high), c.disjuncts)
        for c, middle in zip(cases, cut, strict=True)
        for low, high in ((c.lower[d], middle), (middle, c.upper[d]))
    ]
    words = {decided(net, cases).word, decided(net, halves).word}
    assert len(words) == 1 or is_tight(net, cases)


def replaced(values: tuple[Fraction, ...], d: int, value: Fraction) -> tuple[Fraction, ...]:
    return (*values[:d], value, *values[d + 1 :])


@settings(max_examples=30)
@given(seeds, shapes, boxes(2), st.lists(st.integers(0, 16), min_size=6, max_size=6))
def test_a_box_shrunk_around_a_witness_stays_sat_down_to_the_point(
    seed: int, shape: str, box: Box, shares: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    net = varied(rng, shape)
    cases = random_cases(rng, net.program, box, False)
    verdict = decided(net, cases)
    if not isinstance(verdict, Violated):
        return  # a third of them are
    point = verdict.replay.inputs
    found = cases[verdict.replay.case_number]
    for share in (Fraction(1, 2), Fraction(1, 1000), Fraction(0)):
        lower = tuple(
            x - (x - l) * share * Fraction(s, 16) for x, l, s in zip(point, found.lower, shares, strict=False)
        )
        upper = tuple(
            x + (u - x) * share * Fraction(s, 16) for x, u, s in zip(point, found.upper, shares[2:], strict=False)
        )
        smaller = decided(net, [Case(lower, upper, found.disjuncts)])
        assert not isinstance(smaller, Holds)
        outputs = list(run_exact(net.program, point))
        slack = min(a.c - a.value(point, outputs) for a in found.disjuncts[verdict.replay.disjunct])
        assert isinstance(smaller, Violated) or slack < Fraction(1, 10**9)


# Forms of properties -------------------------------------------------------------------------------------------------

LINE = affine([[1.0]])
TRUE, FALSE = atom([], 1), atom([], -1)


@pytest.mark.parametrize(
    ("disjuncts", "word"),
    [
        ([[]], "sat"),  # every x is unsafe
        ([], "unsat"),  # nothing is
        ([[TRUE]], "sat"),
        ([[FALSE]], "unsat"),
        ([[FALSE], [TRUE]], "sat"),
        ([[TRUE, FALSE]], "unsat"),
        ([[FALSE], []], "sat"),
        ([[atom([], 0)]], "sat"),  # 0 <= 0
        ([[atom([], Fraction(-1, 2), x=[-1])]], "sat"),  # x >= 1/2
        ([[atom([], -2, x=[-1])]], "unsat"),  # x >= 2
        ([[atom([], 0, x=[1])]], "sat"),  # x <= 0, at the end of the box
        ([[atom([1], 0, x=[-1])]], "sat"),  # y <= x, everywhere
        ([[atom([1], Fraction(-1, 1000), x=[-1])]], "unsat"),  # y < x - 1/1000
        ([[atom([1], Fraction(1, 2)), atom([-1], Fraction(-1, 4))]], "sat"),  # 1/4 <= y <= 1/2
        ([[atom([1], Fraction(1, 4)), atom([-1], Fraction(-1, 2))]], "unsat"),  # y <= 1/4 and y >= 1/2
        ([[atom([1], 0, strict=True)]], "undecided or unsat"),  # y < 0, the minimum is 0
        ([[atom([-1], -1)]], "sat"),  # y >= 1, at the other end
    ],
)
@pytest.mark.parametrize("semantics", [Semantics.REAL, Semantics.F32_ANY])
def test_forms_of_the_unsafe_set(disjuncts: list[list[Atom]], word: str, semantics: Semantics) -> None:
    """y = x on [0, 1]: every answer can be read off."""
    verdict = decided(LINE, [case([0], [1], *disjuncts)], semantics, timeout_s=1.0)
    assert verdict.word == word or (word.startswith("undecided") and not isinstance(verdict, Violated))


@pytest.mark.parametrize("semantics", [Semantics.REAL, Semantics.F32_ANY])
def test_cases_are_taken_together(semantics: Semantics) -> None:
    safe, unsafe = case([0], [1], [atom([1], -1)]), case([3], [4], [atom([-1], Fraction(-7, 2))])
    assert decided(LINE, [safe, safe], semantics).word == "unsat"
    verdict = decided(LINE, [safe, unsafe, safe], semantics)
    assert isinstance(verdict, Violated) and verdict.replay.case_number == 1


@pytest.mark.parametrize("semantics", [Semantics.REAL, Semantics.F32_ANY])
def test_a_property_without_cases_holds_with_a_warning(semantics: Semantics) -> None:
    verdict = decided(LINE, [], semantics)
    assert isinstance(verdict, Holds) and any("vacuous" in warning for warning in verdict.warnings)


@pytest.mark.parametrize("c", [Fraction(1, 3), Fraction(-1, 3)])
def test_points_that_no_float_holds_are_exact_over_the_reals(c: Fraction) -> None:
    """x = 1/3: y <= 1/3 holds, y < 1/3 does not, to the last digit."""
    box = ([c], [c])
    assert decided(LINE, [case(*box, [atom([1], c)])]).word == "sat"
    assert not isinstance(decided(LINE, [case(*box, [atom([1], c, strict=True)])], timeout_s=0.3), Violated)
    assert not isinstance(decided(LINE, [case(*box, [atom([1], c - Fraction(1, 10**30))])], timeout_s=0.3), Violated)


def test_witnesses_over_the_reals_lie_inside_boxes_that_end_between_floats() -> None:
    """1/3 rounded to a float64 lies outside [1/3, 1/3 + 10^-20]; the witness does not."""
    third = Fraction(1, 3)
    found = case([third], [third + Fraction(1, 10**20)], [atom([-1], 0)])
    verdict = decided(LINE, [found])
    assert isinstance(verdict, Violated) and found.contains(verdict.replay.inputs)


def test_a_hidden_needle_is_never_proved_away() -> None:
    """relu(x - a) - 2 relu(x - a - d) + relu(x - a - 2d) is 0 but for a needle of height d at a + d."""
    a, d = Fraction(613, 1024), Fraction(1, 2**14)
    net = dense([([[1.0], [1.0], [1.0]], [float(-a), float(-a - d), float(-a - 2 * d)]), ([[1.0, -2.0, 1.0]], [0.0])])
    needle = case([-1], [1], [atom([-1], -d * Fraction(3, 4))])
    assert witness(net.program, needle) is not None
    assert decided(net, [needle]).word == "sat"
    assert decided(net, [case([-1], [1], [atom([-1], -d - Fraction(1, 2**20))])]).word == "unsat"


def test_an_unknown_says_how_far_it_got() -> None:
    verdict = decided(LINE, [case([0], [1], [atom([1], 0, strict=True)])], timeout_s=0.2)
    assert isinstance(verdict, Unknown | Holds)
    if isinstance(verdict, Unknown):
        assert verdict.statistics.boxes > 0 and verdict.detail
