"""The losses of Table 3.5, all minimised: log-probabilities and goals to one number a clip (thesis, section 3.4.4).

``logp`` are log-probabilities, shape (n, classes), ``goal`` is for n clips.
"""

from __future__ import annotations

from torch import Tensor

from thesislib.blackbox.goals import Goal, Objective, cross_entropy, hinge, probability

MARGIN = 0.05  # of the flicker loss


def second_probability(logp: Tensor, goal: Goal) -> Tensor:
    """One minus the second largest probability: raises whichever class is runner-up.

    The active loss of the released code, untargeted. Towards a target it says nothing, so that is refused.

    Raises
    ------
    ValueError
        With a targeted goal.
    """
    if goal.targets is not None:
        raise ValueError("second_probability knows no target; choose flicker, cross_entropy or logits")
    return 1 - logp.exp().topk(2, dim=1).values[:, 1]


def flicker(logp: Tensor, goal: Goal) -> Tensor:
    """Margin of the probabilities, quadratic near the decision, zero where it is crossed by 0.05.

    ``max(0, min(L^2 / m, L))`` with ``L`` the margin plus ``m`` (flickering attack, Pony et al. 2021; as a
    third party's code for this thesis's method has it).
    """
    lead = probability(logp, goal) + MARGIN
    return lead.clamp(min=0).pow(2).div(MARGIN).minimum(lead.clamp(min=0))


LOSSES: dict[str, Objective] = {
    "second_probability": second_probability,
    "flicker": flicker,
    "cross_entropy": cross_entropy,
    "logits": hinge,
}
"""By the names that the attacks' field ``loss`` takes; ``logits`` is the margin of Carlini and Wagner, k = 0."""


def loss_of(name: str) -> Objective:
    """The loss of that name.

    Raises
    ------
    ValueError
        If there is none, with the known names.
    """
    if name not in LOSSES:
        raise ValueError(f"loss = {name!r} is not one of {', '.join(LOSSES)}")
    return LOSSES[name]
