"""Boxes of the integer query by hand, and what its hash tells apart."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction as Q

import pytest

from farkas.checker.query import (
    Affine,
    Atom,
    Box,
    Case,
    H,
    Input,
    Matrix,
    Network,
    Property,
    Query,
    Relu,
    bisect,
    build_query,
    canonical_lines,
    query_hash,
)

MATRIX = Matrix(1, 2, ((0,),), ((3,),), False)
NETWORK = Network((Input(2), Affine(((MATRIX, 0),), (5,), True, (5,), 2), Relu(1)), (2, 1, 1), 2)
ATOM = Atom(((1, Q(1, 3)),), ((0, Q(-2)),), Q(7), True)


def query(low: Q, high: Q, semantics: str) -> Query:
    case = Case((low, Q(0)), (high, Q(1)), ((ATOM,),))
    return build_query(NETWORK, Property(2, 1, (case,), ()), semantics)


def test_real_boxes_are_rounded_outward() -> None:
    (box,) = query(Q(1, 3), Q(2, 3), "real").boxes
    third = 2**H // 3  # 2^32 = 1 mod 3
    assert box == Box((third, 0), (2 * third + 1, 2**H))
    (box,) = query(Q(-2, 3), Q(-1, 3), "real").boxes
    assert box == Box((-2 * third - 1, 0), (-third, 2**H))


def test_binary32_boxes_are_rounded_inward_first() -> None:
    ulp = 2 ** (H - 25)  # of binary32 in [1/4, 1/2); numbers in [1/2, 1) are twice as far apart
    (box,) = query(Q(1, 3), Q(2, 3), "f32-any").boxes
    low = -(-(2**25) // 3) * ulp
    high = 2**25 // 3 * 2 * ulp  # floor(2^24 * 2/3) units of 2^-24
    assert box == Box((low, 0), (high, 2**H))
    assert Q(low, 2**H) > Q(1, 3) and Q(high, 2**H) < Q(2, 3)


def test_a_number_below_the_scale_of_the_box_is_enclosed() -> None:
    tiny = Q(1, 2**40)
    for semantics in ("real", "f32-any"):
        assert query(tiny, tiny, semantics).boxes == (Box((0, 0), (1, 2**H)),)
        assert query(-tiny, -tiny, semantics).boxes == (Box((-1, 0), (0, 2**H)),)


def test_points_off_the_grid_are_moved_and_counted() -> None:
    moved = query(Q(1, 10), Q(1, 10), "f32-any")
    tenth = 13421773 * 2 ** (H - 27)  # binary32(0.1) = 13421773 * 2^-27
    assert moved.off_grid == 1
    assert moved.boxes == (Box((tenth, 0), (tenth, 2**H)),)
    assert query(Q(1, 8), Q(1, 8), "f32-any").off_grid == 0
    assert query(Q(1, 10), Q(1, 10), "real").off_grid == 0


def test_an_interval_without_a_number_has_no_box() -> None:
    between = query(Q(1, 10), Q(1, 10) + Q(1, 10**12), "f32-any")
    assert between.boxes == (None,)
    assert query(Q(2) ** 200, Q(2) ** 200, "f32-any").boxes == (None,)


def test_halves_below_the_scale_of_the_box_share_a_unit() -> None:
    # Between 2^-32 and 2^-31 lie binary32 numbers that no integer of the box can tell: both halves keep their unit.
    assert bisect(Box((0,), (2,)), 0, True) == (Box((0,), (1,)), Box((1,), (2,)))
    assert bisect(Box((-2,), (0,)), 0, True) == (Box((-2,), (-1,)), Box((-1,), (0,)))


def test_halves_above_the_scale_of_the_box_are_neighbours() -> None:
    one = 2**H  # at 1 the numbers are 2^-23 apart
    assert bisect(Box((one,), (one + 2 ** (H - 22),)), 0, True) == (
        Box((one,), (one + 2 ** (H - 23),)),
        Box((one + 2 ** (H - 22),), (one + 2 ** (H - 22),)),
    )


def test_the_canonical_text_by_hand() -> None:
    lines = list(canonical_lines(query(Q(0), Q(1), "real")))
    assert lines == [
        "query 1 real",
        "input 2",
        "affine 1 2 1",
        "matrix 0 2 0 0",
        "0:3",
        "bias 1 5",
        "magnitude 5",
        "relu 1",
        "output 2",
        "case 1",
        "lower 0 0",
        f"upper {2**H} {2**H}",
        "disjunct 1",
        "atom < 7/1 x 1:1/3 y 0:-2/1",
    ]
    assert "box none" in list(canonical_lines(query(Q(1, 10), Q(1, 10) + Q(1, 10**12), "f32-any")))


BASE = query(Q(0), Q(1), "real")
AFFINE = Affine(((MATRIX, 0),), (5,), True, (5,), 2)


def changed(**matrix: object) -> Query:
    operand = (replace(MATRIX, **matrix), 0)  # type: ignore[arg-type]
    return replace(BASE, network=replace(NETWORK, nodes=(Input(2), replace(AFFINE, operands=(operand,)), Relu(1))))


@pytest.mark.parametrize(
    "other",
    [
        replace(BASE, semantics="f32-any"),
        changed(exact=True),
        changed(weights=((4,),)),
        changed(index=((1,),)),
        *(
            replace(BASE, network=replace(NETWORK, nodes=(Input(2), replace(AFFINE, **{name: value}), Relu(1))))
            for name, value in [("bias", (6,)), ("bias_exact", False), ("magnitude", (6,)), ("count", 3)]
        ),
        replace(BASE, network=replace(NETWORK, output=1)),
        replace(BASE, boxes=(Box((0, 0), (2**H, 2**H + 1)),)),
        replace(BASE, cases=(replace(BASE.cases[0], disjuncts=((replace(ATOM, strict=False),),)),)),
        replace(BASE, cases=(replace(BASE.cases[0], disjuncts=((replace(ATOM, c=Q(8)),),)),)),
        replace(BASE, cases=(replace(BASE.cases[0], disjuncts=((ATOM,), (ATOM,))),)),
        replace(BASE, cases=(replace(BASE.cases[0], disjuncts=((ATOM, ATOM),)),)),
        replace(BASE, cases=BASE.cases * 2, boxes=BASE.boxes * 2),
    ],
)
def test_the_hash_tells_queries_apart(other: Query) -> None:
    assert query_hash(other) != query_hash(BASE)
