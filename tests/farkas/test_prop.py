"""One specification over a dataset: outcomes known by hand, what follows from what, and files that read back.

The network is relu(a), relu(b), 1/2.  Around (t, 0) with t > 1/2 class 0 is ahead of class 1 by t and of class 2 by
t - 1/2; within eps in each input the leads are t - 2 eps and t - 1/2 - eps, so class 0 stays up to min(t/2, t - 1/2).
"""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET
from fractions import Fraction as Q
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import farkas as fk
from farkas.api import Network
from farkas.ir.errors import FarkasError
from farkas.prop_loop import Prop, follows, halving
from farkas.prop_results import Outcome, Results, Row
from farkas.specs.query import Semantics
from tests.nets import Net, dense

GRID = ("0.125", "0.25", "0.5", "0.75")
SVG = "{http://www.w3.org/2000/svg}"


def loaded(net: Net, name: str = "net") -> Network:
    return Network(net.graph, net.data, None, name)


@pytest.fixture(scope="module")
def classes() -> Network:
    identity = [[1, 0], [0, 1], [0, 0]]
    return loaded(dense([(identity, [0, 0, 0.5]), ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [0, 0, 0])]))


def robustness(net: Network, firsts: list[str], radii: tuple[str, ...] = GRID) -> Prop:
    points = [([[first, 0]], 0) for first in firsts]

    @fk.prop(each=points, params={"eps": radii})
    def stays(image: object, label: int, eps: object) -> fk.Spec:
        return fk.patterns.robust(net, image, label, eps)

    return stays


@pytest.fixture(scope="module")
def results(classes: Network) -> Results:
    """At 1.4 class 0 stays up to 0.7, at 0.9 up to 0.4, at 2 up to 1."""
    return robustness(classes, ["1.4", "0.9", "2"]).check(timeout=20)


def outcomes(found: Results) -> dict[tuple[int, str], str]:
    return {(row.point, row.params["eps"]): row.outcome.value for row in found.rows}


def test_outcomes_are_those_of_the_hand_calculation(results: Results) -> None:
    wanted = {
        (point, eps): "holds" if Q(eps) < Q(stays) else "violated"
        for point, stays in enumerate(["0.7", "0.4", "1"])
        for eps in GRID
    }
    assert outcomes(results) == wanted
    assert [(row.point, row.place) for row in results.rows] == [(point, k) for point in range(3) for k in range(4)]


def test_cells_that_follow_are_not_asked_again(results: Results) -> None:
    """The middle of four is place 2, 0.5: it holds at 1.4, so 0.25 and 0.125 do, and 0.75 is asked."""
    first = [row for row in results.rows if row.point == 0]
    assert [row.source for row in first] == [2, 2, None, None]
    second = [row for row in results.rows if row.point == 1]
    assert [row.outcome for row in second] == [Outcome.HOLDS, Outcome.HOLDS, Outcome.VIOLATED, Outcome.VIOLATED]
    assert [row.source for row in second] == [1, None, None, 2]
    assert second[3].witness == second[2].witness != ""


@settings(max_examples=25, deadline=None)
@given(count=st.integers(0, 200))
def test_halving_meets_every_number_once(count: int) -> None:
    assert sorted(halving(count)) == list(range(count))


def test_a_sorted_grid_of_seven_needs_three_questions(classes: Network) -> None:
    radii = tuple(str(k / 10) for k in range(3, 10))  # up to 0.9 - and class 0 stays up to 0.7
    found = robustness(classes, ["1.42"], radii).check(timeout=20)
    assert sum(row.source is None for row in found.rows) == 3
    assert [row.outcome.value for row in found.rows] == ["holds"] * 5 + ["violated"] * 2


def test_what_follows_is_seen_in_the_normal_forms(classes: Network) -> None:
    def spec(eps: str, label: int = 0, image: object = ((2, 0),)) -> fk.Spec:
        return fk.patterns.robust(classes, image, label, eps)

    assert follows(spec("0.1"), spec("0.2")) and follows(spec("0.1"), spec("0.1"))
    assert not follows(spec("0.2"), spec("0.1"))
    assert not follows(spec("0.1", image=((0, 2),), label=1), spec("3", image=((1, 0),)))
    assert not follows(spec("0.1"), spec("0.2", image=((3, 0),)))
    other = loaded(dense([([[1, 0], [0, 1]], [0, 0])]))
    assert not follows(fk.patterns.robust(other, ((2, 0),), 0, "0.1"), spec("0.2"))
    same = loaded(dense([([[1, 0], [0, 1], [0, 0]], [0, 0, 0.25]), ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [0, 0, 0])]))
    assert not follows(fk.patterns.robust(same, ((2, 0),), 0, "0.1"), spec("0.2"))  # the same shapes, another network


def test_nothing_follows_in_another_semantics(classes: Network) -> None:
    x = fk.var(classes.input)
    given, prove = [fk.between(0, x, 1)], classes(x)[0, 0] <= 1
    real, default = fk.Spec(given, prove, semantics=Semantics.REAL), fk.Spec(given, prove)
    assert follows(real, real) and not follows(real, default) and not follows(default, real)


def test_what_is_computed_in_front_of_a_network_counts(classes: Network) -> None:
    """The same box of a light, driving other pixels: nothing follows."""

    def lit(image: object, high: str) -> fk.Spec:
        return fk.patterns.photometric(classes, image, 0, brightness=(0, high))

    assert follows(lit([[2, 1]], "0.1"), lit([[2, 1]], "0.2"))
    assert not follows(lit([[2, 1]], "0.1"), lit([[2, "1.5"]], "0.2"))


def test_a_decimal_that_is_no_binary32_number_does_not_follow_as_a_point(classes: Network) -> None:
    """The single point 1/10 means its nearest binary32 number, which need not lie in a narrow interval around 1/10."""
    x = fk.var(classes.input)

    def spec(first: tuple[object, object]) -> fk.Spec:
        given = [fk.between(first[0], x[0, 0], first[1]), fk.between(0, x[0, 1], 1)]
        return fk.Spec(given, prove=classes(x)[0, 0] <= 1)

    narrow = "0.1", "0.100000000001"
    assert not follows(spec(("0.1", "0.1")), spec(narrow))
    assert follows(spec(("0.1", "0.1")), spec(("0.1", "0.1")))
    assert follows(spec(("0.125", "0.125")), spec(("0.1", "0.2")))


def test_a_parameter_that_does_not_nest_is_asked_at_every_value(classes: Network) -> None:
    @fk.prop(each=[0], params={"limit": ["1", "2", "3"]})
    def bounded(point: int, limit: object) -> fk.Spec:
        return fk.patterns.in_range(classes, (0, "2.5"), high=limit)

    found = bounded.check(timeout=20)
    assert [(row.outcome.value, row.source) for row in found.rows] == [
        ("violated", None), ("violated", None), ("holds", None),
    ]  # fmt: skip


def test_what_cannot_be_asked_is_a_row_and_loses_no_other(classes: Network) -> None:
    @fk.prop(each=["good", "raises", "means nothing", "no spec", "late"])
    def mixed(kind: str) -> fk.Spec:
        if kind == "raises":
            raise ZeroDivisionError("in the function of the user")
        if kind == "means nothing":
            return fk.patterns.robust(classes, [[1, 0]], 7, "0.1")
        return None if kind == "no spec" else fk.patterns.robust(classes, [[1, 0]], 0, "0.1")  # type: ignore[return-value]

    seen: list[Row] = []
    found = mixed.check(timeout=20, report=seen.append)
    assert [row.outcome.value for row in found.rows] == ["holds", "error", "error", "error", "holds"]
    assert sorted(row.point for row in seen) == [0, 1, 2, 3, 4]
    assert isinstance(found.rows[1].error, ZeroDivisionError) and "in the function" in found.rows[1].detail
    assert found.rows[2].detail.startswith("FK405") and "specification" in found.rows[3].detail
    assert "error at point 1: ZeroDivisionError" in repr(found) and "error at point 2" in found._repr_html_()


def test_a_point_that_is_answered_otherwise_is_misclassified_and_not_asked(classes: Network) -> None:
    """At 0.25 class 2 is ahead."""
    found = robustness(classes, ["0.25", "2"], ("0.25", "0.5")).check(timeout=20)
    assert [row.outcome.value for row in found.rows] == ["misclassified", "misclassified", "holds", "holds"]
    assert found.rows[0].verdict is None and found.rows[0].detail.startswith("FK517")
    (point, _) = found.curve().points
    assert (point.certified, point.possible) == (0.5, 0.5)


def test_out_of_time_is_unknown_with_its_reason() -> None:
    net = fk.load(Path(__file__).resolve().parents[2] / "examples" / "networks" / "wave.onnx")

    @fk.prop(each=[(-2, 2)])
    def low(*domain: object) -> fk.Spec:
        return fk.patterns.in_range(net, domain, high="1.05")

    (row,) = low.check(timeout=0).rows
    assert row.outcome is Outcome.UNKNOWN and row.detail.startswith("timeout")


def test_the_curve_counts_points(results: Results, tmp_path: Path) -> None:
    curve = results.curve()
    assert [(p.value, p.certified, p.possible) for p in curve.points] == [
        ("0.125", 1, 1), ("0.25", 1, 1), ("0.5", 2 / 3, pytest.approx(2 / 3)), ("0.75", 1 / 3, pytest.approx(1 / 3)),
    ]  # fmt: skip
    curve.to_csv(tmp_path / "curve.csv")
    with (tmp_path / "curve.csv").open() as file:
        assert [row["eps"] for row in csv.DictReader(file)] == list(GRID)


def test_the_picture_is_an_image_with_a_mark_for_every_value(results: Results, tmp_path: Path) -> None:
    results.curve().to_svg(tmp_path / "curve.svg")
    root = ET.parse(tmp_path / "curve.svg").getroot()  # our own file
    marks = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter(f"{SVG}circle")]
    assert len(marks) == 4
    x, y = zip(*marks, strict=True)
    assert list(x) == sorted(x) and y[0] == y[1] < y[2] < y[3]  # down as the share falls
    above, below = ([tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
                    for line in root.iter(f"{SVG}polyline"))  # fmt: skip
    assert (x[2], y[3]) in below and (x[3], y[2]) in above  # between the last two values the lines claim less
    assert (x[1] - x[0]) * 2 == pytest.approx(x[2] - x[1], abs=0.2)  # 0.125 to 0.25, and 0.25 to 0.5


def test_files_read_back(results: Results, tmp_path: Path) -> None:
    results.to_csv(tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(int(row["point"]), row["eps"]): row["outcome"] for row in rows} == outcomes(results)
    results.to_json(tmp_path / "rows.json")
    data = json.loads((tmp_path / "rows.json").read_text())
    assert data["params"] == ["eps"] and len(data["rows"]) == 12
    assert all(("witness" in row) == (row["outcome"] == "violated") for row in data["rows"])


def test_results_are_tables_for_people(results: Results) -> None:
    lines = repr(results).splitlines()
    assert lines[0] == "stays" and lines[1].split()[:3] == ["eps", "holds", "violated"]
    assert lines[4].split()[:3] == ["0.5", "2", "1"]
    assert ET.fromstring(f"<div>{results._repr_html_()}</div>").find(".//table") is not None


def test_several_parameters_make_a_grid(classes: Network) -> None:
    @fk.prop(each=[[[2, 0]]], params={"eps": ["0.5", "1.25"], "label": [0, 1]})
    def stays(image: object, eps: object, label: int) -> fk.Spec:
        return fk.patterns.robust(classes, image, label, eps)

    found = stays.check(timeout=20)
    assert {(row.params["eps"], row.params["label"]): row.outcome.value for row in found.where(label=0).rows} == {
        ("0.5", "0"): "holds", ("1.25", "0"): "violated",
    }  # fmt: skip
    with pytest.raises(FarkasError, match="2 choices"):
        found.curve("eps")
    assert [p.holds for p in found.curve("eps", label=0).points] == [1, 0]


def test_certificates_are_written_for_what_is_asked(classes: Network, tmp_path: Path) -> None:
    found = robustness(classes, ["1.4"], ("0.25", "0.5")).check(timeout=20, certificates=tmp_path / "made")
    assert all(row.evidence == "certified" for row in found.rows)
    names = {path.name for path in (tmp_path / "made").iterdir()}
    assert {"stays-0-1.nnc", "stays-0-1.nnc.vnnlib"} <= names
    assert not any(name.startswith("stays-0-0") for name in names)


def test_critical_values_enclose_those_of_the_hand_calculation(classes: Network, tmp_path: Path) -> None:
    """At 1.4 class 0 stays up to 0.7, at 0.9 up to 0.4, at 0.25 nowhere, and at 4 beyond all that is asked."""
    found = robustness(classes, ["1.4", "0.9", "0.25", "4"]).critical("eps", 0, 1, tolerance="0.01", timeout=20)
    ends = [(row.critical.holds_at, row.critical.violated_at) for row in found.rows if row.critical is not None]
    assert len(ends) == 3  # the third point is answered otherwise itself
    for (holds_at, violated_at), wanted in zip(ends[:2], (Q("0.7"), Q("0.4")), strict=True):
        assert holds_at is not None and violated_at is not None
        assert violated_at - Q("0.01") <= holds_at < wanted < violated_at
    assert ends[2] == (Q(1), None)
    assert [row.outcome.value for row in found.rows] == ["holds", "holds", "misclassified", "holds"]

    curve = found.curve(20)  # at 0, 0.05, ..., 1; no value of the grid lies in one of the intervals
    shares = {Q(p.value): (p.holds, p.refuted) for p in curve.points}
    assert shares[Q(0)] == (3, 1) and shares[Q("0.35")] == (3, 1)
    assert shares[Q("0.45")] == (2, 2) and shares[Q("0.65")] == (2, 2)
    assert shares[Q("0.75")] == (1, 3) and shares[Q(1)] == (1, 3)

    found.to_csv(tmp_path / "critical.csv")
    with (tmp_path / "critical.csv").open() as file:
        assert [row["monotone"] for row in csv.DictReader(file)] == ["derived", "derived", "", "derived"]
    found.to_json(tmp_path / "critical.json")
    assert len(json.loads((tmp_path / "critical.json").read_text())["rows"]) == 4
    assert "holds_at" in repr(found) and "<svg" in found._repr_html_()


def test_a_claim_of_monotonicity_is_counted_on_request_only(classes: Network) -> None:
    """The l1 norm of few entries is bounded by the radius itself, which is seen; a square of it is not looked into."""

    @fk.prop(each=[0])
    def squared(point: int, r: object) -> fk.Spec:
        x = fk.var(classes.input)
        radius = fk.between(2 - r * r, x[0, 0], 2 + r * r)  # type: ignore[operator]
        return fk.Spec([radius, x[0, 1] == 0], prove=fk.argmax(classes(x)) == 0)

    found = squared.critical("r", 0, 2, tolerance="0.01", timeout=20)  # up to the root of 3/2
    assert found.rows[0].direction is None
    assert [p.holds for p in found.curve(2).points] == [0, 0, 0]
    assert [p.holds for p in found.curve(2, believe=True).points] == [1, 1, 0]


def test_the_specifications_of_a_loop_are_a_suite(classes: Network) -> None:
    """The first point is answered otherwise itself."""
    found = robustness(classes, ["0.25", "2"], ("0.5", "1.5")).specs()
    words = {name: spec.check(timeout=20).word for name, spec in found.items()}
    assert words == {"1,eps=0.5": "unsat", "1,eps=1.5": "sat"}
    with pytest.raises(fk.SpecError, match="FK305"):
        fk.prop(each=[[1, 2, 3]])(lambda image: fk.patterns.robust(classes, image, 0, 1)).specs()


@settings(max_examples=6, deadline=None)
@given(firsts=st.lists(st.integers(3, 16).map(lambda k: str(k / 8)), min_size=1, max_size=2), seed=st.integers(0, 99))
def test_what_follows_is_what_asking_would_have_said(classes: Network, firsts: list[str], seed: int) -> None:
    """In whatever order the radii stand."""
    radii = tuple(np.random.default_rng(seed).permutation(["0.1", "0.3", "0.45", "0.7", "1.1"]).tolist())
    together = outcomes(robustness(classes, firsts, radii).check(timeout=20))
    alone: dict[tuple[int, str], str] = {}
    for eps in radii:
        alone |= outcomes(robustness(classes, firsts, (eps,)).check(timeout=20))
    assert together == alone and "unknown" not in alone.values()


def test_a_loop_over_nothing_is_refused() -> None:
    with pytest.raises(fk.SpecError, match="FK601"):
        fk.prop(each=[])
    with pytest.raises(fk.SpecError, match="FK601"):
        fk.prop(each=[1], params={"eps": []})
