"""The curve of certified accuracy: steps that claim no more than what was asked."""

import re
from fractions import Fraction

import pytest

from farkas.reports import curves
from farkas.reports.facts import Entry, Report
from farkas.reports.plots import BOTTOM, TOP
from farkas.reports.radii import Asked, Chain, Family
from farkas.reports.sources import Sources
from tests.reports.made import entry
from tests.reports.test_radii import box

VERDICTS = {1: ("unsat", "sat", "sat"), 2: ("unsat", "timed-out", "sat"), 3: ("timed-out", "timed-out", "timed-out")}
RADII = (Fraction(1, 10), Fraction(1, 5), Fraction(2, 5))


def family() -> Family:
    """Three points with three radii: critical between 1/10 and 1/5, between 1/10 and 2/5, and anywhere."""
    chains = tuple(
        Chain(tuple(Asked(entry(word, 10 * point + k), box(("0", "1")), radius)
                    for k, (word, radius) in enumerate(zip(words, RADII, strict=True))))
        for point, words in VERDICTS.items()
    )  # fmt: skip
    return Family("cars", "n0", "f32-any", chains, RADII)


@pytest.fixture
def text(monkeypatch: pytest.MonkeyPatch) -> str:
    def found(entries: list[Entry], sources: Sources) -> list[Family]:
        return [family()]

    monkeypatch.setattr(curves, "families", found)
    run = Report.__new__(Report)
    object.__setattr__(run, "entries", ())
    shown = curves.curves(run, Sources.__new__(Sources))
    assert shown is not None
    return str(shown)


def corners(text: str, class_: str) -> list[tuple[float, float]]:
    """The corners of a line, as radius and percentage: the axes end at the largest radius, and at 0 and 100 %."""
    (points,) = re.findall(rf'<polyline points="([^"]*)" class="line {class_}"', text)
    pairs = [tuple(map(float, pair.split(","))) for pair in points.split()]
    left, right, top, bottom = pairs[0][0], max(x for x, _ in pairs), TOP, curves.HEIGHT - BOTTOM
    scaled = [((x - left) / (right - left), (bottom - y) / (bottom - top)) for x, y in pairs]
    return [(round(0.4 * across, 3), round(100 * up, 1)) for across, up in scaled]


def test_what_is_proved_between_two_radii_is_what_the_larger_one_says(text: str) -> None:
    """2 of 3 are proved up to 1/10, none from there on."""
    assert corners(text, "l1") == [(0, 66.7), (0.1, 66.7), (0.1, 0), (0.2, 0), (0.2, 0), (0.4, 0)]


def test_what_is_not_violated_between_two_radii_is_what_the_smaller_one_says(text: str) -> None:
    """All up to 1/5, where one is violated; one of three at 2/5."""
    assert corners(text, "l2") == [
        (0, 100), (0.1, 100), (0.1, 100), (0.2, 100), (0.2, 66.7), (0.4, 66.7), (0.4, 33.3)
    ]  # fmt: skip


def test_the_curve_is_said_in_words_and_every_point_in_numbers(text: str) -> None:
    assert "At the smallest radius 0.1, 2 of 3 points are proved and 0 violated; at the largest, 0.4, 0 and 2." in text
    rows = re.findall(r'<th scope="row">(p\d+)</th><td[^>]*>([^<]*)</td><td[^>]*>([^<]*)</td>', text)
    assert rows == [("p10", "0.1", "0.2"), ("p20", "0.1", "0.4"), ("p30", "–", "–")]
