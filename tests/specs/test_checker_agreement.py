"""The reader and the checker's own reader, written apart from each other, give the same cases and atoms.

Certificates name cases, disjuncts and atoms by position, so the order has to agree too.
"""

from pathlib import Path

import pytest
from hypothesis import given

from farkas.checker import property as checked
from farkas.checker import query as checker_query
from farkas.specs.query import Atom, Property
from farkas.specs.tokens import decompressed
from farkas.specs.vnnlib import read_property
from tests.specs.formulas import Query, gaps, queries


def plain(atom: Atom, prop: Property) -> tuple[object, ...]:
    """The atom as the checker has it: products by their factors, 2 i for X_i and 2 j + 1 for Y_j."""
    linear = tuple((j, b) for j, b in atom.y if j < prop.outputs)
    products = [(prop.monomials[j - prop.outputs], b) for j, b in atom.y if j >= prop.outputs]
    keys = [(tuple(sorted(2 * k if k < prop.inputs else 2 * (k - prop.inputs) + 1 for k in m)), b) for m, b in products]
    return atom.x, linear, atom.c, atom.strict, tuple(sorted(keys))


def their_plain(atom: checker_query.Atom) -> tuple[object, ...]:
    return atom.x, atom.y, atom.c, atom.strict, atom.products


def assert_same(ours: Property, theirs: checker_query.Property) -> None:
    assert (ours.inputs, ours.outputs) == (theirs.inputs, theirs.outputs)
    assert bool(ours.vacuous) == bool(theirs.vacuous)  # messages for people; one may stand for several conjunctions
    assert len(ours.cases) == len(theirs.cases)
    for our, their in zip(ours.cases, theirs.cases, strict=True):
        assert our.lower == their.lower
        assert our.upper == their.upper
        assert [[plain(atom, ours) for atom in atoms] for atoms in our.disjuncts] == [
            list(map(their_plain, atoms)) for atoms in their.disjuncts
        ]


@given(queries(), gaps)
def test_both_readers_give_the_same_normal_form_of_random_properties(query: Query, gaps: list[str]) -> None:
    data = query.text(gaps).encode()
    ours, theirs = read_property(data), checked.read_property(data)
    assert [case.lower for case in ours.cases] == [case.lower for case in theirs.cases]
    assert_same(ours, theirs)


@given(queries(polynomial=True), gaps)
def test_both_readers_multiply_alike(query: Query, gaps: list[str]) -> None:
    data = query.text(gaps).encode()
    assert_same(read_property(data), checked.read_property(data))


@pytest.mark.vnncomp
def test_both_readers_give_the_same_normal_form_of_public_properties(vnncomp: Path) -> None:
    categories = [folder for folder in sorted(vnncomp.glob("*/vnnlib")) if not folder.parent.name.startswith("vnnlib2")]
    files = [path for folder in categories for path in _ends(sorted(folder.rglob("*.vnnlib*")))]
    assert len(files) > 20
    for path in files:
        data = decompressed(path.read_bytes())
        assert_same(read_property(data), checked.read_property(data))


def _ends(files: list[Path]) -> list[Path]:
    """The first and the last: enough of each category, and they differ most."""
    return files[:: max(1, len(files) - 1)]
