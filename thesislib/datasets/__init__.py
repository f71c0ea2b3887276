"""Images, clips and finite sums, by name or by path: embedded, real and the user's own behind the same call.

>>> from thesislib.datasets import load_features, load_images
>>> load_images("digits").train_images.shape
(1442, 8, 8, 1)
>>> X, y = load_features("digits")
>>> X.shape
(1797, 64)

Importing this package imports neither NumPy nor scikit-learn; the loaders come when they are first used.
"""

import importlib
from typing import TYPE_CHECKING

from thesislib.datasets.catalogue import DatasetError, Entry, available

if TYPE_CHECKING:  # also read by thesislib.sources, which follows import statements
    from thesislib.datasets.clips import Clips, load_clips
    from thesislib.datasets.content import fingerprint
    from thesislib.datasets.download import fetch
    from thesislib.datasets.features import load_features
    from thesislib.datasets.images import Images, load_images

__all__ = [
    "Clips",
    "DatasetError",
    "Entry",
    "Images",
    "available",
    "fetch",
    "fingerprint",
    "load_clips",
    "load_features",
    "load_images",
]

_HOMES = {
    "Clips": "clips",
    "Images": "images",
    "fetch": "download",
    "fingerprint": "content",
    "load_clips": "clips",
    "load_features": "features",
    "load_images": "images",
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})  # for completion, and for the book's reference
