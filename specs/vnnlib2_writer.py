"""A property as the text of a VNN-LIB 2.x file that reads back as the same normal form (`farkas.specs.assertions`)."""

from collections.abc import Iterator, Sequence

from farkas.specs.assertions import Labels, assertions
from farkas.specs.query import Property
from farkas.specs.vnnlib2_document import Document, NetworkDeclaration, Tensor, make_network


def one_network(
    inputs: Sequence[int], outputs: Sequence[int], element: str = "float32", name: str = "N"
) -> NetworkDeclaration:
    """The declaration of a network `name` with the input X and the output Y of these shapes."""
    tensors = Tensor("input", "X", element, tuple(inputs)), Tensor("output", "Y", element, tuple(outputs))
    return make_network(name, tensors, (0, 0))


def write_document(prop: Property, networks: Sequence[NetworkDeclaration], version: str = "2.0") -> str:
    """The text of a file about these networks, whose inputs and outputs are those of the property, in order (hidden
    tensors behind the outputs of their network).

    Raises ValueError when the sizes differ.
    """
    names = Document(version, tuple(networks), ())
    if (names.inputs, names.outputs) != (prop.inputs, prop.outputs):
        found = f"{names.inputs} inputs and {names.outputs} outputs are declared"
        raise ValueError(f"{found}, but the property has {prop.inputs} and {prop.outputs}")
    lines = [f"(vnnlib-version <{version}>)", ""]
    for network in networks:
        lines += _declaration(network)
    return "\n".join([*lines, "", *assertions(prop, _labels(prop, names))]) + "\n"


def _labels(prop: Property, document: Document) -> Labels:
    """The names of all elements of X and Y."""
    x = [t.label(k) for network in document.networks for t in network.inputs for k in range(t.size)]
    y = [t.label(k) for network in document.networks for t in network.results for k in range(t.size)]
    return Labels.of(prop, x, y)


def _declaration(network: NetworkDeclaration) -> Iterator[str]:
    yield f"(declare-network {network.name}"
    if network.relation:
        yield f"    ({network.relation} {network.other})"
    for t in network.tensors:
        name = f' "{t.onnx_name}"' if t.onnx_name else ""
        yield f"    (declare-{t.kind} {t.name} {t.element} [{','.join(map(str, t.shape))}]{name})"
    yield ")"
