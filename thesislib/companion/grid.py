"""The points of a sweep: every combination of the values that some parameters are to take."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thesislib.companion import making, provenance, runs
from thesislib.companion.house import Chapter, CompanionError
from thesislib.settings import ChapterSettings


@dataclass(frozen=True)
class Point:
    """One run of a sweep.

    Attributes
    ----------
    values : dict
        Parameter to value, of the swept ones.
    settings : ChapterSettings
        The chapter's settings with these values.
    """

    values: dict[str, Any]
    settings: ChapterSettings

    @property
    def label(self) -> str:
        """For people: ``dataset=digits, seed=3``."""
        return ", ".join(f"{name}={shown(value)}" for name, value in self.values.items()) or "as it is"

    @property
    def name(self) -> str:
        """For the disk: the label in plain characters, and a hash that tells alike ones apart."""
        text = json.dumps(self.values, sort_keys=True)
        plain = re.sub(r"[^A-Za-z0-9.=-]+", "_", self.label)[:60].strip("._")
        return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def points(chapter: Chapter, profile: str, grid: Mapping[str, Sequence]) -> list[Point]:
    """Every point of a grid, the last parameter changing fastest, each one validated.

    Parameters
    ----------
    grid
        Parameter of the chapter's notebook to its values; a value may itself be a list.

    Raises
    ------
    CompanionError
        If a parameter or a value is refused, data are missing, or two points are the same run; the message
        says how many points are refused and why the first one is.
    """
    found: list[Point] = []
    refused: list[str] = []
    seen: dict[str, Point] = {}
    for values in _combinations(grid):
        try:
            settings = runs.settle(chapter, profile, values)
            provenance.data_prints(settings.dataset)
            for artefact in chapter.artefacts:
                making.grid_of(chapter, settings, artefact.id)
        except CompanionError as error:
            refused.append(str(error))
            continue
        point = Point(values, settings)
        if (twin := seen.setdefault(repr(settings), point)) is not point:
            raise CompanionError(f"two points are the same run: {twin.label} and {point.label}")
        found.append(point)
    if refused:
        total = len(found) + len(refused)
        raise CompanionError(f"{len(refused)} of {total} points refused, nothing was started: {refused[0]}")
    return found


def shown(value: Any) -> str:
    """A value as the command line takes it."""
    return f"[{','.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)


def _combinations(grid: Mapping[str, Sequence]) -> list[dict[str, Any]]:
    if empty := [name for name, values in grid.items() if not values]:
        raise CompanionError(f"{', '.join(empty)} is given no value")
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
