"""Single attacks on a column's images, kept on disk: what the experiments are put together from.

The attacks' own files do not join the key of every run here, but only that of the runs they made: their hash is
an argument. So an edit of one attack leaves the others' runs in place.

Thesis, section 2.4.

``held_out`` takes the images that settings are searched on, and never the reported ones: those from place 1000 on,
since the thesis attacks a thousand, and MNIST's later images are harder; of a smaller set, the last.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from thesislib.blackbox import AttackResult, Goal, Victim
from thesislib.blackbox.goals import next_class
from thesislib.datasets import fingerprint
from thesislib.memo import memoised, source_hash
from thesislib.meta_attack.attackers import meta_attacker
from thesislib.meta_attack.column import TARGETED, Learning, Network
from thesislib.meta_attack.networks import images_of, network, trained

REPORTED = 1000  # images the thesis attacks: a run reports no more of a set that has more
BATCH = 25  # images attacked at once: a run's memory and what an interruption loses
Options = tuple[tuple[str, object], ...]


@dataclass(frozen=True)
class Case:
    """What an attack is made from apart from the images.

    Attributes
    ----------
    dataset : str
    victim : Network
    learning : Learning
        Of the column; tells the image size and the meta attacker.
    method : str
        A key of :data:`thesislib.meta_attack.attacks.ATTACKS`.
    goal : str
    options : tuple of (name, value)
        Fields of the attack.
    kind : str
        Of the meta attacker, :data:`thesislib.meta_attack.attackers.KINDS`.
    partner : tuple of (dataset, Learning), optional
        Whose meta attacker is used in place of the column's own.
    budget : int or None
    chunk : int
    seed : int
    device : str
        Where networks are trained and attacks run.
    """

    dataset: str
    victim: Network
    learning: Learning
    method: str
    goal: str
    options: Options
    kind: str = "trained"
    partner: tuple[str, Learning] | None = None
    budget: int | None = None
    chunk: int = 64
    seed: int = 0
    device: str = "cpu"


def attack_rows(case: Case, numbers: range, *, held_out: bool = False) -> pd.DataFrame:
    """Attack some of a column's images.

    Parameters
    ----------
    case : Case
    numbers : range
        Places in the sequence of correctly classified test images.
    held_out : bool
        Count from place :data:`REPORTED` on, and where no more are left backwards from there: images for choosing
        settings, which are never reported.

    Returns
    -------
    pandas.DataFrame
        One row an image: ``image`` (the place), ``label``, ``success``, ``l2``, ``linf``, ``queries``, ``steps``.
    """
    code = source_of(case.method)
    if case.partner:
        code += fingerprint(case.partner[0])  # its meta attacker has learnt from other data
    parts = [
        _rows(case.dataset, case, tuple(numbers[k : k + BATCH]), held_out, code)
        for k in range(0, len(numbers), BATCH)
    ]
    return pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)


def attack(
    case: Case, numbers: range, *, held_out: bool = False, watch: Callable | None = None
) -> AttackResult:
    """The same, as the attack returns it."""
    images, labels, ids = chosen_images(case, numbers, held_out)
    goal = Goal(labels)
    if case.goal == TARGETED:
        goal = Goal(labels, next_class(labels, images_of(case.dataset, case.learning.size)["classes"]))
    victim = Victim(victim_of(case), budget=case.budget, chunk=case.chunk)
    extra = {} if watch is None else {"watch": watch}
    return _made(case, **extra)(victim, images, goal, seed=case.seed, ids=ids)


def victim_of(case: Case) -> torch.nn.Module:
    """The trained victim of a case, on its device."""
    v, size = case.victim, case.learning.size
    return network(case.dataset, size, v.name, v.width, v.recipe, v.noise, case.seed, case.device)


def chosen_images(case: Case, numbers: range, held_out: bool = False) -> tuple[Tensor, Tensor, list[int]]:
    """Correctly classified test images by their places, their labels and their numbers in the test set.

    Images and labels are on the case's device.

    Raises
    ------
    ValueError
        If there are not so many.
    """
    v, size = case.victim, case.learning.size
    how = (v.name, v.width, v.recipe, v.noise, case.seed, case.device)
    correct = trained(case.dataset, size, *how)["correct"].nonzero()[:, 0]
    if len(numbers) and max(numbers) >= len(correct):
        raise ValueError(f"{case.dataset} has {len(correct)} test images that {v.name} classifies correctly, "
                         f"image {max(numbers)} was asked for")  # fmt: skip
    if held_out:
        correct = torch.cat([correct[REPORTED:], correct[:REPORTED].flip(0)])
    rows = correct[list(numbers)]
    data = images_of(case.dataset, size)
    images, labels = (data[name][rows].to(case.device) for name in ("test", "test_labels"))
    return images, labels, rows.tolist()


@functools.cache
def source_of(method: str) -> str:
    """Hash of the files behind an attack, those of its trained decoder among them."""
    attacks = _attacks()
    files = [inspect.getfile(attacks.ATTACKS[method])]
    if "decoder" in inspect.signature(attacks.ATTACKS[method]).parameters:
        files.append(inspect.getfile(attacks.DECODER))
    return source_hash(*files)


@memoised(data="dataset")
def _rows(dataset: str, case: Case, numbers: tuple[int, ...], held_out: bool, code: str) -> dict[str, list]:
    result = attack(case, numbers, held_out=held_out)
    _, labels, _ = chosen_images(case, numbers, held_out)
    frame = result.to_frame()
    if frame["skipped"].any():
        raise ValueError("an image counted as correctly classified is not")
    frame = frame.assign(image=list(numbers), label=labels.tolist()).drop(columns=["skipped", "predicted"])
    return frame.to_dict("list")


def _made(case: Case, **extra: object):
    """The attack object of a case, with the network, decoder or pool of images it needs."""
    attacks = _attacks()
    make = attacks.ATTACKS[case.method]
    fields = inspect.signature(make).parameters
    options = dict(case.options) | extra
    if "attacker" in fields:
        dataset, learning = case.partner or (case.dataset, case.learning)
        attacker = meta_attacker(dataset, learning, case.kind, case.seed, case.device)
        if learning.size != case.learning.size:
            attacker = attacker.resized(case.learning.size)
        options["attacker"] = attacker.to(case.device)
    if "decoder" in fields and options.pop("codec", "autoencoder") == "autoencoder":
        found = attacks.DECODER(case.dataset, case.learning.size, case.seed, case.device)
        options["decoder"] = found.to(case.device)
    if "pool" in fields:
        data = images_of(case.dataset, case.learning.size)
        options["pool"] = (data["train"].to(case.device), data["train_labels"].to(case.device))
    return make(**options)


def _attacks():
    """The registry; imported here, so that a key of the cache depends on one attack and not on all."""
    return importlib.import_module("thesislib.meta_attack.attacks")
