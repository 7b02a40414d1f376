"""int8 networks made by onnxruntime's quantiser from float networks that are trained here, by NumPy."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.quantise import quantised
from tests.nets import Layer, Net, dense


def trained(rng: np.random.Generator, sizes: tuple[int, ...], target: Any, steps: int = 400) -> list[Layer]:
    """A float network fitted to `target` on [-1, 1]^n by gradient descent with momentum."""
    weights = [rng.standard_normal((m, k)) * np.sqrt(2 / k) for k, m in pairwise(sizes)]
    biases = [np.zeros(m) for m in sizes[1:]]
    speed = [np.zeros_like(w) for w in (*weights, *biases)]
    for _ in range(steps):
        x = rng.uniform(-1, 1, (64, sizes[0]))
        values = [x]
        for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
            z = values[-1] @ w.T + b
            values.append(z if k == len(weights) - 1 else np.maximum(z, 0))
        error = (values[-1] - target(x)) / len(x)
        gradients: list[np.ndarray] = []
        for k in reversed(range(len(weights))):
            gradients = [error.T @ values[k], error.sum(axis=0), *gradients]
            error = (error @ weights[k]) * (values[k] > 0)
        for own, gradient, v in zip((*weights, *biases), (*gradients[::2], *gradients[1::2]), speed, strict=True):
            v *= 0.9
            v -= 0.05 * gradient
            own += v
    return [(w.astype(np.float32), b.astype(np.float32)) for w, b in zip(weights, biases, strict=True)]


NAMES = ("saddle", "waves", "corner")


@cache
def float_network(name: str) -> Net:
    """2-8-8-2, 3-12-12-3 and 4-10-10-2."""
    rng = np.random.default_rng(len(name))
    match name:
        case "saddle":
            target, sizes = (lambda x: np.stack([x[:, 0] * x[:, 1], x[:, 0] - x[:, 1]], axis=1)), (2, 8, 8, 2)
        case "waves":
            target, sizes = (lambda x: np.sin(2 * x) + x[:, ::-1]), (3, 12, 12, 3)
        case _:
            target, sizes = (lambda x: np.stack([x.max(axis=1), x.sum(axis=1) / 2], axis=1)), (4, 10, 10, 2)
    return dense(trained(rng, sizes, target))


@cache
def network(name: str) -> Net:
    """The quantised networks: QDQ U8U8, QDQ S8S8, and QLinear operators U8U8."""
    own = float_network(name)
    points = np.random.default_rng(1).uniform(-1, 1, (128, 1, own.program.input_size))
    return Net(quantised(own.data, points, operators=name == "corner", signed=name == "waves"))
