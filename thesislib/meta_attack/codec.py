"""The trained decoder of AutoZOOM on a column's images, kept on disk (thesis, section 2.4.1).

``dataset`` is a column's, ``size`` the side of the latent grid, ``seed`` the training's, ``device`` where it is made.
"""

from __future__ import annotations

from thesislib.memo import memoised
from thesislib.meta_attack.autozoom import AutoEncoder, train_autoencoder
from thesislib.meta_attack.networks import images_of


def decoder(dataset: str, size: int, seed: int, device: str) -> AutoEncoder:
    """An auto-encoder fitted to the training images, on the CPU; an attack uses its second half."""
    codec = AutoEncoder(images_of(dataset, size)["channels"], size)
    codec.load_state_dict(_weights(dataset, size, seed, device))
    return codec.eval().requires_grad_(False)


@memoised(data="dataset")
def _weights(dataset: str, size: int, seed: int, device: str) -> dict:
    images = images_of(dataset, size)["train"][:10_000].to(device)
    return train_autoencoder(images, seed=seed)[0].cpu().state_dict()
