"""The experiments' frames: complete, reproducible, on the images they should be on; the settings."""

import dataclasses
import inspect
import itertools
import re

import numpy as np
import pandas as pd
import pytest

from thesislib.datasets import fingerprint
from thesislib.memo import source_hash
from thesislib.meta_attack import attackers, attacks, codec, experiments, runs
from thesislib.meta_attack.attacks import ATTACKS
from thesislib.meta_attack.column import GOALS
from thesislib.meta_attack.columns import REDUCED, STAND_INS, THESIS, column_of
from thesislib.meta_attack.networks import source_seed
from thesislib.meta_attack.runs import attack_rows, chosen_images, victim_of
from thesislib.meta_attack.settings import (
    HARD_LABEL,
    LONG,
    METHODS,
    MOST,
    PROFILES,
    REPLAY,
    SEARCH,
    grids,
    resolve,
)
from thesislib.settings import SettingsError


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THESISLIB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def cells(grid):
    """All rows that a grid or its blocks ask for, as text."""
    blocks = grid if isinstance(grid, list) else [grid]
    return sorted(tuple(map(str, row)) for block in blocks for row in itertools.product(*block.values()))


@pytest.mark.usefixtures("book_cache")
@pytest.mark.parametrize("artefact", sorted(grids(PROFILES["smoke"])))
def test_frames_have_one_row_for_each_key_and_nothing_missing(artefact):
    settings = resolve("smoke")
    grid = grids(settings)[artefact]
    frame = getattr(experiments, artefact.replace("-", "_").replace(".", "_").lower())(settings)
    keys = list(grid[0] if isinstance(grid, list) else grid)
    assert sorted(tuple(map(str, row)) for row in frame[keys].itertuples(index=False)) == cells(grid)
    assert np.isfinite(frame.select_dtypes("number").to_numpy()).all()


def test_one_run_feeds_every_artefact_and_a_shard_or_a_replay_repeats_it(monkeypatch):
    from thesislib.meta_attack import runs, settings

    assert runs.BATCH == settings.BATCH
    # Batches of one, so that images make a batch here; in float32 a batch is repeated as a whole or not at all.
    monkeypatch.setattr(runs, "BATCH", 1)
    monkeypatch.setattr(settings, "BATCH", 1)
    whole = experiments.tab_2_4(resolve("smoke", images=3))
    curve = experiments.fig_2_1(resolve("smoke", images=3)).query("goal == 'untargeted'")
    assert whole["queries"].tolist() == curve["queries"].tolist()
    replay = experiments.tab_2_4(resolve("smoke", images=2))
    shard = experiments.tab_2_4(resolve("smoke", images=3, first=1, last=3, methods=("ZOO",)))
    assert replay.equals(whole.query("image < 2").reset_index(drop=True))
    assert shard.equals(whole.query("method == 'ZOO' and image >= 1").reset_index(drop=True))


def test_shards_and_replays_are_whole_batches():
    with pytest.raises(SettingsError, match="first = 10 is no multiple of 25"):
        resolve("paper", first=10)
    with pytest.raises(SettingsError, match="first = 50, but the first of images = 50"):
        resolve("paper", images=50, first=50)
    assert all(REPLAY[name] % 25 == 0 for name in ("images", "sweep_images", "cosine_images"))
    assert resolve("paper", reduced=True, first=25, last=75).window("Opt-attack", "mnist") == range(25, 50)
    assert resolve("paper", reduced=True, images=300).window("Meta attack", "mnist") == range(300)


def test_the_search_sees_no_reported_image():
    settings = resolve("laptop")
    case = experiments.case_of(resolve("smoke"), "digits", "ZOO", "untargeted")
    reported = chosen_images(case, range(settings.images))[2]
    searched = chosen_images(case, range(settings.search_images), held_out=True)[2]
    assert not set(reported) & set(searched)
    assert searched == sorted(searched, reverse=True), "of a small set, the last"
    labels = chosen_images(case, range(5))[1]
    assert reported == sorted(reported) and len(set(reported)) == settings.images and len(labels) == 5


def test_of_a_large_set_the_search_sees_what_follows_the_reported_images(monkeypatch):
    monkeypatch.setattr(runs, "REPORTED", 60)
    case = experiments.case_of(resolve("smoke"), "digits", "ZOO", "untargeted")
    reported = chosen_images(case, range(60))[2]
    searched = chosen_images(case, range(40), held_out=True)[2]
    assert searched == sorted(searched) and min(searched) > max(reported)


def test_a_search_on_reported_images_is_refused():
    with pytest.raises(SettingsError, match=r"images = 250 and search_images = 40 have .* in common"):
        experiments.extra_2_b(resolve("smoke", images=250, search_images=40))
    with pytest.raises(SettingsError, match="images = 1001 is out of range"):
        resolve("paper", images=1001)


def test_under_a_budget_no_attack_has_a_last_step_of_its_own():
    for profile in ("laptop", "paper"):
        for dataset in ("digits", "cifar10", "tiny_imagenet18"):
            settings = resolve(profile, dataset=dataset, budget=777)
            for method in settings.methods_for(dataset, "untargeted"):
                case = experiments.case_of(settings, dataset, method, "untargeted")
                assert "max_steps" not in dict(case.options) and ATTACKS[method].max_steps is None


def test_the_meta_attacker_is_chosen_on_no_reported_image_and_its_sources_do_not_begin_as_the_victim():
    import torch

    settings = resolve("smoke")
    case, images = (
        experiments.case_of(settings, "digits", "Meta attack", "untargeted"),
        resolve("laptop").images,
    )
    reported = chosen_images(case, range(images))[0].flatten(1)
    maps = attackers._task("digits", case.learning, 0, "held out", case.seed, "cpu")[0]
    assert len(maps[0]) == attackers.HELD_OUT
    assert not (torch.cdist(reported, maps[0].flatten(1)) == 0).any()

    assert len({case.seed, *(source_seed(case.seed, k) for k in range(9))}) == 10
    learnt_from = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attackers, "network", lambda *how: learnt_from.append(how[-2]) or victim_of(case))
        for k in range(len(case.learning.sources)):
            attackers._task("digits", case.learning, k, "trained", case.seed, "cpu")
    assert learnt_from == [source_seed(case.seed, k) for k in range(len(case.learning.sources))]


def test_more_images_than_there_are_is_said():
    case = experiments.case_of(resolve("smoke"), "digits", "ZOO", "untargeted")
    with pytest.raises(ValueError, match="test images that Net4 classifies correctly"):
        attack_rows(case, range(400, 401))


def test_pictures_survive_packing():
    import torch

    image = torch.rand(3, 5, 4)
    np.testing.assert_allclose(experiments.unpacked(experiments.packed(image)), image, atol=5e-4)


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_similarities_are_asked_of_the_images_that_the_grid_has(profile, monkeypatch):
    settings, asked = resolve(profile), []

    def rows(case, images):
        asked.append(images)
        cells = itertools.product(grids(settings)["tab-2.6"]["method"], range(images))
        return pd.DataFrame(cells, columns=["method", "image"]).assign(cosine=0.0, queries=0)

    monkeypatch.setattr(experiments.analysis, "similarity_rows", rows)
    frame = experiments.tab_2_6(settings)
    assert len(frame) == len(cells(grids(settings)["tab-2.6"])) and len(set(asked)) == 1
    assert all(count <= MOST.get(name, count) for name, count in zip(settings.dataset, asked, strict=True))


def test_the_thesis_counts_by_formula():
    # Success at step 10 with q 128 and m 5: one fine-tuning is charged, 138 queries; ZOO: 256 a step.
    assert attacks.thesis_queries("Meta attack", 10, 0, {}) == 138
    assert attacks.thesis_queries("Meta attack", 11, 0, {}) == 267
    assert attacks.thesis_queries("Meta attack", 7, 0, {"q": 500, "m": 3, "sides": 2}) == 1007
    assert attacks.thesis_queries("ZOO", 85, 0, {}) == 21_760
    assert attacks.thesis_queries("Bandits", 85, 77, {}) == 77


def test_names_in_the_settings_are_those_of_the_attacks():
    assert attacks.METHODS == METHODS and set(SEARCH) <= set(METHODS) and set(LONG) <= set(METHODS)
    assert set(HARD_LABEL) == {m for m in METHODS if "l2_goal" in attacks.ATTACKS[m].__dataclass_fields__}
    for column in [*STAND_INS.values(), *REDUCED.values(), *THESIS.values()]:
        for method, goal, name, _ in column.options:
            fields = {*attacks.ATTACKS[method].__dataclass_fields__, "codec"}
            assert name in fields and goal in ("", *GOALS), (method, name)
        sources = {(n.name, n.width) for n in column.learning.sources}
        assert (column.victim.name, column.victim.width) not in sources
        assert column.learning.images >= column.learning.reptile.batch
    for method, candidates in SEARCH.items():
        for text in candidates:
            assert re.split("[=*]", text)[0] in {*attacks.ATTACKS[method].__dataclass_fields__, "codec"}


def test_a_candidate_of_the_search_is_a_value_or_a_multiple_of_the_one_in_use():
    settings = resolve("laptop")
    zoo = experiments.case_of(settings, "digits", "ZOO", "untargeted")
    assert experiments._candidate(zoo, "lr*0.5") == ("lr", dict(zoo.options)["lr"] / 2)
    ours = experiments.case_of(
        settings.override(reduced=True, dataset=("mnist",)), "mnist", "Meta attack", "untargeted"
    )
    assert experiments._candidate(ours, "beta*2") == (
        "beta",
        0.02,
    )  # of the class's own, which the column leaves
    assert experiments._candidate(ours, "q*0.5") == ("q", 64) and isinstance(
        experiments._candidate(ours, "q*2")[1], int
    )
    assert experiments._candidate(zoo, "codec=bilinear") == ("codec", "bilinear")
    assert [experiments._candidate(zoo, text)[1] for text in ("c=5.0", "q=64")] == [5.0, 64]
    for dataset in (
        "digits",
        "glyphs",
    ):  # the data set in use is the first: all its methods, the hard-label ones too
        for method in settings.methods_for(dataset, "untargeted"):
            case = experiments.case_of(settings, dataset, method, "untargeted")
            for text in SEARCH.get(method, ()):
                assert experiments._candidate(case, text)[1], (method, text)


def test_thesis_columns_have_the_released_settings():
    full = resolve("paper")
    assert full.images == 1000 and not full.reduced
    q_m_beta = {d: full.options_of("Meta attack", d, "untargeted") for d in full.dataset}
    assert "q" not in q_m_beta["mnist"]  # the class's own: 128, 5, 0.01
    assert (q_m_beta["cifar10"]["q"], q_m_beta["cifar10"]["m"]) == (125, 3)
    assert (q_m_beta["tiny_imagenet18"]["q"], q_m_beta["tiny_imagenet18"]["beta"]) == (500, 0.006)
    assert full.options_of("Meta attack", "tiny_imagenet18", "targeted")["beta"] == 0.01
    assert resolve("paper", q=64).options_of("Meta attack", "cifar10", "untargeted")["q"] == 64
    assert resolve("paper", q=64).options_of("ZOO", "mnist", "untargeted").get("q") is None


def test_a_folder_of_ones_own_takes_the_column_of_its_kind(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        np.savez(
            tmp_path / f"{split}.npz",
            images=rng.integers(0, 255, (20, 9, 9), np.uint8),
            labels=np.arange(20) % 4,
        )
    column = column_of(str(tmp_path), reduced=False)
    assert column.victim.name == "Net4" and column.stands_for == str(tmp_path) and not column.partner


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"dataset": "imagenet"}, "dataset = 'imagenet' is not one of digits"),
        ({"methods": ("PGD",)}, "methods = 'PGD'"),
        ({"beta": 0.0}, "out of range"),
        ({"images": 0}, "out of range"),
        ({"epsilon": 1}, "unknown parameter epsilon"),
    ],
)
def test_bad_settings_are_refused(values, words):
    with pytest.raises(SettingsError, match=words):
        resolve("laptop", **values)


def test_the_trained_decoder_and_the_partners_data_are_in_the_key_of_what_is_made_with_them(monkeypatch):
    of = {name: inspect.getfile(ATTACKS[name]) for name in ("ZOO", "AutoZOOM")}
    assert runs.source_of.__wrapped__("ZOO") == source_hash(of["ZOO"])
    assert runs.source_of.__wrapped__("AutoZOOM") == source_hash(of["AutoZOOM"], codec.__file__)
    seen = []
    monkeypatch.setattr(runs, "_rows", lambda *words: seen.append(words[-1]) or {"image": [0]})
    case = runs.Case("digits", None, None, "ZOO", "untargeted", ())
    other = dataclasses.replace(case, partner=("glyphs", None))
    for one in (case, other):
        runs.attack_rows(one, range(1))
    assert seen == [runs.source_of("ZOO"), runs.source_of("ZOO") + fingerprint("glyphs")]
