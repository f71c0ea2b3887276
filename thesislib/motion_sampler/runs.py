"""Single attacks on a column's clips, kept on disk: what the experiments are put together from.

The attacks' own files do not join the key of every run here, but only that of the runs they made: their hash is
an argument. So an edit of one attack leaves the others' runs in place.

Thesis, section 3.4.

``dataset`` and ``victim`` name what is attacked, ``ids`` its clips, ``size`` the side of a frame, ``seed`` the root
of the streams; ``held_out`` takes the clips that settings are searched on, and never the reported ones.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from thesislib import sources
from thesislib.blackbox import AttackResult, Goal, Victim
from thesislib.blackbox.goals import next_class
from thesislib.memo import memoised, source_hash
from thesislib.motion_sampler.column import TARGETED, VideoVictim
from thesislib.motion_sampler.handcrafted_map import s_value, u_sample
from thesislib.motion_sampler.recorded_maps import maps_of
from thesislib.motion_sampler.victims import clips_of, floats, image_network, network, trained

Options = tuple[tuple[str, object], ...]


@dataclass(frozen=True)
class Case:
    """What an attack is made from apart from the clips.

    Attributes
    ----------
    dataset : str
    victim : VideoVictim
    method : str
        A key of :data:`thesislib.motion_sampler.attacks.METHODS`.
    goal : str
    options : tuple of (name, value)
        Fields of the attack.
    budget : int or None
    chunk : int
    seed : int
    """

    dataset: str
    victim: VideoVictim
    method: str
    goal: str
    options: Options
    budget: int | None = None
    chunk: int = 32
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Kept:
    """An attack as it lies on disk.

    Attributes
    ----------
    frame : DataFrame
        One row a clip: ``clip`` (the place), ``number`` (in the test set, the same for every victim), ``label``,
        ``predicted``, ``success``, ``linf``, ``queries``, ``steps``.
    trace : DataFrame
        One row a clip and check: ``clip``, ``queries``, ``loss``.
    change : Tensor, shape (n, 3, frames, height, width)
        Adversarial less clean, to half precision; zero of a failure.
    """

    frame: pd.DataFrame
    trace: pd.DataFrame
    change: Tensor


def attacked(case: Case, numbers: range, *, held_out: bool = False) -> Kept:
    """Attack some of a column's clips, all at once.

    Parameters
    ----------
    case : Case
    numbers : range
        Places in the sequence of correctly classified test clips.
    held_out : bool
        Count from the end of the test set: clips for choosing settings, which are never reported.
    """
    found = _kept(case.dataset, case, tuple(numbers), held_out, source_of(case.method))
    pixels = np.frombuffer(zlib.decompress(found["change"]), "<f2").reshape(found["shape"])
    change = torch.from_numpy(pixels.astype(np.float32))
    return Kept(pd.DataFrame(found["frame"]), pd.DataFrame(found["trace"]), change)


def attack(
    case: Case, numbers: range, *, held_out: bool = False, watch: Callable | None = None
) -> AttackResult:
    """The same, as the attack returns it."""
    clips, labels, ids = chosen(case.dataset, case.victim, case.seed, numbers, held_out)
    goal = Goal(labels)
    if case.goal == TARGETED:
        goal = Goal(labels, next_class(labels, len(clips_of(case.dataset)["classes"])))
    v = case.victim
    victim = Victim(
        network(case.dataset, v.constructor, v.recipe, case.seed), budget=case.budget, chunk=case.chunk
    )
    extra = {} if watch is None else {"watch": watch}
    return _made(case, ids, clips, **extra)(victim, clips, goal, seed=case.seed, ids=ids)


def chosen(
    dataset: str, victim: VideoVictim, seed: int, numbers: range, held_out: bool = False
) -> tuple[Tensor, Tensor, list[int]]:
    """Correctly classified test clips by their places, their labels and their numbers in the test set.

    Raises
    ------
    ValueError
        If there are not so many.
    """
    correct = trained(dataset, victim.constructor, victim.recipe, seed)["correct"].nonzero()[:, 0]
    if len(numbers) and max(numbers) >= len(correct):
        raise ValueError(
            f"{dataset} has {len(correct)} test clips that {victim.model} classifies correctly, "
            f"{max(numbers) + 1} were asked for; ask for fewer"
        )
    rows = (correct.flip(0) if held_out else correct)[list(numbers)]
    data = clips_of(dataset)
    return floats(data["test"][rows]), data["test_labels"][rows], rows.tolist()


def maps_for(dataset: str, kind: str, ids: list[int], size: tuple[int, int], seed: int) -> dict[int, Tensor]:
    """Motion maps of test clips by their numbers, of a kind that :class:`~thesislib.motion_sampler.attacks.Method`
    names."""
    if kind == "u_sample":
        found = [u_sample(2, *size, seed=seed + number) for number in ids]
    elif kind == "s_value":
        found = [s_value(1, *size)] * len(ids)
    else:
        found = maps_of(dataset, kind, tuple(ids))
    return {number: torch.from_numpy(maps) for number, maps in zip(ids, found, strict=True)}


@functools.cache
def source_of(method: str) -> str:
    """Hash of the files behind an attack, and what its name stands for among those of its class."""
    attacks = _attacks()
    how = attacks.METHODS[method]
    text = sources.code(inspect.getsource(attacks.made))
    return "\n".join([source_hash(inspect.getfile(how.make)), repr(how), text])


@memoised(data="dataset")
def _kept(dataset: str, case: Case, numbers: tuple[int, ...], held_out: bool, code: str) -> dict:
    result = attack(case, numbers, held_out=held_out)
    _, labels, ids = chosen(case.dataset, case.victim, case.seed, numbers, held_out)
    frame = result.to_frame().rename(columns={"image": "clip"})
    if frame["skipped"].any():
        raise ValueError("a clip counted as correctly classified is not")
    frame = frame.assign(clip=list(numbers), number=ids, label=labels.tolist()).drop(
        columns=["skipped", "l2"]
    )
    trace = result.trace().rename(columns={"image": "clip"}).drop(columns="step")
    change = (result.adversarial - result.clean).numpy().astype("<f2")
    return {
        "frame": frame.to_dict("list"),
        "trace": trace.assign(clip=[numbers[k] for k in trace["clip"]]).to_dict("list"),
        "change": zlib.compress(change.tobytes(), 6),
        "shape": change.shape,
    }


def _made(case: Case, ids: list[int], clips: Tensor, **extra: object):
    """The attack object of a case, with the maps or the image network it needs."""
    attacks = _attacks()
    method = attacks.METHODS[case.method]
    fields = inspect.signature(method.make).parameters
    if method.maps:
        extra["maps"] = maps_for(case.dataset, method.maps, ids, tuple(clips.shape[3:]), case.seed)
    if "image_model" in fields:
        extra |= {"image_model": image_network(case.seed), "examples": _examples(case)}
    return attacks.made(case.method, dict(case.options), **extra)


def _attacks():
    """The registry; imported here, so that a key of the cache depends on one attack and not on all."""
    return importlib.import_module("thesislib.motion_sampler.attacks")


def _examples(case: Case) -> dict[int, Tensor]:
    """A training clip of each class, which V-BAD steers towards if it has a target."""
    data = clips_of(case.dataset)
    first = {int(label): k for k, label in reversed(list(enumerate(data["train_labels"])))}
    return {label: floats(data["train"][k]) for label, k in first.items()}
