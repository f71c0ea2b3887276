"""Frames, maps and perturbations as text, so that a figure can be drawn again from its numbers alone.

Thesis, section 3.4.5.

``pixels`` are uint8 arrays, ``text`` is what a frame's cell holds.
"""

from __future__ import annotations

import base64
import zlib

import numpy as np

NONE = "-"
"""In place of a picture, where a row has none."""


def bytes_of(pixels: np.ndarray) -> np.ndarray:
    """Values in [0, 1] as bytes, channels last."""
    return np.rint(255 * np.moveaxis(np.asarray(pixels), 0, -1).clip(0, 1)).astype(np.uint8)


def pack(array: np.ndarray) -> str:
    """An array as text: type, shape, and the numbers, compressed, in base 64."""
    array = np.ascontiguousarray(array)
    content = base64.b64encode(zlib.compress(array.tobytes(), 9)).decode()
    return f"{array.dtype.str}:{'x'.join(map(str, array.shape))}:{content}"


def unpack(text: str) -> np.ndarray:
    """What :func:`pack` packed."""
    kind, shape, content = text.split(":")
    numbers = np.frombuffer(zlib.decompress(base64.b64decode(content)), kind)
    return numbers.reshape([int(n) for n in shape.split("x")])
