"""The protobuf wire format: the few kinds of value that ONNX files are made of.

A message is a sequence of (field number, wire type, value); a value is a varint, four or eight bytes, or a length and
that many bytes, which may be a message again.  Every function names the place in the file in its error.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from farkas.ir.errors import MalformedNetwork

AnyArray = npt.NDArray[Any]


@dataclass(frozen=True)
class Fixed:
    """A value of four or eight bytes."""

    data: memoryview


Value = int | memoryview | Fixed  # varint, length-delimited, fixed width


def fields(data: memoryview, where: str) -> Iterator[tuple[int, Value]]:
    """Field number and value of every field, in file order."""
    position, end = 0, len(data)
    while position < end:
        key, position = varint(data, position, where)
        field, wire = key >> 3, key & 7
        if field == 0:
            fail(f"{where} has a field with number 0")
        if wire == 0:
            value, position = varint(data, position, where)
            yield field, value
            continue
        if wire == 2:
            length, position = varint(data, position, where)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            fail(f"{where} has a field with wire type {wire}")
        if length > end - position:
            fail(f"{where} ends in the middle of a field: {length} bytes are announced, {end - position} are left")
        part = data[position : position + length]
        yield field, part if wire == 2 else Fixed(part)
        position += length


def varint(data: memoryview, position: int, where: str) -> tuple[int, int]:
    """The nonnegative integer at `position`, and the position after it."""
    result, shift = 0, 0
    while True:
        if position >= len(data):
            fail(f"{where} ends in the middle of a number")
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
        if shift >= 70:
            fail(f"{where} holds a number of more than ten bytes")


def signed(value: int) -> int:
    """Two's complement in 64 bits, as all integer fields of ONNX are meant."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def integer(value: Value, where: str) -> int:
    if not isinstance(value, int):
        fail(f"{where} should be an integer")
    return signed(value)


def message(value: Value, where: str) -> memoryview:
    if not isinstance(value, memoryview):
        fail(f"{where} should be a message or text, not a number")
    return value


def text(value: Value, where: str) -> str:
    try:
        return bytes(message(value, where)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedNetwork(f"{where} is no UTF-8 text; the file is damaged") from error


def number(value: Value, where: str) -> float:
    """A single-precision number."""
    if not isinstance(value, Fixed):
        fail(f"{where} should be a number of four bytes")
    array = packed(value, "<f4", where)
    return float(array[0])


def packed(value: Value, dtype: str, where: str) -> AnyArray:
    """Numbers of fixed width, packed into one field or one to a field."""
    data = value.data if isinstance(value, Fixed) else message(value, where)
    width = np.dtype(dtype).itemsize
    if len(data) % width or (isinstance(value, Fixed) and len(data) != width):
        fail(f"{where} has {len(data)} bytes, which is no whole count of numbers")
    return np.frombuffer(data, dtype=dtype)


def varints(value: Value, where: str) -> list[int]:
    """Integers, packed into one field or one to a field."""
    if isinstance(value, int):
        return [signed(value)]
    data, out, position = message(value, where), [], 0
    while position < len(data):
        item, position = varint(data, position, where)
        out.append(signed(item))
    return out


def integers(value: Value, where: str, *, unsigned: bool) -> AnyArray:
    numbers = varints(value, where)
    return np.array(numbers, dtype=np.int64).astype(np.uint64 if unsigned else np.int64)


def once(old: memoryview | None, new: memoryview, where: str) -> memoryview:
    if old is not None:
        fail(f"{where} appears twice")
    return new


def fail(reason: str) -> NoReturn:
    raise MalformedNetwork(f"not a usable ONNX file: {reason}")
