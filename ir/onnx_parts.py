"""Parts of ONNX files as bytes, without the `onnx` package: tensors, nodes, inputs and outputs, metadata.

A protobuf message is a sequence of fields; a field is its number and wire type in one varint, then the value: 0 is a
varint, 1 and 5 are eight and four bytes, 2 is a length and bytes.  Numbers of fields: onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from farkas.ir.protobuf import Fixed, Value

ELEMENTS: Mapping[str, int] = {"float32": 1, "int64": 7, "float64": 11}
INT = 2  # the type of an attribute that is one integer


def varint(value: int) -> bytes:
    """A nonnegative integer, seven bits to a byte."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def integer(field: int, value: int) -> bytes:
    """A field that is a nonnegative integer."""
    return varint(field << 3) + varint(value)


def message(field: int, value: bytes | memoryview) -> bytes:
    """A field that is a message, text or bytes."""
    return varint(field << 3 | 2) + varint(len(value)) + bytes(value)


def text(field: int, value: str) -> bytes:
    """A field that is text."""
    return message(field, value.encode())


def encoded(fields: Iterable[tuple[int, Value]]) -> bytes:
    """Fields as `farkas.ir.protobuf.fields` read them, known or not."""
    return b"".join(_field(field, value) for field, value in fields)


def _field(field: int, value: Value) -> bytes:
    if isinstance(value, int):
        return integer(field, value)
    if isinstance(value, Fixed):
        return varint(field << 3 | (1 if len(value.data) == 8 else 5)) + bytes(value.data)
    return message(field, value)


def node(
    kind: str, inputs: Sequence[str], output: str, name: str = "", attributes: Mapping[str, int] | None = None
) -> bytes:
    """A NodeProto with one output, whose attributes are nonnegative integers."""
    parts = [*(text(1, tensor) for tensor in inputs), text(2, output), text(3, name or output), text(4, kind)]
    for key, value in (attributes or {}).items():
        parts.append(message(5, text(1, key) + integer(3, value) + integer(20, INT)))
    return b"".join(parts)


def tensor(name: str, values: npt.NDArray[Any]) -> bytes:
    """A TensorProto."""
    dims = b"".join(integer(1, length) for length in values.shape)
    raw = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
    return dims + integer(2, ELEMENTS[values.dtype.name]) + text(8, name) + message(9, raw)


def value_info(name: str, element: int, shape: Sequence[int] | None = None) -> bytes:
    """A ValueInfoProto; with element 0 the name alone, which is enough for an output."""
    if not element:
        return text(1, name)
    dims = b"" if shape is None else message(2, b"".join(message(1, integer(1, length)) for length in shape))
    return text(1, name) + message(2, message(1, integer(1, element) + dims))


def metadata(key: str, value: str) -> bytes:
    """A StringStringEntryProto."""
    return text(1, key) + text(2, value)
