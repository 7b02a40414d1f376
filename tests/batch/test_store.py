"""The store, and what happens to it: kills between any two writes, full disks, damaged pages, clocks that step."""

import errno
import json
import multiprocessing
import os
import signal
import sqlite3
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from farkas.batch import schema
from farkas.batch.journal import Journal
from farkas.batch.ports import SystemDisk
from farkas.batch.records import Attempt, Question, Row
from farkas.batch.store import BadStore, Store

ROWS = [Row(k, "c", f"n{k}.onnx", f"q{k}.vnnlib", "folder", 5.0, "") for k in range(4)]


def question(k: int) -> Question:
    return Question((("", f"net{k}"),), f"prop{k}", "", {})


def attempt(run: str, k: int, verdict: str = "unsat", **more: object) -> Attempt:
    bounds = ((0.1, -1.5, 3, 1, 2), (0.2, None, 4, 2, 2))
    asked = Attempt(f"{run}-{k}-{verdict}", run, k, question(k).key, 1.0, 5.0, None, "code", verdict, wall_s=0.25,
                    details={"statistics": {"boxes": 7}}, bounds=bounds)  # fmt: skip
    return replace(asked, **more)  # type: ignore[arg-type]


def filled(path: Path) -> str:
    """A store with a run of which two instances are answered."""
    with Store.open(path) as store:
        run = store.begin("suite", {}, {"cores": 2}, ROWS)
        file = store.keep("witness", b"((X_0 1))")
        store.finish(attempt(run, 0), question(0))
        store.finish(attempt(run, 1, "sat", files=(file,)), question(1))
    return run


def verdicts(store: Store, run: str) -> list[str | None]:
    return [None if result.attempt is None else result.attempt.verdict for result in store.results(run)]


def test_what_was_entered_is_read_unchanged(tmp_path: Path) -> None:
    run = filled(tmp_path / "s")
    with Store.open(tmp_path / "s") as store:
        first, second, third, _ = store.results(run)
        assert first.attempt == attempt(run, 0)
        assert first.row == ROWS[0] and third.attempt is None
        assert second.attempt is not None and store.best(question(1).key) == second.attempt
        assert store.read_file(second.attempt.files[0].sha256) == b"((X_0 1))"
        (found,) = store.runs()
        assert (found.id, found.suite, found.environment) == (run, "suite", {"cores": 2})


def test_of_several_attempts_a_decided_one_is_the_best_then_the_longest(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        run = store.begin("suite", {}, {}, ROWS)
        for name, verdict, timeout_s in (("a", "timed-out", 60.0), ("b", "timed-out", 600.0)):
            store.finish(attempt(run, 0, verdict, id=name, timeout_s=timeout_s), question(0))
        best = store.best(question(0).key)
        assert best is not None and best.id == "b"
        store.finish(attempt(run, 0, "unsat", id="c", timeout_s=1.0), question(0))
        best = store.best(question(0).key)
        assert best is not None and best.id == "c"
        assert not store.is_contradictory(question(0).key)
        store.finish(attempt(run, 0, "sat", id="d"), question(0))
        assert store.is_contradictory(question(0).key)
        assert store.best("another") is None


def test_an_attempt_that_is_entered_twice_counts_once(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        run = store.begin("suite", {}, {}, ROWS)
        store.finish(attempt(run, 0), question(0))
        size = (tmp_path / "s.journal").stat().st_size
        store.finish(attempt(run, 0), question(0))
        assert (tmp_path / "s.journal").stat().st_size == size
        assert store.best(question(0).key) == attempt(run, 0)


# Kills


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs, nothing catches it."""


class FailingDisk(SystemDisk):
    """Dies or is full at the n-th write; half: of an append, half of the bytes are written first."""

    def __init__(self, at: int, *, full: bool = False, half: bool = False) -> None:
        self.at, self.full, self.half, self.count = at, full, half, 0

    def _fail(self) -> None:
        self.count += 1
        if self.count == self.at or (self.full and self.count > self.at):
            raise OSError(errno.ENOSPC, "no space") if self.full else Killed

    def create(self, path: Path, data: bytes) -> None:
        self._fail()
        super().create(path, data)

    def append(self, path: Path, data: bytes, *, sync: bool = True) -> None:
        try:
            self._fail()
        except BaseException:
            if self.half:
                super().append(path, data[: len(data) // 2])
            raise
        super().append(path, data, sync=sync)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("at", range(1, 6))
def test_a_kill_or_a_full_disk_at_any_write_loses_nothing_entered_and_invents_nothing(
    at: int, full: bool, half: bool, tmp_path: Path
) -> None:
    """Five writes: the run, a file, two attempts, the end."""
    done: list[int] = []
    run = ""
    with Store.open(tmp_path / "s", disk=FailingDisk(at, full=full, half=half)) as store:
        try:
            run = store.begin("suite", {}, {}, ROWS)
            file = store.keep("witness", b"w")
            store.finish(attempt(run, 0, "sat", files=(file,)), question(0))
            done.append(0)
            store.finish(attempt(run, 1), question(1))
            done.append(1)
            store.end(run, "finished")
        except (Killed, OSError):
            pass
    with Store.open(tmp_path / "s") as store:
        assert len(store.runs()) == (at > 1)
        if at > 1:
            expected = ["sat" if 0 in done else None, "unsat" if 1 in done else None, None, None]
            assert verdicts(store, run) == expected
            assert (store.best(question(1).key) is not None) == (1 in done)
            store.finish(attempt(run, 2), question(2))  # and it goes on
            assert verdicts(store, run) == [*expected[:2], "unsat", None]


def test_a_kill_between_the_journal_and_the_database_loses_nothing(tmp_path: Path) -> None:
    run = filled(tmp_path / "s")
    content = {"attempt": attempt(run, 2).as_json(), "question": {"networks": [], "property_digest": "p",
               "semantics": "", "options": {}}}  # fmt: skip
    Journal(tmp_path / "s.journal", SystemDisk()).write("attempt", content)
    with Store.open(tmp_path / "s") as store:
        assert verdicts(store, run) == ["unsat", "sat", "unsat", None]


def _fill_until_killed(path: Path, ready: Event) -> None:
    with Store.open(path) as store:
        run = store.begin("suite", {}, {}, [replace(ROWS[0], number=k) for k in range(3_000)])
        ready.set()
        for k in range(3_000):
            store.finish(attempt(run, k), question(k))
            with (path.parent / "acknowledged").open("a") as file:
                file.write(f"{k}\n")


@pytest.mark.parametrize("delay", [0.01, 0.05, 0.13])
def test_a_process_that_is_really_killed_keeps_every_attempt_it_was_told_of(delay: float, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=_fill_until_killed, args=(tmp_path / "s", ready))
    process.start()
    assert ready.wait(30)
    process.join(delay)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    place = tmp_path / "acknowledged"
    acknowledged = place.read_text().split("\n")[:-1] if place.exists() else []
    with Store.open(tmp_path / "s") as store:
        (run,) = store.runs()
        assert run.state == "interrupted"  # its driver is gone
        answered = [result.row.number for result in store.results(run.id) if result.attempt is not None]
        assert len(acknowledged) <= len(answered) <= len(acknowledged) + 1
        assert answered == list(range(len(answered)))


# Damage


def test_a_damaged_page_is_repaired_from_the_journal(tmp_path: Path) -> None:
    run = filled(tmp_path / "s")
    with sqlite3.connect(tmp_path / "s") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray((tmp_path / "s").read_bytes())
    for start in range(4096, len(data), 4096):
        data[start : start + 64] = os.urandom(64)
    (tmp_path / "s").write_bytes(data)
    with Store.open(tmp_path / "s") as store:
        assert verdicts(store, run) == ["unsat", "sat", None, None]
    assert (tmp_path / "s.damaged-1").is_file()


def test_a_verdict_that_changed_in_the_database_is_not_believed(tmp_path: Path) -> None:
    """A flipped bit that leaves the tree of the table in order: SQLite cannot see it."""
    run = filled(tmp_path / "s")
    with sqlite3.connect(tmp_path / "s") as connection:
        connection.execute("UPDATE attempt SET verdict = 'unsat' WHERE verdict = 'sat'")
    with Store.open(tmp_path / "s") as store:
        assert verdicts(store, run) == ["unsat", "sat", None, None]


def test_a_line_of_the_journal_that_changed_is_no_fact(tmp_path: Path) -> None:
    run = filled(tmp_path / "s")
    journal = tmp_path / "s.journal"
    journal.write_bytes(journal.read_bytes().replace(b'"verdict":"sat"', b'"verdict":"unsat"'))
    (tmp_path / "s").unlink()
    with Store.open(tmp_path / "s") as store:
        assert verdicts(store, run) == ["unsat", None, None, None]


def test_a_stored_file_that_changed_is_refused_and_replaced(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        file = store.keep("certificate", b"proof")
        store.file_path(file.sha256).write_bytes(b"prof")
        with pytest.raises(BadStore, match="not that of its name"):
            store.read_file(file.sha256)
        assert store.keep("certificate", b"proof") == file
        assert store.read_file(file.sha256) == b"proof"


def test_what_is_no_store_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").write_bytes(b"dear diary " * 1000)
    with pytest.raises(BadStore, match="is no store"):
        Store.open(tmp_path / "notes")
    assert (tmp_path / "notes").read_bytes() == b"dear diary " * 1000
    with sqlite3.connect(tmp_path / "other") as connection:
        connection.execute("CREATE TABLE t (x)")
    with pytest.raises(BadStore, match="something else"):
        Store.open(tmp_path / "other")


def test_a_store_of_a_later_version_is_refused(tmp_path: Path) -> None:
    filled(tmp_path / "s")
    with sqlite3.connect(tmp_path / "s") as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(BadStore, match=f"version {schema.VERSION + 1}, this program knows {schema.VERSION}"):
        Store.open(tmp_path / "s")


def test_a_store_of_an_earlier_version_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = filled(tmp_path / "s")
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, "CREATE TABLE later (x);\nINSERT INTO later VALUES (7)"))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    with Store.open(tmp_path / "s") as store:
        assert verdicts(store, run) == ["unsat", "sat", None, None]
    with sqlite3.connect(tmp_path / "s") as connection:
        assert connection.execute("SELECT x FROM later").fetchall() == [(7,)]
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)


def test_the_page_about_the_store_names_every_table_and_column() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "batch.md").read_text(encoding="utf-8")
    with sqlite3.connect(":memory:", isolation_level=None) as connection:
        schema.migrate(connection)
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            (line,) = [line for line in page.splitlines() if line.startswith(f"| `{table}` |")]
            for row in connection.execute(f"PRAGMA table_info({table})").fetchall():
                assert f"`{row[1]}`" in line, f"{table}.{row[1]}"
    assert f"### Schema, version {schema.VERSION}" in page


# Two drivers


def _claim(path: Path, key: str, answer: "multiprocessing.Queue[bool]", leave: Event) -> None:
    with Store.open(path) as store:
        answer.put(store.claim(key, "run"))
        leave.wait(30)
        os._exit(0)


def test_a_claim_holds_while_its_process_lives_and_no_longer(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    answer: multiprocessing.Queue[bool] = context.Queue()
    leave = context.Event()
    process = context.Process(target=_claim, args=(tmp_path / "s", "key", answer, leave))
    process.start()
    assert answer.get(timeout=30) is True
    with Store.open(tmp_path / "s") as store:
        assert store.claim("key", "run") is False
        assert store.claim("another", "run") is True
        leave.set()
        process.join()
        assert store.claim("key", "run") is True


def test_a_fact_is_one_line_whatever_is_in_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", SystemDisk())
    journal.write("attempt", {"message": "two\nlines", "bound": float("inf")})
    assert list(journal.facts()) == [("attempt", {"message": "two\nlines", "bound": None})]
    assert json.loads((tmp_path / "j").read_text().split(" ", 1)[1])["kind"] == "attempt"


def test_what_an_instance_has_needed_is_known_by_its_network(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        for peaks in ((5, 9, 0), (7, 2, 0)):
            run = store.begin("suite", {}, {}, ROWS)
            for k, peak in enumerate(peaks):
                store.finish(attempt(run, k, peak_bytes=peak), question(k))
        assert store.peaks() == {("c", "n0.onnx"): 7, ("c", "n1.onnx"): 9}
