"""Experiments whose frames hold pictures: pipeline, framework, clips that were fooled, clips that were not.

Thesis, section 3.4.5.

Every experiment takes the run's ``settings`` (:class:`~thesislib.motion_sampler.settings.Settings`); ``datasets``
are names of those it looks at, ``values`` an array to be shown.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from thesislib.datasets.clips import load_clips
from thesislib.motion_sampler.codec import GROUP
from thesislib.motion_sampler.motion_map import motion_energy
from thesislib.motion_sampler.pictures import NONE, bytes_of, pack
from thesislib.motion_sampler.pool import case_of, maps_shown, measured, rounded, run
from thesislib.motion_sampler.runs import attack, chosen
from thesislib.motion_sampler.settings import (
    FAILED,
    LOOK_SETS,
    MODELS,
    MOMENTS,
    NO_MOTION,
    OURS,
    PICTURED,
    STAGES,
    Settings,
)
from thesislib.motion_sampler.victims import clips_of

TALL = 6
"""Iterations after which the stages of one attack are shown."""


def fig_3_1(settings: Settings) -> pd.DataFrame:
    """The pipeline of one real attack, and the loss with and without motion.

    Returns
    -------
    pandas.DataFrame
        Keys ``method``, ``clip``, ``queries``; values ``loss`` (see :func:`curves`) and ``picture``: the stages of
        Figure 3.2, one each in the first rows of the motion-excited sampler.
    """
    frame = curves(settings)
    rows = frame.index[frame["method"] == OURS][: len(STAGES)]
    shown = list(stages(settings).values())
    pictures = dict(zip(rows, shown, strict=False))
    return rounded(frame.assign(picture=[pictures.get(k, NONE) for k in frame.index]))


def fig_3_2(settings: Settings) -> pd.DataFrame:
    """The parts of the framework as one attack has them.

    Returns
    -------
    pandas.DataFrame
        Key ``stage``; value ``picture``.
    """
    found = stages(settings)
    return pd.DataFrame({"stage": list(found), "picture": list(found.values())})


def stages(settings: Settings) -> dict[str, str]:
    """What the framework's parts hold, of a clip of Figure 3.1 after a few iterations, packed, by their names."""
    dataset, model = pictured(settings)
    case = case_of(settings, dataset, model, OURS)
    frame = run(settings, dataset, model, OURS).frame
    place = int(frame.loc[frame["steps"].idxmax(), "clip"])  # the longest attack has the most to show
    seen: dict[str, Tensor] = {}

    def watch(count: int, rows: Tensor, pattern: Tensor, prior: Tensor, clips: Tensor) -> None:
        if count <= TALL:
            seen.update(pattern=pattern[0, :, 0], prior=prior[0, :, 0], clip=clips[0, :, 0])

    attack(case, range(place, place + 1), watch=watch)
    clean = chosen(dataset, case.victim, case.seed, range(place, place + 1))[0][0, :, 0]
    maps = maps_shown(settings, dataset, model, "mv")[place]
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(case.seed))
    return {
        "frame": pack(bytes_of(clean)),
        "motion map": pack(maps[0].astype(np.int16)),
        "noise": pack(bytes_of(spread(noise))),
        "sampled noise": pack(bytes_of(spread(seen["pattern"]))),
        "prior": pack(bytes_of(spread(seen["prior"]))),
        "perturbation": pack(bytes_of(spread(seen["clip"] - clean))),
        "adversarial frame": pack(bytes_of(seen["clip"])),
    }


def spread(values: Tensor) -> np.ndarray:
    """Values around 0 as colours around grey, the largest at the end of the scale."""
    most = values.abs().max().clamp(min=1e-12)
    return (0.5 + values / (2 * most)).numpy()


def fig_3_3(settings: Settings) -> pd.DataFrame:
    """Clips that the attack fooled: frames, motion, perturbation.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``model``, ``place``; values ``clip``, ``label``, ``predicted`` (names), ``success``,
        ``queries``, ``frames``, ``adversarial`` (bytes, shape (4, height, width, 3)), ``motion`` (the first map),
        ``whole`` (a frame of the clip as recorded).
    """
    return _clips(settings, "fig-3.3")


def fig_3_6(settings: Settings) -> pd.DataFrame:
    """As :func:`fig_3_3`, of the sets where motion tells the classes."""
    return _clips(settings, "fig-3.6")


def fig_3_7(settings: Settings) -> pd.DataFrame:
    """As :func:`fig_3_3`, of other clips."""
    return _clips(settings, "fig-3.7")


def fig_3_8(settings: Settings) -> pd.DataFrame:
    """All clips of Kinetics-400, or what stands for it, with their motion energy; the first that were not fooled
    with a frame and a map.

    Returns
    -------
    pandas.DataFrame
        As :func:`~thesislib.motion_sampler.gallery.energies`, and ``label`` (name), ``frames`` and ``motion``
        (packed, or a dash).
    """
    return _failed(settings, settings.having(LOOK_SETS)[:1])


def fig_3_9(settings: Settings) -> pd.DataFrame:
    """As :func:`fig_3_8`, of UCF-101 or what stands for it."""
    return _failed(settings, settings.having(LOOK_SETS)[-1:])


def extra_3_b(settings: Settings) -> pd.DataFrame:
    """One fooled clip, frame by frame.

    Returns
    -------
    pandas.DataFrame
        Key ``frame``; values ``dataset``, ``model``, ``label``, ``predicted`` (names), ``queries``, ``clean`` and
        ``adversarial`` (packed).
    """
    dataset, model = settings.dataset[0], settings.models[0]
    kept = run(settings, dataset, model, OURS)
    row = _fooled_first(kept.frame).iloc[0]
    clean, change = _clip_and_change(settings, dataset, model, kept.change, int(row["clip"]))
    return pd.DataFrame(
        {
            "frame": range(clean.shape[1]),
            "dataset": dataset,
            "model": model,
            **_names(dataset, row),
            "queries": int(row["queries"]),
            "clean": [pack(bytes_of(clean[:, t])) for t in range(clean.shape[1])],
            "adversarial": [pack(bytes_of((clean + change)[:, t])) for t in range(clean.shape[1])],
        }
    )


def curves(settings: Settings) -> pd.DataFrame:
    """Loss against queries, the lowest of all checks so far.

    The loss at which a clip is fooled says nothing: beyond the boundary the runner-up is the old class, so that the
    surer the victim is of the wrong one, the higher it stands. A fooled clip counts as the least that the loss can be.

    Returns
    -------
    pandas.DataFrame
        ``method``, ``clip``, ``queries``, ``loss``.
    """
    dataset, model = pictured(settings)
    moments, rows = [q for q in MOMENTS if q <= settings.budget], []
    least = 0.5 if settings.loss == "second_probability" else 0.0  # a runner-up has half at most
    for method in NO_MOTION:
        kept = run(settings, dataset, model, method)
        fooled = kept.frame[kept.frame["success"]].set_index("clip")["queries"]
        for clip, part in kept.trace.groupby("clip"):
            at = np.searchsorted(part["queries"], moments, side="right") - 1
            lowest = np.minimum.accumulate(part["loss"].to_numpy())[at]
            loss = np.where(np.array(moments) >= fooled.get(clip, np.inf), least, lowest)
            rows.append(pd.DataFrame({"method": method, "clip": clip, "queries": moments, "loss": loss}))
    return pd.concat(rows, ignore_index=True)


def pictured(settings: Settings) -> tuple[str, str]:
    """Data set and victim of Figures 3.1 and 3.2: Kinetics-400's, or what stands for it, and I3D."""
    model = settings.ablation_model
    return settings.having(("kinetics400",))[0], model if model in settings.models else MODELS[0]


def energies(settings: Settings, datasets: tuple[str, ...]) -> pd.DataFrame:
    """Motion energy of each attacked clip beside what its attack cost.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``model``, ``clip``; values ``number`` (in the test set), ``energy`` (mean length of the
        vectors of its maps, pixels of the recorded clip), ``success``, ``queries``, ``charged``.
    """
    frames = []
    for dataset in datasets:
        for model in settings.models:
            maps = maps_shown(settings, dataset, model, "mv")
            rows = measured(settings, run(settings, dataset, model, OURS), dataset, model)
            frames.append(rows.assign(energy=[motion_energy(m).mean() for m in maps]))
    frame = pd.concat(frames, ignore_index=True)
    return rounded(frame[["dataset", "model", "clip", "number", "energy", "success", "queries", "charged"]])


def _clips(settings: Settings, identity: str) -> pd.DataFrame:
    before, names = PICTURED[identity]
    rows = []
    for dataset in settings.having(names):
        for model in settings.models:
            kept = run(settings, dataset, model, OURS)
            maps = maps_shown(settings, dataset, model, "mv")
            chosen_rows = _fooled_first(kept.frame).iloc[before : before + 1]
            for place, (_, row) in enumerate(chosen_rows.iterrows()):
                k = int(row["clip"])
                clean, change = _clip_and_change(settings, dataset, model, kept.change, k)
                four = np.arange(4) * clean.shape[1] // 4
                rows.append(
                    {
                        "dataset": dataset,
                        "model": model,
                        "place": place,
                        "clip": k,
                        **_names(dataset, row),
                        "success": int(row["success"]),
                        "queries": int(row["queries"]),
                        "frames": pack(_film(clean, four)),
                        "adversarial": pack(_film(clean + change, four)),
                        "motion": pack(maps[k][0].astype(np.int16)),
                        "whole": pack(_whole(settings, dataset, model, k)),
                    }
                )
    return pd.DataFrame(rows)


def _failed(settings: Settings, datasets: tuple[str, ...]) -> pd.DataFrame:
    parts = []
    for dataset in datasets:
        frame = energies(settings, (dataset,))
        for model in settings.models:
            mine = frame[frame["model"] == model].reset_index(drop=True)
            kept = run(settings, dataset, model, OURS)
            maps = maps_shown(settings, dataset, model, "mv")
            shown = set(mine.loc[mine["success"] == 0, "clip"].iloc[:FAILED])
            pictures = [
                (pack(_whole(settings, dataset, model, k)), pack(maps[k][0].astype(np.int16)))
                if k in shown
                else (NONE, NONE)
                for k in mine["clip"]
            ]
            labels = [_names(dataset, row)["label"] for _, row in kept.frame.iterrows()]
            frames, motion = zip(*pictures, strict=True)
            parts.append(mine.assign(label=labels, frames=frames, motion=motion))
    return pd.concat(parts, ignore_index=True)


def _fooled_first(frame: pd.DataFrame) -> pd.DataFrame:
    """Clips that were fooled in their order, then the others."""
    return frame.sort_values(["success", "clip"], ascending=[False, True])


def _names(dataset: str, row: pd.Series) -> dict[str, str]:
    classes = clips_of(dataset)["classes"]
    return {name: classes[int(row[name])] for name in ("label", "predicted")}


def _clip_and_change(
    settings: Settings, dataset: str, model: str, changes: Tensor, place: int
) -> tuple[Tensor, Tensor]:
    victim, seed = settings.column(dataset).victim(model), settings.seeds()[0]
    return chosen(dataset, victim, seed, range(place, place + 1))[0][0], changes[place]


def _film(clip: Tensor, frames: np.ndarray) -> np.ndarray:
    """Some frames as bytes, shape (frames, height, width, 3)."""
    return np.stack([bytes_of(clip[:, t]) for t in frames])


def _whole(settings: Settings, dataset: str, model: str, place: int) -> np.ndarray:
    """The frame at which a clip's first map ends, as recorded, at half its size; bytes."""
    victim, seed = settings.column(dataset).victim(model), settings.seeds()[0]
    number = chosen(dataset, victim, seed, range(place, place + 1))[2][0]
    whole = load_clips(dataset).whole(number)
    return np.ascontiguousarray(whole[min(GROUP, len(whole)) - 1][::2, ::2])
