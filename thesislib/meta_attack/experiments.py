"""The experiments behind chapter 2's figures and tables: settings in, tidy frames out (thesis, section 2.4).

Every experiment takes the run's ``settings`` (:class:`~thesislib.meta_attack.settings.Settings`) and returns a
frame with the key columns of :func:`~thesislib.meta_attack.settings.grids`. A ``dataset`` is the name or path of
one, a ``goal`` ``untargeted`` or ``targeted``, ``changes`` are fields of the case, ``text`` is packed pixels.
"""

from __future__ import annotations

import base64
import dataclasses
import zlib

import numpy as np
import pandas as pd
from torch import Tensor, nn

from thesislib.meta_attack import analysis
from thesislib.meta_attack.attackers import GPU_CHUNK
from thesislib.meta_attack.attacks import ATTACKS, thesis_queries
from thesislib.meta_attack.column import TARGETED, UNTARGETED
from thesislib.meta_attack.meta_attack import MetaAttack
from thesislib.meta_attack.meta_attacker import MetaAttacker
from thesislib.meta_attack.networks import source_seed, trained
from thesislib.meta_attack.runs import Case, attack, attack_rows, chosen_images
from thesislib.meta_attack.settings import NET_LAYERS, SEARCH, TRAININGS, Settings, grids
from thesislib.models import make_model
from thesislib.settings import SettingsError

MEASURES = ["success", "l2", "linf", "queries", "thesis_queries", "steps"]


def case_of(settings: Settings, dataset: str, method: str, goal: str, **changes: object) -> Case:
    """The case that a method is on a data set, with some of its fields changed."""
    column = settings.column(dataset)
    partner = None
    if method == "Meta transfer":
        partner = (column.partner, settings.column(column.partner).learning)
    options, budget = settings.options_of(method, dataset, goal), changes.get("budget", settings.cap(method))
    if budget is not None:
        # A failure costs the whole budget, whoever fails: the released last step would be a smaller one of ours alone.
        options.pop("max_steps", None)
    fields = {
        "dataset": dataset,
        "victim": column.victim,
        "learning": column.learning,
        "method": method,
        "goal": goal,
        "options": tuple(sorted(options.items())),
        "partner": partner,
        "budget": budget,
        "chunk": column.chunk if settings.device == "cpu" else GPU_CHUNK,
        "seed": settings.seeds()[0],
        "device": settings.device,
    }
    return Case(**fields | changes)


def tab_2_1(settings: Settings) -> pd.DataFrame:
    """Layers of the meta attacker at the thesis's sizes, read off the modules.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``layer``; values ``operation``, ``output channels``, ``output size``, ``parameters``.
    """
    rows = []
    for dataset, channels, size in (("mnist", 1, 28), ("cifar10", 3, 32), ("tiny_imagenet", 3, 64)):
        for row in MetaAttacker(channels, size).table():
            kind = f"{row['kind']} {row['in']}->{row['out']}, k{row['kernel']} s{row['stride']} p{row['padding']}"
            rows.append((dataset, row["layer"], kind, row["out"], row["size"], row["parameters"]))
    columns = ["dataset", "layer", "operation", "output channels", "output size", "parameters"]
    return pd.DataFrame(rows, columns=columns)


def tab_2_2(settings: Settings) -> pd.DataFrame:
    """Layers with weights of the seven MNIST networks.

    Returns
    -------
    pandas.DataFrame
        Keys ``network``, ``layer``; values ``operation``, ``output channels``, ``parameters``.
    """
    rows = []
    for name in NET_LAYERS:
        modules = list(make_model(name, classes=10, channels=1, size=28))
        weighted = [k for k, m in enumerate(modules) if isinstance(m, nn.Conv2d | nn.Linear)]
        for number, (start, end) in enumerate(zip(weighted, [*weighted[1:], len(modules)], strict=True), 1):
            layer, out = modules[start], modules[start].weight.shape[0]
            count = sum(p.numel() for p in layer.parameters())
            rows.append((name, number, ", ".join(map(_words, modules[start:end])), out, count))
    return pd.DataFrame(rows, columns=["network", "layer", "operation", "output channels", "parameters"])


def tab_2_3(settings: Settings) -> pd.DataFrame:
    """Test accuracy of victims and source models.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``model``; values ``role``, ``correct`` and ``images`` (counts), ``accuracy`` (%), ``enough``
        (%; of a source 0).
    """
    rows = []
    for dataset in settings.dataset:
        column = settings.column(dataset)
        root = settings.seeds()[0]
        sources = [(n, source_seed(root, k)) for k, n in enumerate(column.learning.sources)]
        for n, seed in [(column.victim, root), *sources]:
            how = (n.name, n.width, n.recipe, n.noise, seed, settings.device)
            right = trained(dataset, column.learning.size, *how)["correct"]
            victim = n is column.victim
            rows.append(
                {
                    "dataset": dataset,
                    "model": n.name,
                    "role": "victim" if victim else "source",
                    "correct": int(right.sum()),
                    "images": len(right),
                    "accuracy": 100 * right.double().mean().item(),
                    "enough": 100 * column.enough if victim else 0.0,
                }
            )
    return pd.DataFrame(rows)


def fig_2_1(settings: Settings) -> pd.DataFrame:
    """Success and queries of every method on every image, untargeted and targeted.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``goal``, ``method``, ``image``; values ``success``, ``queries`` (of a failure, all it spent).
    """
    return _pool(settings, grids(settings)["fig-2.1"])[
        ["dataset", "goal", "method", "image", "success", "queries"]
    ]


def tab_2_4(settings: Settings) -> pd.DataFrame:
    """Untargeted attacks, the same images for every method.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``method``, ``image``; values ``success``, ``l2``, ``linf``, ``queries`` (exact),
        ``thesis_queries`` (by the thesis's formula), ``steps``. A failure comes back clean: its distances are 0.
    """
    return _comparison(settings, "tab-2.4", UNTARGETED)


def tab_2_5(settings: Settings) -> pd.DataFrame:
    """Targeted attacks towards the next class; as :func:`tab_2_4`."""
    return _comparison(settings, "tab-2.5", TARGETED)


def fig_2_2(settings: Settings) -> pd.DataFrame:
    """Trained against randomly initialised meta attacker, untargeted.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``attacker``, ``image``; values ``success``, ``l2``, ``queries`` and ``cosine 0`` to ``cosine
        4``: similarity of the map followed to the true gradient, at the start and after each of the first four
        fine-tunings. An image that is fooled before keeps its last value.
    """
    rows = []
    for dataset in settings.dataset:
        numbers = settings.window("Meta attack", dataset)
        for kind in ("trained", "random"):
            case = case_of(settings, dataset, "Meta attack", UNTARGETED, kind=kind)
            frame = analysis.watched_rows(case, numbers)
            rows.append(frame.assign(dataset=dataset, attacker=kind))
    frame = pd.concat(rows, ignore_index=True)
    cosines = [c for c in frame.columns if c.startswith("cosine")]
    return _rounded(frame[["dataset", "attacker", "image", "success", "l2", "queries", *cosines]])


def fig_2_3(settings: Settings) -> pd.DataFrame:
    """Untargeted meta attack with q and beta multiplied, on the first data set.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``q``, ``beta`` (multiples of the setting in use), ``image``; values ``success``, ``l2``,
        ``queries``, ``pixels`` (q) and ``step`` (beta).
    """
    (dataset, *_), rows = settings.dataset, []
    base = case_of(settings, dataset, "Meta attack", UNTARGETED)
    numbers = settings.window("Meta attack", dataset)[: settings.sweep_images]
    for times_q in settings.sweep_q:
        for times_beta in settings.sweep_beta:
            options = _meta_options(base)
            options |= {"q": max(1, round(options["q"] * times_q)), "beta": options["beta"] * times_beta}
            frame = attack_rows(_changed(base, options), numbers)
            keys = {"dataset": dataset, "q": times_q, "beta": times_beta}
            rows.append(frame.assign(**keys, pixels=options["q"], step=options["beta"]))
    frame = pd.concat(rows, ignore_index=True)
    return _rounded(frame[["dataset", "q", "beta", "image", "success", "l2", "queries", "pixels", "step"]])


def tab_2_6(settings: Settings) -> pd.DataFrame:
    """Cosine similarity of gradient estimates to the victim's true gradient, on clean images.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``method``, ``image``; values ``cosine``, ``queries`` that the estimate cost.
    """
    frames = []
    for dataset in settings.dataset:
        case = case_of(settings, dataset, "Meta attack", UNTARGETED)
        frames.append(analysis.similarity_rows(case, settings.cosine_count).assign(dataset=dataset))
    return _rounded(pd.concat(frames, ignore_index=True)[["dataset", "method", "image", "cosine", "queries"]])


def tab_2_7(settings: Settings) -> pd.DataFrame:
    """Ways to train the meta attacker, untargeted, on the first data set.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``method``, ``image``; values as :func:`tab_2_4` and ``error``, that of the meta attacker on
        held-out maps.
    """
    return _trainings(settings, UNTARGETED)


def tab_2_8(settings: Settings) -> pd.DataFrame:
    """The same with targets; as :func:`tab_2_7`."""
    return _trainings(settings, TARGETED)


def extra_2_a(settings: Settings) -> pd.DataFrame:
    """Pictures: what each method did to the same images, untargeted.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``method``, ``image``; values ``label``, ``predicted``, ``success``, ``l2``, ``queries``,
        ``clean`` and ``adversarial`` (:func:`unpacked` gives the pixels).
    """
    rows = []
    numbers = range(settings.gallery_images)
    for block in grids(settings)["extra-2.A"]:
        (dataset,), (method,) = block["dataset"], block["method"]
        case = case_of(settings, dataset, method, UNTARGETED)
        result, labels = attack(case, numbers), chosen_images(case, numbers)[1]
        for k in numbers:
            rows.append(
                {
                    "dataset": dataset,
                    "method": method,
                    "image": k,
                    "label": int(labels[k]),
                    "predicted": int(result.predicted[k]),
                    "success": bool(result.success[k]),
                    "l2": result.l2[k].item(),
                    "queries": int(result.queries[k]),
                    "clean": packed(result.clean[k]),
                    "adversarial": packed(result.adversarial[k]),
                }
            )
    return _rounded(pd.DataFrame(rows))


def extra_2_b(settings: Settings) -> pd.DataFrame:
    """The search for every method's setting, on images that are never reported, untargeted, first data set.

    Raises
    ------
    SettingsError
        If the set has too few images for both.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``method``, ``setting`` (one field changed from the setting in use; ``lr*0.5`` is half of
        it), ``image``; values ``success``, ``l2``, ``queries``.
    """
    (dataset, *_), rows, searched = settings.dataset, [], range(settings.search_images)
    ours = case_of(settings, dataset, "Meta attack", UNTARGETED)
    reported = chosen_images(ours, settings.window("Meta attack", dataset))[2]
    if shown := set(reported) & set(chosen_images(ours, searched, held_out=True)[2]):
        raise SettingsError(
            f"images = {settings.images} and search_images = {settings.search_images} have {len(shown)} images of "
            f"{dataset} in common, and a search is on images that are not reported: ask for fewer"
        )
    for method in (m for m in SEARCH if m in settings.methods_for(dataset, UNTARGETED)):
        base = case_of(settings, dataset, method, UNTARGETED, budget=settings.search_budget)
        for candidate in SEARCH[method]:
            case = _changed(base, dict(base.options) | dict([_candidate(base, candidate)]))
            frame = attack_rows(case, searched, held_out=True)
            rows.append(frame.assign(dataset=dataset, method=method, setting=candidate))
    frame = pd.concat(rows, ignore_index=True)
    return _rounded(frame[["dataset", "method", "setting", "image", "success", "l2", "queries"]])


def packed(image: Tensor) -> str:
    """An image as text: 16-bit floats, compressed, base 64; shape in front."""
    pixels = image.cpu().numpy().astype("<f2")
    shape = "x".join(map(str, pixels.shape))
    return f"{shape}:{base64.b64encode(zlib.compress(pixels.tobytes(), 9)).decode()}"


def unpacked(text: str) -> np.ndarray:
    """What :func:`packed` packed, float32, shape (channels, height, width)."""
    shape, _, content = text.partition(":")
    pixels = np.frombuffer(zlib.decompress(base64.b64decode(content)), "<f2")
    return pixels.reshape([int(n) for n in shape.split("x")]).astype(np.float32)


def _comparison(settings: Settings, identity: str, goal: str) -> pd.DataFrame:
    blocks = [{**block, "goal": (goal,)} for block in grids(settings)[identity]]
    return _pool(settings, blocks)[["dataset", "method", "image", *MEASURES]]


def _pool(settings: Settings, blocks: list[dict]) -> pd.DataFrame:
    """Runs of the blocks' methods, one after another; each is run once, whatever asks for it."""
    frames = []
    for block in blocks:
        (dataset,), (goal,), (method,) = (block[name] for name in ("dataset", "goal", "method"))
        case = case_of(settings, dataset, method, goal)
        numbers = block["image"]
        frame = attack_rows(case, range(numbers[0], numbers[-1] + 1))
        frames.append(_counted(frame, case).assign(dataset=dataset, goal=goal, method=method))
    return _rounded(pd.concat(frames, ignore_index=True))


def _trainings(settings: Settings, goal: str) -> pd.DataFrame:
    dataset, frames = settings.dataset[0], []
    for row, kind in TRAININGS.items():
        case = case_of(settings, dataset, "Meta attack", goal, kind=kind)
        frame = _counted(attack_rows(case, settings.window("Meta attack", dataset)), case)
        frames.append(frame.assign(dataset=dataset, method=row, error=analysis.held_out_error(case)))
    return _rounded(pd.concat(frames, ignore_index=True)[["dataset", "method", "image", *MEASURES, "error"]])


def _counted(frame: pd.DataFrame, case: Case) -> pd.DataFrame:
    options = dict(case.options)
    count = [
        thesis_queries(case.method, steps, queries, options)
        for steps, queries in zip(frame["steps"], frame["queries"], strict=True)
    ]
    return frame.assign(thesis_queries=count)


def _meta_options(case: Case) -> dict[str, object]:
    return {"q": MetaAttack.q, "beta": MetaAttack.beta} | dict(case.options)


def _candidate(case: Case, text: str) -> tuple[str, object]:
    """A field and its value in a search: ``lr=0.1``, or ``lr*2``, twice the value in use."""
    name, times, factor = text.partition("*")
    if times:
        now = dict({name: getattr(ATTACKS[case.method], name)} | dict(case.options))[name]
        return name, round(float(factor) * now) if isinstance(now, int) else float(factor) * now
    name, _, value = text.partition("=")
    return name, value if value.isalpha() else float(value) if "." in value else int(value)


def _changed(case: Case, options: dict[str, object]) -> Case:
    return dataclasses.replace(case, options=tuple(sorted(options.items())))


def _rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """Distances to six digits, flags as 0 and 1: what a file keeps."""
    for name in frame.columns:
        if frame[name].dtype == bool:
            frame[name] = frame[name].astype(int)
        elif frame[name].dtype.kind == "f" and name not in ("q", "beta"):
            frame[name] = [float(f"{value:.6g}") for value in frame[name]]
    return frame


def _words(module: nn.Module) -> str:
    """A layer in the words of the thesis's table, as we know it from the released code."""
    match module:
        case nn.Conv2d():
            return f"conv {module.kernel_size[0]}x{module.kernel_size[1]}"
        case nn.MaxPool2d():
            return f"pool {module.kernel_size}"
        case nn.Linear():
            return f"fully connected, {module.in_features} inputs"
        case nn.Dropout():
            return f"dropout {module.p:g}"
    return type(module).__name__.lower()
