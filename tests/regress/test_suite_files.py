"""Answers of a suite are about the files that were asked about: none overwritten, none changed meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farkas.batch.bench import Bench
from farkas.batch.command import rows_of
from farkas.batch.plan import Plan
from farkas.batch.store import Store
from tests.batch.test_bench import Ears, rows, verdicts

WAVE = Path(__file__).parents[2] / "examples" / "networks" / "wave.onnx"
SUITE = f"""
import farkas as fk

net = fk.load({str(WAVE)!r})
x = fk.var(net.input)
specs = {{
    key: fk.Spec(given=[fk.between(0, x, 1)], prove=net(x) <= bound)
    for key, bound in (("y<9", 9), ("y>9", -9), (1, 8), ("1", -8), ("Y<9", 7))
}}
"""


def changes(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Decides about a file that is another one afterwards."""
    Path(arguments["property"]).write_text("; another question")
    return {"verdict": "unsat", "evidence": "checkable", "semantics": "f32-any"}


def test_specifications_with_names_alike_are_files_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "suite.py").write_text(SUITE)
    found = rows_of(tmp_path / "suite.py", tmp_path / "made")
    texts = [(Path(row.folder) / row.vnnlib).read_text() for row in found]
    assert len(found) == 5 and len({row.vnnlib.casefold() for row in found}) == 5
    for text, bound in zip(texts, ("9", "-9", "8", "-8", "7"), strict=True):
        assert f" {bound}" in text, text
    assert len(set(texts)) == 5


def test_an_answer_about_a_file_that_was_changed_meanwhile_is_none(tmp_path: Path) -> None:
    suite = rows(tmp_path, 1)
    with Store.open(tmp_path / "s") as store:
        plan, ears = Plan(verifier="tests.regress.test_suite_files:changes"), Ears()
        run = store.begin("suite", plan.as_json(), {}, suite)
        Bench(store, plan, "code", ears).run(run, suite)
        assert verdicts(store, run) == ["error"]
        assert ears.results[0].question is None and "changed" in ears.results[0].attempt.message  # type: ignore[union-attr]
