"""Which thresholds are asked about: against an oracle that knows the value, whatever the oracle is slow at."""

from __future__ import annotations

from fractions import Fraction as Q

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.thresholds import Thresholds, between, middle

values = st.builds(lambda n, e: Q(n) * Q(10) ** e, st.integers(-999, 999), st.integers(-6, 6))


def search(goal: Q, gap: Q | None, *, dull: Q = Q(0), slow: float = 0.0, most: int = 200) -> tuple[Thresholds, int]:
    """The interval around the greatest value `goal`, and the number of questions.

    dull: thresholds that far above the goal are never decided; slow: the seconds that a proof takes, which shrink with
    the distance from the goal.
    """
    found = Thresholds(gap, 1.0)
    for asked in range(most):
        threshold = found.next()
        if threshold is None:
            return found, asked
        if threshold < goal:
            found.at_least(threshold + (goal - threshold) / 8)
        elif threshold < goal + dull:
            found.undecided(threshold, more_time_helps=False)
        elif slow and slow / (1 + float(abs(threshold - goal))) > found.slice_s:
            found.undecided(threshold, more_time_helps=True)
        else:
            found.at_most(threshold)
    raise AssertionError(f"no end after {most} questions")


@given(values, st.sampled_from([Q(1, 1000), Q(1, 3), Q(20)]))
def test_the_interval_holds_the_value_and_becomes_as_narrow_as_asked(goal: Q, gap: Q) -> None:
    found, _ = search(goal, gap)
    assert found.low is not None and found.high is not None
    assert found.low <= goal <= found.high and found.high - found.low <= gap


@given(values.filter(bool))
def test_without_a_gap_it_ends_at_a_millionth_of_the_value(goal: Q) -> None:
    found, _ = search(goal, None)
    assert found.low is not None and found.high is not None
    assert found.low <= goal <= found.high and found.high - found.low <= max(abs(found.low), abs(found.high)) / 10**6


def test_bisection_asks_about_as_many_questions_as_the_interval_has_halves() -> None:
    _, asked = search(Q("0.5725"), Q(1, 1024))
    assert (
        asked <= 1 + 4 + 12
    )  # 0; steps of 1/64, 1/16, 1/4 and 1; from 1 to 1/1024 ten halves, not quite in the middle


@given(values, st.sampled_from([Q(1, 10), Q(1)]))
def test_what_no_time_decides_is_walked_around_and_ends_the_search(goal: Q, dull: Q) -> None:
    found, asked = search(goal, Q(1, 10**9), dull=dull)
    assert found.low is not None and found.low <= goal and asked < 100
    assert found.high is None or goal + dull <= found.high


def test_slices_grow_until_slow_proofs_succeed() -> None:
    found, _ = search(Q(2), Q(1, 100), slow=60.0)
    assert found.low is not None and found.high is not None and found.high - found.low <= Q(1, 100)
    assert found.slice_s >= 27.0


def test_a_value_that_a_candidate_had_is_asked_about_once() -> None:
    found = Thresholds(Q(1, 1000), 1.0, Q(0), Q(1))
    found.nearly(Q("0.8"))
    assert Q("0.75") <= (found.next() or 0) < Q("0.8")
    assert found.next() == Q("0.5")
    found.nearly(Q(-1))
    assert found.next() == Q("0.5")


def test_the_middle_is_geometric_where_the_ends_differ_in_size() -> None:
    assert Q("0.8") <= middle(Q(1, 1000), Q(1000)) <= Q("1.2")
    assert -Q("1.2") <= middle(-Q(1000), -Q(1, 1000)) <= -Q("0.8")
    assert middle(Q(0), Q(1)) == Q("0.5")


@given(values, values.filter(lambda v: v > 0))
def test_between_two_numbers_there_is_a_short_decimal(low: Q, width: Q) -> None:
    found = between(low, low + width)
    assert low < found < low + width
    unit = Q(1)
    while 10 * unit <= width:
        unit *= 10
    while unit > width / 10:
        unit /= 10
    assert (found / unit).denominator == 1  # no more places than a tenth of the width has


@pytest.mark.parametrize(("low", "high", "word"), [
    ("0.12", "0.19", "0.16"), ("0.123", "0.127", "0.125"), ("0.99", "1.01", "1"), ("8", "31", "20"),
])  # fmt: skip
def test_the_decimal_with_the_fewest_places_next_to_the_middle_is_taken(low: str, high: str, word: str) -> None:
    assert between(Q(low), Q(high)) == Q(word)


def test_questions_that_are_too_slow_at_any_threshold_get_more_time() -> None:
    found = Thresholds(Q(1, 100), 1.0)
    for _ in range(40):
        threshold = found.next()
        assert threshold is not None
        if found.slice_s < 20:
            found.undecided(threshold, more_time_helps=True)
        elif threshold < Q(1, 3):
            found.at_least(threshold)
        else:
            found.at_most(threshold)
        if found.is_narrow:
            break
    assert found.is_narrow


def test_one_point_that_cannot_be_decided_does_not_keep_the_interval_wide() -> None:
    found = Thresholds(Q("0.02"), 1.0, Q(0), Q(1))
    while (threshold := found.next()) is not None:
        if threshold == Q("0.5"):
            found.undecided(threshold, more_time_helps=False)
        elif threshold < Q("0.5"):
            found.at_least(threshold)
        else:
            found.at_most(threshold)
    assert found.is_narrow and found.low is not None and found.low < Q("0.5")
