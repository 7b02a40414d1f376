"""Queries about several networks, copies, several inputs and outputs: verdicts against exact rationals, certificates.

Networks of one input each, whose exact minima `tests.engine.pieces` finds one by one: what is asked of two is a sum of
a term in each, so nothing here relies on `farkas.ir.joined` but the verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.checker.check import check, load_query, main
from farkas.checker.errors import CertificateRejected, MalformedInput
from farkas.checker_fast.kernel import accelerated_kernel
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.replay import Replayer
from farkas.engine.trusted import WORDS
from farkas.engine.verdict import Holds, Verdict, Violated
from farkas.engine.verify import verify
from farkas.ir.core import Program, run_exact
from farkas.ir.execute import execute
from farkas.ir.joined import Part
from farkas.specs.query import Property, Semantics
from farkas.specs.vnnlib2 import read_document
from tests.checker.nets import decimal
from tests.engine.pieces import minimum
from tests.nets import Net, atom, case, dense, random_layers, seeds
from tests.several import crossed

CERTIFIABLE = (Semantics.REAL, Semantics.F32_ANY)
BOTH_SEMANTICS = pytest.mark.parametrize("semantics", CERTIFIABLE)
MARGIN = Fraction(1, 1024)


def text_of(names: Sequence[str], outputs: int, assertions: str, *, copies: bool = False) -> bytes:
    """A VNN-LIB 2.0 query about networks of one input X_name [1,1] in [-1, 1] and outputs Y_name [1,outputs]."""
    lines = ["(vnnlib-version <2.0>)"]
    for number, name in enumerate(names):
        relation = f"(equal-to {names[0]})" if copies and number else ""
        tensors = f"(declare-input X_{name} real [1,1]) (declare-output Y_{name} real [1,{outputs}])"
        lines.append(f"(declare-network {name} {relation} {tensors})")
    lines += [f"(assert (and (>= X_{name}[0,0] -1.0) (<= X_{name}[0,0] 1.0)))" for name in names]
    return "\n".join([*lines, assertions, ""]).encode()


def asked(parts: Sequence[Part], text: bytes, semantics: Semantics) -> Query:
    return Query.of(parts, read_document(text).property(), semantics, text)


def certified(query: Query) -> Verdict:
    return verify(query, Options(timeout_s=10.0, certify=True))


def files(parts: Sequence[Part]) -> list[tuple[str, bytes]]:
    return [(part.name, part.data) for part in parts]


def accepted_in_both_tiers(verdict: Verdict, query: Query) -> None:
    """By the checker, from the bytes alone."""
    assert isinstance(verdict, Holds | Violated) and verdict.certificate is not None
    word = "unsat" if isinstance(verdict, Holds) else "sat"
    for kernel in (None, accelerated_kernel()):
        claim = check(
            verdict.certificate, files(query.parts), query.property_bytes,
            semantics=query.semantics.value, verdict=word, kernel=kernel,
        )  # fmt: skip
        assert [name for name, _ in claim.networks] == [part.name for part in query.parts]


def really_violates(verdict: Violated, nets: Sequence[Net]) -> None:
    """Each network by itself, on its own input, gives the outputs of the record."""
    replay, start, outputs = verdict.replay, 0, []
    for net in nets:
        size = net.program.input_size
        x = replay.inputs[start : start + size]
        start += size
        if replay.semantics is Semantics.REAL:
            outputs += list(run_exact(net.program, x))
        else:
            own = execute(net.graph, np.array([float(v) for v in x], dtype=np.float32), replay.executor)
            outputs += [Fraction(float(v)) for v in own]
    assert tuple(outputs) == replay.outputs


def least(f: Program, g: Program, slope: Fraction) -> Fraction:
    """min over x, x' in [-1, 1] of g(x') - f(x) + slope (x - x'), exactly: the parts do not touch each other."""
    one, ends = Fraction(1), ((Fraction(-1),), (Fraction(1),))
    return minimum(g, *ends, [one], [-slope]) + minimum(f, *ends, [-one], [slope])


@settings(max_examples=12)
@given(seeds, st.sampled_from(CERTIFIABLE), st.booleans())
def test_two_networks_are_compared_as_exact_rationals_say(seed: int, semantics: Semantics, unsafe: bool) -> None:
    """Is g(x') - f(x) + slope (x - x') <= c somewhere?  c lies a margin beside the exact minimum."""
    rng = np.random.default_rng(seed)
    nets = [dense(random_layers(rng, (1, 3, 1))) for _ in range(2)]
    parts = [Part(name, net.graph, net.data) for name, net in zip("fg", nets, strict=True)]
    slope = Fraction(int(rng.integers(-4, 5)), 4)
    bound = (least(nets[0].program, nets[1].program, slope) * 1024).__floor__() * MARGIN
    c = decimal(bound + (3 if unsafe else -2) * MARGIN)
    left = f"(+ (- Y_g[0,0] Y_f[0,0]) (* {decimal(slope)} (- X_f[0,0] X_g[0,0])))"
    query = asked(parts, text_of("fg", 1, f"(assert (<= {left} {c}))"), semantics)
    verdict = certified(query)
    assert isinstance(verdict, Violated if unsafe else Holds), verdict
    if isinstance(verdict, Violated):
        really_violates(verdict, nets)
    accepted_in_both_tiers(verdict, query)


RISING = dense([([[1.0], [2.0], [0.5]], [0.25, -0.5, 0.125]), ([[1.0, 0.5, 0.25]], [0.0])])  # every weight >= 0
FALLING = dense([([[1.0], [2.0]], [0.0, -1.0]), ([[1.0, -1.0]], [0.0])])  # 2x - 1 is steeper: falls from x = 1/2 on


@BOTH_SEMANTICS
def test_monotonicity_of_two_copies(semantics: Semantics) -> None:
    """x_g >= x_f + 1/8, and g(x_g) <= f(x_f) - 1/64: never for a rising network, from 1/2 on for a falling one.

    On [1/2, 1] FALLING is x - (2x - 1) = 1 - x, which loses at least 1/8 from one to the other.
    """
    atoms = "(assert (>= X_g[0,0] (+ X_f[0,0] 0.125))) (assert (<= Y_g[0,0] (- Y_f[0,0] 0.015625)))"
    text = text_of("fg", 1, atoms, copies=True)
    for net, wanted in ((RISING, Holds), (FALLING, Violated)):
        query = asked([Part(name, net.graph, net.data) for name in "fg"], text, semantics)
        verdict = certified(query)
        assert isinstance(verdict, wanted), verdict
        if isinstance(verdict, Violated):
            really_violates(verdict, [net, net])
            x, y = verdict.replay.inputs
            assert y >= x + Fraction(1, 8)
        accepted_in_both_tiers(verdict, query)


def twins(rng: np.random.Generator) -> tuple[Net, Net]:
    """A network, and the same function with its neurons in another order and scaled by powers of two."""
    (w0, b0), (w1, b1) = random_layers(rng, (1, 4, 1))
    order, scale = rng.permutation(4), np.float32(2.0) ** rng.integers(-2, 3, 4).astype(np.float32)
    moved = [((w0[order].T * scale).T, b0[order] * scale), (w1[:, order] / scale, b1)]
    return dense([(w0, b0), (w1, b1)]), dense(moved)


@BOTH_SEMANTICS
@pytest.mark.parametrize("seed", range(2))
def test_a_network_and_its_rewritten_twin_are_equal_on_equal_inputs(seed: int, semantics: Semantics) -> None:
    """|f(x) - g(x)| >= 1/8 for no x; the twin with another bias differs by 1/4 everywhere."""
    f, g = twins(np.random.default_rng(seed))
    x = [Fraction(v, 16) for v in range(-16, 17)]
    assert [run_exact(f.program, [v])[0] for v in x] == [run_exact(g.program, [v])[0] for v in x]
    apart = "(assert (or (>= Y_f[0,0] (+ Y_g[0,0] 0.125)) (<= Y_f[0,0] (- Y_g[0,0] 0.125))))"
    text = text_of("fg", 1, f"(assert (== X_f[0,0] X_g[0,0])) {apart}")
    query = asked([Part("f", f.graph, f.data), Part("g", g.graph, g.data)], text, semantics)
    verdict = certified(query)
    assert isinstance(verdict, Holds), verdict
    accepted_in_both_tiers(verdict, query)

    layers = random_layers(np.random.default_rng(seed), (1, 4, 1))
    other = dense([layers[0], (layers[1][0], layers[1][1] + np.float32(0.25))])
    query = asked([Part("f", f.graph, f.data), Part("g", other.graph, other.data)], text, semantics)
    verdict = certified(query)
    assert isinstance(verdict, Violated), verdict
    really_violates(verdict, [f, other])
    accepted_in_both_tiers(verdict, query)


@settings(max_examples=8)
@given(seeds, st.sampled_from(CERTIFIABLE), st.booleans())
def test_a_network_with_two_inputs_and_two_outputs(seed: int, semantics: Semantics, unsafe: bool) -> None:
    rng = np.random.default_rng(seed)
    net = crossed(rng)
    rows = [Fraction(int(v), 4) for v in rng.integers(-4, 5, 3)]
    least = minimum(net.program, (Fraction(-1),) * 2, (Fraction(1),) * 2, rows, [Fraction(0), Fraction(0)])
    c = decimal((least * 1024).__floor__() * MARGIN + (3 if unsafe else -2) * MARGIN)
    terms = " ".join(f"(* {decimal(r)} {y})" for r, y in zip(rows, ("Y[0,0]", "Y[0,1]", "M[0,0]"), strict=True))
    text = f"""(vnnlib-version <2.0>)
        (declare-network N (declare-input A real [1,1]) (declare-input B real [1,1])
                           (declare-output Y real [1,2]) (declare-output M real [1,1]))
        (assert (and (>= A[0,0] -1.0) (<= A[0,0] 1.0) (>= B[0,0] -1.0) (<= B[0,0] 1.0)))
        (assert (<= (+ {terms}) {c}))""".encode()
    query = Query(net.graph, net.data, read_document(text).property(), semantics, text)
    verdict = certified(query)
    assert isinstance(verdict, Violated if unsafe else Holds), verdict
    assert verdict.certificate is not None
    for kernel in (None, accelerated_kernel()):
        for given_as in (net.data, [("N", net.data)]):
            claim = check(verdict.certificate, given_as, text, semantics=semantics.value, kernel=kernel)
            assert claim.verdict == verdict.word
    with pytest.raises(MalformedInput, match="about a network 'N', which is not given"):
        check(verdict.certificate, [("M", net.data)], text, semantics=semantics.value)


@pytest.mark.parametrize("seed", range(4))
def test_in_one_order_two_networks_are_compared_bit_by_bit(seed: int) -> None:
    """Each network runs its 8 binary32 inputs alone; the least difference of all 64 is reached, and nothing below."""
    rng, order = np.random.default_rng(seed), "seq-fma"
    nets = [dense(random_layers(rng, (1, 5, 1), eighths=False)) for _ in range(2)]
    start = np.array(rng.uniform(0.25, 0.75, 2), dtype=np.float32)
    points = [(s.view(np.int32) + np.arange(8, dtype=np.int32)).view(np.float32)[:, None] for s in start]
    f, g = ([Fraction(float(v)) for v in execute(n.graph, x, order)[:, 0]] for n, x in zip(nets, points, strict=True))
    c = min(g) - max(f)
    parts = [Part(name, net.graph, net.data) for name, net in zip("fg", nets, strict=True)]
    low, high = ([Fraction(float(x[i, 0])) for x in points] for i in (0, -1))
    for strict, wanted in ((False, Violated), (True, Holds)):
        prop = Property(2, 2, (case(low, high, [atom([-1, 1], c, strict=strict)]),))
        query = Query.of(parts, prop, Semantics.SEQ_FMA)
        verdict = verify(query, Options(timeout_s=20.0, trust=frozenset(WORDS)))
        assert isinstance(verdict, wanted), verdict
        if isinstance(verdict, Violated):
            really_violates(verdict, nets)


# Bindings.

SHIFTED = dense([([[1.0], [2.0], [0.5]], [0.25, -0.5, 0.125]), ([[1.0, 0.5, 0.25]], [1.0])])


def shifted() -> tuple[Query, bytes]:
    """g = f + 1, so g(x) <= f(x) + 1/2 holds nowhere on equal inputs; its certificate."""
    ties = "(assert (== X_f[0,0] X_g[0,0])) (assert (<= Y_g[0,0] (+ Y_f[0,0] 0.5)))"
    parts = [Part("f", RISING.graph, RISING.data), Part("g", SHIFTED.graph, SHIFTED.data)]
    query = asked(parts, text_of("fg", 1, ties), Semantics.REAL)
    verdict = certified(query)
    assert isinstance(verdict, Holds) and verdict.certificate is not None
    return query, verdict.certificate


def test_a_certificate_is_bound_to_every_name_and_every_file() -> None:
    query, certificate = shifted()
    f, g, text = RISING.data, SHIFTED.data, query.property_bytes

    def checked(*networks: tuple[str, bytes]) -> str:
        return check(certificate, networks, text, semantics="real").verdict

    assert checked(("f", f), ("g", g)) == "unsat"
    assert checked(("g", g), ("f", f)) == "unsat"  # the property says in which order they are counted
    for swapped in ((("f", g), ("g", f)), (("f", f), ("g", f)), (("f", g), ("g", g))):
        with pytest.raises(CertificateRejected, match="another network or other names"):
            checked(*swapped)
    with pytest.raises(CertificateRejected, match="another network or other names"):
        checked(("f", f), ("g", FALLING.data))
    for missing in ((("f", f),), (("f", f), ("h", g)), (("", f), ("g", g))):
        with pytest.raises(MalformedInput, match=r"about a network '[fg]', which is not given"):
            checked(*missing)
    with pytest.raises(MalformedInput, match="declares no network 'h'"):
        checked(("f", f), ("g", g), ("h", g))
    with pytest.raises(MalformedInput, match="a name of its own"):
        checked(("f", f), ("f", g))
    with pytest.raises(MalformedInput, match="about a network 'f'"):
        check(certificate, f, text, semantics="real")


def test_a_certificate_of_other_declarations_is_not_accepted() -> None:
    """The same assertions with the networks declared the other way round is another file, and another claim."""
    query, certificate = shifted()
    other = query.property_bytes.replace(b"_f", b"_?").replace(b"_g", b"_f").replace(b"_?", b"_g")
    with pytest.raises(CertificateRejected, match="another property"):
        check(certificate, files(query.parts), other, semantics="real")


def test_the_command_line_takes_every_network_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query, certificate = shifted()
    contents = {"c.nnc": certificate, "q.vnnlib": query.property_bytes, "f.onnx": RISING.data, "g.onnx": SHIFTED.data}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)

    def exit_code(*networks: str) -> int:
        words = [str(tmp_path / "c.nnc"), "--property", str(tmp_path / "q.vnnlib"), "--semantics", "real"]
        for network in networks:
            name, _, file = network.partition("=")
            words += ["--network", f"{name}={tmp_path / file}"]
        return main(words)

    assert exit_code("f=f.onnx", "g=g.onnx") == 0
    assert "network g sha256: " in capsys.readouterr().out
    assert exit_code("f=g.onnx", "g=f.onnx") == 3
    assert exit_code("f=f.onnx") == 2
    assert "about a network 'g', which is not given" in capsys.readouterr().err


def test_a_copy_needs_no_file_and_may_not_have_one_of_its_own() -> None:
    never = "(assert (== X_f[0,0] X_g[0,0])) (assert (<= Y_g[0,0] (- Y_f[0,0] 0.5)))"
    text = text_of("fg", 1, never, copies=True)
    query = asked([Part(name, RISING.graph, RISING.data) for name in "fg"], text, Semantics.REAL)
    verdict = certified(query)
    assert isinstance(verdict, Holds) and verdict.certificate is not None
    named = [("f", RISING.data)], [("f", RISING.data), ("g", RISING.data)]
    for given_as in (RISING.data, *named):
        accepted = check(verdict.certificate, given_as, text, semantics="real")
        assert len({digest for _, digest in accepted.networks}) == 1
        lines = accepted.lines()
        assert any(line.startswith("network f sha256: ") for line in lines)
        assert any(line.startswith("network g sha256: ") for line in lines)
    with pytest.raises(MalformedInput, match="'g' is given another file than 'f', its equal"):
        check(verdict.certificate, [("f", RISING.data), ("g", SHIFTED.data)], text, semantics="real")


def test_declared_shapes_are_those_of_each_network() -> None:
    """Together they fit, one by one they do not."""
    one, two = dense([([[1.0]], [0.0])]), dense([([[1.0, 1.0]], [0.0])])
    text = b"""(vnnlib-version <2.0>)
        (declare-network f (declare-input A real [1]) (declare-output B real [1]))
        (declare-network g (declare-input C real [2]) (declare-output D real [1]))
        (assert (and (>= A[0] 0.0) (<= A[0] 1.0) (>= C[0] 0.0) (<= C[0] 1.0) (>= C[1] 0.0) (<= C[1] 1.0)))
        (assert (<= (+ B[0] D[0]) -1.0))"""
    query = asked([Part("f", one.graph, one.data), Part("g", two.graph, two.data)], text, Semantics.REAL)
    verdict = certified(query)
    assert isinstance(verdict, Holds) and verdict.certificate is not None
    swapped = [("f", two.data), ("g", one.data)]
    with pytest.raises(CertificateRejected, match="another network"):
        check(verdict.certificate, swapped, text, semantics="real")
    with pytest.raises(MalformedInput, match=r"inputs of 'f' of shapes \[\(1,\)\], the file has \[\(1, 2\)\]"):
        load_query(swapped, text, "real")


# Replay.


def test_a_point_is_replayed_part_by_part() -> None:
    """f(x) = relu(x), g(x) = 2 relu(x): at (1/2, 1/4) both are 1/2; at (1/2, 1/8) they differ."""
    nets = [dense([([[1.0]], [0.0]), ([[k]], [0.0])]) for k in (1.0, 2.0)]
    parts = tuple(Part(name, net.graph, net.data) for name, net in zip("fg", nets, strict=True))
    equal = case([-1, -1], [1, 1], [atom([1, -1], 0), atom([-1, 1], 0)])
    for semantics in (Semantics.REAL, Semantics.F32_ANY, Semantics.SEQ_FMA):
        query = Query.of(parts, Property(2, 2, (equal,)), semantics)
        replayer = Replayer(query.graph, query.program, query.network, semantics, query.parts)
        found = replayer.attempt(0, equal, np.array([0.5, 0.25]))
        assert found is not None and found.outputs == (Fraction(1, 2), Fraction(1, 2))
        assert semantics is Semantics.REAL or found.runtime_outputs == found.outputs
        assert replayer.attempt(0, equal, np.array([0.5, 0.125])) is None


def test_queries_are_told_apart_by_every_part() -> None:
    prop = Property(2, 2, ())
    f, g = RISING, SHIFTED
    pairs = [[Part(a, x.graph, x.data), Part(b, y.graph, y.data)]
             for a, x, b, y in (("f", f, "g", g), ("g", f, "f", g), ("f", g, "g", f), ("f", f, "g", f))]  # fmt: skip
    assert len({Query.of(pair, prop, Semantics.REAL).sha256 for pair in pairs}) == 4
    alone = Query(f.graph, f.data, prop, Semantics.REAL)
    assert [(part.name, part.data) for part in alone.parts] == [("", f.data)]
