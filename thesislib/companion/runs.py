"""One run of a chapter: its parameters, and where its results go."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thesislib.companion import house
from thesislib.companion.house import Chapter, CompanionError
from thesislib.settings import PROFILES, ChapterSettings, SettingsError, resolve


def declared(chapter: Chapter) -> dict[str, Any]:
    """Names and defaults in the notebook's parameters cell.

    Raises
    ------
    CompanionError
        If the chapter has no notebook yet, or the notebook no such cell.
    """
    if not chapter.written:
        written = ", ".join(c.name for c in house.chapters().values() if c.written) or "none"
        why = "is not written yet" if chapter.package else "is prose and has nothing to run"
        raise CompanionError(f"{chapter.name} {why}; written: {written}")
    found = False
    lines: list[str] = []
    for line in chapter.script.read_text(encoding="utf-8").splitlines():
        if line.startswith("# %%"):
            found = '"parameters"' in line
        elif found:
            lines.append(line)
    body = ast.parse("\n".join(lines)).body
    cell = {node.targets[0].id: ast.literal_eval(node.value) for node in body if isinstance(node, ast.Assign)}
    if not cell:
        raise CompanionError(f"{chapter.script.name} has no cell tagged parameters")
    return cell


def settle(chapter: Chapter, profile: str, values: dict[str, Any], *, every: bool = False) -> ChapterSettings:
    """The settings a run would have: refused here, before anything is executed, if something is wrong.

    Parameters
    ----------
    every
        Accept every field of the settings, and not only what the notebook's parameters cell names.

    Raises
    ------
    CompanionError
        Unknown name, wrong type or impossible value, with what would do.
    """
    names = (
        [f.name for f in dataclasses.fields(_profiles(chapter)[PROFILES[0]])] if every else declared(chapter)
    )
    if unknown := sorted(set(values) - set(names)):
        fields = {f.name for f in dataclasses.fields(_profiles(chapter)[PROFILES[0]])}
        if only := [name for name in unknown if name in fields]:
            raise CompanionError(
                f"{', '.join(only)} is no parameter of {chapter.name}'s notebook, but a setting of its experiments: "
                "name the artefacts, --only ID"
            )
        lines = [f"{name} ({_accepted(chapter, name)})" for name in names if name != "profile"]
        raise CompanionError(
            f"{chapter.name} has no parameter {', '.join(unknown)}; it has {'; '.join(lines)}"
        )
    values = {k: _absolute(chapter, k, v) for k, v in values.items() if k != "profile"}
    try:
        return resolve(_profiles(chapter), profile, **values)
    except SettingsError as error:
        found = [
            c
            for f in dataclasses.fields(_profiles(chapter)[profile])
            for c in f.metadata.get("choices") or ()
        ]
        commas = [c for c in found if "," in str(c) and c in str(error)]
        hint = f"; names with a comma go into brackets and quotes, '[\"{commas[0]}\"]'" if commas else ""
        raise CompanionError(f"{chapter.name}: {error}{hint}") from None


def parameters(chapter: Chapter, profile: str) -> dict[str, tuple[Any, str]]:
    """The profile's value of each parameter in the notebook's parameters cell, and in words what it accepts.

    Raises
    ------
    CompanionError
        As :func:`declared`.
    """
    names = [name for name in declared(chapter) if name != "profile"]
    values = {name: getattr(_profiles(chapter)[profile], name) for name in names}
    return {k: (list(v) if isinstance(v, tuple) else v, _accepted(chapter, k)) for k, v in values.items()}


def changes(chapter: Chapter, settings: ChapterSettings) -> dict[str, Any]:
    """The settings that differ from their profile's own; a run with any never enters the book."""
    own = _profiles(chapter)[settings.profile]
    pairs = ((f.name, getattr(settings, f.name), getattr(own, f.name)) for f in dataclasses.fields(own))
    return {name: value for name, value, default in pairs if value != default}


def folder(chapter: Chapter, settings: ChapterSettings, *, book: bool, only: Sequence[str] = ()) -> Path:
    """Where a run's results go: ``_build/<profile>/<slug>`` for the book, else ``runs/<hash>``.

    The hash covers chapter, profile, changes and, of a run without its notebook, the artefacts in `only`.
    """
    changed = changes(chapter, settings)
    if book and not changed:
        return house.root() / "_build" / settings.profile / chapter.slug
    parts = [chapter.name, settings.profile, changed, *([only] if only else [])]
    text = json.dumps(parts, sort_keys=True, default=list)
    return house.root() / "runs" / f"{chapter.name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def _absolute(chapter: Chapter, name: str, value: Any) -> Any:
    """A value, relative paths in it made absolute: a notebook is executed in another folder."""
    facts = {f.name: f.metadata for f in dataclasses.fields(_profiles(chapter)[PROFILES[0]])}[name]
    if not facts.get("paths"):
        return value
    if isinstance(value, list | tuple):
        return [_absolute(chapter, name, one) for one in value]
    own = isinstance(value, str) and value not in facts["choices"] and Path(value).exists()
    return os.path.abspath(value) if own else value


def _profiles(chapter: Chapter) -> dict[str, ChapterSettings]:
    return importlib.import_module(f"thesislib.{chapter.package}.settings").PROFILES


def _accepted(chapter: Chapter, name: str) -> str:
    """What a parameter accepts, in words."""
    field = {f.name: f for f in dataclasses.fields(_profiles(chapter)[PROFILES[0]])}[name]
    facts = field.metadata
    if facts.get("choices"):
        many = "list of " if str(field.type).startswith("tuple") else ""
        words = [f'"{c}"' if "," in str(c) else str(c) for c in facts["choices"]]
        return many + ", ".join(words) + ", or a path" * bool(facts.get("paths"))
    low, high = facts.get("low"), facts.get("high")
    bounds = [f">= {low}"] * (low is not None) + [f"<= {high}"] * (high is not None)
    kind = getattr(field.type, "__name__", field.type).removesuffix(" | None")
    if kind.startswith("tuple["):
        kind = f"list of {kind.removeprefix('tuple[').partition(',')[0]}"
    return " ".join([kind, *bounds])
