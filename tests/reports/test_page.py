"""The page as a browser without a script and a reader without a screen meet it."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from farkas.batch.store import Store
from farkas.reports.facts import collect
from farkas.reports.page import page
from farkas.reports.recorded import Answer, Recorded
from tests.reports.made import answer, row, run

VOID = frozenset({"br", "col", "img", "input", "meta"})
FOREIGN = frozenset({"circle", "line", "path", "polyline", "rect"})


class Elements(HTMLParser):
    """All elements with their attributes, and the texts in them; complains about what is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.stack: list[str] = []
        self.texts: dict[int, str] = {}
        self.places: list[int] = []
        self.parents: list[int | None] = []
        self.feed(text)
        self.close()
        assert not self.stack, f"never closed: {self.stack}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parents.append(self.places[-1] if self.places else None)
        self.found.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.stack.append(tag)
            self.places.append(len(self.found) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID | FOREIGN, f"<{tag}/> stays open in a browser"
        self.parents.append(self.places[-1] if self.places else None)
        self.found.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack and self.stack[-1] == tag, f"</{tag}> in {self.stack[-3:]}"
        self.stack.pop()
        self.places.pop()

    def handle_data(self, data: str) -> None:
        for place in self.places:
            self.texts[place] = self.texts.get(place, "") + data

    def all(self, *tags: str) -> list[tuple[int, dict[str, str]]]:
        return [(place, attrs) for place, (tag, attrs) in enumerate(self.found) if tag in tags]

    def inside(self, place: int, tag: str) -> bool:
        parent = self.parents[place]
        return parent is not None and (self.found[parent][0] == tag or self.inside(parent, tag))


@pytest.fixture(scope="module")
def text(decided: Path) -> str:
    with Store.open(decided) as store:
        against = Recorded("others.csv", {("radii", "absolute.onnx", "within_1.vnnlib"): Answer("sat", 0.5)})
        return page(collect(store, store.runs()[-1], against), store)


@pytest.fixture(scope="module")
def elements(text: str) -> Elements:
    return Elements(text)


def test_the_page_loads_nothing(text: str, elements: Elements) -> None:
    plain = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|fetch\(|XMLHttpRequest", plain.replace("// ", ""))
    assert not elements.all("link", "iframe", "object", "embed", "base", "use", "audio", "video")
    assert all(attrs["src"].startswith("data:image/png;base64,") for _, attrs in elements.all("img"))
    assert all("src" not in attrs for _, attrs in elements.all("script"))


def test_the_policy_allows_the_style_and_the_script_of_the_page_and_no_other(text: str, elements: Elements) -> None:
    (policy,) = (attrs["content"] for _, attrs in elements.all("meta") if "http-equiv" in attrs)
    assert policy.startswith("default-src 'none'; img-src data:; ") and "unsafe" not in policy
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        wanted = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{wanted}'" in policy
    assert not [attrs for _, attrs in elements.found if "style" in attrs or any(key.startswith("on") for key in attrs)]


def test_headings_landmarks_and_names_are_those_of_a_document(elements: Elements) -> None:
    levels = [int(tag[1]) for tag, _ in elements.found if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert [len(elements.all(tag)) for tag in ("header", "nav", "main", "footer")] == [1, 1, 1, 1]
    ((_, root),) = elements.all("html")
    assert root["lang"] == "en" and len(elements.all("title")) > 1
    ids = [attrs["id"] for _, attrs in elements.found if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in elements.found:
        for key in ("aria-labelledby", "for"):
            assert set(attrs.get(key, "").split()) <= set(ids)
        if attrs.get("href", "").startswith("#"):
            assert attrs["href"][1:] in ids
    assert all("aria-labelledby" in attrs for _, attrs in elements.all("section"))


def test_the_order_is_that_of_a_reader_who_relies_on_it(elements: Elements) -> None:
    names = [attrs["id"] for _, attrs in elements.all("section")]
    assert names == ["result", "evidence", "categories", "charts", "instances", "radii", "searches", "witnesses",
                     "environment"]  # fmt: skip


def test_pictures_say_what_they_show_and_tables_what_they_hold(elements: Elements) -> None:
    for place, attrs in elements.all("svg"):
        if attrs.get("aria-hidden") == "true":
            continue
        assert attrs["role"] == "img" and (attrs.get("aria-label") or attrs["aria-labelledby"])
        assert attrs.get("aria-label") or elements.texts[place].strip()
    assert all(attrs["alt"] for _, attrs in elements.all("img"))
    captions = [place for place, _ in elements.all("caption")]
    assert len(captions) == len(elements.all("table")) and all(elements.texts[place].strip() for place in captions)
    assert all(attrs.get("scope") in ("col", "row") for _, attrs in elements.all("th"))
    for place, attrs in elements.all("input", "select"):
        assert elements.inside(place, "label") or attrs.get("aria-label")


def test_what_is_asked_decided_and_open_is_said_in_words(elements: Elements) -> None:
    (main,) = (elements.texts[place] for place, _ in elements.all("main"))
    assert "9 of 10 instances are decided: 4 proved, 5 violated; 1 is not decided." in main
    assert "1 answer is contradicted by others.csv: one of the two is wrong." in main
    assert "unsat here, sat there" in main and "certified" in main and "a file is missing or malformed" in main
    assert "-Y_0 <= -1.5" in main and "largest proved" in main


def test_names_of_files_are_no_markup(text: str, elements: Elements) -> None:
    assert not elements.all("i") and "odd &amp; &lt;i&gt;names&lt;/i&gt;" in text
    (main,) = (elements.texts[place] for place, _ in elements.all("main"))
    assert "<b>&amp;" in main and "odd & <i>names</i>" in main


def test_a_run_of_nothing_and_one_of_open_instances_have_pages(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        run(store, [], [])
        run(store, [row(0), row(1)], [answer("timed-out", bounds=[[0.1, -2.0, 1, 0, 2], [0.2, -1.0, 9, 1, 3],
                                                                  [0.3, None, 9, 1, 3]]), None])  # fmt: skip
        pages = [Elements(page(collect(store, one), store)) for one in store.runs()]
    texts = [next(iter(one.texts[place] for place, _ in one.all("main"))) for one in pages]
    assert any("0 of 0 instances" in one for one in texts)
    assert any("From 2 to 1 within 0.2 s." in one and "the run was interrupted before it" in one for one in texts)
