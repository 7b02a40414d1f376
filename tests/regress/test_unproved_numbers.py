"""Numbers that prove nothing: each of these once closed a box, never ended, or ended in a traceback.

The property tests over extreme weights (tests/runtime_cuda) and the failure injection (tests/engine) are the kinds of
test that find such things.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import onnx
import pytest
from onnx import helper

from farkas.engine.verdict import Holds, Reason, Unknown, Violated
from farkas.ir.core import run_exact
from farkas.specs.query import Semantics
from tests.engine.deciding import decided
from tests.models import make_model
from tests.nets import Net, affine, atom, case, dense
from tests.runtime_cuda.bounding import bounded
from tests.runtime_cuda.executions import at_most

overflows = pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")


@overflows
def test_a_neuron_whose_bound_is_no_number_is_not_taken_for_inactive() -> None:
    """Eight layers of 1e38 leave float64's range: -inf + inf is NaN, `NaN > 0` is false, and the neuron was dropped.

    It is a needle at x = -0.6122 of height 2^-14 minus 1e342 relu(x); dead neurons beside it make packing worthwhile.
    """
    a, d, dead = -0.6123046875, 2.0**-14, 12
    zeros, rest = np.zeros((2, dead)), np.hstack([np.zeros((dead, 2 + dead))])
    layers = [
        (np.array([[1e38], [1], [1], [1], *[[-1]] * dead]), np.array([0, -a, -a - d, -a - 2 * d, *[-5] * dead])),
        (
            np.vstack([np.eye(1, 4 + dead) * 1e38, [[0, 1, -2, 1, *[0] * dead]], np.zeros((dead, 4 + dead))]),
            np.array([0, 0, *[-1] * dead]),
        ),
        *[(np.vstack([np.hstack([np.diag([1e38, 1.0]), zeros]), rest]), np.array([0, 0, *[-1] * dead]))] * 6,
        (np.array([[-1e38, 1.0, *[0] * dead]]), np.zeros(1)),
        (np.ones((1, 1)), np.zeros(1)),
    ]
    net = dense(layers)
    needle = case([-1], [2], [atom([-1], -Fraction(d) * Fraction(3, 4))])
    top = Fraction(a + d)
    assert needle.violated_disjunct([top], list(run_exact(net.program, [top]))) == 0
    assert not isinstance(decided(net, [needle], timeout_s=0.5), Holds)


@overflows
@pytest.mark.parametrize("bound", [3.0, 1.5])
def test_a_network_that_overflows_on_the_way_is_unknown_and_names_the_node(bound: float) -> None:
    """x 1e30 1e30 1e-30 1e-30 = x over the reals, and infinite in every binary32 execution."""
    net = dense([([[1e30]], [0]), ([[1e30]], [0]), ([[1e-30]], [0]), ([[1e-30]], [0])])
    unsafe = [case([1], [2], [atom([-1], -bound)])]
    verdict = decided(net, unsafe, Semantics.F32_ANY)
    assert isinstance(verdict, Unknown) and verdict.reason is Reason.OVERFLOW
    assert "'z1'" in verdict.detail
    assert isinstance(decided(net, unsafe, Semantics.REAL, timeout_s=0.5), Violated) == (bound < 2)


@overflows
def test_an_overflow_in_some_executions_only_is_no_unsat() -> None:
    """2e38 + 2e38 - 2e38 may or may not overflow, as the order has it."""
    net = affine([[2e38, 2e38, -2e38]])
    verdict = decided(net, [case([1] * 3, [1] * 3, [atom([1], 0)])], Semantics.F32_ANY)
    assert isinstance(verdict, Unknown) and verdict.reason is Reason.OVERFLOW and "'y'" in verdict.detail


@pytest.mark.parametrize("semantics", [Semantics.REAL, Semantics.F32_ANY])
@pytest.mark.parametrize("inputs", [1, 2])
def test_a_box_that_cannot_be_cut_is_given_up(semantics: Semantics, inputs: int) -> None:
    """y < 0 for y = x on [0, 1]: down at one grid step the second half was the box itself, for ever.

    Over the reals a solver knows that it holds, which is no verdict.
    """
    net = affine([[1.0] * inputs])
    unsafe = atom([1], 0, strict=True)
    verdict = decided(net, [case([0] * inputs, [1] * inputs, [unsafe])], semantics, timeout_s=60.0)
    expected = Reason.UNCERTIFIED if semantics is Semantics.REAL else Reason.GAP
    assert isinstance(verdict, Unknown) and verdict.reason is expected


@pytest.mark.parametrize("semantics", [Semantics.REAL, Semantics.F32_ANY])
def test_zero_below_zero_is_false_at_once(semantics: Semantics) -> None:
    assert decided(affine([[1.0]]), [case([0], [1], [atom([], 0, strict=True)])], semantics).word == "unsat"


def test_thresholds_that_no_float64_holds_are_compared_all_the_same() -> None:
    net = affine([[1.0]])
    assert decided(net, [case([0], [1], [atom([1], -Fraction(10**400))])]).word == "unsat"
    assert decided(net, [case([0], [1], [atom([1], Fraction(10**400))])]).word == "sat"


def test_products_that_underflow_to_zero_still_have_a_sign() -> None:
    """2^-126 (relu(x) - x), the Relu taken at 2^-1134 x: in float64 that is 0, and relu was the identity."""
    node = helper.make_node
    constants = {name: np.array([[2.0**k]], dtype=np.float32) for name, k in (("down", -126), ("up", 126))}
    nodes: list[onnx.NodeProto] = []
    value = "x"
    for i in range(9):
        nodes.append(node("Gemm", [value, "down"], [f"d{i}"]))
        value = f"d{i}"
    nodes.append(node("Relu", [value], ["r"]))
    value = "r"
    for i in range(8):
        nodes.append(node("Gemm", [value, "up"], [f"u{i}"]))
        value = f"u{i}"
    nodes += [node("Gemm", ["x", "down"], ["g"]), node("Sub", [value, "g"], ["y"])]
    net = Net(make_model(nodes, {"x": [1, 1]}, constants, opset=13))
    truth = run_exact(net.program, [Fraction(-1)])[0]
    assert truth == Fraction(1, 2**126)
    found = bounded(net.program, ((Fraction(-1),), (Fraction(1),)))
    assert at_most(float(found.rows(np.array([[-1.0]]))[0, 0, 0]), -truth)


def test_a_network_without_an_exact_value_is_undecided_over_the_reals_and_decided_in_binary32() -> None:
    """The square root in BatchNormalization: replaying a candidate once raised out of `verify`."""
    ones, zeros = np.ones(2, dtype=np.float32), np.zeros(2, dtype=np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("BatchNormalization", ["z", "s", "b", "m", "v"], ["y"]),
    ]
    constants = {"w": np.eye(2, dtype=np.float32), "s": ones, "b": zeros, "m": zeros, "v": ones}
    net = Net(make_model(nodes, {"x": [1, 2]}, constants, opset=13))
    unsafe = [case([0, 0], [1, 1], [atom([1, 0], 0.5)])]
    assert isinstance(decided(net, unsafe, timeout_s=0.3), Unknown)
    assert isinstance(decided(net, unsafe, Semantics.F32_ANY), Violated)


def test_cases_without_binary32_points_leave_the_query_incomplete_not_in_a_gap() -> None:
    """The empty case was searched at [0, 0], where y <= 0 holds up to rounding."""
    low = Fraction(1, 10)
    empty = case([low], [low + Fraction(1, 10**12)], [atom([1], 0)])
    verdict = decided(affine([[1.0]]), [empty, case([1], [2], [atom([1], -1)])], Semantics.F32_ANY)
    assert isinstance(verdict, Unknown) and verdict.reason is Reason.INCOMPLETE
