"""The point that a specification is made around: its values, and whether it is given at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction

from farkas.specs.diagnostics import fail
from farkas.specs.language_conditions import Condition, gathered
from farkas.specs.language_elimination import polynomial
from farkas.specs.language_forms import Entry, Form, Product, Variable, leaf, number, text
from farkas.specs.language_formulas import And, Comparison, Either, Formula, equal
from farkas.specs.language_substitution import formula_leaves, leaves
from farkas.specs.language_tensors import tensor

Values = Mapping[Entry, Fraction]


def centre_values(centre: object, given: Sequence[Formula], prove: Formula) -> dict[Entry, Fraction]:
    """The values at the centre of what networks in `prove` take; raises SpecError where they do not fit, or are not
    given.

    centre: the values of the one variable, or conditions `x == values`.
    """
    entries = list(dict.fromkeys(_taken(prove)))
    stated = isinstance(centre, Condition) or (
        isinstance(centre, list | tuple) and all(isinstance(item, Condition) for item in centre)
    )
    values = _stated([centre]) if stated else _of_one(centre, entries)
    for source, index in entries:
        if (source, index) not in values:
            fail(
                "FK515", found=f"no value of {source.entry(index)}", wanted="a value of every entry",
                fix="centre=(x == x0)",
            )  # fmt: skip
    _require_given(given, values)
    return {entry: values[entry] for entry in entries}


def at_point(values: Values) -> list[Formula]:
    """The formulas that entries have these values."""
    return [equal(leaf(entry), number(value)) for entry, value in values.items()]


def _taken(formula: Formula) -> Iterator[Entry]:
    """The entries of variables in a formula and in the inputs of its networks."""
    for key in formula_leaves(formula):
        if isinstance(key, tuple):
            if isinstance(key[0], Variable):
                yield key
            else:
                for form in key[0].arguments:
                    yield from (own for own in leaves(form) if isinstance(own, tuple))


def _of_one(centre: object, entries: Sequence[Entry]) -> dict[Entry, Fraction]:
    variables = list(dict.fromkeys(source for source, _ in entries if isinstance(source, Variable)))
    if len(variables) != 1:
        names = ", ".join(variable.name for variable in variables)
        fail("FK515", found=f"values of one of {names}", wanted="values of each", fix="centre=[x == x0, y == y0]")
    found, (variable,) = tensor(centre), variables
    if found.shape != variable.shape or any(form.terms for form in found.forms):
        fail(
            "FK515", found=f"a centre of shape {found.shape}",
            wanted=f"numbers of shape {variable.shape}, as '{variable.name}'", fix="centre=x0, as in x - x0",
        )  # fmt: skip
    return {(variable, k): form.constant for k, form in enumerate(found.forms)}


def _stated(conditions: Iterable[object]) -> dict[Entry, Fraction]:
    """The values that conditions `x == numbers` state."""
    ends: dict[tuple[Entry, bool], Fraction] = {}
    for formula in gathered(conditions):
        for part in formula.parts if isinstance(formula, And) else (formula,):
            form = part.form if isinstance(part, Comparison) else None
            keys = [] if form is None else [key for key in form.terms if isinstance(key, tuple)]
            if form is None or len(keys) != 1 or len(form.terms) != 1 or not isinstance(keys[0][0], Variable):
                fail("FK515", found="another condition", wanted="entries equal to numbers", fix="centre=(x == x0)")
            factor = form.terms[keys[0]]
            ends[keys[0], factor > 0] = -form.constant / factor
    for entry, upper in ends:
        if ends.get((entry, not upper)) != ends[entry, upper]:
            fail(
                "FK515", found=f"a bound of {entry[0].entry(entry[1])}", wanted="entries equal to numbers",
                fix="centre=(x == x0)",
            )  # fmt: skip
    return {entry: value for (entry, _), value in ends.items()}


def _require_given(given: Iterable[Formula], values: Values) -> None:
    for formula in given:
        wanted = polynomial(formula)
        for part in wanted.parts if isinstance(wanted, And) else (wanted,):
            if holds(part, values) is False:
                about = text(part.form) + " <= 0" if isinstance(part, Comparison) else "a condition"
                fail(
                    "FK516", found=f"a centre at which {about} is false", wanted="a point for which `given` holds",
                    fix="widen `given`, or correct the centre",
                )  # fmt: skip


def holds(formula: Formula, values: Values) -> bool | None:
    """Whether a formula of polynomials is true of these values; None where they do not decide it."""
    if isinstance(formula, Comparison):
        value = _value(formula.form, values)
        return None if value is None else value < 0 if formula.strict else value <= 0
    assert not isinstance(formula, Either), "a formula with two forms was left"
    found = [holds(part, values) for part in formula.parts]
    decisive = not isinstance(formula, And)
    return decisive if decisive in found else None if None in found else not decisive


def _value(form: Form, values: Values) -> Fraction | None:
    total = form.constant
    for key, factor in form.terms.items():
        for own in key.factors if isinstance(key, Product) else (key,):
            value = values.get(own) if isinstance(own, tuple) else None
            if value is None:
                return None
            factor *= value
        total += factor
    return total
