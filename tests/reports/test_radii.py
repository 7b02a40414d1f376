"""Chains of nested sets against what they mean."""

from fractions import Fraction
from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from farkas.reports.radii import Asked, Chain, Family, chained, lies_in
from farkas.specs.boxes import contains
from farkas.specs.query import Atom, Case, Semantics
from tests.reports.made import entry

UNSAFE = ((Atom((), ((0, Fraction(1)),), Fraction(0)),),)
OTHER = ((Atom((), ((1, Fraction(1)),), Fraction(0)),),)


def box(*ends: tuple[str, str], unsafe: tuple[tuple[Atom, ...], ...] = UNSAFE) -> Case:
    return Case(tuple(Fraction(low) for low, _ in ends), tuple(Fraction(high) for _, high in ends), unsafe)


def around(point: str, radius: str, verdict: str, number: int, unsafe: tuple[tuple[Atom, ...], ...] = UNSAFE) -> Asked:
    """All within `radius` of a point, but not below 0."""
    at, r = Fraction(point), Fraction(radius)
    return Asked(entry(verdict, number), Case((max(at - r, Fraction(0)),), (at + r,), unsafe))


def radii(chain: Chain) -> list[str]:
    return [str(one.radius) for one in chain.asked]


def test_instances_around_one_point_are_one_chain_whatever_their_order() -> None:
    asked = [around("0.2", "0.5", "sat", 0), around("0.2", "0.1", "unsat", 1), around("0.2", "0.3", "timed-out", 2)]
    (chain,) = chained(asked)
    assert radii(chain) == ["1/10", "3/10", "1/2"]  # though the sets end at 0
    assert (chain.proved, chain.violated) == (Fraction(1, 10), Fraction(1, 2))


def test_other_points_and_other_unsafe_outputs_are_other_chains() -> None:
    asked = [
        around("1", "0.1", "unsat", 0), around("2", "0.1", "unsat", 1), around("1", "0.2", "sat", 2),
        around("1", "0.3", "sat", 3, OTHER),
    ]  # fmt: skip
    assert [len(chain.asked) for chain in chained(asked)] == [2, 1, 1]


def test_shares_count_what_follows_and_no_more() -> None:
    """One point is proved with 1/4 and violated with 1/2, the other one open with both."""
    one = chained([around("1", "1/4", "unsat", 0), around("1", "1/2", "sat", 1)])
    two = chained([around("5", "1/8", "timed-out", 2), around("5", "1/2", "timed-out", 3)])
    found = Family("c", "n", "f32-any", (*one, *two), (Fraction(1, 8), Fraction(1, 4), Fraction(1, 2)))
    assert list(found.shares()) == [(Fraction(1, 8), 1, 0), (Fraction(1, 4), 1, 0), (Fraction(1, 2), 0, 1)]


def test_a_single_number_lies_in_no_interval_for_its_nearest_binary32_number_may_not() -> None:
    """0.1 means the binary32 number above it, which an interval up to 0.1 does not have."""
    single, interval = box(("0.1", "0.1")), box(("0", "0.1"))
    nearest = Fraction(float(np.float32(0.1)))
    assert contains(single, [nearest], Semantics.F32_ANY) and not contains(interval, [nearest], Semantics.F32_ANY)
    assert not lies_in(single, interval) and lies_in(single, single)


@given(st.lists(st.tuples(*[st.sampled_from(["-1", "-0.3", "0", "0.1", "0.7", "1"])] * 4), min_size=1, max_size=2))
def test_every_point_of_a_set_that_lies_in_another_is_a_point_of_it(ends: list[tuple[str, str, str, str]]) -> None:
    def ordered(a: str, b: str) -> tuple[str, str]:
        return (a, b) if Fraction(a) <= Fraction(b) else (b, a)

    inner, outer = box(*(ordered(a, b) for a, b, _, _ in ends)), box(*(ordered(c, d) for _, _, c, d in ends))
    if not lies_in(inner, outer):
        return
    places = [Fraction(float(np.float32(x))) for x in ("-1", "-0.3", "0", "0.05", "0.1", "0.5", "0.7", "1")]
    places += [Fraction(text) for text in ("0.1", "-0.3", "0.7")]
    for point in product(places, repeat=len(ends)):
        for semantics in (Semantics.F32_ANY, Semantics.REAL):
            if contains(inner, point, semantics):
                assert contains(outer, point, semantics)
