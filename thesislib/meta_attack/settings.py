"""Settings of chapter 2 and its three profiles (thesis, section 2.4.1).

Below, ``dataset`` is one of a run's data sets, ``method`` a name of the tables, ``goal`` ``untargeted`` or
``targeted``, ``settings`` those of the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thesislib import settings
from thesislib.meta_attack.column import GOALS, Column
from thesislib.meta_attack.columns import STAND_INS, THESIS, column_of, hasty
from thesislib.settings import ChapterSettings, SettingsError, setting

# Spelled out, not imported: the attacks are no business of the settings. A test keeps the two together.
METHODS = (
    "Meta attack",
    "Meta transfer",
    "ZOO",
    "AutoZOOM",
    "Bandits",
    "FW-black",
    "Decision boundary",
    "Opt-attack",
)
HARD_LABEL = ("Decision boundary", "Opt-attack")
DATASETS = (*STAND_INS, *THESIS)
RELEASED = "released code"
OURS = "choice of this book"
BATCH = 25  # images attacked at once; shards start and end at multiples

LONG = {
    "ZOO": 200,
    "AutoZOOM": 200,
    "Bandits": 100,
    "FW-black": 100,
    "Decision boundary": 50,
    "Opt-attack": 50,
}
"""Images a method of a reduced run, at most, as two cores allow; the meta attacks take all that ``images`` asks for."""

MOST = {"tiny_imagenet18": 500}
"""Attacked images, at most, where the test set is small."""

SIMILARITIES = (
    "Meta attacker",
    "Meta attacker, fine-tuned once",
    "Random meta attacker",
    "Random meta attacker, fine-tuned once",
    "ZOO, q random pixels",
    "q random directions",
)
TRAININGS = {
    "Meta attack": "trained",
    "Vanilla autoencoder": "vanilla",
    "Estimated gradients": "estimated",
    "White-box gradients, same images": "white-box few",
    "Random start": "random",
}
"""Rows of Tables 2.7 and 2.8 and the kind of meta attacker behind each."""


@dataclass(frozen=True, kw_only=True)
class Settings(ChapterSettings):
    """Settings of the experiments on attacking image models. What differs between data sets is in
    :mod:`thesislib.meta_attack.columns`."""

    dataset: tuple[str, ...] = setting(
        ("digits", "glyphs", "glyphs_many"),
        choices=DATASETS,
        paths=True,
        source="thesis: MNIST, CIFAR10, tiny-ImageNet",
    )
    device: str = setting("cpu", choices=("cpu", "cuda"), source="everything is computed there; " + OURS)
    repeats: int = setting(1, low=1, high=1, unit="seeds", source="intervals are over images")
    methods: tuple[str, ...] = setting(METHODS, choices=METHODS, source="tables 2.4 and 2.5")
    images: int = setting(50, low=1, high=1000, unit="images a data set", source="thesis: 1000")
    first: int = setting(0, low=0, unit="images", source=f"start of a shard, a multiple of {BATCH}")
    last: int | None = setting(None, low=1, unit="images", source="end of a shard, likewise; None: all")
    reduced: bool = setting(
        False, source="on the thesis's data: networks, trainings and image counts for two cores; " + OURS
    )
    budget: int | None = setting(5000, low=1, unit="queries an image", source="cap; thesis: none known")
    hard_budget: int | None = setting(
        10_000, low=1, unit="queries an image", source="cap of the hard-label attacks; thesis: none known"
    )
    q: int | None = setting(
        None, low=1, symbol="q", unit="pixels", source=RELEASED + ": 128, 125, 500; None: the data set's"
    )
    m: int | None = setting(
        None, low=2, symbol="m", unit="iterations", source=RELEASED + ": 5, 3, 3; None: the data set's"
    )
    beta: float | None = setting(
        None, low=1e-6, symbol=r"\beta", source=RELEASED + ": 0.01, 0.01, 0.006; None: the data set's"
    )
    sweep_q: tuple[float, ...] = setting((0.5, 1.0, 2.0), low=0.01, unit="q", source="figure 2.3; " + OURS)
    sweep_beta: tuple[float, ...] = setting(
        (0.5, 1.0, 2.0), low=0.01, unit=r"\beta", source="figure 2.3; " + OURS
    )
    sweep_images: int = setting(50, low=1, unit="images", source="figure 2.3; " + OURS)
    cosine_images: int = setting(100, low=1, unit="images", source="table 2.6; " + OURS)
    gallery_images: int = setting(3, low=1, unit="images", source="extra 2.A")
    search_images: int = setting(50, low=1, unit="images", source="extra 2.B; none of them is reported")
    search_budget: int = setting(3000, low=1, unit="queries an image", source="extra 2.B; " + OURS)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("first", "last"):
            if (getattr(self, name) or 0) % BATCH:
                raise SettingsError(f"{name} = {getattr(self, name)} is no multiple of {BATCH}")
        if self.first >= self.images:
            raise SettingsError(
                f"first = {self.first}, but the first of images = {self.images} is 0; give less"
            )

    def column(self, dataset: str) -> Column:
        """The column of a data set."""
        column = column_of(dataset, reduced=self.reduced)
        return hasty(column) if self.profile == "smoke" else column

    def window(self, method: str, dataset: str) -> range:
        """Numbers of the images a method attacks: in the order of the test set, misclassified ones left out."""
        count = min(self.images, MOST.get(dataset, self.images))
        if self.reduced:
            count = min(count, LONG.get(method, count))
        return range(min(self.first, count), count if self.last is None else min(self.last, count))

    @property
    def cosine_count(self) -> int:
        """Images of Table 2.6, the same number for each data set."""
        return min(self.cosine_images, *(MOST.get(d, 1000) for d in self.dataset), 1000)

    def methods_for(self, dataset: str, goal: str) -> tuple[str, ...]:
        """The methods of a column: those asked for, less those it drops."""
        column = self.column(dataset)
        absent = {method for method, aim in column.dropped if aim == goal}
        if not column.partner:
            absent.add("Meta transfer")
        return tuple(m for m in self.methods if m not in absent)

    def options_of(self, method: str, dataset: str, goal: str) -> dict[str, Any]:
        """A method's settings: those of the column, and this run's q, m and beta for the meta attacks."""
        options = self.column(dataset).settings_of(method, goal)
        if method in ("Meta attack", "Meta transfer"):
            mine = {"q": self.q, "m": self.m, "beta": self.beta}
            options |= {name: value for name, value in mine.items() if value is not None}
        return options

    def cap(self, method: str) -> int | None:
        """Queries that a method may spend on an image."""
        return self.hard_budget if method in HARD_LABEL else self.budget


PROFILES: dict[str, Settings] = {
    "smoke": Settings(
        profile="smoke",
        dataset=("digits",),
        methods=("Meta attack", "ZOO", "AutoZOOM", "Bandits"),
        images=3,
        budget=600,
        hard_budget=1000,
        sweep_q=(1.0, 2.0),
        sweep_beta=(1.0,),
        sweep_images=2,
        cosine_images=4,
        gallery_images=1,
        search_images=1,
        search_budget=400,
    ),
    "laptop": Settings(profile="laptop"),
    "paper": Settings(
        profile="paper",
        dataset=tuple(THESIS),
        images=1000,
        budget=None,
        hard_budget=250_000,
        sweep_images=50,
        cosine_images=1000,
        search_budget=100_000,
    ),
}

SHARDED = ("methods", "first", "last")
"""What tells the shards of one long run apart."""

REPLAY: dict[str, Any] = {"images": BATCH, "sweep_images": BATCH, "cosine_images": BATCH}
"""What a replay of the first items of a recorded run overrides. A batch is replayed as a whole: networks round a few
images otherwise than many, and fine-tuning amplifies that."""


def resolve(profile: str, **overrides: Any) -> Settings:
    """The settings of one run; arguments as in :func:`thesislib.settings.resolve`."""
    return settings.resolve(PROFILES, profile, **overrides)


def grids(settings: Settings) -> dict[str, dict[str, tuple] | list[dict[str, tuple]]]:
    """Key columns of each artefact's frame and their values; a list holds blocks whose union the rows are."""
    first = settings.dataset[:1]

    def pool(goals: tuple[str, ...], key: bool = True) -> list[dict[str, tuple]]:
        return [
            {
                "dataset": (d,),
                **({"goal": (goal,)} if key else {}),
                "method": (method,),
                "image": tuple(window),
            }
            for d in settings.dataset
            for goal in goals
            for method in settings.methods_for(d, goal)
            if (window := settings.window(method, d))
        ]

    meta = {d: tuple(settings.window("Meta attack", d)) for d in settings.dataset}
    trainings = {"dataset": first, "method": tuple(TRAININGS), "image": meta[first[0]]}
    return {
        "tab-2.1": [
            {"dataset": (name,), "layer": tuple(range(1, 9))}
            for name in ("mnist", "cifar10", "tiny_imagenet")
        ],
        "tab-2.2": [{"network": (n,), "layer": tuple(range(1, k + 1))} for n, k in NET_LAYERS.items()],
        "tab-2.3": [
            {"dataset": (d,), "model": tuple(dict.fromkeys(n.name for n in (c.victim, *c.learning.sources)))}
            for d in settings.dataset
            for c in (settings.column(d),)
        ],
        "tab-2.4": pool(GOALS[:1], key=False),
        "tab-2.5": pool(GOALS[1:], key=False),
        "fig-2.1": pool(GOALS),
        "fig-2.2": [
            {"dataset": (d,), "attacker": ("trained", "random"), "image": meta[d]} for d in settings.dataset
        ],
        "fig-2.3": {
            "dataset": first,
            "q": settings.sweep_q,
            "beta": settings.sweep_beta,
            "image": meta[first[0]][: settings.sweep_images],
        },
        "tab-2.6": {
            "dataset": settings.dataset,
            "method": SIMILARITIES,
            "image": tuple(range(settings.cosine_count)),
        },
        "tab-2.7": trainings,
        "tab-2.8": trainings,
        "extra-2.A": [
            {"dataset": (d,), "method": (method,), "image": tuple(range(settings.gallery_images))}
            for d in settings.dataset
            for method in settings.methods_for(d, GOALS[0])
        ],
        "extra-2.B": [
            {
                "dataset": first,
                "method": (method,),
                "setting": options,
                "image": tuple(range(settings.search_images)),
            }
            for method, options in SEARCH.items()
            if method in settings.methods_for(first[0], GOALS[0])
        ],
    }


NET_LAYERS = {"LeNet5": 5, "Net1": 4, "Net2": 4, "Net3": 4, "Net4": 4, "Net5": 5, "Net6": 7}
"""Layers with weights of each MNIST network."""

TRADE_OFF = {
    "Meta attack": "beta",
    "ZOO": "lr",
    "AutoZOOM": "lr",
    "Bandits": "eps",
    "FW-black": "eps",
    "Decision boundary": "l2_goal",
    "Opt-attack": "l2_goal",
}
"""The field by which a method trades distortion for queries: its step, its radius or the distance it has to reach."""

_OTHERS: dict[str, tuple[str, ...]] = {
    "Meta attack": ("q*0.5", "q*2"),
    "ZOO": ("c=0.5", "c=5.0"),
    "AutoZOOM": ("c=1.0", "c=10.0", "codec=autoencoder", "codec=bilinear"),
    "Bandits": ("image_lr=0.05", "image_lr=0.2", "prior_lr=0.1", "prior_lr=1.0", "exploration=0.1"),
    "FW-black": ("directions=5", "directions=10", "directions=25", "lr=0.05", "lr=0.2"),
    "Decision boundary": ("sideways=0.01", "sideways=0.05", "inwards=0.05"),
    "Opt-attack": ("beta=0.01", "beta=0.001", "vectors=5"),
}
SEARCH: dict[str, tuple[str, ...]] = {
    method: (*(f"{field}*{factor:g}" for factor in (0.5, 0.7, 1, 1.4, 2)), *_OTHERS[method])
    for method, field in TRADE_OFF.items()
}
"""Candidates of the search, one field changed at a time from the setting in use: ``lr*0.5`` is half of it."""
