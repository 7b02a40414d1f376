"""Suites from the places where people keep them."""

import gzip
from pathlib import Path

import pytest

from farkas.batch import command
from farkas.batch.contents import Contents
from farkas.batch.records import Row
from farkas.batch.suites import BadSuite, existing, networks, query, read_suite, select, title
from tests.farkas.queries import ROOT


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_a_competition_folder_has_a_category_for_each_list(tmp_path: Path) -> None:
    """Years to 2025: `benchmarks/<category>/instances.csv`, no header, perhaps compressed, `./` before some paths."""
    base = tmp_path / "benchmarks"
    touch(base, "a/onnx/n.onnx.gz", "a/vnnlib/p.vnnlib.gz", "b/x")
    (base / "a" / "instances.csv").write_text(
        "./onnx/n.onnx,./vnnlib/p.vnnlib,116\r\nonnx/n.onnx,vnnlib/q.vnnlib,30.5\r\n"
    )
    (base / "b" / "instances.csv.gz").write_bytes(gzip.compress(b"m.onnx,p.vnnlib,5\n"))
    found = read_suite(tmp_path)
    assert [(row.number, row.category, row.timeout_s) for row in found] == [
        (0, "a", 116.0),
        (1, "a", 30.5),
        (2, "b", 5.0),
    ]
    assert networks(found[0]) == [("", base / "a" / "onnx" / "n.onnx.gz")]
    assert query(found[0]) == base / "a" / "vnnlib" / "p.vnnlib.gz"
    assert query(found[1]) == base / "a" / "vnnlib" / "q.vnnlib"


def test_the_layout_of_2026_has_versions_and_several_networks(tmp_path: Path) -> None:
    base = tmp_path / "benchmarks" / "acas"
    touch(base, "1.0/onnx/a.onnx", "2.0/onnx/a.onnx", "2.0/onnx/b.onnx", "2.0/vnnlib/p.vnnlib")
    (base / "1.0" / "instances.csv").write_text("onnx/a.onnx,vnnlib/p.vnnlib,10\n")
    (base / "2.0" / "instances.csv").write_text("\"[('f', 'onnx/a.onnx'), ('g', 'onnx/b.onnx')]\",vnnlib/p.vnnlib,20\n")
    one, two = read_suite(tmp_path / "benchmarks")
    assert (one.category, two.category) == ("acas/1.0", "acas/2.0")
    assert networks(two) == [("f", base / "2.0" / "onnx" / "a.onnx"), ("g", base / "2.0" / "onnx" / "b.onnx")]
    assert title(two) == "acas/2.0: a.onnx+b.onnx p.vnnlib"
    assert [row.category for row in read_suite(base)] == ["acas/1.0", "acas/2.0"]


def test_a_list_with_a_header_names_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "suite.csv"
    path.write_text("category,onnx,vnnlib,timeout_s,expected\nc,f=n.onnx;g=t_n=2.onnx,p.vnnlib,7,unsat\n")
    (row,) = read_suite(path)
    assert row == Row(0, "c", "f=n.onnx;g=t_n=2.onnx", "p.vnnlib", str(tmp_path), 7.0, "unsat")
    assert networks(row) == [("f", tmp_path / "n.onnx"), ("g", tmp_path / "t_n=2.onnx")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no instances"),
        ("onnx,vnnlib\n", "no instances"),
        ("net,vnnlib\na,b\n", "line 2: no onnx"),
        ("onnx,vnnlib,timeout\na,b,soon\n", "line 2: the timeout is 'soon'"),
        ("a.onnx,b.vnnlib,-3\n", "line 1: the timeout is '-3'"),
        ("onnx,vnnlib\n[('f'],b\n", "line 2: .* is no list of pairs"),
    ],
)
def test_a_malformed_list_is_refused_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "suite.csv").write_text(text)
    with pytest.raises(BadSuite, match=message):
        read_suite(tmp_path / "suite.csv")


def test_a_folder_without_lists_is_no_suite(tmp_path: Path) -> None:
    with pytest.raises(BadSuite, match=r"no instances\.csv"):
        read_suite(tmp_path)


def test_a_filter_is_a_category_or_a_part_of_a_name() -> None:
    rows = [Row(k, c, f"{c}{k}.onnx", f"prop_{k}.vnnlib", "/", 1.0) for k, c in enumerate("aabb")]
    assert [row.number for row in select(rows, ["a"])] == [0, 1]
    assert [row.number for row in select(rows, ["prop_2"])] == [2]
    assert [row.number for row in select(rows, ["a", "prop_3"])] == [0, 1, 3]
    with pytest.raises(BadSuite, match="no category 'z'"):
        select(rows, ["z"])


def test_a_file_with_or_without_gz_is_found(tmp_path: Path) -> None:
    touch(tmp_path, "a.onnx", "b.onnx.gz")
    assert existing(tmp_path / "a.onnx.gz") == tmp_path / "a.onnx"
    assert existing(tmp_path / "b.onnx") == tmp_path / "b.onnx.gz"
    assert existing(tmp_path / "c.onnx") == tmp_path / "c.onnx"


def test_content_counts_after_decompression(tmp_path: Path) -> None:
    data = b"network" * 1000
    (tmp_path / "a").write_bytes(data)
    (tmp_path / "b").write_bytes(gzip.compress(data))
    (tmp_path / "c").write_bytes(gzip.compress(data)[:-5])
    contents = Contents()
    assert contents.digest(tmp_path / "a") == contents.digest(tmp_path / "b") != contents.digest(tmp_path / "c")
    (tmp_path / "a").write_bytes(data + b"!")
    assert contents.digest(tmp_path / "a") != contents.digest(tmp_path / "b")


SPECIFICATIONS = """
import farkas as fk

net = fk.load({network!r})
x = fk.var(net.input)
safe = fk.Spec(given=[fk.between(0, x, "0.1")], prove=net(x)[0] <= 100)
by_width = {{width: fk.Spec(given=[fk.between(0, x, width)], prove=net(x)[0] <= 0) for width in ("0.1", "0.2")}}
_hidden = safe

def suite():
    return [fk.Spec(given=[fk.between(0, x, "0.3")], prove=net(x)[0] + net(x)[0] <= 200)]
"""


def test_specifications_in_a_python_file_are_instances_with_files(tmp_path: Path) -> None:
    path = tmp_path / "wave.py"
    path.write_text(SPECIFICATIONS.format(network=str(ROOT / "examples" / "networks" / "wave.onnx")))
    found = command.rows_of(path, tmp_path / "store")
    assert [row.vnnlib for row in found] == [
        "safe.vnnlib", "by_width[0.1].vnnlib", "by_width[0.2].vnnlib", "suite[0].vnnlib"
    ]  # fmt: skip
    assert all(row.category == "wave" and query(row).is_file() and networks(row)[0][1].is_file() for row in found)


@pytest.mark.parametrize(
    ("text", "message"),
    [("1 / 0", "ZeroDivisionError"), ("x = 1", "no specification"), ("import os; os._exit(3)", "ended")],
)
def test_a_python_file_that_fails_is_told_and_takes_nothing_along(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(BadSuite, match=message):
        command.rows_of(tmp_path / "bad.py", tmp_path / "store")


def test_a_network_that_is_declared_equal_to_another_needs_no_file_of_its_own(tmp_path: Path) -> None:
    declared = (
        "(declare-network {} (declare-input {} float32 [1]) (declare-output {} float32 [1]))",
        "(declare-network {} (equal-to f) (declare-input {} float32 [1]) (declare-output {} float32 [1]))",
    )
    (tmp_path / "one.vnnlib").write_text(
        "\n".join(["(vnnlib-version <2.0>)", declared[0].format("f", "X", "Y"), declared[1].format("g", "V", "W")])
        + "\n(assert (<= X[0] V[0]))\n"
    )
    (tmp_path / "two.vnnlib").write_text(
        "\n".join(["(vnnlib-version <2.0>)", declared[0].format("f", "X", "Y"), declared[0].format("g", "V", "W")])
        + "\n(assert (<= X[0] V[0]))\n"
    )
    rows = [
        Row(0, "c", "[('f', 'a.onnx'), ('g', 'a.onnx')]", "one.vnnlib", str(tmp_path), 1.0),
        Row(0, "c", "[('f', 'a.onnx'), ('g', 'b.onnx')]", "one.vnnlib", str(tmp_path), 1.0),
        Row(0, "c", "f=a.onnx;g=a.onnx", "two.vnnlib", str(tmp_path), 1.0),
    ]
    assert [[name for name, _ in networks(row)] for row in rows] == [["f"], ["f", "g"], ["f", "g"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("while True: pass", r"took more than [12] s"),
        ("import time; time.sleep(60)", r"took more than [12] s"),
        ("held = [bytearray(b'x') * (16 << 20) for _ in range(100)]", "MemoryError|more memory than there is"),
        ("import os; os._exit(3)", "exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed from outside"),
    ],
)
def test_a_python_file_has_limits_like_an_instance(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(BadSuite, match=message):
        command.rows_of(tmp_path / "bad.py", tmp_path / "store", memory_bytes=400 << 20, limit_s=1.5)
