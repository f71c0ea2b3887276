"""Trained meta attackers of a column, kept on disk (thesis, sections 2.3.2 and 2.4.5).

``dataset`` is a column's, ``learning`` how it is trained, ``kind`` what from, ``seed`` its root, ``device`` where.
"""

from __future__ import annotations

import torch

from thesislib.blackbox import Goal, Victim
from thesislib.memo import memoised
from thesislib.meta_attack.column import Learning
from thesislib.meta_attack.gradient_data import estimated, standardised, white_box
from thesislib.meta_attack.meta_attacker import MetaAttacker
from thesislib.meta_attack.networks import images_of, network, source_seed
from thesislib.meta_attack.reptile import Task, error_of, reptile, vanilla
from thesislib.training import seeded

KINDS = ("trained", "random", "vanilla", "estimated", "white-box few")
"""Ways to come by a meta attacker; :func:`learnt` says what each is."""

GPU_CHUNK = 2048  # images sent to a network at once; 64 suit a processor's cache
# Test images a source on which learning is monitored, as in the released code; the last, since the first are attacked.
HELD_OUT = 100


def meta_attacker(dataset: str, learning: Learning, kind: str, seed: int, device: str) -> MetaAttacker:
    """A meta attacker of one of :data:`KINDS`, on the CPU; see :func:`learnt`."""
    data = images_of(dataset, learning.size)
    attacker = MetaAttacker(data["channels"], learning.size, width=learning.width)
    attacker.load_state_dict(learnt(dataset, learning, kind, seed, device)["weights"])
    return attacker


@memoised(data="dataset")
def learnt(dataset: str, learning: Learning, kind: str, seed: int, device: str) -> dict:
    """Learn a meta attacker from the gradients of a column's source models.

    Parameters
    ----------
    dataset : str
    learning : Learning
    kind : str
        ``trained``: Reptile on white-box gradients. ``random``: its start. ``vanilla``: ordinary training on the
        same maps. ``estimated``: Reptile on gradients estimated by queries, of ``learning.few`` images a source;
        ``white-box few``: on true gradients of the same images.
    seed : int
        Of weights and sampling; all kinds start from the same weights.
    device : str
        Where it is trained, and its source models were.

    Returns
    -------
    dict
        ``weights`` (a state dict, on the CPU), ``history`` (columns of the learning curve), ``error`` (on held-out
        maps of the source models, of the last test images),
        ``queries`` (to each source model).
    """
    data = images_of(dataset, learning.size)
    start = seeded(seed, lambda: MetaAttacker(data["channels"], learning.size, width=learning.width))
    start = start.to(device)
    held_out = _joined(
        [_task(dataset, learning, k, "held out", seed, device)[0] for k in range(len(learning.sources))]
    )
    if kind == "random":
        error = error_of(start, *held_out)
        return {
            "weights": start.cpu().state_dict(),
            "history": {},
            "error": error,
            "queries": 0,
        }
    made = [_task(dataset, learning, k, kind, seed, device) for k in range(len(learning.sources))]
    tasks, how = [task for task, _ in made], learning.reptile
    if kind == "vanilla":
        best, history = vanilla(start, tasks, held_out, how, lr=learning.vanilla_lr, seed=seed)
    else:
        best, history = reptile(start, tasks, held_out, how, seed=seed)
    return {
        "weights": best.cpu().state_dict(),
        "history": history.to_dict("list"),
        "error": float(history["error"].min()),
        "queries": max(queries for _, queries in made),
    }


def _task(
    dataset: str, learning: Learning, number: int, kind: str, seed: int, device: str
) -> tuple[Task, int]:
    """Images and maps of the source model at a place among them, and the queries that the maps cost."""
    data, source = images_of(dataset, learning.size), learning.sources[number]
    how = (source.name, source.width, source.recipe, source.noise, source_seed(seed, number))
    model = network(dataset, learning.size, *how, device)
    if kind == "held out":
        part, some = "test", slice(-HELD_OUT, None)
    else:
        few = kind in ("estimated", "white-box few")
        part, some = "train", slice(learning.few if few else learning.images)
    images, goal = data[part][some].to(device), Goal(data[f"{part}_labels"][some].to(device))
    if kind == "estimated":
        victim = Victim(model, chunk=64 if device == "cpu" else GPU_CHUNK)
        return (images, standardised(estimated(victim, images, goal))), 2 * images[0].numel() * len(images)
    return (images, standardised(white_box(model, images, goal))), 0


def _joined(tasks: list[Task]) -> Task:
    images, maps = (torch.cat(part) for part in zip(*tasks, strict=True))
    return images, maps
