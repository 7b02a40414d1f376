"""The driver: brings a suite, the pool and the store together.

State is in the store alone.  The driver holds what is running, a short queue of what may begin next, and what waits for
somebody: a question that another row of this run, or another driver, works on.  Every instance goes through

    known? -> claimed? -> verify -> later stages -> entered into the store

and may leave at each arrow.  A failure to write is waited out: results stay here and nothing new begins until there is
room, or until the user interrupts.  A kill of this process costs what was running, and that is run again.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import uuid
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from farkas.batch import outcomes, schedule
from farkas.batch.contents import Contents
from farkas.batch.drivers import is_alive
from farkas.batch.patience import Patience
from farkas.batch.plan import VERIFIER, Plan
from farkas.batch.ports import Clock, Disk, SystemClock, SystemDisk, free_bytes, is_passing
from farkas.batch.records import Attempt, Question, Result, Row, StoredFile
from farkas.batch.stages import Stage
from farkas.batch.store import BadStore, Damaged, Store
from farkas.batch.suites import networks
from farkas.batch.tasks import NO_ROOM, End, Outcome
from farkas.batch.workers import HERE, Local, Place, Workers

LOOK_S = 0.5
PARDONED = 2  # losses of the parent of all workers while an instance ran, before it gets the machine to itself
SYNC_S = 0.5  # between two times that the journal is synchronised with the disk
AHEAD = 64  # instances prepared before they can begin
ROOM = 1 << 16  # bytes: with less, a worker may have failed for want of them
OTHERS_S = 1.0  # between two looks at what other drivers work on
CHANGED = {"verdict": "error", "reason": "input", "message": "a file was changed while it was worked on; run it again"}
T = TypeVar("T")


class Listener(Protocol):
    """Who is told what happens."""

    def done(self, result: Result) -> None:
        """An instance has its answer."""

    def tick(self, running: Sequence[Row], resident_bytes: int) -> None:
        """Called about twice a second."""

    def say(self, message: str) -> None:
        """Something that people should know."""


@dataclass
class Job:
    """An instance that is being worked on."""

    row: Row
    question: Question | None
    folder: Path
    waiting: schedule.Waiting
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex)
    place: str = HERE
    started: float = 0.0
    stage: int = -1  # -1: the verifier
    tries: int = 0
    ends: Counter[End] = field(default_factory=Counter)
    values: dict[str, Any] = field(default_factory=dict)


class Bench:
    """One run of a suite."""

    def __init__(
        self, store: Store, plan: Plan, code: str, listener: Listener, *, stages: Sequence[Stage] = (),
        clock: Clock | None = None, disk: Disk | None = None, workers: Callable[[Listener], Workers] | None = None,
    ) -> None:  # fmt: skip
        """workers: makes those who run the tasks, given who is told of what happens; those of this machine if None."""
        self.store = store
        self._plan = plan
        self._code = code
        self._listener = listener
        self._stages = stages
        self._clock = clock or SystemClock()
        self._disk = disk or SystemDisk()
        self._contents = Contents()
        self._running: dict[str, Job] = {}
        self._prepared: dict[int, Job] = {}
        self._parked: list[tuple[Row, Question]] = []
        self._ending: list[Job] = []
        self._next_look = 0.0
        self._next_sync = 0.0
        self._peaks: dict[tuple[str, str], int] = {}  # by category and network, "" for all networks of a category
        self._room = Patience(self._clock, listener.say)
        self._room_for_workers = Patience(self._clock, listener.say)
        self._workers = workers or (lambda _: Local(plan.jobs, warm=plan.verifier == VERIFIER))
        self._scratch = store.path.with_name(store.path.name + ".scratch") / store.driver.replace(":", "-")

    def run(self, run: str, rows: Sequence[Row]) -> None:
        """Answers these instances of a run; raises KeyboardInterrupt when the user does, and all is written then."""
        self._kept(lambda _: self._clean())
        for (category, onnx), peak in self._kept(lambda store: store.peaks()).items():
            self._needed(category, onnx, peak)
        waiting = deque(rows)
        queue: list[schedule.Waiting] = []
        try:
            with self._workers(self._listener) as workers:
                while waiting or queue or self._running or self._parked:
                    while waiting and len(queue) < AHEAD:
                        self._prepare(run, waiting.popleft(), queue)
                        if self._running and workers.ready():
                            break  # something has ended: that comes first
                    self._look_at_others(run, queue)
                    queue = self._begin(workers, queue)
                    found = workers.wait(self._patience(workers, waiting))
                    ended = [self._ended(workers, outcome, queue) for outcome in found]
                    queue = self._begin(workers, queue)  # the next one runs while the store is written
                    self._ending = [job for job in ended if job is not None]
                    while self._ending:
                        self._finish(run, self._ending[0])
                        del self._ending[0]
                    self._settle()
                    self._relieve(workers)
                    running = [job.row for job in self._running.values()]
                    self._listener.tick(running, sum(workers.resident.values()))
            self._kept(lambda store: store.settle())
        finally:
            with contextlib.suppress(OSError):  # an interrupt does not wait
                self.store.settle()
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _patience(self, workers: Workers, waiting: Sequence[Row]) -> float:
        if waiting and len(self._running) < sum(place.cores for place in workers.places()):
            return 0.0
        return LOOK_S

    # An instance before its process

    def _prepare(self, run: str, row: Row, queue: list[schedule.Waiting]) -> None:
        """Answers an instance from the store, parks it, or puts it into the queue."""
        try:
            question = self._plan.question(row, self._contents)
        except OSError as error:
            reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            missing = {"verdict": "error", "reason": "input", "message": f"no file {reason}"}
            self._enter(run, self._attempt(run, uuid.uuid4().hex, row, None, self._clock.now(), missing, ()), None, row)
            return
        self._consider(run, row, question, queue)

    def _consider(self, run: str, row: Row, question: Question, queue: list[schedule.Waiting]) -> None:
        if not self._plan.again:
            known = self._kept(lambda store: store.best(question.key))
            if known is not None and self._plan.answers(known, row, self._code):
                self._kept(lambda store: store.reuse(run, row.number, known))
                self._listener.done(Result(row, question.key, known, True))
                return
            if question.key in self._keys() or not self._kept(lambda store: store.claim(question.key, run)):
                self._parked.append((row, question))
                return
        limit = self._plan.memory_bytes
        size = sum(path.stat().st_size for _, path in networks(row))
        known_bytes = self._peaks.get((row.category, row.onnx)) or self._peaks.get((row.category, ""))
        waiting = schedule.Waiting(row.number, schedule.expected_bytes(known_bytes, size, limit))
        self._prepared[row.number] = Job(row, question, self._scratch / str(row.number), waiting)
        queue.append(waiting)

    def _keys(self) -> set[str]:
        """The questions that this driver works on."""
        jobs = (*self._prepared.values(), *self._running.values(), *self._ending)
        return {job.question.key for job in jobs if job.question is not None}

    def _look_at_others(self, run: str, queue: list[schedule.Waiting]) -> None:
        """Considers again what was parked, now and then."""
        if not self._parked or self._clock.monotonic() < self._next_look:
            return
        parked, self._parked = self._parked, []
        for row, question in parked:
            self._consider(run, row, question, queue)
        busy = bool(self._running or queue)
        self._next_look = self._clock.monotonic() + (0.0 if not self._parked else OTHERS_S)
        if self._parked and not busy:
            self._clock.sleep(OTHERS_S / 4)

    # An instance and its processes

    def _begin(self, workers: Workers, queue: list[schedule.Waiting]) -> list[schedule.Waiting]:
        """Begins what may begin; what is left of the queue."""
        for place in workers.places():
            chosen, queue = self._choose(workers, place, queue)
            while chosen is not None:
                job = self._prepared.pop(chosen.number)
                job.waiting, job.place = chosen, place.name
                job.started = self._clock.now()
                self._start(workers, job)
                chosen, queue = self._choose(workers, place, queue)
        return queue

    def _choose(
        self, workers: Workers, place: Place, queue: list[schedule.Waiting]
    ) -> tuple[schedule.Waiting | None, list[schedule.Waiting]]:
        running = {job.row.number: job.waiting for job in self._running.values() if job.place == place.name}
        return schedule.choose(queue, running, self._resident(workers, place.name), place.cores, place.budget)

    def _start(self, workers: Workers, job: Job) -> None:
        job.tries += 1
        name = f"{job.row.number}.{job.stage}.{job.tries}"
        if job.stage < 0:
            shutil.rmtree(job.folder, ignore_errors=True)
            task = self._plan.task(name, job.row, job.folder / "verify")
        else:
            found = self._stages[job.stage].task(name, job.row, job.values, job.folder / f"stage-{job.stage}")
            assert found is not None, "only stages that want a process are begun"
            task = found
        self._running[name] = job
        workers.start(task, job.place)

    def _ended(self, workers: Workers, outcome: Outcome, queue: list[schedule.Waiting]) -> Job | None:
        """The instance, if this was its last process; else the next one is begun, or it waits for another try."""
        job = self._running.pop(outcome.id)
        place = next((place for place in workers.places() if place.name == job.place), None)
        job.ends[outcome.end] += 1
        if outcome.end is End.REFUSED:
            self._requeue(job, queue)
            return None
        if self._has_met_a_full_disk(outcome, job):  # as a store without room: no fault of the instance
            shutil.rmtree(job.folder, ignore_errors=True)
            self._wait_for(self._room_for_workers, "no room for the files of a worker", job.folder)
            self._requeue(job, queue)
            return None
        if outcome.code == 0:
            self._room_for_workers.over()
        if job.ends[outcome.end] < outcomes.tries(outcome.end):
            if outcome.end in (End.EVICTED, End.KERNEL) or job.ends[End.LOST] > PARDONED:
                job.waiting = replace(job.waiting, alone=True, bytes=max(job.waiting.bytes, outcome.peak_bytes))
            self._requeue(job, queue)
            return None
        if job.stage < 0:
            job.values = outcomes.values(outcome, job.folder / "verify", self._plan.timeout(job.row))
        else:
            found = self._stages[job.stage].found(outcome, job.folder / f"stage-{job.stage}")
            job.values["details"] = {**job.values.get("details", {}), **found}
        if place is not None and place.processor:
            job.values["details"] = {**job.values.get("details", {}), "processor": place.processor}
        for number in range(job.stage + 1, len(self._stages)):
            folder = job.folder / f"stage-{number}"
            if self._stages[number].task("", job.row, job.values, folder) is not None:
                job.stage = number
                self._start(workers, job)
                return None
        return job

    def _requeue(self, job: Job, queue: list[schedule.Waiting]) -> None:
        """Everything about the instance from the beginning, before all others."""
        job.stage = -1
        job.values = {}
        self._prepared[job.row.number] = job
        queue.insert(0, job.waiting)

    def _finish(self, run: str, job: Job) -> None:
        verified = job.folder / "verify"
        question, values = job.question, job.values
        if question is not None and not self._is_as_asked(job.row, question):
            key, question, values = question.key, None, CHANGED
            self._kept(lambda store: store.release(key))
        files = tuple(
            self._kept(lambda store, kind=kind: store.keep(kind, (verified / kind).read_bytes()))  # type: ignore[misc]
            for kind in values.get("files", ())
        )
        attempt = self._attempt(run, job.attempt, job.row, question, job.started, values, files)
        self._enter(run, attempt, question, job.row)
        shutil.rmtree(job.folder, ignore_errors=True)

    def _is_as_asked(self, row: Row, question: Question) -> bool:
        """Whether the files still are what they were when the question was made of them: a worker has read them since,
        and an answer about others is none."""
        try:
            return self._plan.question(row, self._contents).key == question.key
        except OSError:
            return False

    def _attempt(
        self, run: str, name: str, row: Row, question: Question | None, started: float, values: Mapping[str, Any],
        files: Sequence[StoredFile],
    ) -> Attempt:  # fmt: skip
        own = {key: value for key, value in values.items() if key not in ("files", "certificate")}
        return Attempt(
            name, run, row.number, None if question is None else question.key, started, self._plan.timeout(row),
            self._plan.memory_bytes, self._code, files=files, **own,
        )  # fmt: skip

    def _enter(self, run: str, attempt: Attempt, question: Question | None, row: Row) -> None:
        self._kept(lambda store: store.finish(attempt, question, sync=False))
        self._needed(row.category, row.onnx, attempt.peak_bytes)
        self._next_look = 0.0
        if question is not None and self._kept(lambda store: store.is_contradictory(question.key)):
            self._listener.say(f"CONTRADICTION: {row.category}: {row.onnx} {row.vnnlib} is sat and unsat in this store")
        self._listener.done(Result(row, attempt.question, attempt, False))

    def _settle(self) -> None:
        """Has the disk keep, now and then, what was entered: a kill of this process cannot harm that, a loss of power
        costs at most so much time."""
        if self._clock.monotonic() >= self._next_sync:
            self._next_sync = self._clock.monotonic() + SYNC_S
            self._kept(lambda store: store.settle())

    def _needed(self, category: str, onnx: str, peak_bytes: int) -> None:
        """Learns what an instance has needed."""
        for key in ((category, onnx), (category, "")):
            self._peaks[key] = max(self._peaks.get(key, 0), peak_bytes)

    # The machines

    def _resident(self, workers: Workers, place: str) -> dict[int, int]:
        found = workers.resident
        return {job.row.number: found.get(name, 0) for name, job in self._running.items() if job.place == place}

    def _relieve(self, workers: Workers) -> None:
        """Ends the largest task of a machine that runs out of memory; it is tried again alone."""
        for place in workers.places():
            chosen = schedule.to_evict(self._resident(workers, place.name), place.available, place.reserve)
            names = {job.row.number: name for name, job in self._running.items()}
            if chosen is not None:
                workers.evict(names[chosen])

    def _kept(self, work: Callable[[Store], T]) -> T:
        """The result of some work with the store, when there is room for it and the file is whole."""
        while True:
            try:
                found = work(self.store)
                self._room.over()
                return found
            except (OSError, sqlite3.OperationalError) as error:
                if not is_passing(error):
                    raise
                self._wait_for(self._room, f"the store cannot be written ({error})", self.store.path)
            except (sqlite3.DatabaseError, Damaged) as error:
                self._listener.say(f"the store is damaged ({error}); it is made anew from its journal")
                self.store.close()
                self.store = self._opened()

    def _opened(self) -> Store:
        """The store, made anew where it is damaged, when there is room for it."""
        while True:
            try:
                return Store.open(self.store.path, clock=self._clock, disk=self._disk)
            except BadStore as error:
                if not isinstance(error.__cause__, Exception) or not is_passing(error.__cause__):
                    raise
                self._wait_for(self._room, str(error), self.store.path)

    def _has_met_a_full_disk(self, outcome: Outcome, job: Job) -> bool:
        """Whether a worker failed because there was no room for what it writes."""
        if outcome.code == NO_ROOM:
            return True
        if outcome.end is not End.ITSELF or outcome.code == 0 or job.place != HERE:
            return False
        free = free_bytes(job.folder)
        return free is not None and free < ROOM

    def _wait_for(self, room: Patience, what: str, place: Path) -> None:
        """Until the next try of what needs room in a place."""
        free = free_bytes(place)
        room.wait(what if free is None else f"{what}: {place.parent} has {free >> 10} KiB free")

    def end(self, run: str, state: str, *, patient: bool = True) -> None:
        """Says in the store how a run ended; patient: waits for room, else it is only said where there is none, and
        the run counts as interrupted once this process is gone."""
        try:
            if patient:
                self._kept(lambda store: store.end(run, state))
            else:
                self.store.end(run, state)
        except (OSError, sqlite3.OperationalError) as error:
            self._listener.say(f"the end of the run could not be written: {error}; nothing decided is lost")

    def _clean(self) -> None:
        """Removes what drivers that are gone have left behind."""
        parent = self._scratch.parent
        if parent.is_dir():
            for place in parent.iterdir():
                if not is_alive(place.name.replace("-", ":", 2)):
                    shutil.rmtree(place, ignore_errors=True)
        self._scratch.mkdir(parents=True, exist_ok=True)
