"""Which data sets there are, where each lies, and how to come by it.

Imports nothing but the standard library, so that listing them is quick.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

VARIABLE = "THESISLIB_DATA"
IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
FACES = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
)
FONTS = tuple(f"mpl-data/fonts/ttf/{face}.ttf" for face in FACES)


class DatasetError(ValueError):
    """A data set is unknown, missing, damaged or not what its place promises; the message says which."""


@dataclass(frozen=True)
class Entry:
    """One line of the catalogue.

    Attributes
    ----------
    name : str
        What the loaders and the chapters' ``dataset`` setting call it.
    kinds : tuple of str
        ``"images"``, which ``load_images`` reads, ``"features"``, which ``load_features`` reads, or both;
        ``"clips"``, which ``load_clips`` reads; ``"longtail"``, which
        ``thesislib.datasets.longtail.load_longtail`` reads.
    size : str
        Training + test images, their size and classes; or rows × columns.
    files : tuple of str
        The files read, relative to ``THESISLIB_DATA``; of an embedded set, to the package that ships it.
    terms : str
        Licence or terms of use, and whose they are.
    get : str
        How to come by it.
    chapters : tuple of int
        Thesis chapters it serves, as the thesis's own data or in place of it.
    counts : mapping of str to int
        What the content has to amount to; a loader refuses anything else.
    package : str
        The package that ships an embedded set; empty if the files are the user's to provide.
    drawn_by : str
        The module beside this one that draws the set with those files; empty if they hold it as it is.
    folder : str
        Where it lies, if that is not where the first of its files is.
    """

    name: str
    kinds: tuple[str, ...]
    size: str
    files: tuple[str, ...]
    terms: str
    get: str
    chapters: tuple[int, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
    package: str = ""
    drawn_by: str = ""
    folder: str = ""

    @property
    def origin(self) -> str:
        """``"embedded"`` or ``"file"``."""
        return "embedded" if self.package else "file"

    @property
    def path(self) -> str:
        """Where it is expected, relative to ``THESISLIB_DATA``; empty for an embedded set."""
        if self.package:
            return ""
        if self.folder:
            return self.folder
        return self.files[0] if len(self.files) == 1 else str(Path(self.files[0]).parent)

    @property
    def present(self) -> bool:
        """Whether its files are there. Says nothing about their content."""
        return self.place() is not None

    def place(self) -> Path | None:
        """The file or folder that holds it, or that draws it; None where a file is missing."""
        if self.package:
            spec = find_spec(self.package)  # finds the folder without the cost of importing the package
            base = Path(spec.submodule_search_locations[0]) if spec else None
        else:
            base = Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None
        if base is None:
            return None
        if len(self.files) > 1 or self.folder:
            holds = Path(__file__).with_name(self.drawn_by) if self.drawn_by else base / self.path
            return holds if all((base / file).is_file() for file in self.files) else None
        found = [base / self.files[0], (base / self.files[0]).with_suffix("")]  # NAME.bz2 or NAME
        return next((path for path in found if path.is_file()), None)


def available() -> list[Entry]:
    """The catalogue: every data set known by name, whether it is there or not."""
    return list(ENTRIES)


def known(name: str) -> Entry | None:
    """The entry of that name, or None."""
    return next((entry for entry in ENTRIES if entry.name == name), None)


def _archives(
    name: str,
    images: int,
    side: int,
    classes: int,
    size: str,
    terms: str,
    get: str,
    chapters: tuple[int, ...],
) -> Entry:
    """Entry of colour images kept as two .npz archives."""
    counts = {"test images": images, "rows of pixels": side, "channels": 3, "classes": classes}
    return Entry(
        name, ("images",), size, (f"{name}/train.npz", f"{name}/test.npz"), terms, get, chapters, counts
    )


def _glyphs(name: str, train: int, test: int, side: int, classes: int, chapters: tuple[int, ...]) -> Entry:
    """Entry of a set drawn from matplotlib's fonts; what it looks like is said in glyphs.py."""
    size = f"{train:,} + {test:,}, {side} × {side} colour, {classes} classes"
    counts = {
        "train images": train,
        "test images": test,
        "rows of pixels": side,
        "channels": 3,
        "classes": classes,
    }
    terms = "DejaVu and STIX fonts: free to use, under the Bitstream Vera licence and the STIX licence"
    get = "is drawn from fonts that come with matplotlib"
    return Entry(
        name, ("images",), size, FONTS, terms, get, chapters, counts, "matplotlib", drawn_by="glyphs.py"
    )


def _moving(name: str, train: int, test: int, classes: int, length: int) -> Entry:
    """Entry of a set filmed by moving.py, which says what it shows."""
    size = f"{train:,} + {test:,} clips, {length} frames of 128 × 128 colour, {classes} classes"
    counts = {"train clips": train, "test clips": test, "classes": classes}
    files = ("__init__.py", "codec/__init__.py")
    terms = "made by this library"
    get = "is filmed by this library, and encoded by the codecs that come with PyAV"
    return Entry(name, ("clips",), size, files, terms, get, (3,), counts, "av", drawn_by="moving.py")


def _videos(name: str, lists: tuple[str, ...], size: str, terms: str, get: str) -> Entry:
    """Entry of real clips: the lists have to be there, and as many of the clips as are wanted."""
    files = tuple(f"{name}/{file}" for file in lists)
    return Entry(name, ("clips",), size, files, terms, get, (3,), folder=name)


def _longtail(name: str, size: str, files: tuple[str, ...], like: str, **more: str) -> Entry:
    """Entry of a long-tailed set; its counts follow from the ratio, in longtail.py."""
    base = {
        "digits": ("UCI Optical Recognition of Handwritten Digits, CC BY 4.0", "comes with scikit-learn"),
        "glyphs": (
            "DejaVu and STIX fonts: free to use, under the Bitstream Vera licence and the STIX licence",
            "is drawn from fonts that come with matplotlib",
        ),
        "cifar": (
            "Krizhevsky 2009; no formal licence, cite the technical report",
            f"is drawn from {name.removesuffix('_lt')}: fetch that",
        ),
    }
    return Entry(name, ("longtail",), size, files, *base[like], (4, 5), **more)


def _libsvm(name: str, rows: int, columns: int, nonzeros: int | None, origin: str) -> Entry:
    """Entry of a file of the LIBSVM page."""
    counts = {"rows": rows, "columns": columns}
    size = f"{rows:,} × {columns}"
    if nonzeros:
        counts["non-zeros"] = nonzeros
        size += f", {nonzeros:,} non-zeros"
    terms = f"{origin}; the LIBSVM page states no licence"
    chapters = () if name.endswith(".t") else (6,)
    get = f"`thesis data --fetch {name}`, or the LIBSVM data page"
    return Entry(name, ("features",), size, (f"libsvm/{name}.bz2",), terms, get, chapters, counts)


ENTRIES = (
    Entry(
        "digits",
        ("images", "features"),
        "1,797, 8 × 8 grey, 10 classes; 1,797 × 64",
        ("datasets/data/digits.csv.gz",),
        "UCI Optical Recognition of Handwritten Digits, CC BY 4.0",
        "comes with scikit-learn",
        (2, 6),
        package="sklearn",
    ),
    Entry(
        "breast_cancer",
        ("features",),
        "569 × 30",
        ("datasets/data/breast_cancer.csv",),
        "UCI Breast Cancer Wisconsin (Diagnostic), CC BY 4.0",
        "comes with scikit-learn",
        (6,),
        package="sklearn",
    ),
    _glyphs("glyphs", 2_000, 600, 16, 10, (2,)),
    _glyphs("glyphs_many", 3_200, 800, 24, 40, (2,)),
    _moving("moves", 960, 300, 12, 24),
    _moving("moves_panning", 800, 250, 10, 36),
    _moving("looks", 600, 250, 10, 24),
    _moving("looks_many", 800, 260, 20, 36),
    _longtail(
        "digits_lt",
        "366 + 355 at ratio 70, 8 × 8 grey, 10 classes",
        ("datasets/data/digits.csv.gz",),
        "digits",
        package="sklearn",
    ),
    *(
        _longtail(name, size, FONTS, "glyphs", package="matplotlib", drawn_by="glyphs.py")
        for name, size in {
            "glyphs_lt": "678 + 960 at ratio 33, 16 × 16 colour, 24 classes",
            "glyphs_lt_steep": "761 + 800 at ratio 80, 16 × 16 colour, 20 classes",
            "glyphs_lt_fine": "619 + 900 at ratio 15, 20 × 20 colour, 30 classes",
            "glyphs_lt_many": "609 + 800 at ratio 15, 16 × 16 colour, 40 classes",
        }.items()
    ),
    Entry(
        "mnist",
        ("images",),
        "60,000 + 10,000, 28 × 28 grey, 10 classes",
        tuple(f"MNIST/raw/{file}" for file in IDX_FILES),
        "LeCun, Cortes and Burges; commonly given as CC BY-SA 3.0",
        "`thesis data --fetch mnist`, or torchvision's download",
        (2,),
        {"train images": 60_000, "test images": 10_000, "rows of pixels": 28, "channels": 1, "classes": 10},
    ),
    _archives(
        "cifar10",
        10_000,
        32,
        10,
        "50,000 + 10,000, 32 × 32 colour, 10 classes",
        "Krizhevsky 2009; no formal licence, cite the technical report",
        "`thesis data --fetch cifar10`",
        (2, 5),
    ),
    _archives(
        "cifar100",
        10_000,
        32,
        100,
        "50,000 + 10,000, 32 × 32 colour, 100 classes",
        "Krizhevsky 2009; no formal licence, cite the technical report",
        "`thesis data --fetch cifar100`",
        (4, 5),
    ),
    *(
        _longtail(f"{name}_lt", size, (f"{name}/train.npz", f"{name}/test.npz"), "cifar")
        for name, size in {
            "cifar10": "12,406 + 10,000 at ratio 100, 32 × 32 colour, 10 classes",
            "cifar100": "10,847 + 10,000 at ratio 100, 32 × 32 colour, 100 classes",
        }.items()
    ),
    _archives(
        "tiny_imagenet18",
        900,
        64,
        18,
        "9,000 + 900, 64 × 64 colour, 18 classes",
        "Stanford CS231n from ImageNet; non-commercial research and teaching",
        "make it from tiny-imagenet-200.zip of Stanford's CS231n (see the book's page on data sets); "
        "ImageNet's terms are yours to accept",
        (2,),
    ),
    _videos(
        "ucf101",
        tuple(f"ucfTrainTestlist/{file}.txt" for file in ("classInd", "trainlist01", "testlist01")),
        "9,537 + 3,783 clips of split 1, 320 × 240 colour, 101 classes",
        "Soomro, Zamir and Shah 2012; research",
        "unpack UCF101.rar and UCF101TrainTestSplits-RecognitionTask.zip of the University of Central "
        "Florida's CRCV: UCF-101/<class>/*.avi, ucfTrainTestlist/*.txt",
    ),
    _videos(
        "hmdb51",
        ("testTrainMulti_7030_splits/brush_hair_test_split1.txt",),
        "3,570 + 1,530 clips of split 1, 240 rows, colour, 51 classes",
        "Kuehne and others 2011; CC BY 4.0",
        "unpack hmdb51_org.rar, the .rar files in it, and test_train_splits.rar of the Serre lab: "
        "hmdb51_org/<class>/*.avi, testTrainMulti_7030_splits/*.txt",
    ),
    _videos(
        "kinetics400",
        ("annotations/train.csv", "annotations/val.csv"),
        "about 240,000 + 20,000 clips of 10 s, 400 classes",
        "Kay and others 2017; annotations CC BY 4.0, the videos their uploaders'",
        "get it by the scripts of the CVD Foundation: train/*.mp4, val/*.mp4, annotations/*.csv",
    ),
    _videos(
        "sthsth_v2",
        ("labels/labels.json", "labels/train.json", "labels/validation.json"),
        "168,913 + 24,777 clips, 240 rows, colour, 174 classes",
        "Goyal and others 2017; research, by Qualcomm's licence",
        "ask Qualcomm for Something-Something V2 and unpack it: 20bn-something-something-v2/*.webm, labels/*.json",
    ),
    _libsvm("a9a", 32_561, 123, 451_592, "from UCI Adult"),
    _libsvm("a9a.t", 16_281, 123, 225_731, "test part of a9a"),
    _libsvm("w8a", 49_749, 300, 579_586, "web pages, Platt 1998"),
    _libsvm("w8a.t", 14_951, 300, 174_276, "test part of w8a"),
    _libsvm("mushrooms", 8_124, 112, 170_604, "from UCI Mushroom"),
    _libsvm("phishing", 11_055, 68, 331_650, "from UCI Phishing Websites"),
    # Copies with and without explicit zeros are about, so no number of non-zeros.
    _libsvm("ijcnn1", 49_990, 22, None, "from the IJCNN 2001 challenge"),
)
