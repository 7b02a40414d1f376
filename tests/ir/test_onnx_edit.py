"""Edited ONNX files against exact arithmetic, onnxruntime and the `onnx` package."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction as Q

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from farkas.checker.network import read_network
from farkas.ir.algebra import Rational
from farkas.ir.errors import FarkasError, MalformedNetwork
from farkas.ir.onnx_edit import append_outputs, is_real_only, prepend_affine
from farkas.ir.onnx_import import load_onnx
from tests.models import AnyArray

W = np.array([[1, -2, 0.5, 3], [0.25, 1, -1, 0]], dtype=np.float32)


def network(*, opset: int = 13, ir_version: int = 8, dtype: type = np.float32, spare: bool = False) -> bytes:
    """y = relu(x W^T) (1, 2), for x (2, 2), read flat, and m = y + p, for a second input p (1, 2); t = x W^T inside."""
    make = helper.make_node
    nodes = [
        make("Reshape", ["x", "shape"], ["flat"]),
        make("Gemm", ["flat", "w", "c"], ["t"], transB=1),
        make("Relu", ["t"], ["y"]),
        make("Add", ["y", "p"], ["m"]),
    ]
    kind = TensorProto.FLOAT if dtype is np.float32 else TensorProto.DOUBLE
    values = {"w": W.astype(dtype), "c": np.zeros(2, dtype=dtype), "shape": np.array([1, 4])}
    stored = [numpy_helper.from_array(array, name) for name, array in values.items()]
    inputs = [helper.make_tensor_value_info(name, kind, shape) for name, shape in (("x", [2, 2]), ("p", [1, 2]))]
    if spare:
        inputs = [helper.make_tensor_value_info("w", kind, [2, 4]), *inputs]
        inputs.append(helper.make_tensor_value_info("c", kind, [2]))
        inputs.append(helper.make_tensor_value_info("shape", TensorProto.INT64, [2]))
    outputs = [helper.make_tensor_value_info(name, kind, [1, 2]) for name in ("y", "m")]
    graph = helper.make_graph(nodes, "two", inputs, outputs, stored)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    made.producer_name = "hand"
    data: bytes = made.SerializeToString()
    return data


def run(data: bytes, values: dict[str, AnyArray]) -> list[AnyArray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return [np.asarray(found) for found in session.run(None, values)]


def exactly(data: bytes, values: dict[str, Sequence[Q]]) -> list[list[Q]]:
    """All outputs in exact rationals."""
    graph = load_onnx(data)
    made = {name: np.array([*entries, None], dtype=object)[:-1] for name, entries in values.items()}
    found = graph.evaluate(Rational(), made)
    return [list(found[name].ravel()) for name in graph.outputs]


def expected(x: Sequence[Q], p: Sequence[Q]) -> list[list[Q]]:
    """The outputs of `network` by hand."""
    y = [max(Q(0), sum((Q(float(w)) * v for w, v in zip(row, x, strict=True)), Q(0))) for row in W]
    return [y, [a + b for a, b in zip(y, p, strict=True)]]


rationals = st.one_of(
    st.fractions(-3, 3, max_denominator=2000),
    st.integers(-(2**60), 2**60).map(lambda n: Q(n, 2**47)),
    st.sampled_from(
        [Q(0), Q(1), Q("0.1234567890123456789"), Q(1, 255), Q(2**70 + 1, 2**90), Q(1, 2**99), Q(-7, 3**20)]
    ),
)


@given(st.data(), st.integers(1, 3), st.sampled_from([np.float32, np.float64]))
def test_an_affine_map_in_front_is_exact_over_the_reals(data: st.DataObject, columns: int, dtype: type) -> None:
    matrix = [[data.draw(rationals) for _ in range(columns)] for _ in range(4)]
    bias = [data.draw(rationals) for _ in range(4)]
    v = [data.draw(rationals) for _ in range(columns)]
    p = [Q(1, 2), Q(-1)]
    x = [sum((a * b for a, b in zip(row, v, strict=True)), c) for row, c in zip(matrix, bias, strict=True)]
    edited = prepend_affine(network(dtype=dtype), "x", matrix, bias)
    assert exactly(edited, {"x_parameters": v, "p": p}) == expected(x, p)
    assert is_real_only(edited)


@pytest.mark.parametrize(
    ("opset", "ir_version", "spare"), [(8, 3, True), (13, 8, False), (21, 10, True), (13, 3, True)]
)
def test_an_edited_file_runs_in_onnxruntime_and_keeps_its_interface(opset: int, ir_version: int, spare: bool) -> None:
    data = network(opset=opset, ir_version=ir_version, spare=spare)
    matrix, bias = [[Q(1, 3), Q(0)], [Q(0), Q(1, 10)], [Q(1), Q(1)], [Q(-1, 7), Q(2)]], [Q(0), Q(1, 3), Q(0), Q(1, 5)]
    edited = prepend_affine(data, "x", matrix, bias, name="v")
    v, p = [Q(1, 4), Q(3)], [Q(1), Q(2)]
    x = [sum((a * b for a, b in zip(row, v, strict=True)), c) for row, c in zip(matrix, bias, strict=True)]
    values = {"v": np.array(v, dtype=np.float32), "p": np.array([p], dtype=np.float32)}
    for found, wanted in zip(run(edited, values), expected(x, p), strict=True):
        assert np.allclose(found.ravel(), np.array(wanted, dtype=np.float64), rtol=1e-5)
    model = onnx.load_from_string(edited)
    onnx.checker.check_model(model)
    assert model.producer_name == "hand"
    assert [o.name for o in model.graph.output] == ["y", "m"]
    assert load_onnx(edited).inputs == (("v", (2,)), ("p", (1, 2)))


def test_coefficients_below_the_normal_numbers_are_divided_for() -> None:
    """2^-140 and 3^-40 in one row: powers of two beyond 2^100 are divisors, and so are powers of three."""
    matrix, v, p = [[Q(1, 2**140), Q(-7, 3**40)]] * 4, [Q(3), Q(1, 5)], [Q(1), Q(2)]
    edited = prepend_affine(network(), "x", matrix, [Q(1, 3)] * 4)
    x = [Q(3, 2**140) - Q(7, 5 * 3**40) + Q(1, 3)] * 4
    assert exactly(edited, {"x_parameters": v, "p": p}) == expected(x, p)


def test_the_checker_reads_what_is_in_front() -> None:
    edited = prepend_affine(network(), "x", [[Q(1, 255)]] * 4, [Q(1, 3)] * 4)
    assert read_network(edited).sizes[0] == 3


def test_inner_tensors_become_outputs_behind_the_others() -> None:
    values = {"x": np.array([[1, 2], [-1, 0.5]], dtype=np.float32), "p": np.array([[1, 2]], dtype=np.float32)}
    before = run(network(), values)
    data = append_outputs(network(), ["t", "m", "flat", "t"])
    after = run(data, values)
    assert [list(a.ravel()) for a in after[:2]] == [list(b.ravel()) for b in before]
    assert after[2].tolist() == [[1 - 4 - 0.5 + 1.5, 0.25 + 2 + 1]]
    assert after[3].tolist() == [[1, 2, -1, 0.5]]
    assert load_onnx(data).outputs == ("y", "m", "t", "flat")
    assert not is_real_only(data)


def test_what_cannot_be_edited_is_refused() -> None:
    with pytest.raises(MalformedNetwork, match="no tensor 'nothing'"):
        append_outputs(network(), ["nothing"])
    with pytest.raises(MalformedNetwork, match="no floating-point input 'w'; the inputs are x, p"):
        prepend_affine(network(), "w", [[Q(1)]], [Q(0)])
    with pytest.raises(FarkasError, match="has 4 entries; found 1 rows"):
        prepend_affine(network(), "x", [[Q(1)]], [Q(0)])
    with pytest.raises(FarkasError, match="too large a prime factor"):
        prepend_affine(network(), "x", [[Q(1, 2**61 - 1)]] * 4, [Q(0)] * 4)
    with pytest.raises(FarkasError, match="as large as 2"):
        prepend_affine(network(), "x", [[Q(2**130)]] * 4, [Q(0)] * 4)


def test_fields_that_are_not_known_are_kept() -> None:
    """A field 99 of the model, and one of the graph, in both wire types that carry numbers."""
    model = onnx.load_from_string(network())
    extra = bytes([0x9A, 0x06, 3]) + b"abc"  # field 99, length 3
    fixed = bytes([0x99, 0x06]) + bytes(range(8))  # field 99, eight bytes
    graph = model.graph.SerializeToString() + fixed
    model.ClearField("graph")
    data = model.SerializeToString() + bytes([7 << 3 | 2]) + _length(graph) + graph + extra
    edited = append_outputs(data, ["t"])
    assert edited.endswith(extra)
    assert fixed in edited


def _length(data: bytes) -> bytes:
    low, high = len(data) & 127 | 128, len(data) >> 7
    assert high < 128
    return bytes([low, high])
