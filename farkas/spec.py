"""A specification: what is given, what is to be proved, and the question whether it holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from farkas.api import Network, verify
from farkas.engine.verdict import Verdict
from farkas.specs.diagnostics import fail
from farkas.specs.language_conditions import Condition, gathered, no_condition
from farkas.specs.language_property import NormalForm, normal_form
from farkas.specs.query import Property, Semantics


@dataclass(frozen=True, eq=False, repr=False)
class Spec:
    """`prove` holds for every input for which all of `given` do.

    given: conditions, or one; arrays of conditions mean all their entries.  Raises SpecError, at the place in the
    program where the specification is made, when it means nothing.
    """

    given: Condition | Iterable[Condition]
    prove: Condition
    normal: NormalForm = field(init=False)

    def __post_init__(self) -> None:
        given = [self.given] if isinstance(self.given, Condition) else self.given
        if not isinstance(given, Iterable):
            no_condition(given)
        if not isinstance(self.prove, Condition):
            no_condition(self.prove)
        object.__setattr__(self, "normal", normal_form(gathered(given), self.prove.formula))

    @property
    def property(self) -> Property:
        """The normal form: what would violate the specification."""
        return self.normal.property

    def check(
        self, *, timeout: float | None = None, semantics: Semantics | str | None = None, **options: Any
    ) -> Verdict:
        """Does it hold?  timeout: seconds; options: those of `farkas.verify`."""
        return verify(self._network(), self.property, timeout=timeout, semantics=semantics, **options)

    def _network(self) -> Network:
        """The one network that is called; raises SpecError when there are several calls."""
        networks = [application.network for application in self.normal.applications]
        if len(networks) != 1 or not isinstance(networks[0], Network):
            found = ", ".join(network.name or "a network" for network in networks)
            fail("FK510", found=f"{len(networks)} calls: {found}", wanted="one call", fix="a specification for each")
        return networks[0]

    def __repr__(self) -> str:
        prop = self.property
        disjuncts = sum(len(case.disjuncts) for case in prop.cases)
        return f"<spec: {prop.inputs} inputs, {prop.outputs} outputs, {len(prop.cases)} boxes, {disjuncts} disjuncts>"
