"""Quantised networks: `run_integer` against onnxruntime with all graph optimisations, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from farkas.ir.integer import Greatest, Rounded, Sum, run_integer, thresholds
from farkas.ir.integer_lowering import is_quantised, lower_integer
from farkas.ir.integer_unary import Arithmetic, Chain, Nearest, ToFloat
from farkas.ir.onnx_import import load_onnx
from tests.quantised import (
    Codes,
    Format,
    convolutional,
    dense,
    dequantised,
    f32,
    float_model,
    node,
    quantise,
    run_runtime,
)

WAYS: list[tuple[Codes, dict[str, bool]]] = [
    ("U8U8", {}), ("U8U8", {"by_channel": True}), ("U8S8", {"reduced": True}),
    ("U8S8", {"reduced": True, "by_channel": True}), ("S8S8", {}), ("S8S8", {"symmetric": True}),
    ("S8S8", {"symmetric": True, "by_channel": True}), ("S8S8", {"reduced": True}),
]  # fmt: skip
TYPES: dict[str, Any] = {"U8": np.uint8, "S8": np.int8}
PRODUCTS: tuple[Codes, ...] = ("U8U8", "U8S8", "S8S8")


def agrees(data: bytes, *, count: int = 1000, spread: float = 1.5, optimised: bool = True) -> int:
    """The number of different outputs on random inputs; fails where any output differs from onnxruntime's."""
    graph = load_onnx(data)
    assert is_quantised(graph)
    program = lower_integer(graph)
    x = (np.random.default_rng(len(data)).standard_normal((count, program.input_size)) * spread).astype(f32)
    found = run_runtime(data, x, optimised=optimised)
    stated = run_integer(program, x)
    np.testing.assert_array_equal(stated, found)
    return len(np.unique(stated))


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize(("codes", "options"), WAYS, ids=[f"{c}-{'-'.join(o)}" for c, o in WAYS])
def test_networks_of_the_quantiser_are_run_bit_for_bit(form: Format, codes: Codes, options: dict[str, bool]) -> None:
    assert agrees(quantise(dense(), form, codes, **options)) > 50
    assert agrees(quantise(convolutional(), form, codes, **options), count=400) > 20


def test_operators_on_codes_are_run_bit_for_bit_without_optimisation_too() -> None:
    for codes in PRODUCTS:
        agrees(quantise(dense(seed=1), "QOperator", codes, reduced=True), optimised=False)


def test_a_pool_of_codes_is_a_maximum_of_codes() -> None:
    program = lower_integer(load_onnx(quantise(convolutional(), "QDQ", "U8U8")))
    assert [type(made) for made in program.nodes if isinstance(made, Greatest)] == [Greatest]
    assert sum(isinstance(made, Sum) for made in program.nodes) == 3


# Single layers ----------------------------------------------------------------------------------------------------


class Layer:
    """Random codes for one product: x (1, k) of scale 0.02, w (k, m) of scale 0.0013, results of scale 0.05."""

    def __init__(self, codes: Codes, k: int, m: int) -> None:
        rng = np.random.default_rng([k, m, ord(codes[0]), ord(codes[2])])
        x_type, w_type = TYPES[codes[:2]], TYPES[codes[2:]]
        limits = np.iinfo(w_type)
        reduced = 2 if codes == "U8S8" else 1
        self.k = k
        self.constants: dict[str, Any] = {
            "xs": np.array(0.02, f32), "xz": np.array(3 if codes == "S8S8" else 100, x_type),
            "ys": np.array(0.05, f32), "yz": np.array(7, x_type), "least": np.array(np.iinfo(x_type).min, x_type),
        }  # fmt: skip
        weight = rng.integers(limits.min // reduced, limits.max // reduced, (k, m)).astype(w_type)
        more, self.w = dequantised(weight, "w", 0.0013, 120 if codes == "U8U8" else 0)
        bias = rng.integers(-9999, 9999, m).astype(np.int32)
        again, self.b = dequantised(bias, "b", f32(0.02) * f32(0.0013))
        self.constants |= more | again
        self.constants |= {
            "m": (rng.random(m) * 0.003 + 0.0005).astype(f32), "a": rng.standard_normal(m).astype(f32),
            "low": np.array(0, f32), "high": f32(0.05) * f32(255), "wide": np.array(-50, f32),
        }  # fmt: skip

    def network(self, *tail: Any) -> bytes:
        """The layer's operand, quantised (q) and dequantised (d), and then `tail`."""
        head = [node("QuantizeLinear", ["x", "xs", "xz"], ["q"]), node("DequantizeLinear", ["q", "xs", "xz"], ["d"])]
        return float_model([*head, self.w, self.b, *tail], self.constants, [1, self.k])


def requantised(source: str, zero: str = "yz") -> list[Any]:
    """source -> Q -> DQ -> y."""
    return [node("QuantizeLinear", [source, "ys", zero], ["e"]), node("DequantizeLinear", ["e", "ys", zero], ["y"])]


GEMM = node("Gemm", ["d", "w", "b"], ["g"])
TAILS: dict[str, list[Any]] = {
    "float product": [node("MatMul", ["d", "w"], ["y"])],
    "float Gemm": [node("Gemm", ["d", "w", "b"], ["y"])],
    "product": [node("MatMul", ["d", "w"], ["g"]), *requantised("g")],
    "Gemm": [GEMM, *requantised("g")],
    "Relu": [GEMM, node("Relu", ["g"], ["r"]), *requantised("r", "least")],
    "Clip to the codes": [GEMM, node("Clip", ["g", "low", "high"], ["r"]), *requantised("r", "least")],
    "wide Clip": [GEMM, node("Clip", ["g", "wide", ""], ["r"]), *requantised("r")],
    "chain after codes": [
        GEMM, node("QuantizeLinear", ["g", "ys", "yz"], ["q1"]), node("DequantizeLinear", ["q1", "ys", "yz"], ["d1"]),
        node("Mul", ["d1", "a"], ["e1"]), node("Add", ["e1", "a"], ["e2"]),
        node("LeakyRelu", ["e2"], ["e3"], alpha=0.1), *requantised("e3"),
    ],
    "MatMulInteger": [
        node("MatMulInteger", ["q", "w_c", "xz", "w_z"], ["i"]), node("Cast", ["i"], ["c"], to=1),
        node("Mul", ["c", "m"], ["s"]), node("Add", ["s", "a"], ["t"]), node("Relu", ["t"], ["r"]), *requantised("r"),
    ],
    "MatMulInteger to floats": [
        node("MatMulInteger", ["q", "w_c", "xz", "w_z"], ["i"]), node("Cast", ["i"], ["c"], to=1),
        node("Mul", ["c", "m"], ["s"]), node("Add", ["s", "a"], ["y"]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("codes", PRODUCTS)
@pytest.mark.parametrize("tail", TAILS)
def test_single_layers_are_run_bit_for_bit(tail: str, codes: Codes) -> None:
    for k, m in ((5, 4), (17, 16), (300, 40)):
        assert agrees(Layer(codes, k, m).network(*TAILS[tail]), count=100) > 3


def test_convolutions_of_codes_with_groups_are_run_bit_for_bit() -> None:
    rng = np.random.default_rng(4)
    constants: dict[str, Any] = {
        "xs": np.array(0.02, f32), "xz": np.array(90, np.uint8), "m": np.array(0.0007, f32),
        "w": rng.integers(0, 256, (6, 2, 3, 2)).astype(np.uint8), "wz": np.array(117, np.uint8),
        "ys": np.array(0.1, f32), "yz": np.array(60, np.uint8),
    }  # fmt: skip
    window: dict[str, Any] = {"group": 2, "strides": [2, 1], "dilations": [1, 2], "pads": [1, 0, 2, 1]}
    head = node("QuantizeLinear", ["x", "xs", "xz"], ["q"])
    integer = [
        node("ConvInteger", ["q", "w", "xz", "wz"], ["i"], **window), node("Cast", ["i"], ["c"], to=1),
        node("Mul", ["c", "m"], ["y"]),
    ]  # fmt: skip
    assert agrees(float_model([head, *integer], constants, [1, 4, 7, 6]), count=100) > 1000
    linear = [
        node("QLinearConv", ["q", "xs", "xz", "w", "m", "wz", "ys", "yz"], ["c"], **window),
        node("DequantizeLinear", ["c", "ys", "yz"], ["y"]),
    ]  # fmt: skip
    assert agrees(float_model([head, *linear], constants, [1, 4, 7, 6]), count=100) > 20


@pytest.mark.parametrize("codes", PRODUCTS)
def test_depthwise_convolutions_with_a_scale_for_each_channel_are_run_bit_for_bit(codes: Codes) -> None:
    rng = np.random.default_rng(9)
    layer = Layer(codes, 1, 1)
    w_type = TYPES[codes[2:]]
    weight = rng.integers(0 if codes[2:] == "U8" else -60, 60, (16, 1, 3, 3)).astype(w_type)
    scales = (rng.random(16) * 0.002 + 0.0005).astype(f32)
    constants = layer.constants | {
        "k": weight, "ks": scales, "kz": np.zeros(16, w_type), "cs": f32(0.02) * scales, "cz": np.zeros(16, np.int32),
        "c": rng.integers(-999, 999, 16).astype(np.int32),
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["q"]), node("DequantizeLinear", ["q", "xs", "xz"], ["d"]),
        node("DequantizeLinear", ["k", "ks", "kz"], ["kd"], axis=0),
        node("DequantizeLinear", ["c", "cs", "cz"], ["cd"], axis=0),
        node("Conv", ["d", "kd", "cd"], ["g"], group=16, pads=[1, 1, 1, 1]), *requantised("g"),
    ]  # fmt: skip
    assert agrees(float_model(nodes, constants, [1, 16, 6, 6]), count=100) > 20


def test_products_of_several_rows_are_run_bit_for_bit() -> None:
    layer = Layer("U8U8", 12, 8)
    head = [node("QuantizeLinear", ["x", "xs", "xz"], ["q"]), node("DequantizeLinear", ["q", "xs", "xz"], ["d"])]
    for shape in ([3, 12], [2, 3, 12], [12]):
        product = [*head, layer.w, node("MatMul", ["d", "w"], ["g"]), *requantised("g")]
        assert agrees(float_model(product, layer.constants, shape), count=100) > 10


@pytest.mark.parametrize("kind", ["QGemm", "QLinearConv", "Gemm"])
def test_every_step_of_a_requantisation_is_where_it_is_stated(kind: str) -> None:
    """Biases put the accumulator at both sides of each step; other orders of the scales' product would move some."""
    rng = np.random.default_rng(7)
    differing = 0
    for _ in range(10):
        sx, sw = (f32(2.0 ** rng.uniform(-12, -1)) for _ in range(2))
        sy = f32(sx * sw * f32(2.0 ** rng.uniform(8, 22)))
        zero = int(rng.integers(0, 256))
        stated = step_function(sx * sw / sy, zero)
        steps = thresholds(stated, 0, -(2**31) + 70000, 2**31 - 70000)
        bias = np.array([value for first, _ in steps[1:] for value in (first - 1, first)], dtype=np.int32)
        data, nothing = bias_only(kind, bias, (sx, sw, sy), zero), np.zeros((1, 1), f32)
        found = run_runtime(data, nothing)[0]
        np.testing.assert_array_equal(run_integer(lower_integer(load_onnx(data)), nothing)[0], found)
        accumulators = bias.astype(np.int64)[:, None]
        np.testing.assert_array_equal(found, stated(accumulators)[:, 0])
        differing += int((step_function(sx * (sw / sy), zero)(accumulators)[:, 0] != found).sum())
    assert differing > 0


def step_function(multiplier: Any, zero: int) -> Chain:
    scaled = Arithmetic("multiply", np.array(multiplier, f32))
    return Chain((ToFloat(), scaled, Nearest(np.array(zero), 0, 255)), 1)


def bias_only(kind: str, bias: Any, scales: tuple[Any, Any, Any], zero: int) -> bytes:
    """Codes of the bias alone: the input's code is its zero point, and the weights are too.  Gemm: as a QDQ graph."""
    names = dict(zip(("xs", "ws", "ys"), (np.array(s, f32) for s in scales), strict=True))
    is_conv = kind == "QLinearConv"
    constants = {
        **names, "z": np.array(0, np.uint8), "yz": np.array(zero, np.uint8), "one": np.array(1, f32), "b": bias,
        "w": np.zeros((len(bias), 1, 1, 1) if is_conv else (1, len(bias)), np.uint8),
    }  # fmt: skip
    tail = ["ys", "yz", "b"] if is_conv else ["b", "ys", "yz"]
    middle = [node(kind, ["q", "xs", "z", "w", "ws", "z", *tail], ["c"], domain="" if is_conv else "com.microsoft")]
    if kind == "Gemm":
        constants["bs"] = np.array(scales[0] * scales[1], f32)
        middle = [
            node("DequantizeLinear", ["q", "xs", "z"], ["d"]), node("DequantizeLinear", ["w", "ws", "z"], ["v"]),
            node("DequantizeLinear", ["b", "bs"], ["a"]), node("Gemm", ["d", "v", "a"], ["g"]),
            node("QuantizeLinear", ["g", "ys", "yz"], ["c"]),
        ]  # fmt: skip
    head, last = node("QuantizeLinear", ["x", "xs", "z"], ["q"]), node("DequantizeLinear", ["c", "one", "z"], ["y"])
    nodes = [head, *middle, last]
    data = float_model(nodes, constants, [1, 1, 1, 1] if is_conv else [1, 1])
    program = lower_integer(load_onnx(data))
    assert [type(made) for made in program.nodes[1:]] == [Sum, Rounded]
    np.testing.assert_array_equal(program.nodes[1].bias, bias)  # type: ignore[union-attr] # a Sum, as asserted
    return data


@pytest.mark.parametrize("element", [2, 3])
def test_integer_inputs_and_outputs_are_codes(element: int) -> None:
    kind = np.dtype(np.uint8 if element == 2 else np.int8)
    rng = np.random.default_rng(element)
    constants: dict[str, Any] = {
        "xs": np.array(0.02, f32), "xz": np.array(5, kind), "w": rng.integers(-60, 60, (9, 7)).astype(np.int8),
        "ws": np.array(0.01, f32), "wz": np.array(0, np.int8), "ys": np.array(0.04, f32), "yz": np.array(11, kind),
    }  # fmt: skip
    product = node("QLinearMatMul", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["y"])
    x = rng.integers(np.iinfo(kind).min, np.iinfo(kind).max, (200, 9), endpoint=True).astype(kind)
    for nodes, output in (([product], element), ([node("MatMulInteger", ["x", "w", "xz", "wz"], ["y"])], 6)):
        data = float_model(nodes, constants, [1, 9], element=element, output=output)
        program = lower_integer(load_onnx(data))
        assert (program.encode, program.decode) == (None, None)
        np.testing.assert_array_equal(run_integer(program, x), run_runtime(data, x))
