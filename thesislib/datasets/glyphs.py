"""Characters in many faces on coloured grounds: images that need no download, as many and as hard as asked.

A set is a :class:`Drawing`; :func:`draw` makes it, always the same. All that decides it is in this file:
code, parameters, and the fonts by their hash. So its hash is the fingerprint of every set in `PRESETS`.

``part`` is ``train`` or ``test``.
"""

from __future__ import annotations

import functools
import hashlib
import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from thesislib.datasets.catalogue import FACES, FONTS, DatasetError

# Of the files one after the other.
FONTS_SHA256 = "48a453ef5fabfad17fe517d4c5299782c899bc368906c56f87315e877d6a717d"
# Every face has them all, and no two are alike once all are of one size (no O beside Q, no small c, no Λ).
SYMBOLS = "ABDEGHKMRSCFJLNPQTUVWXYZ23456789ΓΔΘΞΣΦΨΩДЖЛЦЧЭЮЯabdefghnqrtαβδεζηλμξσφω&@#%?!+=<>$§*"
EM = 96  # pixels; a character is drawn once at this size, then turned and shrunk
FINER = 4  # an image is drawn so many times finer, then averaged
SPOTS = 4  # the ground's texture has so many soft spots a side
RANGES = {
    "height": (0.2, 1),
    "rotation": (0, 90),
    "shear": (0, 1),
    "zoom": (0, 0.5),
    "shift": (0, 0.3),
    "slope": (0, 0.5),
    "texture": (0, 0.2),
    "noise": (0, 0.2),
}


@dataclass(frozen=True)
class Drawing:
    """What a set of glyphs looks like. Lengths are fractions of an image's side, colours go from 0 to 1.

    Attributes
    ----------
    classes : int
        The first so many of `SYMBOLS`.
    size : int
        Side of an image in pixels, 8 to 128.
    train, test : int or tuple of int
        Images of a class: one number for all, or one for each, for a long tail.
    height : float
        The longer side of a character.
    rotation, shear, zoom, shift : float
        Standard deviations of its turn (degrees), slant (tangent), size (logarithm) and place.
    ground : tuple of float
        Least and largest value of a colour behind light ink; behind dark ink it is 1 minus that.
    contrast : tuple of float
        Least and largest distance of ink from ground, in the channel where it is largest.
    slope, texture, noise : float
        Change of the ground from side to side, and standard deviations of its soft spots and of each pixel.
    faces : tuple of str
        Fonts to draw with, out of ``thesislib.datasets.catalogue.FACES``.
    seed : int
        Another one gives other images of the same kind.

    Raises
    ------
    DatasetError
        If a value is impossible; the message says what would do.
    """

    classes: int
    size: int
    train: int | tuple[int, ...]
    test: int | tuple[int, ...]
    height: float = 0.8
    rotation: float = 8.0
    shear: float = 0.1
    zoom: float = 0.08
    shift: float = 0.04
    ground: tuple[float, float] = (0.2, 0.42)
    contrast: tuple[float, float] = (0.3, 0.5)
    slope: float = 0.12
    texture: float = 0.04
    noise: float = 0.025
    faces: tuple[str, ...] = FACES
    seed: int = 0

    def __post_init__(self) -> None:
        _whole("classes", self.classes, 2, len(SYMBOLS))
        _whole("size", self.size, 8, 128)
        _whole("seed", self.seed, 0, 2**32)
        for part in ("train", "test"):
            if len(counts := self.counts(part)) != self.classes:
                raise DatasetError(
                    f"{part} has {len(counts)} numbers for {self.classes} classes; give one each"
                )
            for count in counts:
                _whole(part, count, 1, 100_000)
        for name, (low, high) in RANGES.items():
            _real(name, getattr(self, name), low, high)
        for name in ("ground", "contrast"):
            _bounds(name, getattr(self, name))
        if self.ground[1] + self.contrast[1] > 1:
            raise DatasetError(
                f"ground {self.ground} and contrast {self.contrast} give ink above 1; lower one"
            )
        if not self.faces or not isinstance(self.faces, tuple) or set(self.faces) - set(FACES):
            raise DatasetError(f"faces are {self.faces!r}, expected a tuple out of {', '.join(FACES)}")

    def counts(self, part: str) -> tuple[int, ...]:
        """Images of each class in ``"train"`` or ``"test"``."""
        number = getattr(self, part)
        return number if isinstance(number, tuple) else (number,) * self.classes


def draw(drawing: Drawing) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Draw a set. Each is drawn once a process.

    Returns
    -------
    train_images : array of uint8, shape (n, size, size, 3)
    train_labels : array of int64, shape (n,)
        In random order.
    test_images, test_labels : arrays
        The same of the test part. No image is in both, since no place, turn or colour comes twice.
    classes : tuple of str
        The characters.

    Raises
    ------
    DatasetError
        If matplotlib, which ships the fonts, is missing, or its fonts are other ones.
    """
    return *(array.copy() for array in _arrays(drawing)), tuple(SYMBOLS[: drawing.classes])


@functools.lru_cache(8)
def _arrays(drawing: Drawing) -> tuple[np.ndarray, ...]:
    return tuple(
        array for number, part in enumerate(("train", "test")) for array in _part(drawing, part, number)
    )


def _part(drawing: Drawing, part: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([drawing.seed, number])
    counts = drawing.counts(part)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    faces = rng.integers(len(drawing.faces), size=len(labels))
    glyphs = [(SYMBOLS[k], drawing.faces[f]) for k, f in zip(labels, faces, strict=True)]
    ink = coverage(glyphs, drawing.size, _poses(drawing, len(labels), rng))
    return _coloured(drawing, ink, rng), labels


def _poses(drawing: Drawing, count: int, rng: np.random.Generator) -> np.ndarray:
    """Of each image: height, turn (radians), slant, shift to the right and down."""
    spread = np.array(
        [drawing.zoom, math.radians(drawing.rotation), drawing.shear, drawing.shift, drawing.shift]
    )
    # Beyond two standard deviations a glyph would leave the image, or turn into another.
    poses = spread * np.clip(rng.standard_normal((count, 5)), -2, 2)
    poses[:, 0] = drawing.height * np.exp(poses[:, 0])
    return poses


def coverage(glyphs: Sequence[tuple[str, str]], size: int, poses: np.ndarray) -> np.ndarray:
    """How much of each pixel is ink.

    Parameters
    ----------
    glyphs : sequence of (character, font)
    size : int
        Side of an image in pixels.
    poses : array of float, shape (n, 5)
        Height, turn (radians), slant, shift to the right and down of each.

    Returns
    -------
    array of float32, shape (n, size, size)
        0 to 1.
    """
    side = size * FINER
    ink = np.empty((len(glyphs), size, size), np.float32)
    for k, (glyph, pose) in enumerate(zip(glyphs, poses.tolist(), strict=True)):
        mask = _mask(*glyph)
        moved = mask.transform(
            (side, side), Image.Transform.AFFINE, _affine(mask.size, side, *pose), Image.Resampling.BILINEAR
        )
        ink[k] = moved.reduce(FINER)
    return ink / 255


def _affine(
    mask: tuple[int, int], side: int, height: float, turn: float, slant: float, right: float, down: float
) -> tuple[float, ...]:
    """Pillow's six numbers: where in the mask a point of the image comes from; centre goes to centre."""
    scale = (max(mask) - 2) / (height * side)
    cos, sin = scale * math.cos(turn), scale * math.sin(turn)
    a, b, c, d = cos + slant * sin, -sin + slant * cos, sin, cos
    x, y = side * (0.5 + right), side * (0.5 + down)
    return a, b, mask[0] / 2 - a * x - b * y, c, d, mask[1] / 2 - c * x - d * y


@functools.cache
def _mask(symbol: str, face: str) -> Image.Image:
    """A character at size `EM`, white on black, with a black border of one pixel."""
    font = ImageFont.truetype(_fonts()[face], EM, layout_engine=ImageFont.Layout.BASIC)
    canvas = Image.new("L", (3 * EM, 3 * EM))
    ImageDraw.Draw(canvas).text((EM, EM), symbol, 255, font)
    left, top, right, bottom = canvas.getbbox()
    return canvas.crop((left - 1, top - 1, right + 1, bottom + 1))


@functools.cache
def _fonts() -> dict[str, Path]:
    """The file of each face, once all are known to be those that the sets were made with."""
    spec = find_spec("matplotlib")  # finds the folder without the cost of importing the package
    if spec is None:
        raise DatasetError("glyphs are drawn from fonts that come with matplotlib: `pip install matplotlib`")
    paths = [Path(spec.submodule_search_locations[0], font) for font in FONTS]
    if lacking := [path.name for path in paths if not path.is_file()]:
        raise DatasetError(f"matplotlib has no {', '.join(lacking)} here: install it anew from its wheel")
    if hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest() != FONTS_SHA256:
        raise DatasetError(
            "matplotlib's fonts are not those of its releases 3.10 and 3.11: glyphs would be other images; "
            "install one of these, or, if other images are wanted, renew FONTS_SHA256 in glyphs.py"
        )
    return dict(zip(FACES, paths, strict=True))


def _coloured(drawing: Drawing, ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ink of one colour over a ground of another, uint8 of shape (n, size, size, 3)."""
    count, size = ink.shape[:2]
    colour = _uniform(rng, drawing.ground, (count, 1, 1, 3))
    hue = _uniform(rng, (0.4, 1), (count, 1, 1, 3))
    contrast = _uniform(rng, drawing.contrast, (count, 1, 1, 1)) * hue / hue.max(axis=-1, keepdims=True)
    values = colour + _slope(drawing, size, count, rng) + _spots(drawing, size, count, rng)
    values += ink[..., None] * contrast
    values += drawing.noise * rng.standard_normal(values.shape, np.float32)
    dark = rng.random(count) < 0.5
    values[dark] = 1 - values[dark]
    return np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)


def _slope(drawing: Drawing, size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Linear change of each colour over the image, of shape (n, size, size, 3)."""
    place = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    down, right = drawing.slope * _uniform(rng, (-0.5, 0.5), (2, count, 1, 1, 3))
    return down * place[:, None, None] + right * place[:, None]


def _spots(drawing: Drawing, size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Texture of shape (n, size, size, 1): random values on a coarse grid, linear between them."""
    corners = drawing.texture * rng.standard_normal((count, SPOTS, SPOTS), np.float32)
    steps = np.linspace(0, SPOTS - 1, size)[:, None] - np.arange(SPOTS)
    near = np.clip(1 - np.abs(steps), 0, 1).astype(np.float32)
    return np.einsum("yi,nij,xj->nyx", near, corners, near)[..., None]


def _uniform(rng: np.random.Generator, bounds: tuple[float, float], shape: tuple[int, ...]) -> np.ndarray:
    low, high = bounds
    return np.float32(low) + np.float32(high - low) * rng.random(shape, np.float32)


def _whole(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, numbers.Integral) or not low <= value <= high:
        raise DatasetError(f"{name} = {value!r}, expected a whole number from {low} to {high}")


def _real(name: str, value: object, low: float, high: float) -> None:
    if not isinstance(value, numbers.Real) or not low <= value <= high:
        raise DatasetError(f"{name} = {value!r}, expected a number from {low} to {high}")


def _bounds(name: str, value: object) -> None:
    if not isinstance(value, tuple) or len(value) != 2 or not 0 <= value[0] <= value[1] <= 1:
        raise DatasetError(f"{name} = {value!r}, expected a tuple (least, largest) within 0 and 1")


PRESETS = {
    "glyphs": Drawing(classes=10, size=16, train=200, test=60),
    "glyphs_many": Drawing(classes=40, size=24, train=80, test=20),
}
