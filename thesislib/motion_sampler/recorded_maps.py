"""Motion maps of all test clips of a data set, computed once (thesis, section 3.3.2)."""

from __future__ import annotations

import numpy as np
from tqdm.auto import tqdm

from thesislib.datasets.clips import load_clips
from thesislib.memo import memoised
from thesislib.motion_sampler.improved_map import improved_maps
from thesislib.motion_sampler.motion_map import SOURCES, motion_maps, sampled

KINDS = (*SOURCES, "improved")


@memoised(data="dataset")
def maps_of(
    dataset: str, kind: str, numbers: tuple[int, ...] | None = None, *, frames: int = 8, size: int = 32
) -> list[np.ndarray]:
    """Motion maps of test clips at the pixels that a model sees.

    Parameters
    ----------
    dataset : str
        As `load_clips` takes it, and so are `frames` and `size`.
    kind : {"mv", "mv_h264", "flow", "flow_tvl1", "improved"}
        Sources of `motion_maps`, or `improved_maps`.
    numbers : tuple of int, optional
        Which test clips; all if not given.
    frames, size : int

    Returns
    -------
    list of array of int16, shape (n_maps, size, size, 2)
        One a clip. Displacements in pixels of the clip as recorded, which is larger than what the model sees.

    Raises
    ------
    ValueError
        If the kind is none of these.
    """
    if kind not in KINDS:
        raise ValueError(f"kind = {kind!r}, expected one of {', '.join(KINDS)}")
    clips = load_clips(dataset, frames=frames, size=size, train=0)
    numbers = range(len(clips.test_clips)) if numbers is None else numbers
    maps = []
    for k in tqdm(numbers, desc=f"motion maps ({kind})", leave=False):
        whole = clips.whole(k)
        found = improved_maps(whole)[0] if kind == "improved" else motion_maps(whole, kind)
        maps.append(sampled(found, size, size))
    return maps
