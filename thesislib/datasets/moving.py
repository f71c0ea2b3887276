"""Short films of textured things that move over textured grounds, put through a real codec.

A set is a :class:`Filming`; :func:`film` shoots any clip of it, always the same, and knows where each pixel
came from. All choices are in this file, so its hash is the fingerprint of every set in `PRESETS`.

``filming`` holds a set's choices, ``part`` is ``train`` or ``test``.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm.auto import tqdm

from thesislib.datasets.catalogue import DatasetError
from thesislib.datasets.video import decode, encode, instants, seen
from thesislib.memo import memoised

CODEC, QUANTISER = "mpeg4", (3, 3)  # as UCF-101 and HMDB-51 come: MPEG-4 part 2, well but not perfectly kept
CANVAS = 96  # side of the picture of a thing, pixels; its outline has radius 0.44 of that
MOTIONS = (
    *("left", "right", "up", "down", "nearer", "farther", "clockwise", "anticlockwise"),
    *("shake", "cross", "circle", "still"),
)
OUTLINES = (
    *("triangle", "square", "pentagon", "hexagon"),
    *("three petals", "four petals", "five petals", "six petals"),
)
PERIOD = 8  # frames: a shake goes there and back


@dataclass(frozen=True)
class Filming:
    """What a set of clips looks like. Lengths are pixels of the clip as encoded, colours go from 0 to 1.

    Attributes
    ----------
    motions : tuple of str
        Class `k` moves like ``motions[k % len(motions)]``, out of `MOTIONS`.
    classes : int
        Class `k` looks like look `k`: outline, colour and ground of that number.
    motion_tells, look_tells : float
        Share of clips whose motion (look) is their class's own; the others' is drawn at random.
    train, test : int
        Clips of a class.
    length : int
        Frames of a clip as encoded.
    side : int
        Side of a frame as encoded.
    speed : tuple of float
        Least and largest way of a thing from frame to frame.
    pan : float
        Largest way of the ground from frame to frame.
    radius : tuple of float
        Least and largest radius of a thing.
    colour, texture, ground : float
        How far a look's colour is from grey, how strong its soft spots are, and how far the look colours the
        ground too.
    jitter : float
        Standard deviation of a thing's and a ground's colour within a look.
    seed : int
        Another one gives other clips of the same kind.

    Raises
    ------
    DatasetError
        If a value is impossible; the message says what would do.
    """

    motions: tuple[str, ...]
    classes: int
    motion_tells: float
    look_tells: float
    train: int
    test: int
    length: int
    side: int = 128
    speed: tuple[float, float] = (1.2, 3.6)
    pan: float = 0.0
    radius: tuple[float, float] = (24.0, 36.0)
    colour: float = 0.25
    texture: float = 0.08
    ground: float = 0.0
    jitter: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.motions or set(self.motions) - set(MOTIONS):
            raise DatasetError(f"motions are {self.motions}, expected some of {', '.join(MOTIONS)}")
        least = {"classes": 2, "train": 0, "test": 1, "length": 2, "side": 32, "seed": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < low or (name == "side" and value % 2):
                even = "an even" if name == "side" else "a whole"
                raise DatasetError(f"{name} = {value!r}, expected {even} number, {low} or more")
        for name in ("motion_tells", "look_tells"):
            if not 0 <= getattr(self, name) <= 1:
                raise DatasetError(f"{name} = {getattr(self, name)!r}, expected a share, 0 to 1")
        for name in ("speed", "radius"):
            if not 0 < getattr(self, name)[0] <= getattr(self, name)[1]:
                raise DatasetError(f"{name} = {getattr(self, name)!r}, expected (least, largest), above 0")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes: how a thing moves, or, where that does not tell, what it is."""
        if self.motion_tells == 1:
            return tuple(self.motions[k % len(self.motions)] for k in range(self.classes))
        return tuple(f"{OUTLINES[k % len(OUTLINES)]} {k}" for k in range(self.classes))


@dataclass(frozen=True, eq=False)
class Shot:
    """A clip before it is encoded, and the truth about it.

    Attributes
    ----------
    frames : array of uint8, shape (length, side, side, 3)
    layer : array of int, shape (length, side, side)
        What is seen in a pixel: 0 the ground, 1 and 2 the things.
    places : array of float, shape (length, layers, 3, 3)
        Where each layer lies: from its own coordinates to the frame's, x first, homogeneous.
    """

    frames: np.ndarray
    layer: np.ndarray
    places: np.ndarray

    def motion(self, start: int, stop: int) -> np.ndarray:
        """Way of what is seen in each pixel of frame `stop` since frame `start`; shape (side, side, 2).

        In pixels, x first, positive to the right and down, as motion maps have it.
        """
        side = self.frames.shape[1]
        pixels = np.stack([*np.mgrid[:side, :side][::-1], np.ones((side, side))], axis=-1).astype(float)
        back = self.places[start] @ np.linalg.inv(self.places[stop])  # of each layer
        origins = np.einsum("yxij,yxj->yxi", back[self.layer[stop]], pixels)
        return (pixels - origins)[..., :2]


@memoised()
def shown(filming: Filming, part: str, count: int, frames: int, size: int) -> np.ndarray:
    """The first `count` clips of ``"train"`` or ``"test"`` as a model sees them.

    Class numbers take turns. Of a training clip only those frames are filmed and encoded, since nobody asks what
    lies between them; of a test clip all.

    Returns
    -------
    array of uint8, shape (count, frames, size, size, 3)
    """
    wanted = instants(filming.length, frames) if part == "train" else slice(None)
    return np.array(
        [
            seen(_delivered(film(filming, part, k, wanted).frames), frames, size)
            for k in tqdm(range(count), desc=f"films to {part} with", leave=False)
        ],
        np.uint8,
    ).reshape(count, frames, size, size, 3)


def clip(filming: Filming, number: int) -> np.ndarray:
    """Test clip `number` as a viewer gets it, decoded; uint8, shape (length, side, side, 3)."""
    return _delivered(film(filming, "test", number).frames)


def film(filming: Filming, part: str, number: int, chosen: np.ndarray | slice = slice(None)) -> Shot:
    """Shoot a clip, or chosen frames of it, before encoding.

    Parameters
    ----------
    filming : Filming
    part : str
        ``"train"`` or ``"test"``.
    number : int
        From 0; classes take turns, and there is no last one.
    chosen : array of int, or slice
        Frames; all by default.

    Raises
    ------
    ValueError
        If there is no such part, or the number is negative.
    """
    if part not in ("train", "test") or number < 0:
        raise ValueError(f"part = {part!r}, number = {number!r}; expected train or test, and 0 or more")
    rng = np.random.default_rng([filming.seed, ("train", "test").index(part), number])
    own = number % filming.classes
    way = own if rng.random() < filming.motion_tells else int(rng.integers(filming.classes))
    look = own if rng.random() < filming.look_tells else int(rng.integers(filming.classes))
    motion = filming.motions[way % len(filming.motions)]
    towards = rng.uniform(0, 2 * math.pi)
    pan = filming.pan * rng.uniform(0.4, 1) * np.array([math.cos(towards), math.sin(towards)])
    ground = _ground(filming, look, rng)
    looks = [look] if motion != "cross" else [look, int(rng.integers(filming.classes))]
    things = [_thing(filming, each, rng) for each in looks]
    places = _places(filming, motion, pan, len(things), len(ground), rng)
    return _shoot(filming.side, ground, things, places[chosen])


def _delivered(frames: np.ndarray) -> np.ndarray:
    return decode(encode(frames, CODEC, {}, QUANTISER))


def _shoot(side: int, ground: np.ndarray, things: list[np.ndarray], places: np.ndarray) -> Shot:
    frames = np.empty((len(places), side, side, 3), np.uint8)
    layer = np.zeros((len(places), side, side), np.int8)
    for t, matrices in enumerate(places):
        if not t or (matrices[0] != places[t - 1, 0]).any():
            behind = _moved(ground, matrices[0], side, side)
        frames[t] = behind
        for number, thing in enumerate(things, 1):
            box = _box(matrices[number], side)
            part = frames[t][box]
            if part.size:
                shift = np.array([[1, 0, -box[1].start], [0, 1, -box[0].start], [0, 0, 1]])
                over = _moved(thing, shift @ matrices[number], *part.shape[:2])
                cover = over[..., 3:]
                part[:] = part * (1 - cover) + over[..., :3] + 0.5
                layer[t][box][cover[..., 0] > 0.5] = number
    return Shot(frames, layer, places)


def _moved(picture: np.ndarray, matrix: np.ndarray, height: int, width: int) -> np.ndarray:
    return cv2.warpAffine(picture, matrix[:2], (width, height), flags=cv2.INTER_LINEAR)


def _box(matrix: np.ndarray, side: int) -> tuple[slice, slice]:
    """The part of the frame that holds a thing."""
    centre = matrix[:2] @ (CANVAS / 2, CANVAS / 2, 1)
    reach = 0.5 * CANVAS * math.hypot(*matrix[0, :2])
    low, high = np.clip([centre - reach, centre + reach + 1], 0, side).astype(int).tolist()
    return slice(low[1], high[1]), slice(low[0], high[0])


def _places(
    filming: Filming, motion: str, pan: np.ndarray, things: int, ground: int, rng: np.random.Generator
) -> np.ndarray:
    """Matrices of all layers over time, shape (length, layers, 3, 3)."""
    length, side = filming.length, filming.side
    middle = (side - 1) / 2
    time = np.arange(length) - (length - 1) / 2
    radius = rng.uniform(*filming.radius, things)
    speed = rng.uniform(*filming.speed)
    start = middle + rng.uniform(-0.1, 0.1, 2) * side
    turn = rng.uniform(-0.3, 0.3, things)
    moved = _way(motion, speed, time, radius[0])
    still = np.ones(length), np.zeros(length)
    layers = [_matrices(middle + pan * time[:, None], *still, ground)]
    for k in range(things):
        sign = 1 - 2 * k  # the second thing of a crossing comes the other way, higher up
        apart = (0, 10 * sign * (things - 1))
        scale = moved[:, 2] * radius[k] / (0.44 * CANVAS)
        layers.append(_matrices(start + apart + sign * moved[:, :2], scale, turn[k] + moved[:, 3], CANVAS))
    return np.stack(layers, axis=1)


def _way(motion: str, speed: float, time: np.ndarray, radius: float) -> np.ndarray:
    """Of each instant: shift to the right and down, scale and turn; shape (length, 4)."""
    moved = np.zeros((len(time), 4))
    moved[:, 2] = 1
    match motion:
        case "left" | "right" | "cross":
            moved[:, 0] = (-1 if motion == "left" else 1) * speed * time
        case "up" | "down":
            moved[:, 1] = (-1 if motion == "up" else 1) * speed * time
        case "nearer" | "farther":  # the outline moves at half the speed, or it would fill the picture
            moved[:, 2] = np.exp((-1 if motion == "farther" else 1) * 0.5 * speed * time / radius)
        case "clockwise" | "anticlockwise":  # the y axis points down, so a positive turn is clockwise
            moved[:, 3] = (-1 if motion == "anticlockwise" else 1) * speed * time / radius
        case "shake":
            moved[:, 0] = speed * (np.abs((time - time[0]) % PERIOD - PERIOD / 2) - PERIOD / 4)
        case "circle":
            moved[:, :2] = 16 * np.stack([np.cos(speed * time / 16), np.sin(speed * time / 16)], axis=1)
    return moved


def _matrices(centre: np.ndarray, scale: np.ndarray, angle: np.ndarray, canvas: int) -> np.ndarray:
    """Of each instant: puts the middle of a canvas at `centre`, scaled and turned; shape (length, 3, 3)."""
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrices = np.zeros((len(centre), 3, 3))
    matrices[:, :2, :2] = np.stack([cos, -sin, sin, cos], axis=1).reshape(-1, 2, 2)
    matrices[:, :2, 2] = centre - matrices[:, :2, :2].sum(axis=2) * (canvas - 1) / 2
    matrices[:, 2, 2] = 1
    return matrices


def _ground(filming: Filming, look: int, rng: np.random.Generator) -> np.ndarray:
    """A textured picture with room for the pan; uint8, shape (canvas, canvas, 3)."""
    canvas = filming.side + 2 * math.ceil(filming.pan * filming.length / 2) + 2
    colour = 0.5 + 0.6 * filming.ground * _hue(look, filming.classes, half=True)
    colour = colour + filming.jitter * rng.standard_normal(3)
    spots = _spots(canvas, 6, rng) + _spots(canvas, 24, rng)
    return _bytes(colour + filming.texture * spots[..., None])


def _thing(filming: Filming, look: int, rng: np.random.Generator) -> np.ndarray:
    """Colours (0 to 255) times cover, and cover; float32, shape (CANVAS, CANVAS, 4)."""
    colour = 0.5 + filming.colour * _hue(look, filming.classes) + filming.jitter * rng.standard_normal(3)
    picture = colour + filming.texture * 1.4 * _spots(CANVAS, 7, rng)[..., None]
    cover = _outline(look)[..., None]
    return np.concatenate([_bytes(picture) * cover, cover], axis=-1)


def _bytes(colours: np.ndarray) -> np.ndarray:
    return np.rint(255 * np.clip(colours, 0, 1)).astype(np.uint8)


def _hue(look: int, classes: int, half: bool = False) -> np.ndarray:
    """Direction from grey to the look's colour, one of `classes` evenly around the circle of hues."""
    angle = 2 * math.pi * ((look + 0.5 * half) / classes)
    return np.cos(angle - 2 * math.pi / 3 * np.arange(3))


def _spots(side: int, grain: int, rng: np.random.Generator) -> np.ndarray:
    """Soft random spots of unit variance or less, `grain` pixels wide."""
    coarse = rng.standard_normal((side // grain + 2,) * 2).astype(np.float32)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


@functools.cache
def _outline(look: int) -> np.ndarray:
    """Cover of one of the `OUTLINES`, each a radius that depends on the direction; shape (CANVAS, CANVAS)."""
    axis = np.arange(CANVAS) - (CANVAS - 1) / 2
    x, y = np.meshgrid(axis, axis)
    direction, distance = np.arctan2(y, x), np.hypot(x, y)
    corners = 3 + look % 4
    if look % len(OUTLINES) < 4:  # a regular polygon
        part = 2 * math.pi / corners
        reach = math.cos(part / 2) / np.cos((direction + math.pi / 2) % part - part / 2)
    else:  # a flower
        reach = 0.72 + 0.28 * np.cos(corners * (direction + math.pi / 2))
    return np.clip(0.44 * CANVAS * reach - distance + 0.5, 0, 1).astype(np.float32)


PRESETS = {
    "moves": Filming(MOTIONS, classes=12, motion_tells=1, look_tells=0.4, train=80, test=25, length=24),
    "moves_panning": Filming(
        *(MOTIONS[:10], 10, 1, 0.25), train=80, test=25, length=36, pan=2.5, colour=0.2, seed=1
    ),
    "looks": Filming(
        *(MOTIONS, 10, 0, 1), train=60, test=25, length=24, colour=0.2, ground=0.06, jitter=0.04, seed=2
    ),
    "looks_many": Filming(
        *(MOTIONS, 20, 0, 1), train=40, test=13, length=36, pan=2.0, ground=0.1, jitter=0.02, seed=3
    ),
}
