"""A network over a box as a linear model: the triangle relaxation, or exactly with one binary an unstable neuron.

Every node gets columns for its components.  An Affine row is an equality widened by the node's error vector, so that
the columns cover every execution of the prepared semantics: |z - W a - b| <= E.  A Relu neuron is, from its bounds,

    active    its pre-activation's own column          inactive    no column at all (zero)
    unstable  r >= 0,  r >= z,  r <= s z + t            the lines of `ir.relaxation`, with 8-bit slopes

and, with phases big-m, r <= u d and r <= z - l (1 - d) with d in {0, 1} in place of the upper line, with the tightest
constants that the bounds give; its continuous relaxation is the triangle again.  Multiple choice (`choices`) is tighter
and larger.  Maxima, which a program states as pairs over Relus, are taken as they stand or as groups (`maxima`).

Branch and bound changes the bounds of few neurons, never the columns: `restated` gives the numbers of a subproblem for
the same model (an active neuron there has r >= z with equality, an inactive one r = 0).  Since the lines are exactly
those that a certificate's rule derives, the dual values of the model transfer to it without loss.

Ehlers, ATVA 2017 (triangle); Cheng, Nührenberg and Ruess, Maximum Resilience of Artificial Neural Networks, ATVA 2017,
and Tjeng, Xiao and Tedrake, Evaluating Robustness of Neural Networks with Mixed Integer Programming, ICLR 2019 (big-M).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, assert_never, get_args

import numpy as np
import numpy.typing as npt

from farkas.encoders.choices import NO_FORM, Naming, Operand, Places, Sums, big_m, multiple_choice
from farkas.encoders.linear_model import Group, LinearModel, ModelBuilder, rows_of
from farkas.encoders.maxima import Maximum, find_pairs, maximum, still_needed
from farkas.encoders.ranges import Range, node_ranges
from farkas.encoders.sparse import SparseRows, beside, losses, merged, renumbered, row_length, rows
from farkas.ir.core import Affine, CoreOp, Input, Product, Program, Relu, sources
from farkas.ir.linear import Indices, Vector
from farkas.ir.products import refused
from farkas.ir.relaxation import upper_line

NONE = -1  # no column: the component is zero


Phases = Literal["relaxed", "big-m", "multiple-choice"]
Maxima = Literal["chain", "big-m", "multiple-choice"]
Errors = Literal["rows", "columns"]


@dataclass(frozen=True)
class EncodingOptions:
    """All options of the encoding.

    field    value              meaning
    phases   relaxed            unstable neurons are triangles: a relaxation of the network, a linear program
             big-m              a binary for each unstable neuron: the model is the network itself
             multiple-choice    a binary and two copies of the inputs for each unstable neuron: ideal one by one
    maxima   chain              max(a, b) is a + relu(b - a), as the program says; neurons like all others
             big-m              one binary for each operand that may be the maximum of a whole group
             multiple-choice    as many, and as many copies of what the operands read: ideal group by group
    errors   rows               an Affine row is a range: W a + b - E <= z <= W a + b + E
             columns            an equality z = W a + b + e with a column e in [-E, E] for every E > 0
    """

    phases: Phases = "relaxed"
    maxima: Maxima = "chain"
    errors: Errors = "rows"

    def __post_init__(self) -> None:
        for value, known in ((self.phases, Phases), (self.maxima, Maxima), (self.errors, Errors)):
            assert value in get_args(known), f"no such option: '{value}'; known: {', '.join(get_args(known))}"

    @property
    def integral(self) -> bool:
        """Whether neurons have binaries, so that the model is the network and not a relaxation."""
        return self.phases != "relaxed"


@dataclass(frozen=True, eq=False)
class Encoding:
    """A model of a network over a box, and where things are in it.

    columns: per node the column of each component (-1: zero); definition (N,): row that defines each neuron, -1 where
    none; value (N,): column of its pre-activation, -1 where none.  Unstable neurons, in network order: neuron (K,) flat
    number, output (K,) column, above (K,) row of r - z >= 0, under (K,) row of r - s z <= t (empty when integral),
    binary (K,) column (empty unless integral).  Neurons that only state maxima are none of them where maxima are
    groups; picks: columns of the binaries of these.
    """

    model: LinearModel
    columns: dict[int, Indices]
    definition: Indices
    value: Indices
    neuron: Indices
    output: Indices
    above: Indices
    under: Indices
    binary: Indices
    picks: Indices


def slots(program: Program) -> dict[int, slice]:
    """For every Affine node that a Relu reads its neurons' flat numbers, in network order."""
    read = {node.source for node in program.nodes if isinstance(node, Relu)}
    found, start = {}, 0
    for v, node in enumerate(program.nodes):
        if v in read and isinstance(node, Affine):
            found[v] = slice(start, start + program.sizes[v])
            start += program.sizes[v]
    return found


def coefficients(program: Program, lower: Vector, upper: Vector) -> int:
    """About how many coefficients `encode` would make: its memory and, beyond some millions, hours of a solver."""
    total, place = 0, slots(program)
    for v, node in enumerate(program.nodes):
        if isinstance(node, Affine):
            count = program.sizes[v]
            if v in place:
                count = int((upper[place[v]] >= 0).sum())
            total += count * sum(row_length(term.map) for term in node.terms)
    return total


def encode(
    program: Program,
    x_lower: Vector,
    x_upper: Vector,
    lower: Vector,
    upper: Vector,
    errors: Mapping[int, Vector],
    options: EncodingOptions | None = None,
) -> Encoding:
    """The model of `program` over the box, from proved bounds of all neurons.

    lower, upper (N,): finite, and no tighter than those of any subproblem that will be restated; errors: per Affine
    node E (n,), by how much an execution may differ from W a + b (none given: exact).
    """
    work = _Encoder(program, x_lower, x_upper, lower, upper, errors, options or EncodingOptions())
    for v, node in enumerate(program.nodes):
        if v not in work.needed:
            continue
        match node:
            case Affine() if v in work.groups:
                work.maximum(v, work.groups[v])
            case Input():
                group = work.group("input", v, np.arange(node.size))
                work.columns[v] = work.builder.add_columns(group, x_lower, x_upper)
            case Affine():
                work.affine(v, node)
            case Relu():
                work.relu(v, node.source)
            case Product():
                raise refused("a linear model")
            case _:
                assert_never(node)
        work.note(v)
    return work.done()


@dataclass(eq=False)
class _Encoder:
    """One encoding under construction, node by node."""

    program: Program
    x_lower: Vector
    x_upper: Vector
    lower: Vector
    upper: Vector
    errors: Mapping[int, Vector]
    options: EncodingOptions
    builder: ModelBuilder = field(default_factory=ModelBuilder)
    columns: dict[int, Indices] = field(default_factory=dict)
    groups: dict[int, Maximum] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.slots = slots(self.program)
        width = sum(self.program.sizes[v] for v in self.slots)
        assert self.lower.shape == (width,), f"bounds of {self.lower.shape} neurons for {width}"
        self.definition, self.value = np.full(width, NONE), np.full(width, NONE)
        self.found: dict[int, tuple[Indices, ...]] = {}
        self.aliases: dict[int, Indices] = {}
        self.picks: list[Indices] = []
        self.sums = Sums()
        pairs = {} if self.options.maxima == "chain" else find_pairs(self.program)
        self.ranges: list[Range] = []
        sums = any(isinstance(node, Affine) and len(node.terms) > 1 for node in self.program.nodes)
        if pairs or self.options.phases == "multiple-choice" or (sums and self.options.integral):
            known = {v: (self.lower[slot], self.upper[slot]) for v, slot in self.slots.items()}
            operands = {v: pair.operands for v, pair in pairs.items()}
            self.ranges = node_ranges(self.program, self.x_lower, self.x_upper, known, self.errors, operands)
            self.groups = {v: maximum(v, pairs, known, self.ranges) for v in pairs}
        self.needed = still_needed(self.program, self.groups)

    def affine(self, v: int, node: Affine) -> None:
        """Columns and defining rows of the components that anyone needs."""
        builder, size = self.builder, self.program.sizes[v]
        lower, upper = np.full(size, -np.inf), np.full(size, np.inf)
        needed = np.ones(size, dtype=bool)
        if v in self.slots:
            lower, upper = self.lower[self.slots[v]], self.upper[self.slots[v]]
            if v != self.program.output and all(isinstance(r, Relu) for r in self._readers(v)):
                needed = upper >= 0  # where a split made the bound 0, z <= 0 still says something
        wanted = np.flatnonzero(needed)
        made = builder.add_columns(self.group("value", v, wanted), lower[wanted], upper[wanted])
        column = self.columns[v] = np.full(size, NONE)
        column[wanted] = made
        part = rows_of(made[:, None], np.ones((len(wanted), 1)))
        for term in node.terms:
            operand = renumbered(rows(term.map, wanted), self.columns[term.source])
            part = beside(part, SparseRows(operand.start, operand.index, -operand.values))
        error = self.errors[v][wanted] if v in self.errors else np.zeros(len(wanted))
        if self.ranges and len(node.terms) > 1:
            error = error + self._lost(part)
        if self.options.errors == "columns":
            part, error = beside(part, self._error_columns(v, wanted, error)), np.zeros(len(wanted))
        bias = np.asarray(node.bias)[wanted]
        low, high = _widened(bias, error)
        part = merged(part)
        defined = builder.add_rows(self.group("defines", v, wanted), part, low, high)
        if self.ranges:
            self.sums.define(made, part, bias, error)
        if v in self.slots:
            flat = wanted + self.slots[v].start
            self.definition[flat], self.value[flat] = defined, made

    def _lost(self, part: SparseRows) -> Vector:
        """By how much rows may be off because coefficients of one column are added up in float64; (rows,)."""
        lost, found = losses(part), np.zeros(part.count)
        low, high = self.sums.ends(lost.column)
        np.add.at(found, lost.row, lost.amount * np.maximum(abs(low), abs(high)) * (1 + 2.0**-50))
        return found * (1 + 2.0**-40)  # the sum of at most 2^10 of them, rounded up

    def _error_columns(self, v: int, wanted: Indices, error: Vector) -> SparseRows:
        """-e for each of the rows, with a new column e where the error is not zero."""
        some = np.flatnonzero(error > 0)
        column = np.full(len(wanted), NONE)
        column[some] = self.builder.add_columns(self.group("error", v, wanted[some]), -error[some], error[some])
        if self.ranges:
            self.sums.bound(column, -error, error)
        return rows_of(column[:, None], np.full((len(wanted), 1), -1.0))

    def relu(self, v: int, source: int) -> None:
        """Columns and rows of a Relu node, or those of an earlier one with the same source."""
        if source in self.aliases or isinstance(self.program.nodes[source], Relu):
            self.columns[v] = self.aliases.get(source, self.columns[source])
            return
        size, z = self.program.sizes[v], self.columns[source]
        if source in self.slots:
            l, u = self.lower[self.slots[source]], self.upper[self.slots[source]]
        else:
            l, u = self.x_lower, self.x_upper
        open_ = np.flatnonzero((l < 0) & (u > 0))
        column = np.where(l >= 0, z, NONE)
        column[open_], *rest = self._unstable(v, open_, z[open_], l[open_], u[open_])
        self.columns[v] = self.aliases[source] = column
        assert column.shape == (size,)
        if source in self.slots:
            self.found[source] = (open_ + self.slots[source].start, column[open_], *rest)

    def _unstable(self, v: int, open_: Indices, z: Indices, l: Vector, u: Vector) -> tuple[Indices, ...]:
        """(output columns, rows above, rows under, binaries) of unstable neurons."""
        builder = self.builder
        r = builder.add_columns(self.group("relu", v, open_), 0.0, np.inf)
        pair = np.stack([r, z], axis=1)
        one = np.ones(len(open_))
        part = rows_of(pair, np.stack([one, -one], axis=1))
        above = builder.add_rows(self.group("above", v, open_), part, 0.0, np.inf)
        none = np.zeros(0, dtype=np.int64)
        if self.options.phases == "multiple-choice":
            return r, above, none, self._copies(v, open_, r, z, l, u)
        if self.options.phases == "relaxed":
            line = upper_line(np, l, u)
            part = _always(pair, np.stack([one, -line.slope], axis=1))
            under = builder.add_rows(self.group("under", v, open_), part, -np.inf, line.intercept)
            return r, above, under, none
        d = builder.add_columns(self.group("phase", v, open_), 0.0, 1.0, integral=True)
        off = rows_of(np.stack([r, d], axis=1), np.stack([one, -u], axis=1))
        builder.add_rows(self.group("off", v, open_), off, -np.inf, 0.0)
        on = rows_of(np.stack([r, z, d], axis=1), np.stack([one, -one, -l], axis=1))
        builder.add_rows(self.group("on", v, open_), on, -np.inf, -l)
        return r, above, none, d

    def _copies(self, v: int, open_: Indices, r: Indices, z: Indices, l: Vector, u: Vector) -> Indices:
        """r = max(0, z) by copies of what z reads; the binaries that say z >= 0."""
        zero = Operand(NONE, 0.0, 0.0, NO_FORM)
        picked = [
            multiple_choice(self.builder, self._part_names(v, c), y, [zero, self.sums.operand(column, a, b)], self.sums)
            for c, y, column, a, b in zip(open_.tolist(), r.tolist(), z.tolist(), l.tolist(), u.tolist(), strict=True)
        ]
        return np.array([d[1] for d in picked], dtype=np.int64)

    def maximum(self, v: int, group: Maximum) -> None:
        """Columns of a node that is a maximum: those of the operand that is left alone, or new ones with binaries."""
        builder, size = self.builder, self.program.sizes[v]
        column = self.columns[v] = np.full(size, NONE)
        count = group.kept.sum(axis=0)
        z = np.array([self.columns[u] for u in group.operands])
        for kept, columns in zip(group.kept, z, strict=True):
            column[kept & (count == 1)] = columns[kept & (count == 1)]
        zero, several = np.flatnonzero((count == 1) & (column == NONE)), np.flatnonzero(count > 1)
        column[zero] = builder.add_columns(self.group("value", v, zero), 0.0, 0.0)
        lower, upper = (end[several] for end in self.ranges[v])
        column[several] = builder.add_columns(self.group("maximum", v, several), lower, upper)
        low = np.array([self.ranges[u][0] for u in group.operands])
        high = np.array([self.ranges[u][1] for u in group.operands])
        if self.options.maxima == "big-m":
            places = Places(column, z, low, high, group.kept & (count > 1), group.sign)
            self.picks.append(big_m(builder, self._operand_names(v, group.operands), places))
        else:
            for c in several.tolist():
                kept = np.flatnonzero(group.kept[:, c])
                operands = [self.sums.operand(int(z[p, c]), float(low[p, c]), float(high[p, c])) for p in kept]
                names = self._part_names(v, c)
                made = multiple_choice(builder, names, int(column[c]), operands, self.sums, group.sign)
                self.picks.append(made)
        if v in self.slots:
            self.value[self.slots[v]] = column

    def group(self, what: str, v: int, components: Indices) -> Group:
        """Names for components of node v."""
        return Group(what, v, tuple(components.tolist()), self.program.names[v])

    def _part_names(self, v: int, c: int) -> Naming:
        """Names for parts of component c of node v."""
        label = f"{self.program.names[v]}_{c}"
        return lambda what, part, places: Group(what, v, tuple(places), f"{label}_{part}" if part else label)

    def _operand_names(self, v: int, operands: Sequence[int]) -> Naming:
        """Names for components of node v and their operands, by position."""
        name = self.program.names[v]
        return lambda what, part, places: Group(
            what, v, tuple(places), f"{name}_from_{operands[int(part)]}" if part else name
        )

    def note(self, v: int) -> None:
        """Remember the ranges of a node's columns, where copies of them may be made."""
        if self.ranges:
            self.sums.bound(self.columns[v], *self.ranges[v])

    def _readers(self, v: int) -> list[CoreOp]:
        return [node for node in self.program.nodes if v in sources(node)]

    def done(self) -> Encoding:
        parts = [self.found[v] for v in self.slots if v in self.found]
        neuron, output, above, under, binary = (_joined([part[i] for part in parts]) for i in range(5))
        return Encoding(
            self.builder.build(),
            self.columns,
            self.definition,
            self.value,
            neuron,
            output,
            above,
            under,
            binary,
            _joined(self.picks),
        )


def _joined(parts: Sequence[Indices]) -> Indices:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def _widened(bias: Vector, error: Vector) -> tuple[Vector, Vector]:
    """bias - error and bias + error, rounded outward; the bias itself where there is no error."""
    some = error > 0
    low, high = np.nextafter(bias - error, -np.inf), np.nextafter(bias + error, np.inf)
    return np.where(some, low, bias), np.where(some, high, bias)


def _always(columns: Any, values: Any) -> SparseRows:
    """Rows of equal length whose zero coefficients stay in the pattern, for they will change."""
    count, length = columns.shape
    start: npt.NDArray[np.int64] = np.arange(count + 1) * length
    return SparseRows(start, columns.ravel(), np.asarray(values, dtype=np.float64).ravel())
