"""The experiments behind chapter 3's figures and tables: settings in, tidy frames out (thesis, section 3.4).

Those whose frames hold pictures are in :mod:`thesislib.motion_sampler.gallery`.

Every experiment takes the run's ``settings`` (:class:`~thesislib.motion_sampler.settings.Settings`) and returns a frame
with the key columns of :func:`~thesislib.motion_sampler.settings.grids`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import torch

from thesislib.motion_sampler.attacks import METHODS as KNOWN
from thesislib.motion_sampler.column import TARGETED, UNTARGETED
from thesislib.motion_sampler.gallery import (
    energies,
    extra_3_b,
    fig_3_1,
    fig_3_2,
    fig_3_3,
    fig_3_6,
    fig_3_7,
    fig_3_8,
    fig_3_9,
)
from thesislib.motion_sampler.pool import MEASURES, case_of, maps_shown, measured, options, rounded, run
from thesislib.motion_sampler.runs import attacked, chosen
from thesislib.motion_sampler.settings import (
    LOSSES,
    MOTION_SETS,
    OURS,
    SEARCH,
    Settings,
    compared,
    grids,
)
from thesislib.motion_sampler.victims import flow_of, motion_stream, trained, trained_stream
from thesislib.training import predict

__all__ = [
    "extra_3_a",
    "extra_3_b",
    "extra_3_c",
    "fig_3_1",
    "fig_3_2",
    "fig_3_3",
    "fig_3_4",
    "fig_3_5",
    "fig_3_6",
    "fig_3_7",
    "fig_3_8",
    "fig_3_9",
    "tab_3_1",
    "tab_3_2",
    "tab_3_3",
    "tab_3_4",
    "tab_3_5",
    "tab_3_6",
]


def tab_3_1(settings: Settings) -> pd.DataFrame:
    """Test accuracy of the victims.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``model``; values ``correct`` and ``clips`` (counts), ``accuracy`` and ``enough`` (%).
    """
    rows = []
    for dataset in settings.dataset:
        for model in settings.models:
            victim = settings.column(dataset).victim(model)
            right = trained(dataset, victim.constructor, victim.recipe, settings.seeds()[0])["correct"]
            rows.append(
                {
                    "dataset": dataset,
                    "model": model,
                    "correct": int(right.sum()),
                    "clips": len(right),
                    "accuracy": 100 * right.double().mean().item(),
                    "enough": 100 * victim.enough,
                }
            )
    return pd.DataFrame(rows)


def tab_3_2(settings: Settings) -> pd.DataFrame:
    """Untargeted attacks, the same clips of a victim for every method.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``model``, ``method``, ``clip``; values ``number`` (in the test set: the same for a clip that
        two victims share), ``success``, ``queries`` (exact; of a failure all it spent), ``charged`` (a failure is
        charged the budget), ``steps``, ``linf`` (0 of a failure).
    """
    return _pool(settings, "tab-3.2")


def fig_3_4(settings: Settings) -> pd.DataFrame:
    """Targeted attacks towards the next class; as :func:`tab_3_2`."""
    return _pool(settings, "fig-3.4", TARGETED)


def tab_3_3(settings: Settings) -> pd.DataFrame:
    """The sampler without motion; as :func:`tab_3_2`."""
    return _pool(settings, "tab-3.3")


def tab_3_4(settings: Settings) -> pd.DataFrame:
    """Handcrafted maps; as :func:`tab_3_2`."""
    return _pool(settings, "tab-3.4")


def tab_3_5(settings: Settings) -> pd.DataFrame:
    """The motion-excited sampler with each loss; as :func:`tab_3_2`, with ``loss`` in place of ``method``."""
    frames = []
    for dataset in settings.ablated:
        for loss in LOSSES:
            model = settings.ablation_model
            base = settings.options_of(OURS, dataset, model) | {"loss": loss}
            kept = run(settings, dataset, model, OURS, options=options(base))
            frames.append(measured(settings, kept, dataset, model).assign(loss=loss))
    return rounded(pd.concat(frames, ignore_index=True)[["dataset", "model", "loss", "clip", *MEASURES]])


def tab_3_6(settings: Settings) -> pd.DataFrame:
    """Adversarial clips of the RGB victims, shown to the motion stream.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``model``, ``clip``; values ``number``, ``success`` (of the attack on the RGB victim), and
        whether the motion stream is right: ``before``, ``after``, and ``control``, where the changes of each pixel
        have a random sign, the same in all frames; ``accuracy``, that of the stream on all test clips (%).
    """
    frames = []
    for dataset in settings.having(MOTION_SETS):
        seed, recipe = settings.seeds()[0], settings.column(dataset).stream
        stream = motion_stream(dataset, recipe, seed)
        accuracy = 100 * trained_stream(dataset, recipe, seed)["correct"].double().mean().item()
        for model in settings.models:
            # The tables' clips as the pool has them, the others as a batch of their own.
            batches = range(settings.clips), range(settings.clips, settings.stream_clips)
            case = case_of(settings, dataset, model, OURS)
            kept = [attacked(case, numbers) for numbers in batches if numbers]
            change = torch.cat([some.change for some in kept])
            clean, labels, _ = chosen(dataset, case.victim, seed, range(settings.stream_clips))
            # One sign for all frames: a sign for each would flicker, which moves where the attack does not.
            still = (*change.shape[:2], 1, *change.shape[3:])
            sign = torch.randint(2, still, generator=torch.Generator().manual_seed(seed)) * 2 - 1
            shown = {
                "before": clean,
                "after": clean + change,
                "control": (clean + sign * change).clamp(0, 1),
            }
            right = {
                k: (predict(stream, flow_of(v), batch=64).argmax(1) == labels).int().tolist()
                for k, v in shown.items()
            }
            rows = pd.concat([some.frame for some in kept], ignore_index=True)[["clip", "number", "success"]]
            rows = rows.assign(**right, accuracy=accuracy)
            frames.append(rows.assign(dataset=dataset, model=model))
    frame = pd.concat(frames, ignore_index=True)
    return rounded(
        frame[["dataset", "model", "clip", "number", "success", "before", "after", "control", "accuracy"]]
    )


def fig_3_5(settings: Settings) -> pd.DataFrame:
    """Intervals on the fixed grid against intervals that follow the movement; as :func:`tab_3_2`, and ``moved``,
    the share of pixels that a clip's maps move by more than a pixel, and ``vectors``, distinct ones in a map."""
    frame = _pool(settings, "fig-3.5")
    found = {}
    for dataset, model, method in compared(settings, "fig-3.5"):
        for clip, maps in enumerate(maps_shown(settings, dataset, model, KNOWN[method].maps)):
            moved = (np.linalg.norm(maps.astype(float), axis=-1) > 1).mean()
            distinct = np.mean([len(np.unique(m.reshape(-1, 2), axis=0)) for m in maps])
            found[dataset, method, clip] = moved, distinct
    keys = list(zip(frame["dataset"], frame["method"], frame["clip"], strict=True))
    return rounded(frame.assign(moved=[found[k][0] for k in keys], vectors=[found[k][1] for k in keys]))


def extra_3_a(settings: Settings) -> pd.DataFrame:
    """Motion energy against queries, over all clips; as :func:`~thesislib.motion_sampler.gallery.energies`."""
    return energies(settings, settings.dataset)


def extra_3_c(settings: Settings) -> pd.DataFrame:
    """The search for every method's settings, on clips that are never reported, untargeted.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``model``, ``method``, ``setting``, ``clip``; values ``success``, ``queries``, ``charged``.

    Raises
    ------
    ValueError
        If a clip of the search would be among those reported.
    """
    rows = []
    for block in grids(settings)["extra-3.C"]:
        (dataset,), (model,), (method,) = block["dataset"], block["model"], block["method"]
        base = case_of(settings, dataset, model, method)
        v = base.victim
        right = int(trained(dataset, v.constructor, v.recipe, base.seed)["correct"].sum())
        needed = settings.stream_clips + settings.search_clips
        if right < needed:
            raise ValueError(
                f"{model} classifies {right} test clips of {dataset} correctly, "
                f"clips + more_clips + search_clips is {needed}; lower one of them"
            )
        for candidate in SEARCH[method]:
            fields = {"kappa": settings.kappa, "loss": settings.loss} | parsed(candidate)
            case = dataclasses.replace(base, options=options(fields))
            kept = attacked(case, range(settings.search_clips), held_out=True)
            rows.append(measured(settings, kept, dataset, model).assign(method=method, setting=candidate))
    frame = pd.concat(rows, ignore_index=True)
    return rounded(frame[["dataset", "model", "method", "setting", "clip", "success", "queries", "charged"]])


def parsed(candidate: str) -> dict[str, object]:
    """Fields of a candidate, ``"tile=4, shared=True"``; ``"defaults"`` has none."""
    if candidate == "defaults":
        return {}
    found: dict[str, object] = {}
    for part in candidate.split(", "):
        name, _, text = part.partition("=")
        if text in ("True", "False"):
            found[name] = text == "True"
        elif text.lstrip("-").replace(".", "", 1).isdigit():
            found[name] = float(text) if "." in text else int(text)
        else:
            found[name] = text
    return found


def _pool(settings: Settings, identity: str, goal: str = UNTARGETED) -> pd.DataFrame:
    """Runs of an artefact's cells, one after another."""
    frames = [
        measured(settings, run(settings, d, model, method, goal), d, model, goal).assign(method=method)
        for d, model, method in compared(settings, identity)
    ]
    return rounded(pd.concat(frames, ignore_index=True)[["dataset", "model", "method", "clip", *MEASURES]])
