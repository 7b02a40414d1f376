"""The options of a question, as the engine takes them."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import TypeVar

from farkas.engine.options import ENGINES, Options, Reporter
from farkas.engine.relu_branching import RULES
from farkas.engine.trusted import WORDS
from farkas.ir.errors import FarkasError

T = TypeVar("T")

TRUSTED = ("crown", *WORDS)  # whose word `trust` can take
DEVICES = ("numpy", "cupy")


def make_options(
    *, timeout: float | None = None, certify: bool = False, trust: Collection[str] = (),
    engines: Collection[str] | None = None, seed: int = 0, memory_gb: float | None = None, device: str = "numpy",
    report: Reporter | None = None, branching: str = "sensitivity", smt_solver: str = "z3", milp_solver: str = "highs",
    threads: int = 1,
) -> Options:  # fmt: skip
    """The engine's options from those of `verify`; raises FarkasError for a value that is none."""
    if timeout is not None and not timeout >= 0:
        raise FarkasError(f"the timeout is {timeout} s; a nonnegative number is wanted")
    if memory_gb is not None and not memory_gb > 0:
        raise FarkasError(f"the memory limit is {memory_gb} GB; a positive number is wanted")
    trust = {trust} if isinstance(trust, str) else trust
    _require_known("engine", trust, TRUSTED, " to trust")
    _require_known("engine", engines or (), ENGINES)
    _require_known("device", (device,), DEVICES)
    _require_known("branching", (branching,), RULES)
    if engines is not None and not engines:
        raise FarkasError(f"no engine may work; name some of {', '.join(ENGINES)}")
    _require_threads(threads, device)
    if device == "cupy":
        _require_cupy()
    if milp_solver != "highs":
        from farkas.encoders.milp import SOLVERS

        _require_known("MILP solver", (milp_solver,), SOLVERS)
    return Options(
        timeout_s=timeout, certify=certify, trust=frozenset(trust), seed=seed,
        memory_bytes=Options.memory_bytes if memory_gb is None else int(memory_gb * 2**30), report=report,
        device=device, branching=branching, engines=None if engines is None else frozenset(engines),
        smt_solver=smt_solver, milp_solver=milp_solver, threads=threads,
    )  # fmt: skip


def one_of(what: str, found: str, known: tuple[T, ...]) -> T:
    """The member of `known` that is spelled so."""
    for name in known:
        if name == found:
            return name
    raise FarkasError(f"there is no {what} '{found}'; known are {', '.join(map(str, known))}")


def _require_known(what: str, found: Collection[str], known: Collection[str], purpose: str = "") -> None:
    for name in sorted(set(found) - set(known)):
        raise FarkasError(f"there is no {what} '{name}'{purpose}; known are {', '.join(known)}")


def _require_threads(threads: int, device: str) -> None:
    if threads < 1 or threads != int(threads):
        raise FarkasError(f"the number of threads is {threads}; an integer from 1 on is wanted")
    if threads > 1 and device != "numpy":
        raise FarkasError(f"{threads} threads and device '{device}': a device is not shared out; leave threads at 1")
    if threads > 1 and not hasattr(os, "fork"):
        raise FarkasError(f"{threads} threads: this system has no processes that fork; leave threads at 1")


def _require_cupy() -> None:
    from farkas.runtime_cuda.backend import cupy_backend

    try:
        cupy_backend()
    except RuntimeError as error:
        raise FarkasError(f"device 'cupy': {error}; the device 'numpy' needs nothing") from error
