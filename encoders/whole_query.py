"""A whole query as one linear model with binaries that is feasible if and only if some execution is unsafe.

The network's model (`relu_network`) stands over a box that contains the boxes of all cases.  One binary a case chooses
the case and, where it has several disjuncts, one binary a disjunct chooses among them:

    sum of the cases = 1                      sum of a case's disjuncts = its case
    sum_i lower_i case_i <= x <= sum_i upper_i case_i             x is in the box of the chosen case
    a x + b y + M d <= c + M                                      an atom of the disjunct whose binary is d

with M >= max (a x + b y) - c from proved ranges.  The boxes need no big-M: since one case is chosen, the sums are its
very ends.  What has one choice only gets no binary.

Soundness of "infeasible".  Each unsafe execution is a feasible point: coefficients that float64 does not hold are
scaled to integers, ends and thresholds are rounded outward, M is rounded up, a coefficient that stays inexact costs
its rounding times the range of what it multiplies, and strict atoms are read as closed.  The other direction is up to
these roundings, to the error terms, and to strictness; a solver's tolerance comes on top, on both sides.  So an answer
found from a file proves nothing here: its point is a candidate for replay.

Tjeng, Xiao and Tedrake, Evaluating Robustness of Neural Networks with Mixed Integer Programming, ICLR 2019 (big-M from
bounds); Balas, Disjunctive Programming, 1979 (choices).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm

import numpy as np

from farkas.encoders.linear_model import Group, LinearModel, ModelBuilder, rows_of
from farkas.encoders.outward import float_down, float_up, power_below
from farkas.encoders.ranges import Range, node_ranges
from farkas.encoders.relu_network import Encoding, EncodingOptions, encode, slots
from farkas.encoders.sparse import SparseRows, merged
from farkas.ir.core import Affine, Program
from farkas.ir.errors import FarkasError
from farkas.ir.linear import Vector
from farkas.specs.boxes import binary32_box
from farkas.specs.query import Atom, Case, Property, Semantics, Terms

Choice = tuple[int, int]  # case, disjunct
NOTHING = -1  # no column: there is no choice


@dataclass(frozen=True, eq=False)
class WholeQuery:
    """The model, where the network is in it, the binary of each case and disjunct (-1: no choice), and what it says.

    comment: lines for the head of a file; they say what a solver's answer means.
    """

    model: LinearModel
    encoding: Encoding
    cases: dict[int, int]
    disjuncts: dict[Choice, int]
    comment: str

    def inputs(self, point: Vector) -> Vector:
        """The network's input at a point of the model."""
        return np.asarray(point[self.encoding.columns[0]])

    def choice(self, point: Vector) -> Choice:
        """The case and the disjunct that a point of the model chooses."""
        found = {pair: 1.0 if column < 0 else float(point[column]) for pair, column in self.disjuncts.items()}
        return max(found, key=lambda pair: found[pair])


def case_box(case: Case, semantics: Semantics) -> Range:
    """The smallest float64 box that contains the case's input set in these semantics.

    A box without a single binary32 point stays the box of the reals: that nothing is left of it is for others to say.
    """
    if semantics.is_binary32 or semantics is Semantics.INT_EXACT:
        found = binary32_box(case.lower, case.upper)
        if not found.empty:
            return found.lower.astype(np.float64), found.upper.astype(np.float64)
    return np.array([float_down(q) for q in case.lower]), np.array([float_up(q) for q in case.upper])


def hull(prop: Property, semantics: Semantics) -> Range:
    """The smallest box around the boxes of all cases, over which bounds of the neurons are to be proved."""
    boxes = [case_box(case, semantics) for case in prop.cases] or [(np.zeros(prop.inputs), np.zeros(prop.inputs))]
    return np.min([lower for lower, _ in boxes], axis=0), np.max([upper for _, upper in boxes], axis=0)


def encode_query(
    program: Program,
    prop: Property,
    x_lower: Vector,
    x_upper: Vector,
    lower: Vector,
    upper: Vector,
    errors: Mapping[int, Vector],
    options: EncodingOptions | None = None,
    *,
    semantics: Semantics = Semantics.REAL,
) -> WholeQuery:
    """The model of the query, from bounds lower, upper (N,) of all neurons that are proved over x_lower, x_upper (n0,).

    The box has to contain all cases' boxes (`hull`); errors: per Affine node E (n,), as the semantics has it;
    where nodes are exact in it they are ignored.  Without
    other options neurons are big-M.  Raises FarkasError for infinite bounds.
    """
    options = options or EncodingOptions(phases="big-m")
    errors = {v: error for v, error in errors.items() if _may_differ(program, v, semantics)}
    encoding = encode(program, x_lower, x_upper, lower, upper, errors, options)
    if not np.isfinite([*lower, *upper, *x_lower, *x_upper]).all():
        raise FarkasError("bounds of some neurons are infinite, so that no big-M model of the query exists")
    known = {v: (lower[slot], upper[slot]) for v, slot in slots(program).items()}
    ranges = node_ranges(program, x_lower, x_upper, known, errors)
    work = _Encoder(prop, encoding, program.output, ranges[0], ranges[program.output])
    work.choose()
    work.boxes([case_box(case, semantics) for case in prop.cases])
    for (i, j), column in work.disjuncts.items():
        for k, atom in enumerate(prop.cases[i].disjuncts[j]):
            work.atom(atom, column, f"case {i} disjunct {j} atom {k}")
    comment = _comment(prop, options, semantics, work)
    return WholeQuery(work.builder.build(), encoding, work.cases, work.disjuncts, comment)


def _may_differ(program: Program, v: int, semantics: Semantics) -> bool:
    """Whether an execution of an Affine node may differ from W a + b at all; what is left is a bound's own rounding."""
    node = program.nodes[v]
    if not isinstance(node, Affine):
        return False
    return node.rounding.relative > 0 or (semantics.is_binary32 and node.rounding.count > 0)


@dataclass(eq=False)
class _Encoder:
    """The model of one query under construction."""

    prop: Property
    encoding: Encoding
    output: int
    x: Range
    y: Range
    cases: dict[int, int] = field(default_factory=dict)
    disjuncts: dict[Choice, int] = field(default_factory=dict)
    atoms: int = 0

    def __post_init__(self) -> None:
        self.builder = ModelBuilder.of(self.encoding.model)

    def choose(self) -> None:
        """Binaries and their sums; cases without disjuncts are safe and cannot be chosen."""
        numbers = [i for i, case in enumerate(self.prop.cases) if case.disjuncts]
        self.cases = self._binaries("case", -1, numbers)
        self._sum("choose", -1, list(self.cases.values()), NOTHING if len(numbers) == 1 else None)
        for i in numbers:
            count = len(self.prop.cases[i].disjuncts)
            if count == 1:
                self.disjuncts[i, 0] = self.cases[i]
                continue
            found = self._binaries("disjunct", i, range(count))
            self.disjuncts |= {(i, j): column for j, column in found.items()}
            self._sum("alternatives", i, list(found.values()), self.cases[i])

    def _binaries(self, what: str, of: int, numbers: Sequence[int]) -> dict[int, int]:
        """A binary for each number, or -1 where there is no choice."""
        if len(numbers) == 1:
            return {numbers[0]: NOTHING}
        group = Group(what, of, tuple(numbers))
        columns = self.builder.add_columns(group, 0.0, 1.0, integral=True)
        return dict(zip(numbers, columns.tolist(), strict=True))

    def _sum(self, what: str, of: int, columns: list[int], total: int | None) -> None:
        """sum of the columns = the column `total`, or 1 where that is none; without columns it is infeasible."""
        if total == NOTHING and NOTHING in columns:
            return
        index = [*columns] if total in (None, NOTHING) else [*columns, total]
        values = [1.0] * len(columns) + [-1.0] * (len(index) - len(columns))
        right = 1.0 if total in (None, NOTHING) else 0.0
        part = SparseRows(np.array([0, len(index)]), np.array(index, dtype=np.int64), np.array(values))
        self.builder.add_rows(Group(what, -1, (max(of, 0),)), part, right, right)

    def boxes(self, boxes: Sequence[Range]) -> None:
        """x between the sums of the cases' ends, for the inputs whose ends are not those of the whole box."""
        chosen = list(self.cases)
        columns = np.array([self.cases[i] for i in chosen], dtype=np.int64)
        for side, name in ((0, "least"), (1, "most")):
            ends = np.array([boxes[i][side] for i in chosen]).reshape(len(chosen), self.prop.inputs)
            wanted = np.flatnonzero((ends != self.x[side]).any(axis=0))
            if not len(wanted):
                continue
            x = self.encoding.columns[0][wanted][:, None]
            right = np.zeros(len(wanted))
            if len(chosen) == 1:
                part, right = rows_of(x, np.ones_like(x)), ends[0, wanted]
            else:
                index = np.concatenate([x, np.broadcast_to(columns, (len(wanted), len(chosen)))], axis=1)
                part = rows_of(index, np.concatenate([np.ones(x.shape), -ends[:, wanted].T], axis=1))
            free = np.full(len(wanted), np.inf)
            group = Group(name, 0, tuple(wanted.tolist()))
            self.builder.add_rows(group, part, *((right, free) if side == 0 else (-free, right)))

    def atom(self, atom: Atom, binary: int, label: str) -> None:
        """One row  a x + b y + M d <= c + M, or without d where the disjunct is the only one."""
        row, threshold = _in_floats(atom, self.x, self.y)
        index = [int(self.encoding.columns[0][i]) for i, _ in row.x]
        index += [int(self.encoding.columns[self.output][j]) for j, _ in row.y]
        values = [float(a) for _, a in (*row.x, *row.y)]
        if binary != NOTHING:
            big = Fraction(float_up(max(_greatest(row.x, self.x) + _greatest(row.y, self.y) - threshold, Fraction(0))))
            index, values, threshold = [*index, binary], [*values, float(big)], threshold + big
        part = merged(rows_of(np.array([index], dtype=np.int64), np.array([values])))
        self.builder.add_rows(Group("atom", self.atoms, (0,), label), part, -np.inf, float_up(threshold))
        self.atoms += 1


def _in_floats(atom: Atom, x: Range, y: Range) -> tuple[Atom, Fraction]:
    """The atom with coefficients that float64 holds, around 1, and its threshold: implied by the atom in the ranges."""
    scale = Fraction(lcm(*(a.denominator for _, a in (*atom.x, *atom.y))))
    largest = max((abs(a) * scale for _, a in (*atom.x, *atom.y)), default=Fraction(1))
    scale /= power_below(largest)
    slack = Fraction(0)
    kept: list[Terms] = []
    for terms, (low, high) in ((atom.x, x), (atom.y, y)):
        rounded = tuple((i, Fraction(float(a * scale))) for i, a in terms)
        kept.append(rounded)
        for (i, a), (_, b) in zip(terms, rounded, strict=True):
            slack += abs(a * scale - b) * max(abs(Fraction(float(low[i]))), abs(Fraction(float(high[i]))))
    threshold = atom.c * scale + slack
    return Atom(kept[0], kept[1], threshold, atom.strict), threshold


def _greatest(terms: Terms, ends: Range) -> Fraction:
    """The largest value of a sum over the ranges, exactly."""
    return sum((a * Fraction(float(ends[1 if a > 0 else 0][i])) for i, a in terms), Fraction(0))


def _comment(prop: Property, options: EncodingOptions, semantics: Semantics, work: _Encoder) -> str:
    """What the model is, and what its feasibility says."""
    strict = sum(atom.strict for case in prop.cases for atoms in case.disjuncts for atom in atoms)
    exact = {"relaxed": "a relaxation of the network: feasible points may be no executions"}
    return "\n".join(
        (
            f"A query about a neural network, semantics {semantics.value}; property sha256 {prop.sha256 or 'unknown'}.",
            "Feasible if some execution of the network is unsafe; infeasible: none is.",
            f"Neurons: {options.phases} ({exact.get(options.phases, 'one binary for each unstable one')}); "
            f"maxima: {options.maxima}; errors: {options.errors}.",
            f"Choices: {len(prop.cases)} cases, {len(work.disjuncts)} disjuncts, {work.atoms} atoms.",
            f"Strict atoms, read as closed ones: {strict}.",
            "Ends, thresholds and big-M constants are rounded outward; solvers have tolerances besides, so that their",
            "answers prove nothing: replay a feasible point, certify an infeasible model.",
            "Columns: input_0_I; of node N, called NAME: value_N_NAME_I before a Relu, relu_N_NAME_I after it, and",
            "phase_N_NAME_I, whether it is active; case_I and disjunct_CASE_J, which ones are chosen.",
        )
    )
