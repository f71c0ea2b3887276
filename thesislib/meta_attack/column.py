"""What a column of the tables is made of: plain values, so that they can key a cache (thesis, section 2.4.1)."""

from __future__ import annotations

from dataclasses import dataclass

from thesislib.meta_attack.reptile import Reptile
from thesislib.recipe import Recipe

UNTARGETED, TARGETED = "untargeted", "targeted"
GOALS = (UNTARGETED, TARGETED)


@dataclass(frozen=True)
class Network:
    """A network by its name in :data:`thesislib.models.MODELS`, its width, and how it is trained.

    ``noise`` is the deviation of Gaussian noise on training images, 0 in the thesis. The networks of the glyphs
    need some: without it their gradients have nothing in common that could be learnt (cosine 0.003).
    """

    name: str
    width: float
    recipe: Recipe
    noise: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How a column's meta attacker is learnt.

    Attributes
    ----------
    size : int
        Side of the images; others are resized to it.
    sources : tuple of Network
        Tasks; the victim is none of them.
    width : float
        Of the meta attacker, 1 in the thesis.
    images : int
        Training images a source whose gradients are learnt from.
    few : int
        Images a source where gradients are estimated by queries (section 2.4.5).
    reptile : Reptile
    vanilla_lr : float
        Adam's rate of the vanilla auto-encoder.
    """

    size: int
    sources: tuple[Network, ...]
    width: float = 1.0
    images: int = 10_000
    few: int = 10_000
    reptile: Reptile
    vanilla_lr: float = 0.001


@dataclass(frozen=True, kw_only=True)
class Column:
    """One data set of the comparison.

    Attributes
    ----------
    stands_for : str
        The thesis's data set; its own name where it is that one.
    victim : Network
    learning : Learning
    enough : float
        Accuracy below which fooling the victim would mean little (claim of Table 2.3).
    partner : str
        Colour data set whose meta attacker is used for Meta transfer; empty: none.
    dropped : tuple of (method, goal)
        Left out because the cap on queries or the machine does not allow for them.
    chunk : int
        Images sent to the victim at once.
    options : tuple of (method, goal, name, value)
        Settings of the methods where they are not the class's defaults; goal ``""`` means both.
    """

    stands_for: str
    victim: Network
    learning: Learning
    enough: float = 0.9
    partner: str = ""
    dropped: tuple[tuple[str, str], ...] = ()
    chunk: int = 64
    options: tuple[tuple[str, str, str, object], ...] = ()

    def settings_of(self, method: str, goal: str) -> dict[str, object]:
        """The settings of a method for a goal, by field name."""
        return {name: value for who, aim, name, value in self.options if who == method and aim in ("", goal)}
