"""Settings of a chapter: frozen dataclasses whose fields say what they are and refuse what they cannot be.

Each chapter has one subclass of :class:`ChapterSettings` and three instances of it, its profiles: ``smoke``
(seconds, for tests), ``laptop`` (minutes, embedded data) and ``paper`` (the thesis's values, real data).
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

S = typing.TypeVar("S", bound="ChapterSettings")
PROFILES = ("smoke", "laptop", "paper")


class SettingsError(ValueError):
    """A parameter has an unknown name, a wrong type or an impossible value."""


def setting(
    default: Any = dataclasses.MISSING,
    *,
    symbol: str = "",
    unit: str = "",
    source: str = "",
    choices: tuple | None = None,
    paths: bool = False,
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """A field of a chapter's settings.

    Parameters
    ----------
    default
        The value unless a profile or a reader says otherwise. An empty tuple says that the field may be empty.
    symbol, unit, source
        How the thesis writes it (LaTeX, without dollars), its unit, and where the value comes from.
    choices
        The accepted values; of a tuple field, the accepted items.
    paths
        Whether an existing file or folder is accepted besides the choices.
    low, high
        Inclusive bounds of a number, or of each number of a tuple.
    """
    facts = {"symbol": symbol, "unit": unit, "source": source}
    limits = {"choices": choices, "paths": paths, "low": low, "high": high, "empty": default == ()}
    return dataclasses.field(default=default, metadata=facts | limits)


@dataclass(frozen=True, kw_only=True)
class ChapterSettings:
    """What every chapter has. Subclasses add their own fields with :func:`setting`.

    Raises
    ------
    SettingsError
        On construction, if a field has a wrong type or a value outside its choices or bounds.
    """

    profile: str = setting("laptop", choices=PROFILES)
    dataset: tuple[str, ...] = setting((), source="one data set a column of the thesis's table")
    seed: int = setting(0, low=0, source="root of every random stream")
    device: str = setting("cpu", choices=("cpu",))
    repeats: int = setting(5, low=1, unit="seeds", source="intervals need five")
    first_repeat: int = setting(0, low=0, unit="seeds", source="those before it are other shards of the run")

    def __post_init__(self) -> None:
        kinds = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = _checked(field.name, getattr(self, field.name), kinds[field.name], field.metadata)
            object.__setattr__(self, field.name, value)

    def seeds(self) -> tuple[int, ...]:
        """The inner seeds, one a repeat, spawned from the root seed.

        Neighbouring roots have nothing in common (two given seeds agree by a chance of one in four billion).
        The ``k``-th does not depend on how many repeats there are, so a shorter run replays the start of a longer
        one, and one from ``first_repeat`` on any other part of it.
        """
        children = np.random.SeedSequence(self.seed).spawn(self.first_repeat + self.repeats)
        return tuple(int(child.generate_state(1)[0]) for child in children[self.first_repeat :])

    def override(self, **values: Any) -> Self:
        """These settings with some fields changed; ``None`` leaves a field as it is.

        Raises
        ------
        SettingsError
            If a name is not a field, or a value is refused.
        """
        known = [field.name for field in dataclasses.fields(self)]
        if unknown := sorted(set(values) - set(known)):
            raise SettingsError(f"unknown parameter {', '.join(unknown)}; known: {', '.join(known)}")
        return dataclasses.replace(self, **{k: v for k, v in values.items() if v is not None})


def resolve(profiles: Mapping[str, S], profile: str, **values: Any) -> S:
    """The settings of one run: a profile with the reader's changes.

    Parameters
    ----------
    profiles
        The chapter's three instances by name.
    profile
        One of its keys.
    **values
        Fields to change; ``None`` stands for the profile's own value.

    Raises
    ------
    SettingsError
        With the accepted names or values.
    """
    if profile not in profiles:
        raise SettingsError(f"profile = {profile!r} is not one of {', '.join(profiles)}")
    return profiles[profile].override(**values)


def refuse_idle(
    found: ChapterSettings, given: Mapping[str, Any], names: tuple[str, ...], datasets: tuple[str, ...]
) -> None:
    """Refuse fields that would do nothing in a run.

    Parameters
    ----------
    found
        The run's settings.
    given
        Fields that were changed, as :func:`resolve` takes them.
    names
        Fields that only some data sets ask for.
    datasets
        Those data sets.

    Raises
    ------
    SettingsError
        If one of them is changed and the run has none of the data sets.
    """
    if set(datasets) & set(found.dataset):
        return
    standard = {field.name: field.default for field in dataclasses.fields(found)}
    for name in names:
        if given.get(name) is not None and getattr(found, name) != standard[name]:
            raise SettingsError(
                f"{name} = {given[name]!r} does nothing on {', '.join(found.dataset)}; it is of {', '.join(datasets)}"
            )


def _checked(name: str, value: Any, kind: Any, facts: Mapping[str, Any]) -> Any:
    """`value` as a field of type `kind` holds it, or an error that says what would do."""
    if isinstance(kind, types.UnionType):  # `float | None`
        if value is None:
            return None
        kind = next(k for k in typing.get_args(kind) if k is not type(None))
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        items = value if isinstance(value, list | tuple) else (value,)
        if not items and (facts.get("choices") or not facts.get("empty", True)):
            would = (
                f"choose from {', '.join(map(str, c))}" if (c := facts.get("choices")) else "give one or more"
            )
            raise SettingsError(f"{name} is empty; {would}")
        found = tuple(_checked(name, one, item, facts) for one in items)
        if len(set(found)) < len(found):
            raise SettingsError(f"{name} = {list(items)} names one of them twice")
        return found
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise SettingsError(f"{name} = {value!r} is {type(value).__name__}, expected {kind.__name__}")
    choices, low, high = facts.get("choices"), facts.get("low"), facts.get("high")
    paths = facts.get("paths", False)
    if choices and value not in choices and not (paths and Path(value).exists()):
        also = ", nor a path that exists" if paths else ""
        raise SettingsError(f"{name} = {value!r} is not one of {', '.join(map(str, choices))}{also}")
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        bounds = f"{'' if low is None else f'{low} <= '}{name}{'' if high is None else f' <= {high}'}"
        raise SettingsError(f"{name} = {value!r} is out of range: {bounds}")
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingsError(f"{name} = {value!r}; expected a finite number")
    return value
