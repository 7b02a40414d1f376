"""Summation groups and floored weights, by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from onnx import helper

from farkas.checker.errors import MalformedInput
from farkas.checker.integer import integer_network
from farkas.checker.network import read_network
from farkas.checker.query import Affine, Input, Network, P, Relu
from tests.checker.nets import dense, model

ONE = 1 << P
X = "x"


def network(nodes: list, constants: dict[str, np.ndarray], shape: tuple[int, ...] = (1, 2), opset: int = 13) -> Network:  # type: ignore[type-arg]
    return integer_network(read_network(model(nodes, constants, shape, opset=opset)))


def f32(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def affine(net: Network, number: int) -> Affine:
    node = net.nodes[number]
    assert isinstance(node, Affine)
    return node


def test_a_matmul_and_its_bias_are_one_group() -> None:
    layers = [([[1.0, -0.5], [0.25, 2.0]], [1.0, -1.0])]
    merged, whole = (integer_network(read_network(dense(layers, split=s))) for s in (True, False))
    assert merged == whole
    node = affine(merged, 1)
    assert merged.nodes[0] == Input(2)
    assert node.count == 3
    ((matrix, source),) = node.operands
    assert source == 0
    assert (matrix.index, matrix.weights, matrix.exact) == (None, ((ONE, -ONE // 2), (ONE // 4, 2 * ONE)), True)
    assert (node.bias, node.bias_exact, node.magnitude) == ((ONE, -ONE), True, (ONE, ONE))


def test_weights_and_biases_are_floored_and_marked() -> None:
    small = 2.0**-30
    node = affine(integer_network(read_network(dense([([[small, -small]], [-small])]))), 1)
    ((matrix, _),) = node.operands
    assert (matrix.weights, matrix.exact) == (((0, -1),), False)
    assert (node.bias, node.bias_exact) == ((-1,), False)
    assert node.magnitude == (2,)


def test_adds_take_over_the_groups_that_they_read() -> None:
    nodes = [
        helper.make_node("Relu", [X], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["m"]),
        helper.make_node("MatMul", [X, "w"], ["n"]),
        helper.make_node("Add", ["m", "n"], ["s"]),
        helper.make_node("Add", ["s", "b"], ["t"]),
        helper.make_node("Add", ["t", X], ["y"]),
    ]
    constants = {"v": np.ones((2, 2), np.float32), "w": np.ones((2, 2), np.float32), "b": f32(1, 2)}
    net = network(nodes, constants)
    node = affine(net, net.output)
    assert net.nodes[:2] == (Input(2), Relu(0))
    assert len(net.nodes) == 3
    assert node.count == 2 + 2 + 1 + 1
    assert [source for _, source in node.operands] == [1, 0, 0]
    assert node.operands[2][0].weights == ((ONE,), (ONE,))


def test_magnitudes_of_cancelling_addends_are_summed() -> None:
    nodes = [
        helper.make_node("MatMul", [X, "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["p"]),
        helper.make_node("Add", ["p", "c"], ["y"]),
    ]
    constants = {"w": np.eye(2, dtype=np.float32), "b": f32(8, 8), "c": f32(-8, 1)}
    node = affine(network(nodes, constants), 1)
    assert node.bias == (0, 9 * ONE)
    assert node.magnitude == (16 * ONE, 9 * ONE)
    assert node.count == 4


def test_the_same_constant_added_twice_counts_twice() -> None:
    nodes = [helper.make_node("Add", [X, "b"], ["p"]), helper.make_node("Add", ["p", "b"], ["y"])]
    node = affine(network(nodes, {"b": f32(3, 5)}), 1)
    assert node.bias == (6 * ONE, 10 * ONE)
    assert node.magnitude == (6 * ONE, 10 * ONE)
    assert node.count == 3


def test_a_doubled_value_keeps_two_terms() -> None:
    nodes = [helper.make_node("MatMul", [X, "w"], ["m"]), helper.make_node("Add", ["m", "m"], ["y"])]
    node = affine(network(nodes, {"w": np.ones((2, 1), np.float32)}), 1)
    assert len(node.operands) == 2
    assert node.count == 4


def test_subtraction_and_scaling_are_groups_of_their_own() -> None:
    nodes = [
        helper.make_node("MatMul", [X, "w"], ["m"]),
        helper.make_node("Sub", ["m", "b"], ["p"]),
        helper.make_node("Mul", ["p", "c"], ["q"]),
        helper.make_node("Div", ["q", "d"], ["r"]),
        helper.make_node("Neg", ["r"], ["s"]),
        helper.make_node("Add", ["s", X], ["y"]),
    ]
    constants = {"w": np.eye(2, dtype=np.float32), "b": f32(1, 2), "c": f32(4, 4), "d": f32(3, 2)}
    net = network(nodes, constants)
    assert [affine(net, v).count for v in range(1, 7)] == [2, 2, 1, 1, 0, 2]
    ((third, _),) = affine(net, 4).operands
    assert third.weights == ((ONE // 3,), (ONE // 2,))
    assert not third.exact
    assert affine(net, 2).bias == (-ONE, -2 * ONE)


def test_signs_of_differences_and_negations_are_kept() -> None:
    nodes = [
        helper.make_node("Relu", [X], ["r"]),
        helper.make_node("Sub", ["r", X], ["d"]),
        helper.make_node("Neg", ["d"], ["y"]),
    ]
    net = network(nodes, {})
    assert [(m.weights, source) for m, source in affine(net, 2).operands] == [
        (((ONE,), (ONE,)), 1),
        (((-ONE,), (-ONE,)), 0),
    ]
    assert [m.weights for m, _ in affine(net, 3).operands] == [((-ONE,), (-ONE,))]


def test_a_shared_product_stays_a_node_where_something_else_reads_it() -> None:
    nodes = [
        helper.make_node("MatMul", [X, "w"], ["m"]),
        helper.make_node("Relu", ["m"], ["r"]),
        helper.make_node("Add", ["m", "r"], ["y"]),
    ]
    net = network(nodes, {"w": np.eye(2, dtype=np.float32)})
    assert isinstance(net.nodes[1], Affine)
    assert net.nodes[2] == Relu(1)
    assert [source for _, source in affine(net, 3).operands] == [0, 2]


def test_an_add_reads_the_rows_of_a_group_as_they_are_moved() -> None:
    nodes = [
        helper.make_node("MatMul", [X, "w"], ["m"]),
        helper.make_node("Transpose", ["m"], ["t"]),
        helper.make_node("Add", ["t", "b"], ["y"]),
    ]
    constants = {"w": np.array([[1, 2], [3, 4]], np.float32), "b": f32(0).reshape(1, 1)}
    node = affine(network(nodes, constants, (2, 2)), 1)
    # rows of the product are (0,0), (0,1), (1,0), (1,1); the transpose swaps the middle two
    ((matrix, _),) = node.operands
    assert matrix.index == ((0, 1), (2, 3), (0, 1), (2, 3))
    assert matrix.weights == ((ONE, 3 * ONE), (ONE, 3 * ONE), (2 * ONE, 4 * ONE), (2 * ONE, 4 * ONE))


def test_data_movement_alone_makes_no_node() -> None:
    nodes = [
        helper.make_node("Transpose", [X], ["t"]),
        helper.make_node("Flatten", ["t"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    constants = {"w": f32(1, 2, 3, 4, 5, 6).reshape(6, 1)}
    # The transpose of a (1, 2, 3) input by default is (3, 2, 1): its flat order is x0 x3 x1 x4 x2 x5.
    nodes[1] = helper.make_node("Flatten", ["t"], ["f"], axis=0)
    net = network(nodes, constants, (1, 2, 3))
    ((matrix, _),) = affine(net, 1).operands
    assert matrix.index is None
    assert [w // ONE for w in matrix.weights[0]] == [1, 3, 5, 2, 4, 6]


def test_pieces_of_several_steps_are_copied_without_error() -> None:
    nodes = [
        helper.make_node("Relu", [X], ["r"]),
        helper.make_node("Concat", ["r", X], ["c"], axis=1),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    net = network(nodes, {})
    copy = affine(net, 2)
    assert copy.count == 0
    assert [(m.index, m.exact, source) for m, source in copy.operands] == [
        (((0,), (1,), (), ()), True, 1),
        (((), (), (0,), (1,)), True, 0),
    ]
    assert net.nodes[3] == Relu(2)


def test_what_the_output_does_not_need_is_left_out() -> None:
    nodes = [helper.make_node("MatMul", [X, "w"], ["dead"]), helper.make_node("Relu", [X], ["y"])]
    assert network(nodes, {"w": np.eye(2, dtype=np.float32)}).nodes == (Input(2), Relu(0))


def test_a_convolution_counts_its_padding_and_stores_the_taps_inside() -> None:
    constants = {"w": f32(1, 2, 3).reshape(1, 1, 3), "b": f32(1)}
    net = network([helper.make_node("Conv", [X, "w", "b"], ["y"], pads=[1, 1])], constants, (1, 1, 2))
    node = affine(net, 1)
    ((matrix, _),) = node.operands
    assert node.count == 4
    assert matrix.index is None  # both taps of both rows lie inside
    assert matrix.weights == ((2 * ONE, 3 * ONE), (ONE, 2 * ONE))
    net = network([helper.make_node("Conv", [X, "w"], ["y"], pads=[1, 1])], {"w": constants["w"]}, (1, 1, 4))
    ((matrix, _),) = affine(net, 1).operands
    assert matrix.index == ((0, 1), (0, 1, 2), (1, 2, 3), (2, 3))


def test_floors_are_below_by_less_than_one_unit() -> None:
    rng = np.random.default_rng(5)
    weights = (rng.standard_normal((4, 3)) * 10.0 ** rng.integers(-30, 30, (4, 3))).astype(np.float32)
    node = affine(integer_network(read_network(dense([(weights.tolist(), [0.0] * 4)]))), 1)
    for row, floored in zip(weights.tolist(), node.operands[0][0].weights, strict=True):
        for w, wf in zip(row, floored, strict=True):
            assert 0 <= Fraction(w) * ONE - wf < 1


def test_terms_that_double_without_end_are_refused() -> None:
    nodes = [helper.make_node("Add", [X if i == 0 else f"v{i}"] * 2, [f"v{i + 1}"]) for i in range(40)]
    nodes.append(helper.make_node("Identity", ["v40"], ["y"]))
    with pytest.raises(MalformedInput, match="more than 64"):
        network(nodes, {})


def test_a_concatenation_of_too_many_values_is_refused() -> None:
    nodes = [helper.make_node("Relu", [X], [f"r{i}"]) for i in range(100)]
    nodes.append(helper.make_node("Concat", [f"r{i}" for i in range(100)], ["y"], axis=1))
    with pytest.raises(MalformedInput, match="more than 64"):
        network(nodes, {})
