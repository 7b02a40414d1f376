"""Specifications in Python that read like NumPy and mean exactly one thing.

    x = var(net.input, name="x")                      a variable; net(x) is one execution of the network on it
    given = [linf(x - x0) <= "1/255", between(0, x, 1)]
    prove = argmax(net(x)) == 7

Expressions are tensors of linear forms with exact coefficients (`farkas.specs.language_tensors`), comparisons make
arrays of formulas (`farkas.specs.language_conditions`), and `farkas.specs.language_property` brings a specification to
the normal form of `farkas.specs.query`.  Where Python would ask a condition for its truth value there is an error that
says what to write.  Everything is immutable; there is no global state.
"""

from __future__ import annotations

from collections.abc import Iterable

from farkas.specs.diagnostics import fail
from farkas.specs.language_calls import var
from farkas.specs.language_conditions import Condition, Position, gathered, no_condition
from farkas.specs.language_forms import greatest, least, negated
from farkas.specs.language_formulas import Formula, conjunction, disjunction
from farkas.specs.language_tensors import Tensor, tensor, zipped

__all__ = [
    "abs", "all", "any", "argmax", "argmin", "between", "dot", "implies", "l1", "linf", "max", "maximum", "mean", "min",
    "minimum", "sum", "var",
]  # fmt: skip


def all(*conditions: Condition | Iterable[Condition]) -> Condition:
    """The condition that all entries of all conditions hold."""
    return Condition((), (conjunction(_some(gathered(conditions))),))


def any(*conditions: Condition | Iterable[Condition]) -> Condition:
    """The condition that some entry of some condition holds."""
    found: list[Formula] = []
    for item in conditions:
        parts = [item] if isinstance(item, Condition) else item
        if not isinstance(parts, Iterable):
            no_condition(parts)
        for part in parts:
            if not isinstance(part, Condition):
                no_condition(part)
            found.extend(part.formulas)
    return Condition((), (disjunction(_some(found)),))


def implies(premise: Condition, conclusion: Condition) -> Condition:
    """The condition that `conclusion` holds wherever `premise` does, entry by entry."""
    for condition in (premise, conclusion):
        if not isinstance(condition, Condition):
            no_condition(condition)
    return premise >> conclusion


def between(low: object, value: object, high: object) -> Condition:
    """low <= value <= high, entry by entry."""
    middle = tensor(value)
    return (middle >= low) & (middle <= high)


def abs(value: object) -> Tensor:
    """The absolute value of every entry."""
    return tensor(value).__abs__()


def sum(value: object, axis: int | None = None) -> Tensor:
    """The sum of all entries, or along an axis."""
    return tensor(value).sum(axis)


def mean(value: object, axis: int | None = None) -> Tensor:
    """The mean of all entries, or along an axis."""
    return tensor(value).mean(axis)


def max(value: object, axis: int | None = None) -> Tensor:
    """The greatest of all entries, or along an axis."""
    return tensor(value).max(axis)


def min(value: object, axis: int | None = None) -> Tensor:
    """The least of all entries, or along an axis."""
    return tensor(value).min(axis)


def maximum(left: object, right: object) -> Tensor:
    """The greater of two, entry by entry."""
    return zipped(tensor(left), tensor(right), lambda a, b: greatest([a, b]))


def minimum(left: object, right: object) -> Tensor:
    """The smaller of two, entry by entry."""
    return zipped(tensor(left), tensor(right), lambda a, b: least([a, b]))


def dot(left: object, right: object) -> Tensor:
    """The sum of products over all entries of two tensors of one shape."""
    return (tensor(left) * tensor(right)).sum()


def linf(value: object) -> Tensor:
    """The greatest absolute value of all entries."""
    forms = tensor(value).forms
    return Tensor((), (greatest([sign for form in forms for sign in (form, negated(form))]),))


def l1(value: object) -> Tensor:
    """The sum of the absolute values of all entries."""
    return abs(value).sum()


def argmax(value: object) -> Position:
    """The position of the greatest of all entries in row-major order, the lowest one on ties."""
    return Position("argmax", tensor(value).forms)


def argmin(value: object) -> Position:
    """The position of the least of all entries in row-major order, the lowest one on ties."""
    return Position("argmin", tuple([negated(form) for form in tensor(value).forms]))


def _some(found: list[Formula]) -> list[Formula]:
    if not found:
        fail("FK506", found="no conditions", wanted="at least one", fix="leave it out")
    return found
