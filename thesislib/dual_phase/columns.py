"""What the chapter's experiments are on each data set: network, recipes and the methods' settings.

Thesis, section 4.5.1.

``stands_for`` is the thesis's data set, ``epochs``, ``steps`` and ``bank`` are a column's sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from thesislib.dual_phase.method import PhaseTwo
from thesislib.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Column:
    """One data set's column.

    Attributes
    ----------
    stands_for : str
        The thesis's data set; the data set itself where it is the thesis's own.
    depth, widths : int, tuple of int
        Of the CIFAR residual network.
    recipe : Recipe
        Of the joint model and of phase I.
    phase_two, herded, same, control : PhaseTwo
        Of the dual-phase method, of the same with exemplars that herding selects, of the joint model with dual-phase's
        second phase at a rate of its own, and of the joint model fine-tuned on a bank of every class (K = C).
    crt, lws : Recipe
    tau, adjust : float
        Of tau-normalisation and of post-hoc logit adjustment.
    reweight_from : float
        Share of the epochs after which LDAM re-weights.
    pad : int
    flip : bool
    angles : int
        Steps from one measurement of the gradients' angles to the next.
    """

    stands_for: str
    depth: int
    widths: tuple[int, ...]
    recipe: Recipe
    phase_two: PhaseTwo
    herded: PhaseTwo
    same: PhaseTwo
    control: PhaseTwo
    crt: Recipe
    lws: Recipe
    tau: float
    adjust: float
    reweight_from: float = 0.8
    pad: int
    flip: bool
    angles: int = 10

    def hasty(self) -> Column:
        """The same in a few seconds, for tests: nothing is learnt to the end."""
        return replace(
            self,
            recipe=replace(self.recipe, epochs=4),
            phase_two=_short(self.phase_two),
            herded=_short(self.herded),
            same=_short(self.same),
            control=_short(self.control),
            crt=replace(self.crt, epochs=1),
            lws=replace(self.lws, epochs=1),
        )


def _short(how: PhaseTwo) -> PhaseTwo:
    return replace(how, recipe=replace(how.recipe, epochs=2), length=128, bank=5)


CHOSEN = {
    "phase_two": (0.1, True),
    "herded": (0.1, True),
    "same": (0.01, True),
    "control": (0.01, True),
    "crt": 0.2,
    "lws": 0.01,
    "tau": 0.75,
    "adjust": 1.0,
}
"""On CIFAR-100-LT at ratio 100 and the equal schedule, each the best of Extra 4.A's candidates there, on its seed; of
phase II the rate, and whether classes are drawn equally often."""


def cifar(epochs: int) -> Column:
    """ResNet-32 on CIFAR-LT with the recipe of Cao et al. 2019, at its 200 epochs or fewer.

    Rates fall after 80 and 90 % of the epochs, and second stages are as long in proportion: phase II has 20 steps for
    each of the epochs, cRT a quarter of them (850 steps for 40 epochs, where phase II has 800), LWS half of that.
    """
    recipe = Recipe(
        epochs=epochs,
        batch=128,
        lr=0.1,
        weight_decay=2e-4,
        schedule="steps",
        milestones=(0.8 * epochs, 0.9 * epochs),
        factor=0.01,
        warmup=min(5, epochs / 8),
        per_epoch=True,
    )
    second = Recipe(epochs=10, batch=128, weight_decay=2e-4, schedule="steps", milestones=(6, 8), factor=0.1)
    crt = Recipe(epochs=max(1, epochs // 4), batch=128, weight_decay=2e-4, schedule="cosine", per_epoch=True)

    def phase(name: str) -> PhaseTwo:
        lr, balanced = CHOSEN[name]
        return PhaseTwo(recipe=replace(second, lr=lr), length=2 * epochs * 128, balanced=balanced)

    return Column(
        stands_for="cifar100_lt",
        depth=32,
        widths=(16, 32, 64),
        recipe=recipe,
        phase_two=phase("phase_two"),
        herded=replace(phase("herded"), rule="herding"),
        same=phase("same"),
        control=phase("control"),
        crt=replace(crt, lr=CHOSEN["crt"]),
        lws=replace(crt, lr=CHOSEN["lws"], epochs=max(1, epochs // 8)),
        tau=CHOSEN["tau"],
        adjust=CHOSEN["adjust"],
        pad=4,
        flip=True,
    )


def small(stands_for: str, *, epochs: int = 28, steps: int = 100, bank: int = 10) -> Column:
    """ResNet-8 of half the width on small pictures: what a core trains in seconds."""
    recipe = Recipe(epochs=epochs, batch=64, lr=0.1, weight_decay=5e-4, schedule="one-cycle")
    length = steps * 64 // 5

    # Rates and taus are the best of Extra 4.A on glyphs_lt, over ten seeds (recorded), for all of these sets.
    def phase(lr: float, balanced: bool) -> PhaseTwo:
        second = Recipe(epochs=5, batch=64, lr=lr, weight_decay=5e-4, schedule="cosine")
        return PhaseTwo(recipe=second, length=length, balanced=balanced, bank=bank)

    crt = Recipe(epochs=5, batch=64, lr=0.5, weight_decay=5e-4, schedule="cosine")
    return Column(
        stands_for=stands_for,
        depth=8,
        widths=(8, 16, 32),
        recipe=recipe,
        phase_two=phase(0.3, True),
        herded=replace(phase(0.3, True), rule="herding"),
        same=phase(0.1, True),
        control=phase(0.1, True),
        crt=crt,
        lws=replace(crt, lr=0.2),
        tau=0.75,
        adjust=1.0,
        pad=1,
        flip=False,
        angles=2,
    )


STAND_INS: dict[str, Column] = {
    "glyphs_lt": small("cifar100_lt"),
    "glyphs_lt_steep": small("places_lt"),
    "glyphs_lt_fine": small("imagenet_lt"),
    "glyphs_lt_many": small("inaturalist2018"),
    "digits_lt": replace(small("cifar100_lt"), angles=1),
}
"""Data sets that need nothing, each with what it stands for."""
