"""Records of violations: there is none of a point outside the set, of one that does not violate, or of half a run."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from onnx import helper

from farkas.engine import replay as replay_module
from farkas.engine.replay import NotAWitness, Replay, Replayer
from farkas.engine.runtime import Runtime
from farkas.specs.query import Semantics
from tests.models import make_model
from tests.nets import Net, affine, atom, case, dense, random_layers

LINE = affine([[2.0]], [1.0])
HALF = Fraction(1, 2)
# y = 2 x + 1 on [0, 1]; unsafe where y >= 2, so from x = 1/2 on.
UNSAFE = case([0], [1], [atom([1], -5)], [atom([-1], -2)])


def replayer(net: Net, semantics: Semantics) -> Replayer:
    return Replayer(net.graph, net.program, net.data, semantics)


def record(semantics: Semantics = Semantics.F32_ANY) -> Replay:
    found = replayer(LINE, semantics).attempt(3, UNSAFE, np.array([0.5]))
    assert found is not None
    return found


@pytest.mark.parametrize("semantics", [Semantics.REAL, Semantics.F32_ANY])
def test_a_violating_point_gives_a_record_of_what_was_computed(semantics: Semantics) -> None:
    found = record(semantics)
    assert (found.case_number, found.disjunct, found.inputs, found.outputs) == (3, 1, (HALF,), (Fraction(2),))
    assert not found.any_order
    if semantics is Semantics.REAL:
        assert (found.executor, found.runtime, found.input_bits) == ("exact", "", ("1/2",))
    else:
        assert found.executor == "mlas-k256-fma" and "onnxruntime" in found.runtime
        assert (found.input_bits, found.output_bits) == (("3f000000",), ("40000000",))
        assert found.runtime_outputs == (Fraction(2),)


@pytest.mark.parametrize("semantics", [Semantics.REAL, Semantics.F32_ANY])
@pytest.mark.parametrize("x", [0.49, 0.0])
def test_a_point_that_does_not_violate_gives_none(semantics: Semantics, x: float) -> None:
    assert replayer(LINE, semantics).attempt(0, UNSAFE, np.array([x])) is None


@pytest.mark.parametrize("x", [1.0000001, 2.0, float("nan"), float("inf"), -0.1])
def test_a_point_outside_the_set_gives_none_in_binary32(x: float) -> None:
    """Though y >= 2 there, but for -0.1."""
    if np.isfinite(x):
        assert replayer(LINE, Semantics.F32_ANY).attempt(0, UNSAFE, np.array([x])) is None
    else:
        with pytest.raises((ValueError, OverflowError)):
            replayer(LINE, Semantics.F32_ANY).attempt(0, UNSAFE, np.array([x]))


def test_over_the_reals_a_candidate_is_moved_into_the_box_before_it_is_judged() -> None:
    third = Fraction(1, 3)
    point = case([0], [third], [atom([-1], -1 - 2 * third)])
    found = replayer(LINE, Semantics.REAL).attempt(0, point, np.array([0.4]))
    assert found is not None and found.inputs == (third,)


def changed(found: Replay, **fields: Any) -> Replay:
    return replace(found, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"inputs": (Fraction(2),)}, "input set"),
        ({"inputs": (Fraction(-1),)}, "input set"),
        ({"inputs": (HALF + Fraction(1, 2**60),)}, "input set"),  # no binary32 number
        ({"inputs": (Fraction(1, 3),)}, "input set"),
        ({"outputs": (Fraction(2) - Fraction(1, 10**30),)}, "atom"),
        ({"runtime_outputs": (Fraction(1),)}, "atom"),
        ({"disjunct": 0}, "atom"),
        ({"runtime": ""}, "second execution"),
        ({"case": case([0], [1], [atom([1], -5)], [atom([-1], -2, strict=True)])}, "atom"),
        ({"case": case([0], [Fraction(1, 4)], [atom([1], -5)], [atom([-1], -2)])}, "input set"),
    ],
)
def test_a_record_of_anything_else_cannot_be_made(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(NotAWitness, match=message):
        changed(record(), **fields)


def test_over_the_reals_every_rational_of_the_box_may_be_a_witness_and_no_other() -> None:
    found = record(Semantics.REAL)
    third = Fraction(2, 3)
    moved = changed(found, inputs=(third,), outputs=(2 * third + 1,))
    assert moved.input_bits == ("2/3",)
    with pytest.raises(NotAWitness):
        changed(found, inputs=(1 + Fraction(1, 10**40),), outputs=(Fraction(3),))


def test_both_executions_must_violate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime that computes something else, or nothing finite, keeps the candidate from being a witness."""
    for value in (1.0, np.nan, np.inf, -np.inf):

        def run(self: Runtime, x: Any, value: float = value) -> Any:
            return np.array([value], dtype=np.float32)

        monkeypatch.setattr(Runtime, "run", run)
        found = replayer(LINE, Semantics.F32_ANY).attempt(0, UNSAFE, np.array([0.5]))
        assert found is None or value == np.inf
        assert found is None


def test_non_finite_outputs_are_no_witness() -> None:
    """x 3e38 3e38 is infinite, and infinity is at least 2."""
    net = dense([([[3e38]], [0.0]), ([[3e38]], [0.0])])
    unsafe = case([1], [2], [atom([-1], -2)])
    assert replayer(net, Semantics.F32_ANY).attempt(0, unsafe, np.array([1.0])) is None
    assert replayer(net, Semantics.REAL).attempt(0, unsafe, np.array([1.0])) is not None


def test_an_execution_order_that_an_operator_lacks_is_passed_over() -> None:
    """Sums of a MatMul from the left have no order in mlas-k256-fma; the next executor is tried."""
    from onnx import helper

    from tests.models import make_model

    nodes = [helper.make_node("MatMul", ["w", "x"], ["y"])]
    net = Net(make_model(nodes, {"x": [2, 1]}, {"w": np.eye(2, dtype=np.float32)}, opset=13))
    found = replayer(net, Semantics.F32_ANY).attempt(0, case([0, 0], [1, 1], [atom([-1, 0], -1)]), np.ones(2))
    assert found is not None and found.executor == "seq-fma"


def test_zero_has_one_sign_in_a_witness() -> None:
    found = replayer(affine([[1.0]]), Semantics.F32_ANY).attempt(0, case([-1], [1], [atom([1], 0)]), np.array([-0.0]))
    assert found is not None and found.input_bits == ("00000000",)


def test_witness_text_says_exact_decimals() -> None:
    found = replayer(LINE, Semantics.F32_ANY).attempt(0, UNSAFE, np.array([0.7]))
    assert found is not None
    assert "(X_0 0.699999988079071044921875)" in found.text.replace("\n", " ")


def test_networks_too_large_for_rationals_have_no_exact_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    net = dense(random_layers(np.random.default_rng(0), (1, 3, 1)))
    unsafe = case([0], [1], [atom([0], 0)])
    assert replayer(net, Semantics.REAL).attempt(0, unsafe, np.array([0.5])) is not None
    monkeypatch.setattr(replay_module, "LARGEST_EXACT", 5)
    assert replayer(net, Semantics.REAL).attempt(0, unsafe, np.array([0.5])) is None


def test_moved_data_is_no_work_for_an_exact_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty copies of the input, of which one is doubled: one product."""
    nodes = [
        helper.make_node("Gather", ["x", "copies"], ["many"], axis=1),
        helper.make_node("Gather", ["many", "last"], ["one"], axis=1),
        helper.make_node("Mul", ["one", "two"], ["y"]),
    ]
    values = {"copies": np.zeros(50, dtype=np.int64), "last": np.array([49]), "two": np.array([2], dtype=np.float32)}
    monkeypatch.setattr(replay_module, "LARGEST_EXACT", 1)
    net = Net(make_model(nodes, {"x": (1, 1)}, values, opset=13))
    found = replayer(net, Semantics.REAL).attempt(0, case([0], [1], [atom([-1], -1)]), np.array([0.75]))
    assert found is not None and found.outputs == (Fraction(3, 2),)
