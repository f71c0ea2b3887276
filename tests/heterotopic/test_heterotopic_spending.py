"""Training images as the cost page counts them are those that went through the network."""

import pytest

from thesislib import memo
from thesislib.companion import making
from thesislib.heterotopic import runs
from thesislib.heterotopic.pool import found
from thesislib.heterotopic.settings import BASE, BEFORE, OURS, OURS_CRT, resolve
from thesislib.heterotopic.spending import training_images
from thesislib.heterotopic.views import StrongView
from thesislib.longtail import CropFlip

SMOKE = resolve("smoke")


@pytest.mark.parametrize("method", [BASE, "cRT", BEFORE, OURS, OURS_CRT])
def test_counts_are_what_the_first_view_saw(tmp_path, monkeypatch, method):
    monkeypatch.setenv("THESISLIB_CACHE", str(tmp_path))
    monkeypatch.setattr(memo, "calls", {})
    seen = {"weak": 0, "strong": 0}

    def counting(kind, view):
        def call(self, images, generator):
            seen[kind] += len(images)
            return view(self, images, generator)

        return call

    monkeypatch.setattr(CropFlip, "__call__", counting("weak", CropFlip.__call__))
    monkeypatch.setattr(StrongView, "__call__", counting("strong", StrongView.__call__))
    found(SMOKE, "digits_lt", method, 3)
    # Self-supervision alone has two strong views of each image, and no weak one.
    images = seen["weak"] + (seen["strong"] // 2 if method == BEFORE else 0)
    assert making.spent().images == images > 0


def test_a_training_that_two_results_share_counts_once(monkeypatch):
    from thesislib.heterotopic.pool import case

    monkeypatch.setattr(memo, "calls", {})
    plain, finished = (case(SMOKE, "digits_lt", m, 3) for m in (BASE, "cRT"))
    assert plain[0] == finished[0]
    for k, (training, finish) in enumerate((plain, finished, plain)):
        arguments = {"dataset": "digits_lt", "training": training, "finish": finish}
        memo.calls[str(k)] = f"{runs.__name__}.measured", arguments
    assert making.spent().images == sum(training_images("digits_lt", *finished).values())
