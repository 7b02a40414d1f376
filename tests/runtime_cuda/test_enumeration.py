"""The compiled executor against the reference run and onnxruntime; sweeps against one point at a time in rationals."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.engine.runtime import Runtime
from farkas.ir.binary32 import ORDERS, Float32, same_bits
from farkas.ir.execute import execute
from farkas.runtime_cuda import enumeration
from farkas.runtime_cuda.enumeration import Points, Question, Reference, count_between, executor, step_by
from farkas.specs.query import Atom
from tests.models import make_model
from tests.nets import Net, atom, dense, random_layers, seeds, varied

orders = st.sampled_from(ORDERS)
lanes = st.sampled_from([16, 8, 1])
sizes = st.lists(st.integers(1, 23), min_size=2, max_size=5)
built = pytest.mark.skipif(not enumeration.available(), reason="the compiled kernel is not built, or FARKAS_NATIVE=0")


def unfused(rng: np.random.Generator, widths: list[int], scale: float = 1.0) -> Net:
    """Sub, then MatMul and Add as two nodes and Relu, layer by layer, as the networks of ACAS Xu have them."""
    node, constants = onnx.helper.make_node, {"mean": rng.uniform(-1, 1, (1, widths[0])).astype(np.float32)}
    nodes, value = [node("Sub", ["x", "mean"], ["s"])], "s"
    for i, (weight, bias) in enumerate(random_layers(rng, widths, eighths=False)):
        constants |= {f"w{i}": weight.T * np.float32(scale), f"b{i}": bias[None]}
        nodes += [node("MatMul", [value, f"w{i}"], [f"p{i}"]), node("Add", [f"p{i}", f"b{i}"], [f"z{i}"])]
        nodes.append(node("Relu", [f"z{i}"], [value := f"a{i}"]))
    nodes[-1] = node("Sub", ["c", f"z{len(widths) - 2}"], ["y"])
    constants["c"] = np.ones(widths[-1], dtype=np.float32)
    return Net(make_model(nodes, {"x": [1, widths[0]]}, constants, opset=13))


def wild(rng: np.random.Generator, shape: tuple[int, ...]) -> Float32:
    """Numbers of all sizes, subnormals and zeros of both signs among them; no infinities."""
    bits = rng.integers(0, 1 << 32, shape, dtype=np.uint64).astype(np.uint32)
    values = bits.view(np.float32)
    values = np.where(np.isfinite(values), values, np.float32(1))
    return np.where(rng.random(shape) < 0.2, np.float32(0) * values, values)


def agree(net: Net, x: Float32, order: str, lanes: int) -> bool:
    compiled = executor(net.graph, order, lanes)
    assert compiled is not None and compiled.compiled, "the kernel takes this network"
    return bool(same_bits(compiled.run(x), execute(net.graph, x, order)).all())


@built
@given(seeds, sizes, orders, lanes)
def test_the_kernel_gives_the_bits_of_the_reference_run(seed: int, widths: list[int], order: str, lanes: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (37, widths[0])).astype(np.float32)
    assert agree(dense(random_layers(rng, widths, eighths=False)), x, order, lanes)
    assert agree(unfused(rng, widths), x, order, lanes)


@built
@given(seeds, orders, lanes)
def test_subnormals_overflow_and_nan_are_those_of_the_reference_run(seed: int, order: str, lanes: int) -> None:
    rng = np.random.default_rng(seed)
    layers = [(wild(rng, (m, k)), wild(rng, (m,))) for k, m in itertools.pairwise([3, 12, 4, 2])]
    assert agree(dense(layers), wild(rng, (50, 3)), order, lanes)
    tiny = unfused(rng, [3, 6, 2], 2.0**-70)
    assert agree(tiny, (rng.uniform(-1, 1, (50, 3)) * 2.0**-70).astype(np.float32), order, lanes)


@built
@settings(max_examples=12)
@given(seeds, st.integers(250, 600), orders, lanes)
def test_long_sums_are_cut_into_blocks_as_the_order_says(seed: int, length: int, order: str, lanes: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.where(rng.random((5, length)) < 0.5, rng.uniform(-1, 1, (5, length)), 0).astype(np.float32)
    assert agree(dense(random_layers(rng, [length, 11, 2], eighths=False)), x, order, lanes)
    assert agree(unfused(rng, [length, 11, 2]), x, order, lanes)


@built
@settings(max_examples=15)
@given(seeds, st.lists(st.sampled_from([1, 3, 17, 64, 300]), min_size=2, max_size=4))
def test_onnxruntime_gives_the_bits_of_its_order(seed: int, widths: list[int]) -> None:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (4, widths[0])).astype(np.float32)
    for net in (dense(random_layers(rng, widths, eighths=False)), unfused(rng, widths)):
        compiled = executor(net.graph, "mlas-k256-fma")
        assert compiled is not None and same_bits(compiled.run(x), Runtime(net.data).run(x)).all()


@given(seeds, orders, st.sampled_from(["residual", "conv", "leaky"]))
def test_networks_that_are_no_chains_run_in_the_reference(seed: int, order: str, shape: str) -> None:
    net = varied(np.random.default_rng(seed), shape)
    runs = executor(net.graph, order)
    assert (runs is None) == (order == "mlas-k256-fma" and shape == "conv")  # its sums have no such order
    if runs is not None:
        x = np.random.default_rng(seed).uniform(-1, 1, (3, 2)).astype(np.float32)
        assert not runs.compiled and same_bits(runs.run(x), execute(net.graph, x, order)).all()


def test_a_network_in_float64_has_no_executor() -> None:
    net = dense([(np.eye(2), np.zeros(2))], dtype=np.float64)
    assert executor(net.graph, "seq-fma") is None


@built
@given(seeds, sizes, orders, lanes, st.sampled_from([0.0, 0.01, 1.0]), st.booleans())
def test_ranges_are_the_intervals_of_the_reference(
    seed: int, widths: list[int], order: str, lanes: int, width: float, is_wild: bool
) -> None:
    rng = np.random.default_rng(seed)
    net = unfused(rng, widths)
    x = rng.uniform(-1, 1, (37, widths[0])).astype(np.float32)
    if is_wild:
        x = wild(rng, x.shape)
        net = dense([(wild(rng, (m, k)), wild(rng, (m,))) for k, m in itertools.pairwise(widths)])
    upper = (x + np.float32(width)).astype(np.float32)
    compiled = executor(net.graph, order, lanes)
    assert compiled is not None and compiled.compiled
    for found, want in zip(compiled.ranges(x, upper), Reference(net.graph, order).ranges(x, upper), strict=True):
        assert same_bits(found, want).all()


@given(seeds, orders, st.sampled_from(["residual", "conv", "max", "scaled"]))
def test_ranges_hold_the_runs_of_their_boxes(seed: int, order: str, shape: str) -> None:
    rng = np.random.default_rng(seed)
    net = varied(rng, shape, eighths=False)
    runs = executor(net.graph, order)
    if runs is None:
        return  # no such order for convolutions
    lower = rng.uniform(-1, 1, (4, 2)).astype(np.float32)
    upper = (lower + np.float32(rng.choice([0.0, 0.1]))).astype(np.float32)
    low, high = runs.ranges(lower, upper)
    for share in (0.0, 0.3, 1.0):
        x = np.clip(lower + np.float32(share) * (upper - lower), lower, upper).astype(np.float32)
        y = runs.run(x)
        assert ((low <= y) & (y <= high)).all()


# Points -------------------------------------------------------------------------------------------------------------

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(floats, st.integers(-40, 40))
def test_steps_are_those_of_nextafter(start: float, steps: int) -> None:
    want = np.float32(start)
    for _ in range(abs(steps)):
        toward = np.nextafter(want, np.float32(np.inf if steps > 0 else -np.inf))
        want = toward if np.isfinite(toward) else want
    found = step_by(np.array([start], dtype=np.float32), steps)[0]
    assert found == want or abs(want) == np.finfo(np.float32).max


def test_points_between_numbers_are_all_of_them_each_zero_once() -> None:
    tiny = np.float32(2.0**-149)
    lower, upper = np.array([-tiny, 1], dtype=np.float32), np.array([2 * tiny, 1 + 2.0**-23], dtype=np.float32)
    points = Points.between(lower, upper)
    one = 1 + 2.0**-23
    want = [[-tiny, 1], [-tiny, one], [0, 1], [0, one], [tiny, 1], [tiny, one], [2 * tiny, 1], [2 * tiny, one]]
    assert points.count == count_between(lower, upper) == 8
    assert points.at(range(8)).tolist() == np.array(want, dtype=np.float32).tolist()


# Sweeps -------------------------------------------------------------------------------------------------------------


def asked(rng: np.random.Generator, outputs: int, inputs: int) -> tuple[tuple[Atom, ...], ...]:
    """One to three disjuncts of up to two atoms over outputs and inputs, some of them strict."""

    def one() -> Atom:
        y, x = rng.integers(-3, 4, outputs) / 3, rng.integers(-1, 2, inputs)
        c = Fraction(int(rng.integers(-6, 7)), 7)
        return atom([Fraction(v).limit_denominator(9) for v in y], c, x=list(x), strict=bool(rng.random() < 0.5))

    return tuple(tuple(one() for _ in range(rng.integers(0, 3))) for _ in range(rng.integers(1, 4)))


def all_points(rng: np.random.Generator, inputs: int, most: int) -> Points:
    centre = rng.uniform(-1, 1, inputs).astype(np.float32)
    return Points.between(centre, step_by(centre, rng.integers(0, most, inputs)))


@built
@given(seeds, orders, lanes)
def test_what_is_not_flagged_does_not_violate(seed: int, order: str, lanes: int) -> None:
    rng = np.random.default_rng(seed)
    net = dense(random_layers(rng, [2, 5, 3]))
    disjuncts, points = asked(rng, 3, 2), all_points(rng, 2, 12)
    question = Question.of(disjuncts, 2, 3)
    runs = executor(net.graph, order, lanes)
    assert question is not None and runs is not None and runs.compiled
    seen = runs.sweep(points, question, 0, points.count)
    assert seen.done == points.count
    x = points.at(range(points.count))
    for number, (point, y) in enumerate(zip(x, execute(net.graph, x, order), strict=True)):
        exact = [Fraction(float(v)) for v in point], [Fraction(float(v)) for v in y]
        violates = any(all(a.holds(*exact) for a in atoms) for atoms in disjuncts)
        assert question.holds(*exact) == violates
        assert not violates or number in seen.flagged


@built
@given(seeds, orders, lanes)
def test_the_kernel_and_the_reference_see_the_same(seed: int, order: str, lanes: int) -> None:
    rng = np.random.default_rng(seed)
    net = dense(random_layers(rng, [2, 5, 3]))
    question = Question.of(asked(rng, 3, 2), 2, 3)
    points, runs = all_points(rng, 2, 30), executor(net.graph, order, lanes)
    assert question is not None and runs is not None and runs.compiled
    begin = int(rng.integers(0, points.count))
    one = runs.sweep(points, question, begin, points.count - begin)
    other = Reference(net.graph, order).sweep(points, question, begin, points.count - begin)
    assert (one.done, one.digest, one.flagged) == (other.done, other.digest, other.flagged)
    assert one.best == pytest.approx(other.best, rel=1e-12, abs=1e-12)


@built
@given(seeds, orders)
def test_the_digest_of_parts_adds_up_and_one_bit_changes_it(seed: int, order: str) -> None:
    rng = np.random.default_rng(seed)
    layers = random_layers(rng, [2, 5, 3], eighths=False)
    points, question = all_points(rng, 2, 30), Question.of(((),), 2, 3)
    assert question is not None
    runs, cut = executor(dense(layers).graph, order), int(rng.integers(0, points.count))
    assert runs is not None
    parts = [runs.sweep(points, question, 0, cut), runs.sweep(points, question, cut, points.count - cut)]
    whole = runs.sweep(points, question, 0, points.count)
    assert whole.digest == sum(part.digest for part in parts) % 2**64
    assert whole.flagged == tuple(range(points.count))  # a disjunct without atoms: everything is unsafe
    bias = layers[-1][1].copy()
    bias[0] = np.nextafter(np.float32(bias[0] + 8), np.float32(99))
    other = executor(dense([*layers[:-1], (layers[-1][0], bias)]).graph, order)
    assert other is not None and other.sweep(points, question, 0, points.count).digest != whole.digest


def test_an_output_that_is_no_finite_number_is_flagged() -> None:
    question = Question.of(((atom([1], -1),),), 1, 1)  # Y_0 <= -1, which is false for every finite output below
    places = [np.array([v], dtype=np.float32) for v in (-4, 0, 1, 4)]
    infinite = dense([([[2.0**127], [-(2.0**127)]], [0, 0]), ([[1, 1]], [0])])  # infinity at -4 and at 4
    cancelling = dense([([[2.0**127], [2.0**127]], [0, 0]), ([[1, -1]], [0])])  # infinity - infinity at 4
    assert question is not None
    for net, want in ((infinite, [True, False, False, True]), (cancelling, [False, False, False, True])):
        runs = executor(net.graph, "seq-fma")
        assert runs is not None
        for each in (runs, Reference(net.graph, "seq-fma")):
            seen = [each.sweep(Points.between(place, place), question, 0, 1) for place in places]
            assert [bool(s.flagged) for s in seen] == want


@given(seeds)
def test_a_box_is_open_where_a_point_of_it_violates(seed: int) -> None:
    rng = np.random.default_rng(seed)
    question = Question.of(asked(rng, 3, 2), 2, 3)
    assert question is not None
    ends = [np.sort(rng.integers(-4, 5, (2, 50, n)) / 4, axis=0).astype(np.float32) for n in (2, 3)]
    (lower, upper), (low, high) = ends
    still = question.open_over(lower, upper, low, high)
    for _ in range(4):
        x, y = (np.where(rng.random(e[0].shape) < 0.5, e[0], e[1]) for e in ends)
        for b in range(50):
            exact = [Fraction(float(v)) for v in x[b]], [Fraction(float(v)) for v in y[b]]
            assert still[b] or not question.holds(*exact)
    nothing = np.full_like(low, np.nan)
    reads = all(any(a.y for a in atoms) and not any(not a.y for a in atoms) for atoms in question.disjuncts)
    assert not reads or question.open_over(lower, upper, nothing, nothing).all()


def test_a_threshold_between_binary64_numbers_is_left_to_rationals() -> None:
    third = Atom((), ((0, Fraction(1)),), Fraction(1, 3), strict=True)
    question = Question.of(((third,),), 1, 1)
    assert question is not None
    x = np.array([[1 / 3]], dtype=np.float32)
    flags, _ = question.judge(x, x)
    assert Fraction(float(x[0, 0])) > Fraction(1, 3) and not flags[0]
    below = np.nextafter(x, np.float32(0))
    assert question.judge(below, below)[0][0]


def test_coefficients_that_binary64_has_not_are_declined() -> None:
    assert Question.of(((Atom((), ((0, Fraction(2**60 + 1)),), Fraction(0)),),), 1, 1) is None
