"""A report written to a folder: the page, and files for other programs."""

from __future__ import annotations

from pathlib import Path

from farkas.batch.ports import SystemDisk
from farkas.batch.records import Run
from farkas.batch.store import Store
from farkas.reports.competition import competition
from farkas.reports.facts import Report, collect
from farkas.reports.junit import junit
from farkas.reports.markdown import markdown
from farkas.reports.objects import as_json
from farkas.reports.page import page
from farkas.reports.recorded import Recorded, of_file, of_run

PAGE = "report.html"


class NoRun(Exception):
    """The store has no such run; the message says which it has."""


def write(store: Store, folder: Path, name: str | None = None, against: str | None = None) -> Report:
    """Writes the report of a run (by its id; the last one by default) and returns what it is about.

    against: the id of another run, or a CSV file.  Raises NoRun, BadResults, OSError.
    """
    report = collect(store, run_of(store, name), None if against is None else _recorded(store, against))
    texts = {
        PAGE: page(report, store), "report.json": as_json(report), "report.md": markdown(report),
        "results.csv": competition(report), "junit.xml": junit(report),
    }  # fmt: skip
    for file, text in texts.items():
        SystemDisk().create(folder / file, text.encode())
    return report


def run_of(store: Store, name: str | None) -> Run:
    """The run of that id, or that begins with it; the last one where there is no id.  Raises NoRun."""
    runs = store.runs()
    if not runs:
        raise NoRun(f"{store.path}: it has no runs")
    if name is None:
        return runs[-1]
    found = [run for run in runs if run.id.startswith(name)]
    if len(found) != 1:
        which = "several" if found else "none"
        known = ", ".join(run.id for run in runs[-8:])
        raise NoRun(f"{store.path}: {which} of its {len(runs)} runs begins with '{name}'; the last ones are {known}")
    return found[0]


def _recorded(store: Store, against: str) -> Recorded:
    """A file where there is one of that name, else a run."""
    path = Path(against)
    return of_file(path) if path.is_file() or path.suffix == ".csv" else of_run(store, run_of(store, against))
