"""Verdicts in binary32 about boxes of a few neighbouring numbers, against running through all of their points.

Inputs of two copies are equal or not, their bounds lie between binary32 numbers, single points do, and what is asked is
a product, a sum or a ball that is attained at one of the points, or at none by a hair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

import farkas as fk
from farkas.ir.onnx_import import load_onnx
from farkas.specs.boxes import down32, nearest32, up32
from farkas.specs.witness import exact_decimal
from tests.nets import dense

NET = dense([([[1, 1]], [0]), ([[1]], [0])])
HEAD = """(vnnlib-version <2.0>)
(declare-network f (declare-input X float32 [1,2]) (declare-output Y float32 [1,1]))
(declare-network g (equal-to f) (declare-input Z float32 [1,2]) (declare-output V float32 [1,1]))
(assert (>= (+ Y[0,0] V[0,0]) -100))
"""
NAMES = ("X[0,0]", "X[0,1]", "Z[0,0]", "Z[0,1]")
Point = Sequence[Fraction]


def numbers(low: Fraction, high: Fraction) -> list[Fraction]:
    """The binary32 numbers that an interval means."""
    if low == high:
        point = nearest32(low)
        assert point is not None
        return [Fraction(point)]
    first, last = up32(low), down32(high)
    assert first is not None and last is not None
    found = [np.float32(first)]
    while found[-1] < last:
        found.append(np.nextafter(found[-1], np.float32(np.inf)))
    return [Fraction(float(value)) for value in found if value <= last]


def interval(rng: np.random.Generator, base: np.float32) -> tuple[Fraction, Fraction]:
    """A point beside the number, or an interval around it that ends between numbers."""
    step, middle = Fraction(float(np.spacing(abs(base)))), Fraction(float(base))
    if rng.random() < 0.3:
        point = middle + Fraction(int(rng.integers(-9, 10)), 20) * step
        return point, point
    below, above = (step * Fraction(int(rng.integers(0, 60)), 20) for _ in range(2))
    return middle - below - step / 20, middle + above + step / 20


def asked(rng: np.random.Generator, centre: Point) -> tuple[str, Callable[[Point], Fraction]]:
    """An expression over the inputs, and what it is at a point."""
    i, k = (int(place) for place in rng.permutation(4)[:2])
    match int(rng.integers(0, 3)):
        case 0:
            return f"(* {NAMES[i]} {NAMES[k]})", lambda p: p[i] * p[k]
        case 1:
            return f"(+ (* 3.0 {NAMES[i]}) (* -2.0 {NAMES[k]}))", lambda p: 3 * p[i] - 2 * p[k]
        case _:
            parts = [f"(- {name} {exact_decimal(c)})" for name, c in zip(NAMES, centre, strict=True)]
            text = f"(+ {' '.join(f'(* {part} {part})' for part in parts)})"
            return text, lambda p: sum(((v - c) ** 2 for v, c in zip(p, centre, strict=True)), Fraction(0))


@pytest.mark.parametrize("seed", range(20))
def test_the_verdict_is_that_of_running_through_all_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    base = rng.uniform(-2, 2, 2).astype(np.float32)
    boxes = [interval(rng, base[k % 2]) for k in range(4)]
    first = [0, 1, *(k if rng.random() < 0.7 else k + 2 for k in range(2))]
    values = {
        k: [v for v in numbers(*boxes[k]) if all(v in numbers(*boxes[j]) for j in range(4) if first[j] == k)]
        for k in sorted(set(first))
    }
    points = [[dict(zip(values, p, strict=True))[k] for k in first] for p in product(*values.values())]
    text, value = asked(rng, [low for low, _ in boxes])
    least = min(map(value, points), default=Fraction(0))
    operator, limit = ("<=", least) if rng.random() < 0.5 else ("<", least)
    lines = [f"(assert (>= {n} {exact_decimal(a)})) (assert (<= {n} {exact_decimal(b)}))" for n, (a, b) in
             zip(NAMES, boxes, strict=True)]  # fmt: skip
    lines += [f"(assert (== {NAMES[k]} {NAMES[first[k]]}))" for k in range(4) if first[k] != k]
    lines.append(f"(assert ({operator} {text} {exact_decimal(limit)}))")
    net = fk.Network(load_onnx(NET.data), NET.data, None, "f")
    found = fk.verify(net, (HEAD + "\n".join(lines)).encode(), timeout=10, trust=["crown", "z3"])
    violated = operator == "<=" and bool(points)
    assert isinstance(found, fk.Violated if violated else fk.Holds | fk.Unknown), (found, len(points))
