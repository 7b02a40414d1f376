"""Files that travel with a task to another machine, and those that come back.

A task names the files that it reads (Task.reads).  Each goes along as a parcel, under the SHA-256 of its bytes, so that
a worker that has a network already does not fetch it again; the words of the task that name the file then name the
copy.  Back comes what counts on the driver's machine as well: the result, the files that the result lists, and the end
of what was printed.  No machine needs to see the files of another one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from farkas.batch.tasks import RESULT, End, Outcome, Task, printed

SMALL = 100_000  # bytes that travel inside a message
KEPT = 64  # files that the driver has ready
CACHE_BYTES = 4 << 30  # of copies that a worker keeps
STREAMS = ("stdout", "stderr")


@dataclass(frozen=True)
class Parcel:
    """path: on the driver's machine; data: the bytes, or what fetches them."""

    path: str
    sha256: str
    data: Any

    @property
    def name(self) -> str:
        return Path(self.path).name


class Outbox:
    """The driver's parcels; put: gives large data to the cluster, and returns what fetches them."""

    def __init__(self, put: Callable[[bytes], Any]) -> None:
        self._put = put
        self._kept: dict[tuple[str, int, int], Parcel] = {}

    def parcels(self, paths: Sequence[str]) -> list[Parcel]:
        """A parcel for every file that is there; one that is not is met by the task, as it would be here."""
        found = []
        for path in paths:
            try:
                found.append(self._parcel(path))
            except OSError:
                continue
        return found

    def _parcel(self, path: str) -> Parcel:
        status = Path(path).stat()
        key = path, status.st_size, status.st_mtime_ns
        parcel = self._kept.pop(key, None)
        if parcel is None:
            data = Path(path).read_bytes()
            parcel = Parcel(path, hashlib.sha256(data).hexdigest(), data if len(data) <= SMALL else self._put(data))
        self._kept[key] = parcel
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return parcel


class Copies:
    """A worker's copies of files, the longest unused removed first when they are too many bytes."""

    def __init__(self, folder: Path, limit: int = CACHE_BYTES) -> None:
        self._folder = folder
        self._limit = limit
        self._bytes: dict[Path, int] = {}

    def bring(self, parcels: Sequence[Parcel], fetch: Callable[[Any], bytes]) -> dict[str, str]:
        """From the driver's paths to those of the copies; raises OSError."""
        found = {parcel.path: self._copy(parcel, fetch) for parcel in parcels}
        for place in [place for place in self._bytes if place not in found.values()]:
            if sum(self._bytes.values()) <= self._limit:
                break
            place.unlink(missing_ok=True)
            del self._bytes[place]
        return {path: str(place) for path, place in found.items()}

    def _copy(self, parcel: Parcel, fetch: Callable[[Any], bytes]) -> Path:
        place = self._folder / parcel.sha256 / parcel.name
        size = self._bytes.pop(place, None)
        if size is None or not place.is_file():
            data = parcel.data if isinstance(parcel.data, bytes) else fetch(parcel.data)
            if hashlib.sha256(data).hexdigest() != parcel.sha256:
                raise OSError(f"{parcel.path}: other bytes have come than were sent")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            size = len(data)
        self._bytes[place] = size
        return place


def relocated(task: Task, where: Mapping[str, str], folder: Path) -> Task:
    """The same task about the copies, with another folder."""
    arguments = _moved(dict(task.arguments), where)
    return replace(task, folder=str(folder), arguments=arguments, command=tuple(_moved(list(task.command), where)))


def _moved(value: Any, where: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        name, equals, path = value.partition("=")
        return where.get(value) or (f"{name}={where[path]}" if equals and path in where else value)
    if isinstance(value, Mapping):
        return {key: _moved(item, where) for key, item in value.items()}
    return [_moved(item, where) for item in value] if isinstance(value, list | tuple) else value


def collected(outcome: Outcome, folder: Path) -> dict[str, bytes]:
    """The files of a task that has ended, by name."""
    found = {stream: printed(folder, stream).encode() for stream in STREAMS}
    if outcome.end is End.ITSELF and outcome.code == 0 and (folder / RESULT).is_file():
        found[RESULT] = (folder / RESULT).read_bytes()
        result = json.loads(found[RESULT])
        names = result.get("files", ()) if isinstance(result, dict) else ()
        found |= {Path(name).name: (folder / Path(name).name).read_bytes() for name in names}
    return found


def delivered(files: Mapping[str, bytes], folder: Path) -> None:
    """Puts files into a task's folder on the driver's machine, the result last; raises OSError."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in sorted(files, key=lambda name: name == RESULT):
        (folder / Path(name).name).write_bytes(files[name])
