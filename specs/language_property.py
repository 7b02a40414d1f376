"""Specifications to the normal form: `given` and not `prove`, over the inputs and outputs of the networks called."""

from __future__ import annotations

import builtins
import re
from collections.abc import Sequence
from dataclasses import dataclass

from farkas.specs.diagnostics import fail
from farkas.specs.dnf import Grouped, TooLarge, group, product
from farkas.specs.language_elimination import polynomial
from farkas.specs.language_forms import Application
from farkas.specs.language_formulas import Formula, conjunction, conjunctions, negation
from farkas.specs.language_inputs import Copy, preimages
from farkas.specs.language_layout import Layout, comparisons, entries, layout
from farkas.specs.language_parameters import require_closed
from farkas.specs.language_substitution import Substitution
from farkas.specs.query import Property


@dataclass(frozen=True, eq=False)
class NormalForm:
    """A specification in normal form; copies: the calls, in the order of their parts of the two vectors."""

    property: Property
    copies: tuple[Copy, ...]

    @builtins.property
    def applications(self) -> tuple[Application, ...]:
        """The calls as the specification makes them."""
        return tuple([copy.application for copy in self.copies])

    @builtins.property
    def is_real_only(self) -> bool:
        """Whether there is an affine map in front of some network."""
        return any(copy.prefixes for copy in self.copies)

    @builtins.property
    def computed(self) -> str:
        """Which input of which network has such a map, for people; empty when there is none."""
        for copy in self.copies:
            for prefix in copy.prefixes:
                network = copy.application.network
                return f"input '{network.graph.inputs[prefix.number][0]}' of {network.name or 'a network'} is computed"
        return ""


def normal_form(given: Sequence[Formula], prove: Formula) -> NormalForm:
    """The normal form of `all given, and not prove`; raises SpecError."""
    if not given:
        fail("FK501", found="an empty `given`", wanted="bounds of all inputs", fix="given=[fk.between(0, x, 1)]")
    require_closed((*given, prove))
    premise, unsafe = polynomial(conjunction(given)), polynomial(negation(prove))
    _require_outputs(unsafe)
    where = layout(premise, unsafe)
    premise, unsafe = _of_inputs((premise, unsafe), where)
    try:
        before = product(conjunctions(premise, where.literals), [where.always()])
        _require_inputs(group(before, where.inputs), where)
        grouped = group(product(before, conjunctions(unsafe, where.literals)), where.inputs)
    except TooLarge as error:
        fail("FK507", found=str(error), wanted="fewer cases", fix="split the specification, or use linf instead of l1")
    found = Property(
        where.inputs, where.outputs, grouped.cases, "", _named(grouped.vacuous, where), where.monomials.found
    )
    return NormalForm(found, where.copies)


def _of_inputs(formulas: tuple[Formula, Formula], where: Layout) -> tuple[Formula, Formula]:
    """The formulas in terms of the inputs of networks, which the leaves of their entries stand for."""
    images = preimages(where.slots)
    if not images:
        return formulas
    found = Substitution(lambda key: images.get(key) if isinstance(key, tuple) else None)
    return found.formula(formulas[0]), found.formula(formulas[1])


def _require_outputs(unsafe: Formula) -> None:
    """Raises SpecError when the conclusion is constant, or about inputs only."""
    if not any(comparison.form.terms for comparison in comparisons(unsafe)):
        fail("FK504", found="a condition in which everything cancels", wanted="a condition on outputs", fix="y <= 1")
    if not any(isinstance(source, Application) for source, _ in entries(unsafe)):
        fail("FK505", found="a condition on variables only", wanted="a condition on outputs", fix="y = net(x); y <= 1")


def _require_inputs(given: Grouped, where: Layout) -> None:
    """Raises SpecError when an input has no bound, or when `given` has no box that holds a point."""
    if given.missing is not None:
        place, case = given.missing
        slot = where.slots[place // 2]
        assert slot.entry is not None, "an input that is a number has bounds"
        name = slot.entry[0].entry(slot.entry[1])
        upper = (place & 1 == 1) == (slot.factor > 0)
        side, fix = ("upper", f"{name} <= ...") if upper else ("lower", f"{name} >= ...")
        fail(
            "FK502", found=f"no {side} bound of {name}" + (f" in case {case}" if case > 1 else ""),
            wanted="bounds of every input on both sides", fix=f"{fix} in `given`, or fk.between",
        )  # fmt: skip
    if not given.cases:
        fail(
            "FK503",
            found="; ".join(_named(given.vacuous[:3], where)),
            wanted="a box that holds a point",
            fix="widen the bounds",
        )


def _named(messages: Sequence[str], where: Layout) -> tuple[str, ...]:
    """The messages with the names of entries in the place of X_0, X_1, ..."""
    return tuple(re.sub(r"\bX_(\d+)", lambda found: where.name(int(found[1])), message) for message in messages)
