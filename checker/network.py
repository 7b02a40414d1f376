"""ONNX bytes to steps: an operator allow-list, static shapes, float32 inputs and outputs, binary32 weights.

Several networks become the steps of one program, one network after the other: its input is one vector, the inputs of
all of them in order, each row-major, and its output likewise.  No step reads values of two networks, but for the last,
which puts the outputs together, so an execution of the program is one execution of every network.

Refused with a message that names it: any other operator or attribute, external data, weights that are no finite
binary32 numbers, dimensions that are unknown (other than the first, which is then 1).
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from typing import Any, TypeVar

from farkas.checker.builder import Builder, Shape, Tensor
from farkas.checker.errors import MalformedInput
from farkas.checker.operators import OPERATORS
from farkas.checker.protobuf import MODEL, Message, decode
from farkas.checker.steps import Program

FLOAT, INT32, INT64 = 1, 6, 7
OPSETS = range(8, 22)
MAX_ELEMENTS = 50_000_000
DOMAINS = ("", "ai.onnx")
T = TypeVar("T")


@dataclass(frozen=True)
class Interface:
    """The shapes of a network's inputs, and of its outputs and the hidden tensors asked for, in order."""

    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]


def read_network(data: bytes) -> Program:
    """The steps of the ONNX network in `data` (decompressed).  Raises MalformedInput."""
    return read_networks((("", data),))[0]


def read_networks(
    networks: Sequence[tuple[str, bytes]],
    columns: Sequence[int] | None = None,
    hidden: Sequence[Sequence[str]] = (),
) -> tuple[Program, tuple[Interface, ...]]:
    """Several networks, (name, decompressed bytes) each, as one program; and their shapes.  Raises MalformedInput.

    columns: for every element of the inputs the element of the program's input that it is, each of 0 .. max among them;
    by default they are all different.  hidden: for every network tensors that follow its outputs; by default none.
    """
    models = [decode(data, MODEL) for _, data in networks]
    shapes = [_inputs(model) for model in models]
    size = sum(prod(shape) for model in shapes for shape in model.values())
    if size > MAX_ELEMENTS:
        raise MalformedInput("network", f"the inputs have {size} values together: too large")
    columns = range(size) if columns is None else columns
    if len(columns) != size:
        raise MalformedInput("property", f"it has {len(columns)} inputs, the network {size}")
    builder = Builder(0, max(columns) + 1)
    outputs: list[Tensor] = []
    interfaces: list[Interface] = []
    start = 0
    more = hidden or [()] * len(networks)
    for (name, _), model, inputs, names in zip(networks, models, shapes, more, strict=True):
        builder.opset, builder.network = _opset(model), name
        stop = start + sum(map(prod, inputs.values()))
        own = _network(builder, model, inputs, columns[start:stop], names)
        interfaces.append(Interface(tuple(inputs.values()), tuple(output.shape for output in own)))
        start = stop
        outputs += own
    return builder.finish(outputs), tuple(interfaces)


def _inputs(model: Message) -> dict[str, Shape]:
    """The inputs that no initializer sets, with their shapes, in the order of the file."""
    graph = _one(model, "graph", "ModelProto")
    stored = {_one(tensor, "name", "initializer") for tensor in graph.get("initializer", [])}
    inputs: dict[str, Shape] = {}
    for info in graph.get("input", []):
        name = _one(info, "name", "input")
        if name not in stored:
            _define(inputs, name, _input_shape(info))
    if not inputs or not graph.get("output", []):
        raise MalformedInput("network", "it has no input or no output")
    return inputs


def _network(
    builder: Builder, model: Message, inputs: Mapping[str, Shape], columns: Sequence[int], hidden: Sequence[str]
) -> list[Tensor]:
    """Appends the steps of one network, whose inputs are these elements of the program's input; its outputs, and the
    hidden tensors of these names."""
    graph = _one(model, "graph", "ModelProto")
    values: dict[str, Tensor] = {}
    for tensor in graph.get("initializer", []):
        _define(values, _one(tensor, "name", "initializer"), _tensor(tensor))
    for name, shape in inputs.items():
        own, columns = columns[: prod(shape)], columns[prod(shape) :]
        _define(values, name, Tensor(shape, [(0, i) for i in own], None))
    for node in graph.get("node", []):
        _apply(builder, values, node)
    names = [*(_one(output, "name", "output") for output in graph["output"]), *hidden]
    for name in names:
        if name not in values or values[name].dtype is not None:
            raise MalformedInput("network", f"the output {name!r} is not computed from the input")
    return [values[name] for name in names]


def _one(message: Message, name: str, where: str) -> Any:
    if name not in message:
        raise MalformedInput("network", f"{where} has no {name}")
    return message[name][0]


def _opset(model: Message) -> int:
    versions = [
        m["version"][0] for m in model.get("opset_import", []) if m.get("domain", [""])[0] in DOMAINS and "version" in m
    ]
    if len(set(versions)) != 1 or versions[0] not in OPSETS:
        raise MalformedInput("network", f"opset {OPSETS.start} to {OPSETS.stop - 1} is supported, found {versions}")
    return int(versions[0])


def _define(values: dict[str, T], name: str, value: T) -> None:
    if not name or name in values:
        raise MalformedInput("network", f"tensor {name!r} is defined twice or has no name")
    values[name] = value


def _input_shape(info: Message) -> Shape:
    """The static shape of an input; an unknown first dimension is the batch, and 1."""
    tensor = _one(_one(info, "type", "input"), "tensor_type", "input")
    if tensor.get("elem_type") != [FLOAT]:
        raise MalformedInput("network", f"the input must be float32, found element type {tensor.get('elem_type')}")
    shape: list[int] = []
    for position, dim in enumerate(_one(tensor, "shape", "input").get("dim", [])):
        value = dim.get("dim_value", [1 if position == 0 else 0])[0]
        if value < 1:
            raise MalformedInput("network", f"dimension {position} of the input is unknown or not positive")
        shape.append(value)
    if prod(shape) > MAX_ELEMENTS:
        raise MalformedInput("network", f"the input has shape {shape}: too large")
    return tuple(shape)


def _tensor(message: Message) -> Tensor:
    """A constant: float32, int64 or int32."""
    name = message.get("name", ["?"])[0]
    if "external_data" in message or message.get("data_location", [0]) != [0]:
        raise MalformedInput("network", f"tensor {name!r} is stored outside the file")
    shape = tuple(message.get("dims", []))
    if any(d < 0 for d in shape) or prod(shape) > MAX_ELEMENTS:
        raise MalformedInput("network", f"tensor {name!r} has shape {shape}")
    kinds = {FLOAT: ("f", "float_data"), INT32: ("i", "int32_data"), INT64: ("q", "int64_data")}
    dtype = message.get("data_type", [0])[0]
    if dtype not in kinds:
        raise MalformedInput(
            "network", f"tensor {name!r} has element type {dtype}; float32, int32, int64 are supported"
        )
    code, where = kinds[dtype]
    others = {"float_data", "int32_data", "int64_data", "raw_data"} & message.keys() - {where}
    values: list[Any] = message.get(where, [])
    if others == {"raw_data"} and not values:
        values = _raw(code, message["raw_data"][0], name)
    elif others:
        raise MalformedInput("network", f"tensor {name!r} has its data in several fields or in the wrong one")
    if len(values) != prod(shape):
        raise MalformedInput("network", f"tensor {name!r} has {len(values)} values for shape {shape}")
    if not all(map(isfinite, values)):
        raise MalformedInput("network", f"tensor {name!r} has a value that is not finite")
    return Tensor(shape, values, float if dtype == FLOAT else int)


def _raw(code: str, data: bytes, name: str) -> list[Any]:
    """Little-endian numbers."""
    numbers = array(code)
    if struct.calcsize(code) != numbers.itemsize or len(data) % numbers.itemsize:
        raise MalformedInput("network", f"tensor {name!r} has {len(data)} raw bytes")
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


def _apply(builder: Builder, values: dict[str, Tensor], node: Message) -> None:
    """One node: its operator's meaning, with every attribute read."""
    op = node.get("op_type", ["?"])[0]
    outputs = node.get("output", [])
    of = f" of network {builder.network!r}" if builder.network else ""
    where = f"node {node.get('name', outputs or ['?'])[0]!r}{of} ({op})"
    operator = OPERATORS.get(op)
    if operator is None or node.get("domain", [""])[0] not in DOMAINS:
        raise MalformedInput("network", f"{where}: not supported; supported operators: {', '.join(sorted(OPERATORS))}")
    inputs: list[Tensor | None] = []
    for name in node.get("input", []):
        if name and name not in values:
            raise MalformedInput("network", f"{where}: input {name!r} is not defined before it")
        inputs.append(values[name] if name else None)
    attributes: dict[str, Any] = {}
    for attribute in node.get("attribute", []):
        name = _one(attribute, "name", where)
        if name in attributes:
            raise MalformedInput("network", f"{where}: attribute {name!r} occurs twice")
        attributes[name] = _attribute(attribute, f"{where}: attribute {name!r}")
    builder.where = where
    try:
        results = operator(builder, inputs, attributes, len(outputs))
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, OverflowError) as error:
        raise MalformedInput("network", f"{where}: an attribute or operand has the wrong type or length") from error
    if attributes:
        raise MalformedInput("network", f"{where}: attribute {min(attributes)!r} is not supported")
    for name, tensor in zip(outputs, results, strict=False):  # a Dropout's mask is not defined
        if name:
            _define(values, name, tensor)


def _attribute(message: Message, where: str) -> Any:
    """An int, float, list of either, bytes, or a constant tensor."""
    kinds = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints"}
    kind = kinds.get(message.get("type", [0])[0])
    if kind is None or message.keys() - {"name", "type", kind}:
        raise MalformedInput("network", f"{where} has a type that is not supported")
    if kind in ("floats", "ints"):
        return list(message.get(kind, []))
    if kind == "t":
        return _tensor(_one(message, "t", where))
    return message.get(kind, [{"f": 0.0, "i": 0, "s": b""}[kind]])[0]
