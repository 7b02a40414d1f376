"""The house: which packages there are, who imports whom, and that the repository speaks of itself alone.

The import table repeats the contracts of pyproject.toml with the standard library alone, and by allowing instead of
forbidding: a package that is not named here may not be imported.
"""

import ast
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("batch", "checker", "checker_fast", "encoders", "engine", "ir", "reports", "runtime_cuda", "specs")
STANDARD = frozenset(sys.stdlib_module_names)
SOLVERS = frozenset({"bitwuzla", "cvc5", "highspy", "ortools", "pysmt", "z3"})


@dataclass(frozen=True)
class Rule:
    """What one package may import: packages of ours, and packages from elsewhere beside the standard library."""

    ours: frozenset[str]
    others: frozenset[str]


def rule(ours: str, others: str, *more: frozenset[str]) -> Rule:
    return Rule(frozenset(ours.split()), frozenset(others.split()).union(*more))


TABLE = {
    "batch": rule("batch farkas engine encoders runtime_cuda specs ir", "numpy pyarrow pytest ray rich"),
    "reports": rule("reports batch farkas specs ir", "numpy"),
    "ir": rule("ir", "numpy networkx onnx"),
    "specs": rule("specs ir", "numpy"),
    "runtime_cuda": rule("runtime_cuda specs ir", "numpy cupy"),
    "encoders": rule("encoders specs ir", "numpy", SOLVERS),
    "engine": rule("engine encoders runtime_cuda specs ir", "numpy onnx"),
    "checker": rule("checker", ""),
    "checker_fast": rule("checker_fast checker", "numpy"),
    "farkas": rule("farkas engine encoders runtime_cuda specs ir", "numpy onnx"),
}

# Modules that may do what their package may not.
DOORS = {
    "farkas.engine.runtime": rule("", "onnxruntime"),
    "farkas.engine.certify": rule("checker checker_fast", ""),
    "farkas.cli": rule("checker checker_fast", ""),
    "farkas.cli_bench": rule("batch reports", ""),
    "farkas.cli_diff": rule("batch", ""),
    "farkas.cli_score": rule("batch", ""),
    "farkas.cli_report": rule("batch reports", ""),
}

# Data that executes, code from strings, and ways around this very table have no place in the trusted part.
UNTRUSTED = frozenset({"ctypes", "importlib", "marshal", "multiprocessing", "pickle", "shelve", "socket", "subprocess"})


def config() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def package_of(module: str) -> str:
    """The package of ours that `module` lies in: its folder, or `farkas` for the facade's own modules."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FOLDERS else "farkas"


def modules() -> Iterator[tuple[str, Path]]:
    """Dotted name and file of every module that is shipped."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield dotted(Path("farkas") / path.relative_to(ROOT)), path
    for path in sorted((ROOT / "farkas").glob("*.py")):
        yield dotted(path.relative_to(ROOT)), path


def dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything that a file imports, at whatever depth."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield node.lineno, "."
        elif isinstance(node, ast.ImportFrom) and node.module == "farkas":
            for alias in node.names:
                yield node.lineno, f"farkas.{alias.name}"
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module


def complaint(module: str, name: str) -> str | None:
    """Why `module` may not import `name`; None if it may."""
    own = TABLE[package_of(module)]
    doors = [door for prefix, door in DOORS.items() if module == prefix or module.startswith(prefix + ".")]
    ours = own.ours.union(*(door.ours for door in doors))
    others = own.others.union(*(door.others for door in doors))
    top = name.split(".")[0]
    if top == ".":
        return "relative import"
    if top in FOLDERS:
        return f"'{name}' without 'farkas.' makes a second copy of the package"
    if top == "farkas":
        return None if package_of(name) in ours or name == "farkas.__version__" else f"may not import {name}"
    if package_of(module) == "checker" and top in UNTRUSTED:
        return f"the checker may not import {name}"
    return None if top in STANDARD or top in others else f"may not import {name}"


@pytest.mark.parametrize("folder", [*FOLDERS, "farkas"])
def test_imports_follow_the_table(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {why}"
        for module, path in modules()
        if package_of(module) == folder
        for line, name in imports(path)
        if (why := complaint(module, name))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("farkas.checker.check", "numpy"),
        ("farkas.checker.check", "farkas.ir.graph"),
        ("farkas.checker.check", "pickle"),
        ("farkas.engine.bab", "onnxruntime"),
        ("farkas.engine.bab", "farkas.checker.check"),
        ("farkas.engine.bab", "z3"),
        ("farkas.engine.verify", "bitwuzla"),
        ("farkas.runtime_cuda.crown", "cvc5"),
        ("farkas.api", "farkas.checker.check"),
        ("farkas.ir.graph", "farkas.specs.query"),
        ("farkas.ir.graph", "specs"),
        ("farkas.ir.graph", "."),
        ("farkas.specs.query", "scipy"),
        ("farkas.runtime_cuda.crown", "farkas.encoders"),
    ],
)
def test_the_table_refuses_what_it_is_there_to_refuse(module: str, name: str) -> None:
    assert complaint(module, name)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("farkas.engine.runtime", "onnxruntime"),
        ("farkas.engine.certify", "farkas.checker.check"),
        ("farkas.cli", "farkas.checker_fast"),
        ("farkas.encoders.milp", "highspy"),
        ("farkas.encoders.floating", "bitwuzla"),
        ("farkas.checker.check", "fractions"),
        ("farkas.checker_fast.kernel", "numpy.typing"),
    ],
)
def test_the_table_allows_what_the_design_allows(module: str, name: str) -> None:
    assert complaint(module, name) is None


def test_the_package_list_equals_the_disk() -> None:
    disk = {"farkas"}
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            disk.add(".".join(("farkas", *path.parent.relative_to(ROOT).parts)))
    setup = config()["tool"]["setuptools"]
    assert set(setup["packages"]) == disk
    expected = {name: "/".join(name.split(".")[1:]) or "farkas" for name in disk}
    assert setup["package-dir"] == expected


def test_every_package_has_an_init_file() -> None:
    missing = [name for name, place in config()["tool"]["setuptools"]["package-dir"].items()
               if not (ROOT / place / "__init__.py").is_file()]
    assert not missing


def test_every_folder_is_linked_into_the_package_by_a_relative_link() -> None:
    links = {path.name: os.readlink(path) for path in (ROOT / "farkas").iterdir() if path.is_symlink()}
    assert links == {folder: f"../{folder}" for folder in FOLDERS}


def test_lint_bans_every_folder_as_a_top_level_import() -> None:
    banned = config()["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    assert set(banned) == set(FOLDERS)


# What belongs to somebody's machine or to a tracker that a reader does not have.
FOREIGN = {
    "a path of one machine": re.compile(r"(?<![\w.$}~-])/(?:work|home|root|Users)/\w"),
    "a number in a tracker": re.compile(r"\b(?:issue|ticket|PR|pull request)\s*#?\s*\d", re.IGNORECASE),
    "work left undone": re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b"),
}
TEXT = frozenset({".c", ".cfg", ".csv", ".cu", ".h", ".md", ".py", ".sh", ".toml", ".txt", ".vnnlib", ".yml", ""})
TOP = (*FOLDERS, ".ci", "benchmarks", "changelog.d", "docs", "examples", "farkas", "tests", "tools")


def texts() -> Iterator[Path]:
    """Every text file of the repository, found without git so that an unpacked archive can be tested too."""
    for top in TOP:
        yield from (path for path in (ROOT / top).rglob("*") if path.is_file() and path.suffix in TEXT)
    yield from (path for path in ROOT.iterdir() if path.is_file() and path.suffix in TEXT)


def test_no_file_speaks_of_a_machine_or_of_a_tracker() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {what}: {line.strip()[:100]}"
        for path in texts()
        if "__pycache__" not in path.parts
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for what, pattern in FOREIGN.items()
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


def test_the_search_for_foreign_words_finds_them() -> None:
    samples = {"a path of one machine": "see /" "home/anna/x", "a number in a tracker": "fixes issue" " #7",
               "work left undone": "TO" "DO: later"}
    assert all(FOREIGN[what].search(line) for what, line in samples.items())
    assert not FOREIGN["a path of one machine"].search("https://example.org/home/page")
