"""A whole proof, read from its frames, and the walk that closes every leaf of its trees.

The walk takes nodes in waves, so that a batched kernel has many at once, and among the pending nodes it takes the
smallest subtree first: whoever waits is at most half as large as what it waits under, so that O(wave * log nodes)
states are alive whatever the shape of the tree (a chain of a million nodes too).  Nothing recurses.

A tree node has to refute its *goals*: all disjuncts of its case at the root, and below a fork the part that the child
got.  Its executions are those of its parent (bisection, split: of one half, and the halves miss none), so when every
leaf is closed no execution of the case's box makes all atoms of a disjunct true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any

from farkas.checker import container, ellipsoid
from farkas.checker.errors import CertificateRejected
from farkas.checker.kernel import neuron_layers
from farkas.checker.plan import Plan, Vectors, parse_columns, parse_plan
from farkas.checker.prover import Kernel, PlanProver, Prover, Step
from farkas.checker.query import Box, Claim, Network, Query, bisect
from farkas.checker.tree import Kind, Tree, claim_of, parse_kinds, parse_tree


@dataclass(frozen=True)
class Proof:
    """What an `unsat` certificate says.

    plan, vectors: of crown-fp-2 and crown-fp-4 only; intermediate: of the other two only.  curved: whether boxes have
    the ellipsoids of their cases, by crown-fp-3 and crown-fp-4.
    """

    intermediate: tuple[int, ...]
    kinds: tuple[Kind, ...]
    tree: Tree
    plan: Plan | None = None
    vectors: Vectors | None = None
    curved: bool = False


def parse_proof(header: container.Header, payloads: Mapping[int, bytes], query: Query) -> Proof:
    """The proof in the frames of an `unsat` certificate.  Raises CertificateRejected."""
    leaves = container.parse_json(payloads[container.LEAVES], "LEAVES")
    curved = header.kernel in container.CURVED
    if header.kernel not in container.PLANNED:
        kinds = parse_kinds(leaves)
        tree = parse_tree(payloads[container.TREE], len(query.cases), query.network.sizes[0], len(kinds))
        return Proof(header.intermediate, kinds, tree, curved=curved)
    layers = [query.network.sizes[v] for v in neuron_layers(query.network)]
    stated = container.parse_json(payloads[container.PLAN], "PLAN")
    columns = parse_columns(stated, sum(layers))
    vectors = Vectors(payloads[container.VECTORS], len(columns), sum(layers))
    most = max((len(case.disjuncts) for case in query.cases), default=0)
    plan = parse_plan(stated, layers, most, vectors)
    kinds = parse_kinds(leaves, len(vectors))
    _check_pins(kinds, vectors, query.network)
    tree = parse_tree(
        payloads[container.TREE], len(query.cases), query.network.sizes[0], len(kinds),
        neurons=sum(layers), recipes=len(plan.recipes), forks=len(plan.forks),
    )  # fmt: skip
    return Proof((), kinds, tree, plan, vectors, curved)


def _check_pins(kinds: Sequence[Kind], vectors: Vectors, network: Network) -> None:
    """Rows of the output may pin what lies below it."""
    below = sum(network.sizes[v] for v in neuron_layers(network) if v < network.output)
    for number, kind in enumerate(kinds):
        for rule, _ in kind:
            if rule < 0 and vectors.top(-1 - rule) > below:
                raise CertificateRejected("LEAVES", f"kind {number} pins neurons at or above the output")


def failing_leaves(query: Query, proof: Proof, kernel: Kernel, *, first_only: bool = False) -> list[int]:
    """The leaves (numbered in preorder over all cases) that do not close; none: the property holds.

    first_only: stop at the first wave that has any.  Raises CertificateRejected for what no leaf can repair: a case
    without binary32 points, a bisection of a width-zero dimension, a fork without goals on one side, a kind that does
    not fit its case.
    """
    prover = _prover(query, proof, kernel)
    claims = _Claims(query, proof)
    failing: list[int] = []
    waiting = _roots(query, proof)
    while waiting:
        wave = waiting[-prover.wave :]
        del waiting[-prover.wave :]
        for part in ([n for n in wave if n.state is None], [n for n in wave if n.state is not None]):
            if not part:
                continue
            state = _state(prover, part, proof.vectors)
            leaves: list[int] = []
            for row, node in enumerate(part):
                if proof.tree.opcodes[node.position] < proof.tree.alphabet.leaf:
                    waiting.extend(_children(query, proof, node, state, row))
                else:
                    leaves.append(row)
            closed = prover.close(state, leaves, [claims.of(part[row]) for row in leaves]) if leaves else []
            open_rows = compress(leaves, [not c for c in closed])
            failing += [
                proof.tree.leaf[part[row].position] for row in open_rows if not ellipsoid.misses(part[row].step.box)
            ]
        if failing and first_only:
            break
    return sorted(failing)


def _state(prover: PlanProver[Any], part: Sequence[_Pending], vectors: Vectors | None) -> Any:  # of the kernel
    """The state of some tree nodes: roots, or none of them a root."""
    if part[0].state is None:
        return prover.begin([node.step.box for node in part])
    steps = [node.step for node in part]
    if vectors is not None:
        steps = [s if s.recipe is None else replace(s, recipe=vectors.resolve(s.recipe)) for s in steps]
    return prover.advance(prover.gather([(node.state, node.row) for node in part]), steps)


@dataclass(frozen=True)
class _Pending:
    """A tree node that waits: position, number of positions in its subtree, case, goals, how it comes from its parent.

    state, row: of its parent, None for a root.
    """

    position: int
    size: int
    case: int
    goals: frozenset[int] | None  # None: all disjuncts
    step: Step
    state: Any  # of the kernel
    row: int


class _Bisections:
    """A prover of crown-fp-1 as one of crown-fp-2: all that its steps do is to bisect."""

    def __init__(self, prover: Prover[Any], wave: int) -> None:
        self.wave = wave
        self.gather, self.close = prover.gather, prover.close
        self._prover = prover

    def begin(self, boxes: Sequence[Box]) -> Any:
        return self._prover.derive(self._prover.start(len(boxes)), boxes)

    def advance(self, parents: Any, steps: Sequence[Step]) -> Any:
        return self._prover.derive(parents, [step.box for step in steps])


def _prover(query: Query, proof: Proof, kernel: Kernel) -> PlanProver[Any]:
    if proof.plan is None:
        return _Bisections(kernel.prepare(query.network, query.rounded, proof.intermediate), kernel.wave)
    return kernel.prepare_plan(query.network, query.rounded, proof.plan.columns)


class _Claims:
    """What leaves claim; those of rules, which many leaves share, are made once."""

    def __init__(self, query: Query, proof: Proof) -> None:
        self._query, self._proof = query, proof
        self._known: dict[tuple[int, int, frozenset[int] | None], Claim] = {}

    def of(self, node: _Pending) -> Claim:
        number = self._proof.tree.opcodes[node.position] - self._proof.tree.alphabet.leaf
        kind, case = self._proof.kinds[number], self._query.cases[node.case]
        goals = None if node.goals is None else sorted(node.goals)
        if any(rule < 0 for rule, _ in kind):
            return claim_of(kind, case, goals, self._proof.vectors)
        key = (number, node.case, node.goals)
        if key not in self._known:
            self._known[key] = claim_of(kind, case, goals)
        return self._known[key]


def _roots(query: Query, proof: Proof) -> list[_Pending]:
    tree = proof.tree
    ends = [*tree.roots, len(tree.opcodes)][1:]
    waiting: list[_Pending] = []
    for case, (box, position, end) in enumerate(zip(query.boxes, tree.roots, ends, strict=True)):
        if box is None:
            raise CertificateRejected(f"case {case}", "no binary32 point lies in its box, so nothing can be certified")
        ball = ellipsoid.ball_of(query.cases[case]) if proof.curved else None
        if ball is not None:
            box = ellipsoid.cut(box, ball)
        waiting.append(_Pending(position, end - position, case, None, Step(box, None, None), None, 0))
    waiting.reverse()
    return waiting


def _children(query: Query, proof: Proof, node: _Pending, state: Any, row: int) -> list[_Pending]:
    """The children, the larger subtree first, so that the smaller one is taken up first."""
    tree, opcode = proof.tree, proof.tree.opcodes[node.position]
    first, end = node.position + 1, node.position + node.size
    steps, goals = _steps(query, proof, node, opcode), (node.goals, node.goals)
    if tree.alphabet.fork <= opcode:
        goals = _fork(query, proof, node, opcode - tree.alphabet.fork)
    middle = tree.right[node.position] if len(steps) == 2 else end
    spans = [(first, middle), (middle, end)]
    children = [
        _Pending(start, stop - start, node.case, part, step, state, row)
        for (start, stop), part, step in zip(spans, goals, steps, strict=False)  # a recipe has one step
    ]
    return sorted(children, key=lambda child: -child.size)


def _steps(query: Query, proof: Proof, node: _Pending, opcode: int) -> list[Step]:
    """How the children come from the node."""
    alphabet, box = proof.tree.alphabet, node.step.box
    if opcode < alphabet.inputs:
        halves = bisect(box, opcode, query.rounded)
        if halves is None:
            raise CertificateRejected(f"TREE node {node.position}", "bisects an input that cannot be bisected")
        return [Step(half, None, None) for half in halves]
    if opcode < alphabet.recipe:
        neuron = opcode - alphabet.inputs
        return [Step(box, (neuron, False), None), Step(box, (neuron, True), None)]
    if opcode < alphabet.fork and proof.plan is not None:
        return [Step(box, None, proof.plan.recipes[opcode - alphabet.recipe])]
    return [Step(box, None, None)] * 2


def _fork(query: Query, proof: Proof, node: _Pending, number: int) -> tuple[frozenset[int], frozenset[int]]:
    """The goals of both children."""
    if proof.plan is None:
        raise CertificateRejected(f"TREE node {node.position}", "is a fork, without a plan")
    goals = frozenset(range(len(query.cases[node.case].disjuncts))) if node.goals is None else node.goals
    first = goals & proof.plan.forks[number]
    if not first or first == goals:
        raise CertificateRejected(f"TREE node {node.position}", f"fork {number} leaves a child without a goal")
    return first, goals - first
