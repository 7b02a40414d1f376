"""What is shown about a witness, against the files that it is about."""

import shutil
from fractions import Fraction
from pathlib import Path

import pytest

from farkas import api
from farkas.batch.store import Store
from farkas.reports.facts import Entry, Report, collect
from farkas.reports.gallery import gallery
from farkas.reports.radii import families
from farkas.reports.sources import Sources, Unreadable
from farkas.reports.witnesses import Shown, shown


def told(store: Store) -> Report:
    return collect(store, store.runs()[-1])


def named(report: Report, query: str) -> Entry:
    return next(entry for entry in report.entries if entry.query == query)


def witness(store: Path, query: str) -> Shown:
    with Store.open(store) as opened:
        report = told(opened)
        found = shown(named(report, query), opened, Sources(report.run))
    assert found is not None
    return found


def test_a_witness_lies_in_its_box_and_meets_its_conditions(decided: Path) -> None:
    found = witness(decided, "within_2")
    assert (found.lower, found.upper, found.clean) == ((-2,), (2,), (0,))
    assert abs(found.inputs[0]) >= Fraction(3, 2) and found.outputs[0] == abs(found.inputs[0])
    (condition,) = found.conditions
    assert condition.text == "-Y_0 <= -1.5" and condition.value == -found.outputs[0] <= Fraction(-3, 2)
    assert found.clean_outputs == (0,) and condition.clean == 0
    assert found.note == ""


def test_an_image_has_the_shape_of_its_tensor(decided: Path) -> None:
    found = witness(decided, "glyphs_rising_middle")
    assert len(found.inputs) == 64 and len(found.outputs) == 4 == len(found.clean_outputs)
    net = api.load(Path(__file__).resolve().parents[2] / "examples" / "networks" / "glyphs.onnx")
    assert found.shape == net.graph.inputs[0][1]
    assert all(low <= x <= high for low, x, high in zip(found.lower, found.inputs, found.upper, strict=True))
    assert all(condition.value <= 0 for condition in found.conditions)


def test_files_that_have_changed_are_not_shown(decided: Path, tmp_path: Path) -> None:
    """Of the witness only what the store has remains."""
    folder = tmp_path / "copy"
    shutil.copytree(decided.parent, folder)
    with Store.open(folder / "store") as store:
        report = told(store)
        entry = named(report, "within_2")
        row = entry.stored.row
        place = Path(row.folder) / row.vnnlib
        before = place.read_bytes()
        try:
            place.write_bytes(before + b"; another comment\n")
            sources = Sources(report.run)
            with pytest.raises(Unreadable, match="changed"):
                sources.source(entry)
            found = shown(entry, store, sources)
        finally:
            place.write_bytes(before)
    assert found is not None and "changed" in found.note
    assert found.inputs and not found.clean and not found.conditions


def with_witness(entry: Entry, store: Store, text: bytes) -> Entry:
    """The same instance with another witness."""
    attempt = entry.attempt
    assert attempt is not None
    fake = store.keep("witness", text)
    files = [fake if file.kind == "witness" else file for file in attempt.files]
    values = {**attempt.as_json(), "files": [vars(file) for file in files]}
    stored = type(entry.stored)(entry.stored.row, entry.stored.question, type(attempt).from_json(values), False)
    return Entry(stored, entry.row)


def test_values_without_a_finite_decimal_are_read_as_quotients(decided: Path) -> None:
    text = b"((X_0 (- (/ 5 3)))\n(Y_0 (/ 5 3)))\n"
    with Store.open(decided) as store:
        report = told(store)
        found = shown(with_witness(named(report, "within_2"), store, text), store, Sources(report.run))
    assert found is not None and (found.inputs, found.outputs) == ((Fraction(-5, 3),), (Fraction(5, 3),))


def test_a_witness_that_cannot_be_read_is_said(decided: Path) -> None:
    with Store.open(decided) as store:
        report = told(store)
        sources = Sources(report.run)
        fake = with_witness(named(report, "within_2"), store, b"((X_0 almost 5)\n(Y_0 5.0))\n")
        found = shown(fake, store, sources)
        section = gallery(report, store, sources, [fake])
    assert found is not None and "cannot be shown" in found.note and not found.inputs
    assert section is not None and "cannot be shown" in section


def test_a_witness_that_does_not_meet_its_property_is_not_passed_over(decided: Path) -> None:
    """Taken from the violation of a smaller set: here it is outside."""
    with Store.open(decided) as store:
        report = told(store)
        entry = named(report, "within_2")
        fake = with_witness(entry, store, b"((X_0 5.0)\n(Y_0 5.0))\n")
        found = shown(fake, store, Sources(report.run))
    assert found is not None and "do not meet the property" in found.note


def test_radii_are_found_in_the_properties(decided: Path) -> None:
    with Store.open(decided) as store:
        report = told(store)
        (family,) = families(report.entries, Sources(report.run))
    assert (family.category, family.network, family.semantics) == ("radii", "absolute", "f32-any")
    (chain,) = family.chains
    assert [one.entry.query for one in chain.asked] == ["within_0.5", "within_1", "within_2", "within_3"]
    assert (chain.proved, chain.violated) == (1, 2)
