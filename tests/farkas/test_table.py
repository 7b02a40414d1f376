"""Several semantics of one query: the table on the command line and in Python, and how its time is shared.

The network computes |x| on [-1, 2], without rounding in any order (tests/farkas/queries.py): a property has the same
truth in all semantics.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import farkas as fk
from farkas import cli
from farkas.engine.verdict import Holds, Reason, Unknown, Verdict
from farkas.ir.errors import FarkasError
from farkas.ir.onnx_import import load_onnx
from farkas.specs.query import Semantics
from farkas.specs.witness import read_witness
from farkas.table import Verdicts, decide_all
from tests.farkas.queries import UNSAT, Files, absolute, model, prop, write

Capture = pytest.CaptureFixture[str]
MODES = "real,f32-any,f32-order:seq-muladd"
NAMES = MODES.split(",")


def holds(mode: Semantics) -> Holds:
    """A proof of a query, said to be about `mode`."""
    answer = fk.verify(fk.Network(load_onnx(absolute()), absolute()), UNSAT, semantics="f32-any")
    assert isinstance(answer, Holds)
    return replace(answer, semantics=mode)


# The command line


@pytest.mark.parametrize("options", [["--semantics", MODES], [w for n in NAMES for w in ("--semantics", n)]])
def test_several_semantics_are_a_line_each_in_the_order_asked(
    options: list[str], tiny: Files, capsys: Capture
) -> None:
    assert cli.main(["verify", tiny.network, tiny.unsat, *options]) == 0
    assert capsys.readouterr().out == "real unsat\nf32-any unsat\nf32-order:seq-muladd unsat\n"


def test_assignments_follow_the_table_and_fill_the_witness_file(tiny: Files, tmp_path: Path, capsys: Capture) -> None:
    place = tmp_path / "witness.txt"
    words = ["verify", tiny.network, tiny.sat, "--semantics", MODES, "--witness", str(place), "--quiet"]
    assert cli.main(words) == 0
    table, *blocks = capsys.readouterr().out.split("witness ")
    assert table == "".join(f"{name} sat\n" for name in NAMES)
    assert [block.partition("\n")[0] for block in blocks] == NAMES
    for block in blocks:
        witness = read_witness(block.partition("\n")[2])
        assert witness.outputs[0] == abs(witness.inputs[0]) >= 1.5
    assert place.read_text() == "".join(f"witness {block}" for block in blocks)


def test_one_undecided_semantics_makes_exit_code_1(tiny: Files, capsys: Capture) -> None:
    words = ["verify", tiny.network, tiny.unsat, "--semantics", "f32-any,int-exact", "--quiet"]
    assert cli.main(words) == 1
    assert capsys.readouterr().out == "f32-any unsat\nint-exact unknown\n"


def test_json_is_an_array_of_the_objects_of_single_answers(tiny: Files, capsys: Capture) -> None:
    assert cli.main(["verify", tiny.network, tiny.sat, "--json", "--quiet"]) == 0
    keys = set(json.loads(capsys.readouterr().out))
    assert cli.main(["verify", tiny.network, tiny.sat, "--semantics", MODES, "--json", "--quiet"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [answer["semantics"] for answer in answers] == NAMES
    assert all(set(answer) == keys and answer["verdict"] == "sat" for answer in answers)


def test_a_semantics_named_twice_is_asked_once(tiny: Files, capsys: Capture) -> None:
    assert cli.main(["verify", tiny.network, tiny.unsat, "--semantics", "real,real", "--quiet"]) == 0
    assert capsys.readouterr().out == "unsat\n"


def test_the_time_is_up_for_every_semantics(tiny: Files, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    from farkas import api

    def spin(*_: object, **__: object) -> None:
        while True:
            pass

    monkeypatch.setattr(api, "decide", spin)
    words = ["verify", tiny.network, tiny.unsat, "--semantics", MODES, "--timeout", "0.3", "--quiet"]
    assert cli.main(words) == 1
    assert capsys.readouterr().out == "".join(f"{name} timed-out\n" for name in NAMES)


# Python


def test_verify_all_gives_the_verdicts_by_name_and_shows_a_table(tiny: Files) -> None:
    answers = fk.verify_all(fk.load(tiny.network), tiny.unsat, ["f32-order:seq-fma", "real"], timeout=30)
    assert list(answers) == ["f32-order:seq-fma", "real"]
    assert all(isinstance(answer, Holds) for answer in answers.values())
    assert answers.are_decided
    assert repr(answers).splitlines() == [
        "f32-order:seq-fma  unsat  evidence checkable", "real               unsat  evidence checkable",
    ]  # fmt: skip


def test_a_float64_network_has_the_semantics_real_only(tmp_path: Path, tiny: Files) -> None:
    net = fk.load(write(tmp_path, "double.onnx", absolute("float64")))
    answers = fk.verify_all(net, tiny.unsat, ["f32-any", "real"], trust=["crown"])
    undecided = answers["f32-any"]
    assert isinstance(undecided, Unknown) and undecided.reason is Reason.UNSUPPORTED
    assert isinstance(answers["real"], Holds)


def test_what_is_wrong_in_every_semantics_is_an_error(tiny: Files, tmp_path: Path) -> None:
    net = fk.load(tiny.network)
    with pytest.raises(FarkasError, match="no such file"):
        fk.verify_all(net, tmp_path / "none.vnnlib", ["real", "f32-any"])
    with pytest.raises(FarkasError, match="no engine 'z4'"):
        fk.verify_all(net, tiny.unsat, ["real", "f32-any"], trust=["z4"])


def test_an_order_that_does_not_say_how_a_node_is_summed_is_refused(tmp_path: Path, capsys: Capture) -> None:
    """The order of products in blocks is no order of convolutions; a proof for all orders does not make it one."""
    node = helper.make_node("Conv", ["x3", "w"], ["y3"], name="convolution")
    shapes = [helper.make_node("Reshape", [a, s], [b]) for a, s, b in (("x", "s3", "x3"), ("y3", "s2", "y"))]
    constants = {
        "w": np.ones((1, 1, 1), dtype=np.float32), "s3": np.array([1, 1, 1]), "s2": np.array([1, 1]),
    }  # fmt: skip
    net = write(tmp_path, "conv.onnx", model([shapes[0], node, shapes[1]], constants))
    query = write(tmp_path, "q.vnnlib", prop("(>= X_0 0)", "(<= X_0 1)", "(>= Y_0 2)"))
    assert cli.main(["verify", net, query, "--semantics", "f32-order:mlas-k256-fma"]) == 2
    assert "'f32-order:mlas-k256-fma': node 'y3' (Conv)" in capsys.readouterr().err
    words = ["verify", net, query, "--semantics", "f32-any,f32-order:mlas-k256-fma,f32-order:seq-fma", "--quiet"]
    assert cli.main(words) == 1
    table = "f32-any unsat\nf32-order:mlas-k256-fma unknown\nf32-order:seq-fma unsat\n"
    assert capsys.readouterr().out == table
    answers = fk.verify_all(fk.load(net), query, ["f32-any", "f32-order:mlas-k256-fma"], timeout=20)
    assert [answer.word for answer in answers.values()] == ["unsat", "unknown"]


# Turns


def test_each_takes_an_equal_share_of_what_is_left_and_orders_come_last() -> None:
    asked: list[tuple[Semantics, float]] = []

    def decide(mode: Semantics, share: float) -> Verdict:
        asked.append((mode, share))
        return Unknown(Reason.TIMEOUT, "", mode)

    modes = [Semantics.SEQ_FMA, Semantics.REAL, Semantics.F32_ANY]
    assert list(decide_all(modes, decide)) == [mode.value for mode in modes]
    assert asked == [(Semantics.REAL, 1 / 3), (Semantics.F32_ANY, 1 / 2), (Semantics.SEQ_FMA, 1.0)]


def test_a_proof_for_every_order_answers_single_orders_and_nothing_else() -> None:
    asked = []

    def decide(mode: Semantics, share: float) -> Verdict:
        asked.append(mode)
        return holds(mode)

    answers = decide_all([Semantics.SEQ_FMA, Semantics.REAL, Semantics.F32_ANY, Semantics.MLAS_K256_FMA], decide)
    assert asked == [Semantics.REAL, Semantics.F32_ANY]
    assert all(isinstance(answer, Holds) and answer.semantics.value == name for name, answer in answers.items())


def test_a_proof_over_the_reals_answers_no_binary32_query() -> None:
    def decide(mode: Semantics, share: float) -> Verdict:
        return holds(mode) if mode is Semantics.REAL else Unknown(Reason.GAP, "", mode)

    answers = decide_all([Semantics.REAL, Semantics.F32_ANY, Semantics.SEQ_FMA], decide)
    assert [answer.word for answer in answers.values()] == ["unsat", "unknown", "unknown"]
    assert not answers.are_decided


def test_an_empty_table_is_decided_and_shows_nothing() -> None:
    assert repr(Verdicts()) == "" and Verdicts().are_decided
