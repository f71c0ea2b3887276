"""The strip on the front page: one picture a chapter, drawn from what the run recorded.

`thesis book` calls :func:`cards`. The pictures have a dark ground of their own, so that one file serves the light
page and the dark one, and no text, so that nothing is too small on a phone.
"""

from collections.abc import Mapping
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgb

from thesislib.companion import figures
from thesislib.companion.records import Record
from thesislib.datasets.longtail import load_longtail
from thesislib.meta_attack.experiments import unpacked
from thesislib.motion_sampler.pictures import unpack

GROUND, WARM, COOL = "#0b1017", "#ffa24c", "#5cc8ff"
INK = LinearSegmentedColormap.from_list("ink", [GROUND, "#f2f5f8"])
POINTS = LinearSegmentedColormap.from_list("points", [COOL, "#8f7bff", "#ff6fae", WARM, "#ffe066", "#6fe3a5"])
STYLE = {
    "figure.facecolor": GROUND,
    "savefig.facecolor": GROUND,
    "savefig.bbox": "standard",
    "axes.grid": False,
}


class Card(NamedTuple):
    """A picture with the artefact it was drawn from."""

    record: Record
    image: bytes
    alt: str
    title: str
    text: str


def cards(found: Mapping[str, Record]) -> list[Card]:
    """The five pictures, each as SVG with its words.

    Parameters
    ----------
    found
        The run's records by artefact.
    """
    drawn = []
    for record, panel in (
        (found[identity], panel) for identity, panel in PANELS.items() if identity in found
    ):
        with plt.rc_context(STYLE):
            figure = plt.figure(figsize=(2.4, 3.0), layout="none")
            axes = figure.add_axes((0, 0, 1, 1), facecolor=GROUND)
            axes.axis("off")
            words = panel(axes, record.frame())
            drawn.append(Card(record, figures.render(figure)["svg"], *words))
            plt.close(figure)
    return drawn


def digit(axes: plt.Axes, frame) -> tuple[str, str, str]:
    """An attacked image, what the attack added in colour over it."""
    rows = frame[frame["method"] == "Meta attack"]
    row = rows.sort_values("success", ascending=False, kind="stable").iloc[0]
    clean, hurt = unpacked(row.clean).mean(0), unpacked(row.adversarial).mean(0)
    added = hurt - clean
    share = np.abs(added) / max(np.abs(added).max(), 1e-9)
    colour = np.where(added[..., None] > 0, to_rgb(WARM), to_rgb(COOL))
    picture = INK(clean)[..., :3]
    axes.imshow(picture + share[..., None] * (colour - picture), interpolation="nearest")
    return (
        f"The image of a {row.label} in grey pixels, with the noise that an attack added in orange and blue.",
        f"A {row.label}, read as a {row.predicted}",
        f"Noise found by asking a network {row.queries} times, in colour and amplified.",
    )


def motion(axes: plt.Axes, frame) -> tuple[str, str, str]:
    """A frame with its motion vectors."""
    row = frame.sort_values("success", ascending=False, kind="stable").iloc[0]
    whole, vectors = unpack(row.whole), unpack(row.motion).astype(float)
    axes.imshow(0.55 * whole / 255, interpolation="bicubic")
    scale, step = whole.shape[0] / vectors.shape[0], 2
    v, u = np.mgrid[0 : vectors.shape[0] : step, 0 : vectors.shape[1] : step]
    arrows = vectors[v, u]
    moving = np.abs(arrows).sum(-1) > 0
    x, y = scale * (u + step / 2)[moving], scale * (v + step / 2)[moving]
    length = np.linalg.norm(arrows[moving], axis=-1)
    axes.quiver(x, y, arrows[moving][:, 0], arrows[moving][:, 1], length, angles="xy",
                cmap=LinearSegmentedColormap.from_list("speed", [COOL, WARM]), width=0.011)  # fmt: skip
    fill(axes, *whole.shape[:2])
    return (
        "A frame of a film, darkened, with arrows where the picture moves.",
        "Noise that follows motion",
        "A frame and the motion vectors that its codec had already computed.",
    )


def tail(axes: plt.Axes, frame) -> tuple[str, str, str]:
    """The training images of each class, one tile for so many."""
    images = load_longtail(frame["dataset"].iloc[0])
    counts = np.bincount(images.train_labels)
    a_tile = int(np.ceil(counts.max() / 12))
    side = images.train_images.shape[1] + 2
    height = int(np.ceil(1.25 * len(counts))) * side
    wall = np.zeros((height, len(counts) * side, 3)) + to_rgb(GROUND)
    for k, count in enumerate(counts):
        colour = np.array(to_rgb(WARM)) + (1 - k / (len(counts) - 1)) * (
            np.array(to_rgb(COOL)) - to_rgb(WARM)
        )
        for j, image in enumerate(images.train_images[images.train_labels == k][: -(-count // a_tile)]):
            ink = image.max(-1, keepdims=True) / 255
            place = wall[height - (j + 1) * side :][: side - 2, k * side : (k + 1) * side - 2]
            place[:] = (0.12 + 0.88 * ink) * colour
    axes.imshow(wall, interpolation="nearest")
    fill(axes, *wall.shape[:2])
    return (
        "Columns of small pictures, one for each class: the first is tall, the last a single picture.",
        "Many of some, few of most",
        f"A long tail: one picture for every {a_tile} training images of a class.",
    )


def map_(axes: plt.Axes, frame) -> tuple[str, str, str]:
    """Test images as points, where the ensemble's features put them."""
    ours = frame[(frame["method"] == "Ours") & (frame["seed"] == frame["seed"].iloc[0])]
    axes.scatter(ours["x"], ours["y"], c=ours["label"], cmap=POINTS, s=14, alpha=0.85, linewidths=0)
    axes.margins(0.07)
    return (
        "Points of several colours, one colour a class, in clouds that partly overlap.",
        "Two tasks teach one network",
        "Test images where self-supervision in an ensemble puts them; one colour a class.",
    )


def surrogates(axes: plt.Axes, frame) -> tuple[str, str, str]:
    """An objective, a majorant, and random surrogates."""
    for _, one in frame[frame["seed"] == frame["seed"].iloc[0]].groupby("draw"):
        axes.plot(one["u"], one["relaxed"], color=COOL, linewidth=1)
    axes.plot(one["u"], one["classical"], color=WARM, linewidth=2.2)
    axes.plot(one["u"], one["objective"], color="#ffffff", linewidth=2.4)
    axes.set(xlim=(-1, 4), ylim=(0.3, 2.2))
    return (
        "A white curve with two valleys, an orange curve that lies above it, and a fan of thin blue ones.",
        "Bounds that hold on average",
        "An objective, the bound that lies above it, and random ones that lie above only on average.",
    )


def fill(axes: plt.Axes, height: int, width: int) -> None:
    """Cut a picture to the card's proportions, around its middle."""
    wide, high = min(width, 0.8 * height), min(height, 1.25 * width)
    axes.set(xlim=((width - wide) / 2 - 0.5, (width + wide) / 2 - 0.5),
             ylim=((height + high) / 2 - 0.5, (height - high) / 2 - 0.5))  # fmt: skip


PANELS = {"extra-2.A": digit, "fig-3.3": motion, "fig-4.3": tail, "fig-5.6": map_, "fig-6.1": surrogates}
