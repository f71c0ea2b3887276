"""Small victims of clips, motion maps, and the attacks that every test of `test_clip_contract.py` is run for."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from thesislib.blackbox import Goal
from thesislib.motion_sampler.bandits import EBandits
from thesislib.motion_sampler.me_sampler import MESampler
from thesislib.motion_sampler.nes import ENES
from thesislib.motion_sampler.sampler import NoiseSampler
from thesislib.motion_sampler.vbad import VBAD

FRAMES, SIZE, CLASSES = 4, 8, 4
KAPPA = 0.1  # a random network's answer takes more to turn than a trained one's


def victim(seed=0):
    """A smooth network of random weights in double precision, on clips."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv3d(3, 4, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 1 * 3 * 3, CLASSES)
    )
    with torch.no_grad():
        model[-1].weight *= 4
    return model.double().eval()


def clips(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = torch.rand(n, 3, FRAMES, SIZE, SIZE, generator=generator, dtype=torch.float64)
    made[:, :, :, :2] = 0  # a border at black
    return made


def motion_maps(n, maps=2, seed=0):
    """Random vectors, constant on blocks of two pixels."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(-2, 4, (n, maps, SIZE // 2, SIZE // 2, 2), generator=generator)
    return list(blocks.repeat_interleave(2, 2).repeat_interleave(2, 3))


def image_model():
    torch.manual_seed(3)
    return (
        nn.Sequential(nn.Conv2d(3, 5, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(45, 7)).double().eval()
    )


@dataclass(frozen=True)
class Case:
    name: str
    attack: object
    cost: int  # queries of an iteration, its check included
    loss: str = "flicker"
    start: int = 0  # queries before the first one, the clean clip's apart; untargeted


def cases():
    maps, own = motion_maps(9), {"loss": "flicker", "kappa": KAPPA}
    me = {"step": 0.03, "prior_lr": 1.0, "max_steps": 30, **own}
    return [
        Case("look-up", MESampler(maps, NoiseSampler(period=3), **me), 3),
        Case("warp", MESampler(maps, NoiseSampler("warp", "per frame"), **me), 3),
        Case("one-noise", MESampler(noise=NoiseSampler("one-noise"), **me), 3),
        Case("multi-noise", MESampler(noise=NoiseSampler("multi-noise"), **me), 3),
        Case("E-NES", ENES(samples=5, step=0.03, max_steps=10, **own), 11),
        Case("E-Bandits", EBandits(tile=4, step=0.03, max_steps=30, **own), 3),
        Case("E-Bandits plain", EBandits(4, True, False, prior_lr=1.0, step=0.03, max_steps=30, **own), 3),
        Case("V-BAD", VBAD(image_model(), examples=dict(enumerate(clips(4, 5))), split=4, samples=4, step=0.03,
                           patience=3, max_steps=10, **own), 9, start=1),
    ]  # fmt: skip


@pytest.fixture(scope="session", params=cases(), ids=lambda case: case.name)
def case(request):
    return request.param


@pytest.fixture(scope="session")
def room():
    """Nine clips of a victim; the last is misclassified, those before it are not."""
    model, images = victim(), clips(9)
    labels = model(images).argmax(1)
    labels[-1] = (labels[-1] + 1) % CLASSES
    goals = {"untargeted": Goal(labels), "targeted": Goal(labels, (labels + 1) % CLASSES)}
    return SimpleNamespace(model=model, images=images, labels=labels, goals=goals, goal=goals["untargeted"])


@pytest.fixture(scope="session")
def make():
    return SimpleNamespace(victim=victim, clips=clips, maps=motion_maps, image_model=image_model)
