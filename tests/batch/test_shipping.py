"""Files on their way to another machine and back."""

import errno
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from farkas.batch import shipping
from farkas.batch.plan import Plan
from farkas.batch.records import Row
from farkas.batch.shipping import Copies, Outbox, Parcel, collected, delivered, relocated
from farkas.batch.stages import Check
from farkas.batch.tasks import PYTHON, End, Limits, Outcome, Task


def parcel(path: str, data: bytes) -> Parcel:
    return Parcel(path, hashlib.sha256(data).hexdigest(), data)


def never(data: object) -> bytes:
    raise AssertionError(f"{data!r} lay in the parcel")


ENDED = Outcome("t", 0, End.ITSELF, 1.0, 1.0, 1)


def test_every_word_that_names_a_file_names_its_copy_and_no_other_word_changes() -> None:
    arguments = {"networks": [["f", "/a/n.onnx"]], "property": "/a/q.vnnlib", "timeout_s": 5.0, "semantics": "/a/n"}
    command = (PYTHON, "check", "--network", "f=/a/n.onnx", "--property", "/a/q.vnnlib", "x=/a/other")
    task = Task("t", "/a/t", Limits(5.0), "m:f", arguments, command, ("/a/n.onnx", "/a/q.vnnlib"))
    found = relocated(task, {"/a/n.onnx": "/b/1/n.onnx", "/a/q.vnnlib": "/b/2/q.vnnlib"}, Path("/b/t"))
    assert found.arguments == {
        "networks": [["f", "/b/1/n.onnx"]], "property": "/b/2/q.vnnlib", "timeout_s": 5.0, "semantics": "/a/n"
    }  # fmt: skip
    assert found.command == (
        PYTHON, "check", "--network", "f=/b/1/n.onnx", "--property", "/b/2/q.vnnlib", "x=/a/other"
    )  # fmt: skip
    assert (found.folder, found.limits, found.id) == ("/b/t", task.limits, "t")


def test_tasks_of_instances_name_all_files_that_their_words_name(tmp_path: Path) -> None:
    for name in ("n.onnx", "q.vnnlib"):
        (tmp_path / name).write_text(name)
    row = Row(0, "c", "f=n.onnx;g=n.onnx", "q.vnnlib", str(tmp_path), 5.0)
    verify = Plan().task("t", row, tmp_path / "verify")
    check = Check().task(
        "c", row, {"verdict": "sat", "semantics": "real", "files": ["certificate"]}, tmp_path / "check"
    )
    assert check is not None
    for task in (verify, check):
        moved = relocated(task, dict.fromkeys(task.reads, "/elsewhere"), Path("/b"))
        assert str(tmp_path) not in replace(moved, reads=()).as_json()
    assert set(check.reads) == {str(tmp_path / name) for name in ("n.onnx", "q.vnnlib", "verify/certificate")}


def test_copies_have_the_names_and_bytes_of_the_originals_and_are_fetched_once(tmp_path: Path) -> None:
    data = b"\x1f\x8b" * 3
    sent = Parcel("/a/n.onnx.gz", hashlib.sha256(data).hexdigest(), "reference")
    asked: list[object] = []

    def fetch(reference: object) -> bytes:
        asked.append(reference)
        return data

    copies = Copies(tmp_path)
    first, second = copies.bring([sent], fetch), copies.bring([sent], fetch)
    assert first == second and asked == ["reference"]
    place = Path(first["/a/n.onnx.gz"])
    assert place.name == "n.onnx.gz" and place.read_bytes() == data
    place.unlink()
    assert copies.bring([sent], fetch) == first and place.read_bytes() == data


def test_files_of_one_name_and_different_bytes_do_not_meet(tmp_path: Path) -> None:
    where = Copies(tmp_path).bring([parcel("/a/n", b"1"), parcel("/b/n", b"2")], never)
    assert [Path(where[path]).read_bytes() for path in ("/a/n", "/b/n")] == [b"1", b"2"]


def test_other_bytes_than_were_sent_are_no_copy(tmp_path: Path) -> None:
    sent = Parcel("/a/n", hashlib.sha256(b"1").hexdigest(), b"2")
    with pytest.raises(OSError, match="other bytes"):
        Copies(tmp_path).bring([sent], never)
    assert not list(tmp_path.rglob("n"))


def test_the_longest_unused_copy_goes_first_and_never_one_in_use(tmp_path: Path) -> None:
    copies = Copies(tmp_path, limit=5)
    old, new, large = parcel("/a/old", b"12"), parcel("/a/new", b"34"), parcel("/a/large", b"123456")
    where = copies.bring([old], never) | copies.bring([new], never) | copies.bring([old], never)
    where |= copies.bring([parcel("/a/third", b"56")], never)
    assert [Path(where[f"/a/{name}"]).exists() for name in ("old", "new", "third")] == [True, False, True]
    assert Path(copies.bring([large], never)["/a/large"]).exists()
    assert not Path(where["/a/old"]).exists()


def test_large_files_are_put_once_and_small_ones_travel_in_the_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "SMALL", 3)
    put: list[bytes] = []

    def remember(data: bytes) -> str:
        put.append(data)
        return "reference"

    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(b"1234")
    small.write_bytes(b"123")
    outbox = Outbox(remember)
    for _ in range(2):
        found = outbox.parcels([str(large), str(tmp_path / "missing"), str(small)])
        assert [(one.name, one.data) for one in found] == [("large", "reference"), ("small", b"123")]
    assert put == [b"1234"]
    large.write_bytes(b"12345")
    assert outbox.parcels([str(large)])[0].sha256 == hashlib.sha256(b"12345").hexdigest()


def test_what_a_result_lists_comes_back_and_nothing_else(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    (there / "result.json").write_text('{"verdict": "sat", "files": ["witness", "../secret"]}')
    (tmp_path / "secret").write_text("none of theirs")
    for name in ("witness", "secret", "core"):
        (there / name).write_text(name)
    (there / "stderr").write_text("a warning")
    here.mkdir()
    (here / "certificate").write_text("of a try before")
    delivered(collected(ENDED, there), here)
    assert sorted(path.name for path in here.iterdir()) == ["result.json", "secret", "stderr", "stdout", "witness"]
    assert (here / "secret").read_text() == "secret" and ENDED.result(here) is not None


def test_a_process_that_was_ended_brings_only_what_it_has_printed(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"verdict": "unsat"}')
    (tmp_path / "stderr").write_text("Killed")
    for outcome in (Outcome("t", -9, End.WALL, 1.0, 1.0, 1), Outcome("t", 1, End.ITSELF, 1.0, 1.0, 1)):
        assert collected(outcome, tmp_path) == {"stdout": b"", "stderr": b"Killed"}


def test_a_full_disk_on_the_way_back_is_an_error_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        delivered({"result.json": b"{}"}, tmp_path / "t")
