"""Conjunctions while a formula is read, and their grouping into cases: the normal form of `farkas.specs.query`.

A conjunction is kept as two tuples, box bounds and atoms, each in file order.  Bounds commute, so they need no order
among the atoms, and conjunctions that differ in their atoms only share one tuple of bounds: an image with 10 000
bounds and 200 output disjuncts costs 10 000 bounds, not two million.  Sharing is by identity, and so is the memo
when the boxes are built.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from farkas.specs.numbers import Number, brief
from farkas.specs.query import Atom, Case

MAX_CONJUNCTIONS = 1_000_000
MAX_REFERENCES = 100_000_000  # atoms and bounds over all conjunctions: about 800 MB of pointers

Bound = tuple[int, Number]  # slot 2 i: lower bound of input i; slot 2 i + 1: upper bound


class TooLarge(Exception):
    """The disjunctive normal form passes a limit; the message says which."""


class Conjunction(NamedTuple):
    """Bounds and atoms that hold together."""

    bounds: tuple[Bound, ...]
    atoms: tuple[Atom, ...]


class Literal(NamedTuple):
    """One comparison: a bound of the box, an atom, or (a strict bound) both."""

    bound: Bound | None
    atom: Atom | None


@dataclass(slots=True)
class All:
    """A conjunction in the making: `done` in disjunctive normal form, then a run of literals not yet multiplied in."""

    done: list[Conjunction] = field(default_factory=lambda: [Conjunction((), ())])
    bounds: list[Bound] = field(default_factory=list)
    atoms: list[Atom] = field(default_factory=list)

    def add(self, literal: Literal) -> None:
        """And one comparison."""
        bound, atom = literal
        if bound is not None:
            self.bounds.append(bound)
        if atom is not None:
            self.atoms.append(atom)

    def combine(self, alternatives: list[Conjunction]) -> None:
        """And a formula in disjunctive normal form; raises TooLarge."""
        if len(alternatives) == 1:
            self.bounds.extend(alternatives[0].bounds)
            self.atoms.extend(alternatives[0].atoms)
        else:
            self.done = product(self.conjunctions(), alternatives)

    def conjunctions(self) -> list[Conjunction]:
        """The disjunctive normal form of what was added; raises TooLarge."""
        if self.bounds or self.atoms:
            run = Conjunction(tuple(self.bounds), tuple(self.atoms))
            self.bounds, self.atoms = [], []
            self.done = product(self.done, [run])
        return self.done


@dataclass(slots=True)
class AnyOf:
    """A disjunction in the making."""

    done: list[Conjunction] = field(default_factory=list)

    def add(self, literal: Literal) -> None:
        """Or one comparison."""
        bound, atom = literal
        self.combine([Conjunction((bound,) if bound is not None else (), (atom,) if atom is not None else ())])

    def combine(self, alternatives: list[Conjunction]) -> None:
        """Or a formula in disjunctive normal form; raises TooLarge."""
        _limit(len(self.done) + len(alternatives), 0)
        self.done.extend(alternatives)

    def conjunctions(self) -> list[Conjunction]:
        """The disjunctive normal form of what was added."""
        return self.done


def product(outer: Sequence[Conjunction], inner: Sequence[Conjunction]) -> list[Conjunction]:
    """All pairs, joined, the second argument running fastest; raises TooLarge before any work is done."""
    _limit(
        len(outer) * len(inner),
        sum(len(p.bounds) + len(p.atoms) for p in outer) * len(inner)
        + sum(len(q.bounds) + len(q.atoms) for q in inner) * len(outer),
    )
    joined: dict[tuple[int, int], tuple[Bound, ...]] = {}  # by identity; `outer` and `inner` keep the keys alive
    result = []
    for p in outer:
        for q in inner:
            key = id(p.bounds), id(q.bounds)
            bounds = joined.get(key)
            if bounds is None:
                bounds = joined[key] = p.bounds + q.bounds
            result.append(Conjunction(bounds, p.atoms + q.atoms))
    return result


def _limit(conjunctions: int, references: int) -> None:
    """Raise TooLarge when a formula of this size is not worth building."""
    if conjunctions > MAX_CONJUNCTIONS:
        raise TooLarge(f"the formula expands to {conjunctions} conjunctions, more than {MAX_CONJUNCTIONS}")
    if references > MAX_REFERENCES:
        raise TooLarge(f"the formula expands to {references} atoms, more than {MAX_REFERENCES}")


@dataclass(frozen=True, slots=True)
class Grouped:
    """Cases, messages about dropped boxes, and the first missing bound (slot, number of the conjunction), if any."""

    cases: tuple[Case, ...]
    vacuous: tuple[str, ...]
    missing: tuple[int, int] | None


def group(conjunctions: Sequence[Conjunction], inputs: int) -> Grouped:
    """Conjunctions by box, in the order of the normal form; stops at the first conjunction with a missing bound."""
    home: dict[int, int | None] = {}  # identity of a tuple of bounds -> case, None when contradictory
    case_of: dict[tuple[int, ...], int] = {}  # identities of a box's numbers -> case
    boxes: list[list[Number]] = []
    disjuncts: list[list[tuple[Atom, ...]]] = []
    vacuous: list[str] = []
    for count, (bounds, atoms) in enumerate(conjunctions, start=1):
        key = id(bounds)
        if key not in home:
            box = _box(bounds, inputs)
            if isinstance(box, int):
                return Grouped((), (), (box, count))
            empty = next((i for i in range(inputs) if box[2 * i] > box[2 * i + 1]), None)
            if empty is not None:
                home[key] = None
                vacuous.append(_contradiction(count, empty, box))
            else:
                home[key] = case = case_of.setdefault(tuple(map(id, box)), len(boxes))
                if case == len(boxes):
                    boxes.append(box)
                    disjuncts.append([])
        place = home[key]
        if place is not None:
            disjuncts[place].append(atoms)
    cases = [_case(box, members) for box, members in zip(boxes, disjuncts, strict=True)]
    return Grouped(tuple(cases), tuple(vacuous), None)


def _box(bounds: tuple[Bound, ...], inputs: int) -> list[Number] | int:
    """The intersection of the bounds, by slot; the first slot without a bound when there is one."""
    box: list[Number | None] = [None] * (2 * inputs)
    for slot, value in bounds:
        present = box[slot]
        if present is None or (value < present if slot & 1 else value > present):
            box[slot] = value
    full = [value for value in box if value is not None]
    return full if len(full) == len(box) else box.index(None)


def _case(box: list[Number], disjuncts: list[tuple[Atom, ...]]) -> Case:
    """A case of the normal form from a box by slots."""
    return Case(tuple([q for _, q in box[::2]]), tuple([q for _, q in box[1::2]]), tuple(disjuncts))


def _contradiction(conjunction: int, i: int, box: list[Number]) -> str:
    """The warning about a box that holds no point."""
    low, high = brief(box[2 * i][1]), brief(box[2 * i + 1][1])
    return f"conjunction {conjunction} is vacuous: X_{i} >= {low} and X_{i} <= {high} contradict each other"
