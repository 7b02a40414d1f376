"""Assignments in the text format of VNN-LIB 2.x: for every tensor a line `name type [d0,d1]`, then its elements.

    X float32 [1,2]
    0.5
    -1.0
    Y float32 []
    0.25

One element a line, row-major, tensors in the order of their declarations.  Values are exact decimals, as in
`farkas.specs.witness`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

from farkas.specs.errors import MalformedWitness
from farkas.specs.numbers import decimal
from farkas.specs.vnnlib2_document import Document, Tensor
from farkas.specs.witness import Value, exact_decimal, literal


@dataclass(frozen=True)
class Assigned:
    """A tensor of an assignment: its name, element type, shape and elements as printed."""

    name: str
    element: str
    shape: tuple[int, ...]
    words: tuple[str, ...]

    @property
    def values(self) -> tuple[Fraction, ...]:
        """The exact values."""
        return tuple(_value(word) for word in self.words)


def write_assignment(document: Document, inputs: Sequence[Value], outputs: Sequence[Value]) -> str:
    """The assignment, without the first line `sat`; ends with a line end.

    inputs, outputs: the values of X and Y.  What the networks compute and is no finite decimal is written as
    its nearest float64: it informs only.
    """
    lines = []
    for tensor in document.tensors:
        values = inputs if tensor.kind == "input" else outputs
        lines.append(f"{tensor.name} {tensor.element} [{','.join(map(str, tensor.shape))}]")
        lines += [_word(tensor, value) for value in values[tensor.start : tensor.start + tensor.size]]
    return "\n".join(lines) + "\n"


def read_assignment(text: str) -> tuple[Assigned, ...]:
    """The tensors of an assignment, in order; a first line `sat` is optional.  Raises MalformedWitness."""
    lines = text.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    place = 1 if lines and lines[0].strip() == "sat" else 0
    found: list[Assigned] = []
    while place < len(lines):
        name, element, shape = _header(lines[place], place)
        words = tuple(line.strip() for line in lines[place + 1 : place + 1 + prod(shape)])
        if len(words) < prod(shape):
            raise MalformedWitness(f"line {place + 1}: found {len(words)} values of '{name}', wanted {prod(shape)}")
        for word in words:
            _value(word)
        found.append(Assigned(name, element, shape, words))
        place += 1 + len(words)
    return tuple(found)


def _header(line: str, place: int) -> tuple[str, str, tuple[int, ...]]:
    name, _, rest = line.strip().partition(" ")
    element, _, shape = rest.strip().partition(" ")
    inside = shape.strip()[1:-1].strip()
    sizes = [size.strip() for size in inside.split(",")] if inside else []
    if not (name and element and shape.strip()[:1] == "[" and shape.strip()[-1:] == "]"):
        raise MalformedWitness(f"line {place + 1}: found {line[:40]!a}, wanted a line 'name type [d0,d1,...]'")
    if not all(size.isascii() and size.isdecimal() and len(size) < 10 for size in sizes):
        raise MalformedWitness(f"line {place + 1}: found the shape {shape[:40]!a}, wanted integers: [1,5]")
    return name, element, tuple(map(int, sizes))


def _word(tensor: Tensor, value: Value) -> str:
    if tensor.element.startswith(("int", "uint")):
        return str(int(value))
    if tensor.kind != "input" and isinstance(value, Fraction):
        try:
            return exact_decimal(value)
        except ValueError:
            return exact_decimal(float(value))
    return literal(value)


def _value(word: str) -> Fraction:
    value = decimal(word)
    if value is None:
        raise MalformedWitness(f"found {word[:40]!a}, wanted a finite decimal number")
    return value
