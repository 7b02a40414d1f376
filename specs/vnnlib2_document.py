"""What a VNN-LIB 2.x file says: networks with their tensors, and assertions about the elements of these.

All inputs of all networks, in declaration order and row-major, are one vector X; all outputs are one vector Y, in which
the hidden tensors of a network follow its outputs.  So several networks, or several copies of one, are one program, and
`Document.property` gives the normal form of `farkas.specs.query` over the two vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod

from farkas.specs.dnf import All, AnyOf, TooLarge, group
from farkas.specs.errors import MalformedProperty
from farkas.specs.numbers import Numbers
from farkas.specs.polynomials import Polynomial, Products, TooLong, compare
from farkas.specs.query import Property
from farkas.specs.vnnlib2_bounds import complete

EQUAL_TO, ISOMORPHIC_TO = "equal-to", "isomorphic-to"


class UnsupportedQuery(MalformedProperty):
    """The file is right, but asks for something that is not handled yet."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A declared tensor.

    kind: "input", "hidden" or "output"; element: in lower case, "real" or an ONNX element type; shape: () for scalars,
    which are named without an index; onnx_name: "" when the file gives none; start: of its elements in X, or for
    outputs and hidden ones in Y; place: line and column of the name.
    """

    kind: str
    name: str
    element: str
    shape: tuple[int, ...]
    onnx_name: str = ""
    start: int = 0
    place: tuple[int, int] = (1, 1)

    @property
    def size(self) -> int:
        return prod(self.shape)

    def label(self, offset: int) -> str:
        """The name of one element, as the file spells it: `X[0,1]`."""
        index: list[int] = []
        for extent in reversed(self.shape):
            offset, place = divmod(offset, extent)
            index.append(place)
        return f"{self.name}[{','.join(map(str, reversed(index)))}]" if self.shape else self.name


@dataclass(frozen=True, slots=True)
class NetworkDeclaration:
    """A network and its tensors in file order; relation: "", or "equal-to" or "isomorphic-to" the network `other`."""

    name: str
    tensors: tuple[Tensor, ...]
    relation: str = ""
    other: str = ""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return tuple(tensor for tensor in self.tensors if tensor.kind == "input")

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        return tuple(tensor for tensor in self.tensors if tensor.kind == "output")

    @property
    def hidden(self) -> tuple[Tensor, ...]:
        return tuple(tensor for tensor in self.tensors if tensor.kind == "hidden")

    @property
    def results(self) -> tuple[Tensor, ...]:
        """What the network computes, in the order of Y: outputs, then hidden tensors."""
        return self.outputs + self.hidden

    @property
    def model(self) -> str:
        """The network whose file this one is: its own, or that of the one it equals."""
        return self.other if self.relation == EQUAL_TO else self.name


@dataclass(frozen=True, slots=True)
class Comparison:
    """`left operator right`, one of <= >= < > == !=."""

    operator: str
    left: Polynomial
    right: Polynomial


@dataclass(frozen=True, slots=True)
class Junction:
    """`and` or `or` of at least one formula."""

    word: str
    parts: "tuple[Formula, ...]"


Formula = Comparison | Junction


@dataclass(frozen=True)
class Document:
    """A VNN-LIB 2.x file; sha256: of its decompressed bytes, "" when it was made otherwise."""

    version: str
    networks: tuple[NetworkDeclaration, ...]
    assertions: tuple[Formula, ...]
    sha256: str = ""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors in declaration order."""
        return tuple(tensor for network in self.networks for tensor in network.tensors)

    @property
    def inputs(self) -> int:
        """The length of X."""
        return sum(tensor.size for tensor in self.tensors if tensor.kind == "input")

    @property
    def outputs(self) -> int:
        """The length of Y."""
        return sum(tensor.size for tensor in self.tensors if tensor.kind != "input")

    @property
    def is_real(self) -> bool:
        """Whether the networks are to be read over the reals; the reader makes sure that all declarations agree."""
        return self.tensors[0].element == "real"

    def label(self, kind: str, index: int) -> str:
        """The element of X (kind "input") or Y ("output") with this index, as the file spells it."""
        tensor = self._tensor(kind, index)
        return tensor.label(index - tensor.start)

    def _tensor(self, kind: str, index: int) -> Tensor:
        tensors = [t for t in self.tensors if (t.kind == "input") == (kind == "input")]
        return next(t for t in tensors if t.start <= index < t.start + t.size)

    def property(self) -> Property:
        """The normal form over X and Y (farkas.specs.query).

        `==` is `<=` and `>=`, in this order, and `!=` is `<` or `>`.  An input without a bound of its own gets one from
        the atoms over inputs (farkas.specs.vnnlib2_bounds).

        Raises MalformedProperty (an unbounded input, too large a normal form).
        """
        numbers, products = Numbers(), Products()
        try:
            root = All()
            for assertion in self.assertions:
                _join(root, assertion, numbers, products)
            conjunctions = complete(root.conjunctions(), self.inputs, numbers)
            grouped = group(conjunctions, self.inputs)
        except TooLarge as error:
            advice = "split the property into several files, one for each part of the largest 'or'"
            raise MalformedProperty(f"{error}; {advice}", 1, 1) from error
        except TooLong as error:
            raise MalformedProperty(str(error), 1, 1) from error
        if grouped.missing is not None:
            self._unbounded(*grouped.missing)
        vacuous = tuple(_named(message, self) for message in grouped.vacuous)
        cases, monomials = products.settled(grouped.cases, self.inputs, self.outputs)
        return Property(self.inputs, self.outputs, cases, self.sha256, vacuous, monomials)

    def _unbounded(self, slot: int, conjunction: int) -> None:
        side, comparison = ("upper", "<=") if slot & 1 else ("lower", ">=")
        name = self.label("input", slot // 2)
        raise MalformedProperty(
            f"found no {side} bound of {name} in conjunction {conjunction} of the normal form; "
            f"wanted a bounded input box, add (assert ({comparison} {name} ...))",
            *self._tensor("input", slot // 2).place,
        )


def make_network(
    name: str, tensors: Sequence[Tensor], starts: tuple[int, int], relation: str = "", other: str = ""
) -> NetworkDeclaration:
    """A declaration whose tensors begin at these places of X and Y."""
    placed: dict[int, int] = {}
    for kinds, start in zip((("input",), ("output", "hidden")), starts, strict=True):
        numbers = [number for kind in kinds for number, tensor in enumerate(tensors) if tensor.kind == kind]
        places = accumulate((tensors[number].size for number in numbers), initial=start)
        placed |= dict(zip(numbers, places, strict=False))
    moved = [
        Tensor(t.kind, t.name, t.element, t.shape, t.onnx_name, placed[number], t.place)
        for number, t in enumerate(tensors)
    ]
    return NetworkDeclaration(name, tuple(moved), relation, other)


def _join(around: All | AnyOf, formula: Formula, numbers: Numbers, products: Products) -> None:
    """Add a formula to the conjunction or disjunction around it."""
    match formula:
        case Comparison("==" | "!=" as operator, left, right):
            sides = ("<=", ">=") if operator == "==" else ("<", ">")
            inner: All | AnyOf = All() if operator == "==" else AnyOf()
            for side in sides:
                inner.add(compare(side, left, right, numbers.intern, products))
            around.combine(inner.conjunctions())
        case Comparison(operator, left, right):
            around.add(compare(operator, left, right, numbers.intern, products))
        case Junction(word, parts):
            inner = around if isinstance(around, All if word == "and" else AnyOf) else _empty(word)
            for part in parts:
                _join(inner, part, numbers, products)
            if inner is not around:
                around.combine(inner.conjunctions())


def _empty(word: str) -> All | AnyOf:
    return All() if word == "and" else AnyOf()


def _named(message: str, document: Document) -> str:
    """A message about `X_i` with the file's own name for it."""
    words = message.split(" ")
    return " ".join(
        document.label("input", int(word[2:])) if word.startswith("X_") and word[2:].isdecimal() else word
        for word in words
    )
