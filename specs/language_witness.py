"""The witness of a specification in its own words: variables and outputs by their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from math import prod

from farkas.specs.language_forms import Application, Entry, Variable
from farkas.specs.language_inputs import IDENTITY, Copy
from farkas.specs.language_property import NormalForm
from farkas.specs.witness import Named

Values = Mapping[Entry, Fraction]


def entry_values(normal: NormalForm, inputs: Sequence[Fraction], outputs: Sequence[Fraction]) -> dict[Entry, Fraction]:
    """The value of every entry of a variable and of an output; inputs, outputs: the vectors of the property.

    An entry that several inputs take has the value of the first of them.
    """
    found: dict[Entry, Fraction] = {}
    slots = [slot for copy in normal.copies for slot in copy.slots]
    for slot, value in zip(slots, inputs, strict=True):
        if slot.entry is not None:
            found.setdefault(slot.entry, slot.value(value))
    places = [(application, k) for application in normal.applications for k in range(application.size)]
    found.update(zip(places, outputs, strict=True))
    return found


def named(normal: NormalForm, inputs: Sequence[Fraction], outputs: Sequence[Fraction]) -> tuple[Named, ...]:
    """The variables, the inputs of networks that are computed from them, and the outputs, in this order.

    inputs, outputs: the vectors of the property.  A variable has the entries that networks take; where these are not
    all, they have its labels, or their positions for labels.
    """
    values = entry_values(normal, inputs, outputs)
    variables = dict.fromkeys(source for source, _ in values if isinstance(source, Variable))
    calls = _called(normal)
    found = [_variable(variable, values) for variable in variables]
    found += [item for copy in normal.copies for item in _inputs(copy, values, calls[copy.application])]
    found += [item for application, call in calls.items() for item in _outputs(application, values, call)]
    return tuple(found)


def _called(normal: NormalForm) -> dict[Application, str]:
    """What calls are called: the network's name with the variables in its input; numbered where that is not enough."""
    names = [_call(application) for application in normal.applications]
    return {
        application: name if names.count(name) == 1 else f"{name} #{names[: k + 1].count(name)}"
        for k, (application, name) in enumerate(zip(normal.applications, names, strict=True))
    }


def _call(application: Application) -> str:
    sources = dict.fromkeys(key[0] for form in application.arguments for key in form.terms if isinstance(key, tuple))
    variables = [source.name for source in sources if isinstance(source, Variable)]
    return f"{application.network.name or 'network'}({', '.join(variables)})"


def _variable(variable: Variable, values: Values) -> Named:
    entries = [k for k in range(prod(variable.shape)) if (variable, k) in values]
    numbers = tuple([values[variable, k] for k in entries])
    if len(entries) == prod(variable.shape):
        return Named(variable.name, variable.shape, variable.labels, numbers)
    labels = tuple([variable.labels[k] if variable.labels else str(k) for k in entries])
    return Named(variable.name, (len(entries),), labels, numbers)


def _inputs(copy: Copy, values: Values, call: str) -> Iterator[Named]:
    """The input tensors whose entries are not those of variables as they are."""
    tensors = copy.application.network.graph.inputs
    prefixed = {prefix.number for prefix in copy.prefixes}
    start = 0
    for number, ((name, shape), slots) in enumerate(zip(tensors, copy.tensors, strict=True)):
        forms = copy.application.arguments[start : start + prod(shape)]
        start += prod(shape)
        if number not in prefixed and all((slot.factor, slot.shift) == IDENTITY for slot in slots):
            continue
        numbers = [
            form.constant + sum(value * values[key] for key, value in form.terms.items() if isinstance(key, tuple))
            for form in forms
        ]
        yield Named(f"{name} of {call}", tuple(shape), (), tuple(numbers))


def _outputs(application: Application, values: Values, call: str) -> Iterator[Named]:
    names = application.network.graph.outputs
    start = 0
    for name, shape in zip(names, application.outputs, strict=True):
        numbers = tuple([values[application, k] for k in range(start, start + prod(shape))])
        start += prod(shape)
        yield Named(call if len(names) == 1 else f"{name} of {call}", tuple(shape), (), numbers)
