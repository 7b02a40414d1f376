"""Recorded answers are read from every form that they come in, and found again whatever the folders are."""

from pathlib import Path

import pytest

from farkas.batch.records import Row
from farkas.batch.store import Store
from farkas.reports.recorded import Answer, BadResults, key, of_file, of_run
from tests.reports.made import answer, row, run

ROW = Row(0, "cars", "./nets/n0.onnx.gz", "props/p0.vnnlib", "here", 1.0)


def written(folder: Path, text: str) -> Path:
    (folder / "results.csv").write_text(text, encoding="utf-8")
    return folder / "results.csv"


@pytest.mark.parametrize(
    "text",
    [
        "cars,../c/onnx/n0.onnx,../c/vnnlib/p0.vnnlib.gz,0.5,unsat,2.25\n",
        "category,onnx,vnnlib,prepare_time,result,run_time\ncars,n0.onnx,p0.vnnlib,0,holds,2.25\n",
        "wall_s,verdict,category,vnnlib,onnx\n2.25,unsat,cars,a/p0.vnnlib,b/n0.onnx.gz\n",
        "\ufeffcars,n0.onnx,p0.vnnlib,0, UNSAT ,2.25\n\n",
    ],
)
def test_every_form_of_file_gives_the_same_answer(tmp_path: Path, text: str) -> None:
    assert of_file(written(tmp_path, text)).answer(ROW) == Answer("unsat", 2.25)


@pytest.mark.parametrize(
    ("word", "verdict"),
    [("violated", "sat"), ("timeout", "timed-out"), ("unknown", "unknown"), ("run_instance_timeout", "timed-out"),
     ("error_exit_code_1", "error"), ("", "error")],
)  # fmt: skip
def test_the_words_of_others_are_ours_and_nothing_unknown_is_an_answer(tmp_path: Path, word: str, verdict: str) -> None:
    found = of_file(written(tmp_path, f"cars,n0.onnx,p0.vnnlib,0,{word},-\n")).answer(ROW)
    assert found == Answer(verdict, None)


def test_an_instance_of_another_category_or_name_is_another_one(tmp_path: Path) -> None:
    found = of_file(written(tmp_path, "boats,n0.onnx,p0.vnnlib,0,sat,1\ncars,n1.onnx,p0.vnnlib,0,sat,1\n"))
    assert found.answer(ROW) is None and len(found.answers) == 2


def test_several_networks_are_found_in_both_spellings() -> None:
    assert key("c", "f=a/n.onnx;g=m.onnx.gz", "p") == key("c", "[('f', 'x/n.onnx.gz'), ('g', 'y/m.onnx')]", "q/p")
    assert key("c", "f=n.onnx;g=m.onnx", "p") != key("c", "f=m.onnx;g=n.onnx", "p")


def test_another_run_is_to_compare_with(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        run(store, [row(0), row(1)], [answer("sat", 4.0), None])
        found = of_run(store, store.runs()[0])
    assert found.answer(ROW) == Answer("sat", 4.0) and len(found.answers) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no results"),
        ("a,b,c\n1,2,3\n", "the columns category,onnx"),
        ("category,onnx,vnnlib,time_s\nc,o,v,1\n", "none of the columns verdict"),
        ("onnx,vnnlib,result,run_time\no,v,sat,1\n", "no column 'category'"),
        ("category,onnx,vnnlib,result,run_time\nc,o,v\n", "line 2: 3 columns"),
    ],
)
def test_a_file_of_something_else_is_refused_by_what_it_lacks(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadResults, match=message):
        of_file(written(tmp_path, text))
    with pytest.raises(BadResults, match="cannot be read"):
        of_file(tmp_path / "nothing.csv")
