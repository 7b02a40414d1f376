"""Networks that were read: what they are, and the arithmetic that a question about them is in unless told otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from farkas.files import FilePath, naming, read_bytes
from farkas.ir.errors import FarkasError, MalformedNetwork
from farkas.ir.graph import Graph
from farkas.ir.onnx_import import load_onnx
from farkas.ir.onnx_wire import decompressed
from farkas.specs.query import Semantics

if TYPE_CHECKING:
    from farkas.specs.language_calls import Argument, Declared
    from farkas.specs.language_tensors import Tensor


@dataclass(frozen=True, repr=False)
class Network:
    """A network that was read: its graph, the decompressed bytes it came from, their path, and its file's stem."""

    graph: Graph
    data: bytes
    path: Path | None = None
    name: str = ""

    @property
    def inputs(self) -> int:
        """The number of input values, over all input tensors."""
        return sum(prod(shape) for _, shape in self.graph.inputs)

    @property
    def outputs(self) -> int:
        """The number of output values, over all output tensors."""
        return sum(prod(self.graph.shapes[name]) for name in self.graph.outputs)

    @cached_property
    def is_real_only(self) -> bool:
        """Whether the file says of itself that it means what it should over the reals only."""
        from farkas.ir.onnx_edit import is_real_only

        return is_real_only(self.data)

    @property
    def semantics(self) -> Semantics:
        """The arithmetic of questions about it, unless told otherwise."""
        return Semantics.REAL if self.is_real_only else network_semantics(self.graph)

    @property
    def input(self) -> Declared:
        """The one input tensor, as `farkas.var` takes it; raises SpecError when there are several."""
        from farkas.specs.language_calls import only_input

        return only_input(self)

    def __call__(self, *arguments: Argument) -> Tensor:
        """The one output tensor of an execution on variables, in a specification; raises SpecError."""
        from farkas.specs.language_calls import only_output

        return only_output(self, arguments)

    def outputs_at(self, *arguments: Argument) -> tuple[Tensor, ...]:
        """All output tensors of an execution on variables, in a specification; raises SpecError."""
        from farkas.specs.language_calls import call

        return call(self, *arguments)

    def __repr__(self) -> str:
        inputs = ", ".join(f"{name} {_shape(shape)}" for name, shape in self.graph.inputs)
        outputs = ", ".join(f"{name} {_shape(self.graph.shapes[name])}" for name in self.graph.outputs)
        return f"<network {self.name or '(unnamed)'}: {inputs} -> {outputs}>"

    def info(self) -> str:
        """What the network is, in a few lines: element type, inputs, outputs, operators, digest."""
        graph = self.graph
        kinds = Counter(node.op.onnx for node in graph.nodes)
        lines = [
            f"network {self.name or '(unnamed)'}: {graph.dtype}, {len(graph.nodes)} nodes",
            *(f"  input  {name} {_shape(shape)}{_integers(graph, name)}" for name, shape in graph.inputs),
            *(f"  output {name} {_shape(graph.shapes[name])}{_integers(graph, name)}" for name in graph.outputs),
            f"  operators: {', '.join(f'{kind} {count}' for kind, count in sorted(kinds.items()))}",
            f"  semantics unless told otherwise: {self.semantics.value}",
            *(f"  note: {note}" for note in graph.notes),
            f"  sha256 {graph.sha256}",
        ]
        return "\n".join(lines)


Networks = Network | Mapping[str, Network]
"""The network, or the networks by the names that a VNN-LIB 2.x property declares."""


def load(path: FilePath) -> Network:
    """The network in an .onnx or .onnx.gz file.

    Raises UnreadableFile, MalformedNetwork or UnsupportedOperator; every message begins with the path.
    """
    place = Path(path)
    with naming(place):
        data = decompressed(read_bytes(place))
        graph = _graph(data)
    return Network(graph, data, place, place.name.removesuffix(".gz").removesuffix(".onnx"))


def _graph(data: bytes) -> Graph:
    if not data:
        raise MalformedNetwork("the file is empty; an ONNX network is wanted")
    try:
        return load_onnx(data)
    except MalformedNetwork as error:
        if data[:64].lstrip()[:1] in (b"(", b";"):
            raise MalformedNetwork("this is text, as of a property; an ONNX network is wanted") from error
        raise


def all_networks(net: Networks) -> list[Network]:
    """The networks, at least one."""
    found = [net] if isinstance(net, Network) else list(net.values())
    if not found:
        raise FarkasError("no network is given; a property is about one at least")
    return found


def network_semantics(graph: Graph) -> Semantics:
    """int-exact for quantised networks, f32-any for other float32 ones, real for float64 ones."""
    if is_quantised(graph):
        return Semantics.INT_EXACT
    return Semantics.F32_ANY if graph.dtype == "float32" else Semantics.REAL


def is_quantised(graph: Graph) -> bool:
    from farkas.ir.integer_lowering import is_quantised

    return is_quantised(graph)


def _integers(graph: Graph, name: str) -> str:
    """The type of a tensor that holds integers."""
    return f" of {graph.elements[name]}" if name in graph.elements else ""


def _shape(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"
