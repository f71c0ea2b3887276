"""Attacks on clips beside the bare victim. Prints tables and writes nothing.

1. The ceiling: clips per CPU second of the victim alone, at several batch sizes.
2. Every attack on the same clips: queries per CPU second, and its share of the ceiling. Queries are counted here,
   by rows through the victim's forward.
3. The motion-excited sampler on all clips at once against one clip at a time.
4. The share of the ceiling with a victim of the thesis's size: the larger the victim, the less the attack costs.

Victims have random weights and never change their answer, so every attack runs its full number of iterations.
Times are CPU time of the process.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor, nn

from thesislib.blackbox import Goal, Victim
from thesislib.models.cifar import ResNet18
from thesislib.models.video import i3d, small_i3d, small_tsn2d
from thesislib.motion_sampler.bandits import EBandits
from thesislib.motion_sampler.me_sampler import MESampler
from thesislib.motion_sampler.nes import ENES
from thesislib.motion_sampler.sampler import NoiseSampler
from thesislib.motion_sampler.vbad import VBAD

FRAMES, SIZE, CLASSES = 8, 32, 10
CHUNKS = (1, 8, 16, 32, 64, 128)


class Metered(nn.Module):
    """The victim, with its rows counted and its answer kept: class 0."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.rows = net, 0

    def forward(self, clips: Tensor) -> Tensor:
        self.rows += len(clips)
        scores = self.net(clips)
        return torch.cat((scores[:, :1] + 100, scores[:, 1:]), dim=1)


def ceiling(net: nn.Module, clips: Tensor, repeats: int) -> dict[int, float]:
    """Clips per CPU second by batch size, best of some repeats."""
    found = {}
    with torch.inference_mode():
        for chunk in CHUNKS:
            best = float("inf")
            for _ in range(repeats):
                began = time.process_time()
                for part in clips.split(chunk):
                    net(part)
                best = min(best, time.process_time() - began)
            found[chunk] = len(clips) / best
    return found


def rate(attack, victim: Metered, clips: Tensor, chunk: int, groups: int) -> float:
    """Queries per CPU second when the clips are attacked in so many groups."""
    victim.rows, began = 0, time.process_time()
    for rows in torch.arange(len(clips)).chunk(groups):
        goal = Goal(torch.zeros(len(rows), dtype=torch.int64))
        attack(Victim(victim, chunk=chunk), clips[rows], goal, ids=rows.tolist())
    return victim.rows / (time.process_time() - began)


def full_size(size: int = 112, clips: int = 2, steps: int = 2) -> None:
    """I3D as published, on clips of that size: attack and bare victim in turn, one batch both."""
    torch.manual_seed(0)
    victim = Metered(i3d(CLASSES).eval().requires_grad_(False)).eval()
    shown = torch.rand(clips, 3, FRAMES, size, size)
    maps = list(torch.randint(-20, 20, (clips, 2, size, size, 2)))
    print(f"\nI3D of the published size, {FRAMES} frames of {size} pixels")
    for label, attack in {
        "ME-Sampler, a map a frame": MESampler(maps, NoiseSampler(assignment="per frame"), max_steps=steps),
        "E-Bandits": EBandits(max_steps=steps),
    }.items():
        shares = []
        for _ in range(3):
            began = time.process_time()
            with torch.inference_mode():
                for _ in range(steps):
                    victim.net(shown.repeat_interleave(2, 0))  # the batches that the attack asks for
                    victim.net(shown)
                victim.net(shown)
            bare = time.process_time() - began
            mine = clips * (3 * steps + 1) / rate(attack, victim, shown, 2 * clips, 1)
            shares.append(100 * bare / mine)
        print(f"  {label:28s} {sorted(shares)[1]:4.0f} % of the bare victim's rate")


def main() -> None:
    """All tables for both victims."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    clips = torch.rand(args.clips, 3, FRAMES, SIZE, SIZE, generator=generator)
    blocks = torch.randint(-20, 20, (args.clips, 2, SIZE // 4, SIZE // 4, 2), generator=generator)
    maps = list(blocks.repeat_interleave(4, 2).repeat_interleave(4, 3))
    image_model = ResNet18(width=0.125).eval().requires_grad_(False)
    attacks = {
        "ME-Sampler, shared maps": MESampler(maps, max_steps=10),
        "ME-Sampler, a map a frame": MESampler(maps, NoiseSampler(assignment="per frame"), max_steps=10),
        "multi-noise": MESampler(noise=NoiseSampler("multi-noise"), max_steps=10),
        "E-Bandits": EBandits(max_steps=10),
        "E-NES, 5 pairs": ENES(samples=5, max_steps=3),
        "V-BAD, 5 pairs": VBAD(image_model, samples=5, max_steps=3),
    }
    for name, make in (("I3D", small_i3d), ("TSN2D", small_tsn2d)):
        torch.manual_seed(0)
        victim = Metered(make(CLASSES).eval().requires_grad_(False)).eval()
        found = ceiling(victim, torch.rand(256, 3, FRAMES, SIZE, SIZE), args.repeats)
        best = max(found, key=found.get)
        print(f"\n{name}: clips per CPU second of the bare victim")
        print("  " + "  ".join(f"{chunk}: {value:.0f}" for chunk, value in found.items()))
        print(f"  attacks on {args.clips} clips at once, in batches of {best}; aim 90 % of {found[best]:.0f}")
        for label, attack in attacks.items():
            value = max(rate(attack, victim, clips, best, 1) for _ in range(args.repeats))
            print(f"  {label:28s} {value:6.0f} queries/s  {100 * value / found[best]:4.0f} %")
        alone = rate(attacks["ME-Sampler, shared maps"], victim, clips[:8], best, 8)
        print(f"  ME-Sampler, one clip at a time {alone:4.0f} queries/s")
    full_size()


if __name__ == "__main__":
    main()
