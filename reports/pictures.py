"""Values as pictures: which inputs are images, and images as PNG files inside the page."""

from __future__ import annotations

import base64
import struct
import zlib
from math import isqrt, prod

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float64]
LEAST = 64  # values of a vector that is drawn as a square


def image_shape(shape: tuple[int, ...], count: int) -> tuple[int, int, int] | None:
    """Height, width and channels of what is drawn as an image; None for a vector.

    Tensors of channels, height and width (or with the channels last) are images; so are long vectors whose length is a
    square, or three times a square, for data sets of images are often made flat.
    """
    sizes = tuple(size for size in shape if size != 1)
    if prod(shape) != count or count < LEAST:
        return None
    if len(sizes) == 2:
        return sizes[0], sizes[1], 1
    if len(sizes) == 3 and sizes[0] in (3, 4):
        return sizes[1], sizes[2], sizes[0]
    if len(sizes) == 3 and sizes[2] in (3, 4):
        return sizes[0], sizes[1], sizes[2]
    if len(sizes) != 1:
        return None
    for channels in (1, 3):
        side = isqrt(count // channels)
        if channels * side * side == count:
            return side, side, channels
    return None


def is_channels_last(shape: tuple[int, ...]) -> bool:
    sizes = tuple(size for size in shape if size != 1)
    return len(sizes) == 3 and sizes[2] in (3, 4) and sizes[0] not in (3, 4)


def arranged(values: Values, shape: tuple[int, ...], size: tuple[int, int, int]) -> Values:
    """(height, width, channels) of flat values."""
    height, width, channels = size
    if is_channels_last(shape):
        return values.reshape(height, width, channels)
    return np.moveaxis(values.reshape(channels, height, width), 0, 2)


def grey(values: Values, low: float, high: float) -> Pixels:
    """(h, w, c) as grey or coloured pixels between two values."""
    scaled = (values - low) / ((high - low) or 1.0)
    found = np.clip(np.rint(255 * scaled), 0, 255).astype(np.uint8)
    return found[:, :, :3]


def difference(change: Values, most: float) -> Pixels:
    """(h, w, c) of changes as pixels: blue where it is less, orange where it is more, white where it is the same."""
    mean = change.mean(axis=2) / (most or 1.0)
    ends = np.where(mean[:, :, None] > 0, np.array([180, 83, 9.0]), np.array([23, 90, 170.0]))
    share = np.minimum(1.0, np.abs(mean))[:, :, None]
    found: Pixels = np.rint(255 + (ends - 255) * share).astype(np.uint8)
    return found


def png(pixels: Pixels) -> str:
    """The data of an image element: (h, w, 1) grey or (h, w, 3) coloured pixels as PNG."""
    height, width, channels = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, width * channels)], axis=1)
    head = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        (_chunk(b"IHDR", head), _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)), _chunk(b"IEND", b""))
    )
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
