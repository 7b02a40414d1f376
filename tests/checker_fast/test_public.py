"""Both kernels on a network of the public instances: every number along a path of bisections."""

from __future__ import annotations

import gzip
from pathlib import Path
from random import Random

import pytest

from farkas.checker.integer import integer_network
from farkas.checker.kernel import OPEN, Reference, ReferenceProver
from farkas.checker.network import read_network
from farkas.checker.plan import Recipe, RowGroup, Vector
from farkas.checker.prover import Step
from farkas.checker.query import Box, H
from farkas.checker_fast.kernel import Accelerated, AcceleratedPlanProver, AcceleratedProver
from farkas.checker_fast.matrices import Blocked
from tests.checker_fast.networks import children, claims
from tests.checker_fast.plans import Planner
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


@pytest.mark.vnncomp
@pytest.mark.parametrize(
    "name",
    [
        "oval21/onnx/cifar_base_kw.onnx.gz",
        "mnist_fc/onnx/mnist-net_256x4.onnx.gz",
    ],
)
def test_both_kernels_agree_on_plans_of_wide_networks(vnncomp: Path, name: str) -> None:
    """Two neurons a layer by their own slopes and pins, at the children of a split of each of them."""
    network = integer_network(read_network(gzip.decompress((vnncomp / name).read_bytes())))
    random = Random(9)
    rows = ReferenceProver(network, True, ())
    columns = tuple(sorted(random.sample(range(rows.first[-1]), 300)))
    fast = Accelerated().prepare_plan(network, True, columns)
    reference = Reference().prepare_plan(network, True, columns)
    assert isinstance(fast, AcceleratedPlanProver)
    middle = [random.randrange(1 << H) for _ in range(network.sizes[0])]
    box = Box(tuple(x - (1 << H - 7) for x in middle), tuple(x + (1 << H - 7) for x in middle))
    state, points = fast.begin([box]), reference.begin([box])
    assert differences(fast, state, points) == []

    def vector(top: int) -> Vector:
        pins = sorted(random.sample(range(top), min(top, 20)))
        return Vector(random.randbytes(300), tuple((g, random.choice((-1, 1)) << 16) for g in pins))

    layers = [1, len(rows.layers) - 1]
    open_now = [[j for j, low in enumerate(points[0].lower[v]) if low < 0 < points[0].upper[v][j]] for v in rows.layers]
    chosen = [tuple(sorted(random.sample(open_now[k], 2))) for k in layers]
    groups = [
        RowGroup(k, js, -1, tuple(vector(rows.first[k]) for _ in range(4)))
        for k, js in zip(layers, chosen, strict=True)
    ]
    recipe = Recipe(False, tuple(groups))
    split = [rows.first[k] + js[0] for k, js in zip(layers, chosen, strict=True)]
    steps = [Step(box, (g, active), recipe) for g in split for active in (False, True)]
    parents = fast.gather([(state, 0)] * len(steps)), reference.gather([(points, 0)] * len(steps))
    state, points = fast.advance(parents[0], steps), reference.advance(parents[1], steps)
    assert differences(fast, state, points) == []
    planner = Planner(random, ReferenceProver(network, True, (), columns), columns, 16, wild=False)
    asked = planner.claims(points)
    assert fast.close(state, [0, 1, 2, 3], asked) == reference.close(points, [0, 1, 2, 3], asked)
    assert fast.redone == 0
