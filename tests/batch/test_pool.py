"""Processes that misbehave, and a pool that keeps their limits to a second."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from farkas.batch import drivers, outcomes
from farkas.batch.pool import Pool
from farkas.batch.tasks import End, Limits, Outcome, Task, printed
from farkas.process import THREAD_VARIABLES

HERE = "tests.batch.misbehaving:"


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(warm=False) as found:
        yield found


def run(pool: Pool, folder: Path, name: str, limits: Limits | None = None, timeout_s: float = 60.0) -> Outcome:
    arguments = {"property": str(folder / "q"), "timeout_s": timeout_s}
    pool.start(Task(name, str(folder / name), limits or Limits(timeout_s), HERE + name, arguments))
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for outcome in pool.wait(1.0):
            assert outcome.id == name
            return outcome
    raise AssertionError("no outcome")


def values(outcome: Outcome, folder: Path, timeout_s: float = 60.0) -> tuple[str, str]:
    found = outcomes.values(outcome, folder / outcome.id, timeout_s)
    return found["verdict"], found.get("reason", "")


def test_what_a_function_returns_is_its_result(pool: Pool, tmp_path: Path) -> None:
    outcome = run(pool, tmp_path, "decided")
    assert (outcome.code, outcome.end) == (0, End.ITSELF)
    assert values(outcome, tmp_path) == ("unsat", "")
    assert 0 < outcome.wall_s < 5 and 0 < outcome.peak_bytes < 1 << 30


@pytest.mark.parametrize(
    ("name", "verdict", "message"),
    [
        ("exits", "error", "exit code 4"),
        ("raises", "error", "exit code 70: RuntimeError: boom"),
        ("faults", "error", "killed by SIGSEGV"),
        ("aborts", "error", "killed by SIGABRT"),
        ("nonsense", "error", "no verdict"),
        ("is_killed", "error", "killed from outside"),
        ("allocates", "unknown", "out of memory"),
    ],
)
def test_a_crash_is_a_result_and_no_verdict(
    name: str, verdict: str, message: str, pool: Pool, tmp_path: Path
) -> None:
    outcome = run(pool, tmp_path, name)
    found = outcomes.values(outcome, tmp_path / name, 60.0)
    assert found["verdict"] == verdict
    assert message in found["message"], found["message"]
    assert values(run(pool, tmp_path, "decided"), tmp_path) == ("unsat", "")  # the next one is not concerned


@pytest.mark.parametrize("name", ["spins", "sleeps_natively"])
def test_the_wall_limit_holds_inside_native_code_to_a_second(name: str, pool: Pool, tmp_path: Path) -> None:
    outcome = run(pool, tmp_path, name, Limits(0.5))
    assert outcome.end is End.WALL
    assert 0.5 <= outcome.wall_s < 1.5
    assert values(outcome, tmp_path) == ("timed-out", "killed")


def test_the_cpu_limit_counts_all_processes_of_an_instance(pool: Pool, tmp_path: Path) -> None:
    outcome = run(pool, tmp_path, "burns_two_cores", Limits(30.0, cpu_s=0.6))
    assert outcome.end is End.CPU
    assert values(outcome, tmp_path) == ("timed-out", "cpu")
    assert outcome.wall_s < 10


def test_the_memory_limit_holds(pool: Pool, tmp_path: Path) -> None:
    limit = 400 << 20
    outcome = run(pool, tmp_path, "hoards", Limits(1.5, memory_bytes=limit))
    assert outcome.end in (End.MEMORY, End.WALL)  # the kernel may refuse before the limit is seen to be passed
    assert outcome.peak_bytes < limit + (300 << 20)


def test_children_in_sessions_of_their_own_are_killed_with_their_instance(pool: Pool, tmp_path: Path) -> None:
    for timeout_s, end in ((60.0, End.ITSELF), (0.5, End.WALL)):
        assert run(pool, tmp_path, "leaves_children", Limits(timeout_s), timeout_s).end is end
        child = int((tmp_path / "q.child").read_text())
        gone(child)


def gone(pid: int) -> None:
    """Waits until a process has ended."""
    deadline = time.monotonic() + 5
    while drivers.start_of(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not drivers.start_of(pid)


def test_a_zygote_that_is_killed_loses_what_ran_and_is_replaced(tmp_path: Path) -> None:
    with Pool(warm=False) as pool:
        outcome = run(pool, tmp_path, "kills_its_parent")
        assert outcome.end is End.LOST and outcomes.tries(outcome.end) == outcomes.MANY
        assert values(run(pool, tmp_path, "kills_its_parent"), tmp_path) == ("unsat", "")
        assert pool.restarts == 1


def test_what_one_worker_has_had_to_import_the_next_one_finds(tmp_path: Path) -> None:
    with Pool(warm=False) as pool:
        found = [run(pool, tmp_path, "needs_a_solver").result(tmp_path / "needs_a_solver") for _ in range(2)]
    assert [one["message"] for one in found if one] == ["False", "True"]


def test_the_first_instance_of_the_parent_is_decided_without_threads_and_solvers() -> None:
    """In a process of its own, as the parent is: a fork is safe only where nothing runs beside it."""
    program = (
        "import sys, threading; from farkas.batch import warmth; from pathlib import Path\n"
        "print(warmth.decide(), threading.active_count(), len(list(Path('/proc/self/task').iterdir())),\n"
        "      [name for name in ('onnxruntime', 'z3', 'ortools', 'highspy') if name in sys.modules])"
    )
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=3)[:3] == ["unsat", "1", "1"]
    assert done.stdout.split(maxsplit=3)[3] == "[]\n"


def test_a_command_is_a_task_too(pool: Pool, tmp_path: Path) -> None:
    words = ("sh", "-c", "echo out; echo err >&2; exit 3")
    pool.start(Task("command", str(tmp_path / "command"), Limits(10.0), command=words))
    while not (found := pool.wait(10.0)):
        pass
    (outcome,) = found
    assert (outcome.code, outcome.end) == (3, End.ITSELF)
    assert (printed(tmp_path / "command", "stdout"), printed(tmp_path / "command", "stderr")) == ("out\n", "err\n")


BURN = "while True: pass"
HOARD = "import os, time; os.fork(); os.fork(); held = bytearray(b'x') * (120 << 20); time.sleep(60)"  # 480 MB


@pytest.mark.parametrize(
    ("program", "limits", "end"),
    [
        (BURN, Limits(30.0, cpu_s=0.6), End.CPU),
        (HOARD, Limits(30.0, memory_bytes=300 << 20), End.MEMORY),
        (BURN, Limits(1.0), End.WALL),
    ],
)
@pytest.mark.parametrize("as_child", [True, False], ids=["child", "orphan"])
def test_the_limits_of_a_command_hold_for_all_that_it_starts(
    program: str, limits: Limits, end: End, as_child: bool, tmp_path: Path
) -> None:
    """Also for what leaves its session and its parent, and for several processes of which none is too large."""
    start = f'setsid "{sys.executable}" -c "$0" & echo $! > pid; '
    words = f"{start} wait" if as_child else f"({start}); sleep 60"
    place = tmp_path / "command"
    place.mkdir()
    with Pool(warm=False) as pool:
        pool.start(Task("c", str(place), limits, command=("sh", "-c", f"cd {place}; {words}", program)))
        while not (found := pool.wait(20.0)):
            pass
        assert found[0].end is end
        assert found[0].wall_s < limits.wall_s + 1.0
        if end is not End.WALL:
            assert found[0].wall_s < 10
        gone(int((place / "pid").read_text()))


def test_what_a_running_command_has_left_to_itself_lives_as_long_as_the_command(tmp_path: Path) -> None:
    """And no longer; that another task ends is no concern of it."""
    place = tmp_path / "command"
    place.mkdir()
    words = f"cd {place}; (setsid sleep 60 & echo $! > pid); while [ ! -e stop ]; do sleep 0.02; done"
    with Pool(warm=False) as pool:
        pool.start(Task("c", str(place), Limits(30.0), command=("sh", "-c", words)))
        deadline = time.monotonic() + 10
        while not (place / "pid").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        pid = int((place / "pid").read_text())
        for _ in range(2):
            assert run(pool, tmp_path, "decided").code == 0
        assert drivers.start_of(pid)
        (place / "stop").touch()
        while not (found := pool.wait(5.0)):
            pass
        assert (found[0].id, found[0].code) == ("c", 0)
        gone(pid)


def test_leaving_the_pool_kills_what_still_runs(tmp_path: Path) -> None:
    with Pool(warm=False) as pool:
        arguments = {"property": str(tmp_path / "q"), "timeout_s": 0.5}
        pool.start(Task("t", str(tmp_path / "t"), Limits(600.0), HERE + "leaves_children", arguments))
        place = tmp_path / "q.child"
        deadline = time.monotonic() + 20
        while not (place.is_file() and place.read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)
        zygote = pool.zygote
    assert not Path(f"/proc/{zygote}").exists()
    gone(int(place.read_text()))
