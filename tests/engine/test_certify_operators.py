"""Networks with every kind of operator: what is certified is true, and both tiers of the checker accept it."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from onnx import helper

from farkas.checker.check import check
from farkas.checker.kernel import Reference
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.verdict import Holds
from farkas.engine.verify import verify
from farkas.ir.core import run_float
from farkas.specs.query import Semantics
from farkas.specs.vnnlib import read_property
from tests.checker.nets import vnnlib
from tests.engine.pieces import witness
from tests.models import make_model
from tests.nets import SHAPES, Net, varied

ENDS = [Fraction(-1)] * 2, [Fraction(1)] * 2


def outputs(net: Net, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The first output at each point, in float64: where to put thresholds."""
    return np.asarray(run_float(net.program, x)[net.program.output])[:, 0]


def settled(net: Net, unsafe: str, semantics: Semantics) -> tuple[str, Query]:
    """The verdict's word, with its certificate accepted by the reference tier when it is `unsat`."""
    text = vnnlib(*ENDS, net.program.output_size, unsafe)
    query = Query(net.graph, net.data, read_property(text), semantics, text)
    verdict = verify(query, Options(timeout_s=10.0, certify=True))
    if isinstance(verdict, Holds):
        assert verdict.certificate is not None
        accepted = check(
            verdict.certificate, net.data, text, semantics=semantics.value, verdict="unsat", kernel=Reference()
        )
        assert accepted.verdict == "unsat"
    return verdict.word, query


@pytest.mark.parametrize("semantics", [Semantics.REAL, Semantics.F32_ANY])
@pytest.mark.parametrize("shape", SHAPES)
def test_thresholds_around_the_minimum_are_decided_and_certified_as_they_should(
    shape: str, semantics: Semantics
) -> None:
    """y1 <= c, for c from far below the least y1 of 400 points to above it; exact enumeration has the last word."""
    words: Counter[str] = Counter()
    for seed in (1, 2):
        net = varied(np.random.default_rng(seed), shape)
        grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 20)] * 2), axis=-1).reshape(-1, 2)
        least = float(outputs(net, grid).min())
        for shift in (-2.0, -0.5, 0.5):
            c = Fraction(round((least + shift) * 8), 8)
            word, query = settled(net, f"(<= Y_0 {float(c)})", semantics)
            true = witness(net.program, query.property.cases[0])
            words[word] += 1
            if word == "unsat":
                assert true is None
            if shift > 0:
                assert word == "sat"
    assert words["unsat"] >= 2


def test_a_normalised_and_pooled_image_network_is_certified() -> None:
    """Conv, BatchNormalization, LeakyRelu, MaxPool, ConvTranspose, AveragePool: 1 below the least sample."""
    rng = np.random.default_rng(11)
    weights = {
        "k": rng.normal(size=(2, 1, 3, 3)), "s": [1.5, -0.5], "b": [0.1, 0.2], "m": [0.3, -0.2], "v": [0.7, 0.4],
        "t": rng.normal(size=(2, 1, 2, 2)), "w": rng.normal(size=(1, 4)), "o": rng.normal(size=(1,)),
    }  # fmt: skip
    constants = {name: np.asarray(value, dtype=np.float32) for name, value in weights.items()}
    constants |= {"image": np.array([1, 1, 1, 2]), "pads": np.array([0, 0, 1, 1, 0, 0, 2, 1])}
    node = helper.make_node
    nodes = [
        node("Reshape", ["x", "image"], ["i"]),
        node("Pad", ["i", "pads"], ["p"]),
        node("Conv", ["p", "k"], ["c"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"]),
        node("LeakyRelu", ["n"], ["l"], alpha=0.1),
        node("MaxPool", ["l"], ["h"], kernel_shape=[2, 2], strides=[2, 2]),
        node("ConvTranspose", ["h", "t"], ["u"], strides=[2, 2]),
        node("Relu", ["u"], ["r"]),
        node("AveragePool", ["r"], ["a"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["a"], ["f"]),
        node("Gemm", ["f", "w", "o"], ["y"], transB=1),
    ]
    net = Net(make_model(nodes, {"x": [1, 2]}, constants, opset=13))
    least = float(outputs(net, np.random.default_rng(2).uniform(-1, 1, (300, 2))).min())
    for semantics in (Semantics.REAL, Semantics.F32_ANY):
        word, _ = settled(net, f"(<= Y_0 {least - 1.0:.4f})", semantics)
        assert word == "unsat"
    word, _ = settled(net, f"(<= Y_0 {least + 0.01:.4f})", Semantics.F32_ANY)
    assert word == "sat"
