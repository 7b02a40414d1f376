"""Verdicts in f32-any: against every binary32 point of tiny boxes, in declared orders and in random ones."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.engine.runtime import Runtime
from farkas.engine.verdict import Holds, Reason, Unknown, Violated
from farkas.specs.query import Atom, Case, Semantics
from tests.engine.deciding import decided
from tests.engine.pieces import minimum
from tests.ir.exact32 import dot
from tests.nets import Box, Layer, Net, affine, atom, boxes, case, dense, random_layers, seeds, varied
from tests.runtime_cuda.executions import Exact, binary32

F32 = Semantics.F32_ANY
ORDERS = ("mlas-k256-fma", "seq-fma", "seq-muladd")
Point = tuple[Fraction, ...]


def run_declared(layers: Sequence[Layer], x: Point, order: str) -> list[Fraction]:
    """The outputs of a dense network in a declared order, in plain rationals."""
    values = list(x)
    for i, (weight, bias) in enumerate(layers):
        rows = np.asarray(weight, dtype=np.float32).tolist()
        values = [
            dot(order, [Fraction(w) for w in row], values, Fraction(b))
            for row, b in zip(rows, np.asarray(bias, dtype=np.float32).tolist(), strict=True)
        ]
        if i < len(layers) - 1:
            values = [max(v, Fraction(0)) for v in values]
    return values


def ulps(start: float, count: int) -> list[Fraction]:
    """`count` binary32 numbers upward from `start`."""
    found = [np.float32(start)]
    while len(found) < count:
        found.append(np.nextafter(found[-1], np.float32(np.inf)))
    return [Fraction(float(v)) for v in found]


def outcomes(layers: Sequence[Layer], net: Net, grid: Sequence[Point], rng: random.Random) -> list[tuple[Point, Point]]:
    """(point, outputs) for every point of the grid: the declared orders, and some random ones."""
    exact = Exact(net.program)
    found = [(x, tuple(run_declared(layers, x, order))) for x in grid for order in ORDERS]
    return found + [(x, tuple(exact.run_in_some_order(x, rng)[net.program.output])) for x in grid for _ in range(4)]


def tiny(seed: int, inputs: int, steps: int) -> tuple[list[Layer], Net, list[list[Fraction]], np.random.Generator]:
    """A network and, per input, a few neighbouring binary32 numbers."""
    rng = np.random.default_rng(seed)
    layers: list[Layer] = [*random_layers(rng, (inputs, 4, 3, 1), eighths=False)]
    axes = [ulps(float(rng.uniform(-1, 1)) * 10.0 ** rng.integers(-3, 2), steps) for _ in range(inputs)]
    return layers, dense(layers), axes, rng


def near(layers: Sequence[Layer], net: Net, axes: list[list[Fraction]], rng: np.random.Generator) -> tuple[Case, str]:
    """A property whose threshold is an output of some execution of some point, or a number up to 128 ulp beside one."""
    grid = list(product(*axes))
    results = sorted({y[0] for _, y in outcomes(layers, net, grid, random.Random(int(rng.integers(2**30))))})
    sign = int(rng.choice([-1, 1]))
    picked = np.float32(float(results[0] if sign > 0 else results[-1]))
    towards = np.float32(rng.choice([-np.inf, np.inf]))
    for _ in range(int(rng.choice([0, 1, 2, 8, 32, 128]))):
        picked = np.nextafter(picked, towards)
    unsafe = atom([sign], sign * Fraction(float(picked)), strict=bool(rng.random() < 0.5))
    return case([axis[0] for axis in axes], [axis[-1] for axis in axes], [unsafe]), "min" if sign > 0 else "max"


def check(layers: Sequence[Layer], net: Net, axes: list[list[Fraction]], unsafe: Case, seed: int) -> str:
    """The word of the verdict; `unsat` never against an execution, `sat` only with one that can be repeated."""
    verdict = decided(net, [unsafe], F32, timeout_s=2.0)
    if isinstance(verdict, Holds):
        for point, y in outcomes(layers, net, list(product(*axes)), random.Random(seed)):
            assert unsafe.violated_disjunct(point, y) is None, f"unsat, but {point} gives {y}"
    if isinstance(verdict, Violated):
        record = verdict.replay
        assert all(x in axis for x, axis in zip(record.inputs, axes, strict=True))
        outputs = run_declared(layers, record.inputs, record.executor)
        assert tuple(outputs) == record.outputs
        assert unsafe.violated_disjunct(record.inputs, outputs) == record.disjunct
        runtime = Runtime(net.data).run(np.array([float(v) for v in record.inputs], dtype=np.float32))
        assert unsafe.violated_disjunct(record.inputs, [Fraction(float(v)) for v in runtime]) is not None
        if record.any_order:
            rng = random.Random(seed)
            exact = Exact(net.program)
            for _ in range(6):
                other = exact.run_in_some_order(record.inputs, rng)[net.program.output]
                assert unsafe.violated_disjunct(record.inputs, other) is not None
    return verdict.word


@settings(max_examples=60)
@given(seeds, st.integers(1, 2), st.integers(1, 3))
def test_verdicts_about_a_handful_of_points_never_contradict_an_execution(seed: int, inputs: int, steps: int) -> None:
    layers, net, axes, rng = tiny(seed, inputs, steps)
    unsafe, _ = near(layers, net, axes, rng)
    check(layers, net, axes, unsafe, seed)


def test_properties_of_a_handful_of_points_come_out_both_ways() -> None:
    """Guards the test above: with thresholds a little beyond every execution, the answers are decided and right."""
    words: Counter[str] = Counter()
    for seed in range(20):
        layers, net, axes, _ = tiny(seed, 2, 2)
        results = [y[0] for _, y in outcomes(layers, net, list(product(*axes)), random.Random(seed))]
        gap = Fraction(1, 2**12)
        for wanted, c in (("unsat", min(results) - gap), ("sat", min(results) + gap)):
            unsafe = case([axis[0] for axis in axes], [axis[-1] for axis in axes], [atom([1], c)])
            word = check(layers, net, axes, unsafe, seed)
            assert word == wanted
            words[word] += 1
    assert set(words) == {"sat", "unsat"}


@settings(max_examples=40)
@given(seeds, st.sampled_from(["plain", "residual", "conv", "scaled"]), boxes(2))
def test_thresholds_off_the_real_minimum_by_more_than_rounding_are_decided(seed: int, shape: str, box: Box) -> None:
    net = varied(np.random.default_rng(seed), shape)
    row = [Fraction(1), Fraction(-1)]
    least = minimum(net.program, *box, row, ())
    assert isinstance(decided(net, [case(*box, [atom(row, least - Fraction(1, 512))])], F32), Holds)
    verdict = decided(net, [case(*box, [atom(row, least + Fraction(1, 512))])], F32)
    assert isinstance(verdict, Violated)
    # The witness may stop short of the boundary only where no order escapes.
    record = verdict.replay
    rng = random.Random(seed)
    exact = Exact(net.program)
    for _ in range(4 if record.any_order else 0):
        y = exact.run_in_some_order(record.inputs, rng)[net.program.output]
        assert record.case.violated_disjunct(record.inputs, y) is not None


@settings(max_examples=25)
@given(seeds, st.sampled_from(["plain", "residual", "leaky"]), boxes(2), st.lists(st.integers(0, 8), min_size=4))
def test_a_box_shrunk_around_a_witness_stays_sat_down_to_the_point(
    seed: int, shape: str, box: Box, shares: list[int]
) -> None:
    net = varied(np.random.default_rng(seed), shape)
    row = [Fraction(1), Fraction(-1)]
    unsafe = atom(row, minimum(net.program, *box, row, ()) + Fraction(1, 64))
    verdict = decided(net, [case(*box, [unsafe])], F32)
    assert isinstance(verdict, Violated)
    point = verdict.replay.inputs
    for share in (Fraction(1, 64), Fraction(0)):
        lower = [x - (x - l) * share * Fraction(s, 8) for x, l, s in zip(point, box[0], shares, strict=False)]
        upper = [x + (u - x) * share * Fraction(s, 8) for x, u, s in zip(point, box[1], shares[2:], strict=False)]
        assert isinstance(decided(net, [case(lower, upper, [unsafe])], F32), Violated)


@settings(max_examples=25)
@given(seeds, boxes(2))
def test_whatever_violates_in_every_order_violates_in_random_ones(seed: int, box: Box) -> None:
    """Tags are given and withheld around the rounding error of the point."""
    rng = np.random.default_rng(seed)
    layers: list[Layer] = [*random_layers(rng, (2, 4, 1), eighths=False)]
    net = dense(layers)
    point = binary32(box[0])
    y = run_declared(layers, point, "seq-fma")[0]
    size = 1 + abs(y)
    for power in (-8, -20, -23, -40):
        verdict = decided(net, [case(point, point, [atom([1], y + size * Fraction(2) ** power)])], F32)
        if isinstance(verdict, Violated) and verdict.replay.any_order:
            exact, numbers = Exact(net.program), random.Random(seed)
            for _ in range(10):
                assert exact.run_in_some_order(point, numbers)[net.program.output][0] <= y + size * Fraction(2) ** power
        if power == -8:
            assert isinstance(verdict, Violated) and verdict.replay.any_order
        if power == -40:
            assert not (isinstance(verdict, Violated) and verdict.replay.any_order), "closer than any bound can tell"


# Input sets ----------------------------------------------------------------------------------------------------------

LINE = affine([[1.0]])
TENTH = Fraction(1, 10)
NEAREST = Fraction(float(np.float32(0.1)))  # 0.1 rounded to nearest, which lies above


def test_a_point_off_the_grid_means_its_nearest_binary32() -> None:
    assert NEAREST > TENTH
    above = decided(LINE, [case([TENTH], [TENTH], [atom([-1], -NEAREST)])], F32)
    assert isinstance(above, Violated) and above.replay.inputs == (NEAREST,)
    assert above.statistics.off_grid == 1
    assert not isinstance(decided(LINE, [case([TENTH], [TENTH], [atom([1], TENTH)])], F32), Violated)
    far = Fraction(1, 10**5)
    below = decided(LINE, [case([TENTH], [TENTH], [atom([1], TENTH - far)])], F32)
    assert isinstance(below, Holds) and below.statistics.off_grid == 1


def test_interval_ends_are_rounded_inward() -> None:
    """[1/10, 1/5] holds no binary32 at its ends: 0.1f > 1/10 is inside, 0.2f > 1/5 is not."""
    fifth = Fraction(float(np.float32(0.2)))
    assert fifth > Fraction(1, 5)
    last = Fraction(float(np.nextafter(np.float32(0.2), np.float32(0))))
    verdict = decided(LINE, [case([TENTH], [Fraction(1, 5)], [atom([-1], -last)])], F32)
    assert isinstance(verdict, Violated) and verdict.replay.inputs == (last,)
    verdict = decided(LINE, [case([TENTH], [Fraction(1, 5)], [atom([-1], -fifth)])], F32)
    assert not isinstance(verdict, Violated)


@pytest.mark.parametrize("unsafe", [[], [atom([1], 1)], [atom([1], -1)]])
def test_a_box_without_binary32_points_decides_nothing(unsafe: list[Atom]) -> None:
    empty = case([TENTH], [TENTH + Fraction(1, 10**12)], unsafe)
    verdict = decided(LINE, [empty], F32)
    assert isinstance(verdict, Unknown) and verdict.reason is Reason.INCOMPLETE
    assert decided(LINE, [empty, case([0], [1], [atom([-1], -1)])], F32).word == "sat"
    assert isinstance(decided(LINE, [case([0], [1], [atom([1], -1)]), empty], F32), Unknown)
    assert not isinstance(decided(LINE, [empty], Semantics.REAL), Unknown)


def test_subnormal_inputs_and_zeros_of_both_signs_are_points() -> None:
    tiny_number = Fraction(1, 2**149)
    verdict = decided(LINE, [case([-tiny_number], [tiny_number], [atom([-1], -1)])], F32)
    assert isinstance(verdict, Holds)
    verdict = decided(LINE, [case([0], [0], [atom([1], 0)])], F32)
    assert isinstance(verdict, Violated) and verdict.replay.input_bits == ("00000000",)


def test_between_the_orders_there_is_a_gap_and_no_verdict() -> None:
    """2^24 + 1 - 2^24 is 0 or 1: `y <= 1/2` is neither violated everywhere nor nowhere."""
    net = affine([[2.0**24, 1.0, -(2.0**24)]])
    point = [1, 1, 1]
    low, high = (decided(net, [case(point, point, [atom([s], s * Fraction(1, 2))])], F32) for s in (1, -1))
    assert not isinstance(low, Holds) and not isinstance(high, Holds)
    assert not (isinstance(low, Violated) and low.replay.any_order)
    assert not (isinstance(high, Violated) and high.replay.any_order)
