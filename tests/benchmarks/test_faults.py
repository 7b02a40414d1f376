"""The table of faults in its short form: real processes, killed; real disks, full; nothing lost, nothing wrong."""

import random
from pathlib import Path

import pytest

from benchmarks import easy, faults
from farkas.batch.records import Attempt
from farkas.batch.store import Store
from farkas.batch.suites import read_suite
from tests.batch.test_store import question


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("driver killed (kill -9)", 2),
        ("worker killed (kill -9)", 6),
        ("disk full, small tmpfs", 1),
        pytest.param("parent of workers killed", 2, marks=pytest.mark.slow),
        pytest.param("disk full, injected", 1, marks=pytest.mark.slow),
        pytest.param("clock steps, injected", 1, marks=pytest.mark.slow),
        pytest.param("database pages overwritten", 2, marks=pytest.mark.slow),
        pytest.param("two drivers", 2, marks=pytest.mark.slow),
    ],
)
def test_a_fault_loses_nothing_and_makes_nothing_wrong(name: str, times: int) -> None:
    (fault,) = [fault for known, fault, _ in faults.FAULTS if known == name]
    count, jobs = 24, 2
    line = faults.measure(name, fault, times, count, jobs, seed=3)
    if line[1] == "0":
        pytest.skip(line[-1])
    happened, instances, lost, wrong, repeated, twice = map(int, line[1:7])
    assert happened >= 1 and instances == count
    assert (lost, wrong) == (0, 0)
    assert twice <= repeated <= (happened + 1) * jobs  # what was in flight, and nothing else


def test_what_is_lost_and_what_is_wrong_is_counted(tmp_path: Path) -> None:
    """Of four instances one is right, one contradicted, one undecided, one not answered."""
    scene = faults.Scene(tmp_path, 4, 1, random.Random(0))
    expected = [row.expected for row in read_suite(scene.suite)]
    other = {"sat": "unsat", "unsat": "sat"}
    with Store.open(scene.place) as store:
        run = store.begin("suite", {}, {}, read_suite(scene.suite))
        for k, verdict in enumerate([expected[0], other[expected[1]], "unknown"]):
            found = Attempt(f"a{k}", run, k, question(k).key, 1.0, 5.0, None, "code", verdict)
            store.finish(found, question(k))
    assert faults.lost_and_wrong(scene) == (2, 1)


def test_easy_suites_are_questions_of_their_own_about_networks_that_are_there(tmp_path: Path) -> None:
    rows = read_suite(easy.easy_suite(tmp_path, 25))
    contents = {(Path(row.folder) / row.vnnlib).read_bytes() for row in rows}
    assert len(rows) == len(contents) == 25
    assert {row.expected for row in rows} == {"sat", "unsat"}
    assert all((Path(row.folder) / row.onnx).is_file() for row in rows)
