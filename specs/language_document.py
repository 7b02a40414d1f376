"""A specification as a VNN-LIB 2.0 file: every call is a network, and calls of one network are equal to its first.

One call is the network N with the tensors X and Y; several are f1, f2, ... with X_f1, Y_f1, ...; several tensors of one
kind are numbered.  The assertions are the normal form, so the file reads back as the same property (atoms with numbers
that are no decimals as positive multiples).  A network with an affine map in front of it is about the reals, so then
all tensors are declared real.
"""

from __future__ import annotations

from collections.abc import Sequence

from farkas.specs.language_inputs import Copy
from farkas.specs.language_property import NormalForm
from farkas.specs.vnnlib2_document import EQUAL_TO, NetworkDeclaration, Tensor, make_network
from farkas.specs.vnnlib2_writer import write_document


def names(copies: Sequence[Copy]) -> list[str]:
    """The names of the calls' networks."""
    return ["N"] if len(copies) == 1 else [f"f{number}" for number in range(1, len(copies) + 1)]


def models(copies: Sequence[Copy]) -> list[int]:
    """For every call the first one of the same network, with the same maps in front of it."""
    return [next(k for k, first in enumerate(copies) if first.is_like(copy)) for copy in copies]


def document(normal: NormalForm, *, real: bool = False) -> str:
    """The text of the file; real: all tensors are declared so, even where the networks could be executed."""
    calls, real = names(normal.copies), real or normal.is_real_only
    declared: list[NetworkDeclaration] = []
    starts = (0, 0)
    for number, (copy, model) in enumerate(zip(normal.copies, models(normal.copies), strict=True)):
        relation = (EQUAL_TO, calls[model]) if model != number else ("", "")
        tensors = _tensors(copy, "" if len(calls) == 1 else f"_{calls[number]}", real)
        declared.append(make_network(calls[number], tensors, starts, *relation))
        starts = starts[0] + len(copy.slots), starts[1] + copy.application.size
    return write_document(normal.property, declared)


def _tensors(copy: Copy, suffix: str, real: bool) -> list[Tensor]:
    graph = copy.application.network.graph
    prefixed = {prefix.number: (len(prefix.entries),) for prefix in copy.prefixes}
    found = []
    for kind, letter, tensors in (("input", "X", [name for name, _ in graph.inputs]), ("output", "Y", graph.outputs)):
        for number, name in enumerate(tensors):
            element = "real" if real else graph.elements.get(name, graph.dtype)
            shape = prefixed.get(number, tuple(graph.shapes[name])) if kind == "input" else tuple(graph.shapes[name])
            own = f"{letter}{number + 1 if len(tensors) > 1 else ''}{suffix}"
            found.append(Tensor(kind, own, element, shape))
    return found
