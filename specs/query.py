"""What is asked: a property in the normal form that every engine and the checker work on.

The normal form, as a grammar (DNF grouped by input box; all numbers exact rationals):

    property   := inputs outputs case*                 unsafe(x, y)  iff  some case is
    case       := box disjunct*                        x in box  and  some disjunct is
    box        := (lower_i, upper_i) for every input   lower_i <= x_i <= upper_i
    disjunct   := atom*                                all atoms hold; no atoms: every x in the box is unsafe
    atom       := x-terms y-terms c strict             sum a_i x_i + sum b_j y_j <= c     (< c when strict)
    x-terms    := (i, a_i)*                            i ascending, a_i != 0; likewise y-terms
    monomial   := factor factor+                       a product; ascending; i is x_i, and inputs + j is y_j

Atoms are linear; what is polynomial in a property stands in its monomials, numbered in the order of their first
appearance: as a y-term, index `outputs + k` is monomial k.  A monomial is the exact product of the values of its
factors, in every semantics.

The order is part of the form, for certificates name cases, disjuncts and atoms by position:

 1. Assertions are taken in file order.  An `or` multiplies the conjunctions so far: existing conjunction outer,
    alternatives inner.  Atoms of a conjunction stay in file order.
 2. `a >= b` is `b <= a`; everything is brought to the left except the constant.
 3. An atom over exactly one input and no output is a bound of the box.  A strict one is both: a closed bound, so
    that the box is closed, and an atom, so that the strictness is not lost.  An atom over several inputs and no
    output stays an atom, with no y-terms.  An atom whose terms cancel stays an atom, with no terms at all.
 4. A conjunction goes into the first case that has its box; cases stand in the order of their first conjunction.
 5. A conjunction whose box is contradictory (lower > upper) is dropped, and `vacuous` says so.

A property is satisfied (`sat`) when a point x in some box and an execution y of the network make all atoms of one
disjunct of that case true.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from math import prod

Terms = tuple[tuple[int, Fraction], ...]
Monomial = tuple[int, ...]


class Semantics(Enum):
    """The arithmetic that a verdict speaks about: the reals, every admissible binary32 execution, those that add up in
    one declared order (`ir.binary32`), or the exact integers of a quantised network (`ir.integer`)."""

    REAL = "real"
    F32_ANY = "f32-any"
    SEQ_MULADD = "f32-order:seq-muladd"
    SEQ_FMA = "f32-order:seq-fma"
    MLAS_K256_FMA = "f32-order:mlas-k256-fma"
    INT_EXACT = "int-exact"

    @property
    def order(self) -> str | None:
        """The accumulation order that the semantics declares; None when it declares none."""
        kind, _, order = self.value.partition(":")
        return order if kind == "f32-order" else None

    @property
    def is_binary32(self) -> bool:
        """Whether networks are executed in binary32, in any order or in a declared one."""
        return self.value.startswith("f32-")

    @property
    def covering(self) -> "Semantics":
        """The semantics whose `unsat` is proved for this one: f32-any for a single order, which it covers."""
        return Semantics.F32_ANY if self.order is not None else self


@dataclass(frozen=True, slots=True)
class Atom:
    """The half-space `sum x_i X_i + sum y_j Y_j <= c`, or `< c` when strict; exact in any semantics.

    Behind the outputs, Y goes on with the monomials of the property (`Property.extended`).
    """

    x: Terms
    y: Terms
    c: Fraction
    strict: bool = False

    def value(self, inputs: Sequence[Fraction], outputs: Sequence[Fraction]) -> Fraction:
        """The left-hand side at a point, in exact rationals."""
        total = Fraction(0)
        for i, a in self.x:
            total += a * inputs[i]
        for j, b in self.y:
            total += b * outputs[j]
        return total

    def holds(self, inputs: Sequence[Fraction], outputs: Sequence[Fraction]) -> bool:
        """Whether the atom is true at a point; no tolerance."""
        value = self.value(inputs, outputs)
        return value < self.c if self.strict else value <= self.c

    @property
    def is_constant(self) -> bool:
        """Whether all terms cancelled: true or false by `c` alone."""
        return not self.x and not self.y


@dataclass(frozen=True, slots=True)
class Case:
    """One input box and the unsafe region above it: unsafe when x is in the box and some disjunct's atoms all hold.

    lower, upper: (inputs,) exact rationals with lower <= upper.
    """

    lower: tuple[Fraction, ...]
    upper: tuple[Fraction, ...]
    disjuncts: tuple[tuple[Atom, ...], ...]

    def contains(self, inputs: Sequence[Fraction]) -> bool:
        """Whether the point lies in the box, read over the reals (for float modes: `farkas.specs.boxes.contains`)."""
        return all(low <= value <= high for low, value, high in zip(self.lower, inputs, self.upper, strict=True))

    def violated_disjunct(self, inputs: Sequence[Fraction], outputs: Sequence[Fraction]) -> int | None:
        """The first disjunct whose atoms all hold at the point; None when there is none.  The box is not looked at.

        outputs: with the monomials behind them (`Property.extended`).
        """
        for j, atoms in enumerate(self.disjuncts):
            if all(atom.holds(inputs, outputs) for atom in atoms):
                return j
        return None


def extended(
    inputs: Sequence[Fraction], outputs: Sequence[Fraction], monomials: Sequence[Monomial]
) -> tuple[Fraction, ...]:
    """The outputs and, behind them, the products: what the y-terms of atoms are about."""
    if not monomials:
        return tuple(outputs)
    values = (*inputs, *outputs)
    return (*outputs, *(prod((values[k] for k in factors), start=Fraction(1)) for factors in monomials))


@dataclass(frozen=True, slots=True)
class Property:
    """A query in normal form (see the module's docstring).

    sha256: of the decompressed bytes it was read from ("" when it was not read from a file).
    vacuous: one message for every contradictory box that was dropped; no cases at all means a vacuous `unsat`.
    monomials: the products that atoms speak of, each the ascending indices of at least two factors: of an input, or
    `inputs` plus that of an output.
    """

    inputs: int
    outputs: int
    cases: tuple[Case, ...]
    sha256: str = ""
    vacuous: tuple[str, ...] = ()
    monomials: tuple[Monomial, ...] = ()

    @property
    def columns(self) -> int:
        """The length of the vector that the y-terms of atoms are about: outputs and monomials."""
        return self.outputs + len(self.monomials)

    def extended(self, inputs: Sequence[Fraction], outputs: Sequence[Fraction]) -> tuple[Fraction, ...]:
        """The outputs and, behind them, the values of the monomials at a point: what atoms are evaluated over."""
        return extended(inputs, outputs, self.monomials)

    def is_unsafe(self, inputs: Sequence[Fraction], outputs: Sequence[Fraction]) -> bool:
        """Whether (x, y) is a counterexample, over the reals: the formula of the file at this point."""
        values = self.extended(inputs, outputs)
        return any(case.contains(inputs) and case.violated_disjunct(inputs, values) is not None for case in self.cases)
