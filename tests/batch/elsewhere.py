"""Verifiers for tests of a cluster: each says in the folder `log` of the options where it runs."""

import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farkas.batch import work
from tests.batch import misbehaving


def note(arguments: Mapping[str, Any]) -> None:
    """A line in a file named for the property: own process, the zygote's, the actor's, the path of the property."""
    zygote = os.getppid()
    actor = Path(f"/proc/{zygote}/stat").read_text().rpartition(")")[2].split()[1]
    place = Path(arguments["property"])
    with (Path(arguments["options"]["log"]) / place.name).open("a") as file:
        file.write(f"{os.getpid()} {zygote} {actor} {place}\n")


def really(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Decides, after a while in which it can be killed."""
    note(arguments)
    time.sleep(0.5)
    return work.verify({**arguments, "options": {}}, folder)


def slowly(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    note(arguments)
    time.sleep(0.5)
    return misbehaving.decided(arguments, folder)


def digests(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Says what it was given to read."""
    note(arguments)
    paths = [path for _, path in arguments["networks"]] + [arguments["property"]]
    found = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths]
    return misbehaving.decided(arguments, folder) | {"message": " ".join(found)}


def by_name(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Does what the property names, a function of misbehaving."""
    name = Path(arguments["property"]).read_text().strip("; \n")
    found: dict[str, Any] = getattr(misbehaving, name)(arguments, folder)
    return found


def devices(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Says which GPUs it may use."""
    found = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    return misbehaving.decided(arguments, folder) | {"message": f"devices: {found}"}
