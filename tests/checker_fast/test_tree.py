"""The walk over a proof finds the same failing leaves with either kernel, whatever the wave, by either rule."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from farkas.checker import tree
from farkas.checker.kernel import Reference, ReferenceProver
from farkas.checker.plan import Plan, Recipe, Vector, Vectors
from farkas.checker.query import Atom, Box, Case, H, Query
from farkas.checker.tree import Kind
from farkas.checker.walk import Proof, failing_leaves
from farkas.checker_fast.kernel import Accelerated
from tests.checker_fast.networks import Family, network
from tests.checker_fast.plans import Planner


def random_query(random: Random) -> Query:
    """A random network, two cases, two disjuncts of two atoms over Y."""
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


def random_kinds(random: Random, vectors: int) -> tuple[Kind, ...]:
    """Three kinds of two disjuncts, by a rule or one of the vectors, with none to two atoms."""
    return tuple(
        tuple(
            (
                random.randrange(-vectors, 4),
                ((0, random.randint(1, 3)), (1, random.randint(1, 3)))[: random.randint(0, 2)],
            )
            for _ in range(2)
        )
        for _ in range(3)
    )


def random_opcodes(random: Random, inputs: int, kinds: int, depth: int) -> list[int]:
    """The preorder of a random tree."""
    if depth == 0 or random.random() < 0.15:
        return [inputs + random.randrange(kinds)]
    left, right = (random_opcodes(random, inputs, kinds, depth - 1) for _ in range(2))
    return [random.randrange(inputs), *left, *right]


def bisections(query: Query, kinds: tuple[Kind, ...], opcodes: list[int]) -> Proof:
    """A proof of crown-fp-1."""
    return Proof((0,), kinds, tree.parse_tree(bytes(opcodes), 2, query.network.sizes[0], len(kinds)))


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 16, 256]), st.sampled_from([44, 53]))
def test_both_kernels_find_the_same_failing_leaves(seed: int, wave: int, bits: int) -> None:
    random = Random(seed)
    query = random_query(random)
    opcodes = [opcode for _ in range(2) for opcode in random_opcodes(random, query.network.sizes[0], 3, 4)]
    proof = bisections(query, random_kinds(random, 0), opcodes)
    expected = failing_leaves(query, proof, Reference())
    assert failing_leaves(query, proof, Accelerated(wave=wave, bits=bits)) == expected


def test_random_trees_have_leaves_that_fail_and_leaves_that_do_not() -> None:
    failing = closed = 0
    for seed in range(30):
        random = Random(seed)
        query = random_query(random)
        kinds = (((0, ((0, 1),)), (0, ((1, 1),))),)
        opcodes = [opcode for _ in range(2) for opcode in random_opcodes(random, query.network.sizes[0], 1, 3)]
        proof = bisections(query, kinds, opcodes)
        failed = len(failing_leaves(query, proof, Accelerated()))
        failing, closed = failing + failed, closed + proof.tree.leaves - failed
    assert failing > 20 < closed


# crown-fp-2 ---------------------------------------------------------------------------------------------------------


def leb128(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + leb128(number >> 7)


def encoded(vectors: list[Vector]) -> bytes:
    """The VECTORS frame."""
    frame = b""
    for vector in vectors:
        frame += leb128(len(vector.slopes)) + vector.slopes + leb128(len(vector.pins))
        last = -1
        for g, gamma in vector.pins:
            frame += leb128(g - last - 1) + leb128(2 * gamma if gamma > 0 else -2 * gamma - 1)
            last = g
    return frame


def planned_opcodes(random: Random, alphabet: tree.Alphabet, depth: int, forked: bool = False) -> list[int]:
    """The preorder of a random tree; a fork parts both disjuncts at most once on the way down."""
    below = depth - 1
    pick = random.random()
    if depth == 0 or pick < 0.1:
        return [alphabet.leaf + random.randrange(alphabet.kinds)]
    if pick < 0.4:
        return [random.randrange(alphabet.recipe, alphabet.fork), *planned_opcodes(random, alphabet, below, forked)]
    fork = pick < 0.5 and not forked
    if fork:
        opcode = random.randrange(alphabet.fork, alphabet.leaf)
    elif pick < 0.9 and alphabet.neurons:
        opcode = alphabet.inputs + random.randrange(alphabet.neurons)
    else:
        opcode = random.randrange(alphabet.inputs)
    left, right = (planned_opcodes(random, alphabet, below, forked or fork) for _ in range(2))
    return [opcode, *left, *right]


def unresolved(recipe: Recipe, vectors: list[Vector]) -> Recipe:
    """The recipe as a plan states it, its vectors appended to the list."""
    groups = []
    for group in recipe.rows:
        groups.append(replace(group, rule=-1 - len(vectors), vectors=()) if group.vectors else group)
        vectors += group.vectors
    return replace(recipe, rows=tuple(groups))


def planned(random: Random, query: Query) -> Proof:
    """A random proof of crown-fp-2; its leaves use the first three vectors."""
    rows = ReferenceProver(query.network, query.rounded, ())
    columns = tuple(sorted(random.sample(range(rows.first[-1]), random.randint(0, rows.first[-1]))))
    planner = Planner(random, rows, columns, 20)
    vectors = [planner.vector(rows.first[sum(v < rows.output for v in rows.layers)]) for _ in range(3)]
    recipes = tuple(unresolved(planner.recipe(), vectors) for _ in range(3))
    plan = Plan(columns, (frozenset({0}), frozenset({1})), recipes)
    alphabet = tree.Alphabet(query.network.sizes[0], rows.first[-1], 3, 2, 3)
    payload = b"".join(leb128(opcode) for _ in range(2) for opcode in planned_opcodes(random, alphabet, 6))
    parsed = tree.parse_tree(payload, 2, alphabet.inputs, 3, neurons=alphabet.neurons, recipes=3, forks=2)
    frame = Vectors(encoded(vectors), len(columns), rows.first[-1])
    assert [frame[i] for i in range(len(frame))] == vectors
    return Proof((), random_kinds(random, 3), parsed, plan, frame)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 16, 256]), st.sampled_from([44, 53]))
def test_both_kernels_find_the_same_failing_leaves_of_a_plan(seed: int, wave: int, bits: int) -> None:
    random = Random(seed)
    query = random_query(random)
    proof = planned(random, query)
    expected = failing_leaves(query, proof, Reference())
    assert failing_leaves(query, proof, Accelerated(wave=wave, bits=bits)) == expected


def test_random_plans_have_leaves_that_fail_and_leaves_that_do_not() -> None:
    failing = closed = 0
    for seed in range(30):
        random = Random(seed)
        query = random_query(random)
        proof = planned(random, query)
        failed = len(failing_leaves(query, proof, Accelerated()))
        failing, closed = failing + failed, closed + proof.tree.leaves - failed
    assert failing > 20 < closed
