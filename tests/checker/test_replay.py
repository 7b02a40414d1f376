"""Witnesses: executors by hand and against NumPy, and every way in which a point can be wrong."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from onnx import helper

from farkas.checker import binary32
from farkas.checker.check import check
from farkas.checker.errors import CertificateRejected
from farkas.checker.network import read_network
from farkas.checker.replay import EXECUTORS, execute
from tests.checker.nets import Claim, dense, model, point_certificate, vnnlib

LAYERS = [([[1.0, -2.0], [0.5, 1.0]], [0.25, -1.0]), ([[1.0, -1.0]], [0.0])]
FLOAT_EXECUTORS = ("seq-fma", "seq-muladd", "mlas-k256-fma")


def bits(x: float) -> str:
    return f"{struct.unpack('<I', struct.pack('<f', x))[0]:08x}"


def ticks(x: float) -> int:
    return binary32.from_bits(int(bits(x), 16))


def outputs(network: bytes, x: list[float], executor: str) -> list[float]:
    return [
        float(binary32.value(v)) for v in execute(read_network(network), [ticks(v) for v in x], EXECUTORS[executor])
    ]


def row(weights: list[float], bias: float) -> bytes:
    return dense([([weights], [bias])])


def test_the_orders_differ_as_they_are_declared() -> None:
    e = 2.0**-23
    # The product (1 + e)^2 = 1 + 2 e + e^2 is no binary32 number: fma keeps e^2 = 2^-46, mul and add lose it.
    x = [1.0 + e, 1.0]
    weights = [1.0 + e, -(1.0 + 2 * e)]
    swapped = row(weights[::-1], 0.0), x[::-1]
    assert outputs(*swapped, "seq-fma") == [2.0**-46]
    assert outputs(*swapped, "seq-muladd") == [0.0]
    # The bias is added last, or first: 2^24 + 1 is not representable and rounds to 2^24 (even).
    network = row([1.0, 1.0], 2.0**24)
    assert outputs(network, [1.0, 1.0], "seq-fma") == [2.0**24 + 2]
    ones = row([1.0] * 257, 2.0**24)
    # blocks of 256 and 1: 2^24 + 256 is exact, the last 1 is lost; in sequence 257 is summed first: 2^24 + 257 -> + 256
    assert outputs(ones, [1.0] * 257, "mlas-k256-fma") == [2.0**24 + 256]
    assert outputs(row([1.0] * 259, 2.0**24), [1.0] * 259, "seq-fma") == [2.0**24 + 260]  # 259 is a tie: to even
    assert outputs(row([1.0] * 259, 2.0**24), [1.0] * 259, "mlas-k256-fma") == [
        2.0**24 + 260
    ]  # 256, then 3: a tie again


def test_muladd_agrees_with_numpy_in_sequence() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        weights, x = rng.standard_normal((2, 30)).astype(np.float32)
        total = np.float32(0)
        for w, a in zip(weights, x, strict=True):
            total = np.float32(total + np.float32(w * a))
        expected = np.float32(total + np.float32(0.3))
        (actual,) = outputs(row(weights.tolist(), float(np.float32(0.3))), x.tolist(), "seq-muladd")
        assert actual == float(expected)


def test_sums_quotients_and_moves_round_once() -> None:
    third = float(np.float32(1) / np.float32(3))
    nodes = [
        helper.make_node("Div", ["x", "d"], ["a"]),
        helper.make_node("Sub", ["c", "a"], ["b"]),
        helper.make_node("Transpose", ["b"], ["t"]),
        helper.make_node("Concat", ["t", "t"], ["u"], axis=0),
        helper.make_node("Neg", ["u"], ["y"]),
    ]
    constants = {"d": np.array([3, 3], np.float32), "c": np.array([[0.1, 7.5]], np.float32)}
    network = model(nodes, constants, (1, 2))
    first = -float(np.float32(0.1) - np.float32(third))
    second = -float(np.float32(7.5) - np.float32(np.float32(2) / np.float32(3)))
    for executor in FLOAT_EXECUTORS:
        assert outputs(network, [1.0, 2.0], executor) == [first, second, first, second]


def claim(unsafe: str, semantics: str = "f32-any", low: str = "0.1", high: str = "0.7") -> Claim:
    box = [Fraction(low)] * 2, [Fraction(high)] * 2
    return Claim(dense(LAYERS), vnnlib(*box, 1, unsafe), semantics)


X = [0.5, 0.25]
# z = (0.5 - 0.5 + 0.25, 0.25 + 0.25 - 1) = (0.25, -0.5), y = 0.25
Y = 0.25
POINT: dict[str, Any] = {
    "case": 0,
    "disjunct": 0,
    "executor": "seq-fma",
    "input": [bits(v) for v in X],
    "output": [bits(Y)],
}
EXACT = {**POINT, "executor": "exact", "input": ["1/2", "1/4"], "output": ["1/4"]}


def accepts(c: Claim, point: object) -> bool:
    try:
        accepted = check(point_certificate(c, point), c.network, c.prop, semantics=c.semantics, verdict="sat")
    except CertificateRejected as error:
        assert "POINT" in str(error), error
        return False
    assert accepted.verdict == "sat"
    return True


def test_a_true_witness_is_accepted_by_every_executor() -> None:
    for executor in FLOAT_EXECUTORS:
        assert accepts(claim("(<= Y_0 0.25)"), {**POINT, "executor": executor})
    assert accepts(claim("(<= Y_0 0.25)", "real"), EXACT)


def test_atoms_are_exact_and_strict_ones_exclude_equality() -> None:
    assert not accepts(claim("(< Y_0 0.25)"), POINT)
    assert not accepts(claim("(<= Y_0 0.24999999999999999999)"), POINT)
    assert accepts(claim("(< Y_0 0.25000000000000000001)"), POINT)
    assert accepts(claim("(and (<= Y_0 0.3) (>= (+ Y_0 X_0) 0.75))"), POINT)
    assert not accepts(claim("(and (<= Y_0 0.3) (> (+ Y_0 X_0) 0.75))"), POINT)
    assert not accepts(claim("(< Y_0 0.25)", "real"), EXACT)


def test_products_are_exact() -> None:
    """x = (1/2, 1/4), y = 1/4: x_0 x_1 y = 1/32, and x_0^2 - y^2 = 3/16."""
    for semantics, point in (("f32-any", POINT), ("real", EXACT)):
        for limit, good in (("0.03125", True), ("0.0312499999999", False)):
            assert accepts(claim(f"(<= (* X_0 X_1 Y_0) {limit})", semantics), point) == good
        for limit, good in (("0.1875", True), ("0.18749999", False)):
            assert accepts(claim(f"(<= (- (* X_0 X_0) (* Y_0 Y_0)) {limit})", semantics), point) == good


def test_one_disjunct_must_hold_entirely_and_it_is_the_stated_one() -> None:
    c = claim("(or (<= Y_0 0) (<= Y_0 0.25))")
    assert not accepts(c, POINT)
    assert accepts(c, {**POINT, "disjunct": 1})
    for disjunct in (2, -1, True, "0"):
        assert not accepts(c, {**POINT, "disjunct": disjunct})
    for case in (1, -1, False):
        assert not accepts(c, {**POINT, "case": case})


def test_decimal_bounds_are_exact() -> None:
    tenth = np.float32(0.1)  # lies above 0.1; its predecessor below
    below = float(np.nextafter(tenth, np.float32(0)))
    c = claim("(<= Y_0 9)")
    for x, inside in [(float(tenth), True), (below, False), (float(np.float32(0.7)), True), (0.70001, False)]:
        y = outputs(c.network, [x, 0.25], "seq-fma")
        point = {**POINT, "input": [bits(x), bits(0.25)], "output": list(map(bits, y))}
        # binary32(0.7) is 0.699999988, inside
        assert accepts(c, point) == inside


def test_a_point_off_the_grid_means_its_nearest_number() -> None:
    c = claim("(<= Y_0 9)", low="0.1", high="0.1")
    assert c.query().off_grid == 2
    tenth = float(np.float32(0.1))
    for x in (tenth, float(np.nextafter(np.float32(tenth), np.float32(0)))):
        y = outputs(c.network, [x, x], "seq-fma")
        assert accepts(c, {**POINT, "input": [bits(x)] * 2, "output": list(map(bits, y))}) == (x == tenth)
    real = claim("(<= Y_0 9)", "real", low="0.1", high="0.1")
    # z_0 = 0.1 - 0.2 + 0.25 = 0.15, z_1 < 0
    exact = {**EXACT, "input": ["1/10", "1/10"], "output": ["3/20"]}
    assert accepts(real, exact)
    nearest = Fraction(tenth)
    wrong = f"{nearest.numerator}/{nearest.denominator}"
    assert not accepts(real, {**exact, "input": [wrong, wrong]})


@pytest.mark.parametrize(
    "change",
    [
        {"output": [bits(0.5)]},
        {"output": [bits(float(np.nextafter(np.float32(Y), np.float32(1))))]},
        {"output": []},
        {"output": [bits(Y), bits(Y)]},
        {"input": [bits(0.5)]},
        {"input": [bits(0.5), "7f800000"]},
        {"input": [bits(0.5), "7fc00000"]},
        {"input": [bits(0.5), bits(0.25).upper() + " "]},
        {"input": [bits(0.5), "3E800000"]},
        {"input": [bits(0.5), "13e800000"]},
        {"input": [bits(0.5), "-0000001"]},
        {"input": [bits(0.5), "1/4"]},
        {"input": [bits(0.5), 0]},
        {"input": "3f000000"},
        {"executor": "exact"},
        {"executor": "f64"},
        {"executor": 1},
        {"note": "unread"},
    ],
)
def test_a_point_that_is_changed_is_rejected(change: dict[str, object]) -> None:
    assert not accepts(claim("(<= Y_0 9)"), {**POINT, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"executor": "seq-fma"},
        {"input": ["2/4", "1/4"]},
        {"input": ["1/2", "1/0"]},
        {"input": ["1/2", "0.25"]},
        {"input": ["1/2", " 1/4"]},
        {"input": ["1/2", "-1/-4"]},
        {"output": ["1/3"]},
    ],
)
def test_an_exact_point_that_is_changed_is_rejected(change: dict[str, object]) -> None:
    assert not accepts(claim("(<= Y_0 9)", "real"), {**EXACT, **change})


def test_both_zeros_are_one_number() -> None:
    network = dense([([[1.0]], [0.0])])
    c = Claim(network, vnnlib([Fraction(-1)], [Fraction(1)], 1, "(<= Y_0 0)"), "f32-any")
    for zero in ("00000000", "80000000"):
        assert accepts(c, {**POINT, "input": [zero], "output": ["80000000"]})


def test_a_run_that_overflows_is_no_witness() -> None:
    network = dense([([[2.0]], [0.0]), ([[0.0]], [0.0])])
    c = Claim(network, vnnlib([Fraction(0)], [Fraction(2) ** 127], 1, "(<= Y_0 0)"), "f32-any")
    assert accepts(c, {**POINT, "input": [bits(2.0**126)], "output": [bits(0.0)]})
    assert not accepts(c, {**POINT, "input": [bits(2.0**127)], "output": [bits(0.0)]})


def test_a_sat_certificate_does_not_pass_for_unsat() -> None:
    c = claim("(<= Y_0 0.25)")
    with pytest.raises(CertificateRejected, match="its verdict is sat"):
        check(point_certificate(c, POINT), c.network, c.prop, verdict="unsat")
