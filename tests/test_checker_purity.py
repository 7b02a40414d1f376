"""The checker stands on the standard library alone, as loaded and as run, and `import farkas` loads nothing heavy.

Static contracts do not see this: `import farkas.checker` runs `farkas/__init__.py` first, so a facade that imported the
engine would load NumPy and the solvers beside the checker, with every import contract kept.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CHECKER = sorted(
    "farkas.checker" + ("" if path.stem == "__init__" else f".{path.stem}")
    for path in (ROOT / "checker").glob("*.py")
    if path.stem != "__main__"
)

# Prints the modules that the imports named on the command line add to those of a started interpreter.
ADDED = """
import sys
sys.path.insert(0, sys.argv[1])
started = set(sys.modules)
for name in sys.argv[2:]:
    __import__(name)
print("\\n".join(sorted(set(sys.modules) - started)))
"""


def added(modules: list[str], *flags: str) -> set[str]:
    """The modules loaded by importing `modules` in a fresh interpreter started with `flags`."""
    command = [sys.executable, "-I", *flags, "-c", ADDED, str(ROOT), *modules]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def is_ours_or_standard(name: str) -> bool:
    top = name.split(".")[0]
    return top in sys.stdlib_module_names or name == "farkas" or f"{name}.".startswith("farkas.checker.")


def test_the_checker_has_modules_to_look_at() -> None:
    assert "farkas.checker.check" in CHECKER


@pytest.mark.parametrize("module", CHECKER)
def test_a_checker_module_loads_the_standard_library_and_the_checker_only(module: str) -> None:
    assert not {name for name in added([module]) if not is_ours_or_standard(name)}


def test_the_checker_loads_where_nothing_is_installed() -> None:
    # -S leaves site-packages off the path: there NumPy cannot be found, let alone used.
    assert "farkas.checker.check" in added(CHECKER, "-S")


def test_the_checker_prints_its_usage_where_nothing_is_installed() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from farkas.checker.check import main; sys.exit(main())"
    command = [sys.executable, "-I", "-S", "-c", code, "--help"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert "--property" in run.stdout


def test_importing_the_facade_loads_no_module_of_ours_and_nothing_from_elsewhere() -> None:
    loaded = added(["farkas"])
    assert {name for name in loaded if name.startswith("farkas")} == {"farkas"}
    assert not {name for name in loaded if not is_ours_or_standard(name)}


def test_the_facade_refuses_a_name_that_it_does_not_have() -> None:
    import farkas

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        farkas.nothing  # type: ignore[attr-defined]  # noqa: B018  (the access is the test)


def test_every_public_name_loads() -> None:
    import farkas

    assert all(getattr(farkas, name) is not None for name in farkas.__all__)
