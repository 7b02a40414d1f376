"""The journal beside the store: one line for every fact, in the order in which they came.

A line is `SHA-256 SPACE JSON LF`, the digest being that of the JSON text.  It is written in one piece at the end of
the file before the database hears of it, so whatever is in the database is in the journal, whoever is killed; what a
full disk or a loss of power leaves of a line has another digest and is no fact.  With the disk it is synchronised at
once, or, for the answers of a run, every half second: a loss of power costs at most these.  The database can be made
anew from the journal, which is how a store with a damaged page is repaired.

The alternative, to trust SQLite alone, loses everything behind a damaged page of the table's tree.  The price is each
fact on the disk twice.  Synchronising every answer by itself cost 9 ms an instance on a busy disk, half of all time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from farkas.batch.ports import Disk
from farkas.batch.records import canonical


class Journal:
    """An append-only file of facts."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self._disk = disk

    def write(self, kind: str, content: Any, *, sync: bool = True) -> None:
        """Appends a fact; when this returns it is on the disk, if sync.  Raises OSError."""
        text = canonical({"kind": kind, "content": content})
        # A line feed first ends what a write that failed has left behind; blank lines mean nothing.
        self._disk.append(self.path, f"\n{hashlib.sha256(text.encode()).hexdigest()} {text}\n".encode(), sync=sync)

    def sync(self) -> None:
        """What was written is on the disk.  Raises OSError."""
        self._disk.sync(self.path)

    def facts(self, start: int = 0) -> Iterator[tuple[str, Any]]:
        """Kind and content of all whole facts from this byte on."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(start)
            for line in file:
                found = _fact(line)
                if found is not None:
                    yield found

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0


def _fact(line: bytes) -> tuple[str, Any] | None:
    digest, _, text = line.rstrip(b"\n").partition(b" ")
    if hashlib.sha256(text).hexdigest().encode() != digest:
        return None
    fact = json.loads(text)
    return fact["kind"], fact["content"]
