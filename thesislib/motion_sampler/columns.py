"""The columns of the chapter's tables: stand-ins for a laptop, and the thesis's own data (thesis, section 3.4.1).

``dataset`` is a name or a path of a user's own clips, ``model`` a victim's name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from thesislib.motion_sampler.column import UNTARGETED, Column, VideoVictim
from thesislib.recipe import Recipe

MOTION_SETS, LOOK_SETS = ("sthsth_v2", "hmdb51"), ("kinetics400", "ucf101")
"""The thesis's data sets whose classes differ in their motion, and in their looks."""

_SHORT = Recipe(epochs=10, batch=32, lr=0.1, nesterov=True, weight_decay=1e-3, schedule="one-cycle")
# GluonCV's configurations for SthSth-V2: SGD, rate 0.01, cut to a tenth twice.
_I3D = Recipe(
    epochs=100, batch=64, lr=0.01, weight_decay=1e-5, schedule="steps", milestones=(40, 80), factor=0.1
)
_TSN = Recipe(
    epochs=30, batch=64, lr=0.01, weight_decay=1e-5, schedule="steps", milestones=(10, 20), factor=0.1
)


def _small(i3d: float, tsn: float) -> tuple[VideoVictim, ...]:
    return (
        VideoVictim("I3D", "small I3D", _SHORT, i3d),
        VideoVictim("TSN2D", "small TSN2D", _SHORT, tsn),
    )


def _full(i3d: float, tsn: float) -> tuple[VideoVictim, ...]:
    return (VideoVictim("I3D", "I3D", _I3D, i3d), VideoVictim("TSN2D", "TSN2D", _TSN, tsn))


def _embedded(stands_for: str, i3d: float, tsn: float, *dropped: str) -> Column:
    return Column(
        stands_for=stands_for,
        victims=_small(i3d, tsn),
        stream=_SHORT,
        dropped=tuple((method, UNTARGETED) for method in dropped),
    )


STAND_INS: dict[str, Column] = {
    "moves": _embedded("sthsth_v2", 0.7, 0.35),
    "moves_panning": _embedded("hmdb51", 0.7, 0.35, "E-NES", "V-BAD"),
    "looks_many": _embedded("kinetics400", 0.8, 0.8),
    "looks": _embedded("ucf101", 0.8, 0.8, "E-NES", "V-BAD"),
}
"""In the order of the thesis's tables. The cap on queries, and eight minutes, leave two columns without two rivals."""

THESIS: dict[str, Column] = {
    name: Column(stands_for=name, victims=_full(i3d, tsn), stream=_TSN)
    for name, i3d, tsn in (
        ("sthsth_v2", 0.45, 0.3),
        ("hmdb51", 0.6, 0.5),
        ("kinetics400", 0.65, 0.65),
        ("ucf101", 0.9, 0.8),
    )
}

_SHARED_TILES = {"tile": 4, "shared": True, "step": 0.025}
OPTIONS: dict[str, dict[str, dict[str, dict[str, Any]]]] = {
    "motion": {
        "I3D": {
            "E-NES": {"samples": 5},
            "E-Bandits": {"tile": 4, "step": 0.025},
            "V-BAD": {"samples": 5},
            "ME-Sampler(MV)": {"assignment": "per frame"},
        },
        "TSN2D": {
            "E-NES": {"samples": 5, "step": 0.025},
            "E-Bandits": _SHARED_TILES,
            "V-BAD": {"samples": 5},
            "ME-Sampler(MV)": {"prior_lr": 0.0125},
        },
    },
    "looks": {
        "I3D": {
            "E-NES": {"samples": 10},
            "E-Bandits": _SHARED_TILES,
            "V-BAD": {"samples": 5},
            "ME-Sampler(MV)": {"prior_lr": 0.0125},
        },
        "TSN2D": {
            "E-NES": {"samples": 5},
            "E-Bandits": _SHARED_TILES,
            "V-BAD": {"samples": 5},
            "ME-Sampler(MV)": {},
        },
    },
}
"""What the search of Extra 3.C found for the embedded clips, by what tells the classes of a set apart and by victim.

What is not named is the class's default, which is the released code's value."""


def column_of(dataset: str) -> Column:
    """The column of a data set; of the user's own (a path), small victims."""
    known = STAND_INS | THESIS
    return known[dataset] if dataset in known else replace(STAND_INS["moves"], stands_for=dataset)


def hasty(column: Column) -> Column:
    """The column with next to no training: shows that everything runs (smoke profile), no results."""
    short = tuple(
        replace(v, recipe=replace(v.recipe, epochs=min(3, v.recipe.epochs))) for v in column.victims
    )
    return replace(column, victims=short, stream=replace(column.stream, epochs=1))


def options_of(method: str, dataset: str, model: str) -> dict[str, Any]:
    """A method's fields where not the class's defaults; on the user's own clips (a path), those for motion."""
    if dataset in THESIS:
        return {}
    kind = "looks" if column_of(dataset).stands_for in LOOK_SETS else "motion"
    return dict(OPTIONS[kind][model].get(method, {}))
