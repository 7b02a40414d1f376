"""The digest of the program: what changes it, and what does not."""

import shutil
from pathlib import Path

import pytest

import farkas
from farkas.batch.environment import code_digest, environment, sources


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of two files and a subpackage, in the place of this one."""
    root = tmp_path / "farkas"
    for place in (root, root / "engine"):
        place.mkdir()
        (place / "__init__.py").write_text("")
    (root / "engine" / "search.py").write_text("DEPTH = 1\n")
    (root / "engine" / "kernel.c").write_text("int main;\n")
    monkeypatch.setattr(farkas, "__file__", str(root / "__init__.py"))
    return root


@pytest.mark.parametrize("name", ["engine/search.py", "engine/kernel.c", "__init__.py"])
def test_a_source_file_that_changes_makes_another_program(name: str, package: Path) -> None:
    before = code_digest()
    (package / name).write_text("changed\n")
    assert code_digest() != before


def test_a_new_a_renamed_and_a_missing_file_make_other_programs(package: Path) -> None:
    found = {code_digest()}
    (package / "engine" / "more.py").write_text("")
    found.add(code_digest())
    (package / "engine" / "more.py").rename(package / "engine" / "other.py")
    found.add(code_digest())
    (package / "engine" / "search.py").unlink()
    found.add(code_digest())
    assert len(found) == 4


def test_what_is_no_source_of_the_package_changes_nothing(package: Path) -> None:
    before = code_digest()
    (package / "engine" / "kernel.cpython-311.so").write_bytes(b"compiled")
    (package / "engine" / "notes.txt").write_text("to do")
    for folder in ("__pycache__", "build", "engine/.cache"):
        (package / folder).mkdir()
        (package / folder / "search.py").write_text("other")
    (package.parent / "neighbour.py").write_text("other")
    assert code_digest() == before


def test_a_copy_elsewhere_is_the_same_program(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_digest()
    shutil.copytree(package, tmp_path / "venv" / "farkas")
    monkeypatch.setattr(farkas, "__file__", str(tmp_path / "venv" / "farkas" / "__init__.py"))
    assert code_digest() == before


def test_the_sources_of_this_package_are_those_of_all_its_parts() -> None:
    root = Path(farkas.__file__).resolve().parent
    found = {path.relative_to(root).as_posix() for path in sources(root)}
    assert {"api.py", "engine/verify.py", "ir/ops/__init__.py", "runtime_cuda/crown_kernel.c", "batch/work.py"} <= found
    assert not any(name.startswith(("tests/", "docs/", "benchmarks/")) for name in found)


def test_the_environment_names_versions_and_no_people() -> None:
    found = environment("digest")
    assert found["code"] == "digest" and found["cores"] >= 1 and found["packages"]["numpy"]
    assert not {"user", "host", "node", "hostname"} & set(found)
