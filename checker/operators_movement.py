"""Data movement: no step, but for what is joined with constants; only which elements the next step reads changes."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, prod
from typing import Any

from farkas.checker.builder import (
    Builder,
    Handler,
    Tensor,
    axis_of,
    broadcast,
    constant_at,
    is_present,
    operands_of,
    pick,
    spread,
    variable_at,
)


def _identity(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    return operands_of(b, inputs, 1)


def _dropout(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    """Inference: the identity.  The mask is not defined, so that reading it is an error."""
    attributes.pop("ratio", None)
    attributes.pop("seed", None)
    if not is_present(inputs, 0) or is_present(inputs, 2):
        b.fail("a training mode is not supported")
    return [t for t in inputs[:1] if t is not None]


def _reshaped(b: Builder, x: Tensor, shape: Sequence[int]) -> Tensor:
    if prod(shape) != len(x.elements) or any(d < 0 for d in shape):
        b.fail(f"shape {x.shape} cannot become {tuple(shape)}")
    return Tensor(tuple(shape), x.elements, x.dtype)


def _flatten(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    (x,) = operands_of(b, inputs, 1)
    rank = len(x.shape)
    axis = attributes.pop("axis", 1)
    if not -rank <= axis <= rank:
        b.fail(f"axis {axis} does not exist in rank {rank}")
    axis += rank if axis < 0 else 0
    return [_reshaped(b, x, (prod(x.shape[:axis]), prod(x.shape[axis:])))]


def _reshape(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    x, _shape = operands_of(b, inputs, 2)
    if attributes.pop("allowzero", 0):
        b.fail("allowzero is not supported")
    wanted = list(constant_at(b, inputs, 1, int).elements)
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
        return list(constant_at(b, inputs, 1, int).elements) if is_present(inputs, 1) else None
    axes: list[int] | None = attributes.pop("axes", None)
    return axes


def _squeeze(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    x, *_rest = operands_of(b, inputs, 1, 2)
    axes = _axes(b, inputs, attributes)
    gone = {i for i, d in enumerate(x.shape) if d == 1} if axes is None else {axis_of(b, a, len(x.shape)) for a in axes}
    return [_reshaped(b, x, [d for i, d in enumerate(x.shape) if i not in gone])]


def _unsqueeze(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    x, *_rest = operands_of(b, inputs, 1, 2)
    axes = _axes(b, inputs, attributes) or []
    rank = len(x.shape) + len(axes)
    new = {axis_of(b, a, rank) for a in axes}
    if len(new) != len(axes) or not axes:
        b.fail(f"axes {axes} are missing or repeat")
    old = iter(x.shape)
    return [_reshaped(b, x, [1 if i in new else next(old) for i in range(rank)])]


def _transpose(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    (x,) = operands_of(b, inputs, 1)
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
    parts = operands_of(b, inputs, 1, len(inputs))
    kinds = {t.dtype for t in parts}
    if "axis" not in attributes or kinds not in ({None}, {float}, {int}, {None, float}):
        b.fail("needs an axis and operands of one kind")
    if len({len(t.shape) for t in parts}) != 1:
        b.fail("needs operands of one rank")
    axis = axis_of(b, attributes.pop("axis"), len(parts[0].shape))
    if len({t.shape[:axis] + t.shape[axis + 1 :] for t in parts}) != 1:
        b.fail(f"shapes {[t.shape for t in parts]} do not fit")
    shape = (*parts[0].shape[:axis], sum(t.shape[axis] for t in parts), *parts[0].shape[axis + 1 :])
    runs = [prod(t.shape[axis:]) for t in parts]
    elements: list[Any] = []
    for block in range(prod(shape[:axis])):
        for t, run in zip(parts, runs, strict=True):
            elements.extend(t.elements[block * run : (block + 1) * run])
    return [Tensor(shape, elements, parts[0].dtype) if len(kinds) == 1 else b.join(elements, shape)]


def _pad(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    """A border of one number; negative widths crop.  Widths: an attribute before opset 11, an operand since."""
    if attributes.pop("mode", b"constant") != b"constant":
        b.fail("only the mode 'constant' is supported")
    x, value, rank = variable_at(b, inputs), 0.0, len(variable_at(b, inputs).shape)
    axes: Sequence[int] = range(rank)
    if b.opset < 11:
        operands_of(b, inputs, 1)
        widths, value = list(attributes.pop("pads")), attributes.pop("value", 0.0)
    else:
        widths = list(constant_at(b, inputs, 1, int).elements)
        if is_present(inputs, 2):
            (value,) = constant_at(b, inputs, 2, float).elements
        if is_present(inputs, 3):
            axes = [axis_of(b, axis, rank) for axis in constant_at(b, inputs, 3, int).elements]
    if len(inputs) > 4 or len(widths) != 2 * len(axes) or len(set(axes)) != len(axes) or not isfinite(value):
        b.fail(f"pads {widths} do not fit shape {x.shape}")
    picks: list[list[int]] = [list(range(d)) for d in x.shape]
    for i, axis in enumerate(axes):
        before, after, size = widths[i], widths[i + len(axes)], x.shape[axis]
        if min(before, 0) + min(after, 0) + size < 1:
            b.fail(f"pads {widths} leave nothing of shape {x.shape}")
        b.sized((size, max(before, 0) + max(after, 0) + 1))
        picks[axis] = [p if 0 <= p < size else -1 for p in range(-before, size + after)]
    shape = b.sized(tuple(map(len, picks)))
    at = pick(range(len(x.elements)), x.shape, [[max(p, 0) for p in axis] for axis in picks])
    inside = [True]
    for places in picks:
        inside = [i and p >= 0 for i in inside for p in places]
    elements = [x.elements[p] if i else float(value) for p, i in zip(at, inside, strict=True)]
    return [b.join(elements, shape)]


def _expand(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    x, _wanted = operands_of(b, inputs, 2)
    wanted = tuple(constant_at(b, inputs, 1, int).elements)
    if min(wanted, default=1) < 1:
        b.fail(f"shape {wanted} has no meaning")
    shape = broadcast(b, x.shape, wanted)
    return [Tensor(shape, spread(x, shape), x.dtype)]


def _resize(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    """Nearest-neighbour enlargement by whole factors, where the rules of rounding let through give i // factor."""
    x = variable_at(b, inputs)
    rule = attributes.pop("coordinate_transformation_mode", b"asymmetric" if b.opset < 11 else b"half_pixel")
    rounding = attributes.pop("nearest_mode", b"floor" if b.opset < 11 else b"round_prefer_floor")
    agreed = ((b"asymmetric", b"floor"), (b"half_pixel", b"round_prefer_floor"), (b"half_pixel", b"round_prefer_ceil"))
    if attributes.pop("mode", b"nearest") != b"nearest" or (rule, rounding) not in agreed:
        b.fail("only nearest-neighbour enlargement is supported")
    scales = attributes.pop("scales", None)
    if scales is None:
        scales = list(constant_at(b, inputs, 1 if b.opset < 11 else 2, float).elements)
    if len(inputs) > 3 or len(scales) != len(x.shape) or any(f < 1 or f != int(f) for f in scales):
        b.fail(f"the factors {scales} for shape {x.shape} are not all whole numbers")
    shape = b.sized(tuple(d * int(f) for d, f in zip(x.shape, scales, strict=True)))
    chosen = [[i // int(f) for i in range(d)] for d, f in zip(shape, scales, strict=True)]
    return [Tensor(shape, pick(x.elements, x.shape, chosen), None)]


def _select(x: Tensor, axis: int, chosen: Sequence[int], dims: Sequence[int] | None = None) -> Tensor:
    """x at the chosen positions of one axis; dims: what the axis becomes (default: one axis)."""
    picks: list[Sequence[int]] = [range(d) for d in x.shape]
    picks[axis] = chosen
    shape = (*x.shape[:axis], *((len(chosen),) if dims is None else dims), *x.shape[axis + 1 :])
    return Tensor(shape, pick(x.elements, x.shape, picks), x.dtype)


def _slice(b: Builder, inputs: list[Tensor | None], attributes: dict[str, Any], _outputs: int) -> list[Tensor]:
    """starts, ends, axes, steps: attributes before opset 10, operands since; Python's slice rules."""
    names = ("starts", "ends", "axes", "steps")
    given: dict[str, list[int]] = {}
    if b.opset < 10:
        (x,) = operands_of(b, inputs, 1)
        given = {name: attributes.pop(name) for name in names[:3] if name in attributes}
    elif inputs and inputs[0] is not None and len(inputs) <= 5:
        x = inputs[0]
        for position, name in enumerate(names, start=1):
            if is_present(inputs, position):
                given[name] = list(constant_at(b, inputs, position, int).elements)
    else:
        b.fail(f"has {len(inputs)} operands")
    count = len(given.get("starts", []))
    axes, steps = given.get("axes", list(range(count))), given.get("steps", [1] * count)
    if not count or {len(given.get("ends", [])), len(axes), len(steps)} != {count} or 0 in steps:
        b.fail(f"starts, ends, axes and steps do not fit: {given}")
    chosen = [axis_of(b, a, len(x.shape)) for a in axes]
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
    x, *_rest = operands_of(b, inputs, 1, 2)
    axis = axis_of(b, attributes.pop("axis", 0), len(x.shape))
    size = x.shape[axis]
    count = attributes.pop("num_outputs", outputs) if b.opset >= 18 else outputs
    sizes = attributes.pop("split", None) if b.opset < 13 else None
    if b.opset >= 13 and is_present(inputs, 1):
        sizes = list(constant_at(b, inputs, 1, int).elements)
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
    x, _index = operands_of(b, inputs, 2)
    index = constant_at(b, inputs, 1, int)
    axis = axis_of(b, attributes.pop("axis", 0), len(x.shape))
    b.sized((*x.shape[:axis], len(index.elements), *x.shape[axis + 1 :]))
    return [_select(x, axis, [axis_of(b, i, x.shape[axis]) for i in index.elements], index.shape)]


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


HANDLERS: dict[str, Handler] = {
    "Concat": _concat,
    "Constant": _constant_node,
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
}
