"""Enough of a training framework for small ReLU networks: layers with gradients, Adam, and an ONNX writer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Slope = Callable[[Array, Array], Array]  # outputs and targets to the gradient of the loss in the outputs


class Layer(Protocol):
    """A map of batches with gradients; `parameters` are changed in place by the optimiser."""

    parameters: list[Array]

    def forward(self, x: Array) -> Array: ...

    def backward(self, x: Array, g: Array) -> tuple[Array, list[Array]]:
        """Gradients with respect to the input `x` and to each parameter, from the gradient `g` of the output."""
        ...


class Dense:
    """x -> x W^T + b, with W of shape (outputs, inputs)."""

    def __init__(self, rng: np.random.Generator, inputs: int, outputs: int) -> None:
        weight = rng.normal(size=(outputs, inputs)) * np.sqrt(2.0 / inputs)
        self.parameters: list[Array] = [weight, np.zeros(outputs)]

    def forward(self, x: Array) -> Array:
        return x @ self.parameters[0].T + self.parameters[1]

    def backward(self, x: Array, g: Array) -> tuple[Array, list[Array]]:
        return g @ self.parameters[0], [g.T @ x, g.sum(axis=0)]


class Convolution:
    """A 3x3 convolution with padding 1 on square images, as a matrix product with gathered patches.

    Batches are flat: (batch, channels * side * side), in ONNX's order.
    """

    def __init__(self, rng: np.random.Generator, inputs: int, outputs: int, side: int, stride: int) -> None:
        self.stride = stride
        self.places = patches(inputs, side, stride)  # (positions, inputs * 9); the index past the end reads zero
        weight = rng.normal(size=(outputs, inputs * 9)) * np.sqrt(2.0 / (inputs * 9))
        self.parameters: list[Array] = [weight, np.zeros(outputs)]

    def forward(self, x: Array) -> Array:
        y = self.gather(x) @ self.parameters[0].T + self.parameters[1]  # (batch, positions, outputs)
        return y.transpose(0, 2, 1).reshape(len(x), -1)

    def gather(self, x: Array) -> Array:
        return np.concatenate([x, np.zeros((len(x), 1))], axis=1)[:, self.places]

    def backward(self, x: Array, g: Array) -> tuple[Array, list[Array]]:
        weight = self.parameters[0]
        by_position = g.reshape(len(x), len(weight), -1).transpose(0, 2, 1)
        d_weight = np.einsum("npo,npk->ok", by_position, self.gather(x))
        d_padded = np.zeros((len(x), x.shape[1] + 1))
        np.add.at(d_padded.T, self.places, (by_position @ weight).transpose(1, 2, 0))
        return d_padded[:, :-1], [d_weight, by_position.sum(axis=(0, 1))]


def patches(channels: int, side: int, stride: int) -> Indices:
    """For each output position the flat indices that a 3x3 window with padding 1 reads."""
    padded = np.full((channels, side + 2, side + 2), channels * side * side)
    padded[:, 1:-1, 1:-1] = np.arange(channels * side * side).reshape(channels, side, side)
    starts = range(0, side, stride)
    windows: Indices = np.array([padded[:, r : r + 3, c : c + 3].ravel() for r in starts for c in starts])
    return windows


class MaxPool:
    """The largest of each 2x2 square of images with an even side, flat in ONNX's order."""

    def __init__(self, channels: int, side: int) -> None:
        self.parameters: list[Array] = []
        self.shape = (channels, side // 2, 2, side // 2, 2)

    def forward(self, x: Array) -> Array:
        return np.asarray(x.reshape(len(x), *self.shape).max(axis=(3, 5)).reshape(len(x), -1))

    def backward(self, x: Array, g: Array) -> tuple[Array, list[Array]]:
        squares = x.reshape(len(x), *self.shape)
        largest = squares == squares.max(axis=(3, 5), keepdims=True)
        channels, rows, _, columns, _ = self.shape
        spread = g.reshape(len(x), channels, rows, 1, columns, 1) * largest
        return np.asarray(spread.reshape(len(x), -1)), []


class Residual:
    """x -> x + layers(x)."""

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers
        self.parameters = [parameter for layer in layers for parameter in layer.parameters]

    def forward(self, x: Array) -> Array:
        return x + run(self.layers, x)

    def backward(self, x: Array, g: Array) -> tuple[Array, list[Array]]:
        values = [x]
        for layer in self.layers[:-1]:
            values.append(layer.forward(values[-1]))
        found: list[list[Array]] = []
        inner = g
        for layer in reversed(self.layers):
            inner, parts = layer.backward(values.pop(), inner)
            found.append(parts)
        return g + inner, [part for parts in reversed(found) for part in parts]


class Relu:
    def __init__(self) -> None:
        self.parameters: list[Array] = []

    def forward(self, x: Array) -> Array:
        return np.maximum(x, 0.0)

    def backward(self, x: Array, g: Array) -> tuple[Array, list[Array]]:
        return g * (x > 0.0), []


def run(layers: list[Layer], x: Array) -> Array:
    for layer in layers:
        x = layer.forward(x)
    return x


def gradients(layers: list[Layer], x: Array, target: Array, slope: Slope) -> Iterator[tuple[Array, Array]]:
    """Every parameter with the gradient of the loss on the batch `x`."""
    values = [x]
    for layer in layers:
        values.append(layer.forward(values[-1]))
    g = slope(values.pop(), target)
    for layer in reversed(layers):
        g, parts = layer.backward(values.pop(), g)
        yield from zip(layer.parameters, parts, strict=True)


def of_squares(y: Array, target: Array) -> Array:
    """The gradient of the mean squared error."""
    return 2.0 * (y - target) / len(y)


def of_cross_entropy(y: Array, target: Array) -> Array:
    """The gradient of the mean cross entropy of softmax(y); `target` holds one-hot rows."""
    exponentials: Array = np.exp(y - y.max(axis=1, keepdims=True))
    shares: Array = exponentials / exponentials.sum(axis=1, keepdims=True)
    return (shares - target) / len(y)


def mlp(rng: np.random.Generator, *sizes: int) -> list[Layer]:
    """Dense layers of the given sizes, with a ReLU between each two."""
    layers: list[Layer] = []
    for inputs, outputs in pairwise(sizes):
        layers += [Dense(rng, inputs, outputs), Relu()]
    return layers[:-1]


def train(
    rng: np.random.Generator, layers: list[Layer], x: Array, target: Array, slope: Slope, steps: int, rate: float = 5e-3
) -> None:
    """Adam (Kingma and Ba, 2015) on batches of 256, with a rate that falls linearly to zero."""
    count = sum(len(layer.parameters) for layer in layers)
    first, second = [np.zeros(1)] * count, [np.zeros(1)] * count
    for step in range(1, steps + 1):
        pick = rng.integers(0, len(x), size=256)
        for k, (parameter, g) in enumerate(list(gradients(layers, x[pick], target[pick], slope))):
            first[k] = 0.9 * first[k] + 0.1 * g
            second[k] = 0.999 * second[k] + 0.001 * g * g
            scale = np.sqrt(second[k] / (1 - 0.999**step)) + 1e-8
            parameter -= rate * (1 - step / steps) * first[k] / (1 - 0.9**step) / scale


@dataclass
class Writer:
    """Collects the nodes and constants of one ONNX graph; every method returns the name of the tensor that it adds."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, name: str, value: npt.ArrayLike) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=np.float32), name))
        return name

    def node(self, operator: str, name: str, *inputs: str, **attributes: int | list[int]) -> str:
        node = helper.make_node(operator, list(inputs), [name], name=name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return name

    def save(self, path: str, shape: tuple[int, ...], outputs: int, output: str) -> None:
        x = helper.make_tensor_value_info("input", TensorProto.FLOAT, list(shape))
        y = helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, outputs])
        graph = helper.make_graph(self.nodes, path.rsplit("/", 1)[-1].removesuffix(".onnx"), [x], [y], self.constants)
        network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="farkas examples")
        network.ir_version = 8
        onnx.checker.check_model(network, full_check=True)
        onnx.save(network, path)
