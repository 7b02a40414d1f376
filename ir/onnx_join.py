"""Several ONNX files as one, with one flat input and one flat output, and a property head behind it.

The input of the joined file is one vector; every input of every part is gathered from it, so parts may read the same
entries, and an entry may be read by nobody.  Its output is one vector as well: the outputs of all parts, flat and in
order, then entries of the input that are passed through, then products of entries of the vector of inputs and outputs.

All but the products is data movement.  It rounds nothing, so an execution of the file is one execution of every part,
and what is proved of it in any semantics holds of the parts.  A product rounds, where the property means the exact
one: a file with products says of itself that it preserves the reals only (`farkas.ir.onnx_edit`).

Tensors of a named part are called `part:tensor`; the weights of parts with the same bytes are stored once.  Parts of
different versions of the default operator set are refused: an operator means what its version says, and a file states
one version for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from farkas.ir.errors import FarkasError, UnsupportedOperator
from farkas.ir.onnx_edit import (
    INITIALIZER,
    INPUT,
    LISTED,
    NODE,
    OUTPUT,
    VERSION,
    Wire,
    fresh,
    is_real_only,
    real_only_field,
    shape_of,
    variable_inputs,
    wire,
)
from farkas.ir.onnx_parts import encoded, integer, message, node, tensor, text, value_info
from farkas.ir.protobuf import Value, fields
from farkas.ir.protobuf import message as as_message
from farkas.ir.protobuf import text as as_text

GRAPH, OPSET, NAME = 7, 8, 2
DROPPED = (2, 10, 11, 12, 13, 16)  # of a graph: name, text, inputs and outputs (made anew), shapes inside, metadata
SUBGRAPHS = (6, 11)  # of an attribute
INPUT_NAME, OUTPUT_NAME = "X", "Y"


@dataclass(frozen=True)
class FilePart:
    """One application of a network: its name ("" when there is but one), its bytes, for every entry of its inputs,
    row-major and one input after the other, the entry of the joined input that it is, and the number of its outputs'
    entries."""

    name: str
    data: bytes = field(repr=False)
    columns: tuple[int, ...]
    outputs: int


@dataclass(frozen=True)
class Head:
    """What follows the outputs: `passed` entries of the input, and products of at least two entries each, where i is
    entry i of the joined input, and inputs + j is output j."""

    passed: tuple[int, ...] = ()
    products: tuple[tuple[int, ...], ...] = ()


def join_files(parts: Sequence[FilePart], inputs: int, head: Head | None = None) -> bytes:
    """The bytes of the joined file, from `inputs` values to all outputs and what the head adds.

    Raises FarkasError for parts that do not go together.
    """
    return _Joined(parts, inputs, head or Head()).data()


class _Joined:
    """The graph of the joined file while it grows."""

    def __init__(self, parts: Sequence[FilePart], inputs: int, head: Head) -> None:
        self.parts, self.inputs, self.head = parts, inputs, head
        if (
            not parts
            or len({part.name for part in parts}) < len(parts)
            or (len(parts) > 1 and not all(p.name for p in parts))
        ):
            raise FarkasError(f"networks need names of their own; found {', '.join(repr(part.name) for part in parts)}")
        known = {data: wire(data) for data in {part.data for part in parts}}
        self.wires = [known[part.data] for part in parts]
        self.element = _common_element(self.wires)
        self.taken = {_renamed(part.name)(n) for part, w in zip(parts, self.wires, strict=True) for n in w.names()}
        self.input = fresh(INPUT_NAME, self.taken)
        self.output = fresh(OUTPUT_NAME, self.taken)
        self.nodes: list[bytes] = []
        self.stored: list[bytes] = []

    def data(self) -> bytes:
        outputs = [name for number in range(len(self.parts)) for name in self.add(number)]
        flat = [self.step("Reshape", name, np.array([-1], dtype=np.int64), "flat") for name in outputs]
        if self.head.passed:
            flat.append(self.step("Gather", self.input, np.array(self.head.passed, dtype=np.int64), "passed"))
        if self.head.products:
            flat += self.products(self.concatenated([self.input, *flat[: len(outputs)]], "all"))
        self.concatenated(flat, "", self.output)
        size = sum(part.outputs for part in self.parts) + len(self.head.passed) + len(self.head.products)
        graph = [
            *(message(NODE, made) for made in self.nodes),
            text(NAME, "joined"),
            *(message(INITIALIZER, made) for made in self.stored),
            message(INPUT, value_info(self.input, self.element, (self.inputs,))),
            message(OUTPUT, value_info(self.output, self.element, (size,))),
        ]
        version = max(LISTED, *(w.version for w in self.wires))
        opsets = b"".join(message(OPSET, _opset(*entry)) for entry in _common_opsets(self.wires))
        made = integer(VERSION, version) + message(GRAPH, b"".join(graph)) + opsets
        if self.head.products or any(is_real_only(part.data) for part in self.parts):
            made += encoded((real_only_field(),))
        return made

    def add(self, number: int) -> list[str]:
        """The nodes of a part; the names of its outputs."""
        part, model = self.parts[number], self.wires[number]
        first = next(k for k, other in enumerate(self.wires) if other is model)
        own, shared = _renamed(part.name), _renamed(self.parts[first].name)
        called = {name: shared(name) for name in model.read.initializers}
        inputs = variable_inputs(model.read)
        size = sum(prod(shape_of(info)) for info in inputs)
        if size != len(part.columns):
            raise FarkasError(f"network '{part.name}' has {size} input values; found {len(part.columns)} places")
        start = 0
        for info in inputs:
            shape = shape_of(info)
            stop = start + prod(shape)
            places = np.array(part.columns[start:stop], dtype=np.int64).reshape(shape)
            self.step("Gather", self.input, places, "places", own(info.name))
            start = stop
        for key, value in model.graph:
            if key == NODE:
                self.nodes.append(_node(as_message(value, "node"), lambda name: called.get(name) or own(name)))
            elif key == INITIALIZER:
                if first == number:
                    self.stored.append(_initializer(as_message(value, "initializer"), shared))
            elif key not in DROPPED:
                raise UnsupportedOperator(
                    f"network '{part.name}' has the field {key} of ONNX graphs; re-export it without"
                )
        return [called.get(info.name) or own(info.name) for info in model.read.outputs]

    def step(self, kind: str, operand: str, constant: npt.NDArray[Any], what: str, output: str = "") -> str:
        """A node with a constant as its second operand; its output."""
        made = output or fresh(f"{operand}_{what}", self.taken)
        stored = fresh(f"{made}_{what}" if output else f"{made}_constant", self.taken)
        self.stored.append(tensor(stored, constant))
        self.nodes.append(node(kind, (operand, stored), made))
        return made

    def concatenated(self, tensors: Sequence[str], what: str, output: str = "") -> str:
        """Vectors one after the other."""
        made = output or fresh(what, self.taken)
        self.nodes.append(node("Concat", tensors, made, attributes={"axis": 0}))
        return made

    def products(self, values: str) -> list[str]:
        """The products of entries of the vector `values`, in their order: those of one length first, then sorted."""
        lengths = sorted({len(factors) for factors in self.head.products})
        if not lengths or lengths[0] < 2:
            raise FarkasError("a product has at least two factors")
        groups = [[k for k, factors in enumerate(self.head.products) if len(factors) == n] for n in lengths]
        found = [self.group([self.head.products[k] for k in group], values) for group in groups]
        order = [k for group in groups for k in group]
        if order == sorted(order):
            return found
        back = np.argsort(np.array(order)).astype(np.int64)
        return [self.step("Gather", self.concatenated(found, "products"), back, "sorted")]

    def group(self, products: Sequence[tuple[int, ...]], values: str) -> str:
        """Products of as many factors each."""
        result = ""
        for places in zip(*products, strict=True):
            factor = self.step("Gather", values, np.array(places, dtype=np.int64), "factor")
            if result:
                made = fresh("product", self.taken)
                self.nodes.append(node("Mul", (result, factor), made))
                factor = made
            result = factor
        return result


def _renamed(part: str) -> Callable[[str], str]:
    return lambda name: f"{part}:{name}" if part and name else name


def _node(data: memoryview, called: Callable[[str], str]) -> bytes:
    """A node whose tensors and name are called otherwise."""
    made: list[bytes] = []
    for key, value in fields(data, "node"):
        if key in (1, 2, 3):
            made.append(text(key, called(as_text(value, "node"))))
            continue
        if key == 5:
            for inner, _ in fields(as_message(value, "node.attribute"), "attribute"):
                if inner in SUBGRAPHS:
                    raise UnsupportedOperator("a network with graphs inside its nodes cannot be joined with others")
        made.append(encoded(((key, value),)))
    return b"".join(made)


def _initializer(data: memoryview, called: Callable[[str], str]) -> bytes:
    """A tensor called otherwise."""
    named = (
        (key, memoryview(called(as_text(v, "tensor.name")).encode()) if key == 8 else v) for key, v in _fields(data)
    )
    return encoded(named)


def _fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    return fields(data, "tensor")


def _common_element(wires: Iterable[Wire]) -> int:
    """The element type of all inputs (ONNX number); raises UnsupportedOperator where it is not one, or no float."""
    found = sorted({info.elem_type for model in wires for info in variable_inputs(model.read)})
    if found not in ([1], [11]):
        raise UnsupportedOperator(
            f"the networks' inputs have the ONNX element types {', '.join(map(str, found)) or 'none'}; "
            "one file takes all of them as float32 (1), or all as float64 (11)"
        )
    return found[0]


def _common_opsets(wires: Iterable[Wire]) -> list[tuple[str, int]]:
    """Domains and versions of all operators; raises UnsupportedOperator where they differ."""
    opsets: dict[str, int] = {}
    for model in wires:
        for domain, version in _opsets(model):
            if opsets.setdefault(domain, version) != version:
                raise UnsupportedOperator(
                    f"the networks use versions {opsets[domain]} and {version} of the operators of '{domain}'; "
                    "convert them to one version"
                )
    return sorted(opsets.items())


def _opsets(model: Wire) -> Iterator[tuple[str, int]]:
    for key, value in model.around:
        if key == OPSET:
            parts = dict(fields(as_message(value, "opset_import"), "opset_import"))
            domain = as_text(parts.get(1, memoryview(b"")), "opset_import.domain")
            version = parts.get(2, 0)
            yield ("" if domain == "ai.onnx" else domain), version if isinstance(version, int) else 0


def _opset(domain: str, version: int) -> bytes:
    return text(1, domain) + integer(2, version)
