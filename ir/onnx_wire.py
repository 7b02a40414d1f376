"""ONNX files read from their bytes.

An ONNX file is one protobuf message: a sequence of (field number, wire type, value), where a value is a varint, four or
eight bytes, or a length and that many bytes, which may again be a message.  The few messages that describe a network
are read here into plain dataclasses, tensors into NumPy arrays.  Two reasons: importing the `onnx` package costs 140 ms
of CPU time at every start, this reader about one millisecond for a small network; and what protobuf passes over in
silence (a second graph that is merged into the first, local functions, external data) is refused here by name.
The tests hold this reader against the `onnx` package.

Numbers of fields and types: onnx/onnx.proto, which promises never to change them.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from farkas.ir.errors import MalformedNetwork

AnyArray = npt.NDArray[Any]
Attribute = float | int | str | AnyArray | tuple[float, ...] | tuple[int, ...] | tuple[str, ...] | None


@dataclass(frozen=True)
class ValueInfo:
    """Name, element type (ONNX number) and dimensions of an input or output; None: a dynamic dimension."""

    name: str
    elem_type: int
    dims: tuple[int | None, ...] | None


@dataclass(frozen=True)
class WireNode:
    """One node of the file; an attribute that is neither number, text nor tensor has the value None."""

    name: str
    kind: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True)
class WireModel:
    """The parts of a model file that say what the network computes."""

    opset: int
    nodes: tuple[WireNode, ...]
    initializers: Mapping[str, AnyArray]
    inputs: tuple[ValueInfo, ...]
    outputs: tuple[ValueInfo, ...]


# ONNX element type -> NumPy type.  bfloat16, float8, int4 and strings are left out: no network here computes with them.
DTYPES: Mapping[int, np.dtype[Any]] = {
    number: np.dtype(name)
    for number, name in {
        1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8",
        12: "<u4", 13: "<u8",
    }.items()
}  # fmt: skip


def decompressed(data: bytes) -> bytes:
    """The bytes themselves, or what they unpack to when they begin with gzip's magic number."""
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise MalformedNetwork(f"the file is gzip data that cannot be unpacked ({error}); fetch it again") from error


def read_model(data: bytes) -> WireModel:
    """The model in `data` (not compressed); raises MalformedNetwork for bytes that are no usable ONNX model."""
    graph: memoryview | None = None
    opsets: dict[str, int] = {}
    for number, value in _fields(memoryview(data), "model"):
        if number == 7:
            graph = _once(graph, _bytes(value, "model.graph"), "model.graph")
        elif number == 8:
            domain, version = _opset(_bytes(value, "model.opset_import"))
            opsets[domain] = version
        elif number == 25:
            _fail("the model defines local functions; export it with functions inlined")
    if graph is None:
        _fail("the file holds no graph; it is not an ONNX model")
    if "" not in opsets:
        _fail("the model states no opset version for the default operator domain")
    return _graph(graph, opsets[""])


def _graph(data: memoryview, opset: int) -> WireModel:
    nodes: list[WireNode] = []
    initializers: dict[str, AnyArray] = {}
    inputs: list[ValueInfo] = []
    outputs: list[ValueInfo] = []
    for number, value in _fields(data, "graph"):
        if number == 1:
            nodes.append(_node(_bytes(value, "node")))
        elif number == 5:
            name, array = _tensor(_bytes(value, "initializer"))
            if name in initializers:
                _fail(f"initializer '{name}' appears twice")
            initializers[name] = array
        elif number == 11:
            inputs.append(_value_info(_bytes(value, "input")))
        elif number == 12:
            outputs.append(_value_info(_bytes(value, "output")))
        elif number == 15:
            _fail("the graph has sparse initializers; export it with dense ones")
    return WireModel(opset, tuple(nodes), initializers, tuple(inputs), tuple(outputs))


def _opset(data: memoryview) -> tuple[str, int]:
    domain, version = "", 0
    for number, value in _fields(data, "opset_import"):
        if number == 1:
            domain = _text(value, "opset_import.domain")
        elif number == 2:
            version = _int(value, "opset_import.version")
    return ("" if domain == "ai.onnx" else domain), version


def _node(data: memoryview) -> WireNode:
    inputs: list[str] = []
    outputs: list[str] = []
    name = kind = domain = ""
    attributes: dict[str, Attribute] = {}
    for number, value in _fields(data, "node"):
        if number == 1:
            inputs.append(_text(value, "node.input"))
        elif number == 2:
            outputs.append(_text(value, "node.output"))
        elif number == 3:
            name = _text(value, "node.name")
        elif number == 4:
            kind = _text(value, "node.op_type")
        elif number == 5:
            key, attribute = _attribute(_bytes(value, "node.attribute"))
            if key in attributes:
                _fail(f"node '{name}' has attribute '{key}' twice")
            attributes[key] = attribute
        elif number == 7:
            domain = _text(value, "node.domain")
    if domain == "ai.onnx":
        domain = ""
    return WireNode(name or next(filter(None, outputs), "?"), kind, domain, tuple(inputs), tuple(outputs), attributes)


def _attribute(data: memoryview) -> tuple[str, Attribute]:
    """Name and value; the declared type decides which field counts, as in the format since IR version 2."""
    name, declared = "", 0
    single: dict[int, Any] = {}
    lists: dict[int, list[Any]] = {7: [], 8: [], 9: []}
    for number, value in _fields(data, "attribute"):
        if number == 1:
            name = _text(value, "attribute.name")
        elif number == 20:
            declared = _int(value, "attribute.type")
        elif number == 2:
            single[1] = _float(value, "attribute.f")
        elif number == 3:
            single[2] = _int(value, "attribute.i")
        elif number == 4:
            single[3] = _text(value, "attribute.s")
        elif number == 5:
            single[4] = _once(single.get(4), _bytes(value, "attribute.t"), "attribute.t")
        elif number == 7:
            lists[7].extend(_packed(value, "<f4", "attribute.floats").tolist())
        elif number == 8:
            lists[8].extend(_varints(value, "attribute.ints"))
        elif number == 9:
            lists[9].append(_text(value, "attribute.strings"))
        elif number == 21:
            _fail(f"attribute '{name}' refers to an attribute of a function")
    return name, _attribute_value(declared, single, lists)


def _attribute_value(declared: int, single: dict[int, Any], lists: dict[int, list[Any]]) -> Attribute:
    if declared == 4:
        return _tensor(single[4])[1] if 4 in single else None
    if declared in (1, 2, 3):
        value: Attribute = single.get(declared, {1: 0.0, 2: 0, 3: ""}[declared])
        return value
    if declared in (6, 7, 8):  # FLOATS, INTS, STRINGS lie in the fields 7, 8, 9
        return tuple(lists[declared + 1])
    return None


def _value_info(data: memoryview) -> ValueInfo:
    name, tensor = "", None
    for number, value in _fields(data, "value_info"):
        if number == 1:
            name = _text(value, "value_info.name")
        elif number == 2:
            for inner, part in _fields(_bytes(value, "value_info.type"), "type"):
                if inner == 1:
                    tensor = _once(tensor, _bytes(part, "type.tensor_type"), "type.tensor_type")
    elem_type, dims = 0, None
    for number, value in _fields(tensor or memoryview(b""), "tensor_type"):
        if number == 1:
            elem_type = _int(value, "tensor_type.elem_type")
        elif number == 2:
            shape = _fields(_bytes(value, "tensor_type.shape"), "shape")
            dims = tuple(_dimension(_bytes(part, "shape.dim")) for inner, part in shape if inner == 1)
    return ValueInfo(name, elem_type, dims)


def _dimension(data: memoryview) -> int | None:
    size = None
    for number, value in _fields(data, "dim"):
        if number == 1:
            size = _int(value, "dim.dim_value")
        elif number == 2:
            size = None
    return size


def _tensor(data: memoryview) -> tuple[str, AnyArray]:
    """Name and value of a tensor, in its own element type."""
    name, data_type, dims, raw = "", 0, [], None
    parts: dict[int, list[AnyArray]] = {}
    for number, value in _fields(data, "tensor"):
        if number == 1:
            dims.extend(_varints(value, "tensor.dims"))
        elif number == 2:
            data_type = _int(value, "tensor.data_type")
        elif number == 8:
            name = _text(value, "tensor.name")
        elif number == 9:
            raw = _bytes(value, "tensor.raw_data")
        elif number == 4:
            parts.setdefault(4, []).append(_packed(value, "<f4", "tensor.float_data"))
        elif number == 10:
            parts.setdefault(10, []).append(_packed(value, "<f8", "tensor.double_data"))
        elif number in (5, 7, 11):
            parts.setdefault(number, []).append(_integers(value, f"tensor field {number}", unsigned=number == 11))
        elif number == 13 or (number == 14 and value != 0):
            _fail(f"tensor '{name}' keeps its data in another file; save the model with its data inside")
    return name, _assemble(name, data_type, dims, raw, parts)


# ONNX element type -> field that holds it when there is no raw_data.
_FIELDS = {1: 4, 2: 5, 3: 5, 4: 5, 5: 5, 6: 5, 7: 7, 9: 5, 10: 5, 11: 10, 12: 11, 13: 11}


def _assemble(
    name: str, data_type: int, dims: list[int], raw: memoryview | None, parts: dict[int, list[AnyArray]]
) -> AnyArray:
    dtype = DTYPES.get(data_type)
    if dtype is None:
        _fail(f"tensor '{name}' has element type {data_type}, which is not supported; use float32, float64 or integers")
    if any(d < 0 for d in dims) or len(dims) > 32:
        _fail(f"tensor '{name}' has dimensions {dims}")
    size = math.prod(dims)
    if raw is not None:
        if len(raw) != size * dtype.itemsize:
            _fail(f"tensor '{name}' of shape {dims} needs {size * dtype.itemsize} bytes and has {len(raw)}")
        return np.frombuffer(raw, dtype=dtype).reshape(dims)
    flat = parts.get(_FIELDS[data_type], [])
    values = np.concatenate(flat) if flat else np.zeros(0, dtype=dtype)
    if values.shape[0] != size:
        _fail(f"tensor '{name}' of shape {dims} needs {size} numbers and has {values.shape[0]}")
    if data_type == 10:  # the bits of each number, one to an int32
        return values.astype(np.uint16).view(dtype).reshape(dims)
    return values.astype(dtype).reshape(dims)


# The wire format itself.


def _fields(data: memoryview, where: str) -> Iterator[tuple[int, int | memoryview]]:
    """Field number and value of every field: varints as int, everything else as its bytes."""
    position, end = 0, len(data)
    while position < end:
        key, position = _varint(data, position, where)
        number, wire = key >> 3, key & 7
        if number == 0:
            _fail(f"{where} has a field with number 0")
        if wire == 0:
            value, position = _varint(data, position, where)
            yield number, value
            continue
        if wire == 2:
            length, position = _varint(data, position, where)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            _fail(f"{where} has a field with wire type {wire}")
        if length > end - position:
            _fail(f"{where} ends in the middle of a field: {length} bytes are announced, {end - position} are left")
        yield number, data[position : position + length]
        position += length


def _varint(data: memoryview, position: int, where: str) -> tuple[int, int]:
    result, shift = 0, 0
    while True:
        if position >= len(data):
            _fail(f"{where} ends in the middle of a number")
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
        if shift >= 70:
            _fail(f"{where} holds a number of more than ten bytes")


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def _int(value: int | memoryview, where: str) -> int:
    if not isinstance(value, int):
        _fail(f"{where} should be an integer")
    return _signed(value)


def _bytes(value: int | memoryview, where: str) -> memoryview:
    if isinstance(value, int):
        _fail(f"{where} should be a message or text, not a number")
    return value


def _text(value: int | memoryview, where: str) -> str:
    try:
        return bytes(_bytes(value, where)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedNetwork(f"{where} is no UTF-8 text; the file is damaged") from error


def _float(value: int | memoryview, where: str) -> float:
    array = _packed(value, "<f4", where)
    if array.shape[0] != 1:
        _fail(f"{where} should be one number")
    return float(array[0])


def _packed(value: int | memoryview, dtype: str, where: str) -> AnyArray:
    """Numbers of fixed width, packed into one field or one to a field."""
    data = _bytes(value, where)
    if len(data) % np.dtype(dtype).itemsize:
        _fail(f"{where} has {len(data)} bytes, which is no whole count of numbers")
    return np.frombuffer(data, dtype=dtype)


def _varints(value: int | memoryview, where: str) -> list[int]:
    """Integers, packed into one field or one to a field."""
    if isinstance(value, int):
        return [_signed(value)]
    out, position = [], 0
    while position < len(value):
        item, position = _varint(value, position, where)
        out.append(_signed(item))
    return out


def _integers(value: int | memoryview, where: str, *, unsigned: bool) -> AnyArray:
    numbers = _varints(value, where)
    return np.array(numbers, dtype=np.int64).astype(np.uint64 if unsigned else np.int64)


def _once(old: memoryview | None, new: memoryview, where: str) -> memoryview:
    if old is not None:
        _fail(f"{where} appears twice")
    return new


def _fail(message: str) -> NoReturn:
    raise MalformedNetwork(f"not a usable ONNX file: {message}")
