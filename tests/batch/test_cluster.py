"""Workers of a Ray cluster: what comes out is what this machine says, whatever happens to the workers."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from farkas import cli
from farkas.batch.plan import VERIFIER
from farkas.batch.records import Attempt
from farkas.batch.store import Store

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = "tests.batch.elsewhere:"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
pytestmark = pytest.mark.ray


class Machines:
    """The cluster of tests/batch/ray_cluster.py."""

    def __init__(self) -> None:
        words = [sys.executable, "-m", "tests.batch.ray_cluster"]
        self._process = subprocess.Popen(words, env=ENVIRONMENT, text=True, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip
        assert self._process.stdin and self._process.stdout
        self._in: IO[str] = self._process.stdin
        self._out: IO[str] = self._process.stdout
        self.address, self.client = self._out.readline().split()

    def tell(self, word: str) -> None:
        self._in.write(word + "\n")
        self._in.flush()
        assert self._out.readline().strip() == "done"

    def close(self) -> None:
        self._in.close()
        self._process.wait(30)
        self._out.close()


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    found = Machines()
    yield found
    found.close()


def driver(suite: Path, store: str, verifier: str, address: str, mode: str = "") -> "subprocess.Popen[bytes]":
    """What it says is in the file `said` beside the suite; what verifiers note is in `log`."""
    (suite.parent / "log").mkdir(exist_ok=True)
    log = "" if verifier == VERIFIER else str(suite.parent / "log")
    words = [sys.executable, "-m", "tests.batch.cluster_driver", str(suite), str(suite.parent / store), verifier]
    with (suite.parent / "said").open("ab") as said:
        return subprocess.Popen([*words, address, log, mode], env=ENVIRONMENT, stdout=said, stderr=said)


def attempts(suite: Path, store: str) -> list[Attempt]:
    """The answers of the last run, in the order of the suite."""
    with Store.open(suite.parent / store) as found:
        results = list(found.results(found.runs()[-1].id))
    assert all(result.attempt is not None for result in results)
    return [result.attempt for result in results if result.attempt is not None]


def told(attempt: Attempt) -> tuple[object, ...]:
    """What two runs have to agree on: all but times and machines; files by their digests."""
    statistics = attempt.details.get("statistics", {})
    return (
        attempt.number, attempt.verdict, attempt.reason, attempt.evidence, attempt.semantics, attempt.message,
        attempt.details.get("check"), attempt.details.get("margin"), statistics.get("leaves"), statistics.get("boxes"),
        sorted((file.kind, file.sha256) for file in attempt.files),
    )  # fmt: skip


def notes(suite: Path) -> list[list[str]]:
    """Lines of processes that have run: worker, zygote, actor, the property's place."""
    return [line.split() for path in (suite.parent / "log").iterdir() for line in path.read_text().splitlines()]


def wait_for_notes(suite: Path, count: int) -> list[list[str]]:
    end = time.monotonic() + 60
    while len(found := notes(suite)) < count and time.monotonic() < end:
        time.sleep(0.02)
    assert len(found) >= count
    return found


def written(folder: Path, names: list[str], timeout_s: float = 5.0) -> Path:
    """A suite whose properties are these words."""
    (folder / "n.onnx").write_bytes(b"network")
    for k, name in enumerate(names):
        (folder / f"{k}.vnnlib").write_text(f"; {name}")
    suite = folder / "suite.csv"
    suite.write_text("onnx,vnnlib,timeout\n" + "".join(f"n.onnx,{k}.vnnlib,{timeout_s}\n" for k in range(len(names))))
    return suite


def real(folder: Path, examples: Path, words: tuple[str, ...]) -> Path:
    """The rows of the suite of examples that have one of the words in them."""
    head, *rows = (examples / "suite.csv").read_text().splitlines()
    suite = folder / "suite.csv"
    kept = [",".join(str(examples / cell) if cell.endswith((".onnx", ".vnnlib")) else cell for cell in row.split(","))
            for row in rows if any(word in row for word in words)]  # fmt: skip
    suite.write_text("\n".join([head, *kept]) + "\n")
    return suite


def test_a_worker_that_is_killed_costs_its_instance_only_and_all_answers_are_those_of_this_machine(
    machines: Machines, examples: Path, tmp_path: Path
) -> None:
    suite = real(tmp_path, examples, ("avoidance_wide", "pendulum"))
    process = driver(suite, "there", ELSEWHERE + "really", machines.address)
    *_, (_, _, actor, _) = wait_for_notes(suite, 3)
    os.kill(int(actor), signal.SIGKILL)
    assert process.wait(60) == 0
    ran = notes(suite)
    assert len({actor for _, _, actor, _ in ran}) == 3  # two workers, and the one that came for the third
    assert driver(suite, "here", ELSEWHERE + "really", "").wait(60) == 0
    there, here = attempts(suite, "there"), attempts(suite, "here")
    assert list(map(told, there)) == list(map(told, here))
    assert {attempt.verdict for attempt in here} == {"sat", "unsat"}
    assert all(attempt.details["check"] == "accepted" for attempt in there)
    assert len(ran) in (len(here), len(here) + 1)  # the killed one was in flight, or had just ended
    said = (tmp_path / "said").read_text()
    assert said.count("a worker is gone") == 1 and "raylet" not in said


def test_an_instance_does_to_its_process_there_what_it_does_here(machines: Machines, tmp_path: Path) -> None:
    names = ["exits", "raises", "faults", "sleeps_natively", "spins", "allocates", "is_killed", "nonsense", "decided"]
    suite = written(tmp_path, names, timeout_s=0.6)
    assert driver(suite, "there", ELSEWHERE + "by_name", machines.address).wait(90) == 0
    assert driver(suite, "here", ELSEWHERE + "by_name", "").wait(90) == 0
    there, here = attempts(suite, "there"), attempts(suite, "here")
    assert list(map(told, there)) == list(map(told, here))
    found = [(attempt.verdict, attempt.reason) for attempt in there]
    assert found[3:6] == [("timed-out", "killed"), ("timed-out", "killed"), ("unknown", "memory")]
    assert found[-1] == ("unsat", "")
    assert all(attempt.wall_s < 0.6 + 0.75 + 1.0 for attempt in there[3:5])


@pytest.mark.parametrize("is_client", [False, True])
def test_workers_read_copies_and_leave_nothing_behind(machines: Machines, is_client: bool, tmp_path: Path) -> None:
    suite = written(tmp_path, ["a", "b"])
    (tmp_path / "n.onnx").write_bytes(bytes(range(256)) * 1000)  # too large for a message
    address = machines.client if is_client else machines.address
    assert driver(suite, "there", ELSEWHERE + "digests", address).wait(60) == 0
    found = attempts(suite, "there")
    digests = [[hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("n.onnx", f"{k}.vnnlib")]
               for k in (0, 1)]  # fmt: skip
    assert [attempt.message.split() for attempt in found] == digests
    assert all(attempt.details["processor"] for attempt in found)
    places = [Path(place) for _, _, _, place in notes(suite)]
    assert {place.name for place in places} == {"0.vnnlib", "1.vnnlib"}
    assert all(tmp_path not in place.parents and not place.exists() for place in places)


def test_a_driver_that_is_killed_takes_its_workers_along_and_the_next_one_goes_on(
    machines: Machines, tmp_path: Path
) -> None:
    suite = written(tmp_path, list("abcdef"))
    process = driver(suite, "there", ELSEWHERE + "slowly", machines.address)
    wait_for_notes(suite, 3)
    process.kill()
    process.wait()
    ran = notes(suite)
    end = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for line in ran for pid in line[:3]) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for line in ran for pid in line[:3])
    assert driver(suite, "there", ELSEWHERE + "slowly", machines.address, "resume").wait(60) == 0
    assert [attempt.verdict for attempt in attempts(suite, "there")] == ["unsat"] * 6
    assert len(notes(suite)) <= 6 + 2  # two were in flight


def test_a_machine_that_goes_away_costs_time_only(machines: Machines, tmp_path: Path) -> None:
    suite = written(tmp_path, list("abcdef"))
    process = driver(suite, "there", ELSEWHERE + "slowly", machines.address)
    wait_for_notes(suite, 3)
    machines.tell("drop")
    try:
        assert process.wait(90) == 0
        assert [attempt.verdict for attempt in attempts(suite, "there")] == ["unsat"] * 6
    finally:
        machines.tell("add")


def test_instances_about_a_gpu_get_one_each(machines: Machines, tmp_path: Path) -> None:
    suite = written(tmp_path, ["a"])
    assert driver(suite, "there", ELSEWHERE + "devices", machines.address, "gpu").wait(60) == 0
    assert [attempt.message for attempt in attempts(suite, "there")] == ["devices: 0"]


def test_an_address_without_a_cluster_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = written(tmp_path, ["a"])
    words = ["--store", str(tmp_path / "s"), "--cluster", "127.0.0.1:1"]
    assert cli.main(["bench", str(suite), *words]) == 2
    assert "--cluster 127.0.0.1:1: there is no connection" in capsys.readouterr().err
