"""A property as the text of a VNN-LIB 1.0 file that reads back as the same normal form (`farkas.specs.assertions`).

The variables are X_0, X_1, ... and Y_0, Y_1, ...; products of variables, of which VNN-LIB 1.0 says nothing, are written
as such, and read back here.  Which properties other tools read is narrower than the format: a box, and comparisons of
outputs (`is_plain`); `farkas.saving` brings the others to that form.
"""

from __future__ import annotations

from collections.abc import Iterable

from farkas.specs.assertions import Labels, assertions
from farkas.specs.query import Atom, Property


def write_property(prop: Property, comments: Iterable[str] = ()) -> str:
    """The text of the file, with comments at its beginning."""
    x, y = [f"X_{i}" for i in range(prop.inputs)], [f"Y_{j}" for j in range(prop.outputs)]
    lines = [f"; {line}" for comment in comments for line in comment.splitlines()]
    lines += [f"(declare-const {name} Real)" for name in (*x, *y)]
    return "\n".join([*lines, "", *assertions(prop, Labels.of(prop, x, y), flat=True)]) + "\n"


def is_plain(prop: Property) -> bool:
    """Whether all that is said of the inputs is their boxes."""
    return not prop.monomials and all(
        is_plain_atom(atom) for case in prop.cases for atoms in case.disjuncts for atom in atoms
    )


def is_plain_atom(atom: Atom) -> bool:
    """Whether an atom is about outputs alone, or a strict bound of one input."""
    return not atom.x or (len(atom.x) == 1 and not atom.y)
