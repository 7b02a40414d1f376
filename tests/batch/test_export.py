"""The results of a run as files, read by programs that are not ours."""

import csv
import json
import sys
from pathlib import Path

import pytest

from farkas import cli
from farkas.batch.export import COLUMNS, NoFormat, export
from farkas.batch.store import Store
from tests.batch.test_store import ROWS, attempt, question


def written(folder: Path, *names: str, answered: int = 3) -> list[Path]:
    """A run of four instances, of which some have an answer, in these files."""
    paths = [folder / name for name in names]
    with Store.open(folder / "s") as store:
        run = store.begin("suite", {}, {}, ROWS)
        for k in range(answered):
            store.finish(attempt(run, k, ("unsat", "sat", "timed-out")[k], message='a, "b"\nc'), question(k))
        for path in paths:
            export(store, store.runs()[0], path)
    return paths


def test_csv_and_parquet_have_the_same_rows(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    text, arrow = written(tmp_path, "r.csv", "r.parquet")
    with text.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = parquet.read_table(arrow).to_pylist()
    assert [row["verdict"] for row in rows] == ["unsat", "sat", "timed-out"]
    assert [tuple(row) for row in found] == [COLUMNS] * 3
    assert [{name: "" if value is None else str(value) for name, value in row.items()} for row in found] == rows
    assert found[0]["wall_s"] == 0.25 and found[0]["boxes"] == 7 and found[0]["programs"] is None
    assert found[0]["message"] == 'a, "b"\nc'


@pytest.mark.parametrize("answered", [0, 1])
def test_parquet_has_the_same_types_whatever_the_rows_are(answered: int, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    (path,) = written(tmp_path, "r.parquet", answered=answered)
    schema = parquet.read_schema(path)
    assert schema.names == list(COLUMNS)
    assert [str(schema.field(name).type) for name in ("verdict", "wall_s", "boxes", "programs", "attack_s")] == [
        "string", "double", "int64", "int64", "double"
    ]  # fmt: skip
    assert parquet.read_table(path).num_rows == answered


def test_json_has_everything_that_is_known(tmp_path: Path) -> None:
    (path,) = written(tmp_path, "r.json")
    content = json.loads(path.read_text())
    assert [one["number"] for one in content["instances"]] == [0, 1, 2, 3]
    assert content["instances"][3]["attempt"] is None
    assert content["instances"][0]["attempt"]["bounds"] == [[0.1, -1.5, 3, 1, 2], [0.2, None, 4, 2, 2]]


def test_without_pyarrow_parquet_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(NoFormat, match="pip install pyarrow"):
        written(tmp_path, "r.parquet")
    (tmp_path / "suite.csv").write_text("onnx,vnnlib\nn.onnx,q.vnnlib\n")
    out, store = tmp_path / "r.parquet", tmp_path / "other"
    assert cli.main(["bench", str(tmp_path / "suite.csv"), "--store", str(store), "--export", str(out)]) == 2
    assert "Parquet is written by pyarrow; pip install pyarrow" in capsys.readouterr().err
    assert not store.exists() and not out.exists()
