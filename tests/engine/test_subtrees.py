"""Work that is shared among processes: the same answers, one tree, and nothing lost with a helper that is.

Independent of all that is tested: the lone checker, which reads certificates; exact minima of small networks; and the
search by one process.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from farkas.checker import container
from farkas.checker.check import check, load_query
from farkas.checker.errors import CertificateRejected
from farkas.checker.walk import failing_leaves, parse_proof
from farkas.checker_fast.kernel import Accelerated, accelerated_kernel
from farkas.choices import make_options
from farkas.engine import bab, subtrees
from farkas.engine.bab import Block, Search
from farkas.engine.budget import Budget, OutOfTime
from farkas.engine.crew import Crew, Lost
from farkas.engine.falsify import Attack
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.shared_kernel import SharedKernel
from farkas.engine.subtrees import Loan, Settlement, Team, settle
from farkas.engine.tree import Closing, OpenTreeError, ProofTree, close
from farkas.engine.turns import _outputs
from farkas.engine.verdict import Holds, Unknown, Verdict, Violated
from farkas.engine.verify import verify
from farkas.ir.core import run_float
from farkas.ir.errors import FarkasError
from farkas.runtime_cuda.backend import numpy_backend
from farkas.runtime_cuda.prepared import prepare
from farkas.specs.query import Semantics
from farkas.specs.vnnlib import read_property
from tests.checker.nets import vnnlib
from tests.engine.pieces import minimum
from tests.nets import Net, dense, random_layers, seeds

INPUTS = 5
NET = dense(random_layers(np.random.default_rng(1), (INPUTS, 12, 12, 2)))
BOX = ((Fraction(-1),) * INPUTS, (Fraction(1),) * INPUTS)
ONE_HALF = (Closing(0, ((0, 1),)),)


def asked(net: Net = NET, threshold: float | Fraction | None = None, semantics: Semantics = Semantics.F32_ANY) -> Query:
    """Whether y0 - 2 y1 <= threshold, by default one tenth of the sampled range below the sampled minimum."""
    if threshold is None:
        points = np.random.default_rng(0).uniform(-1, 1, (100_000, INPUTS))
        values = np.asarray(run_float(net.program, points)[net.program.output]) @ [1.0, -2.0]
        threshold = float(values.min() - 0.1 * (values.max() - values.min()))
    text = vnnlib(*BOX, 2, f"(<= (- Y_0 (* 2.0 Y_1)) {_decimal(Fraction(threshold))})")
    return Query(net.graph, net.data, read_property(text), semantics, text)


def _decimal(value: Fraction) -> str:
    number = value * 10**6 // 1
    return f"{'-' if number < 0 else ''}{abs(number) // 10**6}.{abs(number) % 10**6:06d}"


def decided(query: Query, **options: Any) -> Verdict:
    told = {"timeout_s": 20.0, "engines": frozenset({"input-splitting"}), **options}
    return verify(query, Options(**told))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are small, and boxes are lent from the first one on, for moments: many loans in a small search."""
    monkeypatch.setattr(bab, "LARGEST_BATCH", 4)
    monkeypatch.setattr(subtrees, "ALONE_S", 0.0)
    monkeypatch.setattr(subtrees, "SHORTEST_S", 0.002)
    monkeypatch.setattr(subtrees, "LONGEST_S", 0.002)


def searching(query: Query) -> Search:
    """The search of the only case, begun."""
    net = prepare(query.program, binary32=True, backend=numpy_backend())
    search = Search(net, query.families[0], True, 0.0, lambda x: _outputs(query.program, x), [ProofTree()])
    search.start()
    return search


# Answers -------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("threads", [2, 3])
def test_shared_searches_cut_the_boxes_of_one_process_and_the_lone_checker_accepts_their_tree(threads: int) -> None:
    query = asked()
    alone, shared = (decided(query, certify=True, threads=n) for n in (1, threads))
    assert isinstance(alone, Holds) and isinstance(shared, Holds) and shared.certificate is not None
    assert shared.statistics.shared > 20 and shared.statistics.lost == 0
    assert shared.statistics.boxes == alone.statistics.boxes and shared.tree.leaves == alone.tree.leaves
    accepted = check(shared.certificate, query.network, query.property_bytes)
    assert accepted.verdict == "unsat" and accepted.tier == "exact"


@pytest.mark.usefixtures("at_once")
@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_shared_answers_are_on_the_right_side_of_exact_minima(seed: int) -> None:
    net = dense(random_layers(np.random.default_rng(seed), (2, 8, 8, 2)))
    ends = (Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1))
    least = minimum(net.program, *ends, [Fraction(1), Fraction(-2)], ())
    for offset, wanted in ((-1, Holds), (1, Violated)):
        threshold = _decimal(least + Fraction(offset, 64))
        text = vnnlib(*ends, 2, f"(<= (- Y_0 (* 2.0 Y_1)) {threshold})")
        query = Query(net.graph, net.data, read_property(text), Semantics.REAL, text)
        verdict = decided(query, threads=2, trust=frozenset({"crown"}))
        assert isinstance(verdict, wanted), f"threshold {threshold}, minimum {float(least)}: {verdict}"


@pytest.mark.usefixtures("at_once")
def test_a_helper_finds_the_witness_where_the_owner_sees_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples and gradients find nothing, and the owner's own batches propose nothing."""
    monkeypatch.setattr(Attack, "sample", lambda self, count: [])
    monkeypatch.setattr(Attack, "descend", lambda self, starts, steps, budget: iter(()))
    monkeypatch.setattr(Attack, "strong", lambda self, budget, share_s: iter(()))
    owner, propose = os.getpid(), Search._candidates
    monkeypatch.setattr(Search, "_candidates", lambda self, *rest: [] if os.getpid() == owner else propose(self, *rest))
    points = np.random.default_rng(0).uniform(-1, 1, (100_000, INPUTS))
    values = np.asarray(run_float(NET.program, points)[NET.program.output]) @ [1.0, -2.0]
    verdict = decided(asked(threshold=float(np.sort(values)[3])), threads=2)
    assert isinstance(verdict, Violated) and verdict.statistics.shared > 0
    assert isinstance(decided(asked(threshold=float(np.sort(values)[3])), timeout_s=0.3), Unknown), "the owner is blind"


# Helpers that are lost -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("at_once")
def test_what_killed_helpers_had_in_hand_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(search: Search, loan: Loan, recalled: Any) -> Settlement:
        if loan.number >= 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return settle(search, loan, recalled)

    monkeypatch.setattr(subtrees, "settle", killed)
    query = asked()
    verdict = decided(query, certify=True, threads=3)
    assert isinstance(verdict, Holds) and verdict.certificate is not None
    assert verdict.statistics.lost == 2
    assert verdict.statistics.boxes == decided(query, certify=True).statistics.boxes
    assert check(verdict.certificate, query.network, query.property_bytes).verdict == "unsat"


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("error", [MemoryError, OutOfTime, ValueError])
def test_a_helper_that_fails_is_lost_and_nothing_else_is(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: type[Exception]
) -> None:
    def failing(search: Search, loan: Loan, recalled: Any) -> Settlement:
        raise error

    monkeypatch.setattr(subtrees, "settle", failing)
    verdict = decided(asked(), threads=2)
    assert isinstance(verdict, Holds) and verdict.statistics.lost == 1 and verdict.statistics.shared == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("at_once")
def test_a_helper_that_forgets_an_open_box_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(search: Search, loan: Loan, recalled: Any) -> Settlement:
        found = settle(search, loan, recalled)
        return Settlement(**{**vars(found), "open": found.open[1:]})

    monkeypatch.setattr(subtrees, "settle", forgetful)
    with pytest.raises(AssertionError, match="leaves of case 0 are open"):
        decided(asked(), threads=2)


def test_no_process_is_left_when_a_run_ends() -> None:
    decided(asked(), threads=3)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_helpers_end_with_a_run_that_is_killed() -> None:
    code = (
        "import time; from farkas.engine.crew import Crew\n"
        "crew = Crew(2, lambda task, recalled: time.sleep(60))\n"
        "for member in crew.idle: crew.send(member, None)\n"
        "print(*(member.pid for member in crew.members), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        helpers = [int(word) for word in run.stdout.readline().split()]
        run.kill()
    end = time.monotonic() + 10.0
    while any(_runs(pid) for pid in helpers) and time.monotonic() < end:
        time.sleep(0.01)
    assert len(helpers) == 2 and not any(_runs(pid) for pid in helpers)


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# Loans ---------------------------------------------------------------------------------------------------------------


def lent(search: Search, count: int = 4) -> tuple[Loan, dict[int, list[int]]]:
    nodes: dict[int, list[int]] = {}
    blocks = tuple(subtrees._numbered(block, nodes) for block in search.lend(1, count))
    return Loan(1, 0, blocks, {c: len(n) for c, n in nodes.items()}, 0.01, 8, 1 << 30, 1.0, 60.0), nodes


def test_a_loan_and_its_settlement_travel_as_bytes_to_a_search_that_was_made_anew() -> None:
    query = asked()
    search = searching(query)
    team = Team(2)
    assert team.enrol(search) == 0
    for _ in range(3):
        next(search.rounds(Budget.of(None)))
    while not search.is_done:
        loan, nodes = lent(search)
        team._lent[1] = subtrees._Lent(0, nodes)
        team._merge(pickle.loads(pickle.dumps(settle(searching(asked()), pickle.loads(pickle.dumps(loan))))))
    assert team.boxes > 20 and search.progress.open == 0 and search.closed_cases() == [0]
    assert close(search.trees).leaves == decided(query).tree.leaves  # type: ignore[union-attr]


def test_a_case_is_open_as_long_as_a_box_of_it_is_away() -> None:
    search = searching(asked())
    while search.progress.open < 2:
        next(search.rounds(Budget.of(None)))
    count = search.progress.open
    search.lend(1, count)
    assert not search.queue and not search.is_done and search.closed_cases() == [] and search.progress.open == count
    with pytest.raises(OpenTreeError):
        close(search.trees)


def test_boxes_of_a_case_that_was_proved_elsewhere_do_not_come_back() -> None:
    search = searching(asked())
    for _ in range(4):
        next(search.rounds(Budget.of(None)))
    loan, nodes = lent(search, 3)
    team = Team(2)
    team.enrol(search)
    team._lent[1] = subtrees._Lent(0, nodes)
    search.drop(0)
    assert search.progress.open == 0
    team._merge(settle(searching(asked()), loan))
    assert search.is_done and search.progress.open == 0 and not search.stuck


def test_the_bottom_of_the_queue_is_lent_and_returned_as_it_was() -> None:
    search = searching(asked())
    while len(search.queue) < 3:
        next(search.rounds(Budget.of(None)))
    before = _nodes(search.queue)
    blocks = search.lend(7, 5)
    assert _nodes(blocks) == before[:5] and _nodes(search.queue) == before[5:]
    assert _nodes(search.returned(7)) == before[:5] and search.progress.open == len(before) - 5


def _nodes(blocks: list[Block]) -> list[int]:
    return [int(node) for block in blocks for node in block.node]


def test_a_graft_continues_open_leaves_and_no_others() -> None:
    tree, forest = ProofTree(), ProofTree(2)
    first = tree.bisect(0, 0)  # leaves 1 and 2
    child = forest.bisect(0, 3)  # roots 0 and 1, leaves of root 0: 2 and 3
    forest.close_leaf(1, ONE_HALF)
    forest.close_leaf(child + 1, ONE_HALF)
    assert forest.open_leaves == 1 and forest.leaves == 3
    shift = tree.graft([first + 1, first], forest)
    assert tree.branch(2) == (tree.step(2), child + shift) and tree.leaves == 3 and tree.open_leaves == 1
    with pytest.raises(OpenTreeError):
        close([tree])
    tree.close_leaf(child + shift, ONE_HALF)
    # In preorder: the root, leaf 1 (root 1 of the forest), node 2 cut along input 3, its two leaves.
    assert [type(step).__name__ for _, step in tree.preorder()] == ["Bisect", "Leaf", "Bisect", "Leaf", "Leaf"]
    with pytest.raises(AssertionError, match="decided already"):
        tree.graft([first, first + 1], forest)


# Checking ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["input-splitting", "relu-splitting"])  # the rules crown-fp-1 and crown-fp-2
def test_shared_waves_close_the_leaves_that_one_process_closes(engine: str) -> None:
    """The claims are about a threshold that is moved until about half of the leaves fail."""
    query = asked()
    verdict = decided(query, certify=True, engines=frozenset({engine}))
    assert isinstance(verdict, Holds) and verdict.certificate is not None
    harder = asked(threshold=_threshold(query) + 0.02 * abs(_threshold(query)))
    integer, _, _ = load_query(harder.network, harder.property_bytes, "f32-any")
    header, payloads = container.decode(verdict.certificate)
    proof = parse_proof(header, payloads, integer)
    expected = failing_leaves(integer, proof, Accelerated(wave=16))
    shared = SharedKernel(Accelerated(wave=16), 3, Budget.of(None))
    try:
        found = failing_leaves(integer, proof, shared)
        assert shared.crew is not None and shared.crew.lost == 0
    finally:
        shared.close()
    assert found == expected and 0 < len(expected) < proof.tree.leaves
    assert shared.crew.cpu_s > 0


def _threshold(query: Query) -> float:
    return float(query.property.cases[0].disjuncts[0][0].c)


@pytest.mark.parametrize("after", [1, 4, 9])
def test_parts_of_a_lost_process_are_checked_by_the_others(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    query = asked()
    verdict = decided(query, certify=True)
    assert isinstance(verdict, Holds) and verdict.certificate is not None
    send, sent = Crew.send, [0]

    def cut_off(self: Crew, member: Any, task: Any) -> None:
        send(self, member, task)
        sent[0] += 1
        if sent[0] == after:
            os.kill(member.pid, signal.SIGKILL)

    monkeypatch.setattr(Crew, "send", cut_off)
    shared = SharedKernel(Accelerated(wave=16), 2, Budget.of(None))
    try:
        accepted = check(verdict.certificate, query.network, query.property_bytes, kernel=shared)
    finally:
        shared.close()
    assert accepted.verdict == "unsat" and shared.crew is not None and shared.crew.lost == 1


def test_a_certificate_about_another_property_is_rejected_by_shared_waves_too() -> None:
    query = asked()
    verdict = decided(query, certify=True)
    assert isinstance(verdict, Holds) and verdict.certificate is not None
    shared = SharedKernel(accelerated_kernel(), 2, Budget.of(None))
    with pytest.raises(CertificateRejected):
        check(verdict.certificate, query.network, asked(threshold=0).property_bytes, kernel=shared)
    shared.close()


# Limits --------------------------------------------------------------------------------------------------------------


def test_waiting_for_a_process_ends_with_the_budget() -> None:
    crew = Crew(1, lambda task, recalled: time.sleep(30))
    crew.send(crew.idle[0], None)
    with pytest.raises(OutOfTime):
        crew.receive(crew.members[0], Budget.of(0.2))
    crew.close()
    assert not crew.members


def test_a_recalled_task_is_answered_at_once_and_a_recall_too_late_is_forgotten() -> None:
    def work(task: int, recalled: Any) -> int:
        end = time.monotonic() + task
        while time.monotonic() < end and not recalled():
            time.sleep(0.001)
        return task

    crew = Crew(1, work)
    (member,) = crew.members
    start = time.monotonic()
    for task in (60, 0, 60, 0, 0):
        crew.send(member, task)
        if task == 0:
            assert crew.ready(10.0) == [member]
        crew.recall(member)
        assert crew.receive(member) == task
    assert time.monotonic() - start < 30
    crew.close()


def test_a_process_that_is_gone_is_noticed_when_it_is_sent_something() -> None:
    crew = Crew(1, lambda task, recalled: task)
    member = crew.idle[0]
    os.kill(member.pid, signal.SIGKILL)
    os.waitid(os.P_PID, member.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(Lost):
        crew.send(member, b"x" * (1 << 20))
    assert crew.lost == 1 and not crew.members


@pytest.mark.usefixtures("at_once")
def test_a_shared_search_keeps_its_timeout() -> None:
    start = time.monotonic()
    points = np.random.default_rng(0).uniform(-1, 1, (100_000, INPUTS))
    values = np.asarray(run_float(NET.program, points)[NET.program.output]) @ [1.0, -2.0]
    verdict = decided(asked(threshold=float(values.min() - 1e-3)), threads=2, timeout_s=0.5)
    assert time.monotonic() - start < 5.0
    assert isinstance(verdict, Unknown | Violated)


@pytest.mark.parametrize(("threads", "device"), [(0, "numpy"), (-1, "numpy"), (1.5, "numpy"), (2, "cupy")])
def test_numbers_of_threads_that_make_no_sense_are_refused(threads: Any, device: str) -> None:
    with pytest.raises(FarkasError, match="threads"):
        make_options(threads=threads, device=device)
    assert make_options(threads=2).threads == 2
