"""A witness beside what it is to be compared with: the box it lies in, the box's middle, and the conditions it meets.

Whether a witness violates was decided by exact replay before the run stored it.  Here its printed values are taken once
more: the atoms of the property are evaluated at them in exact rationals, so that a reader sees which condition is met
and by how much.  The middle of the box stands for the input before it was changed; its outputs are computed by the
reference executor in one order of summation, for the picture and for nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from farkas.batch.store import BadStore, Store
from farkas.cli_show import atom_text
from farkas.ir.errors import FarkasError
from farkas.ir.execute import execute
from farkas.reports.facts import Entry
from farkas.reports.sources import Source, Sources, Unreadable, input_labels, output_labels
from farkas.specs.boxes import contains, nearest32
from farkas.specs.errors import MalformedWitness
from farkas.specs.query import Case, Property, Semantics
from farkas.specs.vnnlib2_assignment import read_assignment
from farkas.specs.witness import literal, read_witness

ORDER = "seq-fma"
Values = tuple[Fraction, ...]

# A rational without a finite decimal, as `farkas.specs.witness.literal` writes it; what stands there while it is read.
_QUOTIENT = re.compile(r"(?:\((-) )?\(/ (\d+) ([1-9]\d*)\)(?(1)\))")
NONE = "0e0"


@dataclass(frozen=True)
class Condition:
    """An atom of the property that a witness meets; clean: the value of its left-hand side in the middle of the box."""

    text: str
    value: Fraction
    clean: Fraction | None


@dataclass(frozen=True)
class Shown:
    """A witness with all that a picture of it wants.

    lower, upper: of the box; clean: its middle, in binary32 where the query is, and its outputs, () where they were not
    computed; shape: of the network's one input tensor, () where there are several; note: what is missing, and why.
    """

    entry: Entry
    inputs: Values
    outputs: Values
    input_labels: Sequence[str] = ()
    output_labels: Sequence[str] = ()
    lower: Values = ()
    upper: Values = ()
    clean: Values = ()
    clean_outputs: Values = ()
    conditions: tuple[Condition, ...] = ()
    shape: tuple[int, ...] = ()
    note: str = ""


def shown(entry: Entry, store: Store, sources: Sources) -> Shown | None:
    """The witness of an instance; None where the store has none."""
    sha256 = entry.file("witness")
    if sha256 is None:
        return None
    try:
        inputs, outputs, names = _read(store.read_file(sha256).decode())
    except (BadStore, MalformedWitness, UnicodeDecodeError) as error:
        return Shown(entry, (), (), note=f"The witness cannot be shown: {error}.")
    plain = Shown(entry, inputs, outputs, *names)
    try:
        return _compared(plain, sources.source(entry))
    except Unreadable as error:
        return Shown(entry, inputs, outputs, *names, note=f"The input set is not shown: {error}.")


def _read(text: str) -> tuple[Values, Values, tuple[Sequence[str], Sequence[str]]]:
    """Inputs, outputs and their names; of VNN-LIB 2.x all tensors count as inputs, for the file does not say."""
    if text.lstrip().startswith("(") or text.lstrip().startswith("sat\n("):
        quotients = [Fraction(f"{found[1] or ''}{found[2]}/{found[3]}") for found in _QUOTIENT.finditer(text)]
        plain = read_witness(_QUOTIENT.sub(NONE, text))
        left = iter(quotients)
        inputs, outputs = (
            tuple(next(left) if word == NONE else value for word, value in zip(words, values, strict=True))
            for words, values in ((plain.x, plain.inputs), (plain.y, plain.outputs))
        )
        names = [f"X_{k}" for k in range(len(inputs))], [f"Y_{k}" for k in range(len(outputs))]
        return inputs, outputs, names
    tensors = read_assignment(text)
    labels = [f"{one.name}[{k}]" for one in tensors for k in range(len(one.values))]
    return tuple(value for one in tensors for value in one.values), (), (labels, [])


def _compared(plain: Shown, source: Source) -> Shown:
    prop, document = source.question.property, source.question.document
    inputs, outputs = plain.inputs, plain.outputs
    if document is not None:
        kinds = [tensor.kind == "input" for tensor in document.tensors for _ in range(tensor.size)]
        if len(kinds) != len(inputs):
            raise Unreadable("the witness has another number of values than the property declares")
        inputs, outputs = (tuple(v for v, k in zip(plain.inputs, kinds, strict=True) if k is is_input)
                           for is_input in (True, False))  # fmt: skip
    if (len(inputs), len(outputs)) != (prop.inputs, prop.outputs):
        raise Unreadable("the witness has another number of values than the property")
    semantics = Semantics(plain.entry.row.semantics if plain.entry.row is not None else "real")
    case, atoms = _met(prop, inputs, outputs, semantics)
    clean = _middle(case, semantics)
    clean_outputs = _outputs(source, clean)
    labels = input_labels(source.question), output_labels(source.question)
    conditions = _conditions(prop, case, atoms, labels, (inputs, outputs), (clean, clean_outputs))
    shapes = [shape for net in source.nets.values() for _, shape in net.graph.inputs]
    return Shown(
        plain.entry, inputs, outputs, *labels, case.lower, case.upper, clean, clean_outputs, conditions,
        _only(shapes, len(inputs)), " ".join(_missing(semantics, atoms, clean_outputs)),
    )  # fmt: skip


def _missing(semantics: Semantics, disjunct: int | None, clean_outputs: Values) -> Iterator[str]:
    """What is not shown, and why."""
    if disjunct is None:
        yield f"The outputs are printed rounded ({semantics.value}), so the conditions are not evaluated at them."
    if not clean_outputs:
        yield "The outputs in the middle of the input set are not shown for this query."


def _only(shapes: Sequence[tuple[int, ...]], count: int) -> tuple[int, ...]:
    """The shape of the one tensor that all inputs are of."""
    return shapes[0] if len(shapes) == 1 and int(np.prod(shapes[0])) == count else ()


def _met(prop: Property, inputs: Values, outputs: Values, semantics: Semantics) -> tuple[Case, int | None]:
    """The case and the disjunct that the witness is in; raises Unreadable where the printed values are in none.

    Over the reals outputs may have no finite decimals and are printed rounded: then there may be no disjunct.
    """
    values = prop.extended(inputs, outputs)
    around = [case for case in prop.cases if contains(case, inputs, semantics)]
    for case in around:
        found = case.violated_disjunct(inputs, values)
        if found is not None:
            return case, found
    if around and semantics is Semantics.REAL:
        return around[0], None
    raise Unreadable("the printed values, taken as exact numbers, do not meet the property; look at this witness")


def _middle(case: Case, semantics: Semantics) -> Values:
    """The middle of a box: in binary32 modes the nearest number of that format."""
    exact = tuple((low + high) / 2 for low, high in zip(case.lower, case.upper, strict=True))
    if not semantics.is_binary32:
        return exact
    rounded = [nearest32(value) for value in exact]
    return tuple(value if near is None else Fraction(near) for value, near in zip(exact, rounded, strict=True))


def _outputs(source: Source, inputs: Values) -> Values:
    """What the one float32 network computes; () where it cannot be said so simply."""
    if len(source.nets) != 1 or len(source.question.parts) != 1 or source.question.property.monomials:
        return ()
    (net,) = source.nets.values()
    if net.graph.dtype != "float32" or net.outputs != source.question.property.outputs:
        return ()
    try:
        found = execute(net.graph, np.array([float(value) for value in inputs], dtype=np.float32), ORDER).ravel()
    except FarkasError:
        return ()
    return tuple(Fraction(float(value)) for value in found) if np.isfinite(found).all() else ()


def _decimal(text: str) -> str:
    """The text with finite decimals in the place of their quotients."""

    def written(found: re.Match[str]) -> str:
        value = Fraction(found[0])
        return literal(value) if 10**40 % value.denominator == 0 else found[0]

    return re.sub(r"\b\d+/\d+\b", written, text)


def _conditions(
    prop: Property, case: Case, disjunct: int | None, labels: tuple[Sequence[str], Sequence[str]],
    witness: tuple[Values, Values], clean: tuple[Values, Values],
) -> tuple[Condition, ...]:  # fmt: skip
    def label(kind: str, index: int) -> str:
        if kind == "input":
            return labels[0][index]
        if index < prop.outputs:
            return labels[1][index]
        factors = prop.monomials[index - prop.outputs]
        return "*".join(labels[0][k] if k < prop.inputs else labels[1][k - prop.inputs] for k in factors)

    if disjunct is None:
        return ()
    values = prop.extended(*witness)
    before = prop.extended(*clean) if clean[1] else None
    return tuple(
        Condition(_decimal(atom_text(atom, label)), atom.value(witness[0], values),
                  None if before is None else atom.value(clean[0], before))
        for atom in case.disjuncts[disjunct]
    )  # fmt: skip
