"""The driver: what is asked, what is asked again, and what a kill at any moment costs."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from farkas.batch import command, procfs, schedule, zygote
from farkas.batch.bench import Bench
from farkas.batch.outcomes import MANY, OFTEN
from farkas.batch.plan import Plan
from farkas.batch.ports import SystemClock, SystemDisk
from farkas.batch.records import Result, Row
from farkas.batch.store import Store
from farkas.batch.tasks import End, Limits, Outcome, Task
from farkas.batch.workers import HERE as MACHINE
from farkas.batch.workers import Place
from tests.farkas.queries import absolute

ROOT = Path(__file__).resolve().parents[2]
HERE = "tests.batch.misbehaving:"


class Ears:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.said: list[str] = []

    def done(self, result: Result) -> None:
        self.results.append(result)

    def tick(self, running: Sequence[Row], resident_bytes: int) -> None:
        pass

    def say(self, message: str) -> None:
        self.said.append(message)


def rows(folder: Path, count: int, timeout_s: float = 5.0) -> list[Row]:
    """Instances of different content; how often each was asked is in the file `<k>.vnnlib.asked`."""
    (folder / "n.onnx").write_bytes(b"network")
    for k in range(count):
        (folder / f"{k}.vnnlib").write_text(f"; {k}")
    return [Row(k, "c", "n.onnx", f"{k}.vnnlib", str(folder), timeout_s) for k in range(count)]


def asked(folder: Path, k: int) -> int:
    place = folder / f"{k}.vnnlib.asked"
    return place.read_text().count("x") if place.exists() else 0


def bench(
    store: Store, suite: Sequence[Row], verifier: str = "counting", code: str = "code", **plan: object
) -> tuple[str, Ears]:
    ears = Ears()
    options = Plan(verifier=HERE + verifier, jobs=2, **plan)  # type: ignore[arg-type]
    run = store.begin("suite", options.as_json(), {}, suite)
    Bench(store, options, code, ears).run(run, suite)
    return run, ears


def verdicts(store: Store, run: str) -> list[str | None]:
    return [None if result.attempt is None else result.attempt.verdict for result in store.results(run)]


def test_what_is_decided_is_not_asked_again_unless_it_is_wished(tmp_path: Path) -> None:
    suite = rows(tmp_path, 3)
    with Store.open(tmp_path / "s") as store:
        first, _ = bench(store, suite)
        second, ears = bench(store, suite, code="a later program")
        assert verdicts(store, first) == verdicts(store, second) == ["unsat"] * 3
        assert all(result.reused for result in ears.results)
        assert [asked(tmp_path, k) for k in range(3)] == [1, 1, 1]
        bench(store, suite, again=True)
        assert [asked(tmp_path, k) for k in range(3)] == [2, 2, 2]


def test_the_same_content_under_other_names_is_the_same_question(tmp_path: Path) -> None:
    suite = rows(tmp_path, 2)
    (tmp_path / "1.vnnlib").write_bytes((tmp_path / "0.vnnlib").read_bytes())
    with Store.open(tmp_path / "s") as store:
        run, _ = bench(store, suite)
        assert verdicts(store, run) == ["unsat", "unsat"]
        assert asked(tmp_path, 0) + asked(tmp_path, 1) == 1
        (tmp_path / "1.vnnlib").write_text("; other now")
        bench(store, suite)
        assert asked(tmp_path, 0) + asked(tmp_path, 1) == 2


def test_a_longer_timeout_retries_what_ran_out_of_time_and_a_shorter_one_does_not(tmp_path: Path) -> None:
    suite = rows(tmp_path, 1, timeout_s=10.0)
    with Store.open(tmp_path / "s") as store:
        for timeout_s, expected in ((5.0, 1), (5.0, 1), (2.0, 1), (6.0, 2), (None, 3), (6.0, 3)):
            bench(store, suite, "undecided", timeout_s=timeout_s)
            assert asked(tmp_path, 0) == expected, timeout_s


def test_an_answer_without_a_certificate_is_none_where_one_is_wanted(tmp_path: Path) -> None:
    suite = rows(tmp_path, 1)
    with Store.open(tmp_path / "s") as store:
        bench(store, suite)
        bench(store, suite, certify=True)
    assert asked(tmp_path, 0) == 2


def test_another_semantics_is_another_question(tmp_path: Path) -> None:
    suite = rows(tmp_path, 1)
    with Store.open(tmp_path / "s") as store:
        bench(store, suite)
        bench(store, suite, semantics="real")
    assert asked(tmp_path, 0) == 2


def test_a_missing_file_is_an_error_of_its_instance(tmp_path: Path) -> None:
    suite = rows(tmp_path, 2)
    (tmp_path / "0.vnnlib").unlink()
    with Store.open(tmp_path / "s") as store:
        run, ears = bench(store, suite)
        assert verdicts(store, run) == ["error", "unsat"]
        missing = next(result.attempt for result in ears.results if result.row.number == 0)
        assert missing is not None and "0.vnnlib: No such file" in missing.message


def test_a_worker_that_is_always_killed_from_outside_is_tried_often_and_is_no_answer(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        run, _ = bench(store, rows(tmp_path, 1), "is_killed")
        assert asked(tmp_path, 0) == OFTEN
        (result,) = store.results(run)
        assert result.attempt is not None
        assert (result.attempt.verdict, result.attempt.reason) == ("error", "lost")
        bench(store, rows(tmp_path, 1), "counting")
        assert asked(tmp_path, 0) == OFTEN + 1  # what is lost is asked again


@pytest.mark.parametrize(
    ("kills", "free", "peak", "limit", "expected"),
    [
        ((3, 3), 8 << 30, 1 << 30, None, End.OUTSIDE),
        ((3, 4), 8 << 30, 1 << 30, None, End.KERNEL),  # the kernel has killed something since
        ((None, None), 8 << 30, 1 << 30, None, End.OUTSIDE),
        ((None, None), None, 1 << 30, None, End.OUTSIDE),
        ((3, 3), 1 << 30, 1 << 30, None, End.KERNEL),  # no room for it twice
        ((3, 3), 8 << 30, 1 << 30, 4 << 30, End.OUTSIDE),
        ((3, 3), 8 << 30, 1 << 30, 1 << 30, End.KERNEL),  # at its limit
    ],
)
def test_what_is_killed_while_memory_is_short_was_killed_for_its_memory(
    kills: tuple[int | None, int | None], free: int | None, peak: int, limit: int | None, expected: End,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(procfs, "available", lambda: free)
    monkeypatch.setattr(procfs, "oom_kills", lambda: kills[1])
    worker = zygote.Worker(Task("t", "/", Limits(1.0, 1.0, limit)), 1, 0.0, kills[0])
    assert zygote._ended_by(worker, -signal.SIGKILL, 0.5, peak) is expected
    assert zygote._ended_by(worker, -signal.SIGKILL, 1.5, peak) is End.CPU  # the kernel's own limit
    assert zygote._ended_by(worker, -signal.SIGSEGV, 0.5, peak) is End.ITSELF
    assert zygote._ended_by(worker, 0, 0.5, peak) is End.ITSELF


def test_kills_for_memory_are_counted_as_the_kernel_counts_them(tmp_path: Path) -> None:
    (tmp_path / "events").write_text("low 0\noom 3\noom_kill 2\noom_group_kill 7\n")
    assert procfs._counted(tmp_path / "events") == 2
    assert procfs._counted(tmp_path / "none") is None
    if Path("/proc/vmstat").exists():
        assert procfs.oom_kills() is not None


@pytest.mark.parametrize(("end", "tries"), [("evicted", 2), ("kernel", 2), ("gone", MANY), ("outside", OFTEN)])
def test_how_often_an_instance_is_tried_again_depends_on_who_ended_it(end: str, tries: int, tmp_path: Path) -> None:
    """Counted by the reason: what went away often may still be tried alone once memory was short."""
    suite, ears = rows(tmp_path, 1), Ears()
    with Store.open(tmp_path / "s") as store:
        run = store.begin("suite", {}, {}, suite)
        ends = [End.OUTSIDE] * 3 + [End(end)] * tries
        workers = Ending(ends)
        Bench(store, Plan(), "code", ears, workers=lambda _: workers).run(run, suite)
        (result,) = store.results(run)
    assert result.attempt is not None and result.attempt.verdict in ("unknown", "error")
    assert len(workers.ids) == len(set(workers.ids)) == (tries if end == "outside" else 3 + tries)


def test_what_an_instance_needs_is_expected_of_what_others_have_needed(tmp_path: Path) -> None:
    """Its network's most, else its category's, in this run and in those before."""
    suite = rows(tmp_path, 3)
    (tmp_path / "m.onnx").write_bytes(b"another")
    suite = [*suite[:2], replace(suite[2], onnx="m.onnx")]
    with Store.open(tmp_path / "s") as store:
        run = store.begin("suite", {}, {}, suite)
        first = Bench(store, Plan(verifier=HERE + "counting"), "code", Ears())
        first.run(run, suite[:1])
        peak = first._peaks["c", "n.onnx"]
        queue: list[schedule.Waiting] = []
        later = Bench(store, Plan(verifier=HERE + "counting"), "code", Ears())
        later.run(run, [])
        for bench_ in (first, later):
            for row in suite[1:]:
                bench_._prepare(run, row, queue)
        assert [waiting.bytes for waiting in queue] == [peak] * 4 and peak > 1 << 20


def test_the_parent_of_all_workers_may_be_killed(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        run, _ = bench(store, rows(tmp_path, 1), "kills_its_parent")
        assert verdicts(store, run) == ["unsat"]
    assert asked(tmp_path, 0) == 2


class Ending:
    """Workers whose tasks end at once, in these ways."""

    def __init__(self, ends: Sequence[End]) -> None:
        self.ends, self.ids = list(ends), list[str]()
        self.ended: list[Outcome] = []
        self.resident: dict[str, int] = {}

    def __enter__(self) -> "Ending":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def places(self) -> Sequence[Place]:
        return (Place(MACHINE, 1, None, None, 0),)

    def start(self, task: Task, place: str) -> None:
        self.ids.append(task.id)
        self.ended.append(Outcome(task.id, -9, self.ends.pop(0), 0.1, 0.1, 1 << 20))

    def evict(self, task: str) -> None:
        raise AssertionError(task)

    def ready(self) -> bool:
        return bool(self.ended)

    def wait(self, timeout_s: float) -> list[Outcome]:
        found, self.ended = self.ended, []
        return found


# What fails around it


class Full(SystemDisk):
    """No room for some writes, then there is."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last, self.count = first, last, 0

    def append(self, path: Path, data: bytes, *, sync: bool = True) -> None:
        self.count += 1
        if self.first <= self.count < self.last:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().append(path, data, sync=sync)


class Stepping(SystemClock):
    """Wall-clock time that jumps back and forth by years; sleeping takes no time."""

    def __init__(self) -> None:
        self.slept = 0

    def now(self) -> float:
        return random.Random(time.monotonic()).uniform(0, 4e9)

    def sleep(self, seconds: float) -> None:
        self.slept += 1


def test_a_full_disk_is_waited_out_and_nothing_is_lost_or_done_twice(tmp_path: Path) -> None:
    suite = rows(tmp_path, 4)
    clock, disk, ears = Stepping(), Full(3, 8), Ears()
    plan = Plan(verifier=HERE + "counting", jobs=2)
    with Store.open(tmp_path / "s", clock=clock, disk=disk) as store:
        run = store.begin("suite", {}, {}, suite)
        Bench(store, plan, "code", ears, clock=clock, disk=disk).run(run, suite)
        assert verdicts(store, run) == ["unsat"] * 4
    assert clock.slept >= 5
    assert [said for said in ears.said if "waiting, a new try" in said]
    assert [asked(tmp_path, k) for k in range(4)] == [1] * 4


class Counting(SystemDisk):
    """Counts what waits for the disk; there is no room at the first two tries to synchronise."""

    def __init__(self) -> None:
        self.appended = self.synced = self.tries = 0

    def append(self, path: Path, data: bytes, *, sync: bool = True) -> None:
        self.appended += 1
        self.synced += sync
        super().append(path, data, sync=sync)

    def sync(self, path: Path) -> None:
        self.tries += 1
        if self.tries <= 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.synced += 1
        super().sync(path)


class Standing(Stepping):
    """No time passes."""

    def monotonic(self) -> float:
        return 1.0


def test_answers_wait_for_the_disk_together_and_none_is_left_out(tmp_path: Path) -> None:
    suite, clock, disk = rows(tmp_path, 20), Standing(), Counting()
    with Store.open(tmp_path / "s", clock=clock, disk=disk) as store:
        run = store.begin("suite", {}, {}, suite)
        Bench(store, Plan(verifier=HERE + "counting", jobs=2), "code", Ears(), clock=clock, disk=disk).run(run, suite)
        assert verdicts(store, run) == ["unsat"] * 20
        assert not store._is_unsettled
    assert disk.appended == 21
    assert (disk.tries, disk.synced) == (3, 2)  # the beginning of the run; all answers, at the third try


def test_a_worker_without_room_for_its_files_waits_as_well(tmp_path: Path) -> None:
    suite, clock, ears = rows(tmp_path, 1), Stepping(), Ears()
    with Store.open(tmp_path / "s", clock=clock) as store:
        run = store.begin("suite", {}, {}, suite)
        Bench(store, Plan(verifier=HERE + "has_no_room"), "code", ears, clock=clock).run(run, suite)
        assert verdicts(store, run) == ["unsat"]
    assert (asked(tmp_path, 0), clock.slept, len(ears.said)) == (3, 2, 2), ears.said


def test_a_clock_that_steps_changes_no_duration_and_no_verdict(tmp_path: Path) -> None:
    suite, clock = rows(tmp_path, 3), Stepping()
    with Store.open(tmp_path / "s", clock=clock) as store:
        run = store.begin("suite", {}, {}, suite)
        Bench(store, Plan(verifier=HERE + "counting"), "code", Ears(), clock=clock).run(run, suite)
        store.end(run, "finished")
        results = list(store.results(run))
    assert all(result.attempt is not None and 0 < result.attempt.wall_s < 5 for result in results)


def test_a_store_that_is_damaged_in_the_middle_is_made_anew_and_the_run_goes_on(tmp_path: Path) -> None:
    suite, ears = rows(tmp_path, 3), Ears()
    with Store.open(tmp_path / "s") as store:
        bench(store, suite)
        store._sql.execute("UPDATE attempt SET verdict = 'sat'")  # behind the back of its digests
        run = store.begin("suite", {}, {}, suite)
        runner = Bench(store, Plan(verifier=HERE + "counting"), "code", ears)
        runner.run(run, suite)
        assert verdicts(runner.store, run) == ["unsat"] * 3
        runner.store.close()
    assert [asked(tmp_path, k) for k in range(3)] == [1] * 3
    assert any("made anew" in said for said in ears.said)


DRIVER = """
import sys
from pathlib import Path
from farkas.batch import command
from farkas.batch.plan import Plan
from farkas.batch.store import Store
from farkas.batch.suites import BadSuite
suite, place, verifier = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
plan = Plan(verifier=verifier, jobs=1)
with Store.open(place) as store:
    rows = command.chosen(suite, place, [])
    resume = bool(store.runs()) and sys.argv[4] == "resume"
    done = command.start(store, suite, rows, plan, resume=resume,
                         watcher=lambda left: command.for_people(left, sys.stdout, live=False))
    sys.exit(130 if done.interrupted else 0)
"""


def driver(folder: Path, verifier: str, mode: str = "resume") -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-c", DRIVER, str(folder), str(folder / "s"), HERE + verifier, mode]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)


def folder_suite(folder: Path, count: int) -> None:
    rows(folder, count)
    (folder / "instances.csv").write_text("".join(f"n.onnx,{k}.vnnlib,5\n" for k in range(count)))


def test_a_driver_that_is_killed_again_and_again_loses_nothing_and_repeats_what_was_in_flight(tmp_path: Path) -> None:
    count, kills, dice = 40, 6, random.Random(7)
    folder_suite(tmp_path, count)
    for _ in range(kills):
        process = driver(tmp_path, "slow")
        wanted = min(total(tmp_path, count) + dice.randint(0, 4), count - 1)
        while total(tmp_path, count) < wanted:
            time.sleep(0.01)
        time.sleep(dice.uniform(0.0, 0.2))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert driver(tmp_path, "slow").wait(60) == 0
    with Store.open(tmp_path / "s") as store:
        runs = store.runs()
        assert [run.state for run in runs] == ["finished"]
        assert verdicts(store, runs[0].id) == ["unsat"] * count
    repeated = sum(asked(tmp_path, k) - 1 for k in range(count))
    assert all(asked(tmp_path, k) >= 1 for k in range(count))
    assert repeated <= kills  # one instance at a time was in flight


def total(folder: Path, count: int) -> int:
    return sum(asked(folder, k) for k in range(count))


def test_an_interrupt_writes_everything_and_resume_goes_on(tmp_path: Path) -> None:
    folder_suite(tmp_path, 12)
    process = driver(tmp_path, "slow")
    place = tmp_path / "2.vnnlib.asked"
    end = time.monotonic() + 30
    while not place.exists() and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(30) == 130
    with Store.open(tmp_path / "s") as store:
        (run,) = store.runs()
        assert run.state == "interrupted"
        before = [verdict for verdict in verdicts(store, run.id) if verdict]
        assert 2 <= len(before) < 12
    assert driver(tmp_path, "slow").wait(60) == 0
    with Store.open(tmp_path / "s") as store:
        (run,) = store.runs()
        assert verdicts(store, run.id) == ["unsat"] * 12
    assert sum(asked(tmp_path, k) - 1 for k in range(12)) <= 1


def test_two_drivers_on_one_store_share_the_work(tmp_path: Path) -> None:
    folder_suite(tmp_path, 12)
    both = [driver(tmp_path, "slow", "new") for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    with Store.open(tmp_path / "s") as store:
        assert [verdicts(store, run.id) for run in store.runs()] == [["unsat"] * 12] * 2
    assert [asked(tmp_path, k) for k in range(12)] == [1] * 12


def test_a_row_that_is_replaced_keeps_its_number(tmp_path: Path) -> None:
    """Instances are entered by number, whatever the order in which they end."""
    suite = [replace(row, number=9 - row.number) for row in rows(tmp_path, 3)]
    with Store.open(tmp_path / "s") as store:
        run, _ = bench(store, suite)
        found = [(result.row.number, result.row.vnnlib) for result in store.results(run)]
    assert found == [(7, "2.vnnlib"), (8, "1.vnnlib"), (9, "0.vnnlib")]


@pytest.mark.parametrize("verifier", ["faults", "hoards"])
def test_one_instance_never_takes_another_with_it(verifier: str, tmp_path: Path) -> None:
    suite = rows(tmp_path, 2, timeout_s=0.5)
    with Store.open(tmp_path / "s") as store:
        run, _ = bench(store, suite, verifier, memory_bytes=300 << 20)
        assert all(verdict in ("error", "unknown", "timed-out") for verdict in verdicts(store, run))
        run, _ = bench(store, suite, "counting", again=True)
        assert verdicts(store, run) == ["unsat", "unsat"]


SPEC = """
import farkas as fk
net = fk.load({path!r})
x = fk.var(net.input)
below = fk.Spec(given=[fk.between(-1, x, 1)], prove=net(x)[0, 0] <= 2)
"""


@pytest.mark.parametrize(
    ("verifier", "verdict"), [("sleeps_natively", "timed-out"), ("burns_two_cores", "timed-out"), ("hoards", "unknown")]
)
def test_an_instance_of_a_python_file_keeps_the_limits_of_all(verifier: str, verdict: str, tmp_path: Path) -> None:
    (tmp_path / "n.onnx").write_bytes(absolute())
    (tmp_path / "suite.py").write_text(SPEC.format(path=str(tmp_path / "n.onnx")))
    suite = command.rows_of(tmp_path / "suite.py", tmp_path / "s")
    with Store.open(tmp_path / "s") as store:
        run, _ = bench(store, suite, verifier, timeout_s=0.5, memory_bytes=400 << 20)
        (result,) = store.results(run)
    assert result.attempt is not None and result.attempt.verdict in (verdict, "timed-out")
    assert result.attempt.wall_s < 0.5 + 0.75 + 1.0
