"""The results of a run as files for other programs: CSV, JSON, and Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from importlib import import_module
from pathlib import Path
from typing import Any

from farkas.batch.ports import SystemDisk
from farkas.batch.records import Run
from farkas.batch.rows import Result, row_of
from farkas.batch.store import Store

COLUMNS = tuple(field.name for field in fields(Result))


class NoFormat(Exception):
    """There is no such format, or what writes it is not installed; the message says what to do."""


def export(store: Store, run: Run, path: Path) -> None:
    """Writes a run to a file; its ending says in which format.  Raises NoFormat or OSError."""
    writer(path)(store, run, path)


def writer(path: Path) -> Callable[[Store, Run, Path], None]:
    """What writes such a file; raises NoFormat."""
    match path.suffix:
        case ".csv":
            return _csv
        case ".json":
            return _json
        case ".parquet":
            try:
                import_module("pyarrow.parquet")
            except ImportError as error:
                raise NoFormat(f"{path}: Parquet is written by pyarrow; pip install pyarrow") from error
            return _parquet
        case other:
            raise NoFormat(f"{path}: the ending is '{other}'; wanted .csv, .json or .parquet")


def table(store: Store, run: Run) -> list[Mapping[str, Any]]:
    """The rows of all instances that have an answer, in the order of the suite."""
    rows = map(row_of, store.results(run.id))
    return [asdict(row) for row in rows if row is not None]


def _csv(store: Store, run: Run, path: Path) -> None:
    text = io.StringIO(newline="")
    out = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    out.writeheader()
    out.writerows(table(store, run))
    SystemDisk().create(path, text.getvalue().encode())


def _json(store: Store, run: Run, path: Path) -> None:
    """One object: the run, and a list of instances with all that is known about each."""
    instances = []
    for result in store.results(run.id):
        attempt = None if result.attempt is None else result.attempt.as_json()
        instances.append({**asdict(result.row), "question": result.question, "reused": result.reused,
                          "attempt": attempt})  # fmt: skip
    content = {"version": 1, "run": {**asdict(run)}, "instances": instances}
    SystemDisk().create(path, json.dumps(content, indent=1, allow_nan=False).encode())


def _parquet(store: Store, run: Run, path: Path) -> None:
    arrow: Any = import_module("pyarrow")
    parquet: Any = import_module("pyarrow.parquet")
    types = {"str": arrow.string(), "float": arrow.float64(), "int": arrow.int64()}
    # The same types whatever the rows are: a column without a value, or no row at all, says nothing about its own.
    schema = arrow.schema([(field.name, types[str(field.type).partition(" ")[0]]) for field in fields(Result)])
    place = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(table(store, run), schema=schema), place)
    SystemDisk().create(path, place.getvalue())
