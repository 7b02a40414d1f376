"""Public networks: a proof by the small producer, and forgeries on instances that are known to be sat."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import pytest

from farkas.checker import tree
from farkas.checker.check import check, decompressed
from farkas.checker.errors import CertificateRejected
from tests.checker.nets import Claim, assemble, prove, single_atom_kinds

pytestmark = pytest.mark.vnncomp


def rows(folder: Path, expected: str) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="") as file:
        return [r for r in csv.DictReader(file) if r["category"] == "acasxu_2023" and r["expected"] == expected]


def claim(folder: Path, row: dict[str, str], semantics: str) -> Claim:
    network, prop = ((folder / row[name]).read_bytes() for name in ("onnx", "vnnlib"))
    return Claim(decompressed(network, "network"), decompressed(prop, "property"), semantics)


@pytest.mark.parametrize("semantics", ["f32-any", "real"])
def test_a_known_unsat_instance_is_proved(vnncomp: Path, semantics: str) -> None:
    (row,) = [r for r in rows(vnncomp, "unsat") if "_4_6_" in r["onnx"] and r["vnnlib"].endswith("prop_4.vnnlib.gz")]
    c = claim(vnncomp, row, semantics)
    certificate, closed = prove(c, rules=(0,), depth=6)
    assert closed
    zipped = (vnncomp / row["onnx"]).read_bytes()
    assert check(certificate, zipped, c.prop, semantics=semantics, verdict="unsat").leaves < 10


def test_forged_trees_of_any_size_for_known_sat_instances_are_rejected(vnncomp: Path) -> None:
    for row, depth in zip(itertools.islice(rows(vnncomp, "sat"), 0, None, 12), itertools.cycle(range(5)), strict=False):
        c = claim(vnncomp, row, "f32-any")
        query = c.query()
        n = query.network.sizes[0]
        if any(len(case.disjuncts) != 1 for case in query.cases):
            kinds: list[tree.Kind] = [tuple((0, ((0, 1),)) for _ in query.cases[0].disjuncts)]
        else:
            kinds = single_atom_kinds(query, (0, 1))
        leaf = [n + d % len(kinds) for d in range(2**depth)]
        opcodes = [op for _ in query.cases for op in _full(n, depth, leaf)]
        with pytest.raises(CertificateRejected):
            check(assemble(c, opcodes, kinds), c.network, c.prop)


def _full(inputs: int, depth: int, leaves: list[int]) -> list[int]:
    """A full tree that bisects the inputs in turn, with these leaves from left to right."""
    out: list[int] = []
    stack, rest = [0], iter(leaves)
    while stack:
        level = stack.pop()
        out.append(level % inputs if level < depth else next(rest))
        if level < depth:
            stack += [level + 1, level + 1]
    return out
