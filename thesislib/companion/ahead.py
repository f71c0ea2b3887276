"""A chapter's experiments in several processes, data sets and methods side by side, before anybody asks for them."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Iterable
from typing import Any

from thesislib.companion import executors, house, making, records, runs, shards
from thesislib.companion.house import Chapter, CompanionError
from thesislib.settings import ChapterSettings

Task = tuple[str, str, dict[str, Any], str]
"""Chapter, profile, parameters, artefact."""


def compute(
    chapter: Chapter, settings: ChapterSettings, workers: int, ids: Iterable[str] | None = None
) -> None:
    """Let the cache have what a run will ask for, so that the run reads.

    An error here says nothing: the run meets it again, in the cell or experiment where it belongs.

    Parameters
    ----------
    workers
        Processes, each with one thread.
    ids
        Artefacts; None: the chapter's.
    """
    from tqdm import tqdm

    items = tasks(chapter, settings, ids)
    width = min(workers, len(items))
    with tqdm(total=len(items), desc=f"{chapter.name}, {width} processes", leave=False) as bar:
        for _ in executors.outcomes(_make, items, executors.processes, width, lambda: None):
            bar.update()


def tasks(chapter: Chapter, settings: ChapterSettings, ids: Iterable[str] | None = None) -> list[Task]:
    """One for each artefact, seed and value of those lists among the settings by which its rows can be told apart.

    Seeds take turns, then data sets, since what they share is little: those who want the same result wait for each
    other.
    """
    mine = runs.changes(chapter, settings)
    lists = [f.name for f in dataclasses.fields(settings) if isinstance(getattr(settings, f.name), tuple)]
    lists = ["repeats", "dataset", *(name for name in lists if name != "dataset")]
    found: list[Task] = []
    for artefact in chapter.artefacts:
        if ids is not None and artefact.id not in ids:
            continue
        told, parts = (), [{}]
        for name in lists:
            if len(finer := parts_of(chapter, settings, artefact.id, (name, *told))) > len(parts):
                told, parts = (name, *told), finer
        found += [(chapter.name, settings.profile, mine | values, artefact.id) for values in parts]
    return found


def parts_of(
    chapter: Chapter, settings: ChapterSettings, identity: str, fields: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Settings whose rows together are an artefact's, each row in one of them; none if there are no such.

    A field that an artefact does not depend on gives the same rows again and again, which tells nothing apart.

    Parameters
    ----------
    identity
        The artefact.
    fields
        Lists among the settings, and "repeats"; each part has one value of each list, and one seed.

    Returns
    -------
    list of dict
        Field to its one value, for each part.
    """
    whole, mine = _cells(chapter, settings, identity), runs.changes(chapter, settings)
    parts: list[dict[str, Any]] = []
    left = set(whole)
    for chosen in itertools.product(*(_choices(settings, name) for name in fields)):
        values = {name: value for one in chosen for name, value in one.items()}
        with contextlib.suppress(CompanionError):  # of a set that cannot stand alone
            alone = runs.settle(chapter, settings.profile, mine | values, every=True)
            cells = _cells(chapter, alone, identity)
            if not cells <= whole:
                continue
            if not cells <= left:
                return []
            left -= cells
            parts += [values] if cells else []
    return [] if left else parts


def _choices(settings: ChapterSettings, name: str) -> list[dict[str, Any]]:
    if name == "repeats":
        return [{"repeats": 1, "first_repeat": settings.first_repeat + k} for k in range(settings.repeats)]
    return [{name: (value,)} for value in getattr(settings, name)]


def _cells(chapter: Chapter, settings: ChapterSettings, identity: str) -> set[tuple[str, ...]]:
    grid = making.grid_of(chapter, settings, identity)
    return set(records.cells(identity, records.keys_of(grid), grid)) if grid else set()


def _make(task: Task) -> None:
    """Make an artefact, or part of one, for the cache; nothing is said and nothing shown."""
    name, profile, values, identity = task
    os.environ["TQDM_DISABLE"] = "1"
    shards.limit_threads(1)
    chapter = house.chapter(name)
    with open(os.devnull, "w") as no, contextlib.redirect_stdout(no), contextlib.redirect_stderr(no):
        shards.experiment(chapter, identity)(runs.settle(chapter, profile, values, every=True))
