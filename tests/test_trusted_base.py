"""docs/trust.md says what the trusted base is, and docs/architecture.md where things are: both are held to the code."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from farkas.checker.check import Accepted, check
from farkas.checker.prover import Kernel
from farkas.checker_fast.kernel import accelerated_kernel
from tools.trusted_lines import FAST, PAGE, PARTS, SAT, UNSAT, Count, count, files, page_with, tables

ROOT = Path(__file__).resolve().parent.parent
TRUSTED = (ROOT / "checker", ROOT / "checker_fast")
SOURCES = {".py", ".pyx", ".c", ".h", ".cu", ".so"}
PAGES = [ROOT / "docs" / name for name in ("architecture.md", "trust.md")]
NAME = re.compile(r"`(farkas(?:\.\w+)+)(?:\(\))?`")
PLACE = re.compile(r"`((?:[\w.]+/)+(?:[\w.]+\.(?:py|c|h|md|toml|csv))?)`")

SAMPLE = '''"""A module's docstring,
of two lines."""

import os  # a comment behind code

# A comment.


def f(x: int) -> str:
    """One line."""
    text = """a string
    that is a value"""
    return text + str(
        x
    )


F = f
"""What F is."""
'''


def test_code_lines_leave_out_blank_lines_comments_and_docstrings() -> None:
    # import; def; the two lines of the value; the three of the return; F = f.
    assert count(SAMPLE) == Count(lines=19, code=8)


def test_an_empty_module_has_no_lines() -> None:
    assert count("") == Count(0, 0)


def test_the_tables_of_the_page_are_what_the_tool_counts() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page_with(tables()), "run: python tools/trusted_lines.py --write"
    assert all(f"| {claim} |" in text for claim in (UNSAT, FAST, SAT))


def test_every_file_of_the_trusted_folders_is_counted_once() -> None:
    counted = sorted(path for part in PARTS for path in files(part) if path.parent in TRUSTED)
    disk = sorted(path for folder in TRUSTED for path in folder.rglob("*") if path.suffix in SOURCES)
    assert counted == disk


def test_the_arithmetic_of_the_reference_tier_stays_within_its_limit() -> None:
    assert count((TRUSTED[0] / "kernel.py").read_text(encoding="utf-8")).lines <= 600


# What a claim stands on ----------------------------------------------------------------------------------------------


def proof(folder: Path, name: str, verdict: str) -> list[bytes]:
    """Certificate, network and property of an example."""
    import farkas

    network, prop = ROOT / "examples" / "networks" / "wave.onnx", ROOT / "examples" / "properties" / f"{name}.vnnlib"
    certificate = folder / "proof.nnc"
    answer = farkas.verify(farkas.load(network), prop, timeout=60, certificate=certificate)
    assert answer.word == verdict
    return [path.read_bytes() for path in (certificate, network, prop)]


def called(action: Callable[[], Accepted]) -> set[Path]:
    """The files of the trusted folders whose functions an action calls."""
    names: set[str] = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            names.add(frame.f_code.co_filename)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(before)
    return {path for path in (Path(name).resolve() for name in names) if path.parent in TRUSTED}


def listed(claim: str) -> set[Path]:
    return {path for part in PARTS if claim in part.claims for path in files(part)}


@pytest.mark.parametrize(("claim", "kernel"), [(UNSAT, None), (FAST, accelerated_kernel())])
def test_a_check_of_unsat_calls_listed_modules_only(tmp_path: Path, claim: str, kernel: Kernel | None) -> None:
    found = proof(tmp_path, "wave_amplitude", "unsat")
    used = called(lambda: check(*found, verdict="unsat", kernel=kernel))
    assert used <= listed(claim)
    assert TRUSTED[0] / "tree.py" in used
    assert (TRUSTED[1] / "sweep.py" in used) == (claim == FAST)


def test_a_check_of_sat_calls_listed_modules_and_those_that_can_only_make_it_fail(tmp_path: Path) -> None:
    found = proof(tmp_path, "wave_peak", "sat")
    used = called(lambda: check(*found, verdict="sat"))
    assert used - listed(SAT) == {TRUSTED[0] / "groups.py", TRUSTED[0] / "integer.py"}
    assert TRUSTED[0] / "replay.py" in used


def test_the_two_folders_that_the_page_names_are_enough_for_a_check(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    (bare / "farkas" / "checker").mkdir(parents=True)
    shutil.copy(ROOT / "farkas" / "__init__.py", bare / "farkas")
    for path in TRUSTED[0].glob("*.py"):
        shutil.copy(path, bare / "farkas" / "checker")
    proof(tmp_path, "wave_amplitude", "unsat")
    (line,) = re.findall(r"^    (python -I -S .*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    places = {
        "python": sys.executable, "CERTIFICATE": str(tmp_path / "proof.nnc"),
        "NET.onnx": str(ROOT / "examples" / "networks" / "wave.onnx"),
        "QUERY.vnnlib": str(ROOT / "examples" / "properties" / "wave_amplitude.vnnlib"),
    }  # fmt: skip
    command = [places.get(word, word) for word in shlex.split(line)]
    done = subprocess.run(command, cwd=bare, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("accepted: unsat")


# The pages -----------------------------------------------------------------------------------------------------------


def resolve(name: str) -> object:
    """The module, class or function of a dotted name; AttributeError or ImportError if there is none."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
            continue
        for attribute in parts[cut:]:
            found = getattr(found, attribute)
        return found
    raise ImportError(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_name_on_the_page_exists(page: Path) -> None:
    names = sorted(set(NAME.findall(page.read_text(encoding="utf-8"))))
    assert len(names) > 3
    for name in names:
        resolve(name)


@pytest.mark.parametrize("name", ["farkas.engine.verify.no_such_name", "farkas.no_such_module"])
def test_a_name_that_does_not_exist_is_noticed(name: str) -> None:
    with pytest.raises((AttributeError, ImportError)):
        resolve(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_the_page_names_exists(page: Path) -> None:
    places = sorted(set(PLACE.findall(page.read_text(encoding="utf-8"))))
    assert places
    assert not [place for place in places if not (ROOT / place).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_the_page_runs_in_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands print at least the lines that are shown for them; Python prints them exactly."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    for language, block in re.findall(r"^```(console|python)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        if language == "python":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(block, page.name, "exec"), {})
            assert printed.getvalue().splitlines() == re.findall(r"# prints: (.*)", block)
            continue
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *shown = part.splitlines()
            words = shlex.split(command)
            assert words[0] == "farkas", command
            done = subprocess.run(
                [sys.executable, "-m", *words], env={**os.environ, "PYTHONPATH": str(ROOT)},
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            assert done.stdout.splitlines()[: len(shown)] == shown, command
