"""The reader of ONNX files against the `onnx` package, and against damaged bytes."""

import gzip
import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper

from farkas.ir.errors import FarkasError, MalformedNetwork
from farkas.ir.onnx_import import load_onnx
from farkas.ir.onnx_wire import WireModel, decompressed, read_model
from tests.models import make_model, weights

NUMBERS = ["float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
TYPES = [*NUMBERS, "bool"]
names = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=8)


def same_tensor(found: Any, wanted: Any) -> bool:
    return bool(found.dtype == wanted.dtype and found.shape == wanted.shape and found.tobytes() == wanted.tobytes())


def assert_same_attribute(found: Any, wanted: onnx.AttributeProto) -> None:
    value = helper.get_attribute_value(wanted)
    if isinstance(value, TensorProto):
        assert same_tensor(found, numpy_helper.to_array(value))
    elif isinstance(value, bytes):
        assert found == value.decode()
    elif isinstance(value, int | float):
        assert type(found) is type(value)
        assert found == value or (math.isnan(value) and math.isnan(found))
    else:
        assert list(found) == [v.decode() if isinstance(v, bytes) else v for v in value]


def assert_same_model(found: WireModel, wanted: onnx.ModelProto) -> None:
    assert {found.opset} == {entry.version for entry in wanted.opset_import if entry.domain in ("", "ai.onnx")}
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in wanted.graph.initializer}
    assert found.initializers.keys() == arrays.keys()
    assert all(same_tensor(found.initializers[name], arrays[name]) for name in arrays)
    assert len(found.nodes) == len(wanted.graph.node)
    for ours, theirs in zip(found.nodes, wanted.graph.node, strict=True):
        assert (ours.kind, ours.inputs, ours.outputs) == (theirs.op_type, tuple(theirs.input), tuple(theirs.output))
        assert ours.attributes.keys() == {attribute.name for attribute in theirs.attribute}
        for attribute in theirs.attribute:
            assert_same_attribute(ours.attributes[attribute.name], attribute)
    for infos, protos in ((found.inputs, wanted.graph.input), (found.outputs, wanted.graph.output)):
        assert [info.name for info in infos] == [proto.name for proto in protos]
        for info, proto in zip(infos, protos, strict=True):
            tensor = proto.type.tensor_type
            assert info.elem_type == tensor.elem_type
            dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
            assert info.dims == (tuple(dims) if tensor.HasField("shape") else None)


@st.composite
def tensors(draw: st.DrawFn) -> TensorProto:
    """A tensor in one of the two encodings: raw bytes, or a list of numbers in the field of its type."""
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, max_side=4) | st.just((0, 2)))
    array = draw(hnp.arrays(draw(st.sampled_from(TYPES)), shape))
    if draw(st.booleans()):
        return numpy_helper.from_array(array, draw(names))
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    if array.dtype == np.float16:  # make_tensor rejects NaN in this encoding, so the bits are written as they are
        proto = TensorProto(name=draw(names), data_type=kind, dims=array.shape)
        proto.int32_data.extend(array.ravel().view(np.uint16).tolist())
        return proto
    return helper.make_tensor(draw(names), kind, array.shape, array.ravel().tolist())


@given(tensors())
def test_initializers_of_every_type_and_encoding_are_read_bit_for_bit(proto: TensorProto) -> None:
    graph = helper.make_graph([], "g", [], [], [proto])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    found = read_model(model.SerializeToString()).initializers
    assert found.keys() == {proto.name}
    assert same_tensor(found[proto.name], numpy_helper.to_array(proto))


floats32 = st.floats(width=32, allow_nan=False)
int64s = st.integers(-(2**63), 2**63 - 1)
attributes = st.one_of(
    floats32,
    int64s,
    st.text(max_size=5),
    st.lists(floats32, min_size=1, max_size=4),
    st.lists(int64s, min_size=1, max_size=4),
    st.lists(st.text(max_size=5), min_size=1, max_size=3),
    tensors(),
)


@given(st.dictionaries(names, attributes, max_size=4), names, st.lists(st.none() | st.integers(1, 9), max_size=4))
def test_nodes_attributes_and_shapes_are_read_as_the_onnx_package_reads_them(
    values: dict[str, Any], name: str, dims: list[int | None]
) -> None:
    node = helper.make_node("Anything", ["x", ""], [name], name="n")
    node.attribute.extend(helper.make_attribute(key, value) for key, value in values.items())
    info = helper.make_tensor_value_info(
        "x", TensorProto.FLOAT, [f"d{i}" if d is None else d for i, d in enumerate(dims)]
    )
    graph = helper.make_graph([node], "g", [info], [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("other", 3)])
    assert_same_model(read_model(model.SerializeToString()), onnx.load_from_string(model.SerializeToString()))


def test_numbers_may_stand_one_to_a_field() -> None:
    # Unpacked repeated fields, as proto2 writes them: dims (field 1, varint) and float_data (field 4, four bytes).
    numbers = np.array([1.5, -2.0, 3.25], dtype="<f4")
    tensor = b"\x08\x01\x08\x03\x10\x01" + b"".join(b"\x25" + v.tobytes() for v in numbers) + b"\x42\x01w"
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    model = b"\x42\x02\x10\x0d" + b"\x3a" + bytes([len(graph)]) + graph
    assert same_tensor(read_model(model).initializers["w"], numbers.reshape(1, 3))


def small_model() -> bytes:
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], alpha=1.0, transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Reshape", ["r", "s"], ["y"]),
    ]
    constants = {"w": weights((3, 2)), "b": weights((3,)), "s": np.array([3, 1])}
    return make_model(nodes, {"x": ["batch", 2]}, constants, opset=13)


def test_every_truncation_of_a_model_is_an_error() -> None:
    data = small_model()
    assert load_onnx(data).shapes["y"] == (3, 1)
    complete = {onnx.load_from_string(data).SerializeToString()}
    for end in range(len(data)):
        if data[:end] not in complete:
            with pytest.raises(FarkasError):
                load_onnx(data[:end])


@given(st.data())
def test_damaged_bytes_give_a_readable_error_or_another_network(data: st.DataObject) -> None:
    original = small_model()
    damaged = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        match data.draw(st.integers(0, 2)):
            case 0:
                damaged[place] = data.draw(st.integers(0, 255))
            case 1:
                del damaged[place : place + data.draw(st.integers(1, 8))]
            case _:
                damaged[place:place] = data.draw(st.binary(min_size=1, max_size=8))
        if not damaged:
            return
    try:
        load_onnx(bytes(damaged))
    except FarkasError as error:
        assert str(error)


@given(st.binary(max_size=200))
def test_random_bytes_are_no_network(data: bytes) -> None:
    with pytest.raises(FarkasError):
        load_onnx(data)


def test_gzip_is_recognised_by_its_first_bytes() -> None:
    data = small_model()
    packed = gzip.compress(data)
    assert decompressed(packed) == data
    assert load_onnx(packed).sha256 == load_onnx(data).sha256 == hashlib.sha256(data).hexdigest()
    for end in (5, 20, len(packed) - 1):
        with pytest.raises(MalformedNetwork, match="gzip"):
            load_onnx(packed[:end])
    with pytest.raises(MalformedNetwork, match="gzip"):
        load_onnx(packed[:-6] + b"\0" * 6)


def test_external_data_local_functions_and_sparse_initializers_are_refused() -> None:
    model = onnx.load_from_string(small_model())
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    with pytest.raises(MalformedNetwork, match="another file"):
        load_onnx(model.SerializeToString())
    model = onnx.load_from_string(small_model())
    body = helper.make_node("Abs", ["a"], ["b"])
    function = helper.make_function("", "Relu", ["a"], ["b"], [body], [helper.make_opsetid("", 13)])
    model.functions.append(function)
    with pytest.raises(MalformedNetwork, match="local functions"):
        load_onnx(model.SerializeToString())
    model = onnx.load_from_string(small_model())
    model.graph.sparse_initializer.add()
    with pytest.raises(MalformedNetwork, match="sparse"):
        load_onnx(model.SerializeToString())


def test_a_second_graph_is_refused_where_protobuf_would_merge_it() -> None:
    data = small_model()
    other = onnx.ModelProto(graph=onnx.load_from_string(data).graph).SerializeToString()
    with pytest.raises(MalformedNetwork, match="twice"):
        load_onnx(data + other)


def test_a_tensor_whose_size_is_not_its_shape_is_refused() -> None:
    model = onnx.load_from_string(small_model())
    model.graph.initializer[0].dims[0] = 4
    with pytest.raises(MalformedNetwork, match="needs 32 bytes and has 24"):
        load_onnx(model.SerializeToString())


def test_negative_and_enormous_dimensions_are_refused() -> None:
    # (-2, -3) has as many elements as (3, 2); a product with 0 says nothing about the other dimensions.
    for dims in ((-2, -3), (2**60, 0), (-1,)):
        model = onnx.load_from_string(small_model())
        model.graph.initializer[0].dims[:] = dims
        with pytest.raises(MalformedNetwork, match="dimensions"):
            load_onnx(model.SerializeToString())


@pytest.mark.vnncomp
def test_all_public_networks_are_read_as_the_onnx_package_reads_them(vnncomp: Path) -> None:
    files = sorted(vnncomp.glob("*/onnx/**/*.onnx*"))
    assert len(files) > 60
    for file in files:
        data = decompressed(file.read_bytes())
        assert_same_model(read_model(data), onnx.load_from_string(data))
