"""The pool of runs: one attack on one victim's clips, each made once, whatever asks for it (thesis, section 3.4).

``settings`` are those of the run, ``dataset``, ``model`` (the victim), ``method`` and ``goal`` name a cell of the
tables, ``kind`` is one of motion map, ``changes`` are fields of the attack; ``values`` are an attack's fields,
``frame`` and ``kept`` what a run gave.
"""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd

from thesislib.datasets.clips import load_clips
from thesislib.motion_sampler.attacks import METHODS
from thesislib.motion_sampler.column import UNTARGETED
from thesislib.motion_sampler.runs import Case, Kept, attacked, chosen, maps_for
from thesislib.motion_sampler.settings import OURS, Settings

MEASURES = ["number", "success", "queries", "charged", "steps", "linf"]


def case_of(
    settings: Settings, dataset: str, model: str, method: str, goal: str = UNTARGETED, **changes: object
) -> Case:
    """The case that a method is on a victim, with some of its fields changed."""
    column, made = settings.column(dataset), settings.options_of(base_of(method), dataset, model, goal)
    if METHODS[method].sampler == "warp":
        made["scale"] = _scale(dataset)
    fields = {
        "dataset": dataset,
        "victim": column.victim(model),
        "method": method,
        "goal": goal,
        "options": options(made),
        "budget": settings.cap(goal),
        "seed": settings.seeds()[0],
    }
    return Case(**fields | changes)


@functools.cache
def _scale(dataset: str) -> float:
    """Pixels of a frame as the victim sees it for one of the recorded clip, of the first test clip."""
    clips = load_clips(dataset, train=0, test=1)
    return clips.test_clips.shape[2] / clips.whole(0).shape[1]


def base_of(method: str) -> str:
    """Whose settings a method has: every variant of the motion-excited sampler has its own."""
    return OURS if METHODS[method].make is METHODS[OURS].make else method


def options(values: dict[str, object]) -> tuple[tuple[str, object], ...]:
    """Fields of an attack as a cache key takes them."""
    return tuple(sorted(values.items()))


def run(settings: Settings, dataset: str, model: str, method: str, goal: str = UNTARGETED, **changes) -> Kept:
    """One run of the pool."""
    return attacked(case_of(settings, dataset, model, method, goal, **changes), range(settings.clips))


def measured(
    settings: Settings, kept: Kept, dataset: str, model: str, goal: str = UNTARGETED
) -> pd.DataFrame:
    """A run's frame with the columns of the tables."""
    charged = kept.frame["queries"].where(kept.frame["success"], settings.cap(goal))
    return kept.frame.assign(dataset=dataset, model=model, charged=charged)


def maps_shown(settings: Settings, dataset: str, model: str, kind: str) -> list[np.ndarray]:
    """Motion maps of the attacked clips of a victim, in their order."""
    seed = settings.seeds()[0]
    clips, _, ids = chosen(dataset, settings.column(dataset).victim(model), seed, range(settings.clips))
    found = maps_for(dataset, kind, ids, tuple(clips.shape[3:]), seed)
    return [found[number].numpy() for number in ids]


def rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """Floats to six digits, flags as 0 and 1: what a file keeps."""
    for name in frame.columns:
        if frame[name].dtype == bool:
            frame[name] = frame[name].astype(int)
        elif frame[name].dtype.kind == "f":
            frame[name] = [float(f"{value:.6g}") for value in frame[name]]
    return frame
