"""Fixtures of the command-line tests."""

from pathlib import Path

import pytest

from tests.farkas.queries import Files, files


@pytest.fixture
def tiny(tmp_path: Path) -> Files:
    """A network that computes |x|, and properties of it on [-1, 2]."""
    return files(tmp_path)
