"""Groups that are scaled on the way: means, Gemm with alpha and beta, BatchNormalization.

Executions place the scaling where a runtime may: before, inside or after the sum.  What they compute is compared with
the bound and the overflow obligation of the lowered node, everything in plain rationals.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.ir.core import Affine
from farkas.ir.error_terms import error_bound, stays_finite
from farkas.ir.graph import Graph, Node
from farkas.ir.lowering import lower
from farkas.ir.op import Op, Shape
from farkas.ir.ops.affine import Add, Linear
from farkas.ir.ops.pooling import AveragePool, Reduce
from farkas.ir.ops.scaling import BatchNormalization
from farkas.ir.windows import Windows
from tests.ir.exact32 import LARGEST, SMALLEST_NORMAL, Overflowed, round32
from tests.ir.executions import Execution, Group
from tests.ir.test_error_terms import binary32

seeds = st.integers(0, 2**32)
Run = Callable[[Execution], Fraction]


@dataclass(frozen=True)
class Row:
    """The only row of a node at given operand values: its real value, the bound, and whether the obligation is met."""

    value: Fraction
    bound: Fraction
    finite: bool

    @classmethod
    def of(cls, node: Affine, x: Sequence[Fraction]) -> Row:
        (term,) = node.terms
        weights = [Fraction(w) for w in term.map.dense()[0].tolist()]
        value = Fraction(node.bias.item()) + sum((w * a for w, a in zip(weights, x, strict=True)), Fraction(0))
        magnitude = Fraction(node.magnitude.item())
        magnitude += sum((abs(w * a) for w, a in zip(weights, x, strict=True)), Fraction(0))
        sums = sum(map(abs, weights), Fraction(0)), sum(map(abs, x), Fraction(0))
        count, relative, peak = node.rounding.count, Fraction(node.rounding.relative), Fraction(node.rounding.peak)
        bound = error_bound(count, magnitude, *sums, relative)
        return cls(value, bound, stays_finite(count, magnitude, *sums, relative, peak))


def node_of(op: Op, shape: Shape) -> Affine:
    program = lower(Graph.build((("x", shape),), (Node("y", op, ("x",)),), ("y",)))
    node = program.nodes[program.output]
    assert isinstance(node, Affine)
    return node


def check(row: Row, run: Run, seed: int) -> None:
    """Where the obligation is met, no partial result overflows and the value lies within the bound."""
    try:
        found = run(Execution(random.Random(seed)))
    except Overflowed:
        assert not row.finite
        return
    if row.finite:
        assert abs(found - row.value) <= row.bound


def worst(row: Row, run: Run) -> Fraction:
    """The largest error in 200 executions."""
    return max(abs(run(Execution(random.Random(seed))) - row.value) for seed in range(200))


def single(value: Fraction) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array([float(value)], dtype=np.float32)


# Batch normalization ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Normalization:
    scale: Fraction
    bias: Fraction
    mean: Fraction
    variance: Fraction
    epsilon: Fraction = Fraction(0)

    def row(self, x: Fraction) -> Row:
        scale, bias, mean, variance = (single(v) for v in (self.scale, self.bias, self.mean, self.variance))
        return Row.of(node_of(BatchNormalization(scale, bias, mean, variance, float(self.epsilon)), (1, 1)), [x])

    def run(self, x: Fraction) -> Run:
        def executed(run: Execution) -> Fraction:
            total = run.add(self.variance, self.epsilon)
            return run.normalize(x, self.scale, self.bias, self.mean, total)

        return executed


def normalizations(high: int) -> st.SearchStrategy[Normalization]:
    """Constants up to 2^high, as the importer lets them through: no subnormal scale, a variance of 2^-60 or more."""
    normal = binary32(-125, high)
    variances = binary32(-59, max(high, 80)).filter(lambda v: v > 0)
    anything = binary32(-149, high)
    epsilons = st.sampled_from((Fraction(0), round32(Fraction(1, 100000)), SMALLEST_NORMAL / 2))
    return st.builds(Normalization, normal, anything, anything, variances, epsilons)


@given(normalizations(20) | normalizations(60), binary32(-149, 30), seeds)
@settings(max_examples=600)
def test_no_grouping_of_a_normalization_exceeds_its_bound(made: Normalization, x: Fraction, seed: int) -> None:
    check(made.row(x), made.run(x), seed)


@given(normalizations(40) | normalizations(100), binary32(60, 127), seeds)
@settings(max_examples=300)
def test_no_grouping_of_a_normalization_overflows_where_the_obligation_is_met(
    made: Normalization, x: Fraction, seed: int
) -> None:
    check(made.row(x), made.run(x), seed)


@pytest.mark.parametrize(
    ("made", "x"),
    [
        # (x / 2^40) 2^60: x / 2^40 = 2^-127 is flushed.
        (Normalization(Fraction(2**60), Fraction(0), Fraction(0), Fraction(2**80)), Fraction(1, 2**87)),
        # (x 2^-50) 2^30 with 1 / sqrt = 2^30: x 2^-50 = 2^-127 is flushed.
        (Normalization(Fraction(1, 2**50), Fraction(0), Fraction(0), Fraction(1, 2**60)), Fraction(1, 2**77)),
        # mean (2^-100 / 2^30) = 2^-30, the factor 2^-130 is flushed.
        (Normalization(Fraction(1, 2**100), Fraction(0), Fraction(2**100), Fraction(2**60)), Fraction(0)),
    ],
    ids=["scale", "root", "mean"],
)
def test_what_a_normalization_makes_of_an_underflow_is_in_its_magnitude(made: Normalization, x: Fraction) -> None:
    row = made.row(x)
    error = worst(row, made.run(x))
    assert error == abs(row.value) > 0, "everything is lost"
    factor = abs(made.scale) / Fraction(2) ** (made.variance.numerator.bit_length() // 2) if made.variance > 1 else 0
    plain = error_bound(10, abs(row.value), Fraction(factor), abs(x))
    assert plain < error <= row.bound
    assert row.bound < 2**60 * error


# Gemm ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scaled:
    group: Group
    alpha: Fraction
    beta: Fraction

    def row(self) -> Row:
        weight = np.array([[float(w) for w, _ in self.group.products]], dtype=np.float32)
        bias = single(self.group.addends[0]) if self.group.addends else None
        op = Linear(weight, bias, float(self.alpha), float(self.beta))
        return Row.of(node_of(op, (1, weight.shape[1])), [a for _, a in self.group.products])

    def run(self, run: Execution) -> Fraction:
        return run.gemm(self.group, self.alpha, self.beta)


def scaled(low: int, high: int, operands: st.SearchStrategy[Fraction]) -> st.SearchStrategy[Scaled]:
    weights = binary32(-149, 40)
    products = st.lists(st.tuples(weights, operands), min_size=1, max_size=6)
    groups = st.builds(lambda p, b: Group(tuple(p), tuple(b)), products, st.lists(weights, max_size=1))
    # Counts are multiplied by alpha, and may not exceed 2^22.
    alphas, betas = (st.just(Fraction(1)) | binary32(low, top) for top in (10, high))
    return st.builds(Scaled, groups, alphas, betas)


@given(scaled(-20, 20, binary32(-20, 20)) | scaled(-125, 100, binary32(-149, 60)), seeds)
@settings(max_examples=600)
def test_no_placement_of_alpha_and_beta_exceeds_the_bound(made: Scaled, seed: int) -> None:
    check(made.row(), made.run, seed)


@given(scaled(-40, 40, binary32(60, 127)), seeds)
@settings(max_examples=300)
def test_no_placement_of_alpha_overflows_where_the_obligation_is_met(made: Scaled, seed: int) -> None:
    check(made.row(), made.run, seed)


def tiny(k: int) -> Fraction:
    return Fraction(1, 2**k)


@pytest.mark.parametrize(
    "made",
    [
        # A subnormal bias read as zero, times 2^100.
        Scaled(Group(((Fraction(1), Fraction(0)),), (tiny(127),)), Fraction(1), Fraction(2**100)),
        # A product of 2^-127 that is flushed, times 2^10.
        Scaled(Group(((tiny(80), tiny(47)),)), Fraction(2**10), Fraction(1)),
        # alpha x = 2^-130 is flushed, times a weight of 2^100.
        Scaled(Group(((Fraction(2**100), tiny(30)),)), tiny(100), Fraction(1)),
    ],
    ids=["beta", "alpha", "operand"],
)
def test_an_underflow_that_alpha_beta_or_a_weight_magnifies_is_within_the_bound(made: Scaled) -> None:
    row = made.row()
    error = worst(row, made.run)
    assert error == abs(row.value) > 0, "everything is lost"
    weights = sum((abs(made.alpha * w) for w, _ in made.group.products), Fraction(0))
    plain = error_bound(made.group.count + 1, abs(row.value), weights, made.group.u_sum)
    assert plain < error <= row.bound


def test_a_gemm_without_scaling_has_the_plain_bound() -> None:
    node = node_of(Linear(np.ones((1, 3), dtype=np.float32), single(Fraction(5))), (1, 3))
    assert (node.rounding.count, node.rounding.peak, node.magnitude.item()) == (4, 0.0, 5.0)


# Overflow before a sum is scaled ------------------------------------------------------------------------------------


def means() -> list[tuple[Op, Shape, int]]:
    """Operators with the mean of four elements as their only result, their operands' shapes, their divisors."""
    padded = Windows((3, 3), pads=(1, 1, 0, 0))
    return [
        (Reduce((1,), mean=True, keep=False), (1, 4), 4),
        (Reduce((2, 3), mean=True, keep=True), (1, 1, 2, 2), 4),
        (AveragePool(Windows((2, 2))), (1, 1, 2, 2), 4),
        (AveragePool(padded, include_pad=True), (1, 1, 2, 2), 9),
    ]


@pytest.mark.parametrize(("op", "shape", "divisor"), means(), ids=["reduce", "global", "pool", "padded"])
@given(xs=st.lists(binary32(120, 127), min_size=4, max_size=4), reciprocal=st.booleans(), seed=seeds)
@settings(max_examples=60)
def test_the_sum_under_a_mean_does_not_overflow_where_the_obligation_is_met(
    op: Op, shape: Shape, divisor: int, xs: list[Fraction], reciprocal: bool, seed: int
) -> None:
    node = node_of(op, shape)
    assert node.bias.size == 1

    def run(execution: Execution) -> Fraction:
        total = execution.sum(Group((), tuple(xs)))
        k = Fraction(divisor)
        return execution.mul(total, execution.div(Fraction(1), k)) if reciprocal else execution.div(total, k)

    check(Row.of(node, xs), run, seed)


def test_four_inputs_of_half_the_largest_number_have_a_finite_mean_and_no_finite_sum() -> None:
    x = [Fraction(2**127)] * 4
    row = Row.of(node_of(*means()[0][:2]), x)
    assert row.value == 2**127 < LARGEST
    assert not row.finite
    with pytest.raises(Overflowed):
        Execution(random.Random(0)).sum(Group((), tuple(x)))


def test_a_sum_that_is_not_divided_has_no_peak() -> None:
    assert node_of(Reduce((1,), mean=False, keep=True), (1, 4)).rounding.peak == 0.0
    assert node_of(AveragePool(Windows((1, 1))), (1, 1, 1, 1)).rounding.peak == 0.0


def test_alpha_zero_does_not_hide_the_sum_that_it_multiplies() -> None:
    made = Scaled(Group(((Fraction(2**10), Fraction(2**120)),)), Fraction(0), Fraction(1))
    assert not made.row().finite
    with pytest.raises(Overflowed):
        for seed in range(50):
            made.run(Execution(random.Random(seed)))


def test_an_add_takes_over_the_largest_peak_of_its_operands() -> None:
    half = Linear(np.full((1, 4), 2.0**9, dtype=np.float32), None, alpha=0.5)
    mean = Reduce((1,), mean=True, keep=True)
    nodes = (Node("g", half, ("x",)), Node("m", mean, ("x",)), Node("y", Add(), ("g", "m")))
    program = lower(Graph.build((("x", (1, 4)),), nodes, ("y",)))
    node = program.nodes[program.output]
    assert isinstance(node, Affine)
    assert 2**9 <= node.rounding.peak < 2**9 * (1 + 2.0**-40)
