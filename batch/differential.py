"""Differential mode: the same instances by other verifiers, and a ruling on every contradiction.

Others are commands, run after our own answers are in the store, or files of results that somebody has recorded.  What
commands say is kept in `STORE.others`, a store like any other (so `farkas diff` and `farkas score` read it), and is
asked once.  Every contradiction is looked at by a process of its own (farkas.batch.adjudication) and leaves a folder
(farkas.batch.bundles).
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from farkas.batch import adjudication
from farkas.batch.adjudication import Finding, Ruling
from farkas.batch.bench import Bench
from farkas.batch.bundles import write_bundle
from farkas.batch.command import Watcher
from farkas.batch.comparison import Answer, Change, Comparison, answers, compare
from farkas.batch.environment import code_digest, environment
from farkas.batch.others import BadCommand, plan_of
from farkas.batch.plan import Plan
from farkas.batch.pool import Pool
from farkas.batch.recorded import BadResults, read_results, with_witnesses
from farkas.batch.records import Row
from farkas.batch.store import Store

OTHERS, SCRATCH = ".others", ".rulings"


class BadOther(Exception):
    """Another verifier cannot be asked; the message says why."""


def require_others(sources: Sequence[str], plan: Plan) -> None:
    """Raises BadOther for what names neither a command nor a file of results."""
    for source in sources:
        try:
            if Path(source).is_file():
                read_results(Path(source))
            else:
                plan_of(source, plan)
        except (BadCommand, BadResults) as error:
            raise BadOther(f"--against: {error}") from error


@dataclass(frozen=True)
class Difference:
    """What one other verifier came to: the comparison, ours first, and the contradictions with their folders."""

    source: str
    comparison: Comparison
    findings: tuple[tuple[Finding, Path], ...]

    @property
    def is_ours(self) -> bool:
        """Whether the evidence is against us."""
        return any(finding.ruling.is_ours for finding, _ in self.findings)

    def lines(self) -> Iterator[str]:
        """For people: contradictions first."""
        for finding, place in self.findings:
            mark = "!!" if finding.ruling.is_ours else "  "
            yield f"{mark} {finding.ours.title}: {finding.ours.verdict}, against {finding.theirs.verdict}:"
            yield f"     {finding.ruling}; see {place}"
        counts: Counter[Change] = Counter(pair.change for pair in self.comparison.pairs)
        told = {
            Change.CONTRADICTORY: "contradictory", Change.BETTER: "decided by it alone",
            Change.WORSE: "decided by Farkas alone", Change.SLOWER: "where it is slower",
            Change.FASTER: "where it is faster", Change.SAME: "alike", Change.INCOMPARABLE: "not comparable",
            Change.GONE: "without an answer of it",
        }  # fmt: skip
        yield f"against {self.source}: " + ", ".join(f"{counts[c]} {word}" for c, word in told.items() if counts[c])


def against(
    sources: Sequence[str], store: Store, run: str, plan: Plan, bundles: Path,
    watcher: Callable[[Sequence[Row]], Watcher],
) -> list[Difference]:  # fmt: skip
    """What other verifiers say about the instances of a run.

    sources: commands (farkas.batch.others) or files of results.  Raises as `require_others`, and KeyboardInterrupt when
    the user does.
    """
    require_others(sources, plan)
    record = next(one for one in store.runs() if one.id == run)
    ours = list(answers(store, record))
    rows = [result.row for result in store.results(run) if result.attempt is not None]
    return [_difference(source, ours, rows, store.path, plan, bundles, watcher) for source in sources]


def _difference(
    source: str, ours: Sequence[Answer], rows: Sequence[Row], store: Path, plan: Plan, bundles: Path,
    watcher: Callable[[Sequence[Row]], Watcher],
) -> Difference:  # fmt: skip
    path = Path(source)
    if path.is_file():
        theirs = with_witnesses(read_results(path), path.resolve().parent)
    else:
        theirs = _asked(source, rows, store.with_name(store.name + OTHERS), plan, watcher)
    found = compare(ours, theirs)
    asked = {id(answer): row for answer, row in zip(ours, rows, strict=True)}
    pairs = [(asked[id(p.first)], p.first, p.second) for p in found.of(Change.CONTRADICTORY) if p.first and p.second]
    scratch = store.with_name(f"{store.name}{SCRATCH}-{os.getpid()}")
    try:
        findings = [
            _finding(source, replace(row, timeout_s=plan.timeout(row)), one, other, scratch)
            for row, one, other in pairs
        ]
        return Difference(source, found, tuple((finding, write_bundle(finding, bundles)) for finding in findings))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _asked(
    command: str, rows: Sequence[Row], place: Path, plan: Plan, watcher: Callable[[Sequence[Row]], Watcher]
) -> list[Answer]:
    """The answers of a command, from its store or by running it."""
    other = plan_of(command, plan)
    code = code_digest()
    with Store.open(place) as store:
        run = store.begin(command, other.as_json(), environment(code), rows)
        listener = watcher(rows)
        bench = Bench(store, other, code, listener)
        try:
            bench.run(run, rows)
        finally:
            listener.close()
            is_whole = all(result.attempt is not None for result in bench.store.results(run))
            bench.store.end(run, "finished" if is_whole else "interrupted")
        record = next(one for one in bench.store.runs() if one.id == run)
        return list(answers(bench.store, record))


def _finding(source: str, row: Row, ours: Answer, theirs: Answer, scratch: Path) -> Finding:
    """The ruling, by a process of its own; one that comes to no end rules nothing."""
    folder = scratch / str(row.number)
    task = adjudication.task("ruling", row, ours, theirs, folder)
    with Pool(warm=False) as pool:
        pool.start(task)
        outcomes = pool.wait(1.0)
        while not outcomes:
            outcomes = pool.wait(1.0)
    found = outcomes[0].result(folder)
    made = folder / adjudication.CERTIFICATE
    certificate = made if made.is_file() else None
    if found is None:
        return Finding(row, ours, theirs, source, Ruling.OPEN, ("looking at the evidence failed",), certificate)
    return Finding(row, ours, theirs, source, Ruling(found["ruling"]), tuple(found["reasons"]), certificate)
