"""What figures of the framework are made of: Filters layer by layer, and who is moved by which loss.

Thesis, section 5.3.

``preset`` names a Filter, ``stage`` the last stage it is made after.
"""

from __future__ import annotations

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thesislib.heterotopic.ensemble import HeterotopicEnsemble
from thesislib.heterotopic.filters import LastStage, make_filter


def filter_rows(preset: str, stage: LastStage) -> pd.DataFrame:
    """The convolutions of a Filter, in the order of its modules.

    Returns
    -------
    pandas.DataFrame
        ``layer`` (from 1), ``operation``, ``output channels``, ``output size`` (pixels), ``parameters`` (with those of
        the normalisation behind it).
    """
    made = make_filter(preset, stage)
    convolutions = [m for m in made.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in made.modules() if isinstance(m, nn.BatchNorm2d)]
    sizes: dict[nn.Module, int] = {}
    for layer in convolutions:
        layer.register_forward_hook(lambda m, _, out: sizes.update({m: out.shape[-1]}))
    private = convolutions[0].in_channels != stage.channels
    side = 2 * stage.size if private else stage.size
    with torch.no_grad():
        made.eval()(torch.zeros(1, convolutions[0].in_channels, side, side))
    shortcuts = {m for n, m in made.named_modules() if "downsample" in n}
    rows = []
    for number, (layer, norm) in enumerate(zip(convolutions, norms, strict=True), 1):
        kernel, stride = layer.kernel_size[0], layer.stride[0]
        words = f"conv {kernel} × {kernel}, {layer.in_channels} → {layer.out_channels}, stride {stride}"
        rows.append(
            {
                "layer": number,
                "operation": ("shortcut: " if layer in shortcuts else "") + words,
                "output channels": layer.out_channels,
                "output size": sizes[layer],
                "parameters": sum(p.numel() for m in (layer, norm) for p in m.parameters()),
            }
        )
    return pd.DataFrame(rows)


def framework_rows(ensemble: HeterotopicEnsemble, images: Tensor, labels: Tensor) -> pd.DataFrame:
    """The parts of an ensemble: shapes of one pass, and which losses move them.

    Parameters
    ----------
    ensemble : HeterotopicEnsemble
        With a bound.
    images : Tensor, shape (n, channels, size, size)
        Serve as both views.
    labels : Tensor, shape (n,)

    Returns
    -------
    pandas.DataFrame
        ``part``, ``input`` and ``output`` (shapes without the batch, as text), ``parameters``, ``kept`` (1 if it is
        there at test), and ``classification``, ``self-supervision``, ``mutual information``: 1 if that loss's
        gradient reaches the part's weights.
    """
    branch = ensemble.branch
    parts = {
        "trunk": branch.trunk,
        "classifier": ensemble.classifier,
        "Filter": branch.filter,
        "MLP": branch.mlp,
        "self-supervised method": ensemble.method,
        "bound": ensemble.bound,
    }
    if any(True for _ in ensemble.stage.parameters()):  # the Filter's preset "private stage"
        parts["classifier's stage"] = ensemble.stage
    shapes: dict[str, tuple[str, str]] = {}

    def watch(name: str):
        def hook(_: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
            # The first pass is the classified view's.
            shapes.setdefault(name, tuple(" × ".join(map(str, t.shape[1:])) or "1" for t in (given[0], made)))

        return hook

    hooks = [module.register_forward_hook(watch(name)) for name, module in parts.items()]
    logits, terms = ensemble.train().joint(images, images)
    for hook in hooks:
        hook.remove()
    losses = {
        "classification": F.cross_entropy(logits, labels),
        "self-supervision": terms.ssl,
        "mutual information": terms.mi + terms.fit,
    }
    kept = {id(p) for p in ensemble.exported().parameters()}
    rows = {}
    for name, module in parts.items():
        weights = list(module.parameters())
        rows[name] = {
            "part": name,
            "input": shapes[name][0],
            "output": shapes[name][1],
            "parameters": sum(p.numel() for p in weights),
            "kept": int(all(id(p) in kept for p in weights) and bool(weights)),
        }
    for loss, value in losses.items():
        ensemble.zero_grad(set_to_none=True)
        value.backward(retain_graph=True)
        for name, module in parts.items():
            rows[name][loss] = int(any(p.grad is not None and p.grad.any() for p in module.parameters()))
    ensemble.zero_grad(set_to_none=True)
    return pd.DataFrame(list(rows.values()))
