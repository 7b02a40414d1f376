"""What a certificate of the rule crown-fp-2 says, counted: its vectors, its derivations, what its leaves rest on.

As with `certificate_file`, nothing is proved here and anything readable is read.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from farkas.certificate_file import CertificateFile, MalformedCertificate, TreeShape, tree_shape


@dataclass(frozen=True)
class Vectors:
    """pins: how many each vector has; slopes: bytes of slopes of all vectors."""

    pins: tuple[int, ...]
    slopes: int


@dataclass(frozen=True)
class Derivations:
    """How often bounds are derived: with the forward pass, rows of listed neurons (two each), whole open layers."""

    count: int
    forward: int
    rows: int
    layers: int


@dataclass(frozen=True)
class Content:
    """has_plan: of crown-fp-2; columns: neurons whose slopes vectors state; leaves: how many each rule closes."""

    has_plan: bool
    shape: TreeShape
    columns: int
    vectors: Vectors
    derivations: Derivations
    leaves: Counter[str]


def read_content(certificate: CertificateFile) -> Content | None:
    """None for a certificate without trees; raises MalformedCertificate."""
    tree, leaves = certificate.frame("TREE"), certificate.header.get("leaves")
    if tree is None or not isinstance(leaves, int) or not tree.payload:
        return None
    plan = _json(certificate, "PLAN", {"columns": [], "forks": [], "recipes": []})
    kinds = _json(certificate, "LEAVES", [])
    frame = certificate.frame("VECTORS")
    vectors = read_vectors(b"" if frame is None else frame.payload)
    try:
        shape = tree_shape(tree.payload, leaves, len(plan["recipes"]), len(plan["forks"]))
        derivations = _derivations(plan["recipes"], shape.recipes)
        rules: Counter[str] = Counter()
        for number, used in shape.kinds.items():
            rules[leaf_rule(kinds[number], vectors)] += used
        return Content(certificate.frame("PLAN") is not None, shape, len(plan["columns"]), vectors, derivations, rules)
    except (LookupError, TypeError, ValueError) as error:
        raise MalformedCertificate(f"the frames do not fit together: {error}") from error


def _json(certificate: CertificateFile, name: str, otherwise: Any) -> Any:
    frame = certificate.frame(name)
    if frame is None:
        return otherwise
    try:
        return json.loads(frame.payload)
    except (ValueError, RecursionError) as error:
        raise MalformedCertificate(f"the frame {name} is no JSON; the file is damaged") from error


def _derivations(recipes: list[Any], used: Counter[int]) -> Derivations:
    forward = rows = layers = 0
    for number, count in used.items():
        recipe = recipes[number]
        forward += count * recipe["forward"]
        for _, neurons, _ in recipe["rows"]:
            if isinstance(neurons, list):
                rows += 2 * count * len(neurons)
            else:
                layers += count
    return Derivations(used.total(), forward, rows, layers)


def leaf_rule(kind: list[Any], vectors: Vectors) -> str:
    """What a leaf of this kind rests on: `rule`, `combination`, `slopes`, `pins`; `empty`: that nothing is left in it.

    The strongest of what its disjuncts need.
    """
    if not any(atoms for _, atoms in kind):
        return "empty"
    stated = [-1 - rule for rule, _ in kind if rule < 0]
    if stated:
        return "pins" if any(vectors.pins[number] for number in stated) else "slopes"
    return "combination" if any(len(atoms) > 1 for _, atoms in kind) else "rule"


def read_vectors(payload: bytes) -> Vectors:
    """The vectors of a VECTORS payload: m, m slopes, p, p pins (two numbers each); raises MalformedCertificate."""
    pins, slopes, at = [], 0, 0
    while at < len(payload):
        count, at = _number(payload, at)
        slopes += count
        pinned, at = _number(payload, at + count)
        for _ in range(2 * pinned):
            _, at = _number(payload, at)
        pins.append(pinned)
    return Vectors(tuple(pins), slopes)


def _number(payload: bytes, at: int) -> tuple[int, int]:
    """A LEB128 number and the position behind it."""
    value = shift = 0
    while at < len(payload):
        byte = payload[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
    raise MalformedCertificate("the VECTORS frame is cut off")
