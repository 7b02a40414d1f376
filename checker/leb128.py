"""Numbers of any size in bytes: LEB128, seven bits a byte, the lowest first, in the shortest form only."""

from __future__ import annotations

from farkas.checker.errors import CertificateRejected


def read(payload: bytes, at: int, limit: int, frame: str) -> tuple[int, int]:
    """(number, next position); the number is below `limit`.  Raises CertificateRejected, with the byte position."""
    number = shift = 0
    longest = limit.bit_length() + 14
    while True:
        if at >= len(payload):
            raise CertificateRejected(f"{frame} byte {at}", "it is cut off")
        byte = payload[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if number >= limit or shift > longest:
            raise CertificateRejected(f"{frame} byte {at - 1}", f"a number below {limit} was expected")
        if byte < 0x80:
            break
    if byte == 0 and shift > 7:
        raise CertificateRejected(f"{frame} byte {at - 1}", "a number is not in its shortest form")
    return number, at


def zigzag(number: int) -> int:
    """The signed number of an unsigned one: 0, -1, 1, -2, 2, ..."""
    return -(number >> 1) - 1 if number & 1 else number >> 1
