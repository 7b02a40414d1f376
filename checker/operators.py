"""The operators that the checker knows: each reads its operands and attributes, and appends steps or moves elements.

A handler takes (builder, inputs, attributes, number of outputs) and returns the outputs.  It removes every attribute
that it has understood; the caller refuses what is left.  Data movement works on lists of elements, of constants and
of variables alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, NoReturn

from farkas.checker.errors import MalformedInput
from farkas.checker.steps import Copy, Product, Program, Rectify, Row, Scale, Source, Step, Sum, View

Shape = tuple[int, ...]
MAX_SIZE = 5_000_000
SMALLEST_NORMAL = 2.0**-126


@dataclass(frozen=True)
class Tensor:
    """elements, row-major: numbers of a constant (dtype float or int), else (step, element) pairs (dtype None)."""

    shape: Shape
    elements: Sequence[Any]
    dtype: type | None


Handler = Callable[["Builder", list[Tensor | None], dict[str, Any], int], list[Tensor]]


class Builder:
    """Appends steps; `where` names the node in error messages."""

    def __init__(self, opset: int, size: int) -> None:
        self.opset = opset
        self.steps: list[Step] = [Source(size)]
        self.sizes: list[int] = [size]
        self.where = "network"

    def fail(self, why: str) -> NoReturn:
        raise MalformedInput("network", f"{self.where}: {why}")

    def sized(self, shape: Shape, *factors: int) -> Shape:
        """shape, when a value of it (times further factors) is not too large to be written out element by element."""
        if prod((*shape, *factors)) > MAX_SIZE:
            self.fail(f"a value of shape {shape} is too large for this checker")
        return shape

    def append(self, step: Step, shape: Shape) -> Tensor:
        """A new step whose value has this shape."""
        size = prod(self.sized(shape))
        self.steps.append(step)
        self.sizes.append(size)
        number = len(self.steps) - 1
        return Tensor(shape, [(number, i) for i in range(size)], None)

    def view(self, x: Tensor, *, distinct: bool = False) -> View:
        """x as elements of one step (distinct: without repetition); a copy is made when it is not that."""
        steps = {step for step, _ in x.elements}
        index = [i for _, i in x.elements]
        if len(steps) != 1 or (distinct and len(set(index)) < len(index)):
            self.append(Copy(x.elements), x.shape)
            return View(len(self.steps) - 1, None)
        (step,) = steps
        return View(step, None if index == list(range(self.sizes[step])) else index)

    def whole(self, x: Tensor) -> int:
        """The step whose value is x; a copy is made when there is none."""
        view = self.view(x)
        if view.index is not None:
            self.append(Copy(x.elements), x.shape)
            return len(self.steps) - 1
        return view.step

    def finish(self, output: Tensor) -> Program:
        """The program whose value is `output`."""
        self.where = "output"
        step = self.whole(output)
        return Program(tuple(self.steps), tuple(self.sizes), step)


def _variable(b: Builder, inputs: Sequence[Tensor | None], position: int = 0) -> Tensor:
    tensor = inputs[position] if position < len(inputs) else None
    if tensor is None or tensor.dtype is not None:
        b.fail(f"operand {position} must depend on the network's input")
    return tensor


def _constant(b: Builder, inputs: Sequence[Tensor | None], position: int, dtype: type) -> Tensor:
    tensor = inputs[position] if position < len(inputs) else None
    if tensor is None or tensor.dtype is not dtype:
        b.fail(f"operand {position} must be a constant of type {dtype.__name__}")
    return tensor


def _present(inputs: Sequence[Tensor | None], position: int) -> bool:
    return position < len(inputs) and inputs[position] is not None


def _bias(
    b: Builder, inputs: Sequence[Tensor | None], shape: Shape, stored: Shape | None = None
) -> Sequence[float] | None:
    """Operand 2, if there is one, read in the shape `stored` and broadcast to `shape`; there is no operand 3."""
    if len(inputs) > 3:
        b.fail(f"has {len(inputs)} operands")
    if not _present(inputs, 2):
        return None
    c = _constant(b, inputs, 2, float)
    c = Tensor(c.shape if stored is None else stored, c.elements, float)
    if len(c.elements) != prod(c.shape) or _broadcast(b, c.shape, shape) != shape:
        b.fail(f"a bias of {len(c.elements)} elements does not fit shape {shape}")
    return _spread(c, shape)


def _operands(b: Builder, inputs: Sequence[Tensor | None], low: int, high: int | None = None) -> list[Tensor]:
    """All operands, of which there must be low to high, none left out."""
    present = [t for t in inputs if t is not None]
    if len(present) != len(inputs) or not low <= len(present) <= (low if high is None else high):
        b.fail(f"has {len(inputs)} operands")
    return present


def _axis(b: Builder, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        b.fail(f"axis {axis} does not exist in rank {rank}")
    return axis % rank


def _broadcast(b: Builder, *shapes: Shape) -> Shape:
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(s)) + s for s in shapes]
    result = tuple(max(dims) if 0 not in dims else 0 for dims in zip(*padded, strict=True))
    if any(d not in (1, r) for s in padded for d, r in zip(s, result, strict=True)):
        b.fail(f"shapes {shapes} do not broadcast")
    return b.sized(result)


def _spread(x: Tensor, shape: Shape) -> Sequence[Any]:
    """The elements of x broadcast to shape."""
    if x.shape == shape:
        return x.elements
    padded = (1,) * (len(shape) - len(x.shape)) + x.shape
    return _pick(x.elements, padded, [range(d) if d == s else [0] * s for d, s in zip(padded, shape, strict=True)])


def _pick(elements: Sequence[Any], shape: Shape, chosen: Sequence[Sequence[int]]) -> list[Any]:
    """elements[i, j, ...] for i in chosen[0], j in chosen[1], ..., row-major."""
    positions = [0]
    for size, choice in zip(shape, chosen, strict=True):
        positions = [p * size + c for p in positions for c in choice]
    return [elements[p] for p in positions]


# Arithmetic ---------------------------------------------------------------------------------------------------------


def _add(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    return [_sum(b, inputs, minus=False)]


def _sub(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    return [_sum(b, inputs, minus=True)]


def _sum(b: Builder, inputs: list[Tensor | None], *, minus: bool) -> Tensor:
    left, right = operands = _operands(b, inputs, 2)
    shape = _broadcast(b, left.shape, right.shape)
    if all(t.dtype is not None for t in operands) or any(t.dtype is int for t in operands):
        b.fail("must add float32 values, one of which depends on the network's input")
    sides: list[View | Sequence[float]] = []
    for t in operands:
        elements = _spread(t, shape)
        sides.append(elements if t.dtype is float else b.view(Tensor(shape, elements, None)))
    return b.append(Sum(sides[0], sides[1], minus, prod(shape)), shape)


def _mul(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    left, right = _operands(b, inputs, 2)
    if left.dtype is not None:
        left, right = right, left
    return [_scale(b, _variable(b, [left]), _constant(b, [right], 0, float), divide=False)]


def _div(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    left, right = _operands(b, inputs, 2)
    divisor = _constant(b, [left, right], 1, float)
    if any(abs(c) < SMALLEST_NORMAL for c in divisor.elements):
        b.fail("divides by zero or by a subnormal number")
    return [_scale(b, _variable(b, [left]), divisor, divide=True)]


def _scale(b: Builder, x: Tensor, factor: Tensor, *, divide: bool) -> Tensor:
    shape = _broadcast(b, x.shape, factor.shape)
    view = b.view(Tensor(shape, _spread(x, shape), None))
    return b.append(Scale(view, _spread(factor, shape), divide, False), shape)


def _neg(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    x = _variable(b, _operands(b, inputs, 1))
    return [b.append(Scale(b.view(x), [-1.0] * len(x.elements), False, True), x.shape)]


def _relu(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    x = _variable(b, _operands(b, inputs, 1))
    return [b.append(Rectify(b.whole(x)), x.shape)]


def _gemm(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    _operands(b, inputs[:2], 2)
    x, weights = _variable(b, inputs), _constant(b, inputs, 1, float)
    if attributes.pop("alpha", 1.0) != 1.0 or attributes.pop("beta", 1.0) != 1.0 or attributes.pop("transA", 0):
        b.fail("alpha and beta other than 1, and transA, are not supported")
    transposed = attributes.pop("transB", 0) != 0
    if len(x.shape) != 2 or len(weights.shape) != 2 or x.shape[1] != weights.shape[1 if transposed else 0]:
        b.fail(f"shapes {x.shape} and {weights.shape} do not fit")
    (m, k), n = x.shape, weights.shape[0 if transposed else 1]
    b.sized((m, n))
    columns = _columns(weights.elements, k, n, transposed)
    rows: list[Row] = [(range(i * k, (i + 1) * k), column) for i in range(m) for column in columns]
    return [b.append(Product(b.view(x, distinct=True), rows, _bias(b, inputs, (m, n)), k), (m, n))]


def _columns(elements: Sequence[float], k: int, n: int, transposed: bool) -> list[Sequence[float]]:
    """The n weight vectors of length k of a k x n matrix (transposed: stored as n x k)."""
    return [elements[j * k : (j + 1) * k] if transposed else elements[j::n] for j in range(n)]


def _matmul(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    """x @ W with W of rank 1 or 2, or W @ x; the other operand may have any rank."""
    left, right = _operands(b, inputs, 2)
    flipped = left.dtype is not None
    x = _variable(b, [right if flipped else left])
    w = _constant(b, [left if flipped else right], 0, float)
    if len(w.shape) not in (1, 2) or not x.shape:
        b.fail(f"shapes {left.shape} and {right.shape} are not supported")
    if flipped:
        m, k = w.shape if len(w.shape) == 2 else (1, w.shape[0])
        *batch, inner, n = x.shape if len(x.shape) > 1 else (*x.shape, 1)
        shape = b.sized((*batch, *w.shape[:-1], *((n,) if len(x.shape) > 1 else ())))
        vectors = [w.elements[j * k : (j + 1) * k] for j in range(m)]
        blocks = [range(p * k * n, (p + 1) * k * n) for p in range(prod(batch))]
        rows: list[Row] = [(block[i::n], v) for block in blocks for v in vectors for i in range(n)]
    else:
        k, n = w.shape if len(w.shape) == 2 else (w.shape[0], 1)
        *batch, inner = x.shape
        shape = b.sized((*batch, *w.shape[1:]))
        vectors = _columns(w.elements, k, n, False)
        rows = [(range(p * k, (p + 1) * k), v) for p in range(prod(batch)) for v in vectors]
    if inner != k:
        b.fail(f"shapes {left.shape} and {right.shape} do not fit")
    return [b.append(Product(b.view(x, distinct=True), rows, None, k), shape)]


def _conv(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    """Convolution over any number of spatial axes; taps in the padding are left out, for they add exact zeros."""
    _operands(b, inputs[:2], 2)
    x, w = _variable(b, inputs), _constant(b, inputs, 1, float)
    rank = len(x.shape) - 2
    if attributes.pop("auto_pad", b"NOTSET") not in (b"NOTSET", b""):
        b.fail("auto_pad is not supported")
    groups = attributes.pop("group", 1)
    kernel = tuple(attributes.pop("kernel_shape", w.shape[2:]))
    strides, dilations = attributes.pop("strides", [1] * rank), attributes.pop("dilations", [1] * rank)
    pads = attributes.pop("pads", [0] * 2 * rank)
    if rank < 1 or len(w.shape) != rank + 2 or kernel != w.shape[2:] or min((*strides, *dilations, groups)) < 1:
        b.fail(f"shapes {x.shape} and {w.shape}, kernel {kernel} or strides do not fit")
    if (len(strides), len(dilations), len(pads)) != (rank, rank, 2 * rank) or min(pads) < 0 or prod(kernel) < 1:
        b.fail("strides, dilations or pads have the wrong length or sign")
    batch, channels, *space = x.shape
    filters, depth = w.shape[:2]
    if channels != depth * groups or filters % groups or not depth:
        b.fail(f"{channels} channels do not fit {filters} filters of depth {depth} in {groups} groups")
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    counts = [(n + pads[i] + pads[i + rank] - reach[i]) // strides[i] + 1 for i, n in enumerate(space)]
    if min(counts) < 1:
        b.fail(f"its output would have shape {(batch, filters, *counts)}")
    area, volume = prod(space), prod(kernel)
    shape = b.sized((batch, filters, *counts))
    b.sized((batch, channels, *counts), volume)
    axes = [_taps(counts[i], n, kernel[i], strides[i], dilations[i], pads[i]) for i, n in enumerate(space)]
    windows = [_window(tuple(space), kernel, taps) for taps in product(*axes)]
    rows: list[Row] = []
    for first in range(0, batch * channels, depth):
        inside = [[(first + c) * area + p for c in range(depth) for p in positions] for positions, _ in windows]
        group = first // depth % groups
        for f in range(group * (filters // groups), (group + 1) * (filters // groups)):
            weights = w.elements[f * depth * volume : (f + 1) * depth * volume]
            for places, (_, at) in zip(inside, windows, strict=True):
                full = len(at) == volume
                rows.append((places, weights if full else [weights[c * volume + t] for c in range(depth) for t in at]))
    bias = _bias(b, inputs, shape, (filters, *[1] * rank))
    return [b.append(Product(b.view(x, distinct=True), rows, bias, depth * volume), shape)]


def _taps(count: int, size: int, kernel: int, stride: int, dilation: int, before: int) -> list[list[tuple[int, int]]]:
    """Per output position of one axis the (tap, input position) pairs inside the input."""
    starts = [o * stride - before for o in range(count)]
    return [[(t, s + t * dilation) for t in range(kernel) if 0 <= s + t * dilation < size] for s in starts]


def _window(space: Shape, kernel: Shape, taps: Sequence[Sequence[tuple[int, int]]]) -> tuple[list[int], list[int]]:
    """Flat input positions and flat tap numbers of one output position, in the order of the taps."""
    positions = _pick(range(prod(space)), space, [[p for _, p in axis] for axis in taps])
    return positions, _pick(range(prod(kernel)), kernel, [[t for t, _ in axis] for axis in taps])


# Data movement ------------------------------------------------------------------------------------------------------


def _identity(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    return _operands(b, inputs, 1)


def _dropout(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    """Inference: the identity.  The mask is not defined, so that reading it is an error."""
    attributes.pop("ratio", None)
    attributes.pop("seed", None)
    if not _present(inputs, 0) or _present(inputs, 2):
        b.fail("a training mode is not supported")
    return [t for t in inputs[:1] if t is not None]


def _reshaped(b: Builder, x: Tensor, shape: Sequence[int]) -> Tensor:
    if prod(shape) != len(x.elements) or any(d < 0 for d in shape):
        b.fail(f"shape {x.shape} cannot become {tuple(shape)}")
    return Tensor(tuple(shape), x.elements, x.dtype)


def _flatten(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    (x,) = _operands(b, inputs, 1)
    rank = len(x.shape)
    axis = attributes.pop("axis", 1)
    if not -rank <= axis <= rank:
        b.fail(f"axis {axis} does not exist in rank {rank}")
    axis += rank if axis < 0 else 0
    return [_reshaped(b, x, (prod(x.shape[:axis]), prod(x.shape[axis:])))]


def _reshape(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    x, _shape = _operands(b, inputs, 2)
    if attributes.pop("allowzero", 0):
        b.fail("allowzero is not supported")
    wanted = list(_constant(b, inputs, 1, int).elements)
    if wanted.count(-1) > 1 or any(d == 0 and i >= len(x.shape) for i, d in enumerate(wanted)):
        b.fail(f"shape {wanted} cannot be inferred from {x.shape}")
    wanted = [x.shape[i] if d == 0 else d for i, d in enumerate(wanted)]
    if -1 in wanted:
        known = -prod(wanted)
        wanted[wanted.index(-1)] = len(x.elements) // known if known else 0
    return [_reshaped(b, x, wanted)]


def _axes(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any]) -> list[int] | None:
    """The axes of Squeeze and Unsqueeze: an attribute before opset 13, an operand since."""
    if b.opset >= 13:
        return list(_constant(b, inputs, 1, int).elements) if _present(inputs, 1) else None
    axes: list[int] | None = attributes.pop("axes", None)
    return axes


def _squeeze(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    x, *_rest = _operands(b, inputs, 1, 2)
    axes = _axes(b, inputs, attributes)
    gone = {i for i, d in enumerate(x.shape) if d == 1} if axes is None else {_axis(b, a, len(x.shape)) for a in axes}
    return [_reshaped(b, x, [d for i, d in enumerate(x.shape) if i not in gone])]


def _unsqueeze(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    x, *_rest = _operands(b, inputs, 1, 2)
    axes = _axes(b, inputs, attributes) or []
    rank = len(x.shape) + len(axes)
    new = {_axis(b, a, rank) for a in axes}
    if len(new) != len(axes) or not axes:
        b.fail(f"axes {axes} are missing or repeat")
    old = iter(x.shape)
    return [_reshaped(b, x, [1 if i in new else next(old) for i in range(rank)])]


def _transpose(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    (x,) = _operands(b, inputs, 1)
    rank = len(x.shape)
    order = attributes.pop("perm", list(reversed(range(rank))))
    if sorted(order) != list(range(rank)):
        b.fail(f"{order} is no permutation of {rank} axes")
    strides = [prod(x.shape[i + 1 :]) for i in range(rank)]
    positions = [0]
    for axis in order:
        positions = [p + c * strides[axis] for p in positions for c in range(x.shape[axis])]
    return [Tensor(tuple(x.shape[a] for a in order), [x.elements[p] for p in positions], x.dtype)]


def _concat(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    parts = _operands(b, inputs, 1, len(inputs))
    if "axis" not in attributes or len({t.dtype for t in parts}) != 1 or len({len(t.shape) for t in parts}) != 1:
        b.fail("needs an axis and operands of one kind and rank")
    axis = _axis(b, attributes.pop("axis"), len(parts[0].shape))
    if len({t.shape[:axis] + t.shape[axis + 1 :] for t in parts}) != 1:
        b.fail(f"shapes {[t.shape for t in parts]} do not fit")
    shape = (*parts[0].shape[:axis], sum(t.shape[axis] for t in parts), *parts[0].shape[axis + 1 :])
    runs = [prod(t.shape[axis:]) for t in parts]
    elements: list[Any] = []
    for block in range(prod(shape[:axis])):
        for t, run in zip(parts, runs, strict=True):
            elements.extend(t.elements[block * run : (block + 1) * run])
    return [Tensor(shape, elements, parts[0].dtype)]


def _select(x: Tensor, axis: int, chosen: Sequence[int], dims: Sequence[int] | None = None) -> Tensor:
    """x at the chosen positions of one axis; dims: what the axis becomes (default: one axis)."""
    picks: list[Sequence[int]] = [range(d) for d in x.shape]
    picks[axis] = chosen
    shape = (*x.shape[:axis], *((len(chosen),) if dims is None else dims), *x.shape[axis + 1 :])
    return Tensor(shape, _pick(x.elements, x.shape, picks), x.dtype)


def _slice(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    """starts, ends, axes, steps: attributes before opset 10, operands since; Python's slice rules."""
    names = ("starts", "ends", "axes", "steps")
    given: dict[str, list[int]] = {}
    if b.opset < 10:
        (x,) = _operands(b, inputs, 1)
        given = {name: attributes.pop(name) for name in names[:3] if name in attributes}
    elif inputs and inputs[0] is not None and len(inputs) <= 5:
        x = inputs[0]
        for position, name in enumerate(names, start=1):
            if _present(inputs, position):
                given[name] = list(_constant(b, inputs, position, int).elements)
    else:
        b.fail(f"has {len(inputs)} operands")
    count = len(given.get("starts", []))
    axes, steps = given.get("axes", list(range(count))), given.get("steps", [1] * count)
    if not count or {len(given.get("ends", [])), len(axes), len(steps)} != {count} or 0 in steps:
        b.fail(f"starts, ends, axes and steps do not fit: {given}")
    chosen = [_axis(b, a, len(x.shape)) for a in axes]
    if len(set(chosen)) != count:
        b.fail(f"axes {axes} repeat")
    for axis, start, end, step in zip(chosen, given["starts"], given["ends"], steps, strict=True):
        size = x.shape[axis]
        # A negative end counts from the back once; below that it means "before the first element".
        stop = None if step < 0 and end + size < 0 else end
        if step < 0 and start + size < 0:
            b.fail(f"start {start} lies before an axis of size {size}")
        x = _select(x, axis, range(size)[start:stop:step])
    return [x]


def _split(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], outputs: int) -> list[Tensor]:
    x, *_rest = _operands(b, inputs, 1, 2)
    axis = _axis(b, attributes.pop("axis", 0), len(x.shape))
    size = x.shape[axis]
    count = attributes.pop("num_outputs", outputs) if b.opset >= 18 else outputs
    sizes = attributes.pop("split", None) if b.opset < 13 else None
    if b.opset >= 13 and _present(inputs, 1):
        sizes = list(_constant(b, inputs, 1, int).elements)
    if sizes is None and count == outputs > 0:
        chunk = -(-size // count)
        sizes = [chunk] * (count - 1) + [size - chunk * (count - 1)]
        if b.opset < 18 and size % count:
            b.fail(f"axis of size {size} does not split into {count} equal parts")
    if sizes is None or len(sizes) != outputs or sum(sizes) != size or min(sizes) < 0:
        b.fail(f"axis of size {size} does not split into {sizes}")
    ends = [sum(sizes[: i + 1]) for i in range(outputs)]
    return [_select(x, axis, range(e - s, e)) for s, e in zip(sizes, ends, strict=True)]


def _gather(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    x, _index = _operands(b, inputs, 2)
    index = _constant(b, inputs, 1, int)
    axis = _axis(b, attributes.pop("axis", 0), len(x.shape))
    b.sized((*x.shape[:axis], len(index.elements), *x.shape[axis + 1 :]))
    return [_select(x, axis, [_axis(b, i, x.shape[axis]) for i in index.elements], index.shape)]


def _constant_node(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    """A tensor, or a number or list of numbers."""
    if inputs or len(attributes) != 1:
        b.fail("takes no operand and one attribute")
    name, value = attributes.popitem()
    if isinstance(value, Tensor) and name == "value":
        return [value]
    kinds: dict[str, type] = {"value_float": float, "value_floats": float, "value_int": int, "value_ints": int}
    if name not in kinds:
        b.fail(f"attribute {name!r} is not supported")
    values = value if isinstance(value, list) else [value]
    if any(v != v or v in (float("inf"), -float("inf")) for v in values):
        b.fail("has a value that is not finite")
    return [Tensor((len(values),) if isinstance(value, list) else (), values, kinds[name])]


OPERATORS: dict[str, Handler] = {
    "Add": _add,
    "Concat": _concat,
    "Constant": _constant_node,
    "Conv": _conv,
    "Div": _div,
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "Identity": _identity,
    "MatMul": _matmul,
    "Mul": _mul,
    "Neg": _neg,
    "Relu": _relu,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sub": _sub,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
