"""The only way to `sat`: evaluate a concrete input in the stated semantics, exactly and without tolerance.

binary32: the input is a binary32 point of the exact input set; a named executor of the admissible class and
onnxruntime both produce finite outputs that make every atom of one disjunct true in exact rationals.
one order: the same, but the executor is that of the order and nobody else's; onnxruntime is asked and reported only.
int-exact: the exact integer executor, and onnxruntime gives the same bits (`integer_replay`).
real: the input is a rational point (a finite decimal) of the box and the network is evaluated in exact rationals.

The record repeats both tests when it is made, so that there is no `Replay` of anything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from farkas.engine.ties import tied_box
from farkas.ir.algebra import Rational
from farkas.ir.core import Affine, Program
from farkas.ir.errors import UnsupportedOperator
from farkas.ir.execute import execute
from farkas.ir.graph import Graph
from farkas.ir.joined import Part, single
from farkas.ir.linear import Composed, Diagonal, LinearMap, Selection
from farkas.specs.boxes import contains
from farkas.specs.query import Atom, Case, Monomial, Semantics, extended
from farkas.specs.ties import Reduced
from farkas.specs.witness import write_witness

FLOAT_EXECUTORS = ("mlas-k256-fma", "seq-fma", "seq-muladd")
EXACT = "exact"
DECIMAL_BITS = (40, 80, 200)  # binary places of the decimals near a rational point, in turn
LARGEST_EXACT = 3_000_000  # multiplications of a rational evaluation, some 2 microseconds each


class NotAWitness(Exception):
    """A record was about to be made of a point that does not violate; never raised for a checked candidate."""


@dataclass(frozen=True)
class Found:
    """A point of a case of the query that is searched: over the free inputs (`specs.ties`)."""

    number: int
    case: Case
    inputs: tuple[Fraction, ...]


@dataclass(frozen=True)
class Replay:
    """A violating execution.

    case, disjunct: positions in the property; inputs, outputs: exact values on the executor; runtime: the second
    executor's description, "" in `real`, and for a single order where the point does not violate there;
    runtime_outputs: its outputs; any_order: violates in every admissible order.
    found: the point as the search knows it, where the property ties inputs to each other: of those that are free.
    monomials: of the property; the atoms are about their values at the point, too.
    """

    semantics: Semantics
    case_number: int
    disjunct: int
    executor: str
    inputs: tuple[Fraction, ...]
    outputs: tuple[Fraction, ...]
    runtime: str
    runtime_outputs: tuple[Fraction, ...]
    any_order: bool
    case: Case
    found: Found | None = None
    monomials: tuple[Monomial, ...] = ()

    def __post_init__(self) -> None:
        if not contains(self.case, self.inputs, self.semantics):
            raise NotAWitness("the point does not lie in the input set")
        if self.semantics in (Semantics.F32_ANY, Semantics.INT_EXACT) and not self.runtime:
            raise NotAWitness("a witness of what is deployed needs a second execution")
        if self.semantics.order not in (None, self.executor):
            raise NotAWitness(f"the executor '{self.executor}' is not that of {self.semantics.value}")
        for outputs in (self.outputs, self.runtime_outputs) if self.runtime else (self.outputs,):
            atoms = self.case.disjuncts[self.disjunct]
            values = extended(self.inputs, outputs, self.monomials)
            if not all(atom.holds(self.inputs, values) for atom in atoms) or is_contradictory(self.case, atoms):
                raise NotAWitness("an atom does not hold at the point")

    @property
    def place(self) -> Found:
        """The point in the inputs and the cases that the search works on."""
        return self.found or Found(self.case_number, self.case, self.inputs)

    @property
    def text(self) -> str:
        """VNN-COMP's witness text; outputs are those of the runtime where there is one."""
        return write_witness(self.inputs, [_printable(v) for v in self.runtime_outputs or self.outputs])

    @property
    def input_bits(self) -> tuple[str, ...]:
        """The inputs as 8 hexadecimal digits of binary32 (`real`: as num/den)."""
        return self._digits(self.inputs)

    @property
    def output_bits(self) -> tuple[str, ...]:
        return self._digits(self.outputs)

    def _digits(self, values: tuple[Fraction, ...]) -> tuple[str, ...]:
        if self.semantics is Semantics.REAL:
            return tuple(f"{v.numerator}/{v.denominator}" for v in values)
        return tuple(f"{int(np.float32(float(v)).view(np.uint32)):08x}" for v in values)


def is_contradictory(case: Case, atoms: Sequence[Atom]) -> bool:
    """Whether strict bounds exclude a point of the box: x >= 7/10 and x < 7/10.

    Over the reals such atoms are false at the point.  In binary32 a point stands for its nearest number, which may lie
    on the other side of it; nobody who bounds an input by contradictions asks about that number.
    """
    return any(
        atom.strict and len(atom.x) == 1 and not atom.y
        and all(case.lower[i] == case.upper[i] and not a * case.lower[i] < atom.c for i, a in atom.x)
        for atom in atoms
    )  # fmt: skip


def _violated(case: Case, inputs: Sequence[Fraction], values: Sequence[Fraction]) -> int | None:
    """The first disjunct whose atoms all hold and do not contradict the box; None when there is none."""
    return next((
        number for number, atoms in enumerate(case.disjuncts)
        if all(atom.holds(inputs, values) for atom in atoms) and not is_contradictory(case, atoms)
    ), None)  # fmt: skip


def _printable(value: Fraction) -> Fraction:
    """The value when it is a finite decimal, else its nearest float64: outputs only inform, the inputs count."""
    return value if _is_decimal(value) else Fraction(float(value))


def _is_decimal(value: Fraction) -> bool:
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1


def _decimal_points(case: Case, point: Sequence[Fraction]) -> Iterator[tuple[Fraction, ...]]:
    """The point moved into the box and onto the ties of the case; where it has no finite decimals, points ever nearer
    to it that have come first."""
    source, lower, upper = tied_box(case)
    if any(low > high for low, high in zip(lower, upper, strict=True)):
        return  # tied inputs whose bounds have no point in common
    point = [point[first] for first in source]
    inside = tuple(min(max(v, low), high) for v, low, high in zip(point, lower, upper, strict=True))
    if all(map(_is_decimal, inside)):
        yield inside
        return
    for bits in DECIMAL_BITS:
        near = (v if _is_decimal(v) else Fraction(round(v * 2**bits), 2**bits) for v in inside)
        moved = tuple(min(max(v, low), high) for v, low, high in zip(near, lower, upper, strict=True))
        if all(map(_is_decimal, moved)):
            yield moved
    yield inside


class Replayer:
    """Replays candidates of one query; loads onnxruntime with the first binary32 candidate."""

    def __init__(
        self,
        graph: Graph,
        program: Program,
        network: bytes,
        semantics: Semantics,
        parts: Sequence[Part] = (),
        ties: Reduced | None = None,
    ) -> None:
        """parts: the networks that `graph` joins, each of which onnxruntime runs by itself; by default `network`.

        ties: the property that the cases are of; by default no inputs are tied, and no products asked about.
        """
        self._graph = single(graph)
        self._program = program
        self._parts = parts or (Part("", graph, network),)
        self._semantics = semantics
        self._ties = ties if ties is not None and ties.is_tied else None
        self._monomials = () if ties is None else ties.asked.monomials
        self._runtime: Any = None

    def attempt(self, number: int, case: Case, point: npt.NDArray[np.float64]) -> Replay | None:
        """The record of `point` (n0,) against a case, or None when it does not violate everywhere it has to."""
        if self._semantics is Semantics.REAL:
            return self._attempt_real(number, case, tuple(Fraction(float(v)) for v in point))
        return self._attempt_float(number, case, point.astype(np.float32))

    def attempt_exact(self, number: int, case: Case, point: Sequence[Fraction]) -> Replay | None:
        """As `attempt`, for a rational point; in binary32 modes its nearest binary32 point."""
        if self._semantics is Semantics.REAL:
            return self._attempt_real(number, case, point)
        return self._attempt_float(number, case, np.array([float(v) for v in point]).astype(np.float32))

    def _attempt_float(self, number: int, case: Case, point: npt.NDArray[np.float32]) -> Replay | None:
        point = point + np.float32(0.0)  # one zero: -0 would print as another decimal than it is read from
        found = Found(number, case, tuple(Fraction(float(v)) for v in point))
        number, case, inputs = self._asked(found)
        if not contains(case, inputs, self._semantics):
            return None
        order = self._semantics.order
        for executor in FLOAT_EXECUTORS if order is None else (order,):
            try:
                own = execute(self._graph, point, executor).ravel()
            except UnsupportedOperator:
                continue  # this order is not declared for some operator of the network; the next one may be
            if not np.all(np.isfinite(own)):
                continue
            outputs = tuple(Fraction(float(v)) for v in own)
            disjunct = _violated(case, inputs, extended(inputs, outputs, self._monomials))
            if disjunct is None:
                continue
            second = self._run(np.array([float(v) for v in inputs], dtype=np.float32))
            agrees = second is not None and self._hold(case.disjuncts[disjunct], inputs, second)
            if not agrees and order is None:
                return None
            runtime, theirs = (self._runtime.describe(), second or ()) if agrees else ("", ())
            return Replay(
                self._semantics, number, disjunct, executor, inputs, outputs, runtime, theirs, False, case, found,
                self._monomials,
            )  # fmt: skip
        return None

    def _hold(self, atoms: Sequence[Atom], inputs: Sequence[Fraction], outputs: Sequence[Fraction]) -> bool:
        values = extended(inputs, outputs, self._monomials)
        return all(atom.holds(inputs, values) for atom in atoms)

    def _asked(self, found: Found) -> tuple[int, Case, tuple[Fraction, ...]]:
        """Number and case of the property as it was asked, and the values of all inputs."""
        if self._ties is None:
            return found.number, found.case, found.inputs
        number = self._ties.cases[found.number]
        return number, self._ties.asked.cases[number], self._ties.lifted(found.inputs)

    def _run(self, point: npt.NDArray[np.float32]) -> tuple[Fraction, ...] | None:
        if self._runtime is None:
            from farkas.engine.runtime import runtime_of

            self._runtime = runtime_of(self._parts)
        outputs = self._runtime.run(point).ravel()
        if not np.all(np.isfinite(outputs)):
            return None
        return tuple(Fraction(float(v)) for v in outputs)

    def _attempt_real(self, number: int, case: Case, point: Sequence[Fraction]) -> Replay | None:
        if self._work > LARGEST_EXACT:
            return None
        for inputs in _decimal_points(case, point):
            found = self._attempt_point(number, case, inputs)
            if found is not None:
                return found
        return None

    def _attempt_point(self, number: int, case: Case, inputs: tuple[Fraction, ...]) -> Replay | None:
        name, _ = self._graph.inputs[0]
        try:
            values = self._graph.evaluate(Rational(), {name: np.array(inputs, dtype=object)})
        except UnsupportedOperator:
            return None  # a square root has no exact rational value, so nothing can be claimed about the point
        outputs = tuple(values[self._graph.outputs[0]].ravel())
        found = Found(number, case, inputs)
        number, case, inputs = self._asked(found)
        disjunct = case.violated_disjunct(inputs, extended(inputs, outputs, self._monomials))
        if disjunct is None or not contains(case, inputs, self._semantics):
            return None
        return Replay(
            self._semantics, number, disjunct, EXACT, inputs, outputs, "", (), False, case, found, self._monomials
        )

    @property
    def _work(self) -> int:
        affine = [node for node in self._program.nodes if isinstance(node, Affine)]
        return sum(_products(term.map) for node in affine for term in node.terms)


def _products(linear: LinearMap) -> int:
    """About how many products an exact evaluation of a map takes; none to move data."""
    if isinstance(linear, Selection):
        return 0
    if isinstance(linear, Composed):
        return _products(linear.inner)
    return linear.rows if isinstance(linear, Diagonal) else linear.rows * linear.cols
