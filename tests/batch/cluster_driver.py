"""A driver as a program of its own: `python -m tests.batch.cluster_driver SUITE STORE VERIFIER ADDRESS LOG [MODE]`.

ADDRESS "" is this machine.  LOG is a folder where verifiers leave word of themselves; MODE is resume or gpu.
"""

import sys
from pathlib import Path

from farkas.batch import command
from farkas.batch.cluster import Cluster
from farkas.batch.plan import VERIFIER, Plan
from farkas.batch.stages import Check
from farkas.batch.store import Store


def main(suite: Path, place: Path, verifier: str, address: str, log: str, mode: str = "") -> int:
    options = {"log": log} if log else {}
    is_real = verifier == VERIFIER or verifier.endswith(":really")
    plan = Plan(verifier=verifier, jobs=2, memory_bytes=400 << 20, certify=is_real, options=options)
    with Store.open(place) as store:
        rows = command.chosen(suite, place, [])
        done = command.start(
            store, suite, rows, plan, resume=mode == "resume", stages=(Check(),) if is_real else (),
            watcher=lambda left: command.for_people(left, sys.stderr, live=False),
            cluster=None if not address else lambda code, listener: Cluster(
                address, code, listener, jobs=1 if mode == "gpu" else 2, gpu=mode == "gpu", warm=is_real
            ),
        )  # fmt: skip
    return 130 if done.interrupted else 0


if __name__ == "__main__":
    suite, place, *words = sys.argv[1:]
    sys.exit(main(Path(suite), Path(place), *words))
