"""The whole check: accepted implies that the claim is true; every byte is bound; the command line."""

from __future__ import annotations

import gzip
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from farkas.checker import check as check_module
from farkas.checker import container, integer, kernel, query, tree
from farkas.checker.check import Accepted, check, main
from farkas.checker.errors import CertificateRejected, MalformedInput
from farkas.checker.network import read_network
from farkas.checker.replay import EXECUTORS, execute
from tests.checker.nets import (
    Claim,
    Layer,
    Waves,
    assemble,
    decimal,
    dense,
    exact_minimum,
    header_of,
    kinds_json,
    leb128,
    model,
    prove,
    run_exactly,
    single_atom_kinds,
    vertices_1d,
    vertices_2d,
    vnnlib,
)

Q = Fraction
UNIT = Q(1, 1 << 24)

# y = f(x_0) + f(x_1) + 1/8, f(x) = relu(x) - 2 relu(x - 1/2), has its minimum 1/8 where both are <= 0 or 1.  The lower
# line of one relu and the upper line of the other do not meet at the root, so a tree is needed.
LAYERS: list[Layer] = [
    ([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], [0.0, -0.5, 0.0, -0.5]),
    ([[1.0, -2.0, 1.0, -2.0]], [0.125]),
]
LOW, HIGH = [Q(-1), Q(-1)], [Q(1), Q(1)]
NETWORK = dense(LAYERS)


def claim(unsafe: str = "(<= Y_0 0.1)", semantics: str = "real", layers: Sequence[Layer] = LAYERS) -> Claim:
    return Claim(dense(layers), vnnlib(LOW, HIGH, len(layers[-1][1]), unsafe), semantics)


def accepts(certificate: bytes, c: Claim, **options: object) -> bool:
    try:
        check(certificate, c.network, c.prop, semantics=c.semantics, **options)  # type: ignore[arg-type]
    except CertificateRejected:
        return False
    return True


@pytest.mark.parametrize("semantics", ["real", "f32-any"])
def test_a_proof_is_accepted_with_its_whole_claim(semantics: str) -> None:
    c = claim(semantics=semantics)
    certificate, closed = prove(c)
    assert closed
    accepted = check(certificate, c.network, c.prop, semantics=semantics, verdict="unsat")
    leaves = accepted.leaves
    assert leaves > 1
    header = header_of(c, leaves)
    assert accepted == Accepted(
        verdict="unsat",
        semantics=semantics,
        networks=header.networks,
        property=header.property,
        query=header.query,
        cases=1,
        leaves=leaves,
        off_grid=0,
        executor="",
        kernel="crown-fp-1",
        tier="exact",
        vacuous=(),
    )
    text = "\n".join(accepted.lines())
    for part in (
        "unsat",
        semantics,
        header.query,
        header.property,
        header.networks[0][1],
        f"leaves: {leaves}",
        "exact",
    ):
        assert part in text
    for wave in (2, 100):
        again = check(certificate, c.network, c.prop, semantics=semantics, kernel=Waves(wave))
        assert again == accepted


def test_gzip_files_are_the_same_files() -> None:
    c = claim()
    certificate, _ = prove(c)
    zipped = gzip.compress(c.network), gzip.compress(c.prop)
    assert check(certificate, *zipped, semantics="real") == check(certificate, c.network, c.prop, semantics="real")
    with pytest.raises(MalformedInput, match="followed"):
        check(certificate, zipped[0] + b"x", c.prop, semantics="real")
    with pytest.raises(MalformedInput, match="cut off"):
        check(certificate, zipped[0][:-9], c.prop, semantics="real")


def test_a_gzip_bomb_is_refused_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_module, "MAX_INPUT", 1 << 20)
    bomb = gzip.compress(bytes(1 << 22))
    with pytest.raises(MalformedInput, match="too large"):
        check_module.decompressed(bomb, "network")


def test_the_expected_semantics_and_verdict_are_enforced() -> None:
    c = claim()
    certificate, _ = prove(c)
    with pytest.raises(CertificateRejected, match="f32-any is expected"):
        check(certificate, c.network, c.prop)
    with pytest.raises(CertificateRejected, match="sat is expected"):
        check(certificate, c.network, c.prop, semantics="real", verdict="sat")


def test_a_property_with_contradictory_boxes_is_accepted_with_a_warning() -> None:
    c = Claim(NETWORK, vnnlib(HIGH, LOW, 1, "(<= Y_0 9)"), "f32-any")
    accepted = check(assemble(c, [], []), c.network, c.prop)
    assert (accepted.cases, accepted.leaves) == (0, 0)
    assert any("vacuous" in line for line in accepted.lines())


def test_points_off_the_grid_are_counted_in_the_claim() -> None:
    c = Claim(NETWORK, vnnlib([Q(1, 10)] * 2, [Q(1, 10), Q(1, 2)], 1, "(<= Y_0 0.1)"), "f32-any")
    certificate, closed = prove(c)
    assert closed
    accepted = check(certificate, c.network, c.prop)
    assert accepted.off_grid == 1
    header, payloads = container.decode(certificate)
    forged = container.encode(replace(header, off_grid=0), list(payloads.items()))
    assert not accepts(forged, c)


def test_a_box_between_two_binary32_numbers_cannot_be_certified() -> None:
    low, high = Q("0.10000000001"), Q("0.10000000002")
    c = Claim(NETWORK, vnnlib([low] * 2, [high] * 2, 1, "(<= Y_0 0.1)"), "f32-any")
    assert not accepts(assemble(c, [2], single_atom_kinds(c.query(), [0])), c)
    real = replace(c, semantics="real")
    assert accepts(prove(real)[0], real)


def test_a_combination_of_atoms_closes_what_no_atom_closes_alone() -> None:
    layers: list[Layer] = [([[1.0, 1.0], [-1.0, -1.0]], [0.0, 0.25])]
    c = claim("(and (<= Y_0 0) (<= Y_1 0))", layers=layers)  # Y_0 + Y_1 = 0.25
    assert not prove(c, depth=4)[1]
    certificate, closed = prove(c, kinds=[((0, ((0, 1), (1, 1))),)])
    assert closed
    assert accepts(certificate, c)
    assert not prove(c, kinds=[((0, ((0, 1), (1, 2))),)], depth=4)[1]


def test_input_atoms_take_part_in_combinations() -> None:
    c = claim("(and (<= (+ X_0 X_1) -0.5) (>= (+ X_0 X_1) -0.25) (<= Y_0 9))")
    kinds: list[tree.Kind] = [((0, ((0, 1), (1, 1))),)]
    certificate, closed = prove(c, kinds=kinds, depth=0)
    assert closed
    assert accepts(certificate, c)


@pytest.mark.parametrize("semantics", ["real", "f32-any"])
def test_a_convolutional_network_is_proved_and_its_proof_is_true(semantics: str) -> None:
    rng = np.random.default_rng(4)
    constants = {
        "k": (rng.integers(-8, 9, (3, 2, 2, 2)) / 16).astype(np.float32),
        "b": (rng.integers(-8, 9, 3) / 16).astype(np.float32),
        "w": rng.standard_normal((1, 27)).astype(np.float32) / 8,
        "c": np.zeros(1, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "k", "b"], ["z"], pads=[1, 0, 0, 1], strides=[1, 1]),
        helper.make_node("Relu", ["z"], ["a"]),
        helper.make_node("Flatten", ["a"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "c"], ["y"], transB=1),
    ]
    network = model(nodes, constants, (1, 2, 3, 3))
    low, high = [Q(-1, 8)] * 18, [Q(1, 8)] * 18
    steps = read_network(network)
    seen = [execute(steps, [Q(int(v), 8) for v in rng.integers(-1, 2, 18)], EXECUTORS["exact"])[0] for _ in range(300)]
    proved = []
    for tenths in range(-20, 21):
        c = Claim(network, vnnlib(low, high, 1, f"(<= Y_0 {decimal(Q(tenths, 10))})"), semantics)
        certificate, closed = prove(c, depth=0)
        assert accepts(certificate, c) == closed
        if closed:
            proved.append(Q(tenths, 10))
    assert proved
    assert max(proved) < min(seen)
    assert min(seen) - max(proved) < 1  # and the bound is worth something


def test_every_disjunct_must_close_in_every_case() -> None:
    unsafe = "(or (<= Y_0 0.1) (>= Y_0 9) (and (<= X_0 0) (<= Y_0 0.0625)))"
    c = claim(unsafe)
    assert [len(case.disjuncts) for case in c.query().cases] == [2, 1]
    kinds: list[tree.Kind] = [((0, ((0, 1),)), (0, ((0, 1),))), ((0, ((0, 1),)),), ((0, ((0, 1),)), (0, ()))]

    def opcodes(case_kinds: Sequence[Sequence[int]]) -> list[int]:
        """For each case a full tree with the kinds in turn."""
        return [op for ks in case_kinds for op in full_tree(2, 6, ks)]

    assert accepts(assemble(c, opcodes([[0], [1]]), kinds), c)
    assert not accepts(assemble(c, opcodes([[2], [1]]), kinds), c)
    assert not accepts(assemble(c, opcodes([[0, 2], [1]]), kinds), c)
    assert not accepts(assemble(c, opcodes([[0], [0]]), kinds), c)


def full_tree(inputs: int, depth: int, kinds: Sequence[int]) -> list[int]:
    """Preorder of a full tree, dimensions and leaf kinds taken in turn."""
    out: list[int] = []
    stack = [0]
    leaves = 0
    while stack:
        level = stack.pop()
        if level < depth:
            out.append(level % inputs)
            stack += [level + 1, level + 1]
        else:
            out.append(inputs + kinds[leaves % len(kinds)])
            leaves += 1
    return out


# 1: certificate mutation --------------------------------------------------------------------------------------------


def opcodes_of(certificate: bytes) -> tuple[list[int], container.Header, list[tree.Kind]]:
    header, payloads = container.decode(certificate)
    kinds = list(tree.parse_kinds(container.parse_json(payloads[container.LEAVES], "LEAVES")))
    return list(payloads[container.TREE]), header, kinds


def mutant(opcodes: list[int], kinds: list[tree.Kind], rng: random.Random) -> tuple[str, list[int], list[tree.Kind]]:
    """A tree or a list of kinds with one thing changed."""
    ops, ks = list(opcodes), list(kinds)
    inner = [i for i, op in enumerate(ops) if op < 2]
    leaves = [i for i, op in enumerate(ops) if op >= 2]
    what = rng.choice(["prune", "dimension", "kind", "swap", "drop", "repeat", "rule", "grow", "opcode", "multiplier"])
    at = rng.choice(inner if what in ("prune", "dimension", "swap") else leaves)
    if what in ("prune", "swap"):
        middle, end = subtree_end(ops, at + 1), subtree_end(ops, at)
        if what == "prune":
            ops[at:end] = [rng.choice(leaves_kinds(ops))]
        else:
            ops[at + 1 : end] = ops[middle:end] + ops[at + 1 : middle]
    elif what == "dimension":
        ops[at] = 1 - ops[at]
    elif what == "kind":
        ops[at] = 2 + rng.randrange(len(ks))
    elif what == "drop":
        del ops[at]
    elif what == "repeat":
        ops.insert(at, ops[at])
    elif what == "grow":
        ops[at : at + 1] = [rng.randrange(2), ops[at], ops[at]]
    elif what == "opcode":
        ops[rng.randrange(len(ops))] = rng.randrange(2 + len(ks))
    elif what == "rule":
        ks = [((rng.randrange(4), kind[0][1]),) for kind in ks]
    else:
        ks = [((kind[0][0], tuple((a, rng.randrange(1, 9)) for a, _ in kind[0][1])),) for kind in ks]
    return what, ops, ks


def leaves_kinds(ops: Sequence[int]) -> list[int]:
    return sorted({op for op in ops if op >= 2})


def subtree_end(ops: Sequence[int], at: int) -> int:
    """The position behind the subtree at `at`."""
    missing = 1
    while missing:
        missing += 1 if ops[at] < 2 else -1
        at += 1
    return at


@pytest.mark.parametrize("semantics", ["real", "f32-any"])
def test_a_mutant_is_accepted_only_when_the_claim_is_true(semantics: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Mutants of a proof of Y_0 > 0.1, presented for that claim (true) and for stronger ones that are false."""
    minimum = exact_minimum(LAYERS, LOW, HIGH)
    assert minimum == Q(1, 8)
    true, equal, above = (claim(f"(<= Y_0 {decimal(c)})", semantics) for c in (Q(1, 10), minimum, minimum + UNIT))
    strict = claim(f"(< Y_0 {decimal(minimum)})", semantics)  # true, but only over the reals, and out of reach here
    certificate, closed = prove(true)
    assert closed
    opcodes, _, kinds = opcodes_of(certificate)
    rng = random.Random(1)
    counts: Counter[tuple[str, str]] = Counter()
    for _ in range(150):
        what, ops, ks = mutant(opcodes, kinds, rng)
        for name, c in (("true", true), ("false", equal), ("false", above), ("strict", strict)):
            leaves = sum(op >= 2 for op in ops)
            frames = [(container.LEAVES, kinds_json(ks)), (container.TREE, b"".join(map(leb128, ops)))]
            data = container.encode(header_of(c, leaves, (0,)), frames)
            accepted = accepts(data, c)
            assert not (accepted and name == "false"), (what, ops, ks)
            counts[name, "accepted" if accepted else "rejected"] += 1
    with capsys.disabled():
        print(f"\n  mutants ({semantics}): " + ", ".join(f"{k[0]} {k[1]} {v}" for k, v in sorted(counts.items())))
    assert counts["true", "accepted"] > 20  # a mutant may well be a proof
    assert counts["true", "rejected"] > 20
    assert counts["false", "rejected"] == 300


@pytest.mark.parametrize(
    "changes",
    [
        {"leaves": 1}, {"cases": 2}, {"off_grid": 1}, {"semantics": "f32-any"},
        {"query": "0" * 64}, {"property": "0" * 64}, {"networks": (("", "0" * 64),)}, {"verdict": "sat"},
    ],
)  # fmt: skip
def test_a_header_that_says_something_else_is_rejected(changes: dict[str, object]) -> None:
    c = claim()
    certificate, _ = prove(c)
    header, payloads = container.decode(certificate)
    forged = container.encode(replace(header, **changes), list(payloads.items()))  # type: ignore[arg-type]
    assert not accepts(forged, c)


def test_a_network_name_that_no_one_asked_for_is_rejected() -> None:
    c = claim()
    certificate, _ = prove(c)
    header, payloads = container.decode(certificate)
    named = replace(header, networks=(("f", header.networks[0][1]),))
    assert not accepts(container.encode(named, list(payloads.items())), c)


# 2: binding ---------------------------------------------------------------------------------------------------------


def flips(data: bytes, rng: random.Random, count: int) -> list[bytes]:
    out = []
    for _ in range(count):
        flipped = bytearray(data)
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        out.append(bytes(flipped))
    return out


def test_any_bit_of_network_property_and_certificate_is_bound() -> None:
    c = claim()
    certificate, _ = prove(c)
    rng = random.Random(2)
    assert accepts(certificate, c)
    for network in flips(c.network, rng, 300):
        with pytest.raises(CertificateRejected, match="another network"):
            check(certificate, network, c.prop, semantics="real")
    for prop in flips(c.prop, rng, 300):
        with pytest.raises(CertificateRejected, match="another property"):
            check(certificate, c.network, prop, semantics="real")
    for changed in flips(certificate, rng, 300):
        assert not accepts(changed, c)


def test_a_right_hash_with_a_wrong_proof_is_rejected_by_the_arithmetic() -> None:
    """The proof of one network under the header of another, whose claim is false."""
    c = claim()
    certificate, _ = prove(c)
    lowered = [LAYERS[0], (LAYERS[1][0], [0.0625])]
    false = claim(layers=lowered)
    opcodes, _, kinds = opcodes_of(certificate)
    with pytest.raises(CertificateRejected, match="does not close"):
        check(assemble(false, opcodes, kinds), false.network, false.prop, semantics="real")


# 3: false claims ----------------------------------------------------------------------------------------------------


def random_network(rng: random.Random) -> tuple[list[Layer], list[Fraction], list[Fraction]]:
    """Tiny weights in quarters; one input and up to two hidden layers, or two inputs and one; boxes with borders at
    kinks, of width zero, or one unit wide."""
    inputs = rng.choice([1, 2])
    sizes = [inputs, *[rng.randint(1, 3) for _ in range(1 if inputs == 2 else rng.randint(1, 2))], 1]
    number = lambda: rng.randint(-8, 8) / 4  # noqa: E731
    layers = [
        ([[number() for _ in range(a)] for _ in range(b)], [rng.choice([0.0, number()]) for _ in range(b)])
        for a, b in pairwise(sizes)
    ]
    low = [Q(rng.randint(-8, 8), 4) for _ in range(inputs)]
    kinds = [Q(0), Q(1, 4), Q(1), Q(2), UNIT]
    high = [v + rng.choice(kinds) for v in low]
    return layers, low, high


def dyadic(x: Fraction) -> bool:
    return x.denominator & (x.denominator - 1) == 0


def false_claims(
    layers: Sequence[Layer], low: Sequence[Fraction], high: Sequence[Fraction], semantics: str
) -> list[tuple[str, bool]]:
    """(unsafe formula, whether it is certainly reached): the minimum and its surroundings, both comparisons."""
    least = exact_minimum(layers, low, high)
    if semantics == "f32-any":  # the grid may miss the minimum; a vertex on the grid is an execution without rounding
        points = (
            [(x,) for x in vertices_1d(layers, *low, *high)] if len(low) == 1 else list(vertices_2d(layers, low, high))
        )
        on_grid = [
            run_exactly(layers, x)[-1][0] for x in points if all(dyadic(v) and v.denominator < 1 << 12 for v in x)
        ]
        least = min(on_grid)
    if not dyadic(least):
        least = Q(-((-least.numerator << 60) // least.denominator), 1 << 60)  # rounded up: still reached
        return [(f"(<= Y_0 {decimal(least)})", True)]
    return [
        (f"(<= Y_0 {decimal(least)})", True),
        (f"(<= Y_0 {decimal(least + UNIT)})", True),
        (f"(< Y_0 {decimal(least + Q(1, 1 << 45))})", True),
        (f"(< Y_0 {decimal(least)})", False),
        (f"(<= Y_0 {decimal(least - Q(1, 8))})", False),
    ]


def attack(c: Claim, rng: random.Random) -> bool:
    """Whether some certificate for the claim is accepted: greedy proofs with several rules and split orders."""
    for intermediate in ((), (0, 1, 2, 3)):
        choose = None if rng.random() < 0.5 else lambda box: rng.randrange(len(box.lower))
        certificate, closed = prove(c, intermediate=intermediate, rules=(0, 1, 2, 3), depth=4, choose=choose)
        accepted = accepts(certificate, c)
        assert accepted == closed
        if accepted:
            return True
    return False


def fuzz(rounds: int, seed: int, semantics: str) -> Counter[str]:
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    for _ in range(rounds):
        layers, low, high = random_network(rng)
        network = dense(layers)
        for unsafe, reached in false_claims(layers, low, high, semantics):
            accepted = attack(Claim(network, vnnlib(low, high, 1, unsafe), semantics), rng)
            assert not (accepted and reached), (seed, layers, low, high, unsafe)
            counts["false claims" if reached else "other claims"] += 1
            counts["others accepted"] += accepted and not reached
    return counts


@pytest.mark.parametrize("semantics", ["real", "f32-any"])
def test_no_false_claim_is_accepted(semantics: str, capsys: pytest.CaptureFixture[str]) -> None:
    counts = fuzz(40, 11, semantics)
    with capsys.disabled():
        print(f"\n  fuzz ({semantics}): {dict(counts)}")
    assert counts["others accepted"] > 10  # the attacker is able to prove things


COARSE = [{"P": 3, "F": 3, "S": 2, "H": 4, "K": 5, "G": 4}, {"P": 1, "F": 2, "S": 1, "H": 2, "K": 2, "G": 2}]


@pytest.mark.parametrize("scales", COARSE, ids=["eighths", "halves"])
def test_no_false_claim_is_accepted_at_coarse_scales(
    scales: dict[str, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At scales of a few bits every floor and every inexact weight costs something visible."""
    for name, bits in scales.items():
        for module in (kernel, query, integer):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, bits)
    counts = fuzz(60, 12, "real")
    with capsys.disabled():
        print(f"\n  fuzz at {scales}: {dict(counts)}")
    assert counts["false claims"] > 100


@pytest.mark.slow
@pytest.mark.parametrize("semantics", ["real", "f32-any"])
def test_no_false_claim_is_accepted_in_a_long_run(semantics: str) -> None:
    assert fuzz(400, 13, semantics)["false claims"] > 1000


def test_a_gap_of_one_number_between_siblings_is_found() -> None:
    """y = |x - s| below a unit: only x = s violates, and s is the border of the first bisection in binary32."""
    for s in (Q(0), Q(1, 2), Q(-3, 4)):
        layers: list[Layer] = [([[1.0], [-1.0]], [float(-s), float(s)]), ([[1.0, 1.0]], [0.0])]
        for semantics in ("real", "f32-any"):
            box = [s - 1], [s + 1]
            c = Claim(dense(layers), vnnlib(*box, 1, "(<= Y_0 0)"), semantics)
            kinds = single_atom_kinds(c.query(), (0, 1, 2, 3))
            for ks in product(range(4), repeat=2):
                assert not accepts(assemble(c, [0, 1 + ks[0], 1 + ks[1]], kinds, (0, 1, 2, 3)), c)
            assert not prove(c, rules=(0, 1, 2, 3), depth=12)[1]


def test_a_sat_instance_with_a_forged_tree_of_any_size_is_rejected() -> None:
    c = claim("(<= Y_0 0.125)")
    kinds = single_atom_kinds(c.query(), (0, 1, 2, 3))
    for depth in range(9):
        for kind in range(4):
            assert not accepts(assemble(c, full_tree(2, depth, [kind]), kinds, (0, 2)), c)


def test_what_the_reals_prove_and_binary32_can_violate_is_not_accepted_for_binary32() -> None:
    """2^24 + 1 - 2^24 is 1 over the reals; in binary32 it is 0, 1 or 2 by the order of the sum."""
    layers: list[Layer] = [([[2.0**24, 1.0, -(2.0**24)]], [0.0])]
    low = high = [Q(1)] * 3
    assert np.float32(2.0**24) + np.float32(1) - np.float32(2.0**24) == 0
    for unsafe, real in (("(<= Y_0 0)", True), ("(>= Y_0 2)", True), ("(<= Y_0 1)", False)):
        prop = vnnlib(low, high, 1, unsafe)
        for semantics, expected in (("real", real), ("f32-any", False)):
            c = Claim(dense(layers), prop, semantics)
            assert accepts(assemble(c, [3], single_atom_kinds(c.query(), [0])), c) == expected


# The command line ---------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Arguments for a check that succeeds."""
    c = claim(semantics="f32-any")
    certificate, _ = prove(c)
    for name, data in (("c.nnc", certificate), ("n.onnx", c.network), ("p.vnnlib", c.prop)):
        (tmp_path / name).write_bytes(data)
    return [str(tmp_path / "c.nnc"), "--network", str(tmp_path / "n.onnx"), "--property", str(tmp_path / "p.vnnlib")]


def test_the_command_line_prints_the_claim(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(files) == 0
    assert main([*files, "--verdict", "unsat", "--semantics", "f32-any", "--tier", "exact"]) == 0
    out = capsys.readouterr().out
    assert "accepted: unsat" in out
    assert "semantics: f32-any" in out
    assert main([files[0], "--network", "f=" + files[2], *files[3:]]) == 0


def test_the_command_line_tells_rejected_from_malformed(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*files, "--semantics", "real"]) == 3
    assert main([*files, "--verdict", "sat"]) == 3
    assert main([files[0], "--network", files[4], "--property", files[4]]) == 3
    assert main([files[4], *files[1:]]) == 3
    assert main([files[0], "--network", files[2] + "x", *files[3:]]) == 2
    Path(files[2]).write_bytes(b"\x1f\x8b broken")
    assert main(files) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    with pytest.raises(SystemExit) as stopped:
        main([*files, "--tier", "fast"])
    assert stopped.value.code == 2


@pytest.mark.parametrize("module", ["farkas.checker", "farkas.checker.check"])
def test_the_check_runs_as_a_module_and_without_asserts(module: str, files: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-O", "-m", module, *files], capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("accepted: unsat")
