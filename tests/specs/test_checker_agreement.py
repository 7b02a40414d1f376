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


def plain(atom: Atom | checker_query.Atom) -> tuple[object, ...]:
    return atom.x, atom.y, atom.c, atom.strict


def assert_same(ours: Property, theirs: checker_query.Property) -> None:
    assert (ours.inputs, ours.outputs) == (theirs.inputs, theirs.outputs)
    assert bool(ours.vacuous) == bool(theirs.vacuous)  # messages for people; one may stand for several conjunctions
    assert len(ours.cases) == len(theirs.cases)
    for our, their in zip(ours.cases, theirs.cases, strict=True):
        assert our.lower == their.lower
        assert our.upper == their.upper
        assert [list(map(plain, atoms)) for atoms in our.disjuncts] == [
            list(map(plain, atoms)) for atoms in their.disjuncts
        ]


@given(queries(), gaps)
def test_both_readers_give_the_same_normal_form_of_random_properties(query: Query, gaps: list[str]) -> None:
    data = query.text(gaps).encode()
    ours, theirs = read_property(data), checked.read_property(data)
    assert [case.lower for case in ours.cases] == [case.lower for case in theirs.cases]
    assert_same(ours, theirs)


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
