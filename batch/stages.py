"""What is done with an answer after its process has ended: looked at from outside, by processes that share nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from farkas.batch.records import DECIDED, Row
from farkas.batch.suites import networks, query
from farkas.batch.tasks import PYTHON, End, Limits, Outcome, Task, last_line, printed
from farkas.batch.work import CERTIFICATE

CHECK_LIMIT_S = 3600.0


class Stage(Protocol):
    """A further process for an instance; what it finds goes into the details of the attempt."""

    def task(self, name: str, row: Row, values: Mapping[str, Any], folder: Path) -> Task | None:
        """The process, if these values of an attempt need it; folder: of this task; the verifier's is beside it."""

    def found(self, outcome: Outcome, folder: Path) -> Mapping[str, Any]:
        """What it says."""
        ...


class Check:
    """The trusted checker on the certificate, in a fresh interpreter."""

    def task(self, name: str, row: Row, values: Mapping[str, Any], folder: Path) -> Task | None:
        if values["verdict"] not in DECIDED or CERTIFICATE not in values.get("files", ()):
            return None
        named = [f"{network}={path}" if network else str(path) for network, path in networks(row)]
        words = [
            PYTHON, "-m", "farkas", "check", os.fspath(verified(folder) / CERTIFICATE),
            *(word for one in named for word in ("--network", one)), "--property", str(query(row)),
            "--tier", "accelerated", "--semantics", values["semantics"], "--verdict", values["verdict"],
        ]  # fmt: skip
        certificate = os.fspath(verified(folder) / CERTIFICATE)
        reads = (certificate, *(str(path) for _, path in networks(row)), str(query(row)))
        return Task(name, str(folder), Limits(CHECK_LIMIT_S), command=tuple(words), reads=reads)

    def found(self, outcome: Outcome, folder: Path) -> Mapping[str, Any]:
        used = {"check_wall_s": outcome.wall_s, "check_cpu_s": outcome.cpu_s}
        if outcome.end is End.ITSELF and outcome.code == 0:
            return {"check": "accepted", **used}
        why = outcome.end.value or f"exit code {outcome.code}: {last_line(printed(folder, 'stderr'))}"
        return {"check": why, **used}


def verified(folder: Path) -> Path:
    """The verifier's folder of the instance that a later stage works on."""
    return folder.parent / "verify"
