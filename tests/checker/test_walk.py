"""Proofs of crown-fp-2: their trees, what leaves have to refute, and that what is accepted is true."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import pytest

from farkas.checker import container, integer, kernel, query, refine, tree
from farkas.checker.check import check
from farkas.checker.errors import CertificateRejected
from farkas.checker.kernel import OPEN, Point, Reference, neuron_layers
from farkas.checker.plan import Recipe, RowGroup, Vector
from farkas.checker.prover import Step
from farkas.checker.query import Box, Case, H, Input, Network, Query, Relu, bisect
from farkas.checker.walk import failing_leaves, parse_proof
from tests.checker.nets import (
    REFERENCE,
    Claim,
    Layer,
    Script,
    assemble,
    assemble_script,
    decimal,
    dense,
    exact_minimum,
    header_of,
    vnnlib,
)
from tests.checker.test_check import COARSE, false_claims, random_network
from tests.checker.test_kernel import UNIT, affine, full
from tests.checker.test_tree import ATOM, CASE, Nothing

Q = Fraction
ATOM_0: tuple[tuple[int, int], ...] = ((0, 1),)

# f(x) = relu(x) - 2 relu(x - 1/2) + 1/8 on [-1, 1]: at least 1/8, by a split of neuron 1 (tests/checker/test_refine.py)
HILL: list[Layer] = [([[1.0], [1.0]], [0.0, -0.5]), ([[1.0, -2.0]], [0.125])]
INPUTS, NEURONS = 1, 2
SPLIT_0, SPLIT_1 = 1, 2
FIRST = INPUTS + NEURONS  # the first number behind the splits


def hill(unsafe: str = "(<= Y_0 0.1)", semantics: str = "real") -> Claim:
    return Claim(dense(HILL), vnnlib([Q(-1)], [Q(1)], 1, unsafe), semantics)


SPLIT = Script([SPLIT_1, FIRST, FIRST + 1], [((0, ATOM_0),), ((3, ATOM_0),)])


def accepts(script: Script, claim: Claim) -> bool:
    try:
        check(assemble_script(claim, script), claim.network, claim.prop, semantics=claim.semantics)
    except CertificateRejected:
        return False
    return True


def reject(script: Script, claim: Claim, why: str) -> None:
    with pytest.raises(CertificateRejected, match=why):
        check(assemble_script(claim, script), claim.network, claim.prop, semantics=claim.semantics)


# Whole proofs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("semantics", ["real", "f32-any"])
def test_a_proof_by_a_split_is_accepted_and_names_its_rule(semantics: str) -> None:
    claim = hill(semantics=semantics)
    accepted = check(assemble_script(claim, SPLIT), claim.network, claim.prop, semantics=semantics, verdict="unsat")
    assert (accepted.kernel, accepted.leaves, accepted.tier) == ("crown-fp-2", 2, "exact")
    assert any("crown-fp-2" in line for line in accepted.lines())


@pytest.mark.parametrize(
    "opcodes",
    [
        [FIRST], [FIRST + 1],  # no split
        [SPLIT_1, FIRST + 1, FIRST], [SPLIT_1, FIRST, FIRST],  # the wrong rules
        [SPLIT_0, FIRST, FIRST], [SPLIT_0, FIRST, FIRST + 1],  # the wrong neuron
    ],
)  # fmt: skip
def test_no_other_tree_of_this_size_is_a_proof(opcodes: list[int]) -> None:
    reject(replace(SPLIT, opcodes=opcodes), hill(), "does not close")


def test_a_vector_is_a_leafs_reason_and_so_is_emptiness() -> None:
    # Below x <= 0 neuron 1 cannot be active: -(x - 1/2 - 0) - (0 - x) = 1/2 > 0.
    unit = 1 << 24
    slopes, empty = Vector(bytes([128]), ()), Vector(b"", ((0, -unit), (1, unit)))
    script = Script(
        [SPLIT_1, FIRST, SPLIT_0, FIRST + 1, FIRST + 2],
        [((-1, ATOM_0),), ((-2, ()),), ((3, ATOM_0),)], [slopes, empty], [0, 1],
    )  # fmt: skip
    # slope 1/2 in the first leaf: f >= x / 2 + 1/8 >= -3/8 is too weak; slope 0 is not
    reject(script, hill(), "TREE leaf 0 of 3")
    script = replace(script, vectors=[Vector(bytes([0]), ()), empty])
    assert accepts(script, hill())
    for pins in (((0, -unit),), ((1, unit),), ((0, unit), (1, unit)), ((0, -unit), (1, -unit)), ()):
        reject(replace(script, vectors=[script.vectors[0], Vector(b"", pins)]), hill(), "TREE leaf 1 of 3")
    # without atoms a rule claims nothing, also where the node is empty
    reject(replace(script, kinds=[script.kinds[0], ((0, ()),), script.kinds[2]]), hill(), "TREE leaf 1 of 3")


def test_a_recipe_derives_what_a_leaf_needs() -> None:
    # y = relu(z), z = relu(x) - relu(x) over [-1, 3]: |z| <= 3 by intervals, 1 by rows of rule 0, 3/4 by slopes 3/4.
    # With |z| <= m the upper line is (z + m) / 2, and a pin of -1/2 puts z at m in it: y <= m.
    layers: list[Layer] = [([[1.0], [1.0]], [0.0, 0.0]), ([[1.0, -1.0]], [0.0]), ([[1.0]], [0.0])]
    three = Claim(dense(layers), vnnlib([Q(-1)], [Q(3)], 1, "(>= Y_0 0.8)"), "real")
    first = 1 + 3 + 2  # behind the recipes
    vectors = [Vector(bytes([192]), ()), Vector(bytes([0, 192]), ()), Vector(b"", ((2, -(1 << 23)),))]
    recipes: list[tuple[int, Sequence[Sequence[object]]]] = [(0, [[1, "open", 0]]), (0, [[1, [0], -1]])]
    script = Script([first], [((-3, ATOM_0),)], vectors, [0, 1], recipes=recipes)
    reject(script, three, "does not close")
    reject(replace(script, opcodes=[4, first]), three, "does not close")
    assert accepts(replace(script, opcodes=[5, first]), three)
    assert accepts(replace(script, opcodes=[4, 5, first]), three)
    one = replace(three, prop=vnnlib([Q(-1)], [Q(3)], 1, "(>= Y_0 1.1)"))
    assert accepts(replace(script, opcodes=[4, first]), one)


TWO: list[Layer] = [([[1.0], [1.0]], [0.0, -0.5]), ([[1.0, -2.0], [1.0, 0.0]], [0.125, 0.0])]
EITHER = "(or (<= Y_0 0.1) (>= Y_1 1.5) (<= Y_1 -0.5))"


def test_forks_part_the_goals() -> None:
    claim = Claim(dense(TWO), vnnlib([Q(-1)], [Q(1)], 2, EITHER), "real")
    nothing = (0, ())
    rest = FIRST + 2
    kinds: list[tree.Kind] = [
        ((0, ATOM_0), nothing, nothing),
        ((3, ATOM_0), nothing, nothing),
        (nothing, (0, ATOM_0), (0, ATOM_0)),
        ((0, ATOM_0), (0, ATOM_0), (0, ATOM_0)),
        ((3, ATOM_0), (0, ATOM_0), (0, ATOM_0)),
        (nothing, (0, ATOM_0), nothing),
        (nothing, nothing, (0, ATOM_0)),
    ]
    forks = [[0], [1, 2]]
    script = Script([], kinds, forks=forks)
    fork = FIRST
    assert accepts(replace(script, opcodes=[fork, SPLIT_1, rest, rest + 1, rest + 2]), claim)
    assert accepts(replace(script, opcodes=[fork + 1, rest + 2, SPLIT_1, rest, rest + 1]), claim)
    assert accepts(replace(script, opcodes=[SPLIT_1, rest + 3, fork, rest + 1, rest + 2]), claim)
    assert accepts(replace(script, opcodes=[SPLIT_1, rest + 3, rest + 4]), claim)
    # a child that leaves a goal open
    reject(replace(script, opcodes=[fork, rest + 2, rest + 2]), claim, "TREE leaf 0 of 2")
    reject(replace(script, opcodes=[fork + 1, SPLIT_1, rest, rest + 1, rest + 2]), claim, "TREE leaf 2 of 3")
    reject(replace(script, opcodes=[SPLIT_1, rest, rest + 4]), claim, "TREE leaf 0 of 2")
    for kind in (5, 6):
        reject(replace(script, opcodes=[fork, SPLIT_1, rest, rest + 1, rest + kind]), claim, "TREE leaf 2 of 3")
    # a child without goals
    for opcodes in ([fork, fork, rest, rest, rest + 2], [fork, fork + 1, rest, rest, rest + 2]):
        reject(replace(script, opcodes=opcodes), claim, "without a goal")
    reject(replace(script, opcodes=[fork, rest, rest], forks=[[0, 1, 2], [0]]), claim, "without a goal")


def test_entries_of_disjuncts_that_are_no_goals_are_ignored() -> None:
    claim = Claim(dense(TWO), vnnlib([Q(-1)], [Q(1)], 2, EITHER), "real")
    # the entry of the first disjunct does not close at the second leaf, and has to nowhere
    kinds: list[tree.Kind] = [
        ((0, ATOM_0), (0, ()), (0, ())),
        ((3, ATOM_0), (0, ()), (0, ())),
        ((0, ATOM_0), (0, ATOM_0), (0, ATOM_0)),
    ]
    script = Script([FIRST, SPLIT_1, FIRST + 1, FIRST + 2, FIRST + 3], kinds, forks=[[0]])
    assert accepts(script, claim)
    reject(replace(script, kinds=[*kinds[:2], kinds[2][:2]]), claim, "a kind for 2 disjuncts")


def test_a_kind_claims_something_else_in_every_case() -> None:
    unsafe = "(or (and (<= X_0 0) (<= Y_0 -1)) (and (>= X_0 0) (<= Y_0 {})))"
    kinds: list[tree.Kind] = [((0, ATOM_0),)]
    assert accepts(Script([FIRST, FIRST], kinds), hill(unsafe.format("-2")))
    reject(Script([FIRST, FIRST], kinds), hill(unsafe.format("9")), "TREE leaf 1 of 2")
    for intermediate in ((), (0,)):
        false = hill(unsafe.format("9"))
        with pytest.raises(CertificateRejected, match="TREE leaf 1 of 2"):
            check(assemble(false, [1, 1], kinds, intermediate), false.network, false.prop, semantics="real")


# Form ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"opcodes": []}, "cut off"),
        ({"opcodes": [SPLIT_1, FIRST]}, "cut off"),
        ({"opcodes": [*SPLIT.opcodes, FIRST]}, "1 bytes follow"),
        ({"opcodes": [FIRST + 2]}, "below 5"),
        ({"opcodes": [0x80 + FIRST, 0]}, "below 5"),
        ({"kinds": [((-1, ATOM_0),)] * 2}, "rule, atoms"),
        ({"kinds": [((-2, ATOM_0),)] * 2, "vectors": [Vector(b"", ())]}, "rule, atoms"),
        ({"kinds": [((4, ATOM_0),)] * 2}, "rule, atoms"),
        ({"kinds": [((-1, ((1, 1),)),)] * 2, "vectors": [Vector(b"", ())]}, "no atom 1"),
        ({"vectors": [Vector(b"\0", ())]}, "VECTORS byte 0"),
        ({"vectors": [Vector(b"", ((2, 1),))]}, "VECTORS byte 2"),
        ({"columns": [0, 1, 2]}, "PLAN"),
        ({"forks": [[0, 1]]}, "PLAN"),
        ({"recipes": [(0, [[1, "open", 0]])]}, "PLAN"),
        ({"recipes": [(0, [[0, "open", -1]])]}, "PLAN"),
    ],
)
def test_malformed_scripts_are_rejected(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(CertificateRejected) as caught:
        claim = hill()
        check(assemble_script(claim, replace(SPLIT, **changes)), claim.network, claim.prop, semantics="real")
    assert why in str(caught.value)


def test_one_child_opcodes_by_hand() -> None:
    # one input, one neuron, two recipes, one fork, one kind: bisect 0, split 1, recipes 2 and 3, fork 4, leaf 5
    t = tree.parse_tree(bytes([2, 0, 3, 1, 5, 2, 5, 4, 5, 5, 5]), 2, 1, 1, neurons=1, recipes=2, forks=1)
    assert t.roots == (0, 10)
    assert (t.right[1], t.right[3], t.right[7]) == (7, 5, 9)
    assert [t.leaf[p] for p in (4, 6, 8, 9, 10)] == [0, 1, 2, 3, 4]
    assert t.leaves == 5


def test_pins_of_leaves_are_below_the_output() -> None:
    # the output is itself read by a relu here, which no network that was read from a file has
    network = Network((Input(1), affine(full([[UNIT]]), [0], 0), Relu(1)), (1, 1, 1), 1)
    asked = Query(network, (CASE,), (Box((0,), (1 << H,)),), "real", 0)
    script = Script([2], [((-1, ATOM_0),)], [Vector(b"", ((0, 1),))])
    header = replace(header_of(hill(), 1), kernel=container.CROWN_2)
    with pytest.raises(CertificateRejected, match="above the output"):
        parse_proof(header, dict(script.frames()), asked)


@pytest.mark.parametrize("semantics", ["real", "f32-any"])
def test_an_input_that_cannot_be_bisected_is_named(semantics: str) -> None:
    claim = Claim(dense(HILL), vnnlib([Q(1)], [Q(1)], 1, "(<= Y_0 0.1)"), semantics)
    script = Script([SPLIT_1, 0, FIRST, FIRST, FIRST], [((0, ATOM_0),)])
    if semantics == "real":
        assert accepts(script, claim)
    else:
        reject(script, claim, "TREE node 1: bisects")


def test_the_rules_of_both_kernels_are_not_mixed() -> None:
    claim = hill()
    header, payloads = container.decode(assemble_script(claim, SPLIT))
    for forged in (replace(header, kernel=container.CROWN_1), replace(header, intermediate=(0,))):
        with pytest.raises(CertificateRejected):
            check(container.encode(forged, list(payloads.items())), claim.network, claim.prop, semantics="real")
    for order in ([1, 2], [4, 1, 2], [5, 4, 1, 2], [1, 2, 4, 5], [4, 5, 2, 1], [4, 5, 1], [4, 5, 1, 2, 2]):
        frames = [(kind, payloads[kind]) for kind in order]
        with pytest.raises(CertificateRejected, match="was expected"):
            check(container.encode(header, frames), claim.network, claim.prop, semantics="real")


# The walk -----------------------------------------------------------------------------------------------------------

ONE_NEURON = Network(
    (Input(1), affine(full([[UNIT]]), [UNIT], 0), Relu(1), affine(full([[UNIT]]), [0], 2)), (1, 1, 1, 1), 3
)
UNSAFE_BELOW = Case((Q(0),), (Q(1),), ((ATOM,), (ATOM,)))


def chain(parts: Sequence[int], depth: int, leaf: int) -> bytes:
    """`parts` again and again, every branch's first child a leaf."""
    two = {1, 3}
    out = bytearray()
    for i in range(depth):
        out.append(parts[i % len(parts)])
        if parts[i % len(parts)] in two:
            out.append(leaf)
    return bytes([*out, leaf])


@pytest.mark.parametrize("wave", [1, 64])
def test_a_chain_of_splits_and_recipes_keeps_few_states(wave: int) -> None:
    depth = 50_000
    payload = chain([1, 2], depth, 4)
    t = tree.parse_tree(payload, 1, 1, 1, neurons=1, recipes=1, forks=1)
    header = replace(header_of(hill(), 1), kernel=container.CROWN_2)
    script = Script([4], [((0, ATOM_0),)], forks=[[0]], recipes=[(1, [])])
    asked = Query(ONE_NEURON, (CASE,), (Box((0,), (1 << H,)),), "real", 0)
    proof = replace(parse_proof(header, dict(script.frames()), asked), tree=t)
    nothing = Nothing(wave)
    assert failing_leaves(asked, proof, nothing) == []
    assert nothing.derived == len(payload)
    assert nothing.most <= 4


@pytest.mark.parametrize("wave", [2, 7, 1000])
def test_waves_change_nothing(wave: int) -> None:
    layers: list[Layer] = [([[1.0, -1.0], [-1.0, 0.5], [0.5, 2.0]], [0.0, 0.5, -1.0]), ([[1.0, 1.0, -1.0]], [0.25])]
    unsafe = "(or (<= Y_0 -0.5) (and (<= X_0 0.5) (<= Y_0 0.1)) (>= Y_0 1.5))"
    claim = Claim(dense(layers), vnnlib([Q(-1)] * 2, [Q(1)] * 2, 1, unsafe), "real")
    asked = claim.query()
    assert [len(case.disjuncts) for case in asked.cases] == [2, 1]
    rng = random.Random(wave)
    kinds: list[tree.Kind] = [((0, ATOM_0), (-1, ATOM_0)), ((1, ATOM_0),)]
    opcodes: list[int] = []
    for case in range(2):
        stack = [(0, case == 0)]
        while stack:
            level, forkable = stack.pop()
            what = (
                "leaf" if level > 9 or (level > 4 and rng.random() < 0.2) else rng.choice(["one", "two", "two", "fork"])
            )
            if what == "leaf":
                opcodes.append(2 + 3 + 2 + 1 + case)
            elif what == "one":
                opcodes.append(5 + rng.randrange(2))
                stack.append((level + 1, forkable))
            elif what == "fork" and forkable:
                opcodes.append(7)
                stack += [(level + 1, False)] * 2
            else:
                opcodes.append(rng.randrange(5))
                stack += [(level + 1, forkable)] * 2
    script = Script(
        opcodes, kinds, [Vector(b"\x40\x80\xc0", ((0, 1 << 20), (2, -(1 << 22))))], [0, 1, 2], [[1]],
        [(1, []), (0, [[0, "open", 2]])],
    )  # fmt: skip
    header = replace(header_of(claim, 1), kernel=container.CROWN_2)
    proof = parse_proof(header, dict(script.frames()), asked)
    one = failing_leaves(asked, proof, REFERENCE)
    assert 0 < len(one) < proof.tree.leaves
    assert failing_leaves(asked, proof, Many(wave)) == one
    first = failing_leaves(asked, proof, Many(wave), first_only=True)
    assert first
    assert set(first) <= set(one)


class Many(Reference):
    """The reference kernel in waves."""

    def __init__(self, wave: int) -> None:
        self.wave = wave

    def prepare_plan(self, network: Network, rounded: bool, columns: tuple[int, ...]) -> Any:
        prover = refine.ReferencePlanProver(network, rounded, columns)
        prover.wave = self.wave
        return prover


# Mutants ------------------------------------------------------------------------------------------------------------

ONE = 1 << 24
BASE = Script(
    [FIRST, SPLIT_1, FIRST + 1, FIRST + 6, SPLIT_0, FIRST + 7, FIRST + 8],
    [((0, ATOM_0),), ((-1, ATOM_0),), ((-2, ()),), ((-3, ATOM_0),)],
    [Vector(bytes([0]), ()), Vector(b"", ((0, -ONE), (1, ONE))), Vector(b"", ((1, -ONE),))],
    [0, 1],
    recipes=[(1, [[0, "open", 0]]), (1, []), (0, [[0, [0, 1], 2]]), (0, [[0, [0], 1]]), (0, [])],
)


def mutant(script: Script, rng: random.Random) -> Script:
    """The script with one thing changed."""
    ops, kinds, vectors = list(script.opcodes), list(script.kinds), list(script.vectors)
    what = rng.choice(
        ["opcode", "opcode", "drop", "swap", "kind", "slopes", "gamma", "sign", "neuron", "atom", "recipe"]
    )
    at, vector = rng.randrange(len(ops)), rng.randrange(len(vectors))
    pins = list(vectors[vector].pins)
    if what == "opcode":
        ops[at] = rng.randrange(FIRST + len(script.recipes) + len(kinds))
    elif what == "drop":
        del ops[at]
    elif what == "swap":
        ops[at], ops[at - 1] = ops[at - 1], ops[at]
    elif what == "kind":
        kinds[rng.randrange(len(kinds))] = rng.choice(kinds)
    elif what == "slopes":
        vectors[vector] = Vector(bytes(rng.randrange(256) for _ in range(rng.randrange(3))), tuple(pins))
    elif what in ("gamma", "sign", "neuron"):
        for i, (neuron, gamma) in enumerate(pins):
            if rng.random() < 0.6:
                new = {"gamma": gamma + rng.choice([-1, 1]) * rng.randint(1, 1 << 26), "sign": -gamma, "neuron": gamma}
                pins[i] = (1 - neuron if what == "neuron" else neuron, new[what] or 1)
        vectors[vector] = Vector(vectors[vector].slopes, tuple(sorted(dict(pins).items())))
    elif what == "atom":
        kinds = [((rule, tuple((a, rng.randint(1, 9)) for a, _ in atoms)),) for ((rule, atoms),) in kinds]
    else:
        return replace(script, recipes=rng.sample(script.recipes, len(script.recipes)))
    return replace(script, opcodes=ops, kinds=kinds, vectors=vectors)


@pytest.mark.parametrize("semantics", ["real", "f32-any"])
def test_a_mutant_is_accepted_only_when_the_claim_is_true(semantics: str, capsys: pytest.CaptureFixture[str]) -> None:
    minimum = exact_minimum(HILL, [Q(-1)], [Q(1)])
    assert minimum == Q(1, 8)
    true, *false = (hill(f"(<= Y_0 {decimal(c)})", semantics) for c in (Q(1, 10), minimum, minimum + Q(1, ONE)))
    assert accepts(BASE, true)
    rng = random.Random(3)
    counts: Counter[str] = Counter()
    for _ in range(250):
        script = mutant(BASE, rng)
        if rng.random() < 0.3:
            script = mutant(script, rng)
        assert not any(accepts(script, claim) for claim in false), script
        counts["accepted" if accepts(script, true) else "rejected"] += 1
    with capsys.disabled():
        print(f"\n  mutants of crown-fp-2 ({semantics}): {dict(counts)}")
    assert min(counts["accepted"], counts["rejected"]) > 30  # a mutant may well be a proof


def test_any_bit_of_a_certificate_is_bound() -> None:
    claim = hill()
    certificate = assemble_script(claim, BASE)
    rng = random.Random(2)
    for _ in range(200):
        flipped = bytearray(certificate)
        flipped[rng.randrange(len(certificate))] ^= 1 << rng.randrange(8)
        with pytest.raises(CertificateRejected):
            check(bytes(flipped), claim.network, claim.prop, semantics="real")


# Accepted implies true ----------------------------------------------------------------------------------------------


@dataclass
class Attacker:
    """Writes certificates for a claim: splits, bisections, recipes, and leaves by the best vector that it finds."""

    claim: Claim
    rng: random.Random
    depth: int
    opcodes: list[tuple[str, int]] = field(default_factory=list)
    kinds: list[tree.Kind] = field(default_factory=list)
    vectors: list[Vector] = field(default_factory=list)
    recipes: list[tuple[int, list[list[object]]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.query = self.claim.query()
        self.network = self.query.network
        self.layers = [self.network.sizes[v] for v in neuron_layers(self.network)]
        self.neurons = sum(self.layers)
        self.prover = refine.ReferencePlanProver(self.network, self.query.rounded, tuple(range(self.neurons)))

    def run(self) -> tuple[Script, bool]:
        """A certificate, and whether all of its leaves closed."""
        closed = True
        for case, root in zip(self.query.cases, self.query.boxes, strict=True):
            assert root is not None
            stack = [(root, self.prover.begin([root])[0], 0)]
            while stack:
                box, point, level = stack.pop()
                kind = self.reason(case, point)
                if kind is None and level < self.depth:
                    stack += [(step.box, self.prover.advance([point], [step])[0], level + 1) for step in self.grow(box)]
                    continue
                closed = closed and kind is not None
                self.opcodes.append(("leaf", len(self.kinds)))
                self.kinds.append(kind or ((0, ()),))
        inputs = self.network.sizes[0]
        first = {"bisect": 0, "split": inputs, "recipe": inputs + self.neurons}
        first["leaf"] = first["recipe"] + len(self.recipes)
        opcodes = [first[what] + number for what, number in self.opcodes]
        return Script(opcodes, self.kinds, self.vectors, range(self.neurons), (), self.recipes), closed

    def grow(self, box: Box) -> list[Step]:
        """Steps to the children, the second first."""
        what = self.rng.choice(["split"] * 5 + ["bisect", "recipe", "recipe"])
        if what == "bisect":
            dimension = self.rng.randrange(len(box.lower))
            halves = bisect(box, dimension, self.query.rounded)
            if halves is not None:
                self.opcodes.append(("bisect", dimension))
                return [Step(half, None, None) for half in reversed(halves)]
        if what == "recipe":
            return [Step(box, None, self.recipe())]
        neuron = self.rng.randrange(self.neurons)
        self.opcodes.append(("split", neuron))
        return [Step(box, (neuron, active), None) for active in (True, False)]

    def recipe(self) -> Recipe:
        rng = self.rng
        forward, rows, groups = rng.randrange(2), [], []
        for layer, size in enumerate(self.layers):
            if rng.random() < 0.5:
                rule = rng.randrange(4)
                rows.append([layer, "open", rule])
                groups.append(RowGroup(layer, None, rule, ()))
            else:
                below = sum(self.layers[: layer + 1])
                vectors = tuple(self.vector(below) for _ in range(2 * size))
                rows.append([layer, list(range(size)), -1 - len(self.vectors)])
                groups.append(RowGroup(layer, tuple(range(size)), -1, vectors))
                self.vectors += vectors
        self.opcodes.append(("recipe", len(self.recipes)))
        self.recipes.append((forward, rows))
        return Recipe(forward == 1, tuple(groups))

    def vector(self, below: int) -> Vector:
        rng = self.rng
        slopes = bytes(rng.choice([0, 64, 128, 192, 255]) for _ in range(rng.randint(0, self.neurons)))
        return Vector(slopes, self.pins({g: self.pin() for g in range(below) if rng.random() < 0.3}))

    def pin(self) -> int:
        return self.rng.choice([-1, 1]) * self.rng.randint(1, 8) * max(1, (1 << query.F) // 4)

    @staticmethod
    def pins(found: dict[int, int]) -> tuple[tuple[int, int], ...]:
        return tuple(sorted((g, gamma) for g, gamma in found.items() if gamma))

    def reason(self, case: Case, point: Point) -> tree.Kind | None:
        """A kind that closes the only disjunct here, by the rules or by climbing over vectors."""
        reasons = [(rule, ATOM_0) for rule in range(4)] + [(-1, ATOM_0), (-1, ())]
        for rule, atoms in self.rng.sample(reasons, len(reasons)):
            if point.status == OPEN and rule < 0:
                vector = self.climb(case, point, bool(atoms))
                bound = replace(tree.combine(case, 0, 0, atoms), vector=vector)
                if self.prover.close([point], [0], [(bound,)])[0]:
                    self.vectors.append(vector)
                    return ((-len(self.vectors), atoms),)
            elif rule >= 0 and self.prover.close([point], [0], [(tree.combine(case, 0, rule, atoms),)])[0]:
                return ((rule, atoms),)
        return None

    def climb(self, case: Case, point: Point, atoms: bool) -> Vector:
        """Slopes and pins with a good bound: single random changes, kept when they do not lose."""
        bound = tree.combine(case, 0, 0, ATOM_0 if atoms else ())
        rows = self.prover._rows
        best, value = Vector(bytes([128] * self.neurons), ()), None
        for _ in range(25):
            slopes, pins = bytearray(best.slopes), dict(best.pins)
            neuron = self.rng.randrange(self.neurons)
            if self.rng.random() < 0.5:
                slopes[neuron] = self.rng.choice([0, 64, 128, 192, 255])
            else:
                pins[neuron] = pins.get(neuron, 0) + self.pin()
            tried = Vector(bytes(slopes), self.pins(pins))
            found = rows.row_bound(point, self.network.output, bound.row, bound.xrow, 0, tried)
            if value is None or found >= value:
                best, value = tried, found
        return best


def fuzz(rounds: int, seed: int, semantics: str) -> Counter[str]:
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    for _ in range(rounds):
        layers, low, high = random_network(rng)
        network = dense(layers)
        for unsafe, reached in false_claims(layers, low, high, semantics):
            claim = Claim(network, vnnlib(low, high, 1, unsafe), semantics)
            script, closed = Attacker(claim, rng, 4).run()
            accepted = accepts(script, claim)
            assert accepted == closed
            assert not (accepted and reached), (seed, layers, low, high, unsafe, script)
            counts["false claims" if reached else "other claims"] += 1
            counts["others accepted"] += accepted and not reached
            counts["by vectors"] += accepted and any(rule < 0 for kind in script.kinds for rule, _ in kind)
    return counts


@pytest.mark.parametrize("semantics", ["real", "f32-any"])
def test_no_false_claim_is_accepted(semantics: str, capsys: pytest.CaptureFixture[str]) -> None:
    counts = fuzz(20, 21, semantics)
    with capsys.disabled():
        print(f"\n  fuzz of crown-fp-2 ({semantics}): {dict(counts)}")
    assert counts["others accepted"] > 10  # the attacker is able to prove things
    assert counts["by vectors"] > 2


@pytest.mark.parametrize("scales", COARSE, ids=["eighths", "halves"])
def test_no_false_claim_is_accepted_at_coarse_scales(
    scales: dict[str, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At scales of a few bits every floor, every inexact weight and every pin costs something visible."""
    for name, bits in scales.items():
        for module in (kernel, query, integer, refine):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, bits)
    counts = fuzz(25, 22, "real")
    with capsys.disabled():
        print(f"\n  fuzz of crown-fp-2 at {scales}: {dict(counts)}")
    assert counts["false claims"] > 40


@pytest.mark.slow
@pytest.mark.parametrize("semantics", ["real", "f32-any"])
def test_no_false_claim_is_accepted_in_a_long_run(semantics: str) -> None:
    assert fuzz(80, 23, semantics)["false claims"] > 200
