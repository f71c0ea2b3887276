"""Feature matrices with labels -1 and +1: the data of a finite sum.

``found`` is a data set's place.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from scipy import sparse

from thesislib.datasets.catalogue import DatasetError
from thesislib.datasets.content import read_npz
from thesislib.datasets.places import Found, locate

LABEL_PAIRS = ((-1, 1), (0, 1), (1, 2))
MOST_COLUMNS = 2**27
"""Some four times the widest set of LIBSVM's page: a larger index is a slip, and one vector of weights a gigabyte."""


def load_features(name_or_path: str | os.PathLike) -> tuple[np.ndarray | sparse.csr_matrix, np.ndarray]:
    """Load a binary classification problem.

    Parameters
    ----------
    name_or_path : str or path
        ``"digits"`` (grey values 0 to 1, +1 for even digits) and ``"breast_cancer"`` (columns with mean 0 and
        standard deviation 1, +1 for target 1, benign) need nothing. ``"a9a"``, ``"w8a"`` and every other file
        of ``THESISLIB_DATA/libsvm`` go by their name, compressed or not. Or the path of a file of your own:
        an ``.npz`` archive with ``X``, shape (n, d), and ``y``, shape (n,), or a text file in LIBSVM's
        format, as it is or compressed (.gz, .bz2).

    Returns
    -------
    X : array of float, shape (n, d), or CSR matrix of float, shape (n, d)
        Dense for the embedded sets and .npz archives; sparse, and never made dense, for LIBSVM's format. Rows
        are not normalised and may be empty (4,203 are in w8a).
    y : array of float, shape (n,)
        -1 or +1. Of labels 0 and 1, or 1 and 2, the larger becomes +1.

    Raises
    ------
    DatasetError
        If it is unknown, missing or damaged; if a file of the catalogue has other counts than it ought to; if
        a feature is not finite; if the labels are not one of the three pairs; if a column is numbered above 2^27.

    Notes
    -----
    A file of the catalogue has the number of columns that its publisher gives, since its last columns may be
    empty. Another file has as many as its highest index says, counted from 1 unless an index 0 occurs.
    """
    found = locate(name_or_path, "features")
    if found.path.is_dir():
        raise DatasetError(f"{found.path} is a folder; features come as one file, .npz or LIBSVM's format")
    return read_features(found)


def read_features(found: Found) -> tuple[np.ndarray | sparse.csr_matrix, np.ndarray]:
    """What ``load_features`` returns, for a data set already located."""
    if found.entry and found.entry.package:
        X, y = _embedded(found.name)
    elif found.path.suffix == ".npz":
        X, y = _npz(found.path)
    else:
        X, y = _svmlight(found)
    values = X.data if sparse.issparse(X) else X
    found.check({"rows": X.shape[0], "columns": X.shape[1], "non-zeros": np.count_nonzero(values)})
    if not values.size:
        raise DatasetError(f"{found.path} holds {X.shape[0]} rows and not one feature")
    if odd := np.count_nonzero(~np.isfinite(values)):
        raise DatasetError(f"{found.path}: {odd} features are NaN or infinite; mend or remove these rows")
    return X, _signs(y, found.path)


def _embedded(name: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn import datasets  # 2 s to import

    if name == "digits":
        X, digit = datasets.load_digits(return_X_y=True)
        return X / 16, np.where(digit % 2 == 0, 1, -1)
    X, y = datasets.load_breast_cancer(return_X_y=True)
    return (X - X.mean(axis=0)) / X.std(axis=0), y


def _svmlight(found: Found) -> tuple[sparse.csr_matrix, np.ndarray]:
    from sklearn.datasets import load_svmlight_file

    columns = found.entry.counts["columns"] if found.entry else None
    try:
        X, y = load_svmlight_file(str(found.path), n_features=columns)
    except Exception as error:  # bz2, zlib and the parser raise several kinds on a damaged file
        raise DatasetError(f"{found.path} is cut short, damaged or not LIBSVM's format: {error}") from error
    if X.shape[1] > MOST_COLUMNS:
        raise DatasetError(
            f"{found.path} has a feature of index {X.shape[1]:,}; up to {MOST_COLUMNS:,} are read"
        )
    return X, y


def _npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    arrays = read_npz(path, ("X", "y"))
    X, y = arrays["X"], arrays["y"]
    if X.ndim != 2 or X.dtype.kind not in "biuf":
        raise DatasetError(f"{path}: X is {X.dtype} of shape {X.shape}, expected numbers of shape (n, d)")
    if y.shape != X.shape[:1]:
        raise DatasetError(f"{path}: y has shape {y.shape}, expected {X.shape[:1]}: one label a row of X")
    return X.astype(float), y


def _signs(y: np.ndarray, path: Path) -> np.ndarray:
    values = np.unique(y)
    if tuple(values.tolist()) not in LABEL_PAIRS:
        found = ", ".join(map(str, values[:5].tolist())) + (", ..." if len(values) > 5 else "")
        raise DatasetError(
            f"{path} has the labels {found}; expected both of -1 and 1, of 0 and 1, or of 1 and 2"
        )
    return np.where(y == values[-1], 1.0, -1.0)
