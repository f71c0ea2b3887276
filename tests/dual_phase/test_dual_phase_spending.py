"""Training images as the cost page counts them are those that went through the network."""

import pytest

from thesislib import memo
from thesislib.companion import making
from thesislib.dual_phase.pool import found
from thesislib.dual_phase.settings import resolve
from thesislib.longtail import CropFlip

SMOKE = resolve("smoke")


@pytest.mark.parametrize(
    "method",
    [
        "CE",
        "tau-norm",
        "cRT",
        "LWS",
        "Linear probe",
        "Head probe",
        "Joint, then phase II",
        "Joint, same phase II",
        "Dual-phase",
    ],
)
def test_counts_are_what_the_augmentation_saw(tmp_path, monkeypatch, method):
    monkeypatch.setenv("THESISLIB_CACHE", str(tmp_path))
    monkeypatch.setattr(memo, "calls", {})
    view, seen = CropFlip.__call__, []

    def counting(self, images, generator):
        seen.append(len(images))
        return view(self, images, generator)

    monkeypatch.setattr(CropFlip, "__call__", counting)
    found(SMOKE, "digits_lt", method, 3)
    assert making.spent().images == sum(seen) > 0
