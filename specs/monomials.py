"""The monomials of a property while it is read: each product once, numbered in the order of first appearance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from farkas.specs.query import Monomial


@dataclass(eq=False, slots=True)
class Monomials:
    """inputs, outputs: how many there are.  Factors: i is input i, inputs + j is output j."""

    inputs: int
    outputs: int
    places: dict[Monomial, int] = field(default_factory=dict)

    def column(self, factors: Iterable[int]) -> int:
        """The index, among the y-terms of an atom, of the product of at least two factors."""
        monomial = tuple(sorted(factors))
        if len(monomial) < 2:
            raise ValueError("a monomial has at least two factors")
        return self.outputs + self.places.setdefault(monomial, len(self.places))

    @property
    def found(self) -> tuple[Monomial, ...]:
        """All monomials, by number."""
        return tuple(self.places)
