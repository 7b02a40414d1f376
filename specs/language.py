"""Specifications in Python that read like NumPy and mean exactly one thing.

    x = var(net.input, name="x")                      a variable; net(x) is one execution of the network on it
    given = [linf(x - x0) <= "1/255", between(0, x, 1)]
    prove = argmax(net(x)) == 7

Expressions are tensors of polynomial forms with exact coefficients (`farkas.specs.language_tensors`), comparisons make
arrays of formulas (`farkas.specs.language_conditions`), and `farkas.specs.language_property` brings a specification to
the normal form of `farkas.specs.query`.  Where Python would ask a condition for its truth value there is an error that
says what to write.  Everything is immutable; there is no global state.
"""

from __future__ import annotations

from collections.abc import Iterable

from farkas.specs.diagnostics import fail
from farkas.specs.language_calls import var
from farkas.specs.language_conditions import Condition, gathered, no_condition
from farkas.specs.language_forms import Parameter, greatest, leaf, least, negated
from farkas.specs.language_formulas import Formula, conjunction, disjunction
from farkas.specs.language_positions import Position, Positions
from farkas.specs.language_positions import top_k as k_greatest
from farkas.specs.language_products import norm
from farkas.specs.language_shapes import selected, size_of
from farkas.specs.language_tensors import Tensor, tensor, zipped

__all__ = [
    "abs", "all", "any", "argmax", "argmin", "between", "dot", "implies", "l1", "l2", "linf", "max", "maximum", "mean",
    "min", "minimum", "parameter", "same_except", "sum", "top_k", "var",
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


def same_except(left: object, right: object, *entries: object) -> Condition:
    """The condition that two tensors of one shape are equal in all entries but some.

    entries: labels of either tensor, or indices as in `left[index]`.  Raises SpecError.
    """
    a, b = tensor(left), tensor(right)
    if a.shape != b.shape:
        fail("FK301", found=f"{a.shape} and {b.shape}", wanted="two tensors of one shape", fix="index or reshape one")
    free: set[int] = set()
    for entry in entries:
        free.update(_places(entry, a, b))
    kept = [k for k in range(size_of(a.shape)) if k not in free]
    if not kept:
        fail("FK506", found="no entry that has to be equal", wanted="at least one", fix="leave the condition out")
    same = a.ravel() == b.ravel()
    return Condition((len(kept),), tuple([same.formulas[k] for k in kept]))


def _places(entry: object, a: Tensor, b: Tensor) -> Iterable[int]:
    """The places of a label or an index, in row-major order."""
    if not isinstance(entry, str):
        return selected(a.shape, entry)[1]
    labels = a.labels if entry in a.labels else b.labels
    if entry not in labels:
        known = ", ".join(dict.fromkeys((*a.labels, *b.labels))) or "tensors with labels"
        fail("FK309", found=f"'{entry}'", wanted=known, fix="one of these, or an index")
    return [labels.index(entry)]


def parameter(name: str) -> Tensor:
    """A number that is chosen later, by `Spec.at`; those of one name are the same."""
    if not str(name).isidentifier():
        fail("FK411", found=repr(name)[:60], wanted="a name of Python", fix="fk.parameter('eps')")
    return Tensor((), (leaf(Parameter(name)),))


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


def l2(value: object) -> Tensor:
    """The Euclidean norm of all entries; comparisons with it are exact comparisons of squares."""
    return Tensor((), (norm(tensor(value).forms),))


def top_k(value: object, k: int) -> Positions:
    """The positions of the k greatest of all entries in row-major order, the lower ones on ties.

    `fk.top_k(y, 3).contains(label)` is the condition that `label` is one of them.
    """
    return k_greatest(tensor(value).forms, k)


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
