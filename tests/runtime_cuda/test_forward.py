"""Lines carried forward: they enclose every execution, and are as tight as their triangles where that is known."""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farkas.ir.core import Affine, Program, Relu
from farkas.runtime_cuda import crown, prepared
from farkas.runtime_cuda.backend import Backend, numpy_backend
from farkas.runtime_cuda.crown import ADAPTIVE, PARALLEL, ZERO, lines
from farkas.runtime_cuda.forward import Sieve
from farkas.runtime_cuda.prepared import Prepared
from tests.nets import SHAPES, Box, boxes, dense, seeds, varied
from tests.runtime_cuda.bounding import Bounded, bounded
from tests.runtime_cuda.executions import Exact, binary32, outside, points


@pytest.fixture(autouse=True, scope="module")
def small_maps_are_no_matrices() -> Iterator[None]:
    """The networks here are small, and stand for wide ones."""
    with patch.object(prepared, "DENSIFIED", 0):
        yield


shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
rules = st.sampled_from([ADAPTIVE, ZERO, PARALLEL])


def carried(found: Bounded, rule: int) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Bounds (n,) of every Affine node by lines alone, over the bounds of `found`, which serve the Relus."""
    net: Prepared = found.net
    to_numpy, known = net.backend.to_numpy, found.refined.boxes
    sieve = Sieve(net, known.x_lower, known.x_upper)
    bounds = {}
    for v, node in enumerate(net.nodes):
        if isinstance(node, Relu):
            l, u = known.lower[node.source], known.upper[node.source]
            line = lines(net.backend.xp, l, u, (rule,), net.widest)
            sieve.relu(v, node.source, line.lower[0], line.upper, line.intercept)
        elif isinstance(node, Affine):
            low, high = sieve.affine(v, known.error[v])
            bounds[v] = to_numpy(low)[0], to_numpy(high)[0]
    return bounds


@shared
@given(seeds, st.sampled_from(SHAPES), boxes(2), rules, st.booleans())
def test_lines_contain_every_real_and_every_binary32_execution(
    backend: Backend, seed: int, shape: str, box: Box, rule: int, rounded: bool
) -> None:
    program = varied(np.random.default_rng(seed), shape, eighths=not rounded).program
    bounds = carried(bounded(program, box, binary32=rounded, backend=backend), rule)
    exact, numbers = Exact(program), random.Random(seed)
    for x in points(*box, numbers, 4):
        values = exact.run_in_some_order(binary32(x), numbers) if rounded else exact.run(x)
        assert not [bad for v, (low, high) in bounds.items() for bad in outside(low, high, values[v])]


def test_lines_of_a_triangle_have_its_width() -> None:
    """y = relu(x) - x on [-1, 3]: x <= relu(x) <= 3/4 (x + 1), so y lies in [0, 3/4 - x/4] = [0, 1]; intervals: 4."""
    program: Program = dense([([[1.0], [1.0]], [0.0, 9.0]), ([[1.0, -1.0]], [9.0])]).program
    found = bounded(program, ((Fraction(-1),), (Fraction(3),)))
    low, high = carried(found, ADAPTIVE)[program.output]
    np.testing.assert_allclose([low[0], high[0]], [0.0, 1.0], atol=1e-9)


def test_a_fixed_input_has_no_part_in_the_lines() -> None:
    program = dense([([[1.0, 5.0]], [0.0])]).program
    found = bounded(program, ((Fraction(-1), Fraction(2)), (Fraction(3), Fraction(2))))
    sieve = Sieve(found.net, found.refined.boxes.x_lower, found.refined.boxes.x_upper)
    assert sieve.kept[0].mean.shape == (1, 2, 2)  # a constant and one free input, of two inputs
    low, high = sieve.affine(1, found.refined.boxes.error[1])
    np.testing.assert_allclose([low[0, 0], high[0, 0]], [9.0, 13.0], atol=1e-9)


@shared
@given(seeds, st.sampled_from(["conv", "pool"]), boxes(2))
def test_the_sieve_never_loosens_a_bound(backend: Backend, seed: int, shape: str, box: Box) -> None:
    """Intervals alone are looser than what a sieve leaves of them, neuron by neuron, up to their own rounding."""
    program = varied(np.random.default_rng(seed), shape).program
    with_lines = bounded(program, box, backend=backend)
    plain = bounded(program, box, rules=(), backend=backend)
    assert np.all(with_lines.flat()[0] >= plain.flat()[0] - 1e-9)
    assert np.all(with_lines.flat()[1] <= plain.flat()[1] + 1e-9)


def test_more_free_inputs_than_a_few_are_bounded_without_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    program = varied(np.random.default_rng(4), "conv").program
    box = ((Fraction(-1), Fraction(0)), (Fraction(1), Fraction(2)))
    monkeypatch.setattr(crown, "FEW", 1)
    monkeypatch.setattr(crown, "Sieve", None)  # would fail if it were made
    assert np.all(np.isfinite(bounded(program, box, backend=numpy_backend()).flat()[0]))
