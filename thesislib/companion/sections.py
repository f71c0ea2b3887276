"""For Sphinx: below each documented function and class, the section of the thesis that it belongs to."""

from __future__ import annotations

import re
import sys
from typing import Any

from thesislib.companion import house

NUMBERS = r"\d(?:\.\d+)+(?:(?:,| and) \d(?:\.\d+)+)*"
NAMED = re.compile(rf"(?:[Tt]hesis,? (?:sections? )?|[Ss]ections? )({NUMBERS})")


def sections(item: Any) -> list[str]:
    """Sections of the thesis that a function or class belongs to.

    An experiment's is its artefact's; any other's is named in its own docstring, or else in its module's.

    Parameters
    ----------
    item : function or class

    Returns
    -------
    list of str
        ``["2.3.1", "3.3.1"]``, say; empty where neither names one.
    """
    if made := re.fullmatch(r"(fig|tab|extra)_(\d+)_(\w+)", item.__name__):
        return [house.artefact(f"{made[1]}-{made[2]}.{made[3].upper()}").section]
    for text in (item.__doc__, sys.modules[item.__module__].__doc__):
        if found := NAMED.findall(" ".join((text or "").split())):
            return list(dict.fromkeys(re.findall(r"\d+(?:\.\d+)+", " ".join(found))))
    return []


def setup(app: Any) -> dict[str, bool]:
    """Sphinx's entry point."""
    app.connect("autodoc-process-docstring", _add, priority=600)  # after napoleon
    return {"parallel_read_safe": True}


def _add(app: Any, what: str, name: str, item: Any, options: Any, lines: list[str]) -> None:
    if what not in ("function", "class") or not getattr(item, "__module__", "").startswith("thesislib"):
        return
    chapters = house.chapters()
    slugs = {s: chapters[f"ch{s.partition('.')[0]}"].slug for s in sections(item)}
    links = [f":doc:`section {s} </notebooks/{slug}>`" for s, slug in slugs.items()]
    if links:
        lines += ["", f":Thesis: {', '.join(links)}", ""]
