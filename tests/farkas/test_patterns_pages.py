"""The pages about patterns: their code runs, what they name exists, and every pattern has its place."""

import contextlib
import io
import re
from pathlib import Path

import pytest

import farkas as fk

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "patterns").glob("*.md"))
BLOCKS = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", [page.name for page in PAGES if page.name != "README.md"])
def test_the_code_of_a_page_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = BLOCKS.findall((ROOT / "docs" / "patterns" / name).read_text(encoding="utf-8"))
    assert blocks
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for number, block in enumerate(blocks):
            path = tmp_path / f"block{number}.py"
            path.write_text(block)
            exec(compile(block, str(path), "exec"), names)


def test_every_pattern_is_in_the_index_and_on_a_page() -> None:
    index = (ROOT / "docs" / "patterns" / "README.md").read_text(encoding="utf-8")
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES if page.name != "README.md")
    assert all(f"`{name}`" in index and f"fk.patterns.{name}(" in pages for name in fk.patterns.__all__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_are_public_and_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"\bfk\.(\w+)", text)) <= set(fk.__all__)
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert not [link for link in links if "://" not in link and not (page.parent / link).exists()]
