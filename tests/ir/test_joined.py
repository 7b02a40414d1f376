"""Joined networks compute what their parts compute."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.ir.algebra import Rational
from farkas.ir.core import run_exact
from farkas.ir.errors import FarkasError, MalformedNetwork, UnsupportedOperator
from farkas.ir.execute import execute
from farkas.ir.graph import Graph
from farkas.ir.joined import Part, join, single
from farkas.ir.lowering import build, lower
from tests.nets import EXACT_SHAPES, Net, dense, random_layers, seeds, varied
from tests.several import two_by_two

ORDERS = ("seq-muladd", "seq-fma", "mlas-k256-fma")


def parts_of(*nets: Net) -> list[Part]:
    return [Part(name, net.graph, net.data) for name, net in zip("fghij", nets, strict=False)]


def eighths(rng: np.random.Generator, size: int) -> list[Fraction]:
    return [Fraction(int(v), 8) for v in rng.integers(-16, 17, size)]


@given(seeds, st.lists(st.sampled_from(EXACT_SHAPES), min_size=2, max_size=3))
def test_a_joined_program_gives_the_outputs_of_its_parts_one_after_the_other(seed: int, shapes: list[str]) -> None:
    rng = np.random.default_rng(seed)
    nets = [varied(rng, shape, inputs=1 + i) for i, shape in enumerate(shapes)]
    points = [eighths(rng, net.program.input_size) for net in nets]
    wanted = [v for net, point in zip(nets, points, strict=True) for v in run_exact(net.program, point)]
    graph = join(parts_of(*nets))
    together = [v for point in points for v in point]
    assert list(run_exact(lower(graph), together)) == wanted
    ((name, _),), (output,) = graph.inputs, graph.outputs
    values = graph.evaluate(Rational(), {name: np.array(together, dtype=object)})
    assert list(values[output]) == wanted


@pytest.mark.parametrize("order", ORDERS)
def test_a_joined_network_runs_bit_by_bit_as_its_parts_do(order: str) -> None:
    rng = np.random.default_rng(1)
    nets = [dense(random_layers(rng, sizes, eighths=False)) for sizes in ((3, 7, 2), (2, 9, 4))]
    x = rng.standard_normal((5, 5)).astype(np.float32)
    wanted = np.hstack([execute(net.graph, part, order) for net, part in zip(nets, (x[:, :3], x[:, 3:]), strict=True)])
    found = execute(join(parts_of(*nets)), x, order)
    assert np.array_equal(found.view(np.int32), wanted.view(np.int32))


def test_two_copies_of_one_network_stand_side_by_side() -> None:
    net = dense([([[1.0, -2.0]], [0.5]), ([[3.0], [-1.0]], [0, 1])])
    program = lower(join(parts_of(net, net)))
    assert (program.input_size, program.output_size) == (4, 4)
    # relu(1 - 2 + .5) = 0 -> (0, 1); relu(2 + 2 + .5) = 9/2 -> (27/2, -7/2)
    assert list(run_exact(program, [Fraction(v) for v in (1, 1, 2, -1)])) == [0, 1, Fraction(27, 2), Fraction(-7, 2)]


def test_several_inputs_and_outputs_of_one_network_are_one_vector_each() -> None:
    net = two_by_two()
    program = lower(net.graph)
    assert (program.input_size, program.output_size) == (5, 5)
    # a = (1, 2): a wa' + ba = (-1/2, 7/2, -3/4), relu (0, 7/2, 0); b = (1, 0, -1): b wb' = (2, 3/2, -1)
    # y = (2, 5, -1); m = relu(a) - a = 0.  With a = (-1, 2): (-5/2, 5/2, 5/4) -> y = (2, 4, 1/4), m = (1, 0).
    exact = [Fraction(v) for v in (1, 2, 1, 0, -1)]
    assert list(run_exact(program, exact)) == [2, 5, -1, 0, 0]
    other = np.array([-1, 2, 1, 0, -1], dtype=np.float32)
    for order in ORDERS:
        assert execute(net.graph, other, order).tolist() == [2, 4, 0.25, 1, 0]


def test_a_network_with_one_input_and_one_output_joined_alone_is_itself() -> None:
    graph = dense([([[1.0]], [0.0])]).graph
    assert join([Part("f", graph, b"")]) is graph
    assert single(graph) is graph


def test_tensors_are_called_after_their_part_and_never_clash() -> None:
    net = dense([([[1.0]], [0.0])])
    odd = Graph.build(((":input", (1,)),), (), (":input", ":input"))
    names = set(join(parts_of(net, net)).shapes)
    assert {"f:x", "f:y", "g:x", "g:y"} <= names
    assert list(run_exact(lower(odd), [Fraction(3)])) == [3, 3]


def test_the_digest_names_every_part() -> None:
    f, g = dense([([[1.0]], [0.0])]), dense([([[2.0]], [0.0])])
    digests = {join(parts_of(*nets)).sha256 for nets in ((f, g), (g, f), (f, f), (f, f, g))}
    assert len(digests) == 4 and "" not in digests
    built = replace(f.graph, sha256="")
    assert join([Part("f", built, b""), Part("g", g.graph, b"")]).sha256 == ""


def test_networks_of_different_types_are_one_of_neither() -> None:
    single_precision, double = dense([([[1.0]], [0.0])]), dense([([[2.0]], [0.0])], dtype=np.float64)
    graph = join(parts_of(single_precision, double))
    assert graph.dtype == "float32 and float64"
    with pytest.raises(UnsupportedOperator, match="computes in float32 and float64"):
        execute(graph, np.zeros(2, dtype=np.float32), "seq-fma")


@pytest.mark.parametrize("names", [("f", "f"), ("f", ""), ("f", "g:h"), ()])
def test_names_that_do_not_tell_parts_apart_are_refused(names: tuple[str, ...]) -> None:
    graph = dense([([[1.0]], [0.0])]).graph
    with pytest.raises(FarkasError, match=r"names of their own|one network at least"):
        join([Part(name, graph, b"") for name in names])


def test_networks_of_integers_or_without_inputs_are_not_joined() -> None:
    graph = dense([([[1.0]], [0.0])]).graph
    quantised = replace(graph, elements={"y": "uint8"})
    with pytest.raises(UnsupportedOperator, match="'g' computes with integers"):
        join([Part("f", graph, b""), Part("g", quantised, b"")])
    with pytest.raises(MalformedNetwork, match="no inputs or no outputs"):
        join([Part("f", graph, b""), Part("g", Graph.build((), (), ()), b"")])


def test_core_nodes_of_several_inputs_have_no_single_start() -> None:
    with pytest.raises(UnsupportedOperator, match="2 inputs and 2 outputs"):
        build(two_by_two().graph)
