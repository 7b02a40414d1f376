"""ONNX bytes -> Graph.

Nodes are taken in the order of the file, which the format wants topological.  What depends on no input is folded to a
constant (farkas.ir.fold), what does is handed to its operator's importer (farkas.ir.ops).  Nodes on which no output
depends are left out.  Everything that has no exact meaning here is refused before any solving starts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from farkas.ir.errors import MalformedNetwork, ShapeError, UnsupportedOperator
from farkas.ir.fold import FOLDED, MOVED, fold
from farkas.ir.graph import Graph, Node
from farkas.ir.onnx_edit import is_real_only
from farkas.ir.onnx_node import Constant, Dequantised, OnnxNode, Tensor
from farkas.ir.onnx_wire import DTYPES, ValueInfo, WireModel, WireNode, decompressed, read_model
from farkas.ir.op import Shape
from farkas.ir.ops import IMPORTERS, quantised_onnx
from farkas.ir.ops.quantised import element_after
from farkas.ir.ops.quantised_onnx import coded, dequantised

OPSETS = range(8, 22)
PREPROCESS = (
    "onnxruntime.quantization.shape_inference.quant_pre_process makes MatMul and Add one Gemm, which is supported"
)
CONTRIBUTED = {"QGemm": "com.microsoft"}  # operators of other domains than the default one


def supported_operators() -> tuple[str, ...]:
    """ONNX operators that may be applied to variable tensors, sorted; those on codes are `quantised_operators`."""
    return tuple(sorted(set(IMPORTERS) - set(quantised_operators())))


def quantised_operators() -> tuple[str, ...]:
    """ONNX operators on codes, sorted: `int-exact` alone decides networks that have them."""
    return tuple(sorted(set(quantised_onnx.IMPORTERS) - {"Cast"}))


def folded_operators() -> tuple[str, ...]:
    """ONNX operators that are evaluated when all their operands are constant (or, for Shape, known), sorted."""
    return tuple(sorted({*FOLDED, *MOVED, "DequantizeLinear"}))


def load_onnx(data: bytes) -> Graph:
    """The network in the bytes of an .onnx file, gzip-compressed or not.

    Dynamic dimensions are set to 1, which `Graph.notes` records.  Raises MalformedNetwork for bytes that are no
    consistent ONNX model and UnsupportedOperator for whatever has no meaning here.
    """
    raw = decompressed(data)
    model = read_model(raw)
    if model.opset not in OPSETS:
        raise UnsupportedOperator(
            f"the model uses opset {model.opset}; {OPSETS[0]} to {OPSETS[-1]} are supported: convert or re-export it"
        )
    found = _Import(model)
    if is_real_only(raw):
        found.notes.append("preserves the reals only: what was put in front of it or behind it rounds when executed")
    return found.graph(hashlib.sha256(raw).hexdigest())


class _Import:
    """State of one import: the value of every tensor so far, and the surface nodes made."""

    def __init__(self, model: WireModel) -> None:
        self.model = model
        self.notes: list[str] = []
        self.values: dict[str, Tensor | Dequantised | Constant] = dict(model.initializers)
        self.nodes: list[Node] = []
        variables = [info for info in model.inputs if info.name not in model.initializers]
        self.inputs = tuple((info.name, self.input_shape(info)) for info in variables)
        self.dtype = _element_type(variables)
        if len({name for name, _ in self.inputs}) != len(self.inputs):
            raise MalformedNetwork("two inputs of the network have the same name")
        self.elements = {info.name: INTEGERS[info.elem_type] for info in variables if info.elem_type in INTEGERS}
        for name, shape in self.inputs:
            self.values[name] = Tensor(name, shape, self.elements.get(name))

    def input_shape(self, info: ValueInfo) -> Shape:
        if info.dims is None:
            raise MalformedNetwork(f"input '{info.name}' has no shape; export the network with one")
        if any(d is not None and d <= 0 for d in info.dims):
            raise MalformedNetwork(f"input '{info.name}' has shape {info.dims}; dimensions must be positive")
        if None in info.dims:
            self.notes.append(f"dynamic dimensions of input '{info.name}' are taken to be 1")
        return tuple(1 if d is None else d for d in info.dims)

    def graph(self, sha256: str) -> Graph:
        live = _live(self.model)
        for wire in live:
            _check_kind(wire)
        for wire in live:
            self.add(wire)
        outputs = tuple(info.name for info in self.model.outputs)
        for name in outputs:
            if isinstance(self.values.get(name), (np.ndarray, Dequantised)):
                raise UnsupportedOperator(f"output '{name}' is a constant; it depends on no input")
        names = {name for name, _ in self.inputs} | {node.name for node in self.nodes}
        missing = [name for name in outputs if name not in names]
        if missing or not outputs:
            raise MalformedNetwork(f"output '{missing[0]}' is produced by no node" if missing else "no outputs")
        nodes, notes = tuple(self.nodes), tuple(self.notes)
        return Graph.build(
            self.inputs, nodes, outputs, sha256=sha256, dtype=self.dtype.name, notes=notes, elements=self.elements
        )

    def add(self, wire: WireNode) -> None:
        operands = tuple(self.operand(wire, name) for name in wire.inputs)
        node = OnnxNode(wire.name, wire.kind, self.model.opset, self.dtype, operands, wire.outputs, wire.attributes)
        is_variable = any(isinstance(operand, Tensor) for operand in operands)
        if wire.kind == "DequantizeLinear" and not is_variable:
            self.define(node.outputs[0], dequantised(node))
            return
        if wire.kind in FOLDED or not is_variable:
            constants = fold(node)
            if constants is not None:
                for name, array in zip(node.outputs, constants, strict=False):
                    self.define(name, array)
                return
        if wire.kind not in IMPORTERS:
            node.refuse("it is supported for constant operands only, and one of these depends on the input")
        try:
            parts = IMPORTERS[wire.kind](node)
            if any(isinstance(operand, Dequantised) for operand in operands):
                parts = coded(node, parts)
            for made in parts:
                self.append(node, made)
        except ShapeError as error:
            raise ShapeError(f"ONNX {node}: {error}") from error

    def append(self, node: OnnxNode, made: Node) -> None:
        tensors = [self.tensor(name) for name in made.inputs]
        shape = made.op.infer(*(tensor.shape for tensor in tensors))
        node.check_size(shape)
        try:
            element = element_after(made.op, tuple(tensor.element for tensor in tensors))
        except UnsupportedOperator as error:
            node.refuse(str(error))
        if element is not None:
            self.elements[made.name] = element
        self.define(made.name, Tensor(made.name, shape, element))
        self.nodes.append(made)

    def operand(self, wire: WireNode, name: str) -> Tensor | Dequantised | Constant | None:
        if not name:
            return None
        if name not in self.values:
            raise MalformedNetwork(
                f"ONNX operator '{wire.kind}' (node '{wire.name}') reads '{name}', which nothing before it produces"
            )
        return self.values[name]

    def tensor(self, name: str) -> Tensor:
        value = self.values[name]
        assert isinstance(value, Tensor), f"importers name variable tensors only, not '{name}'"
        return value

    def define(self, name: str, value: Tensor | Dequantised | Constant) -> None:
        if name in self.values:
            raise MalformedNetwork(f"tensor '{name}' is produced twice")
        self.values[name] = value


def _check_kind(wire: WireNode) -> None:
    """Refuses an operator that has no meaning here whatever its operands are."""
    if wire.domain != CONTRIBUTED.get(wire.kind, ""):
        advice = f"; {PREPROCESS}" if wire.kind.startswith("QLinear") else ""
        raise UnsupportedOperator(
            f"ONNX operator '{wire.kind}' of domain '{wire.domain}' (node '{wire.name}') is not supported; "
            f"only the default domain is{advice}"
        )
    if wire.kind not in IMPORTERS and wire.kind not in FOLDED:
        raise UnsupportedOperator(
            f"ONNX operator '{wire.kind}' (node '{wire.name}') is not supported. "
            f"Supported: {', '.join(supported_operators())}; in quantised networks {', '.join(quantised_operators())}."
        )


# ONNX element type -> element type of integer inputs.
INTEGERS = {2: "uint8", 3: "int8"}


def _element_type(variables: Sequence[ValueInfo]) -> np.dtype[Any]:
    """The floating-point type in which the network computes: that of its inputs, float32 if they are all integers."""
    if not variables:
        raise MalformedNetwork("the network has no input")
    types = {info.elem_type for info in variables}
    floats = types - set(INTEGERS)
    if len(floats) > 1 or not floats <= {1, 11}:
        found = ", ".join(sorted(str(DTYPES.get(t, f"type {t}")) for t in types))
        raise UnsupportedOperator(
            f"the network's inputs have element type {found}; float32 or float64 is supported, and uint8 and int8 codes"
        )
    return DTYPES[floats.pop() if floats else 1].newbyteorder("=")


def _live(model: WireModel) -> list[WireNode]:
    """The nodes on which an output depends, in file order."""
    wanted = {info.name for info in model.outputs}
    kept: list[WireNode] = []
    for wire in reversed(model.nodes):
        if wanted.intersection(wire.outputs):
            wanted.update(wire.inputs)
            kept.append(wire)
    return kept[::-1]
