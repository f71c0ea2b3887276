"""What the chapter's attacks share: two-point estimates with a latent prior, sign steps inside the bound.

Thesis, section 3.3.4; the estimator is that of Ilyas et al. (2019), per frame.

``victim`` and ``goal`` are an attack's arguments; ``states`` are tensors, a row a clip; ``kappa`` is the
L-infinity bound.
"""

from __future__ import annotations

import torch
from torch import Tensor

from thesislib.blackbox import Attempt, Goal, Victim
from thesislib.blackbox.attempt import admitted

FRAME = 3 * 256 * 256  # numbers in a frame of the released code, for which its lengths are meant


def query_length(eps: float | None, clips: Tensor) -> float:
    """L2 length of a query's change, in each frame.

    None is the released code's 0.1 for frames of 256 pixels in colour, scaled to the same root mean square.
    """
    if eps is not None:
        return eps
    return 0.1 * (clips.shape[1] * clips.shape[3] * clips.shape[4] / FRAME) ** 0.5


def two_point(
    run: Attempt, current: Tensor, prior: Tensor, change: Tensor, live: Tensor, *, length: float
) -> Tensor:
    """Difference of the losses along ``prior + change`` and ``prior - change``, two queries a clip, shape (len(live),).

    Queries are not clipped, as in the released code: their change is a fraction of a grey level.

    Parameters
    ----------
    run : Attempt
    current : Tensor, shape (len(live), channels, frames, height, width)
    prior, change : Tensor
        Of that shape, or with one frame for all.
    live : Tensor of int64
    length : float
        L2 length to which each frame of a direction is brought; one of zeros stays.
    """
    queries = current.new_empty(len(current), 2, *current.shape[1:])
    for k, sign in enumerate((1, -1)):
        direction = torch.add(prior, change, alpha=sign)
        norm = torch.linalg.vector_norm(direction, dim=(1, 3, 4), keepdim=True)
        torch.addcmul(current, direction, length / norm.clamp(min=1e-8), out=queries[:, k])
    loss = run.ask(queries.flatten(0, 1), live.repeat_interleave(2)).view(-1, 2)
    return loss[:, 0] - loss[:, 1]


def sign_step(clean: Tensor, current: Tensor, direction: Tensor, *, step: float, kappa: float) -> Tensor:
    """``current - step * sign(direction)``, brought back into the L-infinity ball around `clean` and into [0, 1]."""
    return inside(clean, torch.add(current, direction.sign(), alpha=-step), kappa)


def inside(clean: Tensor, clips: Tensor, kappa: float) -> Tensor:
    """The nearest clips within `kappa` of `clean` and within [0, 1]."""
    return torch.clamp(clips, clean - kappa, clean + kappa).clamp_(0, 1)


def kept(rows: Tensor, live: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
    """States of the clips that are still under attack; `live` is a part of `rows`, in order."""
    if len(live) == len(rows):
        return states
    stay = torch.isin(rows, live)
    return tuple(state[stay] for state in states)


def admitted_clips(victim: Victim, clips: Tensor, goal: Goal) -> Tensor:
    """As :func:`thesislib.blackbox.attempt.admitted`, of clips; what are none is refused too.

    Raises
    ------
    ValueError
        Naming the argument, what it is and what would do.
    """
    clips = admitted(victim, clips, goal)
    check_clips(clips)
    return clips


def check_clips(clips: Tensor) -> None:
    """Refuse what are no clips.

    Raises
    ------
    ValueError
        With the shape found.
    """
    if clips.dim() != 5:
        raise ValueError(
            f"clips have shape {tuple(clips.shape)}, expected (n, channels, frames, height, width)"
        )
