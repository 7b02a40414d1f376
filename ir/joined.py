"""Several networks, copies of one, several inputs and outputs: one graph with one input and one output.

The input of the joined graph is one vector, the inputs of all parts one after the other, in order, each flat and
row-major; its output is likewise that of all outputs.  Between the two stand the nodes of the parts, side by side, and
data movement, which rounds nothing: an execution of the joined graph is one execution of each part, and every choice
of those is one.  So what is proved about the joined graph in `real`, in `f32-any` (each application of a network has an
execution of its own) or in one order holds of the networks run by themselves, and nothing behind the graph knows parts.

Where inputs are known to be equal, the input of the joined graph is only the free ones, and `columns` says which of
them each input of the parts is: the pieces that the parts read then overlap.

Tensors of a named part are called `part:tensor`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from farkas.ir.errors import FarkasError, MalformedNetwork, UnsupportedOperator
from farkas.ir.graph import Graph, Node
from farkas.ir.op import Shape
from farkas.ir.ops.movement import Concat, Gather, Reshape

INPUT, OUTPUT = ":input", ":output"


@dataclass(frozen=True)
class Part:
    """One application of a network: its name in the query ("" when the query is about one network without a name),
    its graph, and the decompressed bytes it was read from.

    hidden: tensors of the network that the query speaks of; in the graph they are outputs, behind the network's own.
    """

    name: str
    graph: Graph
    data: bytes = field(repr=False)
    hidden: tuple[str, ...] = ()

    @property
    def executed(self) -> bytes:
        """The network as a runtime executes it: the hidden tensors are outputs."""
        if not self.hidden:
            return self.data
        from farkas.ir.onnx_edit import append_outputs

        return append_outputs(self.data, self.hidden)

    @property
    def inputs(self) -> int:
        """The number of input values, over all input tensors."""
        return sum(math.prod(shape) for _, shape in self.graph.inputs)

    @property
    def outputs(self) -> int:
        """The number of output values, over all output tensors."""
        return sum(math.prod(self.graph.shapes[name]) for name in self.graph.outputs)


def join(parts: Sequence[Part], columns: Sequence[int] | None = None) -> Graph:
    """The graph of all parts, from one flat input to one flat output.

    columns: for every input value of the parts, the element of the joined input that it is; by default they are all
    different, in order.  The graph of a single part that has one input and one output already is then that graph
    itself.  Raises FarkasError for names that do not tell the parts apart and UnsupportedOperator for networks of
    integers.
    """
    _check_names([part.name for part in parts])
    if len(parts) == 1 and is_single(parts[0].graph) and columns is None:
        return parts[0].graph
    for part in parts:
        what = f"network '{part.name}'" if part.name else "the network"
        if part.graph.elements:
            raise UnsupportedOperator(
                f"{what} computes with integers; one such network, with one input and one output, is supported"
            )
        if not part.graph.inputs or not part.graph.outputs:
            raise MalformedNetwork(f"{what} has no inputs or no outputs")
    return _Joining(parts, columns).graph()


def single(graph: Graph) -> Graph:
    """The same network with one input and one output."""
    return join((Part("", graph, b""),))


def is_single(graph: Graph) -> bool:
    """Whether the network has one input and one output."""
    return len(graph.inputs) == 1 and len(graph.outputs) == 1


def _check_names(names: Sequence[str]) -> None:
    if not names:
        raise FarkasError("a query is about one network at least")
    if len(names) > 1 and (len(set(names)) < len(names) or any(not name or ":" in name for name in names)):
        raise FarkasError(f"networks need names of their own, without ':'; found {', '.join(map(repr, names))}")


class _Joining:
    """The nodes of a joined graph while they grow."""

    def __init__(self, parts: Sequence[Part], columns: Sequence[int] | None) -> None:
        self.parts = parts
        self.columns = np.arange(sum(part.inputs for part in parts)) if columns is None else np.array(columns)
        self.nodes: list[Node] = []
        self.taken = {_renamed(part)(name) for part in parts for name in part.graph.shapes}
        self.input = self.fresh(INPUT)
        self.size = 0

    def fresh(self, name: str) -> str:
        """A tensor name that no part has, as near to `name` as can be."""
        while name in self.taken:
            name += "'"
        self.taken.add(name)
        return name

    def graph(self) -> Graph:
        outputs = [name for part in self.parts for name in self.add(part)]
        flat = []
        for name, size in outputs:
            flat.append(self.fresh(f"{name} (flat)"))
            self.nodes.append(Node(flat[-1], Reshape((size,)), (name,)))
        output = self.fresh(OUTPUT)
        self.nodes.append(Node(output, Concat(0, (None,) * len(flat)), tuple(flat)))
        return Graph.build(
            ((self.input, (int(self.columns.max()) + 1,)),),
            tuple(self.nodes),
            (output,),
            sha256=_digest(self.parts),
            dtype=" and ".join(sorted({part.graph.dtype for part in self.parts})),
            notes=tuple(
                f"{part.name}: {note}" if part.name else note for part in self.parts for note in part.graph.notes
            ),
        )

    def add(self, part: Part) -> list[tuple[str, int]]:
        """The part's nodes; its outputs and their sizes."""
        called = _renamed(part)
        for name, shape in part.graph.inputs:
            self.nodes.append(self.piece(called(name), shape))
        for node in part.graph.nodes:
            self.nodes.append(Node(called(node.name), node.op, tuple(map(called, node.inputs))))
        return [(called(name), math.prod(part.graph.shapes[name])) for name in part.graph.outputs]

    def piece(self, name: str, shape: Shape) -> Node:
        """The next elements of the joined input."""
        start, self.size = self.size, self.size + math.prod(shape)
        return Node(name, Gather(0, self.columns[start : self.size].reshape(shape)), (self.input,))


def _renamed(part: Part) -> Callable[[str], str]:
    return lambda tensor: f"{part.name}:{tensor}" if part.name else tensor


def _digest(parts: Sequence[Part]) -> str:
    """SHA-256 that identifies the parts, names included; that of the file for one part; empty where one was built."""
    if len(parts) == 1 or not all(part.graph.sha256 for part in parts):
        return parts[0].graph.sha256 if len(parts) == 1 else ""
    text = "".join(f"{part.name}={part.graph.sha256}\n" for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()
