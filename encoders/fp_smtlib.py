"""Queries as SMT-LIB 2 formulas of the floating-point theory (QF_FP): satisfiable exactly when a run is unsafe.

The formula says that x is a binary32 point of the input set, that y is what the network computes from it in one
declared order with roundNearestTiesToEven, that y is finite, and that all atoms of one disjunct hold.  So `unsat` is
about that order alone, and a model is an input whose run violates in it, bit for bit.  Runs whose output is not finite
are no witnesses, as everywhere here.

Every operation is named by a define-fun of its own, in the order in which the network computes; a comment names the
tensor element that it is the value of.  With presolve each term has its float-exact bounds asserted (see fp_terms).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt

from farkas.encoders.fp_atoms import NEAREST, atom_text, bits_text, literal
from farkas.encoders.fp_terms import FpTerms, Kind, Term, variables
from farkas.ir.algebra import Array
from farkas.ir.binary32 import parse_order
from farkas.ir.errors import FarkasError
from farkas.ir.execute import execute
from farkas.ir.graph import Graph
from farkas.specs.boxes import Box32, binary32_box
from farkas.specs.query import Atom, Case, Property

SORT = "(_ FloatingPoint 8 24)"


def smtlib_fp(graph: Graph, asked: Property | Case, order: str, *, presolve: bool = False) -> str:
    """The formula as text, with check-sat and get-value at its end.

    Raises UnsupportedOperator for what has no binary32 meaning in `order`, NoExactAtom for atoms of large numbers, and
    FarkasError for input sets without a binary32 point.
    """
    return Formula.of(graph, asked, order, presolve=presolve).text


@dataclass(frozen=True, eq=False)
class Formula:
    """A query in terms; `text` prints it.

    inputs (n0,) and outputs (m,) are terms; boxes: one for each case; names: what some terms are in the network.
    """

    graph: Graph
    cases: tuple[Case, ...]
    boxes: tuple[Box32, ...]
    order: str
    presolve: bool
    inputs: tuple[Term, ...]
    outputs: tuple[Term, ...]
    names: Mapping[int, str]

    @staticmethod
    def of(graph: Graph, asked: Property | Case, order: str, *, presolve: bool = False) -> Formula:
        cases = asked.cases if isinstance(asked, Property) else (asked,)
        boxes = tuple(binary32_box(case.lower, case.upper) for case in cases)
        if not boxes or any(box.empty for box in boxes):
            raise FarkasError("an input set holds no binary32 point, so there is nothing to ask about it")
        lower = np.minimum.reduce([box.lower for box in boxes])
        upper = np.maximum.reduce([box.upper for box in boxes])
        execute(graph, lower, order)  # raises for what `order` does not define
        alg = FpTerms(parse_order(order))
        x = variables(alg.pool, lower, upper, bounded=presolve)
        values = graph.evaluate(alg, {graph.inputs[0][0]: x})
        outputs = tuple(values[graph.outputs[0]].ravel())
        return Formula(graph, cases, boxes, order, presolve, tuple(x), outputs, _names(graph, values))

    @cached_property
    def text(self) -> str:
        return "\n".join(self._lines()) + "\n"

    def point(self, model: Mapping[str, int]) -> npt.NDArray[np.float32]:
        """The input (n0,) that a model means: bits by variable name; both zeros are +0.

        An input that the model leaves open is at its lower end in the first case.
        """
        values = [
            term.value if term.value is not None else np.uint32(model.get(term.name, low)).view(np.float32)
            for term, low in zip(self.inputs, self.boxes[0].lower.view(np.uint32), strict=True)
        ]
        return np.array(values, dtype=np.float32) + np.float32(0)

    def _lines(self) -> Iterator[str]:
        yield f"; binary32, order {self.order}, round to nearest, ties to even; satisfiable: some run is unsafe"
        if self.graph.sha256:
            yield f"; network sha256 {self.graph.sha256}"
        yield f"(set-logic {'QF_BVFP' if self._summed else 'QF_FP'})"
        yield "(set-option :produce-models true)"
        for term in self.inputs:
            if term.kind is Kind.VARIABLE:
                yield f"(declare-const {term.name} {SORT})"
        for term in self._needed:
            comment = f" ; {self.names[term.number]}" if term.number in self.names else ""
            yield f"(define-fun {_ref(term)} () {SORT} {_body(term)}){comment}"
            if term.ends is not None:
                yield f"(assert {_between(_ref(term), *term.ends)})"
        for y in self.outputs:
            if not y.is_number:
                yield f"(assert (not (or (fp.isNaN {_ref(y)}) (fp.isInfinite {_ref(y)}))))"
        for v in sorted(self._summed):
            yield from bits_text(v)
        yield f"(assert {_some([self._case(*pair) for pair in zip(self.cases, self.boxes, strict=True)])})"
        yield "(check-sat)"
        names = [term.name for term in self.inputs if term.kind is Kind.VARIABLE]
        if names:
            yield f"(get-value ({' '.join(names)}))"

    @cached_property
    def _needed(self) -> list[Term]:
        """Operations that the outputs are made of, arguments first."""
        found: dict[int, Term] = {}
        stack = [term for term in self.outputs if term.args]
        while stack:
            term = stack.pop()
            if term.number not in found:
                found[term.number] = term
                stack.extend(arg for arg in term.args if arg.args)
        return [found[number] for number in sorted(found)]

    def _case(self, case: Case, box: Box32) -> str:
        ends = zip(self.inputs, box.lower, box.upper, strict=True)
        inside = [_input(_ref(x), low, high) for x, low, high in ends if x.kind is Kind.VARIABLE]
        unsafe = _some([_all([self._atom(atom) for atom in atoms]) for atoms in case.disjuncts])
        return _all([*inside, unsafe])

    @cached_property
    def _summed(self) -> set[str]:
        """Values whose bits an atom reads."""
        atoms = [self._read(atom) for case in self.cases for atoms in case.disjuncts for atom in atoms]
        return {v for terms, c, strict in atoms for v in atom_text(terms, c, strict=strict).summed}

    def _atom(self, atom: Atom) -> str:
        terms, c, strict = self._read(atom)
        return atom_text(terms, c, strict=strict).text

    def _read(self, atom: Atom) -> tuple[list[tuple[str, Fraction]], Fraction, bool]:
        """An atom over names, without constants, and each name once; 0 < 0 where an output is no number."""
        pairs = [(self.inputs[i], a) for i, a in atom.x] + [(self.outputs[j], b) for j, b in atom.y]
        weights, c = dict[str, Fraction](), atom.c
        for term, a in pairs:
            if term.value is None:
                weights[_ref(term)] = weights.get(_ref(term), Fraction(0)) + a
            elif np.isfinite(term.value):
                c -= a * Fraction(float(term.value))
            else:
                return [], Fraction(0), True
        return [(v, a) for v, a in weights.items() if a], c, atom.strict


def _ref(term: Term) -> str:
    """How other terms mention it."""
    if term.value is not None:
        return literal(term.value)
    return term.name or f"t{term.number}"


def _body(term: Term) -> str:
    args = [_ref(arg) for arg in term.args]
    if term.kind in (Kind.NEG, Kind.ABS):
        return f"({term.kind.value} {args[0]})"
    if term.kind in (Kind.MAX, Kind.MIN):
        return _choice(term.kind, *sorted(term.args, key=lambda arg: not arg.is_number))
    return f"({term.kind.value} {NEAREST} {' '.join(args)})"


def _choice(kind: Kind, p: Term, q: Term) -> str:
    """The larger or smaller one.  Where p is a number, a NaN q fails the comparison and is the result."""
    a, b = _ref(p), _ref(q)
    below, above = f"(fp.leq {a} {b})", f"(fp.leq {b} {a})"
    first, second = (above, below) if kind is Kind.MAX else (below, above)
    if p.is_number:
        return f"(ite {first} {a} {b})"
    return f"(ite {first} {a} (ite {second} {b} (fp.add {NEAREST} {a} {b})))"


def _between(v: str, low: np.float32, high: np.float32) -> str:
    """low <= v <= high; an equation where that is one number, for solvers substitute those."""
    if low == high:
        return f"({'=' if low != 0 else 'fp.eq'} {v} {literal(low)})"
    return f"(and (fp.leq {literal(low)} {v}) (fp.leq {v} {literal(high)}))"


def _input(x: str, low: np.float32, high: np.float32) -> str:
    """The same for an input, of whose zeros +0 may stand for both."""
    return f"(= {x} {literal(low + np.float32(0))})" if low == high else _between(x, low, high)


def _all(parts: Sequence[str]) -> str:
    return "true" if not parts else parts[0] if len(parts) == 1 else f"(and {' '.join(parts)})"


def _some(parts: Sequence[str]) -> str:
    return "false" if not parts else parts[0] if len(parts) == 1 else f"(or {' '.join(parts)})"


def _names(graph: Graph, values: Mapping[str, Array]) -> dict[int, str]:
    """Tensor elements by the number of the term that is their value; the first one that a term is the value of."""
    names: dict[int, str] = {}
    for node in graph.nodes:
        for k, term in enumerate(values[node.name].ravel()):
            names.setdefault(term.number, " ".join(f"{node.name}[{k}]".split()))
    return names
