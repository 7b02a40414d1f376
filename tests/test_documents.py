"""The commands and the Python code of the README run as printed, and its links lead somewhere."""

import contextlib
import importlib
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines of output that the block shows for it."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(part.splitlines()[0], part.splitlines()[1:]) for part in parts]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like the checkout to a command, in which it may write."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "out").mkdir()
    return tmp_path


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    assert words[0] == "farkas", command
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "farkas", *words[1:]],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_readme_has_code_to_run() -> None:
    assert len([command for block in blocks(README, "console") for command in commands(block)]) >= 4
    assert blocks(README, "python")


def test_the_console_blocks_of_the_readme_run_in_order(checkout: Path) -> None:
    for block in blocks(README, "console"):
        for command, shown in commands(block):
            done = run(command, checkout)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            assert done.stdout.splitlines()[: len(shown)] == shown, command


def test_the_python_blocks_of_the_readme_run(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    for block, expected in zip(blocks(README, "python"), ("X_0", "X_0", "evidence certified"), strict=True):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block, "README.md", "exec"), {})
        assert expected in printed.getvalue()


def operators(row: str) -> set[str]:
    """The ONNX operators named in the row of the README's table that begins with `row`."""
    (cells,) = re.findall(rf"^\| {row}[^|]*\|([^|]*)\|$", README, re.MULTILINE)
    return set(re.findall(r"\b[A-Z]\w+", cells))


def test_the_readme_lists_the_operators_that_the_checker_reads_and_those_that_it_does_not() -> None:
    from farkas.checker.operators import OPERATORS
    from farkas.ir.onnx_import import quantised_operators, supported_operators

    assert operators("certifiable") == set(OPERATORS)
    assert operators("solved, not yet") == set(supported_operators()) - set(OPERATORS)
    assert operators("quantised") == set(quantised_operators())


def test_the_readme_names_every_word_that_can_be_trusted_and_every_engine() -> None:
    from farkas.api import TRUSTED
    from farkas.engine.options import ENGINES
    from farkas.specs.query import Semantics

    table = README.partition("## Words and trust")[2].partition("\n## ")[0]
    assert {word for cells in re.findall(r"^\| (`[^|]*)\|", table, re.MULTILINE)
            for word in re.findall(r"`([\w-]+)`", cells)} - {"--trust"} == set(TRUSTED)
    decided = README.partition("## How a query is decided")[2].partition("\n## ")[0]
    assert all(f"`{engine}`" in decided for engine in ENGINES)
    assert all(f"`{semantics.value}`" in README for semantics in Semantics)


@pytest.mark.parametrize("name", sorted(p.relative_to(ROOT).as_posix() for top in (".", "docs", "examples")
                                        for p in (ROOT / top).glob("*.md")))
def test_links_between_documents_lead_somewhere(name: str) -> None:
    document = ROOT / name
    targets = [link for link in LINK.findall(document.read_text(encoding="utf-8")) if "://" not in link]
    assert not [target for target in targets if not (document.parent / target).exists()]


def resolves(name: str) -> bool:
    """Whether a dotted name is a module of ours, something in one, or a field of a dataclass there."""
    parts = name.split(".")
    for k in range(len(parts), 0, -1):
        with contextlib.suppress(ImportError):
            found: object = importlib.import_module(".".join(parts[:k]))
            break
    else:
        return False
    for part in parts[k:]:
        if part in getattr(found, "__dataclass_fields__", {}):
            return True
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/semantics.md",
                                  "docs/trust.md", "docs/certificate.md"])
def test_what_the_documents_name_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    dotted = set(re.findall(r"`(farkas(?:\.\w+)+)`", text))
    files = set(re.findall(r"`((?:\w+/)+\w+\.(?:py|c|h))`", text))
    assert not [lost for lost in sorted(dotted) if not resolves(lost)]
    assert not [lost for lost in sorted(files) if not (ROOT / lost).is_file()]


def test_a_name_that_is_gone_is_noticed() -> None:
    assert resolves("farkas.engine.verdict.Unknown.word") and resolves("farkas.engine.options.Options.seed")
    assert not resolves("farkas.engine.verdict.Perhaps") and not resolves("nothing.at.all")
