"""What a chapter's notebook talks to: it records artefacts and shows them."""

from __future__ import annotations

import dataclasses
import html
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from thesislib import memo
from thesislib.companion import blocks, figures, house, making, provenance, records, reported, runs
from thesislib.companion.house import CompanionError
from thesislib.companion.making import SPREAD
from thesislib.settings import ChapterSettings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Page:
    """A chapter's run: made once at the top of the notebook, then :meth:`record` for each artefact.

    Parameters
    ----------
    chapter
        Its name, ``ch6``.
    settings
        The chapter's resolved settings.

    Raises
    ------
    CompanionError
        If the chapter does not exist, or its output folder cannot be written.
    """

    def __init__(self, chapter: str, settings: ChapterSettings) -> None:
        self.chapter = house.chapter(chapter)
        self.settings = settings
        out = os.environ.get("THESISLIB_OUT")
        self.folder = Path(out) if out else runs.folder(self.chapter, settings, book=False) / "records"
        _writable(self.folder)
        figures.use_style()
        self._shown = 0
        self._since = making.spent()
        # Taken now: what changes while the chapter runs makes its records stale, as it should.
        inputs = provenance.page_inputs(self.chapter, settings.dataset)
        self._provenance = making.origin(self.chapter, settings, inputs)

    def record(
        self,
        identity: str,
        frame: pd.DataFrame,
        draw: Callable[[pd.DataFrame], Figure] | None = None,
        *,
        alt: str = "",
        summary: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
        compare: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
        dataset: tuple[str, ...] | None = None,
        stands_for: dict[str, str] | None = None,
        same_as: str | None = None,
        spread: str = SPREAD,
    ) -> None:
        """Write an artefact's record and show it, with the committed long runs of the same artefact below.

        Parameters
        ----------
        identity
            ``fig-6.2``.
        frame
            Tidy: the columns that the settings' grid names are keys, all others measurements.
        draw
            Frame to figure; used for this run's frame and for each committed one. A table has none.
        alt
            What the figure shows; required with `draw`.
        summary
            Frame to a small table: the table itself, or a figure's numbers in a few rows.
        compare
            Frame to the long frame that is set beside the reported rows, see :func:`reported.beside`; None
            takes the frame itself.
        dataset
            Data sets of an artefact whose frame has no column of that name.
        stands_for
            The thesis's data set that each embedded one stands in for.
        same_as
            The artefact whose run this is, where two of the thesis become one on this data.
        spread
            How far numbers may differ elsewhere.

        Raises
        ------
        CompanionError
            If the artefact is not this chapter's, its grid is not declared, its alt text is missing, or it is
            reported in numbers and nothing can be set beside them.
        """
        grid = making.grid_of(self.chapter, self.settings, identity)
        if draw is not None and len(alt.split()) < 5:
            raise CompanionError(f"{identity}: say in alt= what the figure shows")
        _beside(identity, frame, compare, stands_for or {})  # refused before anything is written
        now = making.spent()
        record = making.record_of(
            self.chapter,
            self.settings,
            identity,
            frame,
            provenance={**self._provenance, **making.price(self._since, now)},
            folder=self.folder,
            claims=making.decided(self.chapter, identity, frame),
            dataset=dataset,
            alt=alt,
            spread=spread,
            stands_for=stands_for,
            same_as=same_as,
        )
        self._since = now
        images = _drawn(draw, frame)
        record = records.write(record, frame, images)
        records.check(record, grid)
        self._show(record, record.frame(), images, summary, compare, "")
        for kept in (r for r in records.recorded() if r.id == identity):
            # An experiment run alone knows neither of these two.
            facts = {"alt": kept.alt or alt, "stands_for": {**record.stands_for, **kept.stands_for}}
            self._show_kept(dataclasses.replace(kept, **facts), draw, summary, compare)

    def show(self, figure: Figure, alt: str) -> None:
        """Show a figure that is no artefact of the thesis, in the book's style.

        Parameters
        ----------
        figure : Figure
        alt : str
            What it shows, in words.
        """
        import matplotlib.pyplot as plt

        self._shown += 1
        name = f"{self.chapter.name}-picture-{self._shown}.svg"  # all chapters share a folder in the book
        images = figures.render(figure)
        plt.close(figure)
        memo.write_atomic(self.folder / name, images["svg"])
        _display(
            f":::{{figure}} ../records/{name}\n:alt: {alt}\n:width: 100%\n:::",
            blocks.picture(images["png"], alt),
            alt,
        )

    def source(self, *functions: Callable, first: str = "", last: str = "") -> None:
        """Show the library's own lines, so that they stand beside the equation that they compute.

        Parameters
        ----------
        functions
            Shown without docstrings.
        first, last
            Pieces of the first and the last line to show; empty for whole functions.

        Raises
        ------
        CompanionError
            If a function has no such line.
        """
        title, code = blocks.source(functions, first, last)
        _display(f"{title}\n\n```python\n{code}\n```", f"<pre>{html.escape(code)}</pre>", code)

    def settings_table(self) -> None:
        """Show all settings of the run: value, symbol, unit, source."""
        self.show_table(blocks.settings_rows(self.settings))

    def show_table(self, rows: pd.DataFrame) -> None:
        """Show a table that is no artefact of the thesis.

        Parameters
        ----------
        rows : DataFrame
        """
        _display(blocks.table(rows), rows.to_html(index=False, border=0), rows.to_string(index=False))

    def _show_kept(
        self, kept: records.Record, draw: Callable | None, summary: Callable | None, compare: Callable | None
    ) -> None:
        frame = kept.frame()
        images = _drawn(draw, frame)
        name = f"{kept.id}@{kept.folder.name}"
        for suffix, image in images.items():
            memo.write_atomic(self.folder / f"{name}.{suffix}", image)
        self._show(kept, frame, images, summary, compare, kept.folder.name)

    def _show(
        self,
        record: records.Record,
        frame: pd.DataFrame,
        images: dict,
        summary: Callable | None,
        compare: Callable | None,
        kept: str,
    ) -> None:
        few = None if summary is None else summary(frame)
        both = _beside(record.id, frame, compare, record.stands_for)
        if both is not None:  # only a notebook knows how to compare; the scoreboard reads what it found
            text = both.to_csv(index=False, float_format="%.12g", lineterminator="\n")
            memo.write_atomic(self.folder / reported.file_of(record.id, kept), text.encode())
        stem = f"../records/{record.id}{f'@{kept}' if kept else ''}"
        numbers = f"../data/recorded/{kept}/{record.id}" if kept else f"../records/{record.id}"
        label = blocks.named(record)
        downloads = {f"{label} as record (JSON)": f"{numbers}.json"}
        if images:
            downloads[f"{label} as picture (SVG)"] = f"{stem}.svg"
        picture = f"{stem}.svg" if images else ""
        text = blocks.block(record, picture, f"{numbers}.csv", blocks.command(record), both, few, downloads)
        if kept:
            text = f"**Recorded run: {', '.join(record.dataset)}.** {_kept_note(record)}\n\n{text}"
        else:
            text = f"({blocks.target(record.id)})=\n\n{text}"
        plain = f"{record.artefact.label}: {', '.join(c['verdict'] for c in record.claims) or 'no claim'}"
        _display(text, blocks.plain_html(record, few, images.get("png")), plain)


def _display(myst: str, html: str, plain: str) -> None:
    """Show one thing in three forms; the book takes the MyST, JupyterLab the HTML."""
    from IPython.display import display

    display({"text/markdown": myst, "text/html": html, "text/plain": plain}, raw=True)


def _kept_note(record: records.Record) -> str:
    """Whether the code behind a committed record still stands."""
    since = provenance.changed(record)
    if not since and blocks.replayed(record):
        return (
            "A long run, committed with its commit and versions. Code behind it changed since; what speaks for its "
            "numbers stands under *Where this comes from*."
        )
    if not since:
        return "A long run, committed with its commit and versions; the code behind it is unchanged."
    note = (
        f"A long run, committed. **Stale**: {len(since)} file{'s' * (len(since) > 1)} behind it changed since; "
        f"`thesis keep --replay {record.folder.name}/{record.id}` tells whether its first rows come out again."
    )
    return blocks.joined(
        [note, blocks.dropdown("Files changed since", ", ".join(f"`{name}`" for name in since))]
    )


def _drawn(draw: Callable | None, frame: pd.DataFrame) -> dict[str, bytes]:
    if draw is None:
        return {}
    import matplotlib.pyplot as plt

    figure = draw(frame)
    images = figures.render(figure)
    plt.close(figure)
    return images


def _beside(
    identity: str, frame: pd.DataFrame, compare: Callable | None, stands_for: dict[str, str]
) -> pd.DataFrame | None:
    """Reported beside repeated; None where nothing is reported."""
    rows = reported.read(identity)
    if rows.empty:
        return None
    long = frame if compare is None else compare(frame)
    if lacking := [c for c in ("dataset", "metric", "value") if c not in long.columns]:
        raise CompanionError(
            f"{identity}: numbers are reported of it, and nothing to set beside them has "
            f"{', '.join(lacking)}; give compare=, which makes a frame with dataset, metric and value"
        )
    return reported.beside(long, rows, stands_for)


def _writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CompanionError(f"cannot write to {folder}: {error.strerror}; set THESISLIB_OUT") from None
