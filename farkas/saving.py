"""Specifications as files for other tools: `Spec.save`.

VNN-LIB 2.0 says all of a specification, in one file beside those of its networks (`farkas.specs.language_document`).
VNN-LIB 1.0 speaks of one network with one input and one output, and most of its readers know boxes of inputs and
comparisons of outputs, and nothing else.  What is more than that becomes part of the network:

- several calls, inputs or outputs are joined to one file (`farkas.ir.onnx_join`), in which inputs that are equal by the
  specification are one;
- inputs that are compared with outputs, or with each other, are passed through as outputs behind the others;
- products are computed behind those, as outputs too.

The first two are data movement, and change nothing in any semantics.  The last is a head that rounds where the
specification means exact products: the file says that it preserves the reals only, and float modes refuse it.

Inputs are made one only where their bounds agree.  Bounds that differ mean their common points, but in binary32 that
depends on the grid (`farkas.specs.ties`), so there the equations stay, as comparisons of what is passed through.

Beside the network stands a side file that takes a witness back (`farkas.specs.side`, `farkas.reading.lift`).
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from farkas.api import FilePath, Network, write_bytes
from farkas.ir.errors import FarkasError
from farkas.ir.joined import is_single
from farkas.ir.onnx_edit import is_real_only
from farkas.ir.onnx_join import FilePart, Head, join_files
from farkas.specs.language_document import document
from farkas.specs.language_forms import Application, Variable
from farkas.specs.query import Atom, Property, Semantics, Terms
from farkas.specs.side import FileName, Interface, Side, Stated
from farkas.specs.ties import Reduced, reduced, untied
from farkas.specs.vnnlib1_writer import is_plain, is_plain_atom, write_property

if TYPE_CHECKING:
    from farkas.spec import Spec

VERSIONS = ("2.0", "1.0")


def save(spec: Spec, path: FilePath, version: str = "2.0") -> bytes:
    """Writes the specification as a VNN-LIB file of this version, and returns its (uncompressed) bytes.

    path: of the file; `.gz` at its end compresses it.  Beside it, under its name with other endings, stand the files
    without which it means nothing: in 2.0 `NAME.onnx` for each network that was made in Python, in 1.0 `.onnx` and
    `.json` where the network had to be extended.
    Raises FarkasError for what the format cannot say.
    """
    place = Path(path)
    if version == "2.0":
        data = document(spec.normal, real=spec.semantics is Semantics.REAL).encode()
        for name, network in _made_here(spec).items():
            write_bytes(_beside(place, f".{name}.onnx"), network.data)
    elif version == "1.0":
        data = _version_1(spec, place)
    else:
        raise FarkasError(f"there is no version {version!r} to save in; known are {', '.join(VERSIONS)}")
    write_bytes(place, gzip.compress(data, mtime=0) if place.suffix == ".gz" else data)
    return data


def _beside(path: Path, ending: str) -> Path:
    """The file of the same name with another ending."""
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".vnnlib") + ending)


def _made_here(spec: Spec) -> dict[str, Network]:
    """The networks that were read from no file, each once, by their names in the saved file."""
    found: dict[bytes, tuple[str, Network]] = {}
    for name, network in spec.networks.items():
        if network.path is None:
            found.setdefault(network.data, (name, network))
    return dict(found.values())


def _version_1(spec: Spec, path: Path) -> bytes:
    networks = list(spec.networks.values())
    joined = _Joined(spec.property, networks)
    if joined.is_trivial:
        text = write_property(spec.property).encode()
        if networks[0].path is not None:
            return text
        made = networks[0].data
    else:
        made = joined.network()
        text = write_property(joined.property(), [f"about the network in {_beside(path, '.onnx').name}"]).encode()
    network, side = _beside(path, ".onnx"), _beside(path, ".json")
    write_bytes(network, made)
    said = Side(
        FileName(path.name, hashlib.sha256(text).hexdigest()), FileName(network.name, hashlib.sha256(made).hexdigest()),
        is_real_only(made), joined.reduced.columns, joined.size, _interfaces(spec), _variables(spec),
    )  # fmt: skip
    write_bytes(side, said.text().encode())
    return text


@dataclass(frozen=True)
class _Joined:
    """A property about one network whose outputs are those of all networks and what a head adds."""

    asked: Property
    networks: Sequence[Network]

    @property
    def is_trivial(self) -> bool:
        """Whether nothing has to be changed."""
        return len(self.networks) == 1 and is_single(self.networks[0].graph) and is_plain(self.asked)

    @property
    def reduced(self) -> Reduced:
        """The property about free inputs, where that means the same in all semantics."""
        if self.is_trivial:
            return untied(self.asked)
        found = reduced(self.asked, Semantics.REAL)
        for case in self.asked.cases:
            for bounds in (case.lower, case.upper):
                ends: dict[int, Fraction] = {}
                if any(ends.setdefault(column, end) != end for column, end in zip(found.columns, bounds, strict=True)):
                    return untied(self.asked)
        return found

    @property
    def passed(self) -> tuple[int, ...]:
        """The inputs that are compared with others or with outputs."""
        atoms = {id(a): a for case in self.reduced.property.cases for atoms in case.disjuncts for a in atoms}
        return tuple(sorted({i for atom in atoms.values() if not is_plain_atom(atom) for i, _ in atom.x}))

    @property
    def size(self) -> int:
        """The number of outputs."""
        return self.asked.outputs if self.is_trivial else self.property().outputs

    def property(self) -> Property:
        """The property over the joined network."""
        prop, passed = self.reduced.property, self.passed
        place = {i: prop.outputs + k for k, i in enumerate(passed)}
        known: dict[int, Atom] = {}

        def moved(atom: Atom) -> Atom:
            if id(atom) not in known:
                known[id(atom)] = _moved(atom, place, prop.outputs, len(passed))
            return known[id(atom)]

        cases = [
            replace(case, disjuncts=tuple(tuple(map(moved, atoms)) for atoms in case.disjuncts)) for case in prop.cases
        ]
        outputs = prop.outputs + len(passed) + len(prop.monomials)
        return Property(prop.inputs, outputs, tuple(cases), vacuous=prop.vacuous)

    def network(self) -> bytes:
        """The joined network."""
        found, parts, start = self.reduced, [], 0
        for number, network in enumerate(self.networks, start=1):
            stop = start + network.inputs
            name = f"f{number}" if len(self.networks) > 1 else ""
            parts.append(FilePart(name, network.data, found.columns[start:stop], network.outputs))
            start = stop
        return join_files(parts, found.property.inputs, Head(self.passed, found.property.monomials))


def _moved(atom: Atom, place: dict[int, int], outputs: int, passed: int) -> Atom:
    """The atom with inputs where they are passed through, unless it is a bound, and monomials behind these."""
    y: Terms = tuple((j if j < outputs else j + passed, b) for j, b in atom.y)
    if is_plain_atom(atom):
        return Atom(atom.x, y, atom.c, atom.strict)
    return Atom((), tuple(sorted([*((place[i], a) for i, a in atom.x), *y])), atom.c, atom.strict)


def _interfaces(spec: Spec) -> tuple[Interface, ...]:
    found = []
    for name, network in spec.networks.items():
        graph = network.graph
        outputs = tuple((tensor, tuple(graph.shapes[tensor])) for tensor in graph.outputs)
        found.append(Interface(name, hashlib.sha256(network.data).hexdigest(), graph.inputs, outputs))
    return tuple(found)


def _variables(spec: Spec) -> tuple[Stated, ...]:
    """The variables of which every entry is an input of a network, as it is or scaled and shifted."""
    found: dict[Variable | Application, dict[int, tuple[int, Fraction, Fraction]]] = {}
    slots = (slot for copy in spec.normal.copies for slot in copy.slots)
    for place, slot in enumerate(slots):
        if slot.entry is not None:
            source, index = slot.entry
            found.setdefault(source, {}).setdefault(index, (place, 1 / slot.factor, -slot.shift / slot.factor))
    return tuple(
        Stated(source.name, source.shape, source.labels, tuple(entries[k] for k in sorted(entries)))
        for source, entries in found.items()
        if isinstance(source, Variable) and len(entries) == prod(source.shape)
    )
