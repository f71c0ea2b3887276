"""Where a network was made: that may not be where its numbers are read (thesis, sections 4.5.1 and 5.4.1)."""

from __future__ import annotations

import platform

import torch


def made_on(device: str, precision: str) -> str:
    """Device, precision and PyTorch of a run, in words.

    Parameters
    ----------
    device : str
        As :func:`thesislib.training.fit` takes it.
    precision : str
        ``"float32"`` or ``"bf16"``.
    """
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.machine()
    return f"{name}, {precision}, torch {torch.__version__.partition('+')[0]}"
