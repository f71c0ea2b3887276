"""Two maps made without looking at the clip (table 3.4), to see what real motion is worth (thesis, section 3.4.4).

Only their names and a recollection of them are known: values from 0 to about 50, drawn at random or in order.
"""

from __future__ import annotations

import numpy as np

from thesislib.blackbox.victim import is_whole

TOP = 50  # the largest value


def u_sample(n_maps: int, height: int, width: int, top: int = TOP, seed: int = 0) -> np.ndarray:
    """Whole numbers from 0 to `top`, each as likely; int16, shape (n_maps, height, width, 2).

    Parameters
    ----------
    seed : int

    Raises
    ------
    ValueError
        If `top` is no whole number that 16 bits hold.
    """
    _check(top)
    return np.random.default_rng(seed).integers(
        0, top, (n_maps, height, width, 2), dtype=np.int16, endpoint=True
    )


def s_value(n_maps: int, height: int, width: int, top: int = TOP) -> np.ndarray:
    """From 0 to `top` in order along the rows, one row after the other, the same in x and y and in all maps.

    Returns
    -------
    array of int16, shape (n_maps, height, width, 2)

    Raises
    ------
    ValueError
        As :func:`u_sample`.
    """
    _check(top)
    values = np.rint(np.linspace(0, top, height * width)).astype(np.int16).reshape(height, width, 1)
    return np.broadcast_to(values, (n_maps, height, width, 2)).copy()


def _check(top: int) -> None:
    if not is_whole(top) or not 0 <= top <= np.iinfo(np.int16).max:
        raise ValueError(f"top = {top!r}, expected a whole number from 0 to {np.iinfo(np.int16).max}")
