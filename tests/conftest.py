"""Random examples differ from run to run on a desk, where a new failure is welcome, and not in CI; nowhere are they timed,
since on a busy machine that would fail a test that found nothing."""

import os

import pytest
from hypothesis import settings

settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")


@pytest.fixture
def book_cache(monkeypatch):
    """The cache of the book. Where its smoke profile was made before, as in CI, a test of all frames repeats no run."""
    monkeypatch.delenv("THESISLIB_CACHE", raising=False)


@pytest.fixture
def half_way(monkeypatch):
    """Every training is killed once, after half of its epochs; the list has the file and number of each epoch trained."""
    from thesislib.checkpoints import Checkpoint

    save, epochs, died = Checkpoint.save, [], set()

    def dies(self, *args, rows, **rest):
        save(self, *args, rows=rows, **rest)
        epochs.append((self.path, len(rows)))
        if 2 * len(rows) >= self.run["epochs"] and self.path not in died:
            died.add(self.path)
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", dies)
    return epochs
