"""Axes, pixels and markup."""

import base64
import math
import struct
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.reports import pictures
from farkas.reports.markup import Markup, el, join
from farkas.reports.plots import Axis, decades, even, steps

FINITE = st.floats(-1e9, 1e9, allow_nan=False)


@given(FINITE, st.floats(1e-6, 1e9))
def test_ticks_are_few_round_numbers_between_the_ends(low: float, span: float) -> None:
    high = low + span
    found = even(low, high)
    slack = 1e-6 * max(abs(low), abs(high), span)
    assert len(found) <= 8 and found == sorted(found)
    assert all(low - slack <= value <= high + slack for value in found)


@given(st.floats(1e-9, 1e6), st.floats(1.5, 1e12))
def test_ticks_of_powers_ascend_within_the_ends(low: float, ratio: float) -> None:
    found = decades(low, low * ratio)
    assert 2 <= len(found) <= 30 and found == sorted(set(found))
    assert all(low * 0.999 <= value <= low * ratio * 1.001 for value in found)


def test_an_axis_puts_its_ends_at_its_ends_and_stops_there() -> None:
    linear, log = Axis(0, 10, 100, 0, ""), Axis(0.1, 1000, 0, 400, "", log=True)
    assert (linear.at(0), linear.at(2.5), linear.at(10), linear.at(99)) == (100, 75, 0, 0)
    assert [round(log.at(x), 9) for x in (0.1, 1, 10, 1000, 0.001)] == [0, 100, 200, 400, 0]


def test_steps_keep_the_height_until_the_next_point() -> None:
    assert steps([(0, 5), (2, 3), (4, 1)]) == [(0, 5), (2, 5), (2, 3), (4, 3), (4, 1)]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 1, 28, 28), (28, 28, 1)), ((1, 3, 8, 16), (8, 16, 3)), ((1, 8, 16, 3), (8, 16, 3)),
        ((1, 784), (28, 28, 1)), ((3072,), (32, 32, 3)), ((64,), (8, 8, 1)),
        ((5,), None), ((63,), None), ((1, 100, 7, 2), None), ((65,), None),
    ],
)  # fmt: skip
def test_images_are_told_from_vectors_by_their_shape(
    shape: tuple[int, ...], expected: tuple[int, int, int] | None
) -> None:
    assert pictures.image_shape(shape, math.prod(shape)) == expected


def test_channels_come_last_wherever_they_stood() -> None:
    values = np.arange(3 * 8 * 16, dtype=float)
    first = pictures.arranged(values, (1, 3, 8, 16), (8, 16, 3))
    last = pictures.arranged(values, (1, 8, 16, 3), (8, 16, 3))
    assert first[2, 5, 1] == 1 * 8 * 16 + 2 * 16 + 5 and last[2, 5, 1] == (2 * 16 + 5) * 3 + 1


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_a_png_file_with_these_pixels(channels: int) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (4, 7, channels), dtype=np.uint8)
    text = pictures.png(pixels)
    data = base64.b64decode(text.removeprefix("data:image/png;base64,"), validate=True)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (length,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        chunks[kind] = data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length]) == (zlib.crc32(kind + chunks[kind]),)
        at += 12 + length
    assert struct.unpack(">IIBBBBB", chunks[b"IHDR"]) == (7, 4, 8, 2 if channels == 3 else 0, 0, 0, 0)
    rows = zlib.decompress(chunks[b"IDAT"])
    assert [rows[k * (1 + 7 * channels)] for k in range(4)] == [0] * 4  # no filter
    assert (
        b"".join(rows[k * (1 + 7 * channels) + 1 : (k + 1) * (1 + 7 * channels)] for k in range(4)) == pixels.tobytes()
    )


def test_greys_go_from_black_to_white_and_changes_away_from_white() -> None:
    assert pictures.grey(np.array([[[0.0], [0.5], [1.0], [2.0]]]), 0.0, 1.0).ravel().tolist() == [0, 128, 255, 255]
    less, same, more = pictures.difference(np.array([[[-1.0], [0.0], [1.0]]]), 1.0)[0].tolist()
    assert same == [255, 255, 255] and less[2] > less[0] and more[0] > more[2]


class Texts(HTMLParser):
    """What a browser reads: texts and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [value for _, value in attrs if value is not None]

    def handle_data(self, data: str) -> None:
        self.found.append(data)


@given(
    st.text(st.characters(blacklist_categories=["Cc", "Cs"])), st.text(st.characters(blacklist_categories=["Cc", "Cs"]))
)
def test_whatever_is_said_is_read_as_it_was_said_and_is_no_element(words: str, attribute: str) -> None:
    reader = Texts()
    reader.feed(el("p", words, "", [words], title=attribute))
    reader.close()
    assert reader.tags == ["p"] and reader.found[0] == attribute and "".join(reader.found[1:]) == words + words


def test_markup_stays_markup_and_absent_attributes_are_left_out() -> None:
    inner = el("b", "x")
    assert isinstance(inner, Markup)
    assert el("td", inner, None, class_="num", data_v=0.5, hidden=True, id=None, open=False) == (
        '<td class="num" data-v="0.5" hidden><b>x</b></td>'
    )
    assert join("<", inner) == "&lt;<b>x</b>" and el("line", x1=1) == '<line x1="1"/>'
