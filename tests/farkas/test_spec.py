"""Specifications from end to end: networks small enough to know the answer by hand."""

from __future__ import annotations

import time
from fractions import Fraction as Q
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import farkas as fk
from farkas.api import Network
from farkas.checker.check import check
from farkas.specs.language_calls import call
from farkas.specs.vnnlib2 import read_document
from tests.farkas.queries import Files, absolute, model
from tests.specs.test_language import network as shapes_only


@pytest.fixture
def magnitude(tmp_path: Path) -> Network:
    """|x|, exact in every order."""
    return _loaded(tmp_path / "magnitude.onnx", absolute())


@pytest.fixture
def doubled(tmp_path: Path) -> Network:
    """2 |x|: the same with its result doubled, exact in every order."""
    nodes = [
        helper.make_node("Gemm", ["x", "w1"], ["z"], transB=1),
        helper.make_node("Relu", ["z"], ["a"]),
        helper.make_node("Gemm", ["a", "w2"], ["y"], transB=1),
    ]
    one = np.array([[1.0], [-1.0]], dtype=np.float32)
    return _loaded(tmp_path / "doubled.onnx", model(nodes, {"w1": one, "w2": 2 * np.abs(one).T}))


@pytest.fixture
def classes(tmp_path: Path) -> Network:
    """Two inputs, three outputs: relu(x0), relu(x1), 1/2."""
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["z"], transB=1),
        helper.make_node("Relu", ["z"], ["y"]),
    ]
    weights = np.array([[1, 0], [0, 1], [0, 0]], dtype=np.float32)
    bias = np.array([0, 0, 0.5], dtype=np.float32)
    return _loaded(tmp_path / "classes.onnx", model(nodes, {"w": weights, "b": bias}, width=2))


def _loaded(path: Path, data: bytes) -> Network:
    path.write_bytes(data)
    return fk.load(path)


def test_a_range_holds_or_is_violated_with_a_witness(magnitude: Network) -> None:
    x = fk.var(magnitude.input)
    y = magnitude(x)
    given = [fk.between(-1, x, "1.5")]
    assert isinstance(fk.Spec(given, prove=y <= "1.6").check(timeout=20), fk.Holds)
    answer = fk.Spec(given, prove=fk.abs(y - 1) <= "0.9").check(timeout=20, semantics="real")
    assert isinstance(answer, fk.Violated)
    (u,) = answer.replay.inputs
    assert -1 <= u <= Q(3, 2) and not abs(abs(u) - 1) <= Q(9, 10)


@pytest.mark.parametrize(("eps", "holds"), [("0.24", True), ("0.26", False)])
def test_robustness_holds_up_to_the_distance_of_the_boundary(classes: Network, eps: str, holds: bool) -> None:
    """Around (1, 0) class 0 is ahead of class 1 by 1 and of class 2 by 1/2; with a distance of 2 eps on every input the
    leads shrink by 4 eps and by 2 eps, so both last up to eps = 1/4."""
    x = fk.var(classes.input, labels=("first", "second"))
    y = classes(x)
    given = [fk.linf(2 * x - [2, 0]) <= 4 * Q(eps)]
    answer = fk.Spec(given, prove=fk.argmax(y) == 0).check(timeout=20)
    assert isinstance(answer, fk.Holds if holds else fk.Violated)
    if isinstance(answer, fk.Violated):
        assert int(np.argmax(np.array([float(v) for v in answer.replay.outputs]))) != 0


def test_implications_and_norms_are_proved(classes: Network) -> None:
    x = fk.var(classes.input, labels=("first", "second"))
    y = classes(x)[0]
    given = [fk.between(-1, x, 1), fk.l1(x) <= 1]
    # relu(a) + relu(b) <= |a| + |b| <= 1, and the third output is 1/2
    assert isinstance(fk.Spec(given, prove=y.sum() <= "1.51").check(timeout=20), fk.Holds)
    assert isinstance(fk.Spec(given, prove=y.sum() <= "1.49").check(timeout=20), fk.Violated)
    premise = x.first <= "0.4"
    assert isinstance(fk.Spec(given, prove=premise >> (fk.argmax(y) != 0)).check(timeout=20), fk.Holds)
    assert isinstance(fk.Spec(given, prove=fk.implies(~premise, fk.argmax(y) != 0)).check(timeout=20), fk.Violated)


def test_two_copies_are_monotone(magnitude: Network) -> None:
    low, high = fk.var(magnitude.input, name="low"), fk.var(magnitude.input, name="high")
    given = [fk.between("0.5", low, 1), fk.between("0.5", high, 1), low <= high - "0.125"]
    assert isinstance(fk.Spec(given, prove=magnitude(low) <= magnitude(high)).check(timeout=20), fk.Holds)
    swapped = fk.Spec(given, prove=magnitude(high) <= magnitude(low)).check(timeout=20)
    assert isinstance(swapped, fk.Violated)
    first, second = swapped.replay.inputs  # of magnitude(high), which the conclusion mentions first, and of the other
    assert second <= first - Q(1, 8)
    assert swapped.replay.outputs == (first, second)


def test_two_networks_on_one_input_differ_by_at_most_its_magnitude(magnitude: Network, doubled: Network) -> None:
    x = fk.var(magnitude.input)
    difference = doubled(x) - magnitude(x)
    given = [fk.between(-1, x, 1)]
    answer = fk.Spec(given, prove=difference <= "0.9").check(timeout=20)
    assert isinstance(answer, fk.Violated)
    first, second = answer.replay.inputs
    assert first == second and abs(first) > Q(9, 10)
    assert isinstance(fk.Spec(given, prove=difference <= "1.1").check(timeout=20), fk.Holds)


def test_verify_takes_what_a_spec_is(tiny: Files, magnitude: Network) -> None:
    x = fk.var(magnitude.input)
    spec = fk.Spec(fk.between(-1, x, 2), magnitude(x) <= "2.1")
    assert isinstance(fk.verify(magnitude, spec.property, timeout=20), fk.Holds)
    assert repr(spec) == "<spec: 1 inputs, 1 outputs, 1 boxes, 1 disjuncts>"


def test_what_cannot_be_checked_says_so(tmp_path: Path, magnitude: Network) -> None:
    x = fk.var((1, 2))
    (y,) = call(shapes_only(), x)
    with pytest.raises(fk.SpecError, match="FK510"):
        fk.Spec([fk.between(0, x, 1)], y[0, 0] <= 1).check()
    for bad in (True, None, 3):
        with pytest.raises(fk.SpecError, match="FK506"):
            fk.Spec(bad, y[0, 0] <= 1)  # type: ignore[arg-type]
        with pytest.raises(fk.SpecError, match="FK506"):
            fk.Spec([fk.between(0, x, 1)], bad)  # type: ignore[arg-type]


def test_several_tensors_are_called_by_another_name(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["a", "b"], ["s"]),
        helper.make_node("Sub", ["a", "b"], ["d"]),
    ]
    net = _loaded(tmp_path / "two.onnx", model(nodes, {}, inputs=("a", "b"), outputs=("s", "d"), width=2))
    with pytest.raises(fk.SpecError, match="FK511"):
        _ = net.input
    a, b = fk.var((1, 2)), fk.var((1, 2))
    with pytest.raises(fk.SpecError, match="FK511"):
        net(a, b)
    total, difference = net.outputs_at(a, b)
    assert total.shape == difference.shape == (1, 2)
    given = [fk.between(0, a, 1), fk.between(2, b, 3)]
    assert isinstance(fk.Spec(given, prove=(total >= "1.9") & (difference <= "-0.9")).check(timeout=20), fk.Holds)


def test_a_saved_specification_reads_back_as_the_same_property(tmp_path: Path, classes: Network) -> None:
    x = fk.var(classes.input)
    spec = fk.Spec(
        [fk.between("-1/3", x, "0.7"), x.sum() <= 1], prove=(fk.argmax(classes(x)) == 0) | (x[0, 0] <= "1/3")
    )
    text = spec.save(tmp_path / "spec.vnnlib")
    found = fk.verify(classes, tmp_path / "spec.vnnlib", timeout=20)
    assert isinstance(found, type(spec.check(timeout=20)))
    back = read_document(text.decode()).property()
    for point in ((Q(-1, 3), Q(7, 10)), (Q(1, 3), Q(1, 3)), (Q(1, 2), Q(1, 2)), (Q(7, 10), Q(7, 10)), (Q(1, 2), Q(0))):
        for output in ((Q(1), Q(0), Q(1)), (Q(0), Q(1), Q(1)), (Q(0), Q(0), Q(1, 7))):
            assert back.is_unsafe(point, output) == spec.property.is_unsafe(point, output)


def test_a_specification_is_certified_through_its_saved_file(tmp_path: Path, classes: Network) -> None:
    x = fk.var(classes.input)
    spec = fk.Spec([fk.linf(x - [1, 0]) <= "0.1"], prove=fk.argmax(classes(x)) == 0)
    answer = spec.check(timeout=20, certificate=tmp_path / "proof.nnc")
    assert isinstance(answer, fk.Holds) and answer.evidence == "certified"
    property_bytes = (tmp_path / "proof.nnc.vnnlib").read_bytes()
    accepted = check((tmp_path / "proof.nnc").read_bytes(), classes.data, property_bytes)
    assert accepted.verdict == "unsat"


def test_copies_are_certified_as_equal_networks(tmp_path: Path, magnitude: Network, doubled: Network) -> None:
    low, high = fk.var(magnitude.input), fk.var(magnitude.input)
    given = [fk.between("0.5", low, 1), fk.between("0.5", high, 1), low <= high - "0.125"]
    spec = fk.Spec(given, prove=magnitude(low) <= magnitude(high))
    answer = spec.check(timeout=20, certificate=tmp_path / "proof.nnc")
    assert isinstance(answer, fk.Holds) and answer.evidence == "certified"
    assert "(equal-to f1)" in (tmp_path / "proof.nnc.vnnlib").read_text()
    both = fk.Spec(given, prove=magnitude(low) <= doubled(high))
    assert isinstance(both.check(timeout=20, certificate=tmp_path / "both.nnc"), fk.Holds)
    networks = [("f1", magnitude.data), ("f2", doubled.data)]
    accepted = check((tmp_path / "both.nnc").read_bytes(), networks, (tmp_path / "both.nnc.vnnlib").read_bytes())
    assert accepted.verdict == "unsat"


def test_robustness_on_784_inputs_is_built_in_50_ms() -> None:
    centre = np.random.default_rng(0).random((1, 784), dtype=np.float32)
    net = shapes_only((1, 784), (1, 10))

    def build() -> tuple[float, fk.Spec]:
        start = time.process_time()
        x = fk.var((1, 784))
        (y,) = call(net, x)
        spec = fk.Spec(given=[fk.linf(x - centre) <= "2/255", fk.between(0, x, 1)], prove=fk.argmax(y) == 7)
        return time.process_time() - start, spec

    built = [build() for _ in range(5)]
    (case,) = built[0][1].property.cases
    assert len(case.disjuncts) == 9
    assert case.lower[0] == max(Q(0), Q(float(centre[0, 0])) - Q(2, 255))
    assert min(spent for spent, _ in built) < 0.05


def test_a_parameter_gets_its_value_later(classes: Network) -> None:
    """As above, with a distance of eps: robust around (1, 0) up to 1/2."""
    x = fk.var(classes.input)
    eps, width = fk.parameter("eps"), fk.parameter("width")
    spec = fk.Spec([fk.linf(x - [1, 0]) <= eps, fk.between(-width, x, 2 * width)], prove=fk.argmax(classes(x)) == 0)
    assert spec.parameters == ("eps", "width") and repr(spec) == "<spec with the parameters eps, width>"
    half = spec.at(width=2)
    assert half.parameters == ("eps",)
    closed = half.at(eps="1/4")
    assert closed.parameters == ()
    stated = fk.Spec([fk.linf(x - [1, 0]) <= "1/4", fk.between(-2, x, 4)], prove=fk.argmax(classes(x)) == 0)
    assert closed.property == stated.property
    assert isinstance(half.at(eps="0.49").check(timeout=20), fk.Holds)
    assert isinstance(half.at(eps="0.51").check(timeout=20), fk.Violated)
    with pytest.raises(fk.SpecError, match=r"spec.at\(eps=...\)"):
        half.check()
    with pytest.raises(fk.SpecError, match="FK513"):
        half.at(epsilon=1)
    with pytest.raises(fk.SpecError, match="FK503"):
        half.at(eps=-1)


def test_whatever_the_answer_it_has_a_witness_and_a_certificate_or_none() -> None:
    net = fk.load("examples/networks/avoidance.onnx")
    x = fk.var(net.input)
    point = [x == np.array([1.75, 0.0, 3.0, 0.25, 0.25], dtype=np.float32)]
    low, high = net(x)[0, 0] >= -100, net(x)[0, 0] >= 100
    holds, violated = fk.Spec(point, low).check(timeout=20), fk.Spec(point, high).check(timeout=20)
    unknown = fk.Spec([fk.between(0, x, 1)], low).check(timeout=0)
    assert [r.word for r in (holds, violated, unknown)] == ["unsat", "sat", "timed-out"]
    assert holds.witness is None and unknown.witness is None and str(violated.witness).startswith("(")
    assert [r.certificate for r in (holds, violated, unknown)] == [None, None, None]
