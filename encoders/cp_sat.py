"""Integer networks as CP-SAT models: does some vector of input codes reach the unsafe region?

The model is exact, nothing is relaxed: a Sum is one linear equation over integers, a Rounded a clamp and a double
inequality (see `staircase`) or one boolean a step, a Greatest a maximum.  Bounds of all nodes over the input codes
come first (`code_ranges`, exact for each operator by itself): they are the variables' domains, and they decide which
ends of a staircase can be reached, so that saturation and Relu cost nothing where they cannot happen, and what is
constant is no variable at all.

Overflow.  CP-SAT computes in int64.  A Sum's terms are below 2^53 together; a Line's two products are below 2^60 by
construction; the tables of an atom are checked (`LARGEST`), and the model as a whole is validated before it is solved.

What its answer is worth.  A solution is a vector of input codes, for replay.  `NONE` is the solver's word: exact
integer arithmetic, no tolerance, but no proof that we check.

Perron and Didier, CP-SAT (OR-Tools), Google.

What helps (20 Nov 2026; uint8 codes, int8 weights, one atom, unsat):

    2-8-8-2, 128 codes an input     one boolean a step alone 0.27 to 3.2 s, double inequalities 0.09 to 0.24 s
    4-16-16-3, 52 codes an input    domains from intervals 5702 conflicts, from linear bounds (`ranges`) 26
    the same, 78 codes              over 12 s, and 7328 conflicts in 11 s

None of linearization_level 0, 1 and 2 made a difference to what is decided on domains from intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from itertools import pairwise
from typing import Any, assert_never

import numpy as np

from farkas.encoders.code_atoms import Table, codes_within, frontier, scaled, tables
from farkas.encoders.sparse import rows
from farkas.ir.core import Term
from farkas.ir.errors import UnsupportedOperator
from farkas.ir.integer import Codes, Greatest, IntegerProgram, Ranges, Rounded, Sum, code_ranges
from farkas.ir.integer_codes import InputCodes
from farkas.ir.integer_unary import Integers
from farkas.ir.staircase import Staircase, extent, line, staircase
from farkas.specs.query import Atom

LARGEST = 2**60  # of sums in an atom of three or more terms
FEW_STEPS = 2  # up to which a staircase is booleans


class Answer(Enum):
    """FOUND: codes that violate; NONE: there are none, says the solver; LIMIT: the time was over."""

    FOUND = "found"
    NONE = "none"
    LIMIT = "limit"


@dataclass(frozen=True, eq=False)
class CpSatResult:
    """codes: (n,) of the input, with FOUND; conflicts, branches: of the search; time_s: of the solver's wall clock."""

    answer: Answer
    codes: Integers | None
    conflicts: int
    branches: int
    time_s: float


@dataclass(frozen=True)
class CpSatOptions:
    """time_s: None for no limit; workers: threads; seed: of the search, which is deterministic on one worker."""

    time_s: float | None = None
    workers: int = 1
    seed: int = 0


class CpSatModel:
    """A network over a set of input codes; `solve` asks about one disjunct and leaves the model as it was."""

    def __init__(self, program: IntegerProgram, inputs: InputCodes, ranges: Sequence[Ranges] | None = None) -> None:
        """inputs: not empty; ranges: proved bounds of every node over them, None for those of intervals."""
        self.program, self.inputs = program, inputs
        self.ranges = code_ranges(program, inputs.low, inputs.high) if ranges is None else ranges
        self._cp = _module()
        self._model = self._cp.CpModel()
        self._values: list[list[Any]] = []  # of every node and component: a variable, or an int where it is constant
        for v, node in enumerate(program.nodes):
            match node:
                case Codes():
                    values = [self._choice(own.tolist()) for own in inputs.codes]
                case Sum(terms=terms, bias=bias):
                    values = self._sums(v, terms, bias)
                case Rounded(source=source):
                    values = [self._rounded(v, node, j) for j in range(program.sizes[source])]
                case Greatest(groups=groups, source=source):
                    values = [
                        self._greatest(v, j, [self._values[source][i] for i in own])
                        for j, own in enumerate(groups.tolist())
                    ]
                case _:
                    assert_never(node)
            self._values.append(values)

    @property
    def variables(self) -> int:
        return len(self._model.proto.variables)

    @property
    def constraints(self) -> int:
        return len(self._model.proto.constraints)

    def solve(self, atoms: Sequence[Atom], options: CpSatOptions) -> CpSatResult:
        """Do all atoms hold at some vector of input codes?

        Raises UnsupportedOperator for atoms whose numbers are beyond 64 bits.
        """
        kept = self._model
        self._model = kept.clone()
        try:
            possible = all(self._atom(atom) for atom in atoms)
            return self._solved(options) if possible else CpSatResult(Answer.NONE, None, 0, 0, 0.0)
        finally:
            self._model = kept

    def _solved(self, options: CpSatOptions) -> CpSatResult:
        problem = self._model.validate()
        if problem:
            raise UnsupportedOperator(
                f"the query leaves CP-SAT's 64-bit integers ({problem.splitlines()[0]}); "
                "write the property with shorter decimals"
            )
        solver = self._cp.CpSolver()
        parameters = solver.parameters
        parameters.num_workers, parameters.random_seed = options.workers, options.seed
        if options.time_s is not None:
            parameters.max_time_in_seconds = max(0.0, options.time_s)
        status = solver.solve(self._model)
        counts = int(solver.num_conflicts), int(solver.num_branches), float(solver.wall_time)
        if status in (self._cp.OPTIMAL, self._cp.FEASIBLE):
            own = [x if isinstance(x, int) else int(solver.value(x)) for x in self._values[0]]
            return CpSatResult(Answer.FOUND, np.array(own, dtype=np.int64), *counts)
        assert status != self._cp.MODEL_INVALID, "a validated model is invalid"
        return CpSatResult(Answer.NONE if status == self._cp.INFEASIBLE else Answer.LIMIT, None, *counts)

    # Nodes.

    def _variable(self, low: int, high: int) -> Any:
        return low if low == high else self._model.new_int_var(low, high, "")

    def _node_variable(self, v: int, j: int) -> Any:
        return self._variable(int(self.ranges[v][0][j]), int(self.ranges[v][1][j]))

    def _choice(self, codes: list[int]) -> Any:
        if codes[-1] - codes[0] == len(codes) - 1:
            return self._variable(codes[0], codes[-1])
        return self._model.new_int_var_from_domain(self._cp.Domain.from_values(codes), "")

    def _sums(self, v: int, terms: Sequence[Term], bias: Integers) -> list[Any]:
        wanted = np.arange(len(bias), dtype=np.int64)
        parts = [(self._values[term.source], rows(term.map, wanted)) for term in terms]
        values = []
        for j in range(len(bias)):
            constant, factors = int(bias[j]), dict[int, tuple[Any, int]]()
            for source, matrix in parts:
                own = slice(int(matrix.start[j]), int(matrix.start[j + 1]))
                for column, factor in zip(matrix.index[own].tolist(), matrix.values[own].tolist(), strict=True):
                    x = source[column]
                    if isinstance(x, int):
                        constant += int(factor) * x
                    else:
                        factors[x.index] = x, factors.get(x.index, (x, 0))[1] + int(factor)
            values.append(self._sum(v, j, [(x, a) for x, a in factors.values() if a], constant))
        return values

    def _sum(self, v: int, j: int, factors: list[tuple[Any, int]], constant: int) -> Any:
        if not factors:
            return constant
        if not constant and len(factors) == 1 and factors[0][1] == 1:
            return factors[0][0]  # data movement
        y = self._node_variable(v, j)
        self._model.add(self._weighted(factors) + constant == y)
        return y

    def _weighted(self, factors: Sequence[tuple[Any, int]]) -> Any:
        return self._cp.LinearExpr.weighted_sum([x for x, _ in factors], [a for _, a in factors])

    def _rounded(self, v: int, node: Rounded, j: int) -> Any:
        acc = self._values[node.source][j]
        low, high = (int(ends[j]) for ends in self.ranges[node.source])
        return self._staircase(
            acc,
            staircase(node.function, j, acc, acc) if isinstance(acc, int) else staircase(node.function, j, low, high),
        )

    def _greatest(self, v: int, j: int, members: list[Any]) -> Any:
        low, high = (int(ends[j]) for ends in self.ranges[v])
        if low == high:
            return low
        y = self._variable(low, high)
        self._model.add_max_equality(y, members)
        return y

    # Staircases.

    def _staircase(self, acc: Any, stairs: Staircase) -> Any:
        """A variable that is the staircase's value at acc, which lies in its range."""
        if len(stairs.values) == 1:
            return stairs.values[0]
        y = self._variable(stairs.low, stairs.high)
        found = line(stairs.core()) if len(stairs.values) > FEW_STEPS else None
        if found is None or not (found.is_exact or found.is_exact_by_parity):
            self._steps(acc, y, stairs)
        if found is not None:
            t = self._clamped(acc, stairs, *extent(stairs, found))
            self._between(found.N * t - found.D * y, found.band)
            if not found.is_exact and found.is_exact_by_parity:
                self._bands(found.N * t - found.D * y, y, stairs, (found.even, found.odd))
        return y

    def _between(self, expression: Any, band: tuple[int, int]) -> Any:
        return self._model.add_linear_constraint(expression, *band)

    def _clamped(self, acc: Any, stairs: Staircase, low: int, high: int) -> Any:
        """min(max(acc, low), high)."""
        if stairs.starts[0] < low:
            raised = self._variable(low, stairs.end)
            self._model.add_max_equality(raised, [acc, low])
            acc = raised
        if stairs.end > high:
            cut = self._variable(max(low, stairs.starts[0]), high)
            self._model.add_min_equality(cut, [acc, high])
            acc = cut
        return acc

    def _bands(
        self, expression: Any, y: Any, stairs: Staircase, bands: tuple[tuple[int, int], tuple[int, int]]
    ) -> None:
        """The band of y's parity."""
        half, odd = self._variable(stairs.low // 2, stairs.high // 2), self._model.new_bool_var("")
        self._model.add(y == 2 * half + odd)
        self._between(expression, bands[0]).only_enforce_if(~odd)
        self._between(expression, bands[1]).only_enforce_if(odd)

    def _steps(self, acc: Any, y: Any, stairs: Staircase) -> None:
        """One boolean a step: whether acc has reached it."""
        value: Any = stairs.values[0]
        before: Any = None
        for k, start in enumerate(stairs.starts[1:], start=1):
            reached = self._model.new_bool_var("")
            self._model.add(acc >= start).only_enforce_if(reached)
            self._model.add(acc < start).only_enforce_if(~reached)
            if before is not None:
                self._model.add_implication(reached, before)
            value = value + (stairs.values[k] - stairs.values[k - 1]) * reached
            before = reached
        self._model.add(y == value)

    # Atoms.

    def _atom(self, atom: Atom) -> bool:
        """State an atom; False when no code makes it true."""
        found = tables(atom, self.program, self.inputs, self.ranges[self.program.output])
        match found:
            case []:
                return atom.holds((), ())
            case [only]:
                return self._bound(only, atom)
            case [first, second]:
                limit = self._staircase(self._code(first), frontier(first, second, atom))
                own = self._code(second)
                self._model.add(own <= limit if second.rises else own >= limit)
                return True
            case _:
                return self._inequality(found, atom)

    def _code(self, table: Table) -> Any:
        return self._values[0 if table.of_input else self.program.output][table.index]

    def _bound(self, table: Table, atom: Atom) -> bool:
        ends = codes_within(table, atom)
        if ends is None:
            return False
        code = self._code(table)
        if isinstance(code, int):
            return ends[0] <= code <= ends[1]
        self._between(code, ends)
        return True

    def _inequality(self, found: list[Table], atom: Atom) -> bool:
        whole, limit = scaled(found, atom)
        reach = sum(max(abs(value) for value in values) for values in whole)
        if max(reach, abs(limit)) > LARGEST:
            raise UnsupportedOperator(
                f"an atom of {len(found)} terms needs integers of {reach.bit_length()} bits for its exact values, and "
                "CP-SAT has 64; write the property with shorter decimals, or with at most two outputs an atom"
            )
        self._model.add(sum(self._tabulated(t, values) for t, values in zip(found, whole, strict=True)) <= limit)
        return True

    def _tabulated(self, table: Table, values: list[int]) -> Any:
        """The integer that the table has for its code."""
        code = self._code(table)
        if isinstance(code, int):
            return values[int(np.searchsorted(table.codes, code))]
        codes = table.codes.tolist()
        slopes = {Fraction(d - c, b - a) for (a, b), (c, d) in zip(pairwise(codes), pairwise(values), strict=True)}
        if len(slopes) == 1 and min(slopes).denominator == 1:
            slope = int(min(slopes))
            return slope * code + (values[0] - slope * codes[0])
        target = self._model.new_int_var(min(values[0], values[-1]), max(values[0], values[-1]), "")
        filled = np.searchsorted(table.codes, np.arange(codes[0], codes[-1] + 1), side="right") - 1  # gaps do not occur
        self._model.add_element(code - codes[0], [values[k] for k in filled.tolist()], target)
        return target


def _module() -> Any:
    from ortools.sat.python import cp_model

    return cp_model
