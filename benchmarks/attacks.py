"""Black-box attacks beside their peers and beside the bare victim. Prints tables and writes nothing.

1. The ceiling: queries per CPU second of the victim alone, at several batch sizes, and of this library's ZOO
   when it sends its probes in batches of that size.
2. Every attack on the same images of the same victim. A query is one image through the victim's forward,
   counted here for all of them; no attack's own counter is believed, and this library's is checked.
3. The aims for ZOO, met or missed.

Times are CPU time of the process, so that a busy neighbour disturbs little. Run with the interpreter of this
folder's own environment, see README.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from thesislib.blackbox import Goal, Victim
from thesislib.meta_attack.autozoom import AutoZOOM
from thesislib.meta_attack.bandits import Bandits
from thesislib.meta_attack.fw_black import FWBlack
from thesislib.meta_attack.meta_attack import MetaAttack
from thesislib.meta_attack.meta_attacker import MetaAttacker
from thesislib.meta_attack.networks import images_of
from thesislib.meta_attack.zoo import ZOO
from thesislib.training import Recipe, fit, predict, seeded

EPS = 0.2  # L-infinity radius of the peers that need one
BUDGET = 5000  # queries an image, of those of ours that end by success only
CHUNKS = (1, 16, 32, 64, 128, 256, 1024)
SWEEP = 5  # steps of ZOO in table 1

# The paper's settings for MNIST, with one value of c and fewer steps, so that a row takes minutes; h is 0.01,
# since float32 resolves no difference of 1e-4. The same for ART and for ours.
PAPER = {"lr": 0.01, "c": 10.0, "q": 128, "h": 0.01, "max_steps": 300}

Attack = Callable[["Metered", Tensor, Tensor, int], Tensor]
"""Victim, images, labels and seed to adversarial images."""


class Metered(nn.Module):
    """The victim, with queries, forwards and the CPU seconds inside them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.reset()

    def reset(self) -> None:
        self.queries, self.forwards, self.seconds = 0, 0, 0.0

    def forward(self, images: Tensor) -> Tensor:
        began = time.process_time()
        logits = self.net(images)
        self.seconds += time.process_time() - began
        self.queries += len(images)
        self.forwards += 1
        return logits


@dataclass(frozen=True)
class Measured:
    """One run of one attack; per image where it says so. Times are in CPU seconds."""

    success: float
    queries: float
    batch: float
    ms: float
    share: float
    rate: float
    l2: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3, help="medians are over these")
    parser.add_argument("--only", default="", help="attacks whose name contains this text")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    victim, images, labels = prepare(arguments.images)
    names = ("torch", "numpy", "adversarial-robustness-toolbox", "foolbox", "torchattacks")
    print(", ".join(f"{name} {version(name)}" for name in names))
    best = ceiling(victim, images, labels, arguments.seeds)
    attacks = {name: attack for name, attack in (peers() | ours(best)).items() if arguments.only in name}
    runs: dict[str, list[Measured]] = {name: [] for name in attacks}
    # Interleaved: whatever the machine does meanwhile, it does to all.
    order = [(seed, name) for seed in range(arguments.seeds) for name in attacks]
    for seed, name in tqdm(order, desc="attacks", leave=False):
        runs[name].append(measure(attacks[name], victim, images, labels, seed))
    table(runs, len(images))
    if {OURS, SHIPPED} <= runs.keys():
        aims(runs)


def prepare(count: int) -> tuple[Metered, Tensor, Tensor]:
    """The victim, two convolutions on digits at 28 pixels, and test images that it gets right."""
    data = images_of("digits", 28)
    net = seeded(
        0,
        lambda: nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, 10)),
        ),
    )
    fit(net, (data["train"], data["train_labels"]), Recipe(epochs=15, batch=64, optimiser="Adam", lr=1e-3))
    right = predict(net, data["test"]).argmax(1) == data["test_labels"]
    print(
        f"victim: {sum(p.numel() for p in net.parameters()):,} parameters, accuracy {right.double().mean():.3f}"
    )
    victim = Metered(net.requires_grad_(False)).eval()
    return victim, data["test"][right][:count], data["test_labels"][right][:count]


def measure(attack: Attack, victim: Metered, images: Tensor, labels: Tensor, seed: int) -> Measured:
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002, ART draws from it
    victim.reset()
    began = time.process_time()
    adversarial = attack(victim, images.clone(), labels.clone(), seed).detach().float()
    spent, n = time.process_time() - began, len(images)
    hit = victim.net(adversarial).argmax(1) != labels
    l2 = (adversarial - images).flatten(1).norm(dim=1)[hit]
    return Measured(
        success=hit.double().mean().item(),
        queries=victim.queries / n,
        batch=victim.queries / victim.forwards,
        ms=1e3 * spent / n,
        share=victim.seconds / spent,
        rate=victim.queries / spent,
        l2=l2.mean().item() if len(l2) else float("nan"),
    )


# ---- table 1


def ceiling(victim: Metered, images: Tensor, labels: Tensor, seeds: int) -> int:
    """Print the rates at each batch size; the size at which ZOO is fastest."""
    bare: dict[int, list[float]] = {chunk: [] for chunk in CHUNKS}
    zoo: dict[int, list[Measured]] = {chunk: [] for chunk in CHUNKS}
    for seed in range(seeds):
        for chunk in CHUNKS:
            bare[chunk].append(bare_rate(victim.net, images, chunk))
            attack = of_ours(ZOO(**PAPER | {"max_steps": SWEEP}), chunk)
            zoo[chunk].append(measure(attack, victim, images, labels, seed))
    print(
        f"\nqueries per CPU second by batch size, median of {seeds}; ZOO: {SWEEP} steps, {len(images)} images"
    )
    print(f"  {'batch':>6s} {'bare victim':>12s} {'ZOO':>8s} {'ZOO / bare':>11s} {'in forward':>11s}")
    for chunk in CHUNKS:
        alone, ridden = statistics.median(bare[chunk]), middle(zoo[chunk], "rate")
        share = middle(zoo[chunk], "share")
        print(f"  {chunk:6d} {alone:12,.0f} {ridden:8,.0f} {ridden / alone:11.2f} {share:11.1%}")
    best = max(CHUNKS, key=lambda chunk: middle(zoo[chunk], "rate"))
    print(f"  ZOO is fastest at {best}, the batch size of ours below")
    return best


@torch.inference_mode()
def bare_rate(net: nn.Module, images: Tensor, chunk: int, seconds: float = 0.5) -> float:
    batch = images[torch.arange(chunk) % len(images)].contiguous(memory_format=torch.channels_last)
    net(batch)
    done, began = 0, time.process_time()
    while (spent := time.process_time() - began) < seconds:
        net(batch)
        done += chunk
    return done / spent


# ---- the attacks


def of_ours(attack: Callable, chunk: int, budget: int | None = None) -> Attack:
    def run(victim: Metered, images: Tensor, labels: Tensor, seed: int) -> Tensor:
        result = attack(Victim(victim, budget=budget, chunk=chunk), images, Goal(labels), seed=seed)
        assert int(result.spent.sum()) == victim.queries, "the library's own count is wrong"
        return result.adversarial

    return run


OURS = "thesislib ZOO, same settings"


def ours(chunk: int) -> dict[str, Attack]:
    """ZOO as ART is given it, the others with the settings of the MNIST column."""
    start = seeded(0, lambda: MetaAttacker(1, 28))
    return {
        OURS: of_ours(ZOO(**PAPER), chunk),
        "thesislib MetaAttack, untrained": of_ours(MetaAttack(start), chunk, BUDGET),
        "thesislib AutoZOOM, bilinear": of_ours(AutoZOOM(lr=0.003), chunk, BUDGET),
        "thesislib Bandits": of_ours(Bandits(eps=2.2), chunk, BUDGET),
        "thesislib FW-black": of_ours(FWBlack(eps=2.2, directions=10), chunk, BUDGET),
    }


SHIPPED = "ART ZooAttack, as shipped"


def peers() -> dict[str, Attack]:
    return {
        SHIPPED: art_zoo(),
        "ART ZooAttack, predicting 1024 at once": art_zoo(at_least=1024),
        "foolbox HopSkipJump, 10 steps": foolbox_hop_skip_jump,
        "torchattacks Square, 1000 queries": of_torchattacks("Square", seeded=True, n_queries=1000),
        "torchattacks SPSA, 20 steps of 2 x 128": of_torchattacks("SPSA", nb_iter=20),
    }


def art_zoo(at_least: int = 1) -> Attack:
    """ART's ZOO; `at_least` many images a forward, where there are so many, whatever the attack asks for."""
    from art.attacks.evasion import ZooAttack
    from art.estimators.classification import PyTorchClassifier

    class Classifier(PyTorchClassifier):
        def predict(self, x, batch_size=128, **rest):
            return super().predict(x, batch_size=max(batch_size, at_least), **rest)

    def run(victim: Metered, images: Tensor, labels: Tensor, seed: int) -> Tensor:
        model = Classifier(
            victim,
            nn.CrossEntropyLoss(),
            input_shape=(1, 28, 28),
            nb_classes=10,
            clip_values=(0.0, 1.0),
            device_type="cpu",
        )
        attack = ZooAttack(
            model,
            learning_rate=PAPER["lr"],
            initial_const=PAPER["c"],
            nb_parallel=PAPER["q"],
            variable_h=PAPER["h"],
            max_iter=PAPER["max_steps"],
            binary_search_steps=1,
            use_resize=False,
            use_importance=False,
            verbose=False,
        )
        return torch.from_numpy(attack.generate(images.numpy(), labels.numpy()))

    return run


def foolbox_hop_skip_jump(victim: Metered, images: Tensor, labels: Tensor, seed: int) -> Tensor:
    import foolbox

    model = foolbox.PyTorchModel(victim, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.HopSkipJumpAttack(
        steps=10, initial_gradient_eval_steps=100, max_gradient_eval_steps=1000
    )
    return attack(model, images, labels, epsilons=None)[1]


def of_torchattacks(name: str, *, seeded: bool = False, **settings) -> Attack:
    def run(victim: Metered, images: Tensor, labels: Tensor, seed: int) -> Tensor:
        import torchattacks

        own = {"seed": seed} if seeded else {}
        attack = getattr(torchattacks, name)(victim, eps=EPS, **settings, **own)
        attack.set_device("cpu")
        return attack(images, labels)

    return run


# ---- tables 2 and 3


def middle(runs: list[Measured], column: str) -> float:
    return statistics.median(getattr(run, column) for run in runs)


def table(runs: dict[str, list[Measured]], images: int) -> None:
    seeds = max(len(found) for found in runs.values())
    print(f"\n{images} images, median of {seeds} seeds (success: least to most)")
    print(
        f"  {'':40s}{'success':>18s}{'queries':>9s}{'images a':>10s}{'CPU ms':>9s}{'in':>9s}{'queries':>9s}{'L2':>7s}"
    )
    print(f"  {'':40s}{'':>18s}{'/ image':>9s}{'forward':>10s}{'/ image':>9s}{'forward':>9s}{'/ CPU s':>9s}")
    for name, found in runs.items():
        success = sorted(run.success for run in found)
        hits = f"{statistics.median(success):.2f} ({success[0]:.2f}-{success[-1]:.2f})"
        queries, batch, ms, share, rate, l2 = (
            middle(found, column) for column in ("queries", "batch", "ms", "share", "rate", "l2")
        )
        print(
            f"  {name:40s}{hits:>18s}{queries:9,.0f}{batch:10.1f}{ms:9,.1f}{share:9.1%}{rate:9,.0f}{l2:7.2f}"
        )


def aims(runs: dict[str, list[Measured]]) -> None:
    zoo = runs[OURS]
    times = statistics.median(
        theirs.ms / mine.ms for theirs, mine in zip(runs[SHIPPED], zoo, strict=True)
    )  # of the same seed, run within minutes of each other
    least, l2, share = min(run.success for run in zoo), middle(zoo, "l2"), middle(zoo, "share")
    found = {
        f"success 1.00 with every seed: {least:.2f}": least == 1,
        f"L2 at most 2.1: {l2:.2f}": l2 <= 2.1,
        f"at least 95 % of CPU time in the victim's forward: {share:.1%}": share >= 0.95,
        f"at least 3 times the images per CPU second of ART's as shipped: {times:.1f}": times >= 3,
    }
    print("\naims for ZOO")
    for aim, met in found.items():
        print(f"  {'met   ' if met else 'MISSED'}  {aim}")


if __name__ == "__main__":
    import warnings

    warnings.filterwarnings("ignore")  # of the peers, about their own dependencies
    main()
