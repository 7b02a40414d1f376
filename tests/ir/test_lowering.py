"""Summation groups: what an Add takes over, and which counts and magnitudes result."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.ir.core import Affine, Program, Relu, run_exact
from farkas.ir.errors import UnsupportedOperator
from farkas.ir.graph import Graph, Node
from farkas.ir.lowering import build, lower
from farkas.ir.op import Op
from farkas.ir.ops.activation import Abs, Max
from farkas.ir.ops.activation import Relu as ReluOp
from farkas.ir.ops.affine import Add, LeftProduct, Linear, Sub
from farkas.ir.ops.convolution import Conv, ConvTranspose
from farkas.ir.ops.movement import Reshape
from farkas.ir.ops.pooling import AveragePool, MaxPool, Reduce
from farkas.ir.ops.scaling import Scale
from farkas.ir.windows import Windows
from tests.agreement.reference import values_and_radii
from tests.models import weights

X = (("x", (1, 4)),)


def output_of(*nodes: Node) -> Affine:
    """The Affine node that computes the last surface node."""
    program = lower(Graph.build(X, nodes, (nodes[-1].name,)))
    node = program.nodes[program.output]
    assert isinstance(node, Affine)
    return node


def product(name: str, source: str = "x", bias: float | None = None) -> Node:
    """A 4 x 4 product; every entry of its bias is `bias`."""
    b = None if bias is None else np.full(4, bias, dtype=np.float32)
    return Node(name, Linear(weights((4, 4)), b), (source,))


def test_a_product_counts_its_products_and_its_bias() -> None:
    assert output_of(product("p")).rounding.count == 4
    assert output_of(product("p", bias=1.0)).rounding.count == 5


def test_an_add_takes_over_the_product_before_it() -> None:
    constant = np.full(4, -3.0, dtype=np.float32)
    node = output_of(product("p", bias=1.0), Node("y", Add(constant), ("p",)))
    assert node.rounding.count == 6
    assert len(node.terms) == 1
    np.testing.assert_array_equal(node.bias, np.full(4, -2.0))


def test_magnitudes_of_biases_are_added_and_never_cancelled() -> None:
    # 2^24 and -2^24 cancel in the bias; a float sum may still pass through 2^24, with an error of 1.
    constant = np.full(4, -(2.0**24), dtype=np.float32)
    node = output_of(product("p", bias=2.0**24), Node("y", Add(constant), ("p",)))
    np.testing.assert_array_equal(node.bias, np.zeros(4))
    assert (node.magnitude >= 2.0**25).all()


@given(st.lists(st.floats(-(2.0**40), 2.0**40, width=32, allow_subnormal=False), min_size=2, max_size=40))
def test_biases_of_a_long_chain_of_adds_lie_within_the_stated_radius(constants: list[float]) -> None:
    nodes = [product("p0", bias=2.0**-60)]
    for i, value in enumerate(constants):
        nodes.append(Node(f"p{i + 1}", Add(np.full(4, value, dtype=np.float32)), (f"p{i}",)))
    node = output_of(*nodes)
    terms = [Fraction(v) for v in (2.0**-60, *constants)]
    radius = Fraction(node.rounding.relative) * Fraction(float(node.magnitude[0]))
    assert abs(Fraction(float(node.bias[0])) - sum(terms)) <= radius
    assert Fraction(float(node.magnitude[0])) >= sum(abs(term) for term in terms)
    assert node.rounding.count == 5 + len(constants)


def test_an_add_merges_products_through_other_adds_and_counts_other_operands_once() -> None:
    nodes = (product("p"), product("q", bias=1.0), Node("r", ReluOp(), ("x",)))
    node = output_of(*nodes, Node("s", Add(), ("p", "r")), Node("y", Add(), ("s", "q")))
    assert node.rounding.count == 4 + 1 + 5
    assert len(node.terms) == 3


def test_the_same_tensor_added_twice_is_two_terms() -> None:
    node = output_of(product("p"), Node("y", Add(), ("p", "p")))
    assert node.rounding.count == 8
    assert len(node.terms) == 2


def test_a_product_that_is_also_read_elsewhere_keeps_its_own_node() -> None:
    nodes = (product("p"), Node("r", ReluOp(), ("p",)), Node("s", Add(), ("p", "r")), Node("y", ReluOp(), ("s",)))
    program = lower(Graph.build(X, nodes, ("y",)))
    assert [type(node) for node in program.nodes[1:]] == [Affine, Relu, Affine, Relu]
    assert program.names == ("input", "p", "r", "s", "y")


def test_a_product_read_only_by_an_add_leaves_no_node() -> None:
    nodes = (product("p"), Node("y", Add(np.ones(4, dtype=np.float32)), ("p",)))
    assert len(lower(Graph.build(X, nodes, ("y",))).nodes) == 2


def test_a_reshape_between_product_and_add_does_not_part_them() -> None:
    nodes = (product("p"), Node("f", Reshape((4,)), ("p",)))
    assert output_of(*nodes, Node("y", Add(np.ones(4, dtype=np.float32)), ("f",))).rounding.count == 5


def test_sub_scale_and_max_are_groups_of_their_own() -> None:
    one = np.ones(4, dtype=np.float32)
    for op, count in ((Sub(one), 2), (Scale(one), 1), (Scale(3 * one, divide=True), 2), (Max(one), 0), (Abs(), 0)):
        node = output_of(product("p"), Node("y", op, ("p",)))
        assert node.rounding.count == count
        merged = output_of(product("p"), Node("q", op, ("p",)), Node("y", Add(one), ("q",)))
        assert merged.rounding.count == 2, "an addend and a constant"


def test_a_broadcast_product_is_merged_with_its_terms_repeated() -> None:
    small = Node("p", Linear(weights((1, 4)), np.array([2.0], dtype=np.float32)), ("x",))
    node = output_of(small, Node("y", Add(), ("p", "x")))
    assert node.rounding.count == 5 + 1
    np.testing.assert_array_equal(node.bias, np.full(4, 2.0))
    np.testing.assert_array_equal(node.terms[0].map.dense(), np.repeat(weights((1, 4)).astype(np.float64), 4, axis=0))
    rows = np.arange(8.0).reshape(2, 4)
    np.testing.assert_allclose(node.terms[0].map.rmv(rows), rows @ node.terms[0].map.dense(), rtol=1e-14)
    np.testing.assert_array_equal(node.terms[0].map.absolute().dense(), abs(node.terms[0].map.dense()))


def test_a_convolution_counts_channels_times_places_and_bias() -> None:
    kernel, bias = weights((1, 3, 2, 6)), weights((3,))
    nodes = (Node("c", Conv(kernel, bias, Windows((3, 2))), ("x",)),)
    program = lower(Graph.build((("x", (1, 2, 5, 5)),), nodes, ("c",)))
    node = program.nodes[program.output]
    assert isinstance(node, Affine)
    assert node.rounding.count == 2 * 6 + 1


def test_quotients_that_are_no_float64_numbers_carry_a_radius_that_covers_them() -> None:
    divisors = np.array([3.0, 7.0, 10.0, 1.5], dtype=np.float32)
    node = output_of(Node("y", Scale(divisors, divide=True), ("x",)))
    stored = np.diag(node.terms[0].map.dense())
    for value, divisor in zip(stored.tolist(), divisors.tolist(), strict=True):
        true = 1 / Fraction(divisor)
        assert 0 < abs(Fraction(value) - true) <= Fraction(node.rounding.relative) * true
    powers = output_of(Node("y", Scale(np.array([2.0, -0.5, 4.0, 1.0], dtype=np.float32), divide=True), ("x",)))
    assert powers.rounding.relative == 0.0


def test_means_over_powers_of_two_are_exact() -> None:
    assert output_of(Node("y", Reduce((1,), mean=True, keep=True), ("x",))).rounding.relative == 0.0
    three = (("x", (1, 3)),)
    program = lower(Graph.build(three, (Node("y", Reduce((1,), mean=True, keep=True), ("x",)),), ("y",)))
    node = program.nodes[program.output]
    assert isinstance(node, Affine)
    assert 0 < node.rounding.relative <= 2.0**-52


def relu_depth(program: Program) -> int:
    depth: list[int] = []
    for node in program.nodes:
        match node:
            case Affine(terms=terms):
                depth.append(max(depth[term.source] for term in terms))
            case Relu(source=source):
                depth.append(depth[source] + 1)
            case _:
                depth.append(0)
    return depth[program.output]


def test_max_pooling_is_a_tree_of_pairwise_maxima() -> None:
    nodes = (Node("y", MaxPool(Windows((3, 3))), ("x",)),)
    program = lower(Graph.build((("x", (1, 1, 3, 3)),), nodes, ("y",)))
    assert relu_depth(program) == 4  # 9 -> 5 -> 3 -> 2 -> 1
    assert run_exact(program, [Fraction(v, 7) for v in (3, -1, 4, 1, -5, 9, 2, -6, 5)]).tolist() == [Fraction(9, 7)]


def test_nodes_that_start_or_end_at_several_tensors_are_built_from_a_joined_graph_only() -> None:
    two = Graph.build((("x", (4,)), ("z", (4,))), (Node("y", Add(), ("x", "z")),), ("y",))
    with pytest.raises(UnsupportedOperator, match="2 inputs and 1 outputs"):
        build(two)
    many = Graph.build(X, (product("p"), product("q")), ("p", "q"))
    with pytest.raises(UnsupportedOperator, match="1 inputs and 2 outputs"):
        build(many)
    assert run_exact(lower(two), [Fraction(v) for v in (1, 2, 3, 4, 5, 6, 7, 8)]).tolist() == [6, 8, 10, 12]


def count_of(op: Op, shape: tuple[int, ...]) -> int:
    program = lower(Graph.build((("x", shape),), (Node("y", op, ("x",)),), ("y",)))
    node = program.nodes[program.output]
    assert isinstance(node, Affine)
    return node.rounding.count


def test_counts_are_those_of_the_longest_evaluation() -> None:
    image = (1, 2, 4, 4)
    four = Windows((2, 2))
    # Sums of k elements; a mean adds a division, or a rounded reciprocal and a product.
    assert count_of(Reduce((1,), mean=False, keep=True), (2, 5)) == 5
    assert count_of(Reduce((1,), mean=True, keep=True), (2, 5)) == 7
    assert count_of(AveragePool(four), image) == 6
    assert count_of(MaxPool(four), image) == 0
    # A transposed convolution: 2 channels at 4 places, and the bias.
    kernel = weights((1, 2, 3, 4))
    assert count_of(ConvTranspose(kernel, weights((3,)), four, (5, 5)), image) == 9
    # Gemm: 4 products, a bias, one scaling of each; scaling by 2.5 magnifies what underflows, so all counts triple.
    bias = weights((3,))
    assert count_of(Linear(weights((3, 4)), bias, alpha=0.5), (1, 4)) == 6
    assert count_of(Linear(weights((3, 4)), bias, alpha=0.5, beta=0.5), (1, 4)) == 7
    assert count_of(Linear(weights((3, 4)), bias, alpha=2.5, beta=0.5), (1, 4)) == 21
    assert count_of(LeftProduct(weights((3, 4))), (4, 2)) == 4


def test_scaling_a_group_magnifies_its_underflow_within_the_bound() -> None:
    # alpha = 2^10, products that all underflow under flush-to-zero: the float result is 0, the real one alpha sum w x.
    weight = np.full((1, 4), 2.0**-80, dtype=np.float32)
    program = lower(Graph.build(X, (Node("y", Linear(weight, None, alpha=2.0**10), ("x",)),), ("y",)))
    x = np.full(4, 2.0**-47)  # products of 2^-127, below the smallest normal number 2^-126
    values, radii = values_and_radii(program, x)
    assert values[program.output].item() == 2.0**10 * 4 * 2.0**-127
    assert radii[program.output].item() >= values[program.output].item()
