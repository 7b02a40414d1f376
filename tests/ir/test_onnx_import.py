"""The importer: interfaces, constant subgraphs, and what is refused with which words."""

import operator
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from farkas.ir.core import run_float
from farkas.ir.errors import FarkasError, MalformedNetwork, ShapeError, UnsupportedOperator
from farkas.ir.lowering import lower
from farkas.ir.onnx_import import OPSETS, load_onnx, supported_operators
from farkas.ir.onnx_wire import decompressed
from farkas.ir.ops.affine import Add, Linear
from farkas.ir.ops.movement import Reshape
from tests.agreement.reference import values_and_radii
from tests.models import AnyArray, make_model, run_onnxruntime, weights


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str] = ("y",), **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), list(outputs), name=f"the_{kind}", **attributes)


def single(
    kind: str, *constants: AnyArray | None, opset: int = 13, shape: Sequence[Any] = (2, 3), **attrs: Any
) -> bytes:
    """y = kind(x, constants...)."""
    names = [f"c{i}" if constant is not None else "" for i, constant in enumerate(constants)]
    arrays = {f"c{i}": constant for i, constant in enumerate(constants) if constant is not None}
    return make_model([node(kind, ["x", *names], **attrs)], {"x": shape}, arrays, opset=opset)


def edited(data: bytes, edit: Any) -> bytes:
    model = onnx.load_from_string(data)
    edit(model)
    out: bytes = model.SerializeToString()
    return out


def test_initializers_listed_as_inputs_are_no_inputs() -> None:
    def list_weight(model: onnx.ModelProto) -> None:
        model.graph.input.append(helper.make_tensor_value_info("c0", TensorProto.FLOAT, [3, 4]))

    graph = load_onnx(edited(single("MatMul", weights((3, 4))), list_weight))
    assert graph.inputs == (("x", (2, 3)),)
    assert graph.outputs == ("y",)
    assert graph.shapes["y"] == (2, 4)


def test_dynamic_dimensions_become_one_and_are_noted() -> None:
    graph = load_onnx(single("Relu", shape=("batch", None, 3)))
    assert graph.inputs == (("x", (1, 1, 3)),)
    assert len(graph.notes) == 1
    assert "'x'" in graph.notes[0]
    assert load_onnx(single("Relu")).notes == ()


def test_a_stated_batch_stays() -> None:
    assert load_onnx(single("Relu", shape=(5, 3))).shapes["y"] == (5, 3)


def test_constants_live_inside_the_operators() -> None:
    graph = load_onnx(make_model(
        [node("MatMul", ["x", "w"], ["p"]), node("Add", ["b", "p"])], {"x": (2, 3)},
        {"w": weights((3, 4)), "b": weights((4,))}, opset=13,
    ))  # fmt: skip
    assert [made.inputs for made in graph.nodes] == [("x",), ("p",)]
    product, total = (made.op for made in graph.nodes)
    assert isinstance(product, Linear)
    assert isinstance(total, Add)
    np.testing.assert_array_equal(product.weight, weights((3, 4)).T)
    np.testing.assert_array_equal(np.asarray(total.constant), weights((4,)))


def test_nodes_on_which_no_output_depends_are_left_out() -> None:
    nodes = [node("Sigmoid", ["x"], ["unused"]), node("Relu", ["x"])]
    assert [made.name for made in load_onnx(make_model(nodes, {"x": (2,)}, opset=13)).nodes] == ["y"]


def test_a_flatten_as_exporters_write_it_is_folded_to_one_reshape() -> None:
    # torch: Reshape(x, Concat(Unsqueeze(Gather(Shape(x), 0)), [-1]))
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"], axis=0),
        node("Unsqueeze", ["n"], ["u"], axes=[0]),
        node("Concat", ["u", "minus"], ["t"], axis=0),
        node("Reshape", ["x", "t"]),
    ]
    data = make_model(nodes, {"x": ("n", 3, 4)}, {"zero": np.array(0), "minus": np.array([-1])}, opset=11)
    graph = load_onnx(data)
    assert [made.op for made in graph.nodes] == [Reshape((1, 12))]
    assert run_onnxruntime(data, {"x": np.zeros((1, 3, 4), np.float32)}).shape == (1, 12)


def constant_graph(nodes: Sequence[onnx.NodeProto], arrays: dict[str, AnyArray], opset: int) -> bytes:
    """y = x + the constant that `nodes` compute as c."""
    return make_model([*nodes, node("Add", ["x", "c"])], {"x": (2, 3)}, arrays, opset=opset)


FOLDS: dict[str, tuple[int, list[onnx.NodeProto], dict[str, AnyArray]]] = {
    "mask": (
        13,
        [
            node("Range", ["zero", "six", "one"], ["r"]),
            node("Reshape", ["r", "shape"], ["m"]),
            node("Equal", ["m", "four"], ["e"]),
            node("Less", ["m", "four"], ["l"]),
            node("Or", ["e", "l"], ["o"]),
            node("Not", ["o"], ["k"]),
            node("Where", ["k", "a", "b"], ["c"]),
        ],
        {
            "zero": np.array(0), "six": np.array(6), "one": np.array(1), "four": np.array(4),
            "shape": np.array([2, 3]), "a": weights((3,), 1), "b": weights((2, 1), 2),
        },
    ),
    "shapes": (
        13,
        [
            node("Shape", ["x"], ["s"]),
            node("ConstantOfShape", ["s"], ["z"], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [0.5])),
            node("Size", ["x"], ["n"]),
            node("Cast", ["n"], ["f"], to=TensorProto.FLOAT),
            node("Mul", ["z", "f"], ["c"]),
        ],
        {},
    ),
    "movement": (
        13,
        [
            node("Transpose", ["w"], ["t"], perm=[1, 0]),
            node("Slice", ["t", "start", "end", "axes"], ["u"]),
            node("Squeeze", ["u", "axes"], ["v"]),
            node("Expand", ["v", "shape"], ["c"]),
        ],
        {"w": weights((3, 4)), "start": np.array([2]), "end": np.array([3]), "axes": np.array([0]),
         "shape": np.array([2, 3])},
    ),
    "integers": (
        13,
        [
            node("Mul", ["i", "i"], ["a"]), node("Sub", ["a", "i"], ["b"]), node("Div", ["b", "k"], ["d"]),
            node("Neg", ["d"], ["n"]), node("Max", ["n", "a"], ["e"]), node("Cast", ["e"], ["c"], to=1),
        ],
        {"i": np.array([2, -3, 5]), "k": np.array([-4, 5, 3])},
    ),
    "split": (
        11,
        [node("Split", ["w"], ["p", "q"], axis=0), node("Concat", ["q", "p"], ["c"], axis=0)],
        {"w": weights((2, 3))},
    ),
    "rounding": (
        13,
        [
            node("Floor", ["w"], ["f"]), node("Ceil", ["w"], ["g"]), node("Max", ["f", "g"], ["m"]),
            node("Abs", ["m"], ["a"]), node("Relu", ["a"], ["b"]), node("Identity", ["b"], ["i"]),
            node("Flatten", ["i"], ["l"], axis=0), node("Reshape", ["l", "s"], ["c"]),
        ],
        {"w": weights((2, 3)), "s": np.array([2, 3])},
    ),
    "values": (13, [node("Constant", [], ["c"], value_floats=[0.5, 1.5, -2.0])], {}),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDS)
def test_constant_subgraphs_have_the_value_that_onnxruntime_gives_them(name: str) -> None:
    opset, nodes, arrays = FOLDS[name]
    data = constant_graph(nodes, arrays, opset)
    graph = load_onnx(data)
    (made,) = graph.nodes
    assert isinstance(made.op, Add)
    x = np.zeros((2, 3), dtype=np.float32)
    constant = np.broadcast_to(np.asarray(made.op.constant), (2, 3))
    np.testing.assert_array_equal(constant, run_onnxruntime(data, {"x": x}))


@given(st.lists(st.floats(-100, 100, width=32), min_size=6, max_size=6), st.sampled_from(["Add", "Sub", "Mul", "Div"]))
def test_float_constants_are_folded_when_exact_and_refused_when_rounded(values: list[float], kind: str) -> None:
    a, b = (np.array(part, dtype=np.float32) for part in (values[:3], values[3:]))
    data = constant_graph([node(kind, ["a", "b"], ["c"])], {"a": a, "b": b}, 13)
    with np.errstate(all="ignore"):
        rounded = {"Add": a + b, "Sub": a - b, "Mul": a * b, "Div": a / b}[kind]
    compute = {"Add": operator.add, "Sub": operator.sub, "Mul": operator.mul, "Div": operator.truediv}[kind]
    triples = zip(rounded.tolist(), a.tolist(), b.tolist(), strict=True)
    if np.isfinite(rounded).all() and all(compute(Fraction(p), Fraction(q)) == r for r, p, q in triples):
        (made,) = load_onnx(data).nodes
        assert isinstance(made.op, Add)
        np.testing.assert_array_equal(np.asarray(made.op.constant), rounded)
    else:
        with pytest.raises(UnsupportedOperator, match=r"rounds|zero"):
            load_onnx(data)


def constants(scale: float = 1.0, variance: float = 1.0) -> list[AnyArray]:
    """Scale, bias, mean and variance of a normalization of three channels."""
    return [np.full(3, value, dtype=np.float32) for value in (scale, 0.0, 0.0, variance)]


def refusal(data: bytes, kind: type[FarkasError] = UnsupportedOperator) -> str:
    with pytest.raises(kind) as caught:
        load_onnx(data)
    return str(caught.value)


def test_an_unsupported_operator_is_named_with_its_node_and_what_is_supported() -> None:
    message = refusal(single("Sigmoid"))
    assert "'Sigmoid'" in message
    assert "'the_Sigmoid'" in message
    assert all(name in message for name in supported_operators())


def test_matrix_products_and_quotients_of_variables_are_refused() -> None:
    data = make_model([node("MatMul", ["x", "x"])], {"x": (3, 3)}, opset=13)
    assert "both operands depend on the input" in refusal(data)
    assert "divisor depends" in refusal(make_model([node("Div", ["x", "x"])], {"x": (3,)}, opset=13))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (single("Relu", alpha=1.0), "attribute 'alpha' is not supported"),
        (single("Div", np.zeros(3, np.float32)), "zero or a subnormal"),
        (single("Cast", to=TensorProto.INT64), "cast to int64"),
        (single("Cast", to=TensorProto.DOUBLE), "cast to float64"),
        (single("Pad", np.array([1, 1, 1, 1]), mode="edge"), "mode 'edge'"),
        (single("Dropout", np.array(0.5, np.float32), np.array(True)), "training mode"),
        (single("MatMul", weights((2, 3, 3)), shape=(2, 3, 3)), "a matrix or vector is supported"),
        (single("AveragePool", shape=(1, 1, 4, 4), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1,
                count_include_pad=1), "no agreed divisor"),
        (single("ConvTranspose", weights((1, 1, 3, 3)), shape=(1, 1, 4, 4), output_shape=[6, 6]), "output_shape"),
        (single("Conv", weights((1, 1, 2, 2, 2)), shape=(1, 1, 4, 4, 4)), "one and two spatial dimensions"),
        (single("Resize", None, np.array([1.0, 1.5], np.float32), mode="nearest"), "whole numbers"),
        (single("Resize", None, np.array([1.0, 2.0], np.float32), mode="linear"), "nearest-neighbour"),
        (single("Resize", None, np.array([1e6, 1e6], np.float32), mode="nearest"), "elements are supported"),
        (single("Gemm", weights((3, 2)), alpha=2.0**-127), "subnormal"),
        (single("Gemm", weights((3, 2)), weights((2,)), beta=-(2.0**-149)), "subnormal"),
        (single("BatchNormalization", *constants(scale=2.0**-127)), "subnormal"),
        (single("BatchNormalization", *constants(variance=2.0**-70), epsilon=0.0), "between 2^-60 and 2^127"),
        (single("BatchNormalization", *constants(variance=3e38), epsilon=3e38), "between 2^-60 and 2^127"),
        (single("BatchNormalization", *constants(variance=-1.0)), "must not be negative"),
    ],
)  # fmt: skip
def test_what_has_no_meaning_here_is_refused(data: bytes, words: str) -> None:
    assert words in refusal(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (single("MatMul", weights((4, 3))), "expects 4 features"),
        (single("MatMul", np.full((3, 2), np.nan, np.float32)), "NaN or an infinity"),
        (single("MatMul", np.zeros((3, 2))), "element type float64"),
        (single("Add", weights((4,))), "(node 'the_Add'): shapes (2, 3), (4,) cannot be broadcast"),
        (single("Reshape", np.array([4, 2])), "cannot be reshaped"),
        (single("Reshape", np.array([-1, -1])), "has no meaning"),
        (single("Reshape", np.array([2.0, 3.0])), "integers are wanted"),
        (single("Transpose", perm=[0, 0]), "does not fit"),
        (single("Gather", np.array([3]), axis=1), "outside axis 1"),
        (single("Split", axis=0, split=[1, 2], opset=11), "do not split"),
        (single("Squeeze", np.array([0])), "length 1"),
        (single("Concat", axis=7), "axis 7 does not exist"),
        (single("Conv", weights((1, 2, 2, 2)), shape=(1, 3, 4, 4)), "does not fit"),
        (single("Conv", weights((1, 3, 9, 9)), shape=(1, 3, 4, 4)), "no window"),
        (single("BatchNormalization", *(weights((2,)),) * 4), "channels"),
        (single("Gemm", weights((3, 2)), weights((5,))), "(node 'the_Gemm'): shapes (2, 2), (5,)"),
    ],
)
def test_inconsistent_networks_are_malformed(data: bytes, words: str) -> None:
    assert words in refusal(data, MalformedNetwork)


def folded(kind: str, *constants: AnyArray | None, opset: int = 13, **attributes: Any) -> bytes:
    """y = x + kind(constants...)."""
    names = [f"c{i}" if constant is not None else "" for i, constant in enumerate(constants)]
    arrays = {f"c{i}": constant for i, constant in enumerate(constants) if constant is not None}
    return constant_graph([node(kind, names, ["c"], **attributes)], arrays, opset)


F = np.float32
I = np.int64


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (folded("Div", np.array([1, 2], I), np.array([0, 2], I)), "divided by zero"),
        (folded("Div", np.array([1], F), np.array([3], F)), "rounds"),
        (folded("Mul", np.array([1e30], F), np.array([1e30], F)), "rounds"),
        (folded("Mul", np.array([np.inf], F), np.array([1], F)), "NaN or infinite"),
        (folded("Mul", np.array([2**40], I), np.array([2**40], I)), "range of int64"),
        (folded("Add", np.zeros(1025, F), np.zeros((1025, 1), F)), "not folded"),
        (folded("Cast", np.array([1.5e300]), to=TensorProto.FLOAT), "rounds it"),
        (folded("Cast", np.array([2**40]), to=TensorProto.INT32), "range of int32"),
        (folded("Cast", np.array([0.1]), to=TensorProto.FLOAT), "rounds it"),
        (folded("Cast", np.array([np.nan], F), to=TensorProto.INT64), "out of the range"),
        (folded("Cast", np.array([1], F), to=TensorProto.STRING), "not supported"),
        (folded("ConstantOfShape", np.array([2**20, 2**20])), "elements"),
        (folded("Range", np.array(0.0, F), np.array(3.0, F), np.array(1.0, F)), "single integers"),
        (folded("MatMul", np.eye(2, dtype=F), np.eye(2, dtype=F)), "constants are folded for"),
        (folded("Expand", np.zeros(1, F), np.array([2**20, 2**20])), "elements are supported"),
    ],
)  # fmt: skip
def test_constant_arithmetic_without_one_meaning_is_refused(data: bytes, words: str) -> None:
    assert words in refusal(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (folded("Add", np.zeros(2, F), np.zeros(3, F)), "do not fit together"),
        (folded("Add", np.array([1, 2], F), np.array([1, 2], I)), "element types float32 and int64"),
        (folded("Range", np.array(0), np.array(3), np.array(0)), "has no meaning"),
        (folded("ConstantOfShape", np.array([-2])), "has no meaning"),
        (folded("Concat", np.zeros((2, 2), F), np.zeros((3, 3), F), axis=0), "cannot be concatenated"),
        (folded("Concat", None, np.zeros((3, 3), F), axis=0), "operand 0 is missing"),
        (folded("Neg"), "operand 0 is missing"),
        (folded("Shape"), "operand 0 is missing"),
        (folded("Size"), "operand 0 is missing"),
        (folded("Constant"), "exactly one value"),
        (folded("Constant", value_string="text"), "attribute 'value_string' is not supported"),
        (folded("Gather", np.zeros(2, F), np.array([5]), axis=0), "outside axis 0"),
    ],
)
def test_malformed_constant_subgraphs_are_errors(data: bytes, words: str) -> None:
    with pytest.raises(FarkasError) as caught:
        load_onnx(data)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (single("MatMul", np.array(1.0, F)), "a scalar"),
        (single("MatMul", None), "operand 1 is missing"),
        (single("Gemm", weights((3,))), "Gemm multiplies two matrices"),
        (single("LeakyRelu", alpha=1), "should be a finite number"),
        (single("Flatten", axis=5), "axis 5 does not exist"),
        (single("Reshape", np.array([0, 0, 0])), "copies a dimension"),
        (single("Reshape", None), "the new shape is missing"),
        (single("Unsqueeze", np.array([0, 0])), "repeat one"),
        (single("Unsqueeze", None), "axes are missing"),
        (single("Expand", np.array([0])), "has no meaning"),
        (single("Expand", np.array([5, 5])), "cannot be expanded"),
        (single("Slice", np.array([0]), np.array([1]), np.array([0]), np.array([0])), "do not fit together"),
        (single("Slice", None), "starts or ends are missing"),
        (single("Gather", np.array([0.5])), "should be integers"),
        (single("Pad", np.array([1, 1])), "do not fit"),
        (single("Pad", np.array([-1, -1, -1, -1])), "does not fit"),
        (single("Clip", np.array([1.0, 2.0], F)), "should be one number"),
        (single("Clip", np.array(np.nan, F)), "should be a number"),
        (single("Conv", weights((2, 1, 3)), shape=(1, 1, 4), pads=[1]), "2 nonnegative integers"),
        (single("Conv", weights((2, 1, 3)), shape=(1, 1, 4), strides=[0]), "positive integers"),
        (single("Conv", weights((2, 1, 3)), shape=(1, 1, 4), auto_pad="ODD"), "'auto_pad' is 'ODD'"),
        (single("Conv", weights((3, 1, 3)), shape=(1, 2, 4), group=2), "in 2 groups"),
        (single("Conv", weights((2, 1, 3)), shape=(1, 1, 4), kernel_shape=[2]), "'kernel_shape' is (2,)"),
        (single("ConvTranspose", weights((2, 1, 3)), shape=(1, 1, 4)), "does not fit"),
        (single("ConvTranspose", weights((1, 1, 3)), shape=(1, 1, 4), output_padding=[1]), "below the stride"),
        (single("ConvTranspose", weights((1, 1, 3)), shape=(1, 1, 1), pads=[2, 2]), "would have"),
        (single("MaxPool", shape=(1, 1, 4)), "'kernel_shape' is missing"),
        (single("Max", weights((2,)), weights((3,))), "cannot be broadcast"),
        (single("GlobalAveragePool"), "(batch, channels, ...)"),
    ],
)
def test_malformed_operands_and_attributes_are_named(data: bytes, words: str) -> None:
    with pytest.raises(FarkasError) as caught:
        load_onnx(data)
    assert words in str(caught.value)
    assert "the_" in str(caught.value), "the node is named"


def test_shapes_that_do_not_fit_are_shape_errors() -> None:
    refusal(single("MatMul", weights((4, 3))), ShapeError)


def test_other_domains_types_and_opsets_are_refused() -> None:
    custom = helper.make_node("Relu", ["x"], ["y"], domain="com.example")
    assert "com.example" in refusal(make_model([custom], {"x": (2,)}, opset=13))
    half = make_model([node("Relu", ["x"])], {"x": (2,)}, opset=13, dtype=TensorProto.FLOAT16)
    assert "float16" in refusal(half)
    for opset in (7, 22):
        assert f"opset {opset}" in refusal(single("Relu", opset=opset))
    for opset in OPSETS:
        load_onnx(single("Relu", opset=opset))


def test_float64_networks_keep_their_constants() -> None:
    weight = np.array([[0.1, 0.2]])
    graph = load_onnx(
        make_model([node("MatMul", ["w", "x"])], {"x": (2, 1)}, {"w": weight}, opset=13, dtype=TensorProto.DOUBLE)
    )
    assert graph.dtype == "float64"
    program = lower(graph)
    assert run_float(program, np.array([1.0, 0.0]))[program.output].tolist() == [0.1]


def test_tensors_that_nothing_produces_or_two_nodes_produce_are_malformed() -> None:
    unknown = make_model([node("Add", ["x", "ghost"])], {"x": (2,)}, opset=13)
    assert "'ghost'" in refusal(unknown, MalformedNetwork)
    twice = make_model([node("Relu", ["x"]), node("Abs", ["x"])], {"x": (2,)}, opset=13)
    assert "produced twice" in refusal(twice, MalformedNetwork)
    cycle = make_model([node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["b"])], {"x": (2,)},
                       opset=13)  # fmt: skip
    assert "nothing before it produces" in refusal(cycle, MalformedNetwork)
    absent = make_model([node("Relu", ["x"], ["z"])], {"x": (2,)}, opset=13)
    assert "'y' is produced by no node" in refusal(absent, MalformedNetwork)


def test_networks_without_shape_input_or_variable_output_are_refused() -> None:
    def no_shape(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.ClearField("shape")

    assert "has no shape" in refusal(edited(single("Relu"), no_shape), MalformedNetwork)
    constant = helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(weights((2,))))
    assert "no input" in refusal(make_model([constant], {}, opset=13), MalformedNetwork)
    assert "depends on no input" in refusal(make_model([constant], {"x": (2,)}, opset=13))


@pytest.mark.vnncomp
def test_public_networks_agree_with_onnxruntime_within_the_proven_error(vnncomp: Path) -> None:
    families = ("mnist_fc", "test", "safenlp_2024", "rl_benchmarks", "oval21", "cgan_2023", "sri_resnet_a", "yolo_2023")
    files = [file for family in families for file in sorted((vnncomp / family).glob("onnx/**/*.onnx*"))]
    files += sorted((vnncomp / "acasxu_2023").glob("onnx/*_1_[1-9]_*"))
    checked = 0
    for file in files:
        data = file.read_bytes()
        try:
            graph = load_onnx(data)
        except UnsupportedOperator as error:
            assert "Sigmoid" in str(error)  # cGAN_imgSz32_nCh_3_upsample
            continue
        program = lower(graph)
        ((name, shape),) = graph.inputs
        x = np.random.default_rng(1).uniform(0, 1, shape).astype(np.float32)
        found = run_onnxruntime(decompressed(data), {name: x}).ravel().astype(np.float64)
        values, radii = values_and_radii(program, x.ravel().astype(np.float64))
        assert (abs(values[program.output] - found) <= radii[program.output]).all(), file.name
        checked += 1
    assert checked >= 28
