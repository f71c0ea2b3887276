"""The experiments' frames: complete, reproducible, made of the trainings that they say; the settings."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from thesislib import sources
from thesislib.companion import records
from thesislib.datasets.longtail import TAILS, longtail_counts
from thesislib.dual_phase.columns import cifar as dual_cifar
from thesislib.dual_phase.pool import found as dual_found
from thesislib.dual_phase.settings import resolve as dual_resolve
from thesislib.heterotopic import (
    experiments,
    filters,
    mutual_information,
    observation,
    pool,
    self_supervision,
)
from thesislib.heterotopic.claims import CLAIMS
from thesislib.heterotopic.columns import STAND_INS, THESIS, cifar
from thesislib.heterotopic.pool import case, found
from thesislib.heterotopic.runs import Training, ensemble, fresh, in_turn, network, pretrained, trained
from thesislib.heterotopic.settings import (
    BASE,
    BEFORE,
    BOUNDS,
    CLASSES,
    FEATURES,
    FILTERS,
    GENERIC,
    METHODS,
    OURS,
    OURS_CRT,
    PROFILES,
    SHARED,
    SSL,
    VARIANTS,
    grids,
    resolve,
)
from thesislib.longtail.images import images_of
from thesislib.settings import SettingsError

SMOKE = resolve("smoke")


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THESISLIB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def cells(grid):
    blocks = grid if isinstance(grid, list) else [grid]
    return sorted(tuple(map(str, row)) for block in blocks for row in itertools.product(*block.values()))


@pytest.mark.usefixtures("book_cache")
@pytest.mark.parametrize("artefact", sorted(grids(SMOKE)))
def test_frames_have_one_row_for_each_key_and_nothing_missing(artefact):
    if not hasattr(experiments, name := artefact.replace("-", "_").replace(".", "_").lower()):
        pytest.skip("made in the notebook, of two chapters")
    grid, frame = grids(SMOKE)[artefact], getattr(experiments, name)(SMOKE)
    keys = list(grid[0] if isinstance(grid, list) else grid)
    assert sorted(tuple(map(str, row)) for row in frame[keys].itertuples(index=False)) == cells(grid)
    assert np.isfinite(frame.select_dtypes("number").to_numpy()).all()
    assert frame.notna().to_numpy().all()


def test_a_part_of_figure_5_1_has_the_pairs_of_the_whole(monkeypatch):
    """Each of five classifiers is in two pairs, and only the root's first seed has its features inverted."""

    def observed(dataset, pair, before, *, inverted, **rest):
        seeds = [training.seed for training in (*pair, before)]
        return [
            dict.fromkeys(("feature", "image", "overlap", "label", "original"), 0)
            | {"found": (seeds, inverted)}
        ]

    monkeypatch.setattr(experiments, "observed", observed)
    whole = resolve("laptop")
    frame = experiments.fig_5_1(whole)
    pairs = [seeds[:2] for seeds, _ in frame["found"]]
    assert sorted(s for pair in pairs for s in pair) == sorted(2 * list(whole.seeds()))
    assert all(len(set(pair)) == 2 for pair in pairs)
    assert [inverted for _, inverted in frame["found"]] == [whole.inverted, 0, 0, 0, 0]
    for start, count in ((0, 1), (1, 3), (4, 1)):
        part = experiments.fig_5_1(resolve("laptop", first_repeat=start, repeats=count))
        assert part["found"].tolist() == frame["found"].tolist()[start : start + count]


def test_names_in_the_settings_are_those_of_the_methods():
    assert set(SSL) == set(self_supervision.METHODS) and set(BOUNDS) == set(mutual_information.BOUNDS)
    assert FILTERS == filters.PRESETS and FEATURES == observation.FEATURES


def test_the_variants_differ_in_what_they_are_named_for():
    (seed, *_) = SMOKE.seeds()
    made = {m: case(SMOKE, "digits_lt", m, seed)[0] for m in (*VARIANTS, *METHODS)}
    plain = {name: getattr(made[BASE], name) for name in Training.__dataclass_fields__}
    for name, training in made.items():
        theirs = {field: getattr(training, field) for field in plain}
        assert {k for k in plain if plain[k] != theirs[k]} <= {"attached", "loss"}, name
    assert made[BASE].attached is None and made["cRT"] == made[BASE]
    assert made[OURS] == made[OURS_CRT] and made[OURS].attached.bound and made[OURS].attached.filter
    assert made[GENERIC].attached.filter and made[GENERIC].attached.bound is None
    assert not made[SHARED].attached.filter and made[SHARED].attached.bound is None
    assert made[BEFORE].attached.before and not made[BEFORE].attached.filter
    changed = case(SMOKE, "digits_lt", GENERIC, seed, bound="CLUB", ssl="rotation")[0].attached
    assert changed.bound is None and changed.ssl == "rotation" and not changed.options


def test_all_variants_start_from_the_same_classifier_and_what_is_attached_leaves_it():
    training = case(SMOKE, "digits_lt", OURS, 7)[0]
    base = fresh("digits_lt", case(SMOKE, "digits_lt", BASE, 7)[0])
    mine = fresh("digits_lt", training)
    ensemble(mine, training.attached, size=8, seed=7)
    assert all(
        torch.equal(a, b) for a, b in zip(base.state_dict().values(), mine.state_dict().values(), strict=True)
    )
    other = fresh("digits_lt", case(SMOKE, "digits_lt", BASE, 8)[0])
    assert not torch.equal(base[1].weight, other[1].weight)


def test_what_is_kept_of_a_training_is_the_classifier_it_tells_of():
    (seed, *_) = SMOKE.seeds()
    training = case(SMOKE, "digits_lt", OURS, seed)[0]
    model = network("digits_lt", training)
    data = images_of("digits_lt", None)
    with torch.no_grad():
        right = model(data["test"].float() / 255).argmax(1) == data["test_labels"]
    by_class = [right[data["test_labels"] == k].double().mean().item() for k in range(10)]
    assert found(SMOKE, "digits_lt", OURS, seed)["by class"] == pytest.approx(by_class)
    assert set(trained("digits_lt", training)["weights"]) == set(model.state_dict())


def test_initialisation_starts_at_a_rate_of_its_own_and_its_spread_is_the_first_stage_s():
    frame = experiments.fig_5_3(SMOKE).set_index(["method", "seed"])
    column = SMOKE.column("digits_lt")
    for seed in SMOKE.seeds():
        training, _ = case(SMOKE, "digits_lt", BEFORE, seed)
        assert training.attached.before == column.alone and training.recipe == column.recipe
        other, _ = case(SMOKE, "digits_lt", BEFORE, seed, rate=0.5)
        assert (
            other.attached.before == dataclasses.replace(column.alone, lr=0.5)
            and other.recipe == column.recipe
        )
        first = pretrained("digits_lt", training)
        assert any(
            not torch.equal(weights, first["weights"][name])
            for name, weights in pretrained("digits_lt", other)["weights"].items()
        )
        row = frame.loc[BEFORE, seed]
        assert row["spread"] == pytest.approx(first["history"]["spread"][-1], rel=1e-4) and row["spread"] > 0
        ours = trained("digits_lt", case(SMOKE, "digits_lt", OURS, seed)[0])["history"]
        assert frame.loc[OURS, seed]["spread"] == pytest.approx(ours["spread"][-1], rel=1e-4)
        assert frame.loc[BASE, seed]["spread"] == 0


def test_shared_runs_are_the_same_numbers():
    table, bars = experiments.tab_5_5(SMOKE), experiments.fig_5_5(SMOKE)
    mine = table[table["method"].isin((BASE, OURS))].reset_index(drop=True)
    both = mine.merge(bars, on=["dataset", "method", "seed", "shot"], suffixes=("", " bars"))
    assert len(both) == len(bars) and (both["accuracy"] == both["accuracy bars"]).all()
    first = experiments.tab_5_5(resolve("smoke", repeats=1))
    seeds = set(first["seed"])
    assert first.equals(table[table["seed"].isin(seeds)].reset_index(drop=True))


@pytest.mark.parametrize("profile", PROFILES)
def test_a_sweep_passes_through_the_weight_in_use(profile):
    settings = PROFILES[profile]
    assert settings.weight(settings.dataset[0], OURS, settings.ssl) in settings.sweep_lam


def test_a_sweep_at_the_weight_in_use_is_the_method():
    sweep, bars = experiments.fig_5_4(SMOKE), experiments.fig_5_5(SMOKE)
    for value, method in ((0.0, BASE), (SMOKE.weight("digits_lt", OURS, SMOKE.ssl), OURS)):
        mine = sweep[sweep["lambda"] == value]["accuracy"].tolist()
        assert mine == bars[bars["method"] == method]["accuracy"].tolist()


def test_reliability_sums_to_the_calibration_error():
    frame = experiments.fig_5_7(SMOKE)
    for _, part in frame.groupby(["dataset", "method", "seed"]):
        assert (part["share"] * part["gap"].abs()).sum() == pytest.approx(part["ECE 15"].iloc[0], abs=1e-3)


def test_tables_of_layers_add_up_to_the_modules():
    for identity, backbones in (("tab_5_1", ["ResNet-32"]), ("tab_5_3", ["ResNet-50", "ResNet-152"])):
        frame = getattr(experiments, identity)(SMOKE)
        for backbone in backbones:
            for preset in FILTERS:
                rows = frame[(frame["backbone"] == backbone) & (frame["preset"] == preset)]
                made = filters.make_filter(preset, filters.LAST_STAGES[backbone])
                assert rows["parameters"].sum() == sum(p.numel() for p in made.parameters())


def test_the_framework_s_parts_are_moved_by_what_they_should_be():
    frame = experiments.fig_5_2(SMOKE).set_index("part")
    moved = {part: tuple(row) for part, row in
             frame[["classification", "self-supervision", "mutual information"]].iterrows()}  # fmt: skip
    assert moved == {
        "trunk": (1, 1, 1),
        "classifier": (1, 0, 0),
        "Filter": (0, 1, 0),
        "MLP": (0, 1, 0),
        "self-supervised method": (0, 0, 0),  # MoCo's momentum encoder follows, nothing else
        "bound": (0, 0, 1),
    }
    assert frame["kept"].to_dict() == dict.fromkeys(frame.index, 0) | {"trunk": 1, "classifier": 1}


def test_a_stage_of_the_classifier_s_own_is_a_part_that_is_kept():
    settings = resolve("smoke", filter="private stage")
    frame = experiments.fig_5_2(settings).set_index("part")
    training, _ = case(settings, settings.dataset[0], OURS, settings.seeds()[0])
    joint = ensemble(fresh(settings.dataset[0], training), training.attached, size=12, seed=0)
    assert frame["kept"].sum() == 3 and frame.loc["classifier's stage", "self-supervision"] == 0
    kept = frame.query("kept == 1")["parameters"].sum()
    assert kept == sum(p.numel() for p in joint.exported().parameters())


def test_images_come_class_by_class_in_turn():
    labels = torch.tensor([2, 0, 1, 0, 2, 1, 0])
    assert labels[in_turn(labels, 7)].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert in_turn(labels, 4).tolist() == [1, 2, 0, 3]
    with pytest.raises(ValueError, match="8 images of 7"):
        in_turn(labels, 8)


def test_pictures_survive_being_text():
    image = torch.randint(256, (3, 4, 5)) / 255
    assert np.allclose(observation.unpacked(observation.packed(image)), image, atol=1e-6)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"lam": -1.0}, "lam = -1.0 is out of range: 0 <= lam"),
        ({"ssl": "SimCLR"}, "ssl = 'SimCLR' is not one of MoCo v2, rotation"),
        ({"bound": "MINE"}, "bound = 'MINE' is not one of variational Gaussian"),
        ({"filter": "none"}, "filter = 'none' is not one of residual block"),
        ({"dataset": "cifar10"}, "dataset = 'cifar10' is not one of digits_lt, glyphs_lt, cifar10_lt"),
    ],
)
def test_settings_refuse_what_is_not_known(values, message):
    with pytest.raises(SettingsError, match=message):
        resolve("laptop", **values)


def test_queues_are_shorter_than_their_data_sets():
    for name, column in STAND_INS.items():
        count = len(images_of(name, None)["train_labels"])
        assert dict(dict(column.options)["MoCo v2"])["queue"] < count
    assert {PROFILES["paper"].column(d).depth for d in PROFILES["paper"].dataset} == {32}


def test_the_search_sees_no_reported_seed_and_its_candidate_in_use_is_the_weight_in_use():
    laptop = resolve("laptop")
    assert not set(laptop.search_seeds()) & set(laptop.seeds())
    for name, column in STAND_INS.items():
        assert {*dict(column.lam).values()} <= {
            *laptop.search_lam
        } and column.alone.lr in laptop.search_rates, name
    seed, lam = SMOKE.search_seeds()[0], SMOKE.search_lam[0]
    for method in (SHARED, GENERIC, OURS):
        assert case(SMOKE, "digits_lt", method, seed, lam=lam)[0].attached.lam == lam
    assert case(SMOKE, "digits_lt", BEFORE, seed, lam=lam)[0].attached.lam == 1
    for name in THESIS:
        assert set(dict(cifar(name, 40).lam).values()) <= set(PROFILES["paper"].search_lam), name


def test_the_classifier_is_fine_tuned_as_long_as_in_chapter_4():
    for epochs in (2, 40, 200):
        mine, theirs = cifar("cifar100_lt", epochs).crt, dual_cifar(epochs).crt
        assert mine == theirs, epochs


@pytest.mark.parametrize("method", [BASE, "Balanced softmax", "cRT"])
def test_baselines_have_chapter_4_s_numbers(method):
    """Of the small sets' recipes, which are long enough for a difference to show."""
    mine, theirs = resolve("laptop", dataset="digits_lt"), dual_resolve("laptop", dataset="digits_lt")
    (seed, *_), (other, *_) = mine.seeds(), theirs.seeds()
    assert seed == other
    by_class = [
        at(of, "digits_lt", method, seed)["by class"] for at, of in ((found, mine), (dual_found, theirs))
    ]
    assert by_class[0] == by_class[1]


CAP = 130
"""Trainings at laptop: 60 for the tables, 15 more for the sweep, 10 for the bounds, 15 for the methods, 30 to search."""


def test_the_whole_chapter_needs_no_more_trainings_than_the_page_says(monkeypatch):
    """Each measurement is made up of nothing; dual-phase's five, another chapter's, are not among them."""
    seen, by_itself, history = set(), set(), {name: [1.0] for name in ("mi_loss", "mi_constant", "seconds")}

    def measured(dataset, training, finish):
        seen.add((dataset, training))
        classes = len(images_of(dataset, training.ratio)["counts"])
        curve = [np.full(15, 0.1)] * 3
        got = {"by class": [0.5] * classes, "ECE": dict.fromkeys((10, 15, 20), 0.1), "reliability": curve}
        return got | {"history": history, "spread": 0.5, "made on": "test"}

    def features(dataset, training, count):
        seen.add((dataset, training))
        return np.random.default_rng(0).normal(size=(count, 2))

    def observed(dataset, classifiers, alone, **how):
        seen.update((dataset, training) for training in classifiers)
        by_itself.add((dataset, alone))
        row = {"overlap": 0.5, "label": 0, "original": "", "found": ""}
        return [row | {"feature": f, "image": k} for f in FEATURES for k in range(how["images"])]

    def epoch_seconds(dataset, trainings, times_over):
        return [{n: 1.0 for n in grids(laptop)["extra-5.C"]["n"]} for _ in trainings]

    monkeypatch.setattr(pool, "measured", measured)
    for stub in (features, observed, epoch_seconds):
        monkeypatch.setattr(experiments, stub.__name__, stub)
    monkeypatch.setattr(experiments, "t_sne", lambda made: made)
    laptop = PROFILES["laptop"]
    for identity, grid in grids(laptop).items():
        name = identity.replace("-", "_").replace(".", "_").lower()
        frame = getattr(experiments, name, experiments.side_by_side)(laptop)
        if hasattr(experiments, name):
            keys = records.keys_of(grid)
            records.check_cells(identity, keys, frame, records.cells(identity, keys, grid))
    assert len(seen) <= CAP
    page = (sources.PACKAGE.parent / "notebooks" / "ch5_heterotopic.py").read_text(encoding="utf-8")
    assert f"trains {len(seen)} networks at `laptop`" in page
    first = sum(
        training.attached is not None and training.attached.before is not None for _, training in seen
    )
    assert first == 15 and "fifteen of them have a training of self-supervision before it" in page
    assert len(by_itself - seen) == 5 and "has five of self-supervision alone" in page


def test_the_loop_on_the_page_has_the_lines_that_its_text_counts():
    page = (sources.PACKAGE.parent / "notebooks" / "ch5_heterotopic.py").read_text(encoding="utf-8")
    loop = page.split("**In a training loop of your own**")[1].split("# %% [markdown]")[0]
    added, changed = (sum(f"  # {mark}" in line for line in loop.splitlines()) for mark in "+~")
    assert (added, changed) == (6, 4)
    assert "takes ten lines, besides the imports" in loop and "six\n# that are added" in loop
    assert "four that change" in loop and "or ten lines in your own" in page


def test_other_ratios_are_rows_of_their_own_beside_the_table_as_it_is():
    table = experiments.tab_5_5(resolve("smoke", methods=(BASE, OURS)))
    settings = resolve("smoke", methods=(BASE, OURS), ratios=[10.0, 70.0])
    grid, frame = grids(settings)["tab-5.5"], experiments.tab_5_5(settings)
    keys = records.keys_of(grid)
    records.check_cells("tab-5.5", keys, frame, records.cells("tab-5.5", keys, grid))
    assert "ratio" not in table and list(frame["ratio"].unique()) == [70, 10]
    own, other = (frame[frame["ratio"] == ratio] for ratio in (70, 10))
    assert own.drop(columns="ratio").reset_index(drop=True).equals(table)
    assert set(other["shot"]) == {
        "Many",
        "Medium",
        "All",
    }  # the rarest of 10 classes has 14 images, 12 are Few
    assert not np.allclose(other.query("shot == 'All'")["accuracy"], own.query("shot == 'All'")["accuracy"])
    seeds = pd.concat([frame.assign(seed=frame["seed"] + k) for k in range(3)])
    against = CLAIMS["tab-5.5"][0].decide(seeds).reason
    assert against in ("digits_lt, ratio 70: against CE", "digits_lt, ratio 10: against CE")


def test_side_by_side_is_where_both_chapters_have_tuned():
    assert resolve("laptop").beside() == "glyphs_lt" and SMOKE.beside() == "digits_lt"
    assert resolve("paper").beside() == "cifar100_lt"
    for name in ("digits_lt", "cifar10_lt", "cifar100_lt"):
        assert resolve("laptop", dataset=name).beside() == name
        assert grids(resolve("laptop", dataset=name))["extra-5.A"]["dataset"] == (name,)


@pytest.mark.parametrize(("variant", "stages"), [(BEFORE, 2), (OURS, 1)])
def test_a_killed_training_goes_on_where_it_was(variant, stages, tmp_path, monkeypatch, half_way):
    """Queue, momentum encoder and decoder too: the weights are those of a process that lives."""
    name = SMOKE.dataset[0]
    training, _ = case(SMOKE, name, variant, 1)
    monkeypatch.setenv("THESISLIB_CACHE", str(tmp_path))
    for _ in range(stages):
        with pytest.raises(KeyboardInterrupt):
            trained(name, training)
    resumed, epochs = trained(name, training), list(half_way)
    assert len(epochs) == len(set(epochs)) == stages * training.recipe.epochs
    monkeypatch.undo()
    monkeypatch.setenv("THESISLIB_CACHE", str(tmp_path / "whole"))
    whole = trained(name, training)
    assert all(torch.equal(whole["weights"][k], value) for k, value in resumed["weights"].items())
    assert whole["history"]["train_loss"] == resumed["history"]["train_loss"]


def test_the_gpu_s_networks_differ_by_as_much_as_the_page_says():
    """Those of Table 4.5 and of Table 5.5, cross-entropy on CIFAR-100-LT, seed by seed."""
    root = sources.PACKAGE.parent

    def accuracy(identity):
        rows = pd.read_csv(root / "data" / "recorded" / "cifar100_lt-paper" / f"{identity}.csv")
        rows = rows[(rows["method"] == BASE) & (rows["shot"] == "All")]
        rows = rows[rows["epochs"] == 40] if "epochs" in rows else rows  # not the full schedule's
        return rows.set_index("seed")["accuracy"]

    off = (accuracy("tab-4.5") - accuracy("tab-5.5")).abs()
    assert len(off.dropna()) == 5
    page = (root / "notebooks" / "ch5_heterotopic.py").read_text(encoding="utf-8")
    assert f"of the same seeds by {off.min():.1f} to {off.max():.1f} points" in page


@pytest.mark.parametrize("place", ["digits_lt-laptop", "glyphs_lt-laptop", "cifar100_lt-paper"])
def test_what_is_in_use_is_the_best_of_the_recorded_search(place):
    """Ways (iii) and (iv) share the weight that is best for both together."""
    dataset, _, profile = place.partition("-")
    settings = resolve(profile, dataset=dataset)
    rows = pd.read_csv(sources.PACKAGE.parent / "data" / "recorded" / place / "extra-5.B.csv")
    assert not set(rows["seed"]) & set(settings.seeds())
    means = rows.groupby(["method", "candidate"])["All"].mean().unstack("candidate")
    if GENERIC in means.index:
        means.loc["MoCo v2"] = means.loc[[GENERIC, "MoCo v2"]].mean()
    else:
        assert list(means.index) == ["MoCo v2"]  # all that was searched there
    for method, found_there in means.drop(GENERIC, errors="ignore").iterrows():
        tried = found_there.dropna()
        assert set(tried.index) == set(settings.candidates()[method]), method
        if method == BASE:
            continue
        ssl = method if method not in VARIANTS else settings.ssl
        column, weight = settings.column(dataset), settings.weight(dataset, method, ssl)
        used = f"lr={column.alone.lr:g}" if method == BEFORE else f"lambda={weight:g}"
        assert tried.idxmax() == used, method


def test_this_chapter_s_half_of_the_side_by_side_is_its_table():
    mine, table = experiments.side_by_side(SMOKE), experiments.tab_5_5(SMOKE)
    both = mine.merge(table, on=["dataset", "method", "seed", "shot"], suffixes=("", " table"))
    assert len(both) == len(mine) and (both["accuracy"] == both["accuracy table"]).all()


@pytest.mark.parametrize("dataset", (*STAND_INS, *THESIS))
def test_no_group_of_classes_is_empty(dataset, monkeypatch):
    """Counts as the data set is drawn, so that no data are needed; accuracies of 0 for Many and 1 for Few classes."""
    tail = TAILS[dataset]
    classes = tail.drawing.classes if tail.drawing else CLASSES[dataset]
    counts = longtail_counts(classes, tail.largest, tail.ratio)
    monkeypatch.setattr(pool, "images_of", lambda *_: {"counts": torch.tensor(counts)})
    found = pool.by_shot(dataset, np.linspace(0, 1, classes).tolist())
    assert 0 <= found["Many"] < found["Medium"] < found["Few"] <= 100


@pytest.mark.parametrize(
    ("bound", "loss", "nats"),
    # Of a target of variance 1, and e^-2 round the decoder's mean: log(1/v)/2 = 1 nat a dimension.
    [("variational Gaussian", 0.5 - 1.0, 16.0), ("CLUB", 1.0, 16.0), (None, 7.0, 0.0)],
)
def test_information_is_of_the_whole_feature(bound, loss, nats):
    (seed, *_) = SMOKE.seeds()
    training = case(SMOKE, "digits_lt", OURS, seed)[0]
    training = dataclasses.replace(
        training, attached=dataclasses.replace(training.attached, bound=bound, dim=16)
    )
    assert pool.information(
        "digits_lt", training, {"mi_loss": [9.0, loss], "mi_constant": [9.0, 0.5]}
    ) == pytest.approx(nats)


def test_telling_one_of_a_batch_for_sure_is_the_logarithm_of_its_size():
    (seed, *_) = SMOKE.seeds()
    training = case(SMOKE, "digits_lt", OURS, seed, bound="InfoNCE")[0]
    n = len(images_of("digits_lt", None)["train_labels"])
    assert n > training.recipe.batch
    assert np.exp(pool.information("digits_lt", training, {"mi_loss": [0.0]})) == pytest.approx(
        n / -(-n // training.recipe.batch)
    )


def test_more_images_than_there_are_to_show_are_refused():
    with pytest.raises(ValueError, match=r"tsne_images = 400; digits_lt has 355 test images"):
        experiments.fig_5_6(resolve("smoke", tsne_images=400))
