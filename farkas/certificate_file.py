"""A certificate file taken apart to be looked at: header, sizes of its frames, shape of its trees.

This proves nothing and is not used for checking: it reads what it can, also from files that the checker rejects.  The
format is defined in docs/certificate.md.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

from farkas.ir.errors import FarkasError

MAGIC = b"NNC1"
NAMES = {1: "LEAVES", 2: "TREE", 3: "POINT", 4: "PLAN", 5: "VECTORS", 255: "footer"}
HASH_BYTES = 16
MAX_PAYLOAD = 1 << 28


class MalformedCertificate(FarkasError):
    """The file is no certificate of this format, or it is cut off."""


@dataclass(frozen=True)
class Frame:
    """name; stored: bytes in the file with frame head and hash; payload: the decompressed content."""

    name: str
    stored: int
    payload: bytes


@dataclass(frozen=True)
class CertificateFile:
    """header: as parsed; header_bytes, size: lengths in the file."""

    header: dict[str, Any]
    header_bytes: int
    frames: tuple[Frame, ...]
    size: int

    def frame(self, name: str) -> Frame | None:
        """The first frame of that name."""
        return next((frame for frame in self.frames if frame.name == name), None)


@dataclass(frozen=True)
class TreeShape:
    """Nodes, leaves and greatest depth over all trees; how often each cut, recipe, fork and leaf kind is used.

    cuts: by the number in the file, that of an input, or (crown-fp-2) the number of inputs plus that of a neuron.
    recipes, forks, kinds: by their places in the file's lists.
    """

    trees: int
    nodes: int
    leaves: int
    depth: int
    cuts: Counter[int]
    recipes: Counter[int]
    forks: Counter[int]
    kinds: Counter[int]


def read_certificate_file(data: bytes) -> CertificateFile:
    """The parts of a certificate; raises MalformedCertificate."""
    if data[:4] != MAGIC:
        raise MalformedCertificate(f"no certificate: it begins with {data[:4]!r}, wanted {MAGIC!r}")
    length = _u32(data, 4)
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise MalformedCertificate("the header is no JSON; the file is damaged") from error
    if len(data) < 8 + length or not isinstance(header, dict):
        raise MalformedCertificate("the header is cut off or no JSON object; the file is damaged")
    frames, at = [], 8 + length
    while at < len(data):
        size = _u32(data, at + 1)
        end = at + 5 + size + HASH_BYTES
        if end > len(data):
            raise MalformedCertificate(f"the frame at byte {at} is cut off")
        name = NAMES.get(data[at], f"type {data[at]}")
        frames.append(Frame(name, end - at, _payload(name, data[at + 5 : at + 5 + size])))
        at = end
    return CertificateFile(header, 8 + length, tuple(frames), len(data))


def tree_shape(payload: bytes, leaves: int, recipes: int = 0, forks: int = 0) -> TreeShape:
    """Statistics of a TREE payload that has so many leaves; raises MalformedCertificate.

    The payload is the preorder of all trees, one LEB128 number a node: cuts first, then the recipes and forks of the
    plan, then leaf kinds.  Where the kinds begin is not in the file, but the leaves are the nodes with the largest
    numbers (taken for granted: the first kind is in use).
    """
    numbers = _numbers(payload)
    if not 0 < leaves <= len(numbers):
        raise MalformedCertificate(f"the header says {leaves} leaves, but the TREE frame has {len(numbers)} nodes")
    least = sorted(numbers)[-leaves]
    starts = least - forks - recipes, least - forks, least
    groups: tuple[Counter[int], ...] = (Counter(), Counter(), Counter(), Counter())
    for number in numbers:
        group = sum(number >= start for start in starts)
        groups[group][number - starts[group - 1] if group else number] += 1
    if groups[3].total() != leaves:
        raise MalformedCertificate("the TREE frame has another number of leaves than the header says")
    trees = depth = 0
    waiting: list[int] = []  # depths of the children still to come
    for number in numbers:
        if not waiting:
            trees += 1
            waiting.append(0)
        level = waiting.pop()
        depth = max(depth, level)
        if starts[0] <= number < starts[1]:
            waiting.append(level)  # a derivation has one child, the same node
        elif number < least:
            waiting += (level + 1, level + 1)
    if waiting:
        raise MalformedCertificate(f"the TREE frame is cut off: {len(waiting)} subtrees are missing")
    return TreeShape(trees, len(numbers), leaves, depth, *groups)


def _numbers(payload: bytes) -> list[int]:
    """All numbers of a payload that holds nothing else; raises MalformedCertificate."""
    numbers, value, shift = [], 0, 0
    for byte in payload:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(value)
            value = shift = 0
    if shift:
        raise MalformedCertificate("a frame ends in the middle of a number")
    return numbers


def _payload(name: str, stored: bytes) -> bytes:
    if name == "footer":
        return stored
    stream = zlib.decompressobj()
    try:
        payload = stream.decompress(stored, MAX_PAYLOAD)
    except zlib.error as error:
        raise MalformedCertificate(f"the frame {name} cannot be decompressed ({error})") from error
    if not stream.eof:
        raise MalformedCertificate(f"the frame {name} is cut off or longer than {MAX_PAYLOAD} bytes")
    return payload


def _u32(data: bytes, at: int) -> int:
    if at + 4 > len(data):
        raise MalformedCertificate("the file is cut off")
    return int(struct.unpack_from("<I", data, at)[0])
