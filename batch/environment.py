"""What a run runs on: versions, processor, and a digest of the program itself."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import farkas
from farkas.batch import procfs

SOURCES = (".py", ".c", ".h", ".cu")
PACKAGES = (
    "bitwuzla", "cupy-cuda12x", "cupy-cuda13x", "cvc5", "highspy", "networkx", "numpy", "onnx", "onnxruntime",
    "ortools", "pysmt", "z3-solver",
)  # fmt: skip


def code_digest() -> str:
    """SHA-256 over the source files of the installed package, by name and content, and over nothing else: neither other
    packages, nor what was compiled, nor what else may lie in its folders."""
    root = Path(farkas.__file__).resolve().parent
    found = hashlib.sha256()
    for path in sources(root):
        found.update(f"{path.relative_to(root).as_posix()}\0".encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def sources(root: Path) -> Iterator[Path]:
    """The source files of a package and its subpackages, in an order that is theirs."""
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if (Path(folder) / name / "__init__.py").is_file())
        yield from (Path(folder) / name for name in sorted(names) if name.endswith(SOURCES))


def environment(code: str) -> dict[str, Any]:
    """The machine and the installation; no names of users or hosts."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "farkas": farkas.__version__, "code": code, "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}", "machine": platform.machine(), "processor": processor(),
        "cores": procfs.cores(), "memory_bytes": memory(), "packages": packages,
    }  # fmt: skip


def processor() -> str:
    """The name that it has for itself; "" where that is not known."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def memory() -> int | None:
    """Bytes of the whole machine."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
