"""The critical value of a parameter: up to where a specification holds, with evidence at both ends.

    spec = fk.Spec(given=[fk.linf(x - x0) <= fk.parameter("eps")], prove=fk.argmax(net(x)) == 7)
    spec.critical("eps", 0, "0.1", tolerance="0.0001")

Values of the parameter are asked about by bisection.  Both ends of the result are verdicts: the specification holds
with the one value and is violated with the other.  That it holds with all values on the one side and with none on the
other follows when it is monotone, and often that can be seen: a counterexample satisfies `given` and not `prove`; in
negation normal form a formula grows with a parameter when every comparison in it does; `form <= 0` grows with the
parameter when the form falls with it; and a sum falls when all its parts do, a maximum when all its options do.  Where
a parameter is multiplied by a variable, stands in a norm or in the input of a network, its influence is not looked
into: monotonicity is then the claim of who asks, and the result says so.

In binary32 an interval that is a single point means the nearest number, which need not lie in the narrow intervals
around that point; so what is derived is about values of the parameter with which no interval has shrunk to a point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from farkas.api import FilePath
from farkas.asking import Limits
from farkas.engine.verdict import Holds, Reason, Unknown, Verdict, Violated
from farkas.engine.verdict_text import html_rows, shown, witness_rows
from farkas.expressions import comparisons
from farkas.ir.errors import FarkasError
from farkas.spec import Spec
from farkas.specs.language_forms import Application, Form, Greatest, Leaf, Parameter
from farkas.specs.language_formulas import Formula, conjunction, negation
from farkas.specs.language_numbers import exact
from farkas.specs.language_substitution import formula_leaves, leaves
from farkas.specs.query import Semantics
from farkas.thresholds import Thresholds

UP, DOWN = 1, -1


@dataclass(frozen=True, repr=False)
class Critical:
    """Where a specification stops to hold, as a parameter goes from `low` to `high`.

    holds_at, violated_at: values of the parameter with those verdicts, as close together as was found; None where none
    between `low` and `high` has the verdict, or none was decided.
    monotone: "derived" when the specification can only stop to hold as the parameter goes from `holds_at` to
    `violated_at` and beyond, so that both verdicts are about all values on their side; else "claimed".
    reason: why the search ended: "tolerance", "timeout", "stuck" (no value between the two is decided, whatever the
    time), "holds" or "violated" (with all values asked about), "unsupported"; detail: what the last undecided question
    said.
    certificate: the accepted file for `holds`, when asked for.
    """

    name: str
    low: Fraction
    high: Fraction
    monotone: str
    holds_at: Fraction | None = None
    violated_at: Fraction | None = None
    holds: Holds | None = None
    violated: Violated | None = None
    certificate: Path | None = None
    reason: str = ""
    detail: str = ""
    questions: int = 0
    time_s: float = 0.0

    @property
    def gap(self) -> Fraction | None:
        """The distance of the two values; None while there is one only."""
        if self.holds_at is None or self.violated_at is None:
            return None
        return abs(self.violated_at - self.holds_at)

    @property
    def rows(self) -> list[tuple[str, str]]:
        """What is known, in pairs of words and values."""
        found = self.holds or self.violated
        return [
            ("holds at", "none" if self.holds_at is None else shown(self.holds_at, False)),
            ("violated at", "none" if self.violated_at is None else shown(self.violated_at, True)),
            ("monotone", self.monotone),
            *([("semantics", found.semantics.value)] if found is not None else []),
            *([("evidence", self.holds.evidence)] if self.holds is not None else []),
            *([("certificate", str(self.certificate))] if self.certificate is not None else []),
            *([("ended by", self.reason)] if self.reason else []),
            ("work", f"{self.questions} questions, {self.time_s:.1f} s"),
        ]

    def __repr__(self) -> str:
        return f"<critical {self.name}: {', '.join(f'{word} {told}' for word, told in self.rows)}>"

    def _repr_html_(self) -> str:
        values = [] if self.violated is None else witness_rows(self.violated)
        return html_rows(f"critical {self.name}", [*self.rows, *values])


def critical(
    spec: Spec,
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
    """Where between `low` and `high` the specification stops to hold, as the parameter `name` grows (or falls).

    tolerance: the distance of the two values to stop at; timeout: seconds; one of the two is needed.  Without a
    tolerance it ends at a millionth of the values.  report: called with what is known, each time that this is more than
    before.  certificate: file for the certificate at `holds_at`; then a value counts as one with which it holds only
    when the checker has accepted one.  Options: those of `farkas.verify`.

    Raises SpecError, or FarkasError for arguments that cannot be used.
    """
    limits = Limits.of("tolerance", tolerance, timeout, certificate, semantics, dict(options))
    ends = exact(low), exact(high)
    if ends[0] >= ends[1]:
        raise FarkasError(f"the values of '{name}' go from {low} to {high}; two different ones, ascending, are wanted")
    return _Search(spec, name, *ends, limits, report).run()


class _Search:
    """One parameter: the interval so far.  `direction`: UP when values above `violated_at` are violated as well."""

    def __init__(
        self, spec: Spec, name: str, low: Fraction, high: Fraction, limits: Limits,
        report: Callable[[Critical], None] | None,
    ) -> None:  # fmt: skip
        self._spec, self._limits, self._report = spec, limits, report
        self._derived = direction(spec.formulas[:-1], spec.formulas[-1], name)
        self._direction = self._derived or UP
        self._slices = Thresholds(limits.width, limits.first_slice_s, low, high)
        self._known = Critical(name, low, high, "derived" if self._derived else "claimed")
        self._detail = ""

    def run(self) -> Critical:
        """Asks about both ends, then between them."""
        low, high = self._known.low, self._known.high
        first, last = (low, high) if self._direction == UP else (high, low)
        with_most = self._ask(last)
        if self._derived is not None and isinstance(with_most, Holds):
            return self._ended("holds")
        with_least = self._ask(first)
        if isinstance(with_most, Holds) and isinstance(with_least, Violated):
            self._direction = -self._direction
            self._slices = Thresholds(self._limits.width, self._limits.first_slice_s, low, high)  # the other way round
        elif isinstance(with_most, Holds):
            return self._ended("holds")
        elif isinstance(with_least, Violated):
            return self._ended("violated")
        while True:
            value = self._slices.next()
            if value is None:
                return self._ended("tolerance" if self._slices.is_narrow and self._known.gap is not None else "stuck")
            if self._limits.is_over:
                return self._ended("timeout")
            verdict = self._ask(value)
            if isinstance(verdict, Unknown) and verdict.reason is Reason.UNSUPPORTED:
                return self._ended("unsupported")

    def _ask(self, at: Fraction) -> Verdict:
        """The answer with one value, taken down."""
        self._known = replace(self._known, questions=self._known.questions + 1)
        verdict = self._limits.check(self._spec.at(**{self._known.name: at}), self._slices.slice_s)
        match verdict:
            case Holds():
                self._move(at, self._direction == UP)
                self._tell(holds_at=at, holds=verdict, certificate=self._limits.certificate)
            case Violated():
                self._move(at, self._direction == DOWN)
                self._tell(violated_at=at, violated=verdict)
            case Unknown():
                self._detail = verdict.detail
                self._slices.undecided(at, verdict.reason is Reason.TIMEOUT)
        return verdict

    def _move(self, at: Fraction, from_below: bool) -> None:
        if from_below:
            self._slices.at_least(at)
        else:
            self._slices.at_most(at)

    def _tell(self, **known: object) -> None:
        self._known = replace(self._known, time_s=self._limits.elapsed_s, **known)  # type: ignore[arg-type]  # by name
        if self._report is not None:
            self._report(self._known)

    def _ended(self, reason: str) -> Critical:
        detail = "" if reason in ("tolerance", "holds", "violated") else self._detail
        return replace(self._known, reason=reason, detail=detail, time_s=self._limits.elapsed_s)


def direction(given: tuple[Formula, ...], prove: Formula, name: str) -> int | None:
    """UP when what violates at a value of the parameter does so at all greater ones, DOWN at all smaller ones; None
    when that cannot be seen."""
    unsafe = conjunction([*given, negation(prove)])
    calls = {key[0] for key in formula_leaves(unsafe) if isinstance(key, tuple) and isinstance(key[0], Application)}
    if any(_mentions(form, name) for call in calls for form in call.arguments):
        return None
    slopes = {slope for comparison in comparisons(unsafe) for slope in _slopes(comparison.form, name)}
    return {frozenset({-1}): UP, frozenset({1}): DOWN}.get(frozenset(slopes))


def _slopes(form: Form, name: str) -> Iterator[int]:
    """Signs of what the parameter adds to the form: 1, -1, and 0 where it is not known."""
    for key, factor in form.terms.items():
        for slope in _leaf_slopes(key, name):
            yield slope if factor > 0 else -slope


def _leaf_slopes(key: Leaf, name: str) -> Iterator[int]:
    if isinstance(key, Parameter):
        if key.name == name:
            yield 1
    elif isinstance(key, Greatest):
        for option in key.options:
            yield from _slopes(option, name)
    elif _mentions(Form({key: Fraction(1)}, Fraction(0)), name):
        yield 0  # in a product or a norm


def _mentions(form: Form, name: str) -> bool:
    return any(isinstance(key, Parameter) and key.name == name for key in leaves(form))
