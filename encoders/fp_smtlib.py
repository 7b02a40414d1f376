"""Queries as SMT-LIB 2 formulas of the floating-point theory (QF_FP): satisfiable exactly when a run is unsafe.

The formula says that x is a binary32 point of the input set, that y is what the network computes from it in one
declared order with roundNearestTiesToEven, that y is finite, and that all atoms of one disjunct hold.  So `unsat` is
about that order alone, and a model is an input whose run violates in it, bit for bit.  Runs whose output is not finite
are no witnesses, as everywhere here.

Atoms are read in exact rationals over binary32 values, so none of their arithmetic may round:

  - a v <= c with one variable: v is compared with c / a rounded to the side on which the binary32 numbers are that
    satisfy it; there is none between the two.
  - u <= v: fp.leq.
  - Otherwise the atom is scaled to integers, a_1 v_1 + ... + a_n v_n <= c, and summed up in a wider format in which
    everything is exact but the last addition: that is one fma, rounded upward for <= and downward for <.  A sum is at
    most c just when its rounding upward is, for c itself is a number of the format.  A product a v has
    24 + (significant bits of a) bits; binary64 does for two variables and coefficients of up to 29 bits.  A sum of
    several products is a multiple of 2^-149 below 2^128 sum |a|, which fixes the width; that is some 280 bits, which
    bitwuzla and z3 take and cvc5 does not.  Beyond 512 bits the atom is refused: the encoding over the reals has it.

Every operation is named by a define-fun of its own, in the order in which the network computes; a comment names the
tensor element that it is the value of.  With presolve each term has its float-exact bounds asserted (see fp_terms).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt

from farkas.encoders.fp_terms import FpTerms, Kind, Term, variables
from farkas.ir.algebra import Array
from farkas.ir.binary32 import parse_order
from farkas.ir.errors import FarkasError
from farkas.ir.execute import execute
from farkas.ir.graph import Graph
from farkas.specs.boxes import Box32, binary32_box, down32, up32
from farkas.specs.query import Atom, Case, Property

SORT = "(_ FloatingPoint 8 24)"
NEAREST = "roundNearestTiesToEven"
EXPONENT_BITS, SIGNIFICANT_BITS = 11, 53  # of the format for atoms; wider where binary64 is not exact
WIDEST = 512


class NoExactAtom(FarkasError):
    """An atom whose exact reading no floating-point format within reason holds."""


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
        """The input (n0,) that a model means: bits by variable name; both zeros are +0."""
        values = [
            term.value if term.value is not None else np.uint32(model[term.name]).view(np.float32)
            for term in self.inputs
        ]
        return np.array(values, dtype=np.float32) + np.float32(0)

    def _lines(self) -> Iterator[str]:
        yield f"; binary32, order {self.order}, round to nearest, ties to even; satisfiable: some run is unsafe"
        if self.graph.sha256:
            yield f"; network sha256 {self.graph.sha256}"
        yield "(set-logic QF_FP)"
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
        inside = [_between(_ref(x), low, high) for x, low, high in ends if x.kind is Kind.VARIABLE]
        unsafe = _some([_all([self._atom(atom) for atom in atoms]) for atoms in case.disjuncts])
        return _all([*inside, unsafe])

    def _atom(self, atom: Atom) -> str:
        pairs = [(self.inputs[i], a) for i, a in atom.x] + [(self.outputs[j], b) for j, b in atom.y]
        return atom_text([(_ref(term), a) for term, a in pairs], atom.c, strict=atom.strict)


def atom_text(terms: Sequence[tuple[str, Fraction]], c: Fraction, *, strict: bool) -> str:
    """`sum a v <= c` (< c when strict) over finite binary32 values v, exactly; raises NoExactAtom."""
    match terms:
        case []:
            return "true" if c > 0 or (c == 0 and not strict) else "false"
        case [(v, a)]:
            return _single(v, a, c, strict=strict)
        case [(u, a), (v, b)] if a == -b and c == 0:
            return f"({_less(strict)} {u} {v})" if a > 0 else f"({_less(strict)} {v} {u})"
        case _:
            return _wide(terms, c, strict=strict)


def _single(v: str, a: Fraction, c: Fraction, *, strict: bool) -> str:
    limit = c / a
    bound = down32(limit) if a > 0 else up32(limit)
    if bound is None:
        return "false"  # every finite number lies on the other side
    less = _less(strict and Fraction(bound) == limit)
    end = literal(np.float32(bound))
    return f"({less} {v} {end})" if a > 0 else f"({less} {end} {v})"


def _wide(terms: Sequence[tuple[str, Fraction]], c: Fraction, *, strict: bool) -> str:
    scale = math.lcm(c.denominator, *(a.denominator for _, a in terms))
    weights = sorted(((int(a * scale), v) for v, a in terms), key=lambda pair: _significant(pair[0]))
    limit = int(c * scale)
    significant = _width([a for a, _ in weights], limit)
    form = f"{EXPONENT_BITS} {significant}"
    total = ""
    for k, (a, v) in enumerate(weights):
        value, factor = f"((_ to_fp {form}) {NEAREST} {v})", _integer(a, significant)
        mode = NEAREST if k < len(weights) - 1 else "roundTowardNegative" if strict else "roundTowardPositive"
        total = f"(fp.fma {mode} {factor} {value} {total})" if total else f"(fp.mul {NEAREST} {factor} {value})"
    return f"({_less(strict)} {total} {_integer(limit, significant)})"


def _width(weights: Sequence[int], limit: int) -> int:
    """Significant bits in which all but the last sum is exact."""
    size = sum(abs(a) for a in weights)
    numbers = max(_significant(a) for a in (*weights, limit))
    partial = 24 + _significant(weights[0]) if len(weights) == 2 else 128 + 149 + size.bit_length()
    width = max(SIGNIFICANT_BITS, numbers, partial)
    if width > WIDEST or max(size, abs(limit)).bit_length() > 2 ** (EXPONENT_BITS - 1) - 130:
        raise NoExactAtom(
            f"an atom needs {width} bits to be read exactly, more than the {WIDEST} that are in reach of the "
            "floating-point theory; its encoding over the reals (--format smt2-lra) has no such limit"
        )
    return width


def _significant(value: int) -> int:
    """Bits from the highest to the lowest one that is set."""
    magnitude = abs(value)
    return magnitude.bit_length() - ((magnitude & -magnitude).bit_length() - 1) if magnitude else 0


def _integer(value: int, significant: int) -> str:
    """An integer as a literal of the wide format, in which it is exact."""
    if value == 0:
        return f"(_ +zero {EXPONENT_BITS} {significant})"
    exponent = abs(value).bit_length() - 1
    fraction = (abs(value) - (1 << exponent)) * 2 ** (significant - 1)
    assert fraction % (1 << exponent) == 0, f"{value} has more than {significant} bits"
    biased = exponent + 2 ** (EXPONENT_BITS - 1) - 1
    bits = f"{fraction >> exponent:0{significant - 1}b}"
    return f"(fp #b{int(value < 0)} #b{biased:0{EXPONENT_BITS}b} #b{bits})"


def literal(value: np.float32) -> str:
    """A binary32 number, bit by bit; NaN and infinities by name."""
    if np.isnan(value):
        return "(_ NaN 8 24)"
    bits = f"{int(value.view(np.uint32)):032b}"
    return f"(fp #b{bits[0]} #b{bits[1:9]} #b{bits[9:]})"


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
    return f"(and (fp.leq {literal(low)} {v}) (fp.leq {v} {literal(high)}))"


def _less(strict: bool) -> str:
    return "fp.lt" if strict else "fp.leq"


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
