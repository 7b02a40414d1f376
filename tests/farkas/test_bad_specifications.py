"""Bad specifications of networks that were read: codes that tests/specs/test_language_diagnostics.py cannot meet."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import farkas as fk
from farkas.ir.onnx_import import load_onnx
from farkas.specs.diagnostics_codes import CODES
from farkas.specs.language_calls import call
from tests.models import make_model
from tests.specs.test_language import network
from tests.specs.test_language_diagnostics import BAD

ROOT = Path(__file__).resolve().parents[2]
wave = fk.load(ROOT / "examples" / "networks" / "wave.onnx")
glyphs = fk.load(ROOT / "examples" / "networks" / "glyphs.onnx")
x = fk.var(wave.input, labels=("rho", "theta"))
y = wave(x)
box = fk.between(-1, x, 1)
eps = fk.parameter("eps")
t = fk.var((1,), name="t")
line = fk.Spec(fk.between(0, t, 1), prove=wave([[t[0], 1 - t[0]]]) <= 1)
blank = np.zeros((1, 1, 8, 8), dtype=np.float32)


def network_of(operator: str, *inputs: str) -> fk.Network:
    """One operator on inputs of two entries."""
    node = helper.make_node(operator, inputs, ["out"])
    data = make_model([node], {name: [1, 2] for name in inputs}, opset=17, output="out")
    return fk.Network(load_onnx(data), data, None, operator.lower())


ramp, total = network_of("Relu", "x"), network_of("Add", "a", "b")


def unread() -> object:
    """A question about what has the shapes of a network and is none."""
    own = fk.var((1, 2))
    return fk.Spec(fk.between(0, own, 1), prove=call(network(), own)[0][0, 0] <= 1).check()


MORE: list[tuple[str, Callable[[], Any], str]] = [
    ("FK510", unread, "fk.load"),
    ("FK511", lambda: total.input, r"a \(1, 2\), b \(1, 2\)"),
    ("FK512", lambda: fk.Spec(fk.linf(x) <= eps, prove=y <= 1).check(), r"spec.at\(eps=...\)"),
    ("FK513", lambda: fk.Spec(fk.linf(x) <= eps, prove=y <= 1).at(radius=1), "eps"),
    ("FK513", lambda: fk.Spec(box, prove=y <= 1).at(eps=1), "no parameters"),
    ("FK503", lambda: fk.Spec(fk.linf(x) <= eps, prove=y <= 1).at(eps=-1), "contradict"),
    ("FK514", lambda: line.check(semantics="f32-any"), "semantics='real'"),
    ("FK515", lambda: fk.Spec(box, prove=y <= 1, centre=[1, 2, 3]), r"shape \(1, 2\)"),
    ("FK515", lambda: fk.Spec(box, prove=y <= 1, centre=x <= 1), r"centre=\(x == x0\)"),
    ("FK516", lambda: fk.Spec(box, prove=y <= 1, centre=[[3, 3]]), "x.rho - 1 <= 0 is false"),
    ("FK517", lambda: fk.Spec(box, prove=ramp(x) >= 1, centre=[[1, 0]]), r"relu\(x\) = \[1, 0\]"),
    ("FK517", lambda: fk.patterns.robust(glyphs, blank, (_answer(blank) + 1) % 4, "0.1"), "f32-any"),
    ("FK305", lambda: fk.patterns.robust(glyphs, np.zeros((8, 8, 1)), 0, "0.1"), "reshape"),
    ("FK601", lambda: fk.patterns.in_range(wave, (-1, 1)), "low=0"),
    ("FK601", lambda: fk.patterns.advised(wave, (-1, 1)), "never"),
    ("FK601", lambda: fk.patterns.in_range(wave, (-1, 0, 1), high=1), r"\(0, 1\)"),
    ("FK602", lambda: fk.maximize(glyphs(fk.var(glyphs.input)), given=box, gap=1), r"fk.max\("),
]


def _answer(image: np.ndarray[Any, Any]) -> int:
    """The class that onnxruntime gives."""
    import onnxruntime

    session = onnxruntime.InferenceSession(glyphs.data, providers=["CPUExecutionProvider"])
    return int(np.argmax(np.asarray(session.run(None, {session.get_inputs()[0].name: image})[0])))


@pytest.mark.parametrize(("code", "bad", "hint"), MORE, ids=[f"{code}-{k}" for k, (code, *_) in enumerate(MORE)])
def test_a_bad_specification_has_a_code_a_place_and_a_fix(code: str, bad: Callable[[], Any], hint: str) -> None:
    with pytest.raises(fk.SpecError) as caught:
        bad()
    found = caught.value.diagnostic
    assert caught.value.code == found.code == code
    assert found.place is not None and found.place.file == __file__ and found.place.expression
    assert found.found and found.wanted and found.fix
    assert re.search(hint, str(caught.value)), str(caught.value)


def test_a_number_that_was_computed_warns_and_means_its_decimals() -> None:
    with pytest.warns(fk.SpecWarning, match="'1/255'") as caught:
        _ = x <= 1 / 255
    assert str(caught[0].message).startswith("FK204") and caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _ = x <= "1/255"


def test_every_code_is_met_in_one_of_the_two_tables_or_here() -> None:
    assert {code for code, *_ in BAD + MORE} | {"FK204"} == set(CODES)
    assert len(BAD) >= 100


@pytest.mark.parametrize("code", list(CODES))
def test_every_code_is_explained_to_people(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    from farkas.cli import main

    assert main(["explain", code.lower()]) == 0
    assert capsys.readouterr().out == f"{fk.explain(code)}\n"
    assert fk.explain(code).startswith(f"{code}: ")
