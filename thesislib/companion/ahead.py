"""A chapter's experiments on several cores: data sets side by side, before the notebook asks for them."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from thesislib.companion import executors, house, making, records, runs, shards
from thesislib.companion.house import Chapter, CompanionError
from thesislib.settings import ChapterSettings

Task = tuple[str, str, dict[str, Any], str]
"""Chapter, profile, parameters, artefact."""


def compute(chapter: Chapter, settings: ChapterSettings, workers: int) -> None:
    """Let the cache have what a run will ask for, so that its notebook reads.

    An error here says nothing: the notebook meets it again, in the cell where it belongs.

    Parameters
    ----------
    workers
        Processes, each with one thread.
    """
    from tqdm import tqdm

    items = tasks(chapter, settings)
    width = min(workers, len(items))
    with tqdm(total=len(items), desc=f"{chapter.name}, {width} cores", leave=False) as bar:
        for _ in executors.outcomes(_make, items, executors.processes, width, lambda: None):
            bar.update()


def tasks(chapter: Chapter, settings: ChapterSettings) -> list[Task]:
    """One for each artefact and data set; one for an artefact whose rows are not those of its sets alone.

    Data sets take turns, since what they share is little: those who want the same result wait for each other.
    """
    mine = runs.changes(chapter, settings)
    found: list[Task] = []
    for artefact in chapter.artefacts:
        whole, parts = _cells(chapter, settings, artefact.id), {}
        for name in settings.dataset:
            with contextlib.suppress(CompanionError):  # of a set that cannot stand alone
                alone = runs.settle(chapter, settings.profile, mine | {"dataset": (name,)}, every=True)
                if (cells := _cells(chapter, alone, artefact.id)) <= whole:
                    parts[name] = cells
        # Each row is of one part; rows that name no data set are of all of them, or of none.
        split = sum(map(len, parts.values())) == len(whole) == len(set().union(*parts.values()))
        for values in [mine | {"dataset": (name,)} for name in parts if parts[name]] if split else [mine]:
            found.append((chapter.name, settings.profile, values, artefact.id))
    return found


def _cells(chapter: Chapter, settings: ChapterSettings, identity: str) -> set[tuple[str, ...]]:
    grid = making.grid_of(chapter, settings, identity)
    return set(records.cells(identity, records.keys_of(grid), grid)) if grid else set()


def _make(task: Task) -> None:
    """Make one artefact of one data set, for the cache; nothing is said and nothing shown."""
    name, profile, values, identity = task
    os.environ["TQDM_DISABLE"] = "1"
    shards.limit_threads(1)
    chapter = house.chapter(name)
    with open(os.devnull, "w") as no, contextlib.redirect_stdout(no), contextlib.redirect_stderr(no):
        shards.experiment(chapter, identity)(runs.settle(chapter, profile, values, every=True))
