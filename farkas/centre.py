"""The network at the centre of a specification, before anything is searched: when it violates there, it is said at
once, with what the network answers.

The question is the specification's own with the centre alone for `given`, so it is answered in its own semantics and
by the same replay as any other witness (in binary32 a point means its nearest number).  What is not decided within
seconds is left to the search.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from farkas.specs.diagnostics import fail
from farkas.specs.language_centre import at_point, centre_values
from farkas.specs.language_conditions import Condition
from farkas.specs.language_parameters import open_parameters

if TYPE_CHECKING:
    from farkas.engine.verdict import Violated
    from farkas.spec import Spec

SECONDS = 10.0  # for a point, which is one execution and, when it does not violate, bounds on it
MANY = 10  # outputs that are shown


def require_centre(spec: Spec, *, run: bool = True) -> None:
    """Raises SpecError when the centre is not given, or when (run) the specification is violated there.

    Nothing is run while `prove`, or an input of a network in it, has parameters without a value.
    """
    from farkas.engine.verdict import Violated
    from farkas.spec import Spec

    *given, prove = spec.formulas
    values = centre_values(spec.centre, given, prove)
    if not run or open_parameters([prove]):
        return
    point = Spec([Condition((), (formula,)) for formula in at_point(values)], spec.prove, spec.semantics)
    verdict = point.check(timeout=SECONDS)
    if isinstance(verdict, Violated):
        fail(
            "FK517", found=_answer(verdict, len(point.networks)), wanted="a centre where `prove` holds",
            fix="leave this point out: the network does not do there what is to be proved around it",
        )  # fmt: skip


def _answer(verdict: Violated, calls: int) -> str:
    shown = []
    for item in verdict.named[-calls:]:
        values = ", ".join(_short(value) for value in item.values[:MANY])
        shown.append(f"{item.name} = [{values}{', ...' if len(item.values) > MANY else ''}]")
    return f"at the centre {' and '.join(shown)}, in {verdict.semantics.value}"


def _short(value: Fraction) -> str:
    return f"{float(value):.6g}"
