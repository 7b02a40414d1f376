"""Conditions: arrays of formulas, with `&`, `|`, `~`, `>>` and no truth value; and positions (argmax, argmin)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from farkas.ir.op import Shape
from farkas.specs.diagnostics import fail
from farkas.specs.diagnostics_traps import no_truth_value
from farkas.specs.language_forms import Form, text
from farkas.specs.language_formulas import (
    And,
    Comparison,
    Formula,
    Or,
    at_most,
    conjunction,
    disjunction,
    negation,
)
from farkas.specs.language_shapes import paired, selected


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Condition:
    """An array of formulas, in row-major order.  Where one condition is wanted, all entries have to hold."""

    shape: Shape
    formulas: tuple[Formula, ...]

    __array_ufunc__ = None  # NumPy's operators leave the work to ours

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


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Position:
    """The position of the greatest of several values, the lowest one on ties; argmin is that of the negatives."""

    name: str
    values: tuple[Form, ...]

    def __bool__(self) -> bool:
        raise no_truth_value()

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]  # comparisons make conditions
        return Condition((), (self._equals(other),))

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]
        return Condition((), (negation(self._equals(other)),))

    def __lt__(self, other: object) -> Condition:
        return self._among(range(self._integer(other)))

    def __le__(self, other: object) -> Condition:
        return self._among(range(self._integer(other) + 1))

    def __gt__(self, other: object) -> Condition:
        return self._among(range(self._integer(other) + 1, len(self.values)))

    def __ge__(self, other: object) -> Condition:
        return self._among(range(self._integer(other), len(self.values)))

    def __repr__(self) -> str:
        return f"<{self.name} of {len(self.values)} values>"

    def _equals(self, other: object) -> Formula:
        if isinstance(other, Position):
            common = range(min(len(self.values), len(other.values)))
            return disjunction([conjunction([self._is(k), other._is(k)]) for k in common])
        return self._is(self._integer(other))

    def _among(self, places: Iterable[int]) -> Condition:
        chosen = [self._is(k) for k in places]
        if not 0 < len(chosen) < len(self.values):
            self._outside("a comparison that is always or never true")
        return Condition((), (disjunction(chosen),))

    def _is(self, place: int) -> Formula:
        """The formula that the position is `place`: less before it, at most as much behind it."""
        best = self.values[place]
        parts: list[Formula] = [at_most(value, best, k < place) for k, value in enumerate(self.values) if k != place]
        return conjunction(parts)

    def _integer(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            fail(
                "FK406", found=f"{self.name} compared with {type(value).__name__} {str(value)[:60]}",
                wanted=f"an integer from 0 to {len(self.values) - 1}, or argmax or argmin",
                fix=f"fk.{self.name}(y) == 0",
            )  # fmt: skip
        if not 0 <= value < len(self.values):
            self._outside(str(value))
        return int(value)

    def _outside(self, found: str) -> NoReturn:
        last = len(self.values) - 1
        fail("FK405", found=f"{self.name} and {found}", wanted=f"0 to {last}", fix="another position, counted from 0")


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
        fix="compare it with something; Python's True and False are no conditions",
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
        case And(parts) | Or(parts):
            sign = " & " if isinstance(formula, And) else " | "
            shown = [f"({_text(part)})" if isinstance(part, Comparison) else "(...)" for part in parts[:3]]
            return sign.join([*shown, *(["..."] if len(parts) > 3 else [])])
