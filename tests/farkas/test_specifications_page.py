"""The page about specifications: its code runs, what it names exists, and its first example is the file's property."""

import contextlib
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

import farkas as fk
from farkas.api import load_property
from farkas.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "specifications.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_code_of_the_page_runs_and_its_certificate_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        for number, block in enumerate(BLOCKS):
            path = tmp_path / f"block{number}.py"
            path.write_text(block)
            exec(compile(block, str(path), "exec"), names)
    assert printed.getvalue().startswith("FK101: chained comparison")

    spec = names["spec"]
    assert isinstance(spec, fk.Spec)
    same = load_property(ROOT / "examples" / "properties" / "avoidance_head_on_is_dear.vnnlib")
    assert spec.property == replace(same, sha256="")

    (command,) = re.findall(r"^    farkas (check .*)$", PAGE, re.MULTILINE)
    assert main(command.split()) == 0
    assert "accepted" in capsys.readouterr().out


def test_every_name_of_the_page_is_public() -> None:
    assert {name for name in re.findall(r"\bfk\.(\w+)", PAGE) if name != "nnc"} <= set(fk.__all__)
