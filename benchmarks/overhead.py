"""What a batch run costs above the engine: `python benchmarks/overhead.py [SUITE] [--instances N] [--repeat N]`.

The same instances twice, one at a time: by the engine in one process that is warm (it has imported everything and has
decided one instance of every kind), and by what `farkas bench` calls, each in a process of its own with a store that is
written through.  A SUITE is repeated, with a comment of its own in every copy of a property, until there are so many;
without one, those of easy.py.

A line for each: wall and CPU milliseconds an instance (of the driver, the parent of the workers and the workers, as
the kernel counts them), and what is above the engine.  Start-up, paid once, is a line of its own; so is the most memory
that the driver had.  Medians of --repeat runs.  For the wall clock to mean something, the machine has to be idle.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # a checkout needs no installation

from farkas.process import use_threads  # noqa: E402

use_threads(1)  # as workers have it

from benchmarks.easy import easy_suite  # noqa: E402
from farkas.batch import command, work  # noqa: E402
from farkas.batch.plan import Plan  # noqa: E402
from farkas.batch.records import Result, Row  # noqa: E402
from farkas.batch.store import Store  # noqa: E402
from farkas.batch.suites import networks, query, read_suite  # noqa: E402
from farkas.batch.zygote import preload  # noqa: E402
from farkas.specs.tokens import decompressed  # noqa: E402

WARM = 20  # instances before the measured ones


class Deaf:
    """Listens to nothing; counts."""

    def __init__(self) -> None:
        self.count = 0

    def done(self, result: Result) -> None:
        self.count += 1

    def tick(self, running: Sequence[Row], resident_bytes: int) -> None:
        pass

    def say(self, message: str) -> None:
        print(message, file=sys.stderr)

    def close(self) -> None:
        pass


def repeated(suite: Path, folder: Path, count: int) -> list[Row]:
    """So many instances of a suite, every one a question of its own."""
    found = []
    for number, row in zip(range(count), itertools.cycle(read_suite(suite))):
        place = folder / f"{number}.vnnlib"
        place.write_bytes(decompressed(query(row).read_bytes()) + f"\n; instance {number}\n".encode())
        nets = ";".join(f"{name}={path}" if name else str(path) for name, path in networks(row))
        found.append(replace(row, number=number, onnx=nets, vnnlib=str(place), folder=str(folder)))
    return found


def engine(rows: Sequence[Row], plan: Plan, folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds of the engine over all instances."""
    preload()
    for row in rows[:WARM]:
        work.verify(plan.task("", row, folder).arguments, folder)
    wall, cpu = time.perf_counter(), time.process_time()
    for row in rows:
        work.verify(plan.task("", row, folder).arguments, folder)
    return time.perf_counter() - wall, time.process_time() - cpu


def batch(rows: Sequence[Row], plan: Plan, folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a run over all instances, start and end included."""
    before = _cpu()
    start = time.perf_counter()
    with Store.open(folder / "store") as store:
        command.start(store, folder / "suite", rows, plan, resume=False, watcher=lambda left: Deaf())
    return time.perf_counter() - start, _cpu() - before


def _cpu() -> float:
    """CPU seconds of this process and those that it has waited for, and that these have."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def once(kind: str, suite: str, count: int) -> tuple[float, float, float]:
    """One measurement in this process: wall, CPU seconds, peak of resident memory in 2^20 bytes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = Path(suite) if suite else easy_suite(folder, count)
        rows = repeated(path, folder, count)
        wall, cpu = (engine if kind == "engine" else batch)(rows, Plan(jobs=1), folder)
    return wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(kind: str, suite: str, count: int, repeat: int) -> tuple[float, float, float]:
    """Medians over processes that each measure once."""
    found = []
    for _ in range(repeat):
        words = [sys.executable, __file__, "--once", kind, suite, str(count)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        found.append([float(word) for word in done.stdout.split()])
    wall, cpu, peak = (statistics.median(column) for column in zip(*found, strict=True))
    return wall, cpu, peak


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the lines; the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["--once"]:
        print(*once(words[1], words[2], int(words[3])))
        return 0
    args = _parser().parse_args(words)
    suite, count = str(args.suite or ""), args.instances
    wall0, cpu0, _ = measured("batch", suite, 1, args.repeat)
    wall1, cpu1, _ = measured("engine", suite, count, args.repeat)
    wall2, cpu2, peak = measured("batch", suite, count, args.repeat)
    wall2, cpu2 = wall2 - wall0, cpu2 - cpu0
    print(f"{count} instances, one at a time, medians of {args.repeat}; milliseconds an instance: wall, CPU")
    for name, wall, cpu in (("engine", wall1, cpu1), ("batch", wall2, cpu2), ("above", wall2 - wall1, cpu2 - cpu1)):
        print(f"{name:8} {1000 * wall / count:8.2f} {1000 * cpu / count:8.2f}")
    print(f"start and first instance, once: {wall0:.2f} s wall, {cpu0:.2f} s CPU; driver's peak {peak:.0f} MB")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What a batch run costs above the engine.")
    add = parser.add_argument
    add("suite", nargs="?", type=Path, metavar="SUITE", help="as for farkas bench; default: the easiest examples")
    add("--instances", type=int, default=1080, metavar="N", help="repeated until there are so many (default 1080)")
    add("--repeat", type=int, default=3, metavar="N", help="medians of so many runs (default 3)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
