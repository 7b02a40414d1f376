"""No number outgrows the mantissa: with a narrow one, every array that the kernel computes with is inspected.

At 53 bits a missing guard shows only where numbers happen to be large enough and no other guard fires.  With a mantissa
declared narrower the same guards must keep every number below 2^bits, which is seen at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.checker_fast import forward, limbs, sweep
from farkas.checker_fast.kernel import Accelerated
from farkas.checker_fast.limbs import WORD, Budget, Floats, Ints, Term
from farkas.checker_fast.matrices import apply, times
from farkas.checker_fast.sweep import Sweep
from tests.checker_fast.networks import Family, families, huge_families, network, root, steep_families
from tests.checker_fast.test_kernel import compare
from tests.checker_fast.test_plans import compare_plans


class Audit:
    """Wrappers around the functions through which all numbers pass."""

    def __init__(self, bits: int) -> None:
        self.top = 2.0**bits
        self.inspected = 0
        self._split, self._floor_sum, self._floor_dot = limbs.split, limbs.floor_sum, limbs.floor_dot
        self._add, self._spend, self._loss = Sweep._add, Sweep._spend, Sweep._loss
        self._products, self._interval = sweep._products, forward.interval

    def inspect(self, *arrays: Floats) -> None:
        for x in arrays:
            self.inspected += 1
            assert np.abs(x).max(initial=0.0) < self.top
            assert (x == np.floor(x)).all()

    def split(self, x: Floats, base: int, count: int) -> Floats:
        self.inspect(x)
        assert np.abs(x).max() < 2.0 ** (base * count)
        return self._split(x, base, count)

    def floor_sum(self, terms: Iterable[Term], shift: int) -> Floats:
        """The terms of one exponent, and a carry of a sixteenth of them, must fit together."""
        listed = list(terms)
        for exponent in {e for e, _ in listed}:
            together: Any = sum(np.abs(x) for e, x in listed if e == exponent)
            self.inspect(together)
            assert together.max() * (1 + 2.0**-4) < self.top
        result = self._floor_sum(listed, shift)
        self.inspect(result)
        return result

    def floor_dot(self, x: Floats, bound: Floats, y: Floats, shift: int, budget: Budget) -> tuple[Ints, Floats]:
        self.inspect(x, y)
        assert (np.abs(x).max(axis=(1, 2)) <= bound).all()
        return self._floor_dot(x, bound, y, shift, budget)

    def products(self, operand: Any, base: int, pieces: Floats) -> list[Term]:
        for _, limb in operand.limbs:
            self.inspect(times(np.abs(pieces).reshape(-1, pieces.shape[2]), apply(np.abs, limb)))
        return self._products(operand, base, pieces)

    def interval(
        self, layer: Any, lows: list[Floats], highs: list[Floats], budget: Budget, planned: bool
    ) -> forward.Interval:
        self.inspect(*lows, *highs)
        found = self._interval(layer, lows, highs, budget, planned)
        good = ~found.bad
        self.inspect(found.low[good], found.high[good], found.errors[good])
        return found


@contextmanager
def audited(bits: int) -> Iterator[Audit]:
    audit = Audit(bits)

    def add(work: Sweep, v: int, coefficients: Floats) -> None:
        audit.inspect(coefficients)
        audit._add(work, v, coefficients)
        audit.inspect(work.pending[v])

    def spend(work: Sweep, constant: Ints, reach: Floats) -> None:
        audit.inspected += 1
        held = ~work.bad & (reach < WORD)
        assert (np.abs(constant[held]) <= reach[held, None]).all()
        audit._spend(work, constant, reach)

    def loss(work: Sweep, operand: Any, sums: Floats | None) -> None:
        audit._loss(work, operand, sums)
        audit.inspect(work.frame.exposed(operand.source)[work.chosen][~work.bad], *(() if sums is None else (sums,)))

    with pytest.MonkeyPatch.context() as patch:
        for module in (limbs, sweep, forward):
            patch.setattr(module, "split", audit.split)
        for module in (sweep, forward):
            patch.setattr(module, "floor_sum", audit.floor_sum)
        patch.setattr(sweep, "floor_dot", audit.floor_dot)
        patch.setattr(sweep, "_products", audit.products)
        patch.setattr(forward, "interval", audit.interval)
        patch.setattr(Sweep, "_add", add)
        patch.setattr(Sweep, "_spend", spend)
        patch.setattr(Sweep, "_loss", loss)
        yield audit


every_family = st.one_of(families(), huge_families(), steep_families())


@given(st.integers(0, 2**32 - 1), every_family, st.booleans(), st.sampled_from([36, 40, 44, 48, 53]))
def test_no_number_outgrows_the_mantissa(seed: int, family: Family, rounded: bool, bits: int) -> None:
    random = Random(seed)
    tested = network(random, family)
    box = root(random, family, tested.sizes[0])
    with audited(bits):
        compare(random, tested, box, Accelerated(bits=bits), rounded, (0, 1), 1 << random.choice((4, 20, 36)))


@given(st.integers(0, 2**32 - 1), every_family, st.booleans(), st.sampled_from([36, 40, 44, 48, 53]))
def test_no_number_of_a_plan_outgrows_the_mantissa(seed: int, family: Family, rounded: bool, bits: int) -> None:
    random = Random(seed)
    tested = network(random, family)
    boxes = [root(random, family, tested.sizes[0])]
    with audited(bits):
        compare_plans(random, tested, boxes, Accelerated(bits=bits), rounded, random.choice((4, 20, bits - 12)))


def test_the_audit_inspects_numbers() -> None:
    random = Random(1)
    tested = network(random, Family(blocks=("dense",)))
    with audited(53) as audit:
        compare(random, tested, root(random, Family(), tested.sizes[0]), Accelerated(), True, (0,))
    assert audit.inspected > 100
