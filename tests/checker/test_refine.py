"""The rule crown-fp-2 by hand, and its soundness: no execution leaves its tree node, or falls below a row's bound."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.checker import binary32
from farkas.checker.kernel import EMPTY, FAILED, OPEN, Point, Reference, neuron_layers
from farkas.checker.plan import Recipe, RowGroup, Vector
from farkas.checker.prover import PlanProver, Step
from farkas.checker.query import Affine, Bound, Box, H, Input, K, Matrix, Network, P, Relu, bisect
from farkas.checker.refine import ReferencePlanProver
from tests.checker.test_kernel import (
    LSB,
    RULES,
    UNIT,
    affine,
    assert_contains,
    box,
    coordinates,
    full,
    networks,
    points_of,
    run,
    run_binary32,
    units,
    widths,
)

Q = Fraction
FLOOR = Q(1, 1 << 24)  # what the floor at an input with lower bound -1 costs


class Tree:
    """A tree node to walk down from; columns: all neurons."""

    def __init__(self, network: Network, where: Box, rounded: bool = False, columns: tuple[int, ...] = ()) -> None:
        self.prover = ReferencePlanProver(network, rounded, columns)
        self.box = where
        (self.point,) = self.prover.begin([where])

    def advance(self, step: Step) -> Point:
        (self.point,) = self.prover.advance([self.point], [step])
        self.box = step.box
        return self.point

    def split(self, neuron: int, active: bool) -> Point:
        return self.advance(Step(self.box, (neuron, active), None))

    def derive(self, *rows: RowGroup, forward: bool = False) -> Point:
        return self.advance(Step(self.box, None, Recipe(forward, rows)))

    def closes(self, bound: Bound) -> bool:
        (closed,) = self.prover.close([self.point], [0], [(bound,)])
        return closed

    def bound(
        self,
        row: Sequence[tuple[int, int]],
        xrow: Sequence[tuple[int, int]] = (),
        rule: int = 0,
        vector: Vector | None = None,
    ) -> Fraction:
        """The lower bound of a row, found through the public interface by bisection over thresholds."""
        low, high = -(1 << 80), 1 << 80
        while high - low > 1:
            middle = (low + high) // 2
            if self.closes(Bound(rule, tuple(row), tuple(xrow), Q(middle, 2**K), False, vector)):
                low = middle
            else:
                high = middle
        return Q(high, 2**K)


def shallow(hidden: Sequence[Sequence[Fraction]], bias: Sequence[Fraction], out: Sequence[Fraction]) -> Network:
    """y = out . relu(hidden x + bias)."""

    def whole(row: Sequence[Fraction]) -> list[int]:
        return [int(v * UNIT) for v in row]

    n = len(hidden[0])
    return Network(
        (Input(n), affine(full([whole(row) for row in hidden]), whole(bias), 0), Relu(1),
         affine(full([whole(out)]), [0], 2)),
        (n, len(hidden), len(hidden), 1),
        3,
    )  # fmt: skip


# By hand ------------------------------------------------------------------------------------------------------------


def test_explicit_slopes_close_what_no_rule_closes_by_hand() -> None:
    # 2 relu(x) - x over [-1, 3]: with slope a below, (2 a - 1) x.  Rules 0 and 3 have a = 1: -1; rule 1 a = 0: -3;
    # rule 2 a = 3/4: -1/2; a = 1/2 gives 0, which is the truth.
    tree = Tree(shallow([[Q(1)]], [Q(0)], [Q(1)]), box([-1], [3]), columns=(0,))
    values = [tree.bound([(0, 2)], [(0, -1)], rule) for rule in RULES]
    assert values == [Q(-1) - FLOOR, Q(-3) - FLOOR, Q(-1, 2) - FLOOR, Q(-1) - FLOOR]
    assert tree.bound([(0, 2)], [(0, -1)], vector=Vector(bytes([128]), ())) == 0 - FLOOR


@pytest.mark.parametrize(("byte", "slope"), [(0, Q(0)), (1, Q(1, 256)), (254, Q(254, 256)), (255, Q(1))])
def test_the_last_byte_is_the_slope_one(byte: int, slope: Fraction) -> None:
    # relu(x) >= a x >= -a over [-1, 3]
    tree = Tree(shallow([[Q(1)]], [Q(0)], [Q(1)]), box([-1], [3]), columns=(0,))
    assert tree.bound([(0, 1)], vector=Vector(bytes([byte]), ())) == -slope - FLOOR


def test_neurons_without_a_byte_take_rule_0_and_columns_say_whose_a_byte_is() -> None:
    # y = relu(x) + relu(x - 1) over [-1, 3]: x in [-1, 3], x - 1 in [-2, 2]; rule 0: slopes 1 and 0, so y >= x >= -1
    network = shallow([[Q(1)], [Q(1)]], [Q(0), Q(-1)], [Q(1), Q(1)])

    def value(columns: tuple[int, ...], slopes: list[int]) -> Fraction:
        return Tree(network, box([-1], [3]), columns=columns).bound([(0, 1)], vector=Vector(bytes(slopes), ()))

    assert value((), []) == -1 - FLOOR
    assert value((0, 1), []) == -1 - FLOOR
    assert value((0, 1), [0]) == 0 - FLOOR
    assert value((0, 1), [0, 255]) == -2 - FLOOR  # x - 1 >= -2
    assert value((1,), [64]) == Q(-1) - Q(1, 2) - FLOOR  # x + (x - 1) / 4 >= -3/2


def test_bytes_of_stable_neurons_say_nothing() -> None:
    tree = Tree(shallow([[Q(1)]], [Q(0)], [Q(1)]), box([1], [3]), columns=(0,))
    assert tree.bound([(0, 1)], vector=Vector(bytes([0]), ())) == 1
    tree = Tree(shallow([[Q(1)]], [Q(0)], [Q(1)]), box([-3], [-1]), columns=(0,))
    assert tree.bound([(0, 1)], vector=Vector(bytes([255]), ())) == -3 * FLOOR
    # at the border too: y - x with slope 1 is 0, with slope 0 it would be -3; and y with slope 0 is 0, with slope 1 -3
    tree = Tree(shallow([[Q(1)]], [Q(0)], [Q(1)]), box([0], [3]), columns=(0,))
    assert tree.bound([(0, 1)], [(0, -1)], vector=Vector(bytes([0]), ())) == 0
    tree = Tree(shallow([[Q(1)]], [Q(0)], [Q(1)]), box([-3], [0]), columns=(0,))
    assert tree.bound([(0, 1)], vector=Vector(bytes([255]), ())) == -3 * FLOOR


# f(x) = relu(x) - 2 relu(x - 1/2) on [-1, 1] is 0 at most below 0, falls from 1/2 to 0 above 1/2: f >= 0.
HILL = shallow([[Q(1)], [Q(1)]], [Q(0), Q(-1, 2)], [Q(1), Q(-2)])


def test_a_split_closes_what_no_slopes_close_by_hand() -> None:
    # relu(x - 1/2) <= (x - 1/2) / 4 + 3/8, so f >= a x - x / 2 - 1/2, -1/2 at best (a = 1/2)
    root = Tree(HILL, box([-1], [1]), columns=(0, 1))
    best = max(root.bound([(0, 1)], vector=Vector(bytes([a, 0]), ())) for a in range(256))
    assert best == Q(-1, 2) - FLOOR
    claim = Bound(0, ((0, 1),), (), Q(-1, 4), False)
    assert not any(root.closes(Bound(rule, claim.row, (), claim.threshold, False)) for rule in RULES)
    # x <= 1/2: f >= 0 x.  x >= 1/2: f = relu(x) - 2 x + 1 >= (1 - 2) x + 1 >= 0 by rule 3.
    inactive, active = Tree(HILL, box([-1], [1])), Tree(HILL, box([-1], [1]))
    for tree, rule in ((inactive, 0), (active, 3)):  # what a row used is kept, for children too
        assert tree.bound([(0, 1)], rule=rule) == Q(-1) - FLOOR
    assert (inactive.split(1, False).upper[1][1], active.split(1, True).lower[1][1]) == (0, 0)
    assert inactive.bound([(0, 1)], rule=0) == 0 - FLOOR
    assert active.bound([(0, 1)], rule=3) == 0 - FLOOR


def test_a_pin_of_an_inactive_neuron_closes_by_hand() -> None:
    # y = relu(x) where x <= 1/2 by a split: relu(x) <= x / 2 + 1/2 gives -y >= -1; with -1/2 times (x - 1/2 - 0) >= 0
    # taken from the row, -x / 2 - 1/2 + (x - 1/2) / 2 = -3/4.
    tree = Tree(shallow([[Q(1)], [Q(1)]], [Q(0), Q(-1, 2)], [Q(1), Q(0)]), box([-1], [1]))
    tree.split(1, False)
    assert tree.bound([(0, -1)]) == -1 - FLOOR
    half = 1 << 23
    assert tree.bound([(0, -1)], vector=Vector(b"", ((1, -half),))) == Q(-3, 4) - FLOOR
    # the other sign pins z at its lower bound, -3/2: -x / 2 - 1/2 - (x - 1/2 + 3/2) / 2 >= -1 - 1/2 - 1/2
    assert tree.bound([(0, -1)], vector=Vector(b"", ((1, half),))) == Q(-2) - FLOOR


def test_pins_of_open_neurons_are_lines_through_their_bounds_by_hand() -> None:
    # y = relu(x) over [-1, 1], slope 0 below; taking (x + 1) / 4 from it leaves -x / 4 - 1/4 >= -1/2, and
    # -(x - 1) / 4, for which the upper bound is in force, leaves x / 4 - 1/4 >= -1/2.
    tree = Tree(shallow([[Q(1)]], [Q(0)], [Q(1)]), box([-1], [1]), columns=(0,))
    for gamma in (1 << 22, -(1 << 22)):
        assert tree.bound([(0, 1)], vector=Vector(bytes([0]), ((0, gamma),))) == Q(-1, 2) - FLOOR


def test_a_pin_in_a_neurons_own_layer_carries_a_phase_over_by_hand() -> None:
    # z0 = x0, z1 = x0 + x1 over [-1, 1]^2: z0 >= 0 gives z1 >= x1 >= -1 by z1 - (z0 - 0), where boxes say -2; the upper
    # bound stays 2.  Twice the pin is too much: z1 - 2 (z0 - 0) = -x0 + x1 >= -2.
    for gamma, expected in ((UNIT, -1), (2 * UNIT, -2), (UNIT // 2, Q(-3, 2))):
        tree = Tree(shallow([[Q(1), Q(0)], [Q(1), Q(1)]], [Q(0), Q(0)], [Q(1), Q(1)]), box([-1, -1], [1, 1]))
        tree.split(0, True)
        point = tree.derive(RowGroup(0, (1,), -1, (Vector(b"", ((0, gamma),)), Vector(b"", ()))))
        assert Q(expected) - Q(2, UNIT) <= Q(point.lower[1][1], UNIT) <= expected  # sums are rounded down
        assert Q(point.upper[1][1], UNIT) == 2


def test_a_pin_on_the_rows_own_neuron_by_hand() -> None:
    # z - (z + 1) / 2 over [-1, 1], the bound -1 in force: z / 2 - 1 / 2 >= -1, nothing gained and nothing invented.
    tree = Tree(shallow([[Q(1)]], [Q(0)], [Q(1)]), box([-1], [1]))
    point = tree.derive(RowGroup(0, (0,), -1, (Vector(b"", ((0, UNIT // 2),)), Vector(b"", ((0, UNIT // 2),)))))
    assert (point.lower[1], point.upper[1]) == ([-UNIT], [UNIT])


def test_pins_are_rounded_down_once_per_node_by_hand() -> None:
    # y = 0 relu(z), z0 = z1 = x = 1 unit of 2^-24: gamma b = 2^-48 per pin, and -gamma z = -2^-48 at the input; both
    # sums are rounded down to 2^-40 by themselves.
    network = shallow([[Q(1)], [Q(1)]], [Q(0), Q(0)], [Q(0), Q(0)])
    tree = Tree(network, units(1, 1))
    assert tree.bound([(0, 1)], vector=Vector(b"", ((0, 1),))) == 0 - LSB
    assert tree.bound([(0, 1)], vector=Vector(b"", ((0, 1), (1, 255)))) == 0  # 256 * 2^-48 = 2^-40 either way
    assert tree.bound([(0, 1)], vector=Vector(b"", ((0, 1), (1, 1)))) == 0 - LSB  # one floor for both
    assert tree.bound([(0, 1)], vector=Vector(b"", ((0, -1),))) == 0 - LSB


def test_contradictory_phases_are_refuted_by_the_row_zero_by_hand() -> None:
    # x >= 0 and -x - 1/4 >= 0: no bound shows it, but 0 >= -(x - 0) - (-x - 1/4 - 0) = 1/4.
    tree = Tree(shallow([[Q(1)], [Q(-1)]], [Q(0), Q(-1, 4)], [Q(1), Q(1)]), box([-1], [1]))
    tree.split(0, True)
    assert tree.split(1, True).status == OPEN
    assert tree.bound([], vector=Vector(b"", ((0, UNIT), (1, UNIT)))) == Q(1, 4) - FLOOR
    assert tree.bound([], vector=Vector(b"", ((0, UNIT),))) < 0
    assert tree.bound([], vector=Vector(b"", ())) == 0 - FLOOR
    # and without the second phase nothing is claimed: -x >= 3/4 pins z_1 at -3/4 + x
    possible = Tree(shallow([[Q(1)], [Q(-1)]], [Q(0), Q(-1, 4)], [Q(1), Q(1)]), box([-1], [1]))
    possible.split(0, True)
    assert possible.bound([], vector=Vector(b"", ((0, UNIT), (1, UNIT)))) < 0


def test_the_row_zero_closes_when_it_is_positive_only() -> None:
    tree = Tree(HILL, box([0], [1]))  # no floor costs anything
    zero = Bound(0, (), (), Q(0), False, Vector(b"", ()))
    assert tree.bound([], vector=zero.vector) == 0
    assert not tree.closes(zero)


def test_a_split_against_the_bounds_makes_a_node_empty_with_all_below_it() -> None:
    tree = Tree(HILL, box([Q(3, 4)], [1]))
    assert tree.split(1, True).status == OPEN
    assert tree.split(1, False).status == EMPTY
    assert tree.split(1, True).status == EMPTY
    assert tree.derive(RowGroup(0, None, 0, ()), forward=True).status == EMPTY
    assert tree.closes(Bound(0, ((0, 1),), (), Q(9), False))


def test_a_value_on_the_border_of_both_phases_belongs_to_both() -> None:
    for active in (False, True):
        tree = Tree(shallow([[Q(1)]], [Q(0)], [Q(1)]), box([0], [0]))
        assert tree.split(0, active).status == OPEN


#   y = relu(z_2), z_2 = relu(x) - relu(x) over [-1, 3] (truth: 0), by two neurons
DIFFERENCE = Network(
    (Input(1), affine(full([[UNIT], [UNIT]]), [0, 0], 0), Relu(1), affine(full([[UNIT, -UNIT]]), [0], 2), Relu(3),
     affine(full([[UNIT]]), [0], 4)),
    (1, 2, 2, 1, 1, 1),
    5,
)  # fmt: skip


def test_rows_tighten_their_neurons_and_the_relus_that_read_them_by_hand() -> None:
    # s = t = 3/4.  Rule 0: x - (3 x + 3) / 4 >= -1 and <= 1; slopes 3/4 in both rows: -3/4 and 3/4.  A unit for floors.
    tree = Tree(DIFFERENCE, box([-1], [3]), columns=(0, 1))
    assert (tree.point.lower[3], tree.point.upper[3]) == ([-3 * UNIT], [3 * UNIT])
    parent = tree.point
    tree.derive(RowGroup(1, None, 0, ()))
    assert (tree.point.lower[3], tree.point.upper[3]) == ([-UNIT - 1], [UNIT + 1])
    assert (tree.point.lower[4], tree.point.upper[4]) == ([0], [UNIT + 1])
    assert (parent.lower[3], parent.upper[4]) == ([-3 * UNIT], [3 * UNIT])
    below, above = Vector(bytes([192]), ()), Vector(bytes([0, 192]), ())
    tree.derive(RowGroup(1, (0,), -1, (below, above)))
    assert (tree.point.lower[3], tree.point.upper[3]) == ([-UNIT * 3 // 4 - 1], [UNIT * 3 // 4 + 1])


def test_open_rows_are_those_of_neurons_that_are_open() -> None:
    tree = Tree(DIFFERENCE, box([-1], [3]))
    tree.split(2, True)  # z_2 >= 0 is stable now, and its upper bound stays 3
    tree.derive(RowGroup(1, None, 0, ()))
    assert (tree.point.lower[3], tree.point.upper[3]) == ([0], [3 * UNIT])
    tree.derive(RowGroup(1, (0,), 0, ()))
    assert (tree.point.lower[3], tree.point.upper[3]) == ([0], [UNIT + 1])


def test_which_neurons_are_open_is_settled_before_the_first_group_of_a_layer() -> None:
    # y = |x| over [0, 1] as z_0 = relu(x) + relu(-x): 0 <= z; -1/2 makes it open by intervals, [-1/2, 1/2].
    # Group one gives lower bounds by rule 1, then group two bounds the same neurons although nothing else changed.
    tree = Tree(DIFFERENCE, box([-1], [3]))
    once = Tree(DIFFERENCE, box([-1], [3]))
    tree.derive(RowGroup(1, None, 0, ()), RowGroup(1, None, 2, ()))
    once.derive(RowGroup(1, None, 2, ()))
    assert tree.point.upper[3][0] == min(UNIT + 1, once.point.upper[3][0])
    assert tree.point.lower[3][0] == max(-UNIT - 1, once.point.lower[3][0])


def test_a_forward_pass_takes_up_what_splits_and_boxes_changed_by_hand() -> None:
    tree = Tree(DIFFERENCE, box([-1], [3]))
    tree.split(0, False)
    tree.split(1, False)
    assert (tree.point.lower[3], tree.point.upper[3]) == ([-3 * UNIT], [3 * UNIT])
    tree.derive(forward=True)
    assert (tree.point.lower[3], tree.point.upper[3]) == ([0], [0])
    halves = bisect(box([-1], [3]), 0, False)
    assert halves is not None
    boxed = Tree(DIFFERENCE, box([-1], [3]))
    boxed.advance(Step(halves[0], None, None))  # [-1, 1]: the input alone is bounded
    assert (boxed.point.lower[0], boxed.point.upper[0], boxed.point.upper[1]) == ([-UNIT], [UNIT], [3 * UNIT] * 2)
    boxed.derive(forward=True)
    assert (boxed.point.lower[1], boxed.point.upper[1]) == ([-UNIT] * 2, [UNIT] * 2)
    assert (boxed.point.lower[3], boxed.point.upper[3]) == ([-UNIT], [UNIT])


def test_errors_are_inherited_until_a_forward_pass_derives_smaller_ones() -> None:
    network = Network(
        (Input(1), affine(full([[UNIT]]), [0], 0, 1), Relu(1), affine(full([[UNIT]]), [0], 2, 1)), (1,) * 4, 3
    )
    where = box([0], [1 << 20])
    tree = Tree(network, where, rounded=True)
    before = tree.point.errors[1]
    halves = bisect(where, 0, True)
    assert halves is not None
    tree.advance(Step(halves[0], None, None))
    assert tree.point.errors[1] == before
    parent = tree.derive()
    assert tree.point.errors[1] == before
    tree.derive(forward=True)
    assert parent.errors[1] == before
    # half the magnitude, 2^19 units of 2^0: E = ceil(2^43 (1 + 2^-43) 3 2^16 / (2^24 - 3)) + 1
    assert tree.point.errors[1] == [-(-((1 << 43) + 1) * 3 * 2**16 // (2**24 - 3)) + 1]
    assert tree.point.errors[1][0] < before[0]


def test_what_has_failed_stays_failed() -> None:
    huge, wide = 1 << (80 + P), 1 << 50
    network = Network(
        (Input(1), affine(full([[huge]]), [0], 0, 1), Relu(1), affine(full([[UNIT]]), [0], 2, 1)), (1,) * 4, 3
    )
    tree = Tree(network, box([-wide], [wide]), rounded=True)
    assert tree.point.status == FAILED
    assert tree.split(0, True).status == FAILED
    assert tree.advance(Step(box([0], [0]), None, Recipe(True, ()))).status == FAILED
    assert not tree.closes(Bound(0, ((0, 1),), (), Q(-(2**200)), False))
    assert not tree.closes(Bound(0, (), (), Q(0), False, Vector(b"", ((0, 1),))))


def test_the_kernel_offers_this_prover() -> None:
    prover: PlanProver[object] = Reference().prepare_plan(HILL, False, (0,))
    assert isinstance(prover, ReferencePlanProver)
    assert prover.wave == 1


def test_layers_are_the_affine_nodes_that_a_relu_reads() -> None:
    assert neuron_layers(DIFFERENCE) == (1, 3)
    direct = Network((Input(1), Relu(0), affine(full([[UNIT]]), [0], 1)), (1, 1, 1), 2)
    assert neuron_layers(direct) == ()


def test_a_pin_of_a_branch_that_the_row_does_not_read_takes_part_by_hand() -> None:
    # z_0 = x and z_1 = x side by side over [-1, 1], z_0 >= 0 by a split: z_1 - (z_0 - 0) = 0 bounds z_1 from below.
    unit = 1 << P
    network = Network(
        (Input(1), affine(full([[unit]]), [0], 0), affine(full([[unit]]), [0], 0), Relu(1), Relu(2),
         Affine(((full([[unit]]), 3), (full([[unit]]), 4)), (0,), True, (0,), 0)),
        (1,) * 6, 5,
    )  # fmt: skip
    tree = Tree(network, box([-1], [1]), columns=())
    tree.split(0, True)
    pinned, plain = Vector(b"", ((0, unit),)), Vector(b"", ())
    tree.derive(RowGroup(1, (0,), -1, (plain, plain)))
    assert tree.point.lower[2] == [-unit]
    tree.derive(RowGroup(1, (0,), -1, (pinned, plain)))
    assert tree.point.lower[2] == [-2]  # two nodes floor a coefficient over x >= -1, a unit of 2^-24 each
    # the row of z_0 does not see z_1: as a pin it would be malformed, and changes nothing here
    tree.derive(RowGroup(0, (0,), -1, (Vector(b"", ((1, unit),)), plain)))
    assert tree.point.lower[1] == [0]


def test_what_floored_weights_lose_is_counted_row_by_row_by_hand() -> None:
    # y_0 = w x_0 + b with w in [1, 2] and b in [3, 4] units, y_1 = w x_1; x_0 >= -1 and x_1 >= -4 may be negative.
    # Hidden parts: 2^-24 and 4 * 2^-24, of the row that reads them.
    matrix = Matrix(2, 2, ((0,), (1,)), ((1,), (1,)), False)
    network = Network((Input(2), Affine(((matrix, 0),), (3, 3), False, (4, 4), 2)), (2, 2), 1)
    tree = Tree(network, box([-1, -4], [2, 2]))
    assert tree.point.errors[1] == [1 << K - P, 4 << K - P]
    assert (tree.point.lower[1], tree.point.upper[1]) == ([1, -5], [8, 8])  # the interval is not widened
    # +y_0: b >= 3, x_0 >= -1 with coefficient 1, its hidden part 1 (and a unit of 2^-40 for rounding the coefficient
    # up), the floor of both coefficients 1 + 4.
    assert tree.bound([(0, 1)]) == Q(3 - 1 - 1 - 5, UNIT) - LSB
    # -y_1: b <= 4, x_1 <= 2 with coefficient -2, its hidden part 4, the floors.
    assert tree.bound([(1, -1)]) == Q(-4 - 4 - 4 - 5, UNIT) - 4 * LSB
    # 2^-48 and 257 * 2^-48 are rounded up to 2^-40
    small = Tree(network, Box((-1 << H - P, -257 << H - P), (0, 0)))
    assert small.point.errors[1] == [1, 2]
    # in binary32: M' = 2 * 2 + 4 + 1 = 9 and 2 * 4 + 4 + 1 = 13 units, ceil(M' 4 2^16 / (2^24 - 4)) + 1 = 2 for both
    rounded = Tree(network, box([-1, -4], [2, 2]), rounded=True)
    assert rounded.point.errors[1] == [(1 << K - P) + 2, (4 << K - P) + 2]
    assert (rounded.point.lower[1], rounded.point.upper[1]) == ([0, -6], [9, 9])


# Sharing ------------------------------------------------------------------------------------------------------------


def test_a_child_shares_what_did_not_change() -> None:
    tree = Tree(DIFFERENCE, box([-1], [3]))
    parent = tree.point
    child = tree.split(2, False)
    for v in (0, 1, 2):
        assert child.lower[v] is parent.lower[v]
        assert child.upper[v] is parent.upper[v]
    assert all(a is b for a, b in zip(child.errors, parent.errors, strict=True))
    assert (parent.upper[3], parent.upper[4]) == ([3 * UNIT], [3 * UNIT])
    assert (child.upper[3], child.upper[4]) == ([0], [0])


# Soundness ----------------------------------------------------------------------------------------------------------


def contains(where: Box, x: Sequence[Fraction]) -> bool:
    return all(lo <= v * 2**H <= hi for lo, v, hi in zip(where.lower, x, where.upper, strict=True))


class Guide:
    """Draws a path down the tree that one execution never leaves."""

    def __init__(self, network: Network, rng: random.Random) -> None:
        self.network, self.rng = network, rng
        self.layers = neuron_layers(network)
        self.sizes = [network.sizes[v] for v in self.layers]
        self.neurons = [(v, j) for v, size in zip(self.layers, self.sizes, strict=True) for j in range(size)]

    def vector(self, below: int) -> Vector:
        """Slopes at random, and pins of neurons below this number: few, so that some rows stay tight."""
        rng = self.rng
        slopes = bytes(
            rng.choice([0, 1, 128, 254, 255, rng.randrange(256)]) for _ in range(rng.randint(0, len(self.neurons)))
        )
        chosen = sorted(rng.sample(range(below), rng.randint(0, min(below, 3))))
        size = rng.choice([1, 1 << 8, 1 << 24, 1 << 40])
        return Vector(slopes, tuple((g, rng.choice([-1, 1]) * rng.randint(1, size)) for g in chosen))

    def recipe(self) -> Recipe:
        rng = self.rng
        groups = []
        for layer in sorted(rng.choices(range(len(self.layers)), k=rng.randint(0, 3)) if self.layers else []):
            chosen = tuple(j for j in range(self.sizes[layer]) if rng.random() < 0.6)
            if rng.random() < 0.4:
                count = sum(self.sizes[: layer + 1])
                groups.append(RowGroup(layer, chosen, -1, tuple(self.vector(count) for _ in range(2 * len(chosen)))))
            else:
                groups.append(RowGroup(layer, rng.choice([None, chosen]), rng.randrange(4), ()))
        return Recipe(rng.random() < 0.5, tuple(groups))

    def step(self, where: Box, x: Sequence[Fraction], values: Sequence[Sequence[Fraction]], rounded: bool) -> Step:
        """One step down to a child in which this execution is."""
        what = self.rng.choice(["split", "split", "bisect", "recipe", "recipe"])
        if what == "split" and self.neurons:
            number = self.rng.randrange(len(self.neurons))
            v, j = self.neurons[number]
            z = values[v][j]
            return Step(where, (number, z > 0 or (z == 0 and self.rng.random() < 0.5)), None)
        if what == "bisect":
            halves = bisect(where, self.rng.randrange(len(x)), rounded)
            inside = [half for half in halves or () if contains(half, x)]
            assert inside or halves is None
            return Step(self.rng.choice(inside) if inside else where, None, None)
        return Step(where, None, self.recipe())

    def assert_not_refuted(self, tree: Tree, x: Sequence[Fraction], y: Sequence[Fraction]) -> None:
        """No claim closes that this execution contradicts: a row at or below its own value, or emptiness."""
        rng = self.rng
        for _ in range(3):
            row = tuple((j, rng.randint(-3, 3)) for j in range(len(y)) if rng.random() < 0.7)
            xrow = tuple((i, rng.randint(-3, 3)) for i in range(len(x)) if rng.random() < 0.3)
            value = sum((c * y[j] for j, c in row), Q(0)) + sum((c * x[i] for i, c in xrow), Q(0))
            vector = None if rng.random() < 0.3 else self.vector(len(self.neurons))
            assert not tree.closes(Bound(rng.randrange(4), row, xrow, value, False, vector))
        assert not tree.closes(Bound(0, (), (), Q(0), False, self.vector(len(self.neurons))))


def hidden_only(network: Network) -> Network:
    """The network with another affine node on top, so that its output is no neuron."""
    size = network.sizes[-1]
    identity = full([[UNIT if i == j else 0 for i in range(size)] for j in range(size)])
    top = affine(identity, [0] * size, len(network.nodes) - 1)
    return Network((*network.nodes, top), (*network.sizes, size), len(network.nodes))


@given(networks(), st.data(), st.randoms(use_true_random=False))
def test_an_exact_execution_never_leaves_its_tree_nodes(
    network: Network, data: st.DataObject, rng: random.Random
) -> None:
    network = hidden_only(network)
    guide = Guide(network, rng)
    low = [data.draw(coordinates) for _ in range(network.sizes[0])]
    where = Box(tuple(low), tuple(v + data.draw(widths) for v in low))
    for x in points_of(where, rng, 2):
        values = run(network, x, rng)
        tree = Tree(network, where, columns=tuple(range(len(guide.neurons))))
        for _ in range(6):
            tree.advance(guide.step(tree.box, x, values, False))
            assert tree.point.status == OPEN
            assert_contains(tree.point, values)
            guide.assert_not_refuted(tree, x, values[-1])


@given(networks(inexact=False), st.data(), st.randoms(use_true_random=False))
def test_a_rounded_execution_in_any_order_never_leaves_its_tree_nodes(
    network: Network, data: st.DataObject, rng: random.Random
) -> None:
    network = hidden_only(network)
    guide = Guide(network, rng)
    wide = data.draw(st.booleans())
    x32 = st.floats(-8, 8, width=32).map(Fraction)
    low = [data.draw(x32) for _ in range(network.sizes[0])]
    high = [max(lo, data.draw(x32)) if wide else lo for lo in low]
    where = Box(
        tuple((v.numerator << H) // v.denominator for v in low),
        tuple(-((-v.numerator << H) // v.denominator) for v in high),
    )
    for _ in range(2):
        ticks = [binary32.nearest32(rng.choice([lo, hi])) for lo, hi in zip(low, high, strict=True)]
        x = [binary32.value(t) for t in ticks]
        values = run_binary32(network, ticks, rng)
        tree = Tree(network, where, True, tuple(range(len(guide.neurons))))
        for _ in range(5):
            tree.advance(guide.step(tree.box, x, values, True))
            assert tree.point.status == OPEN
            assert_contains(tree.point, values)
            guide.assert_not_refuted(tree, x, values[-1])


@given(networks(), st.data(), st.randoms(use_true_random=False))
def test_what_is_kept_from_a_parent_changes_no_number(
    network: Network, data: st.DataObject, rng: random.Random
) -> None:
    """Rows of a tree node are the same to the unit whether or not its ancestors have packed and kept things."""
    network = hidden_only(network)
    guide = Guide(network, rng)
    columns = tuple(range(len(guide.neurons)))
    low = [data.draw(coordinates) for _ in range(network.sizes[0])]
    where = Box(tuple(low), tuple(v + data.draw(widths) for v in low))
    x = points_of(where, rng, 1)[-1]
    values = run(network, x, rng)
    kept = Tree(network, where, columns=columns)
    rows = kept.prover._rows
    for _ in range(5):
        kept.advance(guide.step(kept.box, x, values, False))
        fresh = Point(kept.point.lower, kept.point.upper, kept.point.errors, kept.point.box)
        for _ in range(2):
            row = [(j, rng.randint(-3, 3)) for j in range(network.sizes[-1])]
            asked = (
                network.output,
                row,
                (),
                rng.randrange(4),
                guide.vector(len(columns)) if rng.random() < 0.5 else None,
            )
            assert rows.row_bound(kept.point, *asked) == rows.row_bound(fresh, *asked)
