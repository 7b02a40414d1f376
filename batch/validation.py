"""Counterexamples of result files, replayed as the competition's rules say.

This is about points and credit, not about truth: the rules know tolerances, our verdicts do not.  The inputs are taken
as printed, in exact decimals; what onnxruntime runs (default options) are their nearest binary32 numbers, and the
property is evaluated at the printed inputs and the outputs of the run.

    2026        correct: inside the box and violating, without tolerance; up to tolerance: the same with inputs up to
                1e-4 outside the box.  Printed outputs are not looked at.
    2025        accepted: inputs and outputs within 1e-4, and the printed outputs within 1e-3, relative to the largest,
                of the run; correct, so that it refutes an `unsat`: within 1e-7 and 1e-5.
    2025-zero   the same; correct: without any tolerance.

What cannot be replayed here (element types, hidden tensors) is `unsupported`, which says nothing.  Tolerances of inputs
are those of the box; atoms about inputs and outputs have the tolerance of outputs.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from farkas.batch.records import Row
from farkas.batch.suites import networks, query
from farkas.engine.runtime import Runtime, RuntimeFailure
from farkas.ir.errors import FarkasError
from farkas.ir.onnx_wire import decompressed as network_bytes
from farkas.specs.boxes import nearest32
from farkas.specs.errors import MalformedProperty, MalformedWitness
from farkas.specs.query import Atom, Case, Property
from farkas.specs.tokens import decompressed
from farkas.specs.vnnlib import read_property
from farkas.specs.vnnlib2 import is_version_2, read_document
from farkas.specs.vnnlib2_assignment import Assigned, read_assignment
from farkas.specs.vnnlib2_document import Document
from farkas.specs.witness import read_witness

Numbers = Sequence[Fraction]
ZERO = Fraction(0)


class Standing(StrEnum):
    """What a counterexample is worth."""

    CORRECT = "correct"
    UP_TO_TOLERANCE = "correct up to tolerance"
    INVALID = "invalid"
    MISSING = "missing"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True)
class Judgement:
    """message: why it is not correct."""

    standing: Standing
    message: str = ""


@dataclass(frozen=True)
class Tolerance:
    """Of inputs around the box, of outputs, and, relative, between printed outputs and those of the run."""

    inputs: Fraction
    outputs: Fraction
    run: Fraction


@dataclass(frozen=True)
class Rules:
    """reads_outputs: the printed outputs are what the property is evaluated at; keeps_timeout: an answer after the
    timeout of the instance is none."""

    name: str
    correct: Tolerance
    accepted: Tolerance
    reads_outputs: bool
    keeps_timeout: bool


_EXACT = Tolerance(ZERO, ZERO, ZERO)
_NEAR = Tolerance(Fraction(1, 10**4), Fraction(1, 10**4), Fraction(1, 10**3))
_SMALL = Tolerance(Fraction(1, 10**7), Fraction(1, 10**7), Fraction(1, 10**5))
RULES: Mapping[str, Rules] = {
    "2025": Rules("2025", _SMALL, _NEAR, True, False),
    "2025-zero": Rules("2025-zero", _EXACT, _NEAR, True, False),
    "2026": Rules("2026", _EXACT, Tolerance(Fraction(1, 10**4), ZERO, ZERO), False, True),
}


class Unreplayable(Exception):
    """The instance cannot be run here; the message says why."""


class Validator:
    """Judges counterexamples; keeps the last network that it has loaded."""

    def __init__(self, load: Callable[[bytes], Runner] | None = None) -> None:
        self._load = load or (lambda data: Runtime(data, optimised=True))
        self._last: tuple[tuple[Path, ...], list[Runner]] | None = None

    def judge(self, row: Row, witness: Path | None, rules: Rules) -> Judgement:
        """What a counterexample of an instance is worth."""
        text = None if witness is None else read_text(witness)
        if text is None or len(text.strip()) < 2:
            return Judgement(Standing.MISSING, "no counterexample")
        return self.judge_text(row, text, rules)

    def judge_text(self, row: Row, text: str, rules: Rules) -> Judgement:
        """The same, of a counterexample as it is printed."""
        try:
            prop, inputs, printed = read_point(decompressed(query(row).read_bytes()), text)
        except MalformedWitness as error:
            return Judgement(Standing.INVALID, str(error))
        except (Unreplayable, MalformedProperty, OSError) as error:
            return Judgement(Standing.UNSUPPORTED, str(error))
        try:
            outputs = self.outputs(row, prop, inputs)
        except (Unreplayable, RuntimeFailure, FarkasError, OSError) as error:
            return Judgement(Standing.UNSUPPORTED, str(error))
        if outputs is None:
            return Judgement(Standing.INVALID, "an output of the run is not finite")
        return _judged(prop, inputs, outputs, printed, rules)

    def outputs(self, row: Row, prop: Property, inputs: Numbers) -> Numbers | None:
        """The outputs that the property speaks of, of the run at these inputs; None if one is not finite.

        Raises Unreplayable or FarkasError.
        """
        import numpy as np

        point = np.array([_float32(value) for value in inputs], dtype=np.float32)
        runners, found = self._runners(row), []
        sizes = [runner.size for runner in runners]
        if sum(sizes) != len(point):
            raise Unreplayable(f"the property has {len(point)} inputs, the network {sum(sizes)}")
        start = 0
        for runner in runners:
            found += runner.run(point[start : start + runner.size]).tolist()
            start += runner.size
        if len(found) < prop.outputs:
            raise Unreplayable(f"the property has {prop.outputs} outputs, the network {len(found)}")
        values = found[: prop.outputs]
        return [Fraction(value) for value in values] if np.isfinite(values).all() else None

    def _runners(self, row: Row) -> list[Runner]:
        """The networks in the order of the property; one that is declared equal to another is that one's."""
        files = networks(row)
        text = decompressed(query(row).read_bytes())
        if is_version_2(text):
            document, named = read_document(text), dict(files)
            alone = files[0][1] if len(files) == 1 and not files[0][0] else None
            paths = [alone or named.get(declared.model) for declared in document.networks]
        else:
            paths = [files[0][1]] if len(files) == 1 else [None]
        known = tuple(path for path in paths if path is not None)
        if len(known) < len(paths):
            raise Unreplayable("the networks of the property and those of the row have different names")
        if self._last is None or self._last[0] != known:
            loaded = {path: self._load(network_bytes(path.read_bytes())) for path in dict.fromkeys(known)}
            self._last = known, [loaded[path] for path in known]
        return self._last[1]


def _float32(value: Fraction) -> float:
    found = nearest32(value)
    if found is None:
        raise Unreplayable("an input is beyond binary32")
    return found


def read_text(path: Path) -> str | None:
    """The text of a counterexample, decompressed; None where there is none."""
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8", errors="replace")
    except (OSError, EOFError, zlib.error):
        return None


def read_point(prop: bytes, text: str) -> tuple[Property, Numbers, Numbers]:
    """The property, and the values of X and Y as printed.  Raises MalformedWitness, Unreplayable."""
    if is_version_2(prop):
        document = read_document(prop)
        if any(network.hidden for network in document.networks):
            raise Unreplayable("the property speaks of hidden tensors")
        inputs, outputs = _assigned(document, read_assignment(text))
        return document.property(), inputs, outputs
    found, witness = read_property(prop), read_witness(text)
    if len(witness.x) != found.inputs:
        raise MalformedWitness(f"found {len(witness.x)} inputs, wanted {found.inputs}")
    return found, witness.inputs, witness.outputs


def _assigned(document: Document, found: Sequence[Assigned]) -> tuple[Numbers, Numbers]:
    """X and Y of an assignment that has every declared tensor, in order, in its shape and type."""
    wanted = document.tensors
    if [one.name for one in found] != [one.name for one in wanted]:
        raise MalformedWitness(f"found the tensors {[one.name for one in found]}, wanted {[t.name for t in wanted]}")
    values: dict[bool, list[Fraction]] = {True: [], False: []}
    for one, tensor in zip(found, wanted, strict=True):
        if one.shape != tensor.shape:
            raise MalformedWitness(f"'{one.name}' has shape {list(one.shape)}, wanted {list(tensor.shape)}")
        if one.element.lower() not in (tensor.element, "real"):
            raise MalformedWitness(f"'{one.name}' is {one.element}, wanted {tensor.element}")
        values[tensor.kind == "input"] += one.values
    return values[True], values[False]


def _judged(prop: Property, inputs: Numbers, outputs: Numbers, printed: Numbers, rules: Rules) -> Judgement:
    """The standing of a point whose run is known."""
    used, distance = outputs, ZERO
    if rules.reads_outputs:
        if len(printed) != len(outputs):
            return Judgement(Standing.INVALID, f"found {len(printed)} outputs, wanted {len(outputs)}")
        used, distance = printed, _distance(printed, outputs)
    for standing, tolerance in ((Standing.CORRECT, rules.correct), (Standing.UP_TO_TOLERANCE, rules.accepted)):
        if distance <= tolerance.run and violates(prop, inputs, used, tolerance):
            return Judgement(standing, "" if standing is Standing.CORRECT else _excess(prop, inputs, tolerance.inputs))
    if distance > rules.accepted.run:
        return Judgement(Standing.INVALID, f"the printed outputs are not those of the run ({float(distance):.2g})")
    return Judgement(Standing.INVALID, "the property is not violated at this point")


def _distance(printed: Numbers, outputs: Numbers) -> Fraction:
    """The largest difference, relative to the largest printed output; 0 where all of these are below 1e-6."""
    largest = max((abs(value) for value in printed), default=ZERO)
    if largest < Fraction(1, 10**6):
        return ZERO
    return max(abs(p - q) for p, q in zip(printed, outputs, strict=True)) / largest


def violates(prop: Property, inputs: Numbers, outputs: Numbers, tolerance: Tolerance) -> bool:
    """Whether a point is a counterexample within a tolerance; exact with none."""
    values = prop.extended(inputs, outputs)
    return any(
        _is_near(case, inputs, tolerance.inputs)
        and any(all(_holds(atom, inputs, values, tolerance.outputs) for atom in atoms) for atoms in case.disjuncts)
        for case in prop.cases
    )


def _excess(prop: Property, inputs: Numbers, tolerance: Fraction) -> str:
    """Why a counterexample stands only with the tolerance."""
    near = [case for case in prop.cases if _is_near(case, inputs, tolerance)]
    outside = min(
        max(max(low - value, value - high) for low, value, high in zip(case.lower, inputs, case.upper, strict=True))
        for case in near
    )
    if outside > 0:
        return f"within the tolerance of the rules only: an input is {float(outside):.2g} outside of the box as printed"
    return (
        "within the tolerance of the rules only: inside the box, but the outputs are not exactly those of a violation"
    )


def _is_near(case: Case, inputs: Numbers, tolerance: Fraction) -> bool:
    ends = zip(case.lower, inputs, case.upper, strict=True)
    return all(low - tolerance <= value <= high + tolerance for low, value, high in ends)


def _holds(atom: Atom, inputs: Numbers, values: Numbers, tolerance: Fraction) -> bool:
    return atom.holds(inputs, values) or (tolerance > 0 and atom.value(inputs, values) <= atom.c + tolerance)


class Runner(Protocol):
    """What is needed of a loaded network."""

    size: int

    def run(self, x: Any) -> Any: ...
