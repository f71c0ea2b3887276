"""What joint training with self-supervision costs over cross-entropy alone. Prints tables and writes nothing.

1. A step of ResNet-32 at 32 pixels, batch 128: cross-entropy and variants (ii) to (iv) of figure 5.3, each
   self-supervised method, each bound, in CPU time and in multiples of cross-entropy's, against the multiple that the
   method's passes through the network make up at least. Variant (i) is left out, for it has no joint step: it takes
   one of self-supervision alone and then one of cross-entropy (figure 5.3 has the time of both).
2. Where the time of a step of ours goes: views, first view, key, loss and its gradient, optimiser.

Times are CPU time of the process, interleaved, best of several, so that a busy neighbour disturbs little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thesislib.augment import crop, flip
from thesislib.heterotopic.ensemble import HeterotopicEnsemble, cut
from thesislib.heterotopic.filters import LAST_STAGES, make_filter
from thesislib.heterotopic.mutual_information import BOUNDS
from thesislib.heterotopic.self_supervision import METHODS
from thesislib.heterotopic.views import StrongView
from thesislib.models.residual import ResNet32
from thesislib.training import seeded

# In multiples of cross-entropy's forward and backward pass, the latter as long as two forward: what a step needs at
# least, Filter and heads apart.
LEAST = {"MoCo v2": 4 / 3, "rotation": 2.0, "SimSiam": 2.0, "Barlow Twins": 2.0}
Step = Callable[[], None]


def ensemble(filter: nn.Module, ssl: str = "MoCo v2", bound: str | None = None) -> HeterotopicEnsemble:
    """ResNet-32 for 100 classes with self-supervision."""
    model = seeded(0, ResNet32)
    body, last, head = cut(model, 32)
    made = HeterotopicEnsemble(
        nn.Sequential(*body, *last), head[-1], filter=filter, channels=64, ssl=ssl, bound=bound
    )
    return made.to(memory_format=torch.channels_last)


def views(images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    weak = flip(crop(images, 4, generator), generator)
    return tuple(
        v.contiguous(memory_format=torch.channels_last) for v in (weak, StrongView()(images, generator))
    )


def plain_step(images: Tensor, labels: Tensor) -> Step:
    model = seeded(0, ResNet32).to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        weak = flip(crop(images, 4, generator), generator).contiguous(memory_format=torch.channels_last)
        optimiser.zero_grad()
        F.cross_entropy(model(weak), labels).backward()
        optimiser.step()

    return step


def joint_step(joint: HeterotopicEnsemble, images: Tensor, labels: Tensor) -> Step:
    optimiser = torch.optim.SGD([p for p in joint.parameters() if p.requires_grad], 0.01, momentum=0.9)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        logits, terms = joint.joint(*views(images, generator))
        optimiser.zero_grad()
        (F.cross_entropy(logits, labels) + joint.weighted(terms)).backward()
        optimiser.step()

    return step


def best(steps: dict[str, Step], repeats: int) -> dict[str, float]:
    """CPU seconds of each step, the best of several, interleaved."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats + 1):  # the first warms up
        for name, step in steps.items():
            start = time.process_time()
            step()
            times[name].append(time.process_time() - start)
    return {name: min(found[1:]) for name, found in times.items()}


def parts(joint: HeterotopicEnsemble, images: Tensor, labels: Tensor, repeats: int) -> dict[str, float]:
    """CPU seconds of the parts of a step of ours."""
    generator = torch.Generator().manual_seed(0)
    query, key = views(images, generator)
    branch = joint.branch

    def whole() -> None:
        logits, terms = joint.joint(query, key)
        (F.cross_entropy(logits, labels) + joint.weighted(terms)).backward()

    return best(
        {
            "views": lambda: views(images, generator),
            "first view, forward": lambda: branch.project(branch.trunk(query)),
            "key, forward without gradient": lambda: joint.method.keys(key),
            "forward and backward of everything": whole,
        },
        repeats,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(arguments.batch, 3, 32, 32, generator=generator)
    labels = torch.arange(arguments.batch) % 100
    block = lambda: make_filter("residual block", LAST_STAGES["ResNet-32"])  # noqa: E731
    ours = ensemble(block(), bound="variational Gaussian")
    joints = {
        "(ii) shared space": ensemble(nn.Identity()),
        "(iii) generic feature": ensemble(block()),
        "(iv) ours": ours,
        **{f"(iv) with {name}": ensemble(block(), name, "variational Gaussian") for name in list(METHODS)},
        **{f"(iv) with {name}": ensemble(block(), bound=name) for name in list(BOUNDS)[1:]},
    }
    del joints["(iv) with MoCo v2"]
    steps = {"cross-entropy": plain_step(images, labels)}
    steps |= {name: joint_step(joint, images, labels) for name, joint in joints.items()}
    found = best(steps, arguments.repeats)
    base = found["cross-entropy"]
    print(f"one step, batch {arguments.batch}, {torch.get_num_threads()} thread\n")
    print("| | CPU ms | cross-entropy = 1 | at least |\n|---|---|---|---|")
    for name, seconds in found.items():
        least = next((v for k, v in LEAST.items() if k in name), LEAST["MoCo v2"])
        least = 1.0 if name == "cross-entropy" else least
        print(f"| {name} | {1000 * seconds:.0f} | {seconds / base:.2f} | {least:.2f} |")
    print("\n| part of (iv) ours | CPU ms |\n|---|---|")
    for name, seconds in parts(ours, images, labels, arguments.repeats).items():
        print(f"| {name} | {1000 * seconds:.0f} |")


if __name__ == "__main__":
    main()
