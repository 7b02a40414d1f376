"""Side files: how a property that was brought to VNN-LIB 1.0 is to be read back.

Several networks, or several inputs, became one file with the vector X and the vector Y, with a head behind it.  The
side file says which element of X every input was, how many elements of Y are outputs of the networks themselves, what
networks, tensors and variables these were, and the digests of the two files that it belongs to.  It is JSON; rational
numbers are strings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import prod
from typing import Any, NoReturn

from farkas.ir.errors import FarkasError
from farkas.specs.numbers import decimal
from farkas.specs.witness import Named, Witness

FORMAT = "farkas-side-1"
Tensors = tuple[tuple[str, tuple[int, ...]], ...]


class MalformedSide(FarkasError):
    """The text is no side file, or belongs to other files."""


@dataclass(frozen=True)
class FileName:
    """A file in the folder of the side file, and the digest of its (decompressed) bytes."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Interface:
    """One of the networks that were joined: its name, its digest, and its input and output tensors."""

    name: str
    sha256: str
    inputs: Tensors
    outputs: Tensors


@dataclass(frozen=True)
class Stated:
    """A variable of the specification; entries: (place, scale, offset), where the entry is scale * input + offset."""

    name: str
    shape: tuple[int, ...]
    labels: tuple[str, ...]
    entries: tuple[tuple[int, Fraction, Fraction], ...]


@dataclass(frozen=True)
class Lifted:
    """A witness of the joined network as one of its parts: inputs and outputs of all of them, in order; and the same
    by name, variables first."""

    inputs: tuple[Fraction, ...]
    outputs: tuple[Fraction, ...]
    named: tuple[Named, ...]


@dataclass(frozen=True)
class Side:
    """asked, network: the property and the network that belong together.

    real: whether the network preserves the reals only;
    columns: for every input of the networks, the element of X that it is; size: of Y.
    """

    asked: FileName
    network: FileName
    real: bool
    columns: tuple[int, ...]
    size: int
    networks: tuple[Interface, ...]
    variables: tuple[Stated, ...] = ()

    @property
    def outputs(self) -> int:
        """How many elements of Y are outputs of the networks."""
        return sum(prod(shape) for network in self.networks for _, shape in network.outputs)

    def lift(self, witness: Witness) -> Lifted:
        """The witness in terms of the networks; raises MalformedSide when it is one of something else."""
        x, y = witness.inputs, witness.outputs
        if len(x) != max(self.columns) + 1 or len(y) != self.size:
            _fail(f"found a witness of {len(x)} inputs and {len(y)} outputs, wanted "
                  f"{max(self.columns) + 1} and {self.size}")  # fmt: skip
        inputs = tuple(x[column] for column in self.columns)
        outputs = y[: self.outputs]
        named = [
            Named(v.name, v.shape, v.labels, tuple(scale * inputs[k] + offset for k, scale, offset in v.entries))
            for v in self.variables
        ]
        named += _tensors([(n.name, n.inputs) for n in self.networks], inputs)
        named += _tensors([(n.name, n.outputs) for n in self.networks], outputs)
        return Lifted(inputs, outputs, tuple(named))

    def text(self) -> str:
        """The file."""
        return json.dumps(_object(self), indent=1) + "\n"

    @staticmethod
    def parse(text: str) -> Side:
        """The side file with this text; raises MalformedSide."""
        try:
            return _side(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            _fail(f"found no side file ({type(error).__name__}: {error}), wanted one that `Spec.save` wrote")


def _tensors(networks: Sequence[tuple[str, Tensors]], values: Sequence[Fraction]) -> list[Named]:
    """The tensors of all networks, one after the other, with their names."""
    tensors = [(f"{name}.{tensor}", shape) for name, own in networks for tensor, shape in own]
    ends = [0]
    for _, shape in tensors:
        ends.append(ends[-1] + prod(shape))
    return [
        Named(name, shape, (), tuple(values[start:stop]))
        for (name, shape), (start, stop) in zip(tensors, pairwise(ends), strict=True)
    ]


def _object(side: Side) -> dict[str, object]:
    return {
        "format": FORMAT,
        "property": {"file": side.asked.name, "sha256": side.asked.sha256},
        "network": {"file": side.network.name, "sha256": side.network.sha256},
        "preserves": "real" if side.real else "all",
        "columns": list(side.columns),
        "size": side.size,
        "networks": [
            {
                "name": n.name, "sha256": n.sha256, "inputs": [[name, list(shape)] for name, shape in n.inputs],
                "outputs": [[name, list(shape)] for name, shape in n.outputs],
            }
            for n in side.networks
        ],
        "variables": [
            {
                "name": v.name, "shape": list(v.shape), "labels": list(v.labels),
                "entries": [[k, str(scale), str(offset)] for k, scale, offset in v.entries],
            }
            for v in side.variables
        ],
    }  # fmt: skip


def _side(found: Mapping[str, Any]) -> Side:
    """Raises what a missing or ill-typed entry raises, or MalformedSide."""
    if found["format"] != FORMAT:
        _fail(f"found the format {str(found['format'])[:40]!r}, wanted {FORMAT!r}")
    if found["preserves"] not in ("real", "all"):
        _fail("found 'preserves' with another value than 'real' or 'all'")
    networks = tuple(
        Interface(str(n["name"]), str(n["sha256"]), _shapes(n["inputs"]), _shapes(n["outputs"]))
        for n in found["networks"]
    )
    columns = tuple(int(k) for k in found["columns"])
    if sum(prod(shape) for n in networks for _, shape in n.inputs) != len(columns) or min(columns) < 0:
        _fail("found inputs and columns that do not fit each other")
    variables = tuple(
        Stated(
            str(v["name"]), tuple(map(int, v["shape"])), tuple(map(str, v["labels"])),
            tuple((int(k), _number(scale), _number(offset)) for k, scale, offset in v["entries"]),
        )
        for v in found["variables"]
    )  # fmt: skip
    for v in variables:
        if len(v.entries) != prod(v.shape) or not all(0 <= k < len(columns) for k, _, _ in v.entries):
            _fail(f"found the variable '{v.name}' with entries that are none of the inputs")
    asked, network = (FileName(str(found[key]["file"]), str(found[key]["sha256"])) for key in ("property", "network"))
    return Side(asked, network, found["preserves"] == "real", columns, int(found["size"]), networks, variables)


def _shapes(found: Sequence[Sequence[Any]]) -> Tensors:
    return tuple((str(name), tuple(map(int, shape))) for name, shape in found)


def _number(word: str) -> Fraction:
    """A decimal or a quotient of two."""
    parts = [decimal(part) for part in word.split("/")]
    if len(parts) > 2 or None in parts or parts[1:] == [0]:
        _fail(f"found {word[:40]!r}, wanted a rational number")
    first, *others = (part for part in parts if part is not None)
    return first / others[0] if others else first


def _fail(message: str) -> NoReturn:
    raise MalformedSide(message)
