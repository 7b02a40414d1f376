"""Where the entries of variables and outputs stand in the vectors of a property, and what comparisons say there.

The input vector is the concatenation of the inputs of all calls, in the order in which the specification first
mentions them, and the output vector that of their outputs.  An entry of a variable that several inputs take is the
first of them; the others have its bounds, and are equal to it by two atoms each in every disjunct.  Entries that
`given` says are equal have each other's bounds as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from farkas.specs.diagnostics import fail
from farkas.specs.dnf import Conjunction, Literal
from farkas.specs.language_forms import ONE, ZERO, Application, Entry, Leaf, Product, Variable
from farkas.specs.language_formulas import And, Comparison, Either, Formula
from farkas.specs.language_inputs import Copy, Slot, copies
from farkas.specs.monomials import Monomials
from farkas.specs.numbers import Numbers
from farkas.specs.query import Atom, Terms


@dataclass(frozen=True, eq=False)
class Layout:
    """copies: the calls; slots: of the input vector; places: of entries, variables' in the input vector (at least one),
    outputs' in the output vector; bounded: the places that a bound of an entry is about."""

    copies: tuple[Copy, ...]
    slots: tuple[Slot, ...]
    places: Mapping[Entry, tuple[int, ...]]
    bounded: Mapping[Entry, tuple[int, ...]]
    numbers: Numbers
    monomials: Monomials

    @property
    def inputs(self) -> int:
        return len(self.slots)

    @property
    def outputs(self) -> int:
        return self.monomials.outputs

    def name(self, place: int) -> str:
        """What an input is called: the entry that it is, or what is computed from one."""
        return self.slots[place].name

    def always(self) -> Conjunction:
        """What holds of the inputs by itself: those of one entry are equal, and numbers are numbers."""
        atoms, bounds = [], []
        for place, slot in enumerate(self.slots):
            if slot.entry is None:
                number = self.numbers.intern(slot.shift)
                bounds += [(2 * place, number), (2 * place + 1, number)]
            elif self.places[slot.entry][0] != place:
                first = self.places[slot.entry][0]
                atoms.append(Atom(((first, ONE), (place, -ONE)), (), ZERO))
                atoms.append(Atom(((first, -ONE), (place, ONE)), (), ZERO))
        return Conjunction(tuple(bounds), tuple(atoms))

    def literals(self, comparison: Comparison) -> list[Literal]:
        """What a comparison of polynomials says: a bound, at all places of its entry, or an atom; see rule 3."""
        terms, limit = comparison.form.terms, -comparison.form.constant
        entry = _only_variable(terms)
        if entry is None:
            return [Literal(None, self._atom(terms, limit, comparison.strict))]
        value = terms[entry]
        number = self.numbers.intern(limit / value)
        bounds = [Literal((2 * place + (value > 0), number), None) for place in self.bounded[entry]]
        if comparison.strict:
            bounds[0] = Literal(bounds[0].bound, self._atom(terms, limit, strict=True))
        return bounds

    def _atom(self, terms: Mapping[Leaf, Fraction], limit: Fraction, strict: bool) -> Atom:
        x: list[tuple[int, Fraction]] = []
        y: list[tuple[int, Fraction]] = []
        for key, value in terms.items():
            if isinstance(key, Product):
                y.append((self.monomials.column(map(self._factor, key.factors)), value))
            else:
                entry = _entry(key)
                (x if isinstance(entry[0], Variable) else y).append((self.places[entry][0], value))
        return Atom(_sorted(x), _sorted(y), limit, strict)

    def _factor(self, key: Leaf) -> int:
        """An entry as a factor of a monomial."""
        entry = _entry(key)
        return self.places[entry][0] + (0 if isinstance(entry[0], Variable) else self.inputs)


def _only_variable(terms: Mapping[Leaf, Fraction]) -> Entry | None:
    """The entry of a variable that is all there is."""
    if len(terms) != 1:
        return None
    (key,) = terms
    return key if isinstance(key, tuple) and isinstance(key[0], Variable) else None


def _entry(key: Leaf) -> Entry:
    assert isinstance(key, tuple), "something that is no polynomial was left in a comparison"
    return key


def _sorted(terms: list[tuple[int, Fraction]]) -> Terms:
    return tuple(sorted(terms))


def layout(premise: Formula, unsafe: Formula) -> Layout:
    """The layout of all calls that are mentioned; raises SpecError for variables that none of them takes."""
    mentioned = dict.fromkeys(entry for formula in (premise, unsafe) for entry in entries(formula))
    applications = tuple(dict.fromkeys(source for source, _ in mentioned if isinstance(source, Application)))
    calls = tuple(copies(applications))
    slots = tuple([slot for call in calls for slot in call.slots])
    places: dict[Entry, tuple[int, ...]] = {}
    for place, slot in enumerate(slots):
        if slot.entry is not None:
            places[slot.entry] = (*places.get(slot.entry, ()), place)
    for source, index in mentioned:
        if isinstance(source, Variable) and (source, index) not in places:
            fail(
                "FK509", found=source.entry(index), wanted="an input of a network that `prove` or `given` mentions",
                fix="call the network with this variable, or leave it out",
            )  # fmt: skip
    bounded = {**places, **_shared(premise, slots, places)}
    start = 0
    for application in applications:
        places.update({(application, k): (start + k,) for k in range(application.size)})
        start += application.size
    return Layout(calls, slots, places, bounded, Numbers(), Monomials(len(slots), start))


def _shared(
    premise: Formula, slots: Sequence[Slot], places: Mapping[Entry, tuple[int, ...]]
) -> dict[Entry, tuple[int, ...]]:
    """The places of entries that are equal by `given` and used in the same way, for each of them."""
    uses = {slot.entry: (slot.factor, slot.shift) for slot in slots}
    orders = set()
    groups: dict[Entry, list[Entry]] = {}
    for comparison in premise.parts if isinstance(premise, And) else ():
        pair = _order(comparison)
        if pair is None or uses[pair[0]] != uses[pair[1]]:
            continue
        orders.add(pair)
        if pair[::-1] not in orders:
            continue
        first, second = (groups.get(entry, [entry]) for entry in pair)
        if first is not second:
            for entry in second:
                groups[entry] = first
            groups[pair[0]] = first
            first.extend(second)
    return {entry: tuple(sorted(place for one in group for place in places[one])) for entry, group in groups.items()}


def _order(formula: Formula) -> tuple[Entry, Entry] | None:
    """The entries of variables of which the first is at most the second, when this is what a comparison says."""
    if not isinstance(formula, Comparison) or len(formula.form.terms) != 2 or formula.form.constant:
        return None
    (a, p), (b, q) = formula.form.terms.items()
    if p != -q or not all(isinstance(key, tuple) and isinstance(key[0], Variable) for key in (a, b)):
        return None
    return (_entry(a), _entry(b)) if p > 0 else (_entry(b), _entry(a))


def comparisons(formula: Formula) -> Iterator[Comparison]:
    """All comparisons in a formula of And and Or."""
    if isinstance(formula, Comparison):
        yield formula
    else:
        assert not isinstance(formula, Either), "a formula with two forms was left"
        for part in formula.parts:
            yield from comparisons(part)


def entries(formula: Formula) -> Iterator[Entry]:
    """All entries in a formula of polynomials, in order of appearance."""
    for comparison in comparisons(formula):
        for key in comparison.form.terms:
            for factor in key.factors if isinstance(key, Product) else (key,):
                yield _entry(factor)
