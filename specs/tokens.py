"""Text of a VNN-LIB 1.0 file: decompression, tokens, positions.

A token is an atom of text.  To be fast on files of tens of megabytes, a parenthesised list of exactly three words,
`(<= X_0 0.5)` or `(declare-const X_0 Real)`, is one token: one regular-expression match and one dictionary look-up
instead of five of each, and equal texts are recognised without looking inside.  Positions are not recorded; a
reader that has to report token number k asks for it, and the text is scanned a second time up to there.

Text is cut into chunks at line ends.  A token never needs to span a line end: a three-word list that does is met as
its five parts, which mean the same.
"""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from itertools import islice

from farkas.specs.errors import MalformedProperty

GZIP_MAGIC = b"\x1f\x8b"
MAX_BYTES = 1 << 30  # decompressed; the largest public property has about 130 MB

_CHUNK = 1 << 20
_SPACE = r"[ \t\r\n\f\v]"
_WORD = r"[^ \t\r\n\f\v();]++"
_TOKEN = re.compile(
    rf"\({_SPACE}*+{_WORD}{_SPACE}++{_WORD}{_SPACE}++{_WORD}{_SPACE}*+\)|[()]|{_WORD}|;[^\r\n]*+", re.ASCII
)
_PART = re.compile(rf"[()]|{_WORD}", re.ASCII)


def decompressed(data: bytes) -> bytes:
    """The bytes themselves, or what they hold when they start with gzip's magic number.

    Raises MalformedProperty on a damaged or truncated archive and on one that holds more than MAX_BYTES.
    """
    if not data.startswith(GZIP_MAGIC):
        return data
    try:
        # In pieces: a read of MAX_BYTES takes that much memory first, whatever there is to be read.
        pieces, size = [], 0
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            while size <= MAX_BYTES and (piece := stream.read(_CHUNK)):
                pieces.append(piece)
                size += len(piece)
        raw = b"".join(pieces)
    except (OSError, EOFError, zlib.error) as error:
        raise MalformedProperty(f"the gzip data is damaged ({error}); fetch the file again", 1, 1) from error
    if len(raw) > MAX_BYTES:
        raise MalformedProperty(f"the gzip data holds more than {MAX_BYTES} bytes of text; split the property", 1, 1)
    return raw


def tokens(text: str) -> Iterator[str]:
    """The tokens in order, comments (`;` to the end of the line) included.

    Everything that is not white space belongs to some token, so nothing can go unread.
    """
    for start, end in _chunks(text):
        yield from _TOKEN.findall(text, start, end)


def parts(token: str) -> list[str]:
    """The parentheses and words of a token; of `(a b c)` these five: `(`, `a`, `b`, `c`, `)`."""
    return _PART.findall(token)


def position(text: str, token: int, part: int = 0) -> tuple[int, int]:
    """Line and column, from 1, of a part of the token with this number; of the end of the text when there is none."""
    matches = (match for start, end in _chunks(text) for match in _TOKEN.finditer(text, start, end))
    match = next(islice(matches, token, None), None)
    if match is None:
        offset = len(text)
    else:
        inside = next(islice(_PART.finditer(match.group()), part, None), None)
        offset = match.start() + (inside.start() if inside is not None else 0)
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def _chunks(text: str) -> Iterator[tuple[int, int]]:
    """Consecutive pieces (start, end) of about a megabyte that end behind a line end."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + _CHUNK) + 1 or len(text)
        yield start, end
        start = end
