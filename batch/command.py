"""A run from its options to its summary: what `farkas bench` and `benchmarks/run.py` share."""

from __future__ import annotations

import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Protocol, TextIO

from farkas.batch.bench import Bench, Listener
from farkas.batch.drivers import is_alive
from farkas.batch.environment import code_digest, environment
from farkas.batch.panel import Lines, Panel
from farkas.batch.plan import Plan
from farkas.batch.pool import Pool
from farkas.batch.ports import is_passing
from farkas.batch.records import Row, Run, digest
from farkas.batch.rows import row_of, summary
from farkas.batch.stages import Stage
from farkas.batch.store import BadStore, Store
from farkas.batch.suites import DEFAULT_TIMEOUT_S, BadSuite, read_suite, select
from farkas.batch.tasks import NO_ROOM, End, Limits, Outcome, Task, last_line, printed
from farkas.batch.workers import Workers

PYTHON_LIMIT_S = 600.0


class Watcher(Listener, Protocol):
    """A listener with an end."""

    def close(self) -> None: ...


def for_people(rows: Sequence[Row], stream: TextIO, *, live: bool) -> Watcher:
    """A panel on a terminal, plain lines elsewhere."""
    return Panel(rows, stream) if live and stream.isatty() else Lines(rows, stream)


@dataclass(frozen=True)
class Done:
    """run: its id; total: of instances; interrupted: by the user, all that was decided being written."""

    run: str
    total: int
    interrupted: bool


def rows_of(
    suite: Path, store: Path, memory_bytes: int | None = None, limit_s: float = PYTHON_LIMIT_S
) -> list[Row]:  # fmt: skip
    """The instances of a suite; raises BadSuite.

    The specifications of a Python file are written beside the store; its process has so much memory and time.
    """
    if suite.suffix != ".py" or suite.is_dir():
        return read_suite(suite)
    if not suite.is_file():
        raise BadSuite(f"{suite}: there is no such file")
    place = store.with_name(store.name + ".specs").resolve() / digest(str(suite.resolve()))[:12]
    task = Task(
        "suite", str(place / "work"), Limits(limit_s, limit_s, memory_bytes), "farkas.batch.suites_python:collect",
        {"file": str(suite.resolve()), "place": str(place)},
    )  # fmt: skip
    with Pool(warm=False) as pool:
        pool.start(task)
        while not (ended := pool.wait(1.0)):
            pass
    found = ended[0].result(Path(task.folder))
    if found is None:
        raise BadSuite(f"{suite}: its process ended without specifications: {_why(ended[0], Path(task.folder))}")
    if "error" in found:
        raise BadSuite(found["error"])
    return [
        Row(number, category, onnx, vnnlib, folder, DEFAULT_TIMEOUT_S)
        for number, (category, onnx, vnnlib, folder) in enumerate(found["rows"])
    ]


def _why(outcome: Outcome, folder: Path) -> str:
    """How the process of a Python file came to its end."""
    match outcome.end:
        case End.WALL | End.CPU:
            return f"it took more than {outcome.wall_s:.0f} s"
        case End.MEMORY | End.KERNEL:
            return f"it took more memory than there is ({outcome.peak_bytes >> 20} MB)"
        case End.ITSELF if outcome.code == NO_ROOM:
            return f"no room for its specifications in {folder}"
        case End.ITSELF:
            return last_line(printed(folder, "stderr")) or f"exit code {outcome.code}"
        case _:
            return "it was killed from outside"


def start(
    store: Store, suite: Path, rows: Sequence[Row], plan: Plan, *, resume: bool, stages: Sequence[Stage] = (),
    watcher: Callable[[Sequence[Row]], Watcher], cluster: Callable[[str, Listener], Workers] | None = None,
) -> Done:  # fmt: skip
    """Runs a suite, or goes on with its last run; raises BadSuite where there is nothing to go on with.

    watcher: makes who is told of what happens, given the instances that are left to do; cluster: makes those who run
    them, given the digest of this program; None: this machine does.
    """
    code = code_digest()
    found = _interrupted(store, suite, plan) if resume else None
    try:
        if found is None:
            run = store.begin(str(suite.resolve()), plan.as_json(), environment(code), rows)
            left = list(rows)
        else:
            run = found.id
            store.take_up(run)
            results = list(store.results(run))
            rows = [result.row for result in results]
            left = [result.row for result in results if result.attempt is None]
    except (OSError, sqlite3.OperationalError) as error:
        if not is_passing(error):
            raise
        raise BadStore(f"{store.path}: the run cannot be entered: {error}; make room and begin again") from error
    listener = watcher(left)
    workers = None if cluster is None else partial(cluster, code)
    bench = Bench(store, plan, code, listener, stages=stages, workers=workers)
    interrupted = False
    try:
        with _terminated():
            bench.run(run, left)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        is_whole = all(result.attempt is not None for result in bench.store.results(run))
        bench.end(run, "finished" if is_whole else "interrupted", patient=not interrupted)
        listener.close()
    return Done(run, len(rows), interrupted)


def _interrupted(store: Store, suite: Path, plan: Plan) -> Run:
    """The last run of this suite, which has not come to its end."""
    runs = [run for run in store.runs() if run.suite == str(suite.resolve())]
    if not runs:
        raise BadSuite(f"{suite}: there is no run of it in {store.path}; run it without --resume")
    last = runs[-1]
    if last.state == "running" and is_alive(last.driver):
        raise BadSuite(f"{suite}: its last run {last.id} is still running in process {last.driver.split(':')[0]}")
    if last.state == "finished":
        raise BadSuite(f"{suite}: its last run {last.id} is finished; without --resume what is known is used as well")
    if last.options != plan.as_json():
        raise BadSuite(f"{suite}: its last run {last.id} has other options ({last.options}); give the same")
    return last


def told(store: Store, run: str) -> Iterator[str]:
    """The summary of a run: complaints first, then the categories."""
    rows = [row for row in map(row_of, store.results(run)) if row is not None]
    yield from summary(rows)


def has_complaints(store: Store, run: str) -> bool:
    """Whether an answer of a run is wrong."""
    return any(row is not None and row.complaints for row in map(row_of, store.results(run)))


def chosen(
    suite: Path, store: Path, filters: Sequence[str], every: int = 1, memory_bytes: int | None = None
) -> list[Row]:  # fmt: skip
    """The instances of a suite that the filters leave, numbered anew."""
    return select(rows_of(suite, store, memory_bytes), filters, every)


@contextmanager
def _terminated() -> Iterator[None]:
    """A request to end (SIGTERM) is met like an interrupt from the keyboard."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
