"""Linear models by hand, and the ways to encode a network exactly."""

from __future__ import annotations

from itertools import product

import numpy as np

from farkas.encoders.linear_model import Group, LinearModel, ModelBuilder, rows_of
from farkas.encoders.relu_network import EncodingOptions, Errors, Maxima, Phases

INF = float("inf")
INTEGRAL: tuple[Phases, ...] = ("big-m", "multiple-choice")
MAXIMA: tuple[Maxima, ...] = ("chain", "big-m", "multiple-choice")
ERRORS: tuple[Errors, ...] = ("rows", "columns")
WAYS = [EncodingOptions(*way) for way in product(INTEGRAL, MAXIMA, ERRORS)]


def model(cost: list[float], rows: list[list[float]], lower: list[float], upper: list[float], *, top: float = 10.0,
          integral: bool = False) -> LinearModel:  # fmt: skip
    """min cost x, lower <= rows x <= upper, 0 <= x <= top."""
    builder = ModelBuilder()
    columns = [
        builder.add_columns(Group("x", -1, (j,)), 0.0, top, cost=c, integral=integral)[0] for j, c in enumerate(cost)
    ]
    part = rows_of(np.broadcast_to(columns, (len(rows), len(columns))), rows)
    builder.add_rows(Group("row", -1, tuple(range(len(rows)))), part, np.array(lower), np.array(upper))
    return builder.build()


def market_split() -> LinearModel:
    """Equal halves by five weights at once: a class that branch and bound only enumerates (Cornuéjols and Dawande)."""
    rng = np.random.default_rng(1)
    weights = rng.integers(0, 100, (5, 40)).astype(float)
    half = np.floor(weights.sum(axis=1) / 2).tolist()
    return model([1.0] * 40, weights.tolist(), half, half, top=1.0, integral=True)


def knapsack() -> LinearModel:
    """max 5 a + 4 b + 3 c with weights 2, 3, 1 and room for 5: 9 with a and b; the relaxation has more."""
    return model([-5.0, -4.0, -3.0], [[2.0, 3.0, 1.0]], [-INF], [5.0], top=1.0, integral=True)
