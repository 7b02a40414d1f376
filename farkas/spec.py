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
        return verify(self._networks(), self.property, timeout=timeout, semantics=semantics, **options)

    def _networks(self) -> dict[str, Network]:
        """The network of every call, in the order of the property, by names of their own."""
        networks: dict[str, Network] = {}
        for number, application in enumerate(self.normal.applications, start=1):
            network = application.network
            if not isinstance(network, Network):
                fail("FK510", found=type(network).__name__, wanted="a network", fix="net = fk.load('network.onnx')")
            networks[f"call{number}"] = network
        return networks

    def __repr__(self) -> str:
        prop = self.property
        disjuncts = sum(len(case.disjuncts) for case in prop.cases)
        return f"<spec: {prop.inputs} inputs, {prop.outputs} outputs, {len(prop.cases)} boxes, {disjuncts} disjuncts>"
