"""A property file and the networks it is about, brought together: what `verify` and `export` ask.

VNN-LIB 1.0 speaks of one network without a name.  VNN-LIB 2.x declares networks with names, tensors, element types and
shapes, and everything declared has to fit the ONNX files:

- each network has its file, but one that is `equal-to` another shares that one's; nothing is missing or left over;
- inputs and outputs are as many as in the file, in its order; shapes agree but for dimensions of 1;
- hidden tensors have the names of tensors in the file; what is asked about is then the network with these as further
  outputs, its executions included: a runtime that has to return a tensor computes it;
- element types are those of the file, or all are `real`, which asks about the reals (semantics `real`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

from farkas.ir.errors import FarkasError
from farkas.ir.graph import Graph
from farkas.ir.isomorphism import difference
from farkas.ir.joined import Part
from farkas.ir.onnx_import import load_onnx
from farkas.specs.query import Property, Semantics
from farkas.specs.vnnlib2_document import ISOMORPHIC_TO, Document, NetworkDeclaration, Tensor, UnsupportedQuery
from farkas.specs.witness import Named

if TYPE_CHECKING:
    from farkas.engine.query import Query
    from farkas.engine.verdict import Verdict


class NetworkLike(Protocol):
    """What is needed of a network that was read."""

    @property
    def graph(self) -> Graph: ...
    @property
    def data(self) -> bytes: ...


class Mismatch(FarkasError):
    """The property and the networks that were given do not belong together."""


@dataclass(frozen=True)
class Question:
    """parts: the networks in the order in which the property counts them; text: the property's bytes (empty for one
    made in Python); document: what a VNN-LIB 2.x file declares, None for all else."""

    parts: tuple[Part, ...]
    property: Property
    text: bytes = b""
    document: Document | None = None

    def query(self, semantics: Semantics) -> Query:
        from farkas.engine.query import Query

        return Query.of(self.parts, self.property, semantics, self.text)

    def told(self, verdict: Verdict) -> Verdict:
        """The verdict with its witness in the language of the property, and a warning where the property asks about
        another arithmetic."""
        from farkas.engine.verdict import Violated
        from farkas.specs.vnnlib2_assignment import write_assignment

        if self.document is None:
            return verdict
        declared, mode = self.document.tensors[0].element, verdict.semantics
        if self.document.is_real != (mode is Semantics.REAL):
            overridden = (
                f"the property declares its tensors {declared}, but this is about {mode.value}, as was asked for"
            )
            verdict = replace(verdict, warnings=(*verdict.warnings, overridden))
        if not isinstance(verdict, Violated):
            return verdict
        values = verdict.replay.inputs, verdict.replay.runtime_outputs or verdict.replay.outputs
        return replace(
            verdict, assignment=write_assignment(self.document, *values), named=assigned(self.document, *values)
        )


def assigned(document: Document, inputs: Sequence[Fraction], outputs: Sequence[Fraction]) -> tuple[Named, ...]:
    """The values of X and Y by the names of the tensors."""
    found = []
    for tensor in document.tensors:
        values = inputs if tensor.kind == "input" else outputs
        own = tuple(values[tensor.start : tensor.start + tensor.size])
        found.append(Named(tensor.name, tensor.shape, (), own))
    return tuple(found)


def bind(document: Document, given: Mapping[str, NetworkLike]) -> tuple[Part, ...]:
    """The networks that the document declares, from those given by name ("": without a name, for a single file).

    Raises Mismatch, or UnsupportedQuery for what fits but cannot be decided.
    """
    models = [network.name for network in document.networks if network.model == network.name]
    if set(given) == {""} and len(models) == 1:
        given = {models[0]: given[""]}
    _require_all(document.networks, models, given)
    for network in document.networks:
        _fit(network, given[network.model].graph)
    for network in document.networks:
        if network.relation == ISOMORPHIC_TO:
            _fit_structure(network, given[network.other].graph, given[network.name].graph)
    is_named = len(document.networks) > 1
    return tuple(_part(network, given[network.model], is_named=is_named) for network in document.networks)


def _part(declared: NetworkDeclaration, net: NetworkLike, *, is_named: bool) -> Part:
    """The network with its hidden tensors; raises Mismatch where they are not what they are declared to be."""
    name, names = declared.name if is_named else "", tuple(tensor.onnx_name for tensor in declared.hidden)
    if not names:
        return Part(name, net.graph, net.data)
    part, tensors = Part(name, net.graph, net.data, names), {node.name for node in net.graph.nodes}
    for number, tensor in enumerate(declared.hidden):
        line, _ = tensor.place
        what = f"line {line}: the hidden tensor '{tensor.name}' of network '{declared.name}'"
        if tensor.onnx_name in net.graph.outputs:
            raise Mismatch(f"{what} is '{tensor.onnx_name}', an output of the file; use the output in its place")
        if tensor.onnx_name in names[:number]:
            raise Mismatch(f"{what} is '{tensor.onnx_name}', which is declared before; declare it once")
        if tensor.onnx_name not in tensors:
            found = ", ".join(node.name for node in net.graph.nodes[:8] if node.name not in net.graph.outputs)
            raise Mismatch(f"{what} is '{tensor.onnx_name}', but the file computes no such tensor; it has {found}, ...")
    graph = load_onnx(part.executed)
    for tensor, onnx_name in zip(declared.hidden, names, strict=True):
        _fit_tensor(declared.name, tensor, graph, onnx_name)
    return replace(part, graph=replace(graph, sha256=net.graph.sha256))


def _require_all(networks: Sequence[NetworkDeclaration], models: Sequence[str], given: Mapping[str, object]) -> None:
    wanted = " ".join(f"--network {name}=FILE" for name in models)
    missing = [name for name in models if name not in given]
    if "" in given or missing:
        found = ", ".join(name for name in given if name) or "no network by its name"
        names = ", ".join(f"'{name}'" for name in (models if "" in given else missing))
        raise Mismatch(f"found {found}, but the property declares {names}; wanted {wanted}")
    for name in given:
        if name not in models:
            twin = next((network.other for network in networks if network.name == name), None)
            why = f"is declared equal to '{twin}' and shares its file" if twin else "is not declared by the property"
            raise Mismatch(f"found a file for '{name}', which {why}; wanted {wanted}")


def _fit(network: NetworkDeclaration, graph: Graph) -> None:
    """Raises Mismatch where the declaration and the network's file disagree."""
    names = [name for name, _ in graph.inputs], list(graph.outputs)
    for kind, tensors, found in zip(("input", "output"), (network.inputs, network.outputs), names, strict=True):
        if len(tensors) != len(found):
            raise Mismatch(
                f"network '{network.name}' is declared with {len(tensors)} {kind}s, but its file has {len(found)}: "
                f"{', '.join(found)}; declare every one, in this order"
            )
        for tensor, name in zip(tensors, found, strict=True):
            _fit_tensor(network.name, tensor, graph, name)


def _fit_structure(network: NetworkDeclaration, first: Graph, graph: Graph) -> None:
    """Raises Mismatch where the files of isomorphic networks are different graphs."""
    found = difference(first, graph)
    if found is not None:
        line, _ = network.inputs[0].place
        raise Mismatch(
            f"line {line}: network '{network.name}' is declared isomorphic to '{network.other}', whose graph differs: "
            f"{found} (the first is '{network.other}'); without (isomorphic-to {network.other}) any two networks do"
        )


def _fit_tensor(network: str, tensor: Tensor, graph: Graph, name: str) -> None:
    line, _ = tensor.place
    what = f"line {line}: '{tensor.name}' of network '{network}'"
    if tensor.onnx_name and tensor.onnx_name != name:
        raise Mismatch(f'{what} is declared as "{tensor.onnx_name}", but this {tensor.kind} of the file is "{name}"')
    shape = graph.shapes[name]
    if [n for n in shape if n != 1] != [n for n in tensor.shape if n != 1]:
        raise Mismatch(
            f"{what} has shape {list(tensor.shape)}, but '{name}' in the file has {list(shape)}; declare that"
        )
    element = graph.elements.get(name, graph.dtype)
    if tensor.element not in ("real", element):
        raise Mismatch(
            f"{what} is {tensor.element}, but '{name}' in the file is {element}; "
            f"declare it {element}, or all tensors real"
        )
    if tensor.element == "float64":
        raise UnsupportedQuery(
            "found float64, whose executions are not decided; declare all tensors real to ask about the reals",
            *tensor.place,
        )
