"""Specifications to the normal form: `given` and not `prove`, over the inputs and outputs of the networks called.

The input vector is the concatenation of the inputs of all calls, in the order in which the specification first
mentions them, and the output vector that of their outputs.  An entry of a variable that several inputs take is the
first of them; the others have its bounds, and are equal to it by two atoms each in every disjunct.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from farkas.specs.diagnostics import fail
from farkas.specs.dnf import Conjunction, Grouped, Literal, TooLarge, group, product
from farkas.specs.language_forms import ONE, ZERO, Application, Entry, Greatest, Variable
from farkas.specs.language_formulas import (
    Comparison,
    Formula,
    conjunction,
    conjunctions,
    negation,
    without_maxima,
)
from farkas.specs.numbers import Numbers
from farkas.specs.query import Atom, Property, Terms

_Weighted = Sequence[tuple[Entry, Fraction]]


@dataclass(frozen=True, eq=False)
class NormalForm:
    """A specification in normal form; applications: the calls, in the order of their parts of the two vectors."""

    property: Property
    applications: tuple[Application, ...]


def normal_form(given: Sequence[Formula], prove: Formula) -> NormalForm:
    """The normal form of `all given, and not prove`; raises SpecError."""
    if not given:
        fail("FK501", found="an empty `given`", wanted="bounds of all inputs", fix="given=[fk.between(0, x, 1)]")
    premise, unsafe = without_maxima(conjunction(given)), without_maxima(negation(prove))
    _require_outputs(unsafe)
    layout = _layout(premise, unsafe)
    try:
        before = conjunctions(premise, layout.literals)
        shared = layout.equalities()
        if shared:
            before = product(before, [Conjunction((), shared)])
        _require_inputs(group(before, layout.inputs), layout)
        grouped = group(product(before, conjunctions(unsafe, layout.literals)), layout.inputs)
    except TooLarge as error:
        fail("FK507", found=str(error), wanted="fewer cases", fix="split the specification, or use linf instead of l1")
    found = Property(layout.inputs, layout.outputs, grouped.cases, "", grouped.vacuous)
    return NormalForm(found, layout.applications)


@dataclass(frozen=True, eq=False)
class _Layout:
    """Where entries stand: variables' in the input vector (at least once), outputs' in the output vector."""

    applications: tuple[Application, ...]
    entries: tuple[Entry, ...]  # of the input vector
    places: Mapping[Entry, tuple[int, ...]]
    numbers: Numbers

    @property
    def inputs(self) -> int:
        return len(self.entries)

    @property
    def outputs(self) -> int:
        return sum(application.size for application in self.applications)

    def equalities(self) -> tuple[Atom, ...]:
        """The atoms that make the inputs that are one entry equal."""
        atoms = []
        for entry in dict.fromkeys(self.entries):
            first, *others = self.places[entry]
            for other in others:
                atoms.append(Atom(((first, ONE), (other, -ONE)), (), ZERO))
                atoms.append(Atom(((first, -ONE), (other, ONE)), (), ZERO))
        return tuple(atoms)

    def literals(self, comparison: Comparison) -> list[Literal]:
        """What a comparison without maxima says: a bound, at all places of its entry, or an atom; see rule 3."""
        x: list[tuple[Entry, Fraction]] = []
        y: list[tuple[Entry, Fraction]] = []
        for key, value in comparison.form.terms.items():
            assert not isinstance(key, Greatest), "a maximum was left in a comparison"
            (x if isinstance(key[0], Variable) else y).append((key, value))
        limit = -comparison.form.constant
        if len(x) != 1 or y:
            return [Literal(None, self._atom(x, y, limit, comparison.strict))]
        ((entry, value),) = x
        number = self.numbers.intern(limit / value)
        bounds = [Literal((2 * place + (value > 0), number), None) for place in self.places[entry]]
        if comparison.strict:
            bounds[0] = Literal(bounds[0].bound, self._atom(x, y, limit, strict=True))
        return bounds

    def _atom(self, x: _Weighted, y: _Weighted, limit: Fraction, strict: bool) -> Atom:
        return Atom(self._terms(x), self._terms(y), limit, strict)

    def _terms(self, weighted: _Weighted) -> Terms:
        return tuple(sorted([(self.places[entry][0], value) for entry, value in weighted]))


def _layout(premise: Formula, unsafe: Formula) -> _Layout:
    """The layout of all calls that are mentioned; raises SpecError for variables that none of them takes."""
    mentioned = dict.fromkeys(entry for formula in (premise, unsafe) for entry in _entries(formula))
    applications = tuple(dict.fromkeys(source for source, _ in mentioned if isinstance(source, Application)))
    entries = tuple(entry for application in applications for entry in application.arguments)
    places: dict[Entry, tuple[int, ...]] = {}
    for place, entry in enumerate(entries):
        places[entry] = (*places.get(entry, ()), place)
    for source, index in mentioned:
        if isinstance(source, Variable) and (source, index) not in places:
            fail(
                "FK509", found=source.entry(index), wanted="an input of a network that `prove` or `given` mentions",
                fix="call the network with this variable, or leave it out",
            )  # fmt: skip
    start = 0
    for application in applications:
        places.update({(application, k): (start + k,) for k in range(application.size)})
        start += application.size
    return _Layout(applications, entries, places, Numbers())


def _comparisons(formula: Formula) -> Iterator[Comparison]:
    if isinstance(formula, Comparison):
        yield formula
    else:
        for part in formula.parts:
            yield from _comparisons(part)


def _entries(formula: Formula) -> Iterator[Entry]:
    """All entries in a formula without maxima, in order of appearance."""
    for comparison in _comparisons(formula):
        for key in comparison.form.terms:
            if not isinstance(key, Greatest):
                yield key


def _require_outputs(unsafe: Formula) -> None:
    """Raises SpecError when the conclusion is constant, or about inputs only."""
    if not any(comparison.form.terms for comparison in _comparisons(unsafe)):
        fail("FK504", found="a condition in which everything cancels", wanted="a condition on outputs", fix="y <= 1")
    if not any(isinstance(source, Application) for source, _ in _entries(unsafe)):
        fail("FK505", found="a condition on variables only", wanted="a condition on outputs", fix="y = net(x); y <= 1")


def _require_inputs(given: Grouped, layout: _Layout) -> None:
    """Raises SpecError when an input has no bound, or when `given` has no box that holds a point."""
    if given.missing is not None:
        slot, case = given.missing
        source, index = layout.entries[slot // 2]
        name = source.entry(index)
        side, fix = ("upper", f"{name} <= ...") if slot & 1 else ("lower", f"{name} >= ...")
        fail(
            "FK502", found=f"no {side} bound of {name}" + (f" in case {case}" if case > 1 else ""),
            wanted="bounds of every input on both sides", fix=f"{fix} in `given`, or fk.between",
        )  # fmt: skip
    if not given.cases:
        fail("FK503", found="; ".join(given.vacuous[:3]), wanted="a box that holds a point", fix="widen the bounds")
