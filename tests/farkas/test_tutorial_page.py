"""The tutorial runs as it is printed and prints what it says, and the index leads to every page."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

import farkas as fk
from farkas.cli import main

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGE = (DOCS / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(python|text|console)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def expected(shown: str) -> str:
    """A pattern of what is shown: in lines with dots these stand for anything, and numbers for numbers."""
    lines = []
    for line in shown.splitlines():
        parts = line.split("...")
        lines.append(".*".join(NUMBER.sub(r"[-\\d.]+", re.escape(part).replace(r"\-", "-")) for part in parts)
                     if len(parts) > 1 else re.escape(line))  # fmt: skip
    return "\n".join(lines)


def printed(language: str, block: str, path: Path, names: dict[str, object]) -> str:
    """What running the block prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        if language == "python":
            path.write_text(block)  # diagnostics quote the source
            exec(compile(block, str(path), "exec"), names)
        else:
            for command in re.findall(r"^\$ farkas (.*)$", block, re.MULTILINE):
                assert main(shlex.split(command)) == 0, command
    return out.getvalue()


def test_the_tutorial_runs_and_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    compared = 0
    for number, (language, block) in enumerate(BLOCKS):
        if language == "text":
            continue
        found = printed(language, block, tmp_path / f"block{number}.py", names).rstrip("\n")
        following = BLOCKS[number + 1] if number + 1 < len(BLOCKS) else ("", "")
        if language == "console":
            answers = [line for line in block.splitlines() if not line.startswith("$")]
            assert [line for line in found.splitlines() if line in answers] == answers, found
        elif following[0] == "text":
            assert re.fullmatch(expected(following[1]), found), f"{found}\nbut the page shows\n{following[1]}"
            compared += 1
        else:
            assert not found, f"printed, and not shown: {found}"
    assert compared >= 10


def test_dots_and_numbers_stand_for_others_and_words_for_themselves() -> None:
    assert re.fullmatch(expected("<gap 0.5, ended by gap, ...>\n1 sat\n"), "<gap 0.25, ended by gap, 3 s>\n1 sat")
    assert not re.fullmatch(expected("<gap 0.5, ended by gap, ...>"), "<gap 0.5, ended by time, 3 s>")
    assert not re.fullmatch(expected("1 sat"), "2 sat")


def test_every_name_of_the_tutorial_is_public() -> None:
    assert set(re.findall(r"\bfk\.(\w+)", PAGE)) <= set(fk.__all__)


def test_the_index_leads_to_every_page() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    assert not [page.name for page in DOCS.glob("*.md") if page.name != "README.md" and f"]({page.name})" not in index]
