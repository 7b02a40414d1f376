"""The network as a graph of surface operators.

A graph freezes to a topologically sorted tuple, which is what every later stage walks; `to_networkx` hands out the
same graph as a NetworkX multigraph whose edge key is the operand slot (so that Add(x, x) is two edges), and
`from_networkx` sorts and checks one.  NetworkX is loaded by those two only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from farkas.ir.algebra import Algebra, Array
from farkas.ir.errors import MalformedNetwork
from farkas.ir.op import Op, Shape

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class Node:
    """One operator application; `name` is also the name of the tensor that it produces."""

    name: str
    op: Op
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order, with the shape of every tensor.

    elements: 'uint8', 'int8' or 'int32' of the tensors that hold integers; all others are of type `dtype`.
    inputs: (name, shape) of each network input; outputs: tensor names; sha256: of the decompressed file's bytes, empty
    for a graph that was built in Python; dtype: element type of the network; notes: what was assumed about it.
    """

    inputs: tuple[tuple[str, Shape], ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    shapes: Mapping[str, Shape]
    sha256: str = ""
    dtype: str = "float32"
    notes: tuple[str, ...] = field(default=())
    elements: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def build(
        inputs: tuple[tuple[str, Shape], ...],
        nodes: tuple[Node, ...],
        outputs: tuple[str, ...],
        *,
        sha256: str = "",
        dtype: str = "float32",
        notes: tuple[str, ...] = (),
        elements: Mapping[str, str] | None = None,
    ) -> Graph:
        """A checked graph: every operand is defined before its use and every shape fits."""
        shapes: dict[str, Shape] = dict(inputs)
        for node in nodes:
            missing = [name for name in node.inputs if name not in shapes]
            if missing:
                raise MalformedNetwork(f"node '{node.name}' reads '{missing[0]}', which nothing before it produces")
            if node.name in shapes:
                raise MalformedNetwork(f"tensor '{node.name}' is produced twice")
            shapes[node.name] = node.op.infer(*(shapes[name] for name in node.inputs))
        for name in outputs:
            if name not in shapes:
                raise MalformedNetwork(f"output '{name}' is produced by no node")
        return Graph(inputs, nodes, outputs, shapes, sha256, dtype, notes, dict(elements or {}))

    def evaluate(self, alg: Algebra, values: Mapping[str, Array]) -> dict[str, Array]:
        """Every tensor's value in the given domain; `values` holds the inputs, in their shapes."""
        env: dict[str, Array] = {name: values[name].reshape(shape) for name, shape in self.inputs}
        for node in self.nodes:
            env[node.name] = node.op.denote(alg, *(env[name] for name in node.inputs)).reshape(self.shapes[node.name])
        return env

    def to_networkx(self) -> nx.MultiDiGraph[Any]:
        """The same graph in NetworkX: node attribute `op`, edge key = operand slot."""
        import networkx as nx

        graph: nx.MultiDiGraph[Any] = nx.MultiDiGraph(
            outputs=self.outputs, sha256=self.sha256, dtype=self.dtype, notes=self.notes, elements=self.elements
        )
        for name, shape in self.inputs:
            graph.add_node(name, op=None, shape=shape)
        for node in self.nodes:
            graph.add_node(node.name, op=node.op, shape=self.shapes[node.name])
            for slot, operand in enumerate(node.inputs):
                graph.add_edge(operand, node.name, key=slot)
        return graph

    @staticmethod
    def from_networkx(graph: nx.MultiDiGraph[Any]) -> Graph:
        """Sort, check and freeze a NetworkX graph of the form that `to_networkx` writes; raises on cycles."""
        import networkx as nx

        position = {name: i for i, name in enumerate(graph.nodes)}
        try:
            order = list(nx.lexicographical_topological_sort(graph, key=lambda name: position[name]))
        except nx.NetworkXUnfeasible as error:
            raise MalformedNetwork("the graph has a cycle; a feed-forward network is wanted") from error
        inputs = tuple((name, graph.nodes[name]["shape"]) for name in order if graph.nodes[name]["op"] is None)
        nodes = []
        for name in order:
            if graph.nodes[name]["op"] is not None:
                edges = sorted(graph.in_edges(name, keys=True), key=lambda edge: edge[2])
                nodes.append(Node(name, graph.nodes[name]["op"], tuple(edge[0] for edge in edges)))
        meta = graph.graph
        return Graph.build(
            inputs,
            tuple(nodes),
            tuple(meta["outputs"]),
            sha256=meta.get("sha256", ""),
            dtype=meta.get("dtype", "float32"),
            notes=tuple(meta.get("notes", ())),
            elements=meta.get("elements", {}),
        )
