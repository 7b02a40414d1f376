"""A specification: what is given, what is to be proved, and the question whether it holds."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farkas.api import FilePath, Network, verify, write_bytes
from farkas.engine.verdict import Verdict
from farkas.specs.diagnostics import fail
from farkas.specs.language_conditions import Condition, gathered, no_condition
from farkas.specs.language_document import document, models, names
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
        given = tuple(given)
        object.__setattr__(self, "given", given)
        object.__setattr__(self, "normal", normal_form(gathered(given), self.prove.formula))

    def check(
        self,
        *,
        timeout: float | None = None,
        semantics: Semantics | str | None = None,
        certificate: FilePath | None = None,
        **options: Any,
    ) -> Verdict:
        """Does it hold?  timeout: seconds; options: those of `farkas.verify`.

        certificate: file to write the certificate to, with the specification as the checker reads it beside it, in a
        file of its name and .vnnlib; then `Holds` is claimed only after the checker accepted it.
        """
        if certificate is None:
            return verify(self.networks, self.property, timeout=timeout, semantics=semantics, **options)
        text = self.save(f"{os.fspath(certificate)}.vnnlib")
        by_name, applications = self.networks, self.normal.applications
        own = [name for k, name in enumerate(by_name) if models(applications)[k] == k]
        asked = by_name[own[0]] if len(applications) == 1 else {name: by_name[name] for name in own}
        return verify(asked, text, timeout=timeout, semantics=semantics, certificate=certificate, **options)

    def save(self, path: FilePath) -> bytes:
        """Writes the specification as a VNN-LIB 2.0 file, and returns its bytes."""
        data = document(self.normal).encode()
        write_bytes(Path(path), data)
        return data

    @property
    def networks(self) -> dict[str, Network]:
        """The network of every call, by its name in the saved file, in the order of the property; raises SpecError."""
        networks: dict[str, Network] = {}
        for name, application in zip(names(self.normal.applications), self.normal.applications, strict=True):
            network = application.network
            if not isinstance(network, Network):
                fail("FK510", found=type(network).__name__, wanted="a network", fix="net = fk.load('network.onnx')")
            networks[name] = network
        return networks

    @property
    def property(self) -> Property:
        """The normal form: what would violate the specification."""
        return self.normal.property

    def __repr__(self) -> str:
        prop = self.property
        disjuncts = sum(len(case.disjuncts) for case in prop.cases)
        return f"<spec: {prop.inputs} inputs, {prop.outputs} outputs, {len(prop.cases)} boxes, {disjuncts} disjuncts>"
