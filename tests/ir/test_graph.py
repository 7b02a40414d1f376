"""The graph: its checks on construction, its meaning, and its NetworkX form."""

from fractions import Fraction

import networkx as nx
import numpy as np
import pytest

from farkas.ir.algebra import Rational, exact
from farkas.ir.errors import MalformedNetwork, ShapeError
from farkas.ir.graph import Graph, Node
from farkas.ir.ops.activation import Max, Relu
from farkas.ir.ops.affine import Add, Linear, Sub

X = (("x", (1, 2)),)
WEIGHT = np.array([[1.0, -2.0], [0.5, 4.0]], dtype=np.float32)


def diamond() -> Graph:
    """y = relu(Wx) - Wx, whose branches meet again in the order that counts."""
    nodes = (
        Node("h", Linear(WEIGHT, None), ("x",)),
        Node("r", Relu(), ("h",)),
        Node("y", Sub(), ("r", "h")),
    )
    return Graph.build(X, nodes, ("y",), sha256="ab" * 32, notes=("a note",))


def test_a_graph_computes_what_its_operators_mean() -> None:
    x = exact(np.array([[3.0, 1.0]]))
    values = diamond().evaluate(Rational(), {"x": x})
    # W x = (3 - 2, 1.5 + 4) = (1, 5.5): both positive, so relu(Wx) - Wx = 0; and at (-3, 1): (-5, 2.5) -> (5, 0).
    assert values["h"].ravel().tolist() == [1, Fraction(11, 2)]
    assert values["y"].ravel().tolist() == [0, 0]
    other = diamond().evaluate(Rational(), {"x": exact(np.array([[-3.0, 1.0]]))})
    assert other["y"].ravel().tolist() == [5, 0]


def test_a_graph_survives_the_way_through_networkx() -> None:
    graph = diamond()
    again = Graph.from_networkx(graph.to_networkx())
    assert again == graph


def test_operand_slots_are_edge_keys() -> None:
    nodes = (Node("s", Add(), ("x", "x")), Node("y", Sub(), ("s", "x")))
    form = Graph.build(X, nodes, ("y",)).to_networkx()
    assert form.number_of_edges("x", "s") == 2
    assert set(form["x"]["s"]) == {0, 1}
    assert set(form["s"]["y"]) == {0}
    assert set(form["x"]["y"]) == {1}
    assert Graph.from_networkx(form).nodes == nodes


def test_networkx_nodes_in_any_order_are_sorted() -> None:
    form: nx.MultiDiGraph = nx.MultiDiGraph(outputs=("y",))
    form.add_node("y", op=Max())
    form.add_node("h", op=Relu())
    form.add_node("x", op=None, shape=(3,))
    form.add_edge("x", "h", key=0)
    form.add_edge("h", "y", key=1)
    form.add_edge("x", "y", key=0)
    graph = Graph.from_networkx(form)
    assert [(node.name, node.inputs) for node in graph.nodes] == [("h", ("x",)), ("y", ("x", "h"))]


def test_a_cycle_is_malformed() -> None:
    form = diamond().to_networkx()
    form.add_edge("y", "h", key=1)
    with pytest.raises(MalformedNetwork, match="cycle"):
        Graph.from_networkx(form)


def test_building_checks_order_names_shapes_and_outputs() -> None:
    relu = Node("y", Relu(), ("x",))
    with pytest.raises(MalformedNetwork, match="'ghost'"):
        Graph.build(X, (Node("y", Relu(), ("ghost",)),), ("y",))
    with pytest.raises(MalformedNetwork, match="twice"):
        Graph.build(X, (relu, relu), ("y",))
    with pytest.raises(MalformedNetwork, match="'z'"):
        Graph.build(X, (relu,), ("z",))
    with pytest.raises(ShapeError):
        Graph.build((("x", (1, 3)),), (Node("y", Linear(WEIGHT, None), ("x",)),), ("y",))
