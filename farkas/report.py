"""An answer told: as the JSON object of `verify --json`, and in a few lines for people."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, assert_never

from farkas import __version__
from farkas.engine.trusted import Trusted
from farkas.engine.verdict import Holds, Reason, Statistics, Unknown, Verdict, Violated
from farkas.specs.query import Semantics

IN_BINARY32 = (
    "numbers in the property mean their exact decimals, inputs are the binary32 numbers between them, and terms are "
    "computed and compared exactly over the binary32 values of inputs and outputs"
)
IN_INTEGERS = (
    "numbers in the property mean their exact decimals, and terms are computed and compared exactly over the binary32 "
    "inputs and the outputs that the integers decode to"
)
IN_REALS = (
    "numbers in the property mean their exact decimals; inputs, weights and terms are exact rational numbers, and "
    "nothing is rounded"
)
TO_TRUST = "`--trust ENGINE` makes this unsat: it takes the word of that engine, which no checker confirms"
TRUSTED = "no checker confirms a word; --trust has accepted it"


def as_object(verdict: Verdict, time_s: float, certificate: str | None) -> dict[str, Any]:
    """The object of --json; its keys are fixed, and no number in it is infinite or NaN.

    time_s: age of the process; certificate: the file that was written, None when there is none.
    """
    statistics = verdict.statistics
    return {
        "verdict": verdict.word,
        "reason": verdict.reason.value if isinstance(verdict, Unknown) else None,
        "evidence": verdict.evidence or None,
        "semantics": verdict.semantics.value,
        "time_s": time_s,
        "certificate": certificate,
        "witness": verdict.witness if isinstance(verdict, Violated) else None,
        "bounds": {"margin": _finite(statistics.bound), "closest": _finite(statistics.closest)},
        "statistics": {key: _finite(value) for key, value in {**statistics.as_dict(), **_details(verdict)}.items()},
        "version": __version__,
    }


def _details(verdict: Verdict) -> dict[str, Any]:
    details: dict[str, Any] = {"warnings": list(verdict.warnings)}
    match verdict:
        case Holds():
            details["leaves"] = verdict.tree.leaves
        case Violated():
            replay = verdict.replay
            details |= {"executor": replay.executor, "runtime": replay.runtime, "any_order": replay.any_order}
            details["in_binary32"] = verdict.in_binary32
        case Unknown():
            details["detail"] = verdict.detail
            details["gap"] = None if verdict.gap is None else verdict.gap.as_dict()
        case _ as never:
            assert_never(never)
    return details


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def summary(verdict: Verdict, time_s: float, wanted: str | None, certificate: str | None) -> Iterator[str]:
    """Lines for people: what is claimed and on what evidence, warnings, and what would help.

    wanted: the certificate's path on the command line; certificate: the same if the file was written.
    """
    statistics = verdict.statistics
    work = f"{time_s:.2f} s, {statistics.boxes} boxes"
    mode = verdict.semantics.value
    match verdict:
        case Holds():
            work += f", {verdict.tree.leaves} leaves"
            yield f"unsat ({mode}, evidence {verdict.evidence}): {_claim(verdict.semantics)}; {work}"
            if isinstance(verdict.tree, Trusted):
                yield from _words(verdict.tree)
        case Violated():
            yield f"sat ({mode}, evidence {verdict.evidence}): {_violation(verdict)}; {work}"
        case Unknown():
            yield f"{verdict.word} ({mode}, reason {verdict.reason.value}): {verdict.detail}; {work}"
            if verdict.reason is Reason.UNCERTIFIED and "--trust" in verdict.detail:
                yield TO_TRUST
        case _ as never:
            assert_never(never)
    yield from _ways(statistics)
    yield _reading(verdict.semantics)
    if statistics.off_grid:
        yield f"{statistics.off_grid} coordinates of single points are no binary32 numbers and mean their nearest ones"
    for warning in verdict.warnings:
        yield f"warning: {warning}"
    if certificate is not None:
        yield f"certificate: {certificate}"
    elif wanted is not None:
        yield f"warning: no certificate was written to {wanted}"


def _words(proof: Trusted) -> Iterator[str]:
    """Whose word a proof rests on, and for how much of it."""
    by = Counter(" and ".join(word.engines) for word in proof.words)
    told = ", ".join(f"{count} by the word of {engines}" for engines, count in sorted(by.items()))
    yield f"pieces: {proof.closed} closed by bounds, {told}"
    yield TRUSTED


def _ways(statistics: Statistics) -> Iterator[str]:
    """By which ways the answer was found, where there was more than one moment of work."""
    parts = [f"{arm.name} {arm.time_s:.2f} s ({arm.boxes} boxes)" for arm in statistics.arms if arm.boxes]
    parts += [
        f"{rung.name} {rung.time_s:.2f} s ({rung.refuted} of {rung.pieces} pieces, {rung.candidates} candidates)"
        for rung in statistics.rungs
        if rung.pieces
    ]
    if not parts:
        return
    if statistics.shared:
        parts.append(f"{statistics.shared} boxes by helpers")
    if statistics.lost:
        parts.append(f"{statistics.lost} helpers lost, their boxes done again")
    if statistics.attack_s >= 0.01:
        parts.append(f"attack {statistics.attack_s:.2f} s")
    if statistics.programs:
        parts.append(f"{statistics.programs} linear programs")
    if statistics.switches:
        parts.append(f"{statistics.switches} switches")
    rules = ", ".join(f"{count} by {rule}" for rule, count in sorted(statistics.rules.items()) if count)
    yield "; ".join(parts) + (f"; leaves: {rules}" if rules else "")


def _reading(semantics: Semantics) -> str:
    if semantics is Semantics.INT_EXACT:
        return IN_INTEGERS
    return IN_BINARY32 if semantics.is_binary32 else IN_REALS


def _claim(semantics: Semantics) -> str:
    match semantics:
        case Semantics.F32_ANY:
            return "no binary32 input of the set violates in any admissible execution"
        case Semantics.REAL:
            return "no real input of the set violates"
        case Semantics.INT_EXACT:
            return "no binary32 input of the set violates, with the integers and roundings that the graph states"
        case _:
            return f"no binary32 input of the set violates when executed in the order {semantics.order}"


def _violation(verdict: Violated) -> str:
    replay = verdict.replay
    match verdict.semantics:
        case Semantics.REAL:
            match verdict.in_binary32:
                case None:
                    beside = ""
                case True:
                    beside = "; so does the nearest binary32 point when it is executed"
                case False:
                    beside = "; the nearest binary32 point does not when it is executed"
            return f"an exact rational input violates{beside}"
        case Semantics.INT_EXACT:
            return f"the witness violates on the exact integers of the graph and, bit for bit, on {replay.runtime}"
        case Semantics.F32_ANY:
            every = "it violates in every admissible execution" if replay.any_order else "other orders may not violate"
            return f"the witness violates on executor {replay.executor} and on {replay.runtime}; {every}"
        case _:
            beside = f"violates on {replay.runtime} too" if replay.runtime else "does not violate on onnxruntime here"
            return f"the witness violates on executor {replay.executor}; it {beside}"
