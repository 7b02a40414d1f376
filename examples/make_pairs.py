"""Writes three more networks to `examples/networks`: `python -m examples.make_pairs [FOLDER]`.

loans         4-12-8-2   refuse or grant, from income, debt, age and group, all in [0, 1]
wave_rounded  2-16-16-1  `wave` with its weights rounded to multiples of 1/256: a copy that should do the same
wave_int8     2-16-16-1  `wave` as onnxruntime's quantisation makes it, with 8-bit weights and activations

The loans of the training data were granted by income and debt alone, but the groups differ in income, and the decisions
are noisy: what the network makes of the group is for a specification to say.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from examples.make_networks import gemm_chain
from examples.training import Array, Writer, mlp, of_cross_entropy, run, train

STEP = 256


def applicants(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Income, debt, age and group of people, (count, 4), and whether they were granted a loan, one-hot."""
    group = rng.integers(0, 2, size=count).astype(float)
    income = np.clip(rng.normal(0.45 + 0.15 * group, 0.2), 0.0, 1.0)
    debt, age = rng.uniform(size=(2, count))
    granted = income - 0.5 * debt + rng.normal(0.0, 0.05, size=count) > 0.25
    return np.stack([income, debt, age, group], axis=1), np.eye(2)[granted.astype(int)]


def loans(folder: Path) -> str:
    """Decides about loans."""
    rng = np.random.default_rng(7)
    people, granted = applicants(rng, 8000)
    layers = mlp(rng, 4, 12, 8, 2)
    train(rng, layers, people, granted, of_cross_entropy, steps=2000)
    writer = Writer()
    writer.save(str(folder / "loans.onnx"), (1, 4), 2, gemm_chain(writer, layers, "input", "scores"))
    right = (run(layers, people).argmax(axis=1) == granted.argmax(axis=1)).mean()
    return f"loans: {right:.1%} right"


def wave_rounded(folder: Path) -> str:
    """Rounds the weights of `wave`."""
    network = onnx.load(folder / "wave.onnx")
    for constant in network.graph.initializer:
        values = np.round(numpy_helper.to_array(constant) * STEP) / STEP
        constant.CopyFrom(numpy_helper.from_array(values.astype(np.float32), constant.name))
    network.graph.name = "wave_rounded"
    onnx.save(network, folder / "wave_rounded.onnx")
    return f"wave_rounded: multiples of 1/{STEP}"


def wave_int8(folder: Path) -> str:
    """Quantises `wave`, calibrated on points of its square."""
    from onnxruntime import quantization

    points = np.random.default_rng(8).uniform(-2.0, 2.0, size=(200, 1, 2)).astype(np.float32)

    class Points(quantization.CalibrationDataReader):  # type: ignore[misc]  # untyped
        def __init__(self) -> None:
            self.points = iter(points)

        def get_next(self) -> Any:
            point = next(self.points, None)
            return None if point is None else {"input": point}

    place = folder / "wave_int8.onnx"
    quantization.quantize_static(
        str(folder / "wave.onnx"), str(place), Points(), quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
    )  # fmt: skip
    return "wave_int8: 8 bits"


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "networks"
    for make in (loans, wave_rounded, wave_int8):
        print(make(place))
