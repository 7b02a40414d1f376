"""Bounds of integer networks against all runs in a box of codes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.ir.integer import Codes, IntegerProgram, decoded, run_codes
from farkas.runtime_cuda.integer_crown import IntegerPropagator
from tests.encoders.integer_programs import random_program, with_maximum
from tests.nets import seeds


def top(program: IntegerProgram) -> int:
    """The largest input code."""
    node = program.nodes[0]
    assert isinstance(node, Codes)
    return node.high


@given(seeds, st.sampled_from([(2, 3, 2), (2, 4, 3, 3), (1, 5, 4, 2)]), st.booleans())
def test_bounds_contain_every_run(seed: int, sizes: tuple[int, ...], maximum: bool) -> None:
    rng = np.random.default_rng(seed)
    program = random_program(rng, sizes)
    if maximum:
        program = with_maximum(program)
    high = top(program)
    ends = np.sort(rng.integers(0, high + 1, (2, 2, program.input_size)), axis=0)
    low = ends[0]
    up = np.minimum(ends[1], low + 10)
    root = low.min(axis=0), up.max(axis=0)
    propagator = IntegerPropagator(program, *root)
    found = propagator.refine(low, up)
    rows = rng.integers(-2, 3, (4, program.output_size)).astype(float)
    bounded = propagator.bound(rows, found)
    for box in range(2):
        own = [np.arange(a, b + 1) for a, b in zip(low[box], up[box], strict=True)]
        codes = np.stack(np.meshgrid(*own, indexing="ij"), axis=-1).reshape(-1, program.input_size)
        values = run_codes(program, codes)
        for v, value in enumerate(values):
            assert (value >= found[v][0][box]).all()
            assert (value <= found[v][1][box]).all()
        outputs = decoded(program, values[program.output]).astype(np.float64)
        # Products of float32 numbers by small integers are exact in float64, and so are sums of three of them but for
        # the last bits.
        least = (outputs @ rows.T).min(axis=0)
        assert (bounded.value[box] <= least + 1e-9 * abs(outputs).max()).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_box_of_one_point_has_its_values_as_bounds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    program = random_program(rng, (3, 4, 3, 2))
    codes = rng.integers(0, top(program) + 1, (1, 3))
    propagator = IntegerPropagator(program, codes[0], codes[0])
    found = propagator.refine(codes, codes)
    values = run_codes(program, codes)
    for (low, high), value in zip(found, values, strict=True):
        assert (low == value).all()
        assert (high == value).all()
    outputs = decoded(program, values[-1]).astype(np.float64)
    assert propagator.bound(np.eye(2), found).value == pytest.approx(outputs, rel=1e-9, abs=1e-9)
