"""A classifier small enough for double precision, and an ensemble around it."""

import pytest
import torch
from torch import nn

from thesislib.heterotopic.ensemble import HeterotopicEnsemble, cut
from thesislib.heterotopic.filters import LastStage, make_filter
from thesislib.models.residual import cifar_resnet
from thesislib.training import seeded

WIDTHS = (4, 6, 8)


def _classifier(seed=0, classes=3, channels=3):
    return seeded(seed, lambda: cifar_resnet(8, classes, channels, WIDTHS))


def _around(model, preset="residual block", ssl="MoCo v2", seed=1, size=8, **options):
    """An ensemble around a classifier's own modules."""
    body, last, head = cut(model, size)
    stage = LastStage("basic", WIDTHS[1], WIDTHS[2], 1, 2)
    private = preset == "private stage"
    options = ({"queue": 16} if ssl == "MoCo v2" else {}) | options

    def make():
        return HeterotopicEnsemble(
            body if private else nn.Sequential(*body, *last),
            head[-1],
            filter=make_filter(preset, stage) if preset else nn.Identity(),
            channels=WIDTHS[2],
            stage=last if private else None,
            ssl=ssl,
            dim=8,
            **options,
        )

    return seeded(seed, make)


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (40, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return images, torch.arange(40) % 3


@pytest.fixture
def classifier():
    return _classifier


@pytest.fixture
def around():
    return _around
