"""Parts of a search by input splitting that other processes work on; all of them end in one tree.

A *loan* is a number of open boxes of one search, taken off the bottom of its queue: set aside first, they are its
largest.  A borrower bounds and cuts them for a moment and answers with the subtrees that it grew, the boxes that are
still open in them, and the points at which it saw a violation come near.  The owner grafts the subtrees into its own
trees, puts the open boxes on its queue and replays the points.  Meanwhile it works on the rest of the queue; once that
is empty it calls for what others have, and lends it out anew: subtrees are of very different sizes, which nobody can
foresee.

A loan is all that a borrower has to be told, beside the query and the options: the cases and boxes, with bounds that
are known there (a saving, no more).  It can be pickled, and so can its settlement; the owner alone knows the places
in its tree, so that a settlement cannot be grafted anywhere else.  It is a task for another process here, and would be
for another machine.

Why it is sound.  A loan's boxes count as open with the owner (`Search.away`) until the loan is settled, and a case is
proved only when none of its boxes is open anywhere; what a lost borrower had in hand goes back to the queue as it was.
A settlement is taken only when every open leaf of its subtrees is among the boxes that it says are open; and `close`
freezes no tree that has an open leaf.  Points prove nothing: they leave as candidates, like all others.

The boxes are those of one process alone: where a box is cut depends on nothing but the box and the bounds inherited.
Only which of them come first differs, and with it, now and then, which witness is found.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from farkas.engine.bab import LARGEST_BATCH, Block, Candidate, Search
from farkas.engine.budget import Budget
from farkas.engine.crew import Crew, Lost, Member
from farkas.engine.gap import Gap
from farkas.engine.problem import Matrix
from farkas.engine.tree import ProofTree

ALONE_S = 0.1  # of a search before anybody is asked to help: a fork costs 10 ms, and most queries end earlier
SLICE = 0.2  # a loan may take this part of the search's time so far,
SHORTEST_S, LONGEST_S = 0.1, 1.0  # within these limits; an owner looks for settlements once a batch, at most 0.25 s
FEWEST = 4  # a loan is of at least one in so many boxes of a batch
WAIT_S = 0.02  # of an owner that has lent out everything
MOST_CANDIDATES = 8


@dataclass(frozen=True, eq=False)
class Loan:
    """Boxes to work on, for some seconds.

    search: the number of the search in its team; blocks: whose nodes count the roots of each case from 0 on; roots:
    how many a case has; batch: how many at once, to begin with; elapsed_s: since the search began; left_s: until its
    deadline.
    """

    number: int
    search: int
    blocks: tuple[Block, ...]
    roots: dict[int, int]
    seconds: float
    batch: int
    memory_bytes: int
    elapsed_s: float
    left_s: float


@dataclass(frozen=True, eq=False)
class Settlement:
    """What became of a loan: for each case a forest, whose nodes all else refers to.

    open: boxes that are still open; stuck: (case, node) of those that no cut can help, and left_over what they are;
    gaps: those among them that only rounding errors keep open; boxes, leaves, rules, closest: as in Progress.
    """

    number: int
    search: int
    forests: dict[int, ProofTree]
    open: tuple[Block, ...]
    stuck: tuple[tuple[int, int], ...]
    left_over: tuple[tuple[int, Matrix, Matrix], ...]
    gaps: tuple[Gap, ...]
    candidates: tuple[Candidate, ...]
    boxes: int
    leaves: int
    rules: Counter[str]
    closest: float


def settle(search: Search, loan: Loan, recalled: Callable[[], bool] = lambda: False) -> Settlement:
    """Work on a loan until it is closed, its time is over, a violation seems near, or it is recalled.

    search: the one that it is of, or one of the same query and options, for its network and rows.
    """
    forests = {case: ProofTree(roots) for case, roots in loan.roots.items()}
    nothing = ProofTree()
    trees = [forests.get(case, nothing) for case in range(len(search.family.members))]
    found = [] if search.sieve is None else search.sieve.found
    known = len(found)
    own = Search(
        search.net, search.family, search.binary32, search.margin, search.evaluate, trees,
        memory_bytes=loan.memory_bytes, kernel=search.kernel, sieve=search.sieve,
    )  # fmt: skip
    own.begin(loan.elapsed_s)
    search.kernel = own.kernel  # for the next loan
    own.progress.batch = loan.batch
    for block in loan.blocks:
        own.push(block)
    start, met = time.monotonic(), list[Candidate]()
    for candidates in own.rounds(Budget.of(loan.left_s)):
        met += candidates
        seconds = time.monotonic() - start
        if seconds >= loan.seconds or recalled() or (seconds >= SHORTEST_S and candidates and candidates[0].slack > 0):
            break
    met.sort(key=lambda candidate: -candidate.slack)
    p = own.progress
    return Settlement(
        loan.number, loan.search, forests, tuple(own.queue), tuple(own.stuck), tuple(own.left_over),
        tuple(found[known:]), tuple(met[:MOST_CANDIDATES]), p.boxes, p.leaves, p.rules, p.closest,
    )  # fmt: skip


@dataclass(eq=False)
class _Lent:
    """What the owner keeps of a loan: the search, and per case the nodes of its tree that the forest's roots are."""

    search: int
    nodes: dict[int, list[int]]


@dataclass(eq=False)
class Team:
    """The searches of a run and the processes that help them; `threads` processes work, this one included.

    boxes: bounded by helpers; lost: helpers that are.
    """

    threads: int
    searches: list[Search] = field(default_factory=list)
    boxes: int = 0
    crew: Crew | None = None
    lost: int = 0
    _known: int = 0  # searches that the crew knows of: those that were there when it was forked
    _lent: dict[int, _Lent] = field(default_factory=dict)
    _held: dict[int, int] = field(default_factory=dict)  # by process, the loan that it has in hand
    _met: dict[int, list[Candidate]] = field(default_factory=dict)
    _loans: int = 0

    def enrol(self, search: Search) -> int:
        """The number of a search in this team."""
        self.searches.append(search)
        return len(self.searches) - 1

    def rounds(self, number: int, budget: Budget) -> Iterator[list[Candidate]]:
        """As `Search.rounds`, with others' help; boxes may still be away at any yield."""
        search = self.searches[number]
        own = search.rounds(budget)
        while not search.is_done and not budget.is_spent:
            self._lend(number, budget)
            if search.queue:
                found = next(own, None)
                if found is None:  # out of time
                    return
                yield found
            if self.crew is not None and not search.queue:
                for member in self.crew.members:
                    if member.busy and self._lent[self._held[member.pid]].search == number:
                        self.crew.recall(member)
            self._settle(0.0 if search.queue else WAIT_S)
            met = self._met.pop(number, [])
            if met or not search.queue:
                yield met

    def _lend(self, number: int, budget: Budget) -> None:
        """Give something to do to everybody who has nothing, where there is enough of it."""
        search = self.searches[number]
        if self.crew is None:
            if search.elapsed_s < ALONE_S or not self._portion(search, self.threads):
                return
            self._known = len(self.searches)
            self.crew = Crew(self.threads - 1, self._serve)
        if number >= self._known:
            return
        for waiting in range(len(self.crew.idle), 0, -1):
            portion = self._portion(search, waiting + 1)
            if not portion:
                return
            self._give(self.crew, self.crew.idle[0], number, portion, budget)

    def _portion(self, search: Search, sharers: int) -> int:
        """How many boxes each of some processes may have of the queue, this one included; 0: it is not worth it."""
        queued = sum(map(len, search.queue))
        portion = min(queued // sharers, 2 * LARGEST_BATCH)
        return portion if portion >= max(1, search.progress.batch // FEWEST) else 0

    def _give(self, crew: Crew, member: Member, number: int, portion: int, budget: Budget) -> None:
        search, self._loans = self.searches[number], self._loans + 1
        seconds = min(LONGEST_S, max(SHORTEST_S, SLICE * search.elapsed_s))
        nodes: dict[int, list[int]] = {}
        blocks = [_numbered(block, nodes) for block in search.lend(self._loans, portion)]
        loan = Loan(
            self._loans, number, tuple(blocks), {case: len(own) for case, own in nodes.items()}, seconds,
            search.progress.batch, search.memory_bytes // self.threads, search.elapsed_s, budget.left_s,
        )  # fmt: skip
        self._lent[loan.number] = _Lent(number, nodes)
        try:
            crew.send(member, loan)
        except Lost:
            self._take_back(loan.number)
        else:
            self._held[member.pid] = loan.number

    def _settle(self, wait_s: float) -> None:
        """Take up what has come back, of whatever search; wait_s: for the first."""
        if self.crew is None or not self._held:
            return
        for member in self.crew.ready(wait_s):
            number = self._held.pop(member.pid)
            try:
                settlement: Settlement = self.crew.receive(member)
            except Lost:
                self._take_back(number)
            else:
                self._merge(settlement)

    def _take_back(self, number: int) -> None:
        """The boxes of a lost loan are open, as they were."""
        search = self.searches[self._lent.pop(number).search]
        for block in search.returned(number):
            search.push(block)

    def _merge(self, settlement: Settlement) -> None:
        lent = self._lent.pop(settlement.number)
        assert lent.search == settlement.search, f"loan {settlement.number} is of another search"
        search = self.searches[lent.search]
        wanted = {int(case) for block in search.returned(settlement.number) for case in block.case}
        shifts: dict[int, tuple[list[int], int]] = {}
        for case in wanted:
            forest, nodes = settlement.forests[case], lent.nodes[case]
            _require_open(settlement, case)
            shifts[case] = nodes, search.trees[case].graft(nodes, forest)

        def place(case: int, node: int) -> int:
            nodes, shift = shifts[case]
            return nodes[node] if node < len(nodes) else node + shift

        for block in settlement.open:
            kept = block.take(np.isin(block.case, list(wanted)))
            node = np.array([place(*pair) for pair in zip(kept.case.tolist(), kept.node.tolist(), strict=True)])
            search.push(replace(kept, node=node.astype(np.int64)))
        search.stuck += [(case, place(case, node)) for case, node in settlement.stuck if case in wanted]
        search.left_over += [box for box in settlement.left_over if box[0] in wanted]
        if search.sieve is not None:
            search.sieve.found += [gap for gap in settlement.gaps if gap.case in wanted]
        self._count(search, settlement)
        self._met.setdefault(lent.search, []).extend(settlement.candidates)

    def _count(self, search: Search, settlement: Settlement) -> None:
        p = search.progress
        self.boxes += settlement.boxes
        p.boxes += settlement.boxes
        p.leaves += settlement.leaves
        p.rules.update(settlement.rules)
        p.closest = min(p.closest, settlement.closest)

    def _serve(self, loan: Loan, recalled: Callable[[], bool]) -> Settlement:
        """In a helper: the searches are those that there were when it was forked."""
        search = self.searches[loan.search]
        settlement = settle(search, loan, recalled)
        if search.sieve is not None:
            search.sieve.found.clear()
        return settlement

    def close(self) -> None:
        """Let the helpers go; loans that are not settled are open, as they were."""
        if self.crew is not None:
            self.crew.close()
            self.lost = self.crew.lost
        self._held.clear()
        for number in list(self._lent):
            self._take_back(number)


def _numbered(block: Block, nodes: dict[int, list[int]]) -> Block:
    """The block with its nodes as roots of a forest for each case; `nodes` gets what they were."""
    roots = []
    for case, node in zip(block.case.tolist(), block.node.tolist(), strict=True):
        own = nodes.setdefault(case, [])
        roots.append(len(own))
        own.append(node)
    return replace(block, node=np.array(roots, dtype=np.int64))


def _require_open(settlement: Settlement, case: int) -> None:
    """Every open leaf of a case's forest is among the boxes that are said to be open."""
    told = sum(int((block.case == case).sum()) for block in settlement.open)
    told += sum(1 for own, _ in settlement.stuck if own == case)
    found = settlement.forests[case].open_leaves
    assert found == told, f"{found} leaves of case {case} are open, {told} boxes are said to be"
