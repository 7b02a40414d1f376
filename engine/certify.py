"""From a closed tree to an accepted certificate; the only module that talks to the checker.

`unsat` with a certificate is claimed only after the accelerated exact tier has accepted the very bytes that are handed
out.  The search closes its leaves with a margin for what the checker loses by flooring; a leaf that it does not confirm
all the same is reopened and cut further, until the whole tree closes in integers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from farkas.engine.bab import INTERMEDIATE, Block, Search
from farkas.engine.budget import Budget, OutOfTime
from farkas.engine.problem import bisect
from farkas.engine.query import Query
from farkas.engine.tree import Bisect, ClosedTree, Closing, Leaf, LeafKind, ProofTree, close
from farkas.engine.verdict import Holds, Reason, Unknown, Verdict, Violated
from farkas.runtime_cuda.crown import Propagator

if TYPE_CHECKING:
    from farkas.checker.container import Header
    from farkas.checker.query import Query as IntegerQuery

REPAIRS = 12  # rounds of repair; one bisection of each failing leaf in each


def beyond_checker(network: bytes) -> str | None:
    """Why the checker cannot read this network, or None when it can."""
    from farkas.checker.errors import CheckerError
    from farkas.checker.integer import integer_network
    from farkas.checker.network import read_network

    try:
        integer_network(read_network(network))
    except CheckerError as error:
        return str(error)
    return None


def certify_holds(query: Query, verdict: Holds, searches: Sequence[Search], budget: Budget) -> Verdict:
    """`verdict` with an accepted certificate, or Unknown when the checker does not accept one in time."""
    if verdict.evidence != "checkable":
        return Unknown(
            Reason.UNCERTIFIED,
            f"no certificate can be written: {beyond_checker(query.network)}",
            query.semantics,
            verdict.warnings,
        )
    from farkas.checker.check import load_query

    integer, _, _ = load_query(query.network, query.property_bytes, query.semantics.value)
    owner = {m: tree for search in searches for m, tree in zip(search.family.members, search.trees, strict=True)}
    trees = [owner[number] for number in range(len(query.property.cases))]
    for _ in range(REPAIRS):
        proof = close(trees)
        certificate = encode(query, integer, proof)
        failing = _failing(certificate, query, integer, proof)
        if failing is None:
            return Holds(proof, verdict.semantics, "certified", verdict.warnings, certificate)
        try:
            if not _repair(failing, trees, searches, budget):
                break
        except OutOfTime:
            break
    reason = Reason.TIMEOUT if budget.is_spent else Reason.UNCERTIFIED
    return Unknown(reason, "the checker did not accept every leaf of the proof tree", query.semantics, verdict.warnings)


def _failing(certificate: bytes, query: Query, integer: IntegerQuery, proof: ClosedTree) -> list[int] | None:
    """None when the accelerated checker accepts; else the failing leaves in preorder over all cases."""
    from farkas.checker.check import check
    from farkas.checker.errors import CertificateRejected
    from farkas.checker.tree import failing_leaves, parse_tree
    from farkas.checker_fast.kernel import accelerated_kernel

    kernel = accelerated_kernel()
    try:
        check(
            certificate,
            query.network,
            query.property_bytes,
            semantics=query.semantics.value,
            verdict="unsat",
            kernel=kernel,
        )
    except CertificateRejected:
        kinds, payload = flatten(proof, query.property.inputs)
        tree = parse_tree(payload, len(proof.trees), query.property.inputs, len(kinds))
        entries = [tuple((c.rule, c.atoms) for c in kind) for kind in kinds]
        return failing_leaves(integer, entries, tree, INTERMEDIATE, kernel)
    return None


def flatten(proof: ClosedTree, inputs: int) -> tuple[list[LeafKind], bytes]:
    """Leaf kinds over all trees, and the TREE payload: LEB128 opcodes in preorder."""
    kinds: list[LeafKind] = []
    index: dict[LeafKind, int] = {}
    payload = bytearray()
    for tree in proof.trees:
        for step in tree.steps:
            if isinstance(step, Bisect):
                opcode = step.dimension
            else:
                assert isinstance(step, Leaf), f"crown-fp-1 knows no {step}"
                reasons = tree.kinds[step.kind]
                if reasons not in index:
                    index[reasons] = len(kinds)
                    kinds.append(reasons)
                opcode = inputs + index[reasons]
            while opcode >= 0x80:
                payload.append(opcode & 0x7F | 0x80)
                opcode >>= 7
            payload.append(opcode)
    return kinds, bytes(payload)


def _repair(failing: Sequence[int], trees: Sequence[ProofTree], searches: Sequence[Search], budget: Budget) -> bool:
    """Reopen the failing leaves, bisect each once, and search on below; whether all closed.

    Bisecting, not a larger margin: a leaf mostly fails because a slope, a multiple of 1/256, was rounded the other way
    from bounds that differ in the last bits, which no margin foresees.
    """
    leaves: list[tuple[int, int]] = []
    for number, tree in enumerate(trees):
        leaves.extend((number, node) for node, step in tree.preorder() if isinstance(step, Leaf))
    owner = {m: (search, i) for search in searches for i, m in enumerate(search.family.members)}
    for position in failing:
        number, node = leaves[position]
        search, case = owner[number]
        trees[number].reopen(node)
        search.cut(restore(search, case, node), budget)
    for search in searches:
        for _ in search.rounds(budget):
            pass
        if not search.is_done or search.stuck:
            return False
    return True


def restore(search: Search, case: int, node: int) -> Block:
    """The block of one tree node: its box and the bounds in force at its parent, derived again along the path."""
    tree, family = search.trees[case], search.family
    x_lower, x_upper = family.lower[case : case + 1].copy(), family.upper[case : case + 1].copy()
    lower = np.full((1, search.net.width), -np.inf)
    upper = -lower
    worker = Propagator(search.net, INTERMEDIATE)
    asarray, to_numpy = search.net.backend.asarray, search.net.backend.to_numpy
    path = tree.path(node)
    for here, child in pairwise(path):
        refined = worker.refine(asarray(x_lower), asarray(x_upper), asarray(lower), asarray(upper))
        lower, upper = to_numpy(refined.lower), to_numpy(refined.upper)
        branch, first_child = tree.branch(here)
        assert isinstance(branch, Bisect), f"the search by input splitting made no {branch}"
        first, second = bisect(x_lower, x_upper, search.binary32)
        if child == first_child:
            x_upper[:, branch.dimension] = first[:, branch.dimension]
        else:
            x_lower[:, branch.dimension] = second[:, branch.dimension]
    index = np.array([case]), np.array([node]), np.array([-np.inf])
    return Block(x_lower, x_upper, lower, upper, *index)


def encode(query: Query, integer: IntegerQuery, proof: ClosedTree) -> bytes:
    """The bytes of an `unsat` certificate (docs/certificate.md)."""
    from farkas.checker import container

    kinds, payload = flatten(proof, query.property.inputs)
    leaves = container.canonical_json([[_reason(closing) for closing in kind] for kind in kinds])
    header = _header(query, integer, "unsat", INTERMEDIATE, proof.leaves)
    return container.encode(header, [(container.LEAVES, leaves), (container.TREE, payload)])


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
        integer, _, _ = load_query(query.network, query.property_bytes, query.semantics.value)
        certificate = container.encode(
            _header(query, integer, "sat", (), 0), [(container.POINT, container.canonical_json(point))]
        )
        check(certificate, query.network, query.property_bytes, semantics=query.semantics.value, verdict="sat")
    except CheckerError as error:
        # The verdict stands on its replay; only the file is missing, and the user is told why.
        return replace(verdict, warnings=(*verdict.warnings, f"no certificate was written: {error}"))
    return replace(verdict, certificate=certificate)


def _header(query: Query, integer: IntegerQuery, verdict: str, intermediate: tuple[int, ...], leaves: int) -> Header:
    from farkas import __version__
    from farkas.checker.container import Header
    from farkas.checker.query import query_hash

    return Header(
        cases=len(integer.cases),
        intermediate=intermediate,
        leaves=leaves,
        networks=(("", hashlib.sha256(query.network).hexdigest()),),
        off_grid=integer.off_grid,
        producer=f"farkas {__version__}",
        property=hashlib.sha256(query.property_bytes).hexdigest(),
        query=query_hash(integer),
        semantics=query.semantics.value,
        verdict=verdict,
    )


def _reason(closing: Closing) -> list[Any]:
    return [closing.rule, [list(pair) for pair in sorted(closing.atoms)]]
