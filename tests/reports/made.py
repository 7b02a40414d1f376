"""Stores with runs whose every number is written here, without a search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from farkas.batch.records import Attempt, Question, Row, StoredFile
from farkas.batch.store import Store
from farkas.reports.facts import Entry, Report, collect
from farkas.reports.recorded import Recorded

ENVIRONMENT = {"farkas": "1.2.3", "code": "c" * 64, "python": "3.11.0", "cores": 2, "packages": {"numpy": "2.0"}}


def row(number: int, category: str = "cars", *, expected: str = "", timeout_s: float = 10.0) -> Row:
    return Row(
        number, category, f"nets/n{number % 2}.onnx.gz", f"props/p{number}.vnnlib", "nowhere", timeout_s, expected
    )


def answer(verdict: str, wall_s: float = 1.0, **more: Any) -> dict[str, Any]:
    """The values of an attempt; by default as the engine leaves them."""
    evidence = {"unsat": "checkable", "sat": "replayed"}.get(verdict, "")
    reason = {"timed-out": "timeout", "unknown": "gap", "unsupported": "unsupported", "error": "input"}.get(verdict, "")
    return {
        "verdict": verdict,
        "evidence": evidence,
        "reason": reason,
        "semantics": "f32-any",
        "wall_s": wall_s,
        **more,
    }


def run(store: Store, rows: Sequence[Row], answers: Sequence[dict[str, Any] | None]) -> str:
    """A finished run of these rows; None: no answer."""
    options = {"semantics": "", "certify": False, "options": {}}
    name = store.begin("suites/cars.csv", options, ENVIRONMENT, rows)
    for one, values in zip(rows, answers, strict=True):
        if values is not None:
            question = Question((("", f"{one.number:064x}"),), f"{one.number + 1000:064x}", "", {})
            files = tuple(StoredFile(kind, store.keep(kind, data).sha256, len(data))
                          for kind, data in values.get("files", {}).items())  # fmt: skip
            plain = {key: value for key, value in values.items() if key != "files"}
            attempt = Attempt(f"{name}{one.number:020x}", name, one.number, question.key, 1e9, one.timeout_s, None,
                              "c" * 64, files=files, **plain)  # fmt: skip
            store.finish(attempt, question)
    store.end(name, "finished" if all(values is not None for values in answers) else "interrupted")
    return name


def report(
    folder: Path, rows: Sequence[Row], answers: Sequence[dict[str, Any] | None], against: Recorded | None = None
) -> Report:
    """What is told about such a run."""
    folder.mkdir(exist_ok=True)
    with Store.open(folder / "store") as store:
        name = run(store, rows, answers)
        return collect(store, next(one for one in store.runs() if one.id == name), against)


def entry(verdict: str, number: int = 0, category: str = "cars") -> Entry:
    """An instance by its verdict alone."""
    from farkas.batch.records import Result
    from farkas.batch.rows import row_of

    attempt = Attempt(f"a{number}", "r", number, f"{number:064x}", 0.0, 10.0, None, "c", **answer(verdict))
    stored = Result(row(number, category), attempt.question, attempt, False)
    return Entry(stored, row_of(stored))
