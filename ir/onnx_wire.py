"""ONNX files read from their bytes.

An ONNX file is one protobuf message (farkas.ir.protobuf).  The few parts of it that describe a network are read here
into plain dataclasses, tensors into NumPy arrays.  Two reasons: importing the `onnx` package costs 140 ms of CPU time
at every start, this reader about one millisecond for a small network; and what protobuf passes over in silence (a
second graph that is merged into the first, local functions, external data) is refused here by name.  The tests hold
this reader against the `onnx` package.

Numbers of fields and types: onnx/onnx.proto, which promises never to change them.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from farkas.ir.errors import MalformedNetwork
from farkas.ir.protobuf import AnyArray, fail, fields, integer, integers, message, number, once, packed, text, varints

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
    for field, value in fields(memoryview(data), "model"):
        if field == 7:
            graph = once(graph, message(value, "model.graph"), "model.graph")
        elif field == 8:
            domain, version = _opset(message(value, "model.opset_import"))
            opsets[domain] = version
        elif field == 25:
            fail("the model defines local functions; export it with functions inlined")
    if graph is None:
        fail("the file holds no graph; it is not an ONNX model")
    if "" not in opsets:
        fail("the model states no opset version for the default operator domain")
    return _graph(graph, opsets[""])


def _graph(data: memoryview, opset: int) -> WireModel:
    nodes: list[WireNode] = []
    initializers: dict[str, AnyArray] = {}
    inputs: list[ValueInfo] = []
    outputs: list[ValueInfo] = []
    for field, value in fields(data, "graph"):
        if field == 1:
            nodes.append(_node(message(value, "node")))
        elif field == 5:
            name, array = _tensor(message(value, "initializer"))
            if name in initializers:
                fail(f"initializer '{name}' appears twice")
            initializers[name] = array
        elif field == 11:
            inputs.append(_value_info(message(value, "input")))
        elif field == 12:
            outputs.append(_value_info(message(value, "output")))
        elif field == 15:
            fail("the graph has sparse initializers; export it with dense ones")
    return WireModel(opset, tuple(nodes), initializers, tuple(inputs), tuple(outputs))


def _opset(data: memoryview) -> tuple[str, int]:
    domain, version = "", 0
    for field, value in fields(data, "opset_import"):
        if field == 1:
            domain = text(value, "opset_import.domain")
        elif field == 2:
            version = integer(value, "opset_import.version")
    return ("" if domain == "ai.onnx" else domain), version


def _node(data: memoryview) -> WireNode:
    inputs: list[str] = []
    outputs: list[str] = []
    name = kind = domain = ""
    attributes: dict[str, Attribute] = {}
    for field, value in fields(data, "node"):
        if field == 1:
            inputs.append(text(value, "node.input"))
        elif field == 2:
            outputs.append(text(value, "node.output"))
        elif field == 3:
            name = text(value, "node.name")
        elif field == 4:
            kind = text(value, "node.op_type")
        elif field == 5:
            key, attribute = _attribute(message(value, "node.attribute"))
            if key in attributes:
                fail(f"node '{name}' has attribute '{key}' twice")
            attributes[key] = attribute
        elif field == 7:
            domain = text(value, "node.domain")
    if domain == "ai.onnx":
        domain = ""
    return WireNode(name or next(filter(None, outputs), "?"), kind, domain, tuple(inputs), tuple(outputs), attributes)


def _attribute(data: memoryview) -> tuple[str, Attribute]:
    """Name and value; the declared type decides which field counts, as in the format since IR version 2."""
    name, declared = "", 0
    single: dict[int, Any] = {}
    lists: dict[int, list[Any]] = {7: [], 8: [], 9: []}
    for field, value in fields(data, "attribute"):
        if field == 1:
            name = text(value, "attribute.name")
        elif field == 20:
            declared = integer(value, "attribute.type")
        elif field == 2:
            single[1] = number(value, "attribute.f")
        elif field == 3:
            single[2] = integer(value, "attribute.i")
        elif field == 4:
            single[3] = text(value, "attribute.s")
        elif field == 5:
            single[4] = once(single.get(4), message(value, "attribute.t"), "attribute.t")
        elif field == 7:
            lists[7].extend(packed(value, "<f4", "attribute.floats").tolist())
        elif field == 8:
            lists[8].extend(varints(value, "attribute.ints"))
        elif field == 9:
            lists[9].append(text(value, "attribute.strings"))
        elif field == 21:
            fail(f"attribute '{name}' refers to an attribute of a function")
    return name, _attribute_value(declared, single, lists)


def _attribute_value(declared: int, single: dict[int, Any], lists: dict[int, list[Any]]) -> Attribute:
    if declared == 0:
        fail("an attribute does not state its type; re-export the model with a current exporter")
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
    for field, value in fields(data, "value_info"):
        if field == 1:
            name = text(value, "value_info.name")
        elif field == 2:
            for inner, part in fields(message(value, "value_info.type"), "type"):
                if inner == 1:
                    tensor = once(tensor, message(part, "type.tensor_type"), "type.tensor_type")
    elem_type, dims = 0, None
    for field, value in fields(tensor or memoryview(b""), "tensor_type"):
        if field == 1:
            elem_type = integer(value, "tensor_type.elem_type")
        elif field == 2:
            shape = fields(message(value, "tensor_type.shape"), "shape")
            dims = tuple(_dimension(message(part, "shape.dim")) for inner, part in shape if inner == 1)
    return ValueInfo(name, elem_type, dims)


def _dimension(data: memoryview) -> int | None:
    size = None
    for field, value in fields(data, "dim"):
        if field == 1:
            size = integer(value, "dim.dim_value")
        elif field == 2:
            size = None
    return size


def _tensor(data: memoryview) -> tuple[str, AnyArray]:
    """Name and value of a tensor, in its own element type."""
    name, data_type, dims, raw = "", 0, [], None
    parts: dict[int, list[AnyArray]] = {}
    for field, value in fields(data, "tensor"):
        if field == 1:
            dims.extend(varints(value, "tensor.dims"))
        elif field == 2:
            data_type = integer(value, "tensor.data_type")
        elif field == 8:
            name = text(value, "tensor.name")
        elif field == 9:
            raw = message(value, "tensor.raw_data")
        elif field == 4:
            parts.setdefault(4, []).append(packed(value, "<f4", "tensor.float_data"))
        elif field == 10:
            parts.setdefault(10, []).append(packed(value, "<f8", "tensor.double_data"))
        elif field in (5, 7, 11):
            parts.setdefault(field, []).append(integers(value, f"tensor field {field}", unsigned=field == 11))
        elif field == 13 or (field == 14 and value != 0):
            fail(f"tensor '{name}' keeps its data in another file; save the model with its data inside")
    return name, _assemble(name, data_type, dims, raw, parts)


# ONNX element type -> field that holds it when there is no raw_data.
_FIELDS = {1: 4, 2: 5, 3: 5, 4: 5, 5: 5, 6: 5, 7: 7, 9: 5, 10: 5, 11: 10, 12: 11, 13: 11}


def _assemble(
    name: str, data_type: int, dims: list[int], raw: memoryview | None, parts: dict[int, list[AnyArray]]
) -> AnyArray:
    dtype = DTYPES.get(data_type)
    if dtype is None:
        fail(f"tensor '{name}' has element type {data_type}, which is not supported; use float32, float64 or integers")
    if min(dims, default=0) < 0 or len(dims) > 32 or math.prod(d for d in dims if d) > 1 << 48:
        fail(f"tensor '{name}' has dimensions {dims}")
    size = math.prod(dims)
    if raw is not None:
        if len(raw) != size * dtype.itemsize:
            fail(f"tensor '{name}' of shape {dims} needs {size * dtype.itemsize} bytes and has {len(raw)}")
        return np.frombuffer(raw, dtype=dtype).reshape(dims)
    flat = parts.get(_FIELDS[data_type], [])
    values = np.concatenate(flat) if flat else np.zeros(0, dtype=dtype)
    if values.shape[0] != size:
        fail(f"tensor '{name}' of shape {dims} needs {size} numbers and has {values.shape[0]}")
    if data_type == 10:  # the bits of each number, one to an int32
        return values.astype(np.uint16).view(dtype).reshape(dims)
    return values.astype(dtype).reshape(dims)
