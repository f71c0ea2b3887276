"""The black-box room of chapters 2 and 3: what an attack may see, what it wants, what it returns.

A :class:`~thesislib.blackbox.victim.Victim` wraps any classifier and counts queries for each image; a
:class:`~thesislib.blackbox.goals.Goal` says what counts as fooled; an
:class:`~thesislib.blackbox.attempt.AttackResult` holds what came out. An **attack** is any callable

``attack(victim, images, goal, *, seed=0, ids=None) -> AttackResult``

usually a frozen dataclass with its hyper-parameters as fields. To write one of your own, start an
:class:`~thesislib.blackbox.attempt.Attempt`, loop while images are live, and return its result; it then
counts, stops and compares like those of the thesis. ``RandomSearch`` below is a whole attack:

>>> import torch
>>> from dataclasses import dataclass
>>> from thesislib.blackbox import Attempt, Goal, Victim
>>> @dataclass(frozen=True)
... class RandomSearch:
...     size: float = 0.5
...     steps: int = 50
...     def __call__(self, victim, images, goal, *, seed=0, ids=None):
...         run = Attempt(victim, images, goal, seed=seed, ids=ids, cost=1)
...         for step in range(1, self.steps + 1):
...             live = run.affordable(1)
...             noise = run.streams.normal(live, images.shape[1:])
...             run.check((images[live] + self.size * noise).clamp(0, 1), step)
...         return run.result()
>>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
>>> images = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
>>> goal = Goal(model(images).argmax(1))
>>> result = RandomSearch()(Victim(model, budget=20), images, goal)
>>> bool((result.queries <= 20).all())
True

Thesis, sections 2.3.1 and 3.3.1.
"""

from thesislib.blackbox.attempt import AttackResult, Attempt
from thesislib.blackbox.goals import Goal
from thesislib.blackbox.victim import BudgetExceeded, Victim

__all__ = ["AttackResult", "Attempt", "BudgetExceeded", "Goal", "Victim"]
