"""Certified intervals around greatest and least values, against exact enumeration.

A piecewise linear function of two inputs has its greatest value on a box at a point where two of the lines meet: edges
of the box, and lines on which a neuron changes its sign.  With one hidden layer these are all known, and the function
is evaluated there in exact rationals.
"""

from __future__ import annotations

import time
from fractions import Fraction as Q
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import farkas as fk
from farkas.api import Network, UnreadableFile, load_property
from farkas.checker.check import check
from farkas.ir.errors import FarkasError
from farkas.ir.onnx_import import load_onnx
from farkas.optimum import Optimum
from tests.farkas.queries import Files
from tests.nets import Weights, dense, random_layers

Point = tuple[Q, Q]
BOX = ((Q(-1), Q(1)), (Q(-1, 2), Q(1, 2)))


def made(layers: list[Weights]) -> Network:
    data = dense(layers).data
    return Network(load_onnx(data), data, None, "net")


def exact(layers: list[Weights], point: Point) -> Q:
    """The value of the one output at a point, in exact rationals."""
    values = list(point)
    for k, (weight, bias) in enumerate(layers):
        if k:
            values = [max(v, Q(0)) for v in values]
        values = [
            sum((Q(float(w)) * v for w, v in zip(row, values, strict=True)), Q(float(b)))
            for row, b in zip(weight, bias, strict=True)
        ]
    (value,) = values
    return value


def vertices(layers: list[Weights]) -> list[Point]:
    """All points of the box where two edges or sign changes meet."""
    weight, bias = layers[0]
    lines = [(Q(float(row[0])), Q(float(row[1])), -Q(float(b))) for row, b in zip(weight, bias, strict=True)]
    lines += [(Q(1), Q(0), end) for end in BOX[0]] + [(Q(0), Q(1), end) for end in BOX[1]]
    found = []
    for (a, b, e), (c, d, f) in combinations(lines, 2):
        determinant = a * d - b * c
        if determinant:
            x, y = (e * d - b * f) / determinant, (a * f - e * c) / determinant
            if BOX[0][0] <= x <= BOX[0][1] and BOX[1][0] <= y <= BOX[1][1]:
                found.append((x, y))
    return found


@settings(max_examples=8)
@given(st.integers(0, 10**6))
def test_the_interval_holds_the_exact_extremes_and_is_as_narrow_as_asked(seed: int) -> None:
    layers = random_layers(np.random.default_rng(seed), [2, 5, 1])
    values = [exact(layers, point) for point in vertices(layers)]
    net = made(layers)
    x = fk.var(net.input)
    found = fk.bounds(
        net(x), given=[fk.between(-1, x[0, 0], 1), fk.between("-0.5", x[0, 1], "0.5")], gap="0.01", semantics="real"
    )
    for part, wanted in ((found.lower, min(values)), (found.upper, max(values))):
        assert part.attained is not None and part.proved is not None
        low, high = sorted((part.attained, part.proved))
        assert low <= wanted <= high and part.gap is not None and part.gap <= Q("0.01") and part.reason == "gap"
        assert part.witness is not None and part.holds is not None
        first, second = part.witness.replay.inputs
        assert part.attained == exact(layers, (first, second))


@pytest.fixture
def magnitude(tiny: Files) -> Network:
    """|x|, exact in every order."""
    return fk.load(tiny.network)


def test_in_binary32_the_greatest_value_is_attained_by_an_execution(magnitude: Network) -> None:
    x = fk.var(magnitude.input)
    found = fk.maximize(magnitude(x), given=fk.between("-0.7", x, "0.3"), gap="0.001")
    assert found.attained is not None and found.proved is not None and found.witness is not None
    largest = Q(float(np.nextafter(np.float32(0.7), np.float32(0))))
    assert found.attained <= max(largest, Q(float(np.float32(0.7)))) and found.attained <= Q("0.7") <= found.proved
    assert found.attained == abs(found.witness.replay.inputs[0]) == found.witness.replay.outputs[0]
    assert found.semantics is not None and found.semantics.value == "f32-any"


def test_least_values_of_maxima_of_two_networks(magnitude: Network) -> None:
    """max(|a|, |b| + 1) with a + b >= 1: the least value is 1, at b = 0."""
    a, b = fk.var(magnitude.input, name="a"), fk.var(magnitude.input, name="b")
    given = [fk.between(-2, a, 2), fk.between(-2, b, 2), a + b >= 1]
    found = fk.minimize(fk.maximum(magnitude(a), magnitude(b) + 1), given=given, gap="0.01", semantics="real")
    assert found.attained is not None and found.proved is not None
    assert found.proved <= 1 <= found.attained <= found.proved + Q("0.01")


def test_the_greatest_input_with_a_small_output(magnitude: Network) -> None:
    x = fk.var(magnitude.input)
    found = fk.maximize(x, given=[fk.between(-3, x, 3), magnitude(x) <= "1.5"], gap="0.001", semantics="real")
    assert found.attained is not None and found.proved is not None
    assert found.attained <= Q("1.5") <= found.proved <= found.attained + Q("0.001")


def test_polynomials_rest_on_the_word_of_who_is_trusted(magnitude: Network) -> None:
    """x - |x| x on [0, 1] is x - x^2: at most 1/4."""
    x = fk.var(magnitude.input)
    expression, given = x - magnitude(x) * x, fk.between(0, x, 1)
    found = fk.maximize(expression, given=given, gap="0.01", semantics="real", trust=["crown"])
    assert found.attained is not None and found.proved is not None and found.evidence == "trusted:crown"
    assert found.attained <= Q(1, 4) <= found.proved <= found.attained + Q("0.01")
    without = fk.maximize(expression, given=given, gap="0.01", semantics="real", timeout=20)
    assert without.proved is None and without.reason == "stuck" and "--trust" in without.detail


def test_a_certificate_is_accepted_with_the_question_beside_it(magnitude: Network, tiny: Files) -> None:
    x = fk.var(magnitude.input)
    path = Path(tiny.network).with_name("peak.nnc")
    found = fk.maximize(magnitude(x), given=fk.between(-1, x, "0.5"), gap="0.01", certificate=path)
    assert found.evidence == "certified" and found.certificate == path and found.proved is not None
    question = Path(f"{path}.vnnlib").read_bytes()
    claim = check(path.read_bytes(), Path(tiny.network).read_bytes(), question)
    assert claim.verdict == "unsat"
    prop = fk.Spec(fk.between(-1, x, "0.5"), prove=magnitude(x) <= found.proved).property
    assert load_property(question).cases == prop.cases
    assert sorted(p.name for p in path.parent.iterdir() if "peak" in p.name or p.name.startswith(".")) == [
        "peak.nnc", "peak.nnc.vnnlib",
    ]  # fmt: skip


def test_reports_narrow_and_the_timeout_is_kept() -> None:
    layers = random_layers(np.random.default_rng(3), [12, 40, 40, 1], eighths=False)
    net = made(layers)
    x = fk.var(net.input)
    told: list[Optimum] = []
    start = time.monotonic()
    found = fk.maximize(net(x), given=fk.between(-1, x, 1), timeout=3, report=told.append)
    assert time.monotonic() - start < 4.5 and found.reason == "timeout"
    gaps = [one.gap for one in told if one.gap is not None]
    assert len(told) >= 3 and gaps == sorted(gaps, reverse=True) and found.gap == gaps[-1]


def test_a_point_is_found_or_there_is_none(magnitude: Network) -> None:
    x = fk.var(magnitude.input)
    box = fk.between(-2, x, 2)
    found = fk.find(given=[box, magnitude(x) >= "1.9", x <= 0])
    assert isinstance(found, fk.Violated) and -2 <= found.replay.inputs[0] <= Q("-1.9")
    assert found.named[0].name == "x" and found.named[0].values == found.replay.inputs
    assert isinstance(fk.find(given=[box, magnitude(x) >= "2.1"]), fk.Holds)


def test_what_nothing_satisfies_has_no_greatest_value(magnitude: Network) -> None:
    x = fk.var(magnitude.input)
    found = fk.maximize(magnitude(x), given=[fk.between(-1, x, 1), magnitude(x) >= 2], gap=1, semantics="real")
    assert found.reason == "empty" and found.attained is None and found.witness is None
    assert found.proved is not None and found.proved < -(2**100)


def test_what_cannot_be_optimised_says_what_to_write(magnitude: Network, tmp_path: Path) -> None:
    x = fk.var(magnitude.input)
    y, given = magnitude(x), fk.between(-1, x, 1)
    with pytest.raises(fk.SpecError) as raised:
        fk.maximize([y, y], given=given, gap=1)
    assert raised.value.code == "FK602" and raised.value.diagnostic.fix == "fk.maximize(fk.max(y), ...)"
    with pytest.raises(FarkasError, match="neither gap nor timeout"):
        fk.maximize(y, given=given)
    with pytest.raises(FarkasError, match="the gap is -1; a nonnegative number"):
        fk.maximize(y, given=given, gap=-1)
    with pytest.raises(UnreadableFile, match="there is no folder"):
        fk.maximize(y, given=given, gap=1, certificate=tmp_path / "missing" / "peak.nnc")


def test_results_are_shown_with_ends_rounded_to_the_safe_side(magnitude: Network) -> None:
    x = fk.var(magnitude.input, labels=("angle",))
    found = fk.maximize(magnitude(x), given=fk.between(0, x, "1/3"), gap="0.01")
    assert found.attained is not None and repr(found).startswith("<maximize: attained 0.33")
    words = dict(found.rows)
    assert Q(words["attained"]) <= found.attained and Q(words["proved"]) >= (found.proved or 0)
    assert Q(words["gap"]) >= (found.gap or 0)
    assert "<th>x.angle</th>" in found._repr_html_()
