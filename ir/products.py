"""A program whose output goes on with products of its inputs and outputs: what polynomial atoms are linear in.

Powers first, by squaring (x^4 = (x^2)^2, x^5 = x^4 x), then the powers of a product one after the other: a square has a
much tighter relaxation than a product of two values that nobody knows to be equal, so x^2 y is (x^2) y and not x (x y).
What several products share is computed once.  Steps of one depth are one Product node, between Selections that pick
its operands and the next one; nothing of this rounds anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from farkas.ir.core import Affine, CoreOp, Product, Program, Rounding, Term
from farkas.ir.errors import UnsupportedOperator
from farkas.ir.linear import Selection

Monomial = tuple[int, ...]  # ascending factors: i < inputs is input i, inputs + j is output j
Place = tuple[int, int]  # node and component


def with_monomials(program: Program, monomials: Sequence[Monomial], columns: Sequence[int] | None = None) -> Program:
    """The program whose output vector is that of `program` and, behind it, the products; itself where there are none.

    monomials: each of at least two factors, numbered as in `farkas.specs.query.Property.monomials`; columns: which
    entry of the program's input the input i of a factor is (by default entry i).
    """
    if not monomials:
        return program
    return _Products(program, range(program.input_size) if columns is None else columns).run(monomials)


def refused(what: str) -> UnsupportedOperator:
    """The error of what knows piecewise linear networks only; callers leave it out before it comes to this."""
    return UnsupportedOperator(f"{what} cannot state products of computed values; input splitting and SMT can")


def parts(monomial: Monomial) -> tuple[Monomial, Monomial]:
    """Two products, each of fewer factors, whose product is the one of at least two factors; equal for even powers."""
    first, size = monomial[0], len(monomial)
    if monomial[-1] == first:  # a power
        half = 1
        while 4 * half <= size:
            half *= 2
        return (monomial[:half], monomial[:half]) if 2 * half == size else (monomial[: 2 * half], monomial[2 * half :])
    last = monomial.index(monomial[-1])
    return monomial[:last], monomial[last:]


@dataclass(eq=False)
class _Products:
    """A program under extension.

    columns: the entry of each input; known: where the value of a product, or of a single factor, stands; depths: how
    many multiplications deep a product is.
    """

    program: Program
    columns: Sequence[int]
    known: dict[Monomial, Place] = field(default_factory=dict)
    depths: dict[Monomial, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        inputs = len(self.columns)
        self.nodes: list[CoreOp] = list(self.program.nodes)
        self.sizes, self.names = list(self.program.sizes), list(self.program.names)
        self.known.update({(i,): (0, column) for i, column in enumerate(self.columns)})
        self.known.update({(inputs + j,): (self.program.output, j) for j in range(self.program.output_size)})

    def run(self, monomials: Sequence[Monomial]) -> Program:
        for monomial in monomials:
            self._note(monomial)
        for depth in range(1, max(self.depths.values()) + 1):
            steps = [m for m, d in self.depths.items() if d == depth]
            self._multiply([m for m in steps if len(set(parts(m))) == 1], squares=True)
            self._multiply([m for m in steps if len(set(parts(m))) == 2], squares=False)
        outputs = [(self.program.output, j) for j in range(self.program.output_size)]
        output = self._select([*outputs, *(self.known[m] for m in monomials)], "outputs and products")
        return Program(tuple(self.nodes), tuple(self.sizes), output, tuple(self.names))

    def _note(self, monomial: Monomial) -> int:
        """Remember the multiplications that a product takes; its depth."""
        if len(monomial) == 1:
            return 0
        if monomial not in self.depths:
            self.depths[monomial] = 1 + max(self._note(part) for part in parts(monomial))
        return self.depths[monomial]

    def _multiply(self, wanted: Sequence[Monomial], *, squares: bool) -> None:
        if not wanted:
            return
        pairs = [parts(monomial) for monomial in wanted]
        left = self._select([self.known[a] for a, _ in pairs], "left factors")
        right = left if squares else self._select([self.known[b] for _, b in pairs], "right factors")
        node = self._append(Product(left, right), len(wanted), "products")
        self.known.update({monomial: (node, k) for k, monomial in enumerate(wanted)})

    def _select(self, places: Sequence[Place], name: str) -> int:
        """A node whose components are the values at the places."""
        terms = []
        for source in sorted({node for node, _ in places}):
            index = np.array([k if node == source else -1 for node, k in places], dtype=np.int64)
            terms.append(Term(Selection(index, self.sizes[source]), source))
        nothing = np.zeros(len(places))
        return self._append(Affine(tuple(terms), nothing, Rounding(), nothing), len(places), name)

    def _append(self, node: CoreOp, size: int, name: str) -> int:
        self.nodes.append(node)
        self.sizes.append(size)
        self.names.append(name)
        return len(self.nodes) - 1
