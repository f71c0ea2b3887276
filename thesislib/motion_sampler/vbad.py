"""V-BAD: directions from an image network, rectified patch by patch (Jiang et al. 2019; thesis, section 3.4.2).

Below, ``run`` keeps the attack's books, ``live`` are the numbers of the clips under attack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thesislib.blackbox import AttackResult, Attempt, Goal, Victim
from thesislib.blackbox.attempt import iterations, positive_fields, whole_fields
from thesislib.blackbox.victim import evaluating
from thesislib.motion_sampler.losses import loss_of
from thesislib.motion_sampler.nes import TOGETHER, antithetic
from thesislib.motion_sampler.prior import admitted_clips, inside, kept


@dataclass(frozen=True, eq=False)
class VBAD:
    """Let an image network say where each frame would change, and queries how much of it serves.

    In each iteration the tentative direction of a frame is the sign of the gradient of
    ``|features(frame) - reference|^2``: the reference is random, redrawn each time (untargeted), or features of
    a clip of the target class of which a random nine tenths count (targeted). The frame is cut into patches, and
    antithetic pairs along random weights of all patches estimate how the loss depends on each weight. The clip
    moves by ``step`` along the direction times the sign of each patch's estimate: ``2 * samples + 1`` queries.

    The released code starts a targeted attack at a clip of the target class and shrinks the ball, which takes
    tens of thousands of queries. Here every method starts at the clean clip, inside the same bound. The code's rule
    that samples off the tracked class share a rank has no place then: towards a target all are, until one has
    reached it, and without one such a sample has fooled the victim.

    Attributes
    ----------
    image_model : callable
        Frames, shape (n, 3, height, width), to features, shape (n, features), differentiable; a module is in
        evaluation mode for as long as it is asked.
    examples : mapping of int to Tensor, optional
        A clip of each target class, shape (3, frames, height, width); only for targeted goals.
    split : int
        Patches along each side of a frame.
    samples : int
        Pairs an iteration (48 samples in the released code).
    sigma : float
        Deviation of the weights (1e-3 untargeted there).
    ranks : bool
        Whether losses are replaced by their ranks.
    loss, kappa
        As for :class:`~thesislib.motion_sampler.me_sampler.MESampler`.
    step, least_step : float
        The step is halved, down to the least, whenever the loss has not fallen over `patience` iterations.
    patience : int
    random_start : bool
        Untargeted: start anywhere in the ball; whether that fools already costs a query more.
    max_steps : int, optional
        None: until the budget is spent; 20,000 where the victim has none.
    """

    image_model: Callable[[Tensor], Tensor]
    examples: Mapping[int, Tensor] | None = None
    split: int = 8
    samples: int = 24
    sigma: float = 1e-3
    ranks: bool = True
    loss: str = "second_probability"
    kappa: float = 0.03
    step: float = 0.01
    least_step: float = 0.001
    patience: int = 20
    random_start: bool = True
    max_steps: int | None = None

    def __post_init__(self) -> None:
        if not callable(self.image_model):
            raise ValueError(
                f"image_model is {type(self.image_model).__name__}, expected a module or a function of frames"
            )
        positive_fields(self, "sigma", "kappa", "step", "least_step")
        whole_fields(self, 1, "split", "samples", "patience")
        whole_fields(self, 0, "max_steps")
        loss_of(self.loss)

    def __call__(
        self,
        victim: Victim,
        images: Tensor,
        goal: Goal,
        *,
        seed: int = 0,
        ids: Sequence[int] | None = None,
    ) -> AttackResult:
        """Attack clips, shape (n, 3, frames, height, width); errors as
        :class:`~thesislib.blackbox.attempt.Attempt` has them.

        Raises
        ------
        ValueError
            Also if frames are not cut into equal patches, a target class has no example, or `image_model` gives no
            features of shape (n, features).
        """
        images = admitted_clips(victim, images, goal)
        if any(side % self.split for side in images.shape[3:]):
            raise ValueError(
                f"split = {self.split} does not divide frames of {images.shape[3]} x {images.shape[4]}"
            )
        wanted = self._wanted(goal, images)
        cost = 2 * self.samples + 1
        anywhere = self.random_start and goal.targets is None  # asked where it starts, too
        run = Attempt(
            victim, images, goal, seed=seed, ids=ids, cost=cost + anywhere, objective=loss_of(self.loss)
        )
        rows = run.live
        clean, current = images[rows], images[rows]
        if anywhere and len(rows):
            noise = _uniform(run.streams.normal(rows, images.shape[1:]))
            current = inside(clean, clean + self.kappa * noise, self.kappa)
            run.check(current, 0)
        step = images.new_full((len(images),), self.step)
        since = run.loss.clone()
        for count in iterations(self.max_steps, victim, 20_000):
            live = run.affordable(cost)
            if not len(live):
                break
            clean, current = kept(rows, live, clean, current)
            rows = live
            direction = self.tentative(run, current, live, None if wanted is None else wanted[live])
            sign = self.rectified(run, current, direction, live)
            moved = current - step[live].view(-1, 1, 1, 1, 1) * direction * sign
            current = inside(clean, moved, self.kappa)
            run.check(current, count)
            if count % self.patience == 0:
                stuck = run.loss >= since
                step[stuck] = (step[stuck] / 2).clamp(min=min(self.least_step, self.step))
                since = run.loss.clone()
        return run.result()

    def tentative(self, run: Attempt, current: Tensor, live: Tensor, wanted: Tensor | None) -> Tensor:
        """Direction of -1, 0 and 1, of the shape of `current`; costs no query.

        Parameters
        ----------
        current : Tensor, shape (len(live), 3, frames, height, width)
        wanted : Tensor, shape (len(live), frames, features), or None
            Features of the target's example.
        """
        with evaluating(self.image_model), torch.enable_grad():
            frames = current.movedim(2, 1).flatten(0, 1).clone().requires_grad_()
            features = self._features(frames)
            shape = (current.shape[2], features.shape[1])
            drawn = run.streams.normal(live, shape).flatten(0, 1)
            if wanted is None:
                gap = features - 5 * drawn.abs()
            else:
                gap = (features - wanted.flatten(0, 1)) * (drawn < 1.2815515655446004)  # nine tenths
            (slope,) = torch.autograd.grad(gap.pow(2).sum(), frames)
        return slope.sign().view(len(live), current.shape[2], *frames.shape[1:]).movedim(1, 2)

    def _features(self, frames: Tensor) -> Tensor:
        features = self.image_model(frames)
        if features.ndim != 2 or len(features) != len(frames):
            raise ValueError(
                f"image_model makes {tuple(features.shape)} of {len(frames)} frames, expected ({len(frames)}, features)"
            )
        return features

    def rectified(self, run: Attempt, current: Tensor, direction: Tensor, live: Tensor) -> Tensor:
        """Sign of the loss's slope in each patch's weight, of the shape of `current`; costs 2 * samples queries."""
        grid = (1, current.shape[2], self.split, self.split)
        weights, losses, left = [], [], self.samples
        while left:
            part = min(left, max(1, TOGETHER // len(live)))
            drawn = torch.stack([run.streams.normal(live, grid) for _ in range(part)], dim=1)
            change = self.sigma * self._enlarged(drawn, current) * direction[:, None]
            weights.append(drawn)
            losses.append(antithetic(run, current, change, live))
            left -= part
        drawn, loss = torch.cat(weights, dim=1), torch.cat(losses, dim=1)
        if self.ranks:
            order = loss.flatten(1).argsort(dim=1, stable=True).argsort(dim=1)
            loss = order.view_as(loss).to(loss.dtype) / (2 * self.samples - 1)
        difference = loss[:, :, 0] - loss[:, :, 1]
        slope = torch.einsum("nk,nk...->n...", difference.to(drawn.dtype), drawn)
        return self._enlarged(slope[:, None].sign(), current)[:, 0]

    def _enlarged(self, patches: Tensor, clips: Tensor) -> Tensor:
        """Patches, shape (n, k, 1, frames, split, split), to pixels by repetition."""
        rows, columns = clips.shape[3] // self.split, clips.shape[4] // self.split
        return patches.repeat_interleave(rows, dim=4).repeat_interleave(columns, dim=5)

    def _wanted(self, goal: Goal, clips: Tensor) -> Tensor | None:
        """Features of the examples of each clip's target, shape (n, frames, features)."""
        if goal.targets is None:
            return None
        known = self.examples or {}
        if lacking := sorted({int(t) for t in goal.targets} - set(known)):
            raise ValueError(f"no example of target {lacking[0]}; examples are of {sorted(known)}")
        if not len(clips):
            return clips.new_empty(0, clips.shape[2], 1)
        with evaluating(self.image_model), torch.no_grad():
            made = {
                t: self._features(known[t].to(clips).movedim(1, 0)) for t in {int(t) for t in goal.targets}
            }
        return torch.stack([made[int(t)] for t in goal.targets])


def _uniform(normal: Tensor) -> Tensor:
    """Normal numbers to uniform ones between -1 and 1."""
    return torch.erf(normal / 2**0.5)
