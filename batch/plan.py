"""How a suite is to be run, and what that means for an instance: question, task, whether an old answer will do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farkas.batch.contents import Contents
from farkas.batch.records import Attempt, Question, Row
from farkas.batch.suites import networks, query
from farkas.batch.tasks import Limits, Task

VERIFIER = "farkas.batch.work:verify"
KILL_S = 0.75  # after the timeout: the worker's own alarm comes at 0.25
CPU_SHARE_S = 1.0  # of CPU time above the timeout: one core, and some threads that end


@dataclass(frozen=True)
class Plan:
    """timeout_s: upper limit for the timeouts of the suite; memory_bytes: of an instance; again: solve whatever is
    known; options: of `farkas.verify`; verifier: the function that a worker calls."""

    timeout_s: float | None = None
    jobs: int = 1
    memory_bytes: int | None = None
    semantics: str = ""
    certify: bool = False
    again: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    verifier: str = VERIFIER

    def timeout(self, row: Row) -> float:
        return min(row.timeout_s, math.inf if self.timeout_s is None else self.timeout_s)

    def question(self, row: Row, contents: Contents) -> Question:
        """What a row asks, by content; raises OSError for a file that cannot be read."""
        nets = tuple((name, contents.digest(path)) for name, path in networks(row))
        return Question(nets, contents.digest(query(row)), self.semantics, self.options)

    def task(self, name: str, row: Row, folder: Path) -> Task:
        """The process that decides a row."""
        timeout = self.timeout(row)
        arguments = {
            "networks": [(network, str(path)) for network, path in networks(row)], "property": str(query(row)),
            "timeout_s": timeout, "semantics": self.semantics, "certify": self.certify,
            "memory_bytes": self.memory_bytes, "options": dict(self.options),
        }  # fmt: skip
        limits = Limits(timeout + KILL_S, timeout + KILL_S + CPU_SHARE_S, self.memory_bytes)
        reads = (*(str(path) for _, path in networks(row)), str(query(row)))
        return Task(name, str(folder), limits, self.verifier, arguments, reads=reads)

    def answers(self, known: Attempt, row: Row, code: str) -> bool:
        """Whether an attempt of before will do for a row."""
        if self.again:
            return False
        if known.is_decided:
            return not self.certify or any(file.kind == "certificate" for file in known.files)
        match known.ran_out:
            case "time":
                return known.timeout_s >= self.timeout(row)
            case "memory":
                asked = math.inf if self.memory_bytes is None else self.memory_bytes
                return asked <= (math.inf if known.memory_bytes is None else known.memory_bytes)
            case _:
                return known.code == code and known.reason not in ("lost", "crash")

    def as_json(self) -> dict[str, Any]:
        """What a resumed run has to agree on."""
        return {"semantics": self.semantics, "certify": self.certify, "options": dict(self.options)}
