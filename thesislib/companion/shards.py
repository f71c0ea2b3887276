"""Artefacts straight from their experiments, without the notebook: how long runs are made in shards."""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thesislib import sources
from thesislib.companion import house, making, provenance, records, runner, runs
from thesislib.companion.house import Chapter, CompanionError
from thesislib.companion.records import Record
from thesislib.datasets import DatasetError
from thesislib.evidence import Finding
from thesislib.settings import ChapterSettings

if TYPE_CHECKING:
    import pandas as pd


def limit_threads(count: int) -> None:
    """Let this process compute on `count` threads; to be called before an experiment is imported."""
    import threadpoolctl

    os.environ.update(dict.fromkeys(runner.THREADS, str(count)))
    threadpoolctl.threadpool_limits(count)  # of numpy, which was imported before
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)


def run(
    chapter: Chapter,
    profile: str,
    values: dict[str, Any],
    ids: Iterable[str],
    *,
    force: bool = False,
    threads: int = 1,
    workers: int = 1,
) -> tuple[Path, bool]:
    """Make some artefacts of a chapter, unless a finished run of the same is up to date.

    Parameters
    ----------
    values
        Settings to change; unlike a notebook's, any field of the chapter's settings.
    ids
        Artefacts.
    threads
        What :func:`limit_threads` was told; for the record, and a run on another number is made again, from the
        cache where that has its trainings.
    workers
        With several, that many processes first compute what is read here, see
        :func:`thesislib.companion.ahead.compute`.

    Returns
    -------
    folder : Path
        ``runs/<hash>``; the hash covers `ids` too.
    executed : bool

    Raises
    ------
    CompanionError
        If a parameter or an artefact is refused, or a frame is not its grid. Nothing is written then.
    """
    ids = list(dict.fromkeys(ids))
    if unknown := [i for i in ids if i not in {a.id for a in chapter.artefacts}]:
        raise CompanionError(f"{', '.join(unknown)} is no artefact of {chapter.name}")
    if not (sources.PACKAGE / str(chapter.package) / "experiments.py").is_file():
        raise CompanionError(f"{chapter.name} has no experiments yet")
    settings = runs.settle(chapter, profile, values, every=True)
    ids.sort(key=house.reading_order)
    target = runs.folder(chapter, settings, book=False, only=ids)
    if not force and _up_to_date(chapter, settings, ids, target, threads):
        return target, False
    if workers > 1:
        from thesislib.companion import ahead  # which needs this module

        ahead.compute(chapter, settings, workers, ids)
    with runner.fresh(target) as part:
        make(chapter, settings, ids, part / "records", threads=threads)
    return target, True


def make(
    chapter: Chapter, settings: ChapterSettings, ids: list[str], folder: Path, *, threads: int
) -> list[Record]:
    """Run the experiments of some artefacts and write their records, gated, into `folder`."""
    grids = {i: making.grid_of(chapter, settings, i) for i in ids}
    for identity, grid in grids.items():  # refused before hours are spent
        records.cells(identity, records.keys_of(grid), grid)
    facts = {"made": "experiment", "threads": threads}
    origin = making.origin(chapter, settings, _inputs(chapter, settings)) | facts
    experiments = {i: experiment(chapter, i) for i in ids}  # all are there before the first one runs
    made = []
    for identity, run_it in experiments.items():
        since = making.spent()
        try:
            frame = run_it(settings)
        except DatasetError as error:  # the reader's data: the other errors are ours
            raise CompanionError(f"{identity}: {error}") from None
        price = making.price(since, making.spent())
        record = making.record_of(
            chapter,
            settings,
            identity,
            frame,
            provenance={**origin, **price},
            folder=folder,
            claims=[],
        )
        record = records.write(record, frame)
        records.check(record, grids[identity])
        made.append(dataclasses.replace(record, claims=findings(chapter, identity, frame)))
        records.write_json(made[-1])
    return made


def experiment(chapter: Chapter, identity: str) -> Any:
    """``tab_2_4`` of the chapter's experiments for tab-2.4.

    Raises
    ------
    CompanionError
        If there is none.
    """
    name = identity.replace("-", "_").replace(".", "_").lower()
    module = importlib.import_module(f"thesislib.{chapter.package}.experiments")
    if not hasattr(module, name):
        raise CompanionError(f"{identity}: {chapter.package}/experiments.py has no function {name}")
    return getattr(module, name)


def findings(chapter: Chapter, identity: str, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Claims as far as this run decides them: a shard may lack what they compare, and hours are not to be
    lost for that. Who keeps the whole decides them again, and there an error counts.
    """
    found = []
    for claim in making.claims_of(chapter, identity):
        try:
            finding = claim.decide(frame)
        except Exception as error:
            reason = f"this run alone cannot decide it ({type(error).__name__}: {error})"
            finding = Finding(claim.sentence, claim.source, "not tested at this profile", reason=reason)
        found.append(dataclasses.asdict(finding))
    return found


def _up_to_date(
    chapter: Chapter, settings: ChapterSettings, ids: list[str], target: Path, threads: int
) -> bool:
    """Whether `target` holds whole records of what is on disk now, and of a clean tree if it is clean now."""
    facts = {"inputs": _inputs(chapter, settings), "threads": threads}
    dirty = provenance.git_state(chapter)["dirty"]
    try:
        found = records.read_folder(target / "records")
        for record in found.values():
            records.check(record, making.grid_of(chapter, settings, record.id))
    except CompanionError:
        return False
    known = [r.provenance for r in found.values()]
    return list(found) == ids and all(p.items() >= facts.items() and (dirty or not p["dirty"]) for p in known)


def _inputs(chapter: Chapter, settings: ChapterSettings) -> str:
    """One hash over what decides an experiment's numbers and verdicts; the notebook has no part in it."""
    package = sources.PACKAGE / str(chapter.package)
    claims = sources.closure(package / "claims.py")[0]
    facts = (provenance.method_files(chapter), provenance.versions(chapter))
    return sources.code_fingerprint(claims, repr(facts), repr(provenance.data_prints(settings.dataset)))
