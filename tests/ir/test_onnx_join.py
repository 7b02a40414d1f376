"""Joined ONNX files against their parts, in onnxruntime and in our own graphs."""

from __future__ import annotations

from fractions import Fraction as Q
from math import prod
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from farkas.checker.network import read_network
from farkas.ir.algebra import Rational
from farkas.ir.errors import FarkasError, UnsupportedOperator
from farkas.ir.execute import execute
from farkas.ir.onnx_edit import is_real_only, prepend_affine
from farkas.ir.onnx_import import load_onnx
from farkas.ir.onnx_join import FilePart, Head, join_files
from tests.ir.test_onnx_edit import network, run
from tests.models import AnyArray
from tests.several import two_by_two

ROOT = Path(__file__).resolve().parents[2]


def values_of(data: bytes, x: AnyArray) -> AnyArray:
    """All outputs of a network on its flat inputs, in onnxruntime."""
    graph = load_onnx(data)
    ends = np.cumsum([0, *(prod(shape) for _, shape in graph.inputs)])
    inputs = {
        name: x[start:stop].reshape(shape)
        for (name, shape), start, stop in zip(graph.inputs, ends, ends[1:], strict=False)
    }
    return np.concatenate([found.ravel() for found in run(data, inputs)])


def part(name: str, data: bytes, *columns: int) -> FilePart:
    graph = load_onnx(data)
    return FilePart(name, data, columns, sum(prod(graph.shapes[output]) for output in graph.outputs))


@given(st.data())
def test_a_joined_file_has_the_values_of_its_parts(data: st.DataObject) -> None:
    """Two copies of one network and another one, over five values that they share at will; the values are multiples
    of 1/8 and exact in binary32 in any order."""
    first, other = network(), two_by_two().data
    numbers = st.integers(-16, 16).map(lambda n: n / 8)
    x = np.array(data.draw(st.lists(numbers, min_size=5, max_size=5)), dtype=np.float32)
    sizes = {"f": 6, "g": 5, "h": 6}
    chosen = {k: data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)) for k, n in sizes.items()}
    parts = [part("f", first, *chosen["f"]), part("g", other, *chosen["g"]), part("h", first, *chosen["h"])]
    wanted = [values_of(p.data, x[list(p.columns)]) for p in parts]
    passed = data.draw(st.lists(st.integers(0, 4), max_size=3))
    joined = join_files(parts, 5, Head(tuple(passed)))
    expected = np.concatenate([*wanted, x[passed]])
    assert run(joined, {"X": x})[0].tolist() == expected.tolist()
    onnx.checker.check_model(joined)
    graph = load_onnx(joined)
    assert execute(graph, x, "seq-muladd").ravel().tolist() == expected.tolist()
    assert graph.shapes[graph.outputs[0]] == (len(expected),)
    assert not is_real_only(joined)
    assert len([t for t in onnx.load_from_string(joined).graph.initializer if t.name.endswith(":w")]) == 1


@given(st.data())
def test_products_are_those_of_inputs_and_outputs(data: st.DataObject) -> None:
    x = np.array(data.draw(st.lists(st.integers(-4, 4), min_size=6, max_size=6)), dtype=np.float32) / 2
    products = data.draw(st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=4), min_size=1, max_size=5))
    joined = join_files([part("", network(), *range(6))], 6, Head((2,), tuple(map(tuple, products))))
    y = values_of(network(), x)
    everything = [Q(float(v)) for v in (*x, *y)]
    wanted = [*map(float, y), float(x[2]), *(float(prod((everything[k] for k in p), start=Q(1))) for p in products)]
    assert run(joined, {"X": x})[0].tolist() == wanted
    assert is_real_only(joined)
    onnx.checker.check_model(joined)


def test_what_preserves_the_reals_only_stays_so() -> None:
    edited = prepend_affine(network(), "x", [[Q(1, 3)]] * 4, [Q(0)] * 4)
    assert is_real_only(join_files([part("", edited, 0, 1, 2)], 3))


def test_the_checker_reads_joined_files() -> None:
    joined = join_files([part("f", network(), *range(6)), part("g", two_by_two().data, 0, 1, 2, 3, 4)], 6, Head((0,)))
    program = read_network(joined)
    assert program.sizes[0] == 6 and program.sizes[program.output] == 4 + 5 + 1


def test_the_examples_join_with_themselves() -> None:
    """Over the reals, on a point with a fourth in every entry."""
    files = sorted((ROOT / "examples" / "networks").glob("*.onnx"))
    joined = 0
    for path in files:
        data = path.read_bytes()
        graph = load_onnx(data)
        n = sum(prod(shape) for _, shape in graph.inputs)
        if graph.elements or graph.dtype != "float32" or n > 100:
            continue
        made = load_onnx(join_files([part("a", data, *range(n)), part("b", data, *range(n))], n))
        found = made.evaluate(Rational(), {"X": np.array([Q(1, 4)] * n, dtype=object)})[made.outputs[0]].ravel()
        inputs = {name: np.array([Q(1, 4)] * prod(shape), dtype=object) for name, shape in graph.inputs}
        alone = graph.evaluate(Rational(), inputs)
        wanted = [value for name in graph.outputs for value in alone[name].ravel()]
        assert list(found) == [*wanted, *wanted], path.name
        joined += 1
    assert joined >= 3


def test_parts_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(UnsupportedOperator, match="versions 13 and 11 of the operators"):
        join_files([part("f", network(), *range(6)), part("g", network(opset=11), *range(6))], 6)
    with pytest.raises(UnsupportedOperator, match="element types 1, 11"):
        join_files([part("f", network(), *range(6)), part("g", network(dtype=np.float64), *range(6))], 6)
    with pytest.raises(FarkasError, match="names of their own"):
        join_files([part("f", network(), *range(6))] * 2, 6)
    with pytest.raises(FarkasError, match="has 6 input values; found 5 places"):
        join_files([FilePart("", network(), (0, 1, 2, 3, 4), 4)], 6)
    with pytest.raises(FarkasError, match="at least two factors"):
        join_files([part("", network(), *range(6))], 6, Head((), ((1,),)))
    inner = helper.make_graph([], "inner", [], [helper.make_tensor_value_info("one", TensorProto.FLOAT, [1])])
    inner.initializer.append(numpy_helper.from_array(np.ones(1, dtype=np.float32), "one"))
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    model = helper.make_model(helper.make_graph([node], "if", [x], [y]), opset_imports=[helper.make_opsetid("", 13)])
    with pytest.raises(UnsupportedOperator, match="graphs inside its nodes"):
        join_files([FilePart("", model.SerializeToString(), (0,), 1)], 1)
