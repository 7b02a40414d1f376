"""The page about VNN-LIB: its code runs, and its example is a question with the answer that sampling suggests."""

import re
from fractions import Fraction as Q
from pathlib import Path

import numpy as np
import pytest

import farkas as fk
from farkas.ir.execute import execute

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "vnnlib.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        exec(compile(block, "docs/vnnlib.md", "exec"), {})


def test_the_document_of_the_page_is_answered_as_sampling_suggests() -> None:
    (text,) = re.findall(r"^```\n(\(vnnlib-version.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    net = fk.load(ROOT / "examples" / "networks" / "wave.onnx")
    grid = np.linspace(-0.5, 0.5, 41, dtype=np.float32)
    disc = [np.array([[a, b]]) for a in grid for b in grid if a * a + b * b <= 0.25]
    highest = max(float(execute(net.graph, point, "seq-fma")[0, 0]) for point in disc)
    for limit, wanted in ((Q(highest) - Q("0.01"), fk.Violated), (Q(highest) + Q("0.05"), fk.Holds)):
        asked = re.sub(r"\(>= Y\[0,0\] 1\.2\)", f"(>= Y[0,0] {float(limit):.6f})", text)
        found = fk.verify(net, asked.encode(), timeout=60, trust=("crown",))
        assert isinstance(found, wanted), found
