"""Trees: the frame's form, covering bisections, claims, and a walk that neither recurses nor depends on its waves."""

from __future__ import annotations

import random
import tracemalloc
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from farkas.checker import binary32, tree
from farkas.checker.errors import CertificateRejected
from farkas.checker.query import Affine, Atom, Box, Case, H, Input, Matrix, Network, Query, bisect
from farkas.checker.walk import Proof, failing_leaves
from tests.checker.nets import REFERENCE, Claim, Waves, dense, leb128, vnnlib

ATOM = Atom((), ((0, Fraction(1)),), Fraction(0), False)
CASE = Case((Fraction(0),), (Fraction(1),), ((ATOM,),))
KINDS: tuple[tree.Kind, ...] = (((0, ((0, 1),)),),)


def query(cases: int = 1, rounded: bool = False) -> Query:
    """Y = X + 1 over [0, 1], unsafe when Y <= 0."""
    matrix = Matrix(1, 1, None, ((1 << 24,),), True)
    network = Network((Input(1), Affine(((matrix, 0),), (1 << 24,), True, (1 << 24,), 2)), (1, 1), 1)
    box = Box((0,), (1 << H,))
    return Query(network, (CASE,) * cases, (box,) * cases, "f32-any" if rounded else "real", 0)


def parse(payload: bytes, cases: int = 1, inputs: int = 1, kinds: int = 1) -> tree.Tree:
    return tree.parse_tree(payload, cases, inputs, kinds)


def test_preorder_positions_by_hand() -> None:
    # case 0: bisect(leaf, bisect(leaf, leaf)); case 1: leaf
    t = parse(bytes([0, 1, 0, 1, 1, 1]), cases=2)
    assert t.roots == (0, 5)
    assert (t.right[0], t.right[2]) == (2, 4)
    assert [t.leaf[p] for p in (1, 3, 4, 5)] == [0, 1, 2, 3]
    assert t.leaves == 4


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "cut off"),
        (b"\x00\x01", "cut off"),
        (b"\x01\x01", "1 bytes follow"),
        (b"\x02", "below 2"),
        (b"\x81\x00", "shortest"),
        (b"\x80", "cut off"),
        (b"\xff" * 50, "below 2"),
        (b"\x80" * 50 + b"\x01", "below 2"),
    ],
)
def test_malformed_trees_are_rejected(payload: bytes, why: str) -> None:
    with pytest.raises(CertificateRejected, match=why):
        parse(payload)


def test_long_opcodes_are_read() -> None:
    t = parse(leb128(0) + leb128(700) + leb128(300), inputs=300, kinds=500)
    assert list(t.opcodes) == [0, 700, 300]


@pytest.mark.parametrize(
    "data",
    [
        {}, [1], [[1]], [[[0]]], [[[0, [], 1]]], [[[4, []]]], [[[-1, []]]], [[[True, []]]], [[["0", []]]],
        [[[0, [[0, 0]]]]], [[[0, [[0, -1]]]]], [[[0, [[0, True]]]]], [[[0, [[-1, 1]]]]], [[[0, [[0]]]]],
        [[[0, [[1, 1], [0, 1]]]]], [[[0, [[0, 1], [0, 1]]]]], [[[0, [[0, 1 << 63]]]]],
    ],
)  # fmt: skip
def test_malformed_kinds_are_rejected(data: object) -> None:
    with pytest.raises(CertificateRejected):
        tree.parse_kinds(data)


def test_kinds_are_read() -> None:
    assert tree.parse_kinds([[[2, [[0, 1], [3, 7]]], [1, []]]]) == (((2, ((0, 1), (3, 7))), (1, ())),)


def test_a_combination_scales_atoms_to_integers() -> None:
    half, third = Fraction(1, 2), Fraction(1, 3)
    first = Atom(((0, half),), ((0, third), (2, Fraction(1))), Fraction(1, 7), False)
    second = Atom((), ((0, Fraction(-2)),), Fraction(5), True)
    case = Case((Fraction(0),), (Fraction(0),), ((first, second),))
    bound = tree.combine(case, 0, 1, ((0, 2), (1, 3)))
    # 2 * 6 * first = 6 X_0 + 4 Y_0 + 12 Y_2 <= 12/7 and 3 * second = -6 Y_0 < 15
    assert bound.row == ((0, -2), (2, 12))
    assert bound.xrow == ((0, 6),)
    assert (bound.threshold, bound.strict, bound.rule) == (Fraction(12, 7) + 15, True, 1)
    assert tree.combine(case, 0, 1, ((0, 2),)).strict is False


@pytest.mark.parametrize("kind", [((0, ((0, 1),)), (0, ((0, 1),))), ((0, ((1, 1),)),), ()])
def test_a_kind_that_does_not_fit_its_case_is_rejected(kind: tree.Kind) -> None:
    with pytest.raises(CertificateRejected, match="LEAVES"):
        failing_leaves(query(), Proof((), (kind,), parse(b"\x01")), REFERENCE)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(1, 2000), st.randoms())
def test_binary32_halves_miss_no_binary32_number(low: float, steps: int, rng: random.Random) -> None:
    # the numbers from `low` on, one after the other
    numbers = [binary32.nearest32(Fraction(low))]
    for _ in range(min(steps, 30)):
        after = binary32.above32(numbers[-1])
        assume(after is not None)
        assert after is not None
        numbers.append(after)
    far = binary32.nearest32(Fraction(low) + Fraction(steps, 64))
    assume(far >= numbers[-1])
    numbers.append(far)
    exact = [binary32.value(n) for n in numbers]
    box = Box(
        ((exact[0].numerator << H) // exact[0].denominator,), (-((-exact[-1].numerator << H) // exact[-1].denominator),)
    )
    halves = bisect(box, 0, True)
    assert halves is not None
    left, right = halves
    for x in exact:
        assert Fraction(left.lower[0], 2**H) <= x <= Fraction(left.upper[0], 2**H) or (
            Fraction(right.lower[0], 2**H) <= x <= Fraction(right.upper[0], 2**H)
        )
    assert left.lower == box.lower
    assert right.upper == box.upper


@given(st.integers(-(2**40), 2**40), st.integers(0, 2**40))
def test_real_halves_share_their_border(low: int, width: int) -> None:
    halves = bisect(Box((low, 7), (low + width, 7)), 0, False)
    assert halves is not None
    left, right = halves
    assert (left.lower, right.upper) == ((low, 7), (low + width, 7))
    assert left.upper[0] == right.lower[0]
    assert low <= left.upper[0] <= low + width


def test_a_number_that_stands_alone_cannot_be_bisected_in_binary32() -> None:
    x = 1 << H + 10
    assert bisect(Box((x,), (x,)), 0, True) is None
    assert bisect(Box((x,), (x,)), 0, False) == (Box((x,), (x,)), Box((x,), (x,)))
    with pytest.raises(CertificateRejected, match="cannot be bisected"):
        lonely = query(rounded=True)
        lonely = Query(lonely.network, lonely.cases, (Box((x,), (x,)),), "f32-any", 0)
        failing_leaves(lonely, Proof((), KINDS, parse(bytes([0, 1, 1]))), REFERENCE)


def test_a_case_without_binary32_points_is_rejected() -> None:
    base = query(rounded=True)
    with pytest.raises(CertificateRejected, match="no binary32 point"):
        unreachable = Query(base.network, base.cases, (None,), "f32-any", 0)
        failing_leaves(unreachable, Proof((), KINDS, parse(b"\x01")), REFERENCE)


class Nothing:
    """A kernel that derives nothing and closes everything, to look at the walk alone."""

    tier = "nothing"

    def __init__(self, wave: int) -> None:
        self.wave = wave
        self.alive = self.most = self.derived = 0

    def prepare(self, network: Network, rounded: bool, intermediate: tuple[int, ...]) -> Any:
        return self

    def prepare_plan(self, network: Network, rounded: bool, columns: tuple[int, ...]) -> Any:
        return self

    def start(self, count: int) -> Any:
        return None

    def gather(self, rows: Any) -> Any:
        return None

    def derive(self, parents: Any, boxes: Any) -> Any:
        self.derived += len(boxes)
        return State(self)

    def begin(self, boxes: Any) -> Any:
        return self.derive(None, boxes)

    def advance(self, parents: Any, steps: Any) -> Any:
        return self.derive(parents, steps)

    def close(self, state: Any, rows: Any, claims: Any) -> list[bool]:
        return [True] * len(rows)


class State:
    """Counts how many of its kind are alive."""

    def __init__(self, kernel: Nothing) -> None:
        self.kernel = kernel
        kernel.alive += 1
        kernel.most = max(kernel.most, kernel.alive)

    def __del__(self) -> None:
        self.kernel.alive -= 1


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("wave", [1, 64])
def test_a_chain_of_a_hundred_thousand_nodes_keeps_few_states(left: bool, wave: int) -> None:
    depth = 100_000
    payload = b"\x00" * depth + b"\x01" * (depth + 1) if left else b"\x00\x01" * depth + b"\x01"
    kernel = Nothing(wave)
    assert failing_leaves(query(), Proof((), KINDS, parse(payload)), kernel) == []
    assert kernel.derived == 2 * depth + 1
    assert kernel.most <= 4


@pytest.mark.parametrize("wave", [1, 16])
def test_a_balanced_tree_keeps_a_logarithmic_number_of_states(wave: int) -> None:
    levels = 14

    def build(level: int) -> bytes:
        return b"\x01" if level == 0 else b"\x00" + build(level - 1) * 2

    kernel = Nothing(wave)
    assert failing_leaves(query(), Proof((), KINDS, parse(build(levels))), kernel) == []
    assert kernel.most <= levels + 2


def test_a_tree_of_depth_one_million_is_parsed() -> None:
    depth = 1_000_000
    t = parse(b"\x00" * depth + b"\x01" * (depth + 1))
    assert t.leaves == depth + 1
    assert t.right[0] == 2 * depth


def test_parsing_a_chain_takes_tens_of_bytes_a_node() -> None:
    depth = 50_000
    payload = b"\x00" * depth + b"\x01" * (depth + 1)
    tracemalloc.start()
    try:
        t = parse(payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert t.leaves == depth + 1
    assert peak < 100 * depth


LAYERS = [
    ([[1.0, -1.0], [-1.0, 0.5], [0.5, 2.0]], [0.0, 0.5, -1.0]),
    ([[1.0, 1.0, -1.0]], [0.25]),
]


@pytest.mark.parametrize("wave", [2, 7, 1000])
def test_waves_change_nothing(wave: int) -> None:
    box = [Fraction(-1), Fraction(-1)], [Fraction(1), Fraction(1)]
    unsafe = "(or (<= Y_0 -0.5) (and (<= X_0 0.5) (<= Y_0 0.1)) (>= Y_0 1.5))"
    claim = Claim(dense(LAYERS), vnnlib(*box, 1, unsafe), "real")
    q = claim.query()
    assert [len(case.disjuncts) for case in q.cases] == [2, 1]
    kinds: list[tree.Kind] = [((0, ((0, 1),)), (2, ((0, 1),))), ((1, ((0, 1),)),)]
    rng = random.Random(wave)
    payload = bytearray()
    for case in range(2):
        stack = [0]
        while stack:
            level = stack.pop()
            if level < 3 or (level < 7 and rng.random() < 0.8):
                payload.append(rng.randrange(2))
                stack += [level + 1, level + 1]
            else:
                payload.append(2 + case)
    t = tree.parse_tree(bytes(payload), 2, 2, 2)
    proof = Proof((0, 2), tuple(kinds), t)
    one = failing_leaves(q, proof, REFERENCE)
    assert 0 < len(one) < t.leaves
    assert failing_leaves(q, proof, Waves(wave)) == one
    first = failing_leaves(q, proof, Waves(wave), first_only=True)
    assert first and set(first) <= set(one)
    assert np.all(np.diff(one) > 0)
