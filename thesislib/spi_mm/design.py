"""Feature matrices and labels, checked before anything is computed from them (thesis, section 6.4)."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import get_index_dtype

TINY = np.finfo(float).tiny


def design_matrix(X, *, normalise: bool = False, centre: bool = False):
    """A checked copy of a feature matrix in double precision: CSR if it was sparse, else a C-ordered array.

    Parameters
    ----------
    X : array or sparse matrix, shape (n, d)
    normalise : bool
        Scale each row to unit Euclidean norm; empty rows stay empty.
    centre : bool
        Subtract the column means. Refused for a sparse matrix, which would become dense.

    Raises
    ------
    ValueError
        If the shape is not (n, d) with n, d at least 1, an entry is not finite (with their number), or a row that is to
        have unit norm is too large or too small for double precision to square.
    """
    is_sparse = sparse.issparse(X)
    X = sparse.csr_array(X, dtype=float, copy=True) if is_sparse else np.array(X, dtype=float, order="C")
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"X has shape {X.shape}, expected (n, d) with at least one row and one column")
    values = X.data if is_sparse else X
    if bad := int((~np.isfinite(values)).sum()):
        raise ValueError(f"X has {bad} entries that are NaN or infinite; clean or impute them first")
    if centre and is_sparse:
        raise ValueError("centring would make a sparse X dense; pass an array, or centre=False")
    if is_sparse:
        X.sum_duplicates()
        kind = get_index_dtype(maxval=max(X.nnz, *X.shape))  # 32 bits if they do: less to read in the loops
        X.indices, X.indptr = X.indices.astype(kind), X.indptr.astype(kind)
    if centre:
        X -= X.mean(axis=0)
    if normalise:
        with np.errstate(over="ignore"):
            squares = np.asarray(X.multiply(X).sum(axis=1)).ravel() if is_sparse else (X * X).sum(axis=1)
        filled = np.asarray(abs(X).max(axis=1).todense()).ravel() if is_sparse else abs(X).max(axis=1)
        if far := int((~np.isfinite(squares) | ((squares < TINY) & (filled > 0))).sum()):
            raise ValueError(
                f"X has {far} rows whose squares overflow or vanish; scale X by a constant first"
            )
        norms = np.sqrt(squares)
        scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
        if is_sparse:
            X.data *= np.repeat(scale, np.diff(X.indptr))
        else:
            X *= scale[:, None]
    return X


def signs(y, n: int) -> np.ndarray:
    """Labels as -1 and +1.

    Parameters
    ----------
    y : array, shape (n,)
        Two classes written as -1/+1, 0/1 or 1/2; the larger becomes +1.
    n : int
        Number of rows they belong to.

    Raises
    ------
    ValueError
        If the length differs or the labels are written otherwise.
    """
    y = np.asarray(y)
    if y.shape != (n,):
        raise ValueError(f"y has shape {y.shape}, but X has {n} rows")
    found = set(np.unique(y).tolist())
    for low, high in ((-1, 1), (0, 1), (1, 2)):
        if found == {low, high}:
            return np.where(y == high, 1.0, -1.0)
    shown = ", ".join(map(str, sorted(found)[:6]))
    raise ValueError(f"y has the labels {shown}; expected two classes written as -1/+1, 0/1 or 1/2")
