"""The certificate file, format 1: `magic | u32 length | header | frames | footer`, every byte accounted for.

    magic    "NNC1"
    header   canonical JSON: ASCII, sorted keys, no spaces, no floats; the keys of `Header`, all of them
    frame    u8 type | u32 length | payload (zlib) | 16-byte BLAKE2b of type, length and payload
    footer   a frame of type 255 whose payload, not compressed, is the 32-byte BLAKE2b of everything before it

Numbers are little-endian.  `FRAMES` says which frames a certificate has, by the rule and the verdict in its header:
those, in this order, and nothing else.  `encode` writes the one form that `decode` reads.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

from farkas.checker.errors import CertificateRejected
from farkas.checker.plan import RULES
from farkas.checker.query import SEMANTICS

MAGIC = b"NNC1"
FORMAT = 1
CROWN_1, CROWN_2, CROWN_3, CROWN_4 = KERNELS = ("crown-fp-1", "crown-fp-2", "crown-fp-3", "crown-fp-4")
PLANNED = (CROWN_2, CROWN_4)  # bounds are derived where the certificate says so
CURVED = (CROWN_3, CROWN_4)  # the first two over ellipsoids of inputs
VERDICTS = ("sat", "unsat")
LEAVES, TREE, POINT, PLAN, VECTORS, FOOTER = 1, 2, 3, 4, 5, 255
FRAMES = {
    (CROWN_1, "unsat"): (LEAVES, TREE),
    (CROWN_2, "unsat"): (PLAN, VECTORS, LEAVES, TREE),
    (CROWN_3, "unsat"): (LEAVES, TREE),
    (CROWN_4, "unsat"): (PLAN, VECTORS, LEAVES, TREE),
    (CROWN_1, "sat"): (POINT,),
}
MAX_HEADER = 1 << 16
MAX_PAYLOAD = {LEAVES: 1 << 26, TREE: 1 << 25, POINT: 1 << 26, PLAN: 1 << 25, VECTORS: 1 << 28}
MAX_DIGITS = 4000


@dataclass(frozen=True)
class Header:
    """What the certificate says that it is about; everything but `producer` is checked.

    networks: (name, SHA-256 of the file) in the order in which the property counts their inputs and outputs; the name
    is empty where the property gives none.
    """

    cases: int
    intermediate: tuple[int, ...]
    leaves: int
    networks: tuple[tuple[str, str], ...]
    off_grid: int
    producer: str
    property: str
    query: str
    semantics: str
    verdict: str
    kernel: str = CROWN_1


def canonical_json(data: object) -> bytes:
    """The one JSON text of `data`."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def parse_json(data: bytes, where: str) -> Any:
    """The value of a canonical JSON text without floats.  Raises CertificateRejected."""
    try:
        value = json.loads(data.decode("ascii"), parse_float=_no_float, parse_constant=_no_float, parse_int=_integer)
        canonical = canonical_json(value)
    except (ValueError, RecursionError) as error:
        raise CertificateRejected(where, f"it is no canonical JSON: {error}") from error
    if canonical != data:
        raise CertificateRejected(where, "its JSON is not in canonical form")
    return value


def _no_float(text: str) -> None:
    raise ValueError(f"{text[:20]} is not an integer")


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"an integer has {len(text)} digits")
    return int(text)


def encode(header: Header, frames: Sequence[tuple[int, bytes]]) -> bytes:
    """The certificate file; frames as (type, payload before compression)."""
    fields = {**asdict(header), "format": FORMAT}
    text = canonical_json(fields)
    parts = [MAGIC, struct.pack("<I", len(text)), text]
    parts += [_frame(kind, zlib.compress(payload, 9)) for kind, payload in frames]
    body = b"".join(parts)
    return body + _frame(FOOTER, blake2b(body, digest_size=32).digest())


def _frame(kind: int, payload: bytes) -> bytes:
    head = struct.pack("<BI", kind, len(payload)) + payload
    return head + blake2b(head, digest_size=16).digest()


def decode(data: bytes) -> tuple[Header, dict[int, bytes]]:
    """Header and decompressed payloads by frame type.  Raises CertificateRejected."""
    if data[:4] != MAGIC or len(data) < 8:
        raise CertificateRejected("magic", f"a certificate starts with {MAGIC.decode()}, found {data[:4]!r}")
    (length,) = struct.unpack_from("<I", data, 4)
    if length > min(MAX_HEADER, len(data) - 8):
        raise CertificateRejected("header", f"its length {length} is too large")
    header = _header(parse_json(data[8 : 8 + length], "header"))
    at = 8 + length
    payloads: dict[int, bytes] = {}
    for kind in FRAMES[header.kernel, header.verdict]:
        payload, at = _read_frame(data, at, kind)
        payloads[kind] = _decompress(payload, kind)
    digest, end = _read_frame(data, at, FOOTER)
    if digest != blake2b(data[:at], digest_size=32).digest():
        raise CertificateRejected("footer", "its hash is not that of the file")
    if end != len(data):
        raise CertificateRejected("footer", f"{len(data) - end} bytes follow it")
    return header, payloads


def _read_frame(data: bytes, at: int, kind: int) -> tuple[bytes, int]:
    """(payload, position behind the frame)."""
    where = f"frame at byte {at}"
    if len(data) - at < 5:
        raise CertificateRejected(where, "the file is cut off")
    found, length = struct.unpack_from("<BI", data, at)
    if found != kind:
        raise CertificateRejected(where, f"a frame of type {kind} was expected, found {found}")
    end = at + 5 + length
    if end + 16 > len(data):
        raise CertificateRejected(where, "the file is cut off")
    if blake2b(data[at:end], digest_size=16).digest() != data[end : end + 16]:
        raise CertificateRejected(where, "its hash does not fit")
    return data[at + 5 : end], end + 16


def _decompress(payload: bytes, kind: int) -> bytes:
    """The zlib stream, all of it, within the limit."""
    limit = MAX_PAYLOAD[kind]
    stream = zlib.decompressobj()
    try:
        result = stream.decompress(payload, limit)
    except zlib.error as error:
        raise CertificateRejected(f"frame type {kind}", f"it cannot be decompressed: {error}") from error
    if not stream.eof or stream.unused_data or stream.unconsumed_tail:
        raise CertificateRejected(f"frame type {kind}", f"it is cut off, has a tail, or is longer than {limit} bytes")
    return result


def _pairs(data: Any) -> list[Any]:
    if not isinstance(data, list) or not data:
        raise CertificateRejected("header", f"networks must be [name, hash] pairs, found {data!r}")
    return data


def _network(pair: Any) -> tuple[str, str]:
    match pair:
        case [str(name), str(digest)]:
            return name, digest
        case other:
            raise CertificateRejected("header", f"networks must be [name, hash] pairs, found {other!r}")


def _header(data: Any) -> Header:
    """The header, every field of the right type and nothing else."""
    names = {"format", *Header.__dataclass_fields__}
    if not isinstance(data, dict) or set(data) != names:
        found = sorted(data) if isinstance(data, dict) else type(data).__name__
        raise CertificateRejected("header", f"its keys must be {sorted(names)}, found {found}")
    known_words = {"format": [FORMAT], "kernel": KERNELS, "semantics": SEMANTICS, "verdict": VERDICTS}
    for name, known in known_words.items():
        if not isinstance(data[name], str | int) or isinstance(data[name], bool) or data[name] not in known:
            raise CertificateRejected("header", f"{name} is {data[name]!r}; known: {', '.join(map(str, known))}")
    for name in ("cases", "leaves", "off_grid"):
        if type(data[name]) is not int or data[name] < 0:
            raise CertificateRejected("header", f"{name} must be a number, found {data[name]!r}")
    for name in ("producer", "property", "query"):
        if not isinstance(data[name], str):
            raise CertificateRejected("header", f"{name} must be a string, found {data[name]!r}")
    networks = tuple(_network(pair) for pair in _pairs(data["networks"]))
    rules = data["intermediate"]
    if not isinstance(rules, list) or any(type(r) is not int for r in rules) or rules != sorted(set(rules)):
        raise CertificateRejected("header", f"intermediate must be ascending slope rules, found {rules!r}")
    if rules and not (rules[0] >= 0 and rules[-1] < len(RULES)):
        raise CertificateRejected("header", f"intermediate must be slope rules below {len(RULES)}, found {rules!r}")
    if (data["kernel"], data["verdict"]) not in FRAMES:
        raise CertificateRejected("header", f"{data['kernel']} is no rule for {data['verdict']}")
    if rules and data["kernel"] in PLANNED:
        raise CertificateRejected("header", f"intermediate must be [] in {data['kernel']}, found {rules!r}")
    fields = {name: data[name] for name in Header.__dataclass_fields__}
    return Header(**{**fields, "networks": networks, "intermediate": tuple(rules)})
