"""The PLAN and VECTORS frames of `crown-fp-2`: which rows tighten which neurons, which disjuncts part, explicit slopes.

Neurons are numbered through: the values of the affine nodes that some ReLU reads (*layers*), in network order.  A
*vector* states the lower slopes of one backward pass, one byte for each of the first few neurons of a list that all
vectors share (`columns`), and its *pins*, multipliers of lines that pass through a bound in force.  docs/certificate.md
gives the grammar.

Vectors are validated once and decoded where they are used, so that a frame takes the memory of its bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeGuard

from farkas.checker import leb128
from farkas.checker.errors import CertificateRejected

RULES = ("adaptive", "zero", "parallel", "one")
MAX_PIN = 1 << 62
MAX_VECTORS = 1 << 22


@dataclass(frozen=True)
class Vector:
    """Explicit lower slopes and pins of one backward pass.

    slopes: byte i is for neuron columns[i]: b means b/256, 255 means 1; neurons without a byte take rule 0.
    pins: (neuron, gamma at 2^-F), neurons ascending, gamma not zero: the row loses gamma (z - b) >= 0, where b is the
    neuron's lower bound in force for gamma > 0 and its upper bound for gamma < 0.
    """

    slopes: bytes
    pins: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class RowGroup:
    """Backward rows for neurons of one layer: positions in it, None for all that are open when the layer is reached.

    rule: the slope rule 0 .. 3 when `vectors` is empty; else two vectors per neuron, for its row and the negated one.
    In a parsed plan rule -1-b with empty `vectors` stands for vectors b, b+1, ...; `Vectors.resolve` puts them in.
    """

    layer: int
    neurons: tuple[int, ...] | None
    rule: int
    vectors: tuple[Vector, ...]


@dataclass(frozen=True)
class Recipe:
    """What is derived at a tree node: the forward pass or not, then row groups, layers not descending."""

    forward: bool
    rows: tuple[RowGroup, ...]


@dataclass(frozen=True)
class Plan:
    """The PLAN frame; forks are sets of disjuncts."""

    columns: tuple[int, ...]
    forks: tuple[frozenset[int], ...]
    recipes: tuple[Recipe, ...]


class Vectors:
    """The VECTORS frame, every vector of it valid for this many columns and neurons.

    Indexing decodes one.  Raises CertificateRejected.
    """

    def __init__(self, payload: bytes, columns: int, neurons: int) -> None:
        self._payload, self._columns, self._neurons = payload, columns, neurons
        self._starts, self._tops = array("I"), array("I")
        at = 0
        while at < len(payload):
            if len(self._starts) == MAX_VECTORS:
                raise CertificateRejected(f"VECTORS byte {at}", f"there are more than {MAX_VECTORS} vectors")
            self._starts.append(at)
            vector, at = self._read(at)
            self._tops.append(vector.pins[-1][0] + 1 if vector.pins else 0)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, number: int) -> Vector:
        return self._read(self._starts[number])[0]

    def top(self, number: int) -> int:
        """All pins of the vector are on neurons below this one."""
        return self._tops[number]

    def resolve(self, recipe: Recipe) -> Recipe:
        """The recipe with its vectors in place."""
        return replace(recipe, rows=tuple(map(self._group, recipe.rows)))

    def _group(self, group: RowGroup) -> RowGroup:
        if group.rule >= 0 or group.neurons is None:
            return group
        first = -1 - group.rule
        return replace(group, vectors=tuple(self[first + i] for i in range(2 * len(group.neurons))))

    def _read(self, at: int) -> tuple[Vector, int]:
        """(the vector that starts at a byte, the position behind it)."""
        payload = self._payload
        where = f"VECTORS number {len(self._starts)} byte"
        count, at = leb128.read(payload, at, self._columns + 1, "VECTORS")
        slopes = payload[at : at + count]
        if len(slopes) < count:
            raise CertificateRejected(f"{where} {at}", "it is cut off")
        number, at = leb128.read(payload, at + count, self._neurons + 1, "VECTORS")
        pins: list[tuple[int, int]] = []
        neuron = -1
        for _ in range(number):
            gap, at = leb128.read(payload, at, self._neurons - neuron - 1, "VECTORS")
            neuron += gap + 1
            gamma, at = leb128.read(payload, at, 2 * MAX_PIN - 1, "VECTORS")
            if gamma == 0:
                raise CertificateRejected(f"VECTORS byte {at - 1}", "a pin has multiplier 0")
            pins.append((neuron, leb128.zigzag(gamma)))
        return Vector(slopes, tuple(pins)), at


def parse_columns(data: object, neurons: int) -> tuple[int, ...]:
    """The `columns` of a PLAN frame, which VECTORS needs.  Raises CertificateRejected."""
    if not isinstance(data, dict) or set(data) != {"columns", "forks", "recipes"}:
        raise CertificateRejected("PLAN", "its keys must be columns, forks, recipes")
    return ascending(data["columns"], neurons, "columns")


def parse_plan(data: object, layers: Sequence[int], disjuncts: int, vectors: Vectors) -> Plan:
    """The plan.  layers: the neurons of every layer; disjuncts: the most that a case has.

    Raises CertificateRejected.
    """
    columns = parse_columns(data, sum(layers))
    if not isinstance(data, dict):
        raise CertificateRejected("PLAN", "an object was expected")
    starts = [sum(layers[:k]) for k in range(len(layers))]
    forks: list[frozenset[int]] = []
    for fork in _list(data["forks"], "forks"):
        forks.append(frozenset(ascending(fork, disjuncts, "a fork")))
        if not forks[-1]:
            raise CertificateRejected("PLAN", "a fork is empty")
    recipes: list[Recipe] = []
    for number, recipe in enumerate(_list(data["recipes"], "recipes")):
        where = f"recipe {number}"
        if not isinstance(recipe, dict) or set(recipe) != {"forward", "rows"}:
            raise CertificateRejected("PLAN", f"{where}: its keys must be forward, rows")
        if not _is_int(recipe["forward"], 0, 2):
            raise CertificateRejected("PLAN", f"{where}: forward must be 0 or 1, found {recipe['forward']!r:.40}")
        groups = tuple(_group(g, layers, starts, vectors, where) for g in _list(recipe["rows"], where))
        if any(a.layer > b.layer for a, b in pairwise(groups)):
            raise CertificateRejected("PLAN", f"{where}: its layers must not descend")
        recipes.append(Recipe(recipe["forward"] == 1, groups))
    return Plan(columns, tuple(forks), tuple(recipes))


def _group(data: object, layers: Sequence[int], starts: Sequence[int], vectors: Vectors, where: str) -> RowGroup:
    match data:
        case [layer, neurons, rule] if _is_int(layer, 0, len(layers)) and _is_int(rule, -MAX_VECTORS, len(RULES)):
            chosen = None if neurons == "open" else ascending(neurons, layers[layer], f"{where}: neurons")
        case _:
            raise CertificateRejected("PLAN", f"{where}: [layer, neurons, slopes] expected, found {data!s:.40}")
    if rule < 0:
        if chosen is None:
            raise CertificateRejected("PLAN", f"{where}: explicit slopes need a list of neurons")
        first, behind = -1 - rule, -1 - rule + 2 * len(chosen)
        if behind > len(vectors):
            raise CertificateRejected("PLAN", f"{where}: uses vectors {first} to {behind - 1} of {len(vectors)}")
        for number in range(first, behind):
            if vectors.top(number) > starts[layer] + layers[layer]:
                raise CertificateRejected("PLAN", f"{where}: vector {number} pins neurons above layer {layer}")
    return RowGroup(layer, chosen, rule, ())


def _list(data: object, what: str) -> list[Any]:  # JSON: what the elements are is checked where they are used
    if not isinstance(data, list):
        raise CertificateRejected("PLAN", f"{what}: a list was expected, found {data!s:.40}")
    return data


def ascending(data: object, limit: int, what: str) -> tuple[int, ...]:
    """A list of ascending numbers below `limit`."""
    numbers = _list(data, what)
    if not all(_is_int(x, 0, limit) for x in numbers) or any(a >= b for a, b in pairwise(numbers)):
        raise CertificateRejected("PLAN", f"{what} must be ascending numbers below {limit}")
    return tuple(numbers)


def _is_int(x: object, low: int, high: int) -> TypeGuard[int]:
    return type(x) is int and low <= x < high
