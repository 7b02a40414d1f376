"""Where answers come from: a run of a store, or a file of results, named by one word on the command line.

STORE          the last run of a store          STORE@RUN     that run (the beginning of its id will do)
RUN            that run of the default store    FILE.csv      results that were exported or recorded
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from farkas.batch.comparison import Answer, answers
from farkas.batch.recorded import BadResults, read_results
from farkas.batch.records import Row, Run
from farkas.batch.store import BadStore, Store

MAGIC = b"SQLite format 3\0"


@dataclass(frozen=True)
class Source:
    """name: for people; rows: the instances of a run, none for a file of results; run: of a store."""

    name: str
    answers: tuple[Answer, ...]
    rows: tuple[Row, ...] = ()
    run: Run | None = None


def read_source(word: str, default: Path) -> Source:
    """The answers that a word of the command line means; raises BadResults."""
    path, at, run = Path(word), "", ""
    if not path.is_file():
        text, at, run = word.rpartition("@")
        path = Path(text) if at else default
        run = run if at else word
        if not path.is_file():
            raise BadResults(f"{word}: no such file, and no run of a store; wanted FILE.csv, STORE or STORE@RUN")
    with path.open("rb") as file:
        is_store = file.read(len(MAGIC)) == MAGIC
    if is_store:
        return _stored(path, run)
    if run:
        raise BadResults(f"{path} is no store, so it has no run {run}")
    return Source(path.stem if path.stem != "results" else path.resolve().parent.name, tuple(read_results(path)))


def _stored(path: Path, name: str) -> Source:
    try:
        with Store.open(path) as store:
            run = _run(store, path, name)
            rows = tuple(result.row for result in store.results(run.id))
            return Source(f"run {run.id} of {path.name}", tuple(answers(store, run)), rows, run)
    except BadStore as error:
        raise BadResults(str(error)) from error


def _run(store: Store, path: Path, name: str) -> Run:
    """The run whose id begins so; the last one for no name."""
    runs = store.runs()
    found = [run for run in runs if run.id.startswith(name)] if name else runs[-1:]
    if len(found) != 1:
        known = ", ".join(run.id for run in runs) or "none"
        raise BadResults(f"{path}: {len(found)} runs are called '{name}'; it has {known}")
    return found[0]
