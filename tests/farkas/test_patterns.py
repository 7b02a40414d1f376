"""Patterns on networks small enough to know the answer by hand, and their meaning at random points.

`classes` is relu(a), relu(b), 1/2.  Around (2, 0) class 0 is overtaken by class 1 at distance 1 in linf (to (1, 1)), at
sqrt 2 in l2, and by class 2 at 3/2 in l1 (to (1/2, 0)).
"""

from __future__ import annotations

from fractions import Fraction as Q
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import farkas as fk
from farkas.api import Network
from farkas.patterns_images import FEW
from farkas.patterns_inputs import Value
from tests.nets import Net, dense

IDENTITY = np.eye(3)


def loaded(net: Net, name: str = "net") -> Network:
    return Network(net.graph, net.data, None, name)


@pytest.fixture(scope="module")
def classes() -> Network:
    return loaded(dense([([[1, 0], [0, 1], [0, 0]], [0, 0, 0.5]), (IDENTITY, [0, 0, 0])]))


@pytest.fixture(scope="module")
def magnitude() -> Network:
    """|x|."""
    return loaded(dense([([[1], [-1]], [0, 0]), ([[1, 1]], [0])]))


@pytest.fixture(scope="module")
def rising() -> Network:
    """relu(a) - relu(b)."""
    return loaded(dense([(np.eye(2), [0, 0]), ([[1, -1]], [0])]))


def word(spec: fk.Spec, **options: Any) -> str:
    return spec.check(timeout=20, **options).word


# -- one image -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("eps", "holds"), [("0.99", True), ("1.01", False)])
def test_linf_robustness_ends_at_the_distance_of_the_boundary(classes: Network, eps: str, holds: bool) -> None:
    assert word(fk.patterns.robust(classes, [[2, 0]], 0, eps)) == ("unsat" if holds else "sat")


@pytest.mark.parametrize(("eps", "holds"), [("1.49", True), ("1.51", False)])
def test_l1_robustness_of_few_entries_ends_there_too(classes: Network, eps: str, holds: bool) -> None:
    assert word(fk.patterns.robust(classes, [2, 0], 0, eps, norm="l1")) == ("unsat" if holds else "sat")


@pytest.mark.parametrize(("eps", "holds"), [("1.41", True), ("1.42", False)])
def test_l2_robustness_ends_at_the_root_of_two(classes: Network, eps: str, holds: bool) -> None:
    spec = fk.patterns.robust(classes, [2, 0], 0, eps, norm="l2")
    assert word(spec, trust=["crown"]) == ("unsat" if holds else "sat")


MANY = FEW + 2


@pytest.fixture(scope="module")
def sums() -> Network:
    """relu of the sum of the first half of 8 entries, relu of that of the second half, and 1/2."""
    half = [1] * (MANY // 2)
    none = [0] * (MANY // 2)
    return loaded(dense([([half + none, none + half, none + none], [0, 0, 0.5]), (IDENTITY, [0, 0, 0])]))


@pytest.mark.parametrize(("eps", "masked", "holds"), [
    ("1.45", False, True), ("1.55", False, False), ("1.95", True, True), ("2.05", True, False),
])  # fmt: skip
def test_l1_robustness_of_many_entries_is_exact_over_the_reals(
    sums: Network, eps: str, masked: bool, holds: bool
) -> None:
    """The sums are 2 and 0, and move by what an l1 ball moves one entry by: class 2 comes level with class 0 at 3/2; if
    only the second half may change, class 1 comes level at 2."""
    image = [2, *[0] * (MANY - 1)]
    mask = np.arange(MANY) >= (MANY // 2 if masked else 0)
    spec = fk.patterns.robust(sums, image, 0, eps, norm="l1", mask=mask)
    answer = spec.check(timeout=20, semantics="real")
    assert answer.word == ("unsat" if holds else "sat")


@pytest.mark.parametrize(("lowest", "holds"), [("0.21", True), ("0.19", False)])
def test_l1_robustness_respects_the_domain(sums: Network, lowest: str, holds: bool) -> None:
    """The first half's sum cannot fall below 4 times the lowest value, and that of the second half stays 4/5."""
    image = ["0.75", "0.25", "0.25", "0.25", *["0.2"] * (MANY // 2)]
    mask = np.arange(MANY) < MANY // 2
    domain = [lowest] * (MANY // 2) + [0] * (MANY // 2), 4
    spec = fk.patterns.robust(sums, image, 0, 3, norm="l1", mask=mask, domain=domain)
    assert word(spec, semantics="real") == ("unsat" if holds else "sat")


def test_a_mask_lets_only_its_pixels_change(classes: Network) -> None:
    mask = np.array([[False, True]])
    with pytest.raises(fk.SpecError, match="FK503"):
        fk.patterns.robust(classes, [2, 0], 0, mask=mask, domain=(0, "1.9"))  # the other pixel is outside
    ends = [[0, 0]], [[3, "1.9"]]
    assert word(fk.patterns.robust(classes, [2, 0], 0, mask=mask, domain=ends)) == "unsat"
    answer = fk.patterns.robust(classes, [2, 0], 0, mask=mask, domain=(0, 3)).check(timeout=20)
    assert isinstance(answer, fk.Violated)
    first, second = answer.replay.inputs
    assert first == 2 and second > 2


def test_a_radius_for_every_pixel(classes: Network) -> None:
    assert word(fk.patterns.robust(classes, [[2, 0]], 0, [["0.5", "1.4"]])) == "unsat"
    assert word(fk.patterns.robust(classes, [[2, 0]], 0, [["0.5", "1.6"]])) == "sat"
    with pytest.raises(fk.SpecError, match="FK301"):
        fk.patterns.robust(classes, [[2, 0]], 0, [["0.5", "1.6"]], norm="l1")


def test_a_target_may_be_further_away_than_another_class(classes: Network) -> None:
    """Around (2, 0) class 2 has to beat both: at (t, 1/2 or less) with t < 1/2, so at distance 3/2."""
    assert word(fk.patterns.targeted(classes, [2, 0], 2, "1.49")) == "unsat"
    assert word(fk.patterns.targeted(classes, [2, 0], 2, "1.51")) == "sat"
    assert word(fk.patterns.targeted(classes, [2, 0], 1, "1.01")) == "sat"


def test_being_among_the_highest_two_lasts_longer_than_being_the_highest(classes: Network) -> None:
    """Class 0 is last once it is below 1/2 with class 1 above it: at distance 3/2."""
    assert word(fk.patterns.in_top(classes, [2, 0], 0, 2, "1.49")) == "unsat"
    assert word(fk.patterns.in_top(classes, [2, 0], 0, 2, "1.51")) == "sat"


@pytest.mark.parametrize(("darkest", "holds"), [("-0.49", True), ("-0.51", False)])
def test_light_drives_all_pixels_together(classes: Network, darkest: str, holds: bool) -> None:
    """(2 c + b, c + b) with c >= 1/2: class 0 leads class 1 by c, and is above 1/2 while b >= -1/2."""
    spec = fk.patterns.photometric(classes, [2, 1], 0, brightness=(darkest, "0.25"), contrast=("0.5", 1))
    assert word(spec, semantics="real") == ("unsat" if holds else "sat")


@pytest.mark.parametrize(("eps", "holds"), [("1.98", True), ("2.02", False)])
def test_images_are_in_units_of_their_own_when_they_are_prepared(classes: Network, eps: str, holds: bool) -> None:
    """The network reads (x - 1) / 2, so the image is (5, 1) and the distance 2."""
    spec = fk.patterns.robust(classes, [5, 1], 0, eps, prepare=lambda x: (x - 1) / 2)
    assert word(spec) == ("unsat" if holds else "sat")


def test_an_image_of_another_shape_is_refused(classes: Network) -> None:
    for image in ([[[2], [0]]], [2], [2, 0, 0], [[2], [0]]):
        with pytest.raises(fk.SpecError, match="FK305"):
            fk.patterns.robust(classes, image, 0, "0.1")
    for mask in ([[1, 0]], [True], [[True], [False]]):
        with pytest.raises(fk.SpecError, match="FK305"):
            fk.patterns.robust(classes, [2, 0], 0, "0.1", mask=mask)
    with pytest.raises(fk.SpecError, match="FK601"):
        fk.patterns.robust(classes, [2, 0], 0, "0.1", norm="l3")  # type: ignore[arg-type]
    with pytest.raises(fk.SpecError, match="FK601"):
        fk.patterns.robust(classes, [2, 0], 0)  # nothing says how far


@pytest.mark.parametrize("norm", ["linf", "l1", "l2"])
def test_a_radius_may_be_chosen_later(classes: Network, norm: Any) -> None:
    later = fk.patterns.robust(classes, [2, 0], 0, fk.parameter("eps"), norm=norm, domain=(-9, 9)).at(eps="0.7")
    now = fk.patterns.robust(classes, [2, 0], 0, "0.7", norm=norm, domain=(-9, 9))
    assert later.property == now.property


@pytest.mark.parametrize(("norm", "few"), [("linf", True), ("l2", True), ("l1", True), ("l1", False)])
def test_an_image_of_another_class_is_said_at_once(classes: Network, sums: Network, norm: Any, few: bool) -> None:
    net, image = (classes, [0, 2]) if few else (sums, [0] * (MANY - 1) + [2])
    with pytest.raises(fk.SpecError, match="FK517"):
        fk.patterns.robust(net, image, 0, "0.1", norm=norm)
    with pytest.raises(fk.SpecError, match="FK517"):
        fk.patterns.targeted(net, image, 1, "0.1", norm=norm)
    with pytest.raises(fk.SpecError, match="FK517"):
        fk.patterns.photometric(net, image, 0)


QUARTERS = st.integers(-8, 8).map(lambda k: Q(k, 4))


def preferring(place: int) -> Network:
    """A network whose answer near 0 is a place."""
    return loaded(dense([([[1, 0], [0, 1], [0, 0]], 8 * np.eye(3)[place])]))


ANSWERING = [preferring(place) for place in range(3)]


@settings(max_examples=60, deadline=None)
@given(
    norm=st.sampled_from(["linf", "l1", "l2"]), eps=st.integers(1, 8).map(lambda k: Q(k, 4)),
    point=st.tuples(QUARTERS, QUARTERS), scores=st.tuples(QUARTERS, QUARTERS, QUARTERS), k=st.integers(0, 2),
)  # fmt: skip
def test_what_violates_is_inside_the_ball_and_answered_otherwise(
    norm: str, eps: Q, point: tuple[Q, Q], scores: tuple[Q, Q, Q], k: int
) -> None:
    """On any scores, ties among them, also such as the network does not give."""
    net, other = ANSWERING[k], ANSWERING[k - 1]
    image = (Q(1, 4), Q(-1, 2))
    change = [abs(a - b) for a, b in zip(point, image, strict=True)]
    inside = {"linf": max(change) <= eps, "l1": sum(change) <= eps, "l2": sum(d * d for d in change) <= eps * eps}[norm]
    answer = max(range(3), key=lambda j: (scores[j], -j))
    rank = sorted(range(3), key=lambda j: (-scores[j], j)).index(k)

    def unsafe(spec: fk.Spec) -> bool:
        return spec.property.is_unsafe(point, scores)

    assert unsafe(fk.patterns.robust(net, [image], k, eps, norm=norm)) == (inside and answer != k)  # type: ignore[arg-type]
    assert unsafe(fk.patterns.targeted(other, [image], k, eps, norm=norm)) == (inside and answer == k)  # type: ignore[arg-type]
    assert unsafe(fk.patterns.in_top(net, [image], k, 2, eps, norm=norm)) == (inside and rank == 2)  # type: ignore[arg-type]


# -- a box of inputs -----------------------------------------------------------------------------------------------


def test_advice_is_the_lowest_cost(classes: Network) -> None:
    """The costs are relu(a), relu(b), 1/2: advice 2 is given where a and b are above 1/2."""
    box = {"a": ("0.6", 1), "b": ("0.6", 2)}
    assert word(fk.patterns.advised(classes, box, only=2)) == "unsat"
    assert word(fk.patterns.advised(classes, box, never=(0, 1))) == "unsat"
    assert word(fk.patterns.advised(classes, box, never=2)) == "sat"
    wider = {"a": ("0.4", 1), "b": ("0.6", 2)}
    assert word(fk.patterns.advised(classes, wider, only=2)) == "sat"
    assert word(fk.patterns.advised(classes, wider, only=(0, 2))) == "unsat"
    with pytest.raises(fk.SpecError, match="FK601"):
        fk.patterns.advised(classes, box)


def test_advice_in_units_that_the_network_does_not_have(classes: Network) -> None:
    """Thousandths outside, ones inside."""
    box = {"a": (600, 1000), "b": (600, 2000)}
    assert word(fk.patterns.advised(classes, box, only=2, prepare=lambda x: x / 1000)) == "unsat"
    assert word(fk.patterns.advised(classes, box | {"a": (400, 1000)}, only=2, prepare=lambda x: x / 1000)) == "sat"


@pytest.mark.parametrize(("low", "high", "expected"), [
    (0, "2.01", "unsat"), (0, "1.99", "sat"), ("0.01", None, "sat"), ("-0.01", None, "unsat"),
])  # fmt: skip
def test_ranges_of_outputs(magnitude: Network, low: Value, high: Value, expected: str) -> None:
    assert word(fk.patterns.in_range(magnitude, (-2, 1), low if low else None, high)) == expected


def test_a_range_of_one_output(classes: Network) -> None:
    assert word(fk.patterns.in_range(classes, (0, 1), "0.4", "0.6", output=2)) == "unsat"
    assert word(fk.patterns.in_range(classes, (0, 1), "0.4", "0.6", output=(0, 1))) == "sat"
    with pytest.raises(fk.SpecError, match="FK601"):
        fk.patterns.in_range(classes, (0, 1))


def test_monotone_in_one_input_and_falling_in_another(rising: Network) -> None:
    box = {"a": (-1, 1), "b": (-1, 1)}
    assert word(fk.patterns.monotone(rising, box, "a", slack="0.01")) == "unsat"
    assert word(fk.patterns.monotone(rising, box, "b", slack="0.01", decreasing=True)) == "unsat"
    assert word(fk.patterns.monotone(rising, box, "a", slack="0.01", decreasing=True)) == "sat"
    answer = fk.patterns.monotone(rising, box, ["a", "b"], slack="0.01").check(timeout=20)
    assert isinstance(answer, fk.Violated)
    with pytest.raises(fk.SpecError, match="FK309"):
        fk.patterns.monotone(rising, box, "c")


# -- two executions ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loans() -> Network:
    """Scores of two answers: income, and half the age plus 1/4; the postcode is read and not used."""
    rows = [[1, 0, 0], [0, 0.5, 0]]
    return loaded(dense([(np.array(rows), [0, 0.25])]))


PEOPLE = {"income": (0, 1), "age": (0, 1), "postcode": (0, 1)}


def test_fair_where_the_protected_input_is_not_used(loans: Network) -> None:
    assert word(fk.patterns.fair(loans, PEOPLE, "postcode", margin="0.01")) == "unsat"
    assert word(fk.patterns.fair(loans, PEOPLE, "postcode", eps="0.01")) == "unsat"
    assert word(fk.patterns.fair(loans, PEOPLE, "age", margin="0.51")) == "unsat"  # age moves one score by up to 1/2
    assert word(fk.patterns.fair(loans, PEOPLE, "age", margin="0.49")) == "sat"
    assert word(fk.patterns.fair(loans, PEOPLE, "age")) == "sat"
    assert word(fk.patterns.fair(loans, PEOPLE, ("postcode", "age"))) == "sat"
    assert word(fk.patterns.fair(loans, PEOPLE, "postcode", similar="0.1")) == "sat"  # others may differ: the boundary


def test_fair_with_a_decision_of_ones_own(loans: Network) -> None:
    """Granted at an income of 1/2: nobody with 0.7 is refused for age, nor with 0.1 less or more."""

    def granted(y: object) -> object:
        return y[0, 0] >= "0.5"  # type: ignore[index]

    rich = PEOPLE | {"income": ("0.7", 1)}
    assert word(fk.patterns.fair(loans, rich, "age", similar="0.1", answer=granted)) == "unsat"  # type: ignore[arg-type]
    assert word(fk.patterns.fair(loans, PEOPLE, "income", answer=granted)) == "sat"  # type: ignore[arg-type]
    with pytest.raises(fk.SpecError, match="FK601"):
        fk.patterns.fair(loans, PEOPLE, "age", answer=lambda y: 3)  # type: ignore[arg-type, return-value]


def test_same_answers_are_the_same_whatever_the_scores() -> None:
    """All pairs of scores from {0, 1, 2}, three classes each: 729 pairs, ties among them."""
    net = loaded(dense([(IDENTITY, [0, 0, 0])]))
    spec = fk.patterns.equivalent(net, loaded(dense([(IDENTITY, [0, 0, 0])])), (0, 2))
    assert len(spec.property.cases[0].disjuncts) == 6
    x = [Q(1)] * 6
    triples = list(product([Q(0), Q(1), Q(2)], repeat=3))
    for one in triples:
        for other in triples:
            differ = one.index(max(one)) != other.index(max(other))
            assert spec.property.is_unsafe(x, [*one, *other]) == differ


def test_two_networks_within_a_distance(magnitude: Network) -> None:
    """|x| and |x| + 1/8."""
    shifted = loaded(dense([([[1], [-1]], [0, 0]), ([[1, 1]], [0.125])]), "shifted")
    assert word(fk.patterns.equivalent(magnitude, shifted, (-1, 1), eps="0.13")) == "unsat"
    assert word(fk.patterns.equivalent(magnitude, shifted, (-1, 1), eps="0.12")) == "sat"
    other = loaded(dense([(np.ones((2, 1)), [0, 0])]))
    with pytest.raises(fk.SpecError, match="FK301"):
        fk.patterns.equivalent(magnitude, other, (-1, 1), eps=1)


@pytest.mark.parametrize(("constant", "holds"), [("2.1", True), ("1.9", False)])
def test_the_lipschitz_constant_of_a_difference_is_two(rising: Network, constant: str, holds: bool) -> None:
    """relu(a) - relu(b) moves by 2 when a rises and b falls by 1."""
    spec = fk.patterns.lipschitz(rising, (0, 1), constant, slack="0.01")
    assert word(spec) == ("unsat" if holds else "sat")


def test_bounds_have_two_ends(magnitude: Network) -> None:
    for domain in ("01", (0, 1, 2), (0,)):
        with pytest.raises(fk.SpecError, match="FK601"):
            fk.patterns.in_range(magnitude, domain, high=1)


# -- quantities ----------------------------------------------------------------------------------------------------


def test_the_range_of_an_output_is_enclosed(rising: Network) -> None:
    """relu(a) - relu(b) on [-1, 2] x [-1, 1] goes from -1 to 2."""
    found = fk.patterns.range_of(rising, {"a": (-1, 2), "b": (-1, 1)}, gap="0.01", timeout=20)
    low, high = found.lower, found.upper
    assert low.proved is not None and low.attained is not None and low.proved <= -1 <= low.attained
    assert high.proved is not None and high.attained is not None and high.attained <= 2 <= high.proved
    assert low.attained - low.proved <= Q("0.01") and high.proved - high.attained <= Q("0.01")


def test_the_modulus_at_a_distance_is_twice_the_distance(rising: Network) -> None:
    found = fk.patterns.modulus(rising, (0, 1), "0.25", gap="0.01", timeout=20)
    assert found.attained is not None and found.proved is not None
    assert found.attained <= Q(1, 2) <= found.proved <= found.attained + Q("0.01")


# -- certificates --------------------------------------------------------------------------------------------------


def test_what_patterns_prove_is_certified(
    classes: Network, magnitude: Network, rising: Network, loans: Network, sums: Network, tmp_path: Path
) -> None:
    """Several copies, several networks, units, and a map in front of the network."""
    shifted = loaded(dense([([[1], [-1]], [0, 0]), ([[1, 1]], [0.125])]), "shifted")
    image, thousandths = [2, *[0] * (MANY - 1)], {"a": (600, 1000), "b": (600, 2000)}
    specs = {
        "robust": fk.patterns.robust(classes, [5, 1], 0, "1.5", prepare=lambda x: (x - 1) / 2),
        "few": fk.patterns.robust(classes, [2, 0], 0, "1.4", norm="l1"),
        "many": fk.patterns.robust(sums, image, 0, 1, norm="l1"),
        "top": fk.patterns.in_top(classes, [2, 0], 0, 2, "1.4"),
        "light": fk.patterns.photometric(classes, [2, 1], 0, brightness=("-0.4", 0), contrast=("0.5", 1)),
        "advised": fk.patterns.advised(classes, thousandths, only=2, prepare=lambda x: x / 1000),
        "monotone": fk.patterns.monotone(rising, {"a": (-1, 1), "b": (-1, 1)}, "a", slack="0.1"),
        "fair": fk.patterns.fair(loans, PEOPLE, "postcode", margin="0.1"),
        "equivalent": fk.patterns.equivalent(magnitude, shifted, (-1, 1), eps="0.2"),
        "lipschitz": fk.patterns.lipschitz(rising, (0, 1), 3, slack="0.1"),
    }
    for name, spec in specs.items():
        result = spec.check(timeout=20, certificate=tmp_path / f"{name}.nnc")
        assert isinstance(result, fk.Holds) and result.evidence == "certified", (name, result)
