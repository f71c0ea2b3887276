"""Long runs worth keeping: committed under ``data/recorded/``, in parts if need be, and replayed later."""

from __future__ import annotations

import dataclasses
import datetime
import importlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thesislib.companion import ahead, house, making, provenance, records, runner, runs, shards
from thesislib.companion.house import CompanionError
from thesislib.companion.records import MAX_RECORDED, Record
from thesislib.settings import ChapterSettings, SettingsError

if TYPE_CHECKING:
    import pandas as pd

SAME = ("id", "profile", "keys", "values", "stands_for", "same_as", "spread", "alt")
ROOTS = (
    "seed",
    "repeats",
    "first_repeat",
)  # together the inner seeds, of which a record holds as many as were run
MADE_ON = ("device", "precision")  # what a machine decides; a column of that name tells rows apart


def keep(folders: Sequence[Path], *, part: bool = False) -> list[Path]:
    """Store the records of finished runs, one folder a data set.

    Parameters
    ----------
    folders
        Run folders (``runs/ch6-…``) or parts; several are shards of one long run and are merged.
    part
        Store them unmerged under ``parts/`` of their folder, for a later call to merge.

    Returns
    -------
    list of Path
        The JSON files written.

    Raises
    ------
    CompanionError
        If a folder is no run, a run was made with uncommitted changes, shards disagree on anything but
        settings and rows, overlap or leave holes, a data set is the reader's own, a file would exceed 200 kB, or
        a record with more rows stands in the place. Nothing is written then.
    """
    return _stored([r for folder in folders for r in _records_of(folder)], part)


def _stored(kept: Sequence[Record], part: bool = False) -> list[Path]:
    pieces: dict[tuple[str, str], list[tuple[Record, pd.DataFrame]]] = {}
    for record in kept:
        frame = record.frame()
        for name, rows in _of_each_set(record, frame):
            place = f"{name}-{record.profile}"
            pieces.setdefault((place, record.id), []).append((record, rows.reset_index(drop=True)))
    base = house.root() / "data" / "recorded"
    with tempfile.TemporaryDirectory(dir=_made(base), prefix=".keep-") as scratch:
        ready = []
        for (place, identity), found in pieces.items():
            for number, group in enumerate([[one] for one in found] if part else [found]):
                name = place if not part else f"{place}/parts/{_stamp(group[0][0])}-{number}"
                ready.append((_merged(group, place, Path(scratch) / name, part), base / name, identity))
        if not ready:
            raise CompanionError("nothing to keep: no record names a data set, which its folder is called by")
        for record, target, identity in ready:
            _refuse_fewer(record, target / f"{identity}.json")
        written = []
        for record, target, identity in ready:
            target.mkdir(parents=True, exist_ok=True)
            (target / f"{identity}.json").unlink(missing_ok=True)  # a record with a JSON is whole
            for suffix in ("csv", "json"):
                record.file(suffix).replace(target / f"{identity}.{suffix}")
            written.append(target / f"{identity}.json")
    return written


def _refuse_fewer(record: Record, standing: Path) -> None:
    """A shard that was meant for ``--part`` must not replace the whole."""
    if standing.exists() and (there := records.read(standing).rows) > record.rows:
        raise CompanionError(
            f"{standing.parent.name}/{record.id} has {there} rows, which {record.rows} would replace; --part keeps a "
            "shard, and if fewer rows are meant, remove the record first"
        )


def merge(name: str) -> list[Path]:
    """Merge the committed parts of a place, or of one of its artefacts, and remove them.

    Parameters
    ----------
    name
        ``a9a-paper``, or ``a9a-paper/fig-6.2`` where other artefacts still lack parts.

    Raises
    ------
    CompanionError
        As :func:`keep`; or if there are no such parts.
    """
    place, _, identity = name.partition("/")
    base = house.root() / "data" / "recorded" / place
    folders = sorted((base / "parts").glob("*/"))
    found = [r for folder in folders for r in records.read_folder(folder).values()]
    parts = [r for r in found if r.id == (identity or r.id)]
    if not parts:
        raise CompanionError(f"data/recorded/{place} has no parts" + (f" of {identity}" if identity else ""))
    written = _stored(parts)
    for record in parts:
        for suffix in ("json", "csv"):  # a record with a JSON is whole
            record.file(suffix).unlink()
    for folder in (*folders, base / "parts"):
        if not any(folder.iterdir()):
            folder.rmdir()
    return written


def replay(name: str) -> str:
    """Run the first items of a committed record again and compare.

    If every row of the shorter run is in the record, but for times and ``made on``, the record's files are brought
    up to date, so that it is stale no more, and its claims are decided anew, as they stand now.

    Parameters
    ----------
    name
        ``a9a-paper/fig-6.2``.

    Returns
    -------
    str
        What was compared.

    Raises
    ------
    CompanionError
        If there is no such record, files have uncommitted changes, or rows differ; the record stays as it is.
    """
    path = house.root() / "data" / "recorded" / f"{name}.json"
    if not path.is_file():
        place, kept = name.partition("/")[0], records.recorded()
        known = [f"{place}/{r.id}" for r in kept if r.folder.name == place] or {r.folder.name for r in kept}
        raise CompanionError(
            f"{name!r} is no committed record, PLACE/ID; there are {', '.join(sorted(known)) or 'none'}"
        )
    record = records.read(path)
    chapter = house.chapter(f"ch{record.artefact.chapter}")
    commit = provenance.git_state(chapter)
    if commit["dirty"]:
        raise CompanionError("uncommitted changes would be what is replayed; commit, then replay")
    again = _again(chapter, record)
    if "dataset" in again:
        again = again[again["dataset"].isin(record.dataset)]
    count = _compare(record, record.frame(), again)
    files = provenance.method_files(chapter)
    note = {"date": datetime.date.today().isoformat(), "rows": count, **commit}
    data = provenance.data_prints(record.provenance["data"])
    fresh = {**record.provenance, "files": files, "data": data, "replayed": note}
    claims = _decided(chapter, record.folder.name, record.id, record.frame())
    records.write_json(dataclasses.replace(record, claims=claims, provenance=fresh))
    return f"{name}: {count} of {record.rows} rows run again, all as recorded"


def _again(chapter: house.Chapter, record: Record) -> pd.DataFrame:
    """The frame of a record's shorter run, made the way the record was."""
    shorter = getattr(_settings_module(chapter), "REPLAY", None)
    if shorter is None:
        raise CompanionError(
            f"thesislib/{chapter.package}/settings.py has no REPLAY: what makes a run of {chapter.name} shorter"
        )
    if record.provenance.get("made") == "experiment":
        threads = record.provenance["threads"]
        shards.limit_threads(threads)
        settings = runs.settle(chapter, record.profile, {**record.parameters, **shorter}, every=True)
        with tempfile.TemporaryDirectory() as scratch:
            (again,) = shards.make(chapter, settings, [record.id], Path(scratch), threads=threads)
            return again.frame()
    changed = {k: v for k, v in record.parameters.items() if k in runs.declared(chapter)}
    folder, _ = runner.run(chapter, record.profile, {**changed, **shorter}, force=True)
    return records.read(folder / "records" / f"{record.id}.json").frame()


def _compare(record: Record, stored: pd.DataFrame, again: pd.DataFrame) -> int:
    """Number of rows of `again` found in `stored` with equal values, but for times and the machine's name."""
    if absent := [key for key in record.keys if key not in again]:
        raise CompanionError(
            f"{record.id}: {', '.join(absent)} is recorded, and no column of the rows run again"
        )
    was, now = (
        {c for c in frame if c not in record.keys and "seconds" not in c and c != "made on"}
        for frame in (stored, again)
    )
    if was != now:
        words = [f"{', '.join(sorted(was - now))} only in the record"] * bool(was - now)
        words += [f"{', '.join(sorted(now - was))} only in the rows run again"] * bool(now - was)
        raise CompanionError(f"{record.id}: columns differ, {' and '.join(words)}")
    fresh, known = (records.by_text(record.keys, frame) for frame in (again, stored))
    both = fresh.merge(known, on=record.keys, how="left", suffixes=("", " stored"), indicator=True)
    if (lost := int((both["_merge"] != "both").sum())) or both.empty:
        raise CompanionError(f"{record.id}: {lost} of {len(again)} replayed rows are not in the record")
    for value in (c for c in again if c in now):
        new, old = both[value].to_numpy(), both[f"{value} stored"].to_numpy()
        if new.dtype.kind in "fc" and old.dtype.kind in "biufc":
            bad = ~np.isclose(new, old, rtol=1e-6, atol=1e-9, equal_nan=False)
        else:
            bad = new != old
        if bad.any():
            row = both[bad].iloc[0]
            where = ", ".join(f"{k} {row[k]}" for k in record.keys)
            raise CompanionError(
                f"{record.id}: {int(bad.sum())} of {len(both)} rows differ in {value}, first at {where}: "
                f"{row[value]} now, {row[f'{value} stored']} recorded"
            )
    return len(both)


def _of_each_set(record: Record, frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The data sets that a record is of, each with its rows.

    Those that a notebook only names, because its table describes networks for them, were not read: nothing is of them.
    """
    column = set(frame["dataset"].astype(str)) if "dataset" in frame else set()
    for name in record.dataset:
        if Path(name).name != name:
            raise CompanionError(
                f"{record.id} is of {name}; only runs on data sets that others can get are kept, see `thesis data`"
            )
        if name in column or name in record.provenance["data"]:
            yield name, frame[frame["dataset"] == name] if "dataset" in frame else frame


def _merged(found: list[tuple[Record, pd.DataFrame]], place: str, folder: Path, part: bool) -> Record:
    """One record of several shards, written into `folder`; as a part it keeps the claims that it has."""
    import pandas as pd

    pieces, name = [record for record, _ in found], place.rpartition("-")[0]
    first, chapter = pieces[0], house.chapter(f"ch{pieces[0].artefact.chapter}")
    _agree(pieces, name)
    frame = pd.concat([rows for _, rows in found], ignore_index=True)
    if frame.duplicated(first.keys).any():
        raise CompanionError(f"{place}/{first.id}: shards overlap on {', '.join(first.keys)}")
    # Equal code may have been committed more than once.
    commits = list(
        dict.fromkeys(c for r in pieces for c in r.provenance.get("commits", [r.provenance["commit"]]))
    )
    counted = [n for r in pieces if (n := r.provenance.get("training_images")) is not None]
    parameters, whole = _whole(chapter, pieces, name)
    want: dict[tuple, None] = {}
    for settings in whole:
        grid = making.grid_of(chapter, settings, first.id)
        want |= records.cells(first.id, first.keys, grid)
    records.check_cells(f"{place}/{first.id}", first.keys, frame, want)
    # In the grid's order, as one run would have written them, whatever the order of the shards.
    place_of = {cell: k for k, cell in enumerate(want)}
    frame = frame.iloc[np.argsort([place_of[cell] for cell in records.rows_of(first.keys, frame)])]
    frame = frame.reset_index(drop=True)
    merged = dataclasses.replace(
        first,
        dataset=[name],
        seeds=sorted({s for r in pieces for s in r.seeds}),
        claims=first.claims if part else _decided(chapter, place, first.id, frame),
        settings=making.plain(dataclasses.asdict(whole[0])),
        parameters=parameters,
        provenance={
            **first.provenance,
            "data": {k: v for k, v in first.provenance["data"].items() if k == name},
            "machine": "; ".join(dict.fromkeys(r.provenance["machine"] for r in pieces)),
            "seconds": round(sum(r.provenance["seconds"] for r in pieces), 1),
            "peak_mb": max(r.provenance.get("peak_mb") or 0 for r in pieces) or None,
            **({"training_images": sum(counted)} if counted else {}),
            **({"commits": commits} if len(commits) > 1 else {}),
            "shards": sum(r.provenance.get("shards", 1) for r in pieces),
        },
        folder=folder,
    )
    merged = records.write(merged, frame)
    for suffix in ("csv", "json"):
        if (size := merged.file(suffix).stat().st_size) > MAX_RECORDED:
            raise CompanionError(f"{place}/{first.id}.{suffix} has {size // 1000} kB, 200 at most")
    return merged


def _agree(pieces: list[Record], name: str) -> None:
    """Refuse shards of which one was made otherwise than the first, or from an unclean tree."""
    first = pieces[0]
    for other in pieces:
        was, here = first.provenance, other.provenance
        unlike = [f for f in SAME if getattr(other, f) != getattr(first, f)]
        unlike += [f for f in ("files", "versions", "made") if here.get(f) != was.get(f)]
        unlike += ["data"] * (here["data"].get(name) != was["data"].get(name))
        if unlike:
            raise CompanionError(
                f"{first.id}: shards differ in {', '.join(unlike)}; run them from one commit"
            )
        if here["dirty"] or here["commit"] is None:
            what = "with uncommitted changes" if here["commit"] else "outside a git clone"
            raise CompanionError(f"{first.id}: the run was made {what}; commit, then run again")


def _whole(
    chapter: house.Chapter, pieces: list[Record], name: str
) -> tuple[dict[str, Any], list[ChapterSettings]]:
    """Parameters and settings of the run of which shards are the parts.

    Where shards differ, the profile's own value stands for the whole. If they differ in one of the settings
    that the chapter lists as ``SHARDED``, that goes for all of these: windows of one length differ only in
    where they begin. Shards with different root seeds are runs of their own, each of which must be whole, and may be of
    machines of their own; those with seeds of one root, one after another, are one run. In other settings they may
    differ if these are lists by which rows are told apart.

    Returns
    -------
    parameters : dict
        With the first root's seeds.
    settings : list of ChapterSettings
        One a root seed and machine.

    Raises
    ------
    CompanionError
        If they differ in a setting that decides what is in the rows, and not which rows there are: the whole would
        be of a value that some of them, or none, were run with. Or if a value is none of the settings' any more.
    """
    first, module = pieces[0], _settings_module(chapter)
    unlike = {k for r in pieces for k, v in r.settings.items() if v != first.settings.get(k)}
    sharded = getattr(module, "SHARDED", ())
    unlike = unlike.union(sharded if unlike.intersection(sharded) else ()).difference(ROOTS)
    own = {"dataset": [name]} if name in first.settings["dataset"] else {}
    same = {k: v for k, v in first.settings.items() if k not in {*unlike, *ROOTS, "profile"}} | own
    own_of = (*ROOTS, *_made_on(pieces))
    roots = _joined([{k: r.settings[k] for k in own_of if k in r.settings} for r in pieces])
    try:
        whole = [module.resolve(first.profile, **(same | root)) for root in roots]
    except SettingsError as error:
        raise CompanionError(f"{first.id}: {error}; its settings changed since, run it again") from None
    for field in sorted(unlike.difference(sharded, own_of, ["dataset"])):
        many = isinstance(getattr(whole[0], field, None), tuple)
        if not many or len(ahead.parts_of(chapter, whole[0], first.id, (field,))) < 2:
            values = dict.fromkeys(str(r.settings.get(field)) for r in pieces)
            raise CompanionError(
                f"{first.id}: shards differ in {field}, {' and '.join(values)}, which tells no rows apart; run all "
                "with one value"
            )
    seeds = {k: v for k in ROOTS if (v := getattr(whole[0], k)) != getattr(module.PROFILES[first.profile], k)}
    kept = {k: v for k, v in first.parameters.items() if k not in {*unlike, *ROOTS}}
    return kept | seeds | own, whole


def _joined(roots: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Seeds of a root that follow one another as one run of them; the roots in the order of their first shards."""
    apart: dict[tuple, set[tuple[int, int]]] = {}
    for root in roots:
        rest = tuple((k, v) for k, v in root.items() if k not in ("repeats", "first_repeat"))
        apart.setdefault(rest, set()).add((root.get("first_repeat", 0), root["repeats"]))
    found: list[dict[str, Any]] = []
    for rest, windows in apart.items():
        end = None
        for start, count in sorted(windows):
            if start == end:
                found[-1]["repeats"] += count
            else:
                found.append({**dict(rest), "repeats": count, "first_repeat": start})
            end = start + count
    return found


def _made_on(pieces: list[Record]) -> list[str]:
    """Of a machine's settings those in which root seeds may differ: pairs are within a seed, and rows say where it was.

    Raises
    ------
    CompanionError
        If shards of one root seed differ in them, so that methods would be compared across machines.
    """
    free = [k for k in MADE_ON if "made on" in pieces[0].values and k in pieces[0].settings]
    found: dict[tuple, tuple] = {}
    for record in pieces:
        root, made = (tuple(record.settings.get(k) for k in names) for names in (ROOTS, free))
        known = found.setdefault(root, made)
        if unlike := [k for k, a, b in zip(free, known, made, strict=True) if a != b]:
            raise CompanionError(
                f"{record.id}: shards of seed {root[0]} differ in {' and '.join(unlike)}; root seeds may, the shards "
                "of one may not, since its methods are compared"
            )
    return free


def _decided(chapter: house.Chapter, place: str, identity: str, frame: pd.DataFrame) -> list[dict[str, Any]]:
    try:
        return making.decided(chapter, identity, frame)
    except (KeyError, ValueError) as error:
        raise CompanionError(f"{place}/{identity}: one of its claims cannot be decided: {error}") from None


def _settings_module(chapter: house.Chapter) -> Any:
    return importlib.import_module(f"thesislib.{chapter.package}.settings")


def _records_of(folder: Path) -> list[Record]:
    inner = folder / "records"
    found = records.read_folder(inner if inner.is_dir() else folder)
    if not found:
        raise CompanionError(f"{folder} holds no records; give a run's folder, runs/<hash>")
    return list(found.values())


def _stamp(record: Record) -> str:
    return record.sha256[:10]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
