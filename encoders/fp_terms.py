"""Binary32 terms: what a network computes, step by step, as a formula of the floating-point theory.

A term is a constant, a variable, or one correctly rounded operation (nearest, ties to even) on terms.  `FpTerms` is an
algebra whose arrays hold terms, so that `Graph.evaluate` builds the formula from each operator's `denote`: the meaning
of the reference run, `ir.binary32`, is not written a second time.  Sums of products follow the declared order of that
module, step for step.  Equal terms are one object, made by one pool; that keeps a formula as small as the network.

Both zeros are one value in `ir.binary32`, and IEEE-754 tells them apart, so the formula must not: comparison, sum,
product, fma, negation, absolute value and square root of operands that differ in the sign of a zero differ in no more
than the sign of a zero.  Only a quotient does, by its divisor: 1/+0 and 1/-0.  So a divisor must be a constant other
than 0, and else the network is refused.  For the same reason max(a, b) is `ite(a <= b, b, a)`, not fp.max, of whose
zeros the standard leaves the sign open and which drops a NaN.

Rewritten is only what keeps every bit, zeros' signs aside.  On constants: the operation itself, in NumPy.  Over all
values, NaN and infinities too: x + 0 = x, 1 x = x, -1 x = -x, fma(w, x, 0) = w x, fma(1, x, c) = x + c, fma(-1, x, c) =
c - x.  Over numbers: 0 x = 0, fma(0, x, c) = c; a variable is one, for boxes hold no others.

With bounds on its variables a pool knows the float-exact interval of every term (`ir.float_interval`, sound for this
order because rounding is monotone) while it makes it: maxima of which one side always wins become that side, and the
intervals can be told to a solver.  Tried on full boxes, that helps solvers by factors of 1.3 to 8, on boxes of some
ulps 25 to 65 for `unsat`, and can cost as much for `sat`: so both forms are there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt

from farkas.ir.algebra import Array, Numbers
from farkas.ir.binary32 import BLOCK, Binary32, Order, fma, parse_order
from farkas.ir.errors import UnsupportedOperator
from farkas.ir.float_interval import FloatIntervals, pairs

Ends = tuple[np.float32, np.float32]


class Kind(Enum):
    """The operation on top of a term, by its name in SMT-LIB where it has one."""

    CONSTANT = "constant"
    VARIABLE = "variable"
    ADD = "fp.add"
    SUB = "fp.sub"
    MUL = "fp.mul"
    DIV = "fp.div"
    FMA = "fp.fma"
    NEG = "fp.neg"
    ABS = "fp.abs"
    SQRT = "fp.sqrt"
    MAX = "max"  # ite(a <= b, b, a), and NaN when either is
    MIN = "min"  # ite(a <= b, a, b), and NaN when either is


@dataclass(frozen=True, eq=False, slots=True)
class Term:
    """One value of a binary32 run; compared by identity, for equal terms of a pool are the same object.

    number: its position in the pool, after its arguments'; value: of a constant; name: of a variable; ends: least and
    greatest value, None when not known, and then it may be infinite or NaN; is_number: it is neither.
    """

    kind: Kind
    args: tuple[Term, ...]
    number: int
    value: np.float32 | None = None
    name: str = ""
    ends: Ends | None = None
    is_number: bool = False


def number_of(term: Term) -> np.float32:
    """The value of a constant."""
    assert term.value is not None, f"a constant is wanted, not {term.kind}"
    return term.value


def _method(alg: Binary32 | FloatIntervals, kind: Kind) -> Callable[..., Array]:
    """The operation of a domain that a kind of term stands for."""
    match kind:
        case Kind.ADD:
            return alg.add
        case Kind.SUB:
            return alg.sub
        case Kind.MUL:
            return alg.mul
        case Kind.DIV:
            return alg.div
        case Kind.FMA:
            return fma if isinstance(alg, Binary32) else alg.fma
        case Kind.NEG:
            return alg.neg
        case Kind.ABS:
            return alg.absolute
        case Kind.SQRT:
            return alg.sqrt
        case Kind.MAX:
            return alg.maximum
        case Kind.MIN:
            return alg.minimum
        case Kind.CONSTANT | Kind.VARIABLE:
            raise AssertionError(f"a {kind.value} has no operands")
        case _:
            assert_never(kind)


@dataclass(frozen=True, eq=False)
class Pool:
    """Makes terms, each once."""

    terms: list[Term] = field(default_factory=list)
    _known: dict[tuple[Any, ...], Term] = field(default_factory=dict)

    def constant(self, value: np.float32) -> Term:
        """A constant; both zeros are the same."""
        number = np.float32(value + np.float32(0))
        finite = bool(np.isfinite(number))
        key = (Kind.CONSTANT, int(number.view(np.uint32)))
        return self._once(key, Kind.CONSTANT, (), number, "", (number, number) if finite else None, finite)

    def variable(self, name: str, ends: Ends | None = None) -> Term:
        """A number that the formula leaves open, perhaps between two bounds."""
        return self._once((Kind.VARIABLE, name), Kind.VARIABLE, (), None, name, ends, True)

    def apply(self, kind: Kind, *args: Term) -> Term:
        """One operation, rewritten where that changes no bit."""
        if all(arg.value is not None for arg in args):
            with np.errstate(all="ignore"):
                value = _method(Binary32("seq-fma"), kind)(*(np.array([number_of(arg)]) for arg in args))
            return self.constant(np.float32(value[0]))
        simpler = self._simpler(kind, args)
        if simpler is not None:
            return simpler
        ends = self._ends(kind, args)
        chooses = kind in (Kind.NEG, Kind.ABS, Kind.MAX, Kind.MIN)
        is_number = ends is not None or (chooses and all(arg.is_number for arg in args))
        return self._once((kind, *(arg.number for arg in args)), kind, args, None, "", ends, is_number)

    def _once(self, key: tuple[Any, ...], kind: Kind, args: tuple[Term, ...], *rest: Any) -> Term:
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = Term(kind, args, len(self.terms), *rest)
            self.terms.append(known)
        return known

    def _ends(self, kind: Kind, args: tuple[Term, ...]) -> Ends | None:
        intervals = [pairs(*arg.ends) for arg in args if arg.ends is not None]
        if len(intervals) < len(args):
            return None
        hull = _method(FloatIntervals("seq-fma"), kind)(*intervals)
        return None if np.isnan(hull["lo"]) else (np.float32(hull["lo"]), np.float32(hull["hi"]))

    def _simpler(self, kind: Kind, args: tuple[Term, ...]) -> Term | None:
        """A term of the same bits that needs no new operation of this kind; None when there is none here."""
        match kind:
            case Kind.ADD:
                return _other(args, 0)
            case Kind.SUB:
                if args[0].value == 0:
                    return self.apply(Kind.NEG, args[1])
                return args[0] if args[1].value == 0 else None
            case Kind.MUL:
                return self._product(*args)
            case Kind.FMA:
                return self._fused(*args)
            case Kind.NEG:
                return args[0].args[0] if args[0].kind is Kind.NEG else None
            case Kind.MAX | Kind.MIN:
                return _winner(kind, *args)
            case Kind.DIV:
                return args[0] if args[1].value == 1 else None
            case Kind.ABS | Kind.SQRT | Kind.CONSTANT | Kind.VARIABLE:
                return None

    def _product(self, a: Term, b: Term) -> Term | None:
        if any(arg.value == 0 for arg in (a, b)) and all(arg.is_number for arg in (a, b)):
            return self.constant(np.float32(0))
        minus = _other((a, b), -1)
        return self.apply(Kind.NEG, minus) if minus is not None else _other((a, b), 1)

    def _fused(self, a: Term, b: Term, c: Term) -> Term | None:
        if c.value == 0:
            return self.apply(Kind.MUL, a, b)
        if any(arg.value == 0 for arg in (a, b)) and all(arg.is_number for arg in (a, b)):
            return c
        plus, minus = _other((a, b), 1), _other((a, b), -1)
        if plus is not None:
            return self.apply(Kind.ADD, plus, c)
        return self.apply(Kind.SUB, c, minus) if minus is not None else None


def _other(args: tuple[Term, ...], value: int) -> Term | None:
    """The operand beside a constant of the given value."""
    a, b = args
    if a.value == value:
        return b
    return a if b.value == value else None


def _winner(kind: Kind, a: Term, b: Term) -> Term | None:
    """The operand that is always the larger, or the smaller, one."""
    if a is b:
        return a
    if a.ends is None or b.ends is None:
        return None
    larger = b if a.ends[1] <= b.ends[0] else a if b.ends[1] <= a.ends[0] else None
    if larger is None or kind is Kind.MAX:
        return larger
    return a if larger is b else b


@dataclass(frozen=True, eq=False)
class FpTerms:
    """Arithmetic on arrays of terms under one accumulation order; `pool` holds all that were made."""

    order: Order
    pool: Pool = field(default_factory=Pool)

    def __post_init__(self) -> None:
        parse_order(self.order)

    def constant(self, values: Numbers) -> Array:
        """Constants; raises UnsupportedOperator for a value that binary32 has not."""
        exact = Binary32(self.order).constant(values)
        return _array([self.pool.constant(v) for v in exact.ravel()], exact.shape)

    def add(self, a: Array, b: Array) -> Array:
        return self._each(Kind.ADD, a, b)

    def sub(self, a: Array, b: Array) -> Array:
        return self._each(Kind.SUB, a, b)

    def mul(self, a: Array, b: Array) -> Array:
        return self._each(Kind.MUL, a, b)

    def div(self, a: Array, b: Array) -> Array:
        """Quotients by constants; raises UnsupportedOperator for others, for which the sign of a zero could matter."""
        for divisor in np.asarray(b, dtype=object).ravel():
            if divisor.value is None or divisor.value == 0:
                raise UnsupportedOperator(
                    "the floating-point formula divides by constants other than 0 only: 1/+0 and 1/-0 differ, and "
                    "binary32 runs do not tell the two zeros apart"
                )
        return self._each(Kind.DIV, a, b)

    def neg(self, a: Array) -> Array:
        return self._each(Kind.NEG, a)

    def maximum(self, a: Array, b: Array) -> Array:
        return self._each(Kind.MAX, a, b)

    def minimum(self, a: Array, b: Array) -> Array:
        return self._each(Kind.MIN, a, b)

    def absolute(self, a: Array) -> Array:
        return self._each(Kind.ABS, a)

    def sqrt(self, a: Array) -> Array:
        return self._each(Kind.SQRT, a)

    def contract(self, weight: Numbers, x: Array, bias: Numbers | None) -> Array:
        """Sums of products in the declared order: weight (M, K), x (..., K), bias (M,) or None -> (..., M)."""
        rows, length = weight.shape
        columns = self.constant(weight)
        addends = None if bias is None else self.constant(np.broadcast_to(np.asarray(bias), (rows,)))
        points = x.reshape(-1, length)
        sums = [
            self._sum(columns[row], point, None if addends is None else addends[row])
            for point in points
            for row in range(rows)
        ]
        return _array(sums, (*x.shape[:-1], rows))

    def _sum(self, w: Array, x: Array, bias: Term | None) -> Term:
        """One row, as farkas.ir.binary32 declares its orders."""
        zero = self.pool.constant(np.float32(0))
        if self.order == "mlas-k256-fma":
            y = zero if bias is None else bias
            for k in range(0, len(w), BLOCK):
                y = self.pool.apply(Kind.ADD, y, self._accumulated(w[k : k + BLOCK], x[k : k + BLOCK]))
            return y
        total = self._accumulated(w, x)
        return total if bias is None else self.pool.apply(Kind.ADD, total, bias)

    def _accumulated(self, w: Array, x: Array) -> Term:
        """acc = fma(w, x, acc), or fl(acc + fl(w x)), from 0."""
        apply, acc = self.pool.apply, self.pool.constant(np.float32(0))
        for wk, xk in zip(w, x, strict=True):
            if self.order == "seq-muladd":
                acc = apply(Kind.ADD, acc, apply(Kind.MUL, wk, xk))
            else:
                acc = apply(Kind.FMA, wk, xk, acc)
        return acc

    def _each(self, kind: Kind, *operands: Array) -> Array:
        spread = np.broadcast_arrays(*(np.asarray(operand, dtype=object) for operand in operands))
        terms = [self.pool.apply(kind, *args) for args in zip(*(array.ravel() for array in spread), strict=True)]
        return _array(terms, spread[0].shape)


def variables(pool: Pool, lower: npt.NDArray[np.float32], upper: npt.NDArray[np.float32], *, bounded: bool) -> Array:
    """Inputs x0, x1, ... (n,): with `bounded` they carry their bounds, and a point is a constant."""
    made = []
    for i, (low, high) in enumerate(zip(lower, upper, strict=True)):
        if bounded and low == high:
            made.append(pool.constant(low))
        else:
            made.append(pool.variable(f"x{i}", (low, high) if bounded else None))
    return _array(made, (len(made),))


def _array(terms: list[Term], shape: tuple[int, ...]) -> Array:
    out = np.empty(len(terms), dtype=object)
    out[:] = terms
    return out.reshape(shape)
