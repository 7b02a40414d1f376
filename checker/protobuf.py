"""The part of ONNX's protobuf encoding that the checker reads: schemas as data, one strict decoder.

Unknown fields, repeated singular fields, groups and truncated values are errors.  What a schema maps to None is known
to carry no meaning for the value of a network and is skipped; what it does not mention could carry some, and is
refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

from farkas.checker.errors import MalformedInput

Message = dict[str, list[Any]]
"""Field name -> its values in order: int, float, bytes, str or Message, as the schema says."""


class Schema:
    """name; fields: number -> (field name, type) or None to skip; many: names that may occur more than once.

    Types: "int" (int64), "float", "bytes", "text", or another Schema.
    """

    def __init__(self, name: str, fields: Mapping[int, tuple[str, Any] | None], many: tuple[str, ...] = ()) -> None:
        self.name = name
        self.fields = dict(fields)
        self.many = frozenset(many)


TENSOR = Schema(
    "TensorProto",
    {
        1: ("dims", "int"),
        2: ("data_type", "int"),
        4: ("float_data", "float"),
        5: ("int32_data", "int"),
        7: ("int64_data", "int"),
        8: ("name", "text"),
        9: ("raw_data", "bytes"),
        12: None,
        13: ("external_data", "bytes"),
        14: ("data_location", "int"),
        16: None,
    },
    ("dims", "float_data", "int32_data", "int64_data", "external_data"),
)
ATTRIBUTE = Schema(
    "AttributeProto",
    {
        1: ("name", "text"),
        2: ("f", "float"),
        3: ("i", "int"),
        4: ("s", "bytes"),
        5: ("t", TENSOR),
        7: ("floats", "float"),
        8: ("ints", "int"),
        13: None,
        20: ("type", "int"),
    },
    ("floats", "ints"),
)
NODE = Schema(
    "NodeProto",
    {
        1: ("input", "text"),
        2: ("output", "text"),
        3: ("name", "text"),
        4: ("op_type", "text"),
        5: ("attribute", ATTRIBUTE),
        6: None,
        7: ("domain", "text"),
        9: None,
    },
    ("input", "output", "attribute"),
)
DIMENSION = Schema("Dimension", {1: ("dim_value", "int"), 2: ("dim_param", "text"), 3: None})
SHAPE = Schema("TensorShapeProto", {1: ("dim", DIMENSION)}, ("dim",))
TENSOR_TYPE = Schema("TypeProto.Tensor", {1: ("elem_type", "int"), 2: ("shape", SHAPE)})
TYPE = Schema("TypeProto", {1: ("tensor_type", TENSOR_TYPE), 6: None})
VALUE_INFO = Schema("ValueInfoProto", {1: ("name", "text"), 2: ("type", TYPE), 3: None, 4: None})
GRAPH = Schema(
    "GraphProto",
    {
        1: ("node", NODE),
        2: None,
        5: ("initializer", TENSOR),
        10: None,
        11: ("input", VALUE_INFO),
        12: ("output", VALUE_INFO),
        13: None,
        16: None,
    },
    ("node", "initializer", "input", "output"),
)
OPSET = Schema("OperatorSetIdProto", {1: ("domain", "text"), 2: ("version", "int")})
MODEL = Schema(
    "ModelProto",
    {
        1: ("ir_version", "int"),
        2: None,
        3: None,
        4: None,
        5: None,
        6: None,
        7: ("graph", GRAPH),
        8: ("opset_import", OPSET),
        14: None,
    },
    ("opset_import",),
)


def decode(data: bytes, schema: Schema) -> Message:
    """The message in `data`.  Raises MalformedInput."""
    message: Message = {}
    for number, wire, value in _fields(data, schema):
        if number not in schema.fields:
            raise MalformedInput("network", f"{schema.name} has field {number}, which this checker does not read")
        known = schema.fields[number]
        if known is None:
            continue
        name, kind = known
        values = list(_values(kind, wire, value, f"{schema.name}.{name}"))
        if name not in schema.many and (name in message or len(values) != 1):
            raise MalformedInput("network", f"{schema.name}.{name} must occur once")
        message.setdefault(name, []).extend(values)
    return message


def _fields(data: bytes, schema: Schema) -> Iterator[tuple[int, int, Any]]:
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        wire, number = key & 7, key >> 3
        if wire == 0:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        size = {1: 8, 5: 4}.get(wire)
        if wire == 2:
            size, at = _varint(data, at)
        if size is None or size > end - at:
            raise MalformedInput("network", f"{schema.name} is cut off or has wire type {wire}")
        yield number, wire, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise MalformedInput("network", f"a protobuf number is cut off or too long (byte {at})")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number & (1 << 64) - 1, at


def _values(kind: Any, wire: int, value: Any, where: str) -> Iterator[Any]:
    """The values of one field occurrence: several when numbers are packed."""
    if kind == "int" and wire == 0:
        yield _signed(value)
    elif kind == "int" and wire == 2:
        at = 0
        while at < len(value):
            number, at = _varint(value, at)
            yield _signed(number)
    elif kind == "float" and wire in (2, 5) and len(value) % 4 == 0:
        yield from struct.unpack(f"<{len(value) // 4}f", value)
    elif kind == "bytes" and wire == 2:
        yield value
    elif kind == "text" and wire == 2:
        yield value.decode("utf-8", errors="backslashreplace")
    elif isinstance(kind, Schema) and wire == 2:
        yield decode(value, kind)
    else:
        raise MalformedInput("network", f"{where} has wire type {wire}")


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number
