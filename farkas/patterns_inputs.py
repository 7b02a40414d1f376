"""What patterns say about inputs: a domain that bounds them, a point in the shape of a network's input, a ball."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

import farkas as fk
from farkas.specs.diagnostics import fail
from farkas.specs.language_conditions import Condition
from farkas.specs.language_positions import Position
from farkas.specs.language_tensors import Tensor, tensor

Value = object
"""A number of the language (int, float, "1/255", Fraction, NumPy's), an array or list of them, or a parameter."""

Domain = Mapping[str, Sequence[Value]] | Sequence[Value]
"""Bounds of all inputs: the pair (low, high), or such a pair for every entry by its name, in the input's order."""

Entry = str | int | tuple[int, ...]
"""An entry of an input: its name in the domain, its place in row-major order, or its indices."""

Prepare = Callable[[Tensor], Tensor]
"""What is computed of a variable before the network reads it, as `lambda x: (x - mean) / deviation`."""

Answer = Callable[[Tensor], Position]
"""What a network's outputs say: `fk.argmax` of scores, `fk.argmin` of costs."""

Decision = Callable[[Tensor], Position | Condition]
"""What is decided of outputs: a position, or whether a condition holds, as `lambda y: y[0, 0] >= 0`."""

Mask = npt.NDArray[np.bool_]


def variable(net: fk.Network, domain: Domain, name: str = "x") -> tuple[Tensor, list[Condition]]:
    """A variable of the network's input, with the domain's names as labels, and the bounds that the domain gives it."""
    if isinstance(domain, Mapping):
        x = fk.var(net.input, name=name, labels=tuple(domain))
        return x, [within(x[key], ends) for key, ends in domain.items()]
    x = fk.var(net.input, name=name)
    return x, [within(x, domain)]


def within(value: Tensor, ends: Sequence[Value]) -> Condition:
    """The condition that a value lies between a pair of bounds, entry by entry."""
    if isinstance(ends, str) or len(ends) != 2:
        fail("FK601", found=f"the bounds {str(ends)[:60]}", wanted="the pair of a lower and an upper one", fix="(0, 1)")
    return fk.between(ends[0], value, ends[1])


def entry(x: Tensor, key: Entry) -> Tensor:
    """The entry of a variable, as a single value; raises SpecError when there is none."""
    return x.ravel()[int(key)] if isinstance(key, int | np.integer) else x[key]


def point(net: fk.Network, image: Value) -> Tensor:
    """The numbers of an image in the shape of the network's input; axes of length 1 in front may be left out.

    Raises SpecError for any other shape: what a reshape would mean is not known.
    """
    made, shape = tensor(image), tuple(net.input.shape)
    if _core(made.shape) != _core(shape):
        fail(
            "FK305", found=f"an image of shape {made.shape}", wanted=f"shape {shape} of input '{net.input.name}'",
            fix=f"image.reshape({shape}) if the entries are in that order; image.transpose(...) if the axes are not",
        )  # fmt: skip
    return made.reshape(shape)


def _core(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape without the axes of length 1 in front."""
    start = next((k for k, length in enumerate(shape) if length != 1), len(shape))
    return tuple(shape[start:])


def free(net: fk.Network, mask: npt.ArrayLike | None) -> Mask:
    """Which entries of the input may change: all, or those where the mask is true; in the shape of the input."""
    shape = tuple(net.input.shape)
    if mask is None:
        return np.ones(shape, dtype=bool)
    given = np.asarray(mask)
    if given.dtype != np.bool_ or _core(given.shape) != _core(shape):
        fail(
            "FK305", found=f"a mask of {given.dtype} and shape {given.shape}", wanted=f"truth values of shape {shape}",
            fix="mask = numpy.zeros(shape, dtype=bool), and true where entries may change",
        )  # fmt: skip
    return given.reshape(shape)


def named(x: Tensor, keys: Iterable[Entry] | Entry) -> list[int]:
    """The places of the entries that are named, one or several; raises SpecError for none, and for unknown ones."""
    single = isinstance(keys, str | int | np.integer) or (isinstance(keys, tuple) and all(map(_is_index, keys)))
    chosen: list[Entry] = [keys] if single else list(keys)  # type: ignore[arg-type, list-item]  # told apart above
    if not chosen:
        fail("FK601", found="no entries", wanted="the name or place of one entry at least", fix="name some")
    return [_place(x, key) for key in chosen]


def _place(x: Tensor, key: Entry) -> int:
    """The place of an entry in row-major order."""
    found = entry(x, key)
    return next(k for k, form in enumerate(x.forms) if form is found.forms[0])


def _is_index(value: object) -> bool:
    return isinstance(value, int | np.integer)


def others_near(a: Tensor, b: Tensor, keys: Iterable[Entry] | Entry, distance: Value = 0) -> list[Condition]:
    """The conditions that two variables differ by at most a distance in all entries but the named ones."""
    others = np.ones(a.size, dtype=bool)
    others[named(a, keys)] = False
    if not others.any():
        return []
    first, second, radius = a.ravel()[others], b.ravel()[others], tensor(distance)
    if radius.shape:
        radius = radius.reshape(a.size)[others]
    zero = not any(form.terms or form.constant for form in radius.forms)
    return [first == second] if zero else [fk.abs(first - second) <= radius]
