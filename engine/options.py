"""The options of a run, one table: name, default, meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from farkas.engine.bab import Progress

Reporter = Callable[[Progress, float], None]

ARMS = ("input-splitting", "relu-splitting", "milp")
RUNGS = ("lra", "order-terms", "float-intervals", "enumeration", "smt-fp")
ENGINES = (*ARMS, *RUNGS, "cp-sat")


@dataclass(frozen=True)
class Options:
    """timeout_s: wall-clock limit, None for no limit.
    certify: write a certificate and claim `unsat` only after the accelerated checker has accepted it.
    trust: engines whose word counts without a certificate: `crown` (bounds for operators that the checker lacks), and
    those of `trusted.WORDS`.
    seed: of the random points of the attack; memory_bytes: of the open boxes and nodes: above half of it they are taken
    one at a time, depth first; report: called after batches; device: `numpy` or `cupy`.
    branching: how ReLU splitting chooses neurons: `sensitivity`, `babsr` or `fsb`.
    engines: those of ENGINES that may decide, None for all: arms of the portfolio, rungs of the ladder, and `cp-sat`.
    threads: processes that share input splitting and the checker's work on a certificate, this one included.
    smt_solver: of the rung `lra`: `z3`, `pysmt`, or `pysmt:<name>`; milp_solver: who hunts for incumbents.
    """

    timeout_s: float | None = None
    certify: bool = False
    trust: frozenset[str] = frozenset()
    seed: int = 0
    memory_bytes: int = 4 << 30
    report: Reporter | None = None
    device: str = "numpy"
    branching: str = "sensitivity"
    engines: frozenset[str] | None = None
    smt_solver: str = "z3"
    milp_solver: str = "highs"
    threads: int = 1

    def allows(self, engine: str) -> bool:
        """Whether an engine may be used."""
        return self.engines is None or engine in self.engines
