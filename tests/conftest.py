"""Random examples differ from run to run on a desk, where a new failure is welcome, and not in CI; nowhere are they timed,
since on a busy machine that would fail a test that found nothing."""

import os

from hypothesis import settings

settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")
