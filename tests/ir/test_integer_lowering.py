"""Quantised networks from ONNX: their meaning by `denote`, their integer programs, and what is refused how."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.ir.algebra import Rational, exact
from farkas.ir.binary32 import Binary32
from farkas.ir.errors import FarkasError, MalformedNetwork, UnsupportedOperator
from farkas.ir.execute import execute
from farkas.ir.graph import Graph
from farkas.ir.integer import Codes, Greatest, Rounded, Sum, run_codes, run_integer
from farkas.ir.integer_lowering import is_quantised, lower_integer
from farkas.ir.lowering import lower
from farkas.ir.onnx_import import load_onnx, quantised_operators
from tests.models import make_model, weights
from tests.quantised import convolutional, dense, dequantised, f32, float_model, node, quantise, run_runtime

U8, S8, I32 = np.uint8, np.int8, np.int32


def scalars(**values: tuple[Any, Any]) -> dict[str, Any]:
    """Named constants of rank 0, from (value, type)."""
    return {name: np.array(value, kind) for name, (value, kind) in values.items()}


HEAD = [node("QuantizeLinear", ["x", "xs", "xz"], ["q"]), node("DequantizeLinear", ["q", "xs", "xz"], ["d"])]
TAIL = [node("QuantizeLinear", ["g", "ys", "yz"], ["e"]), node("DequantizeLinear", ["e", "ys", "yz"], ["y"])]
ENDS = scalars(xs=(0.5, f32), xz=(10, U8), ys=(2.0, f32), yz=(3, U8))
WEIGHT = np.array([[1, -2], [3, 4], [-5, 6]], S8)  # three inputs, two outputs


def qdq(*middle: Any, more: dict[str, Any] | None = None, weight: Any = WEIGHT, scale: Any = 0.25) -> bytes:
    """x (1, 3) -> Q -> DQ (d) -> middle, with the dequantised weight w, bias b and their constants."""
    given, w = dequantised(weight, "w", scale)
    bias, b = dequantised(np.array([7, -9], I32), "b", 0.125)
    return float_model([*HEAD, w, b, *middle], {**ENDS, **given, **bias, **(more or {})}, [1, 3])


GEMM = node("Gemm", ["d", "w", "b"], ["g"])


def test_a_gemm_of_codes_is_one_sum_and_one_rounding() -> None:
    # acc = (q - 10) W + (7, -9), multiplier 0.5 * 0.25 / 2 = 1/16, codes round(acc / 16) + 3.
    # x = (0.25, 30, -5): x / 0.5 = 0.5, 60, -10 -> 0, 60, -10, so q = (10, 70, 0).
    # acc = (3 * 60 + 50 + 7, 4 * 60 - 60 - 9) = (237, 171); 237/16 = 14.8 -> 18, 171/16 = 10.69 -> 14; y = 2 (c - 3).
    program = lower_integer(load_onnx(qdq(GEMM, *TAIL)))
    assert [type(made) for made in program.nodes] == [Codes, Sum, Rounded]
    assert (program.output, program.names, program.reading) == (2, ("q", "g", "e"), "fused")
    x = np.array([0.25, 30, -5], f32)
    assert program.encode is not None
    values = run_codes(program, program.encode(x))
    assert [v.tolist() for v in values] == [[10, 70, 0], [237, 171], [18, 14]]
    np.testing.assert_array_equal(run_integer(program, x), np.array([30, 22], f32))


@settings(max_examples=60)
@given(st.lists(st.integers(-600, 600), min_size=3, max_size=3))
def test_with_dyadic_scales_the_program_is_the_exact_meaning(eighths: list[int]) -> None:
    """Every product is exact then, so that rational arithmetic and binary32 in any order give the program's value."""
    data = qdq(GEMM, *TAIL)
    graph, x = load_onnx(data), (np.array(eighths) / 8).astype(f32)
    stated = run_integer(lower_integer(graph), x)
    rational = graph.evaluate(Rational(), {"x": exact(x)})["y"].ravel().tolist()
    assert [Fraction(float(v)) for v in stated] == rational
    for order in ("seq-muladd", "seq-fma"):
        np.testing.assert_array_equal(execute(graph, x, order), stated)


@pytest.mark.parametrize("codes", ["U8U8", "S8S8"])
def test_operators_on_codes_mean_the_same_by_denote(codes: Any) -> None:
    """Accumulators are exact and requantisation is the same steps, so denote in binary32 gives the program's bits."""
    for network in (dense((4, 9, 2)), convolutional()):
        data = quantise(network, "QOperator", codes, by_channel=codes == "S8S8")
        graph = load_onnx(data)
        program = lower_integer(graph)
        for x in np.random.default_rng(3).standard_normal((20, program.input_size)).astype(f32):
            values = graph.evaluate(Binary32("seq-fma"), {graph.inputs[0][0]: x})
            np.testing.assert_array_equal(run_integer(program, x), values[graph.outputs[0]].ravel())


def test_unfused_graphs_have_a_meaning_in_binary32_of_their_own() -> None:
    """Sums of products of dequantised numbers, as runtimes that optimise nothing compute them, in some order."""
    weight = np.random.default_rng(0).integers(-99, 99, (20, 6)).astype(S8)
    given, w = dequantised(weight, "w", 0.013)
    constants = {**ENDS, **given, **scalars(xs=(0.017, f32))}
    data = float_model([*HEAD, w, node("MatMul", ["d", "w"], ["y"])], constants, [1, 20])
    x = np.random.default_rng(1).standard_normal((50, 20)).astype(f32)
    codes = np.clip(np.rint(x / f32(0.017)) + f32(10), 0, 255)
    numbers, factors = (codes - f32(10)) * f32(0.017), weight.astype(f32) * f32(0.013)
    total = np.zeros((50, 6), f32)
    for k in range(20):
        total = total + numbers[:, k, None] * factors[k]
    np.testing.assert_array_equal(execute(load_onnx(data), x, "seq-muladd"), total)
    np.testing.assert_allclose(run_runtime(data, x, optimised=False), total, rtol=0, atol=1e-5)
    stated = run_integer(lower_integer(load_onnx(data)), x)
    assert (stated != total).any()
    np.testing.assert_allclose(stated, total, rtol=0, atol=1e-5)


def test_quantising_codes_again_with_their_own_scale_changes_nothing() -> None:
    again = [node("QuantizeLinear", ["d", "xs", "xz"], ["q2"]), node("DequantizeLinear", ["q2", "xs", "xz"], ["d2"])]
    data = qdq(*again, node("Gemm", ["d2", "w", "b"], ["g"]), *TAIL)
    assert [type(made) for made in lower_integer(load_onnx(data)).nodes] == [Codes, Sum, Rounded]


def test_data_movement_permutes_codes_and_their_scales() -> None:
    # Scales 1, 2, 4 along axis 1 of a (1, 3, 2) tensor, transposed to (1, 2, 3).
    constants: dict[str, Any] = {"xs": np.array([1, 2, 4], f32), "xz": np.array([0, 100, 200], U8)}
    nodes = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["q"], axis=1),
        node("DequantizeLinear", ["q", "xs", "xz"], ["d"], axis=1), node("Transpose", ["d"], ["y"], perm=[0, 2, 1]),
    ]  # fmt: skip
    data = float_model(nodes, constants, [1, 3, 2])
    x = np.array([[0.5, 1.5, 3, 5, 9, 13]], f32)  # codes: 0, 2 | 102 (1.5), 102 (2.5) | 202 (2.25), 203 (3.25)
    expected = np.array([[0, 4, 8, 2, 4, 12]], f32)
    np.testing.assert_array_equal(run_integer(lower_integer(load_onnx(data)), x), expected)
    np.testing.assert_array_equal(run_runtime(data, x), expected)


def test_inputs_may_be_scaled_and_moved_before_they_are_quantised() -> None:
    nodes = [
        node("Sub", ["x", "m"], ["s"]), node("Div", ["s", "t"], ["n"]), node("Transpose", ["n"], ["r"], perm=[0, 2, 1]),
        node("QuantizeLinear", ["r", "xs", "xz"], ["q"]), node("DequantizeLinear", ["q", "xs", "xz"], ["y"]),
    ]  # fmt: skip
    constants = {**ENDS, "m": np.array([[0.1], [0.2], [0.3]], f32), "t": np.array([0.3], f32)}
    data = float_model(nodes, constants, [1, 3, 2])
    program = lower_integer(load_onnx(data))
    x = np.random.default_rng(0).standard_normal((40, 6)).astype(f32)
    assert program.encode is not None
    np.testing.assert_array_equal(run_integer(program, x), run_runtime(data, x))


def test_pools_of_numbers_with_one_scale_are_pools_of_codes() -> None:
    constants: dict[str, Any] = {"xs": np.array([1, 2], f32), "xz": np.array([0, 100], U8)}
    nodes = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["q"]), node("DequantizeLinear", ["q", "xs", "xz"], ["d"]),
        node("MaxPool", ["d"], ["y"], kernel_shape=[2, 2]),
    ]  # fmt: skip
    data = float_model(nodes, constants, [1, 2, 3, 3])
    program = lower_integer(load_onnx(data))
    assert any(isinstance(made, Greatest) for made in program.nodes)
    x = (np.random.default_rng(0).standard_normal((20, 18)) * 20).astype(f32)
    np.testing.assert_array_equal(run_integer(program, x), run_runtime(data, x))


def test_a_constant_that_the_graph_quantises_is_folded_to_codes() -> None:
    weight = np.array([[0.26, -0.5], [0.125, 9], [-40, 0.375]], f32)  # / 0.25: 1.04, -2, 0.5, 36, -160, 1.5
    nodes = [
        *HEAD, node("QuantizeLinear", ["w", "ws", "wz"], ["wq"]),
        node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"]), node("MatMul", ["d", "wd"], ["g"]), *TAIL,
    ]  # fmt: skip
    data = float_model(nodes, {**ENDS, "w": weight, **scalars(ws=(0.25, f32), wz=(0, S8))}, [1, 3])
    program = lower_integer(load_onnx(data))
    assert isinstance(program.nodes[1], Sum)
    np.testing.assert_array_equal(program.nodes[1].terms[0].map.dense(), [[1, 0, -128], [-2, 36, 2]])


# What is refused ------------------------------------------------------------------------------------------------


def refusal(data: bytes, use: Callable[[Graph], object] = lower_integer) -> str:
    with pytest.raises(FarkasError) as caught:
        use(load_onnx(data))
    return str(caught.value)


def test_other_semantics_name_the_one_for_quantised_networks() -> None:
    data = qdq(GEMM, *TAIL)
    assert is_quantised(load_onnx(data))
    assert "int-exact" in refusal(data, lower)
    product = node("MatMul", ["x", "w"], ["y"])
    plain = load_onnx(make_model([product], {"x": (1, 3)}, {"w": weights((3, 2))}, opset=13))
    assert not is_quantised(plain)
    with pytest.raises(UnsupportedOperator, match="Gemm has no exact integer meaning"):
        lower_integer(plain)


ONES = {"f": np.ones(2, f32), "v": np.ones((3, 2), f32)}
Z16 = {**ENDS, **scalars(z=(1, np.uint16))}


KERNEL = np.ones((1, 1, 2, 2), S8)


def pooled(step: Any, constants: dict[str, Any]) -> bytes:
    """Codes of a (1, 1, 3, 3) image, `step` from d to p, and a pool of p."""
    return float_model([*HEAD, step, node("MaxPool", ["p"], ["y"], kernel_shape=[2, 2])], constants, [1, 1, 3, 3])


def relu_before(zero: int) -> bytes:
    relu, rounding = node("Relu", ["g"], ["r"]), node("QuantizeLinear", ["r", "ys", "yz"], ["y"])
    return qdq(GEMM, relu, rounding, more=scalars(yz=(zero, U8)))


REFUSED: dict[str, tuple[bytes, str]] = {
    "a Relu that saturation does not do": (relu_before(3), "changes values that codes can stand for"),
    "a Clip that saturation does not do": (
        qdq(GEMM, node("Clip", ["g", "", "c"], ["r"]), node("QuantizeLinear", ["r", "ys", "yz"], ["y"]),
            more=scalars(c=(503.0, f32))),  # the codes stand for numbers up to 2 (255 - 3) = 504
        "changes values that codes can stand for",
    ),
    "a convolution that nothing quantises": (
        float_model([*HEAD, dequantised(KERNEL, "k", 0.25)[1], node("Conv", ["d", "k"], ["y"])],
                    {**ENDS, **dequantised(KERNEL, "k", 0.25)[0]}, [1, 1, 3, 3]),
        "only a MatMul or Gemm may give",
    ),
    "a scale for each channel of a product's operand": (
        qdq(GEMM, *TAIL, more={"xs": np.array([0.5, 0.25, 0.5], f32), "xz": np.array([1, 2, 3], U8)}),
        "one for the whole tensor is supported",
    ),
    "part of the input": (
        float_model([node("Slice", ["x", "zero", "two", "two"], ["s"]),
                     node("QuantizeLinear", ["s", "xs", "xz"], ["y"])],
                    {**ENDS, "zero": np.array([0]), "two": np.array([2])}, [1, 2, 3]),
        "cut or repeated before it is quantised",
    ),
    "pools of negated numbers": (pooled(node("Neg", ["d"], ["p"]), ENDS), "scaled differently"),
    "pools over several scales": (
        pooled(node("Mul", ["d", "m"], ["p"]), {**ENDS, "m": np.array([1, 2, 3], f32)}), "scaled differently",
    ),
    "numbers that overflow": (
        qdq(node("MatMulInteger", ["q", "w_c"], ["i"]), node("Cast", ["i"], ["c"], to=1),
            node("Mul", ["c", "h"], ["g"]), *TAIL, more=scalars(h=(3e38, f32))),
        "may overflow binary32",
    ),
    "a float bias": (qdq(node("Gemm", ["d", "w", "f"], ["g"]), *TAIL, more=ONES), "quantise it to int32"),
    "a bias of another scale": (qdq(GEMM, *TAIL, scale=0.5), "scale of its bias"),
    "a product read twice": (
        qdq(GEMM, *TAIL[:1], node("Relu", ["g"], ["z"]), node("Add", ["z", "g"], ["y"])), "read 2 times",
    ),
    "a product that is added to": (
        qdq(node("MatMul", ["d", "w"], ["p"]), node("Add", ["p", "f"], ["g"]), *TAIL, more=ONES),
        "only Relu, Clip and QuantizeLinear may follow",
    ),
    "numbers that are no codes": (
        qdq(node("Relu", ["d"], ["r"]), node("MatMul", ["r", "w"], ["g"]), *TAIL), "quantise its operand",
    ),
    "numbers moved before a product": (
        qdq(node("Transpose", ["d"], ["r"], perm=[1, 0]), node("Transpose", ["r"], ["t"], perm=[1, 0]),
            node("MatMul", ["t", "w"], ["g"]), *TAIL), "data movement stands between",
    ),
    "codes of another type": (qdq(GEMM, *TAIL, more=scalars(yz=(3, S8))), "the types should agree"),
    "signed codes times unsigned weights": (
        qdq(node("MatMul", ["d", "w"], ["g"]), *TAIL, weight=WEIGHT.astype(U8), more=scalars(xz=(1, S8), yz=(1, S8))),
        "use int8 weights",
    ),
    "constant codes on the left": (
        qdq(node("MatMul", ["w", "d"], ["g"]), *TAIL, weight=np.eye(1, dtype=S8)), "constant codes on the right",
    ),
    "float weights": (qdq(node("MatMul", ["d", "v"], ["g"]), *TAIL, more=ONES), "no exact integer meaning"),
    "sums of codes": (qdq(node("Add", ["d", "d"], ["g"]), *TAIL), "of several tensors"),
    "sums of codes and constant codes": (
        qdq(node("MatMul", ["d", "w"], ["p"]), node("QuantizeLinear", ["p", "ys", "yz"], ["pq"]),
            node("DequantizeLinear", ["pq", "ys", "yz"], ["pd"]), node("Add", ["pd", "b"], ["g"]), *TAIL),
        "one Gemm with an int32 bias",
    ),
    "an accumulator that overflows": (
        float_model([*HEAD, node("Reshape", ["q", "s"], ["r"]), node("MatMulInteger", ["r", "v", "xz"], ["i"]),
                     node("Cast", ["i"], ["y"], to=1)],
                    {**ENDS, "s": np.array([1, 70000]), "v": np.full((70000, 1), 127, S8)}, [1, 70000]),
        "may leave -2147483648..2147483647",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_exact_integer_meaning_is_refused(name: str) -> None:
    data, words = REFUSED[name]
    assert words in refusal(data)


MALFORMED: dict[str, tuple[bytes, str]] = {
    "a scale that is not positive": (qdq(GEMM, *TAIL, more=scalars(ys=(0.0, f32))), "positive"),
    "a tiny scale": (qdq(GEMM, *TAIL, more=scalars(ys=(2.0**-60, f32))), "outside 2^-40"),
    "zero points of another type": (
        float_model([HEAD[0], node("DequantizeLinear", ["q", "xs", "z"], ["y"])],
                    {**ENDS, **scalars(z=(1, S8))}, [1, 3]),
        "its codes have type uint8",
    ),
    "a Relu of codes": (float_model([HEAD[0], node("Relu", ["q"], ["y"])], ENDS, [1, 3]), "operands of type uint8"),
    "scales that do not fit": (
        float_model([node("QuantizeLinear", ["x", "s"], ["y"])], {"s": np.ones(4, f32)}, [1, 3]), "do not fit axis 1",
    ),
    "blocks": (
        float_model([node("QuantizeLinear", ["x", "s"], ["y"], block_size=2)], {"s": np.ones((1, 2), f32)}, [1, 3],
                    opset=21),
        "blocked quantisation",
    ),
    "sixteen bits": (
        float_model([node("QuantizeLinear", ["x", "xs", "z"], ["y"])], Z16, [1, 3], opset=21),
        "uint8 and int8 are supported",
    ),
    "QLinearAdd": (
        float_model([node("QLinearAdd", ["x", "s"], ["y"], domain="com.microsoft")], {"s": np.ones(1, f32)}, [1, 3]),
        "makes MatMul and Add one Gemm",
    ),
    "moved weights": (
        qdq(node("Transpose", ["w"], ["v"], perm=[1, 0]), node("Gemm", ["d", "v", "b"], ["g"], transB=1), *TAIL),
        "before they are quantised",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_what_cannot_be_read_is_refused_by_name(name: str) -> None:
    data, words = MALFORMED[name]
    assert words in refusal(data)


def test_a_truncated_zero_point_is_malformed() -> None:
    data = float_model(
        [node("QuantizeLinear", ["x", "s", "z"], ["y"])], {"s": np.ones(3, f32), "z": np.zeros(2, U8)}, [1, 3]
    )
    with pytest.raises(MalformedNetwork, match="do not fit"):
        load_onnx(data)


def test_the_graph_says_which_tensors_hold_integers() -> None:
    graph = load_onnx(qdq(GEMM, *TAIL))
    assert graph.elements == {"q": "uint8", "e": "uint8"}
    assert Graph.from_networkx(graph.to_networkx()).elements == graph.elements
    assert {"QLinearConv", "QuantizeLinear", "QGemm"} <= set(quantised_operators())
