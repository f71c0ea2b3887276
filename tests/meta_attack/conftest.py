"""Small victims and the list of attacks that every test of `test_contract.py` is run for."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from thesislib.blackbox import Goal
from thesislib.meta_attack.autozoom import AutoEncoder, AutoZOOM
from thesislib.meta_attack.bandits import Bandits
from thesislib.meta_attack.decision_boundary import DecisionBoundary
from thesislib.meta_attack.fw_black import FWBlack
from thesislib.meta_attack.meta_attack import MetaAttack
from thesislib.meta_attack.meta_attacker import MetaAttacker
from thesislib.meta_attack.opt_attack import OptAttack
from thesislib.meta_attack.zoo import ZOO

SIZE = 20  # the smallest grey picture that a meta attacker takes


@dataclass(frozen=True)
class Case:
    """An attack that fools some of the victim's images, not all, in a fraction of a second."""

    name: str
    attack: object
    cost: int  # queries of a first step, its check included and the clean image apart
    most: int | None = None  # of its dearest step before a success, if that is another
    hard_label: bool = False  # looks for a start first, and sees no loss
    refines: bool = False  # goes on after its first success
    drawn: bool = True  # whether the seed matters
    atol: float = 1e-10  # what rounding, other in each batch, makes of an image in double precision


def attacker(seed=0, smooth=False, **options):
    """A small meta attacker of random weights in double precision.

    With ReLUs that are never zero it is smooth, and rounding stays rounding. Else twenty steps of Adam may make
    a difference of 1e-15 one of 1e-2: the loop versions of the tests do so against themselves.
    """
    torch.manual_seed(seed)
    made = MetaAttacker(**{"channels": 1, "size": SIZE, "width": 0.1, **options}).double().eval()
    if smooth:
        for layer in made.layers[:-1]:
            nn.init.constant_(layer.bias, 8.0)  # the normalisation takes it out again
    return made


def victim(seed=0, channels=1, size=SIZE, classes=4):
    """A smooth network of random weights in double precision."""
    torch.manual_seed(seed)
    inside = 4 * ((size - 5) // 3 + 1) ** 2
    model = nn.Sequential(
        nn.Conv2d(channels, 4, 5, stride=3), nn.Tanh(), nn.Flatten(), nn.Linear(inside, classes)
    )
    with torch.no_grad():
        model[-1].weight *= 4
    return model.double().eval()


def pictures(n, seed=0, channels=1, size=SIZE, patch=True):
    """Random images; a patch of each is black, another white, or a tenth of the pixels, here and there."""
    images = torch.rand(
        n, channels, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    if patch:
        images[:, :, : size // 5], images[:, :, -size // 5 :, : size // 2] = 0, 1
        return images
    return ((images - 0.5) / 0.9 + 0.5).clamp(0, 1)  # no two surroundings alike: no ties among gradients


def pool():
    """Starts for hard-label attacks; their classes need not be the victim's."""
    return pictures(30, 77), torch.arange(30) % 4


def codec():
    torch.manual_seed(0)
    return AutoEncoder(1, SIZE, hidden=4).double()


ATTACKS = [  # one line an attack
    Case("ZOO", ZOO(lr=0.05, q=20, max_steps=25), cost=41),
    Case(
        "MetaAttack",
        MetaAttack(attacker(smooth=True), beta=0.1, q=20, m=3, fine_tune_steps=3, max_steps=20),
        cost=21,
        drawn=False,
    ),
    Case(
        "AutoZOOM bilinear",
        AutoZOOM(lr=0.05, max_steps=25, switch=10, refine=5, vectors=3),
        cost=2,
        refines=True,
        atol=1e-7,
    ),
    Case(
        "AutoZOOM",
        AutoZOOM(codec(), lr=0.3, max_steps=25, switch=10, refine=5, vectors=3),
        cost=2,
        refines=True,
        atol=1e-7,
    ),
    Case("Bandits", Bandits(eps=2.0, image_lr=0.2, fd_eta=0.1, exploration=0.1, max_steps=25), cost=3),
    Case("FW-black", FWBlack(eps=2.0, directions=5, lr=0.1, max_steps=20), cost=11),
    Case(
        "Decision boundary",
        DecisionBoundary(l2_goal=1.0, pool=pool(), starts=4, sideways=0.1, inwards=0.1, max_steps=60),
        cost=1,
        most=2,
        hard_label=True,
    ),
    Case(
        "Opt-attack",
        OptAttack(l2_goal=1.0, pool=pool(), starts=4, vectors=3, beta=0.1, max_steps=6),
        cost=1,
        most=4,
        hard_label=True,
    ),
]


@pytest.fixture(scope="session", params=ATTACKS, ids=lambda case: case.name)
def case(request):
    return request.param


@pytest.fixture(scope="session")
def room():
    """Nine images of a victim; the last is misclassified, those before it are not."""
    model, images = victim(), pictures(9)
    labels = model(images).argmax(1)
    labels[-1] = (labels[-1] + 1) % 4
    goals = {"untargeted": Goal(labels), "targeted": Goal(labels, (labels + 1) % 4)}
    return SimpleNamespace(model=model, images=images, labels=labels, goals=goals, goal=goals["untargeted"])


@pytest.fixture(scope="session")
def make():
    """The functions that make small things, for tests that need others than `room`."""
    return SimpleNamespace(victim=victim, pictures=pictures, attacker=attacker)


class Hook:
    """An independent witness: how many rows went through a model, and between what values."""

    def __init__(self, model):
        self.model, self.rows, self.low, self.high = model, 0, 1.0, 0.0

    def __enter__(self):
        self.handle = self.model.register_forward_hook(self._count)
        return self

    def _count(self, _, inputs, __):
        self.rows += len(inputs[0])
        self.low, self.high = min(self.low, inputs[0].min().item()), max(self.high, inputs[0].max().item())

    def __exit__(self, *_):
        self.handle.remove()


@pytest.fixture(scope="session")
def hook():
    return Hook
