"""Parameters of a specification: numbers that are chosen after it was stated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

from farkas.specs.diagnostics import fail
from farkas.specs.language_forms import Application, Factor, Form, Parameter, leaf, number
from farkas.specs.language_formulas import Formula
from farkas.specs.language_substitution import Substitution, formula_leaves, leaves


def open_parameters(formulas: Iterable[Formula]) -> tuple[str, ...]:
    """The names of all parameters in formulas, and in the inputs of the calls in them, in order of appearance."""
    names: dict[str, None] = {}
    calls: dict[Application, None] = {}
    for formula in formulas:
        for key in formula_leaves(formula):
            if isinstance(key, Parameter):
                names[key.name] = None
            elif isinstance(key, tuple) and isinstance(key[0], Application):
                calls[key[0]] = None
    for application in calls:
        for form in application.arguments:
            names.update((key.name, None) for key in leaves(form) if isinstance(key, Parameter))
    return tuple(names)


def require_closed(formulas: Iterable[Formula]) -> None:
    """Raises SpecError when a parameter has no value."""
    names = open_parameters(formulas)
    if names:
        values = ", ".join(f"{name}=..." for name in names)
        fail(
            "FK512", found=f"no value of {', '.join(names)}", wanted="a value of every parameter",
            fix=f"spec.at({values})",
        )  # fmt: skip


def chosen(formulas: Iterable[Formula], values: Mapping[str, Fraction]) -> list[Formula]:
    """The formulas with values of parameters."""
    calls: dict[Application, Application] = {}

    def image(key: Factor) -> Form | None:
        if isinstance(key, Parameter):
            return number(values[key.name]) if key.name in values else None
        if not isinstance(key, tuple) or not isinstance(key[0], Application):
            return None
        call = calls.get(key[0])
        if call is None:
            call = calls[key[0]] = _called(key[0], substitution)
        return None if call is key[0] else leaf((call, key[1]))

    substitution = Substitution(image)
    return [substitution.formula(formula) for formula in formulas]


def _called(application: Application, substitution: Substitution) -> Application:
    """The call with values of the parameters in its inputs; the same one when there are none."""
    arguments = tuple([substitution.form(form) for form in application.arguments])
    if all(a is b for a, b in zip(arguments, application.arguments, strict=True)):
        return application
    return Application(application.network, arguments, application.outputs)
