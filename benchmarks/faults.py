"""What a batch run loses when it is mistreated: `python benchmarks/faults.py [--instances N] [--only WORD] [--seed N]`.

For every fault a suite of easy instances (easy.py) is run by a process of its own, by what `farkas bench` calls, while
the fault happens, again and again; after a kill of the driver the run is resumed.  Nothing may be missing at the end.
A line for each:

    lost         instances without the answer that the suite expects, or without any
    wrong        instances whose answer contradicts it
    repeated     instances that were begun more than once
    done twice   instances whose work came to its end more than once

Repeated is what a fault costs: at most what was in flight.  Lost and wrong have to be 0, and make exit status 1.

A full disk is met twice: injected at the interface that the store writes through, and as a tmpfs of a few megabytes, in
a mount namespace of the run, which a ballast fills to the last byte; where mounting is not allowed that line says so.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # a checkout needs no installation

from benchmarks.easy import easy_suite  # noqa: E402
from farkas.batch import command, procfs, work  # noqa: E402
from farkas.batch.bench import Bench  # noqa: E402
from farkas.batch.plan import Plan  # noqa: E402
from farkas.batch.ports import SystemClock, SystemDisk  # noqa: E402
from farkas.batch.records import DECIDED, Row  # noqa: E402
from farkas.batch.store import Store  # noqa: E402
from farkas.batch.workers import Local  # noqa: E402

LIMIT_S = 300.0  # of a run without progress
TMPFS_MB = 6
HEADER = ("fault", "times", "instances", "lost", "wrong", "repeated", "done twice", "wall s")


# The driver: a process of its own


def verify(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What a worker calls: the verifier, between two lines in a log."""
    log = Path(os.environ["FARKAS_FAULTS_LOG"])
    name = Path(arguments["property"]).stem
    _note(log, f"+{name}")
    answer = work.verify(arguments, folder)
    _note(log, f"-{name}")
    return answer


def _note(log: Path, text: str) -> None:
    with log.open("a", encoding="ascii") as file:
        file.write(text + "\n")


class FullDisk(SystemDisk):
    """Every so often there is no room, for a while; sometimes half of an appended line gets through."""

    def __init__(self, seed: int, log: Path) -> None:
        self._dice = random.Random(seed)
        self._log = log

    def _fail(self) -> None:
        if self._dice.random() < 0.3:
            _note(self._log, "!")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def create(self, path: Path, data: bytes) -> None:
        self._fail()
        super().create(path, data)

    def append(self, path: Path, data: bytes, *, sync: bool = True) -> None:
        try:
            self._fail()
        except OSError:
            if self._dice.random() < 0.5:
                super().append(path, data[: len(data) // 2])
            raise
        super().append(path, data, sync=sync)


class QuickClock(SystemClock):
    """Waits a hundredth of the time."""

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / 100)


class SteppingClock(QuickClock):
    """The time of day jumps by years, back and forth, whenever it is asked."""

    def __init__(self, seed: int, log: Path) -> None:
        self._dice = random.Random(seed)
        self._log = log

    def now(self) -> float:
        _note(self._log, "!")
        return self._dice.uniform(0, 4e9)


def drive(suite: Path, place: Path, jobs: int, fault: str, seed: int) -> int:
    """Begins a run, or goes on with the one that a kill has interrupted."""
    plan = Plan(jobs=jobs, verifier="benchmarks.faults:verify")
    rows = command.chosen(suite, place, [])
    if fault in ("disk", "clock"):
        return _drive_on(rows, place, plan, fault, seed)
    with Store.open(place) as store:
        runs = store.runs()
        if fault == "resume" and runs and runs[-1].state == "finished":
            return 0
        done = command.start(
            store, suite, rows, plan, resume=fault == "resume" and bool(runs),
            watcher=lambda left: command.for_people(left, sys.stdout, live=False),
            cluster=lambda code, listener: Local(jobs, warm=True),
        )  # fmt: skip
    return 130 if done.interrupted else 0


def _drive_on(rows: Sequence[Row], place: Path, plan: Plan, fault: str, seed: int) -> int:
    """A run on a disk or a clock that fails."""
    log = Path(os.environ["FARKAS_FAULTS_LOG"])
    disk = FullDisk(seed, log) if fault == "disk" else SystemDisk()
    clock = QuickClock() if fault == "disk" else SteppingClock(seed, log)
    with Store.open(place) as made:
        run = made.begin("suite", plan.as_json(), {}, rows)
    listener = command.for_people(rows, sys.stdout, live=False)
    bench = Bench(Store.open(place, clock=clock, disk=disk), plan, "code", listener, clock=clock, disk=disk,
                  workers=lambda _: Local(plan.jobs, warm=True))  # fmt: skip
    bench.run(run, rows)
    bench.end(run, "finished")
    bench.store.close()
    return 0


# The faults


@dataclass
class Scene:
    """A suite, a store, and who mistreats them; times: how often that has been done."""

    folder: Path
    count: int
    jobs: int
    dice: random.Random
    times: int = 0

    def __post_init__(self) -> None:
        self.suite = easy_suite(self.folder, self.count)
        self.place = self.folder / "store"
        self.log = self.folder / "log"
        self.said = self.folder / "said"

    def start(self, fault: str = "resume", words: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """A driver."""
        own = (sys.executable, str(Path(__file__).resolve()), "--drive", fault, str(self.suite), str(self.place),
               str(self.jobs), str(self.dice.randrange(1 << 30)))  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "FARKAS_FAULTS_LOG": str(self.log)}
        with self.said.open("ab") as out:
            return subprocess.Popen((*words, *own), env=environment, stdout=out, stderr=out, start_new_session=True)

    def notes(self) -> list[str]:
        """What the log has."""
        return self.log.read_text(encoding="ascii").split() if self.log.exists() else []

    def begun(self) -> int:
        """How many instances have been begun."""
        return len({note for note in self.notes() if note.startswith("+")})

    def moments(self, times: int) -> Iterator[int]:
        """So many random moments, each as a number of instances that have been begun."""
        yield from sorted(self.dice.randrange(self.count) for _ in range(times))

    def reach(self, begun: int, process: subprocess.Popen[bytes]) -> bool:
        """Waits until so many have been begun; False when the driver ends before."""
        end = time.monotonic() + LIMIT_S
        while self.begun() < begun:
            if process.poll() is not None:
                return False
            if time.monotonic() > end:
                raise TimeoutError(f"no progress: {self.said.read_text()[-2000:]}")
            time.sleep(0.005)
        time.sleep(self.dice.uniform(0, 0.05))
        return process.poll() is None

    def finish(self, process: subprocess.Popen[bytes] | None = None) -> None:
        """Waits for the driver (None: one that goes on with the run) to come to the end."""
        code = (process or self.start()).wait(LIMIT_S)
        if code != 0:
            raise RuntimeError(f"the driver ended with {code}: {self.said.read_text()[-2000:]}")


def kill_drivers(scene: Scene, times: int) -> None:
    for begun in scene.moments(times):
        process = scene.start()
        if scene.dice.random() < 0.2:  # while it starts
            time.sleep(scene.dice.uniform(0, 1))
        else:
            scene.reach(begun, process)
        process.kill()
        process.wait()
        scene.times += 1
    scene.finish()


def kill_workers(scene: Scene, times: int) -> None:
    _kill_below(scene, times, 2)


def kill_parents(scene: Scene, times: int) -> None:
    _kill_below(scene, times, 1)


def _kill_below(scene: Scene, times: int, depth: int) -> None:
    """Kills random processes of one depth below the driver: 1 the parent of the workers, 2 a worker."""
    process = scene.start()
    for begun in scene.moments(times):
        found: list[int] = []
        while not found and scene.reach(begun, process):
            found = [process.pid]
            for _ in range(depth):
                found = [child for parent in found for child in _children(parent)]
        if found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(scene.dice.choice(found), signal.SIGKILL)
                scene.times += 1
    scene.finish(process)


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []


def fill_the_disk(scene: Scene, times: int) -> None:
    scene.finish(scene.start("disk"))
    scene.times = scene.notes().count("!")


def step_the_clock(scene: Scene, times: int) -> None:
    scene.finish(scene.start("clock"))
    scene.times = scene.notes().count("!")


def fill_a_tmpfs(scene: Scene, times: int) -> None:
    """A ballast takes all the room of a small tmpfs, and gives it back once the driver has said that it waits."""
    small, kept = scene.folder / "small", scene.folder / "kept"
    small.mkdir()
    scene.place = small / "store"
    process = scene.start(words=_in_tmpfs(small, kept))
    ballast = Path(f"/proc/{process.pid}/root{small}/ballast")
    for begun in scene.moments(times):
        if not scene.reach(begun, process):
            break
        before = scene.said.read_text().count("waiting,")
        _fill(ballast)
        end = time.monotonic() + 20
        while scene.said.read_text().count("waiting,") == before and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        scene.times += scene.said.read_text().count("waiting,") > before
        time.sleep(scene.dice.uniform(0, 3))
        ballast.unlink(missing_ok=True)
    scene.finish(process)
    scene.place = kept / "store"


def _in_tmpfs(small: Path, kept: Path) -> tuple[str, ...]:
    """The words before a command that has a tmpfs of its own at `small`; its content lies in `kept` afterwards."""
    script = (f'mount -t tmpfs -o size={TMPFS_MB}m none "$0" || exit 99; kept="$1"; shift; "$@"; code=$?; '
              'rm -f "$0/ballast"; cp -a "$0" "$kept" && exit $code')  # fmt: skip
    root = () if os.geteuid() == 0 else ("--map-root-user",)
    return ("unshare", "--mount", *root, "sh", "-c", script, str(small), str(kept))


def _fill(path: Path) -> None:
    """A file that takes all the room there is."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass


def can_mount() -> bool:
    with tempfile.TemporaryDirectory() as name:
        small, kept = Path(name) / "small", Path(name) / "kept"
        small.mkdir()
        try:
            return subprocess.run((*_in_tmpfs(small, kept), "true"), capture_output=True, check=False).returncode == 0
        except OSError:
            return False


def damage_pages(scene: Scene, times: int) -> None:
    """The driver is killed, some pages of its database (or of the log before it) are overwritten, it goes on."""
    for begun in scene.moments(times):
        process = scene.start()
        if not scene.reach(max(begun, 1), process):
            break
        process.kill()
        process.wait()
        for path in (scene.place, scene.place.with_name("store-wal")):
            size = path.stat().st_size if path.exists() else 0
            if size > 4096:
                with path.open("r+b") as file:
                    file.seek(scene.dice.randrange(1, size // 4096) * 4096)
                    file.write(scene.dice.randbytes(4096))
                scene.times += 1
    scene.finish()


def drive_twice(scene: Scene, times: int) -> None:
    drivers = [scene.start("new") for _ in range(2)]
    scene.times = len(drivers)
    for process in drivers:
        scene.finish(process)


# What is left


def lost_and_wrong(scene: Scene) -> tuple[int, int]:
    """Over all runs of the store, as it is and as it is made anew from its journal: the most of either."""
    expected = {row.number: row.expected for row in command.chosen(scene.suite, scene.place, [])}
    lost = wrong = 0
    for _ in range(2):
        with Store.open(scene.place) as store:
            for run in store.runs():
                found = {r.row.number: r.attempt.verdict for r in store.results(run.id) if r.attempt is not None}
                bad = [number for number, verdict in expected.items() if found.get(number) != verdict]
                contradicted = sum(found.get(number) in DECIDED for number in bad)
                lost, wrong = max(lost, len(bad) - contradicted), max(wrong, contradicted)
            if not store.runs():
                lost = len(expected)
        for suffix in ("", "-wal", "-shm"):
            scene.place.with_name(scene.place.name + suffix).unlink(missing_ok=True)
    return lost, wrong


Fault = Callable[[Scene, int], None]
FAULTS: Sequence[tuple[str, Fault, int]] = (
    ("driver killed (kill -9)", kill_drivers, 20),
    ("worker killed (kill -9)", kill_workers, 50),
    ("parent of workers killed", kill_parents, 10),
    ("disk full, injected", fill_the_disk, 1),
    ("disk full, small tmpfs", fill_a_tmpfs, 5),
    ("clock steps, injected", step_the_clock, 1),
    ("database pages overwritten", damage_pages, 8),
    ("two drivers", drive_twice, 2),
)


def measure(name: str, fault: Fault, times: int, count: int, jobs: int, seed: int) -> tuple[str, ...]:
    """The line of a fault."""
    if fault is fill_a_tmpfs and not can_mount():
        return (name, "0", *["-"] * 5, "mounting is not allowed here")
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(Path(folder), count, jobs, random.Random(seed))
        start = time.monotonic()
        fault(scene, times)
        wall = time.monotonic() - start
        notes = Counter(scene.notes())
        repeated = sum(n > 1 for note, n in notes.items() if note.startswith("+"))
        twice = sum(n > 1 for note, n in notes.items() if note.startswith("-"))
        lost, wrong = lost_and_wrong(scene)
    return (name, str(scene.times), str(count), str(lost), str(wrong), str(repeated), str(twice), f"{wall:.1f}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["--drive"]:
        kind, suite, place, jobs, seed = words[1:]
        return drive(Path(suite), Path(place), int(jobs), kind, int(seed))
    args = _parser().parse_args(words)
    rows: list[tuple[str, ...]] = [HEADER]
    for name, fault, times in FAULTS:
        if args.only in name:
            rows.append(measure(name, fault, max(1, round(times * args.share)), args.instances, args.jobs, args.seed))
            print(", ".join(rows[-1]), file=sys.stderr, flush=True)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]))
    return 1 if any(row[3:5] not in (("0", "0"), ("-", "-")) for row in rows[1:]) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What a batch run loses when it is mistreated.")
    add = parser.add_argument
    add("--instances", type=int, default=240, metavar="N", help="of a suite (default 240)")
    add("--jobs", type=int, default=min(2, procfs.cores()), metavar="N", help="instances at a time (default 2)")
    add("--share", type=float, default=1.0, metavar="X", help="of the times that a fault happens (default 1)")
    add("--only", default="", metavar="WORD", help="only faults with this word in their name")
    add("--seed", type=int, default=1, metavar="N", help="of the random moments (default 1)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
