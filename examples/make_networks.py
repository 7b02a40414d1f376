"""Trains the example networks and writes them to `examples/networks`: `python -m examples.make_networks [FOLDER]`.

Six small ReLU networks, each fitted to something that is known without it, so that a property of the network
means something and its truth can be found by other means than ours (`make_properties.py`):

wave       2-16-16-1        sin x cos y on [-2, 2]^2                                     Gemm
avoidance  5-24-24-24-5     costs of five advisories when two aircraft meet              Sub Div MatMul Add
glyphs     1x8x8 -> 4       which of four strokes an image shows                         Conv Reshape Gemm
wide       64-48-48-48-4    the same, fully connected                                    Gemm
deep       1x8x8 -> 4       the same, with pooling and a skip                            Conv MaxPool Add Gemm
pendulum   2-16-16-2        state of a damped pendulum 0.1 s later, as x + f(x)          Gemm Add (residual)

Seeds are fixed, but training rounds as the machine's BLAS rounds, so another machine makes networks that differ in
their last bits and, after thousands of steps, in more.  `suite.csv` speaks of the files in the repository.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from examples.training import (
    Array,
    Convolution,
    Dense,
    Layer,
    MaxPool,
    Relu,
    Residual,
    Writer,
    mlp,
    of_cross_entropy,
    of_squares,
    run,
    train,
)

SIDE = 8
STROKES = ("horizontal", "vertical", "falling", "rising")


def gemm_chain(w: Writer, layers: list[Layer], x: str, last: str) -> str:
    """Dense layers as Gemm and Relu nodes; the result is called `last`."""
    dense = [layer for layer in layers if isinstance(layer, Dense)]
    for k, layer in enumerate(dense):
        weight = w.constant(f"weight_{k}", layer.parameters[0])
        bias = w.constant(f"bias_{k}", layer.parameters[1])
        x = w.node("Gemm", last if layer is dense[-1] else f"linear_{k}", x, weight, bias, transB=1)
        if layer is not dense[-1]:
            x = w.node("Relu", f"relu_{k}", x)
    return x


def wave(folder: Path) -> str:
    """Fits sin x cos y."""
    rng = np.random.default_rng(1)
    x = rng.uniform(-2.0, 2.0, size=(20000, 2))
    target = np.sin(x[:, :1]) * np.cos(x[:, 1:])
    layers = mlp(rng, 2, 16, 16, 1)
    train(rng, layers, x, target, of_squares, steps=12000)
    w = Writer()
    w.save(str(folder / "wave.onnx"), (1, 2), 1, gemm_chain(w, layers, "input", "output"))
    return f"wave: largest error {np.abs(run(layers, x) - target).max():.3f}"


# Distance (km), bearing of the intruder (rad), its heading relative to ours (rad), our speed, its speed (km/s).
LOW = np.array([0.0, -np.pi, -np.pi, 0.05, 0.05])
HIGH = np.array([10.0, np.pi, np.pi, 0.30, 0.30])
TURNS = np.deg2rad([0.0, 1.5, -1.5, 3.0, -3.0])  # clear, weak left, weak right, strong left, strong right; rad/s
EFFORT = np.array([0.0, 0.05, 0.05, 0.1, 0.1])


def advisory_costs(state: Array) -> Array:
    """(n, 5) costs: nearness of the closest approach within 40 s of each turn, plus the effort of turning."""
    distance, bearing, heading, own_speed, speed = state.T[:, :, None, None]
    time = np.arange(1.0, 41.0)
    own_heading = TURNS[:, None] * (time - 0.5)
    own_x = own_speed * np.cumsum(np.cos(own_heading), axis=-1)
    own_y = own_speed * np.cumsum(np.sin(own_heading), axis=-1)
    dx = distance * np.cos(bearing) + speed * np.cos(heading) * time - own_x
    dy = distance * np.sin(bearing) + speed * np.sin(heading) * time - own_y
    closest: Array = np.sqrt(dx * dx + dy * dy).min(axis=-1)
    costs: Array = np.exp(-(closest**2)) + EFFORT
    return costs


def avoidance(folder: Path) -> str:
    """Fits the costs of the five advisories; the lowest output is the advice."""
    rng = np.random.default_rng(2)
    state = rng.uniform(LOW, HIGH, size=(30000, 5))
    target = advisory_costs(state)
    middle, span = (LOW + HIGH) / 2, HIGH - LOW
    layers = mlp(rng, 5, 24, 24, 24, 5)
    scaled = (state - middle) / span
    train(rng, layers, scaled, target, of_squares, steps=12000)
    w = Writer()
    x = w.node("Sub", "shifted", "input", w.constant("middle", middle))
    x = w.node("Div", "scaled", x, w.constant("span", span))
    dense = [layer for layer in layers if isinstance(layer, Dense)]
    for k, layer in enumerate(dense):
        x = w.node("MatMul", f"product_{k}", x, w.constant(f"weight_{k}", layer.parameters[0].T))
        x = w.node("Add", f"sum_{k}", x, w.constant(f"bias_{k}", layer.parameters[1]))
        if layer is not dense[-1]:
            x = w.node("Relu", f"relu_{k}", x)
    w.save(str(folder / "avoidance.onnx"), (1, 5), 5, x)
    error = run(layers, scaled) - target
    return f"avoidance: root mean square error {np.sqrt((error * error).mean()):.3f}"


def strokes(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Images (count, 64) of one noisy stroke each, of random place, length and brightness; and their one-hot kinds."""
    kind = rng.integers(0, len(STROKES), size=count)
    images = rng.uniform(0.0, 0.25, size=(count, SIDE, SIDE))
    direction = np.array([[0, 1], [1, 0], [1, 1], [-1, 1]])[kind]
    centre = rng.integers(3, 5, size=(count, 2))
    reach = rng.integers(2, 4, size=count)
    for step in range(-3, 4):
        row, column = (centre + step * direction).T
        drawn = (abs(step) <= reach) & (row >= 0) & (row < SIDE) & (column >= 0) & (column < SIDE)
        images[np.flatnonzero(drawn), row[drawn], column[drawn]] = rng.uniform(0.7, 1.0, size=int(drawn.sum()))
    return images.reshape(count, -1), np.eye(len(STROKES))[kind]


def glyphs(folder: Path) -> str:
    """Tells four kinds of stroke apart."""
    rng = np.random.default_rng(3)
    images, kinds = strokes(rng, 6000)
    layers: list[Layer] = [
        Convolution(rng, 1, 4, SIDE, 2), Relu(), Convolution(rng, 4, 6, SIDE // 2, 2), Relu(),
        Dense(rng, 24, 12), Relu(), Dense(rng, 12, len(STROKES)),
    ]  # fmt: skip
    train(rng, layers, images, kinds, of_cross_entropy, steps=2500)
    w, x = Writer(), "input"
    for k, layer in enumerate(layer for layer in layers if isinstance(layer, Convolution)):
        kernel = layer.parameters[0].reshape(len(layer.parameters[0]), -1, 3, 3)
        constants = w.constant(f"kernel_{k}", kernel), w.constant(f"offset_{k}", layer.parameters[1])
        stride = [layer.stride, layer.stride]
        x = w.node("Conv", f"conv_{k}", x, *constants, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=stride)
        x = w.node("Relu", f"active_{k}", x)
    w.save(str(folder / "glyphs.onnx"), (1, 1, SIDE, SIDE), len(STROKES),
           gemm_chain(w, layers, w.node("Flatten", "flat", x), "output"))
    fresh, truth = strokes(rng, 2000)
    right = (run(layers, fresh).argmax(axis=1) == truth.argmax(axis=1)).mean()
    return f"glyphs: {100 * right:.1f} % right on fresh images"


def recognised(layers: list[Layer], rng: np.random.Generator) -> float:
    """The share of fresh images that are recognised, in percent."""
    images, truth = strokes(rng, 2000)
    return 100.0 * float((run(layers, images).argmax(axis=1) == truth.argmax(axis=1)).mean())


def wide(folder: Path) -> str:
    """Tells the strokes apart with dense layers over all pixels: too many inputs to cut one by one."""
    rng = np.random.default_rng(5)
    images, kinds = strokes(rng, 6000)
    layers = mlp(rng, SIDE * SIDE, 48, 48, 48, len(STROKES))
    train(rng, layers, images, kinds, of_cross_entropy, steps=1500, rate=2e-3)
    w = Writer()
    flat = w.node("Flatten", "flat", "input")
    w.save(str(folder / "wide.onnx"), (1, 1, SIDE, SIDE), len(STROKES), gemm_chain(w, layers, flat, "output"))
    return f"wide: {recognised(layers, rng):.1f} % right on fresh images"


def convolution(w: Writer, layer: Convolution, name: str, x: str) -> str:
    weight, bias = layer.parameters
    constants = w.constant(f"kernel_{name}", weight.reshape(len(weight), -1, 3, 3)), w.constant(f"offset_{name}", bias)
    stride = [layer.stride, layer.stride]
    return w.node("Conv", f"conv_{name}", x, *constants, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=stride)


def deep(folder: Path) -> str:
    """Tells the strokes apart with a pooled convolution and a residual block."""
    rng = np.random.default_rng(6)
    images, kinds = strokes(rng, 6000)
    half = SIDE // 2
    first = Convolution(rng, 1, 4, SIDE, 1)
    block = Convolution(rng, 4, 4, half, 1), Convolution(rng, 4, 4, half, 1)
    head: list[Layer] = [Dense(rng, 4 * half * half, 16), Relu(), Dense(rng, 16, len(STROKES))]
    layers: list[Layer] = [first, MaxPool(4, SIDE), Relu(), Residual([block[0], Relu(), block[1]]), Relu(), *head]
    train(rng, layers, images, kinds, of_cross_entropy, steps=1000, rate=2e-3)
    w = Writer()
    pooled = w.node("MaxPool", "pooled", convolution(w, first, "0", "input"), kernel_shape=[2, 2], strides=[2, 2])
    x = w.node("Relu", "active_0", pooled)
    inner = w.node("Relu", "active_1", convolution(w, block[0], "1", x))
    x = w.node("Relu", "active_2", w.node("Add", "sum", convolution(w, block[1], "2", inner), x))
    w.save(str(folder / "deep.onnx"), (1, 1, SIDE, SIDE), len(STROKES),
           gemm_chain(w, head, w.node("Flatten", "flat", x), "output"))
    return f"deep: {recognised(layers, rng):.1f} % right on fresh images"


def pendulum_step(state: Array) -> Array:
    """Angle (rad) and rate (rad/s) 0.1 s later: theta'' = -4 sin theta - 0.5 theta', in 20 half-implicit steps."""
    angle, rate = state.T.copy()
    for _ in range(20):
        rate += 0.005 * (-4.0 * np.sin(angle) - 0.5 * rate)
        angle += 0.005 * rate
    return np.stack([angle, rate], axis=1)


def pendulum(folder: Path) -> str:
    """Fits the change of state in 0.1 s; the network adds it to the state."""
    rng = np.random.default_rng(4)
    state = rng.uniform(-2.0, 2.0, size=(20000, 2))
    change = pendulum_step(state) - state
    layers = mlp(rng, 2, 16, 16, 2)
    train(rng, layers, state, change, of_squares, steps=12000)
    w = Writer()
    w.save(str(folder / "pendulum.onnx"), (1, 2), 2,
           w.node("Add", "next", "input", gemm_chain(w, layers, "input", "change")))
    return f"pendulum: largest error {np.abs(run(layers, state) - change).max():.3f}"


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0]) if arguments else Path(__file__).resolve().parent / "networks"
    folder.mkdir(parents=True, exist_ok=True)
    for make in (wave, avoidance, glyphs, wide, deep, pendulum):
        print(make(folder), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
