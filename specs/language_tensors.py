"""Tensors: arrays of forms with NumPy's shapes, broadcasting and operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NoReturn

import numpy as np

from farkas.ir.op import Shape
from farkas.specs.diagnostics import Diagnostic, UnknownLabel, fail, here
from farkas.specs.diagnostics_traps import no_truth_value
from farkas.specs.language_conditions import Condition
from farkas.specs.language_forms import (
    ONE,
    Form,
    absolute,
    add,
    combination,
    greatest,
    least,
    negated,
    number,
    scaled,
    subtract,
    text,
)
from farkas.specs.language_formulas import Formula, at_most, different, equal
from farkas.specs.language_numbers import exact, warn_computed
from farkas.specs.language_numpy import OURS, not_ours, operated
from farkas.specs.language_products import MAX_POWER, power, times
from farkas.specs.language_shapes import multiplied, paired, reduced, reshaped, selected, transposed


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Tensor:
    """An array of forms, in row-major order; labels: names of its entries, of variables only."""

    shape: Shape
    forms: tuple[Form, ...]
    labels: tuple[str, ...] = ()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: object, **_: object) -> object:
        return operated(self, ufunc.__name__, method, operands)

    def __array_function__(self, function: Callable[..., object], *_: object) -> NoReturn:
        not_ours(function.__name__)

    # -- arithmetic --------------------------------------------------------------------------------------------

    def __add__(self, other: object) -> Tensor:
        return zipped(self, tensor(other), add)

    def __radd__(self, other: object) -> Tensor:
        return zipped(tensor(other), self, add)

    def __sub__(self, other: object) -> Tensor:
        return zipped(self, tensor(other), subtract)

    def __rsub__(self, other: object) -> Tensor:
        return zipped(tensor(other), self, subtract)

    def __mul__(self, other: object) -> Tensor:
        return zipped(self, tensor(other), times)

    def __rmul__(self, other: object) -> Tensor:
        return zipped(tensor(other), self, times)

    def __truediv__(self, other: object) -> Tensor:
        return zipped(self, tensor(other), _quotient)

    def __rtruediv__(self, other: object) -> Tensor:
        return zipped(tensor(other), self, _quotient)

    def __matmul__(self, other: object) -> Tensor:
        return _product(self, tensor(other))

    def __rmatmul__(self, other: object) -> Tensor:
        return _product(tensor(other), self)

    def __pow__(self, other: object) -> Tensor:
        if isinstance(other, bool) or not isinstance(other, int | np.integer) or not 0 <= other <= MAX_POWER:
            fail(
                "FK403", found=f"the power {str(other)[:20]} of {text(self.forms[0])}",
                wanted=f"an integer from 0 to {MAX_POWER}", fix="x**2; for a root, compare the square",
            )  # fmt: skip
        return Tensor(self.shape, tuple([power(form, int(other)) for form in self.forms]))

    def __rpow__(self, other: object) -> NoReturn:
        fail(
            "FK403", found=f"the power {text(self.forms[0])} of {str(other)[:20]}",
            wanted="an exponent that is a number", fix="x**2",
        )  # fmt: skip

    def __neg__(self) -> Tensor:
        return Tensor(self.shape, tuple([negated(form) for form in self.forms]))

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return Tensor(self.shape, tuple([absolute(form) for form in self.forms]))

    # -- comparisons -------------------------------------------------------------------------------------------

    def __le__(self, other: object) -> Condition:
        return _compared(self, other, at_most)

    def __lt__(self, other: object) -> Condition:
        return _compared(self, other, _less)

    def __ge__(self, other: object) -> Condition:
        return _compared(self, other, lambda left, right: at_most(right, left))

    def __gt__(self, other: object) -> Condition:
        return _compared(self, other, lambda left, right: at_most(right, left, strict=True))

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]  # comparisons make conditions
        return _compared(self, other, equal)

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]
        return _compared(self, other, different)

    # -- traps -------------------------------------------------------------------------------------------------

    def __bool__(self) -> bool:
        raise no_truth_value()

    def __contains__(self, item: object) -> bool:
        raise no_truth_value()

    def _logical(self, other: object = None) -> NoReturn:
        fail(
            "FK106", found=f"an operator on {text(self.forms[0])}", wanted="`&`, `|`, `~` and `>>` between conditions",
            fix="parentheses around every comparison: (x >= 0) & (x <= 1)",
        )  # fmt: skip

    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __rshift__ = __rrshift__ = __invert__ = _logical

    # -- shape -------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        if not self.shape:
            fail("FK302", found="the length of a single value", wanted="a tensor with an axis", fix="leave it out")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, key: object) -> Tensor:
        if isinstance(key, str):
            return self._labelled(key)
        return _taken(self, *selected(self.shape, key))

    def __getattr__(self, name: str) -> Tensor:
        if name.startswith("_") or name in ("shape", "forms", "labels"):
            raise AttributeError(name)
        return self._labelled(name)

    def _labelled(self, name: str) -> Tensor:
        if name not in self.labels:
            known = f"labels {', '.join(self.labels)}" if self.labels else "a tensor with labels"
            fix = f"{OURS[name]}; or fk.var(..., labels=(...))" if name in OURS else "fk.var(..., labels=(...))"
            raise UnknownLabel(Diagnostic("FK309", here(), f"'{name}'", known, fix))
        return Tensor((), (self.forms[self.labels.index(name)],))

    def reshape(self, *shape: int | Sequence[int]) -> Tensor:
        """The entries in the same order in another shape; -1 stands for the length that fits."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], Sequence) else shape
        return Tensor(reshaped(self.shape, wanted), self.forms)  # type: ignore[arg-type]  # NumPy says what is no shape

    def ravel(self) -> Tensor:
        """All entries along one axis."""
        return Tensor((self.size,), self.forms)

    def transpose(self, *axes: int) -> Tensor:
        """The axes permuted; reversed when none are named."""
        return _taken(self, *transposed(self.shape, axes))

    @property
    def T(self) -> Tensor:
        """The axes reversed."""
        return self.transpose()

    @property
    def size(self) -> int:
        """The number of entries."""
        return len(self.forms)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    # -- reductions --------------------------------------------------------------------------------------------

    def sum(self, axis: int | None = None) -> Tensor:
        """The sum of all entries, or along an axis."""
        return _reduced(self, axis, _total)

    def mean(self, axis: int | None = None) -> Tensor:
        """The mean of all entries, or along an axis."""
        return _reduced(self, axis, lambda forms: scaled(_total(forms), Fraction(1, len(forms))))

    def max(self, axis: int | None = None) -> Tensor:
        """The greatest of all entries, or along an axis."""
        return _reduced(self, axis, greatest)

    def min(self, axis: int | None = None) -> Tensor:
        """The least of all entries, or along an axis."""
        return _reduced(self, axis, least)

    def __repr__(self) -> str:
        if not self.shape:
            return f"<value {text(self.forms[0])}>"
        return f"<tensor {self.shape}, first entry {text(self.forms[0])}>"


def tensor(value: object) -> Tensor:
    """The tensor that an operand means: a tensor, a number, an array or nested lists of them; raises SpecError."""
    if isinstance(value, Tensor):
        return value
    computed: list[float] = []
    made = _made(value, computed)
    warn_computed(computed)
    return made


def _made(value: object, computed: list[float]) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray):
        if not value.size:
            fail("FK313", found=f"an array of shape {value.shape}", wanted="at least one entry", fix="leave it out")
        return Tensor(value.shape, tuple([number(exact(entry, computed)) for entry in _entries(value)]))
    if isinstance(value, list | tuple):
        return _stacked([_made(item, computed) for item in value])
    return Tensor((), (number(exact(value, computed)),))


def _entries(array: np.ndarray) -> Iterator[object]:
    """The entries of an array as NumPy's scalars, so that they mean their binary values."""
    return iter(array.ravel())


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    if not parts:
        fail("FK313", found="an empty list", wanted="at least one entry", fix="leave it out")
    shapes = sorted({part.shape for part in parts})
    if len(shapes) > 1:
        fail("FK307", found=f"rows of shapes {', '.join(map(str, shapes))}", wanted="rows of one shape", fix="fill up")
    return Tensor((len(parts), *shapes[0]), tuple([form for part in parts for form in part.forms]))


def zipped(left: Tensor, right: Tensor, operation: Callable[[Form, Form], Form]) -> Tensor:
    """An operation on the entries of two tensors in pairs, broadcast."""
    shape, first, second = paired(left.shape, right.shape)
    a, b = left.forms, right.forms
    return Tensor(shape, tuple([operation(a[i], b[j]) for i, j in zip(first, second, strict=True)]))


def _compared(left: Tensor, other: object, operation: Callable[[Form, Form], Formula]) -> Condition:
    right = tensor(other)
    shape, first, second = paired(left.shape, right.shape)
    a, b = left.forms, right.forms
    return Condition(shape, tuple([operation(a[i], b[j]) for i, j in zip(first, second, strict=True)]))


def _less(left: Form, right: Form) -> Formula:
    return at_most(left, right, strict=True)


def _quotient(left: Form, right: Form) -> Form:
    if right.terms:
        fail("FK402", found=f"division by {text(right)}", wanted="division by a number", fix="multiply by it first")
    if not right.constant:
        fail("FK407", found=f"{text(left)} / 0", wanted="a divisor that is not 0", fix="another divisor")
    return scaled(left, 1 / right.constant)


def _product(left: Tensor, right: Tensor) -> Tensor:
    shape, rows, columns = multiplied(left.shape, right.shape)
    a, b = left.forms, right.forms
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return Tensor(shape, tuple([_inner([a[i] for i in row], [b[j] for j in column]) for row, column in pairs]))


def _inner(left: Sequence[Form], right: Sequence[Form]) -> Form:
    """The sum of products in pairs."""
    return combination([
        (a, b.constant) if not b.terms else (b, a.constant) if not a.terms else (times(a, b), ONE)
        for a, b in zip(left, right, strict=True)
    ])  # fmt: skip


def _total(forms: Sequence[Form]) -> Form:
    return combination([(form, ONE) for form in forms])


def _reduced(of: Tensor, axis: int | None, operation: Callable[[Sequence[Form]], Form]) -> Tensor:
    shape, groups = reduced(of.shape, axis)
    return Tensor(shape, tuple([operation([of.forms[k] for k in group]) for group in groups]))


def _taken(of: Tensor, shape: Shape, places: Sequence[int]) -> Tensor:
    return Tensor(shape, tuple([of.forms[k] for k in places]))
