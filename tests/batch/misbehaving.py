"""Verifiers for tests: each does to its process what some solver has done to somebody."""

import ctypes
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any


def decided(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    return {"verdict": "unsat", "evidence": "checkable", "semantics": "f32-any"}


def counting(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Decides, and leaves a line for every time it was asked (in the file of the property, by its name)."""
    with Path(arguments["property"] + ".asked").open("a") as file:
        file.write("x\n")
    return decided(arguments, folder)


def undecided(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    counting(arguments, folder)
    return {"verdict": "timed-out", "reason": "timeout", "message": "the time is over"}


def slow(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    time.sleep(0.1)
    return counting(arguments, folder)


def witnessed(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """`sat` with the witness that lies beside the network, if there is one."""
    place = Path(arguments["networks"][0][1]).with_name("witness")
    if place.is_file():
        (folder / "witness").write_bytes(place.read_bytes())
    files = ["witness"] if place.is_file() else []
    return {"verdict": "sat", "evidence": "replayed", "semantics": "f32-any", "files": files}


def half_certified(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    (folder / "certificate").write_bytes(b"x")
    os._exit(4)


def exits(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    os._exit(4)


def raises(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    raise RuntimeError("boom")


def faults(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    ctypes.string_at(0)
    return decided(arguments, folder)


def aborts(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    os.abort()


def spins(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Inside native code that never looks at a signal's Python handler."""
    sum(range(10**13))
    return decided(arguments, folder)


def sleeps_natively(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    time.sleep(600)
    return decided(arguments, folder)


def burns_two_cores(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    for _ in range(3):
        if os.fork() == 0:
            while True:
                pass
    while True:
        pass


def hoards(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """More memory than any limit, and no reaction to a failing allocation."""
    held = []
    while True:
        try:
            held.append(bytearray(b"x") * (16 << 20))
        except MemoryError:
            time.sleep(600)


def allocates(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    bytearray(1 << 44)
    return decided(arguments, folder)


def leaves_children(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Starts a process in a session of its own that would outlive it."""
    words = [sys.executable, "-c", "import time; time.sleep(600)"]
    process = subprocess.Popen(words, start_new_session=True)
    Path(arguments["property"] + ".child").write_text(str(process.pid))
    if arguments["timeout_s"] < 1:
        time.sleep(600)
    return decided(arguments, folder)


def needs_a_solver(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Says whether z3 was there already."""
    was_there = "z3" in sys.modules
    import_module("z3")
    return {"verdict": "unknown", "message": str(was_there)}


def is_killed(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What a process sees of who kills it: nothing."""
    counting(arguments, folder)
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def kills_its_parent(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    counting(arguments, folder)
    if Path(arguments["property"] + ".asked").read_text().count("x") == 1:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
    return decided(arguments, folder)


def has_no_room(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The first two times there is no space for its files."""
    found = counting(arguments, folder)
    if Path(arguments["property"] + ".asked").read_text().count("x") < 3:
        raise OSError(errno.ENOSPC, "No space left on device")
    return found


def nonsense(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    return {"verdict": "probably"}


def late(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    time.sleep(arguments["timeout_s"] + 0.4)
    return decided(arguments, folder)
