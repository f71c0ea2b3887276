"""What classification and self-supervision see of the same images (thesis, section 5.1 and figure 5.1).

``text`` is what a frame's cell holds.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable

import numpy as np
from torch import Tensor, nn
from tqdm.auto import tqdm

from thesislib.heterotopic.attention import overlap, sensitivity
from thesislib.heterotopic.inversion import invert
from thesislib.heterotopic.runs import Training, ensemble, fresh, in_turn, network, pretrained
from thesislib.longtail.images import images_of
from thesislib.memo import memoised

FEATURES = ("classifier, pooled", "self-supervision, pooled", "self-supervision, after the MLP")
NONE = "not inverted"
# Of the inversion: ten times the published rate, for a tenth of the published steps. The `paper` profile has all of the
# steps at the same rate, so that its pictures are further along.
LR = 1e-2
WIDTHS, KERNELS = (16, 32, 64), (3, 3, 3)


@memoised(data="dataset")
def observed(
    dataset: str,
    classifiers: tuple[Training, Training],
    alone: Training,
    *,
    images: int,
    inverted: int,
    steps: int,
) -> list[dict]:
    """Images from three features, and how far features depend on the same pixels.

    Parameters
    ----------
    dataset : str
    classifiers : two Training
        The second, of another seed, says how far two classifiers agree.
    alone : Training
        Its self-supervised stage is the model of self-supervision.
    images, inverted, steps : int
        Test images compared, those of them that are inverted, and steps of the inversion.

    Returns
    -------
    list of dict
        One a feature and image: ``feature``, ``image``, ``label``, ``overlap`` of its map of sensitivity: of the
        classifier's feature with that of another classifier, of the pooled feature of self-supervision with the
        classifier's, of the feature after the MLP with the one before it; ``original`` and ``found``, see
        :func:`packed`.
    """
    first, second = (network(dataset, training)[:-1] for training in classifiers)
    pooled, after = _self_supervised(dataset, alone)
    data = images_of(dataset, None)
    chosen = in_turn(data["test_labels"], images)
    shown, labels = data["test"][chosen].float() / 255, data["test_labels"][chosen]
    maps = {name: sensitivity(f, shown) for name, f in zip(FEATURES, (first, pooled, after), strict=True)}
    overlaps = (
        overlap(maps[FEATURES[0]], sensitivity(second, shown)),
        overlap(maps[FEATURES[1]], maps[FEATURES[0]]),
        overlap(maps[FEATURES[2]], maps[FEATURES[1]]),
    )
    rows = []
    total = tqdm(total=len(FEATURES) * inverted, desc="inversions", leave=False, disable=not inverted)
    for name, feature, values in zip(FEATURES, (first, pooled, after), overlaps, strict=True):
        for k in range(len(shown)):
            row = {"feature": name, "image": k, "label": int(labels[k]), "overlap": float(values[k])}
            row |= {"original": NONE, "found": NONE}
            if k < inverted:
                found, _ = invert(
                    feature, shown[k], steps=steps, lr=LR, widths=WIDTHS, kernels=KERNELS, progress=True
                )
                row |= {"original": packed(shown[k]), "found": packed(found)}
                total.update()
            rows.append(row)
    total.close()
    return rows


def packed(image: Tensor) -> str:
    """An image as text: bytes, compressed, base 64; shape in front."""
    pixels = (255 * image).round().clamp(0, 255).byte().numpy()
    shape = "x".join(map(str, pixels.shape))
    return f"{shape}:{base64.b64encode(zlib.compress(pixels.tobytes(), 9)).decode()}"


def unpacked(text: str) -> np.ndarray:
    """What :func:`packed` packed: values in [0, 1], shape (channels, height, width)."""
    shape, _, content = text.partition(":")
    pixels = np.frombuffer(zlib.decompress(base64.b64decode(content)), np.uint8)
    return pixels.reshape([int(n) for n in shape.split("x")]) / 255


def _self_supervised(dataset: str, training: Training) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """The pooled feature of self-supervision alone, and its feature after the MLP."""
    size = images_of(dataset, None)["train"].shape[-1]
    model = fresh(dataset, training)
    branch = ensemble(model, training.attached, size=size, seed=training.seed).branch
    branch.load_state_dict(pretrained(dataset, training)["branch"])
    branch.eval().requires_grad_(False)
    return nn.Sequential(branch.trunk, branch.filter, nn.AdaptiveAvgPool2d(1), nn.Flatten()), branch
