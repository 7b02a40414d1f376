"""Builds the source archive and the wheel from it, and compares the wheel with the checkout.

Folders that lie at the repository root and ship inside a package are what build tools lose without a word.
"""

import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def expected() -> set[str]:
    """The files of the checkout that the wheel must contain: every module, and the package data."""
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    files = set()
    for package in setup["packages"]:
        folder = ROOT / setup["package-dir"][package]
        for pattern in ("*.py", *setup["package-data"].get(package, [])):
            files |= {f"{package.replace('.', '/')}/{path.name}" for path in folder.glob(pattern)}
    return files


def shipped(folder: Path) -> set[str]:
    """The files of the one wheel in `folder`, without metadata and compiled modules."""
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith((".so", ".pyd"))}


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        build = [sys.executable, "-m", "build", "--outdir", name, str(ROOT)]
        run = subprocess.run(build, capture_output=True, text=True, check=False)
        if run.returncode:
            print(run.stdout[-4000:], run.stderr[-4000:], sep="\n", file=sys.stderr)
            return 1
        wheel, checkout = shipped(Path(name)), expected()
        for kind, files in (("lost", checkout - wheel), ("not of the checkout", wheel - checkout)):
            for file in sorted(files):
                print(f"wheel: {kind}: {file}", file=sys.stderr)
        print(f"wheel: {len(wheel)} files, {len(wheel ^ checkout)} differences")
        return int(wheel != checkout)


if __name__ == "__main__":
    sys.exit(main())
