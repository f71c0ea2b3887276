"""What a column of the tables is made of: plain values, so that they can key a cache (thesis, section 3.4.1).

``model`` is a victim's name.
"""

from __future__ import annotations

from dataclasses import dataclass

from thesislib.recipe import Recipe

UNTARGETED, TARGETED = "untargeted", "targeted"
GOALS = (UNTARGETED, TARGETED)


@dataclass(frozen=True)
class VideoVictim:
    """A victim: the thesis's name of it, the constructor's, how it is trained, and the accuracy that is enough."""

    model: str
    constructor: str
    recipe: Recipe
    enough: float


@dataclass(frozen=True, kw_only=True)
class Column:
    """One data set of the comparison.

    Attributes
    ----------
    stands_for : str
        The thesis's data set; its own name where it is that one.
    victims : tuple of VideoVictim
        I3D and TSN2D.
    stream : Recipe
        Of the motion stream.
    dropped : tuple of (method, goal)
        Left out because the cap on queries does not allow for them.
    """

    stands_for: str
    victims: tuple[VideoVictim, ...]
    stream: Recipe
    dropped: tuple[tuple[str, str], ...] = ()

    def victim(self, model: str) -> VideoVictim:
        """The victim of that name."""
        return next(v for v in self.victims if v.model == model)
