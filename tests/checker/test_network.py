"""The ONNX reader: values against ONNX's own reference evaluator, and refusals."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data
from onnx.reference import ReferenceEvaluator

from farkas.checker.binary32 import TICK
from farkas.checker.errors import MalformedInput
from farkas.checker.network import Interface, read_network, read_networks
from farkas.checker.replay import EXECUTORS, execute
from farkas.checker.steps import Copy
from tests.checker.nets import model
from tests.nets import dense, random_layers
from tests.several import two_by_two

RNG = np.random.default_rng(20)


def integers(*shape: int) -> np.ndarray:
    """Small integers, for which float32 arithmetic is exact in any order."""
    return RNG.integers(-4, 5, shape).astype(np.float32)


def int64(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def agree(data: bytes, shape: Sequence[int]) -> None:
    """Our exact run gives what ONNX's reference evaluator gives, on integers."""
    x = integers(*shape)
    (expected,) = ReferenceEvaluator(onnx.load_from_string(data)).run(None, {"x": x})
    ours = execute(read_network(data), [Fraction(float(v)) for v in x.ravel()], EXECUTORS["exact"])
    assert ours == [Fraction(float(v)) for v in np.asarray(expected).ravel()]


def node(op: str, inputs: Sequence[str], **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, list(inputs), ["y"], **attributes)


UNARY: list[tuple[str, dict[str, np.ndarray], dict[str, Any], tuple[int, ...], int]] = [
    ("Gemm", {"w": integers(3, 4), "b": integers(4)}, {}, (2, 3), 13),
    ("Gemm", {"w": integers(4, 3), "b": integers(1, 4)}, {"transB": 1}, (2, 3), 13),
    ("Gemm", {"w": integers(4, 3), "b": integers(2, 1)}, {"transB": 1, "alpha": 1.0, "beta": 1.0}, (2, 3), 13),
    ("Gemm", {"w": integers(3, 4)}, {}, (1, 3), 13),
    ("MatMul", {"w": integers(3, 4)}, {}, (2, 3), 13),
    ("MatMul", {"w": integers(3, 4)}, {}, (2, 1, 3), 13),
    ("MatMul", {"w": integers(3, 4)}, {}, (3,), 13),
    ("MatMul", {"w": integers(3)}, {}, (2, 3), 13),
    ("Add", {"w": integers(3)}, {}, (2, 3), 13),
    ("Add", {"w": integers(2, 2, 1)}, {}, (2, 3), 13),
    ("Add", {"w": integers(1)}, {}, (2, 3), 13),
    ("Sub", {"w": integers(2, 1)}, {}, (2, 3), 13),
    ("Mul", {"w": integers(3)}, {}, (2, 3), 13),
    ("Mul", {"w": integers(2, 1, 3)}, {}, (2, 3), 13),
    ("Div", {"w": np.array([2, 4, -8], dtype=np.float32)}, {}, (2, 3), 13),
    ("Neg", {}, {}, (2, 3), 13),
    ("Relu", {}, {}, (2, 3), 13),
    ("Identity", {}, {}, (2, 3), 13),
    ("Dropout", {}, {}, (2, 3), 13),
    ("Flatten", {}, {}, (2, 3, 4), 13),
    ("Flatten", {}, {"axis": 0}, (2, 3, 4), 13),
    ("Flatten", {}, {"axis": -1}, (2, 3, 4), 13),
    ("Reshape", {"s": int64(4, -1)}, {}, (2, 3, 4), 13),
    ("Reshape", {"s": int64(0, 2, -1)}, {}, (2, 3, 4), 13),
    ("Squeeze", {"a": int64(0, -1)}, {}, (1, 3, 1), 13),
    ("Squeeze", {}, {"axes": [0]}, (1, 3, 1), 11),
    ("Squeeze", {}, {}, (1, 3, 1), 13),
    ("Unsqueeze", {"a": int64(0, 3)}, {}, (2, 3), 13),
    ("Unsqueeze", {}, {"axes": [1]}, (2, 3), 11),
    ("Transpose", {}, {}, (2, 3, 4), 13),
    ("Transpose", {}, {"perm": [1, 2, 0]}, (2, 3, 4), 13),
    ("Gather", {"i": int64(2, 0, -1)}, {"axis": 1}, (2, 3), 13),
    ("Gather", {"i": np.array([[1, 0], [1, 1]])}, {}, (2, 3), 13),
    ("Gather", {"i": np.array(1)}, {"axis": -1}, (2, 3), 13),
    ("Slice", {"s": int64(1, 0), "e": int64(2**62, -1), "a": int64(1, 0)}, {}, (3, 4), 13),
    ("Slice", {"s": int64(-1), "e": int64(-(2**62)), "a": int64(1), "t": int64(-2)}, {}, (3, 4), 13),
    ("Slice", {"s": int64(0), "e": int64(9), "a": int64(-1), "t": int64(2)}, {}, (3, 5), 13),
    ("Slice", {"s": int64(-3), "e": int64(-1)}, {}, (5, 2), 13),
    ("Slice", {}, {"starts": [1], "ends": [-1], "axes": [1]}, (3, 4), 9),
    ("Conv", {"w": integers(4, 2, 3, 3), "b": integers(4)}, {}, (1, 2, 5, 4), 13),
    ("Conv", {"w": integers(4, 2, 3, 2)}, {"pads": [1, 0, 2, 1], "strides": [2, 1]}, (1, 2, 5, 4), 13),
    ("Conv", {"w": integers(4, 1, 3, 3)}, {"group": 2, "dilations": [2, 1]}, (2, 2, 6, 4), 13),
    ("Conv", {"w": integers(2, 3, 3), "b": integers(2)}, {"pads": [2, 0], "kernel_shape": [3]}, (1, 3, 4), 13),
    ("Conv", {"w": integers(6, 2, 2)}, {"group": 3, "strides": [2]}, (1, 6, 7), 13),
]


@pytest.mark.parametrize(("op", "constants", "attributes", "shape", "opset"), UNARY)
def test_an_operator_computes_what_onnx_says(
    op: str, constants: dict[str, np.ndarray], attributes: dict[str, Any], shape: tuple[int, ...], opset: int
) -> None:
    agree(model([node(op, ["x", *constants], **attributes)], constants, shape, opset=opset), shape)


def test_a_constant_may_stand_on_the_left() -> None:
    for op, w, shape in [
        ("MatMul", integers(4, 3), (3, 2)),
        ("MatMul", integers(4, 3), (2, 3, 2)),
        ("MatMul", integers(4, 3), (3,)),
        ("MatMul", integers(3), (3, 2)),
        ("Sub", integers(2, 3), (2, 3)),
        ("Mul", integers(3), (2, 3)),
    ]:
        agree(model([node(op, ["w", "x"])], {"w": w}, shape), shape)


def test_two_variables_are_added_subtracted_and_concatenated() -> None:
    for op, attributes in [("Add", {}), ("Sub", {}), ("Concat", {"axis": 1}), ("Concat", {"axis": 0})]:
        nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node(op, ["a", "x"], ["y"], **attributes)]
        agree(model(nodes, {}, (2, 3)), (2, 3))


@pytest.mark.parametrize(
    ("opset", "attributes", "sizes"),
    [
        (11, {"split": [1, 3]}, None),
        (11, {}, None),
        (13, {}, int64(3, 1)),
        (13, {}, None),
        (18, {"num_outputs": 2}, None),
    ],
)
def test_split_gives_its_parts(opset: int, attributes: dict[str, Any], sizes: np.ndarray | None) -> None:
    constants = {} if sizes is None else {"s": sizes}
    nodes = [
        helper.make_node("Split", ["x", *constants], ["p", "q"], axis=1, **attributes),
        helper.make_node("Concat", ["q", "p"], ["y"], axis=1),
    ]
    agree(model(nodes, constants, (2, 4), opset=opset), (2, 4))


def test_constants_are_read_from_every_field_and_attribute() -> None:
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(integers(3))),
        helper.make_node("Constant", [], ["f"], value_float=2.5),
        helper.make_node("Constant", [], ["g"], value_floats=[1.0, 2.0, 3.0]),
        helper.make_node("Constant", [], ["s"], value_ints=[3, -1]),
        helper.make_node("Add", ["x", "c"], ["p"]),
        helper.make_node("Mul", ["p", "f"], ["q"]),
        helper.make_node("Add", ["q", "g"], ["r"]),
        helper.make_node("Reshape", ["r", "s"], ["y"]),
    ]
    agree(model(nodes, {}, (2, 3)), (2, 3))
    proto = onnx.load_from_string(model([node("Add", ["x", "w"])], {"w": integers(3)}, (1, 3)))
    proto.graph.initializer[0].CopyFrom(helper.make_tensor("w", TensorProto.FLOAT, [3], [1.0, -2.0, 0.5]))
    assert proto.graph.initializer[0].float_data
    agree(proto.SerializeToString(), (1, 3))


def test_an_unknown_batch_dimension_is_one() -> None:
    program = read_network(model([node("Relu", ["x"])], {}, ["N", 3]))
    assert program.sizes == (3, 3)


def test_repeated_elements_in_a_product_are_copied_first() -> None:
    constants = {"i": int64(0, 0, 1), "w": integers(3, 2)}
    nodes = [helper.make_node("Gather", ["x", "i"], ["g"], axis=1), helper.make_node("MatMul", ["g", "w"], ["y"])]
    data = model(nodes, constants, (1, 2))
    assert any(isinstance(step, Copy) for step in read_network(data).steps)
    agree(data, (1, 2))


def with_tensor(change: Any) -> bytes:
    proto = onnx.load_from_string(model([node("Add", ["x", "w"])], {"w": integers(3)}, (1, 3)))
    change(proto.graph.initializer[0])
    return proto.SerializeToString()


def external(tensor: onnx.TensorProto) -> None:
    set_external_data(tensor, "weights.bin")


def set_value(value: float) -> Any:
    return lambda t: t.CopyFrom(numpy_helper.from_array(np.array([0, value, 1], dtype=np.float32), "w"))


def two_inputs() -> bytes:
    proto = onnx.load_from_string(model([node("Add", ["x", "z"])], {}, (1, 3)))
    proto.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 3]))
    return proto.SerializeToString()


def without_inputs() -> bytes:
    proto = onnx.load_from_string(model([node("Relu", ["x"])], {}, (1, 3)))
    del proto.graph.input[:]
    return proto.SerializeToString()


def test_several_inputs_are_one_vector_in_the_order_of_the_file() -> None:
    program, (interface,) = read_networks([("", two_inputs())])
    assert interface == Interface(((1, 3), (1, 3)), ((1, 3),))
    assert execute(program, [Fraction(v) for v in (1, 2, 3, 10, 20, 40)], EXECUTORS["exact"]) == [11, 22, 43]


def test_several_outputs_are_one_vector_in_the_order_of_the_file() -> None:
    data = two_by_two().data
    program, (interface,) = read_networks([("", data)])
    assert interface == Interface(((1, 2), (1, 3)), ((1, 3), (1, 2)))
    # tests/ir/test_joined.py computes these by hand
    assert execute(program, [Fraction(v) for v in (1, 2, 1, 0, -1)], EXECUTORS["exact"]) == [2, 5, -1, 0, 0]
    assert execute(program, [Fraction(v) for v in (-1, 2, 1, 0, -1)], EXECUTORS["exact"]) == [2, 4, 0.25, 1, 0]


@pytest.mark.parametrize("executor", ["seq-fma", "seq-muladd", "mlas-k256-fma", "exact"])
def test_several_networks_are_executed_side_by_side(executor: str) -> None:
    rng = np.random.default_rng(4)
    files = [dense(random_layers(rng, sizes, eighths=False)).data for sizes in ((3, 5, 2), (1, 4, 1))]
    alone = [read_network(data) for data in files]
    points = [Fraction(int(v), 64) for v in rng.integers(-128, 129, 7)]
    x: list[Any] = points if executor == "exact" else [int(v * 2**TICK) for v in points]
    arithmetic = EXECUTORS[executor]
    f, g, h = execute(alone[0], x[:3], arithmetic), execute(alone[1], x[3:4], arithmetic), x[4:]
    together, _ = read_networks([("f", files[0]), ("g", files[1]), ("h", files[0])])
    assert execute(together, x, arithmetic) == [*f, *g, *execute(alone[0], h, arithmetic)]


def test_what_is_wrong_with_one_of_several_networks_names_it() -> None:
    good, bad = model([node("Relu", ["x"])], {}, (1, 3)), model([node("Sigmoid", ["x"])], {}, (1, 3))
    with pytest.raises(MalformedInput, match=r"node 'y' of network 'g' \(Sigmoid\): not supported"):
        read_networks([("f", good), ("g", bad)])


REFUSED: list[tuple[bytes, str]] = [
    (without_inputs(), "no input or no output"),
    (model([node("Sigmoid", ["x"])], {}, (1, 3)), "(Sigmoid): not supported; supported operators: A"),
    (model([node("Relu", ["x"], domain="com.example")], {}, (1, 3)), "not supported"),
    (model([node("Relu", ["x"], alpha=1.0)], {}, (1, 3)), "attribute 'alpha' is not supported"),
    (model([node("Gemm", ["x", "w"], alpha=2.0)], {"w": integers(3, 1)}, (1, 3)), "alpha and beta"),
    (model([node("Gemm", ["x", "w"], transA=1)], {"w": integers(1, 1)}, (1, 3)), "transA"),
    (model([node("Conv", ["x", "w"], auto_pad="SAME_UPPER")], {"w": integers(1, 1, 3)}, (1, 1, 3)), "auto_pad"),
    (model([node("Conv", ["x", "w"])], {"w": integers(1, 2, 3)}, (1, 1, 3)), "1 channels do not fit"),
    (model([node("MatMul", ["x", "w"])], {"w": integers(4, 1)}, (1, 3)), "do not fit"),
    (model([node("Mul", ["x", "x"])], {}, (1, 3)), "must be a constant"),
    (model([node("Div", ["x", "w"])], {"w": np.zeros(1, np.float32)}, (1, 3)), "divides by zero"),
    (model([node("Div", ["x", "w"])], {"w": np.array([1e-40], np.float32)}, (1, 3)), "subnormal"),
    (model([node("Reshape", ["x", "s"])], {"s": int64(2, 2)}, (1, 3)), "cannot become"),
    (model([node("Gather", ["x", "s"], axis=1)], {"s": int64(3)}, (1, 3)), "axis 3 does not exist"),
    (model([node("Transpose", ["x"], perm=[0, 0])], {}, (1, 3)), "no permutation"),
    (model([node("Transpose", ["x"], perm=1.5)], {}, (1, 3)), "wrong type"),
    (model([node("Relu", ["nowhere"])], {}, (1, 3)), "'nowhere' is not defined"),
    (model([node("Relu", ["x"])], {}, (1, 3), output="z"), "'z' is not computed"),
    (model([node("Relu", ["x"])], {}, (1, "N")), "dimension 1 of the input is unknown"),
    (model([node("Relu", ["x"])], {}, (1, 3), opset=6), "opset 8 to 21"),
    (model([node("Add", ["x", "w"])], {"w": np.zeros(3)}, (1, 3)), "element type 11"),
    (model([node("Dropout", ["x", "r", "t"])], {"r": np.zeros((), np.float32), "t": int64(1)}, (1, 3)), "training"),
    (with_tensor(set_value(np.nan)), "not finite"),
    (with_tensor(set_value(np.inf)), "not finite"),
    (with_tensor(external), "outside the file"),
    (with_tensor(lambda t: t.dims.append(2)), "3 values for shape (3, 2)"),
]


@pytest.mark.parametrize(("data", "why"), REFUSED)
def test_what_is_not_known_is_refused_by_name(data: bytes, why: str) -> None:
    with pytest.raises(MalformedInput, match=re.escape(why)):
        read_network(data)


def test_every_truncation_of_a_network_is_refused_or_lacks_nothing_that_matters() -> None:
    data = model([node("Gemm", ["x", "w", "b"])], {"w": integers(2, 2), "b": integers(2)}, (1, 2))
    whole = read_network(data)
    for length in range(len(data)):
        try:
            assert read_network(data[:length]) == whole
        except MalformedInput:
            continue


HUGE = [
    model([node("Conv", ["x", "w"], pads=[2**40, 2**40])], {"w": integers(1, 1, 1)}, (1, 1, 3)),
    model([node("Conv", ["x", "w"], pads=[3000, 0, 3000, 0])], {"w": integers(1, 1, 1, 1)}, (1, 1, 1, 5000)),
    model([node("Add", ["x", "w"])], {"w": integers(3000, 1)}, (1, 3000)),
    model([node("Mul", ["x", "w"])], {"w": integers(3000, 1)}, (1, 3000)),
    model([node("MatMul", ["x", "w"])], {"w": integers(1, 3000)}, (3000, 1)),
    model([node("MatMul", ["w", "x"])], {"w": integers(3000, 1)}, (1, 3000)),
    model([node("Gemm", ["x", "w"])], {"w": integers(1, 3000)}, (3000, 1)),
    model([node("Gather", ["x", "i"], axis=1)], {"i": np.zeros(3000, np.int64)}, (3000, 1)),
    model([node("Relu", ["x"])], {}, (2**31, 2**31)),
]


@pytest.mark.parametrize("data", HUGE)
def test_small_files_that_mean_huge_values_are_refused_at_once(data: bytes) -> None:
    with pytest.raises(MalformedInput, match="too large"):
        read_network(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 20,  # an endless varint
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + b"\0" * 8,  # a graph of 2^64 - 1 bytes
        b"\x3b",  # a group
        b"\x08\x08" * 2,  # ir_version twice
        b"\xa2\x01\x00",  # training_info
    ],
)
def test_malformed_protobuf_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedInput):
        read_network(data)
