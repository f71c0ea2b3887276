"""What a chapter's settings accept, what they refuse, and the seeds they hand out."""

import dataclasses
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thesislib.dual_phase import settings as dual_phase
from thesislib.heterotopic import settings as heterotopic
from thesislib.settings import PROFILES, ChapterSettings, SettingsError, resolve, setting


@dataclass(frozen=True, kw_only=True)
class Settings(ChapterSettings):
    dataset: tuple[str, ...] = setting(("a",), choices=("a", "b", "c"))
    size: int = setting(3, low=1, high=9)
    rate: float = setting(0.5, low=0.0, high=2.0)
    limit: float | None = setting(None, low=1.0)
    grid: tuple[float, ...] = setting((1.0,), low=0.0, high=10.0)
    fast: bool = setting(False)
    extras: tuple[float, ...] = setting(())
    label: str = setting("plain", choices=("plain", "bold"))


OWN = {name: Settings(profile=name) for name in PROFILES}
roots = st.integers(0, 2**63)


@pytest.mark.parametrize(
    ("given_", "held"),
    [
        ({"size": 1}, 1),
        ({"size": 9}, 9),
        ({"rate": 2}, 2.0),
        ({"limit": 3}, 3.0),
        ({"limit": None}, None),
        ({"grid": [1, 2.5]}, (1.0, 2.5)),
        ({"grid": 4}, (4.0,)),
        ({"extras": ()}, ()),
        ({"dataset": "b"}, ("b",)),
        ({"dataset": ["c", "a"]}, ("c", "a")),
        ({"fast": True}, True),
        ({"label": "bold"}, "bold"),
    ],
)
def test_what_is_accepted_and_how_it_is_held(given_, held):
    (name,) = given_
    value = getattr(Settings(**given_), name)
    assert value == held
    assert type(value) is type(held)  # an int is promoted where a float is declared, and 1 == True otherwise
    if isinstance(held, tuple):
        assert [type(v) for v in value] == [type(v) for v in held]


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"size": 0}, "size = 0 is out of range: 1 <= size <= 9"),
        ({"size": 10}, "size = 10 is out of range: 1 <= size <= 9"),
        ({"size": True}, "size = True is bool, expected int"),
        ({"size": 3.0}, "size = 3.0 is float, expected int"),
        ({"size": "3"}, "size = '3' is str, expected int"),
        ({"size": None}, "size = None is NoneType, expected int"),
        ({"rate": True}, "rate = True is bool, expected float"),
        ({"rate": "0.5"}, "rate = '0.5' is str, expected float"),
        ({"rate": float("nan")}, "rate = nan is out of range: 0.0 <= rate <= 2.0"),
        ({"rate": 2.0000001}, "out of range"),
        ({"limit": 0.5}, "limit = 0.5 is out of range: 1.0 <= limit"),
        ({"limit": float("nan")}, "limit = nan is out of range: 1.0 <= limit"),
        ({"limit": float("inf")}, "limit = inf; expected a finite number"),
        ({"extras": (1.0, float("-inf"))}, "extras = -inf; expected a finite number"),
        ({"extras": float("nan")}, "extras = nan; expected a finite number"),
        ({"grid": ()}, "grid is empty; give one or more"),
        ({"limit": "none"}, "limit = 'none' is str, expected float"),
        ({"grid": (1.0, 11.0)}, "grid = 11.0 is out of range: 0.0 <= grid <= 10.0"),
        ({"grid": (1.0, "2")}, "grid = '2' is str, expected float"),
        ({"grid": (1.0, 1)}, "names one of them twice"),
        ({"dataset": "d"}, "dataset = 'd' is not one of a, b, c"),
        ({"dataset": ("a", "d")}, "dataset = 'd' is not one of a, b, c"),
        ({"dataset": ("a", "a")}, "dataset = ['a', 'a'] names one of them twice"),
        ({"dataset": ()}, "dataset is empty; choose from a, b, c"),
        ({"fast": 1}, "fast = 1 is int, expected bool"),
        ({"label": "loud"}, "label = 'loud' is not one of plain, bold"),
        ({"profile": "huge"}, "profile = 'huge' is not one of smoke, laptop, paper"),
        ({"seed": -1}, "seed = -1 is out of range: 0 <= seed"),
        ({"repeats": 0}, "repeats = 0 is out of range: 1 <= repeats"),
        ({"device": "abacus"}, "device = 'abacus' is not one of"),
    ],
)
def test_what_is_refused_and_what_is_said(given_, said):
    with pytest.raises(SettingsError) as refused:
        Settings(**given_)
    assert said in str(refused.value)


@given(st.integers() | st.floats() | st.booleans() | st.text(max_size=3) | st.none())
def test_a_bounded_number_is_inside_its_bounds_or_refused(value):
    try:
        held = Settings(rate=value).rate
    except SettingsError:
        inside = type(value) in (int, float) and 0 <= value <= 2
        assert not inside
    else:
        assert type(held) is float and 0 <= held <= 2 and held == value


def test_resolve_takes_the_profile_and_the_readers_changes():
    run = resolve(OWN, "smoke", size=7, rate=None, dataset=["c"])
    assert (run.profile, run.size, run.rate, run.dataset) == ("smoke", 7, 0.5, ("c",))
    assert OWN["smoke"].size == 3
    assert resolve(OWN, "paper") == OWN["paper"]


@pytest.mark.parametrize(
    ("profile", "values", "said"),
    [
        ("tiny", {}, "profile = 'tiny' is not one of smoke, laptop, paper"),
        ("smoke", {"sise": 3, "wat": None}, "unknown parameter sise, wat; known: profile, dataset, seed"),
        ("smoke", {"size": 99}, "size = 99 is out of range"),
    ],
)
def test_resolve_refuses(profile, values, said):
    with pytest.raises(SettingsError) as refused:
        resolve(OWN, profile, **values)
    assert said in str(refused.value)


def test_settings_cannot_change_after_they_were_checked():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().size = 100


@given(roots, roots.filter(bool), st.integers(1, 12))
def test_two_roots_share_no_seed(first, step, repeats):
    one = ChapterSettings(seed=first, repeats=repeats).seeds()
    two = ChapterSettings(seed=first + step, repeats=repeats).seeds()
    assert len(set(one) | set(two)) == 2 * repeats


def test_a_thousand_neighbouring_roots_share_no_seed():
    """Roots that people type: 0, 1, 2 ... A birthday collision among 5000 of 2**32 values has chance 0.3 %."""
    seeds = [s for root in range(1000) for s in ChapterSettings(seed=root).seeds()]
    assert len(set(seeds)) == 5000


@given(roots, st.integers(1, 20), st.integers(1, 20))
def test_a_shorter_run_replays_the_start_of_a_longer_one(root, few, more):
    few, more = sorted((few, more))
    short, long = ChapterSettings(seed=root, repeats=few), ChapterSettings(seed=root, repeats=more)
    assert short.seeds() == long.seeds()[:few]
    rest = ChapterSettings(seed=root, repeats=more - few + 1, first_repeat=few - 1)
    assert rest.seeds() == long.seeds()[few - 1 :]
    assert len(set(long.seeds())) == more


@pytest.mark.parametrize("chapter", [dual_phase, heterotopic])
def test_a_field_that_would_do_nothing_is_refused(chapter):
    """Another hash, the same trainings at their full length: not what `-p epochs 2` asks for."""
    with pytest.raises(SettingsError, match="epochs = 2 does nothing on digits_lt; it is of cifar"):
        chapter.resolve("laptop", dataset=["digits_lt"], epochs=2)
    assert chapter.resolve("laptop", dataset=["digits_lt"], epochs=40).epochs == 40
    assert chapter.resolve("paper", epochs=2).epochs == 2
