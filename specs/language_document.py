"""A specification as a VNN-LIB 2.0 file: every call is a network, and calls of one network are equal to its first.

One call is the network N with the tensors X and Y; several are f1, f2, ... with X_f1, Y_f1, ...; several tensors of one
kind are numbered.  The assertions are the normal form, so the file reads back as the same property (atoms with numbers
that are no decimals as positive multiples).
"""

from __future__ import annotations

from collections.abc import Sequence

from farkas.specs.language_forms import Application
from farkas.specs.language_property import NormalForm
from farkas.specs.vnnlib2_document import EQUAL_TO, NetworkDeclaration, Tensor, make_network
from farkas.specs.vnnlib2_writer import write_document


def names(applications: Sequence[Application]) -> list[str]:
    """The names of the calls' networks."""
    return ["N"] if len(applications) == 1 else [f"f{number}" for number in range(1, len(applications) + 1)]


def models(applications: Sequence[Application]) -> list[int]:
    """For every call the first one of the same network."""
    return [next(k for k, first in enumerate(applications) if first.network is a.network) for a in applications]


def document(normal: NormalForm) -> str:
    """The text of the file."""
    calls = names(normal.applications)
    declared: list[NetworkDeclaration] = []
    starts = (0, 0)
    for number, (application, model) in enumerate(zip(normal.applications, models(normal.applications), strict=True)):
        relation = (EQUAL_TO, calls[model]) if model != number else ("", "")
        tensors = _tensors(application, "" if len(calls) == 1 else f"_{calls[number]}")
        declared.append(make_network(calls[number], tensors, starts, *relation))
        starts = starts[0] + len(application.arguments), starts[1] + application.size
    return write_document(normal.property, declared)


def _tensors(application: Application, suffix: str) -> list[Tensor]:
    graph = application.network.graph
    found = []
    for kind, letter, tensors in (("input", "X", [name for name, _ in graph.inputs]), ("output", "Y", graph.outputs)):
        for number, name in enumerate(tensors, start=1):
            element = graph.elements.get(name, graph.dtype)
            own = f"{letter}{number if len(tensors) > 1 else ''}{suffix}"
            found.append(Tensor(kind, own, element, tuple(graph.shapes[name])))
    return found
