"""The error terms of a declared order against exact runs: never exceeded, and not far from what can be reached."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.ir.algebra import Array, exact
from farkas.ir.binary32 import ORDERS, Binary32, Float32, Order
from farkas.ir.core import Affine, Program
from farkas.ir.error_terms import OVERFLOW, error_bound
from farkas.ir.lowering import build, lower
from farkas.ir.order_terms import OrderError, OrderTerms, half_ulp, terms
from tests.ir.exact32 import Overflowed, dot, round32
from tests.models import make_model
from tests.nets import SHAPES, Net, dense, random_layers, seeds, varied

orders = st.sampled_from(ORDERS)
kinds = st.sampled_from(["plain", "cancelling", "subnormal", "wild", "sparse"])


def draw(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> Float32:
    """Binary32 numbers of a kind."""
    match kind:
        case "plain":
            values = rng.uniform(-1, 1, shape)
        case "cancelling":
            values = rng.choice([1.0, -1.0], shape) * (1 + rng.integers(0, 4, shape) * 2.0**-23)
        case "subnormal":
            values = rng.uniform(-1, 1, shape) * 2.0 ** rng.integers(-80, -60, shape)
        case "wild":
            values = rng.uniform(-1, 1, shape) * 2.0 ** rng.integers(-40, 40, shape)
        case _:
            values = rng.uniform(-1, 1, shape) * (rng.random(shape) < 0.4)
    return values.astype(np.float32)


def fractions(values: Float32) -> list[Fraction]:
    return [Fraction(float(v)) for v in values]


@given(seeds, orders, kinds, st.integers(1, 9), st.booleans(), st.sampled_from([0.0, 0.01, 1.0]))
def test_no_run_leaves_the_bounds(seed: int, order: Order, kind: str, n: int, biased: bool, width: float) -> None:
    rng = np.random.default_rng(seed)
    weight, points = draw(rng, kind, (2, n)), draw(rng, kind, (8, n))
    points = (points[:1] + np.float32(width) * (points - points[:1])).astype(np.float32)
    bias = draw(rng, kind, (2,)) if biased else None
    box = terms(points.min(axis=0), points.max(axis=0))
    found = OrderError(order).contract(weight, box, bias)
    for x in points:
        for i in range(2):
            b = None if bias is None else Fraction(float(bias[i]))
            run = dot(order, fractions(weight[i]), fractions(x), b)
            real = sum((w * v for w, v in zip(fractions(weight[i]), fractions(x), strict=True)), b or Fraction(0))
            assert abs(run - real) <= Fraction(float(found["err"][i]))
            assert Fraction(float(found["lo"][i])) <= run <= Fraction(float(found["hi"][i]))


@settings(max_examples=15)
@given(seeds, orders, kinds, st.integers(250, 530))
def test_no_long_run_leaves_the_bounds(seed: int, order: Order, kind: str, n: int) -> None:
    rng = np.random.default_rng(seed)
    weight, x, bias = draw(rng, kind, (1, n)), draw(rng, kind, (n,)), draw(rng, kind, (1,))
    found = OrderError(order).contract(weight, terms(x, x), bias)
    run = Binary32(order).contract(weight, x, bias)
    real = sum(w * v for w, v in zip(fractions(weight[0]), fractions(x), strict=True)) + Fraction(float(bias[0]))
    assert abs(Fraction(float(run[0])) - real) <= Fraction(float(found["err"][0]))


@given(seeds, orders, kinds, st.integers(1, 9), st.booleans())
def test_they_are_below_the_terms_of_any_order(seed: int, order: Order, kind: str, n: int, biased: bool) -> None:
    rng = np.random.default_rng(seed)
    weight, ends, bias = draw(rng, kind, (1, n)), np.sort(draw(rng, kind, (2, n)), axis=0), draw(rng, kind, (1,))
    found = OrderError(order).contract(weight, terms(*ends), bias if biased else None)
    reach = fractions(abs(ends).max(axis=0))
    magnitude = sum((abs(w) * u for w, u in zip(fractions(weight[0]), reach, strict=True)), Fraction(0))
    if biased:
        magnitude += abs(Fraction(float(bias[0])))
    any_order = error_bound(
        n + biased, magnitude, sum(map(abs, fractions(weight[0])), Fraction(0)), sum(reach, Fraction(0))
    )
    assert Fraction(float(found["err"][0])) <= any_order


@pytest.mark.parametrize("order", ORDERS)
def test_a_search_reaches_more_than_a_third_of_the_bound(order: Order) -> None:
    rng, best = np.random.default_rng(1), 0.0
    for n in (2, 3, 4):
        weight, x = (rng.uniform(1, 2, (3000, n)).astype(np.float32) for _ in range(2))
        for w, v in zip(weight, x, strict=True):
            if best > 1 / 3:
                break
            found = float(OrderError(order).contract(w[None], terms(v, v), None)["err"][0])
            run = float(Binary32(order).contract(w[None], v, None)[0])
            real = sum(a * b for a, b in zip(fractions(w), fractions(v), strict=True))
            best = max(best, float(abs(Fraction(run) - real)) / found)
    assert best > 1 / 3


@given(st.floats(0, float(OVERFLOW)), st.floats(0, 1))
def test_half_ulp_is_never_less_than_what_rounding_does(most: float, share: float) -> None:
    value = Fraction(most) * Fraction(share)
    try:
        assert abs(round32(value) - value) <= Fraction(float(half_ulp(np.array(most))))
    except Overflowed:
        pytest.fail("a number up to the largest one is rounded to a finite one")


def test_what_may_overflow_on_the_way_has_no_bound() -> None:
    weight, x = np.array([[1, 1, -1]], dtype=np.float32), np.full(3, 3 * 2.0**126, dtype=np.float32)
    for order in ORDERS:
        found = OrderError(order).contract(weight, terms(x, x), None)  # the sum is finite, a partial one is not
        assert found["err"][0] == np.inf and found["hi"][0] == np.inf
        assert np.isfinite(OrderError(order).contract(weight[:, 1:], terms(x[1:], x[1:]), None)["err"]).all()


def test_nothing_is_charged_for_adding_zero() -> None:
    weight = np.array([[0, 3, 5]], dtype=np.float32)
    box = terms([-1, 1, 0], [1, 1, 0])  # only 3 * 1 is left, which is exact but for its rounding
    for order in ORDERS:
        found = OrderError(order).contract(weight, box, np.zeros(1, dtype=np.float32))
        assert found["err"][0] == pytest.approx(2.0**-23, rel=1e-9)  # half the spacing of 2 .. 4, of 3 * 1 alone


# Groups of programs -------------------------------------------------------------------------------------------------


def grouped(rng: np.random.Generator) -> Net:
    """Products and sums in pieces: MatMul + Add + Add(transposed) with a residual, Gemm with alpha and beta, a Sub."""
    node, f32 = onnx.helper.make_node, np.float32
    (w0, b0), (w1, b1), (w2, b2) = random_layers(rng, [3, 4, 4, 2], eighths=False)
    constants = {"w0": w0.T, "b0": b0, "w1": w1.T, "b1": b1, "w2": w2, "b2": b2, "c": rng.uniform(-1, 1, 4).astype(f32)}
    nodes = [
        node("MatMul", ["x", "w0"], ["p0"]),
        node("Add", ["p0", "b0"], ["z0"]),
        node("Relu", ["z0"], ["a0"]),
        node("MatMul", ["a0", "w1"], ["p1"]),
        node("Transpose", ["p1"], ["t"], perm=[1, 0]),
        node("Transpose", ["t"], ["u"], perm=[1, 0]),
        node("Add", ["u", "b1"], ["s1"]),
        node("Add", ["s1", "z0"], ["z1"]),
        node("Sub", ["z1", "c"], ["d"]),
        node("Relu", ["d"], ["a1"]),
        node("Gemm", ["a1", "w2", "b2"], ["y"], transB=1, alpha=0.75, beta=1.5),
    ]
    return Net(make_model(nodes, {"x": [1, 3]}, constants, opset=13))


def run_nodes(net: Net, order: Order, x: Float32) -> tuple[Program, list[Array | None]]:
    """The values of a declared run at the nodes of the core program; None where no operator stands for a node."""
    values = net.graph.evaluate(Binary32(order), {net.graph.inputs[0][0]: x})
    builder, placed = build(net.graph)
    places = builder.places(placed[net.graph.outputs[0]])
    found: list[Array | None] = [None] * len(places)
    for name, value in placed.items():
        if value.node in places:
            found[places[value.node]] = values[name].ravel()
    return lower(net.graph), found


@settings(max_examples=40)
@given(seeds, orders, st.sampled_from(["dense", "grouped", *SHAPES]))
def test_every_covered_group_keeps_its_term_in_every_run(seed: int, order: Order, shape: str) -> None:
    rng = np.random.default_rng(seed)
    if shape == "grouped":
        net, inputs = grouped(rng), 3
    elif shape == "dense":
        net, inputs = dense(random_layers(rng, [2, 5, 3], eighths=False)), 2
    else:
        net, inputs = varied(rng, shape, eighths=False), 2
    ordered, tested = OrderTerms(net.graph, order), 0
    points = rng.uniform(-1, 1, (3, inputs)).astype(np.float32)
    program, _ = run_nodes(net, order, points[0])
    runs = [run_nodes(net, order, x)[1] for x in points]
    bounds = [
        [None if values[0] is None else np.array([reduce(values, axis=0)]) for values in zip(*runs, strict=True)]
        for reduce in (np.min, np.max)
    ]
    for place in sorted(ordered.covered):
        node = program.nodes[place]
        assert isinstance(node, Affine)
        if any(bounds[0][term.source] is None for term in node.terms):
            continue  # an operand that is a step inside an operator: it has no value of its own here
        errors = ordered.errors(place, *bounds)[0]
        for run in runs:
            real = exact(node.bias)
            for term in node.terms:
                real = real + exact(term.map.dense()) @ exact(run[term.source])
            off = abs(exact(run[place]) - real)
            assert all(a <= Fraction(float(b)) for a, b in zip(off, errors, strict=True))
        tested += 1
    assert tested >= 1


@given(seeds)
def test_a_group_of_several_operators_is_one_node_with_the_errors_of_all(seed: int) -> None:
    net = grouped(np.random.default_rng(seed))
    ordered = OrderTerms(net.graph, "seq-fma")
    names = {lower(net.graph).names[place] for place in ordered.covered}
    assert names == {"z0", "z1", "y"}


def test_batches_are_boxes_one_by_one() -> None:
    rng = np.random.default_rng(3)
    for net in (grouped(rng), varied(rng, "conv", inputs=3)):
        for order in ORDERS:
            ordered, program = OrderTerms(net.graph, order), lower(net.graph)
            ends = [np.sort(rng.uniform(-1, 1, (2, 4, size)), axis=0) for size in program.sizes]
            lows, highs = [e[0] for e in ends], [e[1] for e in ends]
            for place in ordered.covered:
                whole = ordered.errors(place, lows, highs)
                for b in range(4):
                    one = ordered.errors(place, [v[b : b + 1] for v in lows], [v[b : b + 1] for v in highs])
                    assert np.allclose(one[0], whole[b], rtol=1e-12, atol=0)


def test_sums_without_a_declared_order_are_not_covered() -> None:
    net = varied(np.random.default_rng(0), "conv")
    program = lower(net.graph)
    for order, missing in (("mlas-k256-fma", {"j"}), ("seq-fma", set[str]())):
        names = {program.names[place] for place in OrderTerms(net.graph, order).covered}
        assert {"z0", "z1", "j", "y"} - names == missing


@given(seeds, orders)
def test_the_terms_are_several_times_tighter_on_layers_of_full_width(seed: int, order: Order) -> None:
    rng = np.random.default_rng(seed)
    weight, x = rng.normal(0, 50**-0.5, (20, 50)).astype(np.float32), rng.uniform(0, 1, 50).astype(np.float32)
    found = OrderError(order).contract(weight, terms(x, x), None)["err"]
    magnitude = abs(weight).astype(np.float64) @ abs(x)
    bounds = [error_bound(50, Fraction(m), Fraction(60), Fraction(50)) for m in magnitude.tolist()]
    ratios = np.array([float(b) for b in bounds]) / found
    assert ratios.min() > 1 and np.median(ratios) > 3
