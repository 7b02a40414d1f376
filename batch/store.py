"""The store: everything that is known about the questions of all runs, in one SQLite file with a journal beside it.

    STORE            SQLite, write-ahead log: what is asked for
    STORE.journal    every fact, checksummed, append-only: what is believed (farkas.batch.journal)
    STORE.files/     witnesses, certificates ... under their SHA-256

The order of writing is what makes it safe to be killed anywhere: files first (under their digests, so that nothing
refers to a part of one), then the line of the journal, then one transaction.  After a kill between the last two, the
next `Store.open` finds a line that the database lacks, and enters it.  A claim, which says that some driver works on a
question, is no fact and is in the database alone; it falls with its driver.

What is read is checked: an attempt is believed if its digest is that of its columns, a file if its name is its digest.
A database that SQLite or a digest finds damaged is moved aside and made anew from the journal.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from farkas.batch.drivers import is_alive, this_driver
from farkas.batch.journal import Journal
from farkas.batch.ports import Clock, Disk, SystemClock, SystemDisk
from farkas.batch.records import DECIDED, Attempt, Question, Result, Row, Run, StoredFile, canonical, digest
from farkas.batch.schema import NewerStore, migrate

BUSY_S = 20.0
LOG_PAGES = 128  # of the write-ahead log before its pages go to their places
COLUMNS: tuple[str, ...] = (
    "id", "question", "run", "number", "started", "timeout_s", "memory_bytes", "code", "verdict", "reason", "evidence",
    "semantics", "wall_s", "cpu_s", "peak_bytes", "message",
)  # fmt: skip


class BadStore(Exception):
    """The store cannot be used; the message says why and what to do."""


class Damaged(Exception):
    """A row is not what was written."""


class Store:
    """An open store; use `Store.open`.  Not for several threads; any number of processes may have one open."""

    def __init__(self, path: Path, connection: sqlite3.Connection, clock: Clock, disk: Disk) -> None:
        self.path = path
        self.driver = this_driver()
        self._sql = connection
        self._clock = clock
        self._disk = disk
        self._is_unsettled = False
        self._journal = Journal(path.with_name(path.name + ".journal"), disk)
        self._files = path.with_name(path.name + ".files")

    @classmethod
    def open(cls, path: Path, *, clock: Clock | None = None, disk: Disk | None = None) -> Store:
        """The store in a file, made if there is none; repaired from its journal if it is damaged.  Raises BadStore."""
        clock, disk = clock or SystemClock(), disk or SystemDisk()
        try:
            try:
                return cls._opened(path, clock, disk)
            except (sqlite3.DatabaseError, Damaged) as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise  # busy, full, not writable: nothing that making it anew would help
                if not Journal(path.with_name(path.name + ".journal"), disk).size:
                    raise BadStore(f"{path} is no store: {error}; give another place with --store") from error
                _move_aside(path)
                return cls._opened(path, clock, disk)
        except NewerStore as error:
            raise BadStore(f"{path}: {error}") from error
        except (sqlite3.OperationalError, OSError) as error:
            raise BadStore(f"{path}: the store cannot be opened: {error}") from error

    @classmethod
    def _opened(cls, path: Path, clock: Clock, disk: Disk) -> Store:
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")  # the journal is what survives a loss of power
            connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit = {LOG_PAGES * 4096}")
            connection.execute("PRAGMA temp_store = MEMORY")
            migrate(connection)
            store = cls(path, connection, clock, disk)
            store._check()
            store._catch_up()
        except BaseException:
            connection.close()
            raise
        return store

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.settle()
        self._sql.close()

    def settle(self) -> None:
        """What was entered without waiting for the disk is there also after a loss of power; raises OSError."""
        if self._is_unsettled:
            self._journal.sync()
            self._is_unsettled = False

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Writing

    def begin(self, suite: str, options: Mapping[str, Any], environment: Mapping[str, Any], rows: Sequence[Row]) -> str:
        """A new run of these instances; its id."""
        name = uuid.uuid4().hex[:12]
        content = {
            "id": name, "suite": suite, "options": options, "environment": environment, "started": self._clock.now(),
            "driver": self.driver, "rows": [list(asdict(row).values()) for row in rows],
        }  # fmt: skip
        self._journal.write("run", content)
        with self._transaction():
            self._enter_run(json.loads(canonical(content)))
        return name

    def take_up(self, run: str) -> None:
        """Makes this process the driver of a run that was interrupted."""
        with self._transaction():
            self._sql.execute("UPDATE run SET state = 'running', ended = NULL, driver = ? WHERE id = ?",
                              (self.driver, run))  # fmt: skip

    def end(self, run: str, state: str) -> None:
        """Says how a run ended: `finished` or `interrupted`; gives its claims back."""
        content = {"id": run, "state": state, "ended": self._clock.now()}
        self._journal.write("end", content)
        self._is_unsettled = False
        with self._transaction():
            self._enter_end(content)
            self._sql.execute("DELETE FROM claim WHERE driver = ?", (self.driver,))

    def claim(self, question: str, run: str) -> bool:
        """Whether this process may work on a question: no other living one does."""
        with self._transaction():
            found = self._sql.execute("SELECT driver FROM claim WHERE question = ?", (question,)).fetchone()
            if found is not None and found[0] != self.driver and is_alive(found[0]):
                return False
            self._sql.execute("INSERT OR REPLACE INTO claim VALUES (?, ?, ?)", (question, self.driver, run))
        return True

    def release(self, question: str) -> None:
        """Gives a claim back."""
        with self._transaction():
            self._sql.execute("DELETE FROM claim WHERE question = ? AND driver = ?", (question, self.driver))

    def keep(self, kind: str, data: bytes) -> StoredFile:
        """Stores a file under its digest; raises OSError."""
        sha256 = hashlib.sha256(data).hexdigest()
        place = self.file_path(sha256)
        if not place.is_file() or _digest_of(place) != sha256:
            self._disk.create(place, data)
        return StoredFile(kind, sha256, len(data))

    def finish(self, attempt: Attempt, question: Question | None, *, sync: bool = True) -> None:
        """Enters a finished attempt as the answer to its instance; raises OSError or sqlite3.Error and may be repeated.

        question: what `attempt.question` is the key of; sync: waits for the disk, else `settle` does.
        """
        content = {"attempt": attempt.as_json(), "question": None if question is None else asdict(question)}
        if self._sql.execute("SELECT 1 FROM attempt WHERE id = ?", (attempt.id,)).fetchone() is None:
            self._is_unsettled |= not sync
            self._journal.write("attempt", content, sync=sync)
        with self._transaction():
            self._enter_attempt(json.loads(canonical(content)))
            self._sql.execute("DELETE FROM claim WHERE question = ? AND driver = ?", (attempt.question, self.driver))

    def reuse(self, run: str, number: int, attempt: Attempt) -> None:
        """Answers an instance by an attempt of before."""
        content = {"run": run, "number": number, "attempt": attempt.id, "question": attempt.question}
        self._journal.write("reuse", content, sync=False)  # a loss of power costs a look at what is known
        with self._transaction():
            self._enter_reuse(content)

    # Reading

    def best(self, question: str) -> Attempt | None:
        """What is known about a question: a decided attempt (one with a certificate first), else the longest one."""
        order = (
            "ORDER BY verdict IN ('sat', 'unsat') DESC, evidence = 'certified' DESC, "
            "EXISTS (SELECT 1 FROM file f WHERE f.attempt = attempt.id AND f.kind = 'certificate') DESC, timeout_s DESC"
        )
        columns = ", ".join((*COLUMNS, "details", "digest"))
        rows = self._sql.execute(f"SELECT {columns} FROM attempt WHERE question = ? {order}", (question,))
        return next((self._attempt(row) for row in rows), None)

    def question(self, key: str) -> Question | None:
        """What a key stands for."""
        found = self._sql.execute("SELECT content FROM question WHERE key = ?", (key,)).fetchone()
        if found is None:
            return None
        values = json.loads(found[0])
        return Question(**{**values, "networks": tuple(map(tuple, values["networks"]))})

    def is_contradictory(self, question: str) -> bool:
        """Whether one attempt says sat and another one unsat."""
        return self._sql.execute("SELECT 1 FROM contradiction WHERE question = ?", (question,)).fetchone() is not None

    def results(self, run: str) -> Iterator[Result]:
        """The instances of a run, in the order of the suite."""
        names = ", ".join(f"a.{name}" for name in COLUMNS)
        rows = self._sql.execute(
            "SELECT i.number, i.category, i.onnx, i.vnnlib, i.folder, i.timeout_s, i.expected, i.question, i.reused, "
            f"{names}, a.details, a.digest FROM instance i LEFT JOIN attempt a ON a.id = i.attempt WHERE i.run = ? "
            "ORDER BY i.number", (run,),
        )  # fmt: skip
        for row in rows:
            attempt = None if row[9] is None else self._attempt(row[9:])
            yield Result(Row(*row[:7]), row[7], attempt, bool(row[8]))

    def runs(self) -> list[Run]:
        """All runs, the oldest first; one whose driver is gone counts as interrupted."""
        rows = self._sql.execute(
            "SELECT r.id, suite, options, content, started, ended, state, driver FROM run r "
            "JOIN environment ON digest = environment ORDER BY started, r.id"
        )  # fmt: skip
        return [self._run(row) for row in rows]

    def peaks(self) -> dict[tuple[str, str], int]:
        """By category and network: the most memory that an instance has needed."""
        rows = self._sql.execute(
            "SELECT i.category, i.onnx, max(a.peak_bytes) FROM instance i JOIN attempt a ON a.id = i.attempt "
            "GROUP BY i.category, i.onnx"
        )
        return {(category, onnx): peak for category, onnx, peak in rows if peak}

    def file_path(self, sha256: str) -> Path:
        """Where the file of that digest lies."""
        return self._files / sha256[:2] / sha256

    def read_file(self, sha256: str) -> bytes:
        """A stored file; raises BadStore where it is missing or not what it was."""
        try:
            data = self.file_path(sha256).read_bytes()
        except OSError as error:
            raise BadStore(f"{self.file_path(sha256)}: cannot be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BadStore(f"{self.file_path(sha256)}: the content is not that of its name; solve the instance again")
        return data

    # Entering facts

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._sql.execute("COMMIT")
        except BaseException:
            if self._sql.in_transaction:
                self._sql.execute("ROLLBACK")
            with contextlib.suppress(sqlite3.Error):  # on a full disk the log may be what fills it
                self._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            raise

    def _check(self) -> None:
        (found,) = self._sql.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        for row in self._sql.execute(f"SELECT {', '.join(COLUMNS)}, details, digest FROM attempt"):
            _require_whole(row)

    def _catch_up(self) -> None:
        """Enters what the journal has and the database lacks."""
        with self._transaction():
            (place,) = self._sql.execute("SELECT place FROM journal").fetchone()
            size = self._journal.size
            if size == place:
                return
            for kind, content in self._journal.facts(place if place <= size else 0):
                {"run": self._enter_run, "end": self._enter_end, "attempt": self._enter_attempt,
                 "reuse": self._enter_reuse}[kind](content)  # fmt: skip
            self._sql.execute("UPDATE journal SET place = ?", (size,))

    def _enter_run(self, content: Mapping[str, Any]) -> None:
        text = canonical(content["environment"])
        name = digest(content["environment"])
        self._sql.execute("INSERT OR IGNORE INTO environment VALUES (?, ?)", (name, text))
        values = (content["id"], content["suite"], canonical(content["options"]), name, content["started"], None,
                  "running", content["driver"])  # fmt: skip
        self._sql.execute("INSERT OR IGNORE INTO run VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        self._sql.executemany(
            "INSERT OR IGNORE INTO instance (run, number, category, onnx, vnnlib, folder, timeout_s, expected) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)", ([content["id"], *row] for row in content["rows"]),
        )  # fmt: skip

    def _enter_end(self, content: Mapping[str, Any]) -> None:
        self._sql.execute("UPDATE run SET state = ?, ended = ? WHERE id = ?",
                          (content["state"], content["ended"], content["id"]))  # fmt: skip

    def _enter_attempt(self, content: Mapping[str, Any]) -> None:
        values = content["attempt"]
        if content["question"] is not None:
            self._sql.execute("INSERT OR IGNORE INTO question VALUES (?, ?)",
                              (values["question"], canonical(content["question"])))  # fmt: skip
        columns = {name: values[name] for name in COLUMNS} | {"details": canonical(values["details"])}
        marks = ", ".join("?" * (len(columns) + 1))
        names = ", ".join((*columns, "digest"))
        done = self._sql.execute(f"INSERT OR IGNORE INTO attempt ({names}) VALUES ({marks})",
                                 (*columns.values(), _row_digest(columns)))  # fmt: skip
        if done.rowcount:
            self._sql.executemany("INSERT INTO bound VALUES (?, ?, ?, ?, ?, ?)",
                                  ([values["id"], *row] for row in values["bounds"]))  # fmt: skip
        self._sql.executemany(
            "INSERT OR IGNORE INTO file VALUES (?, ?, ?, ?)",
            ([values["id"], file["kind"], file["sha256"], file["bytes"]] for file in values["files"]),
        )
        self._sql.execute(
            "UPDATE instance SET question = ?, attempt = ?, reused = 0 WHERE run = ? AND number = ?",
            (values["question"], values["id"], values["run"], values["number"]),
        )

    def _enter_reuse(self, content: Mapping[str, Any]) -> None:
        self._sql.execute(
            "UPDATE instance SET question = ?, attempt = ?, reused = 1 WHERE run = ? AND number = ?",
            (content["question"], content["attempt"], content["run"], content["number"]),
        )

    def _attempt(self, row: Sequence[Any]) -> Attempt:
        """The attempt in a row of COLUMNS, details, digest; raises Damaged for one that is not what was written."""
        columns = _require_whole(row)
        bounds = self._sql.execute("SELECT time_s, bound, boxes, leaves, open FROM bound WHERE attempt = ?",
                                   (columns["id"],)).fetchall()  # fmt: skip
        files = self._sql.execute("SELECT kind, sha256, bytes FROM file WHERE attempt = ?", (columns["id"],)).fetchall()
        values = {**columns, "details": json.loads(columns["details"])}
        return Attempt(**values, bounds=tuple(bounds), files=tuple(StoredFile(*file) for file in files))

    def _run(self, row: Sequence[Any]) -> Run:
        name, suite, options, environment, started, ended, state, driver = row
        if state == "running" and not is_alive(driver):
            state = "interrupted"
        return Run(name, suite, json.loads(options), json.loads(environment), started, ended, state, driver)


def _require_whole(row: Sequence[Any]) -> dict[str, Any]:
    """The columns in a row of COLUMNS, details, digest."""
    columns: dict[str, Any] = dict(zip((*COLUMNS, "details"), row[:-1], strict=True))
    if _row_digest(columns) != row[-1]:
        raise Damaged(f"the attempt {columns['id']} is not what was written")
    return columns


def _row_digest(columns: Mapping[str, Any]) -> str:
    return digest(list(columns.values()))


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _move_aside(path: Path) -> None:
    """Renames a damaged database and its companions; the journal stays."""
    number = next(n for n in range(1, 1000) if not path.with_name(f"{path.name}.damaged-{n}").exists())
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{suffix}", f"{path}.damaged-{number}{suffix}")


assert DECIDED == ("sat", "unsat"), "the views of the schema name these words"
