"""Rows carried as patches against the same rows carried whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farkas.ir.convolution import Conv2d
from farkas.ir.core import Affine, CoreOp, Input, Program, Relu, Rounding, Term, dense_affine
from farkas.ir.windows import Windows
from farkas.runtime_cuda import patches as module
from farkas.runtime_cuda.backend import Backend, numpy_backend
from farkas.runtime_cuda.neurons import neuron_bounds
from farkas.runtime_cuda.patches import View, patches
from farkas.runtime_cuda.prepared import prepare
from farkas.runtime_cuda.relaxation import Relaxation
from farkas.runtime_cuda.root import Effort
from tests.nets import seeds

Image = tuple[int, int, int]


class Images:
    """A program of convolutions under construction."""

    def __init__(self, rng: np.random.Generator, image: Image) -> None:
        self.rng, self.nodes, self.images = rng, list[CoreOp]([Input(int(np.prod(image)))]), [image]

    def affine(self, channels: int, *operands: tuple[int, Windows], groups: int = 1) -> int:
        """A sum of convolutions of nodes, with a bias."""
        terms = []
        for source, windows in operands:
            inputs, *size = self.images[source]
            kernel = self.rng.normal(size=(groups, channels // groups, inputs // groups, windows.places)) * 0.5
            terms.append(Term(Conv2d(kernel, windows, (size[0], size[1])), source))
        shape = terms[0].map
        assert isinstance(shape, Conv2d)
        bias = self.rng.normal(size=shape.rows)
        return self._add(Affine(tuple(terms), bias, Rounding(20), abs(bias)), (channels, *shape.counts))

    def relu(self, source: int) -> int:
        return self._add(Relu(source), self.images[source])

    def _add(self, node: CoreOp, image: Image) -> int:
        self.nodes.append(node)
        self.images.append(image)
        return len(self.nodes) - 1

    def program(self, source: int) -> Program:
        size = int(np.prod(self.images[source]))
        self._add(dense_affine(self.rng.normal(size=(2, size)), np.zeros(2), source, size), (2, 1, 1))
        sizes = tuple(int(np.prod(image)) for image in self.images)
        return Program(tuple(self.nodes), sizes, len(self.nodes) - 1, ("",) * len(self.nodes))


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Two or three layers of neurons; skips from the layer below or the input; an affine layer read by another."""
    rng = np.random.default_rng(draw(seeds))
    number = st.integers
    net = Images(rng, (2, draw(number(5, 8)), draw(number(5, 8))))
    size, pad, dilation = draw(number(1, 3)), draw(number(0, 2)), draw(number(1, 2))
    first = Windows((size, 2), (draw(number(1, 2)), draw(number(1, 2))), (pad, 1, draw(number(0, 1)), 0), (1, dilation))
    below = net.relu(net.affine(4, (0, first), groups=draw(st.sampled_from([1, 2]))))
    same, point = Windows((3, 3), (1, 1), (1, 1, 1, 1)), Windows((1, 1))
    skip = draw(st.sampled_from(["none", "below", "point"]))
    middle = net.affine(4, (below, same), *({"none": (), "below": ((below, same),), "point": ((below, point),)}[skip]))
    if draw(st.booleans()):
        middle = net.affine(2, (middle, same))
    middle = net.relu(middle)
    last = Windows((2, draw(number(1, 2))), (draw(number(1, 2)), 1), (0, 0, draw(number(0, 1)), 0))
    top = net.affine(3, (middle, last))
    return net.program(net.relu(top))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(programs(), seeds, st.sampled_from([0.1, 0.5, 100.0]))
def test_patches_give_the_bounds_of_whole_rows(backend: Backend, program: Program, seed: int, share: float) -> None:
    """Three subproblems with splits of their own; a share of 0.1 leaves patches early, one of 100 never."""
    rng = np.random.default_rng(seed)
    net = prepare(program, binary32=True, backend=backend)
    middle = rng.normal(size=program.input_size)
    low, high = (backend.asarray(middle + sign * 0.2) for sign in (-1, 1))
    relaxation = Relaxation(net, low, high, lambda: None)
    root = relaxation.root(Effort(steps=0))
    lower, upper = (np.tile(backend.to_numpy(side), (3, 1)) for side in (root.lower, root.upper))
    for b in range(3):
        for j in rng.permutation(np.flatnonzero((lower[b] < 0) & (upper[b] > 0)))[:4]:
            (lower if rng.random() < 0.5 else upper)[b, j] = 0.0
    passes = relaxation.sure
    relaxed = passes.relax(backend.asarray(lower), backend.asarray(upper))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LARGEST_SHARE", share)
        for v in relaxation.layers:
            index = backend.asarray(rng.integers(0, program.sizes[v], (3, 7)))
            columns = {u: backend.asarray(rng.permutation(program.sizes[u])[:9]) for u in relaxation.layers}
            got, lost = neuron_bounds(passes, v, index, relaxed, columns)
            whole = passes.descend(passes.units(v, index), relaxed, rigorous=True, keep=True)
            np.testing.assert_allclose(backend.to_numpy(got), backend.to_numpy(whole.value), rtol=1e-9, atol=1e-9)
            for r, crossing in whole.crossings.items():
                node = program.nodes[r]
                assert isinstance(node, Relu)
                negative = backend.to_numpy(np.maximum(-crossing.coef[:, :, columns[node.source]], 0.0))
                np.testing.assert_allclose(backend.to_numpy(lost[node.source]), negative, rtol=1e-5, atol=1e-5)
    if share == 100.0:
        plans = [passes.plan(v) for v in relaxation.layers]
        assert all(plan is not None and not plan.whole for plan in plans), "patches down to the input"


def test_the_patch_of_two_convolutions_is_what_both_see() -> None:
    """4x4 kernels with stride 2 and padding 1, twice: 10x10 pixels, beginning at 2 (2 y - 1) - 1."""
    rng = np.random.default_rng(0)
    net, windows = Images(rng, (3, 32, 32)), Windows((4, 4), (2, 2), (1, 1, 1, 1))
    top = net.affine(16, (net.relu(net.affine(8, (0, windows))), windows))
    plan = patches(prepare(net.program(net.relu(top)), binary32=False, backend=numpy_backend()), top)
    assert plan is not None
    assert plan.views[0] == View((3, 32, 32), (8, 8), (4, 4), (-3, -3), (10, 10))
    assert plan.views[1] == View((8, 16, 16), (8, 8), (2, 2), (-1, -1), (4, 4))
