"""Questions whose answer is a number or a witness: `find`, `maximize`, `minimize` and `bounds`.

    peak = fk.maximize(net(x)[0, 0], given=[fk.between(0, x, 1)], gap="0.001", timeout=60)
    peak.attained, peak.proved        # the greatest value lies between the two

Everything is asked through `Spec.check`: `expression <= t` holds, and t is proved, with the tree or certificate of that
question; or it is violated, and the exact value of the expression at the replayed witness is attained.  So an interval
is as sound as a verdict, in every semantics that verdicts have, for everything that a specification can say.  Which t
to ask about is chosen by `farkas.thresholds`; from each witness an attack climbs on (`farkas.engine.raising`).

Every question starts with an empty tree.  Keeping one tree for all thresholds would save the bounds of pieces that were
cut before, but as the proof for the last threshold takes about as long as all before it, no more than a factor of two;
and the tree of one threshold is what the checker reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from farkas.api import FilePath, load_question
from farkas.asking import Limits
from farkas.engine.problem import row_scale
from farkas.engine.raising import raised
from farkas.engine.replay import Replay
from farkas.engine.verdict import Holds, Reason, Unknown, Verdict, Violated
from farkas.expressions import Premise, scalar, value
from farkas.optimum import Bounds, Optimum
from farkas.spec import Spec
from farkas.specs.diagnostics import SpecError
from farkas.specs.language_conditions import Condition
from farkas.specs.language_forms import Form, negated, number
from farkas.specs.language_formulas import at_most
from farkas.specs.language_witness import entry_values, named
from farkas.specs.query import Semantics
from farkas.thresholds import Thresholds

CLIMB_SHARE = 0.2  # of the time spent so far: for climbing on from a witness
LONGEST_CLIMB_S = 1.0

Given = Condition | Iterable[Condition]
Report = Callable[[Optimum], None]


def find(
    *,
    given: Given,
    timeout: float | None = None,
    semantics: Semantics | str | None = None,
    certificate: FilePath | None = None,
    **options: Any,
) -> Verdict:
    """A point that satisfies `given`, which mentions outputs: `Violated` has it as its witness (nothing but the claim
    that there is none is violated); `Holds` says that there is none.

    Options: those of `farkas.verify`.  Raises SpecError.
    """
    question = Premise.of(given).impossible()
    return question.check(timeout=timeout, semantics=semantics, certificate=certificate, **options)


def maximize(
    expression: object,
    *,
    given: Given,
    gap: object = None,
    timeout: float | None = None,
    semantics: Semantics | str | None = None,
    certificate: FilePath | None = None,
    report: Report | None = None,
    **options: Any,
) -> Optimum:
    """The greatest value of an expression over all executions that satisfy `given`, as a certified interval.

    expression: a tensor with one entry, of inputs and outputs of any networks.
    gap: the width of the interval to stop at; timeout: seconds; one of the two is needed.  Without a gap it ends at a
    millionth of the value.  report: called with what is known, each time that this is more than before.
    certificate: file for the certificate of what is proved; then a threshold counts as proved only when the checker has
    accepted one, and the file is replaced each time.  Options: those of `farkas.verify`.

    Raises SpecError, or FarkasError for arguments that cannot be used.
    """
    limits = Limits.of("gap", gap, timeout, certificate, semantics, options)
    form = scalar(expression, "fk.maximize(fk.max(y), ...)")
    return _Search("maximize", form, Premise.of(given), limits, report).run()


def minimize(
    expression: object,
    *,
    given: Given,
    gap: object = None,
    timeout: float | None = None,
    semantics: Semantics | str | None = None,
    certificate: FilePath | None = None,
    report: Report | None = None,
    **options: Any,
) -> Optimum:
    """The least value of an expression; otherwise as `maximize`."""
    limits = Limits.of("gap", gap, timeout, certificate, semantics, options)
    form = scalar(expression, "fk.minimize(fk.min(y), ...)")
    return _Search("minimize", form, Premise.of(given), limits, report).run()


def bounds(
    expression: object,
    *,
    given: Given,
    gap: object = None,
    timeout: float | None = None,
    semantics: Semantics | str | None = None,
    certificate: FilePath | None = None,
    report: Report | None = None,
    **options: Any,
) -> Bounds:
    """The least and the greatest value of an expression, as two certified intervals, each of the width `gap`.

    timeout: of both; what the first does not use is left to the second.  certificate: two files, of this name with
    `.low` and `.high` before its suffix.  Otherwise as `maximize`.
    """
    start = time.monotonic()
    given = (given,) if isinstance(given, Condition) else tuple(given)
    common: dict[str, Any] = {"given": given, "gap": gap, "semantics": semantics, "report": report, **options}
    half = None if timeout is None else timeout / 2
    lower = minimize(expression, timeout=half, certificate=_beside(certificate, "low"), **common)
    left = None if timeout is None else max(0.0, timeout - (time.monotonic() - start))
    return Bounds(lower, maximize(expression, timeout=left, certificate=_beside(certificate, "high"), **common))


def _beside(certificate: FilePath | None, word: str) -> Path | None:
    if certificate is None:
        return None
    path = Path(certificate)
    return path.with_name(f"{path.stem}.{word}{path.suffix}")


class _Search:
    """One expression: the interval so far, and what it rests on.  Inside, everything is maximised."""

    def __init__(self, sense: str, form: Form, premise: Premise, limits: Limits, report: Report | None) -> None:
        self._sign = 1 if sense == "maximize" else -1
        self._form = form if self._sign == 1 else negated(form)
        self._premise, self._limits, self._report = premise, limits, report
        self._thresholds = Thresholds(limits.width, limits.first_slice_s)
        self._known = Optimum(sense, None, None)
        self._detail = ""

    def run(self) -> Optimum:
        """Asks until the interval is narrow, time is up, or no question helps."""
        while True:
            threshold = self._thresholds.next()
            if threshold is None:
                return self._ended(self._why_no_more())
            if self._limits.is_over:
                return self._ended("timeout")
            verdict = self._ask(threshold)
            if isinstance(verdict, Unknown) and verdict.reason is Reason.UNSUPPORTED:
                self._detail = verdict.detail
                return self._ended("unsupported")

    def _why_no_more(self) -> str:
        if self._thresholds.is_narrow:
            return "gap"
        return "stuck" if self._thresholds.open or self._known.attained is not None else "empty"

    def _ask(self, threshold: Fraction) -> Verdict | None:
        """The answer about one threshold, taken down; None where it cannot be asked."""
        self._known = replace(self._known, questions=self._known.questions + 1)
        try:
            spec = self._premise.proving(at_most(self._form, number(threshold)))
        except SpecError as error:
            if error.code != "FK409" or self._known.questions == 1:
                raise
            self._thresholds.undecided(threshold, more_time_helps=False)  # a norm compared with a negative number
            return None
        verdict = self._limits.check(spec, self._thresholds.slice_s)
        match verdict:
            case Holds():
                self._thresholds.at_most(threshold)
                proved = self._sign * threshold
                self._tell(verdict, proved=proved, holds=verdict, certificate=self._limits.certificate)
            case Violated():
                attained, best = max(self._witnesses(spec, verdict, threshold), key=lambda pair: pair[0])
                self._thresholds.at_least(attained)
                self._tell(verdict, attained=self._sign * attained, witness=best)
            case Unknown():
                self._detail = verdict.detail
                self._thresholds.undecided(threshold, verdict.reason is Reason.TIMEOUT)
        if not isinstance(verdict, Violated):
            self._hint(spec, verdict, threshold)
        return verdict

    def _witnesses(self, spec: Spec, found: Violated, threshold: Fraction) -> Iterator[tuple[Fraction, Violated]]:
        """Values of the expression at witnesses: the one that was found, and those that a climb from there leads to."""
        yield self._attained(spec, found.replay, threshold), found
        query = load_question(spec.networks, spec.property).query(found.semantics)
        for replay in raised(query, self._limits.share_s(CLIMB_SHARE, LONGEST_CLIMB_S)):
            outputs = replay.runtime_outputs or replay.outputs
            told = named(spec.normal, replay.inputs, outputs)
            best = replace(found, replay=replay, named=told, assignment="", certificate=None, in_binary32=None)
            yield self._attained(spec, replay, threshold), best

    def _attained(self, spec: Spec, replay: Replay, threshold: Fraction) -> Fraction:
        """The value of the expression in both executions of a witness, the lesser one; with norms, its lower end, or
        the threshold below it."""
        values = []
        for outputs in (replay.outputs, replay.runtime_outputs) if replay.runtime else (replay.outputs,):
            low, high = value(self._form, entry_values(spec.normal, replay.inputs, outputs))
            assert high > threshold, f"a witness of more than {threshold} attains {high}"
            values.append(max(low, threshold))
        return min(values)

    def _hint(self, spec: Spec, verdict: Verdict, threshold: Fraction) -> None:
        """What the closest candidate of a search without a witness would have attained; it is only asked about."""
        closest = verdict.statistics.closest
        scales = [row_scale(atom) for case in spec.property.cases for atoms in case.disjuncts for atom in atoms]
        if closest is not None and closest > 0 and scales:
            self._thresholds.nearly(threshold - Fraction(closest) / min(scales))

    def _tell(self, verdict: Verdict, **known: Any) -> None:
        self._known = replace(self._known, semantics=verdict.semantics, time_s=self._limits.elapsed_s, **known)
        if self._report is not None:
            self._report(self._known)

    def _ended(self, reason: str) -> Optimum:
        detail = "" if reason == "gap" else self._detail
        return replace(self._known, reason=reason, detail=detail, time_s=self._limits.elapsed_s)
