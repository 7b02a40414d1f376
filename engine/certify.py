"""From a closed tree to an accepted certificate; the only module that talks to the checker.

`unsat` with a certificate is claimed only after the accelerated exact tier has accepted the very bytes that are handed
out.  The search closes its leaves with a margin for what the checker loses by flooring; a leaf that it does not confirm
all the same is reopened and cut further, until the whole tree closes in integers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from farkas.engine.bab import INTERMEDIATE
from farkas.engine.budget import Budget, OutOfTime
from farkas.engine.certificate_writer import CROWN_1, Shape, frames, renumbered, rule_of
from farkas.engine.query import Query
from farkas.engine.repair import Proved, below, leaf_nodes, repair
from farkas.engine.timed_kernel import TimedKernel
from farkas.engine.tree import OPEN, ClosedTree, ProofTree, close
from farkas.engine.verdict import Holds, Reason, Unknown, Verdict, Violated
from farkas.ir.core import Affine, Program, Relu
from farkas.ir.joined import Part
from farkas.ir.linear import Dense, Diagonal, Selection

if TYPE_CHECKING:
    from farkas.checker.container import Header
    from farkas.checker.query import Query as IntegerQuery

BEYOND_RULES = "of products its rules use ellipsoids of inputs only, and this property needs others"
REPAIRS = 12  # rounds of repair; one cut of each failing leaf in each


def beyond_checker(networks: bytes | Sequence[Part]) -> str | None:
    """Why the checker cannot read a network, or all of those of a query; None when it can."""
    from farkas.checker.errors import CheckerError
    from farkas.checker.integer import check_size
    from farkas.checker.network import read_networks

    try:
        program, _ = read_networks([("", networks)] if isinstance(networks, bytes) else by_name(networks))
        check_size(program)
    except CheckerError as error:
        return str(error)
    return None


def by_name(parts: Sequence[Part]) -> list[tuple[str, bytes]]:
    """The networks as the checker takes them and certificates list them: one alone goes without its name."""
    return [(part.name if len(parts) > 1 else "", part.data) for part in parts]


def certify_holds(
    query: Query, verdict: Holds, proved: Mapping[int, Proved], budget: Budget, threads: int = 1
) -> Verdict:
    """`verdict` with an accepted certificate, or Unknown when the checker does not accept one in time.

    proved: for every case of the property whose tree proves it, and the search that can repair it.
    """
    if verdict.evidence != "checkable":
        why = beyond_checker(query.parts) or BEYOND_RULES
        return _uncertified(query, verdict, f"no certificate can be written: {why}")
    from farkas.checker.check import load_query
    from farkas.checker.errors import CertificateRejected

    integer, _, _ = load_query(by_name(query.parts), query.property_bytes, query.semantics.covering.value)
    trees = [proved[number].tree for number in range(len(query.property.cases))]
    atoms = tuple(proved[number].atoms for number in range(len(trees)))
    checking = Checking(query, integer, shape_of(query.lowered), budget, threads, atoms)
    obstacle = checking.obstacle(close(trees))
    if obstacle is not None:
        return _uncertified(query, verdict, obstacle)
    try:
        found = _accepted(checking, trees, proved, budget)
    except OutOfTime:
        closed = f"all {verdict.tree.leaves} leaves are closed"
        detail = f"{closed}, but the checker did not end in time; a longer --timeout helps"
        return _uncertified(query, verdict, detail, Reason.TIMEOUT)
    except CertificateRejected as error:
        return _uncertified(query, verdict, f"the checker rejects what no repair can mend: {error}")
    if found is None:
        detail = "the checker did not accept every leaf of the proof tree"
        return _uncertified(query, verdict, detail, Reason.TIMEOUT if budget.is_spent else Reason.UNCERTIFIED)
    proof, certificate = found
    return Holds(proof, verdict.semantics, "certified", verdict.warnings, certificate)


def _uncertified(query: Query, verdict: Holds, detail: str, reason: Reason = Reason.UNCERTIFIED) -> Unknown:
    return Unknown(reason, detail, query.semantics, verdict.warnings)


def _accepted(
    checking: Checking, trees: Sequence[ProofTree], proved: Mapping[int, Proved], budget: Budget
) -> tuple[ClosedTree, bytes] | None:
    """The closed tree and its certificate as soon as the checker accepts it.

    May raise OutOfTime, and CertificateRejected for what is wrong beside the leaves.  After a repair only what it
    touched is checked, until that closes; then all of the bytes are.
    """
    rounds = 0
    while rounds <= REPAIRS:
        proof = close(trees)
        certificate = checking.encode(proof)
        if checking.accepts(certificate):
            return proof, certificate
        leaves = [(number, node) for number, tree in enumerate(trees) for node in leaf_nodes(tree)]
        failing = [leaves[position] for position in checking.failing(certificate)]
        reopened: dict[int, set[int]] = {}
        while failing and rounds < REPAIRS:
            rounds += 1
            for number, node in failing:
                reopened.setdefault(number, set()).add(node)
            if not repair(failing, proved, budget):
                return None
            failing = _still_failing(checking, trees, reopened)
        if failing:
            return None
    return None


def _still_failing(
    checking: Checking, trees: Sequence[ProofTree], reopened: Mapping[int, set[int]]
) -> list[tuple[int, int]]:
    """(case, node) of the leaves below the reopened nodes that do not close."""
    parts = [below(tree, reopened.get(number, ())) for number, tree in enumerate(trees)]
    leaves = [(number, node) for number, (_, nodes) in enumerate(parts) for node in nodes]
    failing = checking.failing(checking.encode(ClosedTree(tuple(part for part, _ in parts))))
    return [leaves[position] for position in failing if leaves[position][1] != OPEN]


def shape_of(program: Program) -> Shape:
    """Inputs and layers of a program, in the numbering of proof trees."""
    read = {node.source for node in program.nodes if isinstance(node, Relu)}
    layers = [program.sizes[v] for v, node in enumerate(program.nodes) if isinstance(node, Affine) and v in read]
    maps = [term.map for node in program.nodes if isinstance(node, Affine) for term in node.terms]
    return Shape(program.input_size, tuple(layers), all(isinstance(m, Dense | Diagonal | Selection) for m in maps))


@dataclass(frozen=True, eq=False)
class Checking:
    """The accelerated checker at work on one query, within a budget: all of its methods may raise OutOfTime.

    threads: processes that share its waves; atoms: by case and disjunct the atoms that trees speak of, where fewer.
    """

    query: Query
    integer: IntegerQuery
    shape: Shape
    budget: Budget
    threads: int = 1
    atoms: tuple[tuple[tuple[int, ...], ...] | None, ...] = ()

    def obstacle(self, proof: ClosedTree) -> str | None:
        """Why no certificate of this tree can be written; None: one can."""
        from farkas.checker.kernel import neuron_layers

        network = self.integer.network
        layers = tuple(network.sizes[v] for v in neuron_layers(network))
        if rule_of(proof, self.shape) == CROWN_1 or layers == self.shape.layers:
            return None
        return f"the checker finds layers of {layers} neurons, the engine of {self.shape.layers}"

    def encode(self, proof: ClosedTree) -> bytes:
        """The bytes of an `unsat` certificate (docs/certificate.md)."""
        from farkas.checker import container

        parts = frames(renumbered(proof, self.atoms), self.shape)
        payloads = [(container.LEAVES, container.canonical_json(parts.leaves)), (container.TREE, parts.tree)]
        if parts.plan is not None:
            plan = container.canonical_json(parts.plan)
            payloads = [(container.PLAN, plan), (container.VECTORS, parts.vectors), *payloads]
        intermediate = INTERMEDIATE if parts.rule == CROWN_1 else ()
        curved = any(family.ball is not None for family in self.query.families)
        rule = container.CURVED[container.KERNELS.index(parts.rule)] if curved else parts.rule
        header = _header(self.query, self.integer, "unsat", rule, intermediate, proof.leaves)
        return container.encode(header, payloads)

    def accepts(self, certificate: bytes) -> bool:
        from farkas.checker.check import check
        from farkas.checker.errors import CertificateRejected

        files = certificate, by_name(self.query.parts), self.query.property_bytes
        try:
            with self._kernel() as kernel:
                check(*files, semantics=self.query.semantics.covering.value, verdict="unsat", kernel=kernel)
        except CertificateRejected:
            return False
        return True

    def failing(self, certificate: bytes) -> list[int]:
        """The leaves that do not close, in preorder over all cases; may raise CertificateRejected."""
        from farkas.checker import container
        from farkas.checker.walk import failing_leaves, parse_proof

        header, payloads = container.decode(certificate)
        with self._kernel() as kernel:
            return failing_leaves(self.integer, parse_proof(header, payloads, self.integer), kernel)

    @contextmanager
    def _kernel(self) -> Iterator[TimedKernel]:
        from farkas.checker_fast.kernel import accelerated_kernel

        if self.threads == 1:
            yield TimedKernel(accelerated_kernel(), self.budget)
            return
        from farkas.engine.shared_kernel import SharedKernel

        shared = SharedKernel(accelerated_kernel(), self.threads, self.budget)
        try:
            yield TimedKernel(shared, self.budget)
        finally:
            shared.close()


def certify_violated(query: Query, verdict: Violated) -> Violated:
    """`verdict` with the certificate of its replay record, where the checker can read the network and accepts it."""
    from farkas.checker import container
    from farkas.checker.check import check, load_query
    from farkas.checker.errors import CheckerError

    record = verdict.replay
    point = {
        "case": record.case_number,
        "disjunct": record.disjunct,
        "executor": record.executor,
        "input": list(record.input_bits),
        "output": list(record.output_bits),
    }
    try:
        integer, _, _ = load_query(by_name(query.parts), query.property_bytes, query.semantics.covering.value)
        certificate = container.encode(
            _header(query, integer, "sat", CROWN_1, (), 0), [(container.POINT, container.canonical_json(point))]
        )
        files = certificate, by_name(query.parts), query.property_bytes
        check(*files, semantics=query.semantics.covering.value, verdict="sat")
    except CheckerError as error:
        # The verdict stands on its replay; only the file is missing, and the user is told why.
        return replace(verdict, warnings=(*verdict.warnings, f"no certificate was written: {error}"))
    return replace(verdict, certificate=certificate)


def _header(
    query: Query, integer: IntegerQuery, verdict: str, rule: str, intermediate: tuple[int, ...], leaves: int
) -> Header:
    from farkas import __version__
    from farkas.checker.container import Header
    from farkas.checker.query import query_hash

    return Header(
        cases=len(integer.cases),
        intermediate=intermediate,
        leaves=leaves,
        networks=tuple((name, hashlib.sha256(data).hexdigest()) for name, data in by_name(query.parts)),
        off_grid=integer.off_grid,
        producer=f"farkas {__version__}",
        property=hashlib.sha256(query.property_bytes).hexdigest(),
        query=query_hash(integer),
        semantics=query.semantics.covering.value,
        verdict=verdict,
        kernel=rule,
    )
