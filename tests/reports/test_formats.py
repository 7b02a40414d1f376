"""JUnit, CSV, Markdown and JSON say the same run, each in its own words."""

import copy
import csv
import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.reports.competition import competition
from farkas.reports.facts import Report
from farkas.reports.junit import UNWRITABLE, junit
from farkas.reports.markdown import markdown
from farkas.reports.objects import as_json
from farkas.reports.recorded import Answer, Recorded
from tests.reports.made import answer, report, row

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs" / "report.schema.json").read_text())


@pytest.fixture
def mixed(tmp_path: Path) -> Report:
    rows = [row(0, expected="unsat"), row(1, expected="sat"), row(2), row(3), row(4), row(5), row(6), row(7, "boats")]
    answers = [
        answer("unsat", 1.5), answer("sat", 0.25), answer("sat"), answer("timed-out", 10.0, message="a | b <c>\x00"),
        answer("unsupported", message="GridSample"), answer("error", message="no file"), None, answer("unsat"),
    ]  # fmt: skip
    against = Recorded("others.csv", {("cars", "n0.onnx", "p0.vnnlib"): Answer("sat", None)})
    return report(tmp_path, rows, answers, against)


def test_a_test_passes_only_where_the_answer_is_the_wanted_one(mixed: Report) -> None:
    root = ElementTree.fromstring(junit(mixed))
    assert root.tag == "testsuites" and [suite.get("name") for suite in root] == ["boats", "cars"]
    found = {case.get("name"): [child.tag for child in case] for case in root.iter("testcase")}
    assert found == {
        "p7": [], "p0": [], "p1": [], "p2": ["failure"], "p3": ["failure"], "p4": ["skipped"], "p5": ["error"],
        "p6": ["skipped"],
    }  # fmt: skip
    counts = {key: root.get(key) for key in ("tests", "failures", "errors", "skipped", "time")}
    assert counts == {"tests": "8", "failures": "2", "errors": "1", "skipped": "2", "time": "15.750"}


@given(st.text())
def test_what_xml_cannot_hold_is_replaced_and_nothing_else(text: str) -> None:
    kept = UNWRITABLE.sub("�", text)
    element = ElementTree.fromstring(ElementTree.tostring(ElementTree.Element("a", b=kept), encoding="unicode"))
    assert element.get("b") == kept and len(kept) == len(text)


def test_the_results_file_has_the_words_and_columns_of_the_competition(mixed: Report) -> None:
    lines = list(csv.reader(io.StringIO(competition(mixed))))
    assert lines[0] == ["cars", "nets/n0.onnx.gz", "props/p0.vnnlib", "0.0", "unsat", "1.500000"]
    assert [line[4] for line in lines] == ["unsat", "sat", "sat", "timeout", "unknown", "error", "unsat"]


def test_the_summary_names_what_is_disputed_and_counts_what_is_open(mixed: Report) -> None:
    text = markdown(mixed)
    assert text.startswith("# 4 of 8 instances are decided: 2 proved, 2 violated; 4 are not decided.\n")
    assert "**Wrong:** 1 answer is contradicted by others.csv" in text
    assert "- cars: `n0` `p0`: unsat here, sat there" in text and "- 1 timeout: " in text
    assert "| cars | 7 | 1 | 2 | 1 | 1 | 1 | 0 |" in text and "| all | 8 |" in text


def test_signs_of_markdown_in_names_are_not_markdown(tmp_path: Path) -> None:
    text = markdown(report(tmp_path, [row(0, "a|b_c")], [answer("unsat")]))
    assert "| a\\|b\\_c | 1 |" in text


def test_the_object_is_what_the_schema_says(mixed: Report, tmp_path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    found = json.loads(as_json(mixed))
    jsonschema.validate(found, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert found["summary"]["standings"] == {
        "proved": 2, "violated": 2, "open": 1, "unsupported": 1, "error": 1, "not run": 1
    }  # fmt: skip
    assert found["instances"][0]["other"]["disagreement"] == "unsat here, sat there"
    assert found["instances"][6]["answer"] is None
    empty = json.loads(as_json(report(tmp_path / "empty", [], [])))
    jsonschema.validate(empty, SCHEMA, cls=jsonschema.Draft202012Validator)


def parts(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all members of all objects, but of those that are free."""
    if isinstance(value, list):
        return [found for k, item in enumerate(value) for found in parts(item, (*path, k))]
    if not isinstance(value, dict) or path[-1:] in (("options",), ("environment",), ("reasons",)):
        return []
    own = [(*path, key) for key in value]
    return own + [found for key, item in value.items() for found in parts(item, (*path, key))]


def test_the_schema_refuses_what_lacks_a_member_or_has_one_more(mixed: Report) -> None:
    good = json.loads(as_json(mixed))
    checker = jsonschema.Draft202012Validator(SCHEMA)
    paths = parts(good)
    assert len(paths) > 200
    for path in paths:
        for change in ("less", "more"):
            bad = copy.deepcopy(good)
            place: Any = bad
            for step in path[:-1]:
                place = place[step]
            if change == "less":
                del place[path[-1]]
            else:
                place["further"] = 1
            assert not checker.is_valid(bad), f"{path} {change}"
