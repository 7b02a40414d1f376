"""VNN-LIB 2.x to the normal form of docs/certificate.md, in exact rationals: bytes of the file to a `Document`.

    file    := (vnnlib-version <2.0>) network+ (assert formula)*
    network := (declare-network NAME relation? (declare-input NAME TYPE SHAPE)+
                                (declare-hidden NAME TYPE SHAPE "onnx name")* (declare-output NAME TYPE SHAPE)+)
    formula := (and formula+) | (or formula+) | (OP term term)        OP: <= >= < > == !=
    term    := decimal | NAME | NAME[i,...] | (+ term+) | (- term+) | (* term+)

X is all inputs of all networks in declaration order, row-major; Y is, network by network, all outputs and then all
hidden tensors.  `a == b` is `a <= b` and `a >= b`; `a != b` is `a < b` or `a > b`.  Anything else,
`initialized` among it, is an error with its line.  The text becomes nested lists first, with an explicit
stack; these are then read from outside in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import NoReturn

from farkas.checker.errors import MalformedInput
from farkas.checker.polynomials import Form, add, multiply
from farkas.checker.property2_normal import Formula, Normal
from farkas.checker.query import Property

MAX_DEPTH = 210
MAX_ELEMENTS = 1 << 28
MAX_DIGITS = 4000
MAX_EXPONENT = 9999

_HEADER = re.compile(rb"(?:\s|;[^\r\n]*(?:[\r\n]|\Z))*\(\s*vnnlib-version\b")
_OPERATOR = r"(?:<=|>=|==|!=)|>|<(?![0-9.]+>)|\*|[-+](?=[-+A-Za-z])|(?<=\()\+"
_TOKEN = re.compile(rf'"[^"\r\n]*"|;[^\r\n]*|[()]|\[[^]\[()";]*\]|{_OPERATOR}|[^]\[\s()";]+|\S', re.ASCII)
_DECIMAL = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,6}))?", re.ASCII)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_INDEX = re.compile(r"\[\s*(?:[0-9]{1,9}\s*(?:,\s*[0-9]{1,9}\s*)*)?\]", re.ASCII)
_KINDS = ("declare-input", "declare-hidden", "declare-output")
_INPUT, _HIDDEN, _OUTPUT = range(3)
_COMPARISONS = frozenset(("<=", ">=", "<", ">", "==", "!="))


@dataclass(frozen=True)
class Network:
    """A declared network; model: the network whose file it is, its own name unless it equals another.

    inputs, outputs: the shapes as declared; element: "real" or an ONNX type; hidden: the tensors of the file that the
    property speaks of besides, and their shapes.
    """

    name: str
    model: str
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    element: str
    hidden: tuple[tuple[str, tuple[int, ...]], ...] = ()


@dataclass(frozen=True)
class Document:
    """Networks in declaration order, and what is asked about X and Y."""

    networks: tuple[Network, ...]
    property: Property


@dataclass(frozen=True)
class _Word:
    text: str
    at: int


@dataclass(frozen=True)
class _List:
    items: list[_Word | _List]
    at: int

    @property
    def head(self) -> str:
        first = self.items[0] if self.items else None
        return first.text if isinstance(first, _Word) else ""


_Tree = _Word | _List


@dataclass(frozen=True)
class _Declared:
    name: str
    kind: int  # of _KINDS
    element: str
    shape: tuple[int, ...]
    onnx_name: str


@dataclass(frozen=True)
class _Tensor:
    is_output: bool
    element: str
    shape: tuple[int, ...]
    start: int


def is_version_2(data: bytes) -> bool:
    """Whether the file begins with a version header, which VNN-LIB 1.0 does not have."""
    return _HEADER.match(data) is not None


def is_declared_real(data: bytes) -> bool:
    """Whether the first input that is declared is `real`, as all tensors are then; nothing else is read."""
    words = (match.group() for match in _TOKEN.finditer(data.decode("utf-8", errors="replace")))
    code = (word for word in words if not word.startswith(";"))
    found = is_version_2(data) and "declare-input" in code
    return found and next(code, "") != "" and next(code, "").lower() == "real"


def read_document(data: bytes) -> Document:
    """The networks and the normal form of a VNN-LIB 2.x property.  Raises MalformedInput with the line."""
    return _Reader(data.decode("utf-8", errors="replace")).document()


def read_about_one_network(data: bytes) -> Property:
    """The normal form of a property that declares a single network.  Raises MalformedInput."""
    document = read_document(data)
    if len(document.networks) != 1:
        names = ", ".join(network.name for network in document.networks)
        raise MalformedInput("property", f"it is about {len(document.networks)} networks ({names}); one is supported")
    return document.property


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.names: set[str] = set()
        self.tensors: dict[str, _Tensor] = {}
        self.networks: dict[str, Network] = {}
        self.shapes: dict[str, list[tuple[int, str, tuple[int, ...]]]] = {}
        self.related: set[str] = set()
        self.sizes = [0, 0]
        self.numbers: dict[str, Fraction] = {}

    def fail(self, why: str, at: int) -> NoReturn:
        line = self.text.count("\n", 0, at) + 1
        raise MalformedInput(f"property, line {line}, column {at - self.text.rfind(chr(10), 0, at)}", why)

    # -- nested lists ------------------------------------------------------------------------------------------

    def trees(self) -> list[_Tree]:
        """The lists of the file, one for each command."""
        top: list[_Tree] = []
        stack: list[_List] = []
        for match in _TOKEN.finditer(self.text):
            token, at = match.group(), match.start()
            around = stack[-1].items if stack else top
            if token == "(":
                if len(stack) >= MAX_DEPTH:
                    self.fail(f"parentheses are nested deeper than {MAX_DEPTH}", at)
                stack.append(_List([], at))
                around.append(stack[-1])
            elif token == ")":
                if not stack:
                    self.fail("unbalanced ')'", at)
                stack.pop()
            elif not token.startswith(";"):
                around.append(_Word(token, at))
        if stack:
            self.fail("a parenthesis is never closed", stack[-1].at)
        return top

    def document(self) -> Document:
        commands = self.trees()
        self._version(commands[0] if commands else None)
        asserted: list[_List] = []
        for command in commands[1:]:
            if not isinstance(command, _List) or command.head not in ("declare-network", "assert"):
                self.fail("'(declare-network' or '(assert' was expected", command.at)
            if command.head == "assert":
                asserted.append(command)
            elif asserted:
                self.fail("networks are declared before the first assertion", command.at)
            else:
                self._network(command)
        if not self.networks:
            self.fail("no network is declared", len(self.text))
        if len({tensor.element == "real" for tensor in self.tensors.values()}) > 1:
            self.fail("'real' stands in some declarations, but not in all", commands[1].at)
        normal = Normal(self.sizes[0], self.sizes[1])
        for command in asserted:
            if len(command.items) != 2:
                self.fail("'(assert' takes one formula", command.at)
            normal.add(self._formula(command.items[1]))
        return Document(tuple(self.networks.values()), normal.property())

    def _version(self, tree: _Tree | None) -> None:
        items = tree.items if isinstance(tree, _List) else []
        words = [item.text if isinstance(item, _Word) else "(" for item in items]
        if words not in (["vnnlib-version", "<2.0>"], ["vnnlib-version", "<2.1>"]):
            self.fail("the file must begin with (vnnlib-version <2.0>) or <2.1>", 0 if tree is None else tree.at)

    # -- declarations ------------------------------------------------------------------------------------------

    def _network(self, tree: _List) -> None:
        name = self._fresh(tree.items[1] if len(tree.items) > 1 else tree)
        rest = tree.items[2:]
        model = name
        first = rest[0] if rest else None
        if isinstance(first, _List) and first.head in ("equal-to", "isomorphic-to"):
            other = self._other(first)
            rest = rest[1:]
            model = other if first.head == "equal-to" else name
            self.related.add(name)
            self.shapes[name] = self.shapes[other]
        declared = [self._tensor(item) for item in rest]
        kinds = [tensor.kind for tensor in declared]
        if not {_INPUT, _OUTPUT} <= set(kinds) or kinds != sorted(kinds):
            self.fail("a network has inputs, then hidden tensors, if any, then outputs", tree.at)
        shape = [(t.kind, t.element, t.shape) for t in declared if t.kind != _HIDDEN]
        if self.shapes.setdefault(name, shape) != shape:
            self.fail("the inputs and outputs are not those of the network that it equals or resembles", tree.at)
        of_kind = [[t for t in declared if t.kind == kind] for kind in (_INPUT, _OUTPUT, _HIDDEN)]
        for tensor in (tensor for tensors in of_kind for tensor in tensors):
            side = tensor.kind != _INPUT
            self.tensors[tensor.name] = _Tensor(side, tensor.element, tensor.shape, self.sizes[side])
            self.sizes[side] += prod(tensor.shape)
        inputs, outputs, hidden = of_kind
        self.networks[name] = Network(
            name,
            model,
            tuple(t.shape for t in inputs),
            tuple(t.shape for t in outputs),
            declared[0].element,
            tuple((t.onnx_name, t.shape) for t in hidden),
        )

    def _other(self, tree: _List) -> str:
        words = [item.text for item in tree.items if isinstance(item, _Word)]
        if len(tree.items) != 2 or len(words) != 2 or words[1] not in self.networks or words[1] in self.related:
            self.fail("a network declared before, which itself stands in no relation, was expected", tree.at)
        return words[1]

    def _tensor(self, tree: _Tree) -> _Declared:
        """(declare-input NAME TYPE SHAPE), with or without an ONNX name in quotes, which hidden tensors must have."""
        items = tree.items if isinstance(tree, _List) else []
        words = [item.text for item in items if isinstance(item, _Word)]
        onnx_name = words.pop()[1:-1] if len(words) == 5 and words[4].startswith('"') else ""
        if len(words) != 4 or len(items) - len(words) > 1 or words[0] not in _KINDS:
            self.fail("(declare-input NAME TYPE SHAPE), or hidden or output in its place, was expected", tree.at)
        if any(isinstance(item, _List) for item in items):
            self.fail("a parenthesis in the declaration of a tensor", tree.at)
        shape, kind = self._indices(words[3], tree.at), _KINDS.index(words[0])
        if not _NAME.fullmatch(words[2]) or 0 in shape or prod(shape) > MAX_ELEMENTS:
            self.fail(f"element type {words[2][:40]!r} and shape {words[3][:40]} do not declare a tensor", tree.at)
        if kind == _HIDDEN and not onnx_name:
            self.fail("a hidden tensor has its name in the ONNX file, in quotes", tree.at)
        return _Declared(self._fresh(items[1]), kind, words[2].lower(), shape, onnx_name)

    def _fresh(self, tree: _Tree) -> str:
        name = tree.text if isinstance(tree, _Word) else ""
        if not _NAME.fullmatch(name) or name in self.names:
            self.fail(f"a new name was expected, found {name[:40]!r}", tree.at)
        self.names.add(name)
        return name

    def _indices(self, word: str, at: int) -> tuple[int, ...]:
        if not _INDEX.fullmatch(word):
            self.fail(f"{word[:40]!r} is no list of integers in brackets", at)
        return tuple(int(part) for part in word[1:-1].split(",") if part.strip())

    # -- formulas ----------------------------------------------------------------------------------------------

    def _formula(self, tree: _Tree) -> Formula:
        if not isinstance(tree, _List) or tree.head not in _COMPARISONS | {"and", "or"}:
            self.fail("a formula was expected: and, or, <=, >=, <, >, ==, !=", tree.at)
        if tree.head in ("and", "or"):
            parts = [self._formula(item) for item in tree.items[1:]]
            if not parts:
                self.fail(f"'({tree.head}' takes at least one formula", tree.at)
            return tree.head, parts
        terms = self._terms(tree.items[1:])
        if len(terms) != 2:
            self.fail(f"'({tree.head}' takes two terms", tree.at)
        return tree.head, terms[0], terms[1]

    def _terms(self, items: Sequence[_Tree]) -> list[Form]:
        """Terms in a row; an index belongs to the word before it."""
        terms: list[Form] = []
        place = 0
        while place < len(items):
            item = items[place]
            place += 1
            if isinstance(item, _List):
                terms.append(self._arithmetic(item))
                continue
            after = items[place] if place < len(items) else None
            index = after.text if isinstance(after, _Word) and after.text.startswith("[") else None
            place += index is not None
            terms.append(self._leaf(item, index))
        return terms

    def _leaf(self, word: _Word, index: str | None) -> Form:
        """An element of a tensor or a decimal."""
        tensor = self.tensors.get(word.text)
        if tensor is None:
            if index is not None:
                self.fail(f"{word.text[:40]!r} is no declared tensor", word.at)
            number = self._decimal(word)
            return {-1: number} if number else {}
        if (index is None) != (tensor.shape == ()):
            self.fail(f"{word.text} has {len(tensor.shape)} dimensions", word.at)
        indices = () if index is None else self._indices(index, word.at)
        if len(indices) != len(tensor.shape) or any(i >= n for i, n in zip(indices, tensor.shape, strict=True)):
            self.fail(f"{word.text}{index} is no element of a tensor of shape {list(tensor.shape)}", word.at)
        place = 0
        for i, n in zip(indices, tensor.shape, strict=True):
            place = place * n + i
        return {2 * (tensor.start + place) + tensor.is_output: Fraction(1)}

    def _decimal(self, word: _Word) -> Fraction:
        known = self.numbers.get(word.text)
        if known is not None:
            return known
        match = _DECIMAL.fullmatch(word.text) if len(word.text) <= MAX_DIGITS else None
        if match is None:
            self.fail(f"{word.text[:40]!r} is neither a declared tensor nor a decimal number", word.at)
        sign, whole, decimals, exponent = match.groups("")
        if not whole + decimals or abs(int(exponent or 0)) > MAX_EXPONENT:
            self.fail(f"{word.text[:40]!r} is no decimal number in range", word.at)
        value = int(sign + whole + decimals) * Fraction(10) ** (int(exponent or 0) - len(decimals))
        self.numbers[word.text] = value
        return value

    def _arithmetic(self, tree: _List) -> Form:
        if tree.head not in ("+", "-", "*") or len(tree.items) < 2:
            self.fail("'+', '-' or '*' and terms were expected", tree.at)
        terms = self._terms(tree.items[1:])
        total = dict(terms[0])
        if tree.head == "-" and len(terms) == 1:
            return {key: -value for key, value in total.items()}
        for term in terms[1:]:
            if tree.head == "*":
                total = multiply(total, term)
            else:
                add(total, term, 1 if tree.head == "+" else -1)
        return total
