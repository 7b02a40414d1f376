"""An independent judge of small properties: dense sampling to refute, subdivision with zonotopes to prove.

It shares no code with Farkas.  The network is read into affine maps over "variables", which are the inputs and the
outputs of every ReLU; a box is closed when, in every disjunct of the unsafe set, one atom is refuted by more than
MARGIN, and is halved otherwise.  The arithmetic is plain float64 without directed rounding: its error on these networks
is below 1e-12, and that of any float32 execution below 1e-4, so the margin makes the judgement good for both.  What
lies closer to the boundary than the margin is refused, not judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from examples.training import Array, Indices, patches

MARGIN = 1e-3


@dataclass(frozen=True)
class Affine:
    """A tensor as a function of the variables so far: `weight` (size, variables) and `bias` (size,)."""

    weight: Array
    bias: Array

    def widened(self, variables: int) -> Array:
        return np.pad(self.weight, ((0, 0), (0, variables - self.weight.shape[1])))

    def plus(self, other: Affine, sign: float = 1.0) -> Affine:
        width = max(self.weight.shape[1], other.weight.shape[1])
        return Affine(self.widened(width) + sign * other.widened(width), self.bias + sign * other.bias)

    def at(self, index: Indices) -> Affine:
        return Affine(self.weight[index], self.bias[index])


@dataclass(frozen=True)
class Judged:
    """A network as ReLU layers over all earlier variables, and its output over all of them."""

    inputs: int
    layers: tuple[Affine, ...]
    output: Affine

    def run(self, x: Array) -> Array:
        """Outputs (n, outputs) in float64 for inputs (n, inputs)."""
        for layer in self.layers:
            x = np.concatenate([x, np.maximum(x @ layer.widened(x.shape[1]).T + layer.bias, 0.0)], axis=1)
        return x @ self.output.widened(x.shape[1]).T + self.output.bias

    def gradients(self, x: Array, rows: Array) -> Array:
        """Gradients (n, inputs) of `rows y` in the inputs, one row of shape (outputs,) for each x."""
        inside = x
        for layer in self.layers:
            z = inside @ layer.widened(inside.shape[1]).T + layer.bias
            inside = np.concatenate([inside, np.maximum(z, 0.0)], axis=1)
        slopes = rows @ self.output.widened(inside.shape[1])
        end = inside.shape[1]
        for layer in reversed(self.layers):
            count = len(layer.bias)
            active = slopes[:, end - count : end] * (inside[:, end - count : end] > 0.0)
            end -= count
            slopes = slopes[:, :end] + active @ layer.widened(end)
        return slopes

    def lower_bounds(self, low: Array, high: Array, inputs: Array, rows: Array, constants: Array) -> Array:
        """Lower bounds (n, k) of `inputs x + rows y + constants` over the boxes [low, high] of shape (n, inputs).

        Zonotopes: every variable is `centre + generators e` with e in [-1, 1]^g, and a ReLU that may be on or off is
        a line of slope u / (u - l) with a generator of its own (Singh et al., Fast and Effective Robustness
        Certification, NeurIPS 2018).
        """
        centre = (low + high) / 2
        generators = ((high - low) / 2)[:, :, None] * np.eye(self.inputs)
        for layer in self.layers:
            weight = layer.widened(centre.shape[1])
            z, spread = centre @ weight.T + layer.bias, weight @ generators
            radius = np.abs(spread).sum(axis=2)
            off, on = z + radius <= 0.0, z - radius >= 0.0
            with np.errstate(divide="ignore", invalid="ignore"):
                slope = np.where(off, 0.0, np.where(on, 1.0, (z + radius) / (2 * radius)))
                half = np.where(off | on, 0.0, (radius - z) * (z + radius) / (4 * radius))
            centre = np.concatenate([centre, slope * z + half], axis=1)
            new = np.concatenate([slope[:, :, None] * spread, half[:, :, None] * np.eye(half.shape[1])], axis=2)
            old = np.pad(generators, ((0, 0), (0, 0), (0, half.shape[1])))
            generators = np.concatenate([old, new], axis=1)
        weight = rows @ self.output.widened(centre.shape[1])
        weight[:, : self.inputs] += inputs
        bounds: Array = centre @ weight.T - np.abs(weight @ generators).sum(axis=2)
        return bounds + rows @ self.output.bias + constants


def read(path: Path) -> Judged:
    """The network in an ONNX file that `make_networks.py` wrote; only the operators used there."""
    graph = onnx.load(path).graph
    constants = {c.name: numpy_helper.to_array(c).astype(np.float64) for c in graph.initializer}
    size = int(np.prod([d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]))
    tensors = {graph.input[0].name: Affine(np.eye(size), np.zeros(size))}
    channels = {graph.input[0].name: 1}
    layers: list[Affine] = []

    def rectified(z: Affine) -> Affine:
        """New variables, the outputs of a ReLU on z."""
        layers.append(z)
        variables, count = size + sum(len(layer.bias) for layer in layers), len(z.bias)
        return Affine(np.eye(count, variables, variables - count), np.zeros(count))

    def larger(a: Affine, b: Affine) -> Affine:
        """max(a, b) = a + relu(b - a)."""
        return a.plus(rectified(b.plus(a, -1.0)))

    for node in graph.node:
        x = tensors[node.input[0]]
        used = [constants[name] for name in node.input if name in constants]
        channels[node.output[0]] = len(used[0]) if node.op_type == "Conv" else channels[node.input[0]]
        if node.op_type == "Relu":
            tensors[node.output[0]] = rectified(x)
        elif node.op_type == "MaxPool":
            a, b, c, d = (x.at(corner) for corner in squares(channels[node.input[0]], len(x.bias)))
            tensors[node.output[0]] = larger(larger(a, b), larger(c, d))
        else:
            other = tensors.get(node.input[1]) if len(node.input) > 1 else None
            tensors[node.output[0]] = linear(node, x, other, used)
    return Judged(size, tuple(layers), tensors[graph.output[0].name])


def squares(channels: int, size: int) -> list[Indices]:
    """The flat positions of the four corners of all 2x2 squares of square images."""
    side = round((size // channels) ** 0.5)
    image = np.arange(size).reshape(channels, side, side)
    return [image[:, row::2, column::2].ravel() for row in (0, 1) for column in (0, 1)]


def linear(node: onnx.NodeProto, x: Affine, other: Affine | None, constants: list[Array]) -> Affine:
    """The affine function that a linear node makes of `x`, and of `other` if it has a second tensor."""
    match node.op_type:
        case "Flatten":
            return x
        case "Gemm":
            weight, bias = constants[0], constants[1]
        case "MatMul":
            weight, bias = constants[0].T, np.zeros(constants[0].shape[1])
        case "Div":
            weight, bias = np.diag(1.0 / constants[0]), np.zeros(len(constants[0]))
        case "Add" if other is not None:
            return x.plus(other)
        case "Add" | "Sub":
            return Affine(x.weight, x.bias + (constants[0] if node.op_type == "Add" else -constants[0]))
        case "Conv":
            weight, bias = convolution_matrix(node, len(x.bias), constants)
        case operator:
            raise ValueError(f"no example has the operator {operator}")
    return Affine(weight @ x.weight, weight @ x.bias + bias)


def convolution_matrix(node: onnx.NodeProto, size: int, constants: list[Array]) -> tuple[Array, Array]:
    """The matrix and bias of a 3x3 convolution with padding 1 on a square image."""
    kernel, bias = constants
    stride = next(a.ints[0] for a in node.attribute if a.name == "strides")
    channels = kernel.shape[1]
    places = patches(channels, round((size // channels) ** 0.5), stride)
    matrix = np.zeros((len(kernel), len(places), size + 1))
    for position, window in enumerate(places):
        for output, weights in enumerate(kernel.reshape(len(kernel), -1)):
            np.add.at(matrix[output, position], window, weights)
    return matrix.reshape(-1, size + 1)[:, :-1], np.repeat(bias, len(places))


@dataclass(frozen=True)
class Unsafe:
    """Disjuncts of atoms `inputs x + rows y + constants <= 0`: `groups` holds the rows of each disjunct."""

    inputs: Array
    rows: Array
    constants: Array
    groups: tuple[tuple[int, ...], ...]


def proves(network: Judged, low: Array, high: Array, unsafe: Unsafe, limit: int = 100_000) -> int | None:
    """The number of boxes after which no point of the box is unsafe by MARGIN; None when `limit` boxes do not do."""
    span = np.where(high > low, high - low, np.inf)
    lows, highs, used = low[None], high[None], 0
    while len(lows):
        take = slice(max(0, len(lows) - 1000), None)
        used += len(lows[take])
        if used > limit:
            return None
        bounds = network.lower_bounds(lows[take], highs[take], unsafe.inputs, unsafe.rows, unsafe.constants)
        refuted = bounds > MARGIN
        closed = np.all([refuted[:, list(group)].any(axis=1) for group in unsafe.groups], axis=0)
        open_lows, open_highs = lows[take][~closed], highs[take][~closed]
        lows, highs = lows[: take.start], highs[: take.start]
        axis = ((open_highs - open_lows) / span).argmax(axis=1)
        row = np.arange(len(axis))
        middle = (open_lows[row, axis] + open_highs[row, axis]) / 2
        left_highs, right_lows = open_highs.copy(), open_lows.copy()
        left_highs[row, axis] = right_lows[row, axis] = middle
        lows = np.concatenate([lows, open_lows, right_lows])
        highs = np.concatenate([highs, left_highs, open_highs])
    return used


def refutes(network: Judged, low: Array, high: Array, unsafe: Unsafe, rng: np.random.Generator) -> Array | None:
    """A binary32 point of the box that is unsafe by MARGIN; None if none is found.

    Dense sampling, then from the best points the corners to which the network's own linear pieces point.
    """
    x = rng.uniform(low, high, size=(200_000 if network.inputs < 16 else 20_000, network.inputs))
    for step in range(6):
        x = x.astype(np.float32).astype(np.float64)
        # A single point that is no binary32 number stands for the nearest one, as every runtime reads it.
        x = x[((x >= low) & (x <= high) | (low == high)).all(axis=1)]
        values = x @ unsafe.inputs.T + network.run(x) @ unsafe.rows.T + unsafe.constants
        worst = np.array([values[:, list(group)].max(axis=1) for group in unsafe.groups])
        best = int(worst.min(axis=0).argmin())
        if worst[:, best].min() < -MARGIN:
            return np.asarray(x[best])
        near = [int(i) for group in worst for i in np.argsort(group)[:16]]
        of = np.repeat(np.arange(len(worst)), len(near) // len(worst))
        atoms = np.array([max(unsafe.groups[g], key=lambda r: values[i, r]) for g, i in zip(of, near, strict=True)])
        slopes = network.gradients(x[near], unsafe.rows[atoms]) + unsafe.inputs[atoms]
        corner = np.where(slopes > 0.0, low, high)
        x = np.concatenate([x[near], corner, x[near] + (corner - x[near]) / 2.0**step])
    return None
