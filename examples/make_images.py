"""Writes images of strokes with their kinds to `examples/strokes.npz`: `python -m examples.make_images [FILE]`.

Drawn as the images that the classifiers were trained on, from another seed, so they have not seen these.  Pixels are
rounded to multiples of 1/256, which are binary32 numbers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from examples.make_networks import SIDE, strokes

COUNT = 100


def main(path: str) -> None:
    """Writes `images`, (100, 8, 8) float32, and `labels`, (100,) int64: horizontal, vertical, falling, rising."""
    images, kinds = strokes(np.random.default_rng(100), COUNT)
    pixels = (np.round(images * 256) / 256).astype(np.float32).reshape(COUNT, SIDE, SIDE)
    np.savez_compressed(path, images=pixels, labels=kinds.argmax(axis=1))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).resolve().parent / "strokes.npz"))
