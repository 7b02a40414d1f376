"""A property as the text of a VNN-LIB 2.x file that reads back as the same normal form.

Bounds come first, then the disjuncts; several cases are one `or`.  A number that is no finite decimal is avoided by
scaling its comparison, so a disjunct's atom comes back as a positive multiple of itself, and everything else as it was.
What a disjunct without atoms says is written `(<= 0.0 0.0)`, and a property without cases as bounds that contradict
each other.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import lcm, prod

from farkas.specs.query import Atom, Case, Property, Terms
from farkas.specs.vnnlib2_document import Document, NetworkDeclaration, Tensor, make_network
from farkas.specs.witness import exact_decimal

TRUE = "(<= 0.0 0.0)"


def one_network(
    inputs: Sequence[int], outputs: Sequence[int], element: str = "float32", name: str = "N"
) -> NetworkDeclaration:
    """The declaration of a network `name` with the input X and the output Y of these shapes."""
    tensors = Tensor("input", "X", element, tuple(inputs)), Tensor("output", "Y", element, tuple(outputs))
    return make_network(name, tensors, (0, 0))


def write_document(prop: Property, networks: Sequence[NetworkDeclaration], version: str = "2.0") -> str:
    """The text of a file about these networks, whose inputs and outputs are those of the property, in order.

    Raises ValueError when the sizes differ.
    """
    names = Document(version, tuple(networks), ())
    if (names.inputs, names.outputs) != (prop.inputs, prop.outputs):
        found = f"{names.inputs} inputs and {names.outputs} outputs are declared"
        raise ValueError(f"{found}, but the property has {prop.inputs} and {prop.outputs}")
    lines = [f"(vnnlib-version <{version}>)", ""]
    for network in networks:
        lines += _declaration(network)
    return "\n".join([*lines, "", *_assertions(prop, _Labels(names, prop))]) + "\n"


class _Labels:
    """The names of all elements, by index; those of monomials, behind the outputs, are their factors in a row."""

    def __init__(self, document: Document, prop: Property) -> None:
        self.x, self.y = (
            [t.label(offset) for t in document.tensors if t.kind == kind for offset in range(prod(t.shape))]
            for kind in ("input", "output")
        )
        names = self.x + self.y
        self.y += [" ".join(names[k] for k in factors) for factors in prop.monomials]
        self.products = range(prop.outputs, prop.columns)


def _declaration(network: NetworkDeclaration) -> Iterator[str]:
    yield f"(declare-network {network.name}"
    if network.relation:
        yield f"    ({network.relation} {network.other})"
    for t in network.tensors:
        name = f' "{t.onnx_name}"' if t.onnx_name else ""
        yield f"    (declare-{t.kind} {t.name} {t.element} [{','.join(map(str, t.shape))}]{name})"
    yield ")"


def _assertions(prop: Property, labels: _Labels) -> Iterator[str]:
    if not prop.cases:
        for name in labels.x:
            yield f"(assert (and (>= {name} 1.0) (<= {name} 0.0)))"
    elif len(prop.cases) == 1:
        (case,) = prop.cases
        yield from (f"(assert {bound})" for bound in _bounds(case, labels))
        if len(case.disjuncts) == 1:
            yield from (f"(assert {_atom(atom, labels)})" for atom in case.disjuncts[0])
        else:
            yield f"(assert {_unsafe(case, labels)})"
    else:
        cases = (f"    (and {' '.join(_bounds(case, labels))} {_unsafe(case, labels)})" for case in prop.cases)
        yield "(assert (or\n" + "\n".join(cases) + "\n))"


def _unsafe(case: Case, labels: _Labels) -> str:
    disjuncts = [" ".join(_atom(atom, labels) for atom in atoms) or TRUE for atoms in case.disjuncts]
    return "(or " + " ".join(f"(and {text})" for text in disjuncts) + ")"


def _bounds(case: Case, labels: _Labels) -> Iterator[str]:
    for name, low, high in zip(labels.x, case.lower, case.upper, strict=True):
        for operator, end in ((">=", low), ("<=", high)):
            factor = _rest(end)
            yield f"({operator} {_term(name, Fraction(factor))} {exact_decimal(end * factor)})"


def _atom(atom: Atom, labels: _Labels) -> str:
    terms: Terms = (*atom.x, *atom.y)
    factor = lcm(_rest(atom.c), *(_rest(a) for _, a in terms))
    words = [_term(labels.x[i], a * factor) for i, a in atom.x]
    words += [_term(labels.y[j], a * factor, is_product=j in labels.products) for j, a in atom.y]
    left = "0.0" if not words else words[0] if len(words) == 1 else f"(+ {' '.join(words)})"
    return f"({'<' if atom.strict else '<='} {left} {exact_decimal(atom.c * factor)})"


def _term(name: str, coefficient: Fraction, *, is_product: bool = False) -> str:
    if is_product:
        return f"(* {name})" if coefficient == 1 else f"(* {exact_decimal(coefficient)} {name})"
    if coefficient == 1:
        return name
    return f"(- {name})" if coefficient == -1 else f"(* {exact_decimal(coefficient)} {name})"


def _rest(value: Fraction) -> int:
    """The part of the denominator that has no factor 2 or 5."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest
