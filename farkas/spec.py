"""A specification: what is given, what is to be proved, and the question whether it holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from farkas.api import FilePath, Network, verify
from farkas.centre import require_centre
from farkas.engine.verdict import Verdict, Violated
from farkas.specs.diagnostics import fail
from farkas.specs.language_conditions import Condition, gathered, no_condition
from farkas.specs.language_document import models, names
from farkas.specs.language_formulas import Formula
from farkas.specs.language_inputs import Copy
from farkas.specs.language_numbers import exact
from farkas.specs.language_parameters import chosen, open_parameters
from farkas.specs.language_property import NormalForm, normal_form
from farkas.specs.language_rounding import rounding
from farkas.specs.language_witness import named
from farkas.specs.query import Property, Semantics

if TYPE_CHECKING:
    from farkas.critical import Critical


@dataclass(frozen=True, eq=False, repr=False)
class Spec:
    """`prove` holds for every input for which all of `given` do.

    given: conditions, or one; arrays of conditions mean all their entries.  semantics: the arithmetic, unless `check`
    is told another one; by default that of the networks.  centre: the point that `given` is around, as values of the
    one variable or as conditions `x == x0`; the networks are run there at once.
    Raises SpecError, at the place in the program where the specification is made, when it means nothing or is violated
    at its centre; one with parameters when it gets their values.
    """

    given: Condition | Iterable[Condition]
    prove: Condition
    semantics: Semantics | None = None
    centre: object = None

    def __post_init__(self) -> None:
        given = [self.given] if isinstance(self.given, Condition) else self.given
        if not isinstance(given, Iterable):
            no_condition(given)
        if not isinstance(self.prove, Condition):
            no_condition(self.prove)
        object.__setattr__(self, "given", tuple(given))
        if not self.parameters:
            _ = self.normal
        if self.centre is not None:
            require_centre(self)

    @cached_property
    def formulas(self) -> tuple[Formula, ...]:
        """What is given, one by one, and then what is to be proved."""
        return (*gathered([self.given]), self.prove.formula)

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters that have no value yet."""
        return open_parameters(self.formulas)

    @cached_property
    def normal(self) -> NormalForm:
        """The normal form with the calls of networks that it is about; raises SpecError."""
        return normal_form(self.formulas[:-1], self.formulas[-1])

    def at(self, **values: object) -> Spec:
        """The specification with values of some of its parameters; raises SpecError for a name that is none of them."""
        for name in values:
            if name not in self.parameters:
                found = ", ".join(self.parameters) or "no parameters"
                fail(
                    "FK513", found=f"a value of '{name}'", wanted=found, fix="fk.parameter(name) in `given` or `prove`"
                )
        *given, prove = chosen(self.formulas, {name: exact(value) for name, value in values.items()})
        made = Spec([Condition((), (formula,)) for formula in given], Condition((), (prove,)), self.semantics)
        object.__setattr__(made, "centre", self.centre)
        if self.centre is not None:
            require_centre(made, run=prove is not self.prove.formula)
        return made

    @classmethod
    def told(cls, given: Condition, prove: Condition, normal: NormalForm, semantics: Semantics | None = None) -> Spec:
        """The specification that has this normal form, which says what `given` and `prove` do."""
        made = object.__new__(cls)
        for name, value in (("given", (given,)), ("prove", prove), ("normal", normal), ("semantics", semantics)):
            object.__setattr__(made, name, value)
        return made

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
        semantics = self._semantics(semantics)
        if certificate is None:
            return self._told(verify(self.networks, self.property, timeout=timeout, semantics=semantics, **options))
        text = self.save(f"{os.fspath(certificate)}.vnnlib")
        by_name, copies = self.networks, self.normal.copies
        own = [name for k, name in enumerate(by_name) if models(copies)[k] == k]
        asked = by_name[own[0]] if len(copies) == 1 else {name: by_name[name] for name in own}
        return self._told(verify(asked, text, timeout=timeout, semantics=semantics, certificate=certificate, **options))

    def _told(self, verdict: Verdict) -> Verdict:
        """The verdict with its witness by name, and with a warning about bounds that binary32 moves."""
        if verdict.semantics.is_binary32 and (warning := rounding(self.normal)):
            verdict = replace(verdict, warnings=(*verdict.warnings, warning))
        if not isinstance(verdict, Violated):
            return verdict
        replay = verdict.replay
        outputs = (replay.runtime_outputs or replay.outputs)[: self.property.outputs]
        return replace(verdict, named=named(self.normal, replay.inputs, outputs))

    def _semantics(self, asked: Semantics | str | None) -> Semantics | str | None:
        """The semantics to ask in; raises SpecError for one that a map in front of a network does not have."""
        mode = self.semantics if asked is None else asked
        if not self.normal.is_real_only:
            return mode
        if mode is not None and mode not in (Semantics.REAL, Semantics.REAL.value):
            word = mode.value if isinstance(mode, Semantics) else mode
            fail(
                "FK514", found=f"semantics {word}, and {self.normal.computed}", wanted="semantics real",
                fix="semantics='real'; or a variable for each input, as it is or scaled and shifted",
            )  # fmt: skip
        return Semantics.REAL

    def critical(
        self,
        name: str,
        low: object,
        high: object,
        *,
        tolerance: object = None,
        timeout: float | None = None,
        semantics: Semantics | str | None = None,
        certificate: FilePath | None = None,
        report: Callable[[Critical], None] | None = None,
        **options: object,
    ) -> Critical:
        """Where between `low` and `high` the specification stops to hold, as a parameter goes from one to the other.

        It ends when the two values found are `tolerance` apart, or after `timeout` seconds; see `farkas.critical`.
        """
        from farkas.critical import critical

        return critical(
            self, name, low, high, tolerance=tolerance, timeout=timeout, semantics=semantics, certificate=certificate,
            report=report, **options,
        )  # fmt: skip

    def save(self, path: FilePath, version: str = "2.0") -> bytes:
        """Writes the specification as a VNN-LIB file, "2.0" or "1.0", and returns its bytes; see `farkas.saving`."""
        from farkas.saving import save

        return save(self, path, version)

    @cached_property
    def networks(self) -> dict[str, Network]:
        """The network of every call, by its name in the saved file, in the order of the property; raises SpecError."""
        copies, networks = self.normal.copies, list[Network]()
        for copy, model in zip(copies, models(copies), strict=True):
            networks.append(networks[model] if model < len(networks) else _network(copy))
        return dict(zip(names(copies), networks, strict=True))

    @property
    def property(self) -> Property:
        """The normal form: what would violate the specification."""
        return self.normal.property

    def __repr__(self) -> str:
        if self.parameters:
            return f"<spec with the parameters {', '.join(self.parameters)}>"
        prop = self.property
        disjuncts = sum(len(case.disjuncts) for case in prop.cases)
        return f"<spec: {prop.inputs} inputs, {prop.outputs} outputs, {len(prop.cases)} boxes, {disjuncts} disjuncts>"


def _network(copy: Copy) -> Network:
    """The network of a call, behind the affine maps that stand in front of it; raises SpecError."""
    network = copy.application.network
    if not isinstance(network, Network):
        fail("FK510", found=type(network).__name__, wanted="a network", fix="net = fk.load('network.onnx')")
    if not copy.prefixes:
        return network
    from farkas.ir.onnx_edit import prepend_affine
    from farkas.ir.onnx_import import load_onnx

    data = network.data
    for prefix in copy.prefixes:
        data = prepend_affine(data, network.graph.inputs[prefix.number][0], prefix.rows, prefix.shifts)
    return Network(load_onnx(data), data, None, network.name)
