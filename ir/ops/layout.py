"""ONNX's operators of data movement, resolved to those of farkas.ir.ops.movement.

Their shapes, axes and indices were attributes in early opsets and are operands in later ones; here both are constants.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from farkas.ir.graph import Node
from farkas.ir.onnx_node import MAX_ELEMENTS, Constant, OnnxNode, Tensor
from farkas.ir.onnx_wire import DTYPES
from farkas.ir.op import Importer
from farkas.ir.ops.movement import Concat, Expand, Gather, Pad, Reshape, Slice, Transpose, Where


def _identity(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are()
    x = node.variable(0)
    return node.gives(Reshape(x.shape), x)


def _dropout(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("ratio", "seed", "is_test")
    training = node.constant(2)
    if training is not None and bool(np.any(training)):
        node.refuse("training mode draws at random; export the network for inference")
    x = node.variable(0)
    return node.gives(Reshape(x.shape), x)


def _cast(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("to", "saturate")
    to = DTYPES.get(node.integer("to", 0))
    if to != node.dtype:
        node.refuse(
            f"a variable tensor of type {node.dtype} is cast to {to}; only a cast that changes nothing is known"
        )
    x = node.variable(0)
    return node.gives(Reshape(x.shape), x)


def _flatten(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("axis")
    x = node.variable(0)
    axis = node.integer("axis", 1)
    if not -len(x.shape) <= axis <= len(x.shape):
        node.malformed(f"axis {axis} does not exist in a tensor of rank {len(x.shape)}")
    axis = axis if axis >= 0 else axis + len(x.shape)
    return node.gives(Reshape((math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))), x)


def _reshape(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("allowzero")
    x, wanted = node.variable(0), node.integers_at(1)
    if wanted is None:
        node.malformed("the new shape is missing")
    if not node.integer("allowzero", 0):
        if any(n == 0 and i >= len(x.shape) for i, n in enumerate(wanted)):
            node.malformed(f"the new shape {wanted} copies a dimension that shape {x.shape} does not have")
        wanted = tuple(x.shape[i] if n == 0 else n for i, n in enumerate(wanted))
    known = math.prod(n for n in wanted if n != -1)
    if min(wanted, default=1) < -1 or wanted.count(-1) > 1 or (-1 in wanted and known == 0):
        node.malformed(f"the new shape {wanted} has no meaning")
    return node.gives(Reshape(tuple(math.prod(x.shape) // known if n == -1 else n for n in wanted)), x)


def _axes(node: OnnxNode, rank: int) -> tuple[int, ...] | None:
    """Attribute or second operand `axes`, nonnegative and distinct; None when left out."""
    axes = node.integers("axes") if "axes" in node.attributes else node.integers_at(1)
    if axes is None:
        return None
    found = tuple(node.axis(axis, rank) for axis in axes)
    if len(set(found)) != len(found):
        node.malformed(f"axes {axes} repeat one")
    return found


def _squeeze(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("axes")
    x = node.variable(0)
    axes = _axes(node, len(x.shape))
    if axes is None:
        axes = tuple(axis for axis, n in enumerate(x.shape) if n == 1)
    if any(x.shape[axis] != 1 for axis in axes):
        node.malformed(f"axes {axes} of a tensor of shape {x.shape} do not all have length 1")
    return node.gives(Reshape(tuple(n for axis, n in enumerate(x.shape) if axis not in axes)), x)


def _unsqueeze(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("axes")
    x = node.variable(0)
    count = node.integers("axes") if "axes" in node.attributes else node.integers_at(1)
    rank = len(x.shape) + len(count or ())
    axes = _axes(node, rank)
    if axes is None:
        node.malformed("its axes are missing")
    kept = iter(x.shape)
    return node.gives(Reshape(tuple(1 if axis in axes else next(kept) for axis in range(rank))), x)


def _transpose(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("perm")
    x = node.variable(0)
    order = node.integers("perm")
    return node.gives(Transpose(tuple(range(len(x.shape)))[::-1] if order is None else order), x)


def _expand(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are()
    x, wanted = node.variable(0), node.integers_at(1)
    if wanted is None or min(wanted, default=1) < 1:
        node.malformed(f"the new shape {wanted} has no meaning")
    rank = max(len(wanted), len(x.shape))
    padded = [(1,) * (rank - len(s)) + tuple(s) for s in (x.shape, wanted)]
    return node.gives(Expand(tuple(max(m, n) for m, n in zip(*padded, strict=True))), x)


def _concat(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("axis")
    variables = [operand for operand in node.operands if isinstance(operand, Tensor)]
    parts = tuple(None if isinstance(part, Tensor) else node.required(i) for i, part in enumerate(node.operands))
    if "axis" not in node.attributes or not parts:
        node.malformed("its axis is missing")
    return node.gives(Concat(node.axis(node.integer("axis", 0), len(variables[0].shape)), parts), *variables)


def _where(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are()
    mask = node.constant(0)
    if mask is None or mask.dtype != np.bool_:
        node.malformed("its condition should be a boolean tensor")
    variables = [operand for operand in node.operands[1:3] if isinstance(operand, Tensor)]
    first, second = (None if isinstance(node.operand(i), Tensor) else node.required(i) for i in (1, 2))
    return node.gives(Where(mask, (first, second)), *variables)


def _slice(node: OnnxNode) -> tuple[Node, ...]:
    x = node.variable(0)
    rank = len(x.shape)
    if node.opset < 10:
        node.attributes_are("starts", "ends", "axes")
        starts, ends, axes = node.integers("starts"), node.integers("ends"), node.integers("axes")
        steps: Sequence[int] | None = None
    else:
        node.attributes_are()
        starts, ends, axes, steps = (node.integers_at(i) for i in range(1, 5))
    if starts is None or ends is None:
        node.malformed("its starts or ends are missing")
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        node.malformed(f"starts {starts}, ends {ends}, axes {axes} and steps {steps} do not fit together")
    ranges = [range(n) for n in x.shape]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = node.axis(axis, rank)
        ranges[place] = _span(x.shape[place], start, end, step)
    return node.gives(Slice(tuple(ranges)), x)


def _span(n: int, start: int, end: int, step: int) -> range:
    """ONNX's slice of an axis of length n: negative values count from its end, then all are clamped to it."""
    start = start + n if start < 0 else start
    end = end + n if end < 0 else end
    if step > 0:
        return range(min(max(start, 0), n), min(max(end, 0), n), step)
    return range(min(max(start, 0), n - 1), min(max(end, -1), n - 1), step)


def _split(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("axis", "split", "num_outputs")
    x = node.variable(0)
    axis = node.axis(node.integer("axis", 0), len(x.shape))
    n, count = x.shape[axis], len(node.outputs)
    lengths = node.integers("split") if "split" in node.attributes else node.integers_at(1)
    if lengths is None:
        each = -(-n // count)
        lengths = (*(each,) * (count - 1), n - each * (count - 1))
    if sum(lengths) != n or len(lengths) != count or min(lengths) < 0:
        node.malformed(f"lengths {lengths} do not split an axis of length {n} into {count} parts")
    made, start = [], 0
    for name, length in zip(node.outputs, lengths, strict=True):
        ranges = [range(m) for m in x.shape]
        ranges[axis] = range(start, start + length)
        if name:
            made.append(Node(name, Slice(tuple(ranges)), (x.name,)))
        start += length
    return tuple(made)


def _gather(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("axis")
    x, indices = node.variable(0), node.constant(1)
    axis = node.axis(node.integer("axis", 0), len(x.shape))
    if indices is None or indices.dtype.kind != "i":
        node.malformed("its indices should be integers")
    n = x.shape[axis]
    if ((indices < -n) | (indices >= n)).any():
        node.malformed(f"an index lies outside axis {axis} of length {n}")
    return node.gives(Gather(axis, np.asarray(np.where(indices < 0, indices + n, indices), dtype=np.int64)), x)


def _pad(node: OnnxNode) -> tuple[Node, ...]:
    node.attributes_are("mode", "pads", "value")
    x = node.variable(0)
    if node.text("mode", "constant") != "constant":
        node.refuse(f"mode '{node.text('mode', '')}' is not supported; 'constant' is")
    widths = node.integers("pads") if "pads" in node.attributes else node.integers_at(1)
    given = node.weight(2)
    value = node.real("value", 0.0) if given is None else float(given.ravel()[0]) if given.size == 1 else math.nan
    axes = node.integers_at(3)
    places = range(len(x.shape)) if axes is None else [node.axis(axis, len(x.shape)) for axis in axes]
    if widths is None or len(widths) != 2 * len(places) or math.isnan(value):
        node.malformed(f"pads {widths} do not fit a tensor of shape {x.shape}")
    pads = [(0, 0)] * len(x.shape)
    for i, axis in enumerate(places):
        pads[axis] = (widths[i], widths[i + len(places)])
    return node.gives(Pad(tuple(pads), value), x)


def _resize(node: OnnxNode) -> tuple[Node, ...]:
    """Nearest-neighbour enlargement by whole factors, where every rule of rounding gives i // factor."""
    node.attributes_are(
        "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside", "extrapolation_value", "mode",
        "nearest_mode", "scales", "antialias", "keep_aspect_ratio_policy",
    )  # fmt: skip
    x = node.variable(0)
    rule = node.text("coordinate_transformation_mode", "half_pixel" if node.kind == "Resize" else "asymmetric")
    rounding = node.text("nearest_mode", "round_prefer_floor" if node.opset > 10 and node.kind == "Resize" else "floor")
    agreed = {("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil")}
    if node.opset <= 10:
        rule, rounding = "asymmetric", "floor"
    if node.text("mode", "nearest") != "nearest" or (rule, rounding) not in agreed:
        node.refuse(f"only nearest-neighbour enlargement is supported, with one of {sorted(agreed)}")
    factors = _factors(node, x)
    node.check_size(tuple(n * factor for n, factor in zip(x.shape, factors, strict=True)))
    indices = [np.arange(n * factor) // factor for n, factor in zip(x.shape, factors, strict=True)]
    made, last = [], x.name
    for axis, factor in enumerate(factors):
        if factor > 1:
            made.append(node.before(Gather(axis, indices[axis]), f"axis{axis}", last))
            last = made[-1].name
    shape = tuple(n * factor for n, factor in zip(x.shape, factors, strict=True))
    return (*made, *node.gives(Reshape(shape), last))


def _factors(node: OnnxNode, x: Tensor) -> tuple[int, ...]:
    attribute = node.attributes.get("scales")
    scales: Any = attribute if attribute is not None else node.constant(1 if node.opset <= 10 else 2)
    sizes = node.integers_at(3) if node.opset > 10 else None
    if sizes:
        scales = [m / n for m, n in zip(sizes, x.shape, strict=False)]
    factors = tuple(float(s) for s in np.ravel([] if scales is None else scales))
    if len(factors) != len(x.shape) or any(not f.is_integer() or f < 1 for f in factors):
        node.refuse(f"the factors {factors} for a tensor of shape {x.shape} are not all whole numbers")
    return tuple(int(f) for f in factors)


def moved(node: OnnxNode, constants: Sequence[Constant]) -> tuple[Constant, ...]:
    """The outputs of a movement operator all of whose operands are constant."""
    count = len(constants) if node.kind == "Concat" else 1
    stand_ins = tuple(Tensor(f"#{i}", constants[i].shape) for i in range(count))
    pretend = OnnxNode(
        node.name, node.kind, node.opset, node.dtype, (*stand_ins, *node.operands[count:]), node.outputs,
        node.attributes,
    )  # fmt: skip
    values: dict[str, Any] = {f"#{i}": constants[i] for i in range(count)}
    for made in IMPORTERS[node.kind](pretend):
        shape = made.op.infer(*(values[name].shape for name in made.inputs))
        if math.prod(shape) > MAX_ELEMENTS:
            node.check_size(shape)
        place: Any = made.op
        values[made.name] = place.place(*(values[name] for name in made.inputs))
    return tuple(np.asarray(values[name]) for name in node.outputs if name)


IMPORTERS: Mapping[str, Importer] = {
    "Cast": _cast,
    "Concat": _concat,
    "Dropout": _dropout,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": _identity,
    "Pad": _pad,
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Upsample": _resize,
    "Where": _where,
}
