"""Many copies of a meta attacker, one an image, run side by side as one grouped network (thesis, section 2.3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thesislib.meta_attack.meta_attacker import MetaAttacker


class StackedAttackers:
    """``n`` copies of a meta attacker, each with weights of its own.

    Copy ``k`` sees image ``k`` only, so the statistics of its normalisation are those of that image. A loop over
    copies gives the same (it is the test's reference) and is several times slower for small networks.

    Parameters
    ----------
    attacker : MetaAttacker
        The start of every copy; not modified.
    images : Tensor, shape (n, channels, size, size)
        Tells number, device and precision.
    together : int
        Copies run as one network. Wide networks are faster one by one (1).
    """

    def __init__(self, attacker: MetaAttacker, images: Tensor, together: int = 16) -> None:
        self.attacker, self.together = attacker, together
        self.shape = images.shape[1:]
        norms = [*attacker.norms, None]
        self.weights = [
            p.detach().to(images.device, images.dtype).repeat(len(images), *[1] * p.ndim)
            for layer, norm in zip(attacker.layers, norms, strict=True)
            for p in (*layer.parameters(), *(norm.parameters() if norm is not None else ()))
        ]

    def maps(self, images: Tensor, rows: Tensor) -> Tensor:
        """Gradient maps of images, shape (k, pixels), by the copies numbered `rows`, shape (k,)."""
        with torch.no_grad():
            parts = zip(images.split(self.together), rows.split(self.together), strict=True)
            return torch.cat([self._forward(x, [w[r] for w in self.weights]) for x, r in parts])

    def fine_tune(
        self, images: Tensor, rows: Tensor, index: Tensor, wanted: Tensor, *, steps: int, lr: float
    ) -> None:
        """Fit each copy's map to `wanted` at the pixels `index`, both of shape (k, q), by Adam.

        The loss of a copy is the mean squared error over its q pixels; moments start afresh. `rows` says whose
        copy an image has; `steps` and `lr` are Adam's.
        """
        split = [t.split(self.together) for t in (images, rows, index, wanted)]
        for x, r, i, g in zip(*split, strict=True):
            weights = [w[r].requires_grad_() for w in self.weights]
            adam = torch.optim.Adam(weights, lr=lr, fused=True)
            for _ in range(steps):
                adam.zero_grad()
                # A sum over copies leaves each copy's gradient its own.
                ((self._forward(x, weights).gather(1, i) - g) ** 2).mean(1).sum().backward()
                adam.step()
            for all_, mine in zip(self.weights, weights, strict=True):
                all_[r] = mine.detach()

    def _forward(self, images: Tensor, weights: list[Tensor]) -> Tensor:
        copies, flow = len(images), images.reshape(1, -1, *self.shape[1:])
        remaining = iter(w.flatten(0, 1) for w in weights)
        for number, layer in enumerate(self.attacker.layers):
            convolve = F.conv2d if isinstance(layer, nn.Conv2d) else F.conv_transpose2d
            flow = convolve(
                flow, next(remaining), next(remaining), layer.stride, padding=layer.padding, groups=copies
            )
            if number < len(self.attacker.norms):
                norm = self.attacker.norms[number]
                batch = norm.running_mean is None
                past = (None, None) if batch else (norm.running_mean, norm.running_var)
                mean, variance = (None if p is None else p.to(flow).repeat(copies) for p in past)
                flow = F.batch_norm(
                    flow.relu(),
                    mean,
                    variance,
                    next(remaining),
                    next(remaining),
                    training=batch,
                    eps=norm.eps,
                )
        return flow.reshape(copies, -1)
