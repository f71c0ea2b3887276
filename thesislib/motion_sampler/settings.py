"""Settings of chapter 3 and its three profiles (thesis, section 3.4.1).

Below, ``dataset`` is one of a run's data sets, ``names`` are several, ``model`` is a victim's name, ``method`` one of
the tables', ``goal`` ``untargeted`` or ``targeted``, ``identity`` an artefact (``tab-3.2``), ``settings`` those of the
run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thesislib import settings
from thesislib.motion_sampler.column import GOALS, TARGETED, UNTARGETED, Column
from thesislib.motion_sampler.columns import (
    LOOK_SETS,
    MOTION_SETS,
    STAND_INS,
    THESIS,
    column_of,
    hasty,
    options_of,
)
from thesislib.settings import ChapterSettings, setting

# Spelled out, not imported: the attacks are no business of the settings. A test keeps the two together.
METHODS = ("E-NES", "E-Bandits", "V-BAD", "ME-Sampler(OF)", "ME-Sampler(MV)")
OURS = "ME-Sampler(MV)"
MODELS = ("I3D", "TSN2D")
LOSSES = ("cross_entropy", "second_probability", "logits")
DATASETS = (*STAND_INS, *THESIS)
RELEASED = "released code"
CHOICE = "choice of this book"

NO_MOTION = ("Multi-noise", "One-noise", OURS)
SAMPLERS = ("Multi-noise", "One-noise", "Warp", "Other assignment", OURS)
HANDCRAFTED = ("U-Sample", "S-Value", OURS)
INTERVALS = (OURS, "Improved map")
MOMENTS = tuple(range(1, 2001, 30))
"""Numbers of queries at which loss curves are read."""

PICTURED = {"fig-3.3": (0, LOOK_SETS), "fig-3.6": (1, MOTION_SETS), "fig-3.7": (1, LOOK_SETS)}
"""How many fooled clips a figure leaves to the figures before it, and of which data sets its clips are."""


@dataclass(frozen=True, kw_only=True)
class Settings(ChapterSettings):
    """Settings of the experiments on attacking video models. What differs between data sets, and what the search for
    each method's settings found, is in :mod:`thesislib.motion_sampler.columns`."""

    dataset: tuple[str, ...] = setting(
        tuple(STAND_INS),
        choices=DATASETS,
        paths=True,
        source="thesis: SthSth-V2, HMDB-51, Kinetics-400, UCF-101",
    )
    device: str = setting("cpu", choices=("cpu",))
    repeats: int = setting(1, low=1, high=1, unit="seeds", source="intervals are over clips")
    models: tuple[str, ...] = setting(MODELS, choices=MODELS, source="tables 3.1 and 3.2")
    methods: tuple[str, ...] = setting(METHODS, choices=METHODS, source="table 3.2")
    clips: int = setting(50, low=1, unit="clips a victim", source="thesis: one of each class")
    budget: int = setting(200, low=4, symbol="Q", unit="queries a clip", source=RELEASED + ": 60,000")
    target_budget: int = setting(
        120, low=4, symbol="Q_t", unit="queries a clip", source="third party's code: 200,000"
    )
    loss: str = setting(
        "second_probability",
        choices=("second_probability", "flicker", "logits"),
        source="untargeted, of every method; " + RELEASED,
    )
    target_loss: str = setting(
        "cross_entropy", choices=("cross_entropy", "flicker", "logits"), source="third party's code"
    )
    kappa: float = setting(0.03, low=1e-4, high=1.0, symbol=r"\kappa", unit="of [0, 1]", source=RELEASED)
    ablations: tuple[str, ...] = setting(
        ("moves", "looks_many"), choices=DATASETS, paths=True, source="tables 3.3 to 3.5; " + CHOICE
    )
    ablation_model: str = setting("I3D", choices=MODELS, source="figure 3.1 names I3D; tables not known")
    more_clips: int = setting(
        12,
        low=0,
        unit="clips a victim",
        source="table 3.6, beyond `clips`: of its clips only the fooled count",
    )
    search_clips: int = setting(3, low=1, unit="clips", source="extra 3.C; 48 are recorded, none is reported")

    def column(self, dataset: str) -> Column:
        """The column of a data set."""
        column = column_of(dataset)
        return hasty(column) if self.profile == "smoke" else column

    def having(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The run's data sets that are, or stand for, one of these; the first of the run if none is."""
        found = tuple(d for d in self.dataset if self.column(d).stands_for in names)
        return found or self.dataset[:1]

    @property
    def ablated(self) -> tuple[str, ...]:
        """Data sets of Tables 3.3 to 3.5 and of Figure 3.1."""
        return tuple(d for d in self.ablations if d in self.dataset) or self.dataset[:1]

    @property
    def searched(self) -> tuple[tuple[str, str], ...]:
        """Data set and model of the search: every victim of the first and of the last of the ablations, one set of each
        kind."""
        ends = dict.fromkeys((self.ablated[0], self.ablated[-1]))
        return tuple((dataset, model) for dataset in ends for model in self.models)

    @property
    def stream_clips(self) -> int:
        """Clips a victim of Table 3.6."""
        return self.clips + self.more_clips

    def methods_for(self, dataset: str, goal: str = UNTARGETED) -> tuple[str, ...]:
        """The methods of a column: those asked for, less those it drops."""
        absent = {method for method, aim in self.column(dataset).dropped if aim == goal}
        return tuple(m for m in self.methods if m not in absent)

    def options_of(self, method: str, dataset: str, model: str, goal: str = UNTARGETED) -> dict[str, Any]:
        """A method's fields: what the search found, and this run's bound and loss."""
        loss = self.target_loss if goal == TARGETED else self.loss
        return options_of(method, dataset, model) | {"kappa": self.kappa, "loss": loss}

    def cap(self, goal: str) -> int:
        """Queries that an attack may spend on a clip."""
        return self.target_budget if goal == TARGETED else self.budget


PROFILES: dict[str, Settings] = {
    "smoke": Settings(
        profile="smoke",
        dataset=("moves",),
        methods=("E-Bandits", "ME-Sampler(OF)", "ME-Sampler(MV)"),
        ablations=("moves",),
        clips=4,
        budget=34,
        target_budget=34,
        more_clips=0,
        search_clips=2,
    ),
    "laptop": Settings(profile="laptop"),
    "paper": Settings(
        profile="paper",
        dataset=tuple(THESIS),
        ablations=("sthsth_v2", "kinetics400"),
        clips=51,
        more_clips=0,
        budget=60_000,
        target_budget=200_000,
    ),
}

SHARDED = ("models", "methods")
"""What tells the shards of one long run apart."""

REPLAY: dict[str, Any] = {}
"""Empty, since a batch is replayed as a whole; networks round a few clips otherwise than many."""


def resolve(profile: str, **overrides: Any) -> Settings:
    """The settings of one run; arguments as in :func:`thesislib.settings.resolve`."""
    return settings.resolve(PROFILES, profile, **overrides)


def grids(settings: Settings) -> dict[str, dict[str, tuple] | list[dict[str, tuple]]]:
    """Key columns of each artefact's frame and their values; a list holds blocks whose union the rows are."""
    clips = tuple(range(settings.clips))
    every = {"dataset": settings.dataset, "model": settings.models, "clip": clips}
    ablation = {"dataset": settings.ablated, "model": (settings.ablation_model,)}
    motion, looks = settings.having(MOTION_SETS), settings.having(LOOK_SETS)

    def pool(identity: str) -> list[dict[str, tuple]]:
        return [
            {"dataset": (d,), "model": (model,), "method": (method,), "clip": clips}
            for d, model, method in compared(settings, identity)
        ]

    return {
        "tab-3.1": {"dataset": settings.dataset, "model": settings.models},
        "tab-3.2": pool("tab-3.2"),
        "tab-3.3": pool("tab-3.3"),
        "tab-3.4": pool("tab-3.4"),
        "tab-3.5": {**ablation, "loss": LOSSES, "clip": clips},
        "tab-3.6": {"dataset": motion, "model": settings.models, "clip": tuple(range(settings.stream_clips))},
        "fig-3.1": {
            "method": NO_MOTION,
            "clip": clips,
            "queries": tuple(q for q in MOMENTS if q <= settings.budget),
        },
        "fig-3.2": {"stage": STAGES},
        "fig-3.4": pool("fig-3.4"),
        "fig-3.5": pool("fig-3.5"),
        **{
            identity: {
                "dataset": settings.having(names),
                "model": settings.models,
                "place": (0,),
            }
            for identity, (_, names) in PICTURED.items()
        },
        "fig-3.8": {"dataset": looks[:1], "model": settings.models, "clip": clips},
        "fig-3.9": {"dataset": looks[-1:], "model": settings.models, "clip": clips},
        "extra-3.A": every,
        "extra-3.B": {"frame": tuple(range(FRAMES))},
        "extra-3.C": [
            {
                "dataset": (dataset,),
                "model": (model,),
                "method": (method,),
                "setting": candidates,
                "clip": tuple(range(settings.search_clips)),
            }
            for dataset, model in settings.searched
            for method, candidates in SEARCH.items()
            if method in settings.methods
        ],
    }


def compared(settings: Settings, identity: str) -> list[tuple[str, str, str]]:
    """Data set, model and method of each cell of an artefact that compares methods."""
    if identity in ("tab-3.2", "fig-3.4"):
        names = settings.dataset if identity == "tab-3.2" else settings.having(MOTION_SETS)
        goal = UNTARGETED if identity == "tab-3.2" else TARGETED
        wanted = METHODS if identity == "tab-3.2" else ("V-BAD", OURS)
        return [
            (d, model, method)
            for d in names
            for model in settings.models
            for method in settings.methods_for(d, goal)
            if method in wanted
        ]
    methods = {"tab-3.3": SAMPLERS, "tab-3.4": HANDCRAFTED, "fig-3.5": INTERVALS}[identity]
    names = settings.having(("kinetics400",)) if identity == "fig-3.5" else settings.ablated
    return [(d, settings.ablation_model, method) for d in names for method in methods]


FAILED = 3  # clips that were not fooled, shown of each victim
FRAMES = 8  # that a victim sees of a clip
STAGES = ("frame", "motion map", "noise", "sampled noise", "prior", "perturbation", "adversarial frame")

SEARCH: dict[str, tuple[str, ...]] = {
    "E-NES": ("defaults", "samples=5", "samples=10", "samples=5, step=0.025"),
    "E-Bandits": (
        *("defaults", "tile=4", "tile=4, shared=True", "tile=4, step=0.025"),
        *("tile=4, shared=True, step=0.025", "tile=4, step=0.025, prior_lr=1000.0"),
    ),
    "V-BAD": ("defaults", "samples=5", "samples=5, split=4", "samples=5, sigma=0.01"),
    OURS: (
        *("defaults", "step=0.01", "prior_lr=0.0125", "assignment=per frame"),
        "assignment=per frame, step=0.01",
    ),
}
"""Candidates of the search, fields changed from the class's defaults."""

__all__ = ["GOALS", "PROFILES", "REPLAY", "Settings", "compared", "grids", "resolve"]
