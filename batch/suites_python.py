"""Specifications in a Python file as a suite.

The file is run in a process of its own.  What it leaves in its top-level names counts: a `Spec`; a list, tuple or
dictionary of them; and whatever of this kind a function `suite()` without arguments returns.  An instance is named by
the name, with the key or position in brackets.  Every specification is written as VNN-LIB 2.0, its networks beside it,
so that an instance of a Python file is an instance like any other: content decides what it is.
"""

from __future__ import annotations

import runpy
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from farkas.spec import Spec


def collect(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """For a worker.  arguments: file, place (where specifications and networks are written); the rows of the suite as
    lists of category, onnx, vnnlib, folder; `error` for a file that fails or has none."""
    from farkas.ir.errors import FarkasError
    from farkas.specs.diagnostics import SpecError

    path, place = Path(arguments["file"]), Path(arguments["place"])
    try:
        names = runpy.run_path(str(path), run_name=path.stem)
        found = list(_named(names))
    except Exception as error:  # noqa: BLE001 - the file is the user's: whatever it raises is told
        return {"error": f"{path}: {type(error).__name__}: {error}"}
    rows, failed, taken = [], [], set[str]()
    for name, spec in found:
        try:
            rows.append([path.stem, *_written(spec, _file_name(name, taken), place), str(place)])
        except (FarkasError, SpecError) as error:
            failed.append(f"{name}: {error}")
    if failed:
        return {"error": f"{path}: {failed[0]}"}
    return {"rows": rows} if rows else {"error": f"{path}: no specification at its top level, and no suite() of them"}


def _named(names: Mapping[str, Any]) -> Iterator[tuple[str, Spec]]:
    for name, value in names.items():
        if not name.startswith("_") and name != "suite":
            yield from _specs(name, value)
    if callable(names.get("suite")):
        yield from _specs("suite", names["suite"]())


def _specs(name: str, value: Any) -> Iterator[tuple[str, Spec]]:
    from farkas.spec import Spec

    if isinstance(value, Spec):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _specs(f"{name}[{key}]", item)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _specs(f"{name}[{number}]", item)


def _file_name(name: str, taken: set[str]) -> str:
    """A file name like the name, and like none before it, which would be overwritten; `taken` grows by it."""
    safe = "".join(c if c.isalnum() or c in "-_.[]" else "_" for c in name)
    found, number = safe, 2
    while found.casefold() in taken:
        found, number = f"{safe}-{number}", number + 1
    taken.add(found.casefold())
    return f"{found}.vnnlib"


def _written(spec: Spec, query: str, place: Path) -> tuple[str, str]:
    """The columns onnx and vnnlib of a specification whose files lie in `place` now."""
    from farkas.specs.vnnlib2 import read_document

    place.mkdir(parents=True, exist_ok=True)
    networks = []
    for call, net in spec.networks.items():
        file = place / f"{net.name or 'network'}-{sha256(net.data).hexdigest()[:8]}.onnx"
        if not file.is_file() or file.read_bytes() != net.data:  # a kill has left a part of it
            file.write_bytes(net.data)
        networks.append((call, file.name))
    document = read_document(spec.save(place / query))
    own = [pair for pair, one in zip(networks, document.networks, strict=True) if one.model == one.name]
    return (own[0][1] if len(networks) == 1 else repr(own)), query
