"""The query: networks, one property, one semantics; immutable, and identified by its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from farkas.engine.ball import within
from farkas.engine.problem import LARGEST, Family, Matrix, families, grid_down, grid_up
from farkas.ir.core import Program
from farkas.ir.errors import FarkasError
from farkas.ir.graph import Graph
from farkas.ir.joined import Part, join
from farkas.ir.lowering import lower
from farkas.ir.products import with_monomials
from farkas.specs.boxes import Grid
from farkas.specs.query import Property, Semantics
from farkas.specs.ties import Reduced, reduced, untied


@dataclass(frozen=True)
class Query:
    """Does some execution of `graph` under `semantics` reach the unsafe region of `property`?

    The property speaks of one vector of inputs and one of outputs: those of all parts, one after the other (`join`).

    network, property_bytes: the decompressed files, for the runtime and the certificate; property_bytes is empty for a
    property that was made in Python, and network for a query about several.
    parts: the networks that `graph` joins, each with its name and bytes; by default one without a name.

    Where the property says that inputs are equal, `property` and `graph` are about the free ones only (`specs.ties`):
    a search sees nothing else.  `ties` knows the property as it was asked, and what every input is.
    """

    graph: Graph
    network: bytes
    property: Property
    semantics: Semantics
    property_bytes: bytes = b""
    parts: tuple[Part, ...] = ()
    ties: Reduced = field(init=False)

    def __post_init__(self) -> None:
        if not self.parts:
            object.__setattr__(self, "parts", (Part("", self.graph, self.network),))
            object.__setattr__(self, "graph", join(self.parts))
        fits = sum(part.inputs for part in self.parts) == self.property.inputs and not self.graph.elements
        ties = reduced(self.property, self.semantics) if fits else untied(self.property)
        object.__setattr__(self, "ties", ties)
        if ties.is_tied:
            object.__setattr__(self, "property", ties.property)
            object.__setattr__(self, "graph", join(self.parts, ties.columns))

    @cached_property
    def asked(self) -> Property:
        """The property as it was asked, about all inputs."""
        return self.ties.asked

    @staticmethod
    def of(parts: Sequence[Part], prop: Property, semantics: Semantics, property_bytes: bytes = b"") -> Query:
        """The query about several applications of networks, in the order in which the property counts them.

        Copies of one network are parts with the same bytes.  Raises as `join`.
        """
        network = parts[0].data if len(parts) == 1 else b""
        return Query(join(parts), network, prop, semantics, property_bytes, tuple(parts))

    @cached_property
    def program(self) -> Program:
        """What bounds and attacks work on: the network, with the property's monomials behind its outputs."""
        return with_monomials(self.lowered, self.property.monomials)

    @cached_property
    def lowered(self) -> Program:
        """The network alone."""
        program, inputs = lower(self.graph), sum(part.inputs for part in self.parts)
        if inputs != self.asked.inputs:
            raise FarkasError(
                f"the property declares {self.asked.inputs} inputs but the network takes {inputs} "
                f"({self._shapes}); check that the two belong together"
            )
        if program.output_size != self.property.outputs:
            raise FarkasError(
                f"the property declares {self.property.outputs} outputs but the network gives {program.output_size}; "
                "check that the two belong together"
            )
        if self.graph.dtype != "float32" and self.semantics is not Semantics.REAL:
            raise FarkasError(f"the network is {self.graph.dtype}; only `--semantics real` is defined for it")
        return program

    @cached_property
    def _shapes(self) -> str:
        shapes = [shape for part in self.parts for _, shape in part.graph.inputs]
        return f"shape {shapes[0]}" if len(shapes) == 1 else f"shapes {', '.join(map(str, shapes))}"

    @cached_property
    def sha256(self) -> str:
        """Identity of the question: network, property, semantics."""
        text = f"{self.graph.sha256}:{self.property.sha256}:{self.semantics.value}"
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def sets(self) -> InputSets:
        """The input sets of the cases; coordinates off the grid are counted over all inputs that were asked about."""
        sets = input_sets(self.property, self.semantics)
        return replace(sets, off_grid=input_sets(self.asked, self.semantics).off_grid) if self.ties.is_tied else sets

    @cached_property
    def families(self) -> list[Family]:
        prop = self.property
        found = families(prop.cases, self.sets.grid, prop.columns, frozenset(self.sets.empty))
        return [within(family, prop) for family in found] if prop.monomials else found


@dataclass(frozen=True, eq=False)
class InputSets:
    """Per case: the box on the certificate's grid, and the ends of the points that candidates are taken from.

    empty: cases without a binary32 point; off_grid: point coordinates that stand for their nearest binary32.
    """

    grid: list[tuple[Matrix, Matrix]]
    points: list[tuple[Matrix, Matrix]]
    empty: tuple[int, ...]
    off_grid: int


def input_sets(prop: Property, semantics: Semantics) -> InputSets:
    """The exact input set of every case in the form that search and attack work on."""
    grid, points, empty, off_grid = [], [], [], 0
    rounder = Grid()
    for number, case in enumerate(prop.cases):
        if any(abs(end) > LARGEST for end in (*case.lower, *case.upper)):
            raise FarkasError(f"an input bound exceeds {LARGEST:.0f}; rescale the inputs of the network")
        if semantics is Semantics.REAL:
            ends = np.array([float(v) for v in case.lower]), np.array([float(v) for v in case.upper])
            box = np.array([grid_down(v) for v in case.lower]), np.array([grid_up(v) for v in case.upper])
        else:
            own = rounder.box(case.lower, case.upper)
            off_grid += own.off_grid
            if own.empty:
                empty.append(number)
                ends = np.zeros(prop.inputs), np.zeros(prop.inputs)
            else:
                ends = own.lower.astype(np.float64), own.upper.astype(np.float64)
            box = np.floor(ends[0] * 2.0**32) * 2.0**-32, np.ceil(ends[1] * 2.0**32) * 2.0**-32
        grid.append(box)
        points.append(ends)
    return InputSets(grid, points, tuple(empty), off_grid)
