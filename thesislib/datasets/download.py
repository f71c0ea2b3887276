"""Getting a data set from its publisher: only when asked, and only what passes its check."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm.auto import tqdm

from thesislib.datasets.catalogue import DatasetError, known
from thesislib.datasets.features import read_features
from thesislib.datasets.places import Found, root
from thesislib.memo import write_atomic


class Source(NamedTuple):
    """A file to download.

    Attributes
    ----------
    url : str
        Its address.
    checksum : str
        ``"sha256:..."`` or ``"md5:..."``; empty where the publisher gives none and `install` checks.
    target : str
        What it becomes, relative to ``THESISLIB_DATA``.
    install : callable
        Makes the target of the downloaded file.
    """

    url: str
    checksum: str
    target: str
    install: Callable[[Path, Path], None]


def fetch(name: str) -> Path:
    """Download a data set into ``THESISLIB_DATA``, unless it is there already.

    A file is streamed into a temporary folder, checked, and only then moved to its place, so an interrupted
    or wrong download leaves nothing behind. What is there already is not checked again.

    Parameters
    ----------
    name : str
        A data set of the catalogue whose publisher lets it be downloaded.

    Returns
    -------
    Path
        The file or folder that holds it now.

    Raises
    ------
    DatasetError
        If there is no such data set, it is embedded, it is not ours to download (the message says how to
        come by it), ``THESISLIB_DATA`` is not set, the address does not answer, or the check fails.
    """
    entry = known(name)
    if entry is None:
        raise DatasetError(f"no data set {name!r} to download; there are {', '.join(SOURCES)}")
    if entry.package:
        raise DatasetError(f"{name} needs no download: it {entry.get}")
    if name not in SOURCES:
        raise DatasetError(f"{name} is not downloaded; {entry.get}; expected {' and '.join(entry.files)}")
    base = root()
    if not entry.present:
        for source in SOURCES[name]:
            target = base / source.target
            if not target.is_file():
                with _downloaded(source, near=target) as file:
                    source.install(file, target)
    return entry.place()


@contextmanager
def _downloaded(source: Source, near: Path) -> Iterator[Path]:
    """A checked file in a temporary folder beside `near`, gone at the end if it has not been moved."""
    near.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=near.parent, prefix=".part-") as folder:
        file = Path(folder, source.url.rpartition("/")[2])
        with file.open("wb") as out:
            found = _stream(source, out)
        if found != source.checksum:
            raise DatasetError(f"{source.url}: expected {source.checksum}, got {found}; thrown away")
        yield file


def _stream(source: Source, out: io.BufferedIOBase) -> str:
    """Copy the address to `out`; returns its checksum in the notation of `source`, empty if that has none."""
    kind = source.checksum.partition(":")[0]
    digest = hashlib.new(kind or "sha256", usedforsecurity=False)
    try:
        with urllib.request.urlopen(source.url, timeout=60) as answer:
            size = int(answer.headers.get("Content-Length") or 0) or None
            with tqdm(total=size, unit="B", unit_scale=True, desc=source.target, leave=False) as bar:
                while block := answer.read(1 << 20):
                    out.write(block)
                    digest.update(block)
                    bar.update(len(block))
    except (OSError, HTTPException) as error:  # URLError, time-outs and a full disk are OSError
        raise DatasetError(f"{source.url} cannot be downloaded: {error}") from error
    return f"{kind}:{digest.hexdigest()}" if kind else ""


def _gunzip(file: Path, target: Path) -> None:
    write_atomic(target, gzip.decompress(file.read_bytes()))


def _counted(file: Path, target: Path) -> None:
    """Move a LIBSVM file to its place if it has the rows, columns and non-zeros that the catalogue gives."""
    name = target.name.removesuffix(".bz2")
    try:
        read_features(Found(name, file, known(name)))
    except DatasetError as error:
        raise DatasetError(f"the download was thrown away: {error}") from error
    file.replace(target)


def _cifar(file: Path, folder: Path) -> None:
    """The publisher's pickles as test.npz and train.npz, images in the publisher's order."""
    parts = {}
    with tarfile.open(file) as tar:
        for member in tar:
            part = Path(member.name).name
            if part.startswith(("data_batch", "train", "test", "meta", "batches.meta")):
                # A pickle can run code; this one has passed the publisher's checksum.
                parts[part] = pickle.loads(tar.extractfile(member).read(), encoding="latin1")
    meta = parts.pop("meta", None) or parts.pop("batches.meta")
    classes = np.array(meta.get("fine_label_names") or meta["label_names"])
    for split, prefixes in {"test": "test", "train": ("data_batch", "train")}.items():
        batches = [parts[part] for part in sorted(parts) if part.startswith(prefixes)]
        pixels = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
        labels = np.concatenate([batch.get("fine_labels") or batch["labels"] for batch in batches])
        archive = io.BytesIO()
        images = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
        np.savez(archive, images=images, labels=labels.astype(np.int64), classes=classes)
        write_atomic(folder / f"{split}.npz", archive.getvalue())


def _mnist(file: str, sha256: str) -> Source:
    # PyTorch's copy of the publisher's files.
    url = f"https://ossci-datasets.s3.amazonaws.com/mnist/{file}.gz"
    return Source(url, f"sha256:{sha256}", f"MNIST/raw/{file}", _gunzip)


def _toronto(folder: str, file: str, md5: str) -> Source:
    return Source(f"https://www.cs.toronto.edu/~kriz/{file}", f"md5:{md5}", folder, _cifar)


def _libsvm(file: str) -> Source:
    # The page gives no checksums: rows, columns and non-zeros are counted instead.
    url = f"https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/binary/{file}"
    return Source(url, "", f"libsvm/{file}", _counted)


SOURCES = {
    "mnist": (
        _mnist("train-images-idx3-ubyte", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        _mnist("train-labels-idx1-ubyte", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        _mnist("t10k-images-idx3-ubyte", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        _mnist("t10k-labels-idx1-ubyte", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
    "cifar10": (_toronto("cifar10", "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),),
    "cifar100": (_toronto("cifar100", "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),),
    **{name: (_libsvm(name),) for name in ("a9a", "a9a.t", "w8a", "w8a.t", "mushrooms", "phishing")},
    "ijcnn1": (_libsvm("ijcnn1.bz2"),),
}
