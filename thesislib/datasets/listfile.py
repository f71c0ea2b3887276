"""ImageNet-LT, Places-LT and iNaturalist 2018: images named by published list files, read one by one.

A line of a list is a path, relative to the folder of the images, and a class number. The lists are those of
the decoupling repository (Kang et al. 2020) and others; both known layouts of Places-LT will do, since only the
paths differ.

>>> import tempfile, pathlib
>>> from PIL import Image
>>> root = pathlib.Path(tempfile.mkdtemp())
>>> Image.new("RGB", (300, 200)).save(root / "a.jpg")
>>> _ = (root / "train.txt").write_text("a.jpg 0")
>>> images = ListImages(root / "train.txt", root, test_transform("imagenet_lt"))
>>> images[0][0].shape, images[0][1]
(torch.Size([3, 224, 224]), 0)

``name`` is a published set's, ``labels`` are those of a list.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import transforms
from tqdm.auto import tqdm

from thesislib import memo
from thesislib.datasets.catalogue import DatasetError
from thesislib.datasets.images import picture


@dataclass(frozen=True)
class Published:
    """What a large set's training list has to amount to, and how its images are prepared.

    Attributes
    ----------
    classes, images, largest, smallest : int
    groups : tuple of int
        Many, Medium and Few classes: more than 100, 20 to 100, fewer than 20 training images.
    jitter : float
        Colour jitter in training: of brightness, contrast and saturation.
    """

    classes: int
    images: int
    largest: int
    smallest: int
    groups: tuple[int, int, int]
    jitter: float = 0.4


PUBLISHED: dict[str, Published] = {
    "imagenet_lt": Published(1000, 115_846, 1280, 5, (385, 479, 136)),
    "places_lt": Published(365, 62_500, 4980, 5, (131, 163, 71)),
    "inaturalist2018": Published(8142, 437_513, 1000, 2, (842, 4076, 3224), jitter=0.0),
}
"""The three sets by the thesis's short names."""


def read_list(path: str | os.PathLike) -> tuple[list[str], np.ndarray]:
    """Paths and class numbers of a list file.

    Returns
    -------
    paths : list of str
        As written, relative to the folder of the images.
    labels : array of int64, shape (n,)

    Raises
    ------
    DatasetError
        If there is no such file, a line is not a path and a whole number from 0, or a class below the largest
        number has no image.
    """
    path = Path(path)
    if not path.is_file():
        raise DatasetError(f"no list file {path}; a line of one is a relative path and a class number")
    paths, labels, lines = [], [], []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path} is no UTF-8 text: {error.reason} at byte {error.start}; save it as such"
        ) from error
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, _, label = line.rstrip().rpartition(" ")
        if not name or not label.isdecimal():
            raise DatasetError(f"{path}, line {number}: {line!r} is not a path and a class number from 0")
        paths.append(name)
        labels.append(int(label))
        lines.append(number)
    if not paths:
        raise DatasetError(f"{path} names no image")
    # Looked for among as many numbers as there are lines: a count of each class up to a mistyped 99999999999
    # would take all memory.
    there, (last, line) = set(labels), max(zip(labels, lines, strict=True))
    if (empty := next(k for k in count() if k not in there)) < last:
        raise DatasetError(
            f"{path}: class {empty} of {last + 1} has no image; line {line} names class {last}, the highest"
        )
    return paths, np.array(labels, np.int64)


def _published(name: str) -> Published:
    if name not in PUBLISHED:
        raise DatasetError(f"no published list {name!r}; known: {', '.join(PUBLISHED)}")
    return PUBLISHED[name]


def check_list(name: str, labels: np.ndarray) -> None:
    """Refuse the training list of a set if it is not the published one.

    Raises
    ------
    DatasetError
        With what was found and what was expected; or on an unknown name, with the known ones.
    """
    want, counts = _published(name), np.bincount(labels)
    groups = (counts > 100).sum(), ((counts >= 20) & (counts <= 100)).sum(), (counts < 20).sum()
    found = Published(
        len(counts), len(labels), counts.max(), counts.min(), tuple(map(int, groups)), want.jitter
    )
    for what in ("classes", "images", "largest", "smallest", "groups"):
        if getattr(found, what) != getattr(want, what):
            raise DatasetError(
                f"the training list of {name} has {what} {getattr(found, what)}, expected {getattr(want, what)}; "
                "it is another release or cut short (OLTR replaced its first Places-LT)"
            )


class ListImages(torch.utils.data.Dataset):
    """The images of a list file for a ``DataLoader``.

    Parameters
    ----------
    path : path
        Of the list file.
    root : path
        Folder to which its paths are relative.
    transform : callable
        From a PIL image in RGB; :func:`train_transform`, say.

    Attributes
    ----------
    labels : array of int64, shape (n,)

    Raises
    ------
    DatasetError
        As :func:`read_list`; or if an image is missing, with how many are.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        root: str | os.PathLike,
        transform: Callable[[Image.Image], torch.Tensor],
    ) -> None:
        self.paths, self.labels = read_list(path)
        self.root, self.transform = Path(root), transform
        missing = [p for p in self.paths if not (self.root / p).is_file()]
        if missing:
            raise DatasetError(
                f"{len(missing)} of {len(self.paths)} images of {path} are not under {self.root}, first {missing[0]}"
            )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = picture(self.root / self.paths[index]).convert("RGB")
        return self.transform(image), int(self.labels[index])


def pack(
    path: str | os.PathLike, root: str | os.PathLike, file: str | os.PathLike, side: int = 256
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode a list's images once, for :func:`thesislib.training.fit`: middle squares, shrunk, in one file.

    Written on the first call, mapped into memory on later ones; of several processes one writes and the others wait.
    What is changed in the images stays in memory, and the file as it is. ImageNet-LT takes 23 GB and Places-LT 12 GB at
    256 pixels, which a large accelerator holds as a whole. Behind the array, where NumPy does not look, the file
    keeps a hash of the list's paths in their order and of `side`; classes are read from the list each time.

    Parameters
    ----------
    path, root
        As for :class:`ListImages`.
    file : path
        Of the ``.npy`` file.
    side : int

    Returns
    -------
    images : Tensor of uint8, shape (n, 3, side, side)
    labels : Tensor of int64, shape (n,)

    Raises
    ------
    DatasetError
        As :class:`ListImages`; or if the file is damaged, or holds other images than the list names or the same
        in another order.
    """
    square = transforms.Compose(
        [transforms.Resize(side), transforms.CenterCrop(side), transforms.PILToTensor()]
    )
    images, file = ListImages(path, root, square), Path(file)
    shape = (len(images), 3, side, side)
    mark = hashlib.sha256("\n".join([str(side), *images.paths]).encode()).hexdigest().encode()
    if not file.exists():
        with memo.alone(file) as held:
            if held:  # nobody else is at it, so that these are of who was killed
                for left in file.parent.glob(f".{file.name}.*.part"):
                    left.unlink()
            if not file.exists():
                _write_packed(file, images, shape, mark)
    _check_packed(file, shape, mark, path)
    try:
        pixels = np.load(file, mmap_mode="c")
    except (
        OSError
    ):  # a file larger than memory and swap may be mapped for reading alone, and what writes to it dies
        pixels = np.load(file, mmap_mode="r")
    return torch.from_numpy(pixels), torch.from_numpy(images.labels)


def _write_packed(file: Path, images: ListImages, shape: tuple[int, ...], mark: bytes) -> None:
    """Under a name of its own until it is whole: where files cannot be locked, two processes may write at once."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        pixels = np.lib.format.open_memmap(part, "w+", np.uint8, shape)
        for number in tqdm(range(len(images)), desc=file.name):
            pixels[number] = images[number][0].numpy()
        pixels.flush()
        with part.open("ab") as stream:
            stream.write(mark)
        part.chmod(0o644)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _check_packed(file: Path, shape: tuple[int, ...], mark: bytes, path: str | os.PathLike) -> None:
    anew = "remove it and it is made anew"
    try:
        pixels = np.load(file, mmap_mode="r")  # "r+" would lengthen a file cut short
    except (OSError, EOFError, ValueError) as error:
        raise DatasetError(f"{file} is damaged or no array of NumPy ({error}); {anew}") from error
    if pixels.shape != shape:
        raise DatasetError(f"{file} holds {pixels.shape}, expected {shape}; {anew}")
    with file.open("rb") as stream:
        stream.seek(-len(mark), os.SEEK_END)
        if stream.read() != mark:
            raise DatasetError(
                f"{file} does not hold the images of {path} in their order: the list was another when it was "
                f"packed, or the file is cut short or from before lists were kept in mind; {anew}"
            )


def train_transform(name: str) -> transforms.Compose:
    """Random crop to 224 pixels, flip and, but for iNaturalist, colour jitter; values in [0, 1].

    Normalisation belongs into the model.

    Raises
    ------
    DatasetError
        On an unknown name, with the known ones.
    """
    jitter = _published(name).jitter
    steps = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()]
    if jitter:
        steps.append(transforms.ColorJitter(jitter, jitter, jitter, 0))
    return transforms.Compose([*steps, transforms.ToTensor()])


def test_transform(name: str) -> transforms.Compose:
    """The middle 224 pixels after the shorter side has become 256; values in [0, 1]. The same for each `name`.

    Raises
    ------
    DatasetError
        On an unknown name, with the known ones.
    """
    _published(name)
    return transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()])
