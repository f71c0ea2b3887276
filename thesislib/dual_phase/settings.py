"""Settings of chapter 4 and its three profiles (thesis, section 4.5.1).

Below, ``dataset`` or ``name`` is one of a run's data sets, ``epochs`` a schedule's length (None: the equal one),
``count`` how many points are wanted, ``method`` a key of :data:`SEARCH`, ``settings`` those of the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from thesislib import settings
from thesislib.datasets.longtail import TAILS, longtail_counts
from thesislib.dual_phase.columns import STAND_INS, Column, cifar
from thesislib.settings import ChapterSettings, setting

OURS = "choice of this book"
RECON = "reconstruction"
MAIN = "cifar100_lt"
METHODS = (
    "CE",
    "CE, longer",
    "Focal",
    "CB",
    "LDAM-DRW",
    "Balanced softmax",
    "Logit adjustment",
    "NCM",
    "tau-norm",
    "cRT",
    "LWS",
    "Joint, then phase II",
    "Joint, same phase II",
    "Dual-phase",
    "Dual-phase, herding",
)
"""Rows of the comparisons. "CE, longer" has as many iterations as both phases. Two controls know no phase I on head
classes alone: "Joint, then phase II" is the joint model with a bank of every class (K = C) and settings of its own,
"Joint, same phase II" the joint model with what dual-phase's second phase has, a bank of head classes and all images of
the tail, at a rate of its own. "Dual-phase, herding" selects the bank by herding, with settings of its own."""
SHOTS = ("Many", "Medium", "Few", "All")
HEAD_ROWS = (
    "Model-all",
    "Model-all, head logits",
    "Model-head",
    "Model-all, linear probe",
    "Model-head, linear probe",
)
SWITCHES: dict[str, dict[str, Any]] = {
    "as chosen": {},
    "images drawn as they come": {"balanced": False},
    "balanced softmax": {"balanced": False, "balanced_softmax": True},
    "tail rows imprinted": {"tail_rows": "imprinted"},
    "batch norm of phase I": {"frozen_statistics": True, "candidate": "lr=0.03, balanced"},
}
"""Other readings of phase II, at the rate that was chosen for the first. Batch norm that does not follow the features
takes the best of 0.003 to 0.2 on the search's seed: above, it breaks down or diverges."""
LEANING = ("CE", "Balanced softmax", "cRT", "Joint, then phase II", "Joint, same phase II", "Dual-phase")
"""Methods of Extra 4.C: those whose linear classifier has rows of its own."""
RULES = ("none", "random", "nearest", "herding", "alternating", "discriminative")
"""Selections of Table 4.8; "none" is phase II without a bank."""
FORMS = ("none", "cross-graph", "graph matching", "pointwise", "relational", "one-way", "cross-attention")
"""Forms of the memory-retentive loss in Table 4.9; "pointwise" is a control that knows no graph."""


@dataclass(frozen=True, kw_only=True)
class Settings(ChapterSettings):
    """Settings of the experiments on long-tailed data. What differs between data sets is in
    :mod:`thesislib.dual_phase.columns`."""

    dataset: tuple[str, ...] = setting(
        tuple(name for name in STAND_INS if name != "digits_lt"),
        choices=(*STAND_INS, MAIN),
        source="thesis: CIFAR100-LT, ImageNet-LT, Places-LT, iNaturalist 2018",
    )
    device: str = setting("cpu", choices=("cpu", "cuda"))
    precision: str = setting("float32", choices=("float32", "bf16"))
    methods: tuple[str, ...] = setting(METHODS, choices=METHODS, source="tables 4.2 to 4.6")
    head_rows: tuple[str, ...] = setting(HEAD_ROWS, choices=HEAD_ROWS, source="table 4.1; " + OURS)
    ratios: tuple[float, ...] = setting(
        (), low=1, unit="images of the first class for one of the last", source="table 4.5: 200, 100, 50"
    )
    few_methods: tuple[str, ...] = setting(
        ("CE", "Dual-phase"), choices=METHODS, source="on other data sets and ratios; " + OURS
    )
    epochs: int = setting(40, low=1, unit="epochs", source="equal schedule on CIFAR; published: 200")
    full_epochs: int = setting(0, low=0, unit="epochs", source="published schedule; 0: not run")
    thresholds: tuple[float, ...] = setting(
        (), low=0, unit="images a class", source=f"figure 4.6, {RECON}: 300, 200, 100, 50, 19; 0: K = C"
    )
    banks: tuple[int, ...] = setting(
        (1, 10, 30), low=1, symbol="m", unit="exemplars", source="figure 4.7, " + RECON
    )
    retentions: tuple[float, ...] = setting(
        (0.0, 1.0, 10.0), low=0, symbol=r"\lambda", source="figure 4.8, " + RECON
    )
    rules: tuple[str, ...] = setting(RULES[:5], choices=RULES, source="table 4.8, " + RECON)
    forms: tuple[str, ...] = setting(FORMS[:4], choices=FORMS, source="table 4.9, " + RECON)
    searched: int = setting(1, low=1, unit="seeds", source="extra 4.A; none of them is reported")

    def column(self, dataset: str, epochs: int | None = None) -> Column:
        """The column of a data set, at the equal schedule unless another is given."""
        if dataset in STAND_INS:
            return STAND_INS[dataset] if self.profile != "smoke" else STAND_INS[dataset].hasty()
        return cifar(epochs or self.epochs)

    def search_seeds(self) -> tuple[int, ...]:
        """The seeds of extra 4.A, on which settings are chosen and nothing is reported."""
        return tuple(np.random.SeedSequence([self.seed, 4]).generate_state(self.searched).tolist())

    def standing_for(self, name: str) -> str:
        """The data set of this run that is, or stands in for, one of the thesis's; the first if none does."""
        mine = [d for d in self.dataset if self.column(d).stands_for == name]
        return (mine or list(self.dataset))[0]

    def ratios_of(self, dataset: str) -> tuple[float, ...]:
        """The imbalance ratios of table 4.5, the main one first."""
        main = RATIOS[dataset]
        return (main, *(r for r in self.ratios if r != main)) if dataset == self.dataset[0] else (main,)

    def thresholds_of(self, dataset: str) -> tuple[float, ...]:
        """The disentanglement points of figure 4.6."""
        return self.thresholds or THRESHOLDS[dataset]


RATIOS = {name: float(tail.ratio) for name, tail in TAILS.items()}
"""Each set's main imbalance ratio."""

CLASSES = {MAIN: 100, "digits_lt": 10}

# Points on either side of Many's own threshold; on the first set no more, or the chapter took over sixty trainings.
THRESHOLDS = {
    MAIN: (300.0, 100.0, 19.0, 0.0),
    "glyphs_lt": (70.0, 40.0, 0.0),
    "glyphs_lt_steep": (70.0, 40.0, 9.0, 0.0),
    "glyphs_lt_fine": (45.0, 30.0, 7.0, 0.0),
    "glyphs_lt_many": (32.0, 20.0, 5.0, 0.0),
    "digits_lt": (80.0, 50.0, 20.0, 7.0, 0.0),
}

PROFILES: dict[str, Settings] = {
    "smoke": Settings(
        profile="smoke",
        dataset=("digits_lt",),
        repeats=2,
        banks=(1, 5),
        retentions=(0.0, 1.0),
        thresholds=(50.0, 0.0),
    ),
    "laptop": Settings(
        profile="laptop",
        methods=tuple(m for m in METHODS if m not in ("CE, longer", "Focal", "CB")),
        few_methods=("CE", "cRT", "Joint, then phase II", "Joint, same phase II", "Dual-phase"),
    ),
    "paper": Settings(
        profile="paper",
        dataset=(MAIN,),
        precision="bf16",
        ratios=(200.0, 50.0),
        full_epochs=200,
        banks=(1, 5, 20, 80),
        retentions=(0.0, 0.1, 1.0, 10.0),
    ),
}

SHARDED = ("methods",)
"""What tells the shards of one long run apart."""

REPLAY: dict[str, Any] = {"repeats": 1, "full_epochs": 0}
"""What a replay of the first items of a recorded run overrides."""


def resolve(profile: str, **overrides: Any) -> Settings:
    """The settings of one run; arguments as in :func:`thesislib.settings.resolve`."""
    found = settings.resolve(PROFILES, profile, **overrides)
    settings.refuse_idle(found, overrides, ("epochs", "full_epochs"), (MAIN,))
    return found


def grids(settings: Settings) -> dict[str, dict[str, tuple] | list[dict[str, tuple]]]:
    """Key columns of each artefact's frame and their values; a list holds blocks whose union the rows are."""
    first, seeds = settings.dataset[0], settings.seeds()
    places, imagenet = settings.standing_for("places_lt"), settings.standing_for("imagenet_lt")
    inat = settings.standing_for("inaturalist2018")
    both = tuple(dict.fromkeys((places, imagenet)))
    epochs = settings.column(first).recipe.epochs

    def comparison(dataset: str, methods: tuple[str, ...] = settings.methods) -> dict[str, tuple]:
        return {"dataset": (dataset,), "method": methods, "seed": seeds, "shot": SHOTS}

    def sweep(name: str, values: tuple, dataset: str = first) -> dict[str, tuple]:
        return {"dataset": (dataset,), name: values, "seed": seeds, "shot": SHOTS}

    def ablation(name: str, values: tuple, few: tuple) -> list[dict[str, tuple]]:
        """All values on the first data set, the two that the caption names on ImageNet-LT's."""
        mine = {first: values} if imagenet == first else {first: values, imagenet: few}
        return [{"dataset": (d,), name: v, "seed": seeds, "shot": SHOTS} for d, v in mine.items()]

    main, *others = settings.ratios_of(first)
    by_ratio = [
        {
            "dataset": (first,),
            "ratio": (main,),
            "epochs": (epochs,),
            "method": settings.methods,
            "seed": seeds,
            "shot": SHOTS,
        }
    ]
    if others:
        by_ratio.append(by_ratio[0] | {"ratio": tuple(others), "method": settings.few_methods})
    if settings.full_epochs and first == MAIN:
        full = {"epochs": (settings.full_epochs,), "method": settings.few_methods, "seed": seeds[:1]}
        by_ratio.append(by_ratio[0] | full)
    angles = {"dataset": (first,), "seed": seeds}
    return {
        "fig-4.1": angles | {"gradient": ("head", "tail", "head sample")},
        "fig-4.2": angles | {"epoch": tuple(range(epochs))},
        "fig-4.3": {"dataset": (first,), "part": PARTS},
        "fig-4.4": [
            {"dataset": (first,), "class": (k,), "point": points_of(count)}
            for k, count in enumerate(counts_of(first)[:2])
        ],
        "fig-4.5": {"dataset": (first,), "from": tuple(range(NODES)), "to": tuple(range(NODES))},
        "fig-4.6": sweep("more_than", settings.thresholds_of(first)),
        "fig-4.7": sweep("bank", settings.banks, places),
        "fig-4.8": sweep("lambda", settings.retentions),
        "extra-4.A": [
            {
                "dataset": (first,),
                "method": (m,),
                "candidate": candidates_of(first, m),
                "seed": settings.search_seeds(),
            }
            for m in SEARCH
            if m in settings.methods
        ],
        "extra-4.B": [sweep("switch", tuple(SWITCHES))],
        "extra-4.C": {
            "dataset": (first,),
            "method": tuple(m for m in LEANING if m in settings.methods),
            "seed": seeds,
        },
        "tab-4.1": [
            {"dataset": (first,), "ratio": (r,), "method": settings.head_rows, "seed": seeds}
            for r in settings.ratios_of(first)
        ],
        "tab-4.2": comparison(places, settings.few_methods),
        "tab-4.3": comparison(imagenet, settings.few_methods),
        "tab-4.4": comparison(imagenet, settings.few_methods),
        "tab-4.5": by_ratio,
        "tab-4.6": comparison(inat, settings.few_methods),
        "tab-4.7": [
            {
                "dataset": (d,),
                "method": ("CE", "Dual-phase"),
                "seed": seeds,
                "classes": ("head", "tail", "all"),
            }
            for d in both
        ],
        "tab-4.8": ablation("rule", settings.rules, ("random", "alternating")),
        "tab-4.9": ablation("form", settings.forms, ("none", "cross-graph")),
    }


_BALANCED = tuple(f"lr={lr}, balanced" for lr in (0.3, 0.1, 0.03, 0.01))
_RATES = ("lr=0.3", "lr=0.1", "lr=0.03", "lr=0.6, balanced", *_BALANCED)
_FEWER = ("lr=0.5", "lr=0.2", "lr=0.05", "lr=0.01")
_STAGES = ("lr=2.0", "lr=1.0", *_FEWER)
_TAUS = tuple(f"tau={k / 4:g}" for k in range(1, 7))
SEARCH: dict[str, tuple[str, ...]] = {
    "Dual-phase": _RATES,
    "Dual-phase, herding": _RATES,
    "Joint, then phase II": _RATES,
    "Joint, same phase II": _RATES,
    "cRT": _STAGES,
    "LWS": _STAGES,
    "tau-norm": _TAUS,
    "Logit adjustment": _TAUS,
}
"""Candidates for each method that has a setting the literature leaves open; the others are as published."""


def candidates_of(dataset: str, method: str) -> tuple[str, ...]:
    """Those tried on a data set: on CIFAR-100-LT, where each costs minutes of a GPU, fewer, and phase II draws classes
    equally often."""
    tried = (*_BALANCED, *_FEWER, *_TAUS) if dataset == MAIN else SEARCH[method]
    return tuple(candidate for candidate in SEARCH[method] if candidate in tried)


PARTS = ("phase I", "bank", "phase II")
ROUNDS_SHOWN = 4
NODES = 8


def counts_of(dataset: str) -> tuple[int, ...]:
    """Training images of each class at the main ratio."""
    tail = TAILS[dataset]
    classes = tail.drawing.classes if tail.drawing else CLASSES[dataset]
    return longtail_counts(classes, tail.largest, RATIOS[dataset])


def points_of(count: int) -> tuple[str, ...]:
    """Points of figure 4.4: a class's images, and its prototype after each round."""
    images = tuple(f"image {k}" for k in range(count))
    return images + tuple(f"prototype {k}" for k in range(ROUNDS_SHOWN))
