"""Training throughput on ResNet-32 with images of CIFAR's size, beside a plain loop and beside the limit.

- *Plain loop*: what a user would write, a ``DataLoader`` over a data set with torchvision's transforms, float32,
  the usual memory format.
- *thesislib*: :func:`thesislib.training.fit` at either precision, augmentation and all.
- *Fixed batch*: forward, backward and step on one and the same batch at the same precision and memory format;
  nothing that trains this network by PyTorch's eager operations can be faster.

Rates are images per second of CPU time (of wall time on a GPU), best of the repetitions; rounds are interleaved.
Prints one table and writes nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision import transforms
from tqdm.auto import tqdm

from thesislib.longtail import CropFlip
from thesislib.models.residual import ResNet32
from thesislib.recipe import Recipe, make_optimiser
from thesislib.training import fit, seeded

BATCH = 128
RECIPE = Recipe(epochs=1, batch=BATCH, lr=0.01, weight_decay=2e-4)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=6 * BATCH, help="images a measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(options.images, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(100, size=options.images)
    clock = time.process_time if options.device == "cpu" else time.perf_counter
    runs: dict[str, Callable[[], None]] = {
        "plain loop, float32": lambda: plain(pixels, labels, options.device)
    }
    tensors = torch.from_numpy(pixels).movedim(-1, 1).contiguous(), torch.from_numpy(labels)
    for precision in ("float32", "bf16"):
        runs[f"thesislib, {precision}"] = lambda p=precision: ours(tensors, options.device, p)
        runs[f"fixed batch, {precision}"] = lambda p=precision: fixed(tensors, options.device, p)
    best = dict.fromkeys(runs, float("inf"))
    for _ in tqdm(range(options.rounds), desc="rounds"):
        for name, run in runs.items():
            start = clock()
            run()
            best[name] = min(best[name], clock() - start)
    report({name: options.images / seconds for name, seconds in best.items()})


def report(rates: dict[str, float]) -> None:
    """The table and the two aims."""
    for name, rate in rates.items():
        print(f"{name:24s} {rate:8.0f} images/s")
    fastest = max(("float32", "bf16"), key=lambda p: rates[f"thesislib, {p}"])
    gain = rates[f"thesislib, {fastest}"] / rates["plain loop, float32"]
    share = rates[f"thesislib, {fastest}"] / rates[f"fixed batch, {fastest}"]
    print(
        f"against the plain loop ({fastest}): {gain:.2f} times, aim 1.7, {'met' if gain >= 1.7 else 'missed'}"
    )
    print(f"of the fixed batch: {100 * share:.0f} %, aim 90 %, {'met' if share >= 0.9 else 'missed'}")


def plain(pixels: np.ndarray, labels: np.ndarray, device: str) -> None:
    """An epoch as a user would write it."""
    steps = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    view = transforms.Compose([transforms.ToPILImage(), *steps, transforms.ToTensor()])

    class Images(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(pixels)

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return view(pixels[index]), int(labels[index])

    model = seeded(0, ResNet32).to(device).train()
    optimiser = make_optimiser(model, RECIPE)
    for images, classes in torch.utils.data.DataLoader(Images(), BATCH, shuffle=True):
        loss = F.cross_entropy(model(images.to(device)), classes.to(device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    loss.item()


def ours(data: tuple[Tensor, Tensor], device: str, precision: str) -> None:
    """An epoch of the library."""
    fit(seeded(0, ResNet32), data, RECIPE, augment=CropFlip(4, True), device=device, precision=precision)


def fixed(data: tuple[Tensor, Tensor], device: str, precision: str) -> None:
    """As many steps on one batch that is ready."""
    model = seeded(0, ResNet32).to(device, memory_format=torch.channels_last).train()
    optimiser = make_optimiser(model, RECIPE)
    images = (data[0][:BATCH].to(device).float() / 255).contiguous(memory_format=torch.channels_last)
    labels = data[1][:BATCH].to(device)
    for _ in range(-(-len(data[0]) // BATCH)):
        with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = model(images)
        loss = F.cross_entropy(logits.float(), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    loss.item()


if __name__ == "__main__":
    main()
