"""What the chapter's attacks share: two-point estimates with a latent prior, sign steps inside the bound.

Thesis, sections 3.3.4 and 3.3.5; the estimator is that of Ilyas et al. (2019), per frame.
"""

from __future__ import annotations

import torch
from torch import Tensor

from thesislib.blackbox import Attempt

FRAME = 3 * 256 * 256  # numbers in a frame of the released code, for which its lengths are meant


def query_length(eps: float | None, clips: Tensor) -> float:
    """L2 length of a query's change, in each frame.

    None is the released code's 0.1 for frames of 256 pixels in colour, scaled to the same root mean square.
    """
    if eps is not None:
        return eps
    return 0.1 * (clips.shape[1] * clips.shape[3] * clips.shape[4] / FRAME) ** 0.5


def per_frame(change: Tensor, length: float) -> Tensor:
    """The change with each frame scaled to an L2 length; a frame of zeros stays.

    Parameters
    ----------
    change : Tensor, shape (n, channels, frames, height, width)
    """
    norm = change.pow(2).sum((1, 3, 4), keepdim=True).sqrt()
    return change * (length / norm.clamp(min=1e-8))


def two_point(
    run: Attempt, current: Tensor, plus: Tensor, minus: Tensor, live: Tensor, *, length: float
) -> Tensor:
    """Difference of the losses of two changes of each clip, two queries a clip, shape (len(live),).

    Queries are not clipped, as in the released code: their change is a fraction of a grey level.

    Parameters
    ----------
    run : Attempt
    current : Tensor, shape (len(live), channels, frames, height, width)
    plus, minus : Tensor
        Directions of that shape, or with one frame for all.
    live : Tensor of int64
    length : float
        L2 length to which each frame of a direction is brought.
    """
    queries = torch.stack([current + per_frame(change, length) for change in (plus, minus)], dim=1)
    loss = run.ask(queries.flatten(0, 1), live.repeat_interleave(2)).view(-1, 2)
    return loss[:, 0] - loss[:, 1]


def sign_step(clean: Tensor, current: Tensor, direction: Tensor, *, step: float, kappa: float) -> Tensor:
    """``current - step * sign(direction)``, brought back into the L-infinity ball around `clean` and into [0, 1]."""
    moved = current - step * direction.sign()
    return inside(clean, moved, kappa)


def inside(clean: Tensor, clips: Tensor, kappa: float) -> Tensor:
    """The nearest clips within `kappa` of `clean` and within [0, 1]."""
    return torch.minimum(torch.maximum(clips, clean - kappa), clean + kappa).clamp(0, 1)


def positive_fields(attack: object, *names: str) -> None:
    """Refuse fields that are zero or negative.

    Raises
    ------
    ValueError
        Naming the field.
    """
    for name in names:
        value = getattr(attack, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} = {value!r}, expected more than 0")


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
