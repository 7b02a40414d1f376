"""Every public property file as a specification: read, written in both versions, read again by both readers."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import farkas as fk
from farkas.api import Network, load_property
from farkas.checker import property as checked
from farkas.checker import property2 as checked2
from farkas.ir.errors import FarkasError
from farkas.reading import from_vnnlib
from farkas.saving import save
from farkas.specs.errors import MalformedProperty
from farkas.specs.language_document import document
from farkas.specs.side import Side
from farkas.specs.vnnlib1_writer import is_plain
from farkas.specs.vnnlib2 import read_document
from tests.farkas.saved import network
from tests.farkas.test_reading import bare
from tests.ir.test_onnx_join import values_of
from tests.specs import test_vnnlib1_writer, test_vnnlib2_writer
from tests.specs.test_checker_agreement import assert_same

pytestmark = pytest.mark.vnncomp


def rows(folder: Path) -> Iterator[tuple[str, Path, dict[str, str]]]:
    """Every property file once, with the files of its networks by name ("" for the only one)."""
    seen = set()
    with (folder / "manifest.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            if row["vnnlib"] in seen:
                continue
            seen.add(row["vnnlib"])
            named = [part.partition("=") for part in row["onnx"].split(";")] if "=" in row["onnx"] else []
            yield row["category"], folder / row["vnnlib"], {n: f for n, _, f in named} or {"": row["onnx"]}


def loaded(folder: Path, prop: Path, files: dict[str, str]) -> Network | dict[str, Network]:
    """The networks; in place of one that is not supported, another one of as many inputs and outputs."""
    try:
        nets = {name: fk.load(folder / file) for name, file in files.items()}
    except FarkasError:
        wanted = load_property(prop)
        return network((wanted.inputs,), (wanted.outputs,))
    return nets.get("", nets)


@pytest.mark.slow
def test_every_public_file_is_a_specification_that_is_saved_as_it_is(vnncomp: Path, tmp_path: Path) -> None:
    count = plain = 0
    for category, path, files in rows(vnncomp):
        try:
            wanted = load_property(path)
        except MalformedProperty:
            assert category.startswith("vnnlib2_syntax"), path
            continue
        spec = from_vnnlib(path, loaded(vnncomp, path, files))
        assert bare(spec.property) == bare(wanted), path
        text = document(spec.normal)
        assert bare(read_document(text).property()) == test_vnnlib2_writer.told(wanted), path
        if not wanted.monomials and sum(len(c.disjuncts) for c in wanted.cases) < 1000:
            assert_same(read_document(text).property(), checked2.read_document(text.encode()).property)
        if len(spec.networks) == 1 and is_plain(wanted):
            data = save(spec, tmp_path / "again.vnnlib", "1.0")
            again = load_property(tmp_path / "again.vnnlib")
            assert bare(again) == test_vnnlib1_writer.told(wanted), path
            assert_same(again, checked.read_property(data))
            plain += 1
        count += 1
    assert count > 100 and plain > 90


def test_public_queries_about_several_networks_become_one_network(vnncomp: Path, tmp_path: Path) -> None:
    """With the values of all parts in onnxruntime, in the runtime's own order of summation, bit for bit."""
    joined = 0
    for _, path, files in rows(vnncomp):
        nets = loaded(vnncomp, path, files)
        if isinstance(nets, Network):
            continue
        spec = from_vnnlib(path, nets)
        save(spec, tmp_path / "q.vnnlib", "1.0")
        made, side = fk.load(tmp_path / "q.onnx"), Side.parse((tmp_path / "q.json").read_text())
        prop = load_property(tmp_path / "q.vnnlib")
        assert (prop.inputs, prop.outputs) == (made.inputs, made.outputs)
        case = prop.cases[0]
        rng = np.random.default_rng(0)
        low, high = (np.array([float(end) for end in ends]) for ends in (case.lower, case.upper))
        x = (low + (high - low) * rng.random(len(low))).astype(np.float32)
        session = onnxruntime.InferenceSession(made.data, providers=["CPUExecutionProvider"])
        found = np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])
        everything, start, wanted = x[list(side.columns)], 0, []
        for net in spec.networks.values():
            wanted += values_of(net.data, everything[start : start + net.inputs]).tolist()
            start += net.inputs
        assert found[: len(wanted)].tolist() == wanted, path
        joined += 1
    assert joined >= 9
