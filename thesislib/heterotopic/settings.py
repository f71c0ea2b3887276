"""Settings of chapter 5 and its three profiles (thesis, section 5.4).

Below, ``dataset`` is one of a run's data sets, ``ssl`` a self-supervised method, ``settings`` are those of the run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from thesislib import settings
from thesislib.datasets.longtail import TAILS, longtail_counts
from thesislib.heterotopic.columns import STAND_INS, THESIS, THRESHOLDS, Column, cifar
from thesislib.settings import ChapterSettings, setting

OURS_TO_CHOOSE = "choice of this book"
RECON = "reconstruction"

BASE, OURS, OURS_CRT = "CE", "Ours", "Ours†"
SHARED, GENERIC, BEFORE = "(ii) shared space", "(iii) generic feature", "(i) initialisation"
VARIANTS = (BASE, BEFORE, SHARED, GENERIC, OURS)
"""Of figure 5.3; ours is (iv), generic and specific feature. CE is the base, without self-supervision."""
METHODS = (BASE, "Balanced softmax", "cRT", BEFORE, OURS, OURS_CRT)
"""Rows of the comparisons; (i) is what the literature calls SSP, ours† has a classifier fine-tuned by cRT."""
SIDE_BY_SIDE = (BASE, "cRT", "Dual-phase", OURS, OURS_CRT)
"""Rows of Extra 5.A."""
TUNED = ("glyphs_lt", "cifar100_lt")
"""Data sets on which both lambda and chapter 4's second stages were searched, cRT's rate among them."""
SHOTS = ("Many", "Medium", "Few", "All")
SSL = ("MoCo v2", "rotation", "SimSiam", "Barlow Twins")
FILTERS = ("residual block", "private stage", "plain convolutions")
BOUNDS = ("variational Gaussian", "InfoNCE", "CLUB")
WITHOUT = "without"
# Spelled out, not imported: the methods are no business of the settings. A test keeps the two together.
FEATURES = ("classifier, pooled", "self-supervision, pooled", "self-supervision, after the MLP")
PARTS = ("trunk", "classifier", "Filter", "MLP", "self-supervised method", "bound")
LAYERS = {
    "tab-5.1": ("ResNet-32",),
    "tab-5.2": ("ResNet-10",),
    "tab-5.3": ("ResNet-50", "ResNet-152"),
}
"""Backbones whose Filter each table shows."""


@dataclass(frozen=True, kw_only=True)
class Settings(ChapterSettings):
    """Settings of the experiments on self-supervision. What differs between data sets is in
    :mod:`thesislib.heterotopic.columns`."""

    dataset: tuple[str, ...] = setting(
        tuple(STAND_INS),
        choices=(*STAND_INS, *THESIS),
        source="thesis: CIFAR-10-LT, CIFAR-100-LT, ImageNet-LT, Places-LT",
    )
    device: str = setting("cpu", choices=("cpu", "cuda"))
    precision: str = setting("float32", choices=("float32", "bf16"))
    variants: tuple[str, ...] = setting(VARIANTS, choices=VARIANTS, source="figure 5.3")
    methods: tuple[str, ...] = setting(
        METHODS, choices=METHODS, source="tables 5.4 to 5.7; " + OURS_TO_CHOOSE
    )
    ssl: str = setting("MoCo v2", choices=SSL, source=RECON + ": section 5.3.3 names one")
    filter: str = setting("residual block", choices=FILTERS, source=RECON + ": tables 5.1 to 5.3")
    bound: str = setting("variational Gaussian", choices=BOUNDS, source=RECON + ": section 5.3.2.2")
    lam: float | None = setting(
        None, low=0, symbol=r"\lambda", source=RECON + "; None: the data set's, from Extra 5.B"
    )
    eta: float | None = setting(None, low=0, symbol=r"\eta", source=RECON + "; None: the data set's")
    epochs: int = setting(40, low=1, unit="epochs", source="on CIFAR; published: 200")
    sweep_lam: tuple[float, ...] = setting(
        (0.03, 0.1, 0.3, 1.0), low=0, symbol=r"\lambda", source="figure 5.4; " + OURS_TO_CHOOSE
    )
    ratios: tuple[float, ...] = setting(
        (),
        low=1,
        unit="images of the first class for one of the last",
        source="table 5.5: several; none: the data set's own alone",
    )
    bounds: tuple[str, ...] = setting(BOUNDS, choices=BOUNDS, source="table 5.8; " + OURS_TO_CHOOSE)
    ssl_methods: tuple[str, ...] = setting(SSL, choices=SSL, source="table 5.9; " + OURS_TO_CHOOSE)
    searched: int = setting(1, low=1, unit="seeds", source="extra 5.B; none of them is reported")
    search_lam: tuple[float, ...] = setting(
        (0.01, 0.03, 0.1, 0.3), low=0, symbol=r"\lambda", source="extra 5.B; " + OURS_TO_CHOOSE
    )
    search_rates: tuple[float, ...] = setting(
        (0.001, 0.003, 0.01, 0.03, 0.1), low=0, source="extra 5.B, self-supervision alone; " + OURS_TO_CHOOSE
    )
    tsne_images: int = setting(355, low=60, unit="images", source="figure 5.6; " + OURS_TO_CHOOSE)
    inverted: int = setting(3, low=1, unit="images", source="figure 5.1; " + OURS_TO_CHOOSE)
    steps: int = setting(300, low=1, unit="steps of Adam", source="figure 5.1; published: 3000")
    compared: int = setting(60, low=1, unit="images", source="figure 5.1, overlap; " + OURS_TO_CHOOSE)

    def column(self, dataset: str) -> Column:
        """The column of a data set."""
        column = STAND_INS[dataset] if dataset in STAND_INS else cifar(dataset, self.epochs)
        if self.profile != "smoke":
            return column
        short = {"epochs": 2, "test_every": 2}
        return replace(
            column,
            recipe=replace(column.recipe, **short),
            alone=replace(column.alone, **short),
            crt=replace(column.crt, epochs=1),
        )

    def weight(self, dataset: str, method: str, ssl: str) -> float:
        """lambda of a variant, or of the self-supervised method in it."""
        if self.lam is not None:
            return self.lam
        known = dict(self.column(dataset).lam)
        return known.get(method, known[ssl])

    def ratios_of(self, dataset: str) -> tuple[float, ...]:
        """The imbalance ratios of table 5.5, the data set's own first."""
        own = float(TAILS[dataset].ratio)
        return (own, *(r for r in self.ratios if r != own))

    def beside(self) -> str:
        """The data set of Extra 5.A: one on which both methods are tuned, or the first if the run has none."""
        return next((d for d in TUNED if d in self.dataset), self.dataset[0])

    def candidates(self) -> dict[str, tuple[str, ...]]:
        """Rows of Extra 5.B and what is tried for each: a weight, or the rate of self-supervision alone."""
        weights = tuple(f"lambda={lam:g}" for lam in self.search_lam)
        rates = tuple(f"lr={rate:g}" for rate in self.search_rates)
        of = {BASE: ("nothing",), BEFORE: rates, SHARED: weights, GENERIC: weights}
        return {m: of[m] for m in of if m in self.variants} | dict.fromkeys(self.ssl_methods, weights)

    def search_seeds(self) -> tuple[int, ...]:
        """Seeds of the search: those of another root."""
        return replace(self, seed=self.seed + 1_000_003, first_repeat=0, repeats=self.searched).seeds()


PROFILES: dict[str, Settings] = {
    "smoke": Settings(
        profile="smoke",
        dataset=("digits_lt",),
        repeats=2,
        sweep_lam=(0.1,),
        bounds=("variational Gaussian",),
        ssl_methods=("MoCo v2", "rotation"),
        search_lam=(1.0,),
        search_rates=(0.1,),
        tsne_images=60,
        inverted=1,
        steps=5,
        compared=4,
    ),
    "laptop": Settings(profile="laptop"),
    "paper": Settings(
        profile="paper",
        dataset=("cifar10_lt", "cifar100_lt"),
        precision="bf16",
        search_lam=(0.03, 0.1, 0.3),
        search_rates=(0.01, 0.03, 0.1),
        tsne_images=500,
        steps=3000,
    ),
}

SHARDED = ("methods", "variants")
"""What tells the shards of one long run apart."""

REPLAY: dict[str, Any] = {"repeats": 1}
"""What a replay of the first items of a recorded run overrides."""


def resolve(profile: str, **overrides: Any) -> Settings:
    """The settings of one run; arguments as in :func:`thesislib.settings.resolve`."""
    found = settings.resolve(PROFILES, profile, **overrides)
    settings.refuse_idle(found, overrides, ("epochs",), THESIS)
    return found


def grids(settings: Settings) -> dict[str, dict[str, tuple] | list[dict[str, tuple]]]:
    """Key columns of each artefact's frame and their values; a list holds blocks whose union the rows are."""
    seeds, names = settings.seeds(), settings.dataset
    first, last = names[:1], names[-1:]
    both = (BASE, OURS)

    def table(datasets: tuple[str, ...]) -> dict[str, tuple]:
        return {"dataset": datasets, "method": settings.methods, "seed": seeds, "shot": SHOTS}

    def at(dataset: str, ratio: float) -> dict[str, tuple]:
        block = {"dataset": (dataset,), "ratio": (ratio,)} | table((dataset,))
        return block | {"shot": shots_of(dataset, ratio)}

    return {
        "fig-5.1": {
            "dataset": last,
            "feature": FEATURES,
            "seed": seeds,
            "image": tuple(range(settings.compared)),
        },
        "fig-5.2": {
            "dataset": names,
            "part": (*PARTS, "classifier's stage") if settings.filter == "private stage" else PARTS,
        },
        "fig-5.3": {"dataset": names, "method": settings.variants, "seed": seeds},
        "fig-5.4": {
            "dataset": first,
            "lambda": tuple(dict.fromkeys((0.0, *settings.sweep_lam))),
            "seed": seeds,
            "shot": SHOTS,
        },
        "fig-5.5": {"dataset": names, "method": both, "seed": seeds, "shot": SHOTS},
        "fig-5.6": {
            "dataset": first,
            "method": both,
            "seed": seeds,
            "image": tuple(range(settings.tsne_images)),
        },
        "fig-5.7": {"dataset": names, "method": both, "seed": seeds, "bin": tuple(range(15))},
        **{
            identity: [
                {"backbone": (b,), "preset": (p,), "layer": tuple(range(1, count + 1))}
                for b in backbones
                for p, count in zip(FILTERS, COUNTS[b], strict=True)
            ]
            for identity, backbones in LAYERS.items()
        },
        "tab-5.4": table(last),
        # A ratio is a key only where several are asked for: a table at each set's own has no such column.
        "tab-5.5": [at(d, r) for d in names for r in settings.ratios_of(d)]
        if settings.ratios
        else table(names),
        "tab-5.6": table(last),
        "tab-5.7": table(last),
        "tab-5.8": [
            {"dataset": (d,), "bound": (WITHOUT, *bounds), "seed": seeds}
            for d, bounds in zip(names, (settings.bounds, *[(settings.bound,)] * len(names)), strict=False)
        ],
        "tab-5.9": {"dataset": first, "method": (BASE, BEFORE, *settings.ssl_methods), "seed": seeds},
        "extra-5.A": {"dataset": (settings.beside(),), "method": SIDE_BY_SIDE, "seed": seeds, "shot": SHOTS},
        "extra-5.B": [
            {"dataset": first, "method": (m,), "candidate": candidates, "seed": settings.search_seeds()}
            for m, candidates in settings.candidates().items()
        ],
        "extra-5.C": {
            "dataset": first,
            "method": (BASE, SHARED, GENERIC, *settings.ssl_methods),
            "n": tuple(times * images_in(name) for name in first for times in TIMES_OVER),
        },
    }


def images_in(dataset: str) -> int:
    """Training images of a data set."""
    return sum(_counts(dataset, TAILS[dataset].ratio))


def shots_of(dataset: str, ratio: float) -> tuple[str, ...]:
    """The groups that have a class: at ratio 10 the rarest class of CIFAR-LT is not Few.

    Parameters
    ----------
    dataset : str
    ratio : float
        Images of the first class for one of the last.
    """
    counts, tail = _counts(dataset, ratio), TAILS[dataset]
    many, few = THRESHOLDS.get(dataset, (tail.many, tail.few))
    there = (max(counts) > many, any(few <= n <= many for n in counts), min(counts) < few, True)
    return tuple(shot for shot, some in zip(SHOTS, there, strict=True) if some)


def _counts(dataset: str, ratio: float) -> tuple[int, ...]:
    tail = TAILS[dataset]
    classes = tail.drawing.classes if tail.drawing else CLASSES[dataset]
    return longtail_counts(classes, tail.largest, ratio)


TIMES_OVER = (1, 2, 4)
"""Sizes of the training set in Extra 5.C, in multiples of its own."""
CLASSES = {"digits_lt": 10, "cifar10_lt": 10, "cifar100_lt": 100}


COUNTS = {"ResNet-32": (2, 11, 2), "ResNet-10": (2, 3, 2), "ResNet-50": (3, 10, 3), "ResNet-152": (3, 10, 3)}
"""Rows that each preset's table has; a test compares them with the modules."""
