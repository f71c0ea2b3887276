"""Random examples differ from run to run on a desk, where a new failure is welcome, and not in CI."""

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
