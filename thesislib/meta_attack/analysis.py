"""Gradient maps against the truth: what the black box hides and an analysis may look at (section 2.4.4).

A ``case`` (:class:`~thesislib.meta_attack.runs.Case`) is the attack looked at, ``numbers`` are images of its data set.
"""

from __future__ import annotations

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from thesislib.blackbox import Attempt, Goal, Victim
from thesislib.blackbox.differences import slopes
from thesislib.memo import memoised
from thesislib.meta_attack.attackers import learnt, meta_attacker
from thesislib.meta_attack.gradient_data import standardised, white_box
from thesislib.meta_attack.meta_attack import MetaAttack
from thesislib.meta_attack.runs import BATCH, Case, attack, chosen_images, source_of, victim_of
from thesislib.meta_attack.stacked import StackedAttackers

FINE_TUNINGS = 4


def watched_rows(case: Case, numbers: range) -> pd.DataFrame:
    """An untargeted meta attack, with the cosine similarity of its maps to the true gradient.

    Returns
    -------
    pandas.DataFrame
        One row an image: ``image``, ``success``, ``l2``, ``queries``, ``cosine 0`` (first map) to ``cosine 4`` (map
        after the fourth fine-tuning); after an image's success its last value stands.
    """
    code = source_of(case.method)
    parts = [
        _watched(case.dataset, case, tuple(numbers[k : k + BATCH]), code)
        for k in range(0, len(numbers), BATCH)
    ]
    return pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)


@memoised(data="dataset")
def _watched(dataset: str, case: Case, numbers: tuple[int, ...], code: str) -> dict[str, list]:
    model = victim_of(case)
    _, labels, _ = chosen_images(case, numbers)
    m = dict(case.options).get("m", MetaAttack.m)
    columns = {1: 0, **{k * m: k for k in range(1, FINE_TUNINGS + 1)}}
    found = torch.full((len(numbers), FINE_TUNINGS + 1), torch.nan, dtype=torch.float64)

    def watch(step: int, rows: Tensor, images: Tensor, maps: Tensor) -> None:
        if step in columns:
            truth = white_box(model, images, Goal(labels[rows])).flatten(1)
            found[rows.cpu(), columns[step]] = F.cosine_similarity(maps, truth).double().cpu()

    result = attack(case, numbers, watch=watch)
    cosines = pd.DataFrame(found.numpy()).ffill(axis=1)
    frame = result.to_frame()[["success", "l2", "queries"]].assign(image=list(numbers))
    return frame.to_dict("list") | {f"cosine {k}": cosines[k].tolist() for k in cosines}


@memoised(data="dataset")
def _similarities(dataset: str, case: Case, numbers: tuple[int, ...], code: str) -> dict[str, list]:
    model, options = victim_of(case), dict(case.options)
    trained, random = (
        meta_attacker(case.dataset, case.learning, kind, case.seed, case.device).to(case.device)
        for kind in ("trained", "random")
    )
    attack_ = MetaAttack(trained, **options)
    clean, labels, ids = chosen_images(case, numbers)
    goal = Goal(labels)
    truth = white_box(model, clean, goal).flatten(1)
    run = Attempt(Victim(model, chunk=case.chunk), clean, goal, seed=case.seed, ids=ids)
    every = torch.arange(len(clean), device=clean.device)
    rows = []

    def note(method: str, maps: Tensor, queries: int) -> None:
        values = F.cosine_similarity(maps.flatten(1), truth).double().tolist()
        rows.extend(
            {"method": method, "image": k, "cosine": value, "queries": queries}
            for k, value in zip(numbers, values, strict=True)
        )

    cost = attack_.q * attack_.sides
    base = run.loss if attack_.sides == 1 else None
    for name, attacker in (("Meta attacker", attack_.attacker), ("Random meta attacker", random)):
        copies = StackedAttackers(attacker, clean, attack_.together)
        maps = copies.maps(clean, every)
        note(name, maps, 0)
        index = maps.abs().topk(attack_.q, dim=1).indices
        sparse = _sparse(run, clean, index, attack_.h, base)
        copies.fine_tune(clean, every, index, standardised(sparse).gather(1, index),
                         steps=attack_.fine_tune_steps, lr=attack_.fine_tune_lr)  # fmt: skip
        note(f"{name}, fine-tuned once", copies.maps(clean, every), cost)
    index = run.streams.coordinates(every, clean[0].numel(), attack_.q)
    note("ZOO, q random pixels", _sparse(run, clean, index, attack_.h, base), cost)
    note("q random directions", _directional(run, clean, cost), cost)
    return {name: [row[name] for row in rows] for name in rows[0]}


def similarity_rows(case: Case, images: int) -> pd.DataFrame:
    """Cosine similarity of six estimates to the true gradient on the first clean images.

    Each estimate may spend as many queries as one fine-tuning of the meta attacker; the two maps as they come
    out of the network spend none.

    Returns
    -------
    pandas.DataFrame
        ``method``, ``image``, ``cosine``, ``queries``.
    """
    code = source_of(case.method)
    batches = (tuple(range(k, min(k + BATCH, images))) for k in range(0, images, BATCH))
    return pd.concat([pd.DataFrame(_similarities(case.dataset, case, batch, code)) for batch in batches])


def held_out_error(case: Case) -> float:
    """Mean squared error of a case's meta attacker on held-out maps of its source models."""
    return learnt(case.dataset, case.learning, case.kind, case.seed, case.device)["error"]


def _sparse(run: Attempt, images: Tensor, index: Tensor, h: float, base: Tensor | None) -> Tensor:
    every = torch.arange(len(images), device=images.device)
    found = slopes(run.ask, images, every, index, h=h, base=base).to(images.dtype)
    return torch.zeros_like(images.flatten(1)).scatter_(1, index, found)


def _directional(run: Attempt, images: Tensor, count: int, smoothing: float = 0.01) -> Tensor:
    """The mean of one-sided differences along random directions, times the direction."""
    every = torch.arange(len(images), device=images.device)
    total = torch.zeros_like(images.flatten(1))
    for _ in range(count):
        u = run.streams.directions(every, 1, total.shape[1])[:, 0]
        probes = (images + smoothing * u.view_as(images)).clamp(0, 1)
        total += ((run.ask(probes, every) - run.loss) / smoothing).to(u.dtype)[:, None] * u
    return total / count
