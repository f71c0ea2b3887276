"""Trained meta attackers of a column, kept on disk (thesis, sections 2.3.2 and 2.4.5).

``dataset`` is a column's, ``learning`` how it is trained, ``kind`` what from, ``seed`` its root, ``device`` where.
"""

from __future__ import annotations

import torch

from thesislib.blackbox import Goal, Victim
from thesislib.memo import memoised
from thesislib.meta_attack.column import Learning, Network
from thesislib.meta_attack.gradient_data import estimated, standardised, white_box
from thesislib.meta_attack.meta_attacker import MetaAttacker
from thesislib.meta_attack.networks import images_of, network
from thesislib.meta_attack.reptile import Task, error_of, reptile, vanilla
from thesislib.training import seeded

KINDS = ("trained", "random", "vanilla", "estimated", "white-box few")
"""Ways to come by a meta attacker; :func:`learnt` says what each is."""

GPU_CHUNK = 2048  # images sent to a network at once; 64 suit a processor's cache
HELD_OUT = 100  # test images a source on which learning is monitored, as in the released code


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
        maps of the source models), ``queries`` (to each source model).
    """
    data = images_of(dataset, learning.size)
    start = seeded(seed, lambda: MetaAttacker(data["channels"], learning.size, width=learning.width))
    start = start.to(device)
    held_out = _joined(
        [_task(dataset, learning, source, "held out", seed, device)[0] for source in learning.sources]
    )
    if kind == "random":
        error = error_of(start, *held_out)
        return {
            "weights": start.cpu().state_dict(),
            "history": {},
            "error": error,
            "queries": 0,
        }
    made = [_task(dataset, learning, source, kind, seed, device) for source in learning.sources]
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
    dataset: str, learning: Learning, source: Network, kind: str, seed: int, device: str
) -> tuple[Task, int]:
    """Images and maps of one source model, and the queries that the maps cost."""
    data = images_of(dataset, learning.size)
    how = (source.name, source.width, source.recipe, source.noise)
    model = network(dataset, learning.size, *how, seed, device)
    few = kind in ("estimated", "white-box few")
    part, count = (
        ("test", HELD_OUT) if kind == "held out" else ("train", learning.few if few else learning.images)
    )
    images, goal = data[part][:count].to(device), Goal(data[f"{part}_labels"][:count].to(device))
    if kind == "estimated":
        victim = Victim(model, chunk=64 if device == "cpu" else GPU_CHUNK)
        return (images, standardised(estimated(victim, images, goal))), 2 * images[0].numel() * len(images)
    return (images, standardised(white_box(model, images, goal))), 0


def _joined(tasks: list[Task]) -> Task:
    images, maps = (torch.cat(part) for part in zip(*tasks, strict=True))
    return images, maps
