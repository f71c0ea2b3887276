"""Figures 4.4 and 4.5 from live objects: real features, the real bank, the real graph (thesis, section 4.4.3).

``training`` describes the training of phase I, ``how`` the second phase
(:class:`~thesislib.dual_phase.method.PhaseTwo`).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from thesislib.dual_phase.exemplar_bank import Bank
from thesislib.dual_phase.memory_retentive import coefficients
from thesislib.dual_phase.method import PhaseTwo, select_bank
from thesislib.dual_phase.runs import Finish, Training, finished, head_of, network
from thesislib.dual_phase.settings import NODES, ROUNDS_SHOWN
from thesislib.longtail.images import images_of
from thesislib.training import predict


def bank_points(training: Training, how: PhaseTwo) -> pd.DataFrame:
    """The two largest head classes and their prototypes, round by round; columns as of ``fig_4_4``.

    Rounds beyond the last repeat its prototype.
    """
    data, model, head = images_of(training.dataset, training.ratio), network(training), head_of(training)
    train = data["train"], data["train_labels"]
    bank = select_bank(
        model, train, head, how.bank, how.rule, seed=training.seed, precision=training.precision
    )
    pair = sorted(int(k) for k in head[:2])
    members = [(train[1] == k).nonzero()[:, 0] for k in pair]
    features = [F.normalize(predict(model[:-1], train[0][m]).float().cpu(), dim=1) for m in members]
    plane = _plane(torch.cat(features))
    place = sorted(int(k) for k in head).index
    rows = []
    for k, mine, feature in zip(pair, members, features, strict=True):
        rounds = sum(torch.isin(mine, chosen).long() for chosen in bank.selected)
        last = torch.isin(mine, bank.indices)
        for number, (x, y) in enumerate(plane(feature).tolist()):
            rows.append((k, f"image {number}", x, y, int(rounds[number]), int(last[number])))
        for number in range(ROUNDS_SHOWN):
            x, y = plane(_prototype(bank, number)[place(k)][None]).tolist()[0]
            rows.append((k, f"prototype {number}", x, y, number, 0))
    return pd.DataFrame(rows, columns=["class", "point", "x", "y", "rounds", "selected"])


def _prototype(bank: Bank, number: int) -> Tensor:
    return bank.prototypes[min(number, len(bank.prototypes) - 1)]


def graph_rows(training: Training, how: PhaseTwo) -> pd.DataFrame:
    """The coefficients over :data:`NODES` training images, two of each of the largest and of the rarest classes;
    columns as of ``fig_4_5``."""
    data, head = images_of(training.dataset, training.ratio), head_of(training)
    train = data["train"], data["train_labels"]
    order = np.argsort(-data["counts"].numpy(), kind="stable")
    classes = [*order[: NODES // 4], *order[-NODES // 4 :]]
    nodes = torch.cat([(train[1] == int(k)).nonzero()[:2, 0] for k in classes])
    old_model = network(training)
    new_model = finished(training, Finish(kind="Phase II", phase_two=how))
    old, new = (
        F.normalize(predict(model[:-1], train[0][nodes]).float().cpu(), dim=1)
        for model in (old_model, new_model)
    )
    weights = coefficients(old, how.temperature)
    squares = torch.cdist(old, new).square()
    plane = _plane(torch.cat([old, new]))
    before, after = plane(old), plane(new)
    rows = [
        (
            i,
            j,
            weights[i, j].item(),
            squares[i, j].item(),
            (weights[i, j] * squares[i, j]).item(),
            *before[i].tolist(),
            *after[i].tolist(),
            int(train[1][nodes[i]]),
            int(np.isin(train[1][nodes[i]].item(), head)),
        )
        for i in range(len(nodes))
        for j in range(len(nodes))
    ]
    columns = [
        "from",
        "to",
        "coefficient",
        "distance",
        "term",
        "x old",
        "y old",
        "x new",
        "y new",
        "class",
        "head",
    ]
    return pd.DataFrame(rows, columns=columns)


def _plane(features: Tensor):
    """Projection on the two main directions, their signs fixed."""
    centre = features.mean(0)
    _, _, directions = torch.linalg.svd(features - centre, full_matrices=False)
    axes = directions[:2]
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    axes = axes * largest.sign()
    return lambda points: (points - centre) @ axes.T
