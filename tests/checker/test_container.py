"""The certificate file: one form, every bit bound, resource limits."""

from __future__ import annotations

import struct
import zlib
from dataclasses import asdict, replace
from hashlib import blake2b

import pytest

from farkas.checker import container
from farkas.checker.container import FOOTER, LEAVES, TREE, Header, canonical_json, decode, encode
from farkas.checker.errors import CertificateRejected

HEADER = Header(
    cases=1,
    intermediate=(0, 2),
    leaves=2,
    networks=(("", "ab" * 32),),
    off_grid=0,
    producer="a test",
    property="cd" * 32,
    query="ef" * 32,
    semantics="real",
    verdict="unsat",
)
FRAMES = [(LEAVES, b"[]"), (TREE, b"\x00\x01\x01")]


def frame(kind: int, payload: bytes) -> bytes:
    head = struct.pack("<BI", kind, len(payload)) + payload
    return head + blake2b(head, digest_size=16).digest()


def assemble(header: bytes, frames: list[tuple[int, bytes]]) -> bytes:
    """A file with a right footer around whatever is given, payloads as they stand in the file."""
    body = b"NNC1" + struct.pack("<I", len(header)) + header + b"".join(frame(*f) for f in frames)
    return body + frame(FOOTER, blake2b(body, digest_size=32).digest())


def fields(**changes: object) -> bytes:
    data = {**asdict(HEADER), "format": 1, **changes}
    return canonical_json({k: v for k, v in data.items() if v is not None})


def compressed() -> list[tuple[int, bytes]]:
    return [(kind, zlib.compress(payload, 9)) for kind, payload in FRAMES]


def test_what_is_written_is_read() -> None:
    assert decode(encode(HEADER, FRAMES)) == (HEADER, dict(FRAMES))
    assert assemble(fields(), compressed()) == encode(HEADER, FRAMES)


def test_every_flipped_bit_is_rejected() -> None:
    data = encode(HEADER, FRAMES)
    for position in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            with pytest.raises(CertificateRejected):
                decode(bytes(flipped))


def test_every_truncation_and_extension_is_rejected() -> None:
    data = encode(HEADER, FRAMES)
    for length in range(len(data)):
        with pytest.raises(CertificateRejected):
            decode(data[:length])
    with pytest.raises(CertificateRejected, match="1 bytes follow"):
        decode(data + b"\0")


@pytest.mark.parametrize(
    "frames",
    [
        [],
        compressed()[:1],
        compressed()[::-1],
        [*compressed(), compressed()[1]],
        [compressed()[0], *compressed()],
        [*compressed(), (container.POINT, zlib.compress(b"{}"))],
        [*compressed(), (7, zlib.compress(b""))],
    ],
)
def test_frames_that_are_missing_swapped_repeated_or_unknown_are_rejected(frames: list[tuple[int, bytes]]) -> None:
    with pytest.raises(CertificateRejected, match="was expected"):
        decode(assemble(fields(), frames))


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (fields() + b" ", "canonical"),
        (fields().replace(b":1,", b": 1,", 1), "canonical"),
        (fields().replace(b'{"cases"', b'{"cases":1,"cases"'), "canonical"),
        (fields().replace(b'"leaves":2', b'"leaves":2.0'), "not an integer"),
        (fields().replace(b'"leaves":2', b'"leaves":NaN'), "not an integer"),
        (fields().replace(b'"leaves":2', b'"leaves":' + b"9" * 5000), "digits"),
        (fields().replace(b"a test", b"\xc3\xa4 test"), "canonical JSON"),
        (b"[" * 60000, "canonical JSON"),
        (b"[]", "keys must be"),
        (fields(producer=None), "keys must be"),
        (fields(more=1), "keys must be"),
        (fields(format=2), "format is 2"),
        (fields(format=True), "format is True"),
        (fields(kernel="crown-fp-9"), "kernel is"),
        (fields(kernel="crown-fp-2"), "intermediate must be"),
        (fields(kernel="crown-fp-2", intermediate=[], verdict="sat"), "no rule for sat"),
        (fields(kernel=["crown-fp-1"]), "kernel is"),
        (fields(semantics="f64-any"), "semantics is"),
        (fields(verdict="unknown"), "verdict is"),
        (fields(leaves=-1), "leaves must be"),
        (fields(cases="1"), "cases must be"),
        (fields(off_grid=False), "off_grid must be"),
        (fields(producer=1), "producer must be"),
        (fields(networks=[]), "networks must be"),
        (fields(networks=[["", 1]]), "networks must be"),
        (fields(networks=[["f", "a"], ["g"]]), "networks must be"),
        (fields(networks={"f": "a"}), "networks must be"),
        (fields(intermediate=[2, 0]), "intermediate"),
        (fields(intermediate=[0, 0]), "intermediate"),
        (fields(intermediate=[4]), "intermediate"),
        (fields(intermediate=[-1]), "intermediate"),
        (fields(intermediate=[True]), "intermediate"),
        (fields(intermediate=0), "intermediate"),
        (fields(producer="x" * (1 << 16)), "too large"),
    ],
)
def test_headers_that_are_not_the_one_form_are_rejected(header: bytes, why: str) -> None:
    with pytest.raises(CertificateRejected, match=why):
        decode(assemble(header, compressed()))


def test_a_zip_bomb_is_rejected_within_its_limit() -> None:
    squeezer = zlib.compressobj(9)
    bomb = b"".join(squeezer.compress(bytes(1 << 20)) for _ in range(256)) + squeezer.flush()
    assert len(bomb) < 1 << 19
    with pytest.raises(CertificateRejected, match="longer than"):
        decode(assemble(fields(), [compressed()[0], (TREE, bomb)]))


@pytest.mark.parametrize("kind", [container.PLAN, container.VECTORS])
def test_plans_and_vectors_have_limits(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(container.MAX_PAYLOAD, kind, 100)
    frames = [(container.PLAN, b"{}"), (container.VECTORS, b""), *FRAMES]
    header = replace(HEADER, kernel=container.CROWN_2, intermediate=())
    assert decode(encode(header, frames))[1] == dict(frames)
    grown = [(k, bytes(101) if k == kind else payload) for k, payload in frames]
    with pytest.raises(CertificateRejected, match="longer than 100"):
        decode(encode(header, grown))


@pytest.mark.parametrize("payload", [b"", b"\x00", zlib.compress(b"abc")[:-1], zlib.compress(b"abc") + b"x"])
def test_streams_that_are_broken_or_have_a_tail_are_rejected(payload: bytes) -> None:
    with pytest.raises(CertificateRejected, match=r"cut off|decompressed"):
        decode(assemble(fields(), [compressed()[0], (TREE, payload)]))


def test_a_length_beyond_the_file_is_rejected() -> None:
    data = bytearray(encode(HEADER, FRAMES))
    at = 8 + len(fields()) + 1
    data[at : at + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(CertificateRejected, match="cut off"):
        decode(bytes(data))
