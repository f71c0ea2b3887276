"""The book's one figure style, and figures as files."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's hues, darkened to 3:1 on white and ordered so that neighbours differ in lightness too, hence
# in grey; any two differ under protanopia and deuteranopia.
PALETTE = ("#000000", "#B55000", "#C48700", "#0067A0", "#4794C0", "#007A59", "#584400", "#AD678E")
DASHES = (
    (1, 0),
    (5, 1.5),
    (1.5, 1.2),
    (5, 1.2, 1.2, 1.2),
    (3, 1.5),
    (7, 2),
    (2, 1, 1, 1),
    (4, 1, 1, 1, 1, 1),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def use_style() -> None:
    """Set matplotlib to the book's style."""
    import matplotlib.pyplot as plt

    plt.style.use(Path(__file__).with_name("book.mplstyle"))
    plt.rcParams["axes.prop_cycle"] = plt.cycler(color=PALETTE)


def look(names: list[str]) -> dict[str, dict]:
    """Colour, dash and marker for each name, the same in every panel.

    Raises
    ------
    ValueError
        If there are more names than the palette can tell apart.
    """
    if len(names) > len(PALETTE):
        raise ValueError(f"{len(names)} curves, the palette tells {len(PALETTE)} apart: split the figure")
    return {
        "palette": dict(zip(names, PALETTE, strict=False)),
        "dashes": dict(zip(names, DASHES, strict=False)),
        "markers": dict(zip(names, MARKERS, strict=False)),
    }


def _rounded(path: re.Match[bytes]) -> bytes:
    return re.sub(rb"(\d\.\d\d)\d+", rb"\1", path[0])


def render(figure: Figure) -> dict[str, bytes]:
    """The figure as SVG and PNG, without date or path, so that equal figures are equal bytes."""
    images = {}
    for suffix, options in (("svg", {"metadata": {"Date": None}}), ("png", {"dpi": 140})):
        stream = io.BytesIO()
        figure.savefig(stream, format=suffix, **options)
        images[suffix] = stream.getvalue()
    small = io.BytesIO()
    Image.open(io.BytesIO(images["png"])).convert("RGB").quantize(256).save(small, "png", optimize=True)
    images["png"] = small.getvalue()
    # Six decimals of a point are invisible and a third of the file. Not in transforms: scales need theirs.
    images["svg"] = re.sub(rb' (?:d|x|y)="[^"]+"', _rounded, images["svg"])
    images["svg"] = re.sub(rb"\n +<", b"\n<", images["svg"])  # its indentation is a tenth; letters are paths
    return images
