"""What goes into a classifier and what comes out: checked data, batches as a model takes them, logits."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

PRECISIONS = ("float32", "bf16")


def predict(
    model: nn.Module,
    images: Tensor,
    *,
    batch: int = 256,
    device: str | torch.device | None = None,
    precision: str = "float32",
) -> Tensor:
    """The logits of a model in evaluation mode; each module's own mode is restored.

    Parameters
    ----------
    model : Module
    images : Tensor, shape (n, ...)
        As :func:`thesislib.training.fit` takes them.
    batch : int
        Images a forward pass; on a CPU 64 to 256 are fastest, beyond that activations leave the cache.
    device : str, optional
        Where to; the model is moved there. By default it stays where it is.
    precision : str
        ``"float32"``, or ``"bf16"``: autocast.

    Returns
    -------
    Tensor, shape (n, classes)
        float32 at either precision, of a model in double precision float64; on the model's device. An ordinary tensor,
        which autograd may use.

    Raises
    ------
    ValueError
        On an unknown precision.
    TypeError
        If the images are no tensor.
    """
    if not isinstance(images, Tensor):
        kind = type(images).__name__
        raise TypeError(f"images are {kind}, expected a tensor; torch.from_numpy makes one of an array")
    if device is not None:
        model.to(device)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            parts = [forward(model, ready(part, model), precision) for part in images.split(batch)]
    finally:
        for module, mode in modes:
            module.training = mode
    return torch.cat(parts)


def accuracy(model: nn.Module, images: Tensor, labels: Tensor, **options: Any) -> float:
    """Share of images whose largest logit is their label's; options as in :func:`predict`.

    Raises
    ------
    ValueError
        If there are no images, or not as many labels.
    """
    if not len(images) or labels.shape != (len(images),):
        raise ValueError(f"{len(images)} images with labels of shape {tuple(labels.shape)}")
    found = predict(model, images, **options).argmax(1)
    return (found == labels.to(found.device)).double().mean().item()


def ready(images: Tensor, model: nn.Module) -> Tensor:
    """Images as a model takes them: of its device and type, values in [0, 1], channels-last.

    Parameters
    ----------
    images : Tensor
        uint8, or floating point.
    model : Module
    """
    weight = next(model.parameters(), torch.empty(0, device=images.device))
    whole = images.dtype == torch.uint8
    images = images.to(weight.device).to(weight.dtype)
    images = images / 255 if whole else images
    return images.contiguous(memory_format=torch.channels_last) if images.dim() == 4 else images


def forward(model: nn.Module, images: Tensor, precision: str) -> Tensor:
    """Logits at a precision; never returned below float32, in which a loss is then computed.

    Parameters
    ----------
    model : Module
    images : Tensor
    precision : str
        ``"float32"`` or ``"bf16"``.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision = {precision!r} is not one of {', '.join(PRECISIONS)}")
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits = model(images)
    return logits.float() if precision == "bf16" else logits


def checked(name: str, model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Labelled data on the model's device, if they are what :func:`thesislib.training.fit` asks for.

    Parameters
    ----------
    name : str
        Of the part, for the error.
    model : Module
    images : Tensor
    labels : Tensor of int64, shape (n,)

    Raises
    ------
    TypeError
        If they are not tensors of the right types.
    ValueError
        If a shape or a value is not as asked for, or the model does not make logits of an image.
    """
    if not (isinstance(images, Tensor) and isinstance(labels, Tensor)):
        kinds = f"{type(images).__name__} and {type(labels).__name__}"
        raise TypeError(f"{name} data are {kinds}, expected tensors; torch.from_numpy makes them of arrays")
    whole, shape = images.dtype == torch.uint8, tuple(images.shape)
    if not whole and not images.is_floating_point():
        raise TypeError(f"{name} images are {images.dtype}, expected uint8 or floating point")
    if labels.dtype != torch.int64:
        raise TypeError(f"{name} labels are {labels.dtype}, expected torch.int64")
    if len(shape) < 2 or not images.numel() or labels.shape != shape[:1]:
        given = f"{name} images have shape {shape}, labels {tuple(labels.shape)}"
        raise ValueError(f"{given}; expected (n, ...) and (n,) with n > 0")
    if len(shape) == 4 and shape[-1] in (1, 3) and shape[1] not in (1, 3):
        raise ValueError(f"{name} images have shape {shape}; channels come first: images.movedim(-1, 1)")
    low, high = images.min().item(), images.max().item()
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"{name} images hold values that are not finite")
    if not whole and len(shape) > 2 and (low < 0 or high > 1):
        raise ValueError(f"{name} images reach from {low:g} to {high:g}; give uint8, or values in [0, 1]")
    logits = predict(model, images[:1])
    if logits.dim() != 2 or len(logits) != 1:
        raise ValueError(f"the model made {tuple(logits.shape)} of one image, expected logits (1, classes)")
    low, high, last = labels.min().item(), labels.max().item(), logits.shape[1] - 1
    if low < 0 or high > last:
        raise ValueError(f"{name} labels reach from {low} to {high}; the model knows classes 0 to {last}")
    return images.to(logits.device), labels.to(logits.device)
