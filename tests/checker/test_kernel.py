"""The rule by hand on one network, and its soundness: bounds contain every execution, exact or rounded in any order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.checker import binary32
from farkas.checker import kernel as kernel_module
from farkas.checker import query as query_module
from farkas.checker.errors import CertificateRejected
from farkas.checker.kernel import EMPTY, FAILED, OPEN, Point, Reference, ReferenceProver, relu_slopes
from farkas.checker.query import Affine, Bound, Box, H, Input, K, Matrix, Network, P, Relu, S, bisect

UNIT = 1 << P
RULES = (0, 1, 2, 3)


def full(rows: Sequence[Sequence[int]], exact: bool = True) -> Matrix:
    return Matrix(len(rows), len(rows[0]), None, tuple(map(tuple, rows)), exact)


def affine(matrix: Matrix, bias: Sequence[int], source: int, count: int = 0) -> Affine:
    return Affine(((matrix, source),), tuple(bias), True, tuple(map(abs, bias)), count)


def box(lower: Sequence[Fraction | int], upper: Sequence[Fraction | int]) -> Box:
    return Box(tuple(int(x * 2**H) for x in lower), tuple(int(x * 2**H) for x in upper))


def derive(
    network: Network, where: Box, rounded: bool = False, rules: tuple[int, ...] = ()
) -> tuple[ReferenceProver, Point]:
    prover = Reference().prepare(network, rounded, rules)
    (point,) = prover.derive(prover.start(1), [where])
    return prover, point


def lower_bound(prover: ReferenceProver, point: Point, row: Sequence[tuple[int, int]], rule: int) -> Fraction:
    """The lower bound of a row of the output, found through the public interface by bisection over thresholds."""
    low, high = -(1 << 80), 1 << 80
    while high - low > 1:
        middle = (low + high) // 2
        claim = (Bound(rule, tuple(row), (), Fraction(middle, 2**K), False),)
        if prover.close([point], [0], [claim])[0]:
            low = middle
        else:
            high = middle
    return Fraction(high, 2**K)


# By hand ------------------------------------------------------------------------------------------------------------

#   z = (x, -x), a = relu(z), y = a_0 + a_1 = |x|,   x in [-1, 3]
ABSOLUTE = Network(
    (
        Input(1),
        affine(full([[UNIT], [-UNIT]]), [0, 0], 0),
        Relu(1),
        affine(full([[UNIT, UNIT]]), [0], 2),
    ),
    (1, 2, 2, 1),
    3,
)


def test_intervals_by_hand() -> None:
    _, point = derive(ABSOLUTE, box([-1], [3]))
    assert [(lo, hi) for lo, hi in zip(point.lower[1], point.upper[1], strict=True)] == [
        (-UNIT, 3 * UNIT),
        (-3 * UNIT, UNIT),
    ]
    assert (point.lower[2], point.upper[2]) == ([0, 0], [3 * UNIT, UNIT])
    assert (point.lower[3], point.upper[3]) == ([0], [4 * UNIT])


@pytest.mark.parametrize(
    ("rule", "below"),
    [
        # a_0 >= s_0 x and a_1 >= s_1 (-x): y >= (s_0 - s_1) x over [-1, 3]
        (0, Fraction(-1)),  # slopes 1 (3 > 1) and 0: y >= x >= -1
        (1, Fraction(0)),  # slopes 0 and 0
        (2, Fraction(-128, 256)),  # slopes 192/256 and 64/256: y >= x/2 >= -1/2
        (3, Fraction(0)),  # slopes 1 and 1
    ],
)
def test_lower_slopes_by_hand(rule: int, below: Fraction) -> None:
    prover, point = derive(ABSOLUTE, box([-1], [3]))
    # The coefficients at the input are exact, but the rule charges 2^-F max(0, -l) all the same: 2^-24 for l = -1,
    # and for the affine node 1 nothing, since no affine node reads it.
    assert lower_bound(prover, point, [(0, 1)], rule) == below - Fraction(1, 2**24)


def test_the_upper_line_by_hand() -> None:
    prover, point = derive(ABSOLUTE, box([-1], [3]))
    # a_0 <= 3/4 x + 3/4 and a_1 <= 1/4 (-x) + 3/4: y <= x/2 + 3/2 <= 3, so the negated row is at least -3.
    assert lower_bound(prover, point, [(0, -1)], 0) == -3 - Fraction(1, 2**24)


#   x -> z = x + b (unit weight) -> [relu] -> y = w a, with w one or minus one unit of 2^-P = 2^-F: results below 2^-K
LSB = Fraction(1, 2**K)


def chain(bias: int, weight: int, *, relu: bool = False, count: int = 0) -> Network:
    nodes: list[Input | Affine | Relu] = [Input(1), affine(full([[UNIT]]), [bias], 0, count)]
    if relu:
        nodes.append(Relu(1))
    nodes.append(affine(full([[weight]]), [0], len(nodes) - 1))
    return Network(tuple(nodes), (1,) * len(nodes), len(nodes) - 1)


def units(low: int, high: int) -> Box:
    """A box in units of 2^-P."""
    return Box((low << H - P,), (high << H - P,))


def test_products_with_a_bias_are_rounded_down_by_hand() -> None:
    # y = 2^-24 * 3 * 2^-24 = 3 * 2^-48, between 0 and 2^-40
    prover, point = derive(chain(3, 1), units(0, 0))
    assert lower_bound(prover, point, [(0, 1)], 0) == 0
    assert lower_bound(prover, point, [(0, -1)], 0) == -LSB


def test_intervals_are_rounded_outward_by_hand() -> None:
    # y = 2^-24 * x with x = 1, 2 units: 2^-48 to 2^-47
    _, point = derive(chain(0, 1), units(1, 2))
    assert (point.lower[2], point.upper[2]) == ([0], [1])
    _, point = derive(chain(0, -1), units(1, 2))
    assert (point.lower[2], point.upper[2]) == ([-1], [0])
    # the input box at 2^-H inside one unit of 2^-P
    _, point = derive(chain(0, 1), Box((1,), (2,)))
    assert (point.lower[0], point.upper[0]) == ([0], [1])


def test_errors_are_weighted_and_rounded_up_by_hand() -> None:
    # Node 1: M = 0, M' = 1, k = 2 + 2: E = ceil(4 * 2^16 / (2^24 - 4)) + 1 = 2 at 2^-40.  Its coefficient at 2^-32 is
    # 2^8: (2^8 >> 16) + 1 = 1 at 2^-16, so the loss is 2 * 2^-56, rounded up to 2^-40.
    prover, point = derive(chain(0, 1, count=2), units(0, 0), rounded=True)
    assert point.errors[1] == [2]
    assert (point.lower[1], point.upper[1]) == ([-1], [1])
    # z may be below 0 by one unit now, and its coefficient was floored: another 2^-48, rounded up to 2^-40.
    assert lower_bound(prover, point, [(0, 1)], 0) == -2 * LSB
    # M = 5 units * 1: M' = 5 * 2^24 / 2^24 + 1 = 6, E = ceil(6 * 4 * 2^16 / (2^24 - 4)) + 1 = 1 + 1
    # with x = 2^20 units: M' = 2^20 + 1, E = ceil((2^20 + 1) * 2^18 / (2^24 - 4)) + 1 = 16384 + 1 + 1
    _, point = derive(chain(0, 1, count=2), units(2**20, 2**20), rounded=True)
    assert point.errors[1] == [16386]
    assert (point.lower[1], point.upper[1]) == ([2**20 - 1], [2**20 + 1])


def test_rounded_intervals_are_rounded_outward_and_then_widened_by_hand() -> None:
    # y = 2^-24 x with x = 1 unit: 2^-48 lies between 0 and 1 units; E = ceil(3 * 2^16 / (2^24 - 3)) + 1 = 2, one unit
    network = Network((Input(1), affine(full([[1]]), [0], 0, 1)), (1, 1), 1)
    _, point = derive(network, units(1, 1), rounded=True)
    assert (point.lower[1], point.upper[1]) == ([-1], [2])


def test_every_floor_below_a_relu_is_paid_by_hand() -> None:
    # z in [-1, 1] units, s = 128, t = ceil(max(128, 128) / 256) = 1.  y = -2^-24 a:
    #   a <= z / 2 + 1 unit: intercept -2^-24 * 2^-24, rounded down to -2^-40
    #   at z the coefficient is -128 * 2^-32 = -2^-25, floored to -2^-24 for x, at a cost of 2^-24 * 2^-24, up to 2^-40
    #   x <= 1 unit: -2^-48, rounded down to -2^-40
    prover, point = derive(chain(0, -1, relu=True), units(-1, 1))
    assert lower_bound(prover, point, [(0, 1)], 0) == -3 * LSB
    # y = 2^-24 a >= 0 with lower slope 0: no coefficient is left, but the two layers charge what a floor may have cost:
    # at node 1, for x >= -1 unit; at node 3, whose source is a ReLU, nothing
    prover, point = derive(chain(0, 1, relu=True), units(-1, 1))
    assert lower_bound(prover, point, [(0, 1)], 1) == -LSB


def test_a_relu_of_a_relu_floors_its_coefficient_by_hand() -> None:
    # a' = relu(relu(z)) with z in [-1, 3] units at slope 192/256 below ("parallel"): the second relu is stable
    nodes = (Input(1), affine(full([[UNIT]]), [0], 0), Relu(1), Relu(2), affine(full([[UNIT]]), [0], 3))
    prover, point = derive(Network(nodes, (1,) * 5, 4), units(-1, 3))
    # coefficient 192 * 2^-32 * 2^24 floored to 2^-24 at the input; x >= -1 unit:
    # -192 * 2^16 * 2^8 * 2^-64 = -0.75 * 2^-24; and 2^-24 * 1 unit for the floor
    assert lower_bound(prover, point, [(0, 1)], 2) == Fraction(-3, 4) / 2**24 - LSB


def test_inexact_weights_and_biases_widen_by_hand() -> None:
    # w in [1, 2] units, b in [3, 4] units, x in [-1, 2] (whole numbers): w x + b in [-2 + 3, 4 + 4] units
    matrix = full([[1]], exact=False)
    network = Network((Input(1), Affine(((matrix, 0),), (3,), False, (4,), 2)), (1, 1), 1)
    prover, point = derive(network, box([-1], [2]))
    assert (point.lower[1], point.upper[1]) == ([1], [8])
    # Row: b >= 3 units; coefficient 1 unit; x >= -1; loss 2 + (2^32 >> 32) = 3 units of 2^-F for x >= -1: 3 - 1 - 3.
    assert lower_bound(prover, point, [(0, 1)], 0) == Fraction(-1, UNIT)
    # Negated: -b >= -4 units; coefficient -1 - 1 units; x <= 2; the same loss: -4 - 4 - 3.
    assert lower_bound(prover, point, [(0, -1)], 0) == Fraction(-11, UNIT)
    # M = (1 + 1) units * 2^21 + 4 units
    _, rounded = derive(network, box([-1], [2**21]), rounded=True)
    magnitude = 2 * 2**21 + 4 + 1
    assert rounded.errors[1] == [-(-magnitude * 4 * 2**16 // (2**24 - 4)) + 1]


def test_slopes_are_exact_where_the_phase_is_known() -> None:
    assert relu_slopes(-5, 0, 0) == (0, 0, 0)
    assert relu_slopes(-5, -1, 3) == (0, 0, 0)
    assert relu_slopes(0, 5, 1) == (1 << S, 1 << S, 0)
    assert relu_slopes(0, 0, 1) == (0, 0, 0)


@given(st.integers(-(2**30), -1), st.integers(1, 2**30), st.sampled_from(RULES))
def test_lines_enclose_relu(low: int, high: int, rule: int) -> None:
    below, above, intercept = relu_slopes(low, high, rule)
    assert 0 <= below <= 1 << S
    for z in (low, 0, high):
        assert below * z <= max(z, 0) << S <= above * z + (intercept << S)
    # and no intercept is larger than it must be, by a unit
    assert any(above * z + ((intercept - 1) << S) < max(z, 0) << S for z in (low, high))


def test_a_bound_equal_to_the_threshold_closes_strict_atoms_only() -> None:
    prover, point = derive(ABSOLUTE, box([1], [3]))
    value = lower_bound(prover, point, [(0, 1)], 0)
    assert value == 1
    for strict in (False, True):
        claim = (Bound(0, ((0, 1),), (), value, strict),)
        assert prover.close([point], [0], [claim]) == [strict]


def test_an_entry_without_atoms_never_closes() -> None:
    prover, point = derive(ABSOLUTE, box([1], [3]))
    assert prover.close([point], [0], [(None,)]) == [False]
    good = Bound(0, ((0, 1),), (), Fraction(0), False)
    assert prover.close([point, point], [0, 1], [(good, None), (good, good)]) == [False, True]


def test_disagreeing_bounds_make_a_node_and_its_descendants_empty() -> None:
    prover = Reference().prepare(ABSOLUTE, False, ())
    (root,) = prover.derive(prover.start(1), [box([1], [3])])
    (elsewhere,) = prover.derive([root], [box([-3], [-1])])
    (below,) = prover.derive([elsewhere], [box([-3], [-2])])
    assert (root.status, elsewhere.status, below.status) == (OPEN, EMPTY, EMPTY)
    assert prover.close([below], [0], [(None,)]) == [True]


def test_what_cannot_be_certified_fails_with_all_below_it() -> None:
    huge, wide = 1 << (80 + P), 1 << 50  # 2^80 times 2^50 overflows
    network = Network((Input(1), affine(full([[huge]]), [0], 0, 1)), (1, 1), 1)
    prover = Reference().prepare(network, True, ())
    (root,) = prover.derive(prover.start(1), [box([-wide], [wide])])
    (child,) = prover.derive([root], [box([0], [0])])
    assert (root.status, child.status) == (FAILED, FAILED)
    claim = (Bound(0, ((0, 1),), (), Fraction(-(2**200)), False),)
    assert prover.close([child], [0], [claim]) == [False]
    assert derive(network, box([-wide], [wide]), rounded=False)[1].status == OPEN
    assert derive(network, box([0], [0]), rounded=True)[1].status == OPEN


def test_underflow_that_large_weights_magnify_counts() -> None:
    # An input flushed to zero changes the result by up to 2^-126 2^127 = 2, which no unit of 2^-K covers.
    network = Network((Input(1), affine(full([[1 << (127 + P)]]), [0], 0, 1)), (1, 1), 1)
    assert derive(network, box([0], [0]), rounded=True)[1].status == FAILED


@pytest.mark.parametrize(("beyond", "status"), [(-1, OPEN), (0, FAILED)])
def test_the_underflow_obligation_to_the_unit_by_hand(beyond: int, status: int) -> None:
    # One product: 4 (1 + 2) (1 + w) 2^-126 < 2^-40, that is w < 2^86 / 12 - 1.
    least = -(-(1 << (86 + P)) // 12) - (1 << P)
    network = Network((Input(1), affine(full([[least + beyond]]), [0], 0, 1)), (1, 1), 1)
    assert derive(network, box([0], [0]), rounded=True)[1].status == status


@pytest.mark.parametrize(("short", "status"), [(10, OPEN), (7, FAILED), (6, FAILED)])
def test_the_overflow_obligation_counts_the_error_by_hand(short: int, status: int) -> None:
    # w x = 2^128 - short 2^103 is below the largest number, 2^128 - 2^104; the error of a product is some 3 * 2^104.
    weight = ((1 << 64) - (short << 39)) << P
    network = Network((Input(1), affine(full([[weight]]), [0], 0, 1)), (1, 1), 1)
    assert derive(network, box([1 << 64], [1 << 64]), rounded=True)[1].status == status


@pytest.mark.parametrize(("strict", "closes"), [(True, True), (False, False)])
def test_an_inexact_bias_adds_nothing_to_a_positive_coefficient(
    strict: bool, closes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At scales without a last shift: y = 5/8 + d 2^-3, 0 <= d < 1; the row +1 is bounded by 2^3 * 5 units of 2^-6.
    for module in (kernel_module, query_module):
        for name, bits in {"P": 3, "F": 3, "S": 0, "H": 5, "K": 6, "G": 2}.items():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, bits)
    node = Affine(((full([[0]]), 0),), (5,), False, (6,), 0)
    prover = Reference().prepare(Network((Input(1), node), (1, 1), 1), False, ())
    (point,) = prover.derive(prover.start(1), [Box((0,), (0,))])
    claim = (Bound(0, ((0, 1),), (), Fraction(5, 8), strict),)
    assert prover.close([point], [0], [claim]) == [closes]


def test_the_error_of_a_single_product_by_hand() -> None:
    # M' = 2^20 + 1 units, k = 1 + 2: 3 * 2^16 (2^20 + 1) / (2^24 - 3) = 12288.01..., so E = 12289 + 1.
    _, point = derive(chain(0, 1, count=1), units(2**20, 2**20), rounded=True)
    assert point.errors[1] == [12290]


def test_backward_rows_tighten_at_the_root_and_below_it_by_hand() -> None:
    # y = relu(x) - relu(x) over [-1, 3]: s = t = 3/4, a = 1, so y >= x - (3 x + 3) / 4 >= -1, and y <= 1 alike;
    # over [-1/4, 3/4]: s = 3/4, t = 3/16, y >= x / 4 - 3/16 >= -1/4.  Intervals give -3 and -3/4.  The input may be
    # negative, so its floored coefficient costs up to 2^-24 of that, which the bounds show as one unit.
    unit = 1 << P
    network = Network(
        (Input(1), affine(full([[unit], [unit]]), [0, 0], 0), Relu(1), affine(full([[unit, -unit]]), [0], 2), Relu(3)),
        (1, 2, 2, 1, 1),
        4,
    )
    prover = Reference().prepare(network, False, (0,))
    (root,) = prover.derive(prover.start(1), [box([-1], [3])])
    assert (root.lower[3], root.upper[3]) == ([-unit - 1], [unit + 1])
    (child,) = prover.derive([root], [box([Fraction(-1, 4)], [Fraction(3, 4)])])
    assert (child.lower[3], child.upper[3]) == ([-unit // 4 - 1], [unit // 4 + 1])


def test_overflow_of_a_partial_sum_counts_though_the_sum_is_small() -> None:
    big = 3 << (126 + P)  # 0.75 * 2^128: two of them overflow in one order and cancel in another
    network = Network((Input(3), affine(full([[big, big, -2 * big]]), [0], 0, 3)), (3, 1), 1)
    assert derive(network, box([1, 1, 1], [1, 1, 1]), rounded=True)[1].status == FAILED


def test_a_group_that_is_too_long_is_rejected() -> None:
    network = Network((Input(1), affine(full([[UNIT]]), [0], 0, (1 << 22) - 1)), (1, 1), 1)
    with pytest.raises(CertificateRejected, match="too long"):
        Reference().prepare(network, True, ())
    Reference().prepare(network, False, ())


# Soundness ----------------------------------------------------------------------------------------------------------


@st.composite
def networks(draw: st.DrawFn, inexact: bool = True) -> Network:
    """Layered networks, dense or sparse, exact or floored weights, at times a second path to a node."""
    sizes = [draw(st.integers(1, 3))]
    nodes: list[Input | Affine | Relu] = [Input(sizes[0])]
    scale = draw(st.sampled_from([P, P - 3, 4, 0]))
    for _ in range(draw(st.integers(1, 3))):
        rows = draw(st.integers(1, 4))
        sources = [len(nodes) - 1]
        if len(nodes) > 1 and draw(st.booleans()):
            sources.append(draw(st.integers(0, len(nodes) - 1)))
        operands = []
        for source in sources:
            matrix = draw(matrices(rows, sizes[source], scale, inexact))
            operands.append((matrix, source))
        bias = draw(st.lists(st.integers(-8, 8).map(lambda b: b << scale), min_size=rows, max_size=rows))
        exact = not inexact or draw(st.booleans())
        magnitude = tuple(abs(b) + (not exact) for b in bias)
        nodes.append(Affine(tuple(operands), tuple(bias), exact, magnitude, sum(m.columns for m, _ in operands) + 1))
        sizes.append(rows)
        if draw(st.booleans()):
            nodes.append(Relu(len(nodes) - 1))
            sizes.append(rows)
    return Network(tuple(nodes), tuple(sizes), len(nodes) - 1)


@st.composite
def matrices(draw: st.DrawFn, rows: int, columns: int, scale: int, inexact: bool) -> Matrix:
    entries = st.integers(-8, 8).map(lambda w: w << scale)
    weights = [draw(st.lists(entries, min_size=columns, max_size=columns)) for _ in range(rows)]
    exact = not inexact or draw(st.booleans())
    if draw(st.booleans()):
        return full(weights, exact)
    index = [tuple(i for i in range(columns) if draw(st.booleans())) for _ in range(rows)]
    kept = tuple(tuple(row[i] for i in at) for row, at in zip(weights, index, strict=True))
    return Matrix(rows, columns, tuple(index), kept, exact)


def run(network: Network, x: Sequence[Fraction], rng: random.Random) -> list[list[Fraction]]:
    """Over the rationals, with true weights anywhere between a floored weight and the next unit."""

    def true(w: int, exact: bool) -> Fraction:
        return Fraction(w + (0 if exact else Fraction(rng.choice([0, 1, rng.random()]))), UNIT)

    values = [list(x)]
    for node in network.nodes[1:]:
        if isinstance(node, Relu):
            values.append([max(v, Fraction(0)) for v in values[node.source]])
            continue
        assert isinstance(node, Affine)
        z = [true(b, node.bias_exact) for b in node.bias]
        for matrix, source in node.operands:
            for j, weights in enumerate(matrix.weights):
                at = range(matrix.columns) if matrix.index is None else matrix.index[j]
                z[j] += sum(true(w, matrix.exact) * values[source][i] for i, w in zip(at, weights, strict=True))
        values.append(z)
    return values


def assert_contains(point: Point, values: Sequence[Sequence[Fraction]]) -> None:
    for lower, upper, actual in zip(point.lower, point.upper, values, strict=True):
        for lo, hi, v in zip(lower, upper, actual, strict=True):
            assert lo <= v * UNIT <= hi


coordinates = st.integers(-(2**34), 2**34) | st.integers(-3, 3)
widths = st.sampled_from([0, 1, 2]) | st.integers(0, 2**34)


def points_of(where: Box, rng: random.Random, count: int) -> list[list[Fraction]]:
    """Corners and samples of the integer box."""
    pairs = list(zip(where.lower, where.upper, strict=True))
    picks = [[rng.choice([lo, hi, rng.randint(lo, hi)]) for lo, hi in pairs] for _ in range(count)]
    return [[Fraction(v, 2**H) for v in p] for p in [list(where.lower), list(where.upper), *picks]]


@given(networks(), st.data(), st.sampled_from([(), (0,), (0, 2), (0, 1, 2, 3)]), st.booleans(), st.randoms())
def test_bounds_contain_every_exact_run_also_those_inherited(
    network: Network, data: st.DataObject, rules: tuple[int, ...], rounded: bool, rng: random.Random
) -> None:
    low = [data.draw(coordinates) for _ in range(network.sizes[0])]
    where = Box(tuple(low), tuple(v + data.draw(widths) for v in low))
    prover = Reference().prepare(network, rounded, rules)
    (point,) = prover.derive(prover.start(1), [where])
    halves = bisect(where, data.draw(st.integers(0, network.sizes[0] - 1)), False)
    assert halves is not None
    children = prover.derive([point, point], halves)
    for here, state in ((where, point), *zip(halves, children, strict=True)):
        assert state.status == OPEN
        for x in points_of(here, rng, 6):
            assert_contains(state, run(network, x, rng))


@given(networks(), st.data(), st.sampled_from(RULES), st.randoms())
def test_rows_are_bounded_from_below(network: Network, data: st.DataObject, rule: int, rng: random.Random) -> None:
    low = [data.draw(coordinates) for _ in range(network.sizes[0])]
    where = Box(tuple(low), tuple(v + data.draw(widths) for v in low))
    prover, point = derive(network, where, rules=(0,))
    coefficient = st.integers(-3, 3)
    row = [(j, data.draw(coefficient)) for j in range(network.sizes[network.output])]
    xrow = [(i, data.draw(coefficient)) for i in range(network.sizes[0])]
    runs = [(x, run(network, x, rng)[-1]) for x in points_of(where, rng, 8)]
    least = min(
        sum((c * y[j] for j, c in row), Fraction(0)) + sum((c * x[i] for i, c in xrow), Fraction(0)) for x, y in runs
    )
    # The least value that was seen must not be excluded.
    claim = (Bound(rule, tuple(row), tuple(xrow), least, False),)
    assert prover.close([point], [0], [claim]) == [False]


def ticks_of(w: int) -> int:
    return w << (binary32.TICK - P)


def any_order(products: list[tuple[int, int]], addends: list[int], rng: random.Random) -> int:
    """A binary32 sum of products and addends by a random tree, each product fused into a sum or rounded by itself."""
    terms: list[tuple[int, int] | int] = [*products, *addends]
    rng.shuffle(terms)
    while len(terms) > 1 or isinstance(terms[0], tuple):
        first = terms.pop(rng.randrange(len(terms)))
        if isinstance(first, tuple):
            rounded = [t for t in terms if isinstance(t, int)]
            if rounded and rng.random() < 0.6:
                other = rng.choice(rounded)
                terms.remove(other)
                terms.append(binary32.fma32(*first, other))
            else:
                terms.append(binary32.multiply32(*first))
        else:
            second = terms.pop(rng.randrange(len(terms)))
            terms.append(binary32.fma32(*second, first) if isinstance(second, tuple) else binary32.add32(first, second))
    (total,) = terms
    assert isinstance(total, int)
    return total


def run_binary32(network: Network, x: Sequence[int], rng: random.Random) -> list[list[Fraction]]:
    """An execution of `f32-any` from x (ticks): every group in an order of its own."""
    values = [list(x)]
    for node in network.nodes[1:]:
        if isinstance(node, Relu):
            values.append([max(v, 0) for v in values[node.source]])
            continue
        assert isinstance(node, Affine)
        z = []
        for j, bias in enumerate(node.bias):
            products = []
            for matrix, source in node.operands:
                at = range(matrix.columns) if matrix.index is None else matrix.index[j]
                products += [(ticks_of(w), values[source][i]) for i, w in zip(at, matrix.weights[j], strict=True)]
            z.append(any_order(products, [ticks_of(bias)], rng))
        values.append(z)
    return [[binary32.value(v) for v in layer] for layer in values]


@given(networks(inexact=False), st.data(), st.sampled_from([(), (0, 2)]), st.randoms())
def test_bounds_contain_every_rounded_run_in_any_order(
    network: Network, data: st.DataObject, rules: tuple[int, ...], rng: random.Random
) -> None:
    # Points make the bounds as tight as they get, so that only the error terms stand between them and the run.
    wide = data.draw(st.booleans())
    x32 = st.floats(-8, 8, width=32).map(Fraction)
    low = [data.draw(x32) for _ in range(network.sizes[0])]
    high = [data.draw(x32.filter(lambda v, lo=lo: v >= lo)) if wide else lo for lo in low]  # type: ignore[misc]
    where = Box(
        tuple((v.numerator << H) // v.denominator for v in low),
        tuple(-((-v.numerator << H) // v.denominator) for v in high),
    )
    _, point = derive(network, where, True, rules)
    assert point.status == OPEN
    for _ in range(4):
        x = [binary32.nearest32(rng.choice([lo, hi])) for lo, hi in zip(low, high, strict=True)]
        assert_contains(point, run_binary32(network, x, rng))


def test_error_terms_are_needed_and_reach_through_the_layers() -> None:
    # 2^24 + 1000 products of 1, from the accumulator 2^24: round to even never adds a single one.
    n = 1000
    network = Network((Input(n), affine(full([[UNIT] * n]), [UNIT << 24], 0, n + 1)), (n, 1), 1)
    where = box([1] * n, [1] * n)
    total = 1 << 24 + binary32.TICK
    for _ in range(n):
        total = binary32.fma32(1 << binary32.TICK, 1 << binary32.TICK, total)
    assert binary32.value(total) == 2**24
    _, exact = derive(network, where, False)
    assert exact.lower[1][0] == (2**24 + 1000) * UNIT
    _, point = derive(network, where, True)
    assert point.lower[1][0] <= binary32.value(total) * UNIT <= point.upper[1][0]


@given(st.integers(2, 40), st.randoms())
def test_points_of_a_single_group_with_large_terms_are_contained(n: int, rng: random.Random) -> None:
    weights = [int(np.float32(rng.uniform(-1000, 1000)).item() * UNIT) for _ in range(n)]
    weights = [int(Fraction(float(np.float32(w / UNIT))) * UNIT) for w in weights]
    x = [Fraction(float(np.float32(rng.uniform(-1000, 1000)))) for _ in range(n)]
    network = Network((Input(n), affine(full([weights]), [0], 0, n + 1)), (n, 1), 1)
    where = Box(
        tuple((v.numerator << H) // v.denominator for v in x), tuple(-((-v.numerator << H) // v.denominator) for v in x)
    )
    _, point = derive(network, where, True)
    for _ in range(10):
        assert_contains(point, run_binary32(network, [binary32.nearest32(v) for v in x], rng))
