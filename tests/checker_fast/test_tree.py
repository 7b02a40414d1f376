"""The walk over a proof tree finds the same failing leaves with either kernel, whatever the wave."""

from __future__ import annotations

from fractions import Fraction
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from farkas.checker import tree
from farkas.checker.kernel import Reference
from farkas.checker.query import Atom, Box, Case, H, Query
from farkas.checker.walk import Proof, failing_leaves
from farkas.checker_fast.kernel import Accelerated
from tests.checker_fast.networks import Family, network


def random_query(random: Random) -> Query:
    """A random network, two cases, one or two disjuncts of one or two atoms over Y."""
    family = Family(depth=3)
    tested = network(random, family)
    outputs = tested.sizes[tested.output]

    def atom() -> Atom:
        coefficients = sorted(random.sample(range(outputs), random.randint(1, outputs)))
        threshold = Fraction(random.randrange(-64, 8), 8)
        return Atom(
            (), tuple((j, Fraction(random.choice((-1, 1, 2)))) for j in coefficients), threshold, random.random() < 0.5
        )

    cases, boxes = [], []
    for _ in range(2):
        ends = [sorted(random.sample(range(-8, 9), 2)) for _ in range(tested.sizes[0])]
        lower, upper = tuple(Fraction(l, 8) for l, _ in ends), tuple(Fraction(u, 8) for _, u in ends)
        disjuncts = tuple(tuple(atom() for _ in range(2)) for _ in range(2))
        cases.append(Case(lower, upper, disjuncts))
        boxes.append(Box(tuple(int(x * 2**H) for x in lower), tuple(int(x * 2**H) for x in upper)))
    return Query(tested, tuple(cases), tuple(boxes), random.choice(("real", "f32-any")), 0)


def random_opcodes(random: Random, inputs: int, kinds: int, depth: int) -> list[int]:
    """The preorder of a random tree."""
    if depth == 0 or random.random() < 0.15:
        return [inputs + random.randrange(kinds)]
    left, right = (random_opcodes(random, inputs, kinds, depth - 1) for _ in range(2))
    return [random.randrange(inputs), *left, *right]


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 16, 256]), st.sampled_from([44, 53]))
def test_both_kernels_find_the_same_failing_leaves(seed: int, wave: int, bits: int) -> None:
    random = Random(seed)
    query = random_query(random)
    kinds = tuple(
        tuple(
            (random.randrange(4), ((0, random.randint(1, 3)), (1, random.randint(1, 3)))[: random.randint(0, 2)])
            for _ in range(2)
        )
        for _ in range(3)
    )
    inputs = query.network.sizes[0]
    payload = bytes(opcode for _ in range(2) for opcode in random_opcodes(random, inputs, 3, 4))
    proof = tree.parse_tree(payload, 2, inputs, 3)
    expected = failing_leaves(query, Proof((0,), tuple(kinds), proof), Reference())
    assert failing_leaves(query, Proof((0,), tuple(kinds), proof), Accelerated(wave=wave, bits=bits)) == expected


def test_random_trees_have_leaves_that_fail_and_leaves_that_do_not() -> None:
    failing = closed = 0
    for seed in range(30):
        random = Random(seed)
        query = random_query(random)
        inputs = query.network.sizes[0]
        kinds = (((0, ((0, 1),)), (0, ((1, 1),))),)
        payload = bytes(opcode for _ in range(2) for opcode in random_opcodes(random, inputs, 1, 3))
        proof = tree.parse_tree(payload, 2, inputs, 1)
        failed = len(failing_leaves(query, Proof((0,), tuple(kinds), proof), Accelerated()))
        failing, closed = failing + failed, closed + proof.leaves - failed
    assert failing > 20 < closed
