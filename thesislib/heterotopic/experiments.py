"""The experiments behind chapter 5's figures and tables: settings in, tidy frames out (thesis, section 5.4).

Accuracies are in percent, means over the test images' classes. ``made on`` says where a training was made.

Every experiment takes the run's ``settings`` (:class:`~thesislib.heterotopic.settings.Settings`) and returns a
frame with the key columns of :func:`~thesislib.heterotopic.settings.grids`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
from tqdm.auto import tqdm

from thesislib.heterotopic.filters import LAST_STAGES
from thesislib.heterotopic.live import filter_rows, framework_rows
from thesislib.heterotopic.observation import observed
from thesislib.heterotopic.pool import by_shot, case, found, information
from thesislib.heterotopic.projection import separation, t_sne
from thesislib.heterotopic.runs import ensemble, features, fresh, in_turn
from thesislib.heterotopic.settings import (
    BASE,
    BEFORE,
    FILTERS,
    GENERIC,
    LAYERS,
    OURS,
    SHARED,
    SHOTS,
    SIDE_BY_SIDE,
    TIMES_OVER,
    VARIANTS,
    WITHOUT,
    Settings,
    grids,
)
from thesislib.heterotopic.timing import epoch_seconds
from thesislib.longtail.images import images_of

FIVE = 5  # seeds that a claim needs


def fig_5_1(settings: Settings) -> pd.DataFrame:
    """Images from features, and how far two features depend on the same pixels; last data set.

    The other classifier of each seed is the next one's among its five of the root, of the last the first one's, so that
    each is compared with two, and a part of a run has the same pairs as the whole. Self-supervision is trained at the
    common rate, with which it learns; that of way (i) is chosen for the classifier that follows.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``feature``, ``seed``, ``image`` (of the test set, classes in turn); values ``overlap`` (0 to
        1, see :func:`thesislib.heterotopic.observation.observed`), ``label``, ``original`` and ``found`` (pixels as
        text, of the first seed's first ``inverted`` images, else "not inverted").
    """
    dataset, frames = settings.dataset[-1], []
    start = settings.first_repeat
    every = replace(settings, first_repeat=0, repeats=start + settings.repeats + FIVE).seeds()
    for place, seed in enumerate(settings.seeds(), start):
        pair = seed, every[place - place % FIVE + (place + 1) % FIVE]
        rows = observed(
            dataset,
            tuple(case(settings, dataset, BASE, one)[0] for one in pair),
            case(settings, dataset, BEFORE, seed, rate=settings.column(dataset).recipe.lr)[0],
            images=settings.compared,
            inverted=0 if place else settings.inverted,
            steps=settings.steps,
        )
        frames.append(pd.DataFrame(rows).assign(dataset=dataset, seed=seed))
    columns = ["dataset", "feature", "seed", "image", "overlap", "label", "original", "found"]
    return _rounded(pd.concat(frames, ignore_index=True)[columns])


def fig_5_2(settings: Settings) -> pd.DataFrame:
    """The parts of the framework as they are trained here; no training.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``part``; values as of :func:`thesislib.heterotopic.live.framework_rows`.
    """
    frames = []
    for dataset in settings.dataset:
        training, _ = case(settings, dataset, OURS, settings.seeds()[0])
        data = images_of(dataset, None)
        images, labels = data["train"][:8].float() / 255, data["train_labels"][:8]
        model = fresh(dataset, training)
        joint = ensemble(model, training.attached, size=images.shape[-1], seed=training.seed)
        frames.append(framework_rows(joint, images, labels).assign(dataset=dataset))
    frame = pd.concat(frames, ignore_index=True)
    return frame[["dataset", *(c for c in frame.columns if c != "dataset")]]


def fig_5_3(settings: Settings) -> pd.DataFrame:
    """The base and the four ways to apply self-supervision.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``method``, ``seed``; values ``Many``, ``Medium``, ``Few``, ``All`` (accuracy, %), ``spread``
        (of the specific feature at the end, of (i) before its classifier is trained; 0 without one), ``made on``.
    """
    rows = []
    for dataset in settings.dataset:
        for method in settings.variants:
            for seed in settings.seeds():
                got = found(settings, dataset, method, seed)
                keys = {"dataset": dataset, "method": method, "seed": seed}
                rows.append(keys | _scores(dataset, got) | {"spread": got["spread"]})
    return _rounded(pd.DataFrame(rows))


def fig_5_4(settings: Settings) -> pd.DataFrame:
    """Ours with several weights of self-supervision, first data set; weight 0 is the base.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``lambda``, ``seed``, ``shot``; values ``accuracy``, ``made on``.
    """

    def one(dataset: str, lam: float, seed: int) -> dict:
        return found(settings, dataset, OURS, seed, lam=lam) if lam else found(settings, dataset, BASE, seed)

    return _shots(settings, "fig-5.4", "lambda", one)


def fig_5_5(settings: Settings) -> pd.DataFrame:
    """With and without heterotopic ensembling.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``method``, ``seed``, ``shot``; values ``accuracy``, ``made on``.
    """
    return _comparison(settings, "fig-5.5")


def fig_5_6(settings: Settings) -> pd.DataFrame:
    """Test images in the plane of t-SNE, first data set; and how far their features keep classes apart.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``method``, ``seed``, ``image`` (classes in turn); values ``x``, ``y``, ``label``, and
        ``silhouette`` and ``knn`` (a share), both of the features of all test images, means over them.
    """
    dataset, frames = settings.dataset[0], []
    labels = images_of(dataset, None)["test_labels"]
    if settings.tsne_images > len(labels):
        raise ValueError(
            f"tsne_images = {settings.tsne_images}; {dataset} has {len(labels)} test images, give that many or fewer"
        )
    order, shown = in_turn(labels, len(labels)), slice(settings.tsne_images)
    pairs = list(itertools.product((BASE, OURS), settings.seeds()))
    for method, seed in tqdm(pairs, desc="t-SNE", leave=False):
        made = features(dataset, case(settings, dataset, method, seed)[0], len(order)).astype(float)
        x, y = t_sne(made[shown]).T.round(1)  # a tenth of a unit is less than a point's width
        apart = {name: values.mean() for name, values in separation(made, labels[order].numpy()).items()}
        facts = {"image": range(len(x)), "x": x, "y": y, "label": labels[order][shown]}
        frames.append(pd.DataFrame(facts).assign(dataset=dataset, method=method, seed=seed, **apart))
    keys = ["dataset", "method", "seed", "image"]
    return _rounded(pd.concat(frames)[[*keys, "x", "y", "label", "silhouette", "knn"]], digits=4)


def fig_5_7(settings: Settings) -> pd.DataFrame:
    """Reliability diagrams in 15 bins of confidence.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``method``, ``seed``, ``bin`` (from 0); values ``confidence`` (mean, 0 to 1), ``gap``
        (accuracy less confidence), ``share`` (of the test images), ``ECE 10``, ``ECE 15``, ``ECE 20`` (of the
        whole, by number of bins), ``accuracy`` (%, of the whole).
    """
    frames = []
    for dataset in settings.dataset:
        for method in (BASE, OURS):
            for seed in settings.seeds():
                got = found(settings, dataset, method, seed)
                confidence, gap, share = got["reliability"]
                facts = {"bin": range(len(gap)), "confidence": confidence, "gap": gap, "share": share}
                facts |= {f"ECE {bins}": value for bins, value in got["ECE"].items()}
                frame = pd.DataFrame(facts | {"accuracy": by_shot(dataset, got["by class"])["All"]})
                frames.append(frame.assign(dataset=dataset, method=method, seed=seed))
    frame = pd.concat(frames, ignore_index=True)
    keys = ["dataset", "method", "seed", "bin"]
    return _rounded(frame[[*keys, *(c for c in frame.columns if c not in keys)]], digits=4)


def tab_5_1(settings: Settings) -> pd.DataFrame:
    """The Filter on ResNet-32, in each preset.

    Returns
    -------
    pandas.DataFrame
        Keys ``backbone``, ``preset``, ``layer``; values as of :func:`thesislib.heterotopic.live.filter_rows`.
    """
    return _layers("tab-5.1")


def tab_5_2(settings: Settings) -> pd.DataFrame:
    """The Filter on ResNet-10; as :func:`tab_5_1`."""
    return _layers("tab-5.2")


def tab_5_3(settings: Settings) -> pd.DataFrame:
    """The Filter for ResNet-50 and ResNet-152; as :func:`tab_5_1`."""
    return _layers("tab-5.3")


def tab_5_4(settings: Settings) -> pd.DataFrame:
    """The comparison in place of Places-LT, last data set.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``method``, ``seed``, ``shot``; values ``accuracy``, ``made on``.
    """
    return _comparison(settings, "tab-5.4")


def tab_5_5(settings: Settings) -> pd.DataFrame:
    """The comparison, at each data set's own imbalance ratio and at the others of the settings.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``ratio`` (where the settings name any), ``method``, ``seed``, ``shot``; values ``accuracy``,
        ``made on``.
    """
    return _comparison(settings, "tab-5.5")


def tab_5_6(settings: Settings) -> pd.DataFrame:
    """The comparison in place of ImageNet-LT with ResNet-50, last data set; as :func:`tab_5_4`."""
    return _comparison(settings, "tab-5.6")


def tab_5_7(settings: Settings) -> pd.DataFrame:
    """The comparison in place of ImageNet-LT with ResNet-10, last data set; as :func:`tab_5_4`."""
    return _comparison(settings, "tab-5.7")


def tab_5_8(settings: Settings) -> pd.DataFrame:
    """Without and with the constraint on the specific feature, by its bound.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``bound``, ``seed``; values ``Many``, ``Medium``, ``Few``, ``All`` (accuracy, %), ``nats``
        (:func:`thesislib.heterotopic.pool.information`), ``made on``.
    """

    def one(dataset: str, bound: str, seed: int) -> dict:
        method, changes = (GENERIC, {}) if bound == WITHOUT else (OURS, {"bound": bound})
        got = found(settings, dataset, method, seed, **changes)
        training, _ = case(settings, dataset, method, seed, **changes)
        return got | {"nats": information(dataset, training, got["history"])}

    return _wide(settings, "tab-5.8", "bound", one, also=("nats",))


def tab_5_9(settings: Settings) -> pd.DataFrame:
    """Self-supervised methods in the framework, and two baselines: none, and one for initialisation only.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``method``, ``seed``; values as of :func:`tab_5_8`, without ``nats``.
    """

    def one(dataset: str, method: str, seed: int) -> dict:
        if method in (BASE, BEFORE):
            return found(settings, dataset, method, seed)
        return found(settings, dataset, OURS, seed, ssl=method)

    return _wide(settings, "tab-5.9", "method", one)


def side_by_side(settings: Settings) -> pd.DataFrame:
    """This chapter's rows of Extra 5.A; as :func:`tab_5_4`.

    Those of the dual-phase method are another room's: whoever may import both puts them together.
    """
    dataset, rows = settings.beside(), []
    for method in (m for m in SIDE_BY_SIDE if m != "Dual-phase"):
        for seed in settings.seeds():
            keys = {"dataset": dataset, "method": method, "seed": seed}
            rows.append(keys | _scores(dataset, found(settings, dataset, method, seed)))
    return _rounded(_by_shot(pd.DataFrame(rows), "method"))


def extra_5_b(settings: Settings) -> pd.DataFrame:
    """The search for lambda and for way (i)'s rate, first data set: the same candidates for every method of a kind.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``method`` (a variant, or ours with a self-supervised method), ``candidate``, ``seed``; value
        ``All`` (accuracy, %).
    """
    rows = []
    for block in grids(settings)["extra-5.B"]:
        (dataset,), (method,) = block["dataset"], block["method"]
        variant, changes = (method, {}) if method in VARIANTS else (OURS, {"ssl": method})
        for candidate, seed in itertools.product(block["candidate"], block["seed"]):
            name, _, value = candidate.partition("=")
            tried = {{"lambda": "lam", "lr": "rate"}[name]: float(value)} if value else {}
            got = found(settings, dataset, variant, seed, **changes, **tried)
            keys = {"dataset": dataset, "method": method, "candidate": candidate, "seed": seed}
            rows.append(keys | {"All": by_shot(dataset, got["by class"])["All"]})
    return _rounded(pd.DataFrame(rows))


def extra_5_c(settings: Settings) -> pd.DataFrame:
    """CPU time of an epoch with and without self-supervision, first data set, at three sizes of the training set.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``method`` (a variant, or ours with a self-supervised method), ``n`` (training images, those
        of the set repeated); value ``seconds``.
    """
    grid, first = grids(settings)["extra-5.C"], settings.seeds()[0]
    (dataset,), methods = grid["dataset"], grid["method"]
    trainings = [
        case(settings, dataset, m, first)[0]
        if m in (BASE, SHARED, GENERIC)
        else case(settings, dataset, OURS, first, ssl=m)[0]
        for m in methods
    ]
    timed = epoch_seconds(dataset, tuple(trainings), TIMES_OVER)
    rows = [
        {"dataset": dataset, "method": method, "n": n, "seconds": seconds}
        for method, found_here in zip(methods, timed, strict=True)
        for n, seconds in found_here.items()
    ]
    return _rounded(pd.DataFrame(rows), digits=3)


def _layers(identity: str) -> pd.DataFrame:
    frames = [
        filter_rows(preset, LAST_STAGES[backbone]).assign(backbone=backbone, preset=preset)
        for backbone in LAYERS[identity]
        for preset in FILTERS
    ]
    frame = pd.concat(frames, ignore_index=True)
    values = ["operation", "output channels", "output size", "parameters"]
    return frame[["backbone", "preset", "layer", *values]]


def _comparison(settings: Settings, identity: str) -> pd.DataFrame:
    return _shots(settings, identity, "method", lambda d, m, s, **how: found(settings, d, m, s, **how))


def _shots(settings: Settings, identity: str, name: str, one: Callable[..., dict]) -> pd.DataFrame:
    """One row a data set, value of `name`, seed and group of classes; a group without a class has none."""
    return _by_shot(_wide(settings, identity, name, one), name)


def _by_shot(wide: pd.DataFrame, name: str) -> pd.DataFrame:
    keys = [key for key in ("dataset", "ratio", name, "seed") if key in wide]
    frame = wide.melt([*keys, "made on"], list(SHOTS), var_name="shot", value_name="accuracy")
    return frame[[*keys, "shot", "accuracy", "made on"]].dropna(ignore_index=True)


def _wide(
    settings: Settings, identity: str, name: str, one: Callable[..., dict], also: tuple[str, ...] = ()
) -> pd.DataFrame:
    """One row a data set, value of `name` and seed, and ratio where the grid has one; `also` takes more than the scores
    from what `one` found."""
    grid, rows = grids(settings)[identity], []
    for block in grid if isinstance(grid, list) else [grid]:
        at = [{"ratio": ratio} for ratio in block["ratio"]] if "ratio" in block else [{}]
        for dataset, how, value, seed in itertools.product(block["dataset"], at, block[name], block["seed"]):
            got = one(dataset, value, seed, **how)
            keys = {"dataset": dataset, **how, name: value, "seed": seed}
            rows.append(keys | {key: got[key] for key in also} | _scores(dataset, got, **how))
    return _rounded(pd.DataFrame(rows))


def _scores(dataset: str, got: dict, ratio: float | None = None) -> dict:
    return by_shot(dataset, got["by class"], ratio) | {"made on": got["made on"]}


def _rounded(frame: pd.DataFrame, digits: int = 6) -> pd.DataFrame:
    """Measurements to a few significant digits: what a file keeps."""
    for name in frame.columns:
        if frame[name].dtype.kind == "f" and name not in ("ratio", "lambda"):
            frame[name] = [float(f"{value:.{digits}g}") for value in frame[name]]
    return frame
