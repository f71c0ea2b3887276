"""How a frame becomes a record, be it a notebook's or that of an experiment run alone."""

from __future__ import annotations

import dataclasses
import datetime
import importlib
import importlib.util
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thesislib import memo
from thesislib.companion import provenance, records, runs
from thesislib.companion.house import Chapter, CompanionError
from thesislib.companion.records import Grid, Record
from thesislib.settings import ChapterSettings

if TYPE_CHECKING:
    import pandas as pd

    from thesislib.evidence import Claim

SPREAD = (
    "same numbers on the same machine; elsewhere rounding may differ in the last digits, and wall times will"
)


def origin(chapter: Chapter, settings: ChapterSettings, inputs: str) -> dict[str, Any]:
    """Provenance of a run that starts now; `inputs` is the hash by which it will be known as stale."""
    return {
        **provenance.git_state(chapter),
        "inputs": inputs,
        "files": provenance.method_files(chapter),
        "data": provenance.data_prints(settings.dataset),
        "versions": provenance.versions(chapter),
        "machine": provenance.machine(),
        "device": settings.device,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


@dataclass(frozen=True)
class Spent:
    """What this process has spent so far, whether it computed or read from the cache; see :func:`spent`."""

    seconds: float
    images: int | None


def spent() -> Spent:
    """Wall time, and training images where the chapter's methods are trainings.

    A chapter that counts those has ``training_images`` in a module ``spending``; it takes the arguments of the
    memoised functions of its ``runs``.
    """
    images: dict[object, int] = {}
    counts = False
    for function, arguments in memo.calls.values():
        module, _, name = function.rpartition(".")
        package = module.removesuffix(".runs")
        if package == module or name not in ("trained", "measured") or not _counts(package):
            continue
        images |= importlib.import_module(f"{package}.spending").training_images(**arguments)
        counts = True
    return Spent(time.perf_counter() + memo.saved_seconds(), sum(images.values()) if counts else None)


def price(since: Spent, now: Spent) -> dict[str, Any]:
    """What an artefact cost, for its provenance: wall time in seconds, training images, peak memory in MB."""
    cost = {"seconds": round(now.seconds - since.seconds, 1), "peak_mb": provenance.peak_memory()}
    if now.images is not None:
        cost["training_images"] = now.images - (since.images or 0)
    return cost


def _counts(package: str) -> bool:
    return importlib.util.find_spec(f"{package}.spending") is not None


def grid_of(chapter: Chapter, settings: ChapterSettings, identity: str) -> Grid:
    """The grid that a chapter's settings declare for an artefact.

    Raises
    ------
    CompanionError
        If the artefact is not the chapter's, its grid is not declared, or the settings leave it without a row.
    """
    if identity not in {a.id for a in chapter.artefacts}:
        raise CompanionError(f"{identity} is no artefact of {chapter.name}")
    grids = importlib.import_module(f"thesislib.{chapter.package}.settings").grids(settings)
    if identity not in grids:
        raise CompanionError(f"{identity}: grids() in {chapter.package}/settings.py does not name it")
    grid = grids[identity]
    if not any(all(block.values()) for block in (grid if isinstance(grid, list) else [grid])):
        raise CompanionError(
            f"these settings leave nothing of {identity}; give it more of the lists that it is made from, or leave it "
            f"out: `thesis run {chapter.name} --only ID,...`"
        )
    return grid


def claims_of(chapter: Chapter, identity: str) -> tuple[Claim, ...]:
    """The claims that a chapter attaches to an artefact."""
    return tuple(importlib.import_module(f"thesislib.{chapter.package}.claims").CLAIMS.get(identity, ()))


def decided(chapter: Chapter, identity: str, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """An artefact's claims as its frame decides them."""
    return [dataclasses.asdict(claim.decide(frame)) for claim in claims_of(chapter, identity)]


def record_of(
    chapter: Chapter,
    settings: ChapterSettings,
    identity: str,
    frame: pd.DataFrame,
    *,
    provenance: dict[str, Any],
    folder: Path,
    claims: list[dict[str, Any]],
    dataset: tuple[str, ...] | None = None,
    alt: str = "",
    spread: str = SPREAD,
    stands_for: dict[str, str] | None = None,
    same_as: str | None = None,
) -> Record:
    """A frame's record, not written yet; the arguments are those of :class:`Record` and ``Page.record``."""
    keys = records.keys_of(grid_of(chapter, settings, identity))
    return Record(
        id=identity,
        profile=settings.profile,
        dataset=list(_data_of(frame, settings) if dataset is None else dataset),
        keys=keys,
        values=[c for c in frame.columns if c not in keys],
        rows=0,
        sha256="",
        claims=claims,
        settings=plain(dataclasses.asdict(settings)),
        parameters=plain(runs.changes(chapter, settings)),
        seeds=list(settings.seeds()),
        alt=alt,
        spread=spread,
        provenance=provenance,
        stands_for=stands_for or {},
        same_as=same_as,
        folder=folder,
    )


def _data_of(frame: pd.DataFrame, settings: ChapterSettings) -> tuple[str, ...]:
    """The data sets that a frame names, in the order of the settings; () if it has no such column."""
    named = [] if "dataset" not in frame else [*map(str, frame["dataset"].unique())]
    mine = [d for d in settings.dataset if d in named]
    return (*mine, *(d for d in named if d not in mine))


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Settings as JSON holds them."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
