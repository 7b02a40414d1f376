"""VNN-LIB 2.x reader: the bytes of a file to a `Document`, every error with line and column.

    file        := (vnnlib-version <2.0>) network+ (assert formula)*
    network     := (declare-network NAME relation? input+ hidden* output+)
    relation    := (equal-to NAME) | (isomorphic-to NAME)                    a network declared before, without relation
    input       := (declare-input NAME TYPE SHAPE "onnx name"?)              output: likewise
    hidden      := (declare-hidden NAME TYPE SHAPE "onnx name")
    SHAPE       := [] | [n, n, ...]
    formula     := (and formula+) | (or formula+) | (OP term term)           OP: <= >= < > == !=
    term        := number | NAME | NAME[i, ...] | (+ term+) | (- term+) | (* term+)

Read besides: element types in any case (`Real`), numbers with an exponent, version 2.1 without `initialized`.  Refused
as not supported yet: `initialized`.  All element types are `real`, or none is.

The text is cut into tokens once; then one function for each rule of the grammar, so that an error knows what it wanted.
Nesting is limited, because the functions recurse.  Numbers are decimal literals and mean exact rationals.
"""

import hashlib
import re
from bisect import bisect_right
from math import prod
from typing import NoReturn

from farkas.specs.errors import MalformedProperty
from farkas.specs.numbers import decimal
from farkas.specs.polynomials import Polynomial, TooLong, apply, variable
from farkas.specs.tokens import decompressed
from farkas.specs.vnnlib2_document import (
    EQUAL_TO,
    ISOMORPHIC_TO,
    Comparison,
    Document,
    Formula,
    Junction,
    NetworkDeclaration,
    Tensor,
    UnsupportedQuery,
    make_network,
)

VERSIONS = ("2.0", "2.1")
MAX_DEPTH = 200
MAX_ELEMENTS = 1 << 28
ELEMENTS = (
    *("real", "float16", "float32", "float64", "bfloat16", "float8e4m3fn", "float8e5m2", "float8e4m3fnuz"),
    *("float8e5m2fnuz", "float4e2m1", "int4", "int8", "int16", "int32", "int64", "uint4", "uint8", "uint16"),
    *("uint32", "uint64", "complex64", "complex128", "bool", "string"),
)
COMPARISONS = ("<=", ">=", "<", ">", "==", "!=")
_RELATIONS = (EQUAL_TO, ISOMORPHIC_TO)
_DECLARATIONS = ("declare-input", "declare-hidden", "declare-output")
_OPERATOR = r"[<>=!]=|<(?![0-9.]+>)|>|\*|[+-](?=[A-Za-z+-])|(?<=\()\+"  # no space has to follow these
_TOKEN = re.compile(rf'[()]|\[[^\[\]()";]*\]|"[^"\r\n]*"|;[^\r\n]*|{_OPERATOR}|[^\s()\[\]";]+|\S', re.ASCII)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_HEADER = re.compile(rb"(?:\s|;[^\r\n]*(?:[\r\n]|\Z))*\(\s*vnnlib-version\b")
_END = "the end of the file"


def is_version_2(data: bytes) -> bool:
    """Whether the bytes of a file, decompressed or not, begin with a version header, as VNN-LIB 1.0 never does."""
    return _HEADER.match(decompressed(data)) is not None


def read_document(data: bytes | str) -> Document:
    """The document in the bytes (gzip-compressed or not) or the text of a VNN-LIB 2.x file.

    Raises MalformedProperty, and UnsupportedQuery for what is right but not handled yet.
    """
    raw = decompressed(data) if isinstance(data, bytes) else data.encode()
    return _Reader(raw.decode("utf-8", errors="surrogateescape")).document(hashlib.sha256(raw).hexdigest())


class _Reader:
    """State of one reading: the tokens, and how many of them have been read."""

    def __init__(self, text: str) -> None:
        matches = [match for match in _TOKEN.finditer(text) if match.group()[0] != ";"]
        self.words = [match.group() for match in matches]
        self.offsets = [match.start() for match in matches] + [len(text)]
        self.lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self.at = 0
        self.depth = 0
        self.networks: dict[str, NetworkDeclaration] = {}
        self.tensors: dict[str, Tensor] = {}
        self.names: set[str] = set()  # of both: they share one name space
        self.starts = (0, 0)  # lengths of X and Y so far
        self.version = VERSIONS[0]
        self.known: dict[tuple[str, str], Polynomial] = {}  # elements by their texts

    # -- tokens ------------------------------------------------------------------------------------------------

    @property
    def word(self) -> str:
        """The next token; the end of the file is none."""
        return self.words[self.at] if self.at < len(self.words) else _END

    def take(self) -> str:
        """The next token, read."""
        word = self.word
        self.at += 1
        return word

    def wanted(self, wanted: str) -> NoReturn:
        """Complain about the next token."""
        self.fail(f"found {_quote(self.word)}, wanted {wanted}")

    def fail(self, message: str, at: int | None = None, kind: type[MalformedProperty] = MalformedProperty) -> NoReturn:
        """Raise an error at a token, by default the next one."""
        raise kind(message, *self.place(at))

    def place(self, at: int | None = None) -> tuple[int, int]:
        """Line and column of a token, from 1."""
        offset = self.offsets[min(self.at if at is None else at, len(self.words))]
        line = bisect_right(self.lines, offset)
        return line, offset - self.lines[line - 1] + 1

    def expect(self, word: str, wanted: str) -> None:
        if self.word != word:
            self.wanted(wanted)
        self.at += 1

    def head(self, heads: tuple[str, ...]) -> str | None:
        """The first word of the list that begins here, read, when it is one of these; else nothing is read."""
        if self.word != "(":
            return None
        if self.at + 1 < len(self.words) and self.words[self.at + 1] in heads:
            self.at += 2
            return self.words[self.at - 1]
        return None

    def name(self, wanted: str) -> str:
        if not _NAME.fullmatch(self.word):
            self.wanted(f"{wanted}: a letter, then letters, digits and '_'")
        return self.take()

    # -- declarations ------------------------------------------------------------------------------------------

    def document(self, sha256: str) -> Document:
        """The whole file."""
        self.header()
        while self.head(("declare-network",)):
            self.network()
        if not self.networks:
            self.wanted("(declare-network NAME ...) after the version header")
        self.same_reading()
        assertions = []
        while self.word != _END:
            if not self.head(("assert",)):
                late = self.words[self.at + 1 : self.at + 2] == ["declare-network"]
                self.wanted("(assert ...)" + ("; networks are declared before the first of them" if late else ""))
            assertions.append(self.formula())
            self.expect(")", "')' after the formula; 'assert' takes one, join several with 'and'")
        return Document(self.version, tuple(self.networks.values()), tuple(assertions), sha256)

    def header(self) -> None:
        """(vnnlib-version <2.0>)"""
        if not self.head(("vnnlib-version",)):
            self.wanted("(vnnlib-version <2.0>) at the beginning of the file")
        version = self.word.removeprefix("<").removesuffix(">")
        if f"<{version}>" != self.word or not re.fullmatch(r"[0-9]+\.[0-9]+", version, re.ASCII):
            self.wanted("a version in angle brackets: <2.0>")
        if version not in VERSIONS:
            self.fail(f"found version {version}, wanted one that is read: {', '.join(VERSIONS)}", kind=UnsupportedQuery)
        self.version = version
        self.at += 1
        self.expect(")", "')' after the version")

    def network(self) -> None:
        """The rest of a network's declaration."""
        name = self.fresh(self.name("a name of the network"))
        relation, other = self.relation()
        tensors: list[Tensor] = []
        while head := self.head(_DECLARATIONS):
            kind = head.removeprefix("declare-")
            if tensors and _DECLARATIONS.index(head) < _DECLARATIONS.index(f"declare-{tensors[-1].kind}"):
                self.fail(f"found '{head}' after 'declare-{tensors[-1].kind}', wanted inputs, hidden ones, outputs",
                          self.at - 1)  # fmt: skip
            tensors.append(self.tensor(kind))
        for kind in ("input", "output"):
            if kind not in [tensor.kind for tensor in tensors]:
                self.wanted(f"(declare-{kind} NAME TYPE SHAPE) in network '{name}'")
        self.expect(")", "a declaration of a tensor, or ')' at the end of the network")
        declared = make_network(name, tensors, self.starts, relation, other)
        sizes = [sum(t.size for t in ts) for ts in (declared.inputs, declared.results)]
        self.starts = self.starts[0] + sizes[0], self.starts[1] + sizes[1]
        if relation:
            self.alike(declared, self.networks[other])
        self.networks[name] = declared
        self.tensors |= {tensor.name: tensor for tensor in declared.tensors}

    def relation(self) -> tuple[str, str]:
        """(equal-to NAME), (isomorphic-to NAME) or nothing."""
        relation = self.head(_RELATIONS)
        if relation is None:
            return "", ""
        if self.word not in self.networks:
            self.wanted(f"a network declared before it: {', '.join(self.networks) or 'there is none'}")
        other = self.take()
        if self.networks[other].relation:
            first = self.networks[other].other
            self.fail(
                f"found '{other}', itself {self.networks[other].relation} '{first}', wanted '{first}'", self.at - 1
            )
        self.expect(")", f"')' after '{other}'")
        if self.word == "(" and self.words[self.at + 1 : self.at + 2] in ([EQUAL_TO], [ISOMORPHIC_TO]):
            self.wanted(f"declarations of tensors; a network has one of {EQUAL_TO} and {ISOMORPHIC_TO}")
        return relation, other

    def alike(self, network: NetworkDeclaration, other: NetworkDeclaration) -> None:
        """Related networks have the same inputs and outputs, and what is hidden in both is declared the same; but the
        element types of isomorphic ones may differ."""

        def described(tensor: Tensor) -> str:
            return f"{tensor.element} {_shape(tensor.shape)}" if network.relation == EQUAL_TO else _shape(tensor.shape)

        told = f"'{other.name}', to which it is declared {network.relation.removesuffix('-to')}; wanted"
        for mine, theirs in ((network.inputs, other.inputs), (network.outputs, other.outputs)):
            wanted = list(map(described, theirs))
            if list(map(described, mine)) != wanted:
                message = f"the {mine[0].kind}s of '{network.name}' are not those of {told} {', '.join(wanted)}"
                raise MalformedProperty(message, *mine[0].place)
        hidden = {tensor.onnx_name: described(tensor) for tensor in other.hidden}
        for tensor in network.hidden:
            if described(tensor) != hidden.get(tensor.onnx_name, described(tensor)):
                message = f"'{tensor.name}' of '{network.name}' is not what it is in {told} {hidden[tensor.onnx_name]}"
                raise MalformedProperty(message, *tensor.place)

    def tensor(self, kind: str) -> Tensor:
        """The rest of a tensor's declaration."""
        place = self.place()
        name = self.fresh(self.name(f"a name of the {kind}"))
        element = self.word.lower()
        if element not in ELEMENTS:
            self.wanted("an element type: real, float32, int8, uint8, ...")
        self.at += 1
        shape = self.shape()
        onnx_name = self.take()[1:-1] if self.word.startswith('"') else ""
        if kind == "hidden" and not onnx_name:
            self.wanted("the ONNX name of the hidden tensor in double quotes")
        if self.word == "initialized":
            self.fail(f"found 'initialized': constants of the network as variables (VNN-LIB 2.1) are not supported; "
                      f"declare '{name}' a plain {kind}", kind=UnsupportedQuery)  # fmt: skip
        self.expect(")", "')' at the end of the declaration")
        return Tensor(kind, name, element, shape, onnx_name, 0, place)

    def fresh(self, name: str) -> str:
        """A name that is not taken yet."""
        if name in self.names:
            self.fail(f"found the name '{name}' a second time, wanted one that is not in use", self.at - 1)
        self.names.add(name)
        return name

    def shape(self) -> tuple[int, ...]:
        numbers = self.numbers("a shape in brackets: [1,5], or [] for a scalar")
        if 0 in numbers or prod(numbers) > MAX_ELEMENTS:
            self.fail(f"found {self.words[self.at - 1]}, wanted 1 to {MAX_ELEMENTS} elements", self.at - 1)
        return numbers

    def numbers(self, wanted: str) -> tuple[int, ...]:
        """A list of nonnegative integers in brackets, read."""
        inside = self.word[1:-1].strip() if self.word.startswith("[") and self.word.endswith("]") else "?"
        words = [word.strip() for word in inside.split(",")] if inside else []
        if not all(word.isascii() and word.isdecimal() and len(word) <= 9 for word in words):
            self.wanted(wanted)
        self.at += 1
        return tuple(map(int, words))

    def same_reading(self) -> None:
        """Either all declarations are `real` or none is."""
        tensors = [tensor for network in self.networks.values() for tensor in network.tensors]
        for tensor in tensors:
            if (tensor.element == "real") != (tensors[0].element == "real"):
                raise MalformedProperty(
                    f"'{tensor.name}' is {tensor.element}, but '{tensors[0].name}' is {tensors[0].element}; "
                    "wanted 'real' in all declarations or in none",
                    *tensor.place,
                )

    # -- formulas ----------------------------------------------------------------------------------------------

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"found parentheses nested deeper than {MAX_DEPTH}; wanted a flatter formula")

    def formula(self) -> Formula:
        start = self.at
        head = self.head(("and", "or", *COMPARISONS))
        if head is None:
            hint = "; equality is '=='" if self.words[self.at + 1 : self.at + 2] == ["="] else ""
            self.at += self.word == "("
            self.wanted(f"'and', 'or', '<=', '>=', '<', '>', '==' or '!=' in parentheses{hint}")
        self.deeper()
        found: Formula
        if head in COMPARISONS:
            left, right = self.term(), self.term()
            self.expect(")", f"')' after two terms; '{head}' compares two")
            found = Comparison(head, left, right)
        else:
            parts = [self.formula()]
            while self.word == "(":
                parts.append(self.formula())
            self.closed(start, "a formula in parentheses")
            found = Junction(head, tuple(parts))
        self.depth -= 1
        return found

    def closed(self, start: int, wanted: str) -> None:
        """The end of a list of any length that began at a token."""
        if self.word == _END:
            self.fail("this parenthesis is never closed; wanted ')' before the end of the file", start)
        self.expect(")", f"{wanted} or ')'")

    def term(self) -> Polynomial:
        if self.word == "(":
            return self.sum_or_product()
        if self.word in self.tensors:
            return self.element()
        value = decimal(self.word)
        if value is None:
            declared = ", ".join(list(self.tensors)[:8])
            what = "a term"
            if _NAME.fullmatch(self.word) and self.word != _END:
                what = "a declared tensor"
            self.wanted(f"{what}: a number, an element of {declared}, or '(' with '+', '-' or '*'")
        self.at += 1
        return Polynomial({}, value)

    def element(self) -> Polynomial:
        """An element of a tensor."""
        tensor = self.tensors[self.take()]
        written = self.word if self.word.startswith("[") else ""
        key = tensor.name, written
        if key in self.known:
            self.at += bool(written)
            return self.known[key]
        if not written and tensor.shape:
            self.wanted(f"an index in brackets after '{tensor.name}', which has shape {_shape(tensor.shape)}")
        index = self.numbers(f"an index in brackets: {tensor.name}[0,...]") if written else ()
        fits = len(index) == len(tensor.shape) and all(i < n for i, n in zip(index, tensor.shape, strict=False))
        if not fits or (written and not tensor.shape):
            self.fail(f"found the index {written}, wanted one of '{tensor.name}', which has shape "
                      f"{_shape(tensor.shape)}" + ("" if tensor.shape else " and no index"), self.at - 1)  # fmt: skip
        offset = 0
        for i, extent in zip(index, tensor.shape, strict=True):
            offset = offset * extent + i
        form = variable("X" if tensor.kind == "input" else "Y", tensor.start + offset)
        self.known[key] = form
        return form

    def sum_or_product(self) -> Polynomial:
        start = self.at
        head = self.head(("+", "-", "*"))
        if head is None:
            self.at += 1
            self.wanted("'+', '-' or '*'")
        self.deeper()
        terms = [self.term()]
        while self.word not in (")", _END):
            terms.append(self.term())
        self.closed(start, "a term")
        self.depth -= 1
        try:
            return apply(head, terms)
        except TooLong as error:
            self.fail(str(error), start)


def _shape(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _quote(word: str) -> str:
    """A token as it is shown in a message: printable, not too long."""
    if word == _END:
        return word
    shown = ascii(word)
    return shown if len(shown) <= 60 else shown[:56] + "...'"
