"""Small ONNX models, written byte by byte: for probing a runtime without importing `onnx`, which costs 140 ms.

A protobuf message is a sequence of fields; a field is its number and wire type in one varint, then the value: 0 is a
varint, 2 a length and bytes.  Field numbers: onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy.typing as npt

ELEMENTS = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6}
IR_VERSION = 8


def model(
    nodes: Sequence[bytes], constants: Mapping[str, npt.NDArray[Any]], shape: Sequence[int], result: Sequence[int]
) -> bytes:
    """The bytes of a model (opset 13) with the float32 input 'x' and the float32 output 'y' of these shapes."""
    graph = b"".join(packed(1, node) for node in nodes) + packed(2, b"probe")
    graph += b"".join(packed(5, _tensor(name, values)) for name, values in constants.items())
    graph += packed(11, _value("x", shape)) + packed(12, _value("y", result))
    return number(1, IR_VERSION) + packed(7, graph) + packed(8, packed(1, b"") + number(2, 13))


def node(kind: str, inputs: Sequence[str], output: str) -> bytes:
    """A node without attributes."""
    names = b"".join(packed(1, name.encode()) for name in inputs)
    return names + packed(2, output.encode()) + packed(4, kind.encode())


def _tensor(name: str, values: npt.NDArray[Any]) -> bytes:
    dimensions = b"".join(number(1, n) for n in values.shape)
    raw = values.astype(values.dtype.newbyteorder("<")).tobytes()
    return dimensions + number(2, ELEMENTS[values.dtype.name]) + packed(8, name.encode()) + packed(9, raw)


def _value(name: str, shape: Sequence[int]) -> bytes:
    tensor = number(1, 1) + packed(2, b"".join(packed(1, number(1, n)) for n in shape))
    return packed(1, name.encode()) + packed(2, packed(1, tensor))


def number(field: int, value: int) -> bytes:
    return bytes(_varint(field << 3)) + bytes(_varint(value))


def packed(field: int, value: bytes) -> bytes:
    return bytes(_varint(field << 3 | 2)) + bytes(_varint(len(value))) + value


def _varint(value: int) -> Iterator[int]:
    assert value >= 0, f"a varint holds nonnegative numbers here, not {value}"
    while value > 127:
        yield value & 127 | 128
        value >>= 7
    yield value
