"""AutoZOOM: estimates along random directions of a small space (Tu et al. 2019; thesis, section 2.4.1)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from thesislib.blackbox import AttackResult, Attempt, Goal, Victim
from thesislib.blackbox.attempt import admitted, iterations, positive_fields, share_fields, whole_fields
from thesislib.blackbox.variables import VARIABLES
from thesislib.blackbox.victim import is_whole

if TYPE_CHECKING:
    import pandas as pd

CAP = 1e10  # of the hinge's weight


class AutoEncoder(nn.Module):
    """The codec whose decoder maps the small space to perturbations.

    Encoder: convolution to `hidden` channels, ReLU, max-pooling, as often as there are halvings, then a
    convolution to the image's channels. The decoder mirrors it, enlarging by nearest pixels. All kernels
    are 3x3.

    Parameters
    ----------
    channels, size : int
        Of the images.
    halvings : int, optional
        By default 1 for grey and 2 for colour images: 28 to 14 pixels, 32 to 8.
    hidden : int

    Raises
    ------
    ValueError
        If the size cannot be halved that often, or an argument is no whole number, 1 or more (halvings: 0).
    """

    def __init__(self, channels: int, size: int, *, halvings: int | None = None, hidden: int = 16) -> None:
        super().__init__()
        halvings = (1 if channels == 1 else 2) if halvings is None else halvings
        counts = {"channels": channels, "size": size, "hidden": hidden}
        if bad := [
            f"{name} = {value!r}" for name, value in counts.items() if not is_whole(value) or value < 1
        ]:
            raise ValueError(f"{', '.join(bad)}; expected whole numbers, 1 or more")
        if not is_whole(halvings) or halvings < 0:
            raise ValueError(f"halvings = {halvings!r}; expected a whole number, 0 or more")
        if size % 2**halvings:
            raise ValueError(f"size = {size} cannot be halved {halvings} times")
        self.channels, self.size, self.side = channels, size, size // 2**halvings
        ins = [channels] + [hidden] * halvings
        self.encoder = nn.Sequential(
            *(
                layer
                for n in ins[:-1]
                for layer in (nn.Conv2d(n, hidden, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
            ),
            nn.Conv2d(ins[-1], channels, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            *(
                layer
                for n in ins[:-1]
                for layer in (nn.Conv2d(n, hidden, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2))
            ),
            nn.Conv2d(ins[-1], channels, 3, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.decoder(self.encoder(images))

    @torch.no_grad()
    def perturbation(self, latent: Tensor) -> Tensor:
        """Latent vectors, shape (n, channels, side, side), to perturbations of the images' shape.

        The answer to zero is subtracted, so that an attack starts from the clean image; the biases of a
        trained decoder would otherwise lay a pattern over it.

        Parameters
        ----------
        latent : Tensor
            In the small space.
        """
        return self.decoder(latent) - self.decoder(torch.zeros_like(latent[:1]))


def train_autoencoder(
    images: Tensor,
    *,
    halvings: int | None = None,
    epochs: int = 20,
    batch: int = 100,
    lr: float = 1e-3,
    seed: int = 0,
) -> tuple[AutoEncoder, pd.DataFrame]:
    """Fit an auto-encoder to images by Adam on the mean squared error.

    As in the original, the codec sees pixels in [-0.5, 0.5]; since only differences of its answers are used
    (:meth:`AutoEncoder.perturbation`), attacks need not know.

    Parameters
    ----------
    images : Tensor, shape (n, channels, size, size)
        Values in [0, 1]; of the training split only.
    halvings : int, optional
        As for :class:`AutoEncoder`.
    epochs, batch, lr
        Adam's.
    seed : int
        Of weights and order.

    Returns
    -------
    autoencoder : AutoEncoder
    history : pandas.DataFrame
        ``epoch``, ``error`` (mean over the epoch).

    Raises
    ------
    ValueError
        If the images are no tensor of square ones within [0, 1], `epochs` or `batch` is no whole number from 1 on, or
        `lr` is not above 0.
    """
    import pandas as pd

    if not isinstance(images, Tensor):
        raise ValueError(f"images are a {type(images).__name__}, expected a tensor")
    if images.ndim != 4 or images.shape[2] != images.shape[3] or not len(images):
        raise ValueError(f"images have shape {tuple(images.shape)}, expected (n, channels, size, size)")
    if not (images.is_floating_point() and images.min() >= 0 and images.max() <= 1):
        raise ValueError("images leave [0, 1], hold NaN, or are no floating-point numbers")
    if not (is_whole(epochs) and is_whole(batch) and min(epochs, batch) >= 1 and 0 < lr < torch.inf):
        raise ValueError(
            f"epochs = {epochs!r}, batch = {batch!r}, lr = {lr!r}; expected whole numbers from 1 on and a rate above 0"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoEncoder(*images.shape[1:3], halvings=halvings)
    model = model.to(images.device, images.dtype)
    generator = torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(model.parameters(), lr=lr)
    rows = []
    for epoch in tqdm(range(1, epochs + 1), desc="auto-encoder", leave=False):
        total = 0.0
        for index in torch.randperm(len(images), generator=generator).to(images.device).split(batch):
            part = images[index] - 0.5
            adam.zero_grad()
            error = F.mse_loss(model(part), part)
            error.backward()
            adam.step()
            total += error.item() * len(index)
        rows.append({"epoch": epoch, "error": total / len(images)})
    return model.eval().requires_grad_(False), pd.DataFrame(rows)


@dataclass(frozen=True)
class AutoZOOM:
    """Minimise ``||x - x0||^2 + c * hinge`` along random directions of a latent vector, by Adam.

    A step costs one query a direction and one for the check, whose answer is the base point of the next
    step's differences. Before the first success there is one direction a step. Stops there unless told to
    refine.

    Attributes
    ----------
    decoder : AutoEncoder, optional
        From latent vectors to perturbations; None: bilinear enlargement.
    side : int, optional
        Side of the bilinear decoder's latent images; None: half the image's for grey, a quarter for colour.
    lr : float
        Step of Adam, in latent units.
    c : float
        Weight of the hinge at the start.
    switch : int
        Steps between two changes of c: tenfold while no success is known, then by bisection.
    vectors : int
        Directions a step after the first success.
    refine : int
        Steps after the first success, in which the perturbation is made smaller; the nearest success comes
        back.
    smoothing : float, optional
        Length of the probes' steps; None: one over the latent dimension, as in the paper.
    beta1, beta2 : float
        Decay of Adam's averages, which start anew at the first success and when c changes.
    max_steps : int, optional
        None: until the budget is spent; 10,000 where the victim has none.
    variable : {"pixels", "tanh"}
        Where the decoder's output is added: pixels for MNIST, tanh for colour images.
    """

    decoder: AutoEncoder | None = None
    side: int | None = None
    lr: float = 0.01
    c: float = 1.0
    switch: int = 100
    vectors: int = 4
    refine: int = 0
    smoothing: float | None = None
    beta1: float = 0.9
    beta2: float = 0.999
    max_steps: int | None = None
    variable: str = "pixels"

    def __post_init__(self) -> None:
        whole_fields(self, 1, "side", "switch", "vectors")
        whole_fields(self, 0, "refine", "max_steps")
        positive_fields(self, "lr", "c")
        positive_fields(self, "smoothing", probing=True)
        share_fields(self, "beta1", "beta2")
        if not isinstance(self.decoder, AutoEncoder | None):
            raise ValueError(f"decoder = {self.decoder!r}, expected an AutoEncoder, or None for bilinear")
        if self.variable not in VARIABLES:
            raise ValueError(f"variable = {self.variable!r}, expected one of {', '.join(VARIABLES)}")

    def __call__(
        self,
        victim: Victim,
        images: Tensor,
        goal: Goal,
        *,
        seed: int = 0,
        ids: Sequence[int] | None = None,
    ) -> AttackResult:
        """Attack; arguments and errors as :class:`~thesislib.blackbox.attempt.Attempt` has them.

        Raises
        ------
        ValueError
            Also if the images are not of the decoder's shape.
        """
        images = admitted(victim, images, goal)
        decode, shape = self._decoder(images)
        run = Attempt(victim, images, goal, seed=seed, ids=ids, cost=2)
        space, size = VARIABLES[self.variable], shape.numel()
        latent = torch.zeros(len(images), size, dtype=images.dtype, device=images.device)
        adam, weight = _Adam(latent, self), _Weight(latent, self.c)
        current, first = images.clone(), torch.zeros_like(run.meter.counts)
        for step in iterations(self.max_steps, victim, 10_000):
            live = run.affordable(1 + self._vectors(first[run.live]))
            if not len(live):
                break
            count = self._vectors(first[live])
            slope = self._slope(run, decode, shape, latent, current, weight.c, live, count)
            latent[live] -= self.lr * adam.direction(live, slope)
            current[live] = space.image(images[live], decode(latent[live].view(-1, *shape)))
            hit = run.check(current[live], step, stop=False)
            weight.reached[live[hit]] = True
            fresh = live[hit & (first[live] == 0)]
            first[fresh] = step
            adam.reset(fresh)
            run.live = live[(first[live] == 0) | (step - first[live] < self.refine)]
            if step % self.switch == 0:
                weight.change(run.live)
                adam.reset(run.live)
        return run.result()

    def _slope(self, run, decode, shape, latent, current, c, live: Tensor, count: Tensor) -> Tensor:
        """Estimated gradients of the objective, shape (len(live), size); `count` directions each."""
        size = latent.shape[1]
        length = self.smoothing or 1 / size
        owner = live.repeat_interleave(count)
        directions = latent.new_empty(len(owner), size)
        for k in count.unique().tolist():
            drawn = run.streams.directions(live[count == k], k, size)
            directions[(count == k).repeat_interleave(count)] = drawn.flatten(0, 1)
        moved = (latent[owner] + length * directions).view(-1, *shape)
        probes = VARIABLES[self.variable].image(run.clean[owner], decode(moved))
        there = self._distance(run.clean[owner], probes) + c[owner] * run.ask(probes, owner)
        here = self._distance(run.clean[live], current[live]) + c[live] * run.loss[live]
        change = (there - here.repeat_interleave(count)) / length
        # The latent dimension makes the mean over directions the gradient itself.
        part = size * change.to(latent.dtype)[:, None] * directions
        which = torch.arange(len(live), device=live.device).repeat_interleave(count)
        total = torch.zeros(len(live), size, dtype=latent.dtype, device=live.device)
        return total.index_add_(0, which, part) / count[:, None]

    def _vectors(self, first: Tensor) -> Tensor:
        return torch.where(first > 0, self.vectors, 1)

    @staticmethod
    def _distance(clean: Tensor, images: Tensor) -> Tensor:
        return (images - clean).flatten(1).double().square().sum(1)

    def _decoder(self, images: Tensor) -> tuple[Callable[[Tensor], Tensor], torch.Size]:
        """The decoder and the shape of one latent vector."""
        if images.ndim != 4:
            raise ValueError(
                f"images have shape {tuple(images.shape)}, expected (n, channels, height, width)"
            )
        channels, height, width = images.shape[1:]
        if self.decoder is None:
            side = self.side or max(1, height // (2 if channels == 1 else 4))
            shape = torch.Size((channels, side, max(1, side * width // height)))
            return lambda z: F.interpolate(z, (height, width), mode="bilinear"), shape
        codec = copy.deepcopy(self.decoder).to(images.device, images.dtype)
        if (channels, height, width) != (codec.channels, codec.size, codec.size):
            raise ValueError(
                f"images have shape {tuple(images.shape)}, this decoder makes (n, {codec.channels}, "
                f"{codec.size}, {codec.size}); train one for your images"
            )
        return codec.perturbation, torch.Size((channels, codec.side, codec.side))


class _Adam:
    """Adam's averages for each image, with a step counter each."""

    def __init__(self, like: Tensor, how: AutoZOOM) -> None:
        self.mean, self.square = torch.zeros_like(like), torch.zeros_like(like)
        self.count = like.new_zeros(len(like), 1)
        self.beta1, self.beta2 = how.beta1, how.beta2

    def direction(self, rows: Tensor, slope: Tensor) -> Tensor:
        self.count[rows] += 1
        self.mean[rows] = self.beta1 * self.mean[rows] + (1 - self.beta1) * slope
        self.square[rows] = self.beta2 * self.square[rows] + (1 - self.beta2) * slope**2
        mean = self.mean[rows] / (1 - self.beta1 ** self.count[rows])
        square = self.square[rows] / (1 - self.beta2 ** self.count[rows])
        return mean / (square.sqrt() + 1e-8)

    def reset(self, rows: Tensor) -> None:
        for average in (self.mean, self.square, self.count):
            average[rows] = 0


class _Weight:
    """The hinge's weight of each image: tenfold while it does not suffice, then bisected."""

    def __init__(self, like: Tensor, c: float) -> None:
        self.c = torch.full((len(like),), c, dtype=torch.float64, device=like.device)
        self.low, self.high = torch.zeros_like(self.c), torch.full_like(self.c, torch.inf)
        self.reached = torch.zeros_like(self.c, dtype=torch.bool)

    def change(self, rows: Tensor) -> None:
        """A new weight for these images, after whether the old one has reached the goal since the last."""
        c, reached = self.c[rows], self.reached[rows]
        self.high[rows] = high = torch.where(reached, c.minimum(self.high[rows]), self.high[rows])
        self.low[rows] = low = torch.where(reached, self.low[rows], c.maximum(self.low[rows]))
        # Far below the cap the distance has no say any more; squares of slopes must stay finite numbers.
        self.c[rows] = torch.where(high.isinf(), (10 * c).clamp(max=CAP), (low + high) / 2)
        self.reached[rows] = False
