"""Positions of the greatest and least of several values: argmax, argmin, and the k greatest.

One is ahead of another when it is greater, or equal and earlier; so there is always exactly one order.

A value is among the k greatest when fewer than k are ahead of it, and is not when some k are.  Both are stated as a
disjunction of conjunctions, by subsets of the others: `not` of the first would have to be multiplied out to get the
second (10 values, k = 3: 84 conjunctions of 3 comparisons; multiplied out, 7 ** 84).  So are conditions on a position,
for it is one of finitely many: `argmax(a) != argmax(b)` says that some k is the first and not the second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any, NoReturn

import numpy as np

from farkas.specs.diagnostics import fail
from farkas.specs.diagnostics_traps import no_truth_value
from farkas.specs.language_conditions import Condition
from farkas.specs.language_forms import Form
from farkas.specs.language_formulas import Comparison, Either, Formula, at_most, conjunction, disjunction, negation

MAX_SUBSETS = 20_000


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
            return self.where(other.is_at, len(other.values))
        return self.is_at(self._integer(other))

    def _among(self, places: Iterable[int]) -> Condition:
        chosen = [self.is_at(k) for k in places]
        if not 0 < len(chosen) < len(self.values):
            self._outside("a comparison that is always or never true")
        return Condition((), (disjunction(chosen),))

    def is_at(self, place: int) -> Formula:
        """The formula that the position is `place`: less before it, at most as much behind it."""
        best = self.values[place]
        parts: list[Formula] = [at_most(value, best, k < place) for k, value in enumerate(self.values) if k != place]
        return conjunction(parts)

    def where(self, holds: Callable[[int], Formula], count: int) -> Formula:
        """The formula that `holds` is true of the position, and false of all from `count` on."""
        places = [self.is_at(k) for k in range(len(self.values))]
        found = [holds(k) for k in range(min(count, len(places)))]
        fails = [conjunction([place, negation(part)]) for place, part in zip(places, found, strict=False)]
        return Either(
            disjunction([conjunction([place, part]) for place, part in zip(places, found, strict=False)]),
            disjunction([*fails, *places[len(found) :]]),
        )

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


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Positions:
    """The positions of the k greatest of several values; of equal ones, the earlier are among them."""

    k: int
    values: tuple[Form, ...]

    def contains(self, position: int | np.integer[Any] | Position) -> Condition:
        """The condition that a position, counted from 0 in row-major order, is one of them."""
        if isinstance(position, Position):
            return Condition((), (position.where(self._has, len(self.values)),))
        if isinstance(position, bool) or not isinstance(position, int | np.integer):
            fail(
                "FK406", found=f"top_k and {type(position).__name__} {str(position)[:60]}",
                wanted=f"an integer from 0 to {len(self.values) - 1}, or argmax or argmin",
                fix=f"fk.top_k(y, {self.k}).contains(0)",
            )  # fmt: skip
        if not 0 <= position < len(self.values):
            last = len(self.values) - 1
            fail("FK405", found=f"top_k and {position}", wanted=f"0 to {last}", fix="another position, counted from 0")
        return Condition((), (self._has(int(position)),))

    def __contains__(self, position: object) -> bool:
        raise no_truth_value()

    def __bool__(self) -> bool:
        raise no_truth_value()

    def __repr__(self) -> str:
        return f"<the {self.k} greatest of {len(self.values)} values>"

    def _has(self, place: int) -> Formula:
        ahead = [_ahead(self.values, other, place) for other in range(len(self.values)) if other != place]
        behind = [negation(comparison) for comparison in ahead]
        return Either(_some(behind, len(ahead) - self.k + 1), _some(ahead, self.k))


def top_k(values: Sequence[Form], k: object) -> Positions:
    """The positions of the k greatest values; raises SpecError when k is none of 1 to one less than there are."""
    found = len(values)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 0 < k < found:
        fail(
            "FK410", found=f"k = {str(k)[:20]} of {found} values", wanted=f"an integer from 1 to {found - 1}",
            fix="leave the condition out where it is always true",
        )  # fmt: skip
    subsets = max(comb(found - 1, int(k)), comb(found - 1, found - int(k)))
    if subsets > MAX_SUBSETS:
        fail(
            "FK507", found=f"{subsets} subsets of {found} values", wanted=f"at most {MAX_SUBSETS}",
            fix="a smaller k, or top_k of the entries that matter",
        )  # fmt: skip
    return Positions(int(k), tuple(values))


def _ahead(values: Sequence[Form], one: int, other: int) -> Comparison:
    """The comparison that says that one value is ahead of another."""
    return at_most(values[other], values[one], strict=one > other)


def _some(comparisons: Sequence[Formula], count: int) -> Formula:
    """Some `count` of the comparisons hold, for 1 <= count <= all."""
    return disjunction([conjunction(subset) for subset in combinations(comparisons, count)])
