"""What the store remembers: runs, questions and attempts at them, as data that go through JSON unchanged."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

DECIDED = ("sat", "unsat")


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces; what is infinite or NaN is null."""
    return json.dumps(_finite(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


@dataclass(frozen=True)
class Question:
    """What is asked, by content.

    networks: names and SHA-256 of the decompressed bytes; property_digest: the same; semantics: as asked, "" for the
    network's own; options: those of the engine that bear on the answer.
    """

    networks: tuple[tuple[str, str], ...]
    property_digest: str
    semantics: str
    options: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        return digest(asdict(self))


@dataclass(frozen=True)
class StoredFile:
    """kind: certificate, witness, ...; the content lies under its SHA-256."""

    kind: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Attempt:
    """One try at a question, finished: whatever happened to the process, this is what is known.

    verdict: unsat, sat, unknown, timed-out, unsupported or error; reason: of what is open (timeout, memory, gap, ...;
    cpu, killed, crash where the process was ended); bounds: rows (time_s, bound, boxes, leaves, open); code: digest of
    the program that tried; details: statistics, and what later stages found (check, witness).
    """

    id: str
    run: str
    number: int
    question: str | None
    started: float
    timeout_s: float
    memory_bytes: int | None
    code: str
    verdict: str
    reason: str = ""
    evidence: str = ""
    semantics: str = ""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0
    message: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    bounds: Sequence[Sequence[float | int | None]] = ()
    files: Sequence[StoredFile] = ()

    @property
    def is_decided(self) -> bool:
        return self.verdict in DECIDED

    @property
    def ran_out(self) -> str:
        """What more of would have helped: `time`, `memory`, or nothing."""
        if self.verdict == "timed-out" or self.reason in ("timeout", "killed", "cpu", "late"):
            return "time"
        return "memory" if self.reason == "memory" else ""

    def as_json(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(canonical(asdict(self)))
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Attempt:
        files = tuple(StoredFile(**file) for file in values["files"])
        return cls(**{**values, "files": files, "bounds": tuple(map(tuple, values["bounds"]))})


@dataclass(frozen=True)
class Row:
    """One row of a suite: what an instance is, and what it is called there."""

    number: int
    category: str
    onnx: str
    vnnlib: str
    folder: str
    timeout_s: float
    expected: str = ""


@dataclass(frozen=True)
class Result:
    """An instance of a run with what is known about it; attempt: None while nothing is."""

    row: Row
    question: str | None
    attempt: Attempt | None
    reused: bool


@dataclass(frozen=True)
class Run:
    """One call of the command; state: `running`, `finished` or `interrupted`; driver: which process."""

    id: str
    suite: str
    options: Mapping[str, Any]
    environment: Mapping[str, Any]
    started: float
    ended: float | None
    state: str
    driver: str
