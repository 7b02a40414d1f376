"""Networks and properties as formulas over the reals, for solvers that reason exactly.

A component of a node is a polynomial of degree at most 1 over the columns.  From proved bounds of all neurons,

    active    its pre-activation itself          inactive    0
    unstable  r >= 0,  r >= z,  r <= s z + t  (the triangle of the linear model)   and one of   r <= 0,  r <= z

where r <= 0 and r <= z say with the first two lines that z <= 0 and r = 0, or z >= 0 and r = z.  These disjunctions
alone make the difference to the linear programs; the third line follows, but a solver that has it refutes many of their
combinations at once (z3, networks 3-8-8-2: half the conflicts).  With the phases written out as conjunctions of
z <= 0, r = 0 and so on z3 took 1.5 times as long; with columns for both parts of z = r - d, r, d >= 0, longer still.
What costs is the length of exact numbers, milliseconds a pivot, and that no encoding changes.

An Affine row is z = W a + b, or |z - W a - b| <= E where the node has an error vector E: for BatchNormalization's
irrational coefficients over the reals, and in binary32 for every rounding of every admissible order; `unsat` then
covers every execution, while a solution is a candidate and no more.

Columns of nodes bear the names of the linear model's, but rows come from the program: there the coefficients of a
column that a row meets twice are added up, and b +- E is computed, in float64, while here every number is exact.
Bounds and errors are float64 numbers of which only the side matters: cut outward to 16 bits, for exact simplex pays for
digits.

Networks with common inputs (two that should agree, a network and its copy) are added one after the other to the same
encoder; atoms may mix inputs and outputs and multiply them.

Katz, Barrett, Dill, Julian and Kochenderfer, Reluplex, CAV 2017; Ehlers, ATVA 2017 (the triangle in a search).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod
from typing import assert_never

import numpy as np

from farkas.encoders.linear_model import Group
from farkas.encoders.real_terms import (
    All,
    AnyOf,
    Assertion,
    Column,
    Formula,
    Poly,
    RealProblem,
    Step,
    at_most,
    below,
    bits,
    equal,
)
from farkas.encoders.relu_network import slots
from farkas.encoders.sparse import SparseRows, rows
from farkas.ir.core import Affine, Input, Product, Program, Relu, sources
from farkas.ir.errors import FarkasError
from farkas.ir.linear import Vector
from farkas.ir.relaxation import upper_line
from farkas.specs.query import Atom, Case, Monomial

SIGNIFICANT_BITS = 16  # of bounds and errors
MAX_BITS = 14_000  # of a number that solvers are told: they take decimals, and Python writes at most 4300 digits
ZERO = Poly(())
Box = tuple[tuple[Fraction, ...], tuple[Fraction, ...]]


@dataclass(frozen=True, eq=False)
class Proved:
    """What is known of a network over the input set: bounds (N,) of all neurons in network order, infinite where
    nothing is; errors: per Affine node E (n,) >= 0, by how much an execution may differ from W a + b (none: exact)."""

    lower: Vector
    upper: Vector
    errors: Mapping[int, Vector]

    @staticmethod
    def nothing(program: Program) -> Proved:
        width = sum(program.sizes[v] for v in slots(program))
        return Proved(np.full(width, -np.inf), np.full(width, np.inf), {})


@dataclass(eq=False)
class RealEncoder:
    """A problem under construction; columns handed out stay valid."""

    columns: list[Column] = field(default_factory=list)
    assertions: list[Assertion] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def add_inputs(self, lower: Sequence[Fraction], upper: Sequence[Fraction]) -> tuple[Poly, ...]:
        """One column X_i an input, within [lower_i, upper_i]."""
        inputs = tuple(self.add_column(f"X_{i}", f"input {i}") for i in range(len(lower)))
        self.require("input box", box(inputs, lower, upper))
        return inputs

    def add_column(self, name: str, what: str) -> Poly:
        self.columns.append(Column(name, what))
        return Poly.variable(len(self.columns) - 1)

    def require(self, what: str, formula: Formula) -> None:
        self.assertions.append(Assertion(what, formula))

    def define(self, column: Poly, value: Poly, *, rectified: bool = False) -> None:
        """Record how a run gives the column."""
        ((monomial, _),) = column.terms
        self.steps.append(Step(monomial[0], value, rectified))

    def add_network(self, program: Program, inputs: Sequence[Poly], proved: Proved, name: str = "") -> tuple[Poly, ...]:
        """The network's outputs on the inputs, as columns Y_j (name.Y_j); its other columns say where they are from."""
        prefix = f"{name}." if name else ""
        network = _Network(self, program, proved, prefix)
        values: dict[int, list[Poly]] = {}
        for v, node in enumerate(program.nodes):
            match node:
                case Input():
                    values[v] = list(inputs)
                case Affine():
                    values[v] = network.affine(v, node, values)
                case Relu(source=source):
                    values[v] = network.relu(v, source, values[source])
                case Product(left=left, right=right):
                    values[v] = network.product(v, values[left], values[right])
                case _:
                    assert_never(node)
        return tuple(network.output(j, value) for j, value in enumerate(values[program.output]))

    def problem(self) -> RealProblem:
        return RealProblem(tuple(self.columns), tuple(self.assertions), tuple(self.steps))


def property_problem(
    program: Program, inputs: int, cases: Sequence[Case], proved: Proved, monomials: Sequence[Monomial] = ()
) -> RealProblem:
    """Does some input of some case make it unsafe?

    proved: over the hull of all cases' boxes; monomials: the products that atoms speak of (`specs.query`); they are
    multiplied out, so that no column stands for them.  Raises FarkasError for numbers that are too long to be written.
    """
    encoder = RealEncoder()
    box_of_all = hull(cases) if cases else ((Fraction(0),) * inputs,) * 2
    xs = encoder.add_inputs(*box_of_all)
    ys = encoder.add_network(program, xs, proved)
    values = (*xs, *ys)
    products = [prod((values[k] for k in factors), start=Poly.constant(1)) for factors in monomials]
    unsafe = AnyOf(tuple(case_formula(case, xs, (*ys, *products), box_of_all) for case in cases))
    encoder.require("the property is violated", unsafe)
    longest = max(bits(assertion.formula) for assertion in encoder.assertions)
    if longest > MAX_BITS:
        raise FarkasError(f"a number of the property has {longest} bits; solvers are told {MAX_BITS} at most")
    return encoder.problem()


def case_formula(
    case: Case, inputs: Sequence[Poly], outputs: Sequence[Poly], known: tuple[Sequence[Fraction], ...]
) -> All:
    """x in the case's box, where that says more than the `known` bounds, and some disjunct holds."""
    lower, upper = known
    sides = [at_most(l, x) for x, l, k in zip(inputs, case.lower, lower, strict=True) if l != k]
    sides += [at_most(x, u) for x, u, k in zip(inputs, case.upper, upper, strict=True) if u != k]
    return All((*sides, AnyOf(tuple(disjunct_formula(atoms, inputs, outputs) for atoms in case.disjuncts))))


def disjunct_formula(atoms: Iterable[Atom], inputs: Sequence[Poly], outputs: Sequence[Poly]) -> All:
    return All(tuple(atom_formula(atom, inputs, outputs) for atom in atoms))


def atom_formula(atom: Atom, inputs: Sequence[Poly], outputs: Sequence[Poly]) -> Formula:
    """The half-space over the inputs' and outputs' terms, its numbers as they are."""
    parts = [(inputs[i], a) for i, a in atom.x] + [(outputs[j], b) for j, b in atom.y]
    left = Poly.of((monomial, c * factor) for poly, factor in parts for monomial, c in poly.terms)
    return below(left, atom.c) if atom.strict else at_most(left, atom.c)


def box(xs: Sequence[Poly], lower: Sequence[Fraction], upper: Sequence[Fraction]) -> All:
    """lower_i <= x_i <= upper_i; an equation where the two are one."""
    parts: list[Formula] = []
    for x, l, u in zip(xs, lower, upper, strict=True):
        parts += [equal(x, l)] if l == u else [at_most(l, x), at_most(x, u)]
    return All(tuple(parts))


def hull(cases: Sequence[Case]) -> Box:
    """The least box that holds the boxes of all cases; there is at least one."""
    lower = tuple(min(ends) for ends in zip(*(c.lower for c in cases), strict=True))
    return lower, tuple(max(ends) for ends in zip(*(c.upper for c in cases), strict=True))


@dataclass(eq=False)
class _Network:
    """One network being added to an encoder."""

    encoder: RealEncoder
    program: Program
    proved: Proved
    prefix: str

    def __post_init__(self) -> None:
        self.slots = slots(self.program)
        width = sum(self.program.sizes[v] for v in self.slots)
        assert self.proved.lower.shape == (width,), f"bounds of {self.proved.lower.shape} neurons for {width}"
        self.outputs: dict[int, list[Poly]] = {}  # of Relu nodes by their source

    def affine(self, v: int, node: Affine, values: Mapping[int, list[Poly]]) -> list[Poly]:
        """Each component: the row itself where it is exact and no longer than a term, else a column that it defines."""
        size, found = self.program.sizes[v], []
        inactive = self._inactive(v)
        errors = self.proved.errors.get(v, np.zeros(size))
        wanted = np.arange(size)
        operands = [(rows(term.map, wanted), values[term.source]) for term in node.terms]
        for i in range(size):
            if inactive[i]:
                found.append(ZERO)  # nobody reads it
                continue
            row = _row(i, Fraction(float(node.bias[i])), operands)
            found.append(self._defined(v, i, row, _cut_up(Fraction(float(errors[i])))))
        return found

    def _inactive(self, v: int) -> list[bool]:
        """Which components only feed Relus that they leave at 0."""
        readers = [n for n in self.program.nodes if not isinstance(n, Relu) and v in sources(n)]
        if v not in self.slots or v == self.program.output or readers:
            return [False] * self.program.sizes[v]
        return [bool(u <= 0) for u in self.proved.upper[self.slots[v]]]

    def _defined(self, v: int, i: int, row: Poly, error: Fraction) -> Poly:
        if not error and len(row.terms) <= 1 and row.degree <= 1:
            return row
        encoder = self.encoder
        what = f"{self._where(v)}, component {i}, value"
        column = encoder.add_column(self._name("value", v, i), what)
        encoder.define(column, row)
        if error:
            encoder.require(
                f"{what}, but for an error", All((at_most(column, row + error), at_most(row - error, column)))
            )
        else:
            encoder.require(what, equal(column, row))
        return column

    def _name(self, what: str, v: int, i: int) -> str:
        (name,) = Group(what, v, (i,), self.program.names[v]).names()
        return f"{self.prefix}{name}"

    def _where(self, v: int) -> str:
        return f"node {v} {self.program.names[v]!r}"

    def relu(self, v: int, source: int, z: list[Poly]) -> list[Poly]:
        """Each component: its pre-activation, 0, or a column; a second Relu of the same node is the first."""
        if isinstance(self.program.nodes[source], Relu):
            return z
        if source not in self.outputs:
            low, high = self._bounds(source)
            self.outputs[source] = [self._rectified(v, i, z[i], low[i], high[i]) for i in range(len(z))]
        return self.outputs[source]

    def product(self, v: int, left: list[Poly], right: list[Poly]) -> list[Poly]:
        """Each component as a column, so that polynomials stay short and of degree at most 2."""
        return [self._defined(v, i, a * b, Fraction(0)) for i, (a, b) in enumerate(zip(left, right, strict=True))]

    def _bounds(self, source: int) -> tuple[list[Fraction | None], list[Fraction | None]]:
        """Of each component, cut outward; None where there are none."""
        if source not in self.slots:
            nothing: list[Fraction | None] = [None] * self.program.sizes[source]
            return nothing, nothing
        slot = self.slots[source]
        low = [None if not math.isfinite(l) else -_cut_up(-Fraction(float(l))) for l in self.proved.lower[slot]]
        return low, [None if not math.isfinite(u) else _cut_up(Fraction(float(u))) for u in self.proved.upper[slot]]

    def _rectified(self, v: int, i: int, z: Poly, low: Fraction | None, high: Fraction | None) -> Poly:
        if not z.columns:
            return Poly.constant(max(z.value(()), Fraction(0)))
        if low is not None and low >= 0:
            return z
        if high is not None and high <= 0:
            return ZERO
        encoder = self.encoder
        what = f"{self._where(v)}, component {i}, positive part"
        r = encoder.add_column(self._name("relu", v, i), what)
        encoder.define(r, z, rectified=True)
        lines: list[Formula] = [at_most(0, r), at_most(z, r)]
        if low is not None and high is not None:
            lines += [at_most(low, z), at_most(z, high), _under(r, z, low, high)]
        encoder.require(f"{what}, its lines", All(tuple(lines)))
        encoder.require(f"{what}, its phases", AnyOf((at_most(r, 0), at_most(r, z))))
        return r

    def output(self, j: int, value: Poly) -> Poly:
        column = self.encoder.add_column(f"{self.prefix}Y_{j}", f"output {j}")
        self.encoder.define(column, value)
        self.encoder.require(f"output {j}", equal(column, value))
        return column


def _row(i: int, bias: Fraction, operands: Sequence[tuple[SparseRows, list[Poly]]]) -> Poly:
    """Row i of the sum of the operands' maps, exactly."""
    total: dict[tuple[int, ...], Fraction] = {(): bias}
    for part, values in operands:
        for k in range(int(part.start[i]), int(part.start[i + 1])):
            weight = Fraction(float(part.values[k]))
            for monomial, c in values[int(part.index[k])].terms:
                total[monomial] = total.get(monomial, Fraction(0)) + weight * c
    return Poly.of(total.items())


def _under(r: Poly, z: Poly, low: Fraction, high: Fraction) -> Formula:
    """r <= s z + t, the upper line of `ir.relaxation` in exact arithmetic."""
    line = upper_line(np, np.array([low], dtype=object), np.array([high], dtype=object))
    return at_most(r, z * Fraction(line.slope[0]) + Fraction(line.intercept[0]))


def _cut_up(q: Fraction) -> Fraction:
    """The least number of SIGNIFICANT_BITS bits at or above q (one of the same sign, or 0)."""
    if not q:
        return q
    exponent = abs(q.numerator).bit_length() - q.denominator.bit_length() - SIGNIFICANT_BITS
    unit = Fraction(2) ** exponent
    return math.ceil(q / unit) * unit
