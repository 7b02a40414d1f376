"""Digests of networks and properties, by decompressed content, read in pieces and remembered per file."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import IO

PIECE = 1 << 20


class Contents:
    """SHA-256 of files; a file that has not changed (by size and time of change) is read once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], str] = {}

    def digest(self, path: Path) -> str:
        """Of the decompressed bytes; of the bytes as they are where they do not decompress.  Raises OSError."""
        status = path.stat()
        key = str(path), status.st_size, status.st_mtime_ns
        if key not in self._known:
            self._known[key] = _digest(path)
        return self._known[key]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        is_compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if is_compressed:
            try:
                with gzip.open(file) as content:
                    return _hashed(content)
            except (EOFError, gzip.BadGzipFile, zlib.error):
                file.seek(0)
        return _hashed(file)


def _hashed(content: IO[bytes] | gzip.GzipFile) -> str:
    found = hashlib.sha256()
    while piece := content.read(PIECE):
        found.update(piece)
    return found.hexdigest()
