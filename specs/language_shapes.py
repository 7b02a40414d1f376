"""Shapes and positions: NumPy moves indices of entries, in row-major order, and so its rules are ours."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from farkas.ir.op import Shape
from farkas.specs.diagnostics import fail

Places = Sequence[int]


def size_of(shape: Shape) -> int:
    """The number of entries."""
    return int(np.prod(shape, dtype=np.int64))


def grid(shape: Shape) -> NDArray[np.int64]:
    """The places of all entries, in their shape."""
    return np.arange(size_of(shape), dtype=np.int64).reshape(shape)


def paired(left: Shape, right: Shape) -> tuple[Shape, Places, Places]:
    """The common shape of two operands and the place of each of its entries in them; raises SpecError."""
    if left == right:
        places = range(size_of(left))
        return left, places, places
    try:
        shape = np.broadcast_shapes(left, right)
    except ValueError:
        fail(
            "FK301", found=f"{left} and {right}", wanted="shapes that broadcast as in NumPy",
            fix="reshape, or select entries with an index",
        )  # fmt: skip
    first, second = (np.broadcast_to(grid(own), shape).ravel().tolist() for own in (left, right))
    return shape, first, second


def selected(shape: Shape, key: object) -> tuple[Shape, Places]:
    """The shape and the places of the entries that an index selects; raises SpecError."""
    try:
        found = np.asarray(grid(shape)[key])  # type: ignore[call-overload]  # whatever the user wrote; NumPy says what it is
    except (IndexError, TypeError, ValueError) as error:
        fail("FK302", found=f"{str(key)[:60]}: {error}", wanted=f"an index into shape {shape}", fix="another index")
    if not found.size:
        fail("FK302", found=f"{str(key)[:60]}, which selects nothing", wanted="at least one entry", fix="another index")
    return found.shape, found.ravel().tolist()


def reshaped(shape: Shape, wanted: Sequence[int]) -> Shape:
    """The new shape, with -1 filled in; raises SpecError."""
    try:
        return grid(shape).reshape(tuple(wanted)).shape
    except (TypeError, ValueError):
        fail(
            "FK303", found=f"shape {tuple(wanted)} for the {size_of(shape)} entries of shape {shape}",
            wanted=f"a shape of {size_of(shape)} entries", fix="-1 stands for the length that fits",
        )  # fmt: skip


def transposed(shape: Shape, axes: Sequence[int] | None) -> tuple[Shape, Places]:
    """The shape and the places after permuting the axes, or reversing them; raises SpecError."""
    try:
        found = grid(shape).transpose(None if not axes else tuple(axes))
    except (TypeError, ValueError):
        fail("FK311", found=f"axes {axes}", wanted=f"each axis of shape {shape} once", fix="count axes from 0")
    return found.shape, found.ravel().tolist()


def reduced(shape: Shape, axis: int | None) -> tuple[Shape, list[list[int]]]:
    """The shape without an axis (or without all of them), and the places that each of its entries is made of."""
    if axis is None:
        return (), [list(range(size_of(shape)))]
    try:
        rows = np.moveaxis(grid(shape), axis, -1)
    except (TypeError, ValueError):
        fail(
            "FK311", found=f"axis {axis}", wanted=f"an axis of shape {shape}",
            fix="count axes from 0; the greater of two tensors is fk.maximum(a, b)",
        )  # fmt: skip
    return rows.shape[:-1], rows.reshape(-1, rows.shape[-1]).tolist()


def multiplied(left: Shape, right: Shape) -> tuple[Shape, NDArray[np.int64], NDArray[np.int64]]:
    """The shape of `left @ right`, and for each of its entries a row of places on either side; raises SpecError."""
    fits = bool(left) and bool(right) and left[-1] == right[-2 if len(right) > 1 else 0]
    first = grid(left)[None, :] if len(left) == 1 else grid(left)
    second = grid(right)[:, None] if len(right) == 1 else grid(right)
    try:
        batch = np.broadcast_shapes(first.shape[:-2], second.shape[:-2]) if fits else None
    except ValueError:
        batch = None
    if batch is None:
        fail("FK304", found=f"{left} @ {right}", wanted="shapes as in NumPy", fix="transpose or reshape one of them")
    (m, k), n = first.shape[-2:], second.shape[-1]
    rows = np.broadcast_to(first[..., :, None, :], (*batch, m, n, k))
    columns = np.broadcast_to(np.swapaxes(second, -1, -2)[..., None, :, :], (*batch, m, n, k))
    shape = (*batch, *((m,) if len(left) > 1 else ()), *((n,) if len(right) > 1 else ()))
    return shape, rows.reshape(-1, k), columns.reshape(-1, k)
