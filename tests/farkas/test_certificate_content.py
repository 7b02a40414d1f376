"""What `farkas show` counts in a certificate of crown-fp-2, on one that is put together by hand."""

from __future__ import annotations

import json
import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from farkas import cli
from farkas.certificate_content import Derivations, read_content, read_vectors
from farkas.certificate_file import CertificateFile, MalformedCertificate, read_certificate_file

RECIPES = [{"forward": 1, "rows": [[0, "open", 0], [1, "open", 2]]}, {"forward": 0, "rows": [[1, [0, 4, 5], -1]]}]
PLAN = {"columns": [0, 2], "forks": [[1]], "recipes": RECIPES}
VECTORS = bytes([1, 200, 0]) * 6 + bytes([2, 9, 9, 2, 0, 3, 0x80, 1, 4]) + bytes([2, 1, 1, 0]) + bytes([0, 1, 7, 2])
KINDS = [
    [[0, [[0, 1]]], [0, []]],  # rule
    [[0, [[0, 1], [1, 3]]], [-7, [[0, 1]]]],  # slopes and two pins: vector 6
    [[0, [[0, 1], [1, 3]]], [-8, [[0, 1]]]],  # slopes: vector 7
    [[1, [[0, 1], [1, 3]]], [1, []]],  # combination
    [[-9, []], [0, []]],  # empty, by a pin
]
# 2 inputs and 6 neurons: 8, 9 the recipes, 10 the fork, 11 + k leaves.  First tree: derive by recipe 0, fork into a
# leaf and a split of neuron 3 (5) whose parts are derived by recipe 1.  Second tree: input 1 bisected into leaves.
TREE = bytes([8, 10, 11, 5, 9, 12, 9, 13, 1, 14, 15])


def assembled(frames: list[tuple[int, bytes]], **header: Any) -> bytes:
    text = json.dumps({"kernel": "crown-fp-2", "leaves": 5, **header}).encode()
    parts = [b"NNC1", struct.pack("<I", len(text)), text]
    for kind, payload in frames:
        stored = zlib.compress(payload)
        parts += [struct.pack("<BI", kind, len(stored)), stored, bytes(16)]
    return b"".join(parts)


def whole(**changes: bytes) -> bytes:
    frames = {"PLAN": json.dumps(PLAN).encode(), "VECTORS": VECTORS, "LEAVES": json.dumps(KINDS).encode(), "TREE": TREE}
    frames.update(changes)
    return assembled([({"PLAN": 4, "VECTORS": 5, "LEAVES": 1, "TREE": 2}[k], v) for k, v in frames.items()])


def parsed(**changes: bytes) -> CertificateFile:
    return read_certificate_file(whole(**changes))


def test_everything_in_a_certificate_is_counted() -> None:
    content = read_content(parsed())
    assert content is not None and content.has_plan
    shape = content.shape
    assert (shape.trees, shape.nodes, shape.leaves, shape.depth) == (2, 11, 5, 2)
    assert shape.cuts == Counter({5: 1, 1: 1}) and shape.forks == Counter({0: 1})
    assert shape.recipes == Counter({0: 1, 1: 2}) and shape.kinds == Counter(range(5))
    assert content.columns == 2 and content.vectors.slopes == 6 + 2 + 2
    assert content.vectors.pins == (0, 0, 0, 0, 0, 0, 2, 0, 1)
    assert content.derivations == Derivations(count=3, forward=1, rows=2 * 2 * 3, layers=2)
    assert content.leaves == {"rule": 1, "pins": 1, "slopes": 1, "combination": 1, "empty": 1}


def test_show_prints_the_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = whole()
    path = tmp_path / "c.nnc"
    path.write_bytes(data)
    assert cli.main(["show", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "PLAN" in printed and "VECTORS" in printed and "kernel: crown-fp-2" in printed
    assert "trees: 2, nodes: 11, leaves: 5, depth: 2" in printed
    assert "cuts: 2 (inputs and neurons), forks: 1" in printed
    assert "derivations: 3 by 2 recipes: 1 forward passes, 2 whole layers, rows of 6 listed neurons" in printed
    assert "vectors: 9 over 2 neurons, 10 slopes; 3 pins in 2 of them" in printed
    assert "leaves closed by: " in printed and "pins 1" in printed and "empty 1" in printed
    frames = len(data) - 8 - struct.unpack_from("<I", data, 4)[0]
    assert f"leaf kinds in use: 5; {frames / 5:.2f} bytes a leaf" in printed


@pytest.mark.parametrize(
    "changes",
    [
        {"VECTORS": VECTORS[:-1]},
        {"VECTORS": b"\x85"},
        {"VECTORS": b""},  # what the leaves name is not there
        {"PLAN": b"[]"},
        {"PLAN": b"{"},
        {"LEAVES": b"[]"},
        {"LEAVES": b"[[0],[0],[0],[0],[0]]"},
        {"TREE": TREE[:-1]},
        {"TREE": TREE + b"\x0b"},
    ],
)
def test_frames_that_do_not_fit_together_are_refused(changes: dict[str, bytes]) -> None:
    with pytest.raises(MalformedCertificate):
        read_content(parsed(**changes))


def test_a_witness_has_no_trees() -> None:
    assert read_content(read_certificate_file(assembled([(3, b"{}")], leaves=0))) is None


def test_no_vectors_are_no_vectors() -> None:
    assert read_vectors(b"").pins == ()
