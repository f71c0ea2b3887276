"""Settings of chapter 6 and its three profiles (thesis, section 6.4).

Below, ``settings`` are those of the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from thesislib import settings
from thesislib.settings import ChapterSettings, setting

METHODS = ("batch MM", "MISO", "SMM", "SGD", "SVRG", "SAGA", "SPIDER", "SPI-MM")
DATASETS = ("digits", "breast_cancer", "a9a", "w8a", "mushrooms", "phishing", "ijcnn1")
OURS = "choice of this book; the thesis's text was not available"


@dataclass(frozen=True, kw_only=True)
class Settings(ChapterSettings):
    """Settings of the experiments on non-convex logistic regression, sparse PCA and scaling."""

    dataset: tuple[str, ...] = setting(
        ("breast_cancer", "digits"),
        choices=DATASETS,
        paths=True,
        source="paper: a9a and w8a, field practice; " + OURS,
    )
    methods: tuple[str, ...] = setting(METHODS, choices=METHODS, source="figure 6.2; " + OURS)
    pca_methods: tuple[str, ...] = setting(
        ("batch MM", "MISO", "SMM", "SVRG", "SPIDER", "SPI-MM"),
        choices=METHODS,
        source="figure 6.3 shows selected algorithms; which is unknown",
    )
    pca_problems: tuple[str, ...] = setting(
        ("S1", "S2"), choices=("S1", "S2"), source="S1 one loading vector, S2 several; " + OURS
    )
    lam: tuple[float, ...] = setting(
        (1e-2, 1e-3), low=0.0, symbol=r"\lambda", source="weight of the non-convex regulariser; " + OURS
    )
    pca_lam: float = setting(
        0.05, low=0.0, high=1.0, symbol=r"\lambda", unit="largest eigenvalue of the covariance", source=OURS
    )
    loadings: int = setting(10, low=1, symbol="K", unit="loading vectors of S2", source=OURS)
    ridge: float = setting(0.1, low=1e-6, symbol=r"\mu", source="S2, weight of the codes; " + OURS)
    factor_lam: float = setting(
        0.05, low=0.0, symbol=r"\lambda", source="S2, weight of the loadings; " + OURS
    )
    passes: float = setting(100.0, low=1.0, unit="n component evaluations", source="budget; " + OURS)
    checkpoints: int = setting(
        11, low=3, unit="points a curve", source="0, then from 1 to passes in equal ratios"
    )
    rho_factor: float = setting(
        2.0, low=0.1, symbol=r"\rho/L", source="curvature of SPI-MM's surrogate; 2 is covered by the analysis"
    )
    step_grid: tuple[float, ...] = setting(
        (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0),
        low=1e-6,
        unit="theoretical step",
        source="the same grid for every method; " + OURS,
    )
    tuning_seeds: int = setting(2, low=1, unit="seeds", source="none of them is reported")
    sizes: tuple[int, ...] = setting(
        (1000, 4000, 16000), low=2, high=64_000, symbol="n", source="Extra 6.A; " + OURS
    )
    eps: tuple[float, ...] = setting(
        (1e-2, 3e-3, 1e-3), low=1e-8, symbol=r"\epsilon", unit="gradient norm", source="Extra 6.A; " + OURS
    )
    scaling_lam: float = setting(1e-3, low=0.0, symbol=r"\lambda", source="Extra 6.A; " + OURS)
    surrogate_points: int = setting(81, low=3, unit="points of a curve", source="figure 6.1, from -4 to 4")

    def marks(self) -> tuple[float, ...]:
        """Passes at which a run is recorded."""
        ratio = self.passes ** (1 / (self.checkpoints - 2))
        inner = {float(f"{ratio**k:.3g}") for k in range(self.checkpoints - 2)}  # rounded, some may be one
        return (0.0, *sorted(m for m in inner if m < self.passes), self.passes)

    def held_out_seeds(self) -> tuple[int, ...]:
        """Seeds for choosing steps; their streams are disjoint from those of the reported seeds."""
        streams = (
            np.random.SeedSequence(self.seed, spawn_key=(2**31 + j,)) for j in range(self.tuning_seeds)
        )
        return tuple(int(s.generate_state(1)[0]) for s in streams)


PROFILES: dict[str, Settings] = {
    "smoke": Settings(
        profile="smoke",
        dataset=("breast_cancer",),
        pca_problems=("S1",),
        lam=(1e-2,),
        passes=10.0,
        checkpoints=6,
        repeats=2,
        step_grid=(0.3, 1.0, 3.0),
        tuning_seeds=1,
        sizes=(500, 2000),
        eps=(1e-2,),
        surrogate_points=41,
    ),
    "laptop": Settings(profile="laptop"),
    "paper": Settings(
        profile="paper",
        dataset=("a9a", "w8a"),
        pca_problems=("S1",),
        sizes=(1000, 4000, 16000, 64000),
    ),
}

REPLAY: dict[str, Any] = {"repeats": 1}
"""What a replay of the first items of a recorded run overrides."""


def resolve(profile: str, **overrides: Any) -> Settings:
    """The settings of one run; arguments as in :func:`thesislib.settings.resolve`."""
    return settings.resolve(PROFILES, profile, **overrides)


def grids(settings: Settings) -> dict[str, dict[str, tuple]]:
    """Key columns of each artefact's frame and their values; the frame has a row for each combination."""
    seeds, marks = settings.seeds(), settings.marks()
    points = settings.surrogate_points
    run = {"tuning": ("theory", "tuned"), "method": (), "seed": seeds, "passes": marks}
    return {
        "fig-6.1": {
            "seed": seeds,
            "draw": (1, 2, 3, 4, 5),
            "u": tuple(round(-4 + 8 * k / (points - 1), 6) for k in range(points)),
        },
        "fig-6.2": {"dataset": settings.dataset, "lam": settings.lam, **run, "method": settings.methods},
        "fig-6.3": {
            "dataset": settings.dataset,
            "problem": settings.pca_problems,
            **run,
            "method": settings.pca_methods,
        },
        "extra-6.A": {
            "dataset": ("synthetic",),
            "eps": settings.eps,
            "n": settings.sizes,
            "method": ("batch MM", "SPI-MM"),
            "seed": seeds,
        },
    }
