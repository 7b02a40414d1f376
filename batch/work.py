"""What a worker does: decides one instance, and says what came out as the values of an Attempt.

Nothing here raises for what an instance is: files that are missing, malformed or unsupported are answers.  The timeout
is that of the whole process; an alarm a quarter of a second after it interrupts Python code that has not looked at the
clock, and the parent's kill comes when that does not help.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farkas.batch.ports import is_full
from farkas.batch.records import canonical

if TYPE_CHECKING:
    from farkas.engine.bab import Progress
    from farkas.engine.verdict import Verdict

ALARM_S = 0.25
QUEUE_SHARE = 0.5  # of the memory limit that the queue of open boxes may take
SAMPLES = 200
CERTIFICATE, WITNESS = "certificate", "witness"


class Curve:
    """Bounds over time: at most SAMPLES rows, evenly thinned."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, float, int, int, int]] = []
        self._every_s = 0.05
        self._next_s = 0.0

    def __call__(self, progress: Progress, elapsed_s: float) -> None:
        if elapsed_s < self._next_s:
            return
        self._next_s = elapsed_s + self._every_s
        counts = progress.boxes, progress.leaves, progress.open
        self.rows.append((round(elapsed_s, 4), float(progress.best_bound), *counts))
        if len(self.rows) >= SAMPLES:
            del self.rows[1::2]
            self._every_s *= 2


def verify(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Decides an instance.

    arguments: networks (pairs of name and path), property (path), timeout_s, semantics ("" for the network's own),
    certify, options (of `farkas.verify`), memory_bytes.  The witness and the certificate become files of the folder.
    """
    from farkas.process import OutOfTime, alarm

    start = time.monotonic()
    curve = Curve()
    try:
        with alarm(arguments["timeout_s"] + ALARM_S):
            verdict, certificate = _decide(arguments, folder, curve)
            return _answer(verdict, certificate, time.monotonic() - start, folder) | {"bounds": _rows(curve)}
    except OutOfTime:
        return _open("timed-out", "timeout", "the time is over", curve)
    except (MemoryError, OSError, ImportError) as error:
        if not _is_memory(error):
            raise
        return _open("unknown", "memory", "out of memory; allow more with --memory", curve)


def _decide(arguments: Mapping[str, Any], folder: Path, curve: Curve) -> tuple[Verdict | dict[str, Any], Path | None]:
    from farkas import api
    from farkas.ir.errors import FarkasError, UnsupportedOperator

    certificate = folder / CERTIFICATE if arguments["certify"] else None
    memory = arguments["memory_bytes"]
    options = {"memory_gb": None if memory is None else memory * QUEUE_SHARE / 2**30, **arguments["options"]}
    start = time.monotonic()
    try:
        nets = {name: api.load(path) for name, path in arguments["networks"]}
        question = api.load_question(nets, arguments["property"])
        left = max(0.0, arguments["timeout_s"] - (time.monotonic() - start))
        return api.verify(nets, question, timeout=left, semantics=arguments["semantics"] or None,
                          certificate=certificate, report=curve, **options), certificate  # fmt: skip
    except (api.Unsupported, UnsupportedOperator) as error:
        return {"verdict": "unsupported", "reason": "unsupported", "message": _line(error)}, None
    except FarkasError as error:
        if isinstance(error.__cause__, OSError) and is_full(error.__cause__):
            raise error.__cause__ from None
        return {"verdict": "error", "reason": "input", "message": _line(error)}, None


def _answer(
    verdict: Verdict | dict[str, Any], certificate: Path | None, elapsed_s: float, folder: Path
) -> dict[str, Any]:
    from farkas.report import as_object

    if isinstance(verdict, dict):
        return verdict
    found = as_object(verdict, elapsed_s, None)
    files, more = [], {}
    if found["witness"] is not None:
        (folder / WITNESS).write_text(found["witness"], encoding="utf-8")
        files.append(WITNESS)
    if certificate is not None and certificate.is_file():
        files.append(CERTIFICATE)
        more["tree_bytes"] = _tree_bytes(certificate)
    statistics = found["statistics"]
    return {
        "verdict": found["verdict"], "reason": found["reason"] or "", "evidence": found["evidence"] or "",
        "semantics": found["semantics"], "message": (statistics.get("detail") or "").split("\n")[0], "files": files,
        "details": {"statistics": _whole(statistics), "margin": found["bounds"], "time_s": elapsed_s, **more},
    }  # fmt: skip


def _tree_bytes(certificate: Path) -> int | None:
    """The size of the tree in a certificate, before compression."""
    from farkas.certificate_file import read_certificate_file

    tree = read_certificate_file(certificate.read_bytes()).frame("TREE")
    return None if tree is None else len(tree.payload)


def _open(verdict: str, reason: str, message: str, curve: Curve) -> dict[str, Any]:
    return {"verdict": verdict, "reason": reason, "message": message, "bounds": _rows(curve)}


def _rows(curve: Curve) -> Any:
    return _whole(curve.rows)


def _whole(value: Any) -> Any:
    """The value as JSON has it."""
    import json

    return json.loads(canonical(value))


def _is_memory(error: Exception) -> bool:
    """Whether an allocation failed, also inside the loading of a library."""
    import errno

    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or "allocate memory" in str(error) or "failed to map segment" in str(error)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
