"""The attack with a meta attacker (thesis, section 2.3.3, Algorithm 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from thesislib.blackbox import AttackResult, Attempt, Goal, Victim
from thesislib.blackbox.attempt import admitted, iterations, positive_fields, whole_fields
from thesislib.blackbox.differences import slopes
from thesislib.blackbox.variables import VARIABLES
from thesislib.meta_attack.gradient_data import standardised
from thesislib.meta_attack.meta_attacker import MetaAttacker
from thesislib.meta_attack.stacked import StackedAttackers


@dataclass(frozen=True)
class MetaAttack:
    """Follow the meta attacker's largest gradients; every m steps check them by queries and correct it.

    Each image gets its own copy of the meta attacker, which is fine-tuned on that image's estimates and then
    thrown away. A step costs one query, every m-th ``q * sides`` more. Stops at the first success.

    Attributes
    ----------
    attacker : MetaAttacker
        Trained for this size and number of channels; never modified.
    beta : float
        Step of every changed pixel, in units of the variable: its sign is the gradient's, its size always
        this (Adam without memory in the released code; thesis: learning rate of the update).
    q : int
        Pixels estimated and changed.
    m : int
        Fine-tuning interval.
    h : float
        Step of the differences.
    sides : {1, 2}
        One-sided (the released code, MNIST and CIFAR10) or symmetric differences (tiny-ImageNet, and the
        paper).
    fine_tune_steps, fine_tune_lr : int, float
        Adam's, with fresh moments each time.
    fine_tune_until : int, optional
        Last step that may fine-tune (75 and 189 on tiny-ImageNet in the released code); None: no end.
    max_steps : int, optional
        None: until the budget is spent; 300, as released, where the victim has none.
    variable : {"pixels", "tanh"}
    together : int
        Images whose meta attackers are run as one network: a matter of speed (1 is best for the wide ones).
    watch : callable, optional
        Called as ``watch(step, rows, images, maps)`` with every gradient map that is followed, for analysis.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(400, 3))
    >>> images = torch.rand(2, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    >>> attack = MetaAttack(MetaAttacker(1, 20, width=0.125), q=8, max_steps=3)  # untrained here
    >>> result = attack(Victim(model, budget=100), images, Goal(model(images).argmax(1)))
    >>> list(result.to_frame())
    ['image', 'success', 'skipped', 'l2', 'linf', 'queries', 'steps', 'predicted']
    """

    attacker: MetaAttacker
    beta: float = 0.01
    q: int = 128
    m: int = 5
    h: float = 1e-4
    sides: int = 1
    fine_tune_steps: int = 20
    fine_tune_lr: float = 0.01
    fine_tune_until: int | None = None
    max_steps: int | None = None
    variable: str = "pixels"
    together: int = 16
    watch: Callable[[int, Tensor, Tensor, Tensor], None] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.attacker, MetaAttacker):
            raise ValueError(f"attacker is {type(self.attacker).__name__}, expected a MetaAttacker")
        positive_fields(self, "beta", "fine_tune_lr")
        positive_fields(self, "h", probing=True)
        whole_fields(self, 1, "q", "m", "together")
        whole_fields(self, 0, "fine_tune_steps", "fine_tune_until", "max_steps")
        if self.sides not in (1, 2):
            raise ValueError(f"sides = {self.sides}, expected 1 or 2")
        if self.variable not in VARIABLES:
            raise ValueError(f"variable = {self.variable!r}, expected one of {', '.join(VARIABLES)}")

    def __call__(
        self,
        victim: Victim,
        images: Tensor,
        goal: Goal,
        *,
        seed: int = 0,
        ids: Sequence[int] | None = None,
    ) -> AttackResult:
        """Attack; arguments and errors as :class:`~thesislib.blackbox.attempt.Attempt` has them.

        Nothing is drawn at random, so `seed` changes nothing.

        Raises
        ------
        ValueError
            Also if the images are not of the meta attacker's size, or q exceeds it.
        """
        images = admitted(victim, images, goal)
        self._check(images)
        run = Attempt(victim, images, goal, seed=seed, ids=ids, cost=self.q * self.sides + 1)
        space, shape = VARIABLES[self.variable], images.shape[1:]
        delta, current = torch.zeros_like(images), images.clone()
        copies = StackedAttackers(self.attacker, images, self.together)
        # Before the first map there is no choice yet; the released code starts from the first q pixels.
        chosen = torch.arange(self.q, device=images.device).repeat(len(images), 1)
        for step in iterations(self.max_steps, victim, 300):
            tune = step % self.m == 0 and (self.fine_tune_until is None or step <= self.fine_tune_until)
            live = run.affordable(1 + self.q * self.sides * tune)
            if not len(live):
                break
            sparse = self._estimate(run, copies, current, live, chosen[live]) if tune else None
            maps = copies.maps(current[live], live)
            if self.watch is not None:
                self.watch(step, live, current[live], maps)
            chosen[live] = index = maps.abs().topk(self.q, dim=1).indices
            # At a fine-tuning step a pixel moves by its estimate; one that was not estimated waits.
            direction = (maps if sparse is None else sparse).gather(1, index).sign()
            move = torch.zeros_like(maps).scatter_(1, index, self.beta * direction)
            delta[live] = space.project(images[live], delta[live] - move.view(-1, *shape))
            current[live] = space.image(images[live], delta[live])
            run.check(current[live], step)
        return run.result()

    def _estimate(self, run, copies, current: Tensor, live: Tensor, index: Tensor) -> Tensor:
        """Query the slopes at `index`, fit the copies to them; the sparse maps, shape (len(live), pixels)."""
        base = run.loss[live] if self.sides == 1 else None
        found = slopes(run.ask, current[live], live, index, h=self.h, base=base).to(current.dtype)
        sparse = torch.zeros_like(current[live].flatten(1)).scatter_(1, index, found)
        # Divided by the deviation of the sparse map, zeros included, as the released code does.
        wanted = standardised(sparse).gather(1, index)
        copies.fine_tune(current[live], live, index, wanted, steps=self.fine_tune_steps, lr=self.fine_tune_lr)
        return sparse

    def _check(self, images: Tensor) -> None:
        shape = (self.attacker.channels, self.attacker.size, self.attacker.size)
        if images.shape[1:] != shape:
            raise ValueError(
                f"images have shape {tuple(images.shape)}, this meta attacker takes (n, {shape[0]}, {shape[1]}, "
                f"{shape[2]}); train one for your size"
            )
        if self.q > images[0:1].numel() and len(images):
            raise ValueError(f"q = {self.q} pixels, but an image has {images[0].numel()}")
