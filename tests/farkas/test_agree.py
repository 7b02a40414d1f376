"""`farkas agree` and `farkas.agree`: a float network and an int8 copy whose greatest difference can be computed.

The float network is y = x on one input; the copy is QuantizeLinear and DequantizeLinear of scale 1/8 around one product
by 1, so that it rounds to multiples of 1/8: nowhere on [-1, 1] do they differ by more than 1/16, and at 1/16 they do.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import farkas as fk
from farkas import cli
from farkas.engine.integer_agreement import Disagree
from farkas.engine.verdict import Reason, Unknown
from farkas.ir.errors import FarkasError
from farkas.specs.witness import read_witness
from tests.farkas.queries import BOX, model, prop, write

Capture = pytest.CaptureFixture[str]
TRUST = ["--trust", "crown", "--trust", "cp-sat"]


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, str]:
    """Identity in float32, its int8 copy, and a property with the box [-1, 1]."""
    own = model([helper.make_node("Gemm", ["x", "w"], ["y"])], {"w": np.ones((1, 1), dtype=np.float32)})
    eighth, zero = np.array(0.125, dtype=np.float32), np.array(0, dtype=np.int8)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("QLinearMatMul", ["xq", "s", "z", "w", "one", "z", "s", "z"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "s", "z"], ["y"]),
    ]
    constants = {"s": eighth, "z": zero, "w": np.ones((1, 1), dtype=np.int8), "one": np.array(1, dtype=np.float32)}
    box = prop("(>= X_0 -1)", "(<= X_0 1)", "(>= Y_0 0)")
    return (
        write(tmp_path, "float.onnx", own), write(tmp_path, "int8.onnx", model(nodes, constants)),
        write(tmp_path, "box.vnnlib", box),
    )  # fmt: skip


def test_they_agree_within_half_a_code_and_not_within_less(files: tuple[str, str, str], capsys: Capture) -> None:
    assert cli.main(["agree", *files, "--within", "0.0626", *TRUST]) == 0
    printed = capsys.readouterr()
    assert printed.out == "agree\n" and "evidence trusted:" in printed.err
    assert cli.main(["agree", *files, "--within", "0.0624", *TRUST]) == 0
    word, *blocks = capsys.readouterr().out.split("witness ")
    assert word == "disagree\n"
    own, copy = (read_witness(block.partition("\n")[2]) for block in blocks)
    assert [block.partition("\n")[0] for block in blocks] == ["float", "quantised"]
    assert own.inputs == copy.inputs and own.outputs == own.inputs
    assert abs(own.outputs[0] - copy.outputs[0]) > 0.0624 and copy.outputs[0] * 8 == round(copy.outputs[0] * 8)


def test_without_trust_it_is_unknown_and_says_whose_word_is_wanted(
    files: tuple[str, str, str], capsys: Capture
) -> None:
    assert cli.main(["agree", *files, "--within", "0.25"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "unknown\n" and "--trust" in printed.err


def test_a_disagreement_needs_no_trust(files: tuple[str, str, str]) -> None:
    assert isinstance(fk.agree(fk.load(files[0]), fk.load(files[1]), files[2], within=0.01, timeout=20), Disagree)


@pytest.mark.parametrize(("eps", "word"), [("0.1", "agree"), ("1/100", "disagree")])
def test_json_is_one_object(eps: str, word: str, files: tuple[str, str, str], capsys: Capture) -> None:
    assert cli.main(["agree", *files, "--within", eps, "--json", "--quiet", *TRUST]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"] == word and (answer["witness"] is None) == (word == "agree")
    assert set(answer) == {"verdict", "evidence", "witness", "reason", "detail", "time_s", "pieces", "version"}


def test_time_that_is_up_is_told(files: tuple[str, str, str]) -> None:
    found = fk.agree(fk.load(files[0]), fk.load(files[1]), files[2], within="0.0626", timeout=0)
    assert isinstance(found, Unknown) and found.reason is Reason.TIMEOUT


def test_what_does_not_fit_the_question_is_refused(files: tuple[str, str, str]) -> None:
    net, copy = fk.load(files[0]), fk.load(files[1])
    two = prop("(or (and (>= X_0 0) (<= X_0 1)) (and (>= X_0 -1) (<= X_0 0)))", "(>= Y_0 0)")
    for own, other, box, eps, message in (
        (net, copy, prop(*BOX), None, "one output, which is always the largest"),
        (copy, net, prop(*BOX), None, "has no quantised operators"),
        (copy, copy, prop(*BOX), None, "a float32 network comes first"),
        (net, copy, two, None, "2 input boxes"),
        (net, copy, prop(*BOX), "-1", "nonnegative"),
        (net, copy, prop(*BOX), "wide", "'wide' is no number"),
        (net, copy, prop(*BOX), float("nan"), "no number"),
    ):
        with pytest.raises(FarkasError, match=message):
            fk.agree(own, other, box, within=eps)
