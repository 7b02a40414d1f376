"""Conditions: arrays of formulas, with `&`, `|`, `~`, `>>` and no truth value."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from farkas.ir.op import Shape
from farkas.specs.diagnostics import fail
from farkas.specs.diagnostics_traps import no_truth_value
from farkas.specs.language_forms import text
from farkas.specs.language_formulas import And, Comparison, Either, Formula, Or, conjunction, disjunction, negation
from farkas.specs.language_numpy import not_ours
from farkas.specs.language_shapes import paired, selected


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Condition:
    """An array of formulas, in row-major order.  Where one condition is wanted, all entries have to hold."""

    shape: Shape
    formulas: tuple[Formula, ...]

    __array_ufunc__ = None  # NumPy's operators leave the work to ours

    def __array_function__(self, function: Callable[..., object], *_: object) -> NoReturn:
        not_ours(function.__name__)

    def __bool__(self) -> bool:
        raise no_truth_value()

    def __invert__(self) -> Condition:
        return Condition(self.shape, tuple([negation(formula) for formula in self.formulas]))

    def __and__(self, other: object) -> Condition:
        return _merged(self, other, conjunction)

    def __or__(self, other: object) -> Condition:
        return _merged(self, other, disjunction)

    def __rshift__(self, other: object) -> Condition:
        return ~self | other

    def __rand__(self, other: object) -> NoReturn:
        no_condition(other)

    def __ror__(self, other: object) -> NoReturn:
        no_condition(other)

    def __rrshift__(self, other: object) -> NoReturn:
        no_condition(other)

    def __getitem__(self, key: object) -> Condition:
        shape, places = selected(self.shape, key)
        return Condition(shape, tuple([self.formulas[k] for k in places]))

    def all(self) -> Condition:
        """The condition that all entries hold."""
        return Condition((), (self.formula,))

    def any(self) -> Condition:
        """The condition that some entry holds."""
        return Condition((), (disjunction(self.formulas),))

    @property
    def formula(self) -> Formula:
        """The formula that says that all entries hold."""
        return conjunction(self.formulas)

    def __repr__(self) -> str:
        where = "" if not self.shape else f" {self.shape}, first entry"
        return f"<condition{where}: {_text(self.formulas[0])}>"


def gathered(conditions: Iterable[object]) -> list[Formula]:
    """The formulas of conditions, one for each; iterables among them are taken apart."""
    found: list[Formula] = []
    for item in conditions:
        if isinstance(item, Condition):
            found.append(item.formula)
        elif isinstance(item, Iterable) and not isinstance(item, str | bytes | np.ndarray):
            found.extend(gathered(item))
        else:
            no_condition(item)
    return found


def no_condition(value: object) -> NoReturn:
    """Raises SpecError about something that stands where a condition is wanted."""
    fail(
        "FK506", found=f"{type(value).__name__} {str(value)[:60]}", wanted="a comparison such as x >= 0",
        fix="fk.all([...])" if isinstance(value, list | tuple) else
        "compare it with something; Python's True and False are no conditions",
    )  # fmt: skip


def _merged(left: Condition, right: object, merge: Callable[[list[Formula]], Formula]) -> Condition:
    """The entries of two conditions, broadcast and merged in pairs."""
    if not isinstance(right, Condition):
        no_condition(right)
    shape, first, second = paired(left.shape, right.shape)
    return Condition(
        shape, tuple([merge([left.formulas[i], right.formulas[j]]) for i, j in zip(first, second, strict=True)])
    )


def _text(formula: Formula) -> str:
    """The formula for people, cut."""
    match formula:
        case Comparison(form, strict):
            return f"{text(form)} {'<' if strict else '<='} 0"
        case Either(holds):
            return _text(holds)
        case And(parts) | Or(parts):
            sign = " & " if isinstance(formula, And) else " | "
            shown = [f"({_text(part)})" if isinstance(part, Comparison) else "(...)" for part in parts[:3]]
            return sign.join([*shown, *(["..."] if len(parts) > 3 else [])])
