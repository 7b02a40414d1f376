"""Every operator: what it lowers to is what it means, on exact rationals."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.ir.algebra import Array, Rational, exact
from farkas.ir.binary32 import Binary32, parse_order
from farkas.ir.core import Affine, Program, run_exact, run_float
from farkas.ir.lowering import lower
from farkas.ir.op import Op
from farkas.ir.ops import OPS
from tests.agreement.reference import meaning, one_operator, values_and_radii
from tests.strategies import SAMPLES, rationals


def test_every_operator_has_a_sample_strategy() -> None:
    assert set(SAMPLES) == set(OPS)


@pytest.mark.parametrize("kind", OPS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_lowering_agrees_with_the_meaning_on_rationals(kind: type[Op], data: st.DataObject) -> None:
    sample = data.draw(SAMPLES[kind])
    program = lower(one_operator(sample.op, sample.shapes))
    x = data.draw(rationals(sum(math.prod(shape) for shape in sample.shapes)))
    found, wanted = run_exact(program, x), meaning(sample.op, sample.shapes, x)
    assert found.shape == wanted.shape == (math.prod(sample.op.infer(*sample.shapes)),)
    affine = [node for node in program.nodes if isinstance(node, Affine)]
    if all(node.rounding.relative == 0 for node in affine):
        assert (found == wanted).all()
        return
    # Inexact coefficients: within relative * (|W| |a| + magnitude) of the one node that has them.
    (node,) = [node for node in affine if node.rounding.relative]
    assert program.nodes[program.output] is node, "a radius behind other nodes would have to be carried through them"
    magnitude: Array = exact(node.magnitude)
    for term in node.terms:
        source = value_of(program, term.source, x)
        magnitude = magnitude + exact(abs(term.map.dense())) @ abs(source)
    radius = Rational().mul(exact(np.array(node.rounding.relative)), magnitude)
    assert (abs(found - wanted) <= radius).all()


def value_of(program: Program, node: int, x: list[Fraction]) -> Array:
    """The exact value of an inner node."""
    end = node + 1
    return run_exact(Program(program.nodes[:end], program.sizes[:end], node, program.names[:end]), x)


@pytest.mark.parametrize("kind", OPS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_structured_maps_compute_what_their_matrices_say(kind: type[Op], data: st.DataObject) -> None:
    # run_exact goes through `dense`, run_float through `mv`; the adjoint through `rmv`.
    sample = data.draw(SAMPLES[kind])
    program = lower(one_operator(sample.op, sample.shapes))
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    batch = generator.integers(-8, 9, (2, 3, program.input_size)) / 8
    values = run_float(program, batch)
    for node in program.nodes:
        if not isinstance(node, Affine):
            continue
        for term in node.terms:
            dense, source = term.map.dense(), values[term.source]
            assert dense.shape == (term.map.rows, term.map.cols)
            np.testing.assert_allclose(term.map.mv(source), source @ dense.T, rtol=1e-12, atol=1e-12)
            rows = generator.integers(-8, 9, (3, term.map.rows)) / 8
            np.testing.assert_allclose(term.map.rmv(rows), rows @ dense, rtol=1e-12, atol=1e-12)
            np.testing.assert_array_equal(term.map.absolute().dense(), abs(dense))
            moved = term.map.on(lambda array: array)
            np.testing.assert_array_equal(moved.rmv(rows), term.map.rmv(rows))
            np.testing.assert_array_equal(moved.mv(source), term.map.mv(source))


@pytest.mark.parametrize("order", ["seq-fma", "seq-muladd"])
@pytest.mark.parametrize("kind", OPS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_binary32_runs_lie_within_the_proven_error(kind: type[Op], order: str, data: st.DataObject) -> None:
    sample = data.draw(SAMPLES[kind])
    graph = one_operator(sample.op, sample.shapes)
    program = lower(graph)
    points = data.draw(rationals(program.input_size))
    x = np.array([float(v) for v in points], dtype=np.float32)
    found = graph.evaluate(Binary32(parse_order(order)), {"x": x})["y"]
    assert found.dtype == np.float32
    values, radii = values_and_radii(program, x.astype(np.float64))
    assert (abs(values[program.output] - found.ravel().astype(np.float64)) <= radii[program.output]).all()


@pytest.mark.parametrize("kind", OPS, ids=lambda kind: kind.__name__)
@settings(max_examples=10)  # what is asked depends on the kind of operator alone, nearly
@given(data=st.data())
def test_operators_without_rounding_have_radius_zero(kind: type[Op], data: st.DataObject) -> None:
    """Where denote rounds nothing in float32 arithmetic, lowering says so, and the other way round."""
    sample = data.draw(SAMPLES[kind])
    program = lower(one_operator(sample.op, sample.shapes))
    x = np.array([float(v) for v in data.draw(rationals(program.input_size))], dtype=np.float32).astype(np.float64)
    _, radii = values_and_radii(program, x)
    silent = {"Relu", "Neg", "Abs", "Clip", "Max", "Min", "MaxPool", "Reshape", "Transpose", "Expand", "Slice"}
    silent |= {"Gather", "Concat", "Pad", "Where"}
    counts = [node.rounding.count for node in program.nodes if isinstance(node, Affine)]
    assert (max(counts, default=0) == 0) == (kind.__name__ in silent)
    assert all(np.isfinite(radius).all() for radius in radii)
