"""The experiments behind chapter 4's figures and tables: settings in, tidy frames out (thesis, section 4.5).

Accuracies are in percent, means over the test images' classes. ``made on`` says where a training was made.

Every experiment takes the run's ``settings`` (:class:`~thesislib.dual_phase.settings.Settings`) and returns a frame
with the key columns of :func:`~thesislib.dual_phase.settings.grids`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import pandas as pd

from thesislib.datasets.longtail import TAILS
from thesislib.dual_phase.gradient_distortion import MEASURES as ANGLES
from thesislib.dual_phase.live import bank_points, graph_rows
from thesislib.dual_phase.pool import by_shot, case, found
from thesislib.dual_phase.settings import PARTS, RATIOS, SWITCHES, Settings, grids
from thesislib.longtail.images import images_of


def fig_4_1(settings: Settings) -> pd.DataFrame:
    """Angles to the overall gradient over the whole joint training, first data set.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``seed``, ``gradient`` (head, tail, head sample: as many head images as there are tail
        images); values ``mean`` and ``std`` (degrees; both means over the epochs, the standard deviation within
        one), ``made on``.
    """
    rows = []
    for seed, angles, made in _angles(settings):
        for name in ("head", "tail", "head sample"):
            mean, std = (float(np.mean(angles[f"{what} {name}"])) for what in ("mean", "std"))
            rows.append((settings.dataset[0], seed, name, mean, std, made))
    return _rounded(pd.DataFrame(rows, columns=["dataset", "seed", "gradient", "mean", "std", "made on"]))


def fig_4_2(settings: Settings) -> pd.DataFrame:
    """The angles epoch by epoch.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``seed``, ``epoch``; values ``mean …`` and ``std …`` of each of
        :data:`thesislib.dual_phase.gradient_distortion.MEASURES` (degrees), ``steps`` measured.
    """
    frames = []
    for seed, angles, _ in _angles(settings):
        frames.append(pd.DataFrame(angles).assign(dataset=settings.dataset[0], seed=seed))
    columns = ["dataset", "seed", "epoch", "steps", *(f"{w} {n}" for n in ANGLES for w in ("mean", "std"))]
    return _rounded(pd.concat(frames, ignore_index=True)[columns], digits=4)


def fig_4_3(settings: Settings) -> pd.DataFrame:
    """What each part of the method sees and reaches, first data set and seed.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``part`` (phase I, bank, phase II); values ``head images`` and ``tail images`` that it works
        on, ``head accuracy`` (among head logits) and ``tail accuracy`` (0 before phase II) at its end.
    """
    dataset, seed = settings.dataset[0], settings.seeds()[0]
    counts = images_of(dataset, None)["counts"].numpy()
    head = counts > TAILS[dataset].many
    first, last = (found(settings, dataset, name, seed) for name in ("Model-head", "Dual-phase"))
    bank = settings.column(dataset).phase_two.bank
    kept = int(np.minimum(counts[head], bank).sum())
    before, after = (100 * np.mean(m["restricted"]) for m in (first, last))
    tail = 100 * np.mean(np.array(last["by class"])[~head])
    rows = zip(
        PARTS,
        (counts[head].sum(), kept, kept),
        (0, 0, counts[~head].sum()),
        (before, before, after),
        (0.0, 0.0, tail),
        strict=True,
    )
    columns = ["part", "head images", "tail images", "head accuracy", "tail accuracy"]
    frame = pd.DataFrame(rows, columns=columns)
    return _rounded(frame.assign(dataset=dataset)[["dataset", *columns]])


def fig_4_4(settings: Settings) -> pd.DataFrame:
    """Two classes while their exemplars are selected, in the plane of their features' main directions.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``class``, ``point`` (``image k``, ``prototype r``); values ``x``, ``y``, ``rounds`` (in how
        many of the rounds the image was selected; of a prototype its number), ``selected`` (at the end; 0 or 1).
    """
    dataset = settings.dataset[0]
    training, finish = case(settings, dataset, "Dual-phase", settings.seeds()[0])
    return _rounded(bank_points(training, finish.phase_two).assign(dataset=dataset))


def fig_4_5(settings: Settings) -> pd.DataFrame:
    """The graphs of the memory-retentive loss over a few images, before and after phase II.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``from``, ``to`` (nodes); values ``coefficient`` (of the old graph), ``distance`` (squared,
        old node to new node), ``term`` (their product), ``x old``, ``y old``, ``x new``, ``y new`` (of ``from``),
        ``class`` and ``head`` (whether it is of the head).
    """
    dataset = settings.dataset[0]
    training, finish = case(settings, dataset, "Dual-phase", settings.seeds()[0])
    return _rounded(graph_rows(training, finish.phase_two).assign(dataset=dataset))


def fig_4_6(settings: Settings) -> pd.DataFrame:
    """Dual-phase at several disentanglement points, first data set.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``more_than`` (head classes have more training images than this; 0: all are head), ``seed``,
        ``shot``; values ``accuracy``, ``made on``.
    """
    return _sweep(settings, "fig-4.6", "more_than")


def fig_4_7(settings: Settings) -> pd.DataFrame:
    """Dual-phase with several bank sizes on what is, or stands for, Places-LT; as :func:`fig_4_6` with key ``bank``."""
    return _sweep(settings, "fig-4.7", "bank")


def fig_4_8(settings: Settings) -> pd.DataFrame:
    """Dual-phase with several weights of the memory-retentive loss; as :func:`fig_4_6` with key ``lambda``."""
    return _sweep(settings, "fig-4.8", "lambda")


def tab_4_1(settings: Settings) -> pd.DataFrame:
    """Accuracy on head classes of models trained on all classes and on head classes alone, same iterations.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``ratio``, ``method``, ``seed``; values ``accuracy``, ``made on``.
    """
    rows = []
    for block in grids(settings)["tab-4.1"]:
        (dataset,), (ratio,) = block["dataset"], block["ratio"]
        for seed in block["seed"]:
            how = {"seed": seed, "ratio": ratio}
            joint = found(settings, dataset, "CE", **how)
            tail = TAILS[dataset]
            counts = images_of(dataset, None if ratio == RATIOS[dataset] else ratio)["counts"].numpy()
            whole = np.array(joint["by class"])[counts > tail.many]
            made = joint["made on"]
            of = {"Model-all": (whole, made), "Model-all, head logits": (joint["restricted"], made)}
            others = {
                "Model-head": "Model-head",
                "Model-all, linear probe": "Linear probe",
                "Model-head, linear probe": "Head probe",
            }
            for name, method in others.items():
                if name in settings.head_rows:
                    other = found(settings, dataset, method, **how)
                    of[name] = other["by class"], other["made on"]
            for name in settings.head_rows:
                accuracies, made = of[name]
                rows.append((dataset, ratio, name, seed, 100 * np.mean(accuracies), made))
    return _rounded(pd.DataFrame(rows, columns=["dataset", "ratio", "method", "seed", "accuracy", "made on"]))


def tab_4_2(settings: Settings) -> pd.DataFrame:
    """Methods by shot on what is, or stands for, Places-LT.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``method``, ``seed``, ``shot``; values ``accuracy``, ``made on``.
    """
    return _comparison(settings, "tab-4.2")


def tab_4_3(settings: Settings) -> pd.DataFrame:
    """Methods on what stands for ImageNet-LT; as :func:`tab_4_2`."""
    return _comparison(settings, "tab-4.3")


def tab_4_4(settings: Settings) -> pd.DataFrame:
    """The same runs by shot; as :func:`tab_4_2`."""
    return _comparison(settings, "tab-4.4")


def tab_4_5(settings: Settings) -> pd.DataFrame:
    """Methods at several imbalance ratios and schedules, first data set.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``ratio``, ``epochs`` (of the joint model), ``method``, ``seed``, ``shot``; values
        ``accuracy``, ``made on``.
    """
    frames = []
    for block in grids(settings)["tab-4.5"]:
        (dataset,), (epochs,) = block["dataset"], block["epochs"]
        for ratio in block["ratio"]:
            for method in block["method"]:
                for seed in block["seed"]:
                    rows = by_shot(settings, dataset, method, seed, ratio=ratio, epochs=epochs)
                    frames.append(
                        rows.assign(dataset=dataset, ratio=ratio, epochs=epochs, method=method, seed=seed)
                    )
    return _tidy(frames, ["dataset", "ratio", "epochs", "method", "seed", "shot"])


def tab_4_6(settings: Settings) -> pd.DataFrame:
    """Methods on what stands for iNaturalist 2018; as :func:`tab_4_2`."""
    return _comparison(settings, "tab-4.6")


def tab_4_7(settings: Settings) -> pd.DataFrame:
    """Joint model and dual-phase on head, tail and all classes.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``method``, ``seed``, ``classes``; values ``accuracy``, ``made on``.
    """
    rows = []
    for block in grids(settings)["tab-4.7"]:
        (dataset,) = block["dataset"]
        head = images_of(dataset, None)["counts"].numpy() > TAILS[dataset].many
        for method in block["method"]:
            for seed in block["seed"]:
                result = found(settings, dataset, method, seed)
                each = np.array(result["by class"])
                of = {"head": each[head], "tail": each[~head], "all": each}
                for name, accuracies in of.items():
                    rows.append((dataset, method, seed, name, 100 * accuracies.mean(), result["made on"]))
    return _rounded(
        pd.DataFrame(rows, columns=["dataset", "method", "seed", "classes", "accuracy", "made on"])
    )


def tab_4_8(settings: Settings) -> pd.DataFrame:
    """Dual-phase with each way to select the bank, and without one; as :func:`tab_4_2` with key ``rule``."""
    return _ablation(
        settings, "tab-4.8", "rule", lambda rule: {"bank": 0} if rule == "none" else {"rule": rule}
    )


def tab_4_9(settings: Settings) -> pd.DataFrame:
    """Dual-phase without, and with each form of, the memory-retentive loss; as :func:`tab_4_2` with key ``form``."""
    return _ablation(
        settings, "tab-4.9", "form", lambda form: {"retention": 0.0} if form == "none" else {"form": form}
    )


def extra_4_a(settings: Settings) -> pd.DataFrame:
    """Settings that the literature leaves open, for every method by the same rule, on seeds never reported.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``method``, ``candidate``, ``seed``; values ``accuracy`` over all classes, ``made on``.
    """
    rows = []
    for block in grids(settings)["extra-4.A"]:
        (dataset,), (method,) = block["dataset"], block["method"]
        for candidate, seed in itertools.product(block["candidate"], block["seed"]):
            result = found(settings, dataset, method, seed, candidate=candidate)
            accuracy = 100 * np.mean(result["by class"])
            rows.append((dataset, method, candidate, seed, accuracy, result["made on"]))
    columns = ["dataset", "method", "candidate", "seed", "accuracy", "made on"]
    return _rounded(pd.DataFrame(rows, columns=columns))


def extra_4_b(settings: Settings) -> pd.DataFrame:
    """Dual-phase with other readings of its second phase; as :func:`fig_4_6` with key ``switch``."""
    return _ablation(settings, "extra-4.B", "switch", SWITCHES.__getitem__)


def extra_4_c(settings: Settings) -> pd.DataFrame:
    """What a classifier does at the border between head and tail, first data set.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``method``, ``seed``; values ``head as tail`` (head test images taken for a tail class,
        %), ``row length`` (tail rows of the classifier over its head rows, means), ``ECE`` (percent) and ``made on``.
    """
    grid, rows = grids(settings)["extra-4.C"], []
    (dataset,) = grid["dataset"]
    head = images_of(dataset, None)["counts"].numpy() > TAILS[dataset].many
    for method in grid["method"]:
        for seed in grid["seed"]:
            result = found(settings, dataset, method, seed)
            norms = np.array(result["norms"])
            rows.append(
                (
                    dataset,
                    method,
                    seed,
                    100 * result["head as tail"],
                    norms[~head].mean() / norms[head].mean(),
                    100 * result["ECE"],
                    result["made on"],
                )
            )
    columns = ["dataset", "method", "seed", "head as tail", "row length", "ECE", "made on"]
    return _rounded(pd.DataFrame(rows, columns=columns))


def _angles(settings: Settings) -> Iterable[tuple[int, dict, str]]:
    for seed in settings.seeds():
        result = found(settings, settings.dataset[0], "CE", seed)
        yield seed, result["angles"], result["made on"]


def _sweep(settings: Settings, identity: str, name: str) -> pd.DataFrame:
    field = {"lambda": "retention"}.get(name, name)
    grid, frames = grids(settings)[identity], []
    (dataset,) = grid["dataset"]
    for value in grid[name]:
        for seed in grid["seed"]:
            rows = by_shot(settings, dataset, "Dual-phase", seed, **{field: value})
            frames.append(rows.assign(dataset=dataset, seed=seed, **{name: value}))
    return _tidy(frames, ["dataset", name, "seed", "shot"])


def _comparison(settings: Settings, identity: str) -> pd.DataFrame:
    grid, frames = grids(settings)[identity], []
    (dataset,) = grid["dataset"]
    for method in grid["method"]:
        for seed in grid["seed"]:
            frames.append(
                by_shot(settings, dataset, method, seed).assign(dataset=dataset, method=method, seed=seed)
            )
    return _tidy(frames, ["dataset", "method", "seed", "shot"])


def _ablation(settings: Settings, identity: str, name: str, changes) -> pd.DataFrame:
    frames = []
    for block in grids(settings)[identity]:
        (dataset,) = block["dataset"]
        for value in block[name]:
            for seed in block["seed"]:
                rows = by_shot(settings, dataset, "Dual-phase", seed, **changes(value))
                frames.append(rows.assign(dataset=dataset, seed=seed, **{name: value}))
    return _tidy(frames, ["dataset", name, "seed", "shot"])


def _tidy(frames: list[pd.DataFrame], keys: list[str]) -> pd.DataFrame:
    return _rounded(pd.concat(frames, ignore_index=True)[[*keys, "accuracy", "made on"]])


def _rounded(frame: pd.DataFrame, digits: int = 6) -> pd.DataFrame:
    """Measurements to so many digits: what a file keeps."""
    for name in frame.columns:
        if frame[name].dtype.kind == "f" and name not in ("ratio", "more_than", "lambda"):
            frame[name] = [float(f"{value:.{digits}g}") for value in frame[name]]
    return frame
