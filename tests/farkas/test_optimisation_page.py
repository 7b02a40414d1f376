"""The page about extremes: its code runs in order, its command accepts, and what it names is public."""

import contextlib
import dataclasses
import io
import re
from pathlib import Path

import pytest

import farkas as fk
from farkas.cli import main
from farkas.critical import Critical
from farkas.optimum import Optimum

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "optimisation.md").read_text(encoding="utf-8")
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
    shown = printed.getvalue()
    assert shown.startswith("<maximize: attained 1.170") and "<critical eps: holds at 0.007" in shown

    (command,) = re.findall(r"^    farkas (check .*)$", PAGE, re.MULTILINE)
    assert main(command.split()) == 0
    assert "accepted" in capsys.readouterr().out


def test_every_name_of_the_page_is_public() -> None:
    assert set(re.findall(r"\bfk\.(\w+)", PAGE)) <= set(fk.__all__)
    fields = {field.name for kind in (Optimum, Critical) for field in dataclasses.fields(kind)}
    assert {"attained", "proved", "witness", "holds", "report", "reason", "detail", "monotone"} - fields == {"report"}
