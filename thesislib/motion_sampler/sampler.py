"""The motion-excited sampler: noise rearranged by a motion map, the sparked prior (thesis, section 3.3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from thesislib.blackbox.streams import Streams
from thesislib.blackbox.victim import is_whole

SAMPLERS = ("look-up", "warp", "one-noise", "multi-noise")
ASSIGNMENTS = ("shared", "per frame")
Maps = Sequence[Tensor] | Mapping[int, Tensor]
"""Motion maps of each clip by its number (`ids` of the attack): integers, shape (maps, height, width, 2), x first."""


def look_up(noise: Tensor, motion: Tensor) -> Tensor:
    """Noise read at the place that the motion names: ``r[c, i, j] = noise[c, y(i, j), x(i, j)]``.

    No identity grid is added, as in the released code, so pixels of equal motion get equal noise. The smallest
    entry of each map is subtracted first.

    Parameters
    ----------
    noise : Tensor, shape (n, channels, rows, columns)
        Any size that holds the map's range, :func:`reach` of it; independent numbers make the same pattern
        then, in distribution.
    motion : Tensor of integers, shape (n, ..., height, width, 2)
        Displacements, x first; axes between are frames.

    Returns
    -------
    Tensor, shape (n, channels, ..., height, width)

    Raises
    ------
    ValueError
        If the noise is smaller than the range, there is not one for each motion, or the motion is no integers.
    """
    if motion.is_floating_point() or len(noise) != len(motion):
        raise ValueError(
            f"{len(noise)} noises and {len(motion)} motions of {motion.dtype}; expected as many, and integers of pixels"
        )
    rows, columns = noise.shape[2:]
    if motion.numel() and reach(motion) > min(rows, columns):
        raise ValueError(f"noise of {rows} x {columns} pixels, but the motion ranges over {reach(motion)}")
    flat = places(motion, columns).flatten(1)[:, None].expand(-1, noise.shape[1], -1)
    return noise.flatten(2).gather(2, flat).view(*noise.shape[:2], *motion.shape[1:-1])


def warp(noise: Tensor, motion: Tensor) -> Tensor:
    """Noise displaced by the motion: ``r[c, i, j] = noise[c, i + y(i, j), j + x(i, j)]``, zero outside.

    The other reading of the method, of a third party's code; bilinear, so motion may be fractional.
    Parameters and result as for :func:`look_up`, the noise as large as the map.
    """
    height, width = motion.shape[-3:-1]
    if noise.shape[2:] != (height, width):
        raise ValueError(f"noise of {tuple(noise.shape[2:])} pixels, but the map has {(height, width)}")
    rows = torch.arange(height, device=noise.device, dtype=noise.dtype)[:, None]
    columns = torch.arange(width, device=noise.device, dtype=noise.dtype)
    x, y = motion.to(noise.dtype).unbind(-1)
    grid = torch.stack((_unit(columns + x, width), _unit(rows + y, height)), dim=-1)
    frames = grid.flatten(1, -3)  # frames one below the other, so that one call does them all
    sampled = F.grid_sample(noise, frames, mode="bilinear", padding_mode="zeros", align_corners=True)
    return sampled.view(*noise.shape[:2], *motion.shape[1:-1])


def positive(motion: Tensor) -> Tensor:
    """Each map less its smallest entry, over both directions and all pixels; int64."""
    motion = motion.long()
    return motion - motion.flatten(-3).amin(-1)[..., None, None, None]


def places(motion: Tensor, columns: int) -> Tensor:
    """Where the look-up reads, counted row by row in noise of so many columns; shape (..., height, width)."""
    x, y = positive(motion).unbind(-1)
    return y * columns + x


def reach(motion: Tensor) -> int:
    """Side of the noise that maps read: the widest range of one of them, plus one."""
    return int(positive(motion).amax()) + 1


@dataclass(frozen=True)
class NoiseSampler:
    """Draws the pattern along which an iteration estimates the gradient.

    Attributes
    ----------
    sampler : str
        ``look-up`` or ``warp``: one frame of noise read through the motion map. Without motion: ``one-noise``,
        one frame of noise for the whole clip, and ``multi-noise``, each frame its own (Table 3.3).
    assignment : str
        ``shared``: all frames use one map, the next one every `period` iterations, as in the released code.
        ``per frame``: frame t of T stands for the middle of its T-th of the clip and uses map
        ``floor((t + 1/2) * maps / T)``, in every iteration.
    period : int
        Iterations that a shared map serves.
    scale : float
        Of the displacements of a warp: pixels of a frame for one of the map, whose clip may be larger.

    Raises
    ------
    ValueError
        If a name is unknown or a number too small.
    """

    sampler: str = "look-up"
    assignment: str = "shared"
    period: int = 10
    scale: float = 1.0

    def __post_init__(self) -> None:
        for name, known in (("sampler", SAMPLERS), ("assignment", ASSIGNMENTS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} = {getattr(self, name)!r} is not one of {', '.join(known)}")
        if not is_whole(self.period) or self.period < 1 or not self.scale > 0:
            raise ValueError(f"period = {self.period}, scale = {self.scale}; expected 1 or more, and above 0")

    @property
    def needs_maps(self) -> bool:
        return self.sampler in ("look-up", "warp")

    def frames(self, clips: Tensor) -> int:
        """Frames of a pattern: 1 if it is the same for all."""
        several = self.sampler == "multi-noise" or (self.needs_maps and self.assignment == "per frame")
        return clips.shape[2] if several else 1

    def draw(self, streams: Streams, live: Tensor, motion: Motion | None, clips: Tensor, step: int) -> Tensor:
        """Patterns of the clips under attack in iteration `step`, from 0.

        Parameters
        ----------
        streams : Streams
            Of the clips' random numbers.
        live : Tensor of int64
            Numbers of the clips under attack.
        motion : Motion, optional
            Where the sampler reads maps.
        clips : Tensor, shape (n, channels, frames, height, width)
        step : int

        Returns
        -------
        Tensor, shape (len(live), channels, 1 or frames, height, width)
        """
        channels, frames, height, width = clips.shape[1:]
        if not self.needs_maps:
            return streams.normal(live, (channels, self.frames(clips), height, width))
        assert motion is not None
        picked = self._picked(motion, live, frames, step)
        if self.sampler == "warp":
            maps = torch.stack([mine.maps[turns] for mine, turns in picked])
            return warp(streams.normal(live, (channels, height, width)), self.scale * maps)
        patterns = []
        for row, (mine, turns) in zip(live, picked, strict=True):
            noise = streams.normal(row[None], (channels, mine.side**2))[
                0
            ]  # a table: small beside a frame of noise
            patterns.append(noise.index_select(1, mine.places[turns].flatten()))
        return torch.stack(patterns).view(len(live), channels, -1, height, width)

    def _picked(
        self, motion: Motion, live: Tensor, frames: int, step: int
    ) -> list[tuple[ClipMotion, Tensor]]:
        """The maps of each clip and which of them the frames read, one or one for each frame."""
        found = []
        for row in live.tolist():
            mine = motion.clips[row]
            count = len(mine.maps)
            if self.assignment == "per frame":
                middles = 2 * torch.arange(frames, device=live.device) + 1
                turns = middles * count // (2 * frames)
            else:
                turns = torch.tensor([step // self.period % count], device=live.device)
            found.append((mine, turns))
        return found


@dataclass(frozen=True, eq=False)
class ClipMotion:
    """The maps of one clip, the side of the noise they read, and where they read it."""

    maps: Tensor
    side: int
    places: Tensor


class Motion:
    """The maps of a batch of clips.

    Parameters
    ----------
    maps : sequence or mapping
        By number; see :data:`Maps`.
    ids : sequence of int
        Numbers of the batch's clips.
    clips : Tensor, shape (n, channels, frames, height, width)

    Raises
    ------
    ValueError
        If a clip has no map, or its maps have another shape or are no integers.
    """

    def __init__(self, maps: Maps, ids: Sequence[int], clips: Tensor) -> None:
        size = tuple(clips.shape[3:])
        self.clips: list[ClipMotion] = []
        for number in map(int, ids):  # a tensor's numbers are no keys of a mapping
            try:
                found = torch.as_tensor(maps[number])
            except (KeyError, IndexError):
                raise ValueError(f"clip {number} has no motion map; there are {len(maps)}") from None
            if found.dim() != 4 or found.shape[1:] != (*size, 2) or not len(found):
                raise ValueError(
                    f"clip {number}: motion maps have shape {tuple(found.shape)}, "
                    f"expected (maps, {size[0]}, {size[1]}, 2)"
                )
            if found.is_floating_point():
                raise ValueError(f"clip {number}: motion maps are {found.dtype}, expected integers of pixels")
            found, side = found.to(clips.device), reach(found)
            self.clips.append(ClipMotion(found, side, places(found, side)))


def _unit(places: Tensor, size: int) -> Tensor:
    """Pixels to the coordinates of ``grid_sample`` with aligned corners."""
    return 2 * places / max(size - 1, 1) - 1
