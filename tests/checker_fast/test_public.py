"""Both kernels on a network of the public instances: every number along a path of bisections."""

from __future__ import annotations

import gzip
from pathlib import Path
from random import Random

import pytest

from farkas.checker.integer import integer_network
from farkas.checker.kernel import OPEN, Reference
from farkas.checker.network import read_network
from farkas.checker.query import Box, H
from farkas.checker_fast.kernel import Accelerated, AcceleratedProver
from farkas.checker_fast.matrices import Blocked
from tests.checker_fast.networks import children, claims
from tests.checker_fast.test_kernel import differences

# The input set of property 3 of ACAS Xu, rounded to multiples of 2^-32.
LOWER = (-0.30353115613746867, -0.009549296585513092, 0.4933803235848431, 0.3, 0.3)
UPPER = (-0.29855281193475053, 0.009549296585513092, 0.49999999998567607, 0.5, 0.5)


@pytest.mark.vnncomp
@pytest.mark.parametrize("rounded", [True, False])
def test_both_kernels_agree_on_acas_xu(vnncomp: Path, rounded: bool) -> None:
    path = vnncomp / "acasxu_2023" / "onnx" / "ACASXU_run2a_2_3_batch_2000.onnx.gz"
    network = integer_network(read_network(gzip.decompress(path.read_bytes())))
    fast, reference = Accelerated().prepare(network, rounded, (0,)), Reference().prepare(network, rounded, (0,))
    assert isinstance(fast, AcceleratedProver)
    random = Random(5)
    boxes = [Box(tuple(int(x * 2**H) for x in LOWER), tuple(int(x * 2**H) for x in UPPER))]
    state, points = fast.start(1), reference.start(1)
    for _ in range(12):
        state, points = fast.derive(state, boxes), reference.derive(points, boxes)
        assert differences(fast, state, points) == []
        rows = list(range(len(boxes)))
        asked = claims(random, reference, points, (5, 5), 2)
        assert fast.close(state, rows, asked) == reference.close(points, rows, asked)
        below = [
            (row, child)
            for row in rows
            if points[row].status == OPEN
            for child in children(random, boxes[row], rounded)
        ]
        below = random.sample(below, min(len(below), 3))
        boxes = [child for _, child in below]
        state = fast.gather([(state, row) for row, _ in below])
        points = reference.gather([(points, row) for row, _ in below])
    assert fast.redone == 0


@pytest.mark.vnncomp
@pytest.mark.parametrize(
    "name",
    [
        "oval21/onnx/cifar_base_kw.onnx.gz",
        "collins_rul_cnn_2023/onnx/NN_rul_small_window_20.onnx.gz",
    ],
)
def test_both_kernels_agree_on_convolutions(vnncomp: Path, name: str) -> None:
    """Intervals of every neuron and a few bounds of outputs; backward bounds of every neuron take minutes."""
    network = integer_network(read_network(gzip.decompress((vnncomp / name).read_bytes())))
    fast, reference = Accelerated().prepare(network, True, ()), Reference().prepare(network, True, ())
    assert isinstance(fast, AcceleratedProver)
    layers = [layer for layer in fast.plan.layers if layer is not None]
    assert any(isinstance(operand.weights, Blocked) for layer in layers for operand in layer.operands)
    random = Random(6)
    inputs = network.sizes[0]
    middle = [random.randrange(1 << H) for _ in range(inputs)]
    boxes = [Box(tuple(x - size for x in middle), tuple(x + size for x in middle)) for size in (1 << H - 8, 1 << H - 4)]
    state, points = fast.derive(fast.start(2), boxes), reference.derive(reference.start(2), boxes)
    assert differences(fast, state, points) == []
    rows = [0, 1, 1]
    asked = claims(random, reference, [points[row] for row in rows], (network.sizes[network.output], inputs), 2)
    assert fast.close(state, rows, asked) == reference.close(points, rows, asked)
    assert fast.redone == 0
