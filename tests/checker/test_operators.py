"""The checker's operators: against onnxruntime, the importer's core program, and binary32 executions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from farkas.checker import binary32, integer
from farkas.checker.errors import CertificateRejected, MalformedInput
from farkas.checker.integer import integer_network
from farkas.checker.network import read_network
from farkas.checker.query import Affine, Input, Network, P, Relu
from farkas.checker.replay import EXECUTORS, execute
from farkas.ir import core
from farkas.ir.execute import execute as run_binary32
from farkas.ir.lowering import lower
from farkas.ir.onnx_import import load_onnx
from tests.models import make_model, run_onnxruntime
from tests.nets import EXACT_SHAPES, seeds, varied
from tests.runtime_cuda.executions import Exact

RNG = np.random.default_rng(33)
Array = np.ndarray[Any, Any]


def model(nodes: Sequence[Any], constants: dict[str, Array], shape: Sequence[int], *, opset: int = 13) -> bytes:
    return make_model(nodes, {"x": shape}, constants, opset=opset)


def numbers(*shape: int) -> Array:
    """Small multiples of 1/8, with which float32 arithmetic is exact in any order."""
    return (RNG.integers(-16, 17, shape) / 8).astype(np.float32)


def ints(*values: int) -> Array:
    return np.array(values, dtype=np.int64)


def one(value: float) -> Array:
    return np.array(value, dtype=np.float32)


@dataclass(frozen=True)
class Case:
    kind: str
    shape: tuple[int, ...]
    constants: tuple[Array | None, ...] = ()
    opset: int = 13
    attributes: tuple[tuple[str, Any], ...] = ()

    @property
    def data(self) -> bytes:
        """The operator behind and before a product, so that it meets signed values and merging."""
        named = {f"c{i}": c for i, c in enumerate(self.constants) if c is not None}
        operands = [f"c{i}" if c is not None else "" for i, c in enumerate(self.constants)]
        last = self.shape[-1]
        weight = np.random.default_rng(last).integers(-4, 5, (last, last)).astype(np.float32) / 4
        first = helper.make_node("MatMul", ["x", "first"], ["p"])
        middle = helper.make_node(self.kind, ["p", *operands], ["q"], **dict(self.attributes))
        end = helper.make_node("Add", ["q", "end"], ["y"])
        return model([first, middle, end], {**named, "first": weight, "end": one(0.25)}, self.shape, opset=self.opset)


def case(kind: str, shape: tuple[int, ...], *constants: Array | None, opset: int = 13, **attributes: Any) -> Case:
    return Case(kind, shape, constants, opset, tuple(attributes.items()))


IMAGE, ROW = (1, 2, 5, 4), (2, 2, 5)


def cases() -> Iterator[Case]:
    yield case("Abs", (2, 3))
    yield case("LeakyRelu", (2, 3), alpha=0.125)
    yield case("LeakyRelu", (2, 3), alpha=1.5)
    yield case("LeakyRelu", (2, 3), alpha=-0.5)
    yield case("Clip", (2, 3), one(-0.5), one(0.75))
    yield case("Clip", (2, 3), None, one(0.75))
    yield case("Clip", (2, 3), one(0.25))
    yield case("Clip", (2, 3))
    yield case("Clip", (2, 3), opset=9, min=-0.25, max=3.4028234663852886e38)
    yield case("Max", (2, 3), numbers(3))
    yield case("Min", (2, 3), numbers(2, 1), numbers(3))
    for opset in (9, 13):
        yield case("MaxPool", IMAGE, opset=opset, kernel_shape=[3, 2])
    yield case("MaxPool", IMAGE, kernel_shape=[3, 2], strides=[2, 3], pads=[1, 0, 2, 1])
    yield case("MaxPool", IMAGE, kernel_shape=[2, 3], dilations=[2, 2], pads=[1, 1, 0, 0])
    yield case("MaxPool", IMAGE, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1)
    yield case("MaxPool", ROW, kernel_shape=[4], pads=[1, 2])
    yield case("AveragePool", IMAGE, kernel_shape=[2, 4], strides=[1, 2])
    yield case("AveragePool", IMAGE, kernel_shape=[2, 2], pads=[1, 0, 0, 1])
    yield case("AveragePool", IMAGE, kernel_shape=[2, 2], pads=[1, 0, 0, 1], count_include_pad=1)
    yield case("AveragePool", ROW, kernel_shape=[1])
    yield case("GlobalAveragePool", (2, 3, 4, 4))
    yield case("ReduceSum", (2, 3, 5), ints(1))
    yield case("ReduceSum", (2, 3, 5), ints(0, -1), keepdims=0)
    yield case("ReduceSum", (2, 3, 5), opset=11, axes=[2, 1])
    yield case("ReduceSum", (2, 3, 5))
    yield case("ReduceMean", (2, 4, 3), axes=[1])
    yield case("ReduceMean", (2, 4, 3), ints(0, 1), opset=18, keepdims=0)
    yield case("Sum", (2, 3), numbers(3))
    yield case("ConvTranspose", IMAGE, numbers(2, 4, 2, 3), numbers(4), strides=[2, 1], pads=[1, 0, 0, 1])
    yield case("ConvTranspose", IMAGE, numbers(2, 2, 3, 3), strides=[2, 2], output_padding=[1, 1], dilations=[1, 2])
    yield case("ConvTranspose", (1, 4, 3), numbers(4, 2, 2), numbers(4), group=2, strides=[3])
    yield case("ConvTranspose", (1, 4, 3), numbers(4, 1, 3), kernel_shape=[3])
    yield case("Pad", IMAGE, ints(0, 0, 1, 2, 0, 0, 0, 1))
    yield case("Pad", (2, 3), ints(1, -1, 0, 2), one(-1.5))
    yield case("Pad", (2, 3), ints(1, 2), one(0.5), ints(-1), opset=19)
    yield case("Pad", (2, 3), opset=9, pads=[0, 1, 1, 0], value=0.5)
    yield case("Concat", (2, 3), numbers(2, 2), axis=1)
    yield case("Expand", (2, 1, 3), ints(4, 3))
    yield case("Resize", (1, 2, 3), None, np.array([1, 1, 2], np.float32), nearest_mode="floor",
               coordinate_transformation_mode="asymmetric")  # fmt: skip
    yield case("Upsample", (1, 2, 3), np.array([1, 2, 3], np.float32), opset=9)
    yield case("Resize", (1, 2, 3), np.array([1, 2, 1], np.float32), opset=10)


CASES = list(cases())
NAMES = [f"{c.kind}-{c.opset}-{i}" for i, c in enumerate(CASES)]


def values_of(network: Network, x: Sequence[Fraction]) -> list[list[Fraction]]:
    """Every node of an integer network in which nothing was floored away, at a point."""
    values: list[list[Fraction]] = []
    for node in network.nodes:
        match node:
            case Input():
                values.append(list(x))
            case Relu(source):
                values.append([max(v, Fraction(0)) for v in values[source]])
            case Affine():
                assert node.bias_exact
                total = [Fraction(c, 1 << P) for c in node.bias]
                for matrix, source in node.operands:
                    assert matrix.exact
                    index = matrix.index or [range(matrix.columns)] * matrix.rows
                    for j, (at, row) in enumerate(zip(index, matrix.weights, strict=True)):
                        assert list(at) == sorted(set(at))
                        total[j] += sum(Fraction(w, 1 << P) * values[source][i] for i, w in zip(at, row, strict=True))
                values.append(total)
    return values


def fed(nodes: Sequence[Any], kind: type) -> list[int]:
    """The affine nodes that some Relu reads, in order: where neurons have their numbers."""
    read: set[int] = {node.source for node in nodes if isinstance(node, (Relu, core.Relu))}
    return [v for v in sorted(read) if isinstance(nodes[v], kind)]


def point(data: bytes, seed: int) -> list[Fraction]:
    size = read_network(data).sizes[0]
    return [Fraction(int(v), 8) for v in np.random.default_rng(seed).integers(-16, 17, size)]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_steps_and_integer_network_compute_what_onnxruntime_does(case: Case) -> None:
    x = point(case.data, 1)
    given_x = np.array([float(v) for v in x], dtype=np.float32).reshape(case.shape)
    wanted = run_onnxruntime(case.data, {"x": given_x})
    program = read_network(case.data)
    steps = execute(program, x, EXECUTORS["exact"])
    np.testing.assert_allclose([float(v) for v in steps], np.asarray(wanted).ravel(), rtol=1e-6, atol=1e-6)
    if case.kind not in ("AveragePool", "ReduceMean", "GlobalAveragePool"):  # not all weights are multiples of 2^-24
        network = integer_network(program)
        assert values_of(network, x)[network.output] == steps


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_neurons_have_the_numbers_and_groups_the_counts_of_the_importer(case: Case) -> None:
    x, network, program = point(case.data, 2), integer_network(read_network(case.data)), lower(load_onnx(case.data))
    ours, theirs = fed(network.nodes, Affine), fed(program.nodes, core.Affine)
    assert [network.sizes[v] for v in ours] == [program.sizes[v] for v in theirs]
    counts = [n.count for n in network.nodes if isinstance(n, Affine) and n.count]
    assert counts == [n.rounding.count for n in program.nodes if isinstance(n, core.Affine) and n.rounding.count]
    if ours:
        own, other = values_of(network, x), Exact(program).run(x)
        assert [own[v] for v in ours] == [[Fraction(z) for z in other[v]] for v in theirs]


@given(seeds, st.sampled_from(EXACT_SHAPES))
def test_random_networks_are_those_of_the_importer_neuron_by_neuron(seed: int, shape: str) -> None:
    net = varied(np.random.default_rng(seed), shape)
    network = integer_network(read_network(net.data))
    x = point(net.data, seed)
    own, other = values_of(network, x), Exact(net.program).run(x)
    assert own[network.output] == [Fraction(v) for v in other[net.program.output]]
    ours, theirs = fed(network.nodes, Affine), fed(net.program.nodes, core.Affine)
    assert [own[v] for v in ours] == [[Fraction(z) for z in other[v]] for v in theirs]


@pytest.mark.parametrize("executor", ["seq-fma", "seq-muladd"])
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_replay_in_binary32_has_the_bits_of_the_executor(case: Case, executor: str) -> None:
    x = np.random.default_rng(3).uniform(-2, 2, len(point(case.data, 0))).astype(np.float32)
    ticks = [int(Fraction(float(v)) * 2**binary32.TICK) for v in x]
    ours = execute(read_network(case.data), ticks, EXECUTORS[executor])
    theirs = run_binary32(load_onnx(case.data), x, executor).ravel()
    assert [binary32.value(t) for t in ours] == [Fraction(float(v)) for v in theirs]


# Means and normalisation: what is not a multiple of 2^-24 ------------------------------------------------------------


def test_means_have_reciprocal_weights_and_count_two_more() -> None:
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Add", ["p", "b"], ["y"])]
    network = integer_network(read_network(model(nodes, {"b": one(1.0)}, (1, 1, 1, 3))))
    node = network.nodes[network.output]
    assert isinstance(node, Affine)
    ((matrix, _),) = node.operands
    assert (matrix.weights, matrix.exact) == ((((1 << P) // 3,) * 3,), False)
    assert node.count == 3 + 2 + 1


def normalized(scale: float, bias: float, mean: float, variance: float, epsilon: float) -> bytes:
    constants = {name: np.array([v], np.float32) for name, v in zip("sbmv", (scale, bias, mean, variance), strict=True)}
    node = helper.make_node("BatchNormalization", ["x", *constants], ["y"], epsilon=epsilon)
    return model([node], constants, (1, 1))


def floor_of(value: Decimal) -> int:
    return int((value * 2**P).to_integral_value(ROUND_FLOOR))


@given(
    st.floats(-8, 8, width=32).filter(lambda v: v == 0 or abs(v) > 1e-6),
    st.floats(-8, 8, width=32),
    st.floats(-8, 8, width=32),
    st.floats(0, 8, width=32),
    st.sampled_from([0.0009765625, 0.5]),
)
def test_normalisation_has_the_floors_of_the_real_coefficients(
    s: float, b: float, m: float, v: float, e: float
) -> None:
    network = integer_network(read_network(normalized(s, b, m, v, e)))
    node = network.nodes[network.output]
    assert isinstance(node, Affine)
    with localcontext() as context:
        context.prec = 120
        factor = Decimal(s) / (Decimal(v) + Decimal(e)).sqrt()
        # At a multiple of 2^-24 sixty digits cannot tell; those cases stand by themselves below.
        if any(abs(value * 2**P - round(value * 2**P)) < Decimal(10) ** -60 for value in (factor, Decimal(m) * factor)):
            return
        assert node.operands[0][0].weights == ((floor_of(factor),),)
        assert node.bias == (floor_of(Decimal(b) - Decimal(m) * factor),)
        assert Fraction(node.magnitude[0], 1 << P) > abs(Fraction(b)) + abs(Fraction(m)) * Fraction(abs(factor))
    assert not node.operands[0][0].exact
    assert not node.bias_exact
    assert node.count == 10


@pytest.mark.parametrize(
    ("scale", "mean", "weight", "bias"), [(3.0, 1.0, 6.0, -5.0), (-3.0, 1.0, -6.0, 7.0), (0.0, 5.0, 0.0, 1.0)]
)
def test_normalisation_with_a_rational_root_is_exact(scale: float, mean: float, weight: float, bias: float) -> None:
    """variance + epsilon = 1/8 + 1/8, root 1/2: a = 2 scale, c = 1 - mean a."""
    network = integer_network(read_network(normalized(scale, 1.0, mean, 0.125, 0.125)))
    node = network.nodes[network.output]
    assert isinstance(node, Affine)
    assert (node.operands[0][0].weights, node.operands[0][0].exact) == (((int(weight) << P,),), True)
    assert (node.bias, node.bias_exact) == ((int(bias) << P,), True)


@pytest.mark.parametrize("executor", ["seq-fma", "seq-muladd"])
def test_normalisation_in_binary32_has_the_bits_of_the_executor(executor: str) -> None:
    rng = np.random.default_rng(4)
    constants = {name: rng.uniform(0.1, 3, 4).astype(np.float32) for name in "sbmv"}
    data = model([helper.make_node("BatchNormalization", ["x", *constants], ["y"])], constants, (2, 4, 3))
    x = rng.uniform(-2, 2, 24).astype(np.float32)
    ours = execute(read_network(data), [int(Fraction(float(v)) * 2**binary32.TICK) for v in x], EXECUTORS[executor])
    theirs = run_binary32(load_onnx(data), x, executor).ravel()
    assert [binary32.value(t) for t in ours] == [Fraction(float(v)) for v in theirs]


def test_a_root_has_no_exact_value() -> None:
    with pytest.raises(CertificateRejected, match="square root"):
        execute(read_network(normalized(1, 0, 0, 2, 0.5)), [Fraction(1)], EXECUTORS["exact"])


@given(st.floats(0, 3.4028234663852886e38, width=32))
def test_square_roots_are_correctly_rounded(x: float) -> None:
    root = binary32.sqrt32(int(Fraction(x) * 2**binary32.TICK))
    assert binary32.value(root) == Fraction(float(np.sqrt(np.float32(x))))


REFUSED = [
    (case("MaxPool", IMAGE, kernel_shape=[2, 2], auto_pad="SAME_UPPER"), "auto_pad"),
    (case("MaxPool", IMAGE, kernel_shape=[2, 2], storage_order=1), "indices"),
    (case("MaxPool", (1, 1, 70, 70), kernel_shape=[65, 65]), "too large"),
    (case("MaxPool", (1, 1, 2, 2), kernel_shape=[1, 1], pads=[1, 0, 0, 0]), "wholly in the padding"),
    (case("AveragePool", (1, 1, 2, 2), kernel_shape=[1, 1], pads=[1, 0, 0, 0]), "no agreed mean"),
    (case("AveragePool", (1, 1, 6), kernel_shape=[3], strides=[2], ceil_mode=1, count_include_pad=1), "no agreed mean"),
    (case("Pad", (2, 3), ints(1, 0, 0, 0), mode="reflect"), "mode"),
    (case("Pad", (2, 3), ints(-2, 0, 0, 0)), "leave nothing"),
    (case("ConvTranspose", ROW, numbers(2, 1, 2), output_shape=[8]), "output_shape"),
    (case("ConvTranspose", ROW, numbers(2, 1, 2), output_padding=[1]), "wrong sign or size"),
    (case("Resize", (1, 2, 3), None, np.array([1, 1, 1.5], np.float32), nearest_mode="floor",
          coordinate_transformation_mode="asymmetric"), "whole numbers"),
    (case("Resize", (1, 2, 3), None, np.array([1, 1, 2], np.float32), mode="linear"), "nearest"),
    (case("ReduceSum", (2, 3), noop_with_empty_axes=1), "not supported"),
    (case("Max", (2, 3), ints(1)), "float32"),
    (case("LeakyRelu", (2, 3), alpha=float("inf")), "finite"),
]  # fmt: skip


@pytest.mark.parametrize(("refused", "why"), REFUSED)
def test_what_has_no_agreed_meaning_is_refused(refused: Case, why: str) -> None:
    with pytest.raises(MalformedInput, match=why):
        read_network(refused.data)


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        ((1e-40, 0, 0, 1), "subnormal"),
        ((1, 0, 0, -1), "negative"),
        ((1, 0, 0, 0), "2\\^-60"),
        ((1e9, 0, 1e9, 1), "large"),
    ],
)
def test_normalisations_that_the_bound_does_not_cover_are_refused(numbers: tuple[float, ...], why: str) -> None:
    scale, bias, mean, variance = numbers
    with pytest.raises(MalformedInput, match=why):
        read_network(normalized(scale, bias, mean, variance, 0.0))


def test_a_mean_added_to_huge_numbers_is_refused() -> None:
    """The sum under the mean may then overflow where the mean itself does not."""
    nodes = [helper.make_node("ReduceMean", ["x"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])]
    with pytest.raises(MalformedInput, match="2\\^40"):
        integer_network(read_network(model(nodes, {"b": one(2.0**41)}, (1, 3))))


def test_rows_of_a_convolution_share_positions_and_weights() -> None:
    data = model(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])], {"w": numbers(5, 2, 3, 3)}, (1, 2, 8, 8)
    )
    node = integer_network(read_network(data)).nodes[1]
    assert isinstance(node, Affine)
    ((matrix, _),) = node.operands
    assert matrix.index is not None
    assert len(matrix.weights) == 5 * 64
    assert len({id(row) for row in matrix.index}) == 64  # one for each window
    assert len({id(row) for row in matrix.weights}) == 5 * 9  # corners, edges and inside, for each filter


def test_different_weights_are_limited_more_than_shared_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    conv = helper.make_node("Conv", ["x", "w"], ["y"])
    shared = read_network(model([conv], {"w": numbers(1, 1, 3, 3)}, (1, 1, 12, 12)))  # 100 windows of 9 places
    dense = read_network(model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": numbers(30, 30)}, (1, 30)))
    monkeypatch.setattr(integer, "MAX_STORED", 100 * 9 + 9)
    integer_network(shared)
    monkeypatch.setattr(integer, "MAX_STORED", 899)
    for program in (shared, dense):
        with pytest.raises(MalformedInput, match="too large"):
            integer_network(program)
