"""A cache of the tests' own: they neither use nor fill the user's."""

import pytest


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("dual-phase")


@pytest.fixture
def own_cache(cache, monkeypatch):
    monkeypatch.setenv("THESISLIB_CACHE", str(cache))
