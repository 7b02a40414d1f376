"""The run as JUnit XML, for programs that show tests: an instance is a test, a category a suite of them.

A test passes where the answer is the expected one, or `unsat` where nothing is expected.  What is not decided fails:
silence is no proof.  What is unsupported or was not run is skipped, as `farkas.batch.pytest_plugin` does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree

from farkas.batch.records import DECIDED
from farkas.reports.facts import Entry, Report, Standing

# What XML 1.0 cannot hold, not even escaped.
UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(report: Report) -> str:
    """The text of the file."""
    root = ElementTree.Element("testsuites", name="farkas bench")
    for name, entries in report.categories.items():
        root.append(_suite(name, entries, report))
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    root.set("time", f"{sum(float(suite.get('time', '0')) for suite in root):.3f}")
    ElementTree.indent(root, " ")
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(name: str, entries: Sequence[Entry], report: Report) -> ElementTree.Element:
    cases = [_case(entry) for entry in entries]
    suite = ElementTree.Element("testsuite", name=_written(name), tests=str(len(cases)))
    for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(key, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("time", f"{sum(float(case.get('time', '0')) for case in cases):.3f}")
    suite.set("timestamp", datetime.fromtimestamp(report.run.started, UTC).strftime("%Y-%m-%dT%H:%M:%S"))
    suite.extend(cases)
    return suite


def _case(entry: Entry) -> ElementTree.Element:
    row = entry.row
    time = 0.0 if row is None else row.wall_s
    name, group = _written(entry.query), _written(f"{entry.category}.{entry.network}")
    case = ElementTree.Element("testcase", classname=group, name=name, time=f"{time:.3f}")
    kind, message = outcome(entry)
    if kind:
        element = ElementTree.SubElement(case, kind, message=_written(message))
        if kind != "skipped":
            element.set("type", _written(entry.standing.value))
            element.text = _written("" if row is None else row.message)
    return case


def outcome(entry: Entry) -> tuple[str, str]:
    """The element that says how a test did not pass, and its message; two empty texts where it did."""
    row = entry.row
    if row is None:
        return "skipped", "the run was interrupted before it"
    if entry.complaints:
        return "failure", "; ".join(entry.complaints)
    if entry.standing is Standing.UNSUPPORTED:
        return "skipped", row.message or "unsupported"
    if entry.standing is Standing.ERROR:
        return "error", f"{row.reason}: {row.message}"
    wanted = row.expected if row.expected in DECIDED else "unsat"
    if row.verdict == wanted:
        return "", ""
    why = f" ({entry.reason})" if entry.reason else ""
    return "failure", f"{row.verdict}{why}, wanted {wanted}"


def _written(text: str) -> str:
    return UNWRITABLE.sub("�", text)
