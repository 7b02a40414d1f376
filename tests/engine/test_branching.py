"""Scores of inputs: never negative, zero where an input has no say, and higher where splitting helps."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from farkas.engine.branching import sensitivity
from farkas.ir.core import Program
from tests.nets import SHAPES, Box, boxes, dense, seeds, varied
from tests.runtime_cuda.bounding import bounded


def scores(program: Program, *several: Box, weights: Any = None) -> Any:
    found = bounded(program, *several)
    rows = np.eye(program.output_size)
    chosen = np.ones((len(several), len(rows))) if weights is None else np.array(weights)
    made = found.worker.bound(found.refined.boxes, rows, None, (0, 1, 2))
    return sensitivity(found.net, found.refined, made, chosen)


@given(seeds, st.sampled_from(SHAPES), st.lists(boxes(2), min_size=1, max_size=3))
def test_scores_are_finite_and_not_negative(seed: int, shape: str, several: list[Box]) -> None:
    got = scores(varied(np.random.default_rng(seed), shape).program, *several)
    assert got.shape == (len(several), 2) and np.all(np.isfinite(got)) and np.all(got >= 0)
    widths = np.array([[float(u - l) for l, u in zip(*box, strict=True)] for box in several])
    assert np.all(got[widths == 0] == 0), "an input that is a point cannot be split"


def test_an_input_without_a_say_scores_zero_and_a_closed_row_counts_for_nothing() -> None:
    program = dense([([[1.0, 0.0], [0.0, 3.0]], [0.0, 0.0]), ([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])]).program
    box = ((Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1)))
    got = scores(program, box, box, weights=[[1.0, 0.0], [0.0, 1.0]])
    assert got[0, 0] > 0 and got[0, 1] == 0 and got[1, 0] == 0 and got[1, 1] > 0
    assert not scores(program, box, weights=[[0.0, 0.0]]).any()


def test_an_input_that_drives_the_looseness_scores_though_the_row_does_not_see_it() -> None:
    """y = relu(x0) with the lower slope 0 (u < -l) has no coefficient over x0, yet only splitting x0 helps."""
    program = dense([([[1.0, 0.0]], [-0.5]), ([[1.0]], [0.0])]).program
    box = ((Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1)))
    found = bounded(program, box)
    made = found.worker.bound(found.refined.boxes, np.array([[1.0]]), None, (0,))
    assert not made.inputs.any()
    got = sensitivity(found.net, found.refined, made, np.ones((1, 1)))
    assert got[0, 0] > 0 and got[0, 1] == 0
