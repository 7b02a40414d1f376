"""Two runs side by side: which instances are the same, and what became of them."""

from dataclasses import replace
from pathlib import Path

import pytest

from farkas.batch.comparison import Answer, Change, answers, change, compare, paired
from farkas.batch.recorded import BadResults, read_results, stem, with_witnesses
from farkas.batch.records import Attempt, Question, Row
from farkas.batch.store import Store

BASE = Answer("acasxu", "onnx/a.onnx", "vnnlib/p.vnnlib", "unsat", wall_s=1.0)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, {}, Change.SAME),
        ({}, {"verdict": "sat"}, Change.CONTRADICTORY),
        ({"verdict": "sat"}, {}, Change.CONTRADICTORY),
        ({}, {"verdict": "timed-out"}, Change.WORSE),
        ({"verdict": "unknown"}, {"verdict": "sat"}, Change.BETTER),
        ({"verdict": "unknown"}, {"verdict": "error"}, Change.SAME),
        ({}, {"complaints": ("CERTIFICATE: rejected",)}, Change.WORSE),
        ({"verdict": "unknown"}, {"complaints": ("WRONG",)}, Change.WORSE),
        ({}, {"wall_s": 1.6}, Change.SLOWER),
        ({}, {"wall_s": 1.4}, Change.SAME),
        ({"wall_s": 0.01}, {"wall_s": 0.1}, Change.SAME),  # ten times, and noise
        ({"wall_s": 4.0}, {}, Change.FASTER),
        # what a network meets over the reals it may violate in binary32, but not in an order that any order includes
        ({"semantics": "real"}, {"semantics": "f32-any", "verdict": "sat"}, Change.INCOMPARABLE),
        ({"semantics": "f32-any"}, {"semantics": "f32-order:seq-fma", "verdict": "sat"}, Change.CONTRADICTORY),
        ({"semantics": "f32-order:seq-fma"}, {"semantics": "f32-any", "verdict": "sat"}, Change.INCOMPARABLE),
        ({"semantics": "f32-any"}, {"semantics": "f32-any", "verdict": "sat"}, Change.CONTRADICTORY),
        ({"content": "1"}, {"content": "2", "verdict": "sat"}, Change.INCOMPARABLE),
    ],
)
def test_a_change_is_named(first: dict[str, object], second: dict[str, object], expected: Change) -> None:
    one, other = (replace(BASE, **values) for values in (first, second))  # type: ignore[arg-type]
    assert change(one, other) is expected


def named(category: str, onnx: str, vnnlib: str) -> Answer:
    return replace(BASE, category=category, onnx=onnx, vnnlib=vnnlib)


def test_instances_are_paired_across_the_ways_in_which_folders_and_tools_name_them() -> None:
    ours = [
        named("acasxu_2023", "acasxu_2023/onnx/net.onnx.gz", "acasxu_2023/vnnlib/p1.vnnlib.gz"),
        named("safenlp", "onnx/medical/net.onnx", "vnnlib/medical/p_0.vnnlib"),
        named("safenlp", "onnx/robots/net.onnx", "vnnlib/robots/p_0.vnnlib"),
        named("two", "[('f', 'onnx/a.onnx'), ('g', 'onnx/b.onnx')]", "vnnlib/q.vnnlib"),
    ]
    theirs = [
        named("two", "f=./onnx/a.onnx;g=./onnx/b.onnx", "./vnnlib/q.vnnlib"),
        named("safenlp", "./onnx/robots/net.onnx", "./vnnlib/robots/p_0.vnnlib"),
        named("safenlp", "./onnx/medical/net.onnx", "./vnnlib/medical/p_0.vnnlib"),
        named("2025_acasxu", "./onnx/net.onnx", "./vnnlib/p1.vnnlib"),
    ]
    assert paired(ours, theirs) == {0: 3, 1: 2, 2: 1, 3: 0}


def test_a_name_of_two_instances_pairs_neither_but_the_same_path_twice_is_paired_in_order() -> None:
    ours = [named("c", "a/net.onnx", "a/p.vnnlib"), named("c", "b/net.onnx", "b/p.vnnlib")]
    assert paired(ours, [named("c", "x/net.onnx", "x/p.vnnlib")]) == {}
    assert paired([BASE, BASE, BASE], [BASE, BASE]) == {0: 0, 1: 1}


def test_what_only_one_run_has_is_told() -> None:
    found = compare([BASE, named("c", "old.onnx", "old.vnnlib")], [BASE, named("c", "new.onnx", "new.vnnlib")])
    assert [pair.change for pair in found.pairs] == [Change.SAME, Change.GONE, Change.NEW]
    assert found.counts() == {"acasxu": {Change.SAME: 1}, "c": {Change.GONE: 1, Change.NEW: 1}}
    assert [one["change"] for one in found.as_json()["instances"]] == ["gone", "new"]


def test_the_same_names_with_other_content_in_two_stores_are_not_compared(tmp_path: Path) -> None:
    row = Row(0, "c", "net.onnx", "p.vnnlib", "folder", 5.0)
    found = []
    for number, (prop, verdict) in enumerate([("p", "unsat"), ("q", "sat"), ("p", "sat")]):
        with Store.open(tmp_path / str(number)) as store:
            run = store.begin("suite", {}, {}, [row])
            asked = Question((("", "net"),), prop, "", {"trust": [str(number)]})
            store.finish(Attempt("id", run, 0, asked.key, 1.0, 5.0, None, "code", verdict), asked)
            found.append(list(answers(store, store.runs()[0])))
    first, other, again = found
    assert [pair.change for pair in compare(first, other).pairs] == [Change.INCOMPARABLE]
    assert [pair.change for pair in compare(first, again).pairs] == [Change.CONTRADICTORY]


def test_results_of_the_competition_and_with_a_header_say_the_same(tmp_path: Path) -> None:
    lines = ["c,./onnx/a.onnx,./vnnlib/p.vnnlib,0.5,holds,1.25", "c,./onnx/a.onnx,./vnnlib/q.vnnlib,0.5,timeout,116"]
    lines.append("c,./onnx/a.onnx,./vnnlib/r.vnnlib,0.5,prepare_instance_error_1,0")
    (tmp_path / "results.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "headed.csv").write_text(
        "onnx,vnnlib,category,verdict,wall_s\n./onnx/a.onnx,./vnnlib/p.vnnlib,c,unsat,1.25\n"
        "./onnx/a.onnx,./vnnlib/q.vnnlib,c,timed-out,116\n./onnx/a.onnx,./vnnlib/r.vnnlib,c,crashed,0\n"
    )
    first, second = read_results(tmp_path / "results.csv"), read_results(tmp_path / "headed.csv")
    assert [(one.verdict, one.wall_s) for one in first] == [("unsat", 1.25), ("timed-out", 116.0), ("error", 0.0)]
    assert [replace(one, reason="") for one in first] == [replace(one, reason="") for one in second]


@pytest.mark.parametrize("text", ["", "a,b,c\n", "onnx,answer\nx.onnx,sat\n"])
def test_what_is_no_file_of_results_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text(text)
    with pytest.raises(BadResults, match=r"results\.csv"):
        read_results(tmp_path / "results.csv")


def test_counterexamples_are_found_by_the_names_of_network_and_property(tmp_path: Path) -> None:
    several = named("two", "[('f', 'onnx/a.onnx'), ('g', 'onnx/b.onnx')]", "vnnlib/instance_0.vnnlib.gz")
    assert stem(several) == "f_g_instance_0"
    assert stem(BASE) == "a_p"
    place = tmp_path / "2025_acasxu"
    place.mkdir()
    (place / "a_p.counterexample.gz").write_bytes(b"")
    found = with_witnesses([replace(BASE, verdict="sat"), BASE, replace(several, verdict="sat")], tmp_path)
    assert [one.witness for one in found] == [place / "a_p.counterexample.gz", None, None]
