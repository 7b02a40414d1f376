"""Suites: what there is to decide, from the places where people keep it.

- a CSV file with a header: columns `onnx`, `vnnlib`, and perhaps `timeout` (or `timeout_s`), `expected`, `category`;
- a CSV file without one, as the competition writes it: `onnx,vnnlib,timeout`, paths relative to the file;
- a folder with `instances.csv` (or `.gz`), or with such folders below it: a category each, also as `CATEGORY/1.0` and
  `CATEGORY/2.0`;
- a Python file with specifications (farkas.batch.suites_python).

Paths may lack or have `.gz` where the file has or lacks it, as in the competition's repositories.  Several networks of
a row are `f=PATH;g=PATH`, or `[('f', 'PATH'), ('g', 'PATH')]`.
"""

from __future__ import annotations

import ast
import csv
import gzip
import io
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from farkas.batch.records import Row

DEFAULT_TIMEOUT_S = 60.0
INSTANCES = ("instances.csv", "instances.csv.gz")
VERSIONS = ("1.0", "2.0")


class BadSuite(Exception):
    """The suite cannot be read; the message says why."""


def read_suite(path: Path) -> list[Row]:
    """All instances of a suite; raises BadSuite."""
    if path.is_dir():
        rows = list(_folder(path))
    elif path.suffix == ".py":
        raise BadSuite(f"{path}: a Python file is read by a process of its own")
    else:
        rows = list(_file(path, ""))
    return [Row(number, *_values(row)) for number, row in enumerate(rows)]


def _values(row: Row) -> tuple[str, str, str, str, float, str]:
    return row.category, row.onnx, row.vnnlib, row.folder, row.timeout_s, row.expected


def _folder(path: Path) -> Iterator[Row]:
    """The categories below a folder, by name."""
    places = sorted(
        {place for name in INSTANCES for place in path.rglob(name) if not any(p.startswith(".") for p in place.parts)}
    )
    if not places:
        raise BadSuite(f"{path}: no instances.csv in this folder or below it")
    seen: set[Path] = set()
    for place in places:
        if place.parent not in seen:
            seen.add(place.parent)
            yield from _file(place, _category(place.parent))


def _category(folder: Path) -> str:
    """`acasxu` of `.../acasxu/`, `acasxu/2.0` of `.../acasxu/2.0/`."""
    folder = folder.resolve()
    return f"{folder.parent.name}/{folder.name}" if folder.name in VERSIONS else folder.name


def _file(path: Path, category: str) -> Iterator[Row]:
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
        lines = list(csv.reader(io.StringIO(text, newline="")))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise BadSuite(f"{path}: cannot be read: {error}") from error
    numbered = [(number, line) for number, line in enumerate(lines, 1) if any(map(str.strip, line))]
    if not numbered:
        raise BadSuite(f"{path}: no instances")
    header = [name.strip() for name in numbered[0][1]]
    if _is_data(numbered[0][1]):
        header = ["onnx", "vnnlib", "timeout"]
    else:
        del numbered[0]
    if not numbered:
        raise BadSuite(f"{path}: no instances")
    for number, line in numbered:
        values = dict(zip(header, map(str.strip, line), strict=False))
        yield _row(path, number, values, category or path.resolve().parent.name)


def _is_data(line: Sequence[str]) -> bool:
    """Whether a first line is an instance already, not names of columns."""
    return len(line) >= 2 and ".onnx" in line[0] and ".vnnlib" in line[1]


def _row(path: Path, number: int, values: dict[str, str], category: str) -> Row:
    missing = [name for name in ("onnx", "vnnlib") if not values.get(name)]
    if missing:
        raise BadSuite(f"{path}, line {number}: no {missing[0]}; the columns onnx and vnnlib are wanted")
    timeout = values.get("timeout_s") or values.get("timeout") or str(DEFAULT_TIMEOUT_S)
    try:
        seconds = float(timeout)
        if not 0 < seconds < float("inf"):
            raise ValueError
    except ValueError as error:
        raise BadSuite(f"{path}, line {number}: the timeout is '{timeout}', a positive number is wanted") from error
    folder = str(path.resolve().parent)
    row = Row(0, values.get("category") or category, values["onnx"], values["vnnlib"], folder, seconds,
              values.get("expected") or "")  # fmt: skip
    try:
        networks(row)
    except BadSuite as error:
        raise BadSuite(f"{path}, line {number}: {error}") from error
    return row


def networks(row: Row) -> list[tuple[str, Path]]:
    """Names ("" for a network without one) and files of a row; raises BadSuite.

    The competition names a file for every network, also for one that the property declares equal to another and that
    has no file of its own: that one is left out where its file is the other's.
    """
    found = [(name, existing(Path(row.folder) / path)) for name, path in pairs_of(row.onnx)]
    if len({path for _, path in found}) < len(found):
        twins = _twins(query(row))
        named = dict(found)
        found = [(name, path) for name, path in found if named.get(twins.get(name, "")) != path]
    return found


def _twins(path: Path) -> dict[str, str]:
    """The networks of a property that are declared equal to another, with that other; none where it cannot be read."""
    from farkas.specs.errors import MalformedProperty
    from farkas.specs.tokens import decompressed
    from farkas.specs.vnnlib2 import is_version_2, read_document

    try:
        text = decompressed(path.read_bytes())
        networks = read_document(text).networks if is_version_2(text) else ()
    except (OSError, MalformedProperty):
        return {}
    return {network.name: network.other for network in networks if network.model != network.name}


def pairs_of(onnx: str) -> list[tuple[str, str]]:
    """Names and paths in the column of the networks; raises BadSuite."""
    if not onnx.lstrip().startswith("["):
        return [_named(text) for text in onnx.split(";")]
    try:
        return [(str(name), str(path)) for name, path in ast.literal_eval(onnx.strip())]
    except (ValueError, SyntaxError, TypeError) as error:
        raise BadSuite(f"'{onnx}' is no list of pairs of name and path") from error


def query(row: Row) -> Path:
    """The file of the property."""
    return existing(Path(row.folder) / row.vnnlib)


def existing(path: Path) -> Path:
    """The path itself, or with `.gz` more or less, where the file is there."""
    if path.is_file():
        return path
    other = path.with_name(path.name.removesuffix(".gz") if path.suffix == ".gz" else path.name + ".gz")
    return other if other.is_file() else path


def _named(text: str) -> tuple[str, str]:
    """`f=PATH` as name and path; a path may hold `=` itself."""
    name, equals, path = text.partition("=")
    return (name, path) if equals and name.isidentifier() else ("", text)


def title(row: Row) -> str:
    """An instance's name for people."""
    files = "+".join(path.name for _, path in networks(row))
    return f"{row.category}: {files} {Path(row.vnnlib).name}".rstrip()


def select(rows: Sequence[Row], filters: Collection[str], every: int = 1) -> list[Row]:
    """The rows of these categories, or whose name contains a filter that is no category (none: all), and of each
    category every so-manieth, from its first on; raises BadSuite where a filter fits nothing."""
    categories = {row.category for row in rows}
    for word in filters:
        if word not in categories and not any(word in title(row) for row in rows):
            known = ", ".join(sorted(categories))
            raise BadSuite(f"no category '{word}', and no instance of that name; known are {known}")
    words = [word for word in filters if word not in categories]
    wanted = [row for row in rows if not filters or row.category in filters or any(w in title(row) for w in words)]
    seen: dict[str, int] = {}
    found = []
    for row in wanted:
        count = seen[row.category] = seen.get(row.category, 0) + 1
        if (count - 1) % every == 0:
            found.append(row)
    return found
