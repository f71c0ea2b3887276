"""Labelled images with a training and a test part, in one shape whatever they come from.

``path`` is a file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from thesislib.datasets.catalogue import IDX_FILES, DatasetError
from thesislib.datasets.content import ARCHIVES, SPLITS, fingerprint, hidden, image_files, layout, read_npz
from thesislib.datasets.glyphs import PRESETS, draw
from thesislib.datasets.places import locate

OTHER = (".bmp", ".gif", ".tif", ".tiff", ".webp")  # images that would be missing from a class without a word
GREY, COLOUR = ("1", "L", "LA"), ("P", "RGB", "RGBA", "CMYK", "YCbCr")


@dataclass(frozen=True, eq=False)
class Images:
    """A data set of images. Checked when it is made, so whoever holds one need not check again.

    Grey images may be given without the channel axis and labels in any integer type; both are converted.

    Attributes
    ----------
    name : str
        What the figures call it.
    train_images, test_images : array of uint8, shape (n, height, width, channels)
        Values 0 to 255; one channel (grey) or three (RGB). Both parts have images of one size.
    train_labels, test_labels : array of int64, shape (n,)
        Class numbers, 0 to ``len(classes) - 1``; both parts have every class.
    classes : tuple of str
        Names of the classes; if empty, they are called after their numbers.
    fingerprint : str
        SHA-256 of the source, as ``thesislib.datasets.fingerprint`` gives it.

    Raises
    ------
    DatasetError
        If an array is not as described.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    fingerprint: str

    def __post_init__(self) -> None:
        for split in SPLITS:
            where = f"{self.name}: {split}"
            images = _pixels(where, np.asarray(getattr(self, f"{split}_images")))
            labels = np.asarray(getattr(self, f"{split}_labels"))
            labels = _classes(where, labels, len(images), self.classes)
            if not self.classes:
                object.__setattr__(self, "classes", tuple(map(str, range(labels.max() + 1))))
            object.__setattr__(self, f"{split}_images", images)
            object.__setattr__(self, f"{split}_labels", labels)
        train, test = self.train_images.shape[1:], self.test_images.shape[1:]
        if train != test:
            raise DatasetError(f"{self.name}: train images are {_size(train)}, test images {_size(test)}")


def load_images(name_or_path: str | os.PathLike) -> Images:
    """Load a data set of images.

    Parameters
    ----------
    name_or_path : str or path
        ``"digits"``, ``"glyphs"`` and ``"glyphs_many"`` need nothing; ``"mnist"``, ``"cifar10"``,
        ``"cifar100"`` and ``"tiny_imagenet18"`` are read from ``THESISLIB_DATA``. Or a folder of your own
        with

        - ``train.npz`` and ``test.npz``, each with ``images`` (uint8, shape (n, height, width) or
          (n, height, width, channels)), ``labels`` (integers from 0) and, if you like, ``classes`` (names);
        - or ``train/<class>/*.png|jpg`` and ``test/<class>/*.png|jpg``, all images of one size; they are kept
          grey if every one of them is, else all become RGB. Classes are in alphabetical order;
        - or four files named as MNIST's, in its idx format.

    Returns
    -------
    Images

    Raises
    ------
    DatasetError
        If it is unknown, missing, damaged, or its arrays are not as described.

    Notes
    -----
    The 1,797 digits of scikit-learn are split here: of each class, every fifth image in the order of the file
    is a test image. That gives 1,442 training and 355 test images. Writers are not kept apart, since the file
    does not name them. Grey values 0 to 16 become 0 to 255, rounded.
    """
    found = locate(name_or_path, "images")
    if found.name == "digits" and found.entry:
        parts = _digits()
    elif found.entry and found.entry.drawn_by:
        parts = draw(PRESETS[found.name])
    else:
        parts = {"idx": _idx, "npz": _npz, "tree": _tree}[layout(found.path)](found.path)
    images = Images(found.name, *parts, fingerprint=fingerprint(name_or_path))
    height, _, channels = images.train_images.shape[1:]
    found.check(
        {
            "train images": len(images.train_images),
            "test images": len(images.test_images),
            "rows of pixels": height,
            "channels": channels,
            "classes": len(images.classes),
        }
    )
    return images


def read_idx(path: Path) -> np.ndarray:
    """The array in a file of the idx format, as MNIST comes (bytes only).

    Raises
    ------
    DatasetError
        If the header is not that of such a file, or the length is not what the header promises.
    """
    content = np.fromfile(path, np.uint8)
    if len(content) < 4 or content[:3].tolist() != [0, 0, 8]:
        start = content[:4].tobytes().hex(" ") or "nothing"
        raise DatasetError(f"{path} is no idx file of bytes: it starts with {start}, expected 00 00 08")
    header = 4 + 4 * int(content[3])
    shape = content[4:header].view(">u4").tolist() if len(content) >= header else []
    expected = header + int(np.prod(shape, dtype=object))
    if len(content) != expected or not shape:
        raise DatasetError(
            f"{path} has {len(content)} bytes, its header promises {expected}: "
            "it is cut short or damaged; remove it and get it again"
        )
    return content[header:].reshape(shape)


def _digits() -> tuple:
    from sklearn.datasets import load_digits  # 2 s to import

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    place = np.zeros(len(pixels), int)  # 0, 1, 2, ... within each class
    for digit in range(10):
        members = digits.target == digit
        place[members] = np.arange(members.sum())
    test = place % 5 == 4
    return pixels[~test], digits.target[~test], pixels[test], digits.target[test], tuple("0123456789")


def _idx(folder: Path) -> tuple:
    return *(read_idx(folder / file) for file in IDX_FILES), ()


def _npz(folder: Path) -> tuple:
    parts, classes = [], ()
    for file in ARCHIVES:
        arrays = read_npz(folder / file, ("images", "labels"), ("classes",))
        parts += [arrays["images"], arrays["labels"]]
        named = tuple(map(str, np.ravel(arrays.get("classes", ()))))
        if named and classes and named != classes:
            raise DatasetError(f"{folder}: classes in train.npz and test.npz differ")
        classes = classes or named
    return *parts, classes


def _tree(folder: Path) -> tuple:
    train, test = (
        {p.name for p in (folder / split).iterdir() if p.is_dir() and not hidden(p)} for split in SPLITS
    )
    if odd := sorted(train ^ test):
        raise DatasetError(f"{folder}: class {odd[0]} is not a folder of both train/ and test/")
    classes = sorted(train)
    files = image_files(folder)
    given = (file for split in SPLITS for file in (folder / split).glob("*/*"))
    if other := sorted(file for file in given if file.suffix.lower() in OTHER and not hidden(file)):
        raise DatasetError(
            f"{other[0]} is neither .png nor .jpg; convert it ({len(other)} such files in {folder})"
        )
    if not files:
        raise DatasetError(f"{folder}: no .png or .jpg under train/<class>/ and test/<class>/")
    arrays = _same_kind(files, [np.asarray(picture(file)) for file in files])
    number = {name: k for k, name in enumerate(classes)}
    labels = np.array([number[file.parent.name] for file in files])
    first = np.array([file.parent.parent.name == "train" for file in files])
    return arrays[first], labels[first], arrays[~first], labels[~first], tuple(classes)


def picture(file: Path) -> Image.Image:
    """One image file, decoded, of mode "L" or "RGB".

    Parameters
    ----------
    file : path

    Raises
    ------
    DatasetError
        If it is none, damaged, or has more than 8 bits a channel, which "L" and "RGB" would cut off.
    """
    try:
        with Image.open(file) as image:
            mode = image.mode
            if mode in GREY + COLOUR:
                return image.convert("L" if mode in GREY else "RGB")
    except Exception as error:  # Pillow raises several kinds on a damaged file
        raise DatasetError(f"{file} cannot be read as an image: {error}") from error
    raise DatasetError(f"{file} has pixels of mode {mode}, expected 8-bit grey or RGB")


def _same_kind(files: list[Path], pictures: list[np.ndarray]) -> np.ndarray:
    first = pictures[0].shape[:2]
    for file, picture in zip(files, pictures, strict=True):
        if picture.shape[:2] != first:
            raise DatasetError(
                f"{file} is {_size(picture.shape[:2])} pixels, {files[0]} {_size(first)}; give all one size"
            )
    if any(picture.ndim == 3 for picture in pictures):
        pictures = [p if p.ndim == 3 else np.repeat(p[..., None], 3, axis=2) for p in pictures]
    return np.stack(pictures)


def _pixels(where: str, images: np.ndarray) -> np.ndarray:
    if images.dtype != np.uint8:
        raise DatasetError(f"{where} images are {images.dtype}, expected uint8 (0 to 255)")
    shaped = images[..., None] if images.ndim == 3 else images
    if shaped.ndim != 4 or shaped.shape[3] not in (1, 3) or not shaped.size:
        raise DatasetError(
            f"{where} images have shape {images.shape}, expected (n, height, width) or "
            "(n, height, width, channels) with 1 or 3 channels, channels last"
        )
    return shaped


def _classes(where: str, labels: np.ndarray, count: int, classes: tuple[str, ...]) -> np.ndarray:
    if labels.shape != (count,):
        raise DatasetError(f"{where} labels have shape {labels.shape}, expected ({count},): one an image")
    if not np.issubdtype(labels.dtype, np.integer):
        raise DatasetError(f"{where} labels are {labels.dtype}, expected integers")
    present = np.unique(labels)
    if present[0] < 0:
        raise DatasetError(f"{where} labels go down to {present[0]}, expected class numbers from 0")
    if classes and present[-1] >= len(classes):
        raise DatasetError(f"{where} labels go up to {present[-1]}, but there are {len(classes)} classes")
    if len(present) < (len(classes) or int(present[-1]) + 1):
        gaps = np.flatnonzero(present != np.arange(len(present)))
        absent = int(gaps[0]) if gaps.size else len(present)
        name = f" ({classes[absent]})" if classes else ""
        raise DatasetError(f"{where} labels have no image of class {absent}{name}")
    return labels.astype(np.int64)


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
